"""Likelihoods against scipy, mixtures against their definition, LatentState against torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import softplus

from latentode.nn.latent_state import LatentState, shared_noise
from latentode.nn.likelihoods import (
    LIKELIHOODS,
    MIN_SCALE,
    StudentTLikelihood,
    gather_variable,
    mixture,
    quantiles,
)
from latentode.nn.likelihoods.counts import Counts

pytestmark = pytest.mark.usefixtures("float64")
LEVELS = (1e-4, 0.01, 0.1, 0.37, 0.5, 0.9, 0.99, 0.9999)
SUPPORT = {
    "log-normal": np.linspace(0.05, 6, 15),
    "bernoulli": np.arange(15) % 2,
    "poisson": np.arange(15.0),
    "negative-binomial": np.arange(15.0),
    "beta": np.linspace(0.02, 0.98, 15),
}
every = pytest.mark.parametrize("name", LIKELIHOODS)
THEIRS = {  # scipy's distributions by our parameters
    "normal": lambda p: stats.norm(p["loc"], p["scale"]),
    "student-t": lambda p: stats.t(p["df"], p["loc"], p["scale"]),
    "laplace": lambda p: stats.laplace(p["loc"], p["scale"]),
    "log-normal": lambda p: stats.lognorm(p["scale"], scale=np.exp(p["loc"])),
    "bernoulli": lambda p: stats.bernoulli(1 / (1 + np.exp(-p["logits"]))),
    "poisson": lambda p: stats.poisson(p["rate"]),
    "negative-binomial": lambda p: stats.nbinom(
        1 / p["dispersion"], 1 / (1 + p["dispersion"] * p["rate"])
    ),
    "beta": lambda p: stats.beta(
        p["share"] * p["concentration"], (1 - p["share"]) * p["concentration"]
    ),
}
known_to_scipy = pytest.mark.parametrize("name", THEIRS)


def made(name):
    """A likelihood of one variable, whose units matter only to families of data units."""
    return LIKELIHOODS[name].of_units((0.4,), (0.2,))


def theirs(name, ours):
    """scipy's distribution of the same parameters; None for a family that it does not know."""
    p = {n: getattr(ours, n).numpy() for n in ours.arg_constraints if n != "probs"}
    return THEIRS[name](p) if name in THEIRS else None


def drawn(name, shape=(3, 5), seed=0):
    """A likelihood's distribution and scipy's, from random raw numbers."""
    likelihood = made(name)
    generator = torch.Generator().manual_seed(seed)
    # Wilder, a beta distribution lies in its corners, where neither we nor scipy have digits left.
    raw = torch.randn(*shape, likelihood.n_raw, generator=generator) * (0.3 if name == "beta" else 2)
    anchor = torch.randn(*shape, generator=generator)
    if likelihood.of_data_units:
        anchor = torch.rand(*shape, generator=generator)
        anchor = 0.2 + 0.6 * anchor if name == "beta" else 3 * anchor
    ours = likelihood.distribution(raw, anchor)
    return likelihood, ours, theirs(name, ours)


def log_density(name, distribution, value):
    return distribution.logpmf(value) if made(name).discrete else distribution.logpdf(value)


def values(name):
    return np.asarray(SUPPORT.get(name, np.linspace(-4, 5, 15)), dtype=np.float64).reshape(3, 5)


def test_location_scale_and_degrees_of_freedom_are_what_the_raw_numbers_say():
    raw, anchor = torch.randn(4, 3), torch.randn(4)
    for name in ("normal", "student-t", "laplace"):
        ours = made(name).distribution(raw, anchor)
        torch.testing.assert_close(ours.loc, anchor + raw[..., 0])
        torch.testing.assert_close(ours.scale, softplus(raw[..., 1]) + MIN_SCALE)
    df = StudentTLikelihood().distribution(raw, anchor).df
    torch.testing.assert_close(df, StudentTLikelihood.min_df + softplus(raw[..., 2]))


