"""Jumps: levels that moved at once and stayed, told by the last innovations of a filter.

A level that hardly ever walks would take as many rows to follow a jump as there were before it. Where
the last rows tell of one, its step is one more column of the cell's rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentode.nn.state_space import Cells, Filtered
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = ["Steps", "jumps"]

TINY = 1e-300
SHORTEST_RUN, BEFORE = 3, 10  # rows since a jump, and rows before it, at least
CLEAR, UNSEEN = 5.0, 1.5  # times what is usual, and the most that there was before
# How far the first and the last of a run may be off its mean: shares of that, as a filter that learns
# follows a jump by and by, and times what is usual of so many.
FIRST_SHARE, LAST_SHARE, CHANCE = 0.5, 0.35, 3.0
QUIET = 0.25, 0.3186  # a quantile of sizes of innovations, and that of the standard normal distribution
ABRUPT = 0.5  # of a known column's range in a cell, by which it moves when it explains a jump
UNKNOWN = 1e6  # variance of a jump beforehand, in units of the training data: as good as unknown


@compiled_in_order
def _lasts(sums: Any, k: int, usual: float) -> bool:
    """Whether the last k innovations, of which there are sums, are alike from first to last."""
    n = len(sums) - 1
    mean = (sums[n] - sums[n - k]) / k
    for j in range(1, k):
        chance = CHANCE * math.sqrt(j) * usual
        begun, ended = sums[n - k + j] - sums[n - k], sums[n] - sums[n - j]
        if abs(begun - j * mean) > FIRST_SHARE * j * abs(mean) + chance:
            return False
        if abs(ended - j * mean) > LAST_SHARE * j * abs(mean) + chance:
            return False
    return True


@compiled_in_order
def jumps(begins: Any, innovations: Any) -> np.ndarray:
    """Where levels have jumped for good, as far as the last innovations of cells tell.

    Of k innovations on end the sum over $\\sqrt{k}$ is about as large as one. A level that jumped k
    rows ago leaves it several times as large, also without the largest of them, and larger than that of
    any k before: what comes and goes, as a cycle that the model does not know, has been seen before. It
    leaves all k of them about as large: the first ones, or it was later, and the last ones, or it is
    back where it was.

    Args:
        begins, innovations: of rows, as `own_variances` has them.

    Returns:
        The first row of each cell after a jump, -1 where there is none, shape `(cells,)`.
    """
    cells = len(begins) - 1
    row = np.full(cells, -1)
    for c in range(cells):
        first, n = begins[c], begins[c + 1] - begins[c]
        if n < SHORTEST_RUN + BEFORE:
            continue
        sums, squares = np.zeros(n + 1), np.zeros(n + 1)
        for i in range(n):
            sums[i + 1] = sums[i] + innovations[first + i]
            squares[i + 1] = squares[i] + innovations[first + i] ** 2
        sizes = np.sort(np.abs(innovations[first : first + n]))
        quiet = sizes[int(QUIET[0] * n)] / QUIET[1]  # also where many innovations are after a jump
        found, most, largest = 0, CLEAR, 0.0
        for k in range(1, min(3 * n // 4, n - BEFORE) + 1):  # longer runs have too little before them
            newest = innovations[first + n - k]
            largest = newest if abs(newest) > abs(largest) else largest
            whole, usual = sums[n] - sums[n - k], math.sqrt(squares[n - k] / (n - k))
            clear = abs(whole - largest) / math.sqrt(max(k - 1, 1)) / max(usual, TINY)
            if k < SHORTEST_RUN or clear <= most or not _lasts(sums, k, min(usual, quiet)):
                continue
            before = 0.0
            for i in range(k, n - k + 1):
                before = max(before, abs(sums[i] - sums[i - k]))
            if abs(whole - largest) > UNSEEN * before:
                found, most = k, clear
        if found:
            row[c] = first + n - found
    return row


@dataclass(frozen=True)
class Steps:
    """Jumps of levels, each a column of its cell's rows whose coefficient is unknown beforehand.

    Args:
        since: when the level of each cell jumped, infinite where it did not, shape `(cells,)`.
    """

    since: np.ndarray

    @classmethod
    def of(cls, cells: Cells, found: Filtered, n_known: int) -> Steps | None:
        """The jumps of cells that were filtered, if there are any that no known column explains."""
        row = jumps(cells.begins, found.innovations)
        known = cells.basis[:, cells.basis.shape[1] - 2 * n_known :][:, :n_known]
        for cell in np.flatnonzero(row >= 0) if n_known else ():
            own = known[cells.begins[cell] : cells.begins[cell + 1]]
            at = row[cell] - cells.begins[cell]
            moved = np.abs(np.diff(own[max(at - 2, 0) : at + 2], axis=0)).max(axis=0)
            if (moved > ABRUPT * np.ptp(own, axis=0)).any():
                row[cell] = -1
        return None if (row < 0).all() else cls(np.where(row < 0, np.inf, cells.time[row]))

    def beside(self, basis: np.ndarray, cell: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Columns of rows of cells, and one more after them."""
        return np.column_stack([basis, time >= self.since[cell]])

    @staticmethod
    def before(prior: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of coefficients, `(variables, columns)`, and of the column more."""
        ones = np.ones((len(prior[0]), 1))
        return np.hstack([prior[0], 0 * ones]), np.hstack([prior[1], UNKNOWN * ones])
