r"""The simplest structural model: what it is worth, and what it may do without.

A model is worth the sum that `latentode.model.marginal_likelihood` lowers, times the number N of rows,
and each free parameter costs $\tfrac12 \log N$ (the Bayesian information criterion): a slope that one
series hardly needs would be carried on far beyond its end. A model is compared with others that have no
slope, no walk, no deviation, or none of several of them, each begun from its own start, since the sum
has several lowest points.

Likewise coefficients of cycles and known columns, of which many series have one each: how they vary
over series is a parameter of each, and where it does not pay for itself all series have that of the
mean. Expectation-maximisation alone comes to such a variance of 0 ever more slowly, and what it leaves
of the noise of few values is taken for a series' own.

References:
    Estimating the dimension of a model (Schwarz, 1978).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from latentode.model.candidate import (
    BOUNDS,
    FEWEST_CELLS,
    FREQUENCY,
    LEAST_VARIANCE,
    SPREAD,
    Candidate,
    Sample,
)
from latentode.nn.compiled_filter import PARAMETERS

__all__ = [
    "CYCLE_PARAMETERS",
    "PRIOR_DEVIATION",
    "TRIAL_STEPS",
    "criterion",
    "price",
    "simplest",
    "with_values",
]

PRIOR_DEVIATION = 5.0  # of the logarithm of a parameter
CYCLE_PARAMETERS = ("cycle", "cycle_decay", "frequency", "frequency_spread")
TRIAL_STEPS = 10  # after which starts are compared
# Movements that a simpler model is without, and what the others begin from at least.
SIMPLER = (
    (("slope", "slope_walk"), {"walk": 0.1}),
    (("walk", "slope_walk"), {}),
    (("walk", "slope", "slope_walk"), {}),
    (("walk",), {"slope_walk": 0.1}),
    (("slope", "slope_walk", "deviation"), {"walk": 0.1}),
    (("walk", "slope_walk", "deviation"), {}),
    (("slope_walk", "deviation"), {"walk": 0.1}),
    (("walk", "slope", "slope_walk", "deviation"), {}),
)
MANY_ROWS = 3000  # of which simpler models are tried on some
RATES = {"slope": "damping", "deviation": "return_rate"}
APART = 12.0  # frequencies that a cell tells apart, times its span and the root of its rows
NEARLY_ONE = 1e-3  # variance of coefficients, in that of a cell, under which their mean is that of all
TOWARDS_MEAN = 3  # steps

Improve = Callable[[Sample, Candidate, int, int], Candidate]  # by so many rounds, of so many steps


def simplest(sample: Sample, full: Candidate, improve: Improve, rounds: int, steps: int) -> Candidate:
    """A model, or the best of those with fewer of its movements, each parameter at its price.

    Args:
        sample: what is explained.
        full: with all movements.
        improve: fits a model's parameters.
        rounds, steps: of the best, before it is compared with the full one.
    """

    def cost(model: Candidate, of: Sample) -> float:
        return sum(criterion(of, model)) + price(of, len(model.free))

    some = sample if len(sample.seen.time) < MANY_ROWS else sample.thinned()
    starts = (start.of(len(some.seen.variable)) for start in _simpler(full))
    tried = [improve(some, start, 1, TRIAL_STEPS) for start in starts]
    best = min(tried, key=lambda m: cost(m, some)).of(len(sample.seen.variable))
    best = min(full, improve(sample, best, rounds, steps), key=lambda m: cost(m, sample))
    return _with_common_coefficients(sample, best)


def _simpler(full: Candidate) -> Iterator[Candidate]:
    """Models without some of its movements, to begin with."""
    for without, begun in SIMPLER:
        least = {name: BOUNDS[name][0] for name in without}
        idle = [own for name, own in RATES.items() if name in without]  # the rate of what is not there
        kept = np.isin(full.free, [PARAMETERS.index(name) for name in (*without, *idle)], invert=True)
        more = {name: max(full.theta[PARAMETERS.index(name)], size) for name, size in begun.items()}
        yield replace(full, z=with_values(full.z, least | more), free=full.free[kept])


def _with_common_coefficients(sample: Sample, model: Candidate) -> Candidate:
    """A model in which all series have the same coefficients: all of them, or those that may."""
    mean, variance = model.prior
    if sample.n_series < FEWEST_CELLS or not mean.size:
        return model
    near = replace(model, prior=(mean, np.full_like(variance, NEARLY_ONE)))
    for _ in range(TOWARDS_MEAN):
        sample.run(near)
        near = replace(near, prior=(sample.over_cells(near.theta)[0], near.prior[1]))
    every = np.ones(mean.shape, dtype=bool)
    worth, each = sum(criterion(sample, model)), price(sample, 1)

    def common(which: np.ndarray) -> Candidate:
        # Of some alone the mean is as it was: the others would move it if they were common too.
        means = near.prior[0] if which.all() else mean
        return replace(model, prior=(means, np.where(which, LEAST_VARIANCE, variance)))

    if sum(criterion(sample, common(every))) < worth + each * mean.size:
        return common(every)
    chosen = ~every
    for k in range(mean.size):
        more = chosen | (np.arange(mean.size) == k)
        if (found := sum(criterion(sample, common(more)))) < worth + each:
            chosen, worth = more, found
    return common(chosen)


def with_values(z: np.ndarray, values: Mapping[Any, float]) -> np.ndarray:
    """Logarithms of parameters, of which some are set; within their bounds."""
    z = z.copy()
    for name, value in values.items():
        z[PARAMETERS.index(name)] = math.log(max(value, BOUNDS[name][0]))
    return z


def criterion(sample: Sample, model: Candidate, share: float = 1.0) -> tuple[float, float]:
    """What is lowered, times rows and with a share of the targets; and the penalty of a cycle."""
    cells, (contexts, targets) = sample.seen, sample.losses(model)
    rows, count = len(cells.time), np.diff(cells.begins)
    off = (model.z - model.centre)[model.free] / PRIOR_DEVIATION
    total = float(rows * (contexts + share * targets) + 0.5 * off @ off)
    penalty = 0.0
    if model.omega.any():
        names = len(CYCLE_PARAMETERS) - (0 if model.own else 1)
        penalty = price(sample, names)
    if model.own:
        spread, span = model.theta[SPREAD], cells.last - cells.time[cells.begins[:-1]]
        apart = 1 + spread * model.omega * span * np.sqrt(count) / APART
        far = ((np.log(model.omega) - model.z[FREQUENCY]) / spread) ** 2
        penalty += float(np.sum(np.log(apart) + far / 2))
    return total, penalty


def price(sample: Sample, parameters: int) -> float:
    """What so many parameters must gain, of a criterion that counts rows of all windows."""
    n = sample.distinct
    return 0.5 * parameters * math.log(n) * len(sample.seen.time) / n
