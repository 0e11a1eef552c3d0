"""What holds of every likelihood in the registry, alone and in a table where each variable has its own.

Everything is asked in scaled units, as the model asks.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from latentode.model.objective import variance_weights
from latentode.nn.likelihoods import (
    LIKELIHOODS,
    join,
    likelihood_of,
    mixture,
    pick,
    score,
    take,
    with_fixed_location,
    with_parameters,
)

NAMES = (*LIKELIHOODS, "mixed")
LEVELS = (1e-4, 0.01, 0.1, 0.37, 0.5, 0.9, 0.99, 0.9999)
SAMPLES, QUERIES = 3, 18
LOC, SCALE = 0.4, 0.2  # which a share, a count and any other value may have
CONTINUOUS = tuple(n for n in LIKELIHOODS if not LIKELIHOODS[n].discrete)
FREE_UNITS = tuple(n for n in CONTINUOUS if n != "beta")  # a share has no unit to change
every = pytest.mark.parametrize("name", NAMES)
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def likelihood(name, loc=LOC, scale=SCALE, names=tuple(LIKELIHOODS)):
    chosen = {f"v{i}": n for i, n in enumerate(names)} if name == "mixed" else name
    units = {v: {"loc": loc, "scale": scale} for v in (chosen if name == "mixed" else ["v0"])}
    return likelihood_of(chosen, len(units), units)


def made(own, dtype=torch.float64, queries=QUERIES, seed=0, size=0.5):
    """A distribution of shape `(samples, queries)`, of every variable in turn."""
    rng = torch.Generator().manual_seed(seed)
    kinds = len(getattr(own, "kind", (0,)))
    raw = size * torch.randn(SAMPLES, queries, own.n_raw, generator=rng, dtype=torch.float64)
    anchor = 0.5 * torch.randn(SAMPLES, queries, generator=rng, dtype=torch.float64)
    variable = torch.arange(queries) % kinds
    return own.distribution(raw.to(dtype), anchor.to(dtype), variable)


def whole(own, distribution):
    """Which queries have whole numbers, and how far apart those are in scaled units."""
    discrete = own.whole(distribution)
    assert discrete.shape == distribution.batch_shape[-1:]
    return discrete, 1 / SCALE


def counts(k):
    """Whole numbers in scaled units, a row of queries each."""
    return np.full(QUERIES, (k - LOC) / SCALE)


@every
def test_mean_and_deviation_are_those_of_the_distribution_function(name):
    own = likelihood(name)
    distribution = made(own)
    t = np.linspace(-16, 16, 2561)
    weight = stats.norm.pdf(t) * (t[1] - t[0])
    mean, second = np.zeros((SAMPLES, QUERIES)), np.zeros((SAMPLES, QUERIES))
    discrete, _ = whole(own, distribution)
    for score_, w in zip(t, weight, strict=True):
        at = np.where(discrete, 0.0, own.at_score(distribution, float(score_)))
        mean, second = mean + w * at, second + w * at**2
    if discrete.any():
        below = own.cdf(distribution, counts(-1.0))
        for k in range(400):
            reached = own.cdf(distribution, counts(k))
            mass, below = np.where(discrete, reached - below, 0.0), reached
            mean, second = mean + mass * counts(k), second + mass * counts(k) ** 2
    np.testing.assert_allclose(distribution.mean, mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(distribution.stddev, np.sqrt(second - mean**2), rtol=1e-5)


@every
def test_a_value_weighs_by_a_power_of_its_variance_beside_the_mean_one_of_its_variable(name):
    own = likelihood(name)
    distribution = made(own)
    variable = torch.arange(QUERIES) % len(getattr(own, "kind", (0,)))
    found = variance_weights(distribution, variable, 0.5)
    assert not found.requires_grad and torch.isfinite(found).all()
    assert (variance_weights(distribution, variable, 0.0) == 1).all()
    variance = distribution.variance.mean(dim=0)
    for v in variable.unique():
        chosen = variable == v
        ratio = variance[chosen] / variance[chosen].mean()
        torch.testing.assert_close(found[chosen] ** 2, ratio.clamp(0.01, 100))


@every
@both
def test_quantiles_are_where_the_distribution_function_reaches_their_levels(name, dtype):
    own = likelihood(name)
    distribution = made(own, dtype)
    discrete, step = whole(own, distribution)
    below_all = None
    for q in LEVELS:
        at = own.icdf(distribution, q)
        assert at.shape == (SAMPLES, QUERIES)
        exact = 1e-7 if dtype == torch.float64 else 1e-5
        reached, below = own.cdf(distribution, at), own.cdf(distribution, at - discrete * step)
        assert (np.where(discrete, reached, q) >= q - 1e-12).all()
        assert (np.where(discrete, below, 0.0) < q).all()
        np.testing.assert_allclose(np.where(discrete, q, reached), q, rtol=exact)
        levels = np.full((SAMPLES, QUERIES), q)
        np.testing.assert_array_equal(own.icdf(distribution, levels), at)
        assert below_all is None or (at >= below_all).all()
        below_all = at


@every
def test_the_density_is_the_slope_of_the_distribution_function_and_a_probability_its_step(name):
    own = likelihood(name)
    distribution = made(own)
    discrete, step = whole(own, distribution)
    for q in (0.07, 0.33, 0.77, 0.93):  # between the knots of decoded quantiles
        at = own.icdf(distribution, q)
        h = np.where(discrete, 0.5 * step, 1e-5)
        rise = own.cdf(distribution, at + h) - own.cdf(distribution, at - h)
        found = distribution.log_prob(torch.from_numpy(at)).exp().numpy()
        np.testing.assert_allclose(found, np.where(discrete, rise, rise / (2 * h)), rtol=2e-5)


@every
@both
def test_draws_lie_below_quantiles_as_often_as_their_levels_say(name, dtype):
    own = likelihood(name)
    distribution = made(own, dtype)
    torch.manual_seed(0)
    draws = distribution.sample((2000,))
    assert draws.dtype == dtype
    rounding = 1e-5  # of whole numbers in scaled units
    for q in (0.1, 0.5, 0.9):
        at = own.icdf(distribution, q)
        share = (draws.double().numpy() <= at + rounding).mean(axis=0)
        np.testing.assert_allclose(share, own.cdf(distribution, at), atol=0.05)


@pytest.mark.parametrize("name", (*FREE_UNITS, "mixed"))
@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e9])
@both
def test_no_unit_of_the_data_changes_anything(name, unit, dtype):
    plain = likelihood(name, names=FREE_UNITS)
    other = likelihood(name, unit * LOC, unit * SCALE, names=FREE_UNITS)
    one, two = made(plain, dtype), made(other, dtype)
    close = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(two.mean, one.mean, **close)
    torch.testing.assert_close(two.stddev, one.stddev, **close)
    for q in (0.01, 0.5, 0.9):
        at = plain.icdf(one, q)
        np.testing.assert_allclose(other.icdf(two, q), at, **close)
        np.testing.assert_allclose(other.cdf(two, at), plain.cdf(one, at), **close)
        value = torch.from_numpy(at).to(dtype)
        torch.testing.assert_close(two.log_prob(value), one.log_prob(value), **close)
    seen, variable = torch.linspace(-1, 3, QUERIES, dtype=dtype), torch.zeros(QUERIES, dtype=torch.long)
    torch.testing.assert_close(other.view(seen, variable), plain.view(seen, variable), **close)


def test_rare_shares_are_told_apart_like_common_ones():
    level = {m: likelihood("beta", m, 0.5 * m) for m in (4e-4, 4e-7, 4e-10)}
    at = {m: own.icdf(made(own), 0.3) for m, own in level.items()}
    np.testing.assert_allclose(at[4e-10], at[4e-7], rtol=1e-5)
    np.testing.assert_allclose(at[4e-7], at[4e-4], rtol=1e-2)
    for own in level.values():
        distribution = made(own)
        x = own.icdf(distribution, 0.3)
        rise = own.cdf(distribution, x + 1e-5) - own.cdf(distribution, x - 1e-5)
        found = distribution.log_prob(torch.from_numpy(x)).exp().numpy()
        np.testing.assert_allclose(found, rise / 2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "name", [n for n in LIKELIHOODS if LIKELIHOODS[n].discrete and n != "bernoulli"]
)
@pytest.mark.parametrize("size", [1e6, 5e8, 2e9, 5e9, 1e12])
def test_large_counts_have_quantiles_and_probabilities(name, size):
    own = likelihood(name, size, size / 3)
    distribution = made(own, queries=4)
    before = None
    for q in LEVELS:
        at = own.icdf(distribution, q)
        assert np.isfinite(at).all()
        np.testing.assert_allclose(own.cdf(distribution, at), q, rtol=0.01)
        assert before is None or (at > before).all()
        before = at
    middle = torch.from_numpy(own.icdf(distribution, 0.5))
    density = distribution.log_prob(middle).exp() * distribution.stddev * size / 3
    assert ((density > 0.1) & (density < 2.0)).all()
    # The probability of one count is the mean of that of its neighbours.
    near = np.maximum(1, np.round(distribution.stddev.numpy() * size / 3 / 50))
    width = near / (size / 3)
    for q in (0.2, 0.8):
        x = own.icdf(distribution, q)
        rise = own.cdf(distribution, x + width) - own.cdf(distribution, x - width)
        found = distribution.log_prob(torch.from_numpy(x)).exp().numpy()
        np.testing.assert_allclose(found, rise / (2 * near), rtol=0.02)
    torch.manual_seed(0)
    draws = distribution.sample((500,)).numpy()
    np.testing.assert_allclose((draws <= middle.numpy()).mean(axis=0), 0.5, atol=0.12)


@every
def test_single_and_double_precision_say_the_same(name):
    own = likelihood(name)
    single, double = made(own, torch.float32), made(own)
    assert single.mean.dtype == mixture(single).variance.dtype == torch.float32
    torch.testing.assert_close(single.mean.double(), double.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(single.stddev.double(), double.stddev, rtol=1e-4, atol=1e-4)
    value = torch.from_numpy(own.icdf(double, 0.33))
    for rule in (score, lambda d, x: d.log_prob(x)):
        found = rule(single, value.float())
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), rule(double, value), rtol=1e-3, atol=1e-3)


@every
def test_no_query_is_answered_by_nothing(name):
    own = likelihood(name)
    empty = made(own, queries=0)
    assert mixture(empty).mean.shape == (0,)
    assert mixture(empty).variance.shape == (0,)
    assert empty.log_prob(torch.zeros(0)).shape == (SAMPLES, 0)
    assert empty.sample((2,)).shape == (2, SAMPLES, 0)
    assert own.icdf(empty, 0.5).shape == own.cdf(empty, np.zeros(0)).shape == (SAMPLES, 0)
    assert own.whole(empty).shape == (0,)
    full = made(own)
    same = join([empty, full, empty])
    torch.testing.assert_close(same.mean, full.mean)


@every
def test_some_queries_are_answered_as_all_are(name):
    own = likelihood(name)
    full = made(own)
    places = torch.tensor([5, 0, 17, 5, 8])
    some = take(full, places)
    at = own.icdf(full, 0.4)
    np.testing.assert_allclose(own.icdf(some, 0.4), at[:, places])
    np.testing.assert_allclose(own.cdf(some, at[0, places]), own.cdf(full, at[0])[:, places])
    value = torch.from_numpy(at)
    torch.testing.assert_close(some.log_prob(value[:, places]), full.log_prob(value)[:, places])
    torch.testing.assert_close(some.variance, full.variance[:, places])
    rest = take(full, torch.arange(3, QUERIES))
    again = join([take(full, torch.arange(3)), rest])
    torch.testing.assert_close(again.log_prob(value), full.log_prob(value))
    np.testing.assert_array_equal(own.icdf(again, 0.4), at)


@every
def test_a_component_of_each_query_can_be_picked(name):
    own = likelihood(name)
    full = made(own)
    samples = torch.stack([torch.arange(QUERIES) % SAMPLES, torch.ones(QUERIES, dtype=torch.long)])
    chosen = pick(full, samples)
    assert chosen.batch_shape == (2, QUERIES)
    torch.testing.assert_close(chosen.mean, full.mean.gather(0, samples))
    np.testing.assert_array_equal(
        own.icdf(chosen, 0.7), np.take_along_axis(own.icdf(full, 0.7), samples.numpy(), axis=0)
    )


@every
def test_parameters_can_be_changed_and_locations_fixed(name):
    own = likelihood(name)
    kinds = len(getattr(own, "kind", (0,)))
    raw = torch.zeros(SAMPLES, QUERIES, own.n_raw, dtype=torch.float64, requires_grad=True)
    variable = torch.arange(QUERIES) % kinds
    distribution = own.distribution(raw, torch.zeros(SAMPLES, QUERIES).double(), variable)
    value = torch.from_numpy(own.icdf(with_parameters(distribution, torch.Tensor.detach), 0.8))
    (whole_,) = torch.autograd.grad(distribution.log_prob(value).sum(), raw, retain_graph=True)
    assert (whole_[..., 0].abs() > 1e-6).all()
    rest = with_fixed_location(distribution).log_prob(value).sum()
    if rest.requires_grad:
        (found,) = torch.autograd.grad(rest, raw)
        assert (found[..., 0] == 0).all()
        torch.testing.assert_close(found[..., 1:], whole_[..., 1:])
    else:
        assert own.n_raw == 1
    single = with_parameters(distribution, lambda p: p.detach().float())
    assert single.mean.dtype == torch.float32


@every
def test_wild_raw_numbers_give_finite_densities_and_gradients(name):
    own = likelihood(name)
    kinds = len(getattr(own, "kind", (0,)))
    variable = torch.arange(QUERIES) % kinds
    with torch.no_grad():
        value = torch.from_numpy(own.icdf(made(own), 0.5)[0])
    for dtype in (torch.float32, torch.float64):
        for size in (-1e4, -30.0, 30.0, 1e4):
            raw = torch.full((1, QUERIES, own.n_raw), size, dtype=dtype, requires_grad=True)
            anchor = torch.zeros(1, QUERIES, dtype=dtype)
            distribution = own.distribution(raw, anchor, variable)
            found = distribution.log_prob(value.to(dtype))
            (gradient,) = torch.autograd.grad(found.sum(), raw)
            assert torch.isfinite(found).all()
            assert torch.isfinite(gradient).all()
            assert torch.isfinite(distribution.variance).all()
            assert (distribution.variance > 0).all()


# -- about a forecast


@both
@every
def test_about_a_forecast_an_uncorrected_distribution_has_its_mean_and_interval(name, dtype):
    small = name in ("bernoulli", "beta", "mixed")  # what lies between 0 and 1
    own = likelihood(name) if small else likelihood(name, 40.0, 8.0)
    raw = torch.zeros(1, QUERIES, own.n_raw, dtype=dtype)
    mean = torch.linspace(-0.5, 0.5, QUERIES, dtype=dtype).expand(1, -1)
    deviation = torch.full_like(mean, 0.4)
    variable = torch.arange(QUERIES) % len(getattr(own, "kind", (0,)))
    about = own.about(raw, mean, deviation, variable)
    assert about.mean.dtype == dtype and about.mean.isfinite().all() and (about.variance > 0).all()
    if name in ("bernoulli", "mixed"):
        return  # of which means are cut off before 0 and 1
    kind = LIKELIHOODS[name]
    torch.testing.assert_close(about.mean.double(), mean.double(), rtol=0, atol=0.06)
    if not kind.discrete:
        ends = [own.icdf(about, q) for q in (0.1, 0.9)]
        np.testing.assert_allclose(ends[1] - ends[0], 2 * 1.2816 * 0.4, rtol=0.06)


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if not LIKELIHOODS[n].of_data_units])
def test_about_a_forecast_raw_numbers_move_it_by_its_deviation_in_any_unit(name):
    own = likelihood(name)
    raw = torch.zeros(1, QUERIES, own.n_raw, dtype=torch.float64)
    raw[..., 0] = 0.7
    mean = torch.linspace(-2, 2, QUERIES, dtype=torch.float64).expand(1, -1)
    for unit in (1e-9, 1.0, 1e9):
        about = own.about(raw, unit * mean, unit * torch.full_like(mean, 0.4))
        middle = own.icdf(about, 0.5)
        np.testing.assert_allclose(middle, unit * (mean.numpy() + 0.28), rtol=1e-6, atol=1e-9 * unit)


@pytest.mark.parametrize(
    ("name", "size"),
    [*(("log-normal", u) for u in (1e-30, 1.0, 1e20)), *(("beta", u) for u in (1e-6, 1e-3, 0.3))],
)
def test_about_a_forecast_of_any_size_the_mean_is_that_of_the_forecast(name, size):
    own = LIKELIHOODS[name].of_units((size,), (0.3 * size,))
    raw = torch.zeros(1, 3, own.n_raw)
    mean = size * torch.tensor([[0.7, 1.0, 1.4]])
    about = own.about(raw, mean, torch.full_like(mean, 0.2 * size), torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(about.mean, mean, rtol=2e-3, atol=0)
    width = own.icdf(about, 0.9) - own.icdf(about, 0.1)  # a variance may leave the range of float32
    np.testing.assert_allclose(width, np.full((1, 3), 2 * 1.2816 * 0.2 * size), rtol=0.1)


@every
def test_scores_of_each_query_are_answered_as_one_by_one(name):
    own = likelihood(name)
    distribution = made(own)
    scores = np.random.default_rng(0).normal(size=(SAMPLES, QUERIES))
    found = own.at_score(distribution, scores)
    for place in np.ndindex(SAMPLES, QUERIES):
        assert found[place] == pytest.approx(own.at_score(distribution, float(scores[place]))[place])
