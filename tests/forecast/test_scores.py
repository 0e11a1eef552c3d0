"""Backtests, comparisons and scores of the forecaster."""

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from making import START, calendar, same, tiny, waves

from latentode import (
    SchemaError,
)


def test_a_model_that_repeats_the_last_value_scores_zero(frame):
    frame = frame.copy()
    first = frame.groupby("id").head(1).index
    frame.loc[first, ["x", "y"]] = 1.0  # so that every variable has a last value
    model = tiny(context_length=100.0, structure="last-value").fit(frame)
    with torch.no_grad():
        for parameter in model.network_.layout.decoder.layers[-1].parameters():
            parameter.zero_()
    assert model.score(frame) == pytest.approx(0.0, abs=1e-5)
    compared = model.compare(frame)
    ours, last = (
        compared[compared["model"] == m].reset_index(drop=True) for m in ("latent ODE", "last value")
    )
    np.testing.assert_allclose(ours["mean"], last["mean"], rtol=1e-5, atol=1e-5)


def test_a_comparison_asks_every_model_the_same(fitted, frame):
    compared = fitted.compare(frame, horizon=1.3)
    assert list(compared["model"].unique()) == [
        "latent ODE",
        "last value",
        "linear drift",
        "series mean",
    ]
    columns = ["id", "origin", "time", "lead", "variable", "actual"]
    ours = compared.loc[compared["model"] == "latent ODE", columns].reset_index(drop=True)
    for _, part in compared.groupby("model"):
        same(part[columns].reset_index(drop=True), ours)
    assert (ours["lead"] > 0).all()
    assert (ours["lead"] <= 1.3 + 1e-12).all()


def test_the_time_of_day_is_a_baseline_only_where_times_have_one():
    frame = calendar(START)
    dates = frame.assign(time=[dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(len(frame))])
    models = {}
    for kind, table in (("datetime", frame), ("date", dates)):
        models[kind] = set(
            tiny(context_length=None, horizon="4h" if kind == "datetime" else "4D")
            .fit(table)
            .compare(table)["model"]
        )
    assert models["datetime"] - models["date"] == {"time-of-day mean"}


def test_every_score_asks_from_at_most_so_many_times_of_a_series(fitted):
    frame = waves(2, 600, seed=2).drop_duplicates(["id", "time"])
    every = fitted.backtest(frame, 0.3, origins=None)
    assert every.groupby("id")["origin"].nunique().max() > 200
    usual = fitted.backtest(frame, 0.3)
    assert (usual.groupby("id")["origin"].nunique() == 200).all()
    few = fitted.compare(frame, horizon=0.3, origins=7)
    assert (few.groupby(["id", "model"])["origin"].nunique() == 7).all()
    assert few["actual"].notna().all() and few["mean"].notna().all()
    assert fitted.score(frame, origins=7) != fitted.score(frame, origins=9)


def test_a_horizon_left_out_is_the_usual_one():
    frame = pd.DataFrame({"time": np.arange(90.0), "x": np.sin(np.arange(90.0))})
    model = tiny(horizon=None, context_length=None, max_epochs=0).fit(frame)
    assert (model.horizon_, model.fitted_.engine.context_length) == (22.25, 178.0)


def test_nothing_to_score_is_said(fitted):
    one = pd.DataFrame({"id": ["a"], "time": [0.0], "x": [1.0], "y": [1.0]})
    with pytest.raises(SchemaError, match="nothing can be scored"):
        fitted.score(one)


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_a_variable_that_never_changes_spoils_no_score(frame, unit):
    frame = frame.assign(stuck=7.0 * unit)
    model = tiny().fit(frame)
    found = model.backtest(frame)
    found = found[found["variable"] != "stuck"]
    last = model.compare(frame).query("model == 'last value' and variable != 'stuck'")
    error, naive = (
        (table["actual"] - table["mean"]).abs().groupby(table["variable"]).mean()
        for table in (found, last)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert model.score(frame) == pytest.approx((1 - error / naive).mean(), rel=1e-6)


def test_where_nothing_ever_changes_the_score_is_that_of_the_last_value():
    frame = pd.DataFrame({"id": np.repeat(range(4), 20), "time": np.tile(np.arange(20.0), 4), "x": 7.0})
    model = tiny().fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert model.score(frame) == 0.0
