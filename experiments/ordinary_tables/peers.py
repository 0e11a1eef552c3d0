r"""Forecasters of a few lines, each told only what a practitioner knows of a table (`Facts`).

A peer answers `table.future` with `mean` and a column per quantile. Where a textbook gives a normal
distribution, as for least squares at a row $x$,

$$y \sim \mathcal N\big(x^\top c,\; s^2 (1 + x^\top (X^\top X + \lambda)^{-1} x)\big),$$

its quantiles are taken. A peer that does not suit a table, or is not installed, raises `Absent`.

References:
    Forecasting: principles and practice, chapter 5 (Hyndman and Athanasopoulos, 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats
from scipy.optimize import minimize_scalar
from scipy.signal import lombscargle
from tables import Facts, Table, clock

from latentode.data.cells.columns import quantile_name

__all__ = [
    "LEVELS",
    "PEERS",
    "Absent",
    "Normal",
    "Series",
    "answer",
    "columns",
    "each",
    "known",
    "normal",
    "regression",
    "seasonal_naive",
]

LEVELS = [round(0.05 * i, 2) for i in range(1, 20)]
RIDGE = 1e-3  # per column of unit scale
Normal = tuple[np.ndarray, np.ndarray]


class Absent(Exception):
    """Says why a peer has no answer to a table."""


@dataclass(frozen=True)
class Series:
    """One series: past times, values and known columns, and the times and known columns asked."""

    t: np.ndarray
    y: np.ndarray
    x: np.ndarray
    asked: np.ndarray
    x_asked: np.ndarray
    facts: Facts

    @property
    def periods(self) -> tuple[float, ...]:
        """Those told; the series' own where it is only known that there is one."""
        return (own_period(self.t, self.y),) if self.facts.own_cycle else self.facts.periods

    @property
    def gap(self) -> float:
        """The median time between two rows."""
        return float(np.median(np.diff(self.t)))


def answer(table: Table, mean: np.ndarray, quantiles: np.ndarray) -> pd.DataFrame:
    """The frame of a peer's forecasts, with its rows as those of `table.future`."""
    names = [quantile_name(level) for level in LEVELS]
    made = pd.DataFrame(quantiles, columns=names, index=table.future.index)
    return made.assign(mean=mean)


def normal(table: Table, mean: np.ndarray, std: np.ndarray) -> pd.DataFrame:
    """The same of normal distributions."""
    return answer(table, mean, mean[:, None] + std[:, None] * special.ndtri(LEVELS))


def each(table: Table, model: Callable[[Series], Normal]) -> pd.DataFrame:
    """Normal forecasts of a model that is fitted to each series by itself."""
    mean, std, names = np.empty(len(table.future)), np.empty(len(table.future)), known(table)
    pasts = dict(list(table.history.groupby("id")))
    for name, rows in table.future.groupby("id"):
        past, place = pasts[name], rows.index.to_numpy()
        x, x_asked = past[names].to_numpy(float), rows[names].to_numpy(float)
        t, y, at = clock(past["time"]), past["y"].to_numpy(float), clock(rows["time"])
        mean[place], std[place] = model(Series(t, y, x, at, x_asked, table.facts))
    return normal(table, mean, std)


def known(table: Table) -> list[str]:
    return list(table.schema.known_future)


def own_period(t: np.ndarray, y: np.ndarray) -> float:
    """The highest peak of the Lomb-Scargle periodogram, refined by least squares."""
    span = t[-1] - t[0]
    frequency = np.arange(1, len(t), 0.1) / span / 2
    power = lombscargle(t, y - y.mean(), 2 * np.pi * frequency)
    peak = frequency[power.argmax()]

    def left(shift: float) -> float:
        basis = np.column_stack([np.ones_like(t), waves(t, 1 / (peak + shift / span), 1)])
        return float(np.square(y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]).sum())

    found: Any = minimize_scalar(left, bounds=(-0.25, 0.25), method="bounded", options={"xatol": 1e-7})
    return float(1 / (peak + found.x / span))


def waves(t: np.ndarray, period: float, harmonics: int) -> np.ndarray:
    """Sines and cosines of a period, shape `(times, 2 * harmonics)`."""
    angle = 2 * np.pi * t[:, None] * np.arange(1, harmonics + 1) / period
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def last_value(one: Series) -> Normal:
    """A random walk whose steps are those of the past."""
    return np.full(len(one.asked), one.y[-1]), _step(one) * np.sqrt(one.asked - one.t[-1])


def _step(one: Series, slope: float = 0.0) -> float:
    gaps = np.diff(one.t)
    return float(np.sqrt(np.mean((np.diff(one.y) - slope * gaps) ** 2) / gaps.mean()))


