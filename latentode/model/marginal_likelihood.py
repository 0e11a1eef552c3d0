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

A stochastic cycle is added where it pays. It is begun at peaks of the periodogram pooled over cells,
with one frequency for all, and with one of each cell's own, of which mean and spread over cells are
those of what `latentode.nn.frequency` finds. The best of these models is taken instead of that without
a cycle if the sum, times the number N of values, is lower by more than a penalty: the Bayesian
information criterion's $\tfrac{k}{2} \log N$ for k parameters more, and for each own frequency the
logarithm of how many the cell could tell apart within the spread. Rows that several windows of one
series have count once in N.

At last the model is compared with simpler ones (`latentode.model.simplest`). Variances that were found
with k free parameters are too small, and normal tails too short, by what a Student-t distribution of
N - k degrees of freedom has in their place: they are multiplied by $N / (N - k - 2)$.

Where no value is below zero and the sizes of series differ, all of this is done once more in units of
each cell's own (`latentode.model.structure`), and kept if its targets are likelier by the price of a
parameter; of counts by their deviance.

References:
    Estimating the dimension of a model (Schwarz, 1978).
    Maximum likelihood from incomplete data via the EM algorithm (Dempster, Laird and Rubin, 1977).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from latentode.model.candidate import (
    BOUNDS,
    FEWEST_CELLS,
    FREQUENCY,
    INITIAL,
    SPREAD,
    Candidate,
    Sample,
)
from latentode.model.simplest import (
    CYCLE_PARAMETERS,
    PRIOR_DEVIATION,
    TRIAL_STEPS,
    criterion,
    simplest,
    with_values,
)
from latentode.model.structure import StructuralBlock
from latentode.nn.compiled_filter import COLUMNS, PARAMETERS
from latentode.nn.frequency import (
    cells_that_tell,
    frequencies,
    line_variances,
    suggestions,
)
from latentode.nn.state_space import Cells

__all__ = ["estimate"]

ROUNDS = 3  # of parameters, then of coefficients
STEPS, EXPECTATIONS = 25, 2  # of each
ENOUGH = 1e-6  # relative change of the loss at which steps end
SCALE, EXCESS = PARAMETERS.index("scale"), PARAMETERS.index("excess")
PRECISION = PARAMETERS.index("level_precision")
DIFFERENT = 1e-4  # variance of a tenth of the series, in that of all
PER_SERIES = 0.05  # highest precision of a level, for each series
SEVERAL, PER_SERIES_ALIKE = 4, 2.0  # series that tell of each other; degrees of freedom for each
CENTRE = {"cycle": 0.2, "cycle_decay": 0.1}  # of the weak prior
NEAR = 1.25  # factor by which one frequency may leave its peak of the periodogram
DECAY = 0.02  # of the frequency, to begin with
LEAST_SPREAD = 0.01  # of logarithms of own frequencies
MOVEMENTS = "walk", "slope_walk", "deviation"
QUIET = 0.1  # of the noise, to begin with: variances of what else moves
LEAST_SHARE = 0.25  # of its penalty that a start must gain on them
MOST_KNOWN = 128  # estimates that are kept
WORK = 2e9  # operations that an estimate without cycles may take, all variables together

VARIANCES = "noise", "walk", "slope_walk", "deviation", "cycle"
PRIORS = "level_precision", "scale", "memory", "excess", "coefficient_walk"  # that few values decide
STEPPED = 0.1  # share of cells whose values are on steps
LEAST_FREE = 0.5  # of n values, whatever a model's parameters

_known: dict[bytes, tuple[Any, ...]] = {}  # estimates by the digest of what they are from


