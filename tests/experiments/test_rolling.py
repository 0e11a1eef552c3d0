"""What the domains' experiments share: the same questions to all, figures that are what they say."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from running import EXPERIMENTS

from latentode import Schema

sys.path.insert(0, str(EXPERIMENTS))

import rolling

SMALL = {"latent_size": 2, "hidden_size": 24, "max_epochs": 1}


@pytest.fixture(scope="module")
def waves():
    """Eight series of two variables, a wave each, on times of their own."""
    rng = np.random.default_rng(0)
    parts = []
    for i in range(8):
        time = np.sort(rng.uniform(0, 60, 70))
        wave = np.sin(time / 3 + i)
        parts.append(pd.DataFrame({"id": i, "time": time, "x": wave, "y": 2 * wave, "age": 40.0 + i}))
    return pd.concat(parts, ignore_index=True)


SCHEMA = Schema(id="id", time="time", targets=("x", "y"), static=("age",))


@pytest.fixture(scope="module")
def models(waves):
    return rolling.latent_odes(waves[waves["time"] < 45], SCHEMA, 4.0, **SMALL)


def test_the_gru_without_an_ode_is_as_large_as_the_latent_ode(models):
    sizes = {name: rolling._size(model) for name, model in models.items()}
    ode, gru = sizes["latent ODE, per variable"], sizes["GRU, no ODE"]
    assert abs(gru - ode) < 0.2 * ode
    assert models["GRU, no ODE"].dynamics == "clock"


def test_every_model_answers_the_same_questions_with_quantiles(models, waves):
    train = waves[waves["time"] < 45]
    process = rolling.GaussianProcess(window=10, windows=2)
    found = rolling.backtests(models, train, waves, [46.0, 52.0], 4.0, process)
    questions = found.groupby("model")[["id", "origin", "time", "variable", "actual"]]
    first = None
    for _, own in questions:
        own = own.sort_values(["id", "origin", "time", "variable"], ignore_index=True)
        first = own if first is None else first
        pd.testing.assert_frame_equal(own, first)
    assert found["model"].nunique() == len(models) + 4
    quantiles = found[[f"q{q:g}" for q in rolling.LEVELS]].to_numpy()
    assert np.isfinite(quantiles).all() and (np.diff(quantiles, axis=1) >= -1e-9).all()
    assert (found["lead"] > 0).all() and (found["lead"] <= 4.0).all()


def test_without_cutoffs_held_out_series_are_asked_from_all_of_their_times(models, waves):
    train, test = waves[waves["id"] < 6], waves[waves["id"] >= 6]
    found = rolling.backtests(models, train, test, None, 1.0)
    assert set(found["id"]) == {6, 7}
    last = found[(found["model"] == "last value") & (found["variable"] == "x")]
    time = test[test["id"] == 6]["time"].to_numpy()
    ahead = time[None] - time[:, None]
    assert (last["id"] == 6).sum() == ((ahead > 0) & (ahead <= 1.0)).sum()


def test_a_table_holds_mae_crps_and_coverage_by_upper_ends_of_lead_times(tmp_path):
    frame = pd.DataFrame(
        {"variable": "x", "model": "m", "lead": [0.5, 1.0, 1.5], "actual": [1.0, 2, 3]}
    )
    frame = frame.assign(mean=[0.0, 2.0, 3.5], **{"q0.1": -1.0, "q0.5": 2.0, "q0.9": [2.0, 2.5, 2.9]})
    found = rolling.table(frame, [1.0, 2.0])
    assert found["lead"].tolist() == [1.0, 2.0] and found["n"].tolist() == [2, 1]
    assert found["mae"].tolist() == [0.5, 0.5]
    assert found["coverage"].tolist() == [1.0, 0.0]
    rolling.save(tmp_path, found, besides=1)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["besides"] == 1 and written["rows"][0]["mae"] == 0.5
    assert rolling.readable(found).startswith("| mae | x, 1 | x, 2 |")
    rolling.draw(tmp_path / "crps.png", found, "days")
    assert (tmp_path / "crps.png").stat().st_size > 1000
