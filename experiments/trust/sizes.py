"""What long series, many series and many questions cost, and whether new series are covered."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, Trainer

from latentode import LatentODEForecaster, ModelConfig, TrainingConfig
from latentode.data.report import inspect

__all__ = ["coverage", "inside_cost", "long_series", "many_series"]

PERIOD, PER_UNIT = 24.0, 60  # a cycle in time units, and rows in one


def wave(rows: int, seed: int = 0) -> pd.DataFrame:
    """One series of a noisy cycle, at times of its own."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, rows / PER_UNIT, rows))
    y = np.sin(2 * np.pi * t / PERIOD) + rng.normal(0, 0.2, rows)
    return pd.DataFrame({"time": t, "y": y})


def panel(series: int, rows: int) -> pd.DataFrame:
    """Many series of `rows` values each."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 24, (series, rows)), axis=1)
    y = np.sin(t / 3 + rng.uniform(0, 6, (series, 1))) + rng.normal(0, 0.1, t.shape)
    name = np.repeat(np.arange(series), rows)
    return pd.DataFrame({"id": name, "time": t.ravel(), "y": y.ravel()})


def one_epoch(horizon: float, **model: object) -> LatentODEForecaster:
    training = TrainingConfig(max_epochs=1)
    return LatentODEForecaster(horizon, None, ModelConfig(**model), training, verbose=False)


def alone(function: Callable[..., dict], *arguments: object) -> dict:
    """What a function finds in a process of its own, whose memory is then its own too."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return pool.submit(function, *arguments).result()


class Laps:
    """CPU seconds of one step after another, and the most memory so far."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self.begun = time.process_time()

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.found[f"{name}, CPU s"] = round(now - self.begun, 1)
        self.begun = now

    def table(self) -> dict[str, float]:
        seconds = sum(v for k, v in self.found.items() if k.endswith("CPU s"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {**self.found, "all, CPU s": round(seconds, 1), "most memory, GB": round(peak, 2)}


def _long_series(rows: int) -> dict:
    table, rng = wave(rows), np.random.default_rng(1)
    begin, end = (float(table["time"].iloc[i]) for i in (0, -1))
    laps = Laps()
    inspect(table)
    laps.lap("inspect")
    model = one_epoch(2.0).fit(table)
    laps.lap("fit of one epoch, residuals")
    model.predict(table, list(end + np.sort(rng.uniform(0, 2, 1000))))
    laps.lap("1,000 values ahead")
    model.predict(table, list(np.sort(rng.uniform(begin, end, 1000))))
    laps.lap("1,000 values inside")
    return laps.table()


def long_series(rows: int) -> dict:
    """One series of so many rows: inspected, fitted for an epoch, asked ahead and inside."""
    return alone(_long_series, rows)


def inside_cost(few: int, many: int, queries: int) -> dict:
    """CPU seconds of questions inside of one series, of a short one and of a long one.

    Both are asked the same, about the rows that both begin with.
    """
    table = wave(many)
    model = one_epoch(2.0).fit(table.head(few))
    inside = np.sort(
        np.random.default_rng(1).uniform(float(table["time"].iloc[0]), few / PER_UNIT * 0.9, queries)
    )
    found = {}
    for rows in (few, many):
        series, taken = table.head(rows), []
        for _ in range(5):
            begun = time.process_time()
            model.forecast(series, list(inside))
            taken.append(time.process_time() - begun)
        found[f"{rows} rows, CPU s"] = round(min(taken), 3)
    short, long = found.values()
    return {**found, "ratio": round(long / short, 2)}


class Epoch(Callback):
    """CPU seconds of an epoch's optimiser steps."""

    begun = taken = 0.0
    windows = 0

    def on_train_epoch_start(self, *_: object) -> None:
        self.begun = time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, *_: object) -> None:
        self.taken = round(time.process_time() - self.begun, 1)
        self.windows = trainer.datamodule.windows_per_epoch  # type: ignore[attr-defined]


def _many_series(series: int, rows: int) -> dict:
    table, epoch = panel(series, rows), Epoch()
    laps = Laps()
    model = one_epoch(4.0).fit(table, callbacks=[epoch])
    laps.lap("fit of one epoch")
    laps.found["of these the epoch's steps, s"] = epoch.taken
    laps.found["windows of that epoch"] = epoch.windows
    laps.found["memory so far, GB"] = laps.table()["most memory, GB"]
    ahead = pd.DataFrame({"id": np.arange(series)}).merge(
        pd.DataFrame({"time": 24 + np.linspace(0.08, 4, rows)}), how="cross"
    )
    model.predict(table, ahead)
    laps.lap(f"{len(ahead)} answers")
    return laps.table()


def many_series(series: int, rows: int) -> dict:
    """Many series: fitted for an epoch, and asked as many values as they have."""
    return alone(_many_series, series, rows)


def coverage(sizes: tuple[int, ...], repeats: int, asked: int = 200) -> dict:
    """Of 80 % intervals on new series, after calibrating on so many others; mean over draws of them.

    Errors of a series go together: each has a level of its own that no context tells, since what is
    forecast begins with a jump.
    """
    rng = np.random.default_rng(2)

    def series(names: range) -> pd.DataFrame:
        t = np.sort(rng.uniform(0, 10, (len(names), 20)), axis=1)
        jump = np.where(t > 6, rng.normal(0, 1, (len(names), 1)), 0)
        y = np.sin(t) + jump + rng.normal(0, 0.2, t.shape)
        name = np.repeat([f"s{i}" for i in names], 20)
        return pd.DataFrame({"id": name, "time": t.ravel(), "y": y.ravel()})

    model = one_epoch(4.0, latent_size=3, hidden_size=8).fit(series(range(100)))
    found: dict[str, float] = {"before": _inside(model, series(range(asked)))}
    for size in sizes:
        held = []
        for _ in range(repeats):
            model.calibrate(series(range(size)), exchangeable="series", cutoffs=[6.0])
            held.append(_inside(model, series(range(asked))))
        found[f"{size} series"] = round(float(np.mean(held)), 3)
    return found


def _inside(model: LatentODEForecaster, table: pd.DataFrame) -> float:
    """The share of values inside 80 % intervals; each series counts once."""
    pairs = model.backtest(table, quantiles=(0.1, 0.9), cutoffs=[6.0])
    within = pairs["actual"].between(pairs["q0.1"], pairs["q0.9"])
    return float(within.groupby(pairs["id"]).mean().mean())
