"""Clocks: wall-clock times of a place as instants, also on the two nights when its clocks change.

In spring an hour does not exist: a clock that nobody has set forward yet still shows it, and it is
read with the offset from before the change. In autumn an hour comes twice: within a series the rows
stand in the order in which they were written, so where its clock goes back (or a time repeats), the
second pass has begun.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from latentode.adapters.handing import Notes
from latentode.errors import SchemaError

__all__ = ["to_instants"]

BEFORE = pd.Timedelta(hours=6)  # earlier than any change of clocks of the same night


def to_instants(times: pd.Series, timezone: str | None, series: pd.Series, notes: Notes) -> pd.Series:
    """Times in a zone.

    Args:
        times: datetimes; aware ones are converted, naive ones are what the clocks of the zone show.
        timezone: IANA name; None leaves naive times as they are.
        series: the series of each row, whose rows are in the order (or the reverse) of recording.
        notes: told how many rows fell into a change of clocks, and how each was read.

    Raises:
        SchemaError: for an unknown zone.
    """
    if timezone is None:
        return times
    try:
        if times.dt.tz is not None:
            return times.dt.tz_convert(timezone)
        never = times.dt.tz_localize(timezone, ambiguous=_all(times), nonexistent="NaT").isna()
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(
            f"timezone {timezone!r} is unknown; write an IANA name such as 'America/New_York' or 'UTC'"
        ) from error
    shown = times.where(~never, times - BEFORE)
    twice = shown.dt.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT").isna()
    second = _second_pass(times, twice.to_numpy(), series)
    placed = shown.dt.tz_localize(timezone, ambiguous=~second)
    placed = placed.where(~never, placed + BEFORE)
    notes.add(int(never.sum()), f"times that the clocks of {timezone} skipped, read as not set forward")
    notes.add(
        int(twice.sum()),
        f"times that the clocks of {timezone} passed twice, {int(second.sum())} of them read as the "
        "second pass by the order of rows",
    )
    return placed


def _all(times: pd.Series) -> np.ndarray:
    return np.ones(len(times), dtype=bool)


def _second_pass(times: pd.Series, twice: np.ndarray, series: pd.Series) -> np.ndarray:
    """Mask of the rows in an hour that comes twice, from where their series' clock has gone back."""
    second = np.zeros(len(times), dtype=bool)
    if not twice.any():
        return second
    wall = times.to_numpy().astype("datetime64[us]").astype(np.int64)
    codes = pd.factorize(series)[0]
    for code in np.unique(codes[twice]):
        rows = np.flatnonzero(codes == code)
        steps = np.diff(wall[rows])
        if (steps < 0).sum() > (steps > 0).sum():  # the newest row stands first
            rows = rows[::-1]
        rows = rows[twice[rows]]
        night = pd.Series(wall[rows] // 86_400_000_000)
        back = np.append(False, np.diff(wall[rows]) <= 0)
        second[rows] = pd.Series(back).groupby(night).cummax().to_numpy()
    return second
