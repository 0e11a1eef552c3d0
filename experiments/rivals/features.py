"""Features of an irregular history for a table learner: a row per query, nothing seen after its origin.

Of each variable at the origin: the latest values, their ages and rates; exponentially weighted means,
and means, deviations and slopes over windows, all of lengths that are parts and multiples of the
horizon. A row has all of them of the variable that is asked for, a few of every other one, the lead
time, static covariates, and the time of day and of the year.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit

from latentode import SeriesDataset
from latentode.data import Scaling
from latentode.evaluation.backtest import BacktestPairs
from latentode.forecast import ForecastQueries

__all__ = ["Features", "Rows"]

LAGS = 5
HALF_LIVES = (1 / 16, 1 / 4, 1.0, 4.0)  # in horizons
WINDOWS = (1 / 4, 1.0, 4.0)
OF_OTHERS = 4  # the first features of a variable: last value, age, rate, fastest mean
DAY, YEAR = pd.Timedelta("1D"), pd.Timedelta("365.25D")


@dataclass(frozen=True)
class Rows:
    """What a learner is given.

    Args:
        x: features, NaN where there is none, `(rows, features)`; the first is the lead time, the second
            the variable.
        base: latest value of the variable asked for, its training mean where there is none, `(rows,)`.
        variable: index of it, likewise.
        y: what came true; in data units, as base.
    """

    x: np.ndarray
    base: np.ndarray
    variable: np.ndarray
    y: np.ndarray

    def take(self, places: np.ndarray) -> Rows:
        """Some of the rows."""
        return Rows(self.x[places], self.base[places], self.variable[places], self.y[places])


@dataclass(frozen=True)
class Features:
    """How rows are made.

    Args:
        scaling: fitted on training series; features are in its units.
        horizon: the longest lead time, in time units.
        context: how far back is looked, in time units.
    """

    scaling: Scaling
    horizon: float
    context: float = np.inf

    def rows(self, dataset: SeriesDataset, pairs: BacktestPairs) -> Rows:
        """The rows of questions, and what came true."""
        asked, n = pairs.queries, len(dataset.variables)
        places, cut = _cuts(asked)
        own = np.stack([self._of(dataset, *places, v) for v in range(n)], axis=1)
        seen = own[cut, asked.variable]
        others = own[:, :, :OF_OTHERS].reshape(len(own), -1)[cut] if n > 1 else seen[:, :0]
        lead = (asked.time - asked.origin) / self.horizon
        loc, scale = np.asarray(self.scaling.loc), np.asarray(self.scaling.scale)
        static = self.scaling.encode_static(dataset)[asked.series]
        drift = seen[:, 2] * (lead + seen[:, 1])
        since = (asked.origin - dataset.first[asked.series]) / self.horizon
        parts = [lead, asked.variable, drift, since, *seen.T, *others.T, *static.T, *_clock(pairs)]
        base = np.where(np.isnan(seen[:, 0]), 0.0, seen[:, 0])
        made = np.column_stack(parts).astype(np.float32)
        at = asked.variable
        return Rows(made, loc[at] + scale[at] * base, at, pairs.actual)

    def _of(
        self, dataset: SeriesDataset, series: np.ndarray, origin: np.ndarray, variable: int
    ) -> np.ndarray:
        """Features of one variable at cuts, shape `(cuts, features)`."""
        chosen = np.flatnonzero(dataset.variable == variable)
        order = chosen[np.lexsort((dataset.time[chosen], dataset.series[chosen]))]
        owner, time = dataset.series[order], dataset.time[order] / self.horizon
        value = self.scaling.scale_values(dataset.value[order], np.full(len(order), variable))
        now = origin / self.horizon
        end = _position(owner, time, series, now)
        begin = np.maximum(
            np.searchsorted(owner, series),
            _position(owner, time, series, now - self.context / self.horizon),
        )
        n = end - begin

        def latest(of: np.ndarray, lag: int) -> np.ndarray:
            there = n > lag
            return np.where(there, of[np.where(there, end - 1 - lag, 0)] if len(of) else 0.0, np.nan)

        last = latest(value, 0)
        age = now - latest(time, 0)
        lagged = [latest(value, k) for k in range(1, LAGS)]
        rates = [
            (latest(value, k) - latest(value, k + 1)) / (latest(time, k) - latest(time, k + 1))
            for k in range(LAGS - 1)
        ]
        means = [latest(_averages(owner, time, value, h), 0) - last for h in HALF_LIVES]
        parts = [last, age, rates[0], means[0], *[x - last for x in lagged], *rates[1:], *means[1:]]
        sums = [
            np.r_[0.0, np.cumsum(x)]
            for x in (np.ones_like(value), time, value, time * time, time * value, value**2)
        ]
        for w in (*WINDOWS, np.inf):
            start = np.maximum(
                begin, _position(owner, time, series, now - w) if np.isfinite(w) else begin
            )
            count, t, x, tt, tx, xx = (s[end] - s[start] for s in sums)
            with np.errstate(invalid="ignore", divide="ignore"):
                spread = tt - t * t / count
                slope = np.where(spread > 1e-9, (tx - t * x / count) / spread, np.nan)
                deviation = np.sqrt(np.maximum(xx / count - (x / count) ** 2, 0.0))
                parts += [x / count - last, slope, deviation, count]
        return np.column_stack(parts)


def _cuts(asked: ForecastQueries) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The different (series, origin) of queries, and which is each query's."""
    both, cut = np.unique(np.stack([asked.series, asked.origin]), axis=1, return_inverse=True)
    return (both[0].astype(np.int64), both[1]), cut


def _position(owner: np.ndarray, time: np.ndarray, series: np.ndarray, when: np.ndarray) -> np.ndarray:
    """How many of the sorted observations lie before or at `when` of a series."""
    n = len(owner)
    order = np.lexsort((np.arange(n + len(series)) >= n, np.r_[time, when], np.r_[owner, series]))
    asked = order >= n
    found = np.empty(len(series), dtype=np.int64)
    found[order[asked] - n] = np.cumsum(~asked)[asked]
    return found


@njit(cache=False)
def _averages(owner: np.ndarray, time: np.ndarray, value: np.ndarray, half_life: float) -> np.ndarray:
    """The exponentially weighted mean of a series' values up to each."""
    made, total, weight = np.empty_like(value), 0.0, 0.0
    for i in range(len(value)):
        if i > 0 and owner[i] == owner[i - 1]:
            kept = 2.0 ** (-(time[i] - time[i - 1]) / half_life)
        else:
            kept = 0.0
        total, weight = kept * total + value[i], kept * weight + 1.0
        made[i] = total / weight
    return made


def _clock(pairs: BacktestPairs) -> list[np.ndarray]:
    """Phases of the day and of the year at the time asked for, and of the day at the origin."""
    keys, found = pairs.keys, []
    stamps = [c for c in keys if pd.api.types.is_datetime64_any_dtype(keys[c])]
    for name in stamps:
        when = keys[name]
        midnight = pd.to_datetime(when.dt.date.astype(str), utc=when.dt.tz is not None)
        found.append(((when - midnight) / DAY).to_numpy())
        if name != "origin":
            found.append(when.dt.day_of_year.to_numpy() * (DAY / YEAR))
    return found
