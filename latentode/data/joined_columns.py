"""Joined columns: an identifier or a time that a table spreads over several columns.

A role may name them with a plus between: `id="site+bed"`, `time="year+month+day+hour"`. The joined
column stands in answers under that name. Days in one column and times of day in another are joined too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.columns import column_of, row_name, some_names, without_arrow
from latentode.data.schema import Schema
from latentode.data.time_formats import clock_of, month_of
from latentode.data.time_reading import TimeForm, read_times
from latentode.data.usual_names import PARTS_OF_TIME, usual
from latentode.errors import SchemaError

__all__ = [
    "JOINT",
    "joined",
    "joined_times",
    "parts_of",
    "parts_of_time",
    "require",
    "with_joined_columns",
]

JOINT = "+"
_LIMITS = {
    "quarter": (1, 4),
    "month": (1, 12),
    "day": (1, 31),
    "doy": (1, 366),
    "hour": (0, 24),
    "minute": (0, 59),
}
_LIMITS |= {"hhmm": (0, 2400), "second": (0, 60), "year": (1000, 9999)}
EXACT = 2.0**53  # up to which floats are whole numbers one by one
_DAY, _SECOND = 86_400, 10**6  # seconds, microseconds


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


def parts_of_time(frame: pd.DataFrame, taken: Iterable[str]) -> list[str]:
    """The columns that hold year, month, day and so on, in this order; none without a year and more."""
    free = [c for c in frame.columns if c not in set(taken)]
    found: dict[str, str] = {}
    for part in PARTS_OF_TIME:
        named = [c for c in free if _part_of(c, free) == part and _may_be(frame[c], part)]
        if len(named) == 1:
            found[part] = named[0]
    if "year" not in found or not {"quarter", "month", "doy"} & set(found):
        return []
    if not {"month", "doy"} & set(found):
        return [found["year"], found["quarter"]]
    wanted = ["year", "doy"] if "doy" in found else ["year", "month"]
    wanted += ["day"] if "doy" not in found and "day" in found else []
    if len(wanted) > 2 or "doy" in found:
        clock = ["hhmm"] if "hhmm" in found else ["hour", "minute", "second"]
        for part in clock:  # minutes without hours are something else
            if part not in found:
                break
            wanted.append(part)
    return [found[part] for part in wanted]


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
        made[str(schema.time)] = _times([column_of(frame, c) for c in times], str(schema.time))
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
    days = column_of(frame, schema.date)
    form = None if schema.time_format in ("elapsed", "number") else schema.time_format
    read = read_times(days, f"column `{schema.date}`", TimeForm(form))
    day = pd.to_datetime(read.column)
    if day.dt.tz is not None:
        raise SchemaError(
            f"column `{schema.date}` has a time zone, so it holds whole timestamps; name it with "
            "time= alone"
        )
    return (day.dt.normalize() + clock_of(column)).rename(str(column.name))


def _part_of(name: str, columns: Collection[str]) -> str | None:
    """The part of a time that a column is called by; "mm" are the minutes beside months "MM"."""
    if name == "mm" and "MM" in columns:
        return "minute"
    return next((part for part, names in PARTS_OF_TIME.items() if usual(name) in names), None)


def _may_be(column: pd.Series, part: str) -> bool:
    """Whether the cells of a column are such a part of a time."""
    if pd.api.types.is_bool_dtype(column):
        return False
    low, high = _LIMITS[part]
    numbers = _numbers(column, part)
    whole = part == "second" or (numbers == np.floor(numbers))
    return bool(((numbers >= low) & (numbers <= high) & whole).all())


def _numbers(column: pd.Series, part: str) -> np.ndarray:
    """The cells of a part as numbers, months by their names too; NaN for what is none."""
    plain = without_arrow(column)
    if part == "quarter" and not pd.api.types.is_numeric_dtype(plain):
        plain = plain.astype(str).str.strip().str.replace(r"^[Qq]", "", regex=True)
    if part == "month" and not pd.api.types.is_numeric_dtype(plain):
        names = plain.astype(str).str.strip()
        numbers = {word: month_of(word) for word in names.unique()}
        if any(numbers.values()):
            return names.map(numbers).to_numpy(np.float64)
    return pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, na_value=np.nan)


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


def _times(columns: Sequence[pd.Series], name: str) -> pd.Series:
    numbers: dict[str, np.ndarray] = {}
    names = [str(column.name) for column in columns]
    for column in columns:
        part = _part_of(str(column.name), names)
        if part is None or part in numbers:
            raise SchemaError(
                f"time {name!r} joins `{column.name}`, which is no part of a time by its name; call "
                f"the parts {', '.join(PARTS_OF_TIME)}"
            )
        numbers[part] = _numbers(column, part)
        low, high = _LIMITS[part]
        _refuse(columns, name, ~((numbers[part] >= low) & (numbers[part] <= high)))
    if "year" not in numbers:
        raise SchemaError(f"time {name!r} has no year; add a column `year`")
    year = numbers["year"].astype(np.int64) - 1970
    if "doy" in numbers:
        begin = year.astype("M8[Y]")
        day = begin.astype("M8[D]") + (numbers["doy"].astype(np.int64) - 1)
        _refuse(columns, name, day.astype("M8[Y]") != begin)
    else:
        first = 3 * numbers.get("quarter", np.ones(len(year))) - 2
        month = numbers.get("month", first).astype(np.int64)
        begin = year.astype("M8[Y]").astype("M8[M]") + (month - 1)
        day = begin.astype("M8[D]") + (numbers.get("day", np.ones(len(year))).astype(np.int64) - 1)
        _refuse(columns, name, day.astype("M8[M]") != begin)
    zero = np.zeros(len(year))
    clock = numbers.get("hhmm", zero)
    _refuse(columns, name, clock % 100 >= 60)
    minutes = (
        60 * (numbers.get("hour", zero) + clock // 100) + numbers.get("minute", zero) + clock % 100
    )
    seconds = 60 * minutes + numbers.get("second", zero)
    _refuse(columns, name, seconds > _DAY)
    ticks = np.rint(seconds * _SECOND).astype(np.int64).astype("m8[us]")
    return pd.Series(day.astype("M8[us]") + ticks, index=columns[0].index, name=name)


def _refuse(columns: Sequence[pd.Series], name: str, bad: np.ndarray) -> None:
    if bad.any():
        cells = ", ".join(str(column.iloc[int(np.argmax(bad))]) for column in columns)
        raise SchemaError(
            f"columns {name!r} hold {cells} at {row_name(columns[0], bad)}, which is no time; correct "
            "it or remove that row"
        )


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
