r"""Windows: the observations that lie in a stretch of time before and after a forecast origin.

The observations of all series lie in one flat array, sorted by series and time. A window is then a
range of positions in it, whose ends are found by bisection in $O(\log n)$ for a series of n
observations: a cut costs what it holds, not what its series holds.

Random draws are made by a counter: they depend on a key and on nothing else. The key is made from the
identifier of a series, the seed, the epoch and the number of the draw, so that permuting, regrouping or
leaving out series changes no draw of another. A random forecast origin is one of two kinds of places:

- a time at which the series was observed, each but the last equally likely. Forecasts from the last
  observation on are asked at such places.
- a moment: any time between the first and the last observation, equally likely, from which something is
  observed within a horizon. Forecasts from a given time on are asked there; the time since the last
  observation, from which they go on, is then distributed as it is when a clock, and not an observation,
  asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from latentode.data.dataset import Ragged, SeriesDataset, ranges

__all__ = [
    "Cut",
    "Cuttable",
    "Timeline",
    "counted",
    "cut_window",
    "first_times",
    "last_observed",
    "mix",
    "new_events",
    "random_moments",
    "random_observation_times",
    "rounding",
    "snap",
    "uniform",
]

TIME, COIN, MOMENTS = 0, 1, 2  # counters of the draws of an origin
TRIES = 16  # of moments, until something is observed within a horizon after one
ROUNDINGS = 4  # a time, an origin, the horizon and their difference are each rounded once


@dataclass(frozen=True)
class Timeline:
    """When the series of a dataset were observed.

    Args:
        time: of each observation since its series' start in time units, float64, sorted by series and
            time, shape `(observations,)`.
        parts: which observations are those of each series.
        until: until when each series was watched, no earlier than its last observation, shape
            `(series,)`.
        since: since when it is known what drove each series, no later than its first observation,
            likewise.
    """

    time: np.ndarray
    parts: Ragged
    until: np.ndarray
    since: np.ndarray

    @classmethod
    def of(cls, dataset: SeriesDataset) -> Timeline:
        """The observation times of a dataset; known-future columns tell from the first row on."""
        since = np.zeros(len(dataset)) if dataset.schema.known_future else dataset.first
        return cls(dataset.time, dataset.parts, dataset.watched_until, since)

    @cached_property
    def first(self) -> np.ndarray:
        """Time of each series' first observation, 0 where it has none, shape `(series,)`."""
        return self._edge(self.parts.offsets[:-1])

    @cached_property
    def last(self) -> np.ndarray:
        """Time of each series' last observation, 0 where it has none, shape `(series,)`."""
        return self._edge(self.parts.offsets[1:] - 1)

    @cached_property
    def moments(self) -> tuple[np.ndarray, Ragged]:
        """The distinct observation times of each series, and which are those of each."""
        new = np.ones(len(self.time), dtype=bool)
        new[1:] = self.time[1:] != self.time[:-1]
        begins = self.parts.offsets[:-1]
        new[begins[begins < len(new)]] = True
        if new.all():  # not to be copied, where there are very many
            return self.time, self.parts
        before = np.r_[0, np.cumsum(new)]
        return self.time[new], Ragged(before[self.parts.offsets])

    def __len__(self) -> int:
        return len(self.until)

    def cuttable(self, rows: np.ndarray, keys: np.ndarray, draws: np.ndarray | None = None) -> Cuttable:
        """Some of the series to cut; see `Cuttable`. Without `draws`, each for the first time."""
        return Cuttable(self, rows, keys, np.zeros_like(rows) if draws is None else draws)

    def _edge(self, positions: np.ndarray) -> np.ndarray:
        edge = np.zeros(len(positions))
        some = np.diff(self.parts.offsets) > 0
        edge[some] = self.time[positions[some]]
        return edge


@dataclass(frozen=True)
class Cuttable:
    """Series to cut, each at a place of its own; a series may occur more than once.

    Args:
        timeline: when all series of the dataset were observed.
        rows: index of the series of each cut, shape `(cuts,)`.
        keys: random key of each cut, uint64, shape `(cuts,)`.
        draws: which of the cuts of its series each is, counted from 0, shape `(cuts,)`.
    """

    timeline: Timeline
    rows: np.ndarray
    keys: np.ndarray
    draws: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """Time of the first observation of each cut's series, shape `(cuts,)`."""
        return self.timeline.first[self.rows]

    @property
    def last(self) -> np.ndarray:
        """Time of the last observation of each cut's series, shape `(cuts,)`."""
        return self.timeline.last[self.rows]


