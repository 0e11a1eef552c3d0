"""Every experiment runs in its smoke size and leaves its figures; its claims are tested elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
# The storms run as `make demo` does (test_demo), the benchmark on tables of its own.
TESTED_ELSEWHERE = {"storms", "forecast_benchmark"}
NAMES = sorted({p.parent.name for p in EXPERIMENTS.glob("*/run.py")} - TESTED_ELSEWHERE)


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs_in_its_smoke_size(name, tmp_path):
    script = EXPERIMENTS / name / "run.py"
    command = [sys.executable, str(script), "--smoke", "--out", str(tmp_path)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "results.json").read_text())
