"""FittedForecaster: all that a fit leaves behind; reads tables and answers queries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.batch import Series
from latentode.data.climatology import Climatology
from latentode.data.columns import IntoFrame, some_names, to_pandas
from latentode.data.dataset import SeriesDataset
from latentode.data.scaling import Scaling
from latentode.data.schema import Schema
from latentode.data.time_axis import TimeAxis
from latentode.errors import SchemaError
from latentode.forecast.calibration import Calibration
from latentode.forecast.forecast import Forecast, ForecastQueries, forecast
from latentode.forecast.residuals import Joint, Residuals, ScoreTransform
from latentode.nn.likelihoods.choosing import refuse_unexplained

__all__ = ["FittedForecaster", "plain"]


@dataclass(frozen=True)
class FittedForecaster:
    """What is known after a fit.

    Args:
        schema: with every column named.
        axis: what its time column means.
        scaling: of the training data.
        climatology: training means.
        horizon: that was trained for, in time units.
        context: how far back the encoder looks, in time units.
        module: trained.
        history: metrics per epoch, where a fit left any.
        classes: what series were classified into, where they were.
        residuals: how readings scatter about their means over time, where that was found.
        calibration: what forecasts that came true say of its quantiles, where it was told any.
    """

    schema: Schema
    axis: TimeAxis
    scaling: Scaling
    climatology: Climatology
    horizon: float
    context: float
    module: Any
    history: pd.DataFrame | None = None
    classes: tuple[Any, ...] | None = None
    residuals: Residuals | None = None
    calibration: Calibration | None = None

    def read(self, frame: IntoFrame, duplicates: str) -> SeriesDataset:
        """A table as the model reads it; see `LatentODEForecaster.read`."""
        schema, frame = self.schema, to_pandas(frame)
        for name in (schema.targets or ()) if schema.layout == "wide" else ():
            if name not in frame.columns:
                raise SchemaError(
                    f"column `{name}`, which the model was trained on, is not in the table, whose "
                    f"columns are {some_names(frame.columns)}; correct its name, or add it empty if "
                    "nothing was observed of it"
                )
        dataset = SeriesDataset.from_frame(frame, schema, duplicates)
        if dataset.axis.is_calendar != self.axis.is_calendar:
            raise SchemaError(
                f"column `{schema.time}` holds {dataset.axis.kind} times, but the model was "
                f"trained on {self.axis.kind} times"
            )
        # A resolved schema has a time unit, declared or not.
        return replace(dataset, axis=replace(dataset.axis, declared=self.axis.declared))

    def answer(self, dataset: SeriesDataset, asked: ForecastQueries, keys: pd.DataFrame) -> Forecast:
        """The forecast of queries against series that `read` has read.

        Raises:
            SchemaError: for an observation that a likelihood or a transform cannot take.
        """
        refuse_unexplained(dataset, self.module.model.likelihood)
        series = Series(dataset, self.scaling)
        answer = forecast(self.module.model, series, self.scaling, asked, keys, self.context)
        lead = asked.time - asked.origin
        if self.calibration is not None:
            names = np.asarray(self.schema.targets)[asked.variable]
            curves = self.calibration.of(names, lead)
            answer = replace(answer, revision=ScoreTransform.calibrated(curves))
        if self.residuals is None:
            return answer
        owner = series.keys[asked.series]
        # 1, but for a likelihood that answers in data units.
        unit = answer.scale / np.asarray(self.scaling.scale)[asked.variable]
        return replace(answer, joint=Joint(self.residuals, owner, asked.variable, lead, unit))


def plain(value: Any) -> Any:
    """Python's own number for one of numpy's, as from a grid that was searched."""
    return value.item() if isinstance(value, np.generic) else value
