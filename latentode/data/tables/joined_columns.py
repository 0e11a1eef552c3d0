"""Joined columns: an identifier or a time that a table spreads over several columns.

A role may name them with a plus between: `id="site+bed"`, `time="year+month+day+hour"`. The joined
column stands in answers under that name. Days in one column and times of day in another are joined too.
Columns that name the series only together are found by how their combinations repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.cells.clock_times import clock_of
from latentode.data.cells.columns import column_of, some_names, without_arrow
from latentode.data.cells.number_text import is_text
from latentode.data.cells.time_parts import days_of, time_of_parts
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = [
    "JOINT",
    "codes_of",
    "joined",
    "joined_times",
    "parts_of",
    "require",
    "telling_together",
    "times_differ",
    "with_joined_columns",
]

FEWEST = 3  # rows of a series that columns together name
LIKELY = 8  # columns that may name series together
SHARED = 0.25  # of the rows have the time of another, where several series are at one time
MORE = 2  # times as many series as there are rows of one time, at most
JOINT = "+"
EXACT = 2.0**53  # up to which floats are whole numbers one by one


def joined(names: Iterable[str]) -> str:
    """What a role calls several columns."""
    return JOINT.join(names)


def parts_of(name: str | None, columns: Iterable[str]) -> list[str]:
    """The columns that a role joins; none if it is a column of its own, or one of them is not there.

    Example:
        >>> parts_of("site+bed", ["site", "bed", "time"]), parts_of("time", ["time"])
        (['site', 'bed'], [])
    """
    if name is None or JOINT not in name or name in columns:
        return []
    parts = [part.strip() for part in name.split(JOINT)]
    return parts if set(parts) <= set(columns) else []


def with_joined_columns(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A table with the columns that its schema joins of others; as it is where there are none.

    Raises:
        SchemaError: for a row whose parts make no time, and for identifiers that run into each other.

    Example:
        >>> frame = pd.DataFrame({"year": [2024], "month": [2], "day": [29], "x": [1.0]})
        >>> with_joined_columns(frame, Schema(time="year+month+day"))["year+month+day"][0]
        Timestamp('2024-02-29 00:00:00')
    """
    made: dict[str, pd.Series] = {}
    ids, times = (parts_of(name, frame.columns) for name in (schema.id, schema.time))
    if ids:
        made[str(schema.id)] = _labels([column_of(frame, c) for c in ids], str(schema.id))
    if times:
        made[str(schema.time)] = time_of_parts([column_of(frame, c) for c in times], str(schema.time))
    return frame.assign(**made) if made else frame


def joined_times(frame: pd.DataFrame, schema: Schema) -> pd.Series:
    """The column of times; with the days of the column of dates, where the schema names one.

    Args:
        frame: a table; one whose times were joined before has datetimes already.
        schema: with `time`, and maybe `date`.

    Raises:
        SchemaError: for a row whose day or time of day cannot be read.

    Example:
        >>> frame = pd.DataFrame({"date": ["2024-03-01"], "time": ["08:30"], "x": 1.0})
        >>> joined_times(frame, Schema(time="time", date="date"))[0]
        Timestamp('2024-03-01 08:30:00')
    """
    column = without_arrow(column_of(frame, str(schema.time)))
    if schema.date is None or pd.api.types.is_datetime64_any_dtype(column):
        return column
    if schema.date not in frame.columns:
        raise SchemaError(
            f"column `{schema.date}`, which holds the days of the times in `{schema.time}`, is not in "
            "the table; add it, or give whole timestamps"
        )
    form = None if schema.time_format in ("elapsed", "number") else schema.time_format
    days = days_of(column_of(frame, schema.date), form)
    return (days + clock_of(column)).rename(str(column.name))


