"""Nothing in a native solve depends on data in Python."""

import pytest
import torch
from torch import nn

from latentode.ode import Context, MLPDynamics, Solver, StepControl


class Forecast(nn.Module):
    def __init__(self, method):
        super().__init__()
        self.field = MLPDynamics(2, (8,), context_size=2, time_dependent=True)
        self.solver = Solver(method, 4)

    def forward(self, z0, t0, t1, fixed, changes, values, rows, times):
        context = Context(fixed, StepControl(changes, values))
        return self.solver.solve(self.field, z0, t0, t1, context).at(rows, times)


def _example():
    return (
        torch.randn(3, 2),
        torch.zeros(3),
        torch.rand(3) + 1,
        torch.randn(3, 1),
        torch.rand(3, 2).cumsum(1),
        torch.randn(3, 2, 1),
        torch.tensor([0, 2, 1, 1]),
        torch.rand(4),
    )


@pytest.mark.parametrize(
    ("method", "strict"),
    [
        ("midpoint", True),
        ("rk4", False),
        pytest.param("midpoint", False, marks=pytest.mark.slow),
        pytest.param("rk4", True, marks=pytest.mark.slow),
    ],
)
def test_a_solve_can_be_exported(method, strict):
    model = Forecast(method).eval()
    exported = torch.export.export(model, _example(), strict=strict).module()
    inputs = _example()
    with torch.no_grad():
        torch.testing.assert_close(exported(*inputs), model(*inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
def test_a_training_step_can_be_captured_as_a_cuda_graph(adjoint):
    field = MLPDynamics(2, (8,)).cuda()
    z0 = torch.randn(3, 2, device="cuda", requires_grad=True)
    t0, t1 = torch.zeros(3, device="cuda"), torch.ones(3, device="cuda")
    solver = Solver("rk4", 4, adjoint=adjoint)

    def step():
        field.zero_grad(set_to_none=False)
        solver.solve(field, z0, t0, t1).final.square().sum().backward()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    expected = [parameter.grad.clone() for parameter in field.parameters()]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    graph.replay()
    for parameter, gradient in zip(field.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
