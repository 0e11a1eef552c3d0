"""Simulated tables, whose truth is known: lines, cycles, columns known ahead, counts, walks.

They go on for three horizons after the forecast origin, lines for six.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from tables import JUMP, OWN_SCALE, RATE, Facts, Table, divide

__all__ = ["SIMULATED"]


def panel(n: int, series: Callable[[int], pd.DataFrame | dict[str, np.ndarray]]) -> pd.DataFrame:
    """Rows of n series, one after the other."""
    return pd.concat([pd.DataFrame(series(i)).assign(id=i) for i in range(n)], ignore_index=True)


def irregular(rng: np.random.Generator, *stretches: tuple[float, float, int]) -> np.ndarray:
    """So many moments from one time to another, uniform within each stretch."""
    return np.concatenate([np.sort(rng.uniform(*stretch)) for stretch in stretches])


def lines(seed: int, smoke: bool) -> Table:
    """Sixty straight lines of own level and slope, twenty of them forecast, ten ahead of thirty."""
    rng, n = np.random.default_rng(seed), 12 if smoke else 60

    def series(i: int) -> dict[str, np.ndarray]:
        t = irregular(rng, (0, 40, 40), (40, 90, 50))
        return {"time": t, "y": rng.normal(0, 20) + rng.normal() * t + rng.normal(size=90)}

    return divide(panel(n, series), 30.0, 10.0, held_out=lambda i: i >= n * 2 // 3)


def one_line(seed: int, smoke: bool) -> Table:
    """One straight line of 200 irregular points, a quarter as far ahead."""
    rng = np.random.default_rng(seed)
    t = irregular(rng, (0, 200, 200), (200, 350, 150))
    return divide(
        pd.DataFrame({"id": 0, "time": t, "y": 10 + t / 2 + 2 * rng.normal(size=350)}), 200.0, 50.0
    )


def sine(seed: int, smoke: bool) -> Table:
    """A noisy sine, 200 irregular points over ten periods, two periods ahead."""
    rng, period = np.random.default_rng(seed), 20.0
    t = np.concatenate([irregular(rng, (0, 200, 200)), np.arange(200.5, 320.5, 0.5)])
    y = 5 + 2 * np.sin(2 * np.pi * t / period) + 0.3 * rng.normal(size=len(t))
    rows = pd.DataFrame({"id": 0, "time": t, "y": y})
    return divide(rows, 200.0, 40.0, Facts((period,), (2,)))


def daily_and_weekly(seed: int, smoke: bool) -> Table:
    """Half a year of hours with a daily and a weekly cycle, gaps and two outages, a week ahead."""
    rng, weeks, begin = np.random.default_rng(seed), 6 if smoke else 25, pd.Timestamp("2023-01-02")
    hour = np.arange(168 * (weeks + 3))
    day = 2 * np.sin(2 * np.pi * hour / 24) + 0.8 * np.cos(4 * np.pi * hour / 24)
    y = 20 + 0.002 * hour + day - 1.5 * (hour // 24 % 7 >= 5) + 0.5 * rng.normal(size=len(hour))
    rows = pd.DataFrame({"id": 0, "time": begin + pd.to_timedelta(hour, unit="h"), "y": y})
    lost = rng.random(len(hour)) < 0.3
    lost |= ((hour > 400) & (hour < 550)) | ((hour > 2500) & (hour < 2600))
    cut = begin + pd.Timedelta(168 * weeks - 1, "h")
    return divide(rows[~lost | (rows["time"] > cut)], cut, "7D", Facts((1.0, 7.0), (4, 10), grid="h"))


def _moments(rng: np.random.Generator, n: int) -> np.ndarray:
    """Of every 13 whole numbers ten, in order."""
    return np.sort(rng.choice(n * 13 // 10, n, replace=False)).astype(float)


def _regressed(rng: np.random.Generator, n: int, shift: int) -> dict[str, np.ndarray]:
    """y = 10 + 3 promo + 2 temp + e with e autoregressive."""
    t, e = _moments(rng, n), 0.3 * rng.normal(size=n)
    for k in range(1, n):
        e[k] += 0.8 * e[k - 1]
    promo = (rng.random(n) < 0.2).astype(float)
    temp = np.sin(2 * np.pi * (t + 13 * shift) / 50) + 0.7 * rng.normal(size=n)
    return {"time": t, "promo": promo, "temp": temp, "y": 10 + 3 * promo + 2 * temp + e}


def known_columns(seed: int, smoke: bool, many: bool = False) -> Table:
    """One series of 600 rows that two columns known ahead explain but for a tenth; or 60 of 60 rows."""
    rng, (n, rows, cut, horizon) = np.random.default_rng(seed), (1, 900, 779.0, 130.0)
    if many:
        n, rows, cut, horizon = 8 if smoke else 60, 117, 79.0, 24.0
    return divide(
        panel(n, lambda i: _regressed(rng, rows, i)),
        cut,
        horizon,
        Facts(grid=1.0, pooled=True),
        known_future=("promo", "temp"),
        effects={"promo": 3.0, "temp": 2.0},
    )


def slow_response(seed: int, smoke: bool) -> Table:
    """A level that follows an on/off schedule with a response time of three; another column is idle."""
    rng = np.random.default_rng(seed)
    t = _moments(rng, 900)
    on = np.searchsorted(np.cumsum(rng.integers(15, 35, 80)), t) % 2.0
    x = np.zeros(900)
    for k in range(1, 900):
        kept = np.exp(-(t[k] - t[k - 1]) / 3)
        x[k] = kept * x[k - 1] + (1 - kept) * 4 * on[k - 1]
    idle, y = rng.normal(size=900), 10 + x + 0.3 * rng.normal(size=900)
    rows = pd.DataFrame({"id": 0, "time": t, "heating": on, "idle": idle, "y": y})
    return divide(rows, 779.0, 130.0, Facts(grid=1.0, pooled=True), known_future=("heating", "idle"))


def counts(seed: int, smoke: bool) -> Table:
    """Fifty items that sell none, one or two a day, more at weekends; 14 days ahead of 70."""
    rng, begin = np.random.default_rng(seed), pd.Timestamp("2024-01-01")

    def series(i: int) -> pd.DataFrame:
        day = np.arange(112)
        rate = np.exp(rng.normal(-1, 0.5)) * np.where(day % 7 >= 5, 2.2, 0.7)
        stamp, sold = begin + pd.to_timedelta(day, unit="D"), np.minimum(rng.poisson(rate), 2)
        return pd.DataFrame({"time": stamp, "y": sold, "truth": rate})[rng.random(112) < 0.85]

    facts = Facts((7.0,), (3,), grid="D", counts=True)
    rows, cut = panel(10 if smoke else 50, series), begin + pd.Timedelta("69D")
    return divide(rows, cut, "14D", facts, extra=["truth"], judged=RATE)


def mixed_scales(seed: int, smoke: bool) -> Table:
    """Thirty noisy sines about a level, of sizes from a thousandth to a million."""
    rng = np.random.default_rng(seed)

    def series(i: int) -> dict[str, np.ndarray]:
        t, size = irregular(rng, (0, 50, 40), (50, 70, 16)), 10 ** rng.uniform(-3, 6)
        y = 3 + np.sin(t / 4 + rng.uniform(0, 2 * np.pi)) + 0.1 * rng.normal(size=56)
        return {"time": t, "y": size * y, "scale": np.full(56, size)}

    facts = Facts((8 * np.pi,), (1,))
    rows = panel(8 if smoke else 30, series)
    return divide(rows, 40.0, 10.0, facts, extra=["scale"], judged=OWN_SCALE)


def random_walks(seed: int, smoke: bool) -> Table:
    """Sixty random walks, of which twenty are forecast: nothing is better than the last value."""
    rng, n = np.random.default_rng(seed), 12 if smoke else 60

    def series(i: int) -> dict[str, np.ndarray]:
        t = irregular(rng, (0, 56, 168))
        steps = np.sqrt(np.diff(t, prepend=0)) * rng.normal(size=168)
        return {"time": t, "y": 100 + rng.normal(0, 5) + np.cumsum(steps)}

    return divide(panel(n, series), 32.0, 8.0, held_out=lambda i: i >= n * 2 // 3)


def exact_sines(seed: int, smoke: bool) -> Table:
    """Sixty sines without noise, each of its own period, of which twenty are forecast."""
    rng, n = np.random.default_rng(seed), 12 if smoke else 60

    def series(i: int) -> dict[str, np.ndarray]:
        t, period = irregular(rng, (0, 56, 168)), rng.uniform(8, 14)
        phase = 2 * np.pi * t / period + rng.uniform(0, 2 * np.pi)
        return {"time": t, "y": rng.uniform(0.5, 2) * np.sin(phase)}

    own, rows = Facts(harmonics=(1,), own_cycle=True), panel(n, series)
    return divide(rows, 32.0, 8.0, own, lambda i: i >= n * 2 // 3, judged=JUMP)


def own_periods(seed: int, smoke: bool) -> Table:
    """Forty noisy sines of 90 irregular points, each of its own period from 5 to 15, 15 ahead of 60."""
    rng = np.random.default_rng(seed)

    def series(i: int) -> dict[str, np.ndarray]:
        t, period = irregular(rng, (0, 60, 90), (60, 105, 68)), rng.uniform(5, 15)
        phase = 2 * np.pi * t / period + rng.uniform(0, 2 * np.pi)
        return {"time": t, "y": np.sin(phase) + 0.1 * rng.normal(size=158)}

    own = Facts(harmonics=(1,), own_cycle=True)
    return divide(panel(8 if smoke else 40, series), 60.0, 15.0, own)


SIMULATED: dict[str, Callable[[int, bool], Table]] = {
    "lines": lines,
    "one_line": one_line,
    "sine": sine,
    "daily_and_weekly": daily_and_weekly,
    "known_columns": known_columns,
    "known_columns_of_many": partial(known_columns, many=True),
    "slow_response": slow_response,
    "counts": counts,
    "mixed_scales": mixed_scales,
    "random_walks": random_walks,
    "exact_sines": exact_sines,
    "own_periods": own_periods,
}
