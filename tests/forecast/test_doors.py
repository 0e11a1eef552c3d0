"""Every door to a forecast says the same of one history and the same times."""

import warnings

import numpy as np
import pandas as pd
import pytest
from making import START, forecaster, tiny, waves

from latentode import OnlineForecaster, Schema

LAYOUTS = ("joint", "per-variable")
SAID = ["mean", "std", "q0.1", "q0.5", "q0.9"]
KEY = ["id", "time", "variable"]


def stamped(frame):
    return frame.assign(time=START + pd.to_timedelta((frame["time"] * 3600).round(), unit="s"))


@pytest.fixture(scope="module", params=[*LAYOUTS, "dates", "known"])
def fitted(request):
    frame = waves(5, 24, seed=3)
    if request.param in LAYOUTS:
        return tiny(latent=request.param).fit(frame), frame, 7.0
    if request.param == "dates":
        table = stamped(frame)
        model = tiny(horizon="2h", context_length="6h").fit(table)
        return model, table, START + pd.Timedelta("7h")
    table = frame.assign(dose=(frame["time"] % 2 < 1).astype(float))
    return tiny().fit(table, Schema(known_future=("dose",))), table, 7.0


def at_cutoff(model, table, cutoff):
    """What was known by then, what is asked, and the rows that answer."""
    backtest = model.backtest(table, cutoffs=[cutoff])
    known = [c for c in ("dose",) if c in table]
    asked = backtest[["id", "time"]].drop_duplicates()
    if known:
        asked = asked.merge(table[["id", "time", *known]])
    return table[table["time"] <= cutoff], asked, backtest


def compared(found, backtest):
    columns = [c for c in SAID if c in found]
    both = backtest.merge(found, on=KEY, suffixes=("", "_other"))
    assert len(both) == len(backtest) > 5
    for name in columns:
        np.testing.assert_allclose(both[f"{name}_other"], both[name], rtol=2e-4, atol=2e-5)


def test_a_prediction_at_a_cutoff_is_what_a_backtest_says_there(fitted):
    model, table, cutoff = fitted
    history, asked, backtest = at_cutoff(model, table, cutoff)
    compared(model.predict(history, asked), backtest)
    compared(model.forecast(history, asked).to_frame((0.1, 0.5, 0.9)), backtest)
    both = model.compare(table, cutoffs=[cutoff])
    compared(both[both["model"] == "latent ODE"], backtest)
    assert (backtest["origin"] == cutoff).all()  # leads count from the cutoff


def test_a_backtest_from_an_observation_is_a_prediction_from_it(fitted):
    model, table, cutoff = fitted
    backtest = model.backtest(table, origins=None)
    last = backtest.loc[backtest["origin"] <= cutoff, "origin"].max()
    own = backtest[backtest["origin"] == last]
    history = table[table["time"] <= last]
    known = [c for c in ("dose",) if c in table]
    asked = own[["id", "time"]].drop_duplicates()
    if known:
        asked = asked.merge(table[["id", "time", *known]])
    found = model.predict(history, asked)
    both = own.merge(found, on=KEY, suffixes=("", "_other"))
    assert len(both) == len(own)
    np.testing.assert_allclose(both["mean_other"], both["mean"], rtol=2e-4, atol=2e-5)


def test_calibration_leads_are_those_of_questions():
    frame, other = (waves(30, 24, seed).drop_duplicates(["id", "time"]) for seed in (4, 5))
    model = forecaster(2.0, context_length=6.0, max_epochs=0, verbose=False).fit(frame)
    model.calibrate(other, cutoffs=[5.0, 7.0, 9.0])
    history, asked, backtest = at_cutoff(model, frame, 7.0)
    compared(model.predict(history, asked), backtest)


def test_the_same_instants_are_forecast_alike_in_any_zone():
    hours = pd.date_range("2024-01-01", periods=480, freq="h", tz="UTC")
    wave = 100 + 20 * np.sin(2 * np.pi * np.arange(480) / 24)
    table = pd.DataFrame({"time": hours, "load": wave + np.random.default_rng(9).normal(size=480)})
    model = forecaster("1D", max_epochs=0, likelihood="normal", verbose=False).fit(table)
    elsewhere = table.assign(time=hours.tz_convert("America/New_York"))
    one, other = (model.predict(t, "6h") for t in (table, elsewhere))
    np.testing.assert_allclose(other["mean"], one["mean"], rtol=1e-9)
    assert (pd.DatetimeIndex(other["time"]) == pd.DatetimeIndex(one["time"])).all()


