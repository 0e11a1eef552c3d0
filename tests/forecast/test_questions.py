"""What may be asked of a forecaster, ahead of a history and inside it."""

import numpy as np
import pandas as pd
import pytest
import torch
from making import START, calendar, same, tiny, traced, waves

from latentode import (
    LatentODEError,
    SchemaError,
)
from latentode.data import SeriesDataset
from latentode.data.queries import QueryTimes
from latentode.evaluation.metrics import quantile_levels
from latentode.forecast.queries import queries_at

KEYS = ["id", "time", "variable"]

# --------------------------------------------------------------------------- forms of `at`


def test_timestamps_are_asked_of_every_series_in_the_order_given(fitted, frame):
    answer = fitted.predict(frame, [13.0, 12.5])
    assert list(answer["id"]) == [i for i in ("s0", "s1", "s2", "s3") for _ in range(4)]
    assert list(answer["time"][:4]) == [13.0, 13.0, 12.5, 12.5]
    assert list(answer["variable"][:4]) == ["x", "y", "x", "y"]
    for form in (np.array([13.0, 12.5]), pd.Series([13.0, 12.5]), pd.Index([13.0, 12.5]), (13.0, 12.5)):
        same(fitted.predict(frame, form), answer)


def test_each_time_is_answered_from_the_last_observation_of_its_series_by_then(frame):
    some = frame[~((frame["id"] == "s2") & (frame["time"] > 4))].assign(x=lambda f: f["x"].iloc[::-1])
    dataset = SeriesDataset.from_frame(some)
    own = dataset.time[dataset.series == 1]
    asked = np.r_[own, own + 0.01, own[-1] + 30]
    keys = pd.DataFrame({"time": np.r_[asked, 9.0]})
    places = QueryTimes(np.r_[np.ones(len(asked)), 2].astype(int), np.r_[asked, 9.0], keys)
    queries, _ = queries_at(dataset, places, np.array([1]))
    for series, time, origin in zip(queries.series, queries.time, queries.origin, strict=True):
        seen = dataset.time[dataset.series == series]
        assert origin == seen[seen <= time].max()


def test_a_frame_asks_each_series_its_own_times_in_its_own_order(fitted, frame):
    at = pd.DataFrame({"id": ["s3", "s0", "s3"], "time": [12.7, 13.1, 12.2]}, index=[7, 7, 9])
    answer = fitted.predict(frame, at, variables=["y"])
    assert list(answer["id"]) == ["s3", "s0", "s3"]
    assert list(answer["time"]) == [12.7, 13.1, 12.2]
    assert set(answer["variable"]) == {"y"}
    for i in range(3):
        one = fitted.predict(frame, at.iloc[[i]], variables=["y"])
        np.testing.assert_allclose(one["mean"].iloc[0], answer["mean"].iloc[i], rtol=1e-5)


def test_a_duration_counts_from_each_series_last_observation(fitted, frame):
    answer = fitted.predict(frame, 3.0, 2, variables=["x"])
    last = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"].max()
    ahead = answer["time"].to_numpy() - last[answer["id"]].to_numpy()
    np.testing.assert_allclose(ahead, [1.5, 3.0] * 4, rtol=1e-12)


def test_one_timestamp_may_be_given_bare():
    frame, bare = calendar(START), pd.Timestamp("2024-04-01T12:00:00")
    model = tiny(horizon="2h", context_length="6h").fit(frame)
    for at in (bare, bare.isoformat(), bare.to_pydatetime()):
        answer = model.predict(frame, at)
        assert (answer["time"] == bare).all()
        assert len(answer) == 4


