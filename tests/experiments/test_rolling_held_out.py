"""Rolling backtests of held-out series, asked from their own times instead of cutoffs."""

import sys

import numpy as np
import pandas as pd
import pytest
from running import EXPERIMENTS

from latentode import ModelConfig, Schema, TrainingConfig

sys.path.insert(0, str(EXPERIMENTS))

import rolling

SMALL = (
    ModelConfig(latent_size=2, hidden_size=24, likelihood="normal"),
    TrainingConfig(max_epochs=1, windows_per_epoch=32),
)


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


SCHEMA = Schema(id="id", time="time", targets=("x", "y"), static_covariates=("age",))


@pytest.fixture(scope="module")
def models(waves):
    return rolling.latent_odes(waves[waves["time"] < 45], SCHEMA, 4.0, *SMALL)


def test_without_cutoffs_held_out_series_are_asked_from_all_of_their_times(models, waves):
    train, test = waves[waves["id"] < 6], waves[waves["id"] >= 6]
    found = rolling.backtests(models, train, test, None, 1.0)
    assert set(found["id"]) == {6, 7}
    last = found[(found["model"] == "last value") & (found["variable"] == "x")]
    time = test[test["id"] == 6]["time"].to_numpy()
    ahead = time[None] - time[:, None]
    assert (last["id"] == 6).sum() == ((ahead > 0) & (ahead <= 1.0)).sum()
