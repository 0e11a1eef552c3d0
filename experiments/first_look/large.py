"""A first look at a large table: what `latentode inspect` takes for ten million rows of five variables.

    python experiments/first_look/large.py [--rows ROWS]

The table is long, 2,000 patients with a reading of each variable a minute; it is simulated, written as
CSV, and looked at by the command as a user runs it. Printed are seconds of CPU and the peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

COMMAND = [sys.executable, "-c", "from latentode.cli import main; main()", "inspect"]
VARIABLES = ("hr", "map", "rr", "spo2", "temp")
PATIENTS = 2000


def write_table(path: Path, rows: int, seed: int = 0) -> None:
    """Writes so many rows, those of a patient one after the other in the order of time."""
    rng = np.random.default_rng(seed)
    minutes = max(1, rows // (PATIENTS * len(VARIABLES)))
    for patient in range(PATIENTS):
        second = 60 * np.arange(minutes) + rng.integers(0, 60, minutes)
        stamps = (np.datetime64("2024-01-01", "s") + second.astype("m8[s]")).astype(str)
        table = pd.DataFrame({"patient": f"p{patient}", "time": np.repeat(stamps, len(VARIABLES))})
        table["variable"] = np.tile(VARIABLES, minutes)
        table["value"] = rng.normal(80, 10, len(table)).round(2)
        table.to_csv(path, mode="a" if patient else "w", header=not patient, index=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "readings.csv"
        write_table(path, parser.parse_args().rows)
        print(subprocess.run([*COMMAND, str(path)], check=True, capture_output=True, text=True).stdout)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{used.ru_utime + used.ru_stime:.1f} s of CPU, {used.ru_maxrss / 1e6:.2f} GB at most")


if __name__ == "__main__":
    main()
