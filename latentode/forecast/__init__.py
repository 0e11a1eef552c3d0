"""A fitted model's answers.

In: a `FittedForecaster` (what a fit leaves behind) and questions about histories. Out: a `Forecast`,
the predictive distribution in data units, or `SamplePaths`, futures as functions of time.
May import: `model`, `nn`, `ode`, `data`, `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.forecast.calibration import Calibration
    from latentode.forecast.engine import Engine
    from latentode.forecast.export import ExportedForecast, export_forecast
    from latentode.forecast.first_passage import FirstPassageTime
    from latentode.forecast.fitted import FittedForecaster
    from latentode.forecast.forecast import Forecast
    from latentode.forecast.observation_times import ObservationTimes
    from latentode.forecast.queries import ForecastQueries
    from latentode.forecast.reader import Reader
    from latentode.forecast.residuals import Residuals
    from latentode.forecast.sample_paths import SamplePaths

__all__ = [
    "Calibration",
    "Engine",
    "ExportedForecast",
    "FirstPassageTime",
    "FittedForecaster",
    "Forecast",
    "ForecastQueries",
    "ObservationTimes",
    "Reader",
    "Residuals",
    "SamplePaths",
    "export_forecast",
]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "calibration": ["Calibration"],
        "first_passage": ["FirstPassageTime"],
        "engine": ["Engine"],
        "export": ["ExportedForecast", "export_forecast"],
        "fitted": ["FittedForecaster"],
        "reader": ["Reader"],
        "forecast": ["Forecast"],
        "queries": ["ForecastQueries"],
        "observation_times": ["ObservationTimes"],
        "residuals": ["Residuals"],
        "sample_paths": ["SamplePaths"],
    },
)
