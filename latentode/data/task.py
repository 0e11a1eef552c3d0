"""Task: where a series is cut into what is seen and what is asked.

A cut is made in time, series by series: it depends on that series and its own random draws, never on
the batch. Draws come from a counter-based generator keyed by the series' identifier, so permuting or
regrouping series changes no cut.

ContextDropout: a task of which the encoder sees a part only, so that it learns to do with less.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from latentode.data.time_axis import Duration, TimeAxis
from latentode.data.windows import Cut, Cuttable, cut_window, snap
from latentode.errors import LatentODEError

__all__ = [
    "Classification",
    "ContextDropout",
    "Forecasting",
    "Interpolation",
    "Task",
    "mix",
    "uniform",
]

ORIGINS = ("random", "last", "end")


class Task(ABC):
    """A way to cut series."""

    @abstractmethod
    def resolve(self, axis: TimeAxis) -> Task:
        """The same task with its durations in the time units of `axis`."""

    @abstractmethod
    def cut(self, series: Cuttable) -> Cut:
        """Cuts each series."""

    def asked_labels(self) -> pd.Series | pd.DataFrame | None:
        """The labels of the series, where the task is to classify them."""
        return None

    def fixed(self) -> Task:
        """The task to validate on: the same cuts every time. Itself unless it draws origins."""
        return self

    def undropped(self) -> Task:
        """The task itself where it hides a part of training contexts."""
        return self

    def reach(self) -> float | None:
        """The unit of model time: the horizon, in time units; None for the span of the series."""
        return None


@dataclass(frozen=True)
class Forecasting(Task):
    """Context up to the origin (inclusive), targets in `(origin, origin + horizon]`.

    Args:
        horizon: how far ahead to look.
        context_length: how far back the encoder sees; None for all.
        origin: "random" (one of the series' own observation times, all but the last equally
            likely), "last" (a horizon before the last observation, but no earlier than the first),
            "end" (the last observation: everything is context), or a duration since the series'
            start.
        between: earliest and latest random origin since the series' start, where the series has a
            time there to begin at.
        count: how many of the times ahead are asked for at most; None for all within the horizon.
        validate_at: where held-out series are cut if the origins of training are random: as `origin`.

    Example:
        >>> Forecasting("24h").resolve(TimeAxis("datetime")).horizon
        24.0
    """

    horizon: Duration
    context_length: Duration | None = None
    origin: Duration = "random"
    between: tuple[Duration, Duration] | None = None
    count: int | None = None
    validate_at: Duration = "last"

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise LatentODEError(f"count must be at least 1, got {self.count}")
        if self.validate_at == "random":
            raise LatentODEError("validate_at must name one origin per series; it cannot be random")

    def resolve(self, axis: TimeAxis) -> Forecasting:
        def place(origin: Duration, name: str) -> Duration:
            return origin if origin in ORIGINS else axis.duration(origin, name)

        ends = self.between
        if ends is not None:
            ends = (axis.duration(ends[0], "between"), axis.duration(ends[1], "between"))
        return replace(
            self,
            horizon=axis.duration(self.horizon),
            context_length=None
            if self.context_length is None
            else axis.duration(self.context_length, "context_length"),
            origin=place(self.origin, "origin"),
            between=ends,
            validate_at=place(self.validate_at, "validate_at"),
        )

    def fixed(self) -> Forecasting:
        return replace(self, origin=self.validate_at) if self.origin == "random" else self

    def reach(self) -> float:
        return float(self.horizon)  # type: ignore[arg-type]

    def cut(self, series: Cuttable) -> Cut:
        horizon = self.reach()
        if self.origin == "random":
            origin = _random_origins(series, self.between)
        elif self.origin == "last":
            origin = np.maximum(series.last - horizon, series.first)
        elif self.origin == "end":
            origin = series.last
        else:
            origin = np.full(len(series.last), float(self.origin))  # type: ignore[arg-type]
        context = np.inf if self.context_length is None else float(self.context_length)  # type: ignore[arg-type]
        made = cut_window(series, snap(series, origin), context, horizon)
        return made if self.count is None else _first_times(series, made, self.count)


@dataclass(frozen=True)
class Interpolation(Task):
    """Some of each series' times are seen, the others are asked for; the origin is the last time.

    Args:
        keep: probability that a time is seen.
    """

    keep: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise LatentODEError(f"keep is a probability between 0 and 1, got {self.keep}")

    def resolve(self, axis: TimeAxis) -> Interpolation:
        return self

    def cut(self, series: Cuttable) -> Cut:
        line, rows = series.timeline, series.rows
        positions, owner = line.parts.gather(rows)
        # Events are counted within each series, so that no draw depends on the series before it.
        event = _counted(_new_events(line.time[positions], owner), owner)
        seen = uniform(series.keys[owner], event) < self.keep
        first, last = series.first, series.last
        return Cut(last, first, last, positions, owner, seen, ~seen)


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


def _new_events(time: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Mask of the first observation at each time of each cut."""
    new = np.ones(len(time), dtype=bool)
    new[1:] = (np.diff(owner) != 0) | (np.diff(time) != 0)
    return new