def mean(one: Series) -> Normal:
    """Independent values about their mean."""
    spread = one.y.std(ddof=1) * np.sqrt(1 + 1 / len(one.y))
    return np.full(len(one.asked), one.y.mean()), np.full(len(one.asked), spread)


def linear_drift(one: Series) -> Normal:
    """A random walk with the slope from the first value to the last."""
    lead, span = one.asked - one.t[-1], one.t[-1] - one.t[0]
    slope = (one.y[-1] - one.y[0]) / span
    return one.y[-1] + slope * lead, _step(one, slope) * np.sqrt(lead * (1 + lead / span))


def seasonal_naive(one: Series) -> Normal:
    """The latest value of nearly the same phase of the longest cycle."""
    if not one.periods:
        raise Absent("no cycle")
    season = max(one.periods)

    def repeated(t: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
        off = np.abs((at[:, None] - t + season / 2) % season - season / 2)
        near = off <= off.min(axis=1, keepdims=True) + one.gap / 2
        return y[near.shape[1] - 1 - near[:, ::-1].argmax(axis=1)]

    ends = [e for e in one.t[0] + season * np.arange(1, 50) if e < one.t[-1]][-5:]
    errors = [np.zeros(0)]
    for end in ends:
        ahead = (one.t > end) & (one.t <= end + season)
        errors.append(one.y[ahead] - repeated(one.t[one.t <= end], one.y[one.t <= end], one.t[ahead]))
    spread = np.concatenate(errors)
    std = np.sqrt(np.mean(spread**2)) if len(spread) else one.y.std(ddof=1)
    return repeated(one.t, one.y, one.asked), std * np.sqrt(np.ceil((one.asked - one.t[-1]) / season))


def regression(x: np.ndarray, y: np.ndarray, x_asked: np.ndarray) -> Normal:
    """Ridge regression on columns, the first of which is constant."""
    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    x, x_asked = x / scale, x_asked / scale
    inverse = np.linalg.inv(x.T @ x + RIDGE * np.diag(np.arange(x.shape[1]) > 0))
    found = inverse @ x.T @ y
    left = max(1, len(y) - x.shape[1])
    spread = np.sqrt(np.square(y - x @ found).sum() / left)
    return x_asked @ found, spread * np.sqrt(1 + np.einsum("ij,jk,ik->i", x_asked, inverse, x_asked))


def harmonic(one: Series) -> Normal:
    """Trend, sines of the periods and known columns."""
    if not one.periods:
        raise Absent("no cycle")

    def basis(t: np.ndarray, x: np.ndarray) -> np.ndarray:
        cycles = [waves(t, p, h) for p, h in zip(one.periods, one.facts.harmonics, strict=True)]
        return np.column_stack([np.ones_like(t), t - one.t.mean(), x, *cycles])

    return regression(basis(one.t, one.x), one.y, basis(one.asked, one.x_asked))


def least_squares(table: Table) -> pd.DataFrame:
    """A straight line for each series, or the known columns for all of them together."""
    if not table.facts.pooled:
        return each(table, _line)
    both = [columns(rows, table) for rows in (table.fit, table.future)]
    return normal(table, *regression(both[0], table.fit["y"].to_numpy(float), both[1]))


def _line(one: Series) -> Normal:
    basis = [np.column_stack([np.ones_like(t), t - one.t.mean()]) for t in (one.t, one.asked)]
    return regression(basis[0], one.y, basis[1])


def columns(rows: pd.DataFrame, table: Table) -> np.ndarray:
    return np.column_stack([np.ones(len(rows)), rows[known(table)].to_numpy(float)])


def mean_and_weekday(table: Table) -> pd.DataFrame:
    """Poisson counts whose rate is the series' mean times the effect of the phase, pooled."""
    if not table.facts.counts:
        raise Absent("no counts")
    period, past = table.facts.periods[0], table.history
    own = past.groupby("id")["y"].mean()
    phase = pd.Series((clock(past["time"]) % period).round(), index=past.index)
    effect = past["y"].groupby(phase).sum() / past["id"].map(own).groupby(phase).sum()
    asked = pd.Series((clock(table.future["time"]) % period).round())
    rate = np.maximum(1e-3, (table.future["id"].map(own) * asked.map(effect)).to_numpy(float))
    return answer(table, rate, np.asarray(stats.poisson.ppf(np.array(LEVELS), rate[:, None])))


PEERS: dict[str, Callable[[Table], pd.DataFrame]] = {
    "last value": lambda table: each(table, last_value),
    "mean": lambda table: each(table, mean),
    "linear drift": lambda table: each(table, linear_drift),
    "seasonal naive": lambda table: each(table, seasonal_naive),
    "least squares": least_squares,
    "harmonic regression": lambda table: each(table, harmonic),
    "mean and weekday": mean_and_weekday,
}
