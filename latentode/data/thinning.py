"""Thinned: a task of which the encoder sees a part only, so that it learns to do with less."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from latentode.data.task import Cut, Cuttable, Task, mix, uniform
from latentode.data.timeaxis import TimeAxis
from latentode.errors import LatentODEError

__all__ = ["Thinned"]

DROPPING, BLANKING = 0xD207, 0xB1A4  # streams of draws of their own


@dataclass(frozen=True)
class Thinned(Task):
    """A task of whose context a random part is hidden from the encoder.

    The part is drawn for each cut, uniformly between none and `drop`; held-out series lose nothing.

    Args:
        task: how series are cut.
        drop: largest expected fraction of the context to hide, below 1.
        blank: share of cuts whose context is hidden whole, below 1, so that the model learns what to
            expect of a series of which nothing but its statics is known.
    """

    task: Task
    drop: float
    blank: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.blank < 1:
            raise LatentODEError(f"blank_contexts must be at least 0 and below 1, got {self.blank}")
        if not 0 <= self.drop < 1:
            raise LatentODEError(f"drop_observations must be at least 0 and below 1, got {self.drop}")

    def resolve(self, axis: TimeAxis) -> Thinned:
        return replace(self, task=self.task.resolve(axis))

    def fixed(self) -> Task:
        return self.task.fixed()

    def cut(self, series: Cuttable) -> Cut:
        made = self.task.cut(series)
        keys = mix(series.keys, DROPPING)
        fraction = self.drop * uniform(keys, 0)
        # Observations are counted within each series, so that no draw depends on the series before it.
        place = np.arange(len(series.series)) - series.begins
        kept = uniform(keys[series.series], place + 1) >= fraction[series.series]
        kept &= (uniform(mix(series.keys, BLANKING), 0) >= self.blank)[series.series]
        return replace(made, context=made.context & kept)
