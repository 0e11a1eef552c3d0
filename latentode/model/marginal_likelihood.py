r"""Parameters of the structural block by marginal likelihood, before any training by gradients.

With innovations $e_i$ and their relative variances $F_i$ from the filter, and a cell's own variance
integrated out under an inverse-gamma prior of $\nu$ degrees of freedom and size 1, a cell's n values
have a multivariate Student-t density,

$$-\log p(x_{1..n}) = \tfrac12 \sum_i \log F_i + \tfrac{\nu + n}{2} \log\!\Big(1 + \tfrac1\nu \sum_i
  \tfrac{e_i^2}{F_i}\Big) + \log \frac{\Gamma(\nu / 2)\,(\nu \pi)^{n/2}}{\Gamma((\nu + n) / 2)}.$$

To its mean over the values of a variable's contexts the mean negative logarithm of normal densities of
their targets is added, of what is forecast several steps ahead: no model is true, and this one is for
forecasts. The sum is lowered by L-BFGS over the logarithms of the parameters, with a weak log-normal
prior about their initial values. Means and variances of coefficients over cells are
those of their posteriors, the M-step of expectation-maximisation.

References:
    Maximum likelihood from incomplete data via the EM algorithm (Dempster, Laird and Rubin, 1977).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import gammaln

from latentode.model.structure import INITIAL, StructuralBlock
from latentode.nn import compiled_filter
from latentode.nn.compiled_filter import DYNAMIC, PARAMETERS
from latentode.nn.state_space import Cells

__all__ = ["estimate"]

# Bounds of the parameters, in units of model time and of the training data.
BOUNDS = {
    "noise": (1e-6, 3.0),
    "walk": (1e-8, 1e3),
    "slope_walk": (1e-8, 1e4),
    "damping": (1e-2, 20.0),
    "deviation": (1e-6, 3.0),
    "return_rate": (0.1, 100.0),
    "level_precision": (1e-16, 1e2),
    "slope": (1e-8, 1e4),
    "scale": (1.0, 1e4),
    "excess": (1e-18, 3.0),
}
ROUNDS = 3  # of parameters, then of coefficients
STEPS, EXPECTATIONS = 25, 2  # of each
PRIOR_DEVIATION = 5.0  # of the logarithm of a parameter
DIFFERENCE = 1e-4  # of a logarithm, for gradients
LEAST_VARIANCE = 1e-8
WORK = 2e9  # operations that an estimate may take, all variables together


@dataclass(frozen=True)
class _Sample:
    """Contexts and targets of the cells of one variable, and room for their states."""

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

    @classmethod
    def of(cls, seen: Cells, later: Cells) -> _Sample:
        n, size = len(seen.variable), DYNAMIC + seen.basis.shape[1]
        room = np.zeros((n, size)), np.zeros((n, size, size)), np.zeros((n, 2))
        owner = np.repeat(np.arange(n), np.diff(later.begins))
        elapsed = np.maximum(later.time - seen.last[owner], 0.0)
        queries = np.zeros((len(owner), size)), np.zeros(len(owner))
        return cls(seen, later, *room, np.zeros(len(seen.time)), owner, elapsed, *queries)

    def run(self, theta: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
        """Filters with the parameters of one variable."""
        c = self.seen
        compiled_filter.run(
            c.begins, c.variable, c.time, c.value, c.basis, theta[None], mean[None], variance[None],
            self.means, self.covs, self.sums, self.innovations,
        )  # fmt: skip

    def of_contexts(self, freedom: float) -> float:
        """Mean negative logarithm of the contexts' density per value, after `run`."""
        n = np.diff(self.seen.begins)
        half = (freedom + n) / 2
        density = half * np.log1p(self.sums[:, 1] / freedom) + self.sums[:, 0] / 2
        constant = gammaln(freedom / 2) - gammaln(half) + n / 2 * math.log(freedom * math.pi)
        return float(np.sum(density + constant)) / len(self.seen.time)

    def of_targets(self, theta: np.ndarray) -> float:
        """Mean negative logarithm of the targets' normal densities, after `run`."""
        if not len(self.owner):
            return 0.0
        each = np.broadcast_to(theta, (len(self.seen.variable), len(theta)))
        compiled_filter.forecast(
            self.owner, self.elapsed, self.later.basis, np.ascontiguousarray(each),
            self.means, self.covs, self.parts, self.spread,
        )  # fmt: skip
        n, freedom = np.diff(self.seen.begins), theta[PARAMETERS.index("scale")]
        variance = self.spread * ((freedom + self.sums[:, 1]) / (freedom + n))[self.owner]
        variance += theta[PARAMETERS.index("excess")]
        error = self.later.value - self.parts.sum(axis=1)
        return float(np.mean(np.log(variance) + error**2 / variance)) / 2


