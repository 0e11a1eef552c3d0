r"""Shrinkage: how much of what training has learnt beyond the structural forecast is believed.

Of each variable the decoded correction is multiplied by a strength $s_v$, of a few the one whose mean
negative log-density of held-out values, or their mean error, is least. Held-out values have chosen the
weights too, and those of few series are hardly independent: there it is the smallest that is within one
standard error of the least, so that a correction which they do not clearly ask for is not made. That
error is of a difference of means over stretches of time. Of very few values nothing is believed.

Where of a series nothing was observed the strength is another, by the first values of held-out series,
each asked before any of them; of few series it is 0.

References:
    Classification and Regression Trees, section 3.4.3 (Breiman et al., 1984).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd

from latentode.data.batch import Series
from latentode.data.dataset import SeriesDataset
from latentode.evaluation.pairs import BacktestPairs
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import ForecastQueries

__all__ = ["STRENGTHS", "shrunk", "with_strength"]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
ERRORS: dict[str, Callable[[Forecast, np.ndarray], np.ndarray]] = {
    "likelihood": lambda answer, actual: -np.asarray(answer.log_prob(actual)),
    "mse": lambda answer, actual: np.square(np.asarray(answer.mean) - actual),
    "mae": lambda answer, actual: np.abs(np.asarray(answer.mean) - actual),
}
FEWEST_VALUES = 20  # of a variable in few series, of which fewer do not tell
ENOUGH = 8  # series that are enough to be judged by; else stretches of time of each


def shrunk(
    fitted: FittedForecaster, dataset: SeriesDataset, pairs: BacktestPairs, error: str = "likelihood"
) -> FittedForecaster:
    """The model with the strength that held-out values ask for.

    Args:
        fitted: trained; its network is left as it is. Without a structural block nothing changes.
        dataset: what `pairs` are of, held out of its training.
        pairs: what is asked.
        error: what is to be least: "likelihood" for the negative log-density, or "mse" or "mae" of the
            mean.
    """
    if fitted.engine.network.emission.structure is None or len(pairs.actual) == 0:
        return fitted
    variable = np.asarray(pairs.queries.variable)
    series, tried = fitted.series(dataset), with_strength(fitted, 0.0)
    losses = _losses(tried, series, pairs, ERRORS[error])
    found = fitted.engine.network.emission.strength.double().numpy().copy()
    stretch = _stretches(pairs)
    for v in np.unique(variable):
        own = variable == v
        of_variable = {s: loss[own] for s, loss in losses.items()}
        if stretch is None:
            found[v] = _best(of_variable)
        else:
            enough = _distinct(pairs, own) >= FEWEST_VALUES
            found[v] = _smallest(of_variable, stretch[own]) if enough else 0.0
    unseen = np.zeros_like(found)
    if stretch is None:
        first = _first_values(fitted, dataset)
        losses = _losses(tried, series, first, ERRORS[error])
        for v in np.unique(first.queries.variable):
            own = first.queries.variable == v
            unseen[v] = _best({s: loss[own] for s, loss in losses.items()})
    return with_strength(fitted, found, unseen)


def _losses(
    tried: FittedForecaster,
    series: Series,
    pairs: BacktestPairs,
    error: Callable[[Forecast, np.ndarray], np.ndarray],
) -> dict[float, np.ndarray]:
    """Of each pair the loss, by the strength of corrections; that of `tried` changes."""
    found = {}
    for strength in STRENGTHS:
        for own in tried.engine.networks:
            own.emission.strength.fill_(strength)
            own.emission.strength_unseen.fill_(strength)
        answer = tried.forecast_series(series, pairs.queries, pairs.keys)
        found[strength] = error(answer, pairs.actual).astype(np.float64)
    return found


def _first_values(fitted: FittedForecaster, dataset: SeriesDataset) -> BacktestPairs:
    """The values of each series' first horizon, asked when nothing was observed."""
    before = np.nextafter(dataset.first, -np.inf)[dataset.series]
    asked = np.flatnonzero(dataset.time <= before + fitted.horizon)
    of = (x[asked] for x in (dataset.series, dataset.variable, dataset.time, before))
    return BacktestPairs(ForecastQueries(*of), dataset.value[asked], pd.DataFrame(index=asked))


def with_strength(
    fitted: FittedForecaster, strength: np.ndarray | float, unseen: np.ndarray | float | None = None
) -> FittedForecaster:
    """The model whose corrections are multiplied by a strength, one of each variable or of all.

    That where nothing was observed may be another, `unseen`.
    """
    of = {"strength": strength, "strength_unseen": strength if unseen is None else unseen}
    network, *others = (deepcopy(own) for own in fitted.engine.networks)
    for own in (network, *others):
        for name, value in of.items():
            kept = getattr(own.emission, name)
            kept.copy_(kept.new_tensor(np.broadcast_to(value, kept.shape).copy()))
    engine = replace(fitted.engine, network=network, others=tuple(others))
    return replace(fitted, engine=engine)


def _distinct(pairs: BacktestPairs, own: np.ndarray) -> int:
    """How many values some pairs are of, each of which may be asked from several origins."""
    asked = pairs.queries
    return len(np.unique(np.stack([asked.series[own], asked.time[own]]), axis=1).T)


def _stretches(pairs: BacktestPairs) -> np.ndarray | None:
    """Whose errors go together: of a series those of an eighth of its time; None for many series."""
    queries = pd.DataFrame({"series": pairs.queries.series, "time": pairs.queries.time})
    by = queries.groupby("series")["time"]
    if by.ngroups >= ENOUGH:
        return None
    first, last = by.transform("min"), by.transform("max")
    part = ((queries["time"] - first) / (last - first).where(last > first, 1.0) * ENOUGH).astype(int)
    return (queries["series"] * ENOUGH + part.clip(upper=ENOUGH - 1)).to_numpy()


def _best(losses: dict[float, np.ndarray]) -> float:
    """The strength of the least mean loss, of equals the smallest."""
    means = {s: loss.mean() for s, loss in losses.items()}
    return min(means, key=lambda s: (not np.isfinite(means[s]), means[s]))


def _smallest(losses: dict[float, np.ndarray], group: np.ndarray) -> float:
    """The smallest strength within one standard error of the best.

    Args:
        losses: by strength, of each pair; infinite where a value cannot be.
        group: of each pair, whose errors go together.
    """
    means, best = {s: loss.mean() for s, loss in losses.items()}, _best(losses)
    for strength in sorted(losses):
        if strength == best or not np.isfinite(means[strength]):
            continue
        if strength > best:
            break
        gain = pd.Series(losses[strength] - losses[best]).groupby(group).agg(["mean", "size"])
        n, weight = len(gain), gain["size"] / gain["size"].sum()
        if n < 2:
            return strength
        off = weight * (gain["mean"] - means[strength] + means[best])
        error = np.sqrt(n / (n - 1) * float(np.square(off).sum()))
        if means[strength] - means[best] <= error:
            return strength
    return best
