"""Queries by a user: from `at=` to (identifier, time), each time as the user's own table has it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data.columns import column_of
from latentode.data.dataset import SeriesDataset
from latentode.data.time_axis import Duration
from latentode.errors import SchemaError

__all__ = ["At", "QueryTimes", "listed", "query_times", "times_along"]

At = Duration | dt.date | pd.DataFrame | Sequence[object] | pd.Index | pd.Series | np.ndarray
MAY_BE = "timestamps, a frame, or a duration such as '24h'"
_DURATION = re.compile(r"^\s*[+-]?[\d.]+\s*[A-Za-z]+(\s*[\d.]+\s*[A-Za-z]+)*\s*$")


@dataclass(frozen=True)
class QueryTimes:
    """Places in time that were asked for.

    Args:
        series: index of the series, shape `(places,)`.
        time: since the series' start in time units, float64, shape `(places,)`.
        keys: identifier (if the table has one) and time, as columns of the table's own types.
    """

    series: np.ndarray
    time: np.ndarray
    keys: pd.DataFrame


def query_times(history: SeriesDataset, at: At, count: int | None = None) -> QueryTimes:
    """Reads `at`.

    Args:
        history: series that are asked about.
        at: one of: a duration ("24h", a timedelta; for number times a single number) ahead of each
            series' last observation; timestamps, asked of every series; or a frame with the
            identifier and time columns.
        count: with a duration, how many equally spaced times to answer up to it (1 unless told).

    Raises:
        SchemaError: for an unknown series, a frame without a time, times that cannot be read.
    """
    if _is_duration(at):
        return _ahead(history, cast(Duration, at), 1 if count is None else count)
    if count is not None:
        raise SchemaError("count goes with a duration such as at='24h', not with timestamps")
    if isinstance(at, pd.DataFrame):
        return _from_frame(history, at)
    column = history.axis.parse(pd.Series(listed(at, "at", MAY_BE)), "at")
    series = np.repeat(np.arange(len(history)), len(column))
    return _make(history, series, column.iloc[np.tile(np.arange(len(column)), len(history))])


def listed(times: object, name: str, may_be: str = "timestamps") -> list[Any]:
    """One time or several as a list.

    Raises:
        SchemaError: for none, and for what is no time, with what it `may_be`.
    """
    if isinstance(times, str | dt.date | np.generic):
        return [times]
    try:
        found = list(cast(Any, times))
    except TypeError as error:
        raise SchemaError(f"{name} {times!r} is no time: give {may_be}") from error
    if not found:
        raise SchemaError(f"{name} is empty: give {may_be}")
    return found


def times_along(history: SeriesDataset, ahead: float, count: int) -> QueryTimes:
    """Evenly spaced times from each series' first observation to `ahead` (time units) of its last.

    Rounded to what the time column can hold: whole days for dates, whole numbers for integers.
    """
    series = np.repeat(np.arange(len(history)), count)
    part = np.tile(np.linspace(0, 1, count), len(history))
    time = history.first[series] + part * (history.last - history.first + ahead)[series]
    ticks = time * history.axis.ticks_per_unit
    if history.axis.kind != "float":
        step = history.axis.ticks_per_unit if history.axis.kind == "date" else 1.0
        ticks = (np.rint(ticks / step) * step).astype(np.int64)
    places = pd.DataFrame({"series": series, "ticks": ticks}).drop_duplicates()
    series = places["series"].to_numpy()
    column = history.axis.restore(history.start[series] + places["ticks"].to_numpy())
    return _make(history, series, column)


def _is_duration(at: object) -> bool:
    if isinstance(at, str):
        return bool(_DURATION.match(at))
    return isinstance(at, Real | dt.timedelta | np.timedelta64) and not isinstance(at, bool)


def _ahead(history: SeriesDataset, duration: Duration, count: int) -> QueryTimes:
    if not isinstance(count, Integral) or count < 1:
        raise SchemaError(f"count must be a whole number of at least 1, got {count}")
    horizon = history.axis.duration(duration, "at")
    steps = np.arange(1, count + 1) / count * horizon * history.axis.ticks_per_unit
    # Whole ticks are added to whole ticks: an epoch in nanoseconds is too long for a float.
    if history.axis.is_calendar:
        steps = np.rint(steps)
    if history.axis.kind != "float" and (steps == np.rint(steps)).all():
        steps = steps.astype(np.int64)
    series = np.repeat(np.arange(len(history)), count)
    ticks = history.last_ticks[series] + np.tile(steps, len(history))
    return _make(history, series, history.axis.restore(ticks))


def _from_frame(history: SeriesDataset, at: pd.DataFrame) -> QueryTimes:
    schema = history.schema
    needed = [c for c in (schema.id, schema.time) if c is not None]
    absent = [c for c in needed if c not in at.columns]
    if absent:
        raise SchemaError(
            f"at has no column `{absent[0]}`; give a frame with the columns {' and '.join(needed)}"
        )
    if at.empty:
        raise SchemaError("at has no rows: nothing is asked for")
    series = np.zeros(len(at), dtype=np.int64)
    if schema.id is not None:
        series = history.index_of(column_of(at, schema.id))
    times = column_of(at, str(schema.time))
    column = history.axis.parse(times, f"column `{schema.time}` of at")
    return _make(history, series, column.reset_index(drop=True))


def _make(history: SeriesDataset, series: np.ndarray, column: pd.Series) -> QueryTimes:
    ticks = history.axis.query_ticks(column)
    time = history.axis.to_units(ticks, history.start[series])
    keys = pd.DataFrame({str(history.schema.time): column.reset_index(drop=True)})
    if history.schema.id is not None:
        keys.insert(0, history.schema.id, history.ids[series])
    return QueryTimes(series, time, keys)
