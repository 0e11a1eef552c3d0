"""Hostile inputs, kills, damaged files, full disks and large tables, counted; see README.md.

python experiments/trust/run.py [--smoke] [--out DIRECTORY] [--inputs N] [--only PART]
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hostile import Counts, hang, inputs, spreadsheets
from saving import damaged_files, full_disks, killed_fits, killed_saves, readers_beside_writers
from sizes import coverage, inside_cost, long_series, many_series

from latentode import LatentODEForecaster, ModelConfig, TrainingConfig

HERE = Path(__file__).parent
PARTS = (
    *("inputs", "saves", "fits", "readers", "damage", "disks"),
    *("long", "inside", "many", "coverage"),
)


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Twelve series of two variables at irregular times: in hours, and the same as datetimes."""
    rng, parts = np.random.default_rng(0), []
    for number in range(12):
        time = np.sort(rng.uniform(0, 24, 30)).round(3)
        x, y = np.sin(time / 3) + rng.normal(0, 0.1, 30), np.exp(rng.normal(0, 0.3, 30))
        part = pd.DataFrame({"id": f"p{number}", "time": time, "x": x, "y": y})
        parts.append(part.assign(y=part["y"].where(rng.random(30) < 0.6)))
    numbers = pd.concat(parts, ignore_index=True).round(4)
    stamps = pd.Timestamp("2024-04-01T00:00Z") + pd.to_timedelta(numbers["time"], unit="h")
    return numbers, numbers.assign(time=stamps.dt.round("s"))


def forecaster(horizon: float | str = 2.0, seed: int = 0, epochs: int = 3) -> LatentODEForecaster:
    """A small one."""
    model = ModelConfig(latent_size=3, hidden_size=8)
    training = TrainingConfig(max_epochs=epochs, windows_per_epoch=128, batch_size=16)
    return LatentODEForecaster(horizon, None, model, training, verbose=False, random_state=seed)


def hostile_inputs(folder: Path, n: int, numbers: pd.DataFrame, dated: pd.DataFrame) -> dict:
    """So many of them, a tenth made up by hypothesis, and what became of them."""
    counts, streams = Counts(), []
    for name, table, horizon in (("numbers", numbers, 2.0), ("dates", dated, "2h")):
        model = forecaster(horizon).fit(table, save_to=folder / name)
        (folder / f"files-{name}").mkdir()
        made = inputs({name: (model, folder / name)}, table, folder / f"files-{name}", len(streams))
        streams.append(made)
    before = signal.signal(signal.SIGALRM, hang)
    spreadsheets(counts, folder, n // 10)
    while counts.found.total() < n:
        for stream in streams:
            counts.call(*next(stream))
    signal.signal(signal.SIGALRM, before)
    for where, what in counts.examples.items():
        print(f"  {where}: {what}")
    return counts.table()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few of each, in seconds")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/trust")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many hostile inputs")
    parser.add_argument("--only", nargs="*", choices=PARTS, help="these parts; the others stay")
    arguments = parser.parse_args()
    smoke = arguments.smoke
    out = arguments.out or (Path("build/trust") if smoke else HERE)
    out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    kept = out / "results.json"
    results = json.loads(kept.read_text()) if arguments.only and kept.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        numbers, dated = tables()
        models = [forecaster(seed=seed, epochs=1).fit(numbers) for seed in (0, 1)]
        make = partial(forecaster, epochs=2 if smoke else 6)
        parts = {
            "inputs": lambda f: hostile_inputs(f, 60 if smoke else arguments.inputs, numbers, dated),
            "saves": lambda f: killed_saves(models, f / "m", 3 if smoke else 160),
            "fits": lambda f: killed_fits(make, numbers, f, 1 if smoke else 40, 1 if smoke else 20),
            "readers": lambda f: readers_beside_writers(models, f / "m", 10 if smoke else 500),
            "damage": lambda f: damaged_files(models[0], numbers, f / "m", 60 if smoke else 3000),
            "disks": lambda f: full_disks(make, models[0], numbers, f / "m"),
            "long": lambda f: long_series(3000 if smoke else 1_000_000),
            "inside": lambda f: inside_cost(*((500, 1000, 20) if smoke else (5000, 500_000, 2000))),
            "many": lambda f: many_series(*((40, 10) if smoke else (20_000, 50))),
            "coverage": lambda f: coverage(*(((10,), 1, 20) if smoke else ((10, 50, 200), 10))),
        }
        for name in arguments.only or PARTS:
            (folder / name).mkdir()
            begin = time.monotonic()
            results[name] = parts[name](folder / name)
            print(f"{name} ({time.monotonic() - begin:.0f} s): {json.dumps(results[name], indent=1)}")
    kept.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