def _counted(marked: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """How many are marked up to each observation within its cut; owners ascend."""
    passed = np.cumsum(marked)
    begins = np.searchsorted(owner, owner)
    return passed - np.r_[0, passed][begins]


def _first_times(series: Cuttable, cut: Cut, count: int) -> Cut:
    """The cut with targets at the first `count` times after each origin only."""
    new = _new_events(series.timeline.time[cut.positions], cut.series)
    return replace(cut, target=cut.target & (_counted(new & cut.target, cut.series) <= count))


def _random_origins(series: Cuttable, between: tuple[Duration, Duration] | None) -> np.ndarray:
    """One of each series' observation times before its last, drawn uniformly; else the last time.

    Within `between`, if the series has such a time there.
    """
    rows, (time, parts) = series.rows, series.timeline.moments
    begin, end = parts.offsets[rows], np.maximum(parts.offsets[rows + 1] - 1, parts.offsets[rows])
    if between is not None:
        low, high = (float(end) for end in between)  # type: ignore[arg-type]
        inner = np.maximum(parts.bisect(rows, lambda p: time[p] < low), begin)
        outer = np.minimum(parts.bisect(rows, lambda p: time[p] <= high), end)
        begin, end = np.where(inner < outer, inner, begin), np.where(inner < outer, outer, end)
    counts = end - begin
    pick = begin + (uniform(series.keys, 0) * counts).astype(np.int64)
    origin, some = series.last, counts > 0
    origin[some] = time[pick[some]]
    return origin


@dataclass(frozen=True, eq=False)
class Classification(Task):
    """Everything that a series has shown is context, and its labels are what is asked for.

    Args:
        labels: a pandas Series of labels indexed by identifier, or a frame of identifier, time where
            the labels are of times, and label.
        span: how long a series is, such as the median: the unit of a model's own time.
        context_length: how far back of its last observation a series is seen; None for all.
    """

    labels: pd.Series | pd.DataFrame
    span: Duration
    context_length: Duration | None = None

    def resolve(self, axis: TimeAxis) -> Classification:
        length = self.context_length
        return replace(
            self,
            span=axis.duration(self.span, "span"),
            context_length=None if length is None else axis.duration(length, "context_length"),
        )

    def asked_labels(self) -> pd.Series | pd.DataFrame:
        return self.labels

    def cut(self, series: Cuttable) -> Cut:
        return Forecasting(self.span, self.context_length, origin="end").cut(series)

    def reach(self) -> float:
        return float(self.span)  # type: ignore[arg-type]


OBSERVATIONS, CONTEXTS = 0xD207, 0xB1A4  # streams of random draws of their own


@dataclass(frozen=True)
class ContextDropout(Task):
    """A task of whose contexts a random part is hidden from the encoder, in training only.

    Args:
        task: how series are cut.
        observation_dropout: largest expected fraction of a context to hide, below 1; the fraction is
            drawn for each cut, uniformly between none and this.
        context_dropout: share of cuts whose context is hidden whole, below 1, so that the model learns
            what to expect of a series of which nothing but its static covariates is known.

    Raises:
        LatentODEError: for a fraction outside of [0, 1).
    """

    task: Task
    observation_dropout: float = 0.0
    context_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("observation_dropout", "context_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise LatentODEError(
                    f"{name} must be at least 0 and below 1, got {getattr(self, name)}"
                )

    def asked_labels(self) -> pd.Series | pd.DataFrame | None:
        return self.task.asked_labels()

    def resolve(self, axis: TimeAxis) -> ContextDropout:
        return replace(self, task=self.task.resolve(axis))

    def fixed(self) -> Task:
        return self.task.fixed()

    def undropped(self) -> Task:
        return self.task.undropped()

    def reach(self) -> float | None:
        return self.task.reach()

    def cut(self, series: Cuttable) -> Cut:
        made = self.task.cut(series)
        keys = mix(series.keys, OBSERVATIONS)
        fraction = self.observation_dropout * uniform(keys, 0)
        # Observations are counted within each series, so that no draw depends on the series before it.
        place = made.positions - series.timeline.parts.offsets[series.rows][made.series]
        kept = uniform(keys[made.series], place + 1) >= fraction[made.series]
        shown = uniform(mix(series.keys, CONTEXTS), 0) >= self.context_dropout
        return replace(made, context=made.context & kept & shown[made.series])
