"""Metrics by level, interval and density: equal to scoringrules, proper, and in tables."""

import numpy as np
import pandas as pd
import pytest
import torch
from making import tiny
from scipy import stats
from scores import scoringrules
from torch.distributions import Normal

from latentode import LatentODEError
from latentode.data.scaling import Units
from latentode.evaluation.metrics import METRICS, bin_leads, score_frame, summarise
from latentode.forecast.forecast import Forecast
from latentode.nn.likelihoods import likelihood_of

LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)


def told(actual, distribution, levels=LEVELS):
    """A frame in which every value is told the same distribution of scipy's."""
    quantiles = {f"q{q:g}": distribution.ppf(q) for q in levels}
    log_prob = distribution.logpdf(actual)
    return pd.DataFrame({"actual": actual, "mean": distribution.mean(), **quantiles}).assign(
        log_prob=log_prob, model="m"
    )


def unlike(n=200):
    """Values with predictive quantiles of their own each."""
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=n), rng.uniform(0.2, 3, n)
    quantiles = {f"q{q:g}": stats.norm.ppf(q, mean, std) for q in LEVELS}
    return pd.DataFrame({"actual": rng.normal(size=n), "mean": mean, **quantiles})


@pytest.mark.parametrize("level", LEVELS)
def test_pinball_is_that_of_scoringrules(level):
    frame = unlike()
    expected = scoringrules.quantile_score(
        frame["actual"].to_numpy(), frame[f"q{level:g}"].to_numpy(), level
    )
    np.testing.assert_allclose(score_frame(frame, "pinball")[f"pinball_q{level:g}"], expected)


@pytest.mark.parametrize(("percent", "ends"), [(50, (2, 4)), (80, (1, 5)), (95, (0, 6))])
def test_the_interval_score_is_that_of_scoringrules(percent, ends):
    frame = unlike()
    low, high = (frame[f"q{LEVELS[i]:g}"].to_numpy() for i in ends)
    actual = frame["actual"].to_numpy()
    expected = scoringrules.interval_score(actual, low, high, 1 - percent / 100)
    found = score_frame(frame, ["interval", "coverages"])
    np.testing.assert_allclose(found[f"interval_{percent}"], expected)
    np.testing.assert_array_equal(found[f"coverage_{percent}"], (low <= actual) & (actual <= high))
    # An interval score is the pinball losses of its ends, put together.
    losses = score_frame(frame, "pinball")
    both = sum(losses[f"pinball_q{LEVELS[i]:g}"] for i in ends)
    np.testing.assert_allclose(expected, 2 * both / (1 - percent / 100))


def test_the_crps_of_quantiles_is_that_of_scoringrules():
    frame = unlike()
    quantiles = frame[[f"q{q:g}" for q in LEVELS]].to_numpy()
    expected = scoringrules.crps_quantile(frame["actual"].to_numpy(), quantiles, np.array(LEVELS))
    np.testing.assert_allclose(score_frame(frame)["crps"], expected)


def test_the_crps_of_an_ensemble_is_that_of_its_ordered_members_as_quantiles():
    rng = np.random.default_rng(1)
    members, actual = np.sort(rng.gamma(2.0, size=(50, 20)), axis=1), rng.gamma(2.0, size=50)
    levels = (np.arange(20) + 0.5) / 20
    quantiles = {f"q{q:g}": members[:, i] for i, q in enumerate(levels)}
    frame = pd.DataFrame({"actual": actual, "mean": members.mean(axis=1), **quantiles})
    expected = scoringrules.crps_ensemble(actual, members, estimator="nrg")
    np.testing.assert_allclose(score_frame(frame)["crps"], expected)


@pytest.mark.parametrize("samples", [1, 4])
def test_nll_is_the_log_score_of_scoringrules_in_data_units(samples):
    rng = np.random.default_rng(2)
    mean, std = rng.normal(size=(samples, 30)), rng.uniform(0.3, 2, (samples, 30))
    components = Normal(torch.from_numpy(mean), torch.from_numpy(std))
    loc, scale = np.full(30, 5.0), np.full(30, 3.0)
    keys = pd.DataFrame({"time": np.arange(30.0)})
    forecast = Forecast.of(keys, components, likelihood_of("normal", 1), Units(loc, scale, ()))
    actual = rng.normal(5, 3, 30)
    frame = forecast.to_frame().assign(actual=actual, log_prob=forecast.log_prob(actual))
    means, stds = (5 + 3 * mean).T, (3 * std).T
    expected = scoringrules.logs_mixnorm(actual, means, stds)
    if samples == 1:
        np.testing.assert_allclose(expected, scoringrules.logs_normal(actual, means[:, 0], stds[:, 0]))
    np.testing.assert_allclose(score_frame(frame, "nll")["nll"], expected)


def test_pinball_over_a_fine_grid_of_levels_tends_to_the_crps():
    actual = np.array([-2.0, 0.1, 1.7])
    exact = scoringrules.crps_normal(actual, 0.5, 2.0)
    off = []
    for n in (10, 100, 1000):
        levels = (np.arange(n) + 0.5) / n
        scored = score_frame(told(actual, stats.norm(0.5, 2.0), levels), "pinball")
        losses = scored[[c for c in scored if c.startswith("pinball_")]]
        assert losses.shape[1] == n
        off.append(np.abs(2 * losses.mean(axis=1) - exact).max())
    assert off[0] > 5 * off[1] > 25 * off[2]
    assert off[2] < 1e-3


