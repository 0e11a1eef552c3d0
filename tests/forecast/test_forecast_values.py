"""Forecast as a distribution in data units: mean, spread, quantiles and draws of one mixture."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from latentode.errors import LatentODEError
from latentode.forecast.forecast import Forecast
from latentode.nn.likelihoods import LIKELIHOODS

pytestmark = pytest.mark.usefixtures("float64")
every_kind = pytest.mark.parametrize("name", ["normal", "student-t", "laplace"])


def mixed(name, n_queries=6, samples=5, seed=0, spread=2.0):
    """A forecast and its components in data units as scipy distributions, `(samples, queries)`."""
    rng = np.random.default_rng(seed)
    likelihood = LIKELIHOODS[name]()
    raw = torch.from_numpy(spread * rng.normal(size=(samples, n_queries, likelihood.n_raw)))
    distribution = likelihood.distribution(raw, torch.zeros(samples, n_queries))
    loc, scale = 100 * rng.normal(size=n_queries), rng.uniform(0.1, 20, n_queries)
    keys = pd.DataFrame({"id": "a", "time": np.arange(float(n_queries)), "variable": "x"})
    forecast = Forecast(keys, distribution, likelihood, loc, scale)
    at, wide = loc + scale * distribution.loc.numpy(), scale * distribution.scale.numpy()
    if name != "student-t":
        kind = stats.norm if name == "normal" else stats.laplace
        return forecast, kind(at, wide)
    return forecast, stats.t(distribution.df.numpy(), at, wide)


@every_kind
def test_mean_and_spread_are_those_of_the_mixture(name):
    forecast, parts = mixed(name)
    mean = parts.mean().mean(axis=0)
    variance = (parts.var() + (parts.mean() - mean) ** 2).mean(axis=0)
    np.testing.assert_allclose(forecast.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(forecast.std, np.sqrt(variance), rtol=1e-10)


NO_NUMBERS = {
    "text": "a",
    "a number as text": "1",
    "numbers as text": ["1"] * 6,
    "nothing": None,
    "mixed": [1.0, "a", 2.0, 3.0, 4.0, 5.0],
    "ragged": [1.0, [2.0, 3.0]],
    "other shape": np.zeros(3),
    "two axes": np.zeros((6, 1)),
    "moments": pd.date_range("2024-01-01", periods=6),
    "complex": np.zeros(6, dtype=complex),
    "a frame": pd.DataFrame({"x": [1.0, 2.0]}),
    "a dictionary": {"x": 1.0},
}


@pytest.mark.parametrize("case", NO_NUMBERS)
@pytest.mark.parametrize("asked", ["cdf", "log_prob", "scores"])
def test_what_is_no_number_for_each_query_is_refused(asked, case):
    forecast, _ = mixed("normal")
    with pytest.raises(LatentODEError, match=r"must be numbers, one per forecast, shape \(6,\)"):
        getattr(forecast, asked)(NO_NUMBERS[case])


@pytest.mark.parametrize(
    "kind", [list, tuple, np.float32, pd.Series, torch.tensor, lambda v: pd.Series(v, dtype="Float64")]
)
def test_numbers_for_each_query_may_come_in_any_kind_of_array(kind):
    forecast, _ = mixed("normal")
    for asked in (forecast.cdf, forecast.log_prob, forecast.scores):
        np.testing.assert_array_equal(asked(kind([1.0] * 6)), asked(np.ones(6)))
    assert (
        np.isnan(forecast.log_prob([1.0, None, np.nan, 1, 1, 1])).tolist()
        == [False, True, True] + [False] * 3
    )
    np.testing.assert_array_equal(forecast.cdf(1), forecast.cdf(np.ones(6)))


@every_kind
def test_cdf_is_the_mean_of_the_components(name):
    forecast, parts = mixed(name)
    value = forecast.mean + np.linspace(-2, 2, 6) * forecast.std
    np.testing.assert_allclose(forecast.cdf(value), parts.cdf(value).mean(axis=0), rtol=1e-9)


@every_kind
@given(seed=st.integers(0, 2**32 - 1), q=st.floats(0.001, 0.999), spread=st.sampled_from([0.1, 3.0]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_a_quantile_is_where_the_mixture_reaches_its_level(name, seed, q, spread):
    forecast, parts = mixed(name, n_queries=3, seed=seed, spread=spread)
    found = forecast.quantile(q)
    low, high = parts.ppf(q).min(axis=0), parts.ppf(q).max(axis=0)
    for i in range(3):

        def excess(x, i=i):
            return parts.cdf(x)[:, i].mean() - q

        expected = optimize.brentq(excess, low[i] - 1.0, high[i] + 1.0, xtol=1e-13)
        assert found[i] == pytest.approx(expected, abs=1e-9)


@every_kind
def test_quantiles_rise_with_their_level(name):
    forecast, _ = mixed(name, n_queries=40)
    levels = np.linspace(0.005, 0.995, 60)
    quantiles = np.stack([forecast.quantile(float(q)) for q in levels])
    assert (np.diff(quantiles, axis=0) > 0).all()


def test_one_component_has_its_own_quantile():
    forecast, parts = mixed("normal", samples=1)
    np.testing.assert_allclose(forecast.quantile(0.3), parts.ppf(0.3)[0], rtol=1e-12)


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_level_outside_0_to_1_is_refused(q):
    forecast, _ = mixed("normal")
    with pytest.raises(LatentODEError, match="between 0 and 1"):
        forecast.quantile(q)


@every_kind
def test_draws_follow_the_mixture(name):
    forecast, _ = mixed(name)
    drawn = forecast.sample(8000, seed=1)
    assert drawn.shape == (8000, 6)
    for i in range(6):

        def cdf(x, i=i):
            return np.array([forecast.cdf(np.full(6, v))[i] for v in x])

        assert stats.kstest(drawn[:400, i], cdf).pvalue > 1e-3
    error = forecast.std / np.sqrt(8000)
    assert (np.abs(drawn.mean(axis=0) - forecast.mean) < 4.5 * error).all()
    np.testing.assert_allclose(
        np.quantile(drawn, 0.5, axis=0), forecast.quantile(0.5), atol=0.1 * forecast.std.max()
    )


def test_within_a_draw_all_queries_share_one_latent_path():
    forecast, _ = mixed("normal", n_queries=2, samples=2)
    tight = torch.distributions.Normal(
        torch.tensor([[0.0, 0.0], [10.0, 10.0]]), torch.full((2, 2), 1e-3), validate_args=False
    )
    forecast = Forecast(forecast.keys, tight, forecast.likelihood, np.zeros(2), np.ones(2))
    drawn = forecast.sample(500)
    np.testing.assert_allclose(drawn[:, 0], drawn[:, 1], atol=0.02)
    assert 0.4 < (drawn[:, 0] > 5).mean() < 0.6


def test_draws_repeat_with_their_seed_and_leave_global_generators_alone():
    forecast, _ = mixed("student-t")
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = forecast.sample(7, seed=3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert np.array_equal(one, forecast.sample(7, seed=3))
    assert not np.array_equal(one, forecast.sample(7, seed=4))
    with pytest.raises(LatentODEError, match="samples must be at least 1"):
        forecast.sample(0)


def test_a_frame_has_the_keys_then_mean_spread_and_a_column_per_level():
    forecast, _ = mixed("normal")
    frame = forecast.to_frame((0.025, 0.5))
    assert list(frame.columns) == ["id", "time", "variable", "mean", "std", "q0.025", "q0.5"]
    np.testing.assert_array_equal(frame["q0.5"], forecast.quantile(0.5))
    assert list(forecast.keys.columns) == ["id", "time", "variable"]
    assert len(forecast) == 6
