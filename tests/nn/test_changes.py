"""What encoders read besides values: changes in own units, and averages over spans."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from making import batch_of, network, noise_for, piece

from latentode import LatentODEForecaster
from latentode.data.batch import Observations
from latentode.nn import ENCODERS
from latentode.nn.changes import N_CHANGES, ChangeUnits
from latentode.nn.memory import Memory
from latentode.nn.sequences import Events, Histories, last_values

pytestmark = pytest.mark.usefixtures("float64")
SERIES, VARIABLES = 4, 3
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
both_ways = pytest.mark.parametrize("backward", [False, True])


def observations(seed=0, n=60):
    """Of four series, the last of which has none; some of their variables share times."""
    rng = np.random.default_rng(seed)
    cell = rng.integers(VARIABLES * (SERIES - 1), size=n)
    table = np.unique(np.c_[cell, rng.integers(-20, 0, size=n)], axis=0)
    rng.shuffle(table)
    series, variable = (
        torch.from_numpy(table[:, 0] // VARIABLES),
        torch.from_numpy(table[:, 0] % VARIABLES),
    )
    time = torch.from_numpy(table[:, 1] / 10 + 0.01 * table[:, 1] ** 2 / 40)
    return Observations(series, variable, time, torch.from_numpy(rng.normal(size=len(table))))


def estimated(seen):
    units = ChangeUnits(VARIABLES)
    units.estimate(seen)
    return units


def earlier(seen, backward):
    """Of each observation the positions of those of its series read by then, the latest first."""
    sign = -1 if backward else 1
    for i in range(len(seen)):
        own = (seen.series == seen.series[i]) & (sign * seen.time <= sign * seen.time[i])
        places = own.nonzero().squeeze(1)
        yield i, places[torch.argsort(sign * seen.time[places], descending=True)].tolist()


@both_ways
def test_changes_are_those_of_a_loop_over_observations(backward):
    seen = observations()
    units, t0 = estimated(seen), torch.full((SERIES,), -3.0 if backward else 0.0)
    found = Histories.of(seen, t0, VARIABLES, backward, None, units)
    read = torch.empty(len(seen), N_CHANGES)
    read[found.source] = found.features[:, 4 : 4 + N_CHANGES]
    last = last_values(seen, SERIES, VARIABLES)
    for i, places in earlier(seen, backward):
        own = [j for j in places if seen.variable[j] == seen.variable[i]][:3]
        v, x, t = int(seen.variable[i]), seen.value[own].tolist(), seen.time[own].tolist()
        step = [a - b for a, b in pairwise(x)]
        rate = [s / abs(a - b) for s, a, b in zip(step, t, t[1:], strict=False)]
        distance = x[0] - float(last[seen.series[i], v])
        s, d, r = (float(u[v]) for u in (units.step, units.distance, units.rate))
        bend = rate[0] - rate[1] if len(rate) > 1 else 0.0
        first, slope = (step[0], rate[0]) if step else (0.0, 0.0)
        expected = [
            distance / d, math.asinh(distance / s), first / s, math.asinh(first / s),
            math.asinh(slope / r), math.asinh(bend / r),
        ]  # fmt: skip
        assert read[i].tolist() == pytest.approx(expected, abs=1e-9)


@both_ways
def test_events_hold_the_same_changes_as_histories(backward):
    seen = observations()
    units, t0 = estimated(seen), torch.full((SERIES,), -3.0 if backward else 0.0)
    history = Histories.of(seen, t0, VARIABLES, backward, None, units)
    events = Events.of(seen, SERIES, VARIABLES, backward, None, units)
    features = events.features(t0, last_values(seen, SERIES, VARIABLES))
    assert features.shape[2] == Events.n_features(VARIABLES)
    changed = features[..., VARIABLES : VARIABLES * (1 + N_CHANGES)].unflatten(
        2, (VARIABLES, N_CHANGES)
    )
    for row, source in enumerate(history.source.tolist()):
        s, v = int(seen.series[source]), int(seen.variable[source])
        at = int((events.time[s] == seen.time[source]).nonzero()[0])
        own = history.features[row, 4 : 4 + N_CHANGES]
        torch.testing.assert_close(changed[s, at, v], own, **CLOSE)
    assert (changed[events.observed == 0] == 0).all()


def test_units_are_root_mean_squares_and_what_never_changed_has_units_of_one():
    series, variable = torch.tensor([0, 0, 0, 1, 1, 0, 0]), torch.tensor([0, 0, 0, 0, 0, 1, 1])
    time = torch.tensor([-3.0, -1.0, -0.5, -2.0, 0.0, -1.0, -0.5])
    value = torch.tensor([1.0, 4.0, 3.0, 0.0, 2.0, 7.0, 7.0])
    units = ChangeUnits(3)
    units.estimate(Observations(series, variable, time, value))
    assert units.step.tolist() == pytest.approx([math.sqrt((9 + 1 + 4) / 3), 1, 1])
    assert units.distance.tolist() == pytest.approx([math.sqrt((4 + 1 + 4) / 3), 1, 1])
    assert units.rate.tolist() == pytest.approx([math.sqrt(14 / (4 + 0.25 + 4)), 1, 1])


@pytest.mark.parametrize(("of_value", "of_time"), [(1e6, 1.0), (1.0, 1e-3)])
def test_changes_have_no_unit(of_value, of_time):
    seen = observations()
    scaled = Observations(seen.series, seen.variable, seen.time * of_time, seen.value * of_value)
    found = [
        Histories.of(x, torch.zeros(SERIES), VARIABLES, False, None, estimated(x)).features
        for x in (seen, scaled)
    ]
    one, other = (f[:, 4 : 4 + N_CHANGES] for f in found)
    torch.testing.assert_close(one, other, **CLOSE)


def test_a_memory_is_weighted_means_of_all_that_was_seen():
    seen = observations()
    memory, units, t0 = Memory(), estimated(seen), torch.zeros(SERIES)
    found = memory(seen, t0, VARIABLES, units)
    assert found.shape == (SERIES, VARIABLES, Memory.n_features())
    half_lives, last = memory.log_half_life.exp().tolist(), last_values(seen, SERIES, VARIABLES)
    for s in range(SERIES):
        for v in range(VARIABLES):
            own = (seen.series == s) & (seen.variable == v)
            if not own.any():
                assert (found[s, v] == 0).all()
                continue
            ages, values = -seen.time[own].numpy(), seen.value[own].numpy()
            weights = np.stack([2 ** (-ages / h) for h in half_lives])
            means, now = weights @ values / weights.sum(1), float(last[s, v])
            expected = [*means, *(means - now) / float(units.distance[v])]
            expected += [*np.log1p(weights.sum(1)), now, 1.0]
            assert found[s, v].tolist() == pytest.approx(expected)


def test_a_memory_of_long_ago_is_still_one():
    memory, seen = Memory(), observations()
    long_ago = Observations(seen.series, seen.variable, seen.time - 1e6, seen.value.requires_grad_())
    found = memory(long_ago, torch.zeros(SERIES), VARIABLES)
    assert torch.isfinite(found).all()
    (found**2).sum().backward()
    assert torch.isfinite(memory.log_half_life.grad).all()


def test_a_fit_estimates_the_units_and_a_saved_model_has_them(fitted, tmp_path):
    units = fitted.network_.layout.units
    assert all((u != 1).all() and (u > 0).all() for u in units.buffers())
    fitted.save(tmp_path / "model")
    again = LatentODEForecaster.load(tmp_path / "model").network_.layout.units
    for one, other in zip(units.buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "options", [{"latent": "per-variable"}, *({"encoder": name} for name in ENCODERS)], ids=str
)
def test_an_encoder_that_reads_values_alone_answers_as_if_nothing_changed(options):
    rng = np.random.default_rng(0)
    batch = batch_of([piece(rng, *size) for size in ((6, 5), (4, 6), (0, 3))])
    model, alone = network(**options), network(**options, reads="values")
    alone.load_state_dict(model.state_dict())
    noise = noise_for(len(batch), latent=model.latent_size)

    def means(of):
        return of(batch, batch.target.queries(), noise)[0].mean

    assert not torch.allclose(means(model), means(alone))
    model.layout.units.register_forward_hook(lambda *called: 0 * called[-1])
    torch.testing.assert_close(means(model), means(alone), rtol=1e-12, atol=1e-12)
