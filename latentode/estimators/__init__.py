"""scikit-learn's manner: `fit`, `predict` and their like on DataFrames.

In: tables and parameters. Out: forecasts and classes as frames; a model folder on disk.
May import: `training` and what lies below it. An estimator validates, fits and delegates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.estimators.classifier import LatentODEClassifier
    from latentode.estimators.forecaster import LatentODEForecaster
    from latentode.estimators.persistence import load_model, save_model
    from latentode.estimators.serving import OnlineForecaster, ServedForecaster
    from latentode.estimators.splitters import RollingOrigin, SeriesKFold
    from latentode.estimators.tuning import Tuned, tune

__all__ = [
    "LatentODEClassifier",
    "LatentODEForecaster",
    "OnlineForecaster",
    "RollingOrigin",
    "SeriesKFold",
    "ServedForecaster",
    "Tuned",
    "load_model",
    "save_model",
    "tune",
]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classifier": ["LatentODEClassifier"],
        "forecaster": ["LatentODEForecaster"],
        "persistence": ["load_model", "save_model"],
        "serving": ["OnlineForecaster", "ServedForecaster"],
        "splitters": ["RollingOrigin", "SeriesKFold"],
        "tuning": ["Tuned", "tune"],
    },
)
