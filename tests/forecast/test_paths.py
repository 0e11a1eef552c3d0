"""Paths of a fitted model: value, rate, integral and crossing of the same draws, and contracts."""

from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from making import START, calendar, same, tiny, waves
from sklearn.exceptions import NotFittedError

from latentode import LatentODEError, LatentODEForecaster, OnlineForecaster, SchemaError
from latentode.forecast.residuals import Residuals

LASTING = Residuals((0.3, 0.5), (0.9, 1.4))


def exact(**options) -> LatentODEForecaster:
    """In float64, with residuals that are not left to a short fit."""
    model = tiny(**options).fit(waves(4, 20))
    model.network_.double()
    model.fitted_ = replace(model.fitted_, residuals=LASTING)
    return model


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"latent": "joint"},
        {"latent": "joint", "likelihood": "student-t"},
        {"network": {"interaction": "dynamics"}},
    ],
    ids=["per-variable", "joint", "student-t", "coupled"],
)
def model(request) -> LatentODEForecaster:
    return exact(**request.param)


@pytest.fixture(scope="module")
def plain() -> LatentODEForecaster:
    return exact()


def at(paths, ahead, what, count=None):
    """Draws of one quantity, `ahead` of each last observation: shape `(draws, queries)`."""
    found = []
    type(paths)._along(
        paths, ahead, count, (), None, lambda d: found.append(getattr(d, what)) or d.value
    )
    return np.concatenate(found, axis=1)


def between(paths, ahead, count):
    """Draws of values at so many times up to `ahead`: shape `(draws, series, count, variables)`."""
    return at(paths, ahead, "value", count).reshape(paths.draws, -1, count, 2)


def test_the_rate_is_the_derivative_of_every_draw(model, frame):
    paths, h = model.sample_paths(frame, draws=16), 1e-5
    for ahead in (0.3, 4.2):
        slope = (at(paths, ahead + h, "value") - at(paths, ahead - h, "value")) / (2 * h)
        np.testing.assert_allclose(at(paths, ahead, "rate"), slope, rtol=1e-5, atol=1e-6)


def test_the_integral_of_the_rate_is_the_change_of_the_value(model, frame):
    """Each draw's own, by the rule that `integral` uses; so both are right together."""
    paths = model.sample_paths(frame, draws=16)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    rates = sum(w * at(paths, 1.0 + 0.5 * u, "rate") for u, w in zip(nodes, weights, strict=True)) / 2
    change = at(paths, 1.5, "value") - at(paths, 0.5, "value")
    np.testing.assert_allclose(rates, change, atol=2e-3 * np.abs(change).max())


def test_the_integral_is_that_of_a_fine_sum(frame):
    model = exact(latent="joint")
    paths = model.sample_paths(frame, draws=16)
    middles = between(paths, 2.0, 200)[:, :, ::2]  # of a hundred cells
    fine = 2.0 * middles.mean(axis=2).reshape(16, -1)
    answer = paths.integral(2.0, quantiles=(0.5,))
    np.testing.assert_allclose(answer["mean"], fine.mean(axis=0), atol=2e-4)
    np.testing.assert_allclose(answer["std"], fine.std(axis=0), atol=2e-4)


def test_integrals_add_up(model, frame):
    paths = model.sample_paths(frame, draws=16)
    whole = paths.integral(3.0)["mean"]
    parts = paths.integral(1.1)["mean"] + paths.integral(3.0, a=1.1)["mean"]
    np.testing.assert_allclose(parts, whole, atol=2e-4)


def test_a_crossing_is_where_the_same_draw_is_at_the_level(model, frame):
    paths = model.sample_paths(frame, draws=16)
    level = float(paths.value(1.0, variables="x")["mean"].median())
    found = paths.first_passage_time("x", above=level)
    dense = np.linspace(0.0, 2.0, 81)
    later = np.moveaxis(between(paths, 2.0, 80)[..., 0], 2, 0)
    values = np.stack([at(paths, 1e-9, "value")[:, ::2], *later])
    first = np.where((values >= level).any(axis=0), dense[(values >= level).argmax(axis=0)], np.inf)
    assert (np.isinf(first) == np.isinf(found.times)).mean() > 0.95
    some = np.isfinite(first) & np.isfinite(found.times)
    assert some.any()
    np.testing.assert_allclose(found.times[some], first[some], atol=0.026)


def test_below_is_above_of_the_mirror_image(model, frame):
    paths = model.sample_paths(frame, draws=64)
    level = float(paths.value(1.0, variables="y")["mean"].median())
    up, down = paths.first_passage_time("y", above=level), paths.first_passage_time("y", below=level)
    at_once = (up.times == 0) != (down.times == 0)
    assert at_once.all()  # a draw begins on one side of the level


def test_the_spread_of_a_reading_is_that_of_the_forecast(plain, frame):
    paths, ahead = plain.sample_paths(frame, draws=1500), 1.0
    reading = at(paths, ahead, "reading")
    told = plain.forecast(frame, ahead)
    np.testing.assert_allclose(reading.std(axis=0), told.std, rtol=0.1)
    assert (paths.value(ahead)["std"] < told.std).all()


