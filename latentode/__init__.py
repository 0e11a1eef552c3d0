"""Latent neural ODEs for irregular time series: any timestamps in, any timestamps out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentode.classifier import LatentODEClassifier
    from latentode.data import Forecasting, Interpolation, IrregularDataModule, Schema, SeriesDataset
    from latentode.errors import LatentODEError, SchemaError, SolveError
    from latentode.estimator import LatentODEForecaster
    from latentode.forecast import Forecast
    from latentode.model import LatentODE
    from latentode.training import LitLatentODE

__version__ = "0.1.0"

__all__ = [
    "Forecast",
    "Forecasting",
    "Interpolation",
    "IrregularDataModule",
    "LatentODE",
    "LatentODEClassifier",
    "LatentODEError",
    "LatentODEForecaster",
    "LitLatentODE",
    "Schema",
    "SchemaError",
    "SeriesDataset",
    "SolveError",
]

# Imported on first use: `latentode.ode` is useful alone and must not pull in Lightning or pandas.
_HOMES = {
    "Forecast": "forecast",
    "LatentODE": "model",
    "LatentODEClassifier": "classifier",
    "LatentODEError": "errors",
    "LatentODEForecaster": "estimator",
    "LitLatentODE": "training",
    "SchemaError": "errors",
    "SolveError": "errors",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'latentode' has no attribute {name!r}")
    return getattr(import_module(f"latentode.{_HOMES.get(name, 'data')}"), name)
