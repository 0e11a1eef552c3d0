"""Quantiles are made to mean what forecasts that came true say, by variable and lead time."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import forecaster
from scipy import integrate, stats
from torch.distributions import Normal, StudentT

from latentode import LatentODEError, LatentODEForecaster
from latentode.forecast.calibration import Calibration
from latentode.forecast.forecast import Forecast
from latentode.forecast.residuals import CALIBRATED_SCORES, Curves, ScoreTransform
from latentode.nn.likelihoods import NormalLikelihood, StudentTLikelihood

LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)


def quantile_name(q):
    return f"q{q:g}"


def forecasts(n, seed, claimed=1.0, skewed=False):
    """Normal forecasts of walks, of a standard deviation `claimed` times the true one."""
    rng = np.random.default_rng(seed)
    lead = rng.uniform(0.1, 10, n)
    frame = pd.DataFrame({"variable": rng.choice(["x", "y"], n), "lead": lead})
    std = np.sqrt(lead) * np.where(frame["variable"] == "x", 1.0, 10.0)
    middle = rng.normal(size=n)
    for level in LEVELS:
        frame[quantile_name(level)] = middle + stats.norm.ppf(level) * claimed * std
    noise = rng.exponential(size=n) - 1 if skewed else rng.normal(size=n)
    return frame.assign(actual=middle + std * noise)


def coverage(frame, percent):
    tail = (100 - percent) / 200
    low, high = (frame[quantile_name(round(q, 6))] for q in (tail, 1 - tail))
    return frame["actual"].between(low, high)


@pytest.mark.parametrize(("claimed", "skewed"), [(0.4, False), (1.0, False), (3.0, False), (1.0, True)])
def test_intervals_of_exchangeable_data_cover_within_two_points_by_lead(claimed, skewed):
    new = forecasts(200_000, 1, claimed, skewed)
    made = Calibration.of_quantiles(forecasts(200_000, 0, claimed, skewed)).apply(new)
    cells = [made["variable"], pd.cut(made["lead"], 4)]
    for percent in (50, 80, 95):
        found = coverage(made, percent).groupby(cells, observed=True).mean()
        assert (found - percent / 100).abs().max() < 0.02
    for level in LEVELS:
        assert (made["actual"] < made[quantile_name(level)]).mean() == pytest.approx(level, abs=0.01)
    off = max(abs((new["actual"] < new[quantile_name(level)]).mean() - level) for level in LEVELS)
    assert (off > 0.05) == (claimed != 1.0 or skewed)


def test_hundred_forecasts_cover_on_average_what_they_should():
    """Ranks are taken among n + 1, so that few forecasts do not make intervals too narrow."""
    covered = []
    for seed in range(150):
        past, new = forecasts(100, seed, 0.5), forecasts(400, 1000 + seed, 0.5)
        past, new = past.assign(variable="x"), new.assign(variable="x")
        covered.append(coverage(Calibration.of_quantiles(past).apply(new), 80).mean())
    assert np.mean(covered) == pytest.approx(0.8, abs=0.015)


def test_what_is_no_quantile_stays():
    new = forecasts(50, 1)
    made = Calibration.of_quantiles(forecasts(500, 0, claimed=0.5)).apply(new)
    kept = ["variable", "lead", "actual"]
    pd.testing.assert_frame_equal(made[kept], new[kept])


def test_honest_forecasts_stay_about_as_they_are():
    new = forecasts(500, 1)
    made = Calibration.of_quantiles(forecasts(100_000, 0)).apply(new)
    unit = new["q0.9"] - new["q0.5"]
    for level in LEVELS:
        name = quantile_name(level)
        assert ((made[name] - new[name]) / unit).abs().max() < 0.15


def test_what_cannot_be_calibrated_is_said():
    past = forecasts(1000, 0)
    with pytest.raises(LatentODEError, match="no forecasts"):
        Calibration.of_quantiles(past[:0])
    with pytest.raises(LatentODEError, match="two quantiles"):
        Calibration.of_quantiles(past[["variable", "lead", "actual", "q0.5"]])
    with pytest.raises(LatentODEError, match="bins"):
        Calibration.of_quantiles(past, bins=0)
    gap = past.assign(actual=past["actual"].where(past.index != past.index[3]))
    with pytest.raises(LatentODEError, match="row 3 of the forecasts has no `actual`"):
        Calibration.of_quantiles(gap)
    few = pd.concat([past[past["variable"] == "x"], past[past["variable"] == "y"][:20]])
    with pytest.warns(UserWarning, match="`y` stays uncalibrated: 20 forecasts"):
        found = Calibration.of_quantiles(few)
    new = forecasts(10, 1)
    own = new["variable"] == "y"
    pd.testing.assert_frame_equal(found.apply(new)[own], new[own])


def counts(n, seed, offset):
    """Honest forecasts of counts about each of two rates, of which several quantiles coincide."""
    rng = np.random.default_rng(seed)
    rate = rng.choice([1.0, 4.0], n)
    made = {quantile_name(q): offset + stats.poisson.ppf(q, rate) for q in LEVELS}
    return pd.DataFrame({"variable": "x", "lead": 1.0, **made, "actual": offset + rng.poisson(rate)})


@pytest.mark.parametrize("offset", [0.0, 7.0, 1e12])
def test_quantiles_that_coincide_are_told_apart(offset):
    """At several quantiles a value has their middle: the least would draw all forecasts down."""
    past, new, names = counts(20_000, 0, offset), counts(200, 1, offset), [*map(quantile_name, LEVELS)]
    found = Calibration.of_quantiles(past)
    made = found.apply(new)[names]
    assert (np.diff(made) >= 0).all()
    assert (made - new[names]).abs().max(axis=None) < 1.01
    plain = Calibration.of_quantiles(counts(20_000, 0, 0.0)).apply(counts(200, 1, 0.0))[names]
    np.testing.assert_allclose(made - offset, plain, atol=1e-2)
    stuck = new.assign(**dict.fromkeys(names, offset))
    pd.testing.assert_frame_equal(found.apply(stuck), stuck)


def test_forecasts_of_a_constant_that_are_always_right_stay_so():
    names = [quantile_name(q) for q in LEVELS]
    past = pd.DataFrame({"variable": ["x"] * 100, "lead": 1.0, "actual": 3.0})
    past = past.assign(**dict.fromkeys(names, 3.0))
    pd.testing.assert_frame_equal(Calibration.of_quantiles(past).apply(past), past)


def test_rows_without_a_quantile_stay():
    past, new = forecasts(1000, 0, claimed=0.5), forecasts(3, 1)
    new.loc[0, "q0.9"], new.loc[1, "q0.1"] = np.nan, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = Calibration.of_quantiles(past).apply(new)
    pd.testing.assert_frame_equal(made[:2], new[:2])
    assert (made.loc[2, "q0.1"], made.loc[2, "q0.9"]) != (new.loc[2, "q0.1"], new.loc[2, "q0.9"])


def test_a_table_that_is_none_of_forecasts_is_refused_by_column_and_row():
    past = forecasts(1000, 0)
    made = Calibration.of_quantiles(past)
    for name in ("variable", "lead", "actual"):
        with pytest.raises(LatentODEError, match=f"no column `{name}`; their columns are"):
            Calibration.of_quantiles(past.drop(columns=name))
        if name != "actual":
            with pytest.raises(LatentODEError, match=f"no column `{name}`"):
                made.apply(past.drop(columns=name))
    for name in ("lead", "actual", "q0.1"):
        for bad in (np.nan, np.inf):
            odd = past.assign(**{name: past[name].where(past.index != 5, bad)})
            with pytest.raises(LatentODEError, match=f"row 5 of the forecasts has no `{name}` that"):
                Calibration.of_quantiles(odd)
        for values in ("text", pd.Timedelta("1h")):
            with pytest.raises(LatentODEError, match=f"`{name}` of the forecasts holds .* not numbers"):
                Calibration.of_quantiles(past.assign(**{name: values}))
    with pytest.raises(LatentODEError, match="row 2 of the forecasts has no `lead`"):
        made.apply(past.assign(lead=past["lead"].where(past.index != 2)))


def test_arguments_that_do_not_go_together_are_refused():
    n = 50
    names, lead, score, group = ["x"] * n, np.ones(n), np.zeros(n), np.arange(n) % 5.0
    for changed in ({"variable": ["x"]}, {"lead": lead[1:]}, {"group": group[1:]}):
        given = {"variable": names, "lead": lead, "score": score, "group": group} | changed
        with pytest.raises(LatentODEError, match=rf"`{next(iter(changed))}` has \d+ values for 50 sc"):
            Calibration.fit(**given)
    with pytest.raises(LatentODEError, match="row 3 of the forecasts has no `score`"):
        Calibration.fit(names, lead, np.where(np.arange(n) == 3, np.nan, score))
    with pytest.raises(LatentODEError, match="row 4 of the forecasts has no `group`"):
        Calibration.fit(names, lead, score, group=np.where(np.arange(n) == 4, np.nan, group))
    for bins in (2.5, "3", None, True):
        with pytest.raises(LatentODEError, match="bins must be a whole number"):
            Calibration.fit(names, lead, score, bins)


def test_the_coverage_before_calibration_is_the_empirical_one():
    past = forecasts(40_000, 0, claimed=0.5).assign(variable="x")
    curve = Calibration.of_quantiles(past).curves["x"]
    for percent in (50, 80, 95):
        found = curve.uncalibrated_coverage(percent)
        assert found == pytest.approx(coverage(past, percent).mean(), abs=1e-9)


@pytest.mark.parametrize("m", [2, 3, 20])
def test_the_coverage_before_calibration_is_of_the_table_however_few_its_series(m):
    past = forecasts(40 * m, 0, claimed=0.5).assign(variable="x")
    group = np.repeat(np.arange(m), 40)
    curve = Calibration.of_quantiles(past, group=group).curves["x"]
    for percent in (50, 80, 95):
        found = curve.uncalibrated_coverage(percent)
        assert found == pytest.approx(coverage(past, percent).mean(), abs=1e-9)


def curves(n, seed=0):
    """c of n queries, the inverse of some cubic through (CALIBRATED_SCORES, .)."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.5, 1.6, n), rng.uniform(0, 0.01, n)
    return Curves(
        0.5 * rng.normal(size=n) + a * CALIBRATED_SCORES[:, None] + b * CALIBRATED_SCORES[:, None] ** 3
    )


