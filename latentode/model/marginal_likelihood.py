r"""Parameters of the structural block by marginal likelihood, before any training by gradients.

With innovations $e_i$ and their relative variances $F_i$ from the filter, and a cell's own variance
integrated out under an inverse-gamma prior of $\nu$ degrees of freedom and size 1, a cell's n values
have a multivariate Student-t density,

$$-\log p(x_{1..n}) = \tfrac12 \sum_i \log F_i + \tfrac{\nu + n}{2} \log\!\Big(1 + \tfrac1\nu \sum_i
  \tfrac{e_i^2}{F_i}\Big) + \log \frac{\Gamma(\nu / 2)\,(\nu \pi)^{n/2}}{\Gamma((\nu + n) / 2)}.$$

Its sum over the cells of a variable is lowered by L-BFGS over the logarithms of the parameters, with a
weak log-normal prior about their initial values. Means and variances of coefficients over cells are
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

from latentode.model.structure import INITIAL, Cells, StructuralBlock
from latentode.nn import compiled_filter
from latentode.nn.compiled_filter import DYNAMIC, PARAMETERS

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
}
ROUNDS = 3  # of parameters, then of coefficients
STEPS, EXPECTATIONS = 25, 2  # of each
PRIOR_DEVIATION = 5.0  # of the logarithm of a parameter
DIFFERENCE = 1e-4  # of a logarithm, for gradients
LEAST_VARIANCE = 1e-8
WORK = 2e9  # operations that an estimate may take, all variables together


@dataclass(frozen=True)
class _Sample:
    """Cells of one variable and room for their states."""

    cells: Cells
    means: np.ndarray
    covs: np.ndarray
    sums: np.ndarray
    innovations: np.ndarray

    @classmethod
    def of(cls, cells: Cells) -> _Sample:
        n, size = len(cells.variable), DYNAMIC + cells.basis.shape[1]
        room = np.zeros((n, size)), np.zeros((n, size, size)), np.zeros((n, 2))
        return cls(cells, *room, np.zeros(len(cells.time)))

    def run(self, theta: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
        """Filters with the parameters of one variable."""
        c = self.cells
        compiled_filter.run(
            c.begins, c.variable, c.time, c.value, c.basis, theta[None], mean[None], variance[None],
            self.means, self.covs, self.sums, self.innovations,
        )  # fmt: skip

    def loss(self, freedom: float) -> float:
        """The negative logarithm of the density, after `run`."""
        n = np.diff(self.cells.begins)
        half = (freedom + n) / 2
        density = half * np.log1p(self.sums[:, 1] / freedom) + self.sums[:, 0] / 2
        constant = gammaln(freedom / 2) - gammaln(half) + n / 2 * math.log(freedom * math.pi)
        return float(np.sum(density + constant))


def estimate(block: StructuralBlock, cells: Cells) -> None:
    """Sets the block's parameters to those that explain the cells best.

    Args:
        block: whose buffers are set, in place.
        cells: of training windows.
    """
    evaluations = 1 + len(PARAMETERS)
    cost = (DYNAMIC + cells.basis.shape[1]) ** 2 * evaluations * ROUNDS * STEPS * 3
    most = int(WORK / cost / max(1, len(np.unique(cells.variable))))
    theta, prior = block.theta().copy(), [x.copy() for x in block.prior()]
    for variable in np.unique(cells.variable):
        sample = _Sample.of(_own(cells, int(variable), most))
        if len(sample.cells.time) > 1:
            found = _estimate(sample, theta[variable], prior[0][variable], prior[1][variable])
            theta[variable], prior[0][variable], prior[1][variable] = found
    block.log_theta.copy_(torch.from_numpy(np.log(theta)))
    block.prior_mean.copy_(torch.from_numpy(prior[0]))
    block.log_prior_variance.copy_(torch.from_numpy(np.log(prior[1])))


def _own(cells: Cells, variable: int, most: int) -> Cells:
    """The cells of one variable, called 0; the first ones only if they have more rows than `most`."""
    chosen = np.flatnonzero((cells.variable == variable) & (np.diff(cells.begins) > 0))
    counts = np.diff(cells.begins)[chosen]
    chosen = chosen[: max(1, int(np.searchsorted(np.cumsum(counts), most, side="right")))]
    counts = counts[: len(chosen)]
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
    freedom, count = PARAMETERS.index("scale"), len(sample.cells.time)

    def loss(z: np.ndarray) -> float:
        sample.run(np.exp(z), mean, variance)
        weak = 0.5 * np.sum(((z - centre) / PRIOR_DEVIATION) ** 2)
        return (sample.loss(math.exp(z[freedom])) + weak) / count

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
    n = np.diff(sample.cells.begins)
    weight = (freedom + n) / (freedom + sample.sums[:, 1])
    means = sample.means[:, DYNAMIC:]
    mean = weight @ means / weight.sum()
    own = np.diagonal(sample.covs, axis1=1, axis2=2)[:, DYNAMIC:]
    variance = (own + (means - mean) ** 2 * weight[:, None]).mean(axis=0)
    return mean, np.maximum(variance, LEAST_VARIANCE)