@known_to_scipy
def test_log_prob_mean_and_variance_agree_with_scipy(name):
    _, ours, scipys = drawn(name)
    value = values(name)
    expected = log_density(name, scipys, value)
    np.testing.assert_allclose(ours.log_prob(torch.from_numpy(value)), expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(ours.mean, scipys.mean(), rtol=1e-9)
    np.testing.assert_allclose(ours.variance, scipys.var(), rtol=1e-9)


@known_to_scipy
@given(seed=st.integers(0, 2**32 - 1), q=st.sampled_from(LEVELS))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_cdf_and_quantile_agree_with_scipy_and_undo_each_other(name, seed, q):
    likelihood, ours, scipys = drawn(name, seed=seed)
    at = likelihood.icdf(ours, q)
    np.testing.assert_allclose(at, scipys.ppf(q), rtol=1e-7, atol=1e-10)
    if likelihood.discrete:
        assert (likelihood.cdf(ours, at) >= q - 1e-12).all()
        assert (likelihood.cdf(ours, at - 1) < q).all()
    else:
        np.testing.assert_allclose(likelihood.cdf(ours, at), q, rtol=1e-7)
    for value in (at + 0.3, at - 1.0, np.zeros_like(at)):
        np.testing.assert_allclose(
            likelihood.cdf(ours, value), scipys.cdf(value), rtol=1e-7, atol=1e-12
        )


@given(seed=st.integers(0, 2**32 - 1), q=st.floats(1e-6, 1 - 1e-6))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_cdf_undoes_the_decoded_quantiles_and_their_tails(seed, q):
    likelihood, ours, _ = drawn("quantile", seed=seed)
    np.testing.assert_allclose(likelihood.cdf(ours, likelihood.icdf(ours, q)), q, rtol=1e-7)


def test_decoded_quantiles_are_the_quantiles_and_rise():
    likelihood, ours, _ = drawn("quantile")
    knots = ours.knots.numpy()
    for k, level in enumerate(quantiles.LEVELS):
        np.testing.assert_allclose(likelihood.icdf(ours, level), knots[..., k], rtol=1e-9, atol=1e-11)
    assert (np.diff(knots, axis=-1) > 0).all()


def test_density_mean_and_variance_of_quantiles_are_those_of_the_quantile_function():
    likelihood, ours, _ = drawn("quantile", (2, 3))
    t = np.linspace(-9, 9, 60001)
    weight = stats.norm.pdf(t) * (t[1] - t[0])
    at = np.stack([likelihood.at_score(ours, float(x)) for x in t[::20]])
    mean = np.einsum("t...,t->...", at, 20 * weight[::20])
    second = np.einsum("t...,t->...", at**2, 20 * weight[::20])
    np.testing.assert_allclose(ours.mean, mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.variance, second - mean**2, rtol=1e-3)
    # The density is the slope of the cdf.
    x, h = torch.from_numpy(likelihood.icdf(ours, 0.42)), 1e-6
    rise = (likelihood.cdf(ours, x.numpy() + h) - likelihood.cdf(ours, x.numpy() - h)) / (2 * h)
    np.testing.assert_allclose(ours.log_prob(x).exp(), rise, rtol=1e-6)


def test_quantiles_of_equal_slopes_are_a_normal_distribution():
    ours = quantiles.Quantiles(torch.tensor([1.5]), torch.full((1, 12), 0.7))
    normal = Normal(1.5, 0.7)
    x = torch.linspace(-3, 5, 9)[:, None]
    torch.testing.assert_close(ours.log_prob(x), normal.log_prob(x))
    torch.testing.assert_close(ours.mean, torch.tensor([1.5]))
    torch.testing.assert_close(ours.variance, torch.tensor([0.49]))


def test_the_pinball_loss_over_the_levels_is_nearly_the_crps():
    ours = quantiles.Quantiles(torch.tensor([0.0]), torch.full((1, 12), 1.0))
    x = np.linspace(-2, 2, 9)
    crps = x * (2 * stats.norm.cdf(x) - 1) + 2 * stats.norm.pdf(x) - 1 / np.sqrt(np.pi)
    found = ours.pinball(torch.from_numpy(x)[:, None]).numpy()[:, 0]
    np.testing.assert_allclose(found, crps, atol=0.02)


@every
def test_a_spread_of_two_widens_and_untrained_the_forecast_stays_near_the_last_value(name):
    likelihood = made(name)
    anchor = torch.tensor([0.3, 0.7])
    raw = torch.zeros(2, likelihood.n_raw)
    ours = likelihood.distribution(raw, anchor)
    wide = likelihood.distribution(raw, anchor, spread=torch.tensor([2.0, 2.0]))
    if name in ("bernoulli", "poisson"):
        torch.testing.assert_close(wide.variance, ours.variance)  # their mean says it all
    else:
        assert (wide.variance > 1.5 * ours.variance).all() or name == "negative-binomial"
        assert (wide.variance > ours.variance).all()
    near = likelihood.icdf(ours, 0.5) if name == "log-normal" else ours.mean.numpy()
    np.testing.assert_allclose(near, anchor, atol=0.51 if likelihood.discrete else 1e-6)


@known_to_scipy
def test_a_mixture_is_the_mean_of_its_densities(name):
    _, ours, scipys = drawn(name, (4, 5))
    mixed = mixture(ours)
    value = values(name)[1]
    expected = np.log(np.exp(log_density(name, scipys, value)).mean(axis=0))
    np.testing.assert_allclose(mixed.log_prob(torch.from_numpy(value)), expected, rtol=1e-8)
    mean = scipys.mean().mean(axis=0)
    second = (scipys.var() + scipys.mean() ** 2).mean(axis=0)
    np.testing.assert_allclose(mixed.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(mixed.variance, second - mean**2, rtol=1e-8)


@pytest.mark.parametrize("name", ["normal", "laplace", "student-t", "quantile"])
def test_far_out_a_normal_score_still_has_its_quantile(name):
    likelihood, ours, scipys = drawn(name)
    for t in (-10.0, -2.0, 0.0, 2.0, 10.0):
        at = likelihood.at_score(ours, t)
        assert np.isfinite(at).all()
        if name != "quantile":
            far = scipys.ppf(stats.norm.cdf(t)) if t < 0 else scipys.isf(stats.norm.sf(t))
            np.testing.assert_allclose(at, far, rtol=1e-8, atol=1e-9)


def test_each_query_reads_its_own_variables_numbers():
    raw = torch.arange(2 * 3 * 8.0).reshape(2, 3, 8)
    variable = torch.tensor([3, 0, 2])
    chosen = gather_variable(raw, variable, 2)
    for s in range(2):
        for q, v in enumerate(variable.tolist()):
            assert torch.equal(chosen[s, q], raw[s, q, 2 * v : 2 * v + 2])
    assert gather_variable(raw[:, :0], variable[:0], 2).shape == (2, 0, 2)


def test_the_divergence_from_the_prior_agrees_with_torch():
    generator = torch.Generator().manual_seed(0)
    loc = 3 * torch.randn(7, 4, generator=generator)
    scale = torch.rand(7, 4, generator=generator) * 3 + 1e-3
    q = Independent(Normal(loc, scale), 1)
    prior = Independent(Normal(torch.zeros(7, 4), torch.ones(7, 4)), 1)
    torch.testing.assert_close(
        LatentState(loc, scale).kl(), kl_divergence(q, prior), rtol=1e-12, atol=1e-12
    )
    assert torch.equal(LatentState(loc, None).kl(), torch.zeros(7))
    assert torch.equal(LatentState(torch.zeros(2, 4), torch.ones(2, 4)).kl(), torch.zeros(2))


def test_samples_of_a_latent_state_are_its_location_and_spread_times_the_noise():
    loc, scale = torch.randn(5, 2), torch.rand(5, 2) + 0.1
    noise = shared_noise(6, 2)
    sampled = LatentState(loc, scale).sample(noise)
    assert sampled.shape == (6, 5, 2)
    torch.testing.assert_close((sampled - loc) / scale, noise.expand(6, 5, 2))
    assert torch.equal(LatentState(loc, None).sample(noise), loc[None])  # one says it all


@pytest.mark.parametrize("samples", [1, 2, 7, 16])
def test_shared_noise_is_antithetic_repeatable_and_leaves_the_global_generator_alone(samples):
    state = torch.get_rng_state()
    noise = shared_noise(samples, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert noise.shape == (samples, 1, 3)
    assert torch.equal(noise, shared_noise(samples, 3))
    half = (samples + 1) // 2
    assert torch.equal(noise[half:], -noise[: samples - half])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [0.3, 20.0, 1e5, 1e9])
def test_counts_about_a_forecast_are_poissons_and_wider_where_the_rate_is_hardly_known(rate, dtype):
    family = LIKELIHOODS["poisson"]()
    mean, raw = torch.tensor([rate], dtype=dtype), torch.zeros(1, 1, 1, dtype=dtype)
    plain = family.about(raw, mean, mean.sqrt(), torch.zeros(1, dtype=torch.long))
    rate = float(plain.mean)
    theirs, at = (
        stats.poisson(rate),
        np.floor(rate + np.sqrt(rate) * np.array([-1.5, 0.0, 3.0])).clip(0),
    )
    spread = float(plain.variance) ** 0.5
    np.testing.assert_allclose(spread, theirs.std(), rtol=1e-3)
    found = plain.log_prob(torch.as_tensor(at, dtype=torch.float64)).squeeze().numpy()
    np.testing.assert_allclose(found, theirs.logpmf(at), rtol=1e-4, atol=1e-4)
    for level in (0.1, 0.9):
        assert family.icdf(plain, level) == theirs.ppf(level)
    wide = family.about(raw, mean, mean + 3 * mean.sqrt(), torch.zeros(1, dtype=torch.long))
    assert float(wide.variance) ** 0.5 > 1.5 * spread
    assert family.icdf(wide, 0.9) >= theirs.ppf(0.9)
    dispersion = float(wide.dispersion)
    nbinom = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * rate))
    np.testing.assert_allclose(family.cdf(wide, at), nbinom.cdf(at)[None], rtol=1e-6)


@pytest.mark.parametrize("level", [1e-12, 0.1, 0.5, 0.9, 0.999, None])
def test_quantiles_of_bursts_are_those_of_scipy_over_many_sizes(level):
    rng, n = np.random.default_rng(0), 2000
    rate, dispersion = 10 ** rng.uniform(-6, 7, n), 10 ** rng.uniform(-4, 3, n)
    counts = Counts(torch.tensor(rate), torch.tensor(dispersion), validate_args=False)
    q = rng.uniform(size=n) if level is None else level
    theirs = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * rate)).ppf(q)
    np.testing.assert_array_equal(LIKELIHOODS["negative-binomial"]().icdf(counts, q), theirs)
