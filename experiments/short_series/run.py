"""One short series, of ten kinds: is it forecast as well as by the best simple rule, and honestly?

    python experiments/short_series/run.py [--smoke] [--kinds line walk] [--rows 12 30 80] [--seeds 20]
        [--epochs 0] [--out FOLDER]

Each series has times of its own and is forecast a quarter as far as it has rows, by the forecaster
with its defaults, of which only the number of epochs is said: 0 for the structural forecast alone. The
rules are the last value, the mean, and the line of least squares; `over the best` is the error over
that of the rule that does best for a kind and a number of rows, with hindsight.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from latentode import LatentODEForecaster, TrainingConfig

HERE = Path(__file__).parent
AHEAD = 4  # rows for one that is forecast

Noise = np.random.Generator


def _ar(t: np.ndarray, rng: Noise) -> np.ndarray:
    y, kept = np.zeros(len(t)), np.exp(-np.diff(t) / 5)
    for i, k in enumerate(kept):
        y[i + 1] = k * y[i] + np.sqrt(1 - k**2) * rng.normal()
    return y


def _wild(t: np.ndarray, rng: Noise, place: float) -> np.ndarray:
    y = rng.normal(size=len(t))
    y[int(place * (_rows(len(t)) - 1))] += 30.0
    return y


def _walk(t: np.ndarray, rng: Noise) -> np.ndarray:
    return np.cumsum(np.sqrt(np.diff(t, prepend=0)) * rng.normal(size=len(t)))


KINDS: dict[str, Callable[[np.ndarray, Noise], np.ndarray]] = {
    "line": lambda t, rng: 0.3 * t + rng.normal(size=len(t)),
    "level": lambda t, rng: rng.normal(size=len(t)),
    "walk": _walk,
    "walk that drifts": lambda t, rng: 0.3 * t + _walk(t, rng),
    "local level": lambda t, rng: 0.3 * _walk(t, rng) + rng.normal(size=len(t)),
    "autoregression": _ar,
    "sine": lambda t, rng: 3 * np.sin(t / 3) + rng.normal(size=len(t)),
    "bend": lambda t, rng: 0.5 * np.minimum(t, t[-1] / 2) + rng.normal(size=len(t)),
    "level, wild in its midst": lambda t, rng: _wild(t, rng, 0.5),
    "level, wild at its end": lambda t, rng: _wild(t, rng, 1.0),
}


RULES = {
    "last value": lambda t, y, ahead: y[-1],
    "mean": lambda t, y, ahead: y.mean(),
    "least squares": lambda t, y, ahead: np.polyval(np.polyfit(t, y, 1), ahead),
}


def _rows(every: int) -> int:
    """Of how many rows, those ahead included, a forecast may know."""
    return every - every // (AHEAD + 1)


def measured(kind: str, rows: int, seed: int, epochs: int) -> dict[str, float]:
    """Mean absolute errors of one series, and how many of the values 80 % intervals hold."""
    rng, every = np.random.default_rng([seed, rows]), rows + rows // AHEAD
    t = np.sort(rng.uniform(0, every, every))
    frame = pd.DataFrame({"time": t, "y": 50 + KINDS[kind](t, rng)})
    past, ahead = frame[:rows], frame[rows:]
    actual = ahead["y"].to_numpy()
    begun = time.process_time()
    model = LatentODEForecaster(
        float(t[-1] - t[rows - 1]), training=TrainingConfig(max_epochs=epochs), verbose=False
    ).fit(past)
    made = model.predict(past, ahead["time"].tolist())
    told = past["time"].to_numpy(), past["y"].to_numpy(), ahead["time"].to_numpy()
    return {
        "latent ODE": float(np.abs(made["mean"] - actual).mean()),
        **{name: float(np.abs(rule(*told) - actual).mean()) for name, rule in RULES.items()},
        "inside 80 %": float(((made["q0.1"] <= actual) & (actual <= made["q0.9"])).mean()),
        "CPU seconds": time.process_time() - begun,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="one seed of a kind, twelve rows")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--rows", nargs="+", type=int, default=[12, 30, 80])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if asked.smoke:
        asked.kinds, asked.rows, asked.seeds = ["line"], [12], 1
    found = {}
    for kind in asked.kinds:
        for rows in asked.rows:
            of_seeds = [measured(kind, rows, seed, asked.epochs) for seed in range(asked.seeds)]
            row = pd.DataFrame(of_seeds).mean()
            row["over the best"] = row["latent ODE"] / row[list(RULES)].min()
            found[f"{kind}, {rows} rows"] = row.round(3).to_dict()
            print(f"{kind}, {rows} rows:", found[f"{kind}, {rows} rows"], flush=True)
    table = pd.DataFrame(found).T
    summary = {
        "over the best, geometric mean": round(float(np.exp(np.log(table["over the best"]).mean())), 3),
        "inside 80 %, mean": round(float(table["inside 80 %"].mean()), 3),
    }
    print(summary)
    results = {"epochs": asked.epochs, "seeds": asked.seeds, "series": found, "summary": summary}
    (asked.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