WRONG = {
    "moved": stats.norm(0.3, 1),
    "too narrow": stats.norm(0, 0.7),
    "too wide": stats.norm(0, 1.4),
    "of heavy tails": stats.t(2),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_true_distribution_scores_best(name):
    actual = np.random.default_rng(3).normal(size=40_000)
    proper = ["crps", "interval", "nll", "pinball"]
    own = summarise(told(actual, stats.norm()), ["model"], proper).loc["m"]
    other = summarise(told(actual, WRONG[name]), ["model"], proper).loc["m"]
    assert own["crps"] < other["crps"] and own["nll"] < other["nll"]
    for level in LEVELS:
        median_of_its_own = level == 0.5 and name != "moved"
        column = f"pinball_q{level:g}"
        assert (
            own[column] == pytest.approx(other[column])
            if median_of_its_own
            else (own[column] < other[column])
        )
    for percent in (50, 80, 95):
        assert own[f"interval_{percent}"] < other[f"interval_{percent}"]


def test_the_true_distribution_covers_what_its_intervals_say():
    actual = np.random.default_rng(4).normal(size=40_000)
    found = summarise(told(actual, stats.norm()), ["model"], ["coverages", "coverage"]).loc["m"]
    for percent in (50, 80, 95):
        assert found[f"coverage_{percent}"] == pytest.approx(percent / 100, abs=0.01)
    assert found["coverage"] == found["coverage_95"]
    assert list(found.index) == ["n", "coverage_50", "coverage_80", "coverage_95", "coverage"]


def test_scores_are_in_data_units():
    frame = told(np.array([-1.0, 0.2, 4.0]), stats.norm(0.3, 1.1))
    moved = told(7 + 10 * frame["actual"].to_numpy(), stats.norm(7 + 3, 11))
    own, other = (summarise(f, ["model"], METRICS).loc["m"] for f in (frame, moved))
    for column in own.index:
        if column in ("n", "coverage") or column.startswith("coverage_"):
            assert other[column] == own[column]
        elif column == "nll":
            assert other[column] == pytest.approx(own[column] + np.log(10))
        else:
            assert other[column] == pytest.approx(10 * own[column])


def test_a_point_is_where_all_its_quantiles_lie_and_has_no_density():
    frame = told(np.array([3.0, -1.0]), stats.norm())
    point = pd.DataFrame({"actual": [3.0, -1.0], "mean": [1.0, 0.0], "model": "point"})
    both = pd.concat([frame, point], ignore_index=True)
    found = summarise(both, ["model"], METRICS)
    alone = summarise(frame, ["model"], METRICS)
    pd.testing.assert_series_equal(found.loc["m"], alone.loc["m"])
    row = found.loc["point"]
    assert row["pinball_q0.9"] == pytest.approx((0.9 * 2 + 0.1 * 1) / 2)
    assert row["interval_80"] == pytest.approx(2 / 0.2 * 1.5)
    assert row["crps"] == row["mae"] == 1.5
    assert row[["coverage", "coverage_80", "nll"]].isna().all()


@pytest.mark.parametrize(
    ("metrics", "frame", "said"),
    [
        ("rmsle", unlike(2), "'rmsle' is no metric; choose among mae, rmse"),
        ([], unlike(2), "no metric is named"),
        ("nll", unlike(2), r"log_prob=True"),
        ("pinball", unlike(2)[["actual", "mean"]], "pinball needs forecasts with quantiles"),
        ("interval", unlike(2)[["actual", "mean", "q0.1", "q0.5"]], "both ends of a central interval"),
    ],
)
def test_what_cannot_be_scored_is_said(metrics, frame, said):
    with pytest.raises(LatentODEError, match=said):
        score_frame(frame, metrics)


def test_a_forecaster_is_evaluated_by_the_metrics_asked_for(fitted, frame):
    usual = fitted.evaluate(frame)
    assert list(usual) == ["n", "mae", "rmse", "crps", "coverage"]
    expected = summarise(bin_leads(fitted.compare(frame), 3), ["variable", "lead", "model"])
    pd.testing.assert_frame_equal(usual, expected.loc[usual.index])
    assert usual.index.get_level_values("lead").nunique() == 3
    levels = [0.1, 0.25, 0.5, 0.75, 0.9]
    found = fitted.evaluate(frame, horizon=1.3, quantiles=levels, metrics=METRICS, bins=1)
    assert {"pinball_q0.25", "interval_50", "interval_80", "coverage_50", "nll"} <= set(found)
    ours = found.xs("latent ODE", level="model")
    assert ours.notna().all(axis=None)
    row = fitted.backtest(frame, 1.3, levels, log_prob=True)
    nll = -row["log_prob"].groupby(row["variable"]).mean()
    np.testing.assert_allclose(ours["nll"].droplevel("lead")[nll.index], nll)
    np.testing.assert_allclose(ours["coverage"], ours["coverage_80"])


def test_a_backtest_has_densities_only_where_they_are_asked_for(fitted, frame):
    plain = fitted.backtest(frame, 1.3)
    more = fitted.backtest(frame, 1.3, log_prob=True)
    assert list(more.columns) == [*plain.columns, "log_prob"]
    pd.testing.assert_frame_equal(more.drop(columns="log_prob"), plain)
    assert np.isfinite(more["log_prob"]).all()


def test_a_forecaster_says_an_unknown_metric_before_any_forecast(frame):
    with pytest.raises(LatentODEError, match="'mse' is no metric"):
        tiny().evaluate(frame, metrics="mse")