def _labels(columns: Sequence[pd.Series], name: str) -> pd.Series:
    """Combinations of cells as text, each made once."""
    parts = pd.DataFrame({i: _as_text(column) for i, column in enumerate(columns)})
    group = parts.groupby(list(parts.columns), sort=False, dropna=False).ngroup().to_numpy()
    once = parts[~pd.Series(group).duplicated().to_numpy()]
    labels = cast(pd.Series, once.iloc[:, 0])
    for other in parts.columns[1:]:
        labels = labels + JOINT + once[other]
    twice = labels.dropna().duplicated()
    if twice.any():
        raise SchemaError(
            f"identifiers joined as {name!r} run into each other at "
            f"{labels.dropna()[twice].iloc[0]!r}; give each series one column of its own"
        )
    return pd.Series(labels.to_numpy(dtype=object)[group], index=parts.index, name=name)


def _as_text(column: pd.Series) -> pd.Series:
    plain = without_arrow(column)
    if pd.api.types.is_float_dtype(plain):
        told = plain.dropna()
        if ((told == np.floor(told)) & (told.abs() < EXACT)).all():  # whole numbers with a gap
            plain = plain.astype("Int64")
    missing = plain.isna() | (plain.astype(object) == "")
    return plain.astype(object).map(str, na_action="ignore").mask(missing.to_numpy(dtype=bool))


def require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises for a column that a table lacks, with what may have been meant."""
    for column in columns:
        if column not in frame.columns:
            index = " (it is the name of the index: frame.reset_index() makes it one)"
            parts = [part.strip() for part in column.split(",")]
            fix = "correct its name in the schema, or the table"
            if len(parts) > 1 and set(parts) <= {*frame.columns}:
                fix = f"write several together as '{joined(parts)}'"
            raise SchemaError(
                f"column `{column}` is not in the table, whose columns are "
                f"{some_names(frame.columns)}{index if column in frame.index.names else ''}; {fix}"
            )


def codes_of(*columns: pd.Series | np.ndarray) -> np.ndarray:
    """The number of each row's combination of cells."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        part = pd.factorize(without_arrow(column) if isinstance(column, pd.Series) else column)[0]
        codes = pd.factorize(codes * (part.max(initial=0) + 2) + part + 1)[0].astype(np.int64)
    return codes


def times_differ(codes: np.ndarray, ticks: np.ndarray) -> bool:
    """Whether no time repeats within a group."""
    order = np.lexsort((ticks, codes))
    same = (np.diff(codes[order]) == 0) & (np.diff(ticks[order]) == 0)
    return not bool(same.any())


def telling_together(
    frame: pd.DataFrame, names: Sequence[str], base: np.ndarray, ticks: np.ndarray
) -> list[str]:
    """Columns that name the series together, as latitudes and longitudes do; none where none do.

    One or two of them leave no time of a series twice. Their combinations come again and again, hardly
    more of them than there are rows of one time: values that are measured would make others each time.

    Args:
        frame: the table.
        names: of the columns that may be such.
        base: the series of each row, as far as it is known.
        ticks: the time of each row.

    Returns:
        Those columns; beside numbers also others that never change where they do not.

    Example:
        >>> places = pd.DataFrame({"lat": [52.5, 48.1] * 3, "lon": [13.4, 11.6] * 3, "y": range(6)})
        >>> telling_together(places, ["lat", "lon", "y"], np.zeros(6), np.arange(6) // 2)
        ['lat', 'lon']
    """
    few = [c for c in names if 2 <= frame[c].nunique() <= len(frame) / FEWEST][:LIKELY]
    codes = {c: codes_of(frame[c]) for c in few}
    at_once = pd.Series(codes_of(base, ticks)).value_counts()
    if at_once[at_once > 1].sum() < SHARED * len(frame):
        return []
    one = pd.Series(base).groupby(codes_of(base, ticks)).first()
    most = int(at_once.groupby(one).max().sum())
    for chosen in (*combinations(few, 1), *combinations(few, 2)):
        series = codes_of(base, *(codes[c] for c in chosen))
        n = int(series.max()) + 1
        if n > min(MORE * most, len(frame) / FEWEST) or not times_differ(series, ticks):
            continue
        numbers = [c for c in few if not is_text(frame[c])]
        same = numbers if set(chosen) <= set(numbers) else ()
        alike = [c for c in same if int(codes_of(series, codes[c]).max()) + 1 == n]
        return [c for c in few if c in chosen or c in alike]
    return []
