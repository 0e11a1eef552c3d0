"""Forecasts of variables of different families: each as if alone, in data units, as scipy has them."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from latentode.data.scaling import Units
from latentode.errors import LatentODEError
from latentode.forecast.forecast import Forecast
from latentode.nn.likelihoods import Mixed, join, likelihood_of, mixture, score, take

pytestmark = pytest.mark.usefixtures("float64")
VARIABLES = {
    "x": {"loc": 10.0, "scale": 2.0},
    "falls": {"loc": 3.0, "scale": 2.5},
    "on": {"loc": 0.4, "scale": 0.49},
    "share": {"loc": 0.4, "scale": 0.2},
    "bursts": {"loc": 6.0, "scale": 9.0},
    "dose": {"loc": 2.0, "scale": 1.5},
    "any": {"loc": -1.0, "scale": 3.0},
}
CHOSEN = {
    "falls": "poisson",
    "on": "bernoulli",
    "share": "beta",
    "bursts": "negative-binomial",
    "dose": "log-normal",
    "any": "quantile",
}
FAMILY = {v: CHOSEN.get(v, "normal") for v in VARIABLES}
LIKELIHOOD = likelihood_of(CHOSEN, len(VARIABLES), VARIABLES)
LOC = np.array([u["loc"] for u in VARIABLES.values()])
SCALE = np.array([u["scale"] for u in VARIABLES.values()])


def mixed(variable, samples=4, seed=0):
    """A forecast of queries of the given variables, and its distribution in scaled units."""
    generator = torch.Generator().manual_seed(seed)
    variable = torch.as_tensor(variable)
    shape = (samples, len(variable))
    raw = 0.7 * torch.randn(*shape, LIKELIHOOD.n_raw, generator=generator)
    anchor = 0.3 * torch.randn(len(variable), generator=generator).expand(shape)
    made = LIKELIHOOD.distribution(raw, anchor, variable)
    at = variable.numpy()
    units = Units(LOC[at], SCALE[at])
    names = np.array(list(VARIABLES))[at]
    keys = pd.DataFrame({"id": "a", "time": np.arange(float(len(at))), "variable": names})
    return Forecast.of(keys, made, LIKELIHOOD, units), made


def components(forecast, query):
    """The components of one query as a scipy distribution in data units."""
    (part,) = [p for p in forecast.distribution.parts if query in p.place.tolist()]
    n = part.place.tolist().index(query)
    p = {k: getattr(part.distribution, k)[:, n].numpy() for k in part.distribution.arg_constraints}
    loc, scale = forecast.loc[query], forecast.scale[query]
    return {
        "normal": lambda: stats.norm(loc + scale * p["loc"], scale * p["scale"]),
        "log-normal": lambda: stats.lognorm(p["scale"], scale=np.exp(p["loc"])),
        "bernoulli": lambda: stats.bernoulli(p["probs"]),
        "poisson": lambda: stats.poisson(p["rate"]),
        "negative-binomial": lambda: stats.nbinom(
            1 / p["dispersion"], 1 / (1 + p["dispersion"] * p["rate"])
        ),
        "beta": lambda: stats.beta(
            p["share"] * p["concentration"], (1 - p["share"]) * p["concentration"]
        ),
    }[FAMILY[forecast.keys["variable"][query]]]()


ORDER = [4, 0, 1, 5, 2, 3, 1, 0]
DISCRETE = np.isin(ORDER, [1, 2, 4])
VALUE = np.array([7.0, 9.0, 2.0, 1.7, 1.0, 0.35, 0.0, 12.0])


def test_mean_spread_probabilities_and_cdf_are_those_of_scipys_mixtures():
    forecast, _ = mixed(ORDER)
    log_prob, cdf = forecast.log_prob(VALUE), forecast.cdf(VALUE)
    for i, value in enumerate(VALUE):
        parts = components(forecast, i)
        mean = parts.mean().mean()
        assert forecast.mean[i] == pytest.approx(mean, rel=1e-9)
        variance = (parts.var() + (parts.mean() - mean) ** 2).mean()
        assert forecast.std[i] == pytest.approx(np.sqrt(variance), rel=1e-9)
        density = parts.pmf(value) if DISCRETE[i] else parts.pdf(value)
        assert log_prob[i] == pytest.approx(np.log(density.mean()), rel=1e-9)
        assert cdf[i] == pytest.approx(parts.cdf(value).mean(), rel=1e-9)


@given(seed=st.integers(0, 2**32 - 1), q=st.floats(0.005, 0.995))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_a_quantile_is_where_the_mixture_reaches_its_level(seed, q):
    forecast, _ = mixed([*ORDER, 6], seed=seed)
    at = forecast.quantile(q)
    reached, discrete = forecast.cdf(at), np.append(DISCRETE, False)
    np.testing.assert_allclose(reached[~discrete], q, atol=1e-6)
    assert (at[discrete] == np.floor(at[discrete])).all()
    assert (reached[discrete] >= q - 1e-9).all()
    assert (forecast.cdf(at - 1)[discrete] < q).all()


def test_draws_follow_each_familys_mixture_and_counts_are_whole():
    forecast, _ = mixed(ORDER)
    drawn = forecast.sample(6000, seed=2)
    assert (drawn[:, DISCRETE] == np.floor(drawn[:, DISCRETE])).all()
    error = forecast.std / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - forecast.mean) < 4.5 * error).all()
    for value in (forecast.quantile(0.3), forecast.quantile(0.7)):
        np.testing.assert_allclose((drawn <= value).mean(axis=0), forecast.cdf(value), atol=0.03)


def test_another_variable_of_another_family_changes_nothing():
    together, scaled = mixed(ORDER)
    for i, v in enumerate(ORDER):
        alone = Forecast.of(
            together.keys.iloc[[i]],
            take(scaled, torch.tensor([i])),
            LIKELIHOOD,
            Units(LOC[[v]], SCALE[[v]]),
        )
        assert alone.mean[0] == together.mean[i]
        assert alone.quantile(0.8)[0] == together.quantile(0.8)[i]
        assert alone.log_prob(VALUE[[i]])[0] == together.log_prob(VALUE)[i]


def test_scaled_densities_differ_from_those_of_data_units_by_the_scale_and_counts_by_nothing():
    forecast, scaled = mixed(ORDER)
    u = torch.from_numpy((VALUE - LOC[ORDER]) / SCALE[ORDER])
    in_data = forecast.log_prob(VALUE)
    expected = np.where(DISCRETE, in_data, in_data + np.log(SCALE[ORDER]))
    np.testing.assert_allclose(mixture(scaled).log_prob(u), expected, rtol=1e-10)
    in_data_units = mixture(scaled).mean.numpy() * SCALE[ORDER] + LOC[ORDER]
    np.testing.assert_allclose(in_data_units, forecast.mean)
    torch.testing.assert_close(score(scaled, u), scaled.log_prob(u))  # none here is of quantiles


def test_quantile_variables_among_others_are_trained_by_the_pinball_loss():
    _, scaled = mixed([0, 6, 1])
    u = torch.tensor([0.3, 0.4, 0.0])
    found = score(scaled, u)
    (part,) = [p for p in scaled.parts if p.place.tolist() == [1]]
    torch.testing.assert_close(found[:, 1:2], -part.distribution.pinball(u[1:2].expand(4, 1)))
    torch.testing.assert_close(found[:, 0], scaled.log_prob(u)[:, 0])


def test_parts_joined_and_taken_again_are_the_same():
    _, one = mixed(ORDER, seed=1)
    _, other = mixed([2, 2, 0], seed=2)
    both = join([one, other])
    assert both.batch_shape == (4, len(ORDER) + 3)
    torch.testing.assert_close(both.mean, torch.cat([one.mean, other.mean], dim=1), rtol=0, atol=0)
    turned = take(both, torch.arange(both.batch_shape[1]).flip(0))
    torch.testing.assert_close(turned.mean, both.mean.flip(1), rtol=0, atol=0)
    assert take(one, torch.zeros(0, dtype=torch.long)).mean.shape == (4, 0)


@pytest.mark.parametrize(
    ("query", "value"), [(4, 1.5), (2, -1.0), (4, -3.0), (5, 1.2), (3, -0.1), (2, 2.5)]
)
def test_what_cannot_be_has_no_probability(query, value):
    forecast, _ = mixed(ORDER)
    values = VALUE.copy()
    values[query] = value
    found = forecast.log_prob(values)
    assert found[query] == -np.inf
    assert np.isfinite(np.delete(found, query)).all()
    assert np.isnan(forecast.log_prob(np.full(len(ORDER), np.nan))).all()


def test_one_family_of_scaled_units_for_all_stays_a_plain_distribution():
    made = likelihood_of("laplace", 2).distribution(torch.zeros(1, 2, 2), torch.zeros(1, 2))
    assert type(made) is torch.distributions.Laplace
    made = likelihood_of("poisson", 2, VARIABLES | {}).distribution(
        torch.zeros(1, 2, 1), torch.zeros(1, 2), torch.tensor([0, 1])
    )
    assert isinstance(made, Mixed)


@pytest.mark.parametrize(
    ("chosen", "units", "message"),
    [
        ("cauchy", None, "likelihood 'cauchy' is unknown; choose from normal, student-t"),
        ({"x": "cauchy"}, VARIABLES, "likelihood 'cauchy' is unknown"),
        ({"y": "poisson"}, VARIABLES, "'y', which is none of x, falls"),
        ({"x": "poisson"}, None, r"needs the variables' names: .*data.sizes"),
        ("poisson", {"x": {"loc": 0, "scale": 1, "transform": "log"}}, "does not go with .* 'log'"),
        ("laplace", {"x": {"loc": 0, "scale": 1, "transform": "log"}}, "take 'normal' or 'quantile'"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(chosen, units, message):
    with pytest.raises(LatentODEError, match=message):
        likelihood_of(chosen, len(units or "x"), units)
    # bounded, heavy tails have moments
    likelihood_of("laplace", 1, {"x": {"loc": 0, "scale": 1, "transform": "logit"}})


def test_the_encoder_reads_counts_by_their_logarithm_which_near_the_mean_is_the_scaled_value():
    variable = torch.tensor([1, 1, 1, 0, 5])
    u = torch.tensor([0.0, 1e-4, 50.0, 50.0, 1e-4])
    seen = LIKELIHOOD.view(u, variable)
    assert seen[0] == 0 and seen[3] == 50.0
    torch.testing.assert_close(seen[[1, 4]], u[[1, 4]], rtol=1e-3, atol=0)
    assert 3 < seen[2] < 10
