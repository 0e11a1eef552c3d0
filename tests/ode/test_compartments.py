"""Compartments and what is read off them: closed forms, jumps, proportion."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from latentode.errors import SolveError
from latentode.nn.decoders import PoolDecoder
from latentode.ode import (
    CompartmentDynamics,
    Context,
    LinearControl,
    LinearDynamics,
    Solver,
    StepControl,
)

EXACT = Solver("exact", 1)
KINDS = {
    "linear": lambda: LinearDynamics(4, context_size=3),
    "compartments": lambda: CompartmentDynamics(4, controls=1, slowest=0.5, fastest=4.0),
}


def doses():
    """Two rows: jumps at 0.5 and 2 (a value named again at 1), and none but the last within reach."""
    times = torch.tensor([[0.0, 0.5, 1.0, 2.0], [0.0, 3.5, 3.5, 9.0]])
    values = torch.tensor([[3.0, 1.0, 1.0, 0.0], [2.0, 0.5, 0.5, 7.0]])[..., None]
    return Context(torch.randn(2, 2), StepControl(times, values))


@pytest.mark.parametrize("name", KINDS)
def test_a_driven_closed_form_is_what_small_steps_come_to_at_every_time(name):
    field, context, z0 = KINDS[name](), doses(), torch.randn(2, 4)
    t0, t1 = torch.tensor([-0.5, 1.0]), torch.tensor([4.0, 5.0])
    path = EXACT.solve(field, z0, t0, t1, context)
    fine = Solver("dopri8", 8, rtol=1e-12, atol=1e-12, jumps=9).solve(field, z0, t0, t1, context)
    assert (path(fine.times) - fine.states).abs().max() < 1e-9
    times = t0[:, None] + (t1 - t0)[:, None] * torch.linspace(0.003, 0.997, 41)
    beside = times + 1e-6
    slope = (path(beside) - path(times)) / 1e-6
    assert (path.derivative(times) - slope).abs().max() < 1e-3
    again = EXACT.solve(field, path.final, t1, t1 + 1, context)
    whole = path.join(again, kinks=True)
    later = t1[:, None] + torch.rand(2, 5)
    direct = EXACT.solve(field, z0, t0, t1 + 1, context)
    assert (whole(later) - direct(later)).abs().max() < 1e-12
    back = EXACT.solve(field, direct.final, t1 + 1, t0, context)
    assert (back(times) - path(times)).abs().max() < 1e-6
    assert (back.reverse()(times) - path(times)).abs().max() < 1e-6


def test_two_pools_are_two_compartments_that_exchange():
    r"""An infusion into the first of two, $\dot x = K x + (u, 0)$, by the exponential of a matrix."""
    out, there, back = 0.9, 0.6, 0.2
    k = np.array([[-out - there, back], [there, -back]])
    eigenvalues, vectors = np.linalg.eig(k)
    weights = vectors[0] * np.linalg.inv(vectors)[:, 0]  # of the answer of the first to an impulse
    field = CompartmentDynamics(4, controls=1)
    with torch.no_grad():
        field.log_rate.copy_(torch.from_numpy(np.log(-eigenvalues)))
        field.log_inflow.copy_(torch.from_numpy(np.log(weights))[:, None])
    rate, stop, t = 2.5, 1.3, torch.tensor([[0.4, 1.3, 2.0, 7.0]])
    control = StepControl(torch.tensor([[0.0, stop]]), torch.tensor([[[rate], [0.0]]]))
    path = EXACT.solve(
        field, torch.zeros(1, 4), torch.zeros(1), torch.tensor([8.0]), Context(None, control)
    )
    drug = path(t)[0, :, :2].sum(dim=1).detach().numpy()

    def held(time):  # x after `time` of infusion
        return np.linalg.solve(k, (expm(k * time) - np.eye(2)) @ np.array([rate, 0.0]))

    expected = [(expm(k * max(s - stop, 0)) @ held(min(s, stop)))[0] for s in t[0].tolist()]
    np.testing.assert_allclose(drug, expected, rtol=1e-12)


def test_from_empty_pools_twice_the_dose_is_twice_the_amount_and_a_fixed_distance_of_logarithms():
    field, decoder = CompartmentDynamics(6, controls=1, rest=[-0.4]), PoolDecoder(6, 2, 2, 8)
    z0 = torch.cat([torch.zeros(3, 3), torch.randn(3, 3)], dim=1)
    states = []
    dose = torch.rand(3, 1, 1)
    for factor in (1.0, 2.0):
        control = StepControl(torch.zeros(3, 1), factor * dose - 0.4)
        states.append(
            EXACT.solve(field, z0, torch.zeros(3), torch.ones(3), Context(None, control)).final
        )
    assert (states[1][:, :3] - 2 * states[0][:, :3]).abs().max() < 1e-12
    assert torch.equal(states[0][:, 3:], z0[:, 3:])
    decoder.LEAST = 0.0
    low, high = (decoder(z, torch.tensor([0, 1, 0])) for z in states)
    apart = decoder.gain[torch.tensor([0, 1, 0])] * torch.tensor(2.0).log()
    assert (high - low - apart).abs().max() < 1e-12


def test_nothing_given_leaves_empty_pools_empty():
    field = CompartmentDynamics(4, controls=2, rest=[0.3, -1.0])
    control = StepControl(torch.zeros(1, 1), torch.tensor([[[0.3, -1.0]]]))
    path = EXACT.solve(field, torch.zeros(1, 4), torch.zeros(1), torch.ones(1), Context(None, control))
    assert path.final.abs().max() < 1e-12


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_and_dose_of_a_driven_closed_form_receives_its_gradient(name):
    field, context, z0 = KINDS[name](), doses(), torch.randn(2, 4, requires_grad=True)
    values = torch.rand(2, 4, 1, requires_grad=True)  # each a jump

    def end(z0, values):
        given = Context(context.fixed, StepControl(context.control.times, values))
        return EXACT.solve(field, z0, torch.zeros(2), torch.full((2,), 4.0), given)(
            torch.full((2, 1), 1.7)
        )

    assert torch.autograd.gradcheck(end, (z0, values))
    end(z0, values).square().sum().backward()
    for key, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


def test_a_row_s_jumps_change_no_other_row():
    field, context, z0 = KINDS["compartments"](), doses(), torch.randn(2, 4)
    t0, t1, times = torch.zeros(2), torch.full((2,), 4.0), torch.rand(2, 9) * 4
    both = EXACT.solve(field, z0, t0, t1, context)(times)
    for row in range(2):
        one = torch.tensor([row])
        alone = EXACT.solve(field, z0[one], t0[one], t1[one], context.select(one))(times[one])
        assert (both[one] - alone).abs().max() < 1e-12


def test_a_control_that_never_holds_has_no_closed_form():
    control = LinearControl(torch.tensor([[0.0, 1.0]]), torch.tensor([[[0.0], [1.0]]]))
    with pytest.raises(SolveError, match="choose rk38"):
        EXACT.solve(
            CompartmentDynamics(2, controls=1),
            torch.zeros(1, 2),
            torch.zeros(1),
            torch.ones(1),
            Context(None, control),
        )


def test_compartments_come_in_pairs():
    with pytest.raises(ValueError, match="must be even"):
        CompartmentDynamics(3)
