"""A unit that grows with what a variable has moved of late, and with the time since it was seen."""

import numpy as np
import pytest
import torch
from making import batch_of, built, network, noise_for, piece

from latentode import LatentODEError
from latentode.data.batch import Observations, Queries
from latentode.model.emission import PRIOR_TIME, RecentChange

pytestmark = pytest.mark.usefixtures("float64")
RECENT = {"value_units": "recent"}


def walk(n, seed=0, variable=0, step=0.1):
    rng = np.random.default_rng(seed)
    time = torch.tensor(-step * np.arange(n)[::-1].copy())
    value = torch.tensor(np.cumsum(rng.normal(size=n)) * np.sqrt(step))
    zero = torch.zeros(n, dtype=torch.long)
    return Observations(zero, zero + variable, time, value)


def test_of_regular_times_it_is_the_exponentially_weighted_mean_of_squared_changes():
    seen, recent = walk(30), RecentChange(1)
    decay = 2.0 ** (-0.1)  # a step of a tenth of the half-life
    weight = decay ** np.arange(29)[::-1]
    squares = (weight * np.diff(seen.value.numpy()) ** 2).sum() + PRIOR_TIME
    expected = np.sqrt(squares / (0.1 * weight.sum() + PRIOR_TIME))
    assert float(recent(seen, 1).detach()) == pytest.approx(expected, rel=1e-12)


def test_the_unit_of_a_long_random_walk_is_its_own():
    recent = RecentChange(1)
    with torch.no_grad():
        recent.log_half_life.fill_(np.log(1000.0))
    assert float(recent(walk(4000), 1).detach()) == pytest.approx(1.0, abs=0.05)


def test_what_was_never_seen_or_seen_once_has_the_expected_change():
    recent = RecentChange(3)
    with torch.no_grad():
        recent.log_expected.copy_(torch.tensor([0.1, 0.2, 0.3]))
    found = recent(walk(1, variable=1), n_series=2).detach()
    torch.testing.assert_close(found, recent.log_expected.exp().expand(2, 3).detach())


def test_it_grows_as_the_square_root_of_the_time_since_the_last_observation():
    seen, recent = walk(20), RecentChange(1)
    zero = torch.zeros(2, dtype=torch.long)
    near, far = recent.ahead(seen, Queries(zero, zero, torch.tensor([0.0, 0.99])), 1).detach()
    assert float(far / near) == pytest.approx(10.0)  # the noise counts for 0.01


def test_the_order_of_observations_does_not_matter():
    seen, recent = walk(20), RecentChange(1)
    mixed = seen.select(torch.randperm(20, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(recent(mixed, 1), recent(seen, 1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("layout", ["joint", "per-variable"])
def test_a_forecast_moves_with_the_level_of_its_variables(layout):
    model = network(latent=layout, attention_heads=2, **RECENT)
    rng = np.random.default_rng(0)
    one = piece(rng, 6, 5)
    context = one.context.copy()
    context[:, 2] += 7.0
    moved = type(one)(**{**vars(one), "context": context})
    noise = noise_for(1, latent=model.latent_size)
    batch, other = batch_of([one]), batch_of([moved])
    asked = batch.target.queries()
    before, after = model(batch, asked, noise)[0], model(other, asked, noise)[0]
    seen = torch.isin(asked.variable, batch.context.variable)
    assert seen.any()
    torch.testing.assert_close(after.mean[:, seen], before.mean[:, seen] + 7.0)
    torch.testing.assert_close(after.stddev[:, seen], before.stddev[:, seen])


def test_twice_the_changes_make_twice_the_interval():
    model = network(1, n_known=0, latent="per-variable", attention_heads=2, **RECENT)
    with torch.no_grad():
        model.emission.recent.log_expected.fill_(-12.0)
        model.emission.recent.log_half_life.zero_()
        model.emission.recent.log_noise.fill_(-4.0)
    rng = np.random.default_rng(1)
    one = piece(rng, 8, 4, n_variables=1, n_known=0)
    context = one.context.copy()
    context[:, 2] *= 2.0
    wild = type(one)(**{**vars(one), "context": context})
    batch, other = batch_of([one]), batch_of([wild])
    noise = noise_for(1, latent=model.latent_size)
    calm, restless = (model(b, batch.target.queries(), noise)[0] for b in (batch, other))
    torch.testing.assert_close(restless.stddev, 2 * calm.stddev, rtol=0.02, atol=0.0)


def test_recent_units_need_the_anchor():
    with pytest.raises(LatentODEError, match="anchor"):
        built(1, anchor=False, **RECENT)
    with pytest.raises(LatentODEError, match="value_units"):
        built(1, value_units="yearly")


def test_families_of_data_units_are_refused():
    with pytest.raises(LatentODEError, match="'poisson'"):
        built(1, likelihood="poisson", **RECENT)
