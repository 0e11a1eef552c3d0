"""The native adjoints equal plain backpropagation through the same arithmetic, to rounding."""

import pytest
import torch
from fields import Product
from torch import nn
from torch.nn.utils import prune

from latentode.errors import SolveError
from latentode.ode import NATIVE, Context, LinearControl, MLPDynamics, Solver, StepControl


class Wrapped(nn.Module):
    """An MLP without its hand-written pullback."""

    def __init__(self, field):
        super().__init__()
        self.field = field

    def forward(self, t, z, context):
        return self.field(t, z, context)


def _mlp(**options):
    field = MLPDynamics(3, (6, 5), **options)
    nn.init.normal_(field.layers[-1].weight)
    return field


def _pruned():
    field = _mlp()
    prune.l1_unstructured(field.layers[1], "weight", 0.5)
    return field


FIELDS = {
    "mlp": _mlp,
    "mlp in time": lambda: _mlp(time_dependent=True),
    "mlp with context": lambda: _mlp(context_size=4),
    "mlp with all": lambda: _mlp(context_size=4, time_dependent=True),
    "one layer": lambda: MLPDynamics(3, ()),
    "any module": lambda: Wrapped(_mlp(context_size=4, time_dependent=True)),
    "spectral norm": lambda: _normed(),
    "pruned": _pruned,
    "product": Product,
}


def _normed():
    field = _mlp()
    field.layers[0] = nn.utils.parametrizations.weight_norm(field.layers[0])
    return field


def _problem(rows=6):
    changes = torch.rand(rows, 3).cumsum(1)
    tensors = [torch.randn(rows, 3), torch.randn(rows), torch.randn(rows)]
    tensors += [torch.randn(rows, 2), torch.randn(rows, 3, 2)]
    return changes, [tensor.requires_grad_() for tensor in tensors]


def _gradients(solver, field, changes, tensors, control=StepControl):
    z0, t0, t1, fixed, values = tensors
    path = solver.solve(field, z0, t0, t1, Context(fixed, control(changes, values)))
    weights = torch.linspace(1, 2, path.states.numel()).view_as(path.states)
    loss = (path.states * weights).square().sum() + (path.slopes.sin() * weights).sum()
    everything = [*tensors, *_parameters(field)]
    gradients = torch.autograd.grad(loss, everything, allow_unused=True)
    zero = [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, everything, strict=True)]
    return loss, zero


def _parameters(field):
    return list(field.parameters()) if isinstance(field, nn.Module) else field.parameters


class Function:
    """Not a module, so the solver falls back on plain backpropagation."""

    def __init__(self, field):
        self.field, self.parameters = field, list(field.parameters())

    def __call__(self, t, z, context):
        return self.field(t, z, context)


def _agree(a, b):
    (loss, gradients), (expected, others) = a, b
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    scale = max(other.abs().max().item() for other in others)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
@pytest.mark.parametrize("name", FIELDS)
def test_each_field_has_the_gradient_of_plain_backpropagation(name, adjoint):
    field, problem = FIELDS[name](), _problem()
    solver = Solver("rk4", 3, 2, adjoint=adjoint)
    _agree(_gradients(solver, field, *problem), _gradients(solver, Function(field), *problem))


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
@pytest.mark.parametrize("name", ["mlp with all", "any module"])
@pytest.mark.parametrize("method", NATIVE)
def test_each_method_has_the_gradient_of_plain_backpropagation(method, name, adjoint):
    field, problem = FIELDS[name](), _problem()
    solver = Solver(method, 3, 3, adjoint=adjoint)
    _agree(_gradients(solver, field, *problem), _gradients(solver, Function(field), *problem))


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
@pytest.mark.parametrize("name", ["mlp with all", "any module"])
def test_many_tapes_make_the_gradient_of_one(monkeypatch, name, adjoint):
    field, problem = FIELDS[name](), _problem()
    for method in ("rk4", "midpoint"):
        solver = Solver(method, 12, adjoint=adjoint)
        whole = _gradients(solver, field, *problem)
        monkeypatch.setattr("latentode.ode.adjoint.ROWS_PER_TAPE", 10 * 6)
        _agree(_gradients(solver, field, *problem), whole)
        monkeypatch.undo()


