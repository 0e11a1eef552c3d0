"""The grid of the asynchronous table, and that its READMEs say what was measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from running import EXPERIMENTS, experiment

run = experiment("asynchronous")


def test_a_cell_is_the_mean_of_its_readings_and_is_carried_forward():
    own = pd.DataFrame(
        {"hour": [1.2, 1.8, 4.5, 23.9, 24.0, 24.1], "x": [1.0, 3.0, 5.0, 7.0, 9.0, 99.0]}
    )
    cells = run.gridded(own.assign(y=np.nan), width=1.0, until=24.0)
    assert cells.shape == (24, 2)
    assert cells[:, 0].tolist() == [0.0] + [2.0] * 3 + [5.0] * 19 + [
        8.0
    ]  # what comes later is not seen
    assert (cells[:, 1] == 0).all()


def test_questions_begin_where_a_burst_has_ended():
    table = run.simulated(2, seed=3)
    asked = run.origins_of(table, 3)
    for (name, origin), own in asked.groupby(["series", "origin"]):
        hours = table[(table["series"] == name) & table["x"].notna()]["hour"]
        assert (hours == origin).any() and hours[hours > origin].min() - origin > 0.5
        assert own["hour"].between(origin, origin + run.HORIZON, inclusive="right").all()


def test_the_readmes_say_what_was_measured():
    results = json.loads((EXPERIMENTS / "asynchronous" / "results.json").read_text())
    own = (EXPERIMENTS / "asynchronous" / "README.md").read_text()
    for error in results["MAE"].values():
        assert f"| {error:.3f} |" in own
    assert f"{100 * results['inside 80 %']:.0f} % lay inside" in own
    front = (Path(EXPERIMENTS).parent / "README.md").read_text()
    kept = [
        results["MAE"][n]
        for n in ("latent ODE", "boosting on a grid of 1 h", "boosting on a grid of 15 min")
    ]
    assert all(f"{error:.3f}" in front for error in [*kept, results["noise alone"]])