def test_sums_of_draws_are_wider_than_those_of_independent_times(plain, frame):
    sharp = copy(plain)  # of whose narrow intervals little is noise
    sharp.fitted_ = replace(plain.fitted_, residuals=Residuals((0.03, 0.5), (0.9, 1.4)))
    made = sharp.forecast(frame, 1.0, 6, ["x"])
    drawn = made.sample(1000).reshape(1000, -1, 6)
    of_sum = drawn.sum(axis=2).std(axis=0)
    independent = np.sqrt((made.std.reshape(-1, 6) ** 2).sum(axis=1))
    assert (of_sum > 1.5 * independent).all()
    np.testing.assert_allclose(drawn.std(axis=0), made.std.reshape(-1, 6), rtol=0.12)


def test_forecast_samples_and_paths_are_the_same_futures(plain, frame):
    paths = plain.sample_paths(frame, draws=8)
    reading = at(paths, 1.0, "reading")
    np.testing.assert_allclose(plain.forecast(frame, 1.0).sample(8), reading, rtol=1e-6, atol=1e-8)


def test_a_series_own_answers_depend_on_no_companion_and_on_no_other_question(model, frame):
    one = frame[frame["id"] == "s2"]
    for ask in (
        lambda p: p.rate(1.0, 2),
        lambda p: p.integral(2.0, a=0.5),
        lambda p: p.first_passage_time("y", below=2.0).to_frame(),
        lambda p: p.first_passage_time("y", below=2.0, readings=0.25).to_frame(),
    ):
        alone, among = ask(model.sample_paths(one)), ask(model.sample_paths(frame))
        among = among[among["id"] == "s2"].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, among, rtol=1e-8, atol=1e-9)
    some = model.sample_paths(frame).rate(2.0, variables="y")
    every = model.sample_paths(frame).rate(2.0, count=4)
    every = every[(every["variable"] == "y") & every["time"].isin(some["time"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, every, rtol=1e-8, atol=1e-9)


def test_a_shift_of_all_times_shifts_the_answers(model, frame):
    later = frame.assign(time=frame["time"] + 50.0)
    one, other = model.sample_paths(frame).rate(1.0), model.sample_paths(later).rate(1.0)
    np.testing.assert_allclose(other["mean"], one["mean"], rtol=1e-6, atol=1e-8)
    crossing, moved = (
        m.first_passage_time("x", above=0.5).times for m in map(model.sample_paths, (frame, later))
    )
    both = np.isfinite(crossing)
    np.testing.assert_allclose(moved[both], crossing[both], atol=1e-6)


def test_a_longer_horizon_changes_no_earlier_crossing(model, frame):
    near = model.sample_paths(frame, horizon=1.5).first_passage_time("x", above=0.8).times
    far = model.sample_paths(frame, horizon=5.0).first_passage_time("x", above=0.8).times
    np.testing.assert_allclose(near, np.where(far <= 1.5, far, np.inf), atol=1e-5)


def test_without_residuals_a_point_has_one_path(plain, frame):
    model = copy(plain)
    model.fitted_ = replace(model.fitted_, residuals=None)
    assert (model.sample_paths(frame).value(1.0)["std"] < 1e-9).all()


def test_rates_are_per_time_unit_of_the_calendar():
    frame = calendar(START)
    options = {"horizon": "2h", "context_length": "6h"}
    hours = tiny(**options).fit(frame)
    rate = hours.sample_paths(frame).rate("1h", quantiles=())
    ahead = {d: hours.sample_paths(frame).value(d, quantiles=())["mean"] for d in ("59min", "61min")}
    slope = (ahead["61min"] - ahead["59min"]) * 30
    np.testing.assert_allclose(rate["mean"], slope, rtol=0.02, atol=2e-3)
    total = hours.sample_paths(frame).integral("60min", quantiles=())
    assert (total["until"] - total["since"] == pd.Timedelta("1h")).all()
    assert total["mean"].abs().max() < 10  # in units times hours, not seconds


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda p: p.first_passage_time("x"), "exactly one of above= and below="),
        (lambda p: p.first_passage_time("x", above=1.0, below=0.0), "exactly one"),
        (lambda p: p.first_passage_time("z", above=1.0), "'z' was not among the targets"),
        (lambda p: p.first_passage_time("x", above=1.0, readings=-1.0), "readings must be positive"),
        (lambda p: p.integral(1.0, a=2.0), "until before it begins"),
        (lambda p: p.integral([20.0], a=[5.0]), "before its last observation"),
        (lambda p: p.integral([20.0, 21.0]), "several times of one series"),
        (lambda p: p.rate([]), "at is empty"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(fitted, frame, ask, says):
    with pytest.raises(LatentODEError, match=says):
        ask(fitted.sample_paths(frame))


def test_draws_must_be_some(fitted, frame):
    with pytest.raises(LatentODEError, match="at least 1"):
        fitted.sample_paths(frame, draws=0)


# ---------------------------------------------------------------- intervals and draws as columns


def test_a_level_is_an_interval_named_by_its_quantiles(fitted, frame):
    made = fitted.predict(frame, 1.0, quantiles=0.5, level=[50, 80])
    assert list(made.columns[5:]) == ["q0.1", "q0.25", "q0.5", "q0.75", "q0.9"]
    same(made[["q0.1", "q0.9"]], fitted.predict(frame, 1.0)[["q0.1", "q0.9"]])
    assert "q0.025" in fitted.predict(frame, 1.0, level=95)


@pytest.mark.parametrize("wrong", [0, 100, 0.8, "most", [80, 120]])
def test_a_level_that_is_no_per_cent_is_refused(fitted, frame, wrong):
    with pytest.raises(LatentODEError, match="per cent"):
        fitted.predict(frame, 1.0, level=wrong)


def test_samples_are_a_long_frame_of_draws(fitted, frame):
    made = fitted.predict(frame, 2.0, 2, samples=5)
    assert list(made.columns) == ["id", "time", "variable", "sample", "value"]
    assert len(made) == 5 * 4 * 2 * 2
    assert not made.duplicated(["id", "time", "variable", "sample"]).any()
    same(made, fitted.predict(frame, 2.0, 2, samples=5))
    assert (made["value"] != fitted.predict(frame, 2.0, 2, samples=5, seed=1)["value"]).any()
    one = fitted.predict(frame[frame["id"] == "s1"], 2.0, 2, samples=5)
    own = made[made["id"] == "s1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, own, rtol=1e-4, atol=1e-5)
    with pytest.raises(LatentODEError, match="samples must be at least 1"):
        fitted.predict(frame, 2.0, samples=0)


def test_residuals_are_saved(fitted, frame, tmp_path):
    assert fitted.fitted_.residuals is not None
    fitted.save(tmp_path)
    again = LatentODEForecaster.load(tmp_path)
    assert again.fitted_.residuals == fitted.fitted_.residuals
    paths, same_paths = (m.sample_paths(frame) for m in (again, fitted))
    same(paths.rate(1.0), same_paths.rate(1.0))


# ------------------------------------------------------------------------------------ updates


def test_updating_is_predicting_from_the_longer_history(fitted, frame):
    rest = frame[frame["time"] >= 6.0]
    online = OnlineForecaster(fitted, frame[frame["time"] < 6.0])
    for _, rows in rest.groupby(rest["time"].round()):
        online.update(rows)
    same(online.predict(1.0, count=3), fitted.predict(frame, 1.0, 3))
    np.testing.assert_array_equal(online.forecast(1.0).mean, fitted.forecast(frame, 1.0).mean)
    one, other = online.sample_paths(), fitted.sample_paths(frame)
    same(one.rate(1.0), other.rate(1.0))
    same(one.integral(1.0), other.integral(1.0))
    first, second = (p.first_passage_time("x", above=0.5).to_frame() for p in (one, other))
    same(first, second)


def test_late_rows_and_new_series_are_taken_in(fitted, frame):
    one = frame["id"] == "s0"
    online = OnlineForecaster(fitted, frame[one & (frame["time"] > 6.0)])
    online.update(frame[one & (frame["time"] <= 6.0)]).update(frame[~one])
    same(online.predict(1.0), fitted.predict(frame, 1.0))


def test_refused_rows_leave_the_history_alone(fitted, frame):
    online = OnlineForecaster(fitted, frame)
    before = online.predict(1.0)
    with pytest.raises(SchemaError, match=r"known already.*duplicates='last'"):
        online.update(frame.iloc[:1])
    with pytest.raises(SchemaError, match="is not in the table"):
        online.update(frame.iloc[:1].drop(columns="y"))
    same(online.predict(1.0), before)


def test_a_revised_row_goes_by_the_policy(frame):
    model = tiny(duplicates="last").fit(frame)
    place = frame["x"].last_valid_index()
    revised = frame.loc[[place]].assign(x=9.0, y=np.nan)
    changed = frame.copy()
    changed.loc[place, "x"] = 9.0
    online = OnlineForecaster(model, frame).update(revised)
    same(online.predict(1.0), model.predict(changed, 1.0))


def test_zones_of_new_rows_may_differ_from_those_before():
    frame = calendar(START, "Europe/Berlin")
    model = tiny(horizon="2h", context_length="6h").fit(frame)
    early, late = frame.iloc[:-6], frame.iloc[-6:]
    moved = late.assign(time=late["time"].dt.tz_convert("UTC"))
    same(OnlineForecaster(model, early).update(moved).predict("1h"), model.predict(frame, "1h"))


def test_an_online_forecaster_needs_a_fit_and_something_observed(fitted):
    with pytest.raises(NotFittedError):
        OnlineForecaster(tiny())
    with pytest.raises(LatentODEError, match=r"give rows with update\(\)"):
        OnlineForecaster(fitted).predict(1.0)
