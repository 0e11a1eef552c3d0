"""Latent neural ODEs for irregular time series: any timestamps in, any timestamps out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.data import (
        FileFormat,
        Forecasting,
        Interpolation,
        Schema,
        SeriesDataset,
        read_table,
    )
    from latentode.errors import LatentODEError, SchemaError, SolveError
    from latentode.estimators import (
        LatentODEClassifier,
        LatentODEForecaster,
        OnlineForecaster,
        RollingOrigin,
        SeriesKFold,
        ServedForecaster,
    )
    from latentode.forecast import Forecast
    from latentode.model import LatentODE, ModelConfig, SolverConfig
    from latentode.training import IrregularDataModule, LatentODEModule, TrainingConfig

__version__ = "0.1.0"

__all__ = [
    "FileFormat",
    "Forecast",
    "Forecasting",
    "Interpolation",
    "IrregularDataModule",
    "LatentODE",
    "LatentODEClassifier",
    "LatentODEError",
    "LatentODEForecaster",
    "LatentODEModule",
    "ModelConfig",
    "OnlineForecaster",
    "RollingOrigin",
    "Schema",
    "SchemaError",
    "SeriesDataset",
    "SeriesKFold",
    "ServedForecaster",
    "SolveError",
    "SolverConfig",
    "TrainingConfig",
    "read_table",
]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data": [
            "FileFormat",
            "Forecasting",
            "Interpolation",
            "Schema",
            "SeriesDataset",
            "read_table",
        ],
        "errors": ["LatentODEError", "SchemaError", "SolveError"],
        "estimators": [
            "LatentODEClassifier",
            "LatentODEForecaster",
            "OnlineForecaster",
            "RollingOrigin",
            "SeriesKFold",
            "ServedForecaster",
        ],
        "forecast": ["Forecast"],
        "model": ["LatentODE", "ModelConfig", "SolverConfig"],
        "training": ["IrregularDataModule", "LatentODEModule", "TrainingConfig"],
    },
)
