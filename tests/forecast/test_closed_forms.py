"""Rates, integrals and crossings of systems with known solutions, fitted from noisy irregular samples.

The truth of each held-out series is compared with the futures drawn from its noisy past: it has to lie
within their spread as often as it should, and their middle has to be far nearer to it than chance.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from making import forecaster

from latentode import LatentODEForecaster

NOISE, CUT, AHEAD = 0.05, 5.0, 2.0


def oscillator(t, p):
    return (0.5 + 1.5 * p[0]) * np.exp(-0.1 * t) * np.cos(2 * t + 2 * np.pi * p[1])


def decay(t, p):
    return (1 + 2 * p[0]) * np.exp(-(0.2 + 0.2 * p[1]) * t)


def logistic(t, p):
    return (1 + p[2]) / (1 + np.exp(-(1 + p[0]) * (t - 2 - 4 * p[1])))


def seen(system, n, seed, rows=50):
    rng = np.random.default_rng(seed)
    parameters, parts = rng.uniform(size=(n, 3)), []
    for i, p in enumerate(parameters):
        time = np.sort(rng.uniform(0, 8, rows))
        value = system(time, p) + NOISE * rng.normal(size=rows)
        parts.append(pd.DataFrame({"id": i, "time": time, "x": value}))
    return pd.concat(parts, ignore_index=True), parameters


class Case(NamedTuple):
    """A fitted system, histories that end at CUT, and the truth after each last observation."""

    model: LatentODEForecaster
    history: pd.DataFrame
    fine: np.ndarray  # lead times
    truth: np.ndarray  # (series, lead times)
    level: float


@pytest.fixture(scope="module", params=[oscillator, decay, logistic], ids=lambda f: f.__name__)
def case(request) -> Case:
    system = request.param
    sizes = {"latent": "joint", "latent_size": 4, "hidden_size": 32, "lr": 0.02}
    model = forecaster(AHEAD, context_length=CUT, max_epochs=10, verbose=False, **sizes)
    model.fit(seen(system, 60, 0)[0])
    held_out, parameters = seen(system, 40, 1)
    history = held_out[held_out["time"] < CUT]
    last = history.groupby("id")["time"].max().to_numpy()
    fine = np.linspace(0, AHEAD, 2001)
    truth = np.stack([system(end + fine, p) for end, p in zip(last, parameters, strict=True)])
    return Case(model, history, fine, truth, float(held_out["x"].median()))


def agrees(truth, answer, least_skill):
    """Within the spread as often as promised or more, and nearer than the average by far."""
    inside = truth.between(answer["q0.1"], answer["q0.9"]).mean()
    assert inside >= 0.8 - 2 * np.sqrt(0.16 / len(truth)), inside  # two standard errors of 40 series
    scores = (truth - answer["mean"]) / answer["std"]
    assert scores.abs().max() < 4.5
    assert np.sqrt((scores**2).mean()) < 1.3
    explained = 1 - ((truth - answer["mean"]) ** 2).mean() / truth.var(ddof=0)
    assert explained > least_skill, explained


@pytest.mark.slow
def test_the_value_itself_is_foreseen(case):
    agrees(pd.Series(case.truth[:, 1000]), case.model.sample_paths(case.history).value(1.0), 0.7)


@pytest.mark.slow
def test_the_rate_is_foreseen(case):
    rates = np.gradient(case.truth, case.fine, axis=1)
    agrees(pd.Series(rates[:, 1000]), case.model.sample_paths(case.history).rate(1.0), 0.4)


@pytest.mark.slow
def test_what_accumulates_is_foreseen(case):
    total = np.trapezoid(case.truth, case.fine, axis=1)
    agrees(pd.Series(total), case.model.sample_paths(case.history).integral(AHEAD), 0.7)
    later = np.trapezoid(case.truth[:, 500:], case.fine[500:], axis=1)
    agrees(pd.Series(later), case.model.sample_paths(case.history).integral(AHEAD, a=0.5), 0.7)


@pytest.mark.slow
def test_the_first_crossing_is_foreseen(case):
    reached = case.truth >= case.level
    first = np.where(reached.any(axis=1), case.fine[reached.argmax(axis=1)], np.inf)
    paths = case.model.sample_paths(case.history, draws=2000)
    found = paths.first_passage_time("x", above=case.level)
    scores, chances = [], []
    for by in (0.5, 1.0, AHEAD):
        happened = first <= by
        foretold = found.probability(by=by)["probability"].to_numpy()
        scores.append(((foretold - happened) ** 2).mean())
        chances.append(happened.mean() * (1 - happened.mean()))
        # If probabilities mean what they say, so many happen, and the score is so large, up to chance.
        each = foretold * (1 - foretold)
        assert abs(foretold.sum() - happened.sum()) < 3 * np.sqrt(each.sum()) + 1.5
        error = np.sqrt((each * (1 - 2 * foretold) ** 2).sum()) / len(each)
        assert scores[-1] < each.mean() + 3 * error + 0.02
    assert sum(scores) < max(0.9 * sum(chances), 0.02), (scores, chances)
    middle = found.quantile(0.5)
    some = np.isfinite(first) & np.isfinite(middle) & (first > 0)
    if some.sum() >= 5:
        assert np.median(np.abs(middle[some] - first[some])) < 0.25
