r"""Mixtures: cdf, quantile function and moments of equal parts of a likelihood's components.

$$F(x) = \frac1S \sum_k F_k(x), \qquad Q(p) = \min\{x : F(x) \ge p\}, \qquad
  \min_k Q_k(p) \le Q(p) \le \max_k Q_k(p),$$

so a quantile of the mixture is found by bracketing between those of its components. Moments are closed
forms of the components where nothing is transformed. Of an increasing transform g of each component,
with t its normal score,

$$E[g(X)^k] = \int g(Q(\Phi(t)))^k\,\varphi(t)\,dt$$

by the trapezoidal rule, which under a Gaussian weight converges faster than any power of the step. Of a
distribution that is known by its cdf G, with any centre a,

$$E[X] = a + \int_a^\infty (1 - G)\,dx - \int_{-\infty}^a G\,dx, \qquad
  E[(X - a)^2] = 2 \int_a^\infty (x - a)(1 - G)\,dx + 2 \int_{-\infty}^a (a - x)\,G\,dx,$$

by Gauss and Legendre's rule between quantiles of G, with its median for a (no further from the mean
than a standard deviation, so that nothing cancels), or for whole numbers by the sums over the support
that the integrals then are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from scipy import special
from torch.distributions import Distribution

from latentode.data.scaling import Units
from latentode.data.tables.transforms import Transform
from latentode.forecast.residuals import FURTHEST
from latentode.nn.likelihoods import Likelihood, mixture, take

__all__ = [
    "EDGES",
    "mixture_cdf",
    "mixture_quantile",
    "mixture_quantiles",
    "moments_in_units",
    "moments_of_cdf",
    "moments_of_counts",
    "moments_of_transform",
]

RESOLUTION = 2.0**-40  # of a quantile in its bracket, and of its normal score
MOST_STEPS = 100
FURTHEST_SCORE = 40.0
STEP, REACH = 1 / 12, 12.0
SCORES = np.arange(-REACH, REACH + STEP / 2, STEP)
SCORE_WEIGHTS = STEP * np.exp(-0.5 * SCORES**2) / math.sqrt(2 * math.pi)
POINTS, WEIGHTS = (0.5 * x for x in np.polynomial.legendre.leggauss(8))
# Scores of quantiles that bracket others, and between which the cdf is integrated.
EDGES = np.r_[-FURTHEST, -6.0, -5.0, np.arange(-4.0, 4.25, 0.5), 5.0, 6.0, FURTHEST]
CELLS_AT_ONCE = 4_000_000  # samples times quantiles, for the memory they take
SCORES_AT_ONCE = 100_000  # samples times scores, so that they stay in a processor's cache
BLOCKS = 1024  # of whole numbers, each summed by its middle; one number each where they suffice


def mixture_cdf(likelihood: Likelihood, distribution: Distribution, value: np.ndarray) -> np.ndarray:
    """P(x <= value) of each query, both in the distribution's units, shape `(queries,)`."""
    return likelihood.cdf(distribution, value).mean(axis=0)


def mixture_quantile(
    likelihood: Likelihood, distribution: Distribution, level: float | np.ndarray
) -> np.ndarray:
    """Where the mixture reaches a level, or each query's own, in the distribution's units.

    Args:
        likelihood: whose distribution it is.
        distribution: components, shape `(samples, queries)`.
        level: between 0 and 1, one for all or of shape `(queries,)`.

    Returns:
        Shape `(queries,)`; of whole numbers the least one at which the level is reached.
    """
    components = likelihood.icdf(distribution, level)
    low, high = components.min(axis=0), components.max(axis=0)
    found, apart = high.copy(), np.flatnonzero(low < high)
    if len(apart):
        levels = np.broadcast_to(level, high.shape)[apart]
        own = take(distribution, torch.from_numpy(apart))
        found[apart] = _between(likelihood, own, levels, low[apart], high[apart])
    return found


def mixture_quantiles(
    likelihood: Likelihood, distribution: Distribution, level: np.ndarray
) -> np.ndarray:
    """As `mixture_quantile`, for many levels of each query.

    Each is bracketed by quantiles of a few levels, which are found but once for all.

    Args:
        likelihood: whose distribution it is.
        distribution: components, shape `(samples, queries)`.
        level: between those of the normal scores -7.5 and 7.5, shape `(n, queries)`.

    Returns:
        Shape `(n, queries)`.
    """
    found, whole = np.empty(level.shape), likelihood.whole(distribution)
    for kind, edges in ((True, EDGES[[0, -1]]), (False, EDGES)):
        place = np.flatnonzero(whole == kind)
        if len(place):
            own = take(distribution, torch.from_numpy(place))
            found[:, place] = _bracketed(likelihood, own, level[:, place], special.ndtr(edges))
    return found


