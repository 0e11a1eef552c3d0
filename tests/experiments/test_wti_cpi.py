"""Prices: known when published, forecast with intervals that are wide in restless times."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from running import experiment

from latentode import LatentODEForecaster, Schema

run = experiment("wti_cpi")


def restless(n, seed):
    """A walk of daily changes that are five times as large in every other stretch of 120 days."""
    rng = np.random.default_rng(seed)
    size = np.where((np.arange(n) // 120) % 2 == 1, 0.05, 0.01)
    value = 4 + np.cumsum(size * rng.standard_t(5, n))
    time = pd.date_range("2000-01-03", periods=n, freq="B")
    frame = pd.DataFrame({"id": "market", "time": time, "x": value})
    return frame, pd.Series(size, index=time)


def test_no_value_is_known_before_its_publication():
    frame, schema = run.oil_and_prices()
    assert set(schema.targets) == {"DCOILWTICO", "CPILFESL"}
    after = (frame["time"] - frame["period"]).groupby(frame["variable"]).min()
    assert after["DCOILWTICO"] == pd.Timedelta("1D")
    assert after["CPILFESL"] == pd.Timedelta(run.CPI_KNOWN_AFTER)


@pytest.mark.slow
def test_intervals_follow_the_volatility_and_cover_and_the_mean_stays_near_the_last_value():
    frame, size = restless(2600, 0)
    begin = frame["time"].iloc[1800]
    schema = Schema(id="id", time="time", targets=("x",), time_unit="D")
    train = frame[frame["time"] < begin]
    training = run.TRAINING.replace(max_epochs=8)
    model = LatentODEForecaster("28D", model=run.MODEL, training=training, verbose=False)
    model.fit(train, schema)
    cutoffs = list(pd.date_range(begin, frame["time"].iloc[-21], freq="7D"))
    found = model.backtest(frame, "28D", run.LEVELS, cutoffs=cutoffs)
    last = frame.set_index("time")["x"].asof(pd.DatetimeIndex(found["origin"])).to_numpy()
    error, naive = (found["actual"] - found["mean"]).abs(), (found["actual"] - last).abs()
    assert error.mean() < 1.05 * naive.mean()
    inside = found["actual"].between(found["q0.1"], found["q0.9"])
    assert 0.7 < inside.mean() < 0.9
    near = found[found["lead"] <= 3]
    lately = size.rolling(60).mean().asof(pd.DatetimeIndex(near["origin"])).to_numpy()
    width = near["q0.9"] - near["q0.1"]
    assert width[lately > 0.045].median() > 2.5 * width[lately < 0.015].median()


def test_the_walk_of_moving_volatility_is_riskmetrics():
    frame = pd.DataFrame({"time": pd.date_range("2020-01-01", periods=4), "variable": "x"})
    frame["value"] = [0.0, 1.0, 1.0, 3.0]
    asked = pd.DataFrame({"origin": frame["time"][[3]], "lead": 14.0, "variable": "x", "actual": 0.0})
    found = run.moving_volatility(frame, asked, "x").iloc[0]
    weights = np.array([run.DECAY**2, run.DECAY, 1.0])
    variance = (weights * [1, 0, 4]).sum() / weights.sum()
    assert found["mean"] == 3.0
    assert found["std"] == pytest.approx(np.sqrt(10 * variance))
    assert found["q0.5"] == 3.0 and found["q0.9"] > found["q0.8"]


def test_a_year_is_recalibrated_by_what_had_come_true_before_it():
    rng = np.random.default_rng(0)
    origin = pd.date_range("2010-01-01", "2013-12-01", freq="7D")
    frame = pd.DataFrame({"origin": origin, "time": origin + pd.Timedelta("5D"), "lead": 5.0})
    frame = frame.assign(variable="x", actual=3 * rng.normal(size=len(frame)))
    frame = frame.assign(**{f"q{q:g}": 2.56 * (q - 0.5) / 0.8 for q in run.LEVELS})
    past, test = (frame[(frame["origin"].dt.year < 2012) == early] for early in (True, False))
    first = run.recalibrated(past, test)
    other = test.assign(actual=test["actual"].where(test["time"].dt.year < 2013, 1e6))
    again = run.recalibrated(past, other)
    pd.testing.assert_series_equal(first["q0.9"], again["q0.9"])
    inside = first["actual"].between(first["q0.1"], first["q0.9"]).mean()
    assert inside > test["actual"].between(test["q0.1"], test["q0.9"]).mean() + 0.3
    other = test.assign(actual=test["actual"].where(test["time"].dt.year > 2012, 1e6))
    changed = run.recalibrated(past, other)["q0.9"] != first["q0.9"]
    assert (first["origin"].dt.year[changed] == 2013).all() and changed.any()


def test_windows_hold_what_was_there_and_one_horizon_more():
    frame, _ = restless(900, 1)
    cutoffs = pd.DatetimeIndex(["2002-01-03", "2002-03-01"])
    made = run.windows(frame, cutoffs)
    for cutoff, (_, part) in zip(cutoffs, made.groupby("id"), strict=True):
        assert (
            part["time"].max() <= cutoff + pd.Timedelta(run.HORIZON) < part["time"].max() + 3 * run.DAY
        )
    assert all(a < b for a, b in pairwise(made["id"].unique()))
