"""Fitted: all that a fit leaves behind; reads tables as the model was trained and answers queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd

from latentode.baselines import Climatology
from latentode.building import build_latent_ode
from latentode.calibration import Calibration
from latentode.data.batch import Series
from latentode.data.columns import some_names
from latentode.data.datamodule import IrregularDataModule
from latentode.data.dataset import SeriesDataset
from latentode.data.frames import IntoFrame, to_pandas
from latentode.data.scaling import Scaling
from latentode.data.schema import Schema
from latentode.data.split import durations
from latentode.data.task import Forecasting
from latentode.data.timeaxis import TimeAxis
from latentode.domains import refuse_unexplained
from latentode.errors import LatentODEError, SchemaError
from latentode.forecast import Asked, Forecast, forecast
from latentode.residuals import Joint, Residuals, Revision
from latentode.training import LitLatentODE

__all__ = ["Fitted", "plain", "settings_of"]


@dataclass(frozen=True)
class Fitted:
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
    module: LitLatentODE
    history: pd.DataFrame | None = None
    classes: tuple[Any, ...] | None = None
    residuals: Residuals | None = None
    calibration: Calibration | None = None

    @classmethod
    def from_lightning(cls, module: LitLatentODE, data: IrregularDataModule) -> Fitted:
        """What the training of a module on `data` leaves behind.

        Raises:
            LatentODEError: unless the task is to forecast.
        """
        if not isinstance(data.task, Forecasting):
            raise LatentODEError("a forecaster needs a data module with task=Forecasting(...)")
        trained = data.train.dataset
        horizon, context = durations(trained, data.task.horizon, data.task.context)
        means = Climatology.fit(trained)
        module = module.cpu().eval()
        return cls(data.schema, data.axis, data.scaling, means, horizon, context, module)

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

    def answer(self, dataset: SeriesDataset, asked: Asked, keys: pd.DataFrame) -> Forecast:
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
            answer = replace(answer, revision=Revision.calibrated(curves))
        if self.residuals is None:
            return answer
        owner = series.keys[asked.series]
        # 1, but for a likelihood that answers in data units.
        unit = answer.scale / np.asarray(self.scaling.scale)[asked.variable]
        return replace(answer, joint=Joint(self.residuals, owner, asked.variable, lead, unit))


def settings_of(
    module: LitLatentODE, data: IrregularDataModule, names: Iterable[str]
) -> dict[str, Any]:
    """Those of the named parameters that a module and its data say, given or by default."""
    network = {n: p.default for n, p in signature(build_latent_ode).parameters.items()}
    of_data = {
        **vars(data.task),
        "batch_size": data.batch_size,
        "cuts": data.cuts,
        "random_state": data.seed,
    }
    said = {**network, **module.hparams, **of_data}
    return {name: said[name] for name in names if name in said}


def plain(value: Any) -> Any:
    """Python's own number for one of numpy's, as from a grid that was searched."""
    return value.item() if isinstance(value, np.generic) else value
