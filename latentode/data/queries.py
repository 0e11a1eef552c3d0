"""Queries by a user: from `at=` to (identifier, time), each time as the user's own table has it.

A query may give values of known-future columns ahead of the last observation. A known value holds until
the next one; past the last value that a table gives it still holds, which is a guess like any other, so
it is said.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import IntoFrame, column_of
from latentode.data.cells.time_axis import FARTHEST, Duration
from latentode.data.dataset import SeriesDataset
from latentode.data.tables.joined_columns import with_joined_columns
from latentode.data.tables.reading import numeric_column, read_columns
from latentode.errors import SchemaError, check_length, check_size, check_whole, understood, warn

__all__ = [
    "At",
    "QueryTimes",
    "asked_times",
    "listed",
    "query_times",
    "times_along",
    "warn_of_held_values",
    "with_known_values",
]

At = Duration | dt.date | pd.DataFrame | Sequence[object] | pd.Index | pd.Series | np.ndarray
MAY_BE = "timestamps, a frame, or a duration such as '24h'"
SHOWN = 3
COLUMNS = 8  # of an answer, or about as many
ROUNDINGS = 4  # a time and a place asked for may be reached by other sums
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


@understood("at")
def query_times(history: SeriesDataset, at: At, count: int | None = None) -> QueryTimes:
    """Reads `at`.

    Args:
        history: series that are asked about.
        at: one of: a duration ("24h", a timedelta; for number times a single number) ahead of each
            series' last observation; timestamps, asked of every series; or a frame with the
            identifier and time columns.
        count: with a duration, how many equally spaced times to answer up to it (1 by default).

    Raises:
        SchemaError: for an unknown series, a frame without a time, times that cannot be read.
    """
    return _make(history, *asked_times(history, at, count))


def asked_times(
    history: SeriesDataset, at: At, count: int | None = None
) -> tuple[np.ndarray, pd.Series]:
    """The series and the time of each place of `query_times`, in the table's own type of times."""
    if _is_duration(at):
        return _ahead(history, cast(Duration, at), 1 if count is None else count)
    if count is not None:
        raise SchemaError("count goes with a duration such as at='24h', not with timestamps")
    if isinstance(at, pd.DataFrame):
        return _from_frame(history, at)
    times = listed(at, "at", MAY_BE)
    check_size("series, times and columns", len(history), len(times), COLUMNS)
    column = history.axis.parse(pd.Series(times), "at")
    series = np.repeat(np.arange(len(history)), len(column))
    return series, column.iloc[np.tile(np.arange(len(column)), len(history))]


def listed(times: object, name: str, may_be: str = "timestamps") -> list[Any]:
    """One time or several as a list.

    Raises:
        SchemaError: for none, and for what is no time, with what it `may_be`.
    """
    if isinstance(times, str | dt.date | np.generic):
        return [times]
    check_length(f"times of {name}", times)
    try:
        found = list(cast(Any, times))
    except TypeError as error:
        raise SchemaError(f"{name} {times!r} is no time: give {may_be}") from error
    if not found:
        raise SchemaError(f"{name} is empty: give {may_be}")
    return found


def times_along(
    history: SeriesDataset, ahead: float, count: int, since: np.ndarray | None = None
) -> QueryTimes:
    """Evenly spaced times from each series' first observation to `ahead` (time units) of its last.

    Rounded to what the time column can hold: whole days for dates, whole numbers for integers.
    `since`, shape `(series,)` in time units, is where they begin instead.
    """
    series = np.repeat(np.arange(len(history)), count)
    part = np.tile(np.linspace(0, 1, count), len(history))
    begin = history.first if since is None else since
    time = begin[series] + part * (history.last - begin + ahead)[series]
    ticks = time * history.axis.ticks_per_unit
    if history.axis.kind != "float":
        step = history.axis.ticks_per_unit if history.axis.kind == "date" else 1.0
        ticks = (np.rint(ticks / step) * step).astype(np.int64)
    places = pd.DataFrame({"series": series, "ticks": ticks}).drop_duplicates()
    series = places["series"].to_numpy()
    column = history.axis.restore(history.start[series] + places["ticks"].to_numpy())
    return _make(history, series, column)


