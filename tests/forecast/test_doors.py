"""Every door to a forecast says the same of one history and the same times."""

import numpy as np
import pandas as pd
import pytest
from making import START, forecaster, tiny, waves

from latentode import Schema

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
