"""Pairs of a forecast origin and an observation up to a horizon later: what backtests ask.

From all times of a series, from so many of them, evenly spread over those that have something to ask
for, or from given cutoffs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from latentode.data.dataset import SeriesDataset
from latentode.data.queries import COLUMNS, At, listed
from latentode.errors import SchemaError, check_size, check_whole, understood
from latentode.forecast.queries import ForecastQueries

__all__ = ["BacktestPairs", "observed_after", "observed_ahead"]

ROUNDINGS = 4  # a time, an origin, the horizon and their sum are each rounded once


class BacktestPairs(NamedTuple):
    """Observations, each asked from an origin earlier in its series.

    Args:
        queries: what is asked.
        actual: what was observed, shape `(queries,)`.
        keys: identifier, `origin`, time, `lead` (time units), `variable` of each.
    """

    queries: ForecastQueries
    actual: np.ndarray
    keys: pd.DataFrame


def observed_ahead(
    dataset: SeriesDataset,
    horizon: float,
    origins: int | None = None,
    since: np.ndarray | None = None,
) -> BacktestPairs:
    """Pairs each observation with the times of its series up to `horizon` before it.

    Args:
        dataset: series.
        horizon: in time units.
        origins: most times per series to ask from, evenly spread over those with an observation
            within the horizon; None asks from all.
        since: the earliest origin of each series, shape `(series,)`; None for its first time.

    Raises:
        LatentODEError: for no whole number of origins, or fewer than one.
    """
    if origins is not None:
        check_whole("origins", origins)
    series, time = dataset.series, dataset.time
    events = pd.DataFrame({"series": series, "time": time}).drop_duplicates()
    origin_series, origin = events["series"].to_numpy(), events["time"].to_numpy()
    upto = _upto(dataset, origin_series, origin, horizon)
    begin = _first_after(series, time, origin_series, origin)
    end = np.maximum(begin, _first_after(series, time, origin_series, upto))
    usable = end > begin
    if since is not None:
        usable &= origin >= since[origin_series]
    return _pairs(dataset, origin, begin, (end - begin) * _spread(origin_series, usable, origins))


@understood("cutoffs")
def observed_after(dataset: SeriesDataset, horizon: float, cutoffs: At) -> BacktestPairs:
    """Pairs the observations of every series up to `horizon` after each cutoff with that cutoff.

    A series that has shown nothing by a cutoff is not asked about from it. Its forecast goes on from
    the last observation by then, as that of a history which ends there; leads count from the cutoff.

    Args:
        dataset: series.
        horizon: in time units.
        cutoffs: timestamps on the clock of the time column, the same for all series.

    Raises:
        SchemaError: if they cannot be read, or no series is observed both before one of them and
            within a horizon after it.
    """
    times = [cutoffs] if pd.api.types.is_scalar(cutoffs) else listed(cutoffs, "cutoffs")
    check_size("series, cutoffs and columns", len(dataset), len(times), COLUMNS)
    column = dataset.axis.parse(pd.Series(times), "cutoffs").drop_duplicates()
    ticks = np.tile(np.sort(dataset.axis.query_ticks(column)), len(dataset))
    owner = np.repeat(np.arange(len(dataset)), len(column))
    origin = dataset.axis.to_units(ticks, dataset.start[owner])
    upto = _upto(dataset, owner, origin, horizon)
    begin = _first_after(dataset.series, dataset.time, owner, origin)
    end = np.maximum(begin, _first_after(dataset.series, dataset.time, owner, upto))
    counts = (end - begin) * (origin >= dataset.first[owner])
    if not counts.any():
        raise SchemaError(
            "no series has observations both by one of the cutoffs and within a horizon after it; "
            f"the table's times go from {dataset.keys[str(dataset.schema.time)].min()} to "
            f"{dataset.keys[str(dataset.schema.time)].max()}"
        )
    last = _first_after(dataset.series, dataset.time, owner, origin) - 1
    seen = np.where(counts > 0, dataset.time[last], origin)
    return _pairs(dataset, seen, begin, counts, origin)


def _upto(dataset: SeriesDataset, series: np.ndarray, origin: np.ndarray, horizon: float) -> np.ndarray:
    """The end of each horizon, forgiving the rounding of times that are exactly there."""
    end = origin + horizon
    size = np.abs(end)
    if dataset.axis.kind == "float":  # whose times were rounded before they were counted from the start
        size = size + np.abs(dataset.start[series]) / dataset.axis.ticks_per_unit
    return end + ROUNDINGS * np.finfo(np.float64).eps * size


def _pairs(
    dataset: SeriesDataset,
    origin: np.ndarray,
    begin: np.ndarray,
    counts: np.ndarray,
    cutoff: np.ndarray | None = None,
) -> BacktestPairs:
    """Each origin with so many observations from `begin` on, named by its cutoff if it has one."""
    check_size("origins, observations after each and columns", float(counts.sum()), COLUMNS)
    owner = np.repeat(np.arange(len(origin)), counts)
    target = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + begin[owner]
    series, time = dataset.series[target], dataset.time[target]
    queries = ForecastQueries(series, dataset.variable[target], time, origin[owner])
    named = (
        queries if cutoff is None else ForecastQueries(series, queries.variable, time, cutoff[owner])
    )
    return BacktestPairs(queries, dataset.value[target], _keys(dataset, named, target))


def _spread(series: np.ndarray, usable: np.ndarray, most: int | None) -> np.ndarray:
    """Mask of up to `most` usable origins per series, evenly spread by rank; sorted by series."""
    if most is None or len(series) == 0:
        return usable
    total = np.bincount(series, usable).astype(np.int64)[series]
    before = np.cumsum(usable) - usable
    rank = before - before[np.searchsorted(series, series)]
    kept, total = np.minimum(most, total), np.maximum(total, 1)
    return usable & ((rank + 1) * kept // total > rank * kept // total)


def _first_after(series: np.ndarray, time: np.ndarray, of: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Position of the first observation of series `of` later than `when`; sorted by series, time."""
    n = len(series)
    order = np.lexsort(
        (np.arange(n + len(of)) >= n, np.concatenate([time, when]), np.concatenate([series, of]))
    )
    asked = order >= n
    position = np.empty(len(of), dtype=np.int64)
    position[order[asked] - n] = np.cumsum(~asked)[asked]
    return position


def _keys(dataset: SeriesDataset, queries: ForecastQueries, target: np.ndarray) -> pd.DataFrame:
    schema, axis = dataset.schema, dataset.axis
    schema.refuse_columns(("origin", "lead", "variable", "actual", "model", "log_prob"))
    frame = pd.DataFrame({"origin": axis.restore(_origin_ticks(dataset, queries))})
    if schema.id is not None:
        frame.insert(0, schema.id, dataset.ids[queries.series])
    frame[str(schema.time)] = axis.restore(dataset.row_ticks[dataset.row[target]])
    frame["lead"] = queries.time - queries.origin
    frame["variable"] = np.asarray(dataset.variables, dtype=object)[queries.variable]
    return frame


def _origin_ticks(dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
    elapsed = queries.origin * dataset.axis.ticks_per_unit
    if dataset.axis.kind != "float":
        elapsed = np.rint(elapsed).astype(np.int64)
    return dataset.start[queries.series] + elapsed
