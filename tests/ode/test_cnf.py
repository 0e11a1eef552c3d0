"""CNF against closed forms, quadrature and finite differences; what it returns, against torch."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

from latentode.errors import LatentODEError
from latentode.ode import CNF, Context, Dynamics, GatedDynamics, MLPDynamics, Solver
from latentode.ode.cnf import estimated_divergence, exact_divergence
from latentode.ode.kernels import divergence_of

FINE, FINER = Solver("rk38", intervals=8, steps=4), Solver("rk38", intervals=16, steps=4)
ADAPTIVE = Solver("dopri5", intervals=1, rtol=1e-8, atol=1e-9)


class Linear(Dynamics):
    """dz/dt = A z, so z(1) = expm(A) z(0)."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        return z @ self.matrix.T


def lively(features=2, context_size=0, hidden=(16, 16), **options) -> CNF:
    """A flow far from the identity."""
    flow = CNF(features, context_size, hidden, **{"solver": FINE, **options})
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(0.6 * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize("hidden", [(), (7,), (7, 9), (7, 9, 5)])
@pytest.mark.parametrize("context_size", [0, 3])
def test_the_divergence_of_a_perceptron_is_the_trace_of_its_jacobian(hidden, context_size):
    field = MLPDynamics(4, hidden, context_size, time_dependent=True)
    for parameter in field.parameters():
        nn.init.normal_(parameter)
    t, z = torch.rand(6), torch.randn(6, 4)
    context = Context(torch.randn(6, 3)) if context_size else None
    value, divergence = (divergence_of(field) or partial(exact_divergence, field))(t, z, context)
    by_hand = []
    for i in range(6):
        own = None if context is None else Context(context.fixed[i : i + 1])
        jacobian = torch.autograd.functional.jacobian(
            lambda y, i=i, own=own: field(t[i : i + 1], y[None], own)[0], z[i]
        )
        by_hand.append(jacobian.trace())
    assert torch.allclose(value, field(t, z, context), rtol=1e-13, atol=1e-13)
    assert torch.allclose(divergence, torch.stack(by_hand), rtol=1e-12, atol=1e-12)


def test_hutchinson_is_exact_on_average_over_all_signs():
    """With probes of signs, the mean over all of them is the trace, not only in expectation."""
    field, z = GatedDynamics(3), torch.randn(5, 3)
    t = torch.zeros(5)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    each = [estimated_divergence(field, t, z, s.expand(5, 3))[1] for s in signs]
    exact = exact_divergence(field, t, z)[1]
    assert torch.allclose(torch.stack(each).mean(0), exact, rtol=1e-12, atol=1e-12)
    assert (torch.stack(each).std(0) > 1e-3).all()


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint", "backsolve"])
def test_a_linear_flow_is_its_normal_distribution(adjoint):
    matrix = torch.randn(3, 3)
    flow = CNF(3, field=Linear(matrix), solver=Solver("rk38", 16, 4, adjoint=adjoint))
    carried = torch.linalg.matrix_exp(matrix)
    exact = MultivariateNormal(torch.zeros(3), carried @ carried.T)
    x = exact.sample((9,))
    assert torch.allclose(flow().log_prob(x), exact.log_prob(x), rtol=1e-6, atol=1e-6)
    drawn, log_prob = flow().rsample_and_log_prob((11,))
    assert torch.allclose(log_prob, exact.log_prob(drawn), rtol=1e-6, atol=1e-6)


def test_a_flow_stopped_on_its_way_is_the_density_of_that_time():
    matrix = torch.randn(2, 2)
    flow = CNF(2, field=Linear(matrix), solver=FINE)
    carried = torch.linalg.matrix_exp(0.4 * matrix)
    exact = MultivariateNormal(torch.zeros(2), carried @ carried.T)
    x = exact.sample((9,))
    assert torch.allclose(flow(until=0.4).log_prob(x), exact.log_prob(x), atol=1e-7)
    start = Independent(Normal(torch.zeros(2), 1.0), 1)
    assert torch.equal(flow(until=0.0).log_prob(x), start.log_prob(x))


@pytest.mark.slow
def test_the_density_integrates_to_one():
    flow = lively(hidden=(12,))
    axis = torch.linspace(-12, 12, 241)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_prob = flow().log_prob(grid)
    total = log_prob.exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 1e-3
    # And it is no normal density, whose integral would show little.
    normal = MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob(grid)
    assert (log_prob.exp() - normal.exp()).abs().sum() * (axis[1] - axis[0]) ** 2 > 0.3


@pytest.mark.parametrize(
    "solver", [Solver("rk38", 16, 4), Solver("dopri5", 1, rtol=1e-8, atol=1e-9)], ids=str
)
def test_there_and_back_is_the_same_point(solver):
    flow = lively(3, context_size=2, solver=solver)
    z, context = torch.randn(64, 3), torch.randn(64, 2)
    x, log_det = flow.transport(z, context)
    back, log_det_back = flow.inverse(x, context)
    assert (x - z).abs().max() > 0.5
    assert (back - z).abs().max() < 1e-6
    assert (log_det + log_det_back).abs().max() < 1e-6
    assert torch.allclose(flow.points(z, context), x, atol=1e-7)


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint", "backsolve"])
def test_gradients_of_a_log_density_are_finite_differences(adjoint):
    flow = lively(2, 1, (5,), solver=Solver("rk38", 4, 4, adjoint=adjoint))
    x, context = torch.randn(3, 2), torch.randn(3, 1)
    if adjoint == "direct":
        given = [a.clone().requires_grad_() for a in (x, context)]
        assert torch.autograd.gradcheck(lambda x, c: flow(c).log_prob(x), given)
    wanted = list(flow.parameters())
    found = torch.autograd.grad(flow(context).log_prob(x).sum(), wanted)
    for parameter, gradient in zip(wanted, found, strict=True):
        direction, step = torch.randn_like(parameter), 1e-5
        with torch.no_grad():
            parameter += step * direction
            above = flow(context).log_prob(x).sum()
            parameter -= 2 * step * direction
            below = flow(context).log_prob(x).sum()
            parameter += step * direction
        expected = (above - below) / (2 * step)
        assert torch.allclose((gradient * direction).sum(), expected, rtol=1e-4, atol=1e-6)


def test_the_estimated_log_density_is_unbiased():
    flow = lively(3, hidden=(8,), trace="hutchinson", solver=Solver(intervals=4))
    x = torch.randn(1, 3)
    with torch.no_grad():
        drawn = flow().log_prob(x.expand(4000, 3))
        flow.trace = "exact"
        exact = flow().log_prob(x)
    error = drawn.std() / math.sqrt(len(drawn))
    assert drawn.std() > 1e-2
    assert abs(drawn.mean() - exact) < 4 * error
    flow.trace = "hutchinson"
    flow().log_prob(x).sum().backward()
    assert all(p.grad is not None for p in flow.parameters())


def test_estimated_densities_go_with_every_adjoint():
    x, known = torch.randn(4, 3), torch.randn(4, 2)
    found = []
    for adjoint in ("direct", "checkpoint", "backsolve"):
        torch.manual_seed(1)
        flow = lively(3, 2, trace="hutchinson", solver=Solver("rk38", 8, 4, adjoint=adjoint))
        log_prob = flow(known).log_prob(x)
        gradient = torch.autograd.grad(log_prob.sum(), flow.field.layers[0].weight)[0]
        found.append((log_prob, gradient))
    for log_prob, gradient in found[1:]:
        assert torch.allclose(log_prob, found[0][0], atol=1e-6)
        assert torch.allclose(gradient, found[0][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sample", [(), (6,), (2, 6)])
@pytest.mark.parametrize("batch", [(), (5,), (4, 5)])
def test_shapes_are_those_of_a_torch_distribution(sample, batch):
    flow = lively(3, 2)
    p = flow(torch.randn(*batch, 2))
    assert p.batch_shape == batch and p.event_shape == (3,)
    assert p.sample(sample).shape == (*sample, *batch, 3)
    x, log_prob = p.rsample_and_log_prob(sample)
    assert x.shape == (*sample, *batch, 3) and log_prob.shape == (*sample, *batch)
    assert torch.allclose(p.log_prob(x), log_prob, atol=1e-6)
    wider = p.expand((7, *batch))
    assert wider.log_prob(torch.zeros(3)).shape == (7, *batch)


def test_a_row_knows_nothing_of_its_companions():
    flow, context, x = lively(2, 1), torch.randn(6, 1), torch.randn(6, 2)
    together = flow(context).log_prob(x)
    alone = torch.stack([flow(context[i]).log_prob(x[i]) for i in range(6)])
    assert torch.allclose(together, alone, rtol=1e-12, atol=1e-12)
    other = flow(context[:1]).log_prob(x[:2])
    assert (together[1] - other[1]).abs() > 1e-3  # the context is heard


def test_another_base_is_carried_too():
    flow = lively(2)
    base = Independent(Normal(torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([0.5, 2.0])), 1)
    p = flow(base=base)
    z, log_det = flow.inverse(torch.zeros(2, 2))
    assert p.batch_shape == (2,)
    assert torch.allclose(p.log_prob(torch.zeros(2)), base.log_prob(z) + log_det)


def test_a_trained_flow_takes_finer_steps_for_the_same_density():
    flow, x = lively(2, solver=Solver("rk38", 4)), torch.randn(32, 2)
    coarse = flow().log_prob(x)
    flow.solver = replace(flow.solver, steps=2)
    finer = flow().log_prob(x)
    flow.solver = replace(flow.solver, steps=16)
    exact = flow().log_prob(x)
    assert (coarse - exact).abs().max() > 8 * (finer - exact).abs().max()  # fourth order: 16


def test_what_cannot_be_is_refused():
    with pytest.raises(LatentODEError, match="trace 'both' is unknown; choose from exact, hutchinson"):
        CNF(2, trace="both")
    with pytest.raises(LatentODEError, match=r"conditional on 3 numbers .* given none"):
        CNF(2, 3)()
    with pytest.raises(LatentODEError, match=r"conditional on 0 numbers .* given 4"):
        CNF(2)(torch.zeros(4))
    with pytest.raises(LatentODEError, match=r"shape \(5, 3\); this flow is over \(\.\.\., 2\)"):
        CNF(2)().log_prob(torch.zeros(5, 3))