AHEAD = 10.0  # five horizons
CURVE = {"ahead": AHEAD, "count": 3}
QUESTIONS = {  # of one series: each door asks about its course up to AHEAD
    "predict": lambda m, t, other: m.predict(t, AHEAD, 3),
    "forecast": lambda m, t, other: m.forecast(t, AHEAD),
    "online": lambda m, t, other: OnlineForecaster(m, t).predict(AHEAD),
    "value": lambda m, t, other: m.sample_paths(t, draws=4).value(AHEAD),
    "rate": lambda m, t, other: m.sample_paths(t, draws=4).rate(AHEAD),
    "integral": lambda m, t, other: m.sample_paths(t, draws=4).integral(AHEAD),
    "first passage": lambda m, t, other: m.sample_paths(t, AHEAD, 4).first_passage_time("x", above=9),
    "intensity": lambda m, t, other: m.observation_times(t).intensity(AHEAD),
    "expected counts": lambda m, t, other: m.observation_times(t).expected_counts(AHEAD),
    "picture: forecast": lambda m, t, other: m.plot(t, **CURVE),
    "picture: components": lambda m, t, other: m.plot(t, "components", **CURVE),
    "picture: what-if": lambda m, t, other: m.plot(t, "what-if", others={"more": other}, **CURVE),
    "picture: paths": lambda m, t, other: m.plot(t, "paths", draws=4, **CURVE),
    "picture: first-passage": lambda m, t, other: m.plot(
        t, "first-passage", variable="x", above=9, draws=4, ahead=AHEAD
    ),
    "picture: latent": lambda m, t, other: m.plot(t, "latent", ahead=AHEAD),
    "picture: plane": lambda m, t, other: m.plot(t, "plane", ahead=AHEAD),
}
BACKTESTS = {
    "backtest": lambda m, t: m.backtest(t, horizon=AHEAD, origins=2),
    "compare": lambda m, t: m.compare(t, horizon=AHEAD, origins=2),
    "evaluate": lambda m, t: m.evaluate(t, horizon=AHEAD, origins=2),
    "calibration": lambda m, t: m.plot(t, "calibration", horizon=AHEAD, origins=2),
    "residuals": lambda m, t: m.plot(t, "residuals", horizon=AHEAD, origins=2),
    "errors": lambda m, t: m.plot(t, "errors", horizon=AHEAD, origins=2),
}


def said_by(ask, *given):
    """What a door warns of, each once, always at the line of whoever asks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask(*given)
    own = [w for w in caught if w.category is UserWarning]
    assert {w.filename for w in own} <= {__file__}
    return {str(w.message) for w in own}


@pytest.fixture(scope="module")
def driven():
    frame = waves(2, 24, seed=3)
    table = frame.assign(dose=(frame["time"] % 2 < 1).astype(float))
    model = tiny(observation_times="poisson", windows_per_epoch=8).fit(
        table, Schema(known_future=("dose",))
    )
    return model, table[table["id"] == "s0"]


def test_every_door_says_what_is_held_and_how_far_it_looks(driven):
    model, one = driven
    last = one.dropna(subset=["x", "y"], how="all")["time"].max()
    held = pd.DataFrame({"id": "s0", "time": [last + 1.0], "dose": [1.0]})
    expected = said_by(QUESTIONS["predict"], model, one, held)
    assert len(expected) == 2
    assert any("`dose` has no values up to the times asked of series 's0'" in m for m in expected)
    assert any("times up to 10 ahead are 5 times the horizon of 2" in m for m in expected)
    for name, ask in QUESTIONS.items():
        assert said_by(ask, model, one, held) == expected, name
    told = pd.DataFrame({"id": "s0", "time": [last + 1.0, last + 3.0], "dose": 1.0})
    whole = pd.concat([one, told.assign(x=np.nan, y=np.nan)], ignore_index=True)
    near = {"count": 3, "draws": 4, "ahead": 3.0}
    assert not said_by(lambda: model.predict(whole, 3.0))
    assert not said_by(lambda: model.plot(whole, "paths", **near))


def test_backtests_and_their_pictures_say_so_too(driven):
    model, one = driven
    blank = one.assign(dose=one["dose"].where(one["time"] < 9.0))
    expected = said_by(BACKTESTS["backtest"], model, blank)
    assert len(expected) == 2
    for name, ask in BACKTESTS.items():
        assert said_by(ask, model, blank) == expected, name
    assert not said_by(model.backtest, one)
    held = {m for m in expected if "`dose`" in m}
    assert said_by(model.score, blank) == held
    drawn = said_by(lambda: model.plot(blank, "backtest", origins=2, **CURVE))
    assert drawn >= held and any("times up to 10 ahead are 5 times" in m for m in drawn)
