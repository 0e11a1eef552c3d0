"""Jumps: levels that moved at once and stayed, told by the last innovations of a filter.

A level that hardly ever walks would take as many rows to follow a jump as there were before it. Where
the last rows tell of one, its step is one more column of the cell's rows. `Undisturbed` has cells
without outliers (`latentode.nn.outliers`), and with a column for every jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from latentode.nn.compiled_filter import forecast
from latentode.nn.outliers import LEARNT, QUIET, UNKNOWN, explained, outliers, wild_at_first
from latentode.nn.state_space import Cells, Filtered
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = ["Undisturbed", "jumps"]

TINY = 1e-300
SHORTEST_RUN, BEFORE = 3, 10  # rows since a jump, and rows before it, at least
CLEAR, UNSEEN = 5.0, 1.5  # times what is usual, and the most that there was before
# How far the first and the last of a run may be off its mean: shares of that, as a filter that learns
# follows a jump by and by, and times what is usual of so many.
FIRST_SHARE, LAST_SHARE, CHANCE = 0.5, 0.35, 3.0
PASSES = 3  # what is usual is known better once the wildest are out


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
        sizes = np.zeros(n)
        for i in range(n):
            sizes[i] = abs(innovations[first + i])
        sizes.sort()
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
class Undisturbed:
    """Cells whose outliers and jumps are out of account.

    A jump is a column of its cell's rows whose coefficient is unknown beforehand; what a known column
    explains is none.

    Args:
        cells: without rows that are outliers, and with these columns after their own.
        found: what filtering them has told.
        prior: mean and variance of coefficients of all columns, each `(variables, columns)`.
        since: when the level of each cell jumped, infinite where it did not, shape `(cells, jumps)`.
    """

    cells: Cells
    found: Filtered
    prior: tuple[np.ndarray, np.ndarray]
    since: np.ndarray

    @classmethod
    def of(
        cls,
        cells: Cells,
        told: np.ndarray,
        n_known: int,
        theta: np.ndarray,
        prior: Any,
        omega: np.ndarray,
    ) -> Self:
        """Filters cells and looks for what disturbs them.

        Args:
            cells: in units of the model; known columns are the last of the basis, at once and slow.
            told: cells that have no outliers, shape `(cells,)`.
            n_known: how many known columns there are.
            theta, prior, omega: as for `Filtered.of`.
        """
        own = cells.basis.shape[1]
        known = own - 2 * n_known, own - n_known
        made = cls(cells, Filtered.of(cells, theta, prior, omega), prior, np.zeros((len(omega), 0)))
        made, undecided = made._begun(told, known, theta, omega), np.zeros(0, dtype=bool)
        for _ in range(PASSES):
            now = made.cells
            rows = now.begins, now.variable, now.time, now.value, now.basis
            how = theta, omega, *made.prior, made.found.innovations, told, known
            wild, shifted, undecided = outliers(*rows, *how)
            if not wild.any() and not shifted.any():
                break
            made = made._jumping(shifted)
            made = replace(made, cells=made.cells.without(wild)).filtered(theta, omega)
            undecided = undecided[~wild]
        now, last = made.cells, np.zeros(len(made.cells.time), dtype=bool)
        for cell, row in enumerate(jumps(now.begins, made.found.innovations)):
            if row >= 0:
                begin, end = now.begins[cell : cell + 2]
                last[row] = not explained(now.basis[begin:end], row - begin, known)
        undecided = undecided & ~np.isin(now.owner, now.owner[last])
        made = made._jumping(last).filtered(theta, omega) if last.any() else made
        return made._in_doubt(undecided, theta, omega) if undecided.any() else made

    def _begun(
        self, told: np.ndarray, known: tuple[int, int], theta: np.ndarray, omega: np.ndarray
    ) -> Self:
        """Without wild rows at the beginning of cells, which are judged by the rows after them."""
        cells = self.cells
        chosen = np.flatnonzero(wild_at_first(cells.begins, self.found.innovations) & ~told)
        if not len(chosen):
            return self
        rows = np.concatenate([np.arange(*cells.begins[c : c + 2])[::-1] for c in chosen])
        begins = np.r_[0, np.cumsum(np.diff(cells.begins)[chosen])]
        basis = np.ascontiguousarray(cells.basis[rows])
        back = Cells(begins, cells.variable[chosen], -cells.time[rows], cells.value[rows], basis)
        found = Filtered.of(back, theta, self.prior, omega[chosen])
        of = back.begins, back.variable, back.time, back.value, back.basis
        how = theta, omega[chosen], *self.prior, found.innovations, told[chosen], known
        wild, _, undecided = outliers(*of, *how)
        mask = np.zeros(len(cells.time), dtype=bool)
        mask[rows] = wild | undecided
        mask &= np.arange(len(mask)) - cells.begins[cells.owner] <= LEARNT
        return replace(self, cells=cells.without(mask)).filtered(theta, omega) if mask.any() else self

    def _in_doubt(self, rows: np.ndarray, theta: np.ndarray, omega: np.ndarray) -> Self:
        """With levels as uncertain as it is whether last rows are wild or levels have jumped.

        The filter follows them by a share s of how far they are off, d. As the probability that levels
        have jumped that share leaves its mean as it is, and has the variance $s (1 - s) d^2$.

        Args:
            rows: that may be either.
            theta, omega: as for `Filtered.of`.
        """
        cells, cell = self.cells, np.unique(self.cells.owner[rows])
        without = cells.without(rows)
        clean = Filtered.of(without, theta, self.prior, omega)
        at, expected = cells.begins[cell + 1] - 1, []
        for found, since in ((clean, cells.last - without.last), (self.found, 0 * cells.last)):
            parts, spread = np.zeros((len(cell), found.means.shape[1])), np.zeros(len(cell))
            forecast(
                cell, since[cell], cells.basis[at], theta[cells.variable], omega, found.means,
                found.covs, parts, spread,
            )  # fmt: skip
            expected.append(parts.sum(axis=1))
        off = cells.value[at] - expected[0]
        share = np.clip((expected[1] - expected[0]) / np.where(off == 0, 1.0, off), 0.0, 1.0)
        covs, own = self.found.covs.copy(), self.found.variance.copy()
        own[cell] = clean.variance[cell]
        covs[cell, 0, 0] += share * (1 - share) * off**2 / own[cell]
        return replace(self, found=replace(self.found, covs=covs, variance=own))

    def beside(self, basis: np.ndarray, cell: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Columns of rows of cells, and those of jumps after them."""
        return np.column_stack([basis, time[:, None] >= self.since[cell]])

    def _jumping(self, rows: np.ndarray) -> Self:
        """With jumps at rows of a mask too."""
        at, cells = np.flatnonzero(rows), self.cells
        owner = cells.owner
        number = np.arange(len(at)) - np.searchsorted(owner[at], owner[at])  # in its cell
        since = np.full((len(cells.variable), number.max(initial=-1) + 1), np.inf)
        since[owner[at], number] = cells.time[at]
        basis = np.column_stack([cells.basis, cells.time[:, None] >= since[owner]])
        ones = np.ones((len(self.prior[0]), since.shape[1]))
        mean, variance = self.prior
        prior = np.hstack([mean, 0 * ones]), np.hstack([variance, UNKNOWN * ones])
        cells, since = replace(cells, basis=basis), np.hstack([self.since, since])
        return replace(self, cells=cells, prior=prior, since=since)

    def filtered(self, theta: np.ndarray, omega: np.ndarray) -> Self:
        """The same cells filtered anew."""
        return replace(self, found=Filtered.of(self.cells, theta, self.prior, omega))
