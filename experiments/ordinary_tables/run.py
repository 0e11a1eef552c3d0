"""Tables that most people bring: straight lines, cycles, known columns. What do simple models say?

    python experiments/ordinary_tables/run.py [--smoke] [--tables lines sine] [--seeds 0 1 2]
        [--epochs 60] [--out FOLDER]

Each table is simulated once per seed. The default forecaster, without and with its structural block
(`structure="mixture"`), is fitted to it beside the classical model that is right for it (least squares
or harmonic regression, each told the form of the truth), the last value, the series mean and, where
there is a cycle, the seasonal naive forecast. Mean absolute errors and the coverage of 80 % intervals.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LinearRegression

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig

HERE = Path(__file__).parent
STRUCTURES = {"latent ODE, structural": "state-space"}


@dataclass(frozen=True)
class Table:
    """What is learned from, what is known at the forecast origin, and what came true.

    Args:
        fit: rows to learn from.
        history: rows of the series that are forecast, up to the forecast origin.
        future: their later rows, with `y`.
        schema: of all three.
        model: arguments of the forecaster.
        columns: of rows, the numbers in which y is linear but for noise.
        season: period of the seasonal naive forecast; None where there is no cycle.
        pooled: whether one regression serves all series, or each has its own.
    """

    fit: pd.DataFrame
    history: pd.DataFrame
    future: pd.DataFrame
    schema: Schema
    columns: Callable[[pd.DataFrame], np.ndarray]
    model: dict[str, Any] = field(default_factory=dict)
    season: float | None = None
    pooled: bool = False


def clock(frame: pd.DataFrame) -> np.ndarray:
    """Times as numbers, in hours where they are dates."""
    if pd.api.types.is_numeric_dtype(frame["time"]):
        return frame["time"].to_numpy(dtype=float)
    return ((frame["time"] - pd.Timestamp("2023-01-02")) / pd.Timedelta("1h")).to_numpy(dtype=float)


def waves(t: np.ndarray, period: float, harmonics: int) -> np.ndarray:
    """Sines and cosines of a period, shape `(times, 2 * harmonics)`."""
    angle = 2 * np.pi * t[:, None] * np.arange(1, harmonics + 1) / period
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def lines(seed: int, smoke: bool) -> Table:
    """Sixty straight lines of own level and slope at irregular times; twenty are forecast."""
    rng, n = np.random.default_rng(seed), 12 if smoke else 60
    parts = []
    for i in range(n):
        t = np.sort(rng.uniform(0, 40, 40))
        y = rng.normal(0, 20) + rng.normal() * t + rng.normal(size=40)
        parts.append(pd.DataFrame({"id": i, "time": t, "y": y}))
    rows = pd.concat(parts, ignore_index=True)
    new = rows[rows["id"] >= n * 2 // 3]
    return Table(
        rows[rows["id"] < n * 2 // 3],
        new[new["time"] <= 30],
        new[new["time"] > 30],
        Schema(id="id", targets=("y",)),
        lambda f: clock(f)[:, None],
    )


def one_line(seed: int, smoke: bool) -> Table:
    """One straight line of 200 irregular points, a quarter as far ahead."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 250, 250))
    rows = pd.DataFrame({"id": 0, "time": t, "y": 10 + 0.5 * t + 2 * rng.normal(size=250)})
    past, future = rows[t <= 200], rows[t > 200]
    schema = Schema(id="id", targets=("y",))
    return Table(past, past, future, schema, lambda f: clock(f)[:, None], {"horizon": 50.0})


def sine(seed: int, smoke: bool) -> Table:
    """A noisy sine, 200 irregular points over ten periods, two periods ahead."""
    rng, period = np.random.default_rng(seed), 20.0
    t = np.r_[np.sort(rng.uniform(0, 200, 200)), np.linspace(200, 240, 81)[1:]]
    y = 5 + 2 * np.sin(2 * np.pi * t / period) + 0.3 * rng.normal(size=280)
    rows = pd.DataFrame({"id": 0, "time": t, "y": y})
    schema = Schema(id="id", targets=("y",), cycles=(period,))
    basis = lambda f: waves(clock(f), period, 1)  # noqa: E731
    return Table(rows[:200], rows[:200], rows[200:], schema, basis, {}, period)


