r"""Rows of cells, the columns that they are told beside their values, and the filter that reads them.

A cell is a (series, variable). Everything is in double precision and in numpy, since the filter
(`latentode.nn.compiled_filter`) runs on the CPU, row after row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from latentode.nn.compiled_filter import DYNAMIC, PARAMETERS, forecast, run
from latentode.ode import StepControl
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = ["ROUNDING", "Cells", "Clocks", "Filtered", "array_of", "own_variances", "window_losses"]

SCALE, MEMORY = PARAMETERS.index("scale"), PARAMETERS.index("memory")
EXCESS = PARAMETERS.index("excess")
ROUNDING = 1e-6  # of how far zero is
# Degrees of freedom t of errors, and the a at which (t + 1) a z^2 / (t + a z^2) is 1 in the mean of
# normal z, so that such errors ask for their own variance.
TAILS, AS_NORMAL = 4.0, 1.4480858


@compiled_in_order
def own_variances(begins: Any, variable: Any, time: Any, innovations: Any, theta: Any) -> np.ndarray:
    """Each cell's own variance by its innovations, of which old ones count less.

    The first, which says how far the level is off, too, counts at most as the largest of the others.

    Args:
        begins, variable, time: of rows, as for the filter.
        innovations: in units of their relative deviations, shape `(rows,)`.
        theta: parameters of each variable, shape `(variables, parameters)`.

    Returns:
        Shape `(cells,)`.
    """
    own = np.empty(len(variable))
    for c in range(len(variable)):
        freedom, memory = theta[variable[c], SCALE], theta[variable[c], MEMORY]
        total, count = freedom, freedom
        if begins[c + 1] > begins[c]:
            last, first = time[begins[c + 1] - 1], begins[c]
            largest = 0.0 if begins[c + 1] > first + 1 else abs(innovations[first])
            for i in range(begins[c + 1] - 1, first - 1, -1):
                weight = 2.0 ** ((time[i] - last) / memory)
                size = abs(innovations[i]) if i > first else min(abs(innovations[i]), largest)
                largest = max(largest, size)
                total += weight * size * size
                count += weight
        own[c] = total / count
    return own


@compiled_in_order
def window_losses(
    z: Any, moved: Any, step: float, frequency: int,
    begins: Any, variable: Any, time: Any, value: Any, basis: Any, omega: Any,
    mean: Any, variance: Any, means: Any, covs: Any, sums: Any, innovations: Any,
    owner: Any, elapsed: Any, later: Any, later_basis: Any, parts: Any, spread: Any, heavy: bool,
) -> np.ndarray:  # fmt: skip
    """Mean losses of contexts and of what came later, at parameters and where each is moved.

    One series that jumps must not say how far all others may be off: errors of what came later have
    the tails of Student's t, in units by which errors that are normal ask for their own variance.

    Args:
        z: logarithms of the parameters of one variable.
        moved: which are moved by `step`, ascending: the last ones do not move the filter.
        frequency: place of the frequency that all cells share; -1 where each has its own.
        begins, variable, time, value, basis, omega: of contexts, as for the filter.
        mean, variance: of coefficients, each of shape `(1, columns)`.
        means, covs, sums, innovations: room that the filter fills.
        owner, elapsed, later, later_basis: of later values, their cell, time since its last row, value
            and columns.
        parts, spread: room that forecasts fill.
        heavy: whether errors have these tails; else they are normal.

    Returns:
        Shape `(1 + moved, 2)`.
    """
    found = np.zeros((len(moved) + 1, 2))
    cells, size = len(variable), len(z)
    theta, each, turning = np.empty((1, size)), np.empty((cells, size)), omega.copy()
    for i in range(len(moved) + 1):
        k = (len(moved) + 1 - i) % (len(moved) + 1)
        for j in range(size):
            theta[0, j] = math.exp(z[j])
        if k:
            theta[0, moved[k - 1]] = math.exp(z[moved[k - 1]] + step)
        if frequency >= 0:
            for c in range(cells):
                turning[c] = theta[0, frequency] if omega[c] > 0 else 0.0
        for c in range(cells):
            for j in range(size):
                each[c, j] = theta[0, j]
        again = k == 0 or moved[k - 1] < SCALE
        if again:
            run(
                begins, variable, time, value, basis, theta, turning, mean, variance,
                means, covs, sums, innovations,
            )  # fmt: skip
        freedom, total = theta[0, SCALE], 0.0
        for c in range(cells):
            n = begins[c + 1] - begins[c]
            half = (freedom + n) / 2
            total += half * math.log1p(sums[c, 1] / freedom) + sums[c, 0] / 2 - math.lgamma(half)
            total += math.lgamma(freedom / 2) + n / 2 * math.log(freedom * math.pi)
        found[k, 0] = total / len(time)
        if len(owner) == 0:
            continue
        if again:
            forecast(owner, elapsed, later_basis, each, turning, means, covs, parts, spread)
        ahead, own = 0.0, own_variances(begins, variable, time, innovations, theta)
        for q in range(len(owner)):
            wide, error = spread[q] * own[owner[q]] + theta[0, EXCESS], later[q]
            for j in range(parts.shape[1]):
                error -= parts[q, j]
            square = error * error / wide
            if heavy:
                square = (TAILS + 1) * math.log1p(AS_NORMAL * square / TAILS)
            ahead += math.log(wide) + square
        found[k, 1] = ahead / len(owner) / 2
    return found


@dataclass(frozen=True)
class Cells:
    """Rows of cells, one cell after another and each in time, in double precision.

    Args:
        begins: where each cell's rows begin, and where the last one's end, shape `(cells + 1,)`.
        variable: of each cell, shape `(cells,)`.
        time: in units of the model, shape `(rows,)`.
        value: in scaled units, likewise.
        basis: columns, shape `(rows, columns)`.
    """

    begins: np.ndarray
    variable: np.ndarray
    time: np.ndarray
    value: np.ndarray
    basis: np.ndarray

    @classmethod
    def of(
        cls, cell: np.ndarray, variable: np.ndarray, rows: tuple[np.ndarray, np.ndarray, np.ndarray]
    ) -> Cells:
        """Sorts rows, `(time, value, basis)`, of cells numbered by `cell`."""
        time, value, basis = rows
        after = (cell[1:] > cell[:-1]) | ((cell[1:] == cell[:-1]) & (time[1:] > time[:-1]))
        # By value where times agree: the order of a table's rows must not matter.
        order = slice(None) if after.all() else np.lexsort((value, time, cell))
        count = np.bincount(cell, minlength=len(variable))
        begins = np.r_[0, np.cumsum(count)]
        own = np.ascontiguousarray(basis[order])
        return cls(begins, variable, time[order], value[order], own)

    def some(self, chosen: np.ndarray) -> Cells:
        """Cells of the numbers chosen, whose variable is called 0."""
        counts = np.diff(self.begins)[chosen]
        begins = np.r_[0, np.cumsum(counts)]
        rows = np.repeat(self.begins[chosen] - begins[:-1], counts) + np.arange(begins[-1])
        none = np.zeros(len(chosen), dtype=np.int64)
        basis = np.ascontiguousarray(self.basis[rows])
        return Cells(begins, none, self.time[rows], self.value[rows], basis)

    def without(self, rows: np.ndarray) -> Cells:
        """Cells without the rows of a mask."""
        begins = np.r_[0, np.cumsum(~rows)][self.begins]
        time, value, basis = self.time[~rows], self.value[~rows], self.basis[~rows]
        return replace(self, begins=begins, time=time, value=value, basis=basis)

    @property
    def owner(self) -> np.ndarray:
        """The cell of each row."""
        return np.repeat(np.arange(len(self.variable)), np.diff(self.begins))

    def sizes(self, zero: np.ndarray, least: np.ndarray, more: np.ndarray) -> np.ndarray:
        """How far values are from zero in each cell, in the mean, as a share of how far 0 is.

        Args:
            zero: what no value at all is in scaled units, of each cell; below 0.
            least: a distance that each cell counts as that of one value more, or several, so that its
                size is never nothing; 0 where sizes are to be 1, as they are of cells without rows.
            more: how many more than that one.
        """
        n = np.diff(self.begins)
        own = (n > 0) & (least > 0)
        total = np.bincount(self.owner, self.value - zero[self.owner], len(n))
        mean = (np.maximum(total, 0.0) + (1 + more) * least) / (n + 1 + more)
        return np.where(own, mean / np.where(own, -zero, 1.0), 1.0)

    def reach(self, zero: np.ndarray) -> np.ndarray:
        """Whether some value of each cell is no value at all; `zero` as for `sizes`, or NaN."""
        least = zero[self.owner]
        none = self.value - least <= -least * ROUNDING
        return np.bincount(self.owner, none, len(self.variable)) > 0

    def in_units(self, zero: np.ndarray, size: np.ndarray) -> Cells:
        """With values in units of each cell's own about its zero."""
        far = (self.value - zero[self.owner]) / size[self.owner]
        return replace(self, value=zero[self.owner] + far)

    @property
    def last(self) -> np.ndarray:
        """The time of each cell's last row; 0 where it has none."""
        time, some = np.zeros(len(self.variable)), self.begins[1:] > self.begins[:-1]
        time[some] = self.time[self.begins[1:][some] - 1]
        return time


