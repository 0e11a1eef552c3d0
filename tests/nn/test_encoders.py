"""What holds of every encoder in the registry, and of the encoder of single variables."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from latentode.data.batch import Observations
from latentode.nn import ENCODERS
from latentode.nn.encoders import VariableEncoder
from latentode.nn.sequences import Events, last_values

SERIES, VARIABLES, SIZE = 5, 3, 6
EXACT = {"rtol": 1e-11, "atol": 1e-12}


class OfSeries(nn.Module):
    """An encoder of the registry, from flat observations to a summary per series."""

    def __init__(self, name):
        super().__init__()
        self.encoder = ENCODERS[name](VARIABLES, SIZE)

    def forward(self, seen, t0, backward=False):
        events = Events.of(seen, len(t0), VARIABLES, backward)
        return self.encoder(events, t0, last_values(seen, len(t0), VARIABLES))


class OfVariables(nn.Module):
    """The encoder of single variables, its summaries in a row per series."""

    def __init__(self):
        super().__init__()
        self.encoder = VariableEncoder(4, 0, SIZE, layers=1, heads=2)
        self.embeddings = nn.Parameter(torch.randn(VARIABLES, 4))

    def forward(self, seen, t0, backward=False):
        static = self.embeddings.new_zeros(len(t0), 0)
        return self.encoder(seen, self.embeddings, static, t0, backward).flatten(1)


READERS = {**{n: lambda n=n: OfSeries(n) for n in ENCODERS}, "per-variable": OfVariables}
every = pytest.mark.parametrize("name", READERS)


def reader(name):
    torch.manual_seed(0)
    made = READERS[name]().double()
    for p in made.parameters():  # away from small and zero beginnings
        nn.init.normal_(p, std=0.5)
    return made


def observations(seed=0, dtype=torch.float64):
    """Of five series, the last of which has none."""
    rng, n = np.random.default_rng(seed), 40
    series, variable = rng.integers(SERIES - 1, size=n), rng.integers(VARIABLES, size=n)
    numbers = np.stack([-rng.random(n), rng.normal(size=n)])
    index, floats = torch.from_numpy(np.stack([series, variable])), torch.from_numpy(numbers).to(dtype)
    return Observations(*index, *floats)


def origin(n=SERIES, dtype=torch.float64):
    return torch.zeros(n, dtype=dtype)


@every
@pytest.mark.parametrize("backward", [False, True])
def test_a_summary_depends_on_no_other_series_and_on_no_order(name, backward):
    read, seen = reader(name), observations()
    t0 = torch.full((SERIES,), -1.0).double() if backward else origin()
    together = read(seen, t0, backward)
    assert torch.isfinite(together).all()
    mixed = seen.select(torch.randperm(len(seen)))
    torch.testing.assert_close(read(mixed, t0, backward), together, **EXACT)
    for s in range(SERIES):
        own = seen.select(seen.series == s)
        alone = Observations(own.series * 0, own.variable, own.time, own.value)
        torch.testing.assert_close(read(alone, t0[:1], backward)[0], together[s], **EXACT)


@every
def test_a_summary_does_not_depend_on_when_time_began(name):
    read, seen = reader(name), observations()
    later = Observations(seen.series, seen.variable, seen.time + 3, seen.value)
    torch.testing.assert_close(read(later, origin() + 3), read(seen, origin()), rtol=1e-9, atol=1e-10)


@every
def test_a_summary_depends_on_every_observation_and_on_when_it_was_made(name):
    read, seen = reader(name), observations()
    seen.value.requires_grad_()
    seen.time.requires_grad_()
    of_value, of_time = torch.autograd.grad((read(seen, origin()) ** 2).sum(), (seen.value, seen.time))
    assert (of_value != 0).all()
    assert (of_time != 0).all()


@every
def test_gradients_are_those_of_finite_differences(name):
    read, seen = reader(name), observations().select(torch.arange(8))

    def loss(value):
        given = Observations(seen.series, seen.variable, seen.time, value)
        return read(given, origin())

    assert torch.autograd.gradcheck(loss, seen.value.clone().requires_grad_(), atol=1e-6)


@every
def test_no_hook_and_no_parametrisation_within_an_encoder_is_passed_over(name):
    read, seen = reader(name), observations()
    usual = read(seen, origin())
    for place, part in read.named_modules():
        if isinstance(part, nn.ModuleList | nn.LayerNorm) or part is read:
            continue
        hooked = copy.deepcopy(read)
        hooked.get_submodule(place).register_forward_hook(lambda module, given, made: 0.5 * made)
        assert not torch.allclose(hooked(seen, origin()), usual), place

    class Half(nn.Module):
        def forward(self, x):
            return 0.5 * x

    for place, parameter in read.named_parameters():
        halved, changed = copy.deepcopy(read), copy.deepcopy(read)
        owner, _, own = place.rpartition(".")
        parametrize.register_parametrization(halved.get_submodule(owner), own, Half())
        with torch.no_grad():
            changed.get_parameter(place).mul_(0.5)
        assert parameter.abs().max() > 0
        found = halved(seen, origin())
        torch.testing.assert_close(found, changed(seen, origin()), rtol=1e-9, atol=1e-10)


@every
def test_a_subclass_within_an_encoder_is_not_passed_over(name):
    read, seen = reader(name), observations()
    usual = read(seen, origin())
    for place, part in read.named_modules():
        if isinstance(part, nn.ModuleList | nn.LayerNorm) or part is read:
            continue

        class Halved(type(part)):
            def forward(self, *given, **named):
                return 0.5 * super().forward(*given, **named)

        changed = copy.deepcopy(read)
        changed.get_submodule(place).__class__ = Halved
        assert not torch.allclose(changed(seen, origin()), usual), place


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_summary_has_the_precision_of_the_weights(name, dtype):
    exact = reader(name)
    given = torch.promote_types(dtype, torch.float32)  # as the network gives times and values
    seen = observations(dtype=given)
    found = copy.deepcopy(exact).to(dtype)(seen, origin(dtype=given))
    assert found.dtype == dtype
    close = {torch.float32: 1e-4, torch.float64: 1e-12, torch.bfloat16: 0.3}[dtype]
    torch.testing.assert_close(found.double(), exact(observations(), origin()), rtol=close, atol=close)


@every
def test_reading_under_inference_mode_first_leaves_training_possible(name):
    read, seen = reader(name), observations()
    with torch.inference_mode():
        first = read(seen, origin())
    again = read(seen, origin())
    again.sum().backward()
    assert torch.equal(first, again)
    assert all(p.grad is not None for p in read.parameters())


@every
def test_no_observation_at_all_is_read_without_an_error(name):
    read, nothing = reader(name), observations().select(torch.zeros(0, dtype=torch.long))
    found = read(nothing, origin())
    assert torch.isfinite(found).all()
    found.sum().backward()
    assert read(nothing, origin(0)).shape[0] == 0