def daily_and_weekly(seed: int, smoke: bool) -> Table:
    """An hourly series with a daily and a weekly cycle and gaps, a week ahead."""
    rng, weeks = np.random.default_rng(seed), 6 if smoke else 26
    t = np.arange(0, 168.0 * weeks)
    kept = rng.random(len(t)) > 0.3
    kept &= ~((t > 500) & (t < 600))
    day = np.sin(2 * np.pi * t / 24) + 0.4 * np.cos(4 * np.pi * t / 24)
    weekend = np.where((t // 24) % 7 >= 5, -1.5, 0.0)
    y = 20 + 0.002 * t + 2 * day + weekend + 0.5 * rng.normal(size=len(t))
    stamp = pd.Timestamp("2023-01-02") + pd.to_timedelta(t, unit="h")
    rows = pd.DataFrame({"id": 0, "time": stamp, "y": y})
    last = t >= 168.0 * (weeks - 1)
    past, schema = rows[kept & ~last], Schema(id="id", targets=("y",), cycles=("24h", "7D"))

    def basis(f: pd.DataFrame) -> np.ndarray:
        hours = clock(f)
        return np.column_stack([hours, waves(hours, 24, 4), waves(hours, 168, 6)])

    return Table(past, past, rows[last], schema, basis, {"horizon": "7D"}, 168.0)


def known_columns(seed: int, smoke: bool) -> Table:
    """y = 10 + 3 promo + 2 temp + autocorrelated noise; both columns are known ahead."""
    return _known(seed, [700], 600.0)


def known_columns_of_many(seed: int, smoke: bool) -> Table:
    """The same of 60 short series."""
    return _known(seed, [80] * (10 if smoke else 60), 80.0)


def _known(seed: int, sizes: list[int], end: float) -> Table:
    rng, parts = np.random.default_rng(seed), []
    for i, n in enumerate(sizes):
        t = np.sort(rng.choice(np.arange(int(1.3 * n)), n, replace=False)).astype(float)
        promo = (rng.random(n) < 0.2).astype(float)
        temp = np.sin(2 * np.pi * (t + 13 * i) / 50) + 0.7 * rng.normal(size=n)
        e = 0.3 * rng.normal(size=n)
        for k in range(1, n):
            e[k] += 0.8 * e[k - 1]
        y = 10 + 3 * promo + 2 * temp + e
        parts.append(pd.DataFrame({"id": i, "time": t, "promo": promo, "temp": temp, "y": y}))
    rows = pd.concat(parts, ignore_index=True)
    limit = parts[0]["time"].iloc[600] if len(sizes) == 1 else end
    past, future = rows[rows["time"] < limit], rows[rows["time"] >= limit]
    schema = Schema(id="id", targets=("y",), known_future=("promo", "temp"))
    basis = lambda f: f[["promo", "temp"]].to_numpy(dtype=float)  # noqa: E731
    return Table(past, past, future, schema, basis, pooled=True)


TABLES = {
    f.__name__: f
    for f in (lines, one_line, sine, daily_and_weekly, known_columns, known_columns_of_many)
}


def classical(table: Table) -> dict[str, np.ndarray]:
    """Forecasts of `table.future` by simple models, by name."""
    future, last = table.future, table.history.groupby("id")["y"].last()
    found = {
        "last value": future["id"].map(last).to_numpy(),
        "mean": future["id"].map(table.history.groupby("id")["y"].mean()).to_numpy(),
        "regression": regression(table),
    }
    if table.season is not None:
        found["seasonal naive"] = seasonal_naive(table.history, future, table.season)
    return found


def regression(table: Table) -> np.ndarray:
    """Least squares on the columns that the truth is linear in."""

    def fitted(past: pd.DataFrame, future: pd.DataFrame) -> np.ndarray:
        line = LinearRegression().fit(table.columns(past), past["y"])
        return line.predict(table.columns(future))

    if table.pooled:
        return fitted(table.fit, table.future)
    found = pd.Series(0.0, index=table.future.index)
    for name, rows in table.future.groupby("id"):
        found[rows.index] = fitted(table.history[table.history["id"] == name], rows)
    return found.to_numpy()


def seasonal_naive(history: pd.DataFrame, future: pd.DataFrame, season: float) -> np.ndarray:
    """The value of the last season whose phase is nearest, of one series."""
    t, y = clock(history), history["y"].to_numpy()
    y, t = y[t > t.max() - season], t[t > t.max() - season]
    off = np.abs((clock(future)[:, None] - t + season / 2) % season - season / 2)
    return y[off.argmin(axis=1)]


def forecast(table: Table, structure: str | None, epochs: int, seed: int) -> pd.DataFrame:
    """The default forecaster's answers, in the order of `table.future`."""
    patience = TrainingConfig().patience
    model = LatentODEForecaster(
        **table.model,
        model=ModelConfig(structure=structure),
        training=TrainingConfig(max_epochs=epochs, patience=patience),
        verbose=False,
        random_state=seed,
    ).fit(table.fit, table.schema)
    asked = table.future.drop(columns="y")
    made = model.predict(table.history, asked, quantiles=(0.1, 0.5, 0.9))
    return asked[["id", "time"]].merge(made, on=["id", "time"], how="left")


def measure(table: Table, epochs: int, seed: int) -> dict[str, dict[str, float]]:
    """Errors of every model, and coverage and CPU seconds of those that have them."""
    y = table.future["y"].to_numpy()
    found = {n: {"MAE": float(np.abs(y - m).mean())} for n, m in classical(table).items()}
    for name, structure in STRUCTURES.items():
        begin = time.process_time()
        made = forecast(table, structure, epochs, seed)
        inside = (y >= made["q0.1"].to_numpy()) & (y <= made["q0.9"].to_numpy())
        found[name] = {
            "MAE": float(np.abs(y - made["mean"].to_numpy()).mean()),
            "coverage of 80 %": float(inside.mean()),
            "CPU seconds": time.process_time() - begin,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="smaller tables, one epoch")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/ordinary_tables")
    arguments = parser.parse_args()
    folder = arguments.out or (Path("build/ordinary_tables") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    epochs, seeds = (1, [0]) if arguments.smoke else (arguments.epochs, arguments.seeds)
    results = {}
    for name in arguments.tables:
        each = [measure(TABLES[name](s, arguments.smoke), epochs, s) for s in seeds]
        frames = [pd.DataFrame(e).T for e in each]
        means = sum(frames[1:], frames[0]) / len(frames)
        print(f"{name}, mean of seeds {seeds}\n{means.round(3).to_string(na_rep='')}\n", flush=True)
        results[name] = {n: r.dropna().to_dict() for n, r in means.iterrows()}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
