r"""Random draws by a counter: numbers, and forecast origins, that depend on a key and on nothing else.

The key is made from the identifier of a series, the seed, the epoch and the number of the draw, so that
permuting, regrouping or leaving out series changes no draw of another.

A forecast origin is one of two kinds of places, between which a coin decides:

- a time at which the series was observed, each but the last equally likely. Forecasts from the last
  observation on are asked at such places.
- a moment: any time between the first and the last observation, equally likely, from which something is
  observed within a horizon. Forecasts from a given time on are asked there; the time since the last
  observation is then distributed as it is when a clock, and not an observation, asks.
"""

from __future__ import annotations

import numpy as np

from latentode.data.windows import Cuttable

__all__ = ["mix", "random_moments", "random_observation_times", "uniform"]

TIME, COIN, MOMENTS = 0, 1, 2  # counters of the draws of an origin
TRIES = 16  # of moments, until something is observed within a horizon after one


def uniform(keys: np.ndarray, counter: np.ndarray | int) -> np.ndarray:
    """Uniform numbers in [0, 1), one per (key, counter), by the splitmix64 finaliser.

    References:
        Fast splittable pseudorandom number generators (Steele, Lea and Flood, 2014).

    Example:
        >>> one = uniform(np.array([7], dtype=np.uint64), 3)
        >>> both = uniform(np.array([5, 7], dtype=np.uint64), np.array([9, 3]))
        >>> bool(one[0] == both[1])
        True
    """
    return (mix(keys, counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mix(keys: np.ndarray, counter: np.ndarray | int) -> np.ndarray:
    """A new uint64 key from each (key, counter)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        x = keys + golden * (np.asarray(counter).astype(np.uint64) + np.uint64(1))
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def random_observation_times(
    series: Cuttable, between: tuple[float, float] | None = None
) -> np.ndarray:
    """One of each series' observation times before its last, each equally likely; else the last time.

    Args:
        series: what is cut.
        between: earliest and latest time to draw, since the series' start, of the series that have an
            observation time there.

    Returns:
        Shape `(cuts,)`.
    """
    rows, (time, parts) = series.rows, series.timeline.moments
    begin, end = parts.offsets[rows], np.maximum(parts.offsets[rows + 1] - 1, parts.offsets[rows])
    if between is not None:
        inner = np.maximum(parts.bisect(rows, lambda p: time[p] < between[0]), begin)
        outer = np.minimum(parts.bisect(rows, lambda p: time[p] <= between[1]), end)
        begin, end = np.where(inner < outer, inner, begin), np.where(inner < outer, outer, end)
    counts = end - begin
    pick = begin + (uniform(series.keys, TIME) * counts).astype(np.int64)
    origin, some = series.last, counts > 0
    origin[some] = time[pick[some]]
    return origin


def random_moments(
    series: Cuttable,
    share: float,
    horizon: float,
    otherwise: np.ndarray,
    between: tuple[float, float] | None = None,
) -> np.ndarray:
    """For a share of the cuts a moment from which something is observed within a horizon.

    Args:
        series: what is cut.
        share: probability that a cut takes a moment.
        horizon: in time units.
        otherwise: the origins of the other cuts, and of those for which no moment was found, shape
            `(cuts,)`.
        between: earliest and latest moment, since the series' start, of the series that were observed
            before and after both.

    Returns:
        Shape `(cuts,)`.
    """
    low, high = series.first, series.last
    if between is not None:
        inner, outer = np.maximum(low, between[0]), np.minimum(high, between[1])
        low, high = np.where(inner < outer, inner, low), np.where(inner < outer, outer, high)
    origin = otherwise.copy()
    open_ = np.nonzero((uniform(series.keys, COIN) < share) & (low < high))[0]
    for number in range(TRIES):
        place = low[open_] + uniform(series.keys[open_], MOMENTS + number) * (high - low)[open_]
        good = _observed_within(series, open_, place, horizon)
        origin[open_[good]] = place[good]
        open_ = open_[~good]
        if len(open_) == 0:
            break
    return origin


def _observed_within(
    series: Cuttable, cuts: np.ndarray, origin: np.ndarray, horizon: float
) -> np.ndarray:
    """Whether anything of the series of some cuts is observed in `(origin, origin + horizon]`."""
    line, rows = series.timeline, series.rows[cuts]
    after = line.parts.bisect(rows, lambda p: line.time[p] <= origin)
    found = after < line.parts.offsets[rows + 1]
    found[found] = line.time[after[found]] - origin[found] <= horizon
    return found
