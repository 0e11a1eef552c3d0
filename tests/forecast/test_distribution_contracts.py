"""What holds of every likelihood's forecast and draws: plain, calibrated, smoothed, in any unit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.distributions import LogNormal

from latentode import LatentODEError
from latentode.data.scaling import Units
from latentode.forecast.forecast import Forecast
from latentode.forecast.mixture import EDGES, moments_of_cdf
from latentode.forecast.residuals import CALIBRATED_SCORES, Curves, ScoreTransform
from latentode.forecast.sampler import Joint
from latentode.nn.likelihoods import LIKELIHOODS, LogNormalLikelihood, likelihood_of

pytestmark = pytest.mark.usefixtures("float64")
QUERIES, SAMPLES, DRAWS = 6, 4, 2000
SMALL = ("beta", "bernoulli")  # whose values lie between 0 and 1
SHIFT, SPREAD = np.linspace(-0.6, 0.8, QUERIES), np.linspace(0.5, 0.9, QUERIES)
CURVES = Curves(SHIFT + SPREAD * CALIBRATED_SCORES[:, None] + 0.004 * CALIBRATED_SCORES[:, None] ** 3)
TRANSFORMS = {
    "plain": None,
    "calibrated": ScoreTransform.calibrated(CURVES),
    "smoothed": ScoreTransform(SHIFT, SPREAD),
    "both": ScoreTransform(-SHIFT, SPREAD, CURVES),
}
every_family = pytest.mark.parametrize("name", LIKELIHOODS)
every_kind = pytest.mark.parametrize("kind", TRANSFORMS)
# Each family plain and with both, and one of the two alone; the other alone is slow.
every_family_and_kind = pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[pytest.mark.slow] * (kind == ("calibrated", "smoothed")[i % 2]))
        for i, name in enumerate(LIKELIHOODS)
        for kind in TRANSFORMS
    ],
)


def joint(noise):
    """Queries of series of their own, so that what is drawn of them is independent."""
    keys = 977 * np.arange(QUERIES, dtype=np.uint64)
    lead = np.linspace(0.0, 2.0, QUERIES)
    variable = np.zeros(QUERIES, dtype=np.int64)
    return Joint(keys, variable, lead, np.full(QUERIES, noise), np.full(QUERIES, 1.3))


def forecast(name, kind, noise=0.7):
    """Mixtures of one family with a score transform."""
    loc, scale = (0.4, 0.2) if name in SMALL else (3.0, 2.0)
    likelihood = likelihood_of(name, 1, {"x": {"loc": loc, "scale": scale}})
    generator = torch.Generator().manual_seed(3)
    raw = 0.7 * torch.randn(SAMPLES, QUERIES, likelihood.n_raw, generator=generator)
    if name == "student-t":
        raw[..., 2] += 3.0  # tails that leave a second moment to be found by numbers
    anchor = 0.3 * torch.randn(QUERIES, generator=generator).expand(SAMPLES, QUERIES)
    made = likelihood.distribution(raw, anchor, torch.zeros(QUERIES, dtype=torch.long))
    units = Units(np.full(QUERIES, loc), np.full(QUERIES, scale))
    keys = pd.DataFrame({"variable": ["x"] * QUERIES})
    said = Forecast.of(keys, made, likelihood, units)
    return replace(said, joint=joint(noise), score_transform=TRANSFORMS[kind])


def numerically(made):
    """Mean and standard deviation by a fine Stieltjes sum over the cdf."""
    if made.whole.all():
        x = np.arange(-1.0, 300.0)
        above = np.stack([1 - made.cdf(np.full(QUERIES, v)) for v in x[1:]])
        mean, second = above.sum(axis=0), ((2 * x[1:] + 1)[:, None] * above).sum(axis=0)
        return mean, np.sqrt(second - mean**2)
    plain = replace(made, score_transform=None)
    edges = np.stack([plain.quantile(0.5 * (1 + np.tanh(t))) for t in np.linspace(-14.5, 14.5, 30)])
    part = np.linspace(0, 1, 40, endpoint=False)[:, None, None]
    x = (edges[:-1] + part * np.diff(edges, axis=0)).swapaxes(0, 1).reshape(-1, QUERIES)
    rise = np.diff(np.stack([made.cdf(v) for v in x]), axis=0)
    middle = 0.5 * (x[1:] + x[:-1])
    mean = (middle * rise).sum(axis=0) / rise.sum(axis=0)
    return mean, np.sqrt(((middle - mean) ** 2 * rise).sum(axis=0))


@every_family_and_kind
def test_moments_are_those_of_the_cdf(name, kind):
    made = forecast(name, kind)
    mean, std = numerically(made)
    np.testing.assert_allclose(made.mean, mean, atol=1e-3 * std.max())
    np.testing.assert_allclose(made.std, std, rtol=3e-3)


@every_kind
def test_the_mean_of_0_and_1_is_the_probability_of_1(kind):
    made = forecast("bernoulli", kind)
    chance = 1 - made.cdf(np.zeros(QUERIES))
    np.testing.assert_allclose(made.mean, chance, atol=1e-12)
    np.testing.assert_allclose(made.std, np.sqrt(chance * (1 - chance)), atol=1e-9)


@every_family_and_kind
def test_quantiles_undo_the_cdf(name, kind):
    made = forecast(name, kind)
    for q in (0.02, 0.3, 0.5, 0.9):
        at = made.quantile(q)
        if made.whole.all():
            assert (made.cdf(at) >= q - 1e-9).all() and (made.cdf(at - 1) < q + 1e-9).all()
        else:
            np.testing.assert_allclose(made.cdf(at), q, atol=1e-8)


def follows(drawn, made):
    """Whether draws lie below each quantile as often as the forecast says, up to 5 standard errors."""
    for q in (0.05, 0.3, 0.5, 0.8, 0.95):
        at = made.quantile(q)
        share = (drawn <= at + 1e-9 * np.abs(at)).mean(axis=0)
        assert np.abs(share - made.cdf(at)).max() < 5 * np.sqrt(0.25 / len(drawn)), q


@every_family_and_kind
def test_readings_have_the_distribution_that_is_forecast(name, kind):
    made = forecast(name, kind)
    follows(made.sample(DRAWS, seed=1), made)
    follows(replace(made, joint=None).sample(DRAWS, seed=1), made)


def quantity(made, draws=DRAWS):
    took = made.joint.took(draws, SAMPLES)
    return made.quantity(took, made.joint.waves(draws, 2)[0])


@every_family_and_kind
def test_where_readings_have_no_noise_the_quantity_is_what_is_read(name, kind):
    made = forecast(name, kind, noise=0.0)
    follows(quantity(made), made)


@every_family
def test_the_quantity_has_the_mean_of_its_readings_and_scatters_less(name):
    made = forecast(name, "plain")
    drawn = quantity(made)
    error = made.std / np.sqrt(DRAWS)
    assert (np.abs(drawn.mean(axis=0) - made.mean) < 5 * error + 2e-3 * made.std).all()
    assert (drawn.std(axis=0) < 1.05 * made.std).all()
    nothing_lasts = quantity(forecast(name, "plain", noise=np.inf))
    if (
        not made.whole.all()
    ):  # one path per latent sample, its mean up to the kinks of a quantile function
        off = np.abs(nothing_lasts[:SAMPLES].mean(axis=0) - made.mean)
        assert off.max() < (0.05 if name in ("quantile", "laplace") else 1e-2) * made.std.max()


@every_family_and_kind
def test_no_draw_is_a_value_that_cannot_be(name, kind):
    made = forecast(name, kind)
    for drawn in (made.sample(60), quantity(made, 60)):
        for values in drawn:
            assert not made.likelihood.impossible(made.distribution, values).any()


@pytest.mark.parametrize("unit", [1e-13, 1e-9, 1e9])
@every_kind
def test_a_unit_of_the_data_changes_nothing_else(unit, kind):
    generator = torch.Generator().manual_seed(1)
    loc, scale = torch.randn(SAMPLES, QUERIES, generator=generator), torch.full((SAMPLES, QUERIES), 0.5)
    keys = pd.DataFrame({"variable": ["x"] * QUERIES})
    one, other = (
        Forecast(
            keys,
            LogNormal(loc + np.log(u), scale, validate_args=False),
            LogNormalLikelihood(),
            np.zeros(QUERIES),
            np.ones(QUERIES),
            joint=joint(0.7 * u),
            score_transform=TRANSFORMS[kind],
        )
        for u in (1.0, unit)
    )
    asked = {
        "mean": lambda f: f.mean,
        "std": lambda f: f.std,
        "quantile": lambda f: f.quantile(0.2),
        "draws": lambda f: f.sample(20),
        "quantity": lambda f: quantity(f, 20),
    }
    for what, ask in asked.items():
        np.testing.assert_allclose(ask(other) / unit, ask(one), rtol=1e-6, err_msg=what)
    value = one.quantile(0.7)
    np.testing.assert_allclose(other.cdf(unit * value), one.cdf(value), rtol=1e-9)


@pytest.mark.parametrize("shift", [0.0, 3.0, -5.0])
@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e6])
def test_moments_of_a_cdf_are_exact_far_from_0(shift, spread):
    """Of a gamma distribution that lies a million of its standard deviations from 0."""
    own = stats.gamma(4.0 + abs(shift), loc=1e6 * np.sign(shift - 1), scale=1.0)
    edges = spread * own.ppf(stats.norm.cdf(EDGES))[:, None]
    mean, std = moments_of_cdf(lambda x: own.cdf(x / spread), edges)
    np.testing.assert_allclose((mean - spread * own.mean()) / (spread * own.std()), 0, atol=1e-6)
    np.testing.assert_allclose(std, spread * own.std(), rtol=1e-5)


@every_kind
def test_a_calibrated_forecast_far_from_0_has_the_moments_of_its_cdf(kind):
    made = forecast("normal", kind)
    far = replace(made, loc=made.loc + 1e6 * made.scale)
    mean, std = numerically(far)
    np.testing.assert_allclose(far.mean, mean, atol=1e-3 * std.max())
    np.testing.assert_allclose(far.std, std, rtol=3e-3)
    np.testing.assert_allclose(far.std, made.std, rtol=1e-6)


@every_family_and_kind
def test_a_cdf_takes_one_value_or_one_per_query(name, kind):
    made = forecast(name, kind)
    np.testing.assert_array_equal(made.cdf(0.5), made.cdf(np.full(QUERIES, 0.5)))
    for odd in (np.zeros(QUERIES + 1), np.zeros(1), np.zeros((2, QUERIES))):
        with pytest.raises(LatentODEError, match=rf"shape \({QUERIES},\)"):
            made.cdf(odd)


def test_large_counts_are_summed_in_blocks():
    made = forecast("poisson", "smoothed")
    many = replace(made, distribution=likelihood_scaled(made, 4e4))
    mean, std = many.mean, many.std
    draws = many.sample(DRAWS, seed=4)
    np.testing.assert_allclose(mean, draws.mean(axis=0), atol=5 * std.max() / np.sqrt(DRAWS))
    np.testing.assert_allclose(std, draws.std(axis=0), rtol=0.08)


def likelihood_scaled(made, factor):
    """The same distribution of counts with larger rates."""
    from latentode.nn.likelihoods.base import change_parameters

    return change_parameters(made.distribution, lambda n, p: p * factor if n == "rate" else p)