def test_a_linear_control_has_gradients_too():
    field, problem = FIELDS["mlp with all"](), _problem()
    for adjoint in ("direct", "checkpoint"):
        solver = Solver("rk4", 6, adjoint=adjoint)
        got = _gradients(solver, field, *problem, control=LinearControl)
        _agree(got, _gradients(solver, Function(field), *problem, control=LinearControl))
        got = _gradients(solver, Wrapped(field), *problem, control=LinearControl)
        _agree(got, _gradients(solver, Function(field), *problem, control=LinearControl))


def test_frozen_parameters_receive_nothing_and_cost_nothing():
    field, (changes, tensors) = FIELDS["mlp with all"](), _problem()
    field.layers[0].weight.requires_grad_(False)
    control = StepControl(changes, tensors[4].detach())
    z0 = tensors[0].detach()
    path = Solver().solve(
        field, z0, tensors[1].detach(), tensors[2].detach(), Context(tensors[3].detach(), control)
    )
    path.final.sum().backward()
    assert field.layers[0].weight.grad is None
    assert field.layers[1].weight.grad is not None


@pytest.mark.parametrize("name", ["mlp", "product"])
def test_backward_may_be_repeated_while_the_graph_is_kept(name):
    field, z0 = FIELDS[name](), torch.randn(4, 3, requires_grad=True)
    loss = Solver().solve(field, z0, torch.zeros(4), torch.ones(4)).final.square().sum()
    first = torch.autograd.grad(loss, z0, retain_graph=True)[0]
    second = torch.autograd.grad(loss, z0)[0]
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, z0)


def test_weights_that_change_before_backward_are_noticed():
    field, z0 = Product(), torch.randn(4, 3, requires_grad=True)
    loss = Solver(adjoint="checkpoint").solve(field, z0, torch.zeros(4), torch.ones(4)).final.sum()
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_functional_parameters_receive_their_own_gradient():
    field, z0 = Wrapped(_mlp()), torch.randn(4, 3)
    names = [name for name, _ in field.named_parameters()]
    weights = [torch.randn_like(p, requires_grad=True) for p in field.parameters()]

    class Solve(nn.Module):
        def __init__(self):
            super().__init__()
            self.field = field

        def forward(self, adjoint):
            return Solver(adjoint=adjoint).solve(field, z0, torch.zeros(4), torch.ones(4)).final

    swapped = {f"field.{name}": w for name, w in zip(names, weights, strict=True)}
    for adjoint in ("direct", "checkpoint"):
        final = torch.func.functional_call(Solve(), swapped, (adjoint,))
        got = torch.autograd.grad(final.sum(), weights)
        with torch.no_grad():
            for p, w in zip(field.parameters(), weights, strict=True):
                p.copy_(w)
        plain = Solver().solve(field, z0, torch.zeros(4), torch.ones(4)).final.sum()
        for a, b in zip(got, torch.autograd.grad(plain, list(field.parameters())), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_checkpoint_says_what_it_goes_with():
    with pytest.raises(SolveError, match="direct or backsolve"):
        Solver("dopri5", adjoint="checkpoint")


def test_inference_equals_training():
    field, z0 = _mlp(), torch.randn(4, 3)
    with torch.no_grad():
        quiet = Solver().solve(field, z0, torch.zeros(4), torch.ones(4))
    loud = Solver().solve(field, z0, torch.zeros(4), torch.ones(4))
    assert torch.equal(quiet.states, loud.states) and not quiet.states.requires_grad


def test_the_error_estimate_is_near_the_error():
    field, z0 = _mlp(), torch.randn(4, 3)
    t0, t1 = torch.zeros(4), torch.linspace(0.5, 3, 4)
    solver = Solver("rk4", 8)
    with torch.no_grad():
        exact = Solver("dopri8", 8, rtol=1e-12, atol=1e-13).solve(field, z0, t0, t1).states
        found = solver.solve(field, z0, t0, t1).states
    true = (found - exact).square().mean(dim=2).sqrt().amax(dim=1)
    estimate = solver.error(field, z0, t0, t1)
    assert estimate.shape == (4,) and not estimate.requires_grad
    assert ((estimate / true - 15 / 16).abs() < 0.1).all()
