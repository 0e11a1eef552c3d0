"""A table larger than memory: memory and time of an epoch on a folder on disk, beside in memory.

    python experiments/on_disk/run.py [--observations N] [--files 200] [--windows 20000]

Simulated are 20,000 devices with five sensors of their own cycles, at irregular times, a thousand
observations each, long, in 200 Parquet files. Each way is a process of its own, which reads the folder,
makes a data module of it, goes through the batches of an epoch, and trains an epoch of fewer windows.
Printed are seconds of CPU, windows a second, and the peak of memory of the process, which counts pages
of files that the system would take back.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
SENSORS = ("a", "b", "c", "d", "e")
PER_DEVICE = 1000  # observations
WAYS = ("on disk", "in memory")
HORIZON, CONTEXT = 10.0, 80.0


def write_folder(folder: Path, observations: int, files: int, seed: int = 0) -> None:
    """Writes so many observations of whole devices into each of some files."""
    rng = np.random.default_rng(seed)
    devices = max(files, observations // PER_DEVICE)
    folder.mkdir()
    for number, own in enumerate(np.array_split(np.arange(devices), files)):
        n = len(own) * PER_DEVICE
        device = np.repeat(own, PER_DEVICE)
        elapsed = rng.exponential(1.0, n).reshape(len(own), -1).cumsum(axis=1).reshape(-1)
        sensor = rng.integers(0, len(SENSORS), n)
        value = np.sin(elapsed / (5.0 + sensor) + device) + 0.1 * rng.normal(size=n)
        table = pd.DataFrame({"id": device, "time": elapsed})
        table["variable"] = pd.Categorical.from_codes(sensor, list(SENSORS)).astype(str)
        table["value"] = value
        table.to_parquet(folder / f"part-{number:03d}.parquet", index=False)


def epoch_of(way: str, folder: Path, windows: int, trained: int) -> dict[str, float]:
    """What one way takes, in this process."""
    import torch
    from lightning import Trainer

    from latentode import Forecasting, IrregularDataModule, LatentODEModule, ModelConfig, Schema
    from latentode.data import ParquetFolder, read_table

    torch.set_num_threads(1)
    schema = Schema(id="id", layout="long", variable="variable", value="value", cycles=())
    found = {"imports_gb": peak()}
    begin = time.process_time()
    table = ParquetFolder(folder) if way == "on disk" else read_table(folder, schema)
    task = Forecasting(HORIZON, CONTEXT)
    data = IrregularDataModule(
        table, schema=schema, task=task, windows_per_epoch=windows, batch_size=32
    )
    del table
    sizes = data.sizes
    found |= {"read_s": time.process_time() - begin, "read_gb": peak()}
    begin = time.process_time()
    shown = sum(len(batch) for batch in data.train_dataloader())
    found |= {"windows": shown, "batches_s": time.process_time() - begin, "batches_gb": peak()}
    torch.manual_seed(0)
    module = LatentODEModule(sizes, ModelConfig(likelihood="normal"))
    module.estimate(data)
    limits = {"limit_train_batches": max(1, trained // 32), "max_epochs": 1, "accelerator": "cpu"}
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    begin = time.process_time()
    Trainer(**limits, **quiet, enable_model_summary=False).fit(module, data)
    found |= {"trained": 32 * limits["limit_train_batches"], "trained_s": time.process_time() - begin}
    weights = sum(float(p.detach().double().abs().sum()) for p in module.parameters())
    return {**found, "weights": weights, "peak_gb": peak()}


def peak() -> float:
    """The most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measured(way: str, folder: Path, windows: int, trained: int) -> dict[str, float]:
    """What one way takes, in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    command += ["--windows", str(windows), "--trained", str(trained)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{way}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--observations", type=int, default=20_000_000)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--windows", type=int, default=20_000)
    parser.add_argument("--trained", type=int, default=2_000)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--only", choices=WAYS, help="measure one way only")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.way is not None:
        print(json.dumps(epoch_of(given.way, given.folder, given.windows, given.trained)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "readings"
        write_folder(folder, given.observations, given.files)
        ways = WAYS if given.only is None else (given.only,)
        found = {way: measured(way, folder, given.windows, given.trained) for way in ways}
    print(pd.DataFrame(found).round(2).to_string())
    if given.only is None:
        sizes = {"observations": given.observations, "files": given.files}
        (HERE / "results.json").write_text(json.dumps({**sizes, **found}, indent=1))


if __name__ == "__main__":
    main()
