"""Clock times: what a clock on the wall shows, and how the lengths of time are spelt that it measures.

Of a time of day, written as text, as a number such as 801 or as an object, it is said how long after
midnight it is; of times without a zone, which moments they are in one.

Naive times are placed in a zone also on the two nights when its clocks change. In spring an hour does
not exist. In autumn an hour comes twice: within a series whose rows stand in the order in which they
were written, the second pass has begun where its clock goes back or a time repeats.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import cell_name
from latentode.data.cells.usual_names import HOUR_NAMES, usual
from latentode.errors import SchemaError

__all__ = [
    "LONGEST_DAY",
    "REPEATED",
    "are_packed",
    "check_zone",
    "clock_of",
    "in_plain_units",
    "is_clock",
    "pass_twice_a_day",
    "place_in_zone",
    "second_pass",
    "zone_name",
]

_HALF = r"\s*([AaPp])\.?[Mm]\.?$"
_CLOCK = re.compile(r"^\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?$")
# Units of a duration, of which pandas takes other spellings in part and not for ever; and what stands
# for months and longer in one place or another, though some of it is read as minutes or milliseconds.
_SPELT = {unit.lower(): unit for unit in ("s", "min", "h", "D", "W", "us", "ns")}
_MONTHS = re.compile(
    r"M|MS|Ms|mS|ME|BMS?|Q[SE]?|[YA][SE]?|y|mo|mon|months?|quarters?|yrs?|years?", re.ASCII
)
_WORD = re.compile(r"[^\W\d_]+")
_ISO_MONTHS = re.compile(r"[+-]?P[^T]*\d[MY].*", re.IGNORECASE)
SECONDS_OF_DAY = 86_400
HOURS, LONGEST_DAY = 24, 25
REPEATED = ("first", "second")
LEAST_SPAN, LATE = 6, 0.25  # hours between times of half a day, and share of rows in the second half
DAY = 86_400_000_000  # microseconds


def are_packed(numbers: np.ndarray) -> bool:
    """Whether numbers are hours and minutes such as 801, or seconds too such as 153000.

    Example:
        >>> are_packed(np.array([801, 1759])), are_packed(np.array([93000, 153000]))
        (True, True)
        >>> are_packed(np.array([0, 3600, 7200]))
        False
    """
    if not np.isfinite(numbers).all():
        return False
    seconds = 100 if numbers.max(initial=0.0) > SECONDS_OF_DAY else 1
    minutes = numbers // seconds
    whole = (numbers == np.floor(numbers)) & (numbers >= 0) & (numbers % seconds < 60)
    return bool((whole & (minutes % 100 < 60) & (minutes < 2400)).all())


def is_clock(text: pd.Series) -> bool:
    """Whether all texts are times of a day without its date."""
    return bool(text.str.fullmatch(_CLOCK).all())


def clock_of(column: pd.Series) -> pd.Series:
    """How long after midnight each time of day is, from text, numbers such as 801, or objects."""
    if pd.api.types.is_numeric_dtype(column):
        return _clock_of_numbers(column)
    if column.dtype.kind == "m":
        return column
    text = column.map(lambda v: v.isoformat() if isinstance(v, dt.time) else str(v)).astype(object)
    text = cast(pd.Series, text.str.strip().str.replace(",", ".", regex=False))
    text = text.str.replace(r"\s*Uhr$", "", regex=True)
    half = text.str.extract(_HALF, expand=False).str.lower()
    text = text.str.replace(_HALF, "", regex=True)
    text = text.where(half.isna() | ~text.str.fullmatch(r"\d{1,2}"), text + ":00")
    text = text.str.replace(r"^(\d{1,2}) ?h$", r"\1:00", regex=True)
    text = text.str.replace(r"^(\d{1,2}) ?h ?(\d{2})$", r"\1:\2", regex=True)
    pointed = text.str.fullmatch(r"\d{1,2}\.\d{2}(?:\.\d{2})?")
    text = text.where(~pointed, text.str.replace(".", ":", regex=False))
    packed = text.str.fullmatch(r"\d{3,4}")
    text = text.where(~packed, text.str.replace(r"^(\d{1,2})(\d{2})$", r"\1:\2", regex=True))
    text = text.where(~text.str.fullmatch(r"\d{1,2}:\d{2}"), text + ":00")
    # Numbers alone pandas would take for nanoseconds.
    read = pd.to_timedelta(text.mask(text.str.fullmatch(r"[\d.]+")), errors="coerce")
    hours = read.dt.total_seconds() / 3600
    read = read + pd.to_timedelta(np.where((half == "p") & (hours < 12), 12, 0), unit="h")
    read = read - pd.to_timedelta(np.where((half == "a") & (hours >= 12), 12, 0), unit="h")
    _refuse(column, (read.isna() | (read < pd.Timedelta(0)) | (read > pd.Timedelta("1D"))).to_numpy())
    return read


def _clock_of_numbers(column: pd.Series) -> pd.Series:
    """How long after midnight each time of day is: hours by the name of the column, or such as 801.

    What can be neither are minutes or seconds since midnight, parts of a day, or such as 153000.

    Raises:
        SchemaError: for what may be several of these, or is none.

    Example:
        >>> _clock_of_numbers(pd.Series([0, 801]))[1], _clock_of_numbers(pd.Series([0, 481]))[1]
        (Timedelta('0 days 08:01:00'), Timedelta('0 days 08:01:00'))
    """
    numbers = column.to_numpy(np.float64)
    least, most = numbers.min(initial=0.0), numbers.max(initial=0.0)
    if usual(str(column.name)) in HOUR_NAMES and least >= 0 and most <= LONGEST_DAY:
        if most > HOURS:
            bad = numbers > HOURS
            raise SchemaError(
                f"column `{column.name}` holds {cell_name(column, bad)}, an hour of a day on which "
                "clocks are set back; write times with their UTC offset, such as "
                "2024-10-27T02:00+01:00, in one column"
            )
        return pd.Series(pd.to_timedelta(numbers, unit="h"), index=column.index)
    if 1 <= most < 100 and least >= 0:  # of hhmm, all within the first hour
        raise SchemaError(
            f"column `{column.name}` holds {most:g} and less, which may be hours, minutes or "
            "numbers of intervals; write times of day such as 06:00, or call the column `hour` if "
            "it holds hours"
        )
    if 0.5 <= most < 1 and least >= 0:
        return pd.Series(pd.to_timedelta(numbers, unit="D").round("s"), index=column.index)
    bad = ~((numbers >= 0) & (numbers <= 2400) & (numbers % 100 < 60))
    whole = bool((numbers == np.floor(numbers)).all())
    if bad.any() and whole and least >= 0 and most <= SECONDS_OF_DAY:  # since midnight, then
        unit = "min" if most <= SECONDS_OF_DAY / 60 else "s"
        return pd.Series(pd.to_timedelta(numbers, unit=unit), index=column.index)
    if most > SECONDS_OF_DAY and are_packed(numbers):
        seconds = numbers // 10_000 * 3600 + numbers // 100 % 100 * 60 + numbers % 100
        return pd.Series(pd.to_timedelta(seconds, unit="s"), index=column.index)
    _refuse(column, bad | (numbers != np.floor(numbers)))
    minutes = np.floor(numbers / 100) * 60 + numbers % 100
    return pd.Series(pd.to_timedelta(minutes, unit="min"), index=column.index)


def _refuse(column: pd.Series, bad: np.ndarray) -> None:
    """Raises for the first cell that is no time of day."""
    if bad.any():
        raise SchemaError(
            f"column `{column.name}` holds {cell_name(column, bad)}, which is no time of day; correct "
            "it or remove that row"
        )


def in_plain_units(text: str, name: str) -> str:
    """A duration with its units spelt in one way.

    Raises:
        SchemaError: for one in months or years, which are of several lengths.

    Example:
        >>> in_plain_units("1d 12H", "horizon")
        '1D 12h'
    """
    iso, words = "P" in text, _WORD.findall(text)
    if _ISO_MONTHS.fullmatch(text.strip()) if iso else any(map(_MONTHS.fullmatch, words)):
        raise SchemaError(
            f"{name} {text!r} may be in months or years, which are not all of one length; write days "
            "or weeks, such as '30D', '365D' or '4W', or '5min' and '5ms' for minutes and milliseconds"
        )
    return text if iso else _WORD.sub(lambda at: _SPELT.get(at[0].lower(), at[0]), text)


def check_zone(timezone: str) -> None:
    """Raises for a zone that nobody knows."""
    try:
        if not timezone:
            raise ValueError
        pd.Timestamp(0, tz=timezone)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise SchemaError(
            f"timezone {timezone!r} is unknown; write an IANA name such as 'Europe/Berlin' or 'UTC'"
        ) from error


def place_in_zone(
    column: pd.Series,
    what: str,
    timezone: str,
    series: np.ndarray | None = None,
    repeated_hour: str | None = None,
) -> pd.Series:
    """Aware times converted to a zone, naive ones taken to be in it.

    Args:
        column: datetimes.
        what: names the column in messages.
        timezone: IANA name.
        series: of each row; None where the order of rows says nothing.
        repeated_hour: "first" or "second": which pass of an hour that comes twice is meant where the
            order of rows does not say.

    Raises:
        SchemaError: for an unknown zone, a clock time that the zone skipped, or one that it passed
            twice where nothing says which pass is meant.
    """
    check_zone(timezone)
    if column.dt.tz is not None:
        return column.dt.tz_convert(timezone)
    placed = column.dt.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT")
    lost = placed.isna().to_numpy()
    if not lost.any():
        return placed
    first = np.ones(len(column), dtype=bool)
    skipped = column.dt.tz_localize(timezone, ambiguous=first, nonexistent="NaT").isna().to_numpy()
    if skipped.any():
        raise SchemaError(
            f"{what} holds {cell_name(column.astype(str), skipped)}, which {timezone} skipped when its "
            "clocks changed; write the times with their UTC offset, or give timezone='UTC' if the "
            "clock "
            "was never set forward"
        )
    second, told = np.zeros(len(column), dtype=bool), np.zeros(len(column), dtype=bool)
    if series is not None:
        second, told = second_pass(column, lost, series)
    second = np.where(told, second, lost & (repeated_hour == "second"))
    untold = lost & ~told
    if untold.any() and repeated_hour is None:
        raise SchemaError(
            f"{what} holds {cell_name(column.astype(str), untold)}, which {timezone} passed twice when "
            "its clocks changed, and the order of rows does not say which is meant; give "
            "repeated_hour='first' or 'second', or write the times with their UTC offset"
        )
    return column.dt.tz_localize(timezone, ambiguous=~second)


def second_pass(
    times: pd.Series, twice: np.ndarray, series: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows in an hour that comes twice are of its second pass, and where the order of rows
    says so.

    Args:
        times: naive datetimes.
        twice: mask of the rows in such an hour.
        series: of each row; rows of one stand in the order of recording, or in the reverse.

    Returns:
        Two masks, each of the length of `times`. The order says which pass a row is of if the clock of
        its series goes back in that hour, or a time repeats, and nowhere else.
    """
    second, told = np.zeros(len(times), dtype=bool), np.zeros(len(times), dtype=bool)
    wall = times.to_numpy().astype("datetime64[us]").astype(np.int64)
    for code in np.unique(series[twice]):
        rows = np.flatnonzero(series == code)
        steps = np.diff(wall[rows])
        if (steps < 0).sum() > (steps > 0).sum():  # the newest row stands first
            rows = rows[::-1]
        ordered = bool((np.diff(wall[rows[~twice[rows]]]) >= 0).all())
        rows = rows[twice[rows]]
        night = pd.Series(wall[rows] // DAY)
        # The first row of a night follows one of another night, which is no step back.
        back = np.append(False, (np.diff(wall[rows]) <= 0) & (np.diff(night) == 0))
        second[rows] = pd.Series(back).groupby(night).cummax().to_numpy()
        once = pd.Series(back).groupby(night).transform("sum").to_numpy() == 1
        told[rows] = once & ordered
    return second, told


def pass_twice_a_day(times: pd.Series, series: np.ndarray) -> bool:
    """Whether times go from 1 to 12 o'clock twice on a day, as by a clock of 12 hours without AM or PM.

    Args:
        times: datetimes, rows of one series in the order of recording or in the reverse.
        series: of each row.

    Example:
        >>> clock = pd.Series(pd.to_datetime([f"2024-03-01 {h:02}:30" for h in (12, 4, 8)] * 2))
        >>> pass_twice_a_day(clock, np.zeros(6))
        True
    """
    hours = times.dt.hour.to_numpy()
    if hours.min() < 1 or hours.max() > HOURS // 2 or np.ptp(hours % (HOURS // 2)) < LEAST_SPAN:
        return False
    wall = times.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    day, clock = wall // DAY, wall % (DAY // 2)
    rows = np.argsort(series, kind="stable")
    for order in (rows, rows[::-1]):
        new = np.diff(series[order]) != 0
        same = ~new & (np.diff(day[order]) == 0)
        back = np.append(False, same & (np.diff(clock[order]) <= 0))
        half = pd.Series(back).groupby(np.cumsum(np.append(True, ~same))).cummax().to_numpy()
        moments = day[order] * DAY + clock[order] + half * (DAY // 2)
        if half.mean() >= LATE and (np.diff(moments)[~new] > 0).all():
            return True
    return False


def zone_name(column: pd.Series, what: str) -> str | None:
    """The name by which pandas finds the column's zone again; None for naive times."""
    zone = column.dt.tz
    if zone is None:
        return None
    fixed = zone.utcoffset(None)
    name = str(zone) if fixed is None else str(dt.timezone(fixed))
    try:
        pd.Timestamp(0, tz=name)
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(
            f"{what} has the time zone {zone!r}, which has no name; convert the column with "
            "dt.tz_convert to an IANA zone such as 'Europe/Berlin'"
        ) from error
    return name