@understood("at")
def with_known_values(history: IntoFrame, dataset: SeriesDataset, at: At) -> pd.DataFrame | None:
    """The history with the known values that a question gives: what the question says, wins.

    A value of the question takes the place of the history's own at that time, cell by cell; an empty
    cell of the question leaves the history's as it is. Times that the history has no row for become
    rows without observations.

    Args:
        history: a table.
        dataset: the same, read.
        at: a question about it.

    Returns:
        A table to read instead; None where the question gives no known values.

    Raises:
        SchemaError: where the question gives two values for one series, time and column.
    """
    schema = dataset.schema
    columns = [c for c in schema.known_future if isinstance(at, pd.DataFrame) and c in at.columns]
    if not columns:
        return None
    asked = cast(pd.DataFrame, at)
    places = query_times(dataset, asked)
    values = _values_asked(asked[columns], dataset, places)
    table = read_columns(history, schema).table
    series = np.zeros(len(table), dtype=np.int64)
    if schema.id is not None:
        series = dataset.ids.get_indexer(pd.Index(column_of(table, schema.id)))
    ticks = dataset.axis.ticks_of(column_of(table, str(schema.time)))
    there = pd.MultiIndex.from_arrays([series, ticks])
    for name in columns:
        given = column_of(values, name).reindex(there).to_numpy()
        own = column_of(table, name)
        if not np.isnan(given).all():
            table[name] = own.astype(np.float64).where(np.isnan(given), given)
    return pd.concat([table, _rows_asked(values, there, dataset, places)], ignore_index=True)


def warn_of_held_values(history: SeriesDataset, series: np.ndarray, time: np.ndarray) -> None:
    """Warns where known-future columns say nothing at times that are asked for, or before them.

    That is after the last value of a series, and in rows later than its last observation whose cell is
    empty. Between two rows a value holds, which nobody has to be told.

    Args:
        history: with the rows that a question adds.
        series: index of the series of each time that is asked for, shape `(times,)`.
        time: since the series' start in time units, likewise.

    Warns:
        UserWarning: naming the column, series, and times.
    """
    if not history.schema.known_future:
        return
    asked = _latest(history, series, time)
    of_row, ticks = history.series_of_row, history.row_ticks
    row_time = history.axis.to_units(ticks, history.start[of_row])
    ahead = (row_time > history.last[of_row]) & (row_time <= asked[of_row])
    for name in history.schema.known_future:
        told = column_of(history.keys, name).notna().to_numpy()
        last = _latest(history, of_row[told], row_time[told])
        rounding = ROUNDINGS * np.finfo(np.float64).eps * np.maximum(np.abs(last), np.abs(asked))
        untold = np.isfinite(last) & (asked > last + rounding)
        if untold.any():
            warn(
                f"known-future column `{name}` has no values up to the times asked"
                f"{_of_series(history, np.flatnonzero(untold))}; its last value is held there. "
                f"{_advice(name)}"
            )
        empty = ~told & ahead & (row_time < last[of_row])
        if empty.any():
            _warn_of_gap(history, name, told, empty)


def _warn_of_gap(history: SeriesDataset, name: str, told: np.ndarray, empty: np.ndarray) -> None:
    """Warns of empty cells between others: when the first series has the first run of them.

    Args:
        history: as for `warn_of_held_values`.
        name: of the column.
        told: which rows have a value, shape `(rows,)`.
        empty: which rows have none and are in question, likewise.
    """
    series, ticks = history.series_of_row, history.row_ticks
    places = pd.MultiIndex.from_arrays([series, ticks])
    empty = empty & ~places.isin(places[told])  # another row of the same time may have a value
    order = np.lexsort((ticks, series))
    run = np.zeros(len(order), dtype=np.int64)
    run[order] = np.cumsum(told[order])
    runs = np.unique(run[empty])
    if not len(runs):
        return
    first = empty & (run == runs[0])
    stamps = history.axis.restore(np.unique(ticks[first])).astype(str)
    when = f"from {stamps.iloc[0]} to {stamps.iloc[-1]}" if len(stamps) > 1 else f"at {stamps.iloc[0]}"
    more = f", the first of {len(runs)} such gaps" if len(runs) > 1 else ""
    owner = series[first][0]
    before = (told & (series == owner) & (ticks < ticks[first].min())).any()
    held = "the value before is held" if before else "the first value that follows is taken"
    warn(
        f"known-future column `{name}` is empty {when}{_of_series(history, np.array([owner]))}{more}; "
        f"{held} there. {_advice(name)}"
    )


def _advice(name: str) -> str:
    return f"Give `{name}` at those times: as a column of the queries, or in rows of the history"