@pytest.mark.parametrize(
    ("at", "count", "says"),
    [
        ([], None, "empty"),
        ([13.0], 3, "count"),
        (-1.0, None, "positive"),
        (1.0, 0, "count"),
        ("24h", None, "calendar|number"),
        (pd.DataFrame({"id": ["s0"]}), None, "time"),
        (pd.DataFrame({"time": [13.0]}), None, "id"),
        (pd.DataFrame({"id": ["nobody"], "time": [13.0]}), None, "nobody"),
        (pd.DataFrame({"id": ["s0"], "time": [None]}), None, "time"),
        ([-3.0], None, "before its first observation"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(fitted, frame, at, count, says):
    with pytest.raises(SchemaError, match=says):
        fitted.predict(frame, at, count)


def test_an_unknown_variable_is_refused_by_name(fitted, frame):
    with pytest.raises(SchemaError, match="'z' was not among the targets of training: x, y"):
        fitted.predict(frame, 1.0, variables=["z"])


def test_quantiles_rise_and_the_mean_lies_among_them(fitted, frame):
    levels = (0.01, 0.1, 0.5, 0.9, 0.99)
    answer = fitted.predict(frame, 2.0, 4, quantiles=levels)
    columns = [f"q{q:g}" for q in levels]
    assert list(answer.columns) == [*KEYS, "mean", "std", *columns]
    assert (np.diff(answer[columns].to_numpy(), axis=1) > 0).all()
    assert (answer["mean"] > answer["q0.01"]).all()
    assert (answer["mean"] < answer["q0.99"]).all()


def test_one_level_may_be_given_bare(fitted, frame):
    for level in (0.5, np.float64(0.5)):
        same(fitted.predict(frame, 2.0, quantiles=level), fitted.predict(frame, 2.0, quantiles=[0.5]))
    assert "q0.25" in fitted.backtest(frame, quantiles=0.25)


def test_every_level_has_a_column_of_its_own(fitted, frame):
    levels = [1e-6, 1e-5, 0.1, 0.1234567, 0.12345671, 0.1 + 0.2]
    answer = fitted.predict(frame, 2.0, quantiles=levels)
    names = ["q0.000001", "q0.00001", "q0.1", "q0.1234567", "q0.12345671", "q0.3"]
    assert list(answer.columns[5:]) == names
    assert (np.diff(answer[names].to_numpy(), axis=1) > 0).all()
    assert quantile_levels(answer) == pytest.approx(levels)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, float, str])
def test_a_level_of_few_bits_is_the_decimal_number_that_it_stands_for(fitted, frame, kind):
    levels = [kind(0.1), kind(0.9)]
    answer = fitted.predict(frame, 2.0, quantiles=levels)
    same(answer, fitted.predict(frame, 2.0, quantiles=[0.1, 0.9]))
    same(answer, fitted.predict(frame, 2.0, level=kind(80), quantiles=[]))


@pytest.mark.parametrize("array", [np.float32, torch.tensor])
def test_levels_may_stand_in_an_array_of_few_bits(fitted, frame, array):
    answer = fitted.predict(frame, 2.0, quantiles=array([0.1, 0.25]))
    assert answer.columns[-2:].tolist() == ["q0.1", "q0.25"]


@pytest.mark.parametrize("wrong", ["no", None, 1, np.array([True, False]), pd.DataFrame({"x": [1]})])
def test_what_is_switched_is_true_or_false(fitted, frame, wrong):
    for name, ask in {
        "smooth": lambda: fitted.predict(frame, 2.0, smooth=wrong),
        "log_prob": lambda: fitted.backtest(frame, log_prob=wrong),
    }.items():
        with pytest.raises(LatentODEError, match=f"{name} must be True or False, got "):
            ask()


@pytest.mark.parametrize("wrong", [1.5, [0.1, 0.0], [float("nan")], "half", None, [None]])
def test_levels_that_are_none_are_refused_before_anything_is_solved(fitted, wrong, monkeypatch):
    monkeypatch.setattr(fitted, "forecast", lambda *_: pytest.fail("solved"))
    with pytest.raises(LatentODEError, match="between 0 and 1"):
        fitted.predict(waves(1, 5), 1.0, quantiles=wrong)


def test_no_variable_at_all_is_refused(fitted, frame):
    for none in ([], (), np.array([])):
        with pytest.raises(SchemaError, match="variables is empty: name some of x, y"):
            fitted.predict(frame, 1.0, variables=none)


def test_a_target_may_be_empty_but_its_column_must_be_there(fitted, frame):
    found = fitted.predict(frame.assign(y=np.nan), 1.0)
    assert np.isfinite(found["mean"]).all()
    same(fitted.predict(frame.assign(y=None), 1.0), found)
    with pytest.raises(SchemaError, match=r"`y`, which the model was trained on.*add it empty"):
        fitted.predict(frame.rename(columns={"y": "Y"}), 1.0)


def test_predict_is_the_frame_of_forecast(fitted, frame):
    made = fitted.forecast(frame, 2.0, 2)
    same(made.to_frame((0.1, 0.5, 0.9)), fitted.predict(frame, 2.0, 2))
    np.testing.assert_allclose(made.cdf(made.quantile(0.3)), 0.3, atol=1e-6)


def test_a_time_absurdly_far_ahead_is_refused_before_any_solving(fitted, frame):
    model = fitted
    with pytest.raises(LatentODEError, match="more than 1000 times"):
        model.predict(frame, at=2000 * model.horizon_)


def test_one_variable_may_be_named_bare(fitted, frame):
    name = fitted.schema_.targets[0]
    assert set(fitted.predict(frame, at=1.0, variables=name)["variable"]) == {name}


# ---------------------------------------------------------------------- inside the history


@pytest.mark.parametrize("t0", ["origin", "start"])
def test_times_inside_the_history_are_answered_however_far_back(t0, frame):
    model = tiny(context_length=3.0, t0=t0).fit(frame)  # histories are about 12 long
    first = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"].min()
    asked = (
        pd.DataFrame({"id": i, "time": np.linspace(first[i], 12.0, 40)} for i in first.index)
        .explode("time")
        .astype({"time": float})
    )
    answer = model.predict(frame, asked.reset_index(drop=True))
    assert np.isfinite(answer[["mean", "std", "q0.1", "q0.9"]].to_numpy()).all()


def test_unless_smoothed_a_time_inside_is_answered_from_what_had_been_seen_by_then(frame):
    model = tiny(context_length=3.0).fit(frame)
    at = pd.DataFrame({"id": ["s0"], "time": [2.0]})
    later = frame.copy()
    later.loc[later["time"] > 2.0, ["x", "y"]] += 5.0
    same(model.predict(frame, at, smooth=False), model.predict(later, at, smooth=False))
    near = frame.copy()
    near.loc[near["time"].between(0.0, 2.0), ["x", "y"]] += 5.0
    before, after = (model.predict(f, at, smooth=False)["mean"] for f in (frame, near))
    assert (before != after).all()


def test_answers_do_not_depend_on_what_else_is_asked(fitted, frame):
    alone = fitted.predict(frame, [6.0, 13.0])
    among = fitted.predict(frame, [3.0, 6.0, 13.0, 60.0])
    among = among[among["time"].isin([6.0, 13.0])].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, among, rtol=1e-4, atol=1e-5)


def test_a_trace_runs_from_the_first_observation_to_a_horizon_ahead(fitted, frame):
    trace = traced(fitted, frame, count=9).to_frame()
    times = trace.groupby("id")["time"]
    observed = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"]
    np.testing.assert_allclose(times.min(), observed.min(), rtol=1e-9)
    np.testing.assert_allclose(times.max(), observed.max() + 2.0, rtol=1e-9)
    assert len(trace) == 4 * 9 * 2


def test_histories_of_one_row_or_of_no_value_are_still_forecast(fitted):
    one = pd.DataFrame({"id": ["a", "b"], "time": [5.0, 6.0], "x": [0.3, np.nan], "y": [np.nan] * 2})
    answer = fitted.predict(one, 1.0)
    assert list(answer["id"]) == ["a", "a", "b", "b"]
    assert np.isfinite(answer[["mean", "std"]].to_numpy()).all()
