"""SkippedBatches: batches that cannot be trained on, counted over all processes of a training.

A batch whose solution or loss is not finite adds nothing to the gradient of its optimiser step; a step
whose gradient is not finite, or to which no process could add anything, is not taken. Every process
takes part in every step, with a loss of 0 where it has nothing to learn from: the others wait for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from latentode.errors import SolveError

__all__ = ["SkippedBatches"]


class SkippedBatches:
    """How many batches were skipped; three optimiser steps in a row without any other end a training.

    Attributes:
        total: batches skipped so far, by all processes.
        in_a_row: steps since the last one that was taken.
    """

    MOST_IN_A_ROW = 3

    def __init__(self) -> None:
        self.total = self.in_a_row = 0
        self._why = "another process could not train on its own"
        self._skipped = self._learnt = 0  # by this process since the last step

    def learn(self) -> None:
        """Counts a batch that has a loss."""
        self._learnt += 1

    def skip(self, why: str) -> None:
        """Counts a batch that has none, and says why."""
        self._why = why
        self._skipped += 1
        warnings.warn(f"batch skipped ({self.total + self._skipped} so far): {why}", stacklevel=3)

    def refuse_step(self, why: str) -> None:
        """Has all batches of this step count as skipped."""
        self._skipped, self._learnt = self._skipped + max(self._learnt - 1, 0), 0
        self.skip(why)

    def step(self, over_processes: Callable[[Tensor], Tensor]) -> bool:
        """Whether an optimiser step has anything to learn from; called once a step by every process.

        Args:
            over_processes: sums a tensor over all processes.

        Raises:
            SolveError: after too many steps that had nothing, by every process at once.
        """
        both = over_processes(torch.tensor([self._skipped, self._learnt]))
        skipped, learnt = (int(n) for n in both)
        self._skipped = self._learnt = 0
        self.total += skipped
        self.in_a_row = 0 if learnt else self.in_a_row + 1
        if self.in_a_row >= self.MOST_IN_A_ROW:
            raise SolveError(
                f"the batches of {self.in_a_row} steps in a row could not be trained on; the last: "
                f"{self._why}. Lower lr, take more solver steps, or shorten the horizon; the weights "
                "are still finite"
            )
        return learnt > 0
