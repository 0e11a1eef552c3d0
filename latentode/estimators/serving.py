"""Serving: what a fitted model answers where nothing is fitted any more.

`ServedForecaster` is a model with its own rule for repeated rows, and nothing else: importing, loading
and asking it needs neither Lightning nor scikit-learn, whose loading takes a process longer than the
forecast. `LatentODEForecaster` answers through one, so that both say the same.

`OnlineForecaster` keeps a history that grows, row by row. The rows are kept as they came, and read anew
with each addition: a forecast from a history that grew is that from the longer history, exactly, late
rows and revised ones included.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import pandas as pd

from latentode.data.cells.columns import (
    IntoFrame,
    interval_levels,
    quantile_list,
    to_pandas,
)
from latentode.data.cells.time_axis import Duration, TimeAxis
from latentode.data.dataset import SeriesDataset
from latentode.data.files.writing import FrameT, in_kind_of, kind_of
from latentode.data.queries import At, asked_times
from latentode.data.tables.schema import Schema
from latentode.errors import LatentODEError, shown, understood
from latentode.estimators.persistence import load_model
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.observation_times import ObservationTimes
from latentode.forecast.queries import chosen_variables, flat_queries
from latentode.forecast.sample_paths import SamplePaths
from latentode.forecast.smoothing import forecast_queries, forecast_question

if TYPE_CHECKING:
    from latentode.estimators.forecaster import LatentODEForecaster

    AnyForecaster: TypeAlias = "LatentODEForecaster | ServedForecaster"

__all__ = ["QUANTILES", "OnlineForecaster", "ServedForecaster"]

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class ServedForecaster:
    """A fitted model that answers by the names of `LatentODEForecaster`, and that cannot be fitted.

    Args:
        fitted_: what the fit has left behind.
        duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
    """

    fitted_: FittedForecaster
    duplicates: str = "error"

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `LatentODEForecaster.save` wrote, as its `load` does."""
        fitted, parameters = load_model(folder)
        return cls(fitted, parameters["duplicates"])

    def predict(
        self,
        history: FrameT,
        at: At | IntoFrame,
        count: int | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
        level: float | Sequence[float] | None = None,
        samples: int | None = None,
        seed: int = 0,
        smooth: bool = True,
    ) -> FrameT:
        """`LatentODEForecaster.predict`; arguments and answer as there."""
        levels = quantile_list(quantiles) if level is None else interval_levels(level, quantiles)
        made = self._answer(history, at, count, variables, smooth)
        return made.to_frame(levels) if samples is None else made.samples_frame(samples, seed)

    def predict_arrays(
        self,
        history: Mapping[str, Any],
        at: At | IntoFrame,
        count: int | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
        level: float | Sequence[float] | None = None,
        smooth: bool = True,
    ) -> dict[str, np.ndarray]:
        """`predict` from arrays to arrays, number for number, as a server has them and gives them on.

        It takes least of one series of a wide table without covariates, its times an array of
        datetimes or numbers, or text; whatever else is in a table is read as `predict` reads it.

        Args:
            history: columns of the table by name, arrays of numpy or lists; None or NaN for what was
                not observed, and one identifier for all rows. An array of datetimes is in UTC where
                those of training had a zone.
            at, count, quantiles, variables, level, smooth: as for `predict`.

        Returns:
            Columns of what `predict` returns, by name; times of a zone are in UTC.

        Raises:
            SchemaError: for a history or a question that cannot be read, as by `predict`.
        """
        levels = quantile_list(quantiles) if level is None else interval_levels(level, quantiles)
        fitted = self.fitted_
        dataset, asked = fitted.reader.read_arrays(history, at, self.duplicates)
        schema, axis, chosen = self.schema_, dataset.axis, chosen_variables(self.schema_, variables)
        with understood("at"):
            series, column = asked_times(dataset, asked, count)
            time = axis.to_units(axis.query_ticks(column), dataset.start[series])
        queries = flat_queries(dataset, series, time, chosen)
        unnamed = pd.DataFrame(index=range(len(queries)))
        made = forecast_queries(fitted, dataset, queries, unnamed, smooth)
        names = np.asarray(dataset.variables, dtype=object)[queries.variable]
        keys = {str(schema.time): _plain(column).repeat(len(chosen))}
        if schema.id is not None:
            keys = {schema.id: dataset.ids.to_numpy()[queries.series], **keys}
        return {**keys, "variable": names, **made.columns(levels)}

    def forecast(
        self,
        history: IntoFrame,
        at: At | IntoFrame,
        count: int | None = None,
        variables: Sequence[str] | None = None,
        smooth: bool = True,
    ) -> Forecast:
        """`LatentODEForecaster.forecast`; arguments and answer as there."""
        return self._answer(history, at, count, variables, smooth, True)

    def sample_paths(
        self,
        history: IntoFrame,
        horizon: Duration | None = None,
        draws: int = 256,
        seed: int = 0,
        at: At | IntoFrame | None = None,
    ) -> SamplePaths:
        """`LatentODEForecaster.sample_paths`; arguments and answer as there."""
        fitted, dataset = self.fitted_, self.read(history)
        if at is not None:
            dataset, _ = fitted.reader.read_question(history, at, self.duplicates)
        ahead = fitted.horizon if horizon is None else fitted.reader.axis.duration(horizon)
        return SamplePaths(fitted, dataset, ahead, draws, seed, kind_of(history))

    def observation_times(self, history: IntoFrame) -> ObservationTimes:
        """`LatentODEForecaster.observation_times`; argument and answer as there."""
        return ObservationTimes(self.fitted_, self.read(history), kind_of(history))

    def read(self, frame: IntoFrame) -> SeriesDataset:
        """A table as the model reads it."""
        return self.fitted_.reader.read(frame, self.duplicates)

    @property
    def schema_(self) -> Schema:
        """What each column means."""
        return self.fitted_.reader.schema

    @property
    def axis_(self) -> TimeAxis:
        """What times mean."""
        return self.fitted_.reader.axis

    @property
    def horizon_(self) -> float:
        """How far the model has learnt to look, in time units."""
        return self.fitted_.horizon

    def _answer(self, history: Any, at: Any, *how: Any) -> Forecast:
        question = self.fitted_.reader.read_question(history, at, self.duplicates)
        return replace(forecast_question(self.fitted_, question, *how), kind=kind_of(history))


