"""Times inside a history, answered from both of their sides."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import START, calendar, same, tiny, waves
from scipy import special

from latentode.data.batch import Observations, Queries
from latentode.forecast.residuals import Residuals, ScoreTransform, matern

LASTING = Residuals((0.3, 0.5), (1.5, 1.1))
BLOCK = {"network": {"structure": "state-space"}}


def without_block(**options):
    """Forecasts of which are revised by the residual process, not by a block's smoother."""
    return tiny(**({"network": {"structure": "last-value"}} | options))


@pytest.fixture(
    scope="module",
    params=[{}, {"latent": "joint"}, {"latent": "joint", "likelihood": "student-t"}, BLOCK],
    ids=["per-variable", "joint", "student-t", "block"],
)
def model(request):
    made = without_block(**request.param).fit(waves(4, 20))
    made.network_.double()
    made.fitted_ = replace(made.fitted_, residuals=LASTING)
    return made


def one_series(*times, value=1.0):
    """x observed at the times given, `value` at the last of them."""
    x = np.r_[np.zeros(len(times) - 1), value]
    return pd.DataFrame({"id": "a", "time": times, "x": x, "y": np.nan})


def at(*times):
    return pd.DataFrame({"id": "a", "time": times})


def test_one_later_observation_revises_by_the_formula_of_two_normals():
    model = without_block().fit(waves(4, 20))
    model.network_.double()
    model.fitted_ = replace(model.fitted_, residuals=LASTING)
    history, time, later = one_series(1.0, 2.0, 3.5, value=2.0), 2.6, 3.5
    before = model.forecast(history, at(time, later), variables="x", smooth=False)
    joint = model.forecast(history[:2], at(time, later), variables="x")  # both from the origin 2.0
    m, s = joint.mean, joint.std
    unit = model.fitted_.reader.scaling.scale[0]
    w = (s / unit) / np.sqrt((s / unit) ** 2 + LASTING.noise[0] ** 2)
    rho = w[0] * w[1] * matern(np.array([(later - time) / LASTING.length[0]]))[0]
    found = model.forecast(history, at(time), variables="x")
    assert before.mean[0] == pytest.approx(m[0], rel=1e-9)
    expected = m[0] + s[0] * rho * (2.0 - m[1]) / s[1]
    assert found.mean[0] == pytest.approx(expected, rel=5e-3)
    assert found.std[0] == pytest.approx(s[0] * np.sqrt(1 - rho**2), rel=5e-3)
    assert found.quantile(0.9)[0] == pytest.approx(
        found.mean[0] + found.std[0] * special.ndtri(0.9), rel=1e-6
    )


def test_the_nearer_an_observation_the_narrower_the_answer_and_nearer_to_it():
    model = without_block().fit(waves(4, 20))
    model.fitted_ = replace(model.fitted_, residuals=Residuals((0.05, 0.05), (1.5, 1.5)))
    history = one_series(1.0, 2.0, 4.0, value=1.5)
    times = (2.5, 3.0, 3.5, 3.9, 3.99)
    smooth = model.predict(history, at(*times), variables="x")
    past = model.predict(history, at(*times), variables="x", smooth=False)
    share = smooth["std"] / past["std"]
    assert (np.diff(share) < 0).all() and share.iloc[-1] < 0.2 and share.iloc[0] < 0.95
    assert (np.diff(smooth["mean"]) > 0).all()
    assert abs(smooth["mean"].iloc[-1] - 1.5) < 0.15


def test_only_times_before_an_observation_of_the_variable_are_revised(model):
    history = one_series(1.0, 2.0, 3.0)
    for times in ((3.0, 3.5, 9.0),):  # y is never observed, and x not after 3.0
        same(model.predict(history, at(*times)), model.predict(history, at(*times), smooth=False))
    inside, past = (model.predict(history, at(2.5), smooth=s) for s in (True, False))
    assert inside["mean"][0] != past["mean"][0]
    columns = ["mean", "std", "q0.1", "q0.9"]
    np.testing.assert_allclose(
        inside.loc[1, columns].astype(float), past.loc[1, columns].astype(float), rtol=1e-6
    )


def test_an_answer_gets_narrower_and_stays_a_distribution(model, frame):
    asked = pd.DataFrame({"id": np.repeat(["s0", "s3"], 8), "time": np.tile(np.linspace(3, 11, 8), 2)})
    smooth, past = (model.forecast(frame, asked, smooth=s) for s in (True, False))
    if smooth.score_transform is not None:
        assert (smooth.score_transform.spread <= 1).all()
    assert (smooth.mean != past.mean).mean() > 0.8
    low, middle, high = (smooth.quantile(q) for q in (0.1, 0.5, 0.9))
    assert (low < middle).all() and (middle < high).all()
    for q, value in ((0.1, low), (0.9, high)):
        np.testing.assert_allclose(smooth.cdf(value), q, atol=1e-6)
    width = past.quantile(0.9) - past.quantile(0.1)
    assert np.median((high - low) / width) < 0.95
    drawn = smooth.sample(2000)
    for q, value in ((0.1, low), (0.5, middle), (0.9, high)):
        assert np.abs((drawn <= value).mean(axis=0) - q).max() < 0.05