@dataclass(frozen=True)
class Clocks:
    """What moves columns: paths of known columns, and phases of cycles.

    Args:
        phase: of each cycle at each series' origin, in radians, shape `(series, cycles)`.
        begins: when each known value begins, in units of the model, ascending, `(series, changes)`.
        values: shape `(series, changes, known)`; no changes where nothing is known.
        lag: the time constant of slow responses, in units of the model; 0 for none.
    """

    phase: np.ndarray
    begins: np.ndarray
    values: np.ndarray
    lag: float = 0.0

    @classmethod
    def of(
        cls,
        n_series: int,
        control: StepControl | None = None,
        phase: Tensor | None = None,
        lag: float = 0.0,
    ) -> Clocks:
        """From paths of the known columns and phases; None for none, and for phases of 0."""
        none = np.zeros((n_series, 0))
        turned = np.zeros((n_series, 0)) if phase is None else array_of(phase.double())
        if control is None:
            return cls(turned, none, none[:, :, None], lag)
        return cls(turned, array_of(control.times.double()), array_of(control.values.double()), lag)

    def effects(
        self, series: np.ndarray, time: np.ndarray, n_known: int, shift: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Known values u, and responses r that follow them with the lag, $h \\dot r = u - r$.

        Args:
            series, time: where they are asked, shape `(n,)`; before the first value it holds.
            n_known: how many known columns there are.
            shift: how far on from `time` responses are; values stay those in force there.

        Returns:
            Both of shape `(n, known)`; responses are 0 without a lag.
        """
        none = np.zeros((len(time), n_known))
        if not n_known or not self.begins.shape[1]:
            return none, none
        place = self._place(series, time)
        value = self.values[series, place]
        if not self.lag:
            return value, none
        since = time + shift - self.begins[series, place]
        left = np.exp(-np.maximum(since, 0.0) / self.lag)
        return value, value + (self._responses[series, place] - value) * left[:, None]

    @cached_property
    def _responses(self) -> np.ndarray:
        """What responses are when each known value begins."""
        return _responses(self.begins, self.values, self.lag)

    def _place(self, series: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Which known value is in force at times of series, by bisection."""
        changes = self.begins.shape[1]
        low, high = np.zeros_like(series), np.full_like(series, changes)
        for _ in range(changes.bit_length()):
            middle = (low + high) // 2
            begun = (self.begins[series, np.minimum(middle, changes - 1)] <= time) & (middle < changes)
            low, high = np.where(begun, middle, low), np.where(begun, high, middle)
        return low


@compiled_in_order
def _responses(begins: Any, values: Any, lag: float) -> np.ndarray:
    """What responses are when each known value begins; at first they have settled."""
    found = values.copy()
    for s in range(begins.shape[0]):
        for k in range(1, begins.shape[1]):
            left = math.exp(-(begins[s, k] - begins[s, k - 1]) / lag)
            for j in range(values.shape[2]):
                before = values[s, k - 1, j]
                found[s, k, j] = before + (found[s, k - 1, j] - before) * left
    return found


@dataclass(frozen=True)
class Filtered:
    """What all rows of each cell say of it.

    Args:
        means: state after the last row, shape `(cells, state)`.
        covs: its covariance in units of the cell's own variance, `(cells, state, state)`.
        variance: the cell's own, shape `(cells,)`.
        innovations: in units of their relative deviations, shape `(rows,)`.
    """

    means: np.ndarray
    covs: np.ndarray
    variance: np.ndarray
    innovations: np.ndarray

    @classmethod
    def of(
        cls,
        cells: Cells,
        theta: np.ndarray,
        prior: tuple[np.ndarray, np.ndarray],
        omega: np.ndarray,
    ) -> Filtered:
        """Filters cells. One without rows is as all of training: a level of its mean and variance.

        Args:
            cells: in units of the model.
            theta: `PARAMETERS` of each variable, shape `(variables, parameters)`.
            prior: mean and variance of each variable's coefficients, `(variables, columns)`.
            omega: of each cell's cycle, in radians, shape `(cells,)`; 0 for none.
        """
        size, n = DYNAMIC + cells.basis.shape[1], len(cells.variable)
        means, covs, sums = np.zeros((n, size)), np.zeros((n, size, size)), np.zeros((n, 2))
        innovations = np.zeros(len(cells.time))
        run(
            cells.begins, cells.variable, cells.time, cells.value, cells.basis,
            theta, omega, *prior, means, covs, sums, innovations,
        )  # fmt: skip
        covs[np.diff(cells.begins) == 0, 0, 0] = 1.0
        own = own_variances(cells.begins, cells.variable, cells.time, innovations, theta)
        return cls(means, covs, own, innovations)


def array_of(x: Tensor) -> np.ndarray:
    """A tensor's numbers on the CPU."""
    return x.detach().cpu().numpy()