def estimate(block: StructuralBlock, seen: Cells, later: Cells, n_series: int) -> None:
    """Sets the block's parameters to those that explain the cells best.

    Args:
        block: whose buffers are set, in place.
        seen: contexts of training windows.
        later: their targets, of the same cells; those within a context count from its last row.
        n_series: from how many series they are; so many levels say how much levels differ.
    """
    plain = 1 + len(PARAMETERS) - len(CYCLE_PARAMETERS)
    cost = (COLUMNS + seen.basis.shape[1]) ** 2 * plain * ROUNDS * STEPS * 3
    most = int(WORK / cost / max(1, len(np.unique(seen.variable))))
    theta, prior = block.theta().copy(), [x.copy() for x in block.prior()]
    least, more = block.least_size.numpy().copy(), block.size_rows.numpy().copy()
    for variable in np.unique(seen.variable):
        chosen = np.flatnonzero((seen.variable == variable) & (np.diff(seen.begins) > 0))
        counts = np.diff(seen.begins)[chosen] + np.diff(later.begins)[chosen]
        chosen = _as_many_as(chosen, counts, most)
        sample = Sample.of(seen.some(chosen), later.some(chosen), n_series)
        if len(sample.seen.time) > 1:
            begun = theta[variable], prior[0][variable], prior[1][variable]
            zero, counting = float(block.zero[variable]), bool(block.counting[variable])
            found = _kept(sample, zero, counting, len(block.periods) > 0, *begun)
            theta[variable], prior[0][variable], prior[1][variable] = found[:3]
            least[variable], more[variable] = found[3:]
    block.log_theta.copy_(torch.from_numpy(np.log(theta)))
    block.least_size.copy_(torch.from_numpy(least))
    block.size_rows.copy_(torch.from_numpy(more))
    block.prior_mean.copy_(torch.from_numpy(prior[0]))
    block.log_prior_variance.copy_(torch.from_numpy(np.log(prior[1])))


def rounding_of(cells: Cells) -> float:
    """The variance of what values were rounded by; 0 where they are not on a few steps.

    Of values that are mostly the same few, the density of heavy tails is highest where it is all but a
    point, and the next step is then as good as impossible.
    """
    steps = []
    for begin, end in itertools.pairwise(cells.begins):
        values, counts = np.unique(cells.value[begin:end], return_counts=True)
        often = values[counts > 1]
        if len(often) > 1 and 2 * counts[counts > 1].sum() > end - begin:
            steps.append(np.diff(often).min())
    return float(np.median(steps)) ** 2 / 12 if len(steps) > STEPPED * len(cells.variable) else 0.0


def _kept(
    sample: Sample, zero: float, counting: bool, cycles: bool, *begun: np.ndarray
) -> tuple[Any, ...]:
    """Parameters, mean and variance of coefficients, the least size of a cell, 0 for no own units, and
    how many rows more it counts as.

    As they were estimated before if they were, as where families are compared, of which most share a
    transform, and in ensembles.
    """
    key = sample.digest(np.array([zero, counting, cycles]), *begun)
    found = _known.get(key)
    if found is None:
        counting = counting and sample.has_none(zero)  # large counts are as other values
        sample = replace(sample, heavy=not counting)  # the mean of few counts is that of rare many
        best, sizes = _estimate(sample, cycles, *begun), (0.0, 0.0)
        own = None if math.isnan(zero) else sample.in_own_units(zero, counting)
        if own is not None:
            relative = _estimate(own.sample, cycles, *begun)
            n = sample.distinct
            if own.gain(relative, sample, best, zero, counting) > 0.5 * math.log(n) / n:
                sample, best, sizes = own.sample, relative, (own.least, own.more)
        best = _unbiased(sample, best)
        found = _known[key] = best.theta, *(part[0] for part in best.prior), *sizes
        for oldest in list(_known)[:-MOST_KNOWN]:
            _known.pop(oldest, None)
    return found


def _unbiased(sample: Sample, model: Candidate) -> Candidate:
    """With variances of Student's t of as many degrees as n values leave beside the free parameters."""
    n, counted = sample.distinct, [i for i in model.free if PARAMETERS[i] not in PRIORS]
    factor = n / max(n - len(counted) - 2, n * LEAST_FREE)
    moving = np.isin(PARAMETERS, VARIANCES)
    return replace(model, z=model.z + np.where(moving, math.log(factor), 0.0))


