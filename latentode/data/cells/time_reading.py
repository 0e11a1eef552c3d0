"""Time reading: from any column of times to datetimes, dates, durations or numbers, and what they mean.

Text, numbers and the types of other packages are read in the form that is named, or found where
they can be nothing else; what was found is said.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import numpy as np
import pandas as pd
from pandas.arrays import DatetimeArray

from latentode.data.cells.clock_times import place_in_zone, zone_name
from latentode.data.cells.columns import cell_name, or_fill_down, or_no_row, row_name, without_arrow
from latentode.data.cells.number_cells import plain_numbers
from latentode.data.cells.number_text import is_text
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.cells.time_formats import refuse_yearless
from latentode.data.cells.time_numbers import (
    NUMBER_FORMS,
    PLAIN,
    are_remote,
    doubtful_form,
    form_of_numbers,
    is_number_form,
    times_of_numbers,
)
from latentode.data.cells.time_text import FIX, TEXT_FORMS, read_text
from latentode.errors import SchemaError

__all__ = [
    "TIME_FORMS",
    "TimeColumn",
    "TimeForm",
    "parse_times",
    "read_asked",
    "read_times",
]

TIME_FORMS = (*NUMBER_FORMS, *TEXT_FORMS, PLAIN)
LARGEST = float(2**63)
FARTHEST = float(np.sqrt(np.finfo(np.float64).max) / 2**63)  # of times as floats
_MOVING = ("now", "today")
_NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


@dataclass(frozen=True)
class TimeForm:
    """How a column of times is written.

    Args:
        form: a name of `TIME_FORMS` or a strptime format; None finds it.
        timezone: zone to localise naive datetimes in, or to convert aware ones to.
        repeated_hour: "first" or "second" pass of an hour that comes twice.
    """

    form: str | None = None
    timezone: str | None = None
    repeated_hour: str | None = None


@dataclass(frozen=True)
class TimeColumn:
    """A column of times that was read.

    Args:
        column: datetimes, dates, durations or numbers.
        axis: what they mean.
        form: the form that they were written in; None for times that need none.
        note: what was found without being told, or has to be pointed out.
    """

    column: pd.Series
    axis: TimeAxis
    form: str | None = None
    note: str | None = None


def parse_times(
    column: pd.Series, name: str, time_format: str | None, timezone: str | None
) -> tuple[pd.Series, TimeAxis]:
    """Reads a time column of any supported type.

    Args:
        column: datetimes, dates, durations, text, integers or floats.
        name: the column's name, for messages.
        time_format: the form of text or numbers, a name of `TIME_FORMS` or a strptime format; None
            finds it.
        timezone: zone to localise naive datetimes in, or to convert aware ones to.

    Returns:
        The column, text parsed, and its axis.

    Raises:
        SchemaError: naming the first row that cannot be read, and the fix.
    """
    read = read_times(column, f"column `{name}`", TimeForm(time_format, timezone))
    return read.column, read.axis


def read_times(
    column: pd.Series,
    what: str,
    how: TimeForm,
    series: np.ndarray | None = None,
    convert: bool | None = None,
    fix: str = FIX,
) -> TimeColumn:
    """As `parse_times`, with the form that was found and a note of it.

    Args:
        column: of times.
        what: names it in messages.
        how: what is known of its form.
        series: of each row; tells the two passes of an hour apart that comes twice.
        convert: whether times of several offsets may be brought to UTC; by default if a zone is named.
        fix: what to advise where a cell is not a time.
    """
    held = column.array
    if how.timezone is None and isinstance(held, DatetimeArray) and not column.hasnans:
        return TimeColumn(column, TimeAxis("datetime", held.unit, zone_name(column, what)))
    column = _as_plain_type(without_arrow(column), what)
    convert = how.timezone is not None if convert is None else convert
    form = how.form
    if _written_numbers(column, form):
        column = plain_numbers(column)
    if pd.api.types.is_numeric_dtype(column):
        if form is None or form == PLAIN or is_number_form(form):
            read = _numbers(column, what, how, form)
            if not read.axis.is_calendar:
                return read
            placed = _in_zone(read.column, what, how, series)
            return replace(read, column=placed, axis=_axis(placed, what, read.form))
        column = column.astype(str)
    elif form == PLAIN and is_text(column):
        lost = pd.to_numeric(column.astype(object), errors="coerce").isna().to_numpy()
        raise SchemaError(
            f"{what} holds {cell_name(column, lost)}, which is no number, as times are here; correct "
            "it, or give another time_format="
        )
    if _are_dates(column):
        if how.timezone is not None:
            raise SchemaError(f"{what} holds dates, which have no timezone; leave it out")
        return TimeColumn(column, TimeAxis("date", unit="us", time_unit="D"))
    if pd.api.types.is_datetime64_any_dtype(column) or column.dtype.kind == "m":
        form = found = None
    else:
        if form is not None:
            refuse_yearless(form, what)
        text = read_text(column, what, form, convert, fix)
        _refuse_no_times(column, text.column, what, fix)
        column, found = text.column, text.form
    placed = _in_zone(column, what, how, series)
    note = None
    if found is not None and form is None:
        note = f"{what} was read as times in the form {found!r}, the first as {placed.iloc[0]}"
        if found == "elapsed":  # hours and minutes, or minutes and seconds?
            note += f", the longest as {placed.max()}"
    return TimeColumn(placed, _axis(placed, what, found), found, note)


def read_asked(axis: TimeAxis, values: pd.Series, name: str) -> pd.Series:
    """Times that a caller asks for, as a column of an axis' type or a finer one.

    Args:
        axis: of the history.
        values: of any type that a time column may have; numbers may be written as text.
        name: what to call them in messages.

    Raises:
        SchemaError: if they cannot be compared with this axis (a zone on one side only, ...).
    """
    fix = "write it as 2024-04-05T12:00:00" if axis.is_calendar else "give numbers, as the history"
    if axis.kind == "elapsed":
        fix = "write it as 30:15:00 or '1 days 06:15:00'"
        axis = replace(axis, form=axis.form or "elapsed")  # a column of durations has none of its own
    # Several offsets are no obstacle here: they are converted to the axis' zone anyway.
    zone = (axis.timezone, axis.repeated_hour) if axis.zone_declared else ()
    convert, how = axis.timezone is not None, TimeForm(axis.form if axis.is_calendar else PLAIN, *zone)
    column = without_arrow(values)
    if zone and _are_dates(column):
        column = cast(pd.Series, pd.to_datetime(column))
    if not axis.is_calendar and not pd.api.types.is_numeric_dtype(column):
        numbers = cast(pd.Series, pd.to_numeric(column.astype(object), errors="coerce"))
        column, how = (numbers, how) if numbers.notna().all() else (column, TimeForm())
    try:
        read = read_times(column, name, how, convert=convert, fix=fix)
    except SchemaError:
        if axis.form is None or pd.api.types.is_numeric_dtype(column):
            raise
        read = read_times(column, name, TimeForm(None, *zone), convert=convert, fix=fix)
    column, other = read.column, read.axis
    if other.scale != axis.scale:
        wanted = {"calendar": "write 2024-04-05T12:00:00", "elapsed": "write '30:15:00'"}
        raise SchemaError(
            f"{name} holds {other.kind} times, but the history's times are {axis.kind}"
            f"s; {wanted.get(axis.scale, 'ask in their unit')}"
        )
    if (other.timezone is None) != (axis.timezone is None):
        _refuse_zone(axis, column, name)
    if axis.kind == "datetime" and other.kind == "date":
        return pd.to_datetime(column)
    if axis.kind == "date" and other.kind == "datetime":
        ticks = replace(other, unit=axis.tick).ticks_of(column)
        return axis.restore(ticks).set_axis(column.index)
    return column if axis.timezone is None else column.dt.tz_convert(axis.timezone)


def _refuse_zone(axis: TimeAxis, asked: pd.Series, name: str) -> NoReturn:
    """Raises for times that have a zone where a history's have none, or the other way round."""
    first = cast(pd.Timestamp, pd.Timestamp(asked.iloc[0]))
    if axis.timezone is None:
        raise SchemaError(
            f"{name} has a time zone and the history has none; write it without one, such as "
            f"'{first.tz_localize(None)}', or fit with Schema(timezone=...), the zone of the history"
        )
    zoned = first.tz_localize(axis.timezone, ambiguous=True, nonexistent="shift_forward")
    raise SchemaError(
        f"the history has a time zone, {axis.timezone}, and {name} has none; write it with its UTC "
        f"offset, such as '{zoned}'"
    )


