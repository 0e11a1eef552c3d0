"""Task: where a series is cut into what is seen and what is asked.

A cut is made in time, series by series: it depends on that series and its own random draws, never on
the batch. Draws come from a counter-based generator keyed by the series' identifier, so permuting or
regrouping series changes no cut.

ContextDropout: a task of which the encoder sees a part only, so that it learns to do with less.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.cells.time_axis import Duration, TimeAxis
from latentode.data.windows import (
    Cut,
    Cuttable,
    Timeline,
    counted,
    cut_window,
    first_times,
    last_observed,
    mix,
    new_events,
    random_moments,
    random_observation_times,
    snap,
    uniform,
)
from latentode.errors import LatentODEError, check_whole

__all__ = [
    "Classification",
    "ContextDropout",
    "Forecasting",
    "Interpolation",
    "RollingOrigins",
    "Task",
    "mix",
    "uniform",
]

ORIGINS = ("random", "last", "end")
MOMENTS = 0.0  # of random origins: observation times only, which serve the storms best
FURTHEST_ORIGIN = 3.0  # horizons before a moment; of an older observation paths would be long
ROUNDING = 1e-9  # of a number of horizons
HELD_OUT_CUTS = 256  # of all held-out series together, if they have room for so many


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

    def held_out_cuts(self, timeline: Timeline) -> np.ndarray:
        """How many times `fixed` cuts each series to validate, shape `(series,)`."""
        return np.ones(len(timeline), dtype=np.int64)

    def rolling(self, begin: np.ndarray) -> Task:
        """The task to validate on where only what comes after `begin` is held out.

        Args:
            begin: time since each series' start, shape `(series,)`.
        """
        return self.fixed()

    def undropped(self) -> Task:
        """The task itself where it hides a part of training contexts."""
        return self

    def reach(self) -> float | None:
        """The unit of model time: the horizon, in time units; None for the span of the series."""
        return None


@dataclass(frozen=True)
class Forecasting(Task):
    """Context up to a moment (inclusive), targets in `(moment, moment + horizon]`.

    The forecast origin is the last observation by that moment, wherever the moment is: a history that
    ends there says no more, so that training, validation, backtests and predictions are one.

    Args:
        horizon: how far ahead to look.
        context_length: how far back the encoder sees; None for all.
        origin: the moment: "random" (any of the series, see `moments`), "last" (a horizon before the
            last observation, but no earlier than the first), "end" (the last observation: everything
            is context), or a duration since the series' start.
        between: earliest and latest random moment since the series' start, where the series has a
            time there to begin at.
        count: how many of the times ahead are asked for at most; None for all within the horizon.
        validate_at: where held-out series are cut if those of training are random: as `origin`; None
            for several random moments each.
        moments: share of random moments that are any time from which something is observed within the
            horizon; the others are observation times, all of a series but its last equally likely.
        strata: parts of a series' observation times, as many of each, one of which each draw is from.

    Example:
        >>> Forecasting("24h").resolve(TimeAxis("datetime")).horizon
        24.0
    """

    horizon: Duration
    context_length: Duration | None = None
    origin: Duration = "random"
    between: tuple[Duration, Duration] | None = None
    count: int | None = None
    validate_at: Duration | None = None
    moments: float = MOMENTS
    strata: int = 1

    def __post_init__(self) -> None:
        if self.count is not None:
            check_whole("count", self.count)
        if self.validate_at == "random":
            raise LatentODEError(
                "validate_at names one origin per series; leave it out for random ones"
            )
        if not 0 <= self.moments <= 1:
            raise LatentODEError(f"moments must be a share between 0 and 1, got {self.moments}")

    def resolve(self, axis: TimeAxis) -> Forecasting:
        def place(origin: Duration, name: str) -> Duration:
            return origin if origin in ORIGINS else axis.duration(origin, name)

        ends, at = self.between, self.validate_at
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
            validate_at=None if at is None else place(at, "validate_at"),
        )

    def fixed(self) -> Forecasting:
        if self.origin != "random" or self.validate_at is None:
            return self
        return replace(self, origin=self.validate_at)

    def held_out_cuts(self, timeline: Timeline) -> np.ndarray:
        if self.origin != "random":
            return super().held_out_cuts(timeline)
        # No more than there are horizons in a series, so that they tell different things of it.
        usual = min(max(-(-HELD_OUT_CUTS // max(len(timeline), 1)), 2), HELD_OUT_CUTS)
        room = (timeline.last - timeline.first) / self.reach()
        return np.clip(room, 1, usual).astype(np.int64)

    def rolling(self, begin: np.ndarray) -> Task:
        return RollingOrigins(self, begin) if self.origin == "random" else self.fixed()

    def reach(self) -> float:
        return float(self.horizon)  # type: ignore[arg-type]

    def cut(self, series: Cuttable) -> Cut:
        return self.cut_at(series, self.moment(series))

    def moment(self, series: Cuttable) -> np.ndarray:
        """The moment at which each series is cut, time since its start, shape `(cuts,)`."""
        if self.origin == "random":
            ends: Any = self.between  # resolved
            observed = random_observation_times(series, ends, self.strata)
            return random_moments(series, self.moments, self.reach(), observed, ends)
        if self.origin == "last":
            return np.maximum(series.last - self.reach(), series.first)
        if self.origin == "end":
            return series.last
        return np.full(len(series.last), float(self.origin))  # type: ignore[arg-type]

    def cut_at(self, series: Cuttable, moment: np.ndarray) -> Cut:
        """Cuts each series at a given moment, time since its start, shape `(cuts,)`."""
        context = np.inf if self.context_length is None else float(self.context_length)  # type: ignore[arg-type]
        moment = snap(series, moment)
        seen = last_observed(series, moment)
        seen = np.where(moment - seen <= FURTHEST_ORIGIN * self.reach(), seen, moment)
        made = cut_window(series, seen, context, moment - seen + self.reach())
        return made if self.count is None else first_times(series, made, self.count)


@dataclass(frozen=True, eq=False)
class RollingOrigins(Task):
    """Moments a horizon apart, from a given time of each series on: each value is asked once.

    Args:
        task: what is seen and asked at each origin, resolved.
        begin: the first origin of each series, time since its start, shape `(series,)`.
    """

    task: Forecasting
    begin: np.ndarray

    def resolve(self, axis: TimeAxis) -> RollingOrigins:
        return self

    def reach(self) -> float:
        return self.task.reach()

    def held_out_cuts(self, timeline: Timeline) -> np.ndarray:
        horizons = (timeline.last - self.begin) / self.reach()
        # The last origin of all lies before the last observation, by more than rounding.
        return np.maximum(np.ceil(horizons * (1 - ROUNDING)), 1).astype(np.int64)

    def cut(self, series: Cuttable) -> Cut:
        return self.task.cut_at(series, self.begin[series.rows] + series.draws * self.reach())


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
        event = counted(new_events(line.time[positions], owner), owner)
        seen = uniform(series.keys[owner], event) < self.keep
        first, last = series.first, series.last
        return Cut(last, first, last, positions, owner, seen, ~seen)


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

    def rolling(self, begin: np.ndarray) -> Task:
        return self.task.rolling(begin)

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