def _latest(history: SeriesDataset, series: np.ndarray, time: np.ndarray) -> np.ndarray:
    """The latest of some times of each series, shape `(series,)`; -inf where there is none."""
    latest = np.full(len(history), -np.inf)
    np.maximum.at(latest, series, time)
    return latest


def _of_series(history: SeriesDataset, places: np.ndarray) -> str:
    """Which series something is said of; nothing where a table is a single one."""
    if history.schema.id is None:
        return ""
    names = ", ".join(repr(name) for name in history.ids[places[:SHOWN]].tolist())
    return f" of series {names}" + (f" and {len(places) - SHOWN} more" if len(places) > SHOWN else "")


def _is_duration(at: object) -> bool:
    if isinstance(at, str):
        return bool(_DURATION.match(at))
    return isinstance(at, Real | dt.timedelta | np.timedelta64) and not isinstance(at, bool)


def _ahead(history: SeriesDataset, duration: Duration, count: int) -> tuple[np.ndarray, pd.Series]:
    check_whole("count", count, error=SchemaError)
    check_size("series, times and columns", len(history), count, COLUMNS)
    horizon = history.axis.duration(duration, "at")
    steps = np.arange(1, count + 1) / count * horizon * history.axis.ticks_per_unit
    # Whole ticks are added to whole ticks: an epoch in nanoseconds is too long for a float.
    if history.axis.is_calendar:
        steps = np.rint(steps)
    small = (steps < FARTHEST).all()
    if history.axis.kind != "float" and small and (steps == np.rint(steps)).all():
        steps = steps.astype(np.int64)
    series = np.repeat(np.arange(len(history)), count)
    last, ahead = history.last_ticks[series], np.tile(steps, len(history))
    if history.axis.kind != "float" and not (last + ahead.astype(np.float64) < FARTHEST).all():
        raise SchemaError(
            f"at {duration!r} lies too far ahead: 64 bits of {history.axis.tick} cannot hold that "
            "time; "
            "ask for a nearer one"
        )
    return series, history.axis.restore(last + ahead)


def _from_frame(history: SeriesDataset, at: pd.DataFrame) -> tuple[np.ndarray, pd.Series]:
    schema = history.schema
    at = with_joined_columns(at, schema)
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
    return series, column.reset_index(drop=True)


def _make(history: SeriesDataset, series: np.ndarray, column: pd.Series) -> QueryTimes:
    ticks = history.axis.query_ticks(column)
    time = history.axis.to_units(ticks, history.start[series])
    keys: dict[str, Any] = {}
    if history.schema.id is not None:
        keys[history.schema.id] = history.ids[series]
    keys[str(history.schema.time)] = column.array
    return QueryTimes(series, time, pd.DataFrame(keys))


def _values_asked(given: pd.DataFrame, dataset: SeriesDataset, places: QueryTimes) -> pd.DataFrame:
    """The known values of a question by series and tick, each pair once."""
    ticks = dataset.axis.query_ticks(column_of(places.keys, str(dataset.schema.time)))
    read = {c: numeric_column(given[c], "known_future", dataset.schema).column for c in given.columns}
    numbers = pd.DataFrame(read).astype(np.float64).reset_index(drop=True)
    by_place = numbers.groupby([places.series, ticks], sort=False)
    several = by_place.min() < by_place.max()
    if several.to_numpy().any():
        row, column = (int(i) for i in np.argwhere(several.to_numpy())[0])
        series, name = several.index[row][0], several.columns[column]
        raise SchemaError(
            f"at gives known-future column `{name}` two values for series {dataset.name(series)!r} "
            "at one time; give it one"
        )
    return by_place.first()


def _rows_asked(
    values: pd.DataFrame, there: pd.MultiIndex, dataset: SeriesDataset, places: QueryTimes
) -> pd.DataFrame:
    """Rows without observations at the places of a question for which the history has none."""
    schema = dataset.schema
    ticks = dataset.axis.query_ticks(column_of(places.keys, str(schema.time)))
    once = ~pd.MultiIndex.from_arrays([places.series, ticks]).duplicated()
    keys = places.keys[once].reset_index(drop=True)
    statics = dataset.static_frame().iloc[places.series[once]].reset_index(drop=True)
    rows = pd.concat([keys, statics, values.reset_index(drop=True)], axis=1)
    rows = cast(pd.DataFrame, rows[~values.index.isin(there)])
    if schema.layout == "long":
        rows[str(schema.variable)] = dataset.variables[0]
    return rows
