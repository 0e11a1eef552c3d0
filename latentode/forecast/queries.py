"""ForecastQueries: flat queries, each with the forecast origin that it is answered from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentode.data.dataset import SeriesDataset
from latentode.data.queries import COLUMNS, QueryTimes, warn_of_held_values
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError, check_size, shown, warn

__all__ = [
    "ForecastQueries",
    "batches_of",
    "chosen_variables",
    "flat_queries",
    "queries_at",
    "warn_of_guesses",
]

FAR = 3.0  # horizons up to which forecasts are taken to hold


@dataclass(frozen=True)
class ForecastQueries:
    """Queries against series in memory.

    Args:
        series: index of the series, shape `(queries,)`.
        variable: index of the variable, likewise, as are the others.
        time: time since the series' start, in time units, float64.
        origin: forecast origin since the series' start; what was observed later is not seen.
    """

    series: np.ndarray
    variable: np.ndarray
    time: np.ndarray
    origin: np.ndarray

    def __len__(self) -> int:
        return len(self.series)

    def take(self, places: np.ndarray | slice) -> ForecastQueries:
        """The queries at `places`, in their order."""
        columns = (self.series, self.variable, self.time, self.origin)
        return ForecastQueries(*(column[places] for column in columns))


def chosen_variables(schema: Schema, variables: Sequence[str] | None) -> np.ndarray:
    """Indices of the variables asked for; of all where none is named.

    Raises:
        SchemaError: for a name that is no target, or an empty choice.
    """
    known = schema.targets or ()
    if variables is None:
        return np.arange(len(known))
    if isinstance(variables, str):
        variables = (variables,)
    elif not isinstance(variables, Iterable):
        raise SchemaError(f"variables names some of {', '.join(known)}, got {shown(variables)}")
    variables = tuple(variables)
    if not variables:
        raise SchemaError(f"variables is empty: name some of {', '.join(known)}, or leave it out")
    for name in variables:
        if not isinstance(name, str) or name not in known:
            raise SchemaError(
                f"variable {shown(name)} was not among the targets of training: {', '.join(known)}"
            )
    return np.array([known.index(v) for v in variables])


def queries_at(
    dataset: SeriesDataset, places: QueryTimes, chosen: np.ndarray
) -> tuple[ForecastQueries, pd.DataFrame]:
    """Each of the chosen variables at each place, with identifier, time and `variable`.

    Raises:
        SchemaError: for a place before the first observation of its series.
    """
    queries, keys = flat_queries(dataset, places.series, places.time, chosen), places.keys
    if len(chosen) != 1:  # taken, not built anew, which would ask each identifier again what it is
        keys = keys.take(np.repeat(np.arange(len(keys)), len(chosen)))
    keys = keys.reset_index(drop=True)
    keys["variable"] = np.asarray(dataset.variables, dtype=object)[queries.variable]
    return queries, keys


def flat_queries(
    dataset: SeriesDataset, series: np.ndarray, time: np.ndarray, chosen: np.ndarray
) -> ForecastQueries:
    """Each of the chosen variables at each time, since its series' start, in time units.

    Raises:
        SchemaError: for a time before the first observation of its series.
    """
    check_size("times, variables and columns", len(series), len(chosen), COLUMNS)
    variable = np.tile(chosen, len(series))
    series, time = (np.repeat(x, len(chosen)) for x in (series, time))
    _refuse_before_history(dataset, series, time)
    return ForecastQueries(series, variable, time, _origins(dataset, series, time))


def warn_of_guesses(dataset: SeriesDataset, queries: ForecastQueries, horizon: float) -> None:
    """Warns of what answers rest on that nobody has said or learnt; every door to a forecast does.

    Args:
        dataset: histories, with the known values that a question gives.
        queries: what is asked of them.
        horizon: how far ahead the model has learnt to look, in time units.

    Warns:
        UserWarning: for known-future values that are held, and for times far beyond the horizon.
    """
    warn_of_held_values(dataset, queries.series, queries.time)
    ahead = float((queries.time - queries.origin).max(initial=0.0))
    if ahead > FAR * horizon:
        unit = dataset.axis.unit_name
        warn(
            f"times up to {ahead:g}{unit} ahead are {ahead / horizon:.3g} times the "
            f"horizon of {horizon:g}{unit} that the model has learnt to look ahead: so far its "
            "forecasts are of what goes on by itself, level, trend and cycles, with intervals that "
            "widen; fit with a longer horizon= to learn more"
        )


def _refuse_before_history(dataset: SeriesDataset, series: np.ndarray, time: np.ndarray) -> None:
    early = time < dataset.first[series]
    if early.any():
        at = int(early.argmax())
        raise SchemaError(
            f"series {dataset.name(series[at])!r} is asked about a time "
            f"{dataset.first[series[at]] - time[at]:g}{dataset.axis.unit_name} before its first "
            "observation; a forecast needs something observed before or around it"
        )


def _origins(dataset: SeriesDataset, series: np.ndarray, time: np.ndarray) -> np.ndarray:
    """The last observation at or before each time: what the model has been trained to go on from.

    So a time inside the history is answered from what had been seen by then.
    """
    place = dataset.parts.bisect(series, lambda p: dataset.time[p] <= time) - 1
    origin, some = dataset.last[series], place >= dataset.parts.offsets[series]
    origin[some] = dataset.time[place[some]]
    return origin


def batches_of(
    queries: ForecastQueries, at_once: int
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]]:
    """Places of queries, the (series, origin) rows of their batch, and the row of each query."""
    order = np.lexsort((queries.origin, queries.series))
    series, origin = queries.series[order], queries.origin[order]
    first = np.r_[True, (np.diff(series) != 0) | (np.diff(origin) != 0)][: len(order)]
    row, series, origin = np.cumsum(first) - 1, series[first], origin[first]
    for begin in range(0, len(series), at_once):
        part, chosen = np.searchsorted(row, (begin, begin + at_once)), slice(begin, begin + at_once)
        place, rows = order[slice(*part)], row[slice(*part)] - begin
        given = np.argsort(place)  # a batch's queries in the order in which they are asked
        yield place[given], (series[chosen].astype(np.int64), origin[chosen]), rows[given]
