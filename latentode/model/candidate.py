"""Candidate: parameters of one variable's structural model, and the sample they have to explain.

response_time: the lag with which values follow known columns, by least squares, before all else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np

from latentode.nn.compiled_filter import COLUMNS, DYNAMIC, PARAMETERS, run
from latentode.nn.frequency import ONE_FREQUENCY
from latentode.nn.state_space import ROUNDING, Cells, Clocks, own_variances, window_losses

__all__ = ["BOUNDS", "INITIAL", "Candidate", "OwnUnits", "Sample", "response_time"]

# Of each variable before anything was estimated, in units of model time and of the training data.
INITIAL = {
    "noise": 0.05,
    "walk": 0.05,
    "slope_walk": 0.01,
    "damping": 0.1,
    "deviation": 0.2,
    "return_rate": 2.0,
    "level_precision": 0.5,
    "slope": 0.1,
    "cycle": 1e-12,  # none
    "cycle_decay": 0.1,
    "coefficient_walk": 1e-3,
    "frequency": 2 * math.pi,
    "frequency_spread": 1e-6,
    "scale": 10.0,
    "memory": 30.0,
    "excess": 1e-4,
}
# Within which they are estimated.
BOUNDS = {
    "noise": (1e-6, 3.0),
    "walk": (1e-8, 1e3),
    "slope_walk": (1e-8, 1e4),
    "damping": (1e-4, 20.0),
    "deviation": (1e-6, 3.0),
    "return_rate": (0.1, 100.0),
    "level_precision": (1e-18, 1e2),
    "slope": (1e-8, 1e4),
    "cycle": (1e-8, 1e2),
    "cycle_decay": (1e-4, 10.0),
    "coefficient_walk": (1e-10, 10.0),
    "frequency": (1e-3, 1e4),
    "frequency_spread": (1e-6, 2.0),
    "scale": (1.0, 1e4),
    "memory": (0.3, 1e4),
    "excess": (1e-18, 3.0),
}
DIFFERENCE = 1e-4  # of a logarithm, for gradients
LEAST_VARIANCE = 1e-8
SMALL = 0.1  # the quantile of sizes of cells that is a small one
MOST_SHARED = 1000.0  # rows that a size of all cells may count as
LEAST_RATE = 0.02  # of the mean count: no rate is less
MOST_ALIKE = 30.0  # degrees of freedom; cells in units of their own never say that all are alike
UNEVEN = 2.0  # by how much the large are larger where units of their own can matter
FREQUENCY, SPREAD = PARAMETERS.index("frequency"), PARAMETERS.index("frequency_spread")
THINNED, FEWEST_CELLS = 3, 8  # starts are tried on every third cell, if these are so many
WORTHWHILE = 0.1  # of the variance: less may be chance where errors go together
LAGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # in units of the model
TINY, ALIKE = 1e-300, 12  # rows on end, of which the values say whether they are rows met before


@dataclass(frozen=True)
class Sample:
    """Contexts and targets of the cells of one variable, and room for their states.

    Its cells' variances are alike by at most so many degrees of freedom; `heavy` are tails of errors,
    and `rounding` is the least variance of a forecast, that of what values were rounded by.
    """

    seen: Cells
    later: Cells
    means: np.ndarray
    covs: np.ndarray
    sums: np.ndarray
    innovations: np.ndarray
    owner: np.ndarray
    elapsed: np.ndarray
    parts: np.ndarray
    spread: np.ndarray
    n_series: int
    most_alike: float = math.inf
    heavy: bool = True
    rounding: float = 0.0

    def in_own_units(self, zero: float, counting: bool) -> OwnUnits | None:
        """The sample in units of each cell's own; None if these cannot matter.

        Zero has to be the least that values are, cells have to be many, and their sizes to differ. Of
        counts a cell's mean alone says little of its size: it is drawn to that of the middle cell, as
        if that were of so many rows as have the variance between cells (empirical Bayes).
        """
        seen, later, n = self.seen, self.later, len(self.seen.variable)
        values = np.r_[seen.value, later.value] - zero
        if self.n_series < FEWEST_CELLS or not len(later.value) or (values < zero * ROUNDING).any():
            return None
        mean = np.bincount(seen.owner, seen.value - zero, n) / np.diff(seen.begins)
        small, large = np.quantile(mean[mean > 0], [SMALL, 1 - SMALL]) if mean.any() else (1.0, 1.0)
        if large < UNEVEN * small:
            return None
        more = self._rows_between(zero) if counting else 0.0
        least = (small + more * np.median(mean[mean > 0])) / (1 + more)
        every = np.full(n, zero)
        size = seen.sizes(every, np.full(n, least), np.full(n, more))
        own = Sample.of(seen.in_units(every, size), later.in_units(every, size), self.n_series)
        jacobian = float(np.log(size[later.owner]).mean())
        own = replace(own, most_alike=MOST_ALIKE, heavy=self.heavy)
        return OwnUnits(own, float(least), more, size, jacobian)

    def has_none(self, zero: float) -> bool:
        """Whether some value is no value at all."""
        of = np.full(len(self.seen.variable), zero)
        return any(cells.reach(of).any() for cells in (self.seen, self.later))

    def _rows_between(self, zero: float) -> float:
        """Of how many rows a mean has the variance that there is between cells."""
        seen, n = self.seen, np.diff(self.seen.begins)
        far = seen.value - zero
        mean = np.bincount(seen.owner, far, len(n)) / n
        within = np.square(far - mean[seen.owner]).sum() / max(len(far) - len(n), 1)
        between = float(np.var(mean) - np.mean(within / n))
        return min(float(within) / max(between, TINY), MOST_SHARED)

    def deviance(self, model: Candidate, zero: float, size: np.ndarray | None = None) -> np.ndarray:
        """Of counts, how far each target is from what is forecast, as Poisson's likelihood has it.

        Args:
            model: in units of each cell's own, if there are sizes.
            zero: what no count is in scaled units.
            size: of cells; None for 1.

        References:
            Generalized Linear Models (McCullagh and Nelder, 1989), chapter 6.
        """
        self.losses(model)
        own = 1.0 if size is None else size[self.owner]
        count, found = (own * (x - zero) for x in (self.later.value, self.parts.sum(axis=1)))
        rate = np.maximum(found, LEAST_RATE * count.mean() + TINY)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(count > 0, count * np.log(count / rate), 0.0)
        return 2 * (logs - (count - rate))

    def thinned(self) -> Sample:
        """Some of the cells, if they are many."""
        n = len(self.seen.variable)
        chosen = np.arange(0, n, THINNED if n >= THINNED * FEWEST_CELLS else 1)
        some = Sample.of(self.seen.some(chosen), self.later.some(chosen), self.n_series)
        return replace(some, most_alike=self.most_alike, heavy=self.heavy, rounding=self.rounding)

    @classmethod
    def of(cls, seen: Cells, later: Cells, n_series: int) -> Sample:
        n, size = len(seen.variable), DYNAMIC + seen.basis.shape[1]
        room = np.zeros((n, size)), np.zeros((n, size, size)), np.zeros((n, 2))
        owner = np.repeat(np.arange(n), np.diff(later.begins))
        elapsed = np.maximum(later.time - seen.last[owner], 0.0)
        queries = np.zeros((len(owner), size)), np.zeros(len(owner))
        return cls(seen, later, *room, np.zeros(len(seen.time)), owner, elapsed, *queries, n_series)

    def digest(self, *begun: np.ndarray) -> bytes:
        """What tells this sample, and parameters to begin with, from others."""
        found = blake2b(repr(self.n_series).encode(), digest_size=32)
        cells = (x for c in (self.seen, self.later) for x in (c.begins, c.time, c.value, c.basis))
        for array in (*cells, *begun):
            found.update(f"{array.shape}{array.dtype}".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.digest()

    @cached_property
    def distinct(self) -> int:
        """How many rows there are, those of several windows once: their last `ALIKE` values agree."""
        value, begins = self.seen.value, self.seen.begins
        place = np.arange(len(value)) - np.repeat(begins[:-1], np.diff(begins))
        runs = [np.where(place >= k, np.roll(value, k), np.nan) for k in range(ALIKE)]
        order = np.lexsort(runs)
        runs = [np.nan_to_num(run, nan=np.inf)[order] for run in runs]
        return 1 + int(np.any([run[1:] != run[:-1] for run in runs], axis=0).sum())

    def losses(self, model: Candidate) -> tuple[float, float]:
        """Means of negative logarithms: of the contexts' density, and of their targets'."""
        found = self._at(model.z, np.zeros(0, dtype=np.int64), model, 0.0)
        return found[0, 0], found[0, 1]

    def gradient(self, z: np.ndarray, model: Candidate) -> np.ndarray:
        """Differences of the sum of `losses` by the free parameters, and the sum itself first."""
        ascending, place = np.unique(model.free, return_inverse=True)
        found = self._at(z, ascending, model, DIFFERENCE).sum(axis=1)
        return np.r_[found[0], (found[1:][place] - found[0]) / DIFFERENCE]

    def _at(self, z: np.ndarray, moved: np.ndarray, model: Candidate, step: float) -> np.ndarray:
        c, later = self.seen, self.later
        frequency = -1 if model.own else FREQUENCY
        return window_losses(
            z, moved, step, frequency, c.begins, c.variable, c.time, c.value, c.basis, model.omega,
            *model.prior, self.means, self.covs, self.sums, self.innovations,
            self.owner, self.elapsed, later.value, later.basis, self.parts, self.spread, self.heavy,
        )  # fmt: skip

    def run(self, model: Candidate) -> None:
        """Filters with the parameters of one variable."""
        c, room = self.seen, (self.means, self.covs, self.sums, self.innovations)
        rows = c.begins, c.variable, c.time, c.value, c.basis
        run(*rows, model.theta[None], model.omega, *model.prior, *room)

    def variances(self, theta: np.ndarray) -> np.ndarray:
        """Of each cell its own, after `run`."""
        return own_variances(
            self.seen.begins, self.seen.variable, self.seen.time, self.innovations, theta
        )

    def over_cells(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of coefficients over cells, relative to each one's own, after `run`."""
        weight, columns = 1 / self.variances(theta[None]), slice(COLUMNS, self.means.shape[1] - 2)
        means = self.means[:, columns]
        mean = weight @ means / weight.sum()
        own = np.diagonal(self.covs, axis1=1, axis2=2)[:, columns]
        variance = (own + (means - mean) ** 2 * weight[:, None]).mean(axis=0)
        return mean[None], np.maximum(variance, LEAST_VARIANCE)[None]


