"""What values of each variable look like, and which family of distributions forecasts them best.

The families that a variable's values allow are compared by the density that an untrained structural
forecast gives held-out values, all in units of the table, or of whole numbers by the probability.
Normal is what is left unless another is better by more than a trifle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentode.data.dataset import SeriesDataset
from latentode.forecast.forecast import Forecast

__all__ = ["KINDS", "Family", "best_families", "log_masses", "looks_like"]

BETTER = 0.02  # by how many nats a value another family has to be better than normal
FEW = 50.0  # median of whole numbers from which they are as good as continuous
FEWEST_TRANSFORMED = 20  # values; a mean grows with the exponent of a variance, which few tell badly
TOLD = 1e-9  # a probability that a difference of two still tells
EVEN = 0.25  # of its mean: no count of events varies less, but a sensor of coarse steps does
SKEWED = 3.0  # ratio of the 95 % to the 5 % quantile of positive values from which logarithms may pay


@dataclass(frozen=True)
class Family:
    """How a variable's values may be taken to scatter.

    Args:
        kind: what its values look like.
        likelihood: of `latentode.nn.likelihoods.LIKELIHOODS`.
        transform: of `Schema.transforms`; None for none.
    """

    kind: str
    likelihood: str
    transform: str | None = None


NORMAL = Family("any value", "normal")
KINDS: dict[str, tuple[Family, ...]] = {
    "0 or 1": (Family("0 or 1", "bernoulli"),),
    "count": (Family("count", "poisson"), Family("count", "negative-binomial")),
    # What is small in its unit only is no share of anything, but may be skewed.
    "share": (
        Family("share", "normal", "logit"),
        Family("share", "beta"),
        Family("positive and skewed", "normal", "log"),
    ),
    "positive and skewed": (Family("positive and skewed", "normal", "log"),),
    "any value": (),
}

Judge = Callable[[Mapping[str, Family]], pd.Series]


def looks_like(value: np.ndarray) -> str:
    """What a variable's values look like: a key of `KINDS`.

    Example:
        >>> [looks_like(np.array(x)) for x in ([0.0, 1, 1], [0.0, 4, 2], [0.1, 0.7], [20.0, 21, 20])]
        ['0 or 1', 'count', 'share', 'any value']
    """
    if len(value) == 0 or value.min() == value.max():
        return "any value"
    if np.isin(value, (0.0, 1.0)).all():
        return "0 or 1"
    whole = value.min() >= 0 and (value == np.round(value)).all() and np.median(value) < FEW
    if whole and value.var() > EVEN * value.mean():
        return "count"
    if value.min() > 0 and value.max() < 1:
        return "share"
    low, high = np.quantile(value, (0.05, 0.95))
    return "positive and skewed" if value.min() > 0 and high > SKEWED * low else "any value"


def best_families(tables: Sequence[SeriesDataset], judge: Judge) -> dict[str, Family]:
    """The family of each variable that another than normal forecasts better.

    Args:
        tables: training series, and held-out ones if there are any; variables that the schema
            transforms are left as they are.
        judge: given families of some variables, the others being normal, the mean log-density of
            held-out values of each variable in units of the table; a variable may be missing.

    Returns:
        Families by variable; those that stay normal have none.
    """
    allowed: dict[str, tuple[Family, ...]] = {}
    for v, name in enumerate(tables[0].variables):
        if name not in tables[0].schema.transforms:
            values = np.concatenate([t.value[t.variable == v] for t in tables])
            few = len(values) < FEWEST_TRANSFORMED
            kinds = KINDS[looks_like(values)] if any(_changes(t, v) for t in tables) else ()
            allowed[name] = tuple(own for own in kinds if own.transform is None or not few)
    found = {name: own[0] for name, own in allowed.items() if own and own[0].kind == "0 or 1"}
    open_ = {name: own for name, own in allowed.items() if own and name not in found}
    if not open_:
        return found
    usual = judge(found)
    best = {name: (float(usual.get(name, np.inf)) + BETTER, NORMAL) for name in open_}
    for rank in range(max(len(own) for own in open_.values())):
        tried = {name: own[rank] for name, own in open_.items() if rank < len(own)}
        gains = judge(found | tried)
        for name, family in tried.items():
            best[name] = max(best[name], (float(gains.get(name, -np.inf)), family), key=lambda b: b[0])
    return found | {name: family for name, (_, family) in best.items() if family is not NORMAL}


def log_masses(forecast: Forecast, actual: np.ndarray) -> pd.Series:
    """The logarithm of each value's density, or of its probability where all of a variable are whole.

    A density of numbers that are nearly all zero may be above 1, which no probability is: by it a
    normal distribution would be ahead of every family of counts.

    Args:
        forecast: of the values.
        actual: what they are.

    Returns:
        By the variable of each.
    """
    found = pd.Series(forecast.log_prob(actual), forecast.keys["variable"].to_numpy())
    whole = pd.Series(actual == np.round(actual), found.index).groupby(level=0).transform("all")
    mass = forecast.cdf(actual + 0.5) - forecast.cdf(actual - 0.5)
    return found.mask(whole.to_numpy() & (mass > TOLD), np.log(np.maximum(mass, TOLD)))


def _changes(table: SeriesDataset, variable: int) -> bool:
    """Whether a variable changes within any series: whole numbers that never do count nothing."""
    chosen = table.variable == variable
    values = pd.Series(table.value[chosen]).groupby(table.series[chosen])
    return bool((values.max() > values.min()).any())
