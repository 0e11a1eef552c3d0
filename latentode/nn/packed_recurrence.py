r"""The GRU over packed sequences by compiled sweeps, and its exact gradient: see `compiled_gru`.

Between steps its state may follow an ODE, as in an ODE-RNN: then each step first carries it over
that sequence's own gap, $h \leftarrow h(t_i)$ with $\dot h = f(h)$, and then updates it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from latentode.nn.compiled_gru import Cell, Flow, Steps, pull, read
from latentode.ode import Dynamics, Solver
from latentode.ode.compiled_kernel import (
    CompiledKernel,
    block_of,
    coefficients,
    each,
    flat,
    network,
    parts_of,
)
from latentode.ode.compiled_sweeps import Coefficients, Gradients, Network, Span
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
        kernel = dynamics.kernel(width[None], None, like)
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
    """
    if gaps is None:
        return _Recurrence.apply(sizes, None, inputs, weight, bias)  # type: ignore[return-value]
    kernel = gaps.kernel
    how = (gaps.plan, kernel.sizes, gaps.width.detach())
    tensors = (kernel.first, kernel.weights, kernel.offsets)
    return _Recurrence.apply(sizes, how, inputs, weight, bias, *tensors)  # type: ignore[return-value]


def _flow(how: tuple[Plan, tuple[int, ...], Tensor] | None, like: Tensor, *tensors: Tensor) -> Flow:
    """The ODE as arrays, with nothing in them yet; of no size if there is none."""
    rows, none = len(like), np.zeros(0, flat(like[:0]).dtype)
    if how is None:
        whole = np.zeros(0, np.int64)
        nothing = Coefficients(whole, whole, whole, whole, none, whole, whole, none)
        net = Network(whole, none, none, none, none.reshape(0, 1, 1))
        return Flow(0, nothing, net, none, none, none, none, none)
    method, sizes, width = how
    steps = len(method.steps) - 1  # the last one only evaluates the slope at the end
    numbers = method.steps[-1].first * rows
    rooms = ((steps + 1) * rows * sizes[0], numbers * sizes[0], numbers * sizes[0])
    return Flow(
        steps,
        coefficients(method, like.dtype),
        network(sizes, *tensors),
        flat(width.to(like.dtype)[:, None].expand(rows, sizes[0])),
        *(np.empty(n, none.dtype) for n in (*rooms, numbers * sum(sizes[1:-1]))),
    )


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, sizes: list[int], how: Any, inputs: Tensor, *tensors: Tensor
    ) -> Tensor:
        weight, bias, *of_field = tensors
        size = weight.shape[1]
        state = inputs.new_zeros(sizes[0], size)
        gates = inputs.detach().clone(memory_format=torch.contiguous_format)
        before, mixed = inputs.new_empty(2, len(inputs), size)
        counts = np.array(sizes)
        steps = Steps(counts, np.cumsum(counts) - counts)
        flow = _flow(how, before, *of_field)
        cell = Cell(size, flat(weight), flat(weight.T), flat(bias))
        largest = max(weight.numel(), int((flow.net.sizes[1:] * flow.net.sizes[:-1]).max(initial=1)))
        block, parts = block_of(sizes[0], largest), parts_of(sizes[0])
        kept = flat(gates), flat(before), flat(mixed)
        end = flat(state)
        each(lambda part: read(steps, cell, flow, part, block, *kept, end), parts)
        ctx.how = (steps, cell, flow, block, parts, kept)
        ctx.save_for_backward(*tensors)  # so that changing them before the way back is an error
        return state

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        steps, cell, flow, block, parts, (gates, before, mixed) = ctx.how
        tensors = ctx.saved_tensors
        g = cotangents[0].clone(memory_format=torch.contiguous_format)
        of_input = g.new_empty(len(before) // cell.size, 3 * cell.size)
        # Each thread adds up gradients of its own.
        own = [x.new_zeros(len(parts), *x.shape) for x in tensors]
        own += [g.new_zeros(len(parts), 1, 1)] * (5 - len(own))
        numbers = [x.flatten(1).numpy() for x in own]
        first = own[2].numpy()
        told = flat(g[:0])

        def sweep(part: Span) -> None:
            i = parts.index(part)
            of_weight, of_bias, _, weights, offsets = (x[i] for x in numbers)
            found = Gradients(weights, offsets, first[i], told)
            kept = (gates, before, mixed, flat(g), flat(of_input))
            pull(steps, cell, flow, part, block, *kept, of_weight, of_bias, found)

        each(sweep, parts)
        return None, None, of_input, *(x.sum(0) for x in own[: len(tensors)])
