"""A trajectory is a function of time."""

import math

import pytest
import torch
from fields import Product, Wave
from torch import nn

from latentode.errors import SolveError
from latentode.ode import HermiteTrajectory, LinearDynamics, MLPDynamics, Solver


def _path(**options):
    z0, t0, t1 = torch.randn(3, 2), torch.tensor([0.0, 4.0, 1.0]), torch.tensor([2.0, 1.0, 1.5])
    return Solver(**options).solve(Product(), z0, t0, t1)


def test_rk4_is_fourth_order_between_knots():
    t0, t1, z0 = torch.zeros(1), torch.full((1,), 3.0), torch.zeros(1, 1)
    times = torch.linspace(0, 3, 997)[None]
    errors = [
        (Solver("rk4", n).solve(Wave(), z0, t0, t1)(times)[..., 0] - times.sin()).abs().max().item()
        for n in (16, 32, 64)
    ]
    assert abs(math.log2(errors[-2] / errors[-1]) - 4) < 0.2


def test_interpolation_is_exact_on_cubics():
    def cubic(t):
        return torch.stack([t**3 - 2 * t, 5 - t**2], dim=-1)

    knots = torch.tensor([[0.0, 0.7, 1.5, 4.0], [2.0, 1.9, -1.0, -3.0]])
    slopes = torch.stack([3 * knots**2 - 2, -2 * knots], dim=-1)
    path = HermiteTrajectory(knots, cubic(knots), slopes)
    times = torch.stack([torch.linspace(0, 4, 41), torch.linspace(-3, 2, 41)])
    assert (path(times) - cubic(times)).abs().max() < 1e-12
    exact = torch.stack([3 * times**2 - 2, -2 * times], dim=-1)
    assert (path.derivative(times) - exact).abs().max() < 1e-12


def test_it_passes_through_its_knots_with_their_slopes():
    path = _path()
    assert (path(path.times) - path.states).abs().max() < 1e-13
    assert (path.derivative(path.times) - path.slopes).abs().max() < 1e-11
    assert torch.equal(path.final, path.states[:, -1])


def test_asking_for_more_times_changes_no_other_answer():
    path = _path()
    low, high = path.times.min(dim=1).values, path.times.max(dim=1).values
    times = low[:, None] + torch.rand(3, 100) * (high - low)[:, None]
    many = path(times)
    assert torch.equal(path(times[:, 40:41]), many[:, 40:41])
    shuffled = torch.randperm(100)
    assert torch.equal(path(times[:, shuffled]), many[:, shuffled])


def test_a_time_outside_the_span_is_refused_by_row_and_time():
    path = _path()
    times = path.times.clone()
    times[1, 3] = 4.25
    with pytest.raises(SolveError, match=r"time 4.25 of row 1 .* \[1, 4\]"):
        path(times)
    with pytest.raises(SolveError, match="row 2"):
        path.derivative(torch.tensor([[0.0], [4.0], [math.nan]]))
    with pytest.raises(SolveError, match="expected"):
        path(torch.zeros(2, 1))


def test_join_continues_and_reverse_turns_round():
    first = _path()
    start, end = first.times[:, -1], first.times[:, -1] + (first.times[:, -1] - first.times[:, 0])
    second = Solver().solve(Product(), first.final, start, end)
    joined = first.join(second)
    assert joined.stats == first.stats + second.stats
    middle = second.times.mean(dim=1, keepdim=True)
    assert torch.equal(joined(middle), second(middle))
    assert torch.equal(joined(first.times[:, 2:3] + 0.01), first(first.times[:, 2:3] + 0.01))
    assert (joined.reverse()(middle) - second(middle)).abs().max() < 1e-13
    assert torch.equal(joined.reverse().final, first.states[:, 0])


@pytest.mark.parametrize("method", ["rk38", "exact"])
def test_a_path_refuses_what_does_not_belong_to_it(method):
    solver, field = Solver(method, 2), LinearDynamics(4)
    t0, t1 = torch.zeros(3), torch.ones(3)
    path = solver.solve(field, torch.randn(3, 4), t0, t1)
    for asked in (path, path.derivative):
        for times in ([[0.0]] * 3, 0.5, torch.zeros(3, 1).numpy()):
            with pytest.raises(SolveError, match=r"times is a .*; a solve needs tensors"):
                asked(times)
    with pytest.raises(SolveError, match="row 1 begins at 2, and the one before ends at 1"):
        path.join(solver.solve(field, path.final, torch.tensor([1.0, 2.0, 1.0]), t1 + 2))
    with pytest.raises(SolveError, match="2 rows is not joined to one of 3 rows"):
        path.join(solver.solve(field, path.final[:2], t1[:2], t1[:2] + 1))
    for parts in (0, 3):
        with pytest.raises(SolveError, match="parts"):
            path.unfold(parts)


def test_the_number_of_queries_does_not_enter_the_cost():
    path = _path(method="dopri5")
    before = path.stats
    path(path.times.repeat(1, 50))
    assert path.stats == before


def test_a_linear_map_of_the_path_is_the_path_of_the_linear_map():
    field, z0 = MLPDynamics(3, (5,)), torch.randn(2, 3, requires_grad=True)
    path = Solver().solve(field, z0, torch.zeros(2), torch.tensor([1.0, -2.0]))
    read, times = nn.Linear(3, 2), torch.tensor([[0.1, 0.9], [-1.7, -0.3]])
    ours, theirs = path.linear(read.weight, read.bias)(times), read(path(times))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        path.linear(read.weight, read.bias).derivative(times), path.derivative(times) @ read.weight.T
    )
    sources = [z0, read.weight, read.bias, *field.parameters()]
    of_ours = torch.autograd.grad(ours.square().sum(), sources, retain_graph=True)
    for a, b in zip(of_ours, torch.autograd.grad(theirs.square().sum(), sources), strict=True):
        torch.testing.assert_close(a, b)


def test_a_closed_form_is_not_read_out_at_its_knots():
    path = Solver("exact").solve(LinearDynamics(4), torch.randn(2, 4), torch.zeros(2), torch.ones(2))
    with pytest.raises(SolveError, match=r"apply the map to path\(times\)"):
        path.linear(torch.ones(1, 4))