def _as_plain_type(column: pd.Series, what: str) -> pd.Series:
    """Refuses what is no time at all, or no time in some row; periods become their begin."""
    if pd.api.types.is_bool_dtype(column):
        raise SchemaError(f"{what} holds booleans; give it datetimes or numbers")
    missing = column.isna().to_numpy()
    if missing.any():
        raise SchemaError(
            f"{what} has no time at {row_name(column, missing)}; give each row its time or remove "
            f"that row{or_no_row(missing) or or_fill_down(column, missing)}"
        )
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    return column.infer_objects()


def _written_numbers(column: pd.Series, form: str | None) -> bool:
    """Whether a column of text holds plain numbers, which are no years of ISO 8601."""
    if pd.api.types.is_numeric_dtype(column) or not (
        pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)
    ):
        return False
    if form is not None and form != PLAIN and not is_number_form(form):
        return False
    first = column.iloc[0]
    if not isinstance(first, str) or pd.isna(pd.to_numeric(first, errors="coerce")):
        return False
    text = column.astype(str).str.strip()
    return bool(text.str.fullmatch(_NUMBER).all())


def _refuse_no_times(text: pd.Series, read: pd.Series, what: str, fix: str) -> None:
    """Refuses "NaT", "" and the like, which are read as no time, and "now", which is read as another
    time each time."""
    lost = read.isna().to_numpy(copy=True)
    if read.dtype.kind == "M":
        now, margin = pd.Timestamp.now(tz=read.dt.tz), pd.Timedelta("2D")
        if read.min() - margin < now < read.max() + margin:
            near = (read - now).abs() < margin
            lost[near.to_numpy()] |= text[near].astype(object).isin(_MOVING).to_numpy()
    if lost.any():
        raise SchemaError(f"{what} holds {cell_name(text, lost)}, which is no time; {fix}")


