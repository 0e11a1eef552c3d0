"""What serving a model costs: cold start, one forecast, exported graphs, partitions and workers.

    python experiments/serving/run.py [--smoke] [--series 4000] [--out FOLDER]

A default model of the storms, of two epochs (what it has learnt is no matter here). CPU seconds of this
process and its children; the throughput of workers by the clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from latentode import (
    LatentODEError,
    LatentODEForecaster,
    ModelConfig,
    ServedForecaster,
    TrainingConfig,
)
from latentode.cli.demo import SCHEMA, storms_path
from latentode.data import read_table
from latentode.estimators import distributed
from latentode.forecast import ExportedForecast

HERE = Path(__file__).parent
COLD = """
import gc, time
if {set_aside}:
    gc.disable()
from latentode import {kind}
import pandas as pd
imported = time.process_time()
model = {kind}.load({model!r})
if {set_aside}:
    gc.freeze()
    gc.enable()
loaded = time.process_time()
model.predict(pd.read_parquet({history!r}), "48h", 4)
print(imported, loaded - imported, time.process_time() - loaded)
"""
NUMBERS = ["mean", "std", "q0.1", "q0.5", "q0.9"]


def milliseconds(call: Callable[[], object], batches: int = 8, each: int = 10) -> float:
    """CPU time of a call: the least mean over batches, which a busy machine disturbs least."""
    for _ in range(3):
        call()
    means = []
    for _ in range(batches):
        begin = time.process_time()
        for _ in range(each):
            call()
        means.append(1e3 * (time.process_time() - begin) / each)
    return min(means)


def cold_start(model: Path, history: Path, kind: str, set_aside: bool = False) -> dict[str, float]:
    """CPU seconds of a fresh process: imports, loading the model, its first forecast.

    Args:
        model: a folder.
        history: a file.
        kind: what loads it.
        set_aside: whether nothing is looked through for garbage before the model is there.
    """
    code = COLD.format(model=str(model), history=str(history), kind=kind, set_aside=set_aside)
    # As of a package that was installed: Python's byte code is kept.
    kept = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    runs = []
    for _ in range(6):  # the first compiles what is kept for the others
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=kept
        )
        runs.append([float(x) for x in done.stdout.split()])
    best = min(runs[1:], key=sum)
    return dict(zip(("import", "load", "first forecast"), best, strict=True)) | {"all": sum(best)}


def exported(model: LatentODEForecaster, history: pd.DataFrame, folder: Path) -> dict[str, float]:
    """The largest difference of exported graphs from `predict`, relative, and what a forecast costs."""
    found: dict[str, float] = {}
    rows = len(model.read(history).time)
    kinds = [".pt2", *([".onnx"] if find_spec("onnxruntime") and find_spec("onnxscript") else [])]
    for kind in kinds:
        begin = time.process_time()
        try:
            model.export(folder / f"model{kind}", max_rows=rows)
        except LatentODEError:  # which says why
            found[f"{kind} refused"] = 1.0
            continue
        found[f"{kind} s to export"] = time.process_time() - begin
        graph = ExportedForecast.load(model.fitted_, folder / f"model{kind}")
        one, other = (m.predict(history, "48h", 4)[NUMBERS].to_numpy() for m in (model, graph))
        apart, same = np.abs(one - other), np.zeros_like(one)  # as of counts that are none in both
        relative = np.divide(apart, np.abs(one), out=same, where=apart > 0)
        found[f"{kind} relative difference"] = float(relative.max())
        found[f"{kind} predict, ms"] = milliseconds(lambda g=graph: g.predict(history, "48h", 4))
    return found


def arrays_of(history: pd.DataFrame) -> dict[str, object]:
    """The history of one storm as a server has it: its name, times in UTC, numbers."""
    stamps = pd.to_datetime(history["time"], utc=True).dt.tz_convert(None)
    values = {name: history[name].to_numpy() for name in history if name not in ("id", "time")}
    return {"id": str(history["id"].iloc[0]), "time": stamps.to_numpy(), **values}


def many(storms: pd.DataFrame, series: int) -> pd.DataFrame:
    """So many series of 24 rows each, copies of storms under other names."""
    whole = storms.groupby("id").filter(lambda own: len(own) >= 24).groupby("id").head(24)
    names = whole["id"].unique()
    copies = [whole.assign(id=whole["id"] + f"/{n}") for n in range(-(-series // len(names)))]
    table = pd.concat(copies, ignore_index=True)
    return table[table["id"].isin(table["id"].unique()[:series])].reset_index(drop=True)


def workers(model: Path, table: pd.DataFrame) -> dict[str, float]:
    """Series per second on the wall's clock: here, and by one and two processes that are warm."""
    found, count = {}, table["id"].nunique()
    for n in (0, 1, 2):
        executor = ProcessPoolExecutor(n, mp_context=get_context("spawn")) if n else None
        warm = table[table["id"].isin(table["id"].unique()[:8])]
        for part in (warm, warm, table):
            begin = time.perf_counter()
            distributed.predict(model, part, "48h", executor, partitions=8, count=4)
            taken = time.perf_counter() - begin
        found[f"{n} workers" if n else "this process"] = count / taken
        if executor is not None:
            executor.shutdown()
    found["two workers over one"] = found["2 workers"] / found["1 workers"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a small model, no fresh processes")
    parser.add_argument("--series", type=int, default=4000, help="for the throughput of workers")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/serving")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    out = arguments.out or (Path("build/serving") if arguments.smoke else HERE)
    out.mkdir(parents=True, exist_ok=True)
    storms = read_table(storms_path(), SCHEMA)[["id", "time", *(SCHEMA.targets or ())]]
    training = TrainingConfig(max_epochs=0 if arguments.smoke else 2)
    history = storms[storms["id"] == storms["id"].value_counts().index[10]].head(20)
    history = history.reset_index(drop=True)  # a table as it comes, not as lines of a file
    arrays, found = arrays_of(history), dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for latent in ("per-variable", "joint"):
            config = ModelConfig(
                latent=latent, structure="last-value" if arguments.smoke else "state-space"
            )
            model = LatentODEForecaster("72h", model=config, training=training, verbose=False)
            some = storms[storms["id"].isin(storms["id"].unique()[:30])] if arguments.smoke else storms
            model.fit(some, SCHEMA).save(folder / latent)
            each, batches = (1, 1) if arguments.smoke else (10, 8)
            found[latent] = {
                "read, ms": milliseconds(lambda m=model: m.read(history), batches, each),
                "predict, ms": milliseconds(
                    lambda m=model: m.predict(history, "48h", 4), batches, each
                ),
                "predict from arrays, ms": milliseconds(
                    lambda m=model.served_: m.predict_arrays(arrays, "48h", 4), batches, each
                ),
            }
            one, other = (
                model.predict(history, "48h", 4),
                model.served_.predict_arrays(arrays, "48h", 4),
            )
            if not all((one[name].to_numpy() == other[name]).all() for name in NUMBERS):
                raise SystemExit("the two doors differ")
            if not arguments.smoke:
                found[latent] |= exported(model, history, folder)
        if not arguments.smoke:
            history.to_parquet(folder / "history.parquet")
            path = folder / "per-variable"
            where = path, folder / "history.parquet"
            found["cold start, CPU s"] = cold_start(*where, ServedForecaster.__name__)
            found["the same, collector set aside"] = cold_start(*where, ServedForecaster.__name__, True)
            found["the same, of the estimator"] = cold_start(*where, LatentODEForecaster.__name__)
            found["series per second"] = workers(path, many(storms, arguments.series))
    for part, figures in found.items():
        for what, figure in figures.items():
            print(f"{part:30s} {what:28s} {figure:12.4g}")
    rounded = {p: {w: float(f"{x:.3g}") for w, x in own.items()} for p, own in found.items()}
    (out / "results.json").write_text(json.dumps(rounded, indent=1))


if __name__ == "__main__":
    main()
