"""A first look at clinical files: how long `latentode inspect` takes, and from a folder to a forecast.

    python experiments/first_look/run.py [--smoke] [--first-fit] [--out FOLDER]

Every command is run as a user runs it, a process of its own from the start of Python to its end, on one
core, and measured by what the system says of it: seconds of CPU, and seconds that passed (more where
the core is shared). The least of three runs. 100,000 laboratory events in MIMIC's layout, and a folder
of records in the layout of the PhysioNet Challenge 2012, are simulated. `--first-fit` measures only the
first fit on a machine, which makes machine code and keeps it, and the one after it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
ITEMS = {50931: "mg/dL", 50912: "mg/dL", 50971: "mEq/L", 50983: "mEq/L", 51006: "mg/dL", 51222: "g/dL"}
COMMAND = [sys.executable, "-c", "from latentode.cli import main; main()"]
ROLES = ["--id", "subject_id", "--time", "charttime", "--variable", "itemid", "--value", "valuenum"]
RECORDS = ["--adapter", "physionet2012"]
NO_CYCLES = ["--cycles", "none"]
LEARNING = ["--structure", "last-value", "--lr", "3e-3"]


@dataclass(frozen=True)
class Taken:
    """What a command took and said."""

    cpu: float
    wall: float
    said: str


def lab_events(path: Path, n: int, seed: int = 0) -> None:
    """Writes `n` events of `n / 50` patients, in no order, as MIMIC's `labevents` has them."""
    rng = np.random.default_rng(seed)
    item = rng.choice(list(ITEMS), n)
    second = pd.to_timedelta(rng.integers(0, 30 * 86_400, n), unit="s")
    table = {
        "subject_id": 10_000_000 + rng.integers(0, max(1, n // 50), n),
        "charttime": pd.Timestamp("2150-01-01") + second,
        "itemid": item,
        "valuenum": rng.lognormal(2.0, 1.0, n).round(1),
        "valueuom": [ITEMS[i] for i in item],
    }
    pd.DataFrame(table).to_csv(path, index=False)


def records(folder: Path, n: int, seed: int = 0) -> None:
    """Writes `n` stays of 48 hours, a text file each, as the PhysioNet Challenge 2012 has them."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(132_539, 132_539 + n):
        age, icu = rng.integers(20, 90), rng.integers(1, 5)
        lines = [
            "Time,Parameter,Value",
            *(f"00:00,{k},{v}" for k, v in (("RecordID", number), ("Age", age), ("ICUType", icu))),
        ]
        minutes = np.sort(rng.choice(48 * 60, 40, replace=False))
        level = rng.normal(85, 10) + np.cumsum(rng.normal(0, 2, 40))
        for m, hr in zip(minutes, level, strict=True):
            lines.append(f"{m // 60:02d}:{m % 60:02d},HR,{hr:.0f}")
            if rng.random() < 0.3:
                lines.append(f"{m // 60:02d}:{m % 60:02d},Temp,{36.8 + 0.02 * (hr - 85):.1f}")
        (folder / f"{number}.txt").write_text("\n".join(lines) + "\n")


def run(*arguments: str | Path, **settings: str) -> Taken:
    """Runs `latentode` with these arguments on one core, with these variables of the environment.

    Raises:
        RuntimeError: with what it said, if it failed.
    """
    command = [*COMMAND, *map(str, arguments)]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(cpu, wall, done.stdout)


def least(times: int, *arguments: str | Path) -> Taken:
    """The run that took the least CPU."""
    return min((run(*arguments) for _ in range(times)), key=lambda taken: taken.cpu)


def look(folder: Path, rows: int, times: int) -> dict[str, Taken]:
    """Every command that only looks, by what it is called."""
    labs, table = folder / "labevents.csv", folder / "labs.csv"
    lab_events(labs, rows)
    return {
        "--help": least(times, "--help"),
        "inspect": least(times, "inspect", labs, *ROLES, *NO_CYCLES),
        "inspect --adapter lab-events": least(times, "inspect", labs, "--adapter", "lab-events"),
        "convert lab-events": least(
            times, "convert", "lab-events", labs, "--out", table, "--overwrite"
        ),
    }


def from_folder_to_forecast(folder: Path, n: int, epochs: int) -> dict[str, float]:
    """Two commands: fit on a folder of text files, forecast six hours ahead of every record of it."""
    source, model, out = folder / "set-a", folder / "model", folder / "forecast.csv"
    records(source, n)
    learn = ["--horizon", "12", "--max-epochs", str(epochs), "--hidden-size", "16", "--quiet"]
    fit = run("fit", source, *RECORDS, *LEARNING, *learn, "--out", model)
    ask = run("forecast", model, source, *RECORDS, "--ahead", "6", "--count", "3", "--out", out)
    made = pd.read_csv(out)
    if not np.isfinite(made["mean"]).all():
        raise RuntimeError("a forecast is not a number")
    per_record = made.groupby(made.columns[0]).size()
    return {
        "records": n,
        "records forecast": len(per_record),
        "forecasts per record": float(per_record.mean()),
        "fit, s of CPU": fit.cpu,
        "forecast, s of CPU": ask.cpu,
    }


def first_fits(folder: Path) -> dict[str, float]:
    """CPU seconds of two fits of one epoch, the first of them with no machine code to be found."""
    table, cache = folder / "table.csv", str(folder / "machine-code")
    noise, time_ = np.random.default_rng(0).normal(size=300), np.arange(300.0)
    pd.DataFrame({"time": time_, "x": np.sin(time_ / 3) + 0.1 * noise}).to_csv(table, index=False)
    learn = [
        "--horizon",
        "20",
        "--max-epochs",
        "1",
        "--quiet",
        "--overwrite",
        "--out",
        folder / "model",
    ]
    taken = [run("fit", table, *learn, NUMBA_CACHE_DIR=cache).cpu for _ in range(2)]
    return {"first fit on a machine, CPU seconds": taken[0], "the next one, CPU seconds": taken[1]}


def draw(path: Path, taken: dict[str, Taken], rows: int) -> None:
    """Seconds of CPU of each command."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axis = figure.subplots()
    axis.barh(list(taken), [t.cpu for t in taken.values()])
    axis.axvline(3.0, color="black", lw=0.8, ls=":")
    axis.set(xlabel=f"seconds of CPU, {rows:,} laboratory events", xlim=(0, None))
    axis.invert_yaxis()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few rows, one run")
    parser.add_argument("--first-fit", action="store_true", help="only the first fit and the next")
    parser.add_argument("--out", type=Path, help="folder for results.json and the picture")
    arguments = parser.parse_args()
    out = arguments.out or (Path("build/first_look") if arguments.smoke else HERE)
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "results.json"
    if arguments.first_fit:
        with tempfile.TemporaryDirectory() as name:
            fits = first_fits(Path(name))
        known = json.loads(kept.read_text()) if kept.exists() else {}
        kept.write_text(json.dumps({**known, **fits}, indent=1) + "\n")
        print(*(f"{k}: {v:.3g}" for k, v in fits.items()), sep="\n")
        return
    rows, times, n, epochs = (2_000, 1, 8, 1) if arguments.smoke else (100_000, 3, 100, 3)
    with tempfile.TemporaryDirectory() as name:
        taken = look(Path(name), rows, times)
        found = from_folder_to_forecast(Path(name), n, epochs)
    results: dict[str, float] = {"rows": rows}
    for what, one in taken.items():
        results |= {f"{what}, s of CPU": one.cpu, f"{what}, s that passed": one.wall}
    before = json.loads(kept.read_text()) if kept.exists() else {}
    results = {**before, **results, **found}
    kept.write_text(json.dumps(results, indent=1) + "\n")
    print(taken["inspect"].said, *(f"{k}: {v:.3g}" for k, v in results.items()), sep="\n")
    draw(out / "seconds.png", taken, rows)


if __name__ == "__main__":
    main()
