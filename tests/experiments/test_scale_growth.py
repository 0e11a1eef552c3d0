"""Told the lead time, an untrained scale is already near a random walk's; scores are what they say."""

import numpy as np
import pandas as pd
import pytest
import scoringrules
from running import experiment
from scipy import stats

run = experiment("scale_growth")


def test_a_scale_that_is_told_the_lead_is_nearer_to_a_random_walks():
    found, frames = run.run_walks(20, epochs=1)
    name = "log deviation over the true one, rms"
    assert found["on"][name] < 0.85 * found["off"][name]
    assert found["on"]["NLL"] < found["off"]["NLL"]
    assert found["on"]["learned exponent"] == pytest.approx(0.5, abs=0.1)
    grown = {k: run.deviations(f, np.array([0.0, 2.0, 6.0, 8.0])).to_numpy() for k, f in frames.items()}
    assert grown["on"][-1] / grown["on"][0] > 1.5 > grown["off"][-1] / grown["off"][0]


def test_scores_are_the_closed_forms():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(50, 3)), columns=["actual", "mean", "lead"])
    frame = frame.assign(std=rng.uniform(0.2, 3, 50), variable="x", lead=rng.uniform(0.1, 9, 50))
    made = run.scored(frame, {"x": 2.0})
    expected = scoringrules.crps_normal(frame["actual"], frame["mean"], frame["std"])
    np.testing.assert_allclose(made["crps"], np.asarray(expected) / 2)
    density = stats.norm(frame["mean"], frame["std"]).logpdf(frame["actual"])
    np.testing.assert_allclose(made["nll"], -density - np.log(2.0))
