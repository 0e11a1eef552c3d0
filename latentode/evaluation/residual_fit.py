r"""How noisy readings are and how long departures last, from forecasts of values that were observed.

With $u = \Phi^{-1}(F(x))$ the normal score of an observed value, two scores of one forecast, a time
apart, are correlated by

$$\rho_{ij} = \frac{C_{ij} + w_i w_j\, k(|t_i - t_j| / \ell)}{s_i s_j},
  \quad w_i^2 = \frac{E[s_i^2]^2}{E[s_i^2] + \sigma^2},$$

with C the covariance of the decoded means over latent samples. $\sigma$ and $\ell$ maximise the
bivariate normal likelihood summed over pairs (a composite likelihood, consistent though pairs overlap),
on a grid, per variable; a variable of few pairs leans on what all variables say together.

References:
    An overview of composite likelihood methods (Varin, Reid and Firth, 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentode.data.dataset import SeriesDataset
from latentode.evaluation.pairs import BacktestPairs, observed_ahead
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import ForecastQueries
from latentode.forecast.residuals import Residuals, matern

__all__ = ["ScorePairs", "fit_residuals", "judging_pairs", "most_likely"]

ROWS = 256  # series to learn from, and forecasts where they are fewer
LEAST_ORIGINS = 2  # of each: the last origin of a series has a single time ahead, so no pair
LAGS = (1, 2, 3, 5, 8, 13)  # how many observations apart the two of a pair are
LEAST_PAIRS = 20
BORROWED = 30  # pairs' worth of weight of all variables together
NOISES = np.r_[np.linspace(0.0, 1.5, 16), 2.0, 3.0, 5.0, 1e6]  # in median decoded standard deviations
LENGTHS = np.geomspace(1 / 30, 10, 22)  # in horizons
FURTHEST_SEEN = 4.75  # a score further out is that of an outlier, and taken as this


@dataclass(frozen=True)
class ScorePairs:
    """Two observed values of one variable, seen by one forecast; each field of shape `(pairs,)`.

    Args:
        variable: whose values they are.
        first: normal score of the one.
        second: of the other.
        gap: time between them.
        shared: covariance of their means over latent samples, in predictive standard deviations.
        decoded: mean decoded variances of both, in scaled units, shape `(2, pairs)`.
        total: predictive variances of both, likewise.
    """

    variable: np.ndarray
    first: np.ndarray
    second: np.ndarray
    gap: np.ndarray
    shared: np.ndarray
    decoded: np.ndarray
    total: np.ndarray


def judging_pairs(
    horizon: float, dataset: SeriesDataset, begin: np.ndarray | None = None
) -> tuple[SeriesDataset, BacktestPairs]:
    """Some of the series, and what a fit is judged by: values ahead of some of their times.

    Args:
        horizon: how far ahead, in time units.
        dataset: series with values to forecast, best held out.
        begin: the time since each series' start from which on it is held out, shape `(series,)`; None
            for all of it.
    """
    some = dataset.select(np.arange(min(len(dataset), ROWS)))
    origins = max(LEAST_ORIGINS, ROWS // max(1, len(some)))
    since = None if begin is None else begin[: len(some)]
    return some, observed_ahead(some, horizon, origins, since)


def fit_residuals(
    fitted: FittedForecaster, dataset: SeriesDataset, asked: BacktestPairs, answer: Forecast
) -> Residuals | None:
    """Estimates noise and correlation time of each variable.

    Args:
        fitted: trained.
        dataset: series with values to forecast, best held out.
        asked: of `judging_pairs`.
        answer: the forecast of them.

    Returns:
        None where too few pairs of values are observed within a horizon.
    """
    queries, actual, _ = asked
    if len(actual) < 2:
        return None
    unit = answer.scale / np.asarray(fitted.reader.scaling.scale)[queries.variable]
    pairs = _pairs(queries, answer, actual, unit)
    if len(pairs.gap) < LEAST_PAIRS:
        return None
    return most_likely(pairs, len(dataset.variables), fitted.horizon)


def most_likely(pairs: ScorePairs, n_variables: int, horizon: float) -> Residuals:
    """The residuals under which pairs of scores are most likely.

    Args:
        pairs: of all variables.
        n_variables: number of variables.
        horizon: in time units; correlation times between a thirtieth and ten of it are tried.
    """
    spread = np.sqrt(pairs.decoded.mean(axis=0))
    typical = _medians(spread, pairs.variable, n_variables)
    size = np.sqrt(_means((pairs.first**2 + pairs.second**2) / 2, pairs.variable, n_variables))
    size = np.clip(size, 0.1, 10.0)[pairs.variable]
    x, y = pairs.first / size, pairs.second / size
    gains = np.zeros((len(NOISES), len(LENGTHS), n_variables))
    for i, noise in enumerate(NOISES):
        rest = np.square(noise * typical[pairs.variable])
        lasting = pairs.decoded / np.sqrt((pairs.decoded + rest) * pairs.total)
        lasting = lasting.prod(axis=0)
        for j, length in enumerate(LENGTHS):
            rho = pairs.shared + lasting * matern(pairs.gap / (length * horizon))
            gain = _log_density(x, y, np.clip(rho, -0.995, 0.995))
            gains[i, j] = np.bincount(pairs.variable, gain, n_variables)
    together = gains.sum(axis=2) * (BORROWED / len(x))
    flat = (gains + together[:, :, None]).reshape(-1, n_variables).argmax(axis=0)
    i, j = np.unravel_index(flat, gains.shape[:2])
    return Residuals(tuple((NOISES[i] * typical).tolist()), tuple((LENGTHS[j] * horizon).tolist()))


def _pairs(
    queries: ForecastQueries, answer: Forecast, actual: np.ndarray, unit: np.ndarray
) -> ScorePairs:
    """`unit` is what one of the distribution is in scaled units, per query."""
    order = np.lexsort((queries.time, queries.variable, queries.origin, queries.series))
    same = [column[order] for column in (queries.series, queries.origin, queries.variable)]
    one, other = [], []
    for lag in LAGS:
        here = np.arange(len(order) - lag)
        here = here[np.all([c[:-lag] == c[lag:] for c in same], axis=0)] if len(here) else here
        one.append(order[here])
        other.append(order[here + lag])
    a, b = np.concatenate(one), np.concatenate(other)
    score = np.clip(answer.scores(actual), -FURTHEST_SEEN, FURTHEST_SEEN)
    means = unit * answer.distribution.mean.numpy()
    variance = unit**2 * answer.distribution.variance.numpy()
    total = variance.mean(axis=0) + means.var(axis=0)
    departures = means - means.mean(axis=0)
    shared = (departures[:, a] * departures[:, b]).mean(axis=0) / np.sqrt(total[a] * total[b])
    decoded, both = variance.mean(axis=0), np.stack([total[a], total[b]])
    gap = np.abs(queries.time[b] - queries.time[a])
    every = np.stack([decoded[a], decoded[b]])
    return ScorePairs(queries.variable[a], score[a], score[b], gap, shared, every, both)


def _log_density(x: np.ndarray, y: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Of two standard normals of correlation `rho`, up to a constant."""
    rest = 1 - rho**2
    return -0.5 * (np.log(rest) + (x**2 - 2 * rho * x * y + y**2) / rest)


def _means(x: np.ndarray, variable: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(variable, x, n) / np.maximum(np.bincount(variable, minlength=n), 1)


def _medians(x: np.ndarray, variable: np.ndarray, n: int) -> np.ndarray:
    found = np.full(n, np.median(x))
    for v in np.unique(variable):
        found[v] = np.median(x[variable == v])
    return found
