"""Parts of times: year, month and day, year and week, or a date beside hours and minutes, in columns.

A part is known by the name of its column and by the numbers that it holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from latentode.data.cells.columns import cell_name, or_no_row, row_name, without_arrow
from latentode.data.cells.time_formats import month_of
from latentode.data.cells.time_reading import TimeForm, read_times
from latentode.data.cells.usual_names import DATE_NAMES, PARTS_OF_TIME, usual
from latentode.errors import SchemaError

__all__ = ["clock_parts", "days_of", "parts_of_time", "refuse_words_in_parts", "time_of_parts"]

_LIMITS = {
    "year": (1000, 9999),
    "quarter": (1, 4),
    "month": (1, 12),
    "week": (1, 53),
    "day": (1, 31),
    "doy": (1, 366),
    "hhmm": (0, 2400),
    "hour": (0, 24),
    "minute": (0, 59),
    "second": (0, 60),
}
_DAY, _SECOND = 86_400, 10**6  # seconds, microseconds


def parts_of_time(frame: pd.DataFrame, taken: Iterable[str]) -> list[str]:
    """The columns that hold year, month, day and so on, in this order; none without a year and more."""
    found = _parts(frame, taken)
    if "year" not in found:
        return []
    if "doy" in found:
        wanted = ["year", "doy"]
    elif "month" in found:
        wanted = ["year", "month", *(["day"] if "day" in found else [])]
    else:
        wanted = ["year", next((part for part in ("quarter", "week") if part in found), "")]
    if not wanted[1]:
        return []
    if len(wanted) > 2 or "doy" in found:
        wanted += _clock(found)
    return [found[part] for part in wanted]


def refuse_words_in_parts(frame: pd.DataFrame, free: Iterable[str]) -> None:
    """Raises for a cell that is no number in a column such as of years, in which most cells are.

    Args:
        frame: a table of whose columns no others hold times.
        free: those of its columns that have no role yet.
    """
    called = {name for names in PARTS_OF_TIME.values() for name in names}
    for column in (frame[name] for name in free if usual(name) in called):
        if not pd.api.types.is_string_dtype(column) and column.dtype != object:
            continue
        numbers = pd.to_numeric(column.astype(object), errors="coerce")
        lost = (column.notna() & numbers.isna()).to_numpy(dtype=bool)
        if lost.any() and 2 * lost.sum() < column.notna().sum():
            raise SchemaError(
                f"column `{column.name}` holds {cell_name(column, lost)} among numbers, as parts of "
                f"times are; correct it or remove that row{or_no_row(lost)}"
            )


def clock_parts(frame: pd.DataFrame, taken: Iterable[str]) -> list[str]:
    """The columns that hold hours and minutes, and maybe seconds, beside one of dates."""
    found = _parts(frame, taken, dated=True)
    wanted = _clock(found)
    return [found[part] for part in wanted] if wanted[:2] == ["hour", "minute"] else []


def _clock(found: Collection[str]) -> list[str]:
    if "hhmm" in found:
        return ["hhmm"]
    clock = ["hour", "minute", "second"]  # of which minutes without hours are something else
    return clock[: next((i for i, part in enumerate(clock) if part not in found), len(clock))]


def _parts(frame: pd.DataFrame, taken: Iterable[str], dated: bool = False) -> dict[str, str]:
    """The column of each part that one column alone may be."""
    free = [c for c in frame.columns if c not in set(taken)]
    told = {c: _part_of(c, free, dated) for c in free}
    found: dict[str, str] = {}
    for part in PARTS_OF_TIME:
        named = [c for c in free if told[c] == part and _may_be(frame[c], part)]
        named = [c for c in named if usual(c) == part] or named  # an hour rather than "hr"
        if named and all(frame[c].equals(frame[named[0]].rename(c)) for c in named[1:]):
            found[part] = named[0]
    days = [c for c in free if told[c] == "day" and _may_be(frame[c], "doy")]  # of the year
    if len(days) == 1 and not {"day", "doy", "week"} & set(found):
        found["doy"] = days[0]
    return found


def time_of_parts(columns: Sequence[pd.Series], name: str) -> pd.Series:
    """The moments that parts make.

    Args:
        columns: of the parts, which their names tell.
        name: of the column of moments.

    Raises:
        SchemaError: for a column that is no part by its name, and the first row that is no time.
    """
    parts, names = {}, [str(column.name) for column in columns]
    dated = any(map(_names_dates, names))
    for column in columns:
        part = _part_of(str(column.name), names, dated)
        if part is None or part in parts:
            raise SchemaError(
                f"time {name!r} joins `{column.name}`, which is no part of a time by its name; call "
                f"the parts {', '.join(PARTS_OF_TIME)}, or date"
            )
        parts[part] = column
    if "day" in parts and not {"month", "week", "quarter"} & set(parts):
        parts["doy"] = parts.pop("day")
    numbers = {part: _numbers(column, part) for part, column in parts.items() if part != "date"}
    for part, held in numbers.items():
        low, high = _LIMITS[part]
        _refuse(columns, name, ~((held >= low) & (held <= high)))
    if "date" in parts:
        day = days_of(parts["date"]).to_numpy()
    else:
        day = _day_of_parts(columns, name, numbers)
    zero = np.zeros(len(day))
    clock = numbers.get("hhmm", zero)
    _refuse(columns, name, clock % 100 >= 60)
    minutes = (
        60 * (numbers.get("hour", zero) + clock // 100) + numbers.get("minute", zero) + clock % 100
    )
    seconds = 60 * minutes + numbers.get("second", zero)
    _refuse(columns, name, seconds > _DAY)
    ticks = np.rint(seconds * _SECOND).astype(np.int64).astype("m8[us]")
    return pd.Series(day.astype("M8[us]") + ticks, index=columns[0].index, name=name)


def days_of(column: pd.Series, form: str | None = None) -> pd.Series:
    """The midnights of a column of days.

    Args:
        column: of days, in any form.
        form: that they are written in, where it is known.

    Raises:
        SchemaError: for what is no day, and for whole timestamps with a zone.
    """
    read = pd.to_datetime(read_times(column, f"column `{column.name}`", TimeForm(form)).column)
    if read.dt.tz is not None:
        raise SchemaError(
            f"column `{column.name}` has a time zone, so it holds whole timestamps; name it with "
            "time= alone"
        )
    return read.dt.normalize()


def _day_of_parts(
    columns: Sequence[pd.Series], name: str, numbers: dict[str, np.ndarray]
) -> np.ndarray:
    if "year" not in numbers:
        raise SchemaError(f"time {name!r} has no year; add a column `year`, or one of dates")
    year = numbers["year"].astype(np.int64) - 1970
    begin, one = year.astype("M8[Y]"), np.ones(len(year))
    if "doy" in numbers:
        day = begin.astype("M8[D]") + (numbers["doy"].astype(np.int64) - 1)
        _refuse(columns, name, day.astype("M8[Y]") != begin)
        return day
    if "week" in numbers:  # of ISO 8601, whose first one holds the fourth of January
        fourth = begin.astype("M8[D]") + 3
        monday = fourth - (fourth.astype(np.int64) + 3) % 7  # 1970 began on a Thursday
        day = monday + 7 * (numbers["week"].astype(np.int64) - 1)
        _refuse(columns, name, (day + 3).astype("M8[Y]") != begin)
        return day
    month = numbers.get("month", 3 * numbers.get("quarter", one) - 2).astype(np.int64)
    months = begin.astype("M8[M]") + (month - 1)
    day = months.astype("M8[D]") + (numbers.get("day", one).astype(np.int64) - 1)
    _refuse(columns, name, day.astype("M8[M]") != months)
    return day


def _refuse(columns: Sequence[pd.Series], name: str, bad: np.ndarray) -> None:
    if bad.any():
        cells = ", ".join(str(column.iloc[int(np.argmax(bad))]) for column in columns)
        raise SchemaError(
            f"columns {name!r} hold {cells} at {row_name(columns[0], bad)}, which is no time; correct "
            f"it or remove that row{or_no_row(bad)}"
        )


def _names_dates(name: str) -> bool:
    return usual(name) in DATE_NAMES and usual(name) not in PARTS_OF_TIME["day"]


def _part_of(name: str, columns: Collection[str], dated: bool) -> str | None:
    """The part of a time that a column is called by; "mm" are the minutes beside months or a date."""
    if name.lower() == "mm" and (dated or (name == "mm" and "MM" in columns)):
        return "minute"
    if dated and _names_dates(name):
        return "date"
    return next((part for part, names in PARTS_OF_TIME.items() if usual(name) in names), None)


def _may_be(column: pd.Series, part: str) -> bool:
    """Whether the cells of a column are such a part of a time."""
    if pd.api.types.is_bool_dtype(column):
        return False
    low, high = _LIMITS[part]
    numbers = _numbers(column, part)
    whole = part == "second" or (numbers == np.floor(numbers))
    missing = column.isna().to_numpy()  # of which the row is refused
    return bool((((numbers >= low) & (numbers <= high) & whole) | missing).all() and not missing.all())


def _numbers(column: pd.Series, part: str) -> np.ndarray:
    """The cells of a part as numbers, months by their names too; NaN for what is none."""
    plain = without_arrow(column)
    if part == "quarter" and not pd.api.types.is_numeric_dtype(plain):
        plain = plain.astype(str).str.strip().str.replace(r"^[Qq]", "", regex=True)
    if part == "week" and not pd.api.types.is_numeric_dtype(plain):
        plain = plain.astype(str).str.strip().str.replace(r"^[Ww]", "", regex=True)
    if part == "month" and not pd.api.types.is_numeric_dtype(plain):
        names = plain.astype(str).str.strip()
        numbers = {word: month_of(word) for word in names.dropna().unique()}
        if any(numbers.values()):
            return names.map(numbers).to_numpy(np.float64)
    return pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, na_value=np.nan)