def estimate(block: StructuralBlock, seen: Cells, later: Cells) -> None:
    """Sets the block's parameters to those that explain the cells best.

    Args:
        block: whose buffers are set, in place.
        seen: contexts of training windows.
        later: their targets, of the same cells; those within a context count from its last row.
    """
    cost = (DYNAMIC + seen.basis.shape[1]) ** 2 * (1 + len(PARAMETERS)) * ROUNDS * STEPS * 3
    most = int(WORK / cost / max(1, len(np.unique(seen.variable))))
    theta, prior = block.theta().copy(), [x.copy() for x in block.prior()]
    for variable in np.unique(seen.variable):
        chosen = np.flatnonzero((seen.variable == variable) & (np.diff(seen.begins) > 0))
        counts = np.diff(seen.begins)[chosen] + np.diff(later.begins)[chosen]
        chosen = chosen[: max(1, int(np.searchsorted(np.cumsum(counts), most, side="right")))]
        sample = _Sample.of(_own(seen, chosen), _own(later, chosen))
        if len(sample.seen.time) > 1:
            found = _estimate(sample, theta[variable], prior[0][variable], prior[1][variable])
            theta[variable], prior[0][variable], prior[1][variable] = found
    block.log_theta.copy_(torch.from_numpy(np.log(theta)))
    block.prior_mean.copy_(torch.from_numpy(prior[0]))
    block.log_prior_variance.copy_(torch.from_numpy(np.log(prior[1])))


def _own(cells: Cells, chosen: np.ndarray) -> Cells:
    """Some cells, whose variable is called 0."""
    counts = np.diff(cells.begins)[chosen]
    begins = np.r_[0, np.cumsum(counts)]
    rows = np.repeat(cells.begins[chosen] - begins[:-1], counts) + np.arange(begins[-1])
    none = np.zeros(len(chosen), dtype=np.int64)
    basis = np.ascontiguousarray(cells.basis[rows])
    return Cells(begins, none, cells.time[rows], cells.value[rows], basis)


def _estimate(
    sample: _Sample, theta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, and means and variances of coefficients, of one variable."""
    centre = np.log(np.array([INITIAL[name] for name in PARAMETERS]))
    bounds = np.log(np.array([BOUNDS[name] for name in PARAMETERS]))
    freedom, count = PARAMETERS.index("scale"), len(sample.seen.time)

    def loss(z: np.ndarray) -> float:
        own = np.exp(z)
        sample.run(own, mean, variance)
        weak = 0.5 * np.sum(((z - centre) / PRIOR_DEVIATION) ** 2)
        return sample.of_contexts(own[freedom]) + sample.of_targets(own) + weak / count

    def with_gradient(z: np.ndarray) -> tuple[float, np.ndarray]:
        here = loss(z)
        steps = DIFFERENCE * np.eye(len(z))
        return here, np.array([(loss(z + s) - here) / DIFFERENCE for s in steps])

    z = np.clip(np.log(theta), *bounds.T)
    for _ in range(ROUNDS):
        options = {"maxiter": STEPS}
        found = minimize(with_gradient, z, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        z = found.x
        for _ in range(EXPECTATIONS if len(mean) else 0):
            sample.run(np.exp(z), mean, variance)
            mean, variance = _over_cells(sample, math.exp(z[freedom]))
    return np.exp(z), mean, variance


def _over_cells(sample: _Sample, freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of coefficients over cells, relative to each cell's variance."""
    n = np.diff(sample.seen.begins)
    weight = (freedom + n) / (freedom + sample.sums[:, 1])
    means = sample.means[:, DYNAMIC:]
    mean = weight @ means / weight.sum()
    own = np.diagonal(sample.covs, axis1=1, axis2=2)[:, DYNAMIC:]
    variance = (own + (means - mean) ** 2 * weight[:, None]).mean(axis=0)
    return mean, np.maximum(variance, LEAST_VARIANCE)