@dataclass(frozen=True)
class Cut:
    """Which observations are context and which are targets.

    Args:
        origin: forecast origin of each cut, time since its series' start, shape `(cuts,)`.
        start: where its context begins, no later than the origin, likewise.
        end: until when it is known what was observed, no earlier than the origin, likewise.
        positions: the observations of each cut's window, cut by cut and in time, as positions in the
            dataset's flat arrays, shape `(observations,)`.
        series: index of the cut that each of them belongs to, ascending, likewise.
        context: mask over them: what the encoder sees.
        target: mask over them: what the model is asked for.
    """

    origin: np.ndarray
    start: np.ndarray
    end: np.ndarray
    positions: np.ndarray
    series: np.ndarray
    context: np.ndarray
    target: np.ndarray


def cut_window(
    series: Cuttable, origin: np.ndarray, context: float, horizon: np.ndarray | float
) -> Cut:
    """The contexts `[origin - context, origin]` and the targets `(origin, origin + horizon]`.

    Both ends are inclusive up to the rounding of the times, so that an hourly table's observation one
    hour ahead is a target wherever the origin lies. There is no target where the horizon is 0. A
    context begins with its first observation, or as early as known-future columns tell of the series:
    what they say moves its state before anything is observed.
    """
    line, rows = series.timeline, series.rows
    time, bisect = line.time, line.parts.bisect
    begin = bisect(rows, lambda p: time[p] - origin < -context - rounding(time[p], origin))
    middle = bisect(rows, lambda p: time[p] - origin <= 0)
    finish = bisect(rows, lambda p: time[p] - origin <= horizon + rounding(time[p], origin))
    finish = np.where(horizon > 0, finish, middle)
    start = np.minimum(origin, np.maximum(line.since[rows], origin - context))
    some = begin < middle
    start[some] = np.minimum(start[some], time[begin[some]])
    end = np.maximum(origin, np.minimum(origin + horizon, line.until[rows]))
    positions, owner = ranges(begin, finish)
    seen = positions < middle[owner]
    return Cut(origin, start, end, positions, owner, seen, ~seen)


def new_events(time: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Mask of the first observation at each time of each cut."""
    new = np.ones(len(time), dtype=bool)
    new[1:] = (np.diff(owner) != 0) | (np.diff(time) != 0)
    return new


def counted(marked: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """How many are marked up to each observation within its cut; owners ascend."""
    passed = np.cumsum(marked)
    begins = np.searchsorted(owner, owner)
    return passed - np.r_[0, passed][begins]


def first_times(series: Cuttable, cut: Cut, count: int) -> Cut:
    """The cut with targets at the first `count` times after each origin only."""
    new = new_events(series.timeline.time[cut.positions], cut.series)
    return replace(cut, target=cut.target & (counted(new & cut.target, cut.series) <= count))


def rounding(time: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """The largest rounding error of the difference between each time and its origin."""
    return ROUNDINGS * np.finfo(np.float64).eps * np.maximum(np.abs(time), np.abs(origin))


def snap(series: Cuttable, origin: np.ndarray) -> np.ndarray:
    """Origins, moved onto an observation time from which they differ by rounding only."""
    time, parts, rows = series.timeline.time, series.timeline.parts, series.rows
    near = parts.bisect(rows, lambda p: time[p] - origin <= rounding(time[p], origin)) - 1
    some = np.nonzero(near >= parts.offsets[rows])[0]
    observed, asked = time[near[some]], origin[some]
    close = np.abs(observed - asked) <= rounding(observed, asked)
    origin = origin.copy()
    origin[some[close]] = observed[close]
    return origin


def last_observed(series: Cuttable, moment: np.ndarray) -> np.ndarray:
    """The time of each cut's last observation at or before a moment; the moment where there is none."""
    line, rows = series.timeline, series.rows
    place = line.parts.bisect(rows, lambda p: line.time[p] <= moment) - 1
    found, some = moment.copy(), place >= line.parts.offsets[rows]
    found[some] = line.time[place[some]]
    return found


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
    series: Cuttable, between: tuple[float, float] | None = None, strata: int = 1
) -> np.ndarray:
    """One of each series' observation times before its last, each equally likely; else the last time.

    Args:
        series: what is cut.
        between: earliest and latest time to draw, since the series' start, of the series that have an
            observation time there.
        strata: of several equal parts of those times, each of as many draws of a series takes the
            middle of its own.

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
    inner = uniform(series.keys, TIME) if strata == 1 else 0.5
    share = (series.draws % strata + inner) / strata
    pick = begin + (share * counts).astype(np.int64)
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
