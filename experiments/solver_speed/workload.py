"""The workload: series with their own times and spans, an MLP vector field, a squared loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentode.ode import MLPDynamics, Solver, Trajectory

__all__ = ["Workload", "decoded_at_knots", "ours", "relative_error"]


@dataclass
class Workload:
    """A batch to solve, decode and differentiate.

    Args:
        field: the vector field.
        decoder: from a state to a value.
        z0: shape `(rows, latent)`.
        t1: end of each row's span; all begin at 0, shape `(rows,)`.
        rows: which row each query is of, ascending, shape `(queries,)`.
        times: shape `(queries,)`, ascending in each row.
        target: shape `(queries,)`.
    """

    field: MLPDynamics
    decoder: nn.Linear
    z0: Tensor
    t1: Tensor
    rows: Tensor
    times: Tensor
    target: Tensor

    @classmethod
    def make(
        cls, rows: int, latent: int, width: int, queries: tuple[int, int], span: float, seed: int = 0
    ) -> Workload:
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        field = MLPDynamics(latent, (width, width))
        for layer in field.layers:  # as lively as a trained one: the default starts nearly still
            nn.init.xavier_normal_(layer.weight, gain=1.4)
        counts = torch.randint(queries[0], queries[1] + 1, (rows,), generator=generator)
        index = torch.arange(rows).repeat_interleave(counts)
        t1 = span * (0.75 + 0.5 * torch.rand(rows, generator=generator))
        times = torch.rand(len(index), generator=generator) * t1[index]
        order = (index.double() + times.double() / (1.01 * times.max())).sort().indices
        return cls(
            field,
            nn.Linear(latent, 1),
            torch.randn(rows, latent, generator=generator),
            t1,
            index,
            times[order],
            torch.randn(len(index), generator=generator),
        )

    def double(self) -> Workload:
        """The same in float64."""
        copy = Workload.make(2, self.z0.shape[1], len(self.field.layers[0].bias), (1, 1), 1.0)
        copy.field.load_state_dict(self.field.state_dict())
        copy.decoder.load_state_dict(self.decoder.state_dict())
        copy.z0, copy.t1, copy.rows = self.z0.double(), self.t1.double(), self.rows
        copy.times, copy.target = self.times.double(), self.target.double()
        copy.field.double()
        copy.decoder.double()
        return copy

    def padded(self) -> tuple[Tensor, Tensor]:
        """Times as a rectangle, the last one repeated, and which cells are real."""
        counts = torch.bincount(self.rows, minlength=len(self.z0))
        last = counts.cumsum(0) - 1
        place = torch.arange(int(counts.max()))
        index = torch.minimum((last - counts + 1)[:, None] + place, last[:, None])
        return self.times[index], place < counts[:, None]

    def loss(self, states: Tensor) -> Tensor:
        """Squared loss of states at the queries, shape `(queries, latent)`."""
        return self.squared(torch.mv(states, self.decoder.weight[0]) + self.decoder.bias)

    def squared(self, value: Tensor) -> Tensor:
        """Squared loss of decoded values, shape `(queries,)`."""
        return (value - self.target).square().mean()

    def gradient(self, solve: Callable[[Tensor], Tensor]) -> Tensor:
        """One training step: all gradients by field, decoder and z0 in one vector.

        Args:
            solve: from z0 to the states at the queries.
        """
        return self.gradient_of(lambda z0: self.loss(solve(z0)))

    def gradient_of(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """The same of a loss that is a function of z0."""
        z0 = self.z0.clone().requires_grad_()
        sources = [z0, *self.field.parameters(), *self.decoder.parameters()]
        gradients = torch.autograd.grad(loss(z0), sources)
        return torch.cat([gradient.flatten() for gradient in gradients])


def ours(work: Workload, solver: Solver, field: nn.Module | None = None) -> Callable[[], Tensor]:
    """A training step with this package."""
    start = torch.zeros_like(work.t1)

    def solve(z0: Tensor) -> Tensor:
        path: Trajectory = solver.solve(field or work.field, z0, start, work.t1)
        return path.at(work.rows, work.times)

    return lambda: work.gradient(solve)


def decoded_at_knots(work: Workload, solver: Solver) -> Callable[[], Tensor]:
    """The same step, the linear decoder applied to the path and not to each query's state."""
    start = torch.zeros_like(work.t1)

    def loss(z0: Tensor) -> Tensor:
        path = solver.solve(work.field, z0, start, work.t1)
        read = path.linear(work.decoder.weight, work.decoder.bias)
        return work.squared(read.at(work.rows, work.times)[:, 0])

    return lambda: work.gradient_of(loss)


def relative_error(gradient: Tensor, exact: Tensor) -> float:
    """The norm of the difference over the norm."""
    return ((gradient.double() - exact).norm() / exact.norm()).item()
