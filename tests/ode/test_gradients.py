"""Gradients: against finite differences, against one another, and that each input receives one."""

import pytest
import torch
from fields import Decay, Product

from latentode.ode import Context, MLPDynamics, Solver, StepControl


def _context(rows, fixed, values, jumps=(0.33, 0.71)):
    times = torch.tensor([[-9.0, *jumps]]).expand(rows, 3)
    return Context(fixed, StepControl(times, values))


def _inputs(rows=3, latent=2):
    z0 = torch.randn(rows, latent)
    t0, t1 = torch.tensor([0.0, 1.0, -0.5]), torch.tensor([1.0, 0.2, 0.9])
    return z0, t0, t1, torch.randn(rows, 1), torch.randn(rows, 3, 1)


def _leaves(tensors):
    return tuple(t.clone().requires_grad_() for t in tensors)


def _loss(solver, field, z0, t0, t1, fixed, values, jumps=(0.33, 0.71)):
    path = solver.solve(field, z0, t0, t1, _context(len(z0), fixed, values, jumps))
    queries = t0[:, None] + torch.tensor([[0.1, 0.55, 1.0]]) * (t1 - t0)[:, None]
    rows = torch.arange(len(z0)).repeat_interleave(3)
    return path.at(rows, queries.reshape(-1)).square().sum() + path.final.sin().sum()


def _gradients(solver, field, inputs, jumps=(0.33, 0.71)):
    leaves = _leaves(inputs)
    everything = (*leaves, *field.parameters())
    return torch.autograd.grad(_loss(solver, field, *leaves, jumps), everything)


FIELDS = {
    "product": Product,
    "mlp": lambda: MLPDynamics(2, (5, 4), context_size=2, time_dependent=True),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("method", ["euler", "rk4", "rk38"])
@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
def test_gradcheck_reaches_state_times_context_and_control(name, method, adjoint):
    field, solver = FIELDS[name](), Solver(method, 2, 2, adjoint=adjoint)
    assert torch.autograd.gradcheck(
        lambda *inputs: _loss(solver, field, *inputs), _leaves(_inputs()), atol=1e-6
    )


def test_gradcheck_of_an_adaptive_method():
    field, solver = FIELDS["product"](), Solver("dopri5", 2, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(
        lambda *inputs: _loss(solver, field, *inputs, (8.0, 9.0)),
        _leaves(_inputs()),
        atol=1e-6,
        fast_mode=True,
    )


@pytest.mark.parametrize("name", FIELDS)
def test_parameter_gradients_match_finite_differences(name):
    field, inputs = FIELDS[name](), _inputs()
    solver = Solver("rk4", 4)
    gradients = _gradients(solver, field, inputs)[len(inputs) :]
    for parameter, gradient in zip(field.parameters(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-6)
                losses.append(_loss(solver, field, *inputs))
                parameter.sub_(direction, alpha=sign * 1e-6)
        difference = (losses[0] - losses[1]) / 2e-6
        torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_backsolve_approaches_direct_as_the_solution_gets_finer(method):
    field, inputs = FIELDS["mlp"](), _inputs()
    outside, errors = (8.0, 9.0), []  # a jump inside a step would cost the order
    for steps, tolerance in ((1, 1e-3), (4, 1e-6), (16, 1e-9)):
        options = {"intervals": 4, "steps": steps, "rtol": tolerance, "atol": tolerance}
        exact = _gradients(Solver("dopri8", 4, rtol=1e-12, atol=1e-12), field, inputs, outside)
        got = _gradients(Solver(method, **options, adjoint="backsolve"), field, inputs, outside)
        errors.append(max((a - b).abs().max().item() for a, b in zip(exact, got, strict=True)))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


@pytest.mark.parametrize("adjoint", ["direct", "backsolve"])
def test_every_parameter_receives_a_gradient(adjoint):
    field, inputs = FIELDS["mlp"](), _inputs()
    torch.nn.init.normal_(field.layers[-1].weight)
    _loss(Solver(adjoint=adjoint), field, *inputs).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("adjoint", ["direct", "backsolve"])
def test_gradients_of_a_decay_are_those_of_its_closed_form(adjoint):
    field = Decay(0.5)
    z0 = torch.tensor([[2.0], [3.0]], requires_grad=True)
    t1 = torch.tensor([1.0, 2.0], requires_grad=True)
    solver = Solver("rk4", 16, 4, adjoint=adjoint)
    path = solver.solve(field, z0, torch.zeros(2), t1)
    path.final.sum().backward()
    end = torch.exp(-0.5 * t1.detach())
    torch.testing.assert_close(z0.grad, end[:, None], rtol=1e-7, atol=0)
    torch.testing.assert_close(t1.grad, -0.5 * end * z0.detach()[:, 0], rtol=1e-7, atol=0)
    expected = -(t1.detach() * end * z0.detach()[:, 0]).sum()
    torch.testing.assert_close(field.rate.grad, expected, rtol=1e-7, atol=0)


def test_a_span_of_no_length_has_finite_gradients():
    field, z0 = Product(), torch.randn(2, 2, requires_grad=True)
    t0, t1 = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    path = Solver().solve(field, z0, t0, t1)
    path(torch.zeros(2, 1)).sum().backward()
    assert z0.grad is not None and torch.equal(z0.grad, torch.ones(2, 2))
    assert t1.grad is not None and t1.grad.isfinite().all()
    assert field.a.grad is not None and field.a.grad == 0


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "rk38"])
def test_a_row_over_no_time_passes_its_gradient_on(method):
    # The norm of its error has no slope at zero, which once made the gradient NaN.
    field, z0 = MLPDynamics(3, (5,)), torch.randn(2, 3, requires_grad=True)
    end = Solver(method, 1).advance(field, z0, torch.zeros(2), torch.tensor([0.0, 1.0]))
    (g,) = torch.autograd.grad(end.sum(), z0)
    torch.testing.assert_close(g[0], torch.ones(3))
    assert torch.isfinite(g).all()
