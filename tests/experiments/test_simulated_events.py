"""The claims of experiments/event_times in smoke size: a fitted intensity beats a constant rate."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.special import iv

SCRIPT = Path(__file__).parents[2] / "experiments" / "event_times" / "run.py"


@pytest.fixture(scope="module")
def experiment():
    spec = importlib.util.spec_from_file_location("event_times_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_simulated_events_follow_their_intensity(experiment):
    frame, phases = experiment.simulated(200, 0)
    own = frame.dropna()
    each = np.repeat(phases, own.groupby("id").size())
    peak = np.sin(2 * np.pi * own["time"].to_numpy() / experiment.PERIOD + each)
    # E over a period of sin under e^{a sin} is I1(a) / I0(a).
    assert peak.mean() == pytest.approx(iv(1, 1.2) / iv(0, 1.2), abs=0.02)
    grid = np.linspace(0, experiment.SPAN, 5001)
    expected = sum(np.trapezoid(experiment.true_rate(grid, p), grid) for p in phases)
    assert abs(len(own) - expected) < 4 * np.sqrt(expected)


def test_the_true_intensity_is_the_best_on_average(experiment):
    frame, phases = experiment.simulated(60, 3)
    best = experiment.true_log_likelihood(frame, phases)
    for shift in (-0.5, 0.5):
        assert experiment.true_log_likelihood(frame, phases + shift) < best - 100


@pytest.mark.slow
def test_a_fitted_intensity_beats_the_constant_rate_on_held_out_series(experiment):
    found = experiment.on_simulated(smoke=True)
    assert found["part of the possible gain"] > 0.4
    assert found["log-likelihood per event"] < found["true intensity"]
    assert found["series better than by the constant rate"] > 0.9
    assert found["rms error of the intensity"] < 0.9 * found["rms error of the constant rate"]
    assert found["correlation with the true intensity"] > 0.4
    assert found["expected count ahead, mean"] == pytest.approx(found["count ahead, mean"], rel=0.2)


def test_spread_times_stay_within_what_they_were_cut_off_to(experiment):
    frame, _ = experiment.simulated(3, 0)
    moved = experiment.within(frame, "time", 0.25, 0)["time"] - frame["time"]
    assert moved.min() >= 0 and moved.max() < 0.25 and moved.std() > 0.05
