"""Rows are strangers to one another."""

import pytest
import torch
from fields import Decay

from latentode.ode import ADAPTIVE, METHODS, Context, MLPDynamics, Solver, Stats, StepControl


def _batch(rows):
    t0 = torch.randn(rows)
    context = Context(
        torch.randn(rows, 2), StepControl(torch.rand(rows, 3).cumsum(1), torch.randn(rows, 3, 1))
    )
    return torch.randn(rows, 3), t0, t0 + torch.randn(rows), context


def _row(context, i):
    control = StepControl(context.control.times[i : i + 1], context.control.values[i : i + 1])
    return Context(context.fixed[i : i + 1], control)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_alone_is_the_row_in_its_batch(method):
    field = MLPDynamics(3, (16,), context_size=3, time_dependent=True)
    if method not in ADAPTIVE:
        torch.nn.init.normal_(field.layers[-1].weight)
    z0, t0, t1, context = _batch(7)
    if method in ADAPTIVE:  # they may step across a jump, each batch elsewhere
        context = Context(context.fixed, StepControl(torch.full((7, 1), -99.0), torch.randn(7, 1, 1)))
    solver = Solver(method, **({} if method not in ADAPTIVE else {"rtol": 1e-7, "atol": 1e-8}))
    with torch.no_grad():
        together = solver.solve(field, z0, t0, t1, context)
        for i in range(7):
            one = slice(i, i + 1)
            alone = solver.solve(field, z0[one], t0[one], t1[one], _row(context, i))
            tolerance = 1e-5 if method in ADAPTIVE else 1e-12
            assert (alone.states[0] - together.states[i]).abs().max() < tolerance


def test_gradients_of_a_row_do_not_depend_on_its_batch():
    field = MLPDynamics(3, (16,), context_size=3)
    z0, t0, t1, context = _batch(7)

    def gradient(rows, context):
        z = z0[rows].clone().requires_grad_()
        Solver().solve(field, z, t0[rows], t1[rows], context).final.square().sum().backward()
        return z.grad

    together = gradient(slice(0, 7), context)
    for i in range(7):
        alone = gradient(slice(i, i + 1), _row(context, i))
        assert (alone[0] - together[i]).abs().max() < 1e-12


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_a_thousand_rows_with_spans_from_a_millionth_to_a_million(method):
    span = torch.logspace(-6, 6, 1000)
    rate = 1 / span[:, None]
    z0, t0 = torch.ones(1000, 1), torch.zeros(1000)
    path = Solver(method, 16).solve(lambda t, z, c: -rate * z, z0, t0, span)
    assert (path.final - torch.exp(torch.tensor(-1.0))).abs().max() < 1e-5
    assert torch.equal(path.times[:, -1], span)


def test_directions_may_differ_between_rows():
    decay, z0 = Decay(), torch.ones(2, 1)
    t0, t1 = torch.tensor([0.0, 0.0]), torch.tensor([1.0, -1.0])
    path = Solver("rk4", 32).solve(decay, z0, t0, t1)
    assert torch.allclose(path.final[:, 0], torch.exp(torch.tensor([-1.0, 1.0])), atol=1e-6)
    middle = torch.tensor([[0.5], [-0.5]])
    assert torch.allclose(path(middle)[:, 0, 0], torch.exp(torch.tensor([-0.5, 0.5])), atol=1e-6)


def test_every_row_of_an_adaptive_solve_is_within_the_tolerance():
    """Among a thousand rows at rest, a norm over the batch would let the one that moves go astray."""
    rates = torch.zeros(1000, 1)
    rates[500] = -20.0
    z0, t0, t1 = torch.ones(1000, 1), torch.zeros(1000), torch.ones(1000)
    solver = Solver("dopri5", 1, rtol=1e-6, atol=1e-6)
    crowd = solver.solve(lambda t, z, context: rates * z, z0, t0, t1).final[500]
    alone = solver.solve(lambda t, z, context: -20.0 * z, z0[:1], t0[:1], t1[:1]).final[0]
    exact = torch.exp(torch.tensor([-20.0]))
    assert (crowd - exact).abs() < 3 * (alone - exact).abs() + 1e-12


def test_stats_count_steps_and_those_rejected():
    z0, t0, t1 = torch.ones(2, 1), torch.zeros(2), torch.tensor([1.0, 3.0])
    calls = 0

    def field(t, z, context):
        nonlocal calls
        calls += 1
        return -torch.sin(40 * t)[:, None] * z * 8

    stats = Solver("rk4", 5, 3).solve(field, z0, t0, t1).stats
    assert stats == Stats(evaluations=61, steps=15, rejected=0)
    assert calls == 61
    calls = 0
    stats = Solver("dopri5", 2, rtol=1e-8, atol=1e-8).solve(field, z0, t0, t1).stats
    assert stats.rejected > 0
    # The first step is guessed with two evaluations; slopes at three knots are the trajectory's.
    assert calls - 3 == stats.evaluations
    assert stats.evaluations >= 6 * (stats.steps + stats.rejected)


@pytest.mark.parametrize("method", ["rk4", "rk38", "dopri5"])
def test_advance_is_the_end_of_the_path(method):
    field = MLPDynamics(3)
    z0, t0, t1 = torch.randn(4, 3), torch.zeros(4), torch.tensor([1.0, -2.0, 0.0, 3.0])
    solver = Solver(method, 4)
    final = solver.solve(field, z0, t0, t1).final
    assert (solver.advance(field, z0, t0, t1) - final).abs().max() < 1e-13
