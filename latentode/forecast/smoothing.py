r"""Smoothing: times inside a history, answered from both of their sides.

A forecast from the last observation before a time t says how a path goes on from the past, jointly for
t and for the next observations of the same variable, at $t_1, \dots, t_J$. Their normal scores have the
correlations of the residual process (`latentode.forecast.residuals`), and the latter are known, so the
score at t is

$$N(r^\top R^{-1} u,\ 1 - r^\top R^{-1} r),$$

with u the scores of the values observed, R their correlations and r those with the score at t. Nearer
to an observation r is larger and the answer sharper; where departures do not last, nothing changes.

A structural block needs no such correlations: its smoother knows what came before and after, at any
distance. What is decoded then corrects the smoothed location and deviation as it would the forecast's.

References:
    Gaussian Processes for Machine Learning (Rasmussen and Williams, 2006), section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from latentode.data.batch import Series
from latentode.data.cells.time_axis import Duration
from latentode.data.dataset import SeriesDataset
from latentode.data.queries import At, QueryTimes, query_times, times_along
from latentode.errors import check_flag
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import (
    ForecastQueries,
    chosen_variables,
    queries_at,
    warn_of_guesses,
)
from latentode.forecast.residuals import ScoreTransform, matern
from latentode.model.structure import Outlook

__all__ = ["forecast_along", "forecast_at", "forecast_queries", "forecast_question"]

WINDOWS = 4  # context lengths that a structural block looks at around times inside a history
AFTER = 4  # observations that are looked at: further ones are hidden behind them
NUGGET = 1e-3  # of correlations: keeps weights small where observations all but coincide
LEAST_SPREAD = 1e-3
FURTHEST_SEEN = 4.75  # a score further out is that of an outlier, and taken as this


def forecast_question(
    fitted: FittedForecaster,
    question: tuple[SeriesDataset, At],
    count: int | None = None,
    variables: Sequence[str] | None = None,
    smooth: bool = True,
    parts: bool = False,
) -> Forecast:
    """The forecast that a question asks for.

    Args:
        fitted: the model.
        question: histories and what is asked of them, as its reader reads them.
        count: where a duration is asked, how many times up to it.
        variables: which variables; all by default.
        smooth: as for `forecast_at`.
        parts: likewise.
    """
    check_flag("smooth", smooth)
    dataset, asked = question
    places = query_times(dataset, asked, count)
    chosen = chosen_variables(fitted.reader.schema, variables)
    return forecast_at(fitted, dataset, places, chosen, smooth, parts)


def forecast_at(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    places: QueryTimes,
    chosen: np.ndarray,
    smooth: bool = True,
    parts: bool = False,
) -> Forecast:
    """The forecast of variables at places in time, ahead of histories or inside them.

    Args:
        fitted: the model.
        dataset: histories, as `fitted` reads them.
        places: the series and times that are asked for.
        chosen: indices of the variables.
        smooth: whether times inside a history are answered from both of their sides.
        parts: whether the forecast is to know its components, where the model has a structural block.

    Warns:
        UserWarning: as `warn_of_guesses` does.
    """
    return forecast_queries(fitted, dataset, *queries_at(dataset, places, chosen), smooth, parts)


def forecast_queries(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    queries: ForecastQueries,
    keys: pd.DataFrame,
    smooth: bool = True,
    parts: bool = False,
) -> Forecast:
    """As `forecast_at`, of queries that are called by a row of `keys` each."""
    warn_of_guesses(dataset, queries, fitted.horizon)
    if fitted.engine.network.emission.structure is None:
        return (_conditioned if smooth else FittedForecaster.forecast)(fitted, dataset, queries, keys)
    series, outlook = fitted.series(dataset), None
    inside = smooth and bool((queries.time < series.last[queries.series]).any())
    if len(queries) and (inside or parts):  # else the network asks its structural block itself
        outlook = _outlook(fitted, series, queries, smooth)
    made = fitted.forecast_series(series, queries, keys, outlook)
    structure = fitted.structural_parts(outlook, queries.variable) if parts else None
    return replace(made, structure=structure)


def _outlook(
    fitted: FittedForecaster, series: Series, queries: ForecastQueries, smooth: bool
) -> Outlook:
    """What the structural block says of queries; where `smooth`, of what lies inside from both sides.

    It sees a context length before and two after, cut at places counted back from a series' end.
    """
    found, context = fitted.engine.outlook(series, queries), fitted.engine.context_length
    if not smooth:
        return found
    last = series.last[queries.series]
    whole = np.maximum(np.floor((last - queries.time) / context) - 2, 0)
    origin = last - whole * context
    after = _after(series.dataset, queries)[0]
    inside = np.nonzero(after >= 0)[0]
    inside = inside[series.dataset.time[after[inside]] <= origin[inside]]
    if not len(inside):
        return found
    wide = replace(fitted.engine, context_length=WINDOWS * context)
    seen = wide.outlook(series, replace(queries, origin=origin).take(inside))
    places = torch.from_numpy(np.r_[np.arange(len(queries)), inside])
    newest = torch.zeros(len(queries), dtype=torch.long)
    newest[places] = torch.arange(len(places))
    return Outlook.join([found, seen]).each(lambda x: x[newest])


def forecast_along(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    ahead: Duration | None = None,
    count: int = 60,
    parts: bool = False,
) -> Forecast:
    """The forecast along each series, every time answered from what had been seen by then.

    Args:
        fitted: the model.
        dataset: histories, as `fitted` reads them.
        ahead: how far ahead of the last observation; one horizon by default.
        count: how many evenly spaced times per series (fewer where dates or integers repeat).
        parts: as for `forecast_at`.
    """
    horizon = fitted.horizon if ahead is None else fitted.reader.axis.duration(ahead, "ahead")
    places = times_along(dataset, horizon, count)
    chosen = np.arange(len(dataset.variables))
    return forecast_at(fitted, dataset, places, chosen, smooth=False, parts=parts)


def _conditioned(
    fitted: FittedForecaster, dataset: SeriesDataset, queries: ForecastQueries, keys: pd.DataFrame
) -> Forecast:
    """The forecast of queries, those before an observation of their variable conditioned on it.

    Args:
        fitted: the model; without residuals, nothing is conditioned on later observations.
        dataset: histories, as `fitted` reads them.
        queries: what is asked.
        keys: what to call the queries, a row each.
    """
    after = _after(dataset, queries)
    for rank in after:  # none is further than a horizon from its origin: so far forecasts were trained
        known = np.nonzero(rank >= 0)[0]
        far = dataset.time[rank[known]] > queries.origin[known] + fitted.horizon
        rank[known[far]] = -1
    n, some = len(queries), np.nonzero((after >= 0).any(axis=0))[0]
    if fitted.residuals is None or len(some) == 0:
        return fitted.forecast(dataset, queries, keys)
    observed = after[:, some]
    beside = np.tile(some, AFTER)
    place = np.where(observed >= 0, observed, 0).reshape(-1)
    time = np.where(observed.reshape(-1) >= 0, dataset.time[place], queries.time[beside])
    every = queries.take(np.r_[np.arange(n), beside])
    every = replace(every, time=np.r_[queries.time, time])
    names = keys.iloc[np.r_[np.arange(n), beside]].reset_index(drop=True)
    answer = fitted.forecast(dataset, every, names)
    seen = answer.take(n + np.arange(len(beside))).scores(dataset.value[place])
    score = np.r_[np.zeros(n), np.clip(seen, -FURTHEST_SEEN, FURTHEST_SEEN)]
    rows = np.vstack([some, n + np.arange(len(beside)).reshape(AFTER, -1)])
    shift, spread = np.zeros(n), np.ones(n)
    shift[some], spread[some] = _revised(answer, every.time, score, rows, observed >= 0)
    before = answer.take(np.arange(n))
    curves = None if before.score_transform is None else before.score_transform.curves
    return replace(before, score_transform=ScoreTransform(shift, spread, curves))


def _revised(
    answer: Forecast, time: np.ndarray, score: np.ndarray, rows: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the scores at `rows[0]` given those at the others, where they are there."""
    joint = answer.joint
    assert joint is not None  # a fitted model's forecasts always have one
    means, variance = answer.distribution.mean.numpy(), answer.distribution.variance.numpy()
    departures, decoded = means - means.mean(axis=0), variance.mean(axis=0)
    total = np.sqrt(decoded + means.var(axis=0))
    last = np.sqrt(joint.lasting(decoded) * decoded) / total
    gap = np.abs(time[rows][:, None] - time[rows][None])
    k = matern(gap / joint.length[rows[0]])
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


def _after(dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
    """Places of the next observations of each query's own variable, `(AFTER, queries)`; -1 for none."""
    order = np.lexsort((dataset.time, dataset.variable, dataset.series))
    n_variables = len(dataset.variables)
    group = (dataset.series * n_variables + dataset.variable)[order]
    own = queries.series * n_variables + queries.variable
    both = np.lexsort(
        (
            np.r_[np.zeros(len(order)), np.ones(len(own))],  # an observation at the time itself is past
            np.r_[dataset.time[order], queries.time],
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
    good = (place < len(order)) & (group[inside] == own)
    return np.where(good, order[inside], -1)