def _numbers(column: pd.Series, what: str, how: TimeForm, form: str | None) -> TimeColumn:
    infinite = ~np.isfinite(column.to_numpy(dtype=np.float64))
    if infinite.any():
        raise SchemaError(
            f"{what} is infinite at {row_name(column, infinite)}; correct it or remove that row"
        )
    found = form_of_numbers(column, what) if form is None else form
    if is_number_form(found):
        stamps = times_of_numbers(column, str(found), what)
        note = f"{what} was read as times in the form {found!r}, the first as {stamps.iloc[0]}; "
        note += "give time_format='number' if they are plain numbers"
        return TimeColumn(stamps, TimeAxis("datetime"), found, None if form else note)
    if how.timezone is not None:
        raise SchemaError(f"{what} holds numbers, which have no timezone; leave it out")
    _refuse_overflow(column, what)
    kind = "integer" if pd.api.types.is_integer_dtype(column) else "float"
    doubt = None if form == PLAIN else doubtful_form(column)
    note = None
    if doubt is not None:
        note = (
            f"{what} holds plain numbers, such as {column.iloc[0]:.15g}, which are taken as they "
            "are; if "
            f"they are dates, give time_format='{doubt}'"
        )
    elif form is None and are_remote(column):
        note = (
            f"{what} holds plain numbers, such as {column.iloc[0]:.15g}, far from zero for how little "
            "they change; if they are dates, write them as such, or give the time_format= that they "
            "are in; time_format='number' says that they are none"
        )
    return TimeColumn(column, TimeAxis(kind, unit="1", time_unit="1"), None, note)


def _refuse_overflow(column: pd.Series, what: str) -> None:
    """Integers are subtracted exactly, in 64 bits; of floats the squares have to be numbers still."""
    if not pd.api.types.is_integer_dtype(column):
        numbers = column.to_numpy(np.float64)
        if np.abs(numbers).max() > FARTHEST or 0 < np.ptp(numbers) < 1 / FARTHEST:
            raise SchemaError(
                f"{what} holds numbers from {numbers.min():g} to {numbers.max():g}, which cannot be "
                "computed with in 64 bits; write times in another unit"
            )
        return
    values = column.to_numpy()
    low, high = int(values.min()), int(values.max())
    if high >= LARGEST or high - low >= LARGEST:
        bad = values == values.max()
        raise SchemaError(
            f"{what} holds {high} at {row_name(column, bad)}, too large to be counted in 64 bits; "
            "convert "
            "the column to float, or count from a later origin"
        )


def _are_dates(column: pd.Series) -> bool:
    return pd.api.types.is_object_dtype(column) and all(type(v) is dt.date for v in column)


def _in_zone(column: pd.Series, what: str, how: TimeForm, series: np.ndarray | None) -> pd.Series:
    if how.timezone is None:
        return column
    if column.dtype.kind == "m":
        raise SchemaError(f"{what} holds durations, which have no timezone; leave it out")
    return place_in_zone(column, what, how.timezone, series, how.repeated_hour)


def _axis(column: pd.Series, what: str, form: str | None) -> TimeAxis:
    if column.dtype.kind == "m":
        return TimeAxis("elapsed", unit=np.datetime_data(cast(Any, column.dtype))[0], form=form)
    unit = np.datetime_data(column.dt.tz_localize(None).dtype)[0]
    return TimeAxis("datetime", unit=unit, timezone=zone_name(column, what), form=form)