@dataclass(frozen=True)
class OwnUnits:
    """A sample in units of each cell's own.

    Args:
        sample: told in these.
        least, more: by what sizes of cells were found, see `Cells.sizes`.
        size: of cells.
        jacobian: what is to be added to the mean negative logarithm of its targets' density, to compare
            it with that of values as they were.
    """

    sample: Sample
    least: float
    more: float
    size: np.ndarray
    jacobian: float

    def gain(
        self, own: Candidate, sample: Sample, plain: Candidate, zero: float, counting: bool
    ) -> float:
        """By how much likelier targets are in these units, in the mean of logarithms.

        Of counts by their deviance, in units of the dispersion that there is without: a cell of hardly
        any has hardly any variance, and a density beyond all reason. Contexts do not tell.

        Args:
            own: model in these units.
            sample, plain: values as they were, and a model of them.
            zero: what no value at all is in scaled units.
            counting: whether values are counts.
        """
        if not counting:
            return sample.losses(plain)[1] - self.sample.losses(own)[1] - self.jacobian
        before = sample.deviance(plain, zero)
        after = self.sample.deviance(own, zero, self.size)
        return float((before - after).mean() / max(before.mean(), TINY)) / 2


@dataclass(frozen=True)
class Candidate:
    """Parameters of one variable.

    Args:
        z: logarithms of parameters.
        prior: mean and variance of coefficients, each of shape `(1, columns)`.
        free: which parameters are estimated by gradients.
        centre: of the weak prior of z.
        omega: frequencies of cells.
    """

    z: np.ndarray
    prior: tuple[np.ndarray, np.ndarray]
    free: np.ndarray
    centre: np.ndarray
    omega: np.ndarray

    @property
    def theta(self) -> np.ndarray:
        return np.exp(self.z)

    @property
    def own(self) -> bool:
        """Whether each cell has a frequency of its own."""
        return bool(self.theta[SPREAD] > ONE_FREQUENCY)

    def of(self, n: int) -> Candidate:
        """For other cells, of a number of n, at the mean frequency."""
        shared = self.theta[FREQUENCY] if self.omega.any() else 0.0
        return replace(self, omega=np.full(n, shared))

    def at(self, z: np.ndarray) -> Candidate:
        """With other parameters."""
        shared = self.omega if self.own else np.where(self.omega > 0, np.exp(z[FREQUENCY]), 0.0)
        return replace(self, z=z, omega=shared)


