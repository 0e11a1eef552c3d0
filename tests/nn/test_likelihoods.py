"""Likelihoods against scipy, mixtures against their definition, LatentState against torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import softplus

from latentode.nn.encoders import LatentState, shared_noise
from latentode.nn.likelihoods import (
    LIKELIHOODS,
    MIN_SCALE,
    StudentTLikelihood,
    gather_variable,
    mixture,
    with_parameters,
)

pytestmark = pytest.mark.usefixtures("float64")
LEVELS = (1e-4, 0.01, 0.1, 0.37, 0.5, 0.9, 0.99, 0.9999)


def drawn(name, shape=(3, 5), seed=0):
    """A likelihood's distribution and scipy's, from the same raw numbers."""
    likelihood = LIKELIHOODS[name]()
    generator = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(*shape, likelihood.n_raw, generator=generator)
    anchor = torch.randn(*shape, generator=generator)
    loc, scale = (anchor + raw[..., 0]).numpy(), (softplus(raw[..., 1]) + MIN_SCALE).numpy()
    if name == "normal":
        return likelihood, likelihood.distribution(raw, anchor), stats.norm(loc, scale)
    df = (StudentTLikelihood.min_df + softplus(raw[..., 2])).numpy()
    return likelihood, likelihood.distribution(raw, anchor), stats.t(df, loc, scale)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_mean_and_variance_agree_with_scipy(name):
    _, ours, theirs = drawn(name)
    value = np.linspace(-4, 5, 15).reshape(3, 5)
    np.testing.assert_allclose(ours.log_prob(torch.from_numpy(value)), theirs.logpdf(value), rtol=1e-10)
    np.testing.assert_allclose(ours.mean, theirs.mean(), rtol=1e-10)
    np.testing.assert_allclose(ours.variance, theirs.var(), rtol=1e-10)


@pytest.mark.parametrize("name", LIKELIHOODS)
@given(seed=st.integers(0, 2**32 - 1), q=st.sampled_from(LEVELS))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_cdf_and_quantile_agree_with_scipy_and_undo_each_other(name, seed, q):
    likelihood, ours, theirs = drawn(name, seed=seed)
    at = likelihood.icdf(ours, q)
    np.testing.assert_allclose(at, theirs.ppf(q), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(likelihood.cdf(ours, at), q, rtol=1e-9)
    value = at + 0.3
    np.testing.assert_allclose(likelihood.cdf(ours, value), theirs.cdf(value), rtol=1e-9)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_an_extreme_raw_number_gives_a_finite_density_of_positive_scale(name):
    likelihood = LIKELIHOODS[name]()
    for size in (-1e4, 1e4):
        raw = torch.full((1, likelihood.n_raw), size)
        ours = likelihood.distribution(raw, torch.zeros(1))
        assert torch.isfinite(ours.log_prob(torch.zeros(1))).all()
        assert torch.isfinite(ours.variance).all()
        assert (ours.variance > 0).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_of_the_raw_numbers_is_kept(name, dtype):
    likelihood = LIKELIHOODS[name]()
    ours = likelihood.distribution(
        torch.zeros(4, likelihood.n_raw, dtype=dtype), torch.zeros(4, dtype=dtype)
    )
    assert ours.mean.dtype == dtype
    assert mixture(with_parameters(ours, lambda p: p[None])).mean.dtype == dtype


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_mixture_is_the_mean_of_its_densities(name):
    _, ours, theirs = drawn(name, (4, 6))
    mixed = mixture(ours)
    value = np.linspace(-3, 3, 6)
    np.testing.assert_allclose(
        mixed.log_prob(torch.from_numpy(value)), np.log(theirs.pdf(value).mean(axis=0)), rtol=1e-9
    )
    mean = theirs.mean().mean(axis=0)
    second = (theirs.var() + theirs.mean() ** 2).mean(axis=0)
    np.testing.assert_allclose(mixed.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(mixed.variance, second - mean**2, rtol=1e-9)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_mixture_without_queries_is_empty_and_no_error(name):
    likelihood = LIKELIHOODS[name]()
    empty = likelihood.distribution(torch.zeros(3, 0, likelihood.n_raw), torch.zeros(3, 0))
    assert mixture(empty).mean.shape == (0,)


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
