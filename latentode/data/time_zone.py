"""Zones: naive times placed in one, also on the two nights when its clocks change.

In spring an hour does not exist. In autumn an hour comes twice: within a series whose rows stand in the
order in which they were written, the second pass has begun where its clock goes back or a time repeats.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from latentode.data.columns import cell_name
from latentode.errors import SchemaError

__all__ = ["REPEATED", "check_zone", "place_in_zone", "second_pass", "zone_name"]

REPEATED = ("first", "second")
DAY = 86_400_000_000  # microseconds


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
            f"{what} holds {cell_name(column.astype(str), untold)}, which {timezone} passed twice "
            "when its "
            "clocks changed, and the order of rows does not say which is meant; give "
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
