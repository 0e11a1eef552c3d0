r"""Known columns ahead of the last observation: what a question tells of them, and what nobody told.

A known value holds until the next one. Past the last value that a table gives it still holds, which is
a guess like any other, so it is said.

Cycles: where the clock stands in its day, week or any period, for forecasts that depend on it.

A model counts time from the forecast origin, so a forecast does not know whether it is noon. With
cycles declared in the schema it is told the phase of each at its origin, of a clock that shows s and a
period p

$$\sin(2\pi s / p), \quad \cos(2\pi s / p),$$

like a static feature; the phase at any other time follows, since times are counted from the origin.
"""

from __future__ import annotations

import math
import warnings
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.columns import IntoFrame, column_of
from latentode.data.dataset import SeriesDataset
from latentode.data.queries import At, QueryTimes, query_times
from latentode.data.reading import numeric_column, read_columns
from latentode.data.time_axis import TimeAxis
from latentode.errors import SchemaError

__all__ = ["cycle_phases", "tell", "wall_clock", "warn_of_untold"]

SHOWN = 3
ROUNDINGS = 4  # a time and a place asked for may be reached by other sums


def tell(history: IntoFrame, dataset: SeriesDataset, at: At) -> pd.DataFrame | None:
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
    told = [c for c in schema.known_future if isinstance(at, pd.DataFrame) and c in at.columns]
    if not told:
        return None
    asked = cast(pd.DataFrame, at)
    places = query_times(dataset, asked)
    values = _values_asked(asked[told], dataset, places)
    table, _, _ = read_columns(history, schema)
    series = np.zeros(len(table), dtype=np.int64)
    if schema.id is not None:
        series = dataset.ids.get_indexer(pd.Index(column_of(table, schema.id)))
    ticks = dataset.axis.ticks_of(column_of(table, str(schema.time)))
    there = pd.MultiIndex.from_arrays([series, ticks])
    for name in told:
        given = column_of(values, name).reindex(there).to_numpy()
        own = column_of(table, name)
        if not np.isnan(given).all():
            table[name] = own.astype(np.float64).where(np.isnan(given), given)
    return pd.concat([table, _rows_asked(values, there, dataset, places)], ignore_index=True)


def _values_asked(given: pd.DataFrame, dataset: SeriesDataset, places: QueryTimes) -> pd.DataFrame:
    """The known values of a question by series and tick, each pair once."""
    ticks = dataset.axis.query_ticks(column_of(places.keys, str(dataset.schema.time)))
    numbers = given.apply(numeric_column).astype(np.float64).reset_index(drop=True)
    by_place = numbers.groupby([places.series, ticks], sort=False)
    several = by_place.min() < by_place.max()
    if several.to_numpy().any():
        row, column = (int(i) for i in np.argwhere(several.to_numpy())[0])
        series, name = several.index[row][0], several.columns[column]
        raise SchemaError(
            f"at gives known column `{name}` two values for series {dataset.name(series)!r} at one "
            "time; give it one"
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


def warn_of_untold(history: SeriesDataset, places: QueryTimes, stacklevel: int = 2) -> None:
    """Warns of known columns that say nothing up to the times that are asked for.

    Args:
        history: with the rows that a question adds.
        places: what is asked.
        stacklevel: as for `warnings.warn`.
    """
    for name in history.schema.known_future:
        last = _last_told(history, name)[places.series]
        slack = ROUNDINGS * np.finfo(np.float64).eps * np.maximum(np.abs(last), np.abs(places.time))
        untold = history.ids[np.unique(places.series[places.time > last + slack])]
        if len(untold):
            more = f" and {len(untold) - SHOWN} more" if len(untold) > SHOWN else ""
            warnings.warn(
                f"known column `{name}` has no values up to the times asked of series "
                f"{', '.join(repr(i) for i in untold[:SHOWN])}{more}; its last value is held there. "
                f"Give `{name}` at those times: as a column of the queries, or in rows of the history",
                stacklevel=stacklevel + 1,
            )


def _last_told(history: SeriesDataset, name: str) -> np.ndarray:
    """When each series last tells a value, in time units; -inf where it never does."""
    told = column_of(history.keys, name).notna().to_numpy()
    series = history.series_of_row[told]
    time = history.axis.to_units(history.row_ticks[told], history.start[series])
    return pd.Series(time).groupby(series).max().reindex(range(len(history))).fillna(-np.inf).to_numpy()


def wall_clock(axis: TimeAxis, start: np.ndarray, time: np.ndarray) -> np.ndarray:
    """What the clock on the wall shows, in ticks: in the table's own zone, summer time included.

    Args:
        axis: what the time column means.
        start: tick of each series' start.
        time: time units since it, of the same shape.

    Returns:
        Ticks of the axis since 1970-01-01 00:00 local time; of numeric times the numbers themselves.
    """
    ticks = start + time * axis.ticks_per_unit
    if axis.timezone is None:
        return ticks
    stamps = pd.to_datetime(np.rint(ticks).astype(np.int64), unit=axis.tick)  # type: ignore[arg-type]
    local = stamps.tz_localize("UTC").tz_convert(axis.timezone).tz_localize(None)
    return local.as_unit(axis.tick).asi8


def cycle_phases(dataset: SeriesDataset, series: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Sine and cosine of the phase of each cycle of the schema.

    Args:
        dataset: whose schema names the cycles.
        series: which series, shape `(moments,)`.
        time: time units since its start, likewise.

    Returns:
        Shape `(moments, 2 * cycles)`.
    """
    axis, cycles = dataset.axis, dataset.schema.cycles
    clock = wall_clock(axis, dataset.start[series], time)
    periods = np.array([axis.duration(c, "cycles") for c in cycles]) * axis.ticks_per_unit
    # Remainders in ticks are exact; an angle made of ticks since 1970 would not be.
    angle = 2 * math.pi * np.remainder(clock[:, None], periods) / periods
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
