"""The claims of experiments/crossing: on fewer weeks here, in full by what was committed."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from running import EXPERIMENTS, experiment
from sklearn.metrics import roc_auc_score

run = experiment("crossing")
hours, judging, rivals = (sys.modules[name] for name in ("hours", "judging", "rivals"))
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*merged into others")]


@pytest.fixture(scope="module")
def readings():
    return run.read()


@pytest.fixture(scope="module")
def asked(readings):
    return run.questions(readings[0], "2010-09-20")


def monitor(values, every="5min"):
    """Readings from midnight on."""
    time = pd.date_range("2010-05-03", periods=len(values), freq=every)
    frame = pd.DataFrame({"time": time, "glucose": np.asarray(values, dtype=float)})
    return frame.dropna(ignore_index=True)


def at(table, *clock):
    return hours.find_hours(table, pd.DatetimeIndex([f"2010-05-03 {c}" for c in clock]))


def test_an_hour_is_known_by_its_readings():
    quiet = [100.0] * 25
    late = [*[100.0] * 24, 180.0]  # at 02:00: within the hour after 01:00, at its very end
    assert at(monitor(quiet), "01:00").reached.tolist() == [False]
    assert at(monitor(late), "01:00").reached.tolist() == [True]
    assert at(monitor([*[100.0] * 24, 179.9]), "01:00").reached.tolist() == [False]
    assert at(monitor(late), "00:55").reached.tolist() == [False]
    # One that begins at the level is not asked, nor one of which less than nine readings are known.
    assert len(at(monitor([180.0] * 25), "01:00")) == 0
    assert len(at(monitor([*[100.0] * 13, *[np.nan] * 4, *[100.0] * 8]), "01:00")) == 0
    assert len(at(monitor([*[100.0] * 13, *[np.nan] * 3, *[100.0] * 9]), "01:00")) == 1
    # A reading answers for ten minutes, and cutoffs after the same reading are one.
    assert len(at(monitor(quiet), "01:00", "01:02", "01:04:59")) == 1
    assert len(at(monitor([*[100.0] * 13, np.nan, np.nan, *[100.0] * 12]), "01:00", "01:10:01")) == 1


def test_what_is_seen_of_an_hour_is_its_value_and_slope():
    table = monitor(100 + 2.0 * np.arange(30))  # 24 mg/dL an hour
    one = at(table, "01:01")
    assert one.origin[0] == pd.Timestamp("2010-05-03 01:00") and one.value.tolist() == [124.0]
    np.testing.assert_allclose(one.slope, [24.0])
    np.testing.assert_allclose(one.after[0], 124 + 24 * hours.STEPS)
    np.testing.assert_allclose(one.time_of_day, [1.0])


def test_hours_of_training_recalibration_and_test_share_no_day(asked):
    days = [set(part.origin.date) for part in (asked.train, asked.held_out, asked.test)]
    assert all(len(d) > 8 for d in days)
    assert not days[0] & days[1] and not (days[0] | days[1]) & days[2]
    until = (asked.train.origin + pd.Timedelta("1h")).day
    assert until.max() <= 24 and asked.held_out.origin.day.min() > 24
    assert asked.test.origin.min() >= pd.Timestamp(run.FIRST_TEST)
    for part in (asked.train, asked.held_out, asked.test):
        assert 0.03 < part.reached.mean() < 0.3


@pytest.fixture(scope="module")
def model(readings):
    run.rolling.quiet()
    training = run.TRAINING.replace(max_epochs=15, windows_per_epoch=384)
    return run.fitted(*readings, 0, run.MODEL.replace(hidden_size=32), training)


def test_nothing_after_an_origin_is_seen(model, readings, asked):
    table, schema = readings
    few = asked.test.where(np.isin(np.arange(len(asked.test)), [50, 150, 250]))
    (process,) = [way.process for way in run.rivals(table, schema) if way.name == "Gaussian process"]

    def answers(table):
        found = hours.find_hours(table, few.origin)
        drawn = rivals.Process(table, process, draws=200).probability(few)
        return found.value, found.slope, drawn, run.probabilities(model, table, few, draws=40)

    before = answers(table)
    for i, origin in enumerate(few.origin):
        turned = table["glucose"].where(table["time"] <= origin, 90.0)
        for old, new in zip(before, answers(table.assign(glucose=turned)), strict=True):
            np.testing.assert_array_equal(new[: i + 1], old[: i + 1])


def test_drift_answers_by_past_errors():
    # Random walks: the last value is the best course, and how they cross is known by simulation.
    rng = np.random.default_rng(0)
    steps = 8 * rng.normal(size=(3000, len(hours.STEPS)))
    value = rng.uniform(100, 179, 3000)
    after = value[:, None] + steps.cumsum(axis=1)
    origin = pd.date_range("2010-05-03", periods=3000, freq="1h")
    walks = hours.Hours(origin, value, rng.normal(0, 30, 3000), (after >= 180).any(axis=1), after)
    past, new = walks.where(np.arange(3000) < 2000), walks.where(np.arange(3000) >= 2000)
    score = {}
    for name, damping in (("last value", 0.0), ("linear drift", 1.0), ("damped drift", None)):
        way = rivals.Drift(name, damping).fit(past)
        score[name] = np.mean((way.probability(new) - new.reached) ** 2)
    assert score["last value"] < 0.9 * score["linear drift"]
    assert score["damped drift"] == pytest.approx(score["last value"], abs=0.005)
    highest = (8 * rng.normal(size=(20_000, len(hours.STEPS)))).cumsum(axis=1).max(axis=1)
    truth = 1 - np.searchsorted(np.sort(highest), 180 - new.value) / 20_000
    np.testing.assert_allclose(rivals.Drift("", 0.0).fit(past).probability(new), truth, atol=0.04)


def test_brier_is_miscalibration_less_discrimination_plus_spread():
    rng = np.random.default_rng(1)
    truth = rng.beta(1, 4, 5000)
    came = rng.uniform(size=5000) < truth
    found = judging.scores(truth, came, usual=0.1)
    spread = came.mean() * (1 - came.mean())
    parts = found["miscalibration"] - found["discrimination"] + spread
    assert found["brier"] == pytest.approx(parts) and 0 < found["miscalibration"] < 0.005
    odds = np.log(truth / (1 - truth))
    bold = 1 / (1 + np.exp(-2 * odds - 1))  # same order, other probabilities
    worse = judging.scores(bold, came, usual=0.1)
    assert worse["discrimination"] == pytest.approx(found["discrimination"], abs=1e-6)
    assert worse["auc"] == pytest.approx(found["auc"]) and worse["miscalibration"] > 0.01
    for cure in ("logistic", "isotonic"):
        half = np.arange(5000) < 2500
        new = judging.recalibrated(cure, bold[half], came[half], bold[~half])
        assert np.abs(new - truth[~half]).mean() < 0.4 * np.abs(bold - truth)[~half].mean()
        rows = judging.reliability(new, came[~half])
        assert sum(row["n"] for row in rows) == 2500
        assert all(abs(row["said"] - row["came"]) < 4 / np.sqrt(row["n"]) for row in rows)


def test_a_difference_counts_days_not_hours():
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(40), 25)
    came = np.repeat(rng.uniform(size=40) < 0.5, 25)  # all hours of a day alike
    one, other = np.full(1000, 0.4), np.full(1000, 0.6)
    found = judging.difference(one, other, came, day)
    assert found["gain"] == pytest.approx(np.mean((other - came) ** 2 - (one - came) ** 2))
    alike = judging.difference(one, other, came, np.arange(1000))
    assert found["high"] - found["low"] > 3 * (alike["high"] - alike["low"])


def test_in_a_short_training_already_it_is_better_than_climatology_and_drift(model, readings, asked):
    table, _ = readings
    assert model.fitted_.residuals is not None
    said = {"latent ODE": run.probabilities(model, table, asked.test, draws=100)}
    for way in (rivals.Climatology(), rivals.Drift("drift", 1.0)):
        said[way.name] = way.fit(asked.train).probability(asked.test)
    brier = {name: np.mean((p - asked.test.reached) ** 2) for name, p in said.items()}
    assert brier["latent ODE"] < 0.95 * brier["climatology"]
    assert brier["latent ODE"] < 0.9 * brier["drift"]
    assert roc_auc_score(asked.test.reached, said["latent ODE"]) > 0.7


def test_the_committed_probabilities_are_better_than_climatology_and_drift():
    results = json.loads((EXPERIMENTS / "crossing" / "results.json").read_text())
    scores, gains = results["scores"], results["gains"]
    simple = ["climatology", "last value", "linear drift", "damped drift"]
    seeds = [name for name in scores if name.startswith("latent ODE, seed")]
    assert len(seeds) == 2
    for cure in ("raw", "logistic"):
        for name in simple:
            for ours in (run.OURS, run.PATH, *seeds):
                assert scores[ours][cure]["brier"] < scores[name][cure]["brier"], (ours, name, cure)
        assert gains["climatology"][cure]["low"] > 0
    rows = results["reliability"][run.OURS]["logistic"]
    assert sum(row["n"] for row in rows) == results["hours"]["test"] > 1000
