r"""First passage times: when a path first reaches a level, and whether it does within the horizon.

Between two points of a path with values $y_0, y_1$ and slopes $f_0, f_1$ the path is taken to be the
cubic through them; its first root, and a peak between two points that both lie short of the level, are
found in closed form and by bisection. So a first passage is exact to fourth order in the distance of
points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import IntoFrame, quantile_list, quantile_name
from latentode.data.cells.time_axis import Duration, TimeAxis
from latentode.data.files.writing import in_kind_of
from latentode.errors import LatentODEError, check_number
from latentode.forecast.fitted import Draws

__all__ = [
    "FirstPassageTime",
    "first_at_or_above",
    "first_passages",
    "first_reading",
    "level_asked",
]

BISECTIONS = 50


@dataclass(frozen=True)
class FirstPassageTime:
    """The distribution of the time at which each series first reaches a level.

    Args:
        keys: identifier (if the table has one), `variable`, and `since`, from when time is counted:
            the last observation.
        times: of each draw in time units, infinity where it does not happen within the horizon, shape
            `(draws, series)`; 0 where the level is already reached at `since`.
        horizon: how far ahead was looked, in time units.
        axis: what the time column means.
        kind: an empty frame of the library whose frames answer.
    """

    keys: pd.DataFrame
    times: np.ndarray
    horizon: float
    axis: TimeAxis
    kind: IntoFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.keys)

    def cdf(self, time: float) -> np.ndarray:
        """The probability that it has happened `time` units after `since`, shape `(series,)`."""
        return (self.times <= time).mean(axis=0)

    def quantile(self, q: float) -> np.ndarray:
        """The time by which it has happened with probability `q`, shape `(series,)`.

        Infinity where that probability is not reached within the horizon.
        """
        (q,) = quantile_list(q)
        place = max(0, math.ceil(q * len(self.times) - 1e-9) - 1)
        return np.sort(self.times, axis=0)[place]

    def probability(self, by: Duration | None = None) -> Any:
        """How likely it is to happen.

        Args:
            by: how long after `since`, such as "60min"; the whole horizon by default.

        Returns:
            The keys and `probability`.

        Raises:
            LatentODEError: for a time beyond the horizon, about which nothing is known.
        """
        until = self.horizon if by is None else self.axis.duration(by, "by")
        if until > self.horizon * (1 + 1e-9):
            raise LatentODEError(
                f"by={by!r} lies beyond the {self.horizon:g}{self.axis.unit_name} that were looked "
                "ahead; ask for paths with a longer horizon"
            )
        return in_kind_of(self.kind, self.keys.assign(probability=self.cdf(until)))

    def to_frame(self, quantiles: float | Sequence[float] = (0.1, 0.5, 0.9)) -> Any:
        """The keys, `probability` within the horizon, `none` (that of it not happening), quantiles.

        Quantiles are in time units after `since`, and infinite where the level is not reached with
        that probability within the horizon.
        """
        within = self.cdf(self.horizon)
        frame = self.keys.assign(probability=within, none=1.0 - within)
        for level in quantile_list(quantiles):
            frame[quantile_name(level)] = self.quantile(level)
        return in_kind_of(self.kind, frame)


def level_asked(above: float | None, below: float | None) -> tuple[str, float]:
    """The side from which a level is reached, "above" or "below" it, and the level.

    Raises:
        LatentODEError: unless exactly one of them is given, as a finite number.

    Example:
        >>> level_asked(None, 65)
        ('below', 65.0)
    """
    if (above is None) == (below is None):
        raise LatentODEError("give exactly one of above= and below=, the level to be reached")
    side, level = ("above", above) if below is None else ("below", below)
    check_number(side, level)
    return side, float(cast(float, level))


def first_passages(
    drawn: Draws, grid: np.ndarray, level: float, upwards: bool, readings: bool
) -> np.ndarray:
    """When each draw of each series is first at a level, shape `(draws, series)`.

    Args:
        drawn: at the grid of every series in turn.
        grid: time since the last observation, ascending, shape `(points,)`.
        level: to be reached.
        upwards: whether the level is reached from below.
        readings: whether readings at the grid count, instead of the quantity at any time.
    """
    shape, sign = (drawn.n, -1, len(grid)), 1.0 if upwards else -1.0
    if readings:
        return first_reading(grid, sign * drawn.reading.reshape(shape), sign * level)
    value = sign * drawn.value.reshape(shape)
    if drawn.forecast.whole.any():  # a step function, of a single variable
        return first_reading(grid, value, sign * level)
    found = first_at_or_above(grid, value, sign * drawn.rate.reshape(shape), sign * level)
    # The cubic between two points may go beyond what the distribution allows; the quantity may not.
    below = drawn.forecast.cdf(np.full(len(drawn.queries), level)).reshape(shape[1:])
    possible = (below < 1 if upwards else below > 0).any(axis=1)
    return np.where(possible | (value >= sign * level).any(axis=2), found, np.inf)


def first_at_or_above(
    time: np.ndarray, value: np.ndarray, rate: np.ndarray, level: float
) -> np.ndarray:
    """When each path is first at or above a level.

    Args:
        time: ascending, shape `(points,)`.
        value: of each path there, shape `(..., points)`.
        rate: derivative of each path there, likewise.
        level: to be reached.

    Returns:
        Shape `(...)`: the first time where a path begins there, infinity where it never is.

    Example:
        >>> time = np.linspace(0.0, 3.0, 7)
        >>> float(first_at_or_above(time, np.sin(time), np.cos(time), 0.5).round(3))
        0.524
    """
    y, width = value - level, np.diff(time)
    y0, y1 = y[..., :-1], y[..., 1:]
    f0, f1 = rate[..., :-1] * width, rate[..., 1:] * width
    cubic = np.stack([2 * (y0 - y1) + f0 + f1, 3 * (y1 - y0) - 2 * f0 - f1, f0, y0])
    peak = _peak(cubic)
    over = _at(cubic, peak) >= 0
    reached = over | (y1 >= 0)
    cell = reached.argmax(axis=-1)
    here = cell[..., None]
    low = np.zeros(cell.shape)
    ends = np.where(over, peak, 1.0)
    high = np.take_along_axis(ends, here, -1)[..., 0]
    own = np.take_along_axis(cubic, here[None], -1)[..., 0]
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        above = _at(own, middle) >= 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    found = time[cell] + high * width[cell]
    found = np.where(reached.any(axis=-1), found, np.inf)
    return np.where(y[..., 0] >= 0, time[0], found)


def first_reading(time: np.ndarray, value: np.ndarray, level: float) -> np.ndarray:
    """When each path's readings are first at or above a level; arguments as `first_at_or_above`."""
    reached = value >= level
    return np.where(reached.any(axis=-1), time[reached.argmax(axis=-1)], np.inf)


def _at(cubic: np.ndarray, u: np.ndarray) -> np.ndarray:
    a, b, c, d = cubic
    return ((a * u + b) * u + c) * u + d


def _peak(cubic: np.ndarray) -> np.ndarray:
    """Where in [0, 1] the cubic has its local maximum; 0, whose value is known, where it has none."""
    a, b, c, _ = cubic
    root = np.sqrt(np.maximum(b**2 - 3 * a * c, 0.0))
    # The same root twice, each where nothing cancels: a parabola is no special case.
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.where(b <= 0, c / (root - b), -(b + root) / (3 * a))
    return np.where((b**2 > 3 * a * c) & (u > 0) & (u < 1), u, 0.0)
