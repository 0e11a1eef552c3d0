r"""The GRU over packed sequences by compiled sweeps, and its exact gradient: see `compiled_gru`.

Between steps its state may follow an ODE, as in an ODE-RNN: then each step first carries it over
that sequence's own gap, $h \leftarrow h(t_i)$ with $\dot h = f(h)$, and then updates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentode.nn.compiled_gru import Cell, Flow, Steps, pull, read
from latentode.ode import Dynamics, Solver
from latentode.ode.kernels.compiled import Span
from latentode.ode.kernels.compiled_arrays import (
    Coefficients,
    Gradients,
    Network,
    block_of,
    coefficients,
    each,
    flat,
    network,
    parts_of,
)
from latentode.ode.kernels.compiled_perceptron import CompiledKernel
from latentode.ode.kernels.registry import kernel_of
from latentode.ode.kernels.tape import differentiable_once
from latentode.ode.tableau import NATIVE, Plan, plan

__all__ = ["Gaps", "recur"]


@dataclass(frozen=True)
class Gaps:
    """The ODE that a state follows up to each step.

    Args:
        kernel: its vector field.
        plan: how it is solved over a gap.
        width: how long it is followed, in the order of the inputs, shape `(rows,)`.
    """

    kernel: CompiledKernel
    plan: Plan
    width: Tensor

    @classmethod
    def of(cls, solver: Solver, dynamics: Dynamics, width: Tensor, like: Tensor) -> Gaps | None:
        """How this solver carries states like `like`; None where compiled sweeps do not serve it."""
        native = solver.method in NATIVE and solver.adjoint == "direct"
        if not native or (width.requires_grad and torch.is_grad_enabled()):
            return None
        kernel = kernel_of(dynamics, width[None], None, like)
        if not isinstance(kernel, CompiledKernel) or kernel.varying is not None:
            return None
        return cls(kernel, plan(solver.method, solver.intervals * solver.steps), width)


def recur(
    inputs: Tensor, weight: Tensor, bias: Tensor, sizes: list[int], gaps: Gaps | None = None
) -> Tensor:
    """Reads all sequences from a state of zero.

    Args:
        inputs: what inputs bring to the gates [reset, update, candidate], step after step, the
            longest sequence first, shape `(sum(sizes), 3 * hidden)`.
        weight: of the state, shape `(3 * hidden, hidden)`.
        bias: of the candidate, within its reset, shape `(hidden,)`.
        sizes: how many sequences have each step, descending.
        gaps: what happens between steps, or None.

    Returns:
        Final states in the order of the first step, shape `(sizes[0], hidden)`.

    Raises:
        ValueError: if sizes do not descend to at least 1, or are not those of the inputs.
    """
    descending = sizes == sorted(sizes, reverse=True) and sizes[-1:] > [0]
    if not descending or sum(sizes) != len(inputs):
        raise ValueError(f"sizes must descend to 1 or more and sum to {len(inputs)}, got {sizes}")
    counts = np.array(sizes)
    steps = Steps(counts, np.cumsum(counts) - counts)
    if gaps is None:
        return _Recurrence.apply(steps, None, inputs, weight, bias)  # type: ignore[return-value]
    kernel = gaps.kernel
    how = (gaps.plan, kernel.sizes, gaps.width.detach())
    tensors = (kernel.first, kernel.weights, kernel.offsets)
    return _Recurrence.apply(steps, how, inputs, weight, bias, *tensors)  # type: ignore[return-value]


class _Sweep:
    """A recurrence's arrays.

    Args:
        steps: where sequences lie.
        how: plan, sizes of the perceptron and gaps; None where the state stands still.
        tensors: the cell's weight and bias, and with an ODE `first`, `weights`, `offsets` of its field.
        kept: gates, states before and mixed ones, and with an ODE its states and activations.
    """

    def __init__(
        self, steps: Steps, how: Any, tensors: Sequence[Tensor], kept: Sequence[Tensor]
    ) -> None:
        weight, bias, *field = tensors
        self.steps, self.how, self.tensors, self.kept = steps, how, tensors, kept
        self.cell = Cell(weight.shape[1], flat(weight), flat(weight.T), flat(bias))
        sizes = () if how is None else how[1]
        largest = max(weight.numel(), *(a * b for a, b in pairwise(sizes)), 0)
        rows = int(steps.counts[0])
        self.block, self.parts = block_of(rows, largest), parts_of(rows)
        self.flow = self._flow(*field)

    def _flow(self, *field: Tensor) -> Flow:
        """The ODE as arrays; of no size if there is none."""
        before = self.kept[1]
        rows, none = len(before), flat(before[:0])
        if self.how is None:
            whole = np.zeros(0, np.int64)
            nothing = Coefficients(whole, whole, whole, none, whole, whole, none)
            net = Network(whole, none, none, none, none.reshape(0, 1, 1))
            return Flow(0, nothing, net, none, none, none, none, none)
        method, sizes, width = self.how
        steps = len(method.steps) - 1  # the last one only evaluates the slope at the end
        slopes = method.steps[-1].first * rows * sizes[0]
        return Flow(
            steps,
            coefficients(method, before.dtype),
            network(sizes, *field),
            flat(width.to(before.dtype)[:, None].expand(rows, sizes[0])),
            np.empty((steps + 1) * rows * sizes[0], none.dtype),
            np.empty(slopes, none.dtype),
            *map(flat, self.kept[3:]),
        )

    def read(self) -> Tensor:
        """Fills in what is kept; returns the final states."""
        steps, cell, flow, block = self.steps, self.cell, self.flow, self.block
        state = self.kept[1].new_zeros(int(steps.counts[0]), cell.size)
        gates, before, mixed = map(flat, self.kept[:3])
        end = flat(state)
        each(lambda part: read(steps, cell, flow, part, block, gates, before, mixed, end), self.parts)
        return state

    def pull(self, cotangent: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the inputs and of the tensors."""
        steps, cell, flow, block = self.steps, self.cell, self.flow, self.block
        gates, before, mixed = map(flat, self.kept[:3])
        of_state = cotangent.clone(memory_format=torch.contiguous_format)
        of_input = torch.empty_like(self.kept[0])
        g, told = flat(of_state), flat(of_input)
        # Each thread adds up gradients of its own.
        own = [x.new_zeros(len(self.parts), *x.shape) for x in self.tensors]
        numbers = [x.numpy() for x in own]

        def sweep(part: Span) -> None:
            of_weight, of_bias, *of_field = (x[self.parts.index(part)] for x in numbers)
            first, weights, offsets = of_field or (told[:0].reshape(0, 0), told[:0], told[:0])
            found = Gradients(weights, offsets, first, told[:0])
            kept = (gates, before, mixed, g, told, of_weight.reshape(-1), of_bias)
            pull(steps, cell, flow, part, block, *kept, found)

        each(sweep, self.parts)
        return of_input, *(x.sum(0) for x in own)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, steps: Steps, how: Any, inputs: Tensor, *tensors: Tensor
    ) -> Tensor:
        size = tensors[0].shape[1]
        gates = inputs.detach().clone(memory_format=torch.contiguous_format)
        before, mixed = inputs.new_empty(2, len(inputs), size).unbind()
        kept = [gates, before, mixed]
        if how is not None:
            method, sizes, _ = how
            evaluations = method.steps[-1].first * len(inputs)
            kept += [gates.new_empty(evaluations * n) for n in (size, sum(sizes[1:-1]))]
        sweep = _Sweep(steps, how, tensors, kept)
        ctx.how, ctx.count = (steps, how), len(tensors)
        state = sweep.read()
        ctx.save_for_backward(*tensors, *kept)
        return state

    @staticmethod
    @differentiable_once
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        saved, (steps, how) = ctx.saved_tensors, ctx.how
        sweep = _Sweep(steps, how, saved[: ctx.count], saved[ctx.count :])
        return None, None, *sweep.pull(cotangents[0])
