"""Each kind of dynamics keeps its promise."""

import pytest
import torch
from torch import nn

from latentode.errors import SolveError
from latentode.ode import (
    AugmentedDynamics,
    Context,
    GatedDynamics,
    LinearControl,
    LinearDynamics,
    MLPDynamics,
    SecondOrderDynamics,
    Solver,
)

EXACT = Solver("dopri8", 8, rtol=1e-12, atol=1e-13)
KINDS = {
    "mlp": lambda: MLPDynamics(4, (6,), context_size=1, time_dependent=True),
    "gated": lambda: GatedDynamics(4, context_size=1, time_dependent=True),
    "linear": lambda: LinearDynamics(4, context_size=1),
    "second order": lambda: SecondOrderDynamics(Spring()),
    "augmented": lambda: AugmentedDynamics(MLPDynamics(4, (6,), context_size=1), extra=1),
}


class Spring(nn.Module):
    def __init__(self):
        super().__init__()
        self.stiffness = nn.Parameter(torch.tensor(2.0))

    def forward(self, t, z, context):
        return -self.stiffness * z[:, :2] + context.at(t)


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint", "backsolve"])
@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_of_every_kind_receives_a_gradient(name, adjoint):
    field = KINDS[name]()
    context = Context(torch.randn(3, 1))
    path = Solver(adjoint=adjoint).solve(
        field, torch.randn(3, 4), torch.zeros(3), torch.ones(3), context
    )
    path.final.square().sum().backward()
    for key, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


def test_gated_states_stay_bounded_over_any_span():
    field = GatedDynamics(4)
    for parameter in field.parameters():
        nn.init.normal_(parameter, std=10)
    z0 = 2 * torch.rand(5, 4) - 1
    with torch.no_grad():
        path = Solver("rk4", 400).solve(field, z0, torch.zeros(5), torch.full((5,), 100.0))
    assert path.states.abs().max() <= 1


@pytest.mark.parametrize("context_size", [0, 2])
def test_linear_dynamics_flow_as_they_are_solved(context_size):
    field = LinearDynamics(6, context_size)
    context = Context(torch.randn(3, 2)) if context_size else None
    z0, t0, t1 = torch.randn(3, 6), torch.randn(3), torch.randn(3)
    path = EXACT.solve(field, z0, t0, t1, context)
    flow = field.flow(z0, path.times - t0[:, None], context)
    assert (flow - path.states).abs().max() < 1e-9
    assert torch.equal(field.flow(z0, torch.zeros(3, 1), context)[:, 0], z0)


def test_a_spring_oscillates():
    field, z0 = SecondOrderDynamics(Spring()), torch.tensor([[1.0, 2.0, 0.0, 0.0]])
    t1 = torch.tensor([1.5])
    path = EXACT.solve(field, z0, torch.zeros(1), t1, Context(torch.zeros(1, 1)))
    exact = z0[:, :2] * torch.cos(2**0.5 * t1)
    assert (path.final[:, :2] - exact).abs().max() < 1e-9


def test_augmented_states_start_at_zero_and_come_back():
    field, z = AugmentedDynamics(MLPDynamics(5), extra=2), torch.randn(4, 3)
    wide = field.augment(z)
    assert wide.shape == (4, 5) and (wide[:, 3:] == 0).all()
    assert torch.equal(field.project(wide), z)


def test_a_linear_control_goes_straight_and_is_never_extrapolated():
    times = torch.tensor([[0.0, 1.0, 3.0], [5.0, 6.0, 6.0]])
    values = torch.tensor([[[1.0], [2.0], [4.0]], [[-1.0], [3.0], [3.0]]])
    path = LinearControl(times, values)
    for t, expected in (
        ([-9.0, -9.0], [1.0, -1.0]),
        ([0.5, 5.5], [1.5, 1.0]),
        ([2.0, 6.0], [3.0, 3.0]),
        ([99.0, 99.0], [4.0, 3.0]),
    ):
        assert path.at(torch.tensor(t))[:, 0].tolist() == expected
    assert LinearControl(times[:, :1], values[:, :1]).at(torch.tensor([9.0, 0.0])).tolist() == [
        [1.0],
        [-1.0],
    ]


def test_the_exact_method_is_the_flow_at_any_time_through_joins():
    field = LinearDynamics(6, context_size=2)
    context, z0 = Context(torch.randn(3, 2)), torch.randn(3, 6)
    t0, t1 = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([4.0, -1.0, 2.0])
    solver = Solver("exact", 1)
    path = solver.solve(field, z0, t0, t1, context)
    times = t0[:, None] + (t1 - t0)[:, None] * torch.rand(3, 9)
    expected = field.flow(z0, times - t0[:, None], context)
    assert (path(times) - expected).abs().max() < 1e-12
    slope = field(
        times.reshape(-1), expected.flatten(0, 1), Context(context.fixed.repeat_interleave(9, 0))
    )
    assert (path.derivative(times) - slope.view(3, 9, 6)).abs().max() < 1e-11
    whole = path.join(solver.solve(field, path.final, t1, t1 + (t1 - t0), context))
    later = t1[:, None] + (t1 - t0)[:, None] * torch.rand(3, 5)
    assert (whole(later) - field.flow(z0, later - t0[:, None], context)).abs().max() < 1e-11
    fine = Solver("dopri8", 1, rtol=1e-11, atol=1e-11).solve(field, z0, t0, t1, context)
    assert (fine.final - path.final).abs().max() < 1e-8


def test_the_exact_method_differentiates_and_refuses_what_has_no_closed_form():
    field = LinearDynamics(4)
    z0, t0 = torch.randn(2, 4, requires_grad=True), torch.zeros(2)
    t1 = torch.ones(2, requires_grad=True)

    def middle(z0, t1):
        return Solver("exact", 1).solve(field, z0, t0, t1)(t1[:, None] / 2)

    assert torch.autograd.gradcheck(middle, (z0, t1))
    with pytest.raises(SolveError, match="closed form"):
        Solver("exact").solve(MLPDynamics(4), z0, t0, t1)
