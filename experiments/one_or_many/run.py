"""One long series, or thousands of short ones: do the defaults suit either, and find families?

    python experiments/one_or_many/run.py [--smoke] [--parts long many families] [--kinds counts shares]
        [--out FOLDER]

- **long**: one series of 50,000 rows at irregular times, with a daily cycle, a level that wanders and
  noise: how it is validated, CPU seconds, errors by lead to three horizons beside the last value and
  the mean of the time of day; CPU seconds of a training step with and without a column known ahead.
- **many**: series of ten rows of own level and slope; 1,500 and 5,000 of them learned from, the same
  new ones forecast from moments between observations.
- **families**: of tables whose values are counts, sizes, shares, prices and a level with noise, minus
  the log-density of later values under `likelihood="auto"` beside every family by hand.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig

HERE = Path(__file__).parent
LEADS = (0.25, 1.0, 2.0, 3.0)  # horizons
TRANSFORMS = ("log", "logit")  # with a normal likelihood
STEPS = 8  # epochs of which steps are timed
NEW = 500  # series that are forecast and not learned from

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="small tables, one epoch")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--kinds", nargs="+", help="of values, among families; what is left out stays")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/one_or_many")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.out or (Path("build/one_or_many") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in arguments.parts:
        results.setdefault(name, {})
        for what, figures in PARTS[name](arguments.smoke, arguments.kinds):
            print(
                f"{name}, {what}: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items()), flush=True
            )
            results[name][what] = figures
        file.write_text(json.dumps(results, indent=1) + "\n")


def long(smoke: bool, _: object = None) -> Iterator[tuple[str, Figures]]:
    """One series of 50,000 rows."""
    rows = hourly(3_000 if smoke else 50_000)
    past, future = rows.iloc[: len(rows) * 9 // 10], rows.iloc[len(rows) * 9 // 10 :]
    model, spent = fitted(past[["time", "load"]], Schema(targets=("load",)), smoke)
    held_out = model.leaderboard_.query("variable == 'load'")["n"].iloc[0]
    horizon = model.horizon_
    yield (
        "fit",
        {"rows": len(past), "CPU seconds": spent, "held-out values": int(held_out), "horizon": horizon},
    )
    errors = _by_lead(model, past, future, horizon)
    of_day = past.groupby(past["time"].dt.hour)["load"].mean()
    for lead, own in errors.groupby("lead"):
        mean = of_day.reindex(own["time"].dt.hour).to_numpy()
        actual = own["actual"]
        inside = actual.between(own["q0.1"], own["q0.9"])
        yield (
            f"to {lead:g} horizons",
            {
                "MAE": float((actual - own["mean"]).abs().mean()),
                "last value's": float((actual - own["last"]).abs().mean()),
                "time-of-day mean's": float((actual - mean).abs().mean()),
                "inside 80 %": float(inside.mean()),
            },
        )
    plain = _step(past[["time", "load"]], Schema(targets=("load",)))
    known = _step(past, Schema(targets=("load",), known_future=("warm",)))
    yield "step", {"CPU ms": 1e3 * plain, "with a known column": 1e3 * known, "ratio": known / plain}


def hourly(n: int) -> pd.DataFrame:
    """`time`, `load`, and `warm`, known ahead and without effect."""
    rng = np.random.default_rng(0)
    hours = np.sort(rng.uniform(0, 0.7 * n, n))
    drift = np.cumsum(rng.normal(size=n) * 0.04)
    load = 20 + drift + 2 * np.sin(2 * np.pi * hours / 24) + 0.5 * rng.normal(size=n)
    warm = 10 + 5 * np.sin(2 * np.pi * hours / 24 / 365) + rng.normal(size=n)
    stamps = pd.Timestamp("2019-01-01") + pd.to_timedelta(hours * 3600, unit="s")
    return pd.DataFrame({"time": stamps.round("s"), "load": load, "warm": warm}).drop_duplicates("time")


def fitted(
    table: pd.DataFrame, schema: Schema, smoke: bool, horizon: Any = None, **model: Any
) -> tuple[LatentODEForecaster, float]:
    """A forecaster with its defaults but for what is named, and the CPU seconds of its fit."""
    training = TrainingConfig(max_epochs=1, windows_per_epoch=64) if smoke else TrainingConfig()
    made = LatentODEForecaster(horizon, model=ModelConfig(**model), training=training, verbose=False)
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.fit(table, schema)
    return made, time.process_time() - begin


def _by_lead(
    model: LatentODEForecaster, past: pd.DataFrame, future: pd.DataFrame, horizon: float
) -> pd.DataFrame:
    """Forecasts from twenty moments of the later rows, by how many horizons ahead they are at most."""
    rows, parts, step = pd.concat([past, future])[["time", "load"]], [], pd.Timedelta(hours=horizon)
    end = future["time"].iloc[-1] - 3 * step
    for moment in pd.date_range(future["time"].iloc[0], end, periods=20):
        seen = rows[rows["time"] <= moment]
        asked = rows[(rows["time"] > moment) & (rows["time"] <= moment + 3 * step)]
        asked = asked.iloc[:: max(1, len(asked) // 100)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = model.predict(seen, at=asked["time"].tolist(), quantiles=(0.1, 0.9))
        ahead = (asked["time"] - moment).to_numpy() / step
        place = np.searchsorted(LEADS, ahead).clip(max=len(LEADS) - 1)
        parts.append(
            made.assign(
                time=asked["time"].to_numpy(),
                actual=asked["load"].to_numpy(),
                last=seen["load"].iloc[-1],
                lead=np.take(LEADS, place),
            )
        )
    return pd.concat(parts, ignore_index=True)


class Clock(Callback):
    """CPU seconds from the end of one training step to that of the next, within epochs."""

    def __init__(self) -> None:
        self.spent: list[float] = []
        self.last: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last = None

    def on_train_batch_end(self, *called: Any) -> None:
        now = time.process_time()
        self.spent += [] if self.last is None else [now - self.last]
        self.last = now


def _step(table: pd.DataFrame, schema: Schema) -> float:
    """CPU seconds of a training step, its batch included: the median of some hundred."""
    clock, training = Clock(), TrainingConfig(max_epochs=STEPS, windows_per_epoch=512)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LatentODEForecaster(training=training, verbose=False).fit(table, schema, callbacks=[clock])
    return float(np.median(clock.spent))


def many(smoke: bool, _: object = None) -> Iterator[tuple[str, Figures]]:
    """Short series of own level and slope; new ones forecast beyond a moment."""
    rng = np.random.default_rng(8)
    sizes, new = ((40, 80), 20) if smoke else ((1_500, 5_000), NEW)
    n = max(sizes) + new
    at = np.sort(rng.uniform(0, 10, (n, 10)), 1)
    level, slope = rng.normal(0, 1, (n, 1)), rng.normal(0, 0.3, (n, 1))
    y = level + slope * at + 0.2 * rng.standard_normal((n, 10))
    keys = {"id": np.repeat(np.arange(n), 10), "time": at.ravel(), "y": y.ravel()}
    rows = pd.DataFrame(keys)
    test = rows[rows["id"] >= max(sizes)]
    for size in sizes:
        model, spent = fitted(rows[rows["id"] < size], Schema(id="id"), smoke, horizon=2.5)
        made = model.backtest(test, cutoffs=[5.0, 6.0, 7.0], quantiles=(0.1, 0.9))
        inside = made["actual"].between(made["q0.1"], made["q0.9"])
        yield (
            f"{size} series",
            {
                "MAE": float((made["actual"] - made["mean"]).abs().mean()),
                "inside 80 %": float(inside.mean()),
                "epochs": len(model.history_),
                "CPU seconds": spent,
            },
        )


def families(smoke: bool, kinds: list[str] | None = None) -> Iterator[tuple[str, Figures]]:
    """Minus the mean log-density of later values, by family."""
    for name, (table, by_hand) in _kinds(20 if smoke else 60).items():
        if kinds and name not in kinds:
            continue
        cut = table["time"].quantile(0.8)
        past, future = table[table["time"] <= cut], table[table["time"] > cut]
        horizon = float(table["time"].max() - cut)
        found = {}
        for family in ("auto", *by_hand):
            own, transform = ("normal", family) if family in TRANSFORMS else (family, None)
            schema = Schema(id="id", targets=("y",), transforms={"y": transform} if transform else {})
            model, _ = fitted(past, schema, smoke, horizon=horizon, likelihood=own)
            asked = future[["id", "time"]]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                forecast = model.forecast(past, asked)
            both = forecast.keys.merge(future, on=["id", "time"])
            found[family] = -float(np.mean(forecast.log_prob(both["y"].to_numpy())))
        yield name, found


def _kinds(n: int) -> dict[str, tuple[pd.DataFrame, tuple[str, ...]]]:
    """Tables of n series by what their values are, and the families that could be named by hand."""
    rng, rows = np.random.default_rng(3), 50
    at = np.sort(rng.uniform(0, 50, (n, rows)), 1)
    own = rng.normal(0, 0.5, (n, 1))
    moving = own + 0.4 * np.sin(2 * np.pi * at / 12)
    logit = moving + 0.3 * rng.normal(size=at.shape)
    values = {
        "counts": (rng.poisson(np.exp(0.3 + moving)), ("normal", "poisson", "negative-binomial")),
        "skewed sizes": (
            np.exp(2 + 1.5 * moving + 0.4 * rng.normal(size=at.shape)),
            ("normal", "log", "log-normal"),
        ),
        "shares": (1 / (1 + np.exp(-2 * logit)), ("normal", "beta", "logit")),
        "prices": (
            100 * np.exp(np.cumsum(0.02 * rng.normal(size=at.shape), 1)),
            ("normal", "log", "student-t"),
        ),
        "level and noise": (moving + 0.3 * rng.normal(size=at.shape), ("normal", "student-t")),
    }
    keys = {"id": np.repeat(np.arange(n), rows), "time": at.ravel()}
    return {k: (pd.DataFrame({**keys, "y": np.ravel(v)}), own) for k, (v, own) in values.items()}


PARTS = {"long": long, "many": many, "families": families}

if __name__ == "__main__":
    with redirect_stderr(StringIO()):
        main()