def _as_many_as(chosen: np.ndarray, counts: np.ndarray, most: int) -> np.ndarray:
    """Every n-th of some cells, so that their rows are no more than `most`; one at least."""
    every = 1
    while counts[every // 2 :: every].sum() > most and every < len(chosen):
        every += 1
    return chosen[every // 2 :: every]


def _estimate(
    sample: Sample, cycles: bool, theta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> Candidate:
    """The model of one variable: without a stochastic cycle, or with the best if that is better.

    Coefficients may walk where there are `cycles` of a schema, whose shape may change. Those of known
    columns alone do not: promotions that sell unevenly would each be taken for a change.
    """
    sample = replace(sample, rounding=rounding_of(sample.seen) if sample.heavy else 0.0)
    centre = np.log(np.array([INITIAL[name] for name in PARAMETERS]))
    kept = CYCLE_PARAMETERS if cycles else (*CYCLE_PARAMETERS, "coefficient_walk")
    if len(sample.seen.variable) < FEWEST_CELLS:
        kept = (*kept, "scale", "memory")  # few cells do not say how variances differ and change
    free = np.array([i for i, name in enumerate(PARAMETERS) if name not in kept])
    none = np.zeros(len(sample.seen.variable))
    walks = cycles or not mean.size
    z = np.log(theta) if walks else with_values(np.log(theta), {"coefficient_walk": 0.0})
    model = Candidate(z, (mean[None], variance[None]), free, centre, none)
    begun, moving = [model], line_variances(sample.seen, sample.seen.value)
    least = float(np.quantile(moving[moving > 0], 0.1)) if moving.any() else 1.0
    if least < DIFFERENT:  # series of very different size, of which each has a variance of its own
        z, weak, own = model.z.copy(), centre.copy(), [SCALE, EXCESS, PRECISION]
        z[own] = weak[own] = math.log(max(QUIET**2 * least, BOUNDS["excess"][0]))
        begun.append(replace(model, z=z, centre=weak))
    plain = min((_improved(sample, m, ROUNDS) for m in begun), key=lambda m: criterion(sample, m)[0])
    some = sample.thinned()
    fewer = plain.of(len(some.seen.variable))
    starts = (_improved(some, start, 1, TRIAL_STEPS) for start in _starts(some, fewer))
    tried = [m for m in starts if _better(some, m, fewer, LEAST_SHARE)]
    if not tried:
        return simplest(sample, plain, _improved, ROUNDS - 1, STEPS)
    worth = [sum(criterion(some, m)) for m in tried]
    kinds = {tried[k].own: tried[k] for k in np.argsort(worth)[::-1]}  # the best of either kind
    best = min((_improved(some, m, 1) for m in kinds.values()), key=lambda m: sum(criterion(some, m)))
    chosen = _improved(sample, best.of(len(none)), ROUNDS - 1)
    if _better(sample, chosen, plain):  # for its cycle, or for more steps than the other had
        z = np.where(np.isin(np.arange(len(theta)), free), chosen.z, plain.z)
        plain = _improved(sample, replace(plain, z=z, prior=chosen.prior), ROUNDS - 1)
    better = chosen if _better(sample, chosen, plain) else plain
    return simplest(sample, better, _improved, ROUNDS - 1, STEPS)


def _better(sample: Sample, model: Candidate, plain: Candidate, share: float = 1.0) -> bool:
    """Whether a cycle gains a share of its penalty, where forecasts count by rows and where by cells.

    Errors of a cell's forecasts go together: by rows, those of random walks would often favour cycles.
    """
    for targets in (1.0, len(sample.seen.variable) / len(sample.seen.time)):
        total, penalty = criterion(sample, model, targets)
        if total + share * penalty >= criterion(sample, plain, targets)[0]:
            return False
    return True


def _improved(sample: Sample, model: Candidate, rounds: int, steps: int = STEPS) -> Candidate:
    """After rounds: own frequencies, parameters by gradients, coefficients by their posteriors."""
    from scipy.optimize import Bounds, minimize  # here, since a fitted model loads without

    bounds = np.log(np.array([BOUNDS[name] for name in PARAMETERS]))
    free, count = model.free, len(sample.seen.time)
    # Levels of windows of one series are one: they do not say how near the mean another level is.
    bounds[PRECISION, 1] = min(bounds[PRECISION, 1], math.log(PER_SERIES * sample.n_series))
    bounds[SCALE, 0] = min(bounds[SCALE, 0], model.centre[SCALE])
    # Nor do windows of one series, all of one noise, say how alike the noise of other series is.
    alike = sample.most_alike if sample.n_series < SEVERAL else PER_SERIES_ALIKE * sample.n_series
    bounds[SCALE, 1] = min(bounds[SCALE, 1], math.log(min(sample.most_alike, alike)))
    if sample.rounding > 0:
        bounds[EXCESS, 0] = max(bounds[EXCESS, 0], math.log(min(sample.rounding, BOUNDS["excess"][1])))
    bounds[FREQUENCY] = model.centre[FREQUENCY] + np.log([1 / NEAR, NEAR])

    def with_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        z = model.z.copy()
        z[free] = x
        off = (x - model.centre[free]) / PRIOR_DEVIATION
        found = sample.gradient(z, model)
        return found[0] + 0.5 * off @ off / count, found[1:] + off / PRIOR_DEVIATION / count

    within = np.clip(model.z, *bounds.T)
    model = model.at(np.where(np.isin(np.arange(len(within)), free), within, model.z))
    for _ in range(rounds):
        model = _with_frequencies(sample, model)
        z = model.z.copy()
        z[free] = minimize(
            with_gradient, z[free], jac=True, method="L-BFGS-B", bounds=Bounds(*bounds[free].T),
            options={"maxiter": steps, "ftol": ENOUGH},
        ).x  # fmt: skip
        model = model.at(z)
        for _ in range(EXPECTATIONS if model.prior[0].size else 0):
            sample.run(model)
            model = replace(model, prior=sample.over_cells(model.theta))
    return model


def _with_frequencies(sample: Sample, model: Candidate) -> Candidate:
    """With own frequencies of cells, and their mean and spread, if there are any."""
    if not model.own:
        return model
    told = cells_that_tell(sample.seen, model.theta[None], model.prior)
    for _ in range(EXPECTATIONS if len(told) else 0):
        omega = frequencies(sample.seen, model.theta[None], model.prior)
        logs, z = np.log(omega[told]), model.z.copy()
        z[FREQUENCY], z[SPREAD] = logs.mean(), math.log(max(logs.std(), LEAST_SPREAD))
        model = replace(model, z=z, omega=omega)
    return model


def _starts(sample: Sample, plain: Candidate) -> Iterator[Candidate]:
    """Models with cycles that periodograms suggest, with and without other movements of `plain`."""
    sample.run(plain)
    own, cells = sample.variances(plain.theta[None]), sample.seen
    for found in suggestions(cells, plain.theta[None], plain.prior, own):
        spread = max(found.spread, LEAST_SPREAD) if found.own else 0.0
        cycle = found.cycle, DECAY * found.frequency, found.frequency, spread
        begin = dict(zip(CYCLE_PARAMETERS, cycle, strict=True))
        quiet = {"noise": found.noise} | dict.fromkeys(MOVEMENTS, QUIET * found.noise)
        names = CYCLE_PARAMETERS[: 2 if found.own else 3]
        free = np.r_[plain.free, [PARAMETERS.index(name) for name in names]]
        centre = with_values(plain.centre, CENTRE | {"frequency": found.frequency})
        omega = np.full(len(cells.variable), found.frequency)
        for values in (begin, begin | quiet):
            yield replace(plain, z=with_values(plain.z, values), free=free, centre=centre, omega=omega)
