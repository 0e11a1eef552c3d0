"""Forecasters of other packages: Prophet, statsmodels, scikit-learn, LightGBM; absent if not installed.

Each is told what `peers` are told. Prophet and LightGBM belong to the extra `bench`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from peers import LEVELS, Absent, Normal, Series, answer, columns, each, known, regression
from tables import Table, clock

__all__ = ["PACKAGES"]

MOST_ROWS = 800  # that a Gaussian process is fitted to: its cost grows with the cube
DRAWS = 300  # of Prophet
NOISY = ("prophet", "prophet.plot", "cmdstanpy")  # loggers
TRENDS = ("llevel", "lldtrend", "lltrend")  # of UnobservedComponents
ORIGINS, TARGETS = 1500, 15  # of LightGBM's training: of all series together, and after each


def prophet(table: Table) -> pd.DataFrame:
    """Prophet, its cycles and known columns named; numbers stand for days."""
    for name in NOISY:
        logging.getLogger(name).disabled = True
    try:
        from prophet import Prophet
    except ImportError:
        raise Absent("not installed") from None
    quantiles, mean = np.empty((len(table.future), len(LEVELS))), np.empty(len(table.future))
    names, places = known(table), iter(table.future.groupby("id").indices.values())

    def model(one: Series) -> Normal:
        no = dict.fromkeys(("yearly_seasonality", "weekly_seasonality", "daily_seasonality"), False)
        found = Prophet(**no, uncertainty_samples=DRAWS)
        for i, (period, order) in enumerate(zip(one.periods, one.facts.harmonics, strict=True)):
            found.add_seasonality(f"cycle {i}", period, order)
        for name in names:
            found.add_regressor(name)
        past, future = _dated(one.t, one.x, names), _dated(one.asked, one.x_asked, names)
        found.fit(past.assign(y=one.y), seed=0)
        np.random.seed(0)  # noqa: NPY002, that of Prophet's draws
        place, draws = next(places), found.predictive_samples(future)["yhat"]
        quantiles[place] = np.quantile(draws, LEVELS, axis=1).T
        mean[place] = found.predict(future)["yhat"]
        return one.asked, one.asked

    each(table, model)
    return answer(table, mean, quantiles)


def _dated(t: np.ndarray, x: np.ndarray, names: list[str]) -> pd.DataFrame:
    stamp = pd.Timestamp("1950-01-01") + pd.to_timedelta(np.round(t * 86400), unit="s")
    return pd.DataFrame(x, columns=names).assign(ds=stamp)


def unobserved_components(table: Table) -> pd.DataFrame:
    """A local level, drift or trend, by AIC, with cycles and known columns, where there is a grid."""
    try:
        from statsmodels.tsa.statespace.structural import UnobservedComponents
    except ImportError:
        raise Absent("not installed") from None
    if table.facts.grid is None:
        raise Absent("no grid")

    def model(one: Series) -> Normal:
        here, ahead, step = _steps(one, table)
        y, x = np.full(here[-1] + 1, np.nan), np.zeros((ahead.max() + 1, one.x.shape[1]))
        y[here], x[here], x[ahead] = one.y, one.x, one.x_asked
        cycles = [
            {"period": p / step, "harmonics": min(h, int(p / step / 2))}
            for p, h in zip(one.periods, one.facts.harmonics, strict=True)
        ]
        parts: dict[str, Any] = {"freq_seasonal": cycles} if cycles else {}
        if x.shape[1]:
            parts |= {"exog": x[: len(y)], "mle_regression": False}
        size = np.nanstd(y) or 1.0
        models = [UnobservedComponents(y / size, level, **parts) for level in TRENDS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits: list[Any] = [m.fit(disp=False, maxiter=100) for m in models]
        fitted = min(fits, key=lambda fit: fit.aic)
        later = {"exog": x[len(y) :]} if x.shape[1] else {}
        found = fitted.get_forecast(len(x) - len(y), **later)
        place = ahead - len(y)
        return size * found.predicted_mean[place], size * found.se_mean[place]

    return each(table, model)


def _steps(one: Series, table: Table) -> tuple[np.ndarray, np.ndarray, float]:
    """Places of past and asked times on the grid, and its step in units of the clock."""
    grid = table.facts.grid
    if isinstance(grid, float):
        knots = np.arange(one.t[0], one.asked[-1] + grid / 2, grid)
    else:
        begin, end = (
            pd.Timestamp("1950-01-01") + pd.Timedelta(t, "D") for t in (one.t[0], one.asked[-1])
        )
        times = pd.date_range(begin.round("s"), end.round("s"), freq=grid)
        knots = clock(times.to_series())
    places = [np.abs(knots - t[:, None]).argmin(axis=1) for t in (one.t, one.asked)]
    return places[0], places[1], float((knots[-1] - knots[0]) / (len(knots) - 1))


def gaussian_process(table: Table) -> pd.DataFrame:
    """Matern and decaying periodic kernels, of what least squares on known columns leave."""
    if not known(table):
        return each(table, _process)
    basis, y = columns(table.fit, table), table.fit["y"].to_numpy(float)
    before, after = (regression(basis, y, columns(r, table))[0] for r in (table.history, table.future))
    left = table.history.assign(y=table.history["y"] - before)
    return each(replace(table, history=left), _process).add(after, axis=0)


def _process(one: Series) -> Normal:
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels

    t, y = one.t[-MOST_ROWS:], one.y[-MOST_ROWS:]
    gap, constant = one.gap, kernels.ConstantKernel
    kernel = constant(1.0, (1e-3, 1e4)) * kernels.Matern(10 * gap, (0.1 * gap, 1e5 * gap), nu=1.5)
    for period in one.periods:
        bounds: Any = (0.9 * period, 1.1 * period) if one.facts.own_cycle else "fixed"
        wave = kernels.ExpSineSquared(1.0, period, (0.1, 10.0), bounds)
        decay = kernels.RBF(30 * period, (2 * period, 1e4 * period))
        kernel += constant(1.0, (1e-4, 1e3)) * decay * wave
    kernel += kernels.WhiteKernel(0.1, (1e-8, 10.0))
    with warnings.catch_warnings():  # a parameter at its bound, such as no noise, is an answer too
        warnings.simplefilter("ignore")
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(t[:, None], y)
        found = process.predict(one.asked[:, None], return_std=True)
    return found[0], found[1]


def lightgbm(table: Table) -> pd.DataFrame:
    """Boosted trees of what was seen before a forecast origin; spread of errors on later origins."""
    try:
        from lightgbm import LGBMRegressor
    except ImportError:
        raise Absent("not installed") from None
    end = table.history["time"].max()
    span = clock(pd.Series([end, end + _step(table)]))
    windows = Windows(table, float(span[1] - span[0]))
    x, y, last_part = windows.training(np.random.default_rng(0))

    def fitted(rows: np.ndarray) -> Any:
        options: dict[str, Any] = {"n_estimators": 200, "learning_rate": 0.05, "num_leaves": 15}
        return LGBMRegressor(**options, n_jobs=1, verbose=-1, random_state=0).fit(x[rows], y[rows])

    errors = y[last_part] - fitted(~last_part).predict(x[last_part])
    off = np.quantile(errors - errors.mean(), LEVELS)
    asked, base, unit = windows.asked()
    mean = base + unit * fitted(np.full(len(y), True)).predict(asked)
    return answer(table, mean, mean[:, None] + unit[:, None] * off)


def _step(table: Table) -> Any:
    return table.horizon if isinstance(table.horizon, float) else pd.Timedelta(table.horizon)


@dataclass(frozen=True)
class Windows:
    """Rows of features: lead time, what was seen by an origin, phases and known columns when asked.

    Values are less the last one seen, in units of the standard deviation of what was seen.

    Args:
        table: whose series they are.
        horizon: the longest lead time of training, in units of the clock.
    """

    table: Table
    horizon: float

    def features(
        self, t: np.ndarray, y: np.ndarray, asked: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, float, float]:
        """Rows of a series seen at `t` and asked at `asked`, with the last value and the unit."""
        base, unit = y[-1], float(y.std()) or 1.0
        slope = np.polyfit(t - t[-1], y, 1)[0] if len(t) > 2 else 0.0
        seen = [(y[-k:].mean() - base) / unit for k in (3, 10, len(y))]
        parts = [asked - t[-1], slope * (asked - t[-1]) / unit, *x.T]
        for period in self.table.facts.periods:
            angle = 2 * np.pi * asked / period
            before = asked - period * np.ceil((asked - t[-1]) / period)
            parts += [np.sin(angle), np.cos(angle), (np.interp(before, t, y) - base) / unit]
        rows = [np.broadcast_to(part, asked.shape) for part in (*parts, *seen)]
        return np.column_stack(rows), base, unit

    def training(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, values, and which of them have the last fifth of a series' origins."""
        series = list(self.table.fit.groupby("id"))
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for _, rows in series:
            t, y = clock(rows["time"]), rows["y"].to_numpy(float)
            x, first = rows[known(self.table)].to_numpy(float), max(2, len(t) // 4)
            ends = np.arange(first, len(t))
            n = min(len(ends), max(5, ORIGINS // len(series)))
            for rank, end in enumerate(np.sort(rng.choice(ends, n, replace=False))):
                later = np.arange(end, len(t))[t[end:] <= t[end - 1] + self.horizon]
                later = np.sort(rng.permutation(later)[:TARGETS])
                made, base, unit = self.features(t[:end], y[:end], t[later], x[later])
                found.append((made, (y[later] - base) / unit, np.full(len(later), rank >= 0.8 * n)))
        made, values, late = (np.concatenate(part) for part in zip(*found, strict=True))
        return made, values, late

    def asked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features of `future`, with last values and units."""
        pasts = dict(list(self.table.history.groupby("id")))
        made: dict[int, tuple[np.ndarray, float, float]] = {}
        for name, rows in self.table.future.groupby("id"):
            past, x = pasts[name], rows[known(self.table)].to_numpy(float)
            found = self.features(
                clock(past["time"]), past["y"].to_numpy(float), clock(rows["time"]), x
            )
            made |= {i: (found[0][k], *found[1:]) for k, i in enumerate(rows.index)}
        parts = zip(*(made[i] for i in self.table.future.index), strict=True)
        rows, base, unit = (np.asarray(part) for part in parts)
        return rows, base, unit


PACKAGES: dict[str, Callable[[Table], pd.DataFrame]] = {
    "Prophet": prophet,
    "UnobservedComponents": unobserved_components,
    "Gaussian process": gaussian_process,
    "LightGBM": lightgbm,
}
