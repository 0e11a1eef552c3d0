"""Hours that are asked about: will a reading within sixty minutes be at or above the level?

An hour begins at a reading below the level. Its answer is known if enough of it was read; hours of
which less was read are left out whether the level was reached or not, or what is left would not be a
fair share of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["LEVEL", "STEPS", "Hours", "find_hours"]

LEVEL = 180.0  # mg/dL
ENOUGH = 9  # readings of the twelve of an hour
STEPS = np.arange(1, 13) / 12  # of an hour: when readings are due
STALE = pd.Timedelta("10min")  # a monitor that has not read for longer is not asked
RECENT = pd.Timedelta("15min")  # whose readings the slope is of


@dataclass(frozen=True)
class Hours:
    """Hours, each field with one row per hour.

    Args:
        origin: time of the last reading, from which on nothing is seen.
        value: that reading.
        slope: of the readings of the last quarter of an hour, by least squares, mg/dL per hour.
        reached: whether a reading of the hour after is at or above `LEVEL`.
        after: the readings of that hour at `STEPS`, linearly between those that there are, shape
            `(hours, 12)`; never seen but in training.
    """

    origin: pd.DatetimeIndex
    value: np.ndarray
    slope: np.ndarray
    reached: np.ndarray
    after: np.ndarray

    def __len__(self) -> int:
        return len(self.origin)

    @property
    def time_of_day(self) -> np.ndarray:
        """Of the origin, in hours."""
        return self.origin.hour.to_numpy() + self.origin.minute.to_numpy() / 60

    def where(self, chosen: np.ndarray) -> Hours:
        """Some of them."""
        rows = (self.origin, self.value, self.slope, self.reached, self.after)
        return Hours(*(column[chosen] for column in rows))  # type: ignore[arg-type]


def find_hours(table: pd.DataFrame, cutoffs: pd.DatetimeIndex) -> Hours:
    """The hours after the last readings by some cutoffs, those that can be asked and answered.

    Args:
        table: `time`, ascending, and `glucose`.
        cutoffs: each gives one hour at most.
    """
    time, value = table["time"].to_numpy(), table["glucose"].to_numpy(dtype=float)
    last = np.searchsorted(time, cutoffs.to_numpy(), "right") - 1
    fresh = (last >= 0) & (cutoffs.to_numpy() - time[np.maximum(last, 0)] <= STALE)
    last = np.unique(last[fresh])
    until = np.searchsorted(time, time[last] + np.timedelta64(1, "h"), "right")
    last_known = (value[last] < LEVEL) & (until - last - 1 >= ENOUGH)
    last, until = last[last_known], until[last_known]
    begin = np.searchsorted(time, time[last] - RECENT.to_timedelta64(), "left")
    elapsed = (time - time[0]) / np.timedelta64(1, "h")
    spans = list(zip(begin, last, until, strict=True))
    return Hours(
        pd.DatetimeIndex(time[last]),
        value[last],
        np.array([_slope(elapsed[b : i + 1], value[b : i + 1]) for b, i, _ in spans]),
        np.array([(value[i + 1 : u] >= LEVEL).any() for _, i, u in spans], dtype=bool),
        np.array([np.interp(elapsed[i] + STEPS, elapsed[i:u], value[i:u]) for _, i, u in spans]),
    )


def _slope(time: np.ndarray, value: np.ndarray) -> float:
    """Of the least squares line; 0 of a single reading."""
    return float(np.polyfit(time - time[-1], value, 1)[0]) if len(time) > 1 else 0.0