def _bracketed(
    likelihood: Likelihood, distribution: Distribution, level: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """`mixture_quantiles`, each between the quantiles of two neighbouring levels of `edges`."""
    ends = np.stack([mixture_quantile(likelihood, distribution, p) for p in edges])
    piece = np.clip(np.searchsorted(edges, level, "right") - 1, 0, len(edges) - 2)
    query = np.broadcast_to(np.arange(level.shape[1]), level.shape)
    low, high = (ends[piece + side, query].reshape(-1) for side in (0, 1))
    found = low.copy()
    apart = np.flatnonzero(low < high)
    at_once = max(1, CELLS_AT_ONCE // distribution.batch_shape[0])
    for begin in range(0, len(apart), at_once):
        part = apart[begin : begin + at_once]
        own = take(distribution, torch.from_numpy(query.reshape(-1)[part]))
        found[part] = _between(likelihood, own, level.reshape(-1)[part], low[part], high[part])
    return found.reshape(level.shape)


def _between(
    likelihood: Likelihood,
    distribution: Distribution,
    level: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """Where mixtures reach their levels, from `low` (where they may) to `high` (where they do)."""
    found, whole = np.empty(len(level)), likelihood.whole(distribution)
    for ask, place in ((_least_count, whole), (_root, ~whole)):
        own = np.flatnonzero(place)
        if len(own):
            part = distribution if len(own) == len(level) else take(distribution, torch.from_numpy(own))
            found[own] = ask(likelihood, part, level[own], low[own], high[own])
    return found


def _least_count(
    likelihood: Likelihood,
    distribution: Distribution,
    level: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """The least whole numbers at which levels are reached, by bisection."""
    below, reached = np.floor(low) - 1, np.floor(high)
    while (reached - below > 1).any():
        middle = np.floor(0.5 * (below + reached))
        enough = mixture_cdf(likelihood, distribution, middle) >= level
        below, reached = np.where(enough, below, middle), np.where(enough, middle, reached)
    return reached


def _root(
    likelihood: Likelihood,
    distribution: Distribution,
    level: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """Where continuous mixtures reach their levels, whatever the units of `low` and `high`.

    By the Illinois method on normal scores, in which a quantile function is nearly straight.
    """
    aim, resolution = special.ndtri(level), RESOLUTION * (high - low)

    def miss(value: np.ndarray, place: np.ndarray) -> np.ndarray:
        every = len(place) == len(level)
        own = distribution if every else take(distribution, torch.from_numpy(place))
        return _score(mixture_cdf(likelihood, own, value)) - aim[place]

    left, right, active = low.copy(), high.copy(), np.arange(len(level))
    below, above = miss(left, active), miss(right, active)
    # Where both ends are on one side, by rounding, the level is reached at one.
    found = np.where(below >= 0, low, high)
    active, side = np.flatnonzero((below < 0) & (above > 0)), np.zeros(len(level), dtype=np.int8)
    for _ in range(MOST_STEPS):
        if not len(active):
            break
        a, b, fa, fb = (x[active] for x in (left, right, below, above))
        x = np.clip(a - fa * (b - a) / (fb - fa), a, b)
        f = miss(x, active)
        found[active], up = x, f >= 0
        # An end that stays a second time in a row counts half, so that it moves too.
        left[active], right[active] = np.where(up, a, x), np.where(up, x, b)
        again = np.where(side[active] == np.where(up, 1, -1), 0.5, 1.0)
        below[active], above[active] = np.where(up, again * fa, f), np.where(up, f, again * fb)
        side[active] = np.where(up, 1, -1)
        done = (np.abs(f) <= RESOLUTION) | (np.minimum(x - a, b - x) <= resolution[active])
        active = active[~done]
    return found


def _score(level: np.ndarray) -> np.ndarray:
    """The normal score of a level, finite also where the level rounds to 0 or 1."""
    return np.clip(special.ndtri(level), -FURTHEST_SCORE, FURTHEST_SCORE)


def moments_in_units(
    likelihood: Likelihood, distribution: Distribution, units: Units
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of mixtures in data units: exact, after a transform by quadrature.

    Args:
        likelihood: whose distribution it is.
        distribution: components in scaled units, shape `(samples, queries)`.
        units: what scaled values of the queries are in data units.

    Returns:
        Both of shape `(queries,)`.
    """
    mixed = mixture(distribution)
    mean = units.loc + units.scale * mixed.mean.numpy()
    std = units.scale * mixed.variance.sqrt().numpy()
    for transform, place in units.transforms:
        own = take(distribution, torch.from_numpy(place))
        loc, scale = units.loc[place], units.scale[place]

        def to_data(
            u: np.ndarray, t: Transform = transform, at: np.ndarray = loc, s: np.ndarray = scale
        ) -> np.ndarray:
            return t.inverse(at + s * u)

        mean[place], std[place] = moments_of_transform(likelihood, own, to_data)
    return mean, std


def moments_of_transform(
    likelihood: Likelihood,
    distribution: Distribution,
    to_data: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of an equal mixture of transformed components.

    Args:
        likelihood: whose distribution it is.
        distribution: components in scaled units, shape `(samples, queries)`.
        to_data: increasing, from scaled values `(samples, queries)` to data units.

    Returns:
        Both of shape `(queries,)`.
    """
    centre = to_data(likelihood.at_score(distribution, 0.0))
    first, second = np.zeros_like(centre), np.zeros_like(centre)
    n, queries = centre.shape
    at_once = max(1, SCORES_AT_ONCE // max(1, centre.size))
    with np.errstate(over="ignore"):
        for begin in range(0, len(SCORES), at_once):
            part = slice(begin, begin + at_once)
            scores, weights = SCORES[part], SCORE_WEIGHTS[part, None]
            every = take(distribution, torch.arange(queries).repeat(len(scores)))
            asked = np.tile(scores.repeat(queries), (n, 1))
            found = likelihood.at_score(every, asked).reshape(n, len(scores), queries)
            beyond = to_data(found) - centre[:, None]  # so that far values do not cancel
            first += (weights * beyond).sum(axis=1)
            second += (weights * beyond**2).sum(axis=1)
    means, variances = centre + first, second - first**2
    mean = means.mean(axis=0)
    return mean, np.sqrt((variances + (means - mean) ** 2).mean(axis=0))


def moments_of_cdf(
    cdf: Callable[[np.ndarray], np.ndarray], edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a distribution that is known by its cdf.

    Args:
        cdf: of each query, from values `(queries,)`.
        edges: quantiles of that cdf of ascending levels from near 0 to near 1, the middle one the
            median, shape `(levels, queries)`; beyond them there is nothing.

    Returns:
        Both of shape `(queries,)`.

    Example:
        >>> from scipy import stats
        >>> edges = stats.norm(3.0, 2.0).ppf(np.linspace(1e-6, 1 - 1e-6, 41))[:, None]
        >>> mean, std = moments_of_cdf(stats.norm(3.0, 2.0).cdf, edges)
        >>> mean.round(4).item(), std.round(3).item()
        (3.0, 2.0)
    """
    middle = len(edges) // 2
    centre, reach = edges[middle], edges[-1] - edges[0]
    unit = np.where(reach > 0, reach, 1.0)  # so that squares neither overflow nor vanish
    beyond = (edges - centre) / unit
    first, second = np.zeros_like(centre), np.zeros_like(centre)
    for number, (left, right) in enumerate(pairwise(beyond)):
        for point, weight in zip(POINTS.tolist(), WEIGHTS.tolist(), strict=True):
            x = left + (0.5 + point) * (right - left)
            level = cdf(centre + unit * x)
            tail = (1.0 - level if number >= middle else -level) * weight * (right - left)
            first += tail
            second += 2 * x * tail
    return centre + unit * first, unit * np.sqrt(np.maximum(second - first**2, 0.0))


def moments_of_counts(
    cdf: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of whole numbers from `low` to `high` that are known by their cdf.

    Up to 1,024 numbers are summed one by one, more in blocks of equally many.

    Args:
        cdf: of each query, from values `(queries,)`.
        low: the least number of each query, shape `(queries,)`.
        high: the greatest, likewise.

    Returns:
        Both of shape `(queries,)`.

    Example:
        >>> from scipy import stats
        >>> mean, std = moments_of_counts(stats.poisson(4.0).cdf, np.zeros(1), np.full(1, 60.0))
        >>> mean.round(9).item(), (std**2).round(9).item()
        (4.0, 4.0)
    """
    width = 2 * np.ceil((np.maximum((high - low) / BLOCKS, 1) - 1) / 2) + 1  # odd: it has a middle
    first, second = np.zeros_like(low), np.zeros_like(low)
    for block in range(int(np.ceil((high - low) / width).max(initial=0))):
        beyond = block * width + (width - 1) / 2  # how far above the least number the block's middle is
        tail = np.where(low + beyond < high, 1.0 - cdf(low + beyond), 0.0) * width
        first += tail
        second += (2 * beyond + 1) * tail
    return low + first, np.sqrt(np.maximum(second - first**2, 0.0))