def response_time(
    cell: np.ndarray,
    variable: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    clocks: Clocks,
) -> float:
    """The lag with which values of cells follow known columns, 0 where they do so at once or not.

    By least squares within cells, for each variable, and the Bayesian information criterion, which a
    lag has to lower by a tenth of the variance.

    Args:
        cell, variable: of rows, shape `(rows,)`.
        rows: series, time and value of each.
        clocks: of all series.

    Returns:
        One of `LAGS`, in units of the model, or 0.
    """
    (series, time, value), n_known = rows, clocks.values.shape[2]
    if not n_known or not clocks.begins.shape[1]:
        return 0.0

    def worth(lag: float) -> float:
        own = replace(clocks, lag=lag)
        columns, slow = own.effects(series, time, n_known)
        if lag:
            columns = np.concatenate([columns, slow], axis=1)
        total = 0.0
        for v in np.unique(variable):
            chosen = variable == v
            table = np.column_stack([columns, value])[chosen]
            _, owner, count = np.unique(cell[chosen], return_inverse=True, return_counts=True)
            means = np.stack([np.bincount(owner, c) for c in table.T], axis=1) / count[:, None]
            table = table - means[owner]
            rest = table[:, -1] - table[:, :-1] @ np.linalg.lstsq(table[:, :-1], table[:, -1])[0]
            n = len(rest)
            total += n * math.log(max(rest @ rest / n, TINY)) + columns.shape[1] * math.log(n)
            total += WORTHWHILE * n if lag else 0.0
        return total

    return min((0.0, *LAGS), key=worth)