def test_there_and_back_is_where_it_was():
    c = curves(6)
    t = np.random.default_rng(1).normal(scale=3, size=(40, 6))
    np.testing.assert_allclose(c.nominal_score(c.calibrated_score(t)), t, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(c.calibrated_score(c.nominal_score(t)), t, rtol=1e-10, atol=1e-10)
    slope = (c.calibrated_score(t[0] + 1e-6) - c.calibrated_score(t[0] - 1e-6)) / 2e-6
    np.testing.assert_allclose(np.exp(c.log_slope(t[0])), slope, rtol=1e-6)


@pytest.fixture
def calibrated():
    """Mixtures of four normals with calibrated scores."""
    torch.manual_seed(0)
    loc, scale = torch.randn(4, 5).double(), torch.rand(4, 5).double() + 0.3
    keys = pd.DataFrame({"variable": ["x"] * 5})
    said = Forecast(keys, Normal(loc, scale), NormalLikelihood(), np.ones(5), np.full(5, 2.0))
    return replace(said, score_transform=ScoreTransform.calibrated(curves(5)))


def test_all_that_a_calibrated_forecast_says_is_of_one_distribution(calibrated):
    for q in (0.02, 0.3, 0.5, 0.9):
        np.testing.assert_allclose(calibrated.cdf(calibrated.quantile(q)), q, rtol=1e-9)
    low, high = calibrated.quantile(1e-4), calibrated.quantile(1 - 1e-4)
    x = np.linspace(low, high, 1001)
    density = np.exp([calibrated.log_prob(row) for row in x])
    # The density has a step wherever the slope of c has.
    assert integrate.trapezoid(density, x, axis=0) == pytest.approx(1 - 2e-4, abs=5e-3)
    drawn = calibrated.sample(1500, seed=1)
    for q in (0.1, 0.5, 0.9):
        assert (drawn < calibrated.quantile(q)).mean(axis=0) == pytest.approx(q, abs=0.04)
    np.testing.assert_allclose(drawn.mean(axis=0), calibrated.mean, atol=0.08 * calibrated.std.max())
    np.testing.assert_allclose(drawn.std(axis=0), calibrated.std, rtol=0.08)


def scores_of_series(m, each, rng):
    """Normal scores of series that each have a bias of their own, as forecasts of new series do."""
    return (0.8 * rng.normal(size=(m, 1)) + 0.6 * rng.normal(size=(m, each))).reshape(-1)


def coverage_of_new_series(m, grouped, level=80, replicates=150):
    """How often central intervals hold values of new series, calibrated by m series of 60 forecasts."""
    rng, inside = np.random.default_rng(0), []
    for _ in range(replicates):
        group = np.repeat(np.arange(m), 60) if grouped else None
        n = 60 * m
        past = 3.0 * scores_of_series(m, 60, rng)
        made = Calibration.fit(["x"] * n, np.ones(n), past, 1, group)
        low, high = made.of(["x"], np.ones(1)).nominal_score(
            stats.norm.ppf([[0.5 - level / 200], [0.5 + level / 200]])
        )[:, 0]
        new = 3.0 * scores_of_series(40, 1, rng)
        inside.append(((new >= low) & (new <= high)).mean())
    return np.mean(inside)


def test_intervals_hold_for_new_series_as_far_as_the_number_of_series_guarantees():
    assert coverage_of_new_series(9, grouped=True) >= 0.79
    assert coverage_of_new_series(9, grouped=False) < 0.77  # as if origins were series
    assert coverage_of_new_series(3, grouped=True, level=50) >= 0.49
    assert coverage_of_new_series(3, grouped=False, level=50) < 0.47
    assert coverage_of_new_series(60, grouped=True) == pytest.approx(0.8 + 2 / 61, abs=0.03)


def test_each_series_counts_once_whatever_the_number_of_its_forecasts():
    score = np.r_[np.full(900, -2.0), np.linspace(-1, 1, 60), np.linspace(-1, 1, 60)]
    group = np.repeat([0, 1, 2], [900, 60, 60])
    found = Calibration.fit(["x"] * len(score), np.ones(len(score)), score, 1, group)
    middle = found.of(["x"], np.ones(1)).nominal_score(np.zeros(1))
    # The median of one score per series is the lesser of two uniform ones, of mean -1/3.
    assert middle[0] == pytest.approx(-1 / 3, abs=0.05)


def test_a_level_that_so_few_series_cannot_guarantee_warns_and_names_their_number(calibrated):
    few = replace(
        calibrated, score_transform=ScoreTransform.calibrated(replace(curves(5), count=np.full(5, 12)))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few.quantile(0.1), few.quantile(0.9), calibrated.quantile(0.001)
    for q in (0.05, 0.95):
        with pytest.warns(UserWarning, match=r"by 12 series .* from 0.1 to 0.9"):
            few.quantile(q)
    with pytest.warns(UserWarning, match=r"level 0\.99999999 is"):
        few.quantile(0.99999999)


FAMILIES = {
    "normal": (Normal(torch.zeros(1, 1), torch.ones(1, 1)), NormalLikelihood()),
    "student-t": (StudentT(4.0, torch.zeros(1, 1), torch.ones(1, 1)), StudentTLikelihood()),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("m", [1, 2, 3, 6, 12, 20, 60])
@pytest.mark.parametrize("seed", range(5))
def test_moments_of_a_well_specified_forecast_stay_sane_however_few_series_calibrate_it(
    family, m, seed
):
    rng = np.random.default_rng(seed)
    score = rng.normal(size=50 * m)
    made = Calibration.fit(["x"] * len(score), np.ones(len(score)), score, 1, np.repeat(range(m), 50))
    distribution, likelihood = FAMILIES[family]
    distribution = distribution.expand((1, 1))
    plain = Forecast(
        pd.DataFrame({"variable": ["x"]}), distribution, likelihood, np.full(1, 1e3), np.ones(1)
    )
    transform = ScoreTransform.calibrated(made.of(["x"], np.ones(1)))
    after = replace(plain, score_transform=transform)
    actual = plain.sample(20_000, seed=1)
    before_error, error = (np.abs(actual - f.mean).mean() for f in (plain, after))
    assert error < 1.1 * before_error
    assert 0.5 < after.std / plain.std < 2
    levels = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = np.array([after.quantile(q)[0] for q in levels])
    assert (np.diff(found) > 0).all()


def test_beyond_the_guaranteed_levels_the_tails_of_the_forecast_are_shifted():
    rng = np.random.default_rng(0)
    score = 3 * rng.normal(size=200)
    curve = Calibration.fit(["x"] * 200, np.ones(200), score, 1, np.repeat(range(4), 50))
    far = np.array([[-3.0], [-2.0], [-1.0], [1.0], [2.0], [3.0]])
    found = curve.of(["x"], np.ones(1)).nominal_score(far)[:, 0]
    np.testing.assert_allclose(np.diff(found)[[0, 1, 3, 4]], 1.0, rtol=1e-9)
    assert found[3] - found[2] > 3


def test_of_forecasts_that_are_too_wide_the_tails_shrink_as_the_middle_does():
    score = 0.1 * np.random.default_rng(0).normal(size=2000)
    curve = Calibration.fit(["x"] * 2000, np.ones(2000), score, 1).of(["x"], np.ones(1))
    np.testing.assert_allclose(
        curve.nominal_score(np.array([[-5.0], [5.0]])), [[-0.5], [0.5]], atol=0.1
    )


@pytest.mark.parametrize("constant", [0.0, 1.7, -4.3])
def test_the_moments_of_a_nearly_constant_variable_are_those_of_its_quantiles(constant):
    score = constant + 1e-3 * np.random.default_rng(0).normal(size=400)
    made = Calibration.fit(["x"] * 400, np.ones(400), score)
    plain = Forecast(
        pd.DataFrame({"variable": ["x"]}),
        Normal(torch.zeros(1, 1).double(), torch.ones(1, 1).double()),
        NormalLikelihood(),
        np.full(1, 5.0),
        np.full(1, 2.0),
    )
    curve = made.of(["x"], np.ones(1))
    after = replace(plain, score_transform=ScoreTransform.calibrated(curve))
    # The calibrated distribution is that of 5 + 2 c^-1(Z), Z standard normal.
    z = np.linspace(-7, 7, 20_001)
    weight = stats.norm.pdf(z) / stats.norm.pdf(z).sum()
    value = 5.0 + 2.0 * curve.nominal_score(z[:, None])[:, 0]
    mean = weight @ value
    std = np.sqrt(weight @ (value - mean) ** 2)
    np.testing.assert_allclose((after.mean - mean) / std, 0, atol=2e-3)
    np.testing.assert_allclose(after.std, std, rtol=2e-3)


def test_no_level_is_claimed_below_one_in_n_plus_one():
    n = 60
    rng = np.random.default_rng(0)
    made = Calibration.fit(["x"] * n, np.ones(n), rng.normal(size=n))
    found = made.of(["x"], np.ones(1))
    with pytest.warns(UserWarning, match="0.01 is not guaranteed: calibration by 60"):
        found.warn_of_unguaranteed(0.01)
    tails = found.nominal_score(stats.norm.ppf([[0.01], [0.025], [0.05]]))[:, 0]
    assert (np.diff(tails) > 0.1).all()  # further out is wider, beyond the least score that was seen


def noisy(n, seed):
    """Series whose readings scatter more and more tailed than a short training says."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n):
        t = np.sort(rng.uniform(0, 10, 30))
        x = np.sin(t + rng.uniform(0, 6)) + 0.3 * rng.standard_t(3, size=30)
        parts.append(pd.DataFrame({"id": i, "time": t, "x": x, "count": rng.poisson(4, 30)}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def fitted_model():
    options = {
        "latent_size": 4,
        "hidden_size": 16,
        "max_epochs": 3,
        "windows_per_epoch": 200,
        "verbose": False,
    }
    likelihood = {"count": "negative-binomial"}
    return forecaster(3.0, likelihood=likelihood, **options).fit(noisy(40, 0))


def test_a_calibrated_forecaster_covers_more_nearly_what_it_says(fitted_model, tmp_path):
    test = noisy(60, 2)
    before = fitted_model.backtest(test, quantiles=LEVELS)
    plain = fitted_model.predict(test, at=2.0, count=3)
    assert fitted_model.calibrate(noisy(60, 1)) is fitted_model
    after = fitted_model.backtest(test, quantiles=LEVELS)
    x = after["variable"] == "x"
    for percent in (50, 80, 95):
        # Of 60 series, each end is moved out by what a sixty-first may differ.
        found = coverage(after[x], percent).mean()
        assert percent / 100 - 0.03 < found < min(percent / 100 + 2 / 61 + 0.03, 0.999)
    # Counts cover at least their share, since an interval of theirs holds whole steps.
    assert coverage(after[~x], 80).mean() > 0.77
    assert (after.filter(like="q")[~x] % 1 == 0).all(axis=None)
    off = {
        name: sum(abs(coverage(frame[x], p).mean() - p / 100) for p in (50, 80, 95))
        for name, frame in (("before", before), ("after", after))
    }
    assert off["after"] < off["before"]

    fitted_model.save(tmp_path)
    again = LatentODEForecaster.load(tmp_path)
    asked = {"at": 2.0, "count": 3}
    pd.testing.assert_frame_equal(again.predict(test, **asked), fitted_model.predict(test, **asked))
    drawn = fitted_model.predict(test[:90], **asked, samples=40)
    whole = drawn["variable"] == "count"
    assert (drawn["value"][whole] % 1 == 0).all() and (drawn["value"][~whole] % 1 != 0).all()
    fitted_model.fitted_ = replace(fitted_model.fitted_, calibration=None)
    pd.testing.assert_frame_equal(fitted_model.predict(test, **asked), plain)


def test_calibrating_again_begins_anew(fitted_model):
    first = fitted_model.calibrate(noisy(30, 3)).fitted_.calibration.to_dict()
    assert fitted_model.calibrate(noisy(30, 3)).fitted_.calibration.to_dict() == first
    fitted_model.fitted_ = replace(fitted_model.fitted_, calibration=None)


def test_at_its_origin_a_forecast_is_calibrated_as_right_after_it(fitted_model):
    """A sample path is continuous where it begins."""
    fitted_model.calibrate(noisy(30, 3))
    history = noisy(1, 4)
    last = history["time"].max()
    found = fitted_model.predict(history, at=[last, last + 1e-7], variables="x", smooth=False)
    now, after = found[["mean", "std", "q0.1", "q0.9"]].to_numpy()
    np.testing.assert_allclose(now, after, rtol=1e-4)
    fitted_model.fitted_ = replace(fitted_model.fitted_, calibration=None)


@pytest.mark.parametrize("m", [2, 3, 6, 12])
def test_few_series_do_not_spoil_the_means_of_a_fitted_model(fitted_model, m):
    test = noisy(20, 2)
    before = fitted_model.backtest(test)
    fitted_model.calibrate(noisy(m, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = fitted_model.backtest(test)
    fitted_model.fitted_ = replace(fitted_model.fitted_, calibration=None)
    for name, own in before.groupby("variable"):
        later = after[after["variable"] == name]
        error, plain = ((f["mean"] - f["actual"]).abs().mean() for f in (later, own))
        assert error < 1.1 * plain
        assert 0.5 < later["std"].median() / own["std"].median() < 2


def test_nothing_to_calibrate_by_is_an_error(fitted_model):
    with pytest.raises(LatentODEError, match="nothing can be calibrated by"):
        fitted_model.calibrate(noisy(3, 5).groupby("id").head(1))
