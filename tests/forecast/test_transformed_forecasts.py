"""Transforms of the distribution: quantiles, densities and moments against a change of variables."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from latentode.data.scaling import Units
from latentode.data.tables.transforms import BoxCox, Log, Logit, YeoJohnson, fit_transform, restore
from latentode.forecast.forecast import Forecast
from latentode.nn.likelihoods import NormalLikelihood, QuantileLikelihood, mixture

pytestmark = pytest.mark.usefixtures("float64")
TRANSFORMS = [Log(), Logit(0.0, 100.0), BoxCox(0.4), BoxCox(0.0), YeoJohnson(0.3), YeoJohnson(1.7)]
every = pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
LOC, SCALE = 0.3, 0.8


def transformed(transform, likelihood=None, samples=3, seed=0):
    """A forecast of two queries, the second's variable transformed, and its scaled components."""
    likelihood = likelihood or NormalLikelihood()
    generator = torch.Generator().manual_seed(seed)
    raw = 0.5 * torch.randn(samples, 2, likelihood.n_raw, generator=generator)
    made = likelihood.distribution(raw, torch.zeros(samples, 2))
    keys = pd.DataFrame({"id": "a", "time": [0.0, 1.0], "variable": ["x", "y"]})
    units = Units(np.array([5.0, LOC]), np.array([2.0, SCALE]), ((transform, np.array([1])),))
    forecast = Forecast.of(keys, made, likelihood, units)
    return forecast, made


def parts(made):
    return stats.norm(LOC + SCALE * made.loc[:, 1].numpy(), SCALE * made.scale[:, 1].numpy())


@every
@given(x=st.floats(0.01, 99.0))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_transform_and_its_inverse_undo_each_other_and_its_slope_is_its_derivative(transform, x):
    x = np.array([x])
    np.testing.assert_allclose(transform.inverse(transform.forward(x)), x, rtol=1e-9)
    h = 1e-6 * x
    slope = (transform.forward(x + h) - transform.forward(x - h)) / (2 * h)
    np.testing.assert_allclose(transform.log_slope(x), np.log(slope), atol=1e-6)
    assert not transform.outside(x).any()
    assert restore(transform.to_list()) == transform


def test_yeo_johnson_takes_negative_values():
    x = np.linspace(-5, 5, 41)
    for power in (0.0, 0.4, 1.0, 2.0):
        y = YeoJohnson(power).forward(x)
        assert (np.diff(y) > 0).all()
        np.testing.assert_allclose(YeoJohnson(power).inverse(y), x, atol=1e-12)


@every
@given(q=st.floats(0.01, 0.99), seed=st.integers(0, 100))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_quantiles_are_mapped_exactly_and_the_cdf_undoes_them(transform, q, seed):
    forecast, made = transformed(transform, seed=seed)
    plain = Forecast.of(
        forecast.keys, made, forecast.likelihood, Units(forecast.loc, forecast.scale, ())
    )
    at, before = forecast.quantile(q), plain.quantile(q)
    assert at[0] == before[0]
    assert at[1] == transform.inverse(before[1:])[0]
    if at[1] > 0 or isinstance(transform, YeoJohnson):
        assert forecast.cdf(at)[1] == pytest.approx(q, abs=1e-6)


@every
def test_mean_spread_and_density_agree_with_a_numeric_change_of_variables(transform):
    forecast, made = transformed(transform)
    normal = parts(made)

    def density(x):
        y = transform.forward(np.array([x]))
        return normal.pdf(y).mean() * np.exp(transform.log_slope(np.array([x])))[0]

    for x in (0.5, 1.0, 3.0):
        found = forecast.log_prob(np.array([5.0, x]))[1]
        assert found == pytest.approx(np.log(density(x)), rel=1e-9)
        h = 1e-5
        rise = forecast.cdf(np.array([5.0, x + h])) - forecast.cdf(np.array([5.0, x - h]))
        assert rise[1] / (2 * h) == pytest.approx(density(x), rel=1e-5, abs=1e-8)
    moments = [
        np.mean(
            [
                integrate.quad(
                    lambda t, m=m, s=s, k=k: (
                        transform.inverse(np.array([m + s * t]))[0] ** k * stats.norm.pdf(t)
                    ),
                    *(-11, 11),
                    limit=400,
                )[0]
                for m, s in zip(normal.mean(), normal.std(), strict=True)
            ]
        )
        for k in (1, 2)
    ]
    assert forecast.mean[1] == pytest.approx(moments[0], rel=1e-4)
    assert forecast.std[1] == pytest.approx(np.sqrt(moments[1] - moments[0] ** 2), rel=1e-4)
    assert forecast.mean[0] == pytest.approx(5 + 2 * float(made.mean[:, 0].mean()), rel=1e-12)


