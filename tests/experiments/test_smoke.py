"""Every experiment runs in its smoke size and leaves its figures; its claims are tested elsewhere."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
# The storms run as `make demo` does (test_demo), the benchmark and the folder on tables of their own.
TESTED_ELSEWHERE = {"storms", "forecast_benchmark", "on_disk"}
QUICK = {"euler_resnet"}  # two seconds; what the others compute is tested beside this file
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK))
    for name in sorted({p.parent.name for p in EXPERIMENTS.glob("*/run.py")} - TESTED_ELSEWHERE)
]


@pytest.fixture
def as_a_script(monkeypatch):
    """Runs a file as Python would, but in this process: importing torch takes longer than most runs."""
    before = dict(sys.modules)
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        monkeypatch.syspath_prepend(str(script.parent))
        runpy.run_path(str(script), run_name="__main__")

    yield run
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    # Files beside a script are modules of its own: another experiment may have some of these names.
    for name in set(sys.modules) - set(before):
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and EXPERIMENTS in Path(file).parents:
            del sys.modules[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_an_experiment_runs_in_its_smoke_size(name, tmp_path, monkeypatch, as_a_script):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    as_a_script(EXPERIMENTS / name / "run.py", "--smoke", "--out", str(tmp_path))
    assert json.loads((tmp_path / "results.json").read_text())