def _plain(column: pd.Series) -> np.ndarray:
    """A column as an array of numpy, times of a zone in UTC."""
    zoned = isinstance(column.dtype, pd.DatetimeTZDtype)
    return (column.dt.tz_convert(None) if zoned else column).to_numpy()


class OnlineForecaster:
    """Answers as a fitted forecaster does, from a history that it keeps; threads may add to it at once.

    Args:
        forecaster: fitted, or served; it stays as it is, and none of the history is saved with it.
        history: table with the columns of training to begin with; None for nothing yet.

    Attributes:
        history: the rows so far, None before the first.

    Raises:
        NotFittedError: if the forecaster is not fitted.
        SchemaError: for a history that cannot be read.
    """

    def __init__(self, forecaster: AnyForecaster, history: IntoFrame | None = None) -> None:
        self.forecaster = forecaster
        self.history: pd.DataFrame | None = None
        self._kind: IntoFrame = pd.DataFrame()
        self._adding = threading.Lock()
        _ = self._served  # which raises where there is none
        if history is not None:
            self.update(history)

    def update(self, rows: IntoFrame) -> Self:
        """Takes new observations in: what is forecast from then on is as from the longer history.

        Args:
            rows: table with the columns of training; of series known or new, in any order, also earlier
                than what is known. Rows that repeat one go by the forecaster's `duplicates`.

        Returns:
            Itself; unchanged if there are no rows, or if they are refused.

        Raises:
            SchemaError: for rows that cannot be read, alone or with the history.
        """
        own, table = self._served, to_pandas(rows)
        with self._adding:
            self._kind = kind_of(rows)
            if table.empty:  # nothing new, as where a sensor is polled
                return self
            self.history = own.fitted_.reader.extend(self.history, table, own.duplicates)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {n: v for n, v in vars(self).items() if n != "_adding"}  # no lock can be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _adding=threading.Lock())

    def predict(self, at: At | IntoFrame, **how: Any) -> Any:
        """`LatentODEForecaster.predict` from the history so far; arguments as there.

        Returns:
            A frame of the library that the latest rows came in.
        """
        return in_kind_of(self._kind, self._served.predict(self._rows(), at, **how))

    def forecast(self, at: At | IntoFrame, **how: Any) -> Forecast:
        """`LatentODEForecaster.forecast` from the history so far; arguments as there."""
        return self._served.forecast(self._rows(), at, **how)

    def sample_paths(self, **how: Any) -> SamplePaths:
        """`LatentODEForecaster.sample_paths` from the history so far; arguments as there."""
        return replace(self._served.sample_paths(self._rows(), **how), kind=self._kind)

    def _rows(self) -> pd.DataFrame:
        if self.history is None:
            raise LatentODEError("nothing has been observed yet: give rows with update()")
        return self.history

    @property
    def _served(self) -> ServedForecaster:
        """The model with its rule of now for repeated rows."""
        if isinstance(self.forecaster, ServedForecaster):
            return self.forecaster
        from latentode.estimators.forecaster import LatentODEForecaster  # which loads scikit-learn

        if not isinstance(self.forecaster, LatentODEForecaster):
            raise LatentODEError(
                "forecaster is a fitted LatentODEForecaster or a ServedForecaster, such as load gives; "
                f"got {shown(self.forecaster)}"
            )
        return self.forecaster.served_
