r"""Smoothing: times inside a history, answered from both of their sides.

A forecast from the last observation before a time t says how a path goes on from the past, jointly for
t and for the next observations of the same variable, at $t_1, \dots, t_J$. Their normal scores have the
correlations of the residual process (`latentode.forecast.residuals`), and the latter are known, so the
score at t is

$$N(r^\top R^{-1} u,\ 1 - r^\top R^{-1} r),$$

with u the scores of the values observed, R their correlations and r those with the score at t. Nearer
to an observation r is larger and the answer sharper; where departures do not last, nothing changes.

References:
    Gaussian Processes for Machine Learning (Rasmussen and Williams, 2006), section 2.2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import special

from latentode.data.dataset import SeriesDataset
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast, ForecastQueries
from latentode.forecast.residuals import Residuals, ScoreTransform, matern

__all__ = ["smoothed"]

AFTER = 4  # observations that are looked at: further ones are hidden behind them
NUGGET = 1e-3  # of correlations: keeps weights small where observations all but coincide
LEAST_SPREAD = 1e-3
RAREST = 1e-6  # the probability that a score is cut off at


def smoothed(
    fitted: FittedForecaster, dataset: SeriesDataset, asked: ForecastQueries, keys: pd.DataFrame
) -> Forecast:
    """The forecast of queries, those before an observation of their variable revised by it.

    Args:
        fitted: the model; without residuals, nothing is revised.
        dataset: histories, as `fitted` reads them.
        asked: the queries.
        keys: what to call them.
    """
    after = _after(dataset, asked, fitted.horizon)
    residuals, n = fitted.residuals, len(asked.series)
    some = np.nonzero((after >= 0).any(axis=0))[0]
    if residuals is None or len(some) == 0:
        return fitted.answer(dataset, asked, keys)
    seen = after[:, some]
    beside = np.tile(some, AFTER)
    place = np.where(seen >= 0, seen, 0).reshape(-1)
    every = ForecastQueries(
        np.r_[asked.series, asked.series[beside]],
        np.r_[asked.variable, asked.variable[beside]],
        np.r_[asked.time, np.where(seen.reshape(-1) >= 0, dataset.time[place], asked.time[beside])],
        np.r_[asked.origin, asked.origin[beside]],
    )
    names = keys.iloc[np.r_[np.arange(n), beside]].reset_index(drop=True)
    answer = fitted.answer(dataset, every, names)
    actual = np.r_[np.zeros(n), dataset.value[place]]
    score = special.ndtri(np.clip(answer.cdf(actual), RAREST, 1 - RAREST))
    rows = np.vstack([some, n + np.arange(len(beside)).reshape(AFTER, -1)])
    found = _conditioned(residuals, answer, every, score, rows, seen >= 0)
    shift, spread = np.zeros(n), np.ones(n)
    shift[some], spread[some] = found
    before = answer.take(np.arange(n))
    curves = None if before.revision is None else before.revision.curves
    return replace(before, revision=ScoreTransform(shift, spread, curves))


def _conditioned(
    residuals: Residuals,
    answer: Forecast,
    asked: ForecastQueries,
    score: np.ndarray,
    rows: np.ndarray,
    there: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the scores at `rows[0]` given those at the others, where they are there."""
    means, variance = answer.distribution.mean.numpy(), answer.distribution.variance.numpy()
    departures, decoded = means - means.mean(axis=0), variance.mean(axis=0)
    total = np.sqrt(decoded + means.var(axis=0))
    unit = 1.0 if answer.joint is None else answer.joint.unit
    last = np.sqrt(residuals.lasting(decoded * np.square(unit), asked.variable) * decoded) / total
    gap = np.abs(asked.time[rows][:, None] - asked.time[rows][None])
    k = matern(gap / residuals.lengths(asked.variable)[rows[0]])
    apart = (departures / total)[:, rows]
    shared = np.einsum("siq,sjq->ijq", apart, apart) / len(means)
    correlation = shared + last[rows][:, None] * last[rows][None] * k
    full = np.vstack([np.ones(len(rows[0]), dtype=bool), there])
    correlation = np.where(full[:, None] & full[None], correlation, 0.0)
    correlation[np.arange(len(rows)), np.arange(len(rows))] = 1.0
    r, among = correlation[0, 1:].T, correlation[1:, 1:].transpose(2, 0, 1)
    weight = np.linalg.solve(among + NUGGET * np.eye(AFTER), r[..., None])[..., 0]
    known = np.where(there, score[rows[1:]], 0.0).T
    rest = 1 - (weight * r).sum(axis=1)
    return (weight * known).sum(axis=1), np.sqrt(np.maximum(rest, LEAST_SPREAD**2))


def _after(dataset: SeriesDataset, asked: ForecastQueries, horizon: float) -> np.ndarray:
    """Positions of the next observations of each query's own variable, `(AFTER, queries)`; -1 for none.

    None is further than a horizon from the query's origin: that far the forecast was trained.
    """
    order = np.lexsort((dataset.time, dataset.variable, dataset.series))
    n_variables = len(dataset.variables)
    group = (dataset.series * n_variables + dataset.variable)[order]
    own = asked.series * n_variables + asked.variable
    both = np.lexsort(
        (
            np.r_[np.zeros(len(order)), np.ones(len(own))],  # an observation at the time itself is past
            np.r_[dataset.time[order], asked.time],
            np.r_[group, own],
        )
    )
    before = np.cumsum(both < len(order))
    first = np.empty(len(own), dtype=np.int64)
    mine = both >= len(order)
    first[both[mine] - len(order)] = before[mine]
    place = first + np.arange(AFTER)[:, None]
    inside = np.minimum(place, max(len(order) - 1, 0))
    if len(order) == 0:
        return np.full(place.shape, -1)
    time = dataset.time[order][inside]
    good = (place < len(order)) & (group[inside] == own) & (time <= asked.origin + horizon)
    return np.where(good, order[inside], -1)