def test_a_series_is_smoothed_by_itself_alone(model, frame):
    asked = pd.DataFrame({"id": "s2", "time": [4.0, 6.5, 8.0]})
    alone = model.predict(frame[frame["id"] == "s2"], asked)
    among = model.predict(frame, asked)
    pd.testing.assert_frame_equal(alone, among, rtol=1e-8, atol=1e-9)
    mixed = model.predict(frame.sample(frac=1, random_state=3), asked.iloc[::-1])
    pd.testing.assert_frame_equal(
        mixed.sort_values(["time", "variable"], ignore_index=True), among, rtol=1e-8, atol=1e-9
    )
    later = model.predict(frame.assign(time=frame["time"] + 20), asked.assign(time=asked["time"] + 20))
    np.testing.assert_allclose(later["mean"], among["mean"], rtol=1e-6)


def test_without_residuals_nothing_is_revised(frame):
    model = without_block().fit(frame)
    model.fitted_ = replace(model.fitted_, residuals=None)
    asked = pd.DataFrame({"id": "s1", "time": [5.0, 7.0]})
    same(model.predict(frame, asked), model.predict(frame, asked, smooth=False))


def gappy(n=40, seed=0):
    """Random walks that are read with noise, of which a long stretch was not read."""
    random, rows = np.random.default_rng(seed), []
    for i in range(n):
        time = np.sort(random.uniform(0, 20, 90))
        x = np.cumsum(random.normal(size=90) * np.sqrt(np.diff(time, prepend=0)))
        rows.append(pd.DataFrame({"id": i, "time": time, "x": x + 0.1 * random.normal(size=90)}))
    frame = pd.concat(rows, ignore_index=True)
    return frame, frame["time"].between(9, 15)


@pytest.mark.parametrize("latent", ["joint", "per-variable"])
def test_a_gap_longer_than_the_horizon_is_bridged_with_honest_width(latent):
    frame, hidden = gappy()
    model = tiny(horizon=2.0, context_length=5.0, latent=latent, max_epochs=0, network={})
    model.fit(frame[~hidden])
    asked = frame[hidden]
    found = model.predict(frame[~hidden], asked[["id", "time"]])
    past = model.predict(frame[~hidden], asked[["id", "time"]], smooth=False)
    error, before = (np.abs(f["mean"] - asked["x"].to_numpy()) for f in (found, past))
    assert error.mean() < 0.75 * before.mean()
    inside = (found["q0.1"] <= asked["x"].to_numpy()) & (asked["x"].to_numpy() <= found["q0.9"])
    assert 0.72 < inside.mean() < 0.88  # of 40 gaps, within which errors go together
    assert (found["std"] < past["std"]).mean() > 0.95


def test_an_uncorrected_answer_inside_is_the_block_s_own_smoother():
    frame, _ = gappy(6)
    model = tiny(horizon=2.0, context_length=50.0, max_epochs=0, network={}).fit(frame)
    asked = pd.DataFrame({"id": 3, "time": [4.0, 11.3]})
    found = model.forecast(frame, asked, variables="x")
    fitted, own = model.fitted_, frame[frame["id"] == 3].sort_values("time")
    block, scaling, unit = (
        fitted.engine.network.emission.structure,
        fitted.reader.scaling,
        fitted.horizon,
    )
    last = own["time"].max()
    none = torch.zeros(len(own), dtype=torch.long)
    scaled = (torch.tensor(own["x"].to_numpy()) - scaling.loc[0]) / scaling.scale[0]
    seen = Observations(none, none, torch.tensor((own["time"] - last).to_numpy()) / unit, scaled)
    at_all = Queries(none[:2], none[:2], (torch.tensor([4.0, 11.3]) - last).double() / unit)
    outlook = block(seen, at_all, 1)
    expected = scaling.loc[0] + scaling.scale[0] * outlook.location.numpy()
    np.testing.assert_allclose(found.mean, expected, rtol=1e-4)
    np.testing.assert_allclose(found.std, scaling.scale[0] * outlook.deviation.numpy(), rtol=1e-2)


def test_a_backtest_sees_nothing_of_what_comes_later(frame):
    model = tiny().fit(frame)
    later = frame.copy()
    later.loc[later["time"] > 8.0, ["x", "y"]] += 5.0
    one, other = model.backtest(frame), model.backtest(later)
    early = (one["time"] <= 8.0).to_numpy()
    same(one[early].drop(columns="actual"), other[early].drop(columns="actual"))


def test_calendars_are_smoothed_as_numbers_are():
    frame = calendar(START)
    model = tiny(horizon="2h", context_length="6h").fit(frame)
    model.fitted_ = replace(model.fitted_, residuals=Residuals((0.1, 0.1), (1.0, 1.0)))
    inside = [frame["time"].min() + pd.Timedelta("7h")]
    smooth, past = (model.predict(frame, inside, smooth=s) for s in (True, False))
    assert (smooth["std"] < past["std"]).any()


def test_a_score_transform_that_says_nothing_changes_nothing():
    nothing = ScoreTransform(np.zeros(2), np.ones(2))
    assert not nothing.changed.any()
    np.testing.assert_allclose(nothing.cdf(np.array([0.2, 0.9])), [0.2, 0.9], rtol=1e-12)
    np.testing.assert_allclose(nothing.level(special.ndtri(0.3)), 0.3, rtol=1e-12)
