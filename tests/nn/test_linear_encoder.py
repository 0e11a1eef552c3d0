"""The parallel encoder equals the recurrence that it replaces."""

import torch

from latentode.data.batch import Observations
from latentode.nn import LinearEncoder
from latentode.nn.sequences import Events


def one_series(times):
    n = len(times)
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(n, generator=generator, dtype=torch.float64)
    series, variable = torch.zeros(n, dtype=torch.int64), torch.arange(n) % 2
    return Observations(series, variable, torch.tensor(times, dtype=torch.float64), value)


def test_the_closed_form_is_the_event_by_event_recurrence():
    torch.manual_seed(0)
    encoder = LinearEncoder(2, 6).double()
    events = Events.of(one_series([-2.0, -1.7, -0.4, -0.39]), 1, 2, backward=False)
    t0, last = torch.zeros(1, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)

    rate = torch.complex(torch.nn.functional.softplus(encoder.raw_decay), encoder.frequency)
    real, imaginary = encoder.drive(events.features(t0, last))[0].chunk(2, dim=1)
    state = torch.zeros(6, dtype=torch.complex128)
    heard = torch.zeros(6, dtype=torch.float64)
    before = events.time[0, 0]
    for i, now in enumerate(events.time[0]):
        # With e^{-lambda t} acting by its conjugate, a positive frequency turns forwards.
        state = torch.exp(-rate * (now - before)) * state + torch.complex(real[i], imaginary[i])
        heard = torch.exp(-rate.real * (now - before)) * heard + 1
        before = now
    state, heard = torch.exp(rate * before) * state, torch.exp(rate.real * before) * heard
    read = torch.cat([state.real / (1 + heard), state.imag / (1 + heard), torch.log1p(heard)])
    torch.testing.assert_close(encoder(events, t0, last)[0], encoder.read(read), rtol=0, atol=1e-12)


def test_no_event_leaves_a_finite_summary():
    encoder = LinearEncoder(2, 6).double()
    nothing = one_series([])
    events = Events.of(nothing, 3, 2, backward=False)
    zeros = torch.zeros(3, dtype=torch.float64)
    assert torch.isfinite(encoder(events, zeros, torch.zeros(3, 2, dtype=torch.float64))).all()
