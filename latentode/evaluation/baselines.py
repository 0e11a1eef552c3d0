"""Baselines: what any forecaster has to beat, on the same queries and in data units.

Each is fitted on training series and answers from what a series had shown by the origin. A variable
that a series has not shown yet is answered by its training mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import pandas as pd

from latentode.data.cells.time_axis import Duration, TimeAxis
from latentode.data.climatology import Climatology, hour_of_day
from latentode.data.dataset import SeriesDataset
from latentode.data.queries import At, query_times
from latentode.data.tables.schema import Schema
from latentode.forecast.queries import ForecastQueries

__all__ = [
    "BASELINES",
    "Baseline",
    "LastValue",
    "LinearDrift",
    "SeriesMean",
    "TimeOfDayMean",
]


class Baseline(ABC):
    """A forecaster without learned weights; `fit` and `predict` as `LatentODEForecaster`."""

    name: str

    @classmethod
    def suits(cls, axis: TimeAxis) -> bool:
        """Whether it says something of its own of times of this kind."""
        return True

    def fit(self, df: pd.DataFrame | SeriesDataset, schema: Schema | None = None) -> Self:
        """Takes training means.

        Args:
            df: training table.
            schema: roles of its columns.
        """
        dataset = df if isinstance(df, SeriesDataset) else SeriesDataset.from_frame(df, schema)
        return self.use(dataset.schema, Climatology.fit(dataset))

    def use(self, schema: Schema, climatology: Climatology) -> Self:
        """Takes a resolved schema and training means that are already known."""
        self.schema_, self.climatology_ = schema, climatology
        return self

    def predict(self, history: pd.DataFrame, at: At, count: int | None = None) -> pd.DataFrame:
        """A long frame with the columns identifier, time, `variable` and `mean`."""
        dataset = SeriesDataset.from_frame(history, self.schema_)
        places = query_times(dataset, at, count)
        n = len(dataset.variables)
        series = np.repeat(places.series, n)
        variable = np.tile(np.arange(n), len(places.series))
        queries = ForecastQueries(series, variable, np.repeat(places.time, n), dataset.last[series])
        keys = places.keys.loc[places.keys.index.repeat(n)].reset_index(drop=True)
        keys["variable"] = np.asarray(dataset.variables, dtype=object)[variable]
        return keys.assign(mean=self.answer(dataset, queries))

    def answer(self, dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
        """Values in data units, shape `(queries,)`."""
        values = self._answer(dataset, queries)
        return np.where(np.isnan(values), self.climatology_.mean[queries.variable], values)

    @abstractmethod
    def _answer(self, dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
        """Values, NaN where the series has shown nothing to answer from."""


class LastValue(Baseline):
    """The last observed value goes on."""

    name = "last value"

    def _answer(self, dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
        return _latest(dataset, queries, queries.origin)["value"].to_numpy()


class LinearDrift(Baseline):
    """The line through the last value and the one observed about `window` earlier goes on.

    Args:
        window: how far back the line begins; one horizon of the question by default, so the further
            the question, the steadier the line. The earliest value stands in for a missing one.
    """

    name = "linear drift"

    def __init__(self, window: Duration | None = None) -> None:
        self.window = window

    def _answer(self, dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
        ahead = queries.time - queries.origin
        window = ahead
        if self.window is not None:
            window = np.full(len(ahead), dataset.axis.duration(self.window, "window"))
        last = _latest(dataset, queries, queries.origin)
        early = _latest(dataset, queries, queries.origin - window)
        first = _first(dataset).reindex(_cell(queries.series, queries.variable, dataset))
        missing = early["value"].isna().to_numpy()
        value = np.where(missing, first["value"], early["value"])
        time = np.where(missing, first["time"], early["time"])
        elapsed = last["time"].to_numpy() - time
        slope = (last["value"].to_numpy() - value) / np.where(elapsed > 0, elapsed, np.inf)
        return last["value"].to_numpy() + slope * (queries.time - last["time"].to_numpy())


class SeriesMean(Baseline):
    """The mean of what the series has shown of the variable."""

    name = "series mean"

    def _answer(self, dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
        table = pd.DataFrame(
            {
                "cell": _cell(dataset.series, dataset.variable, dataset),
                "time": dataset.time,
                "value": dataset.value,
            }
        )
        table["value"] = table.groupby("cell")["value"].transform(lambda v: v.expanding().mean())
        return _asof(table, queries, queries.origin, dataset)["value"].to_numpy()


class TimeOfDayMean(Baseline):
    """The training mean of the variable at that hour of the day; without an hour, its mean."""

    name = "time-of-day mean"

    @classmethod
    def suits(cls, axis: TimeAxis) -> bool:
        return axis.kind == "datetime"

    def _answer(self, dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
        hour = hour_of_day(dataset, queries.series, queries.time)
        return self.climatology_.by_hour[queries.variable, hour]


BASELINES: tuple[type[Baseline], ...] = (LastValue, LinearDrift, SeriesMean, TimeOfDayMean)


def _cell(series: np.ndarray, variable: np.ndarray, dataset: SeriesDataset) -> np.ndarray:
    return series * len(dataset.variables) + variable


def _asof(
    table: pd.DataFrame, queries: ForecastQueries, when: np.ndarray, dataset: SeriesDataset
) -> pd.DataFrame:
    """The last row of each query's (series, variable) at or before `when`."""
    left = pd.DataFrame({"cell": _cell(queries.series, queries.variable, dataset), "when": when})
    left = left.sort_values("when", kind="stable")
    right = table.sort_values("time", kind="stable")
    found = pd.merge_asof(left, right, left_on="when", right_on="time", by="cell")
    return found.set_index(left.index).sort_index()


def _latest(dataset: SeriesDataset, queries: ForecastQueries, when: np.ndarray) -> pd.DataFrame:
    cell = _cell(dataset.series, dataset.variable, dataset)
    table = pd.DataFrame({"cell": cell, "time": dataset.time, "value": dataset.value})
    return _asof(table, queries, when, dataset)


def _first(dataset: SeriesDataset) -> pd.DataFrame:
    cell = _cell(dataset.series, dataset.variable, dataset)
    table = pd.DataFrame({"cell": cell, "time": dataset.time, "value": dataset.value})
    return table.groupby("cell").first()