def test_the_logarithm_of_a_normal_has_the_moments_of_a_log_normal():
    forecast, made = transformed(Log(), samples=1)
    exact = stats.lognorm(parts(made).std()[0], scale=np.exp(parts(made).mean()[0]))
    assert forecast.mean[1] == pytest.approx(exact.mean(), rel=1e-12)
    assert forecast.std[1] == pytest.approx(exact.std(), rel=1e-10)


@pytest.mark.parametrize("transform", [Log(), Logit(), YeoJohnson(0.3)], ids=str)
def test_densities_add_up_to_one(transform):
    forecast, _ = transformed(transform)
    p = np.linspace(0.01, 0.99, 981)
    at = np.stack([forecast.quantile(float(q)) for q in p])[:, 1]
    middle = (at[1:] + at[:-1]) / 2
    mass = [np.exp(forecast.log_prob(np.array([5.0, x]))[1]) for x in middle]
    assert np.dot(mass, np.diff(at)) == pytest.approx(0.98, rel=1e-3)


def test_what_lies_below_the_range_of_a_power_is_zero():
    forecast, made = transformed(BoxCox(0.4))
    below = parts(made).cdf(-1 / 0.4).mean()
    assert forecast.cdf(np.array([0.0, 1e-12]))[1] == pytest.approx(below, abs=1e-4)
    assert (forecast.sample(2000)[:, 1] >= 0).all()


@pytest.mark.parametrize("transform", [Log(), Logit(0.0, 100.0), YeoJohnson(0.3)], ids=str)
@pytest.mark.parametrize("likelihood", [NormalLikelihood(), QuantileLikelihood()], ids=str)
def test_draws_are_mapped_and_have_the_moments(transform, likelihood):
    forecast, _ = transformed(transform, likelihood)
    drawn = forecast.sample(20000, seed=5)[:, 1]
    at = forecast.quantile(0.7)
    assert (drawn <= at[1]).mean() == pytest.approx(forecast.cdf(at)[1], abs=0.02)
    error = forecast.std[1] / np.sqrt(len(drawn))
    assert abs(drawn.mean() - forecast.mean[1]) < 4.5 * error


def test_values_beyond_the_domain_have_probability_none():
    forecast, _ = transformed(Logit(0.0, 100.0))
    for value, cdf in ((-1.0, 0.0), (0.0, 0.0), (100.0, 1.0), (120.0, 1.0)):
        at = np.array([5.0, value])
        assert forecast.log_prob(at)[1] == -np.inf
        assert forecast.cdf(at)[1] == cdf


def test_powers_are_fitted_by_maximum_likelihood_and_kept_where_no_forecast_is_infinite():
    rng = np.random.default_rng(0)
    x = rng.gamma(4.0, size=500)
    fitted = fit_transform("box-cox", x)
    assert fitted.power == pytest.approx(stats.boxcox(x)[1], abs=1e-3)
    both = rng.normal(1.0, 2.0, size=500)
    power = fit_transform("yeo-johnson", both).power
    assert power == pytest.approx(stats.yeojohnson(both)[1], abs=1e-3)
    heavy = 1 / rng.gamma(1.5, size=500)
    assert stats.boxcox(heavy)[1] < 0
    assert fit_transform("box-cox", heavy) == BoxCox(0.0)
    assert fit_transform("yeo-johnson", np.full(5, 3.0)) == YeoJohnson(1.0)


def test_the_moments_of_scaled_and_transformed_values_agree_where_the_transform_is_none():
    forecast, made = transformed(YeoJohnson(1.0), QuantileLikelihood())
    plain = LOC + SCALE * mixture(made).mean[1]
    assert forecast.mean[1] == pytest.approx(float(plain), rel=1e-3)
