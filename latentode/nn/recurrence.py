r"""The gradient of a GRU's recurrence by hand: an exact backward sweep instead of a tape.

With $h'$ the next state (see `gru` for the equations), the cotangents of the gates' sums are that of
$h'$ times factors known after the forward sweep,

$$\bar c = \bar h' (1 - u)(1 - c^2), \quad \bar r = \bar c\, (U_c h + d)\, r (1 - r), \quad
  \bar u = \bar h' (h - c)\, u (1 - u), \quad
  \bar h = \bar h' u + U^\top [\bar r, \bar u, \bar c\, r],$$

so the way back takes three operations a step, and weight gradients are one product over all steps.

`Gradient` is the autograd function; how its two sweeps are carried out is a value beside it:
`TensorLoop` by tensor operations, `Compiled` by machine code, there with an ODE between steps where it
is wanted.
A second derivative (`create_graph=True`) differentiates the plain loop once more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from latentode.nn.compiled_gru import Cell, GapSolve, Steps, pull, read
from latentode.ode.kernels.compiled import (
    Coefficients,
    Gradients,
    Network,
    Span,
    block_of,
    coefficients,
    each,
    flat,
    network,
    parts_of,
)
from latentode.ode.tableau import Plan

__all__ = ["Compiled", "Gradient", "OdeSweep", "Sweeps", "TensorLoop", "gru_update", "traced", "uncast"]


def gru_update(gates: Tensor, state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The next state of a GRU, by plain operations.

    Args:
        gates: what inputs bring to the gates [reset, update, candidate], shape `(rows, 3 * hidden)`.
        state: shape `(rows, hidden)`.
        weight: of the state, shape `(3 * hidden, hidden)`.
        bias: of the candidate, within its reset, shape `(hidden,)`.
    """
    size = state.shape[1]
    product = linear(state, weight)
    reset, update = (gates[:, : 2 * size] + product[:, : 2 * size]).sigmoid().chunk(2, dim=1)
    candidate = torch.addcmul(gates[:, 2 * size :], reset, product[:, 2 * size :] + bias).tanh()
    return torch.lerp(candidate, state, update)


def traced() -> bool:
    """Whether operations are being recorded, to be carried out by something else."""
    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return tracing or torch.compiler.is_compiling()


def uncast(device: str) -> AbstractContextManager[Any]:
    """Autocast switched off on a kind of device; nothing where it is not on."""
    on = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()


class Sweeps(ABC):
    """How the two sweeps of a recurrence are carried out.

    Attributes:
        sizes: how many sequences have each step, descending.
        field: tensors of the ODE between steps; none where there is no ODE.
    """

    sizes: list[int]
    field: tuple[Tensor, ...] = ()

    @abstractmethod
    def forward(self, gates: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Reads all sequences.

        Args:
            gates: what inputs bring to the gates, `(rows, 3 * hidden)`; replaced by the gates.
            tensors: the state's weight, the candidate's bias, and those of `field`.

        Returns:
            The final states, and what `backward` wants kept.
        """

    @abstractmethod
    def backward(
        self, cotangent: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradients of what inputs brought to the gates, and of the tensors."""


class Gradient(torch.autograd.Function):
    """Arguments: the sweeps, the inputs, their weight and bias, and the tensors of `Sweeps.forward`."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, sweeps: Sweeps, inputs: Tensor, weight: Tensor, bias: Tensor, *tensors: Tensor
    ) -> Tensor:
        state, kept = sweeps.forward(torch.addmm(bias, inputs, weight.T), tensors)
        ctx.sweeps, ctx.count = sweeps, len(tensors)
        ctx.save_for_backward(inputs, weight, bias, *tensors, *kept)
        return state

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        inputs, weight, bias, *rest = ctx.saved_tensors
        tensors, kept = rest[: ctx.count], rest[ctx.count :]
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return None, *_taped(ctx.sweeps, cotangents[0], (inputs, weight, bias, *tensors), wanted)
        of_gates, of_tensors = ctx.sweeps.backward(cotangents[0], tensors, kept)
        of_inputs = of_gates @ weight if wanted[0] else None
        return None, of_inputs, of_gates.T @ inputs, of_gates.sum(0), *of_tensors


def _taped(
    sweeps: Sweeps, cotangent: Tensor, tensors: Sequence[Tensor], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The same gradients of the plain loop, which can be differentiated once more."""
    if sweeps.field:
        raise RuntimeError(
            "an ODE-RNN that is read by compiled sweeps has first derivatives only; for second ones "
            "(create_graph=True) take a solver with adjoint='checkpoint' or a subclass of the dynamics"
        )
    inputs, weight, bias, state_weight, candidate_bias = tensors
    gates, begin = linear(inputs, weight, bias), 0
    state = gates.new_zeros(sweeps.sizes[0], state_weight.shape[1])
    for n in sweeps.sizes:
        after = gru_update(gates[begin : begin + n], state[:n], state_weight, candidate_bias)
        state, begin = torch.cat([after, state[n:]]), begin + n
    sources = [x for x, want in zip(tensors, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(state, sources, cotangent, create_graph=True))
    return [next(found) if want else None for want in wanted]


class TensorLoop(Sweeps):
    """Sweeps of tensor operations.

    Args:
        sizes: how many sequences have each step, descending.
    """

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def forward(self, gates: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        weight, bias = tensors
        size = weight.shape[1]
        state = gates.new_zeros(self.sizes[0], size)
        before = gates.new_empty(len(gates), size)
        mixed = gates.new_empty(len(gates), size)  # U_c h + d, which the reset gate multiplies
        by_gate, by_candidate = weight[: 2 * size].T, weight[2 * size :].T
        begin = 0
        for n in self.sizes:
            own = slice(begin, begin + n)
            begin += n
            h = state[:n]
            before[own] = h
            gate = gates[own, : 2 * size].addmm_(h, by_gate).sigmoid_()
            inner = torch.addmm(bias, h, by_candidate, out=mixed[own])
            candidate = gates[own, 2 * size :].addcmul_(gate[:, :size], inner).tanh_()
            torch.lerp(candidate, h, gate[:, size:], out=h)
        return state, [gates, before, mixed]

    def backward(
        self, cotangent: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        weight, (gates, before, mixed) = tensors[0], kept
        size = weight.shape[1]
        reset, update, candidate = gates.split(size, dim=1)
        # Columns: cotangents of the gates' own parts of h [reset, update, candidate], then of a_c.
        factor = gates.new_empty(len(gates), 4, size)
        open_, inner = (1 - update), factor[:, 3]
        one = torch.ones_like(open_)
        torch.mul(open_, torch.addcmul(one, candidate, candidate, value=-1), out=inner)
        torch.mul(inner, reset, out=factor[:, 2])
        torch.mul(factor[:, 2] * mixed, 1 - reset, out=factor[:, 0])
        torch.mul((before - candidate) * update, open_, out=factor[:, 1])
        g = cotangent.clone()
        end = len(gates)
        for n in reversed(self.sizes):
            own = slice(end - n, end)
            end -= n
            of_gates = factor[own].mul_(g[:n, None])
            g[:n].mul_(update[own]).addmm_(of_gates.flatten(1)[:, : 3 * size], weight)
        of_state = factor.flatten(1)[:, : 3 * size]
        of_gates = torch.cat([of_state[:, : 2 * size], inner], dim=1)
        return of_gates, [of_state.T @ before, factor[:, 2].sum(0)]


@dataclass(frozen=True)
class OdeSweep:
    """The ODE that compiled sweeps carry a state along before each step.

    Args:
        plan: how it is solved over a gap.
        sizes: of the perceptron that is its vector field: input, hidden layers and output.
        width: how long it is followed, in the order of the inputs, shape `(rows,)`.
        field: the perceptron's `first`, `weights` and `offsets`, as `CompiledKernel` has them.
    """

    plan: Plan
    sizes: tuple[int, ...]
    width: Tensor
    field: tuple[Tensor, ...]


class Compiled(Sweeps):
    """Sweeps in machine code; see `compiled_gru`.

    Args:
        sizes: how many sequences have each step, descending.
        ode: what happens between steps; None where the state stands still.
    """

    def __init__(self, sizes: list[int], ode: OdeSweep | None = None) -> None:
        self.sizes, self.ode = sizes, ode
        self.field = () if ode is None else ode.field
        counts = np.array(sizes)
        self.steps = Steps(counts, np.cumsum(counts) - counts)

    def forward(self, gates: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        rows, size = len(gates), tensors[0].shape[1]
        before, mixed = gates.new_empty(2, rows, size).unbind()
        kept = [gates, before, mixed]
        if self.ode is not None:
            evaluations = self.ode.plan.steps[-1].first * rows
            kept += [gates.new_empty(evaluations * n) for n in (size, sum(self.ode.sizes[1:-1]))]
        steps, (cell, solve, block, parts) = self.steps, self._arrays(tensors, kept)
        state = gates.new_zeros(self.sizes[0], size)
        a, b, c, end = map(flat, (*kept[:3], state))
        each(lambda part: read(steps, cell, solve, part, block, a, b, c, end), parts)
        return state, kept

    def backward(
        self, cotangent: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        steps, (cell, solve, block, parts) = self.steps, self._arrays(tensors, kept)
        of_gates = torch.empty_like(kept[0])
        of_state = cotangent.clone(memory_format=torch.contiguous_format)
        a, b, c, g, found_gates = (flat(x) for x in (*kept[:3], of_state, of_gates))
        none = g[:0]
        # Each thread adds up gradients of its own.
        own = [x.new_zeros(len(parts), *x.shape) for x in tensors]
        numbers = [x.numpy() for x in own]

        def sweep(part: Span) -> None:
            of_weight, of_bias, *of_field = (x[parts.index(part)] for x in numbers)
            first, weights, offsets = of_field or (none.reshape(0, 0), none, none)
            found = Gradients(weights, offsets, first, none)
            whole = of_weight.reshape(-1)
            pull(steps, cell, solve, part, block, a, b, c, g, found_gates, whole, of_bias, found)

        each(sweep, parts)
        return of_gates, [x.sum(0) for x in own]

    def _arrays(
        self, tensors: Sequence[Tensor], kept: Sequence[Tensor]
    ) -> tuple[Cell, GapSolve, int, list[Span]]:
        """The cell and the ODE as arrays, how many rows to take at a time, and parts for threads."""
        weight, bias, *field = tensors
        cell = Cell(weight.shape[1], flat(weight), flat(weight.T), flat(bias))
        sizes = () if self.ode is None else self.ode.sizes
        largest = max(weight.numel(), *(a * b for a, b in pairwise(sizes)), 0)
        rows = self.sizes[0]
        solve = _no_solve(flat(bias[:0])) if self.ode is None else _solve(self.ode, field, kept)
        return cell, solve, block_of(rows, largest), parts_of(rows)


def _no_solve(none: np.ndarray) -> GapSolve:
    """An ODE of no steps: the state stands still."""
    whole = np.zeros(0, np.int64)
    nothing = Coefficients(whole, whole, whole, none, whole, whole, none)
    net = Network(whole, none, none, none, none.reshape(0, 1, 1))
    return GapSolve(0, nothing, net, none, none, none, none, none)


def _solve(ode: OdeSweep, field: Sequence[Tensor], kept: Sequence[Tensor]) -> GapSolve:
    before = kept[1]
    (rows, size), number = before.shape, flat(before[:0]).dtype
    steps = len(ode.plan.steps) - 1  # the last one only evaluates the slope at the end
    return GapSolve(
        steps,
        coefficients(ode.plan, before.dtype),
        network(ode.sizes, *field),
        flat(ode.width.to(before.dtype)[:, None].expand(rows, size)),
        np.empty((steps + 1) * rows * size, number),
        np.empty(ode.plan.steps[-1].first * rows * size, number),
        *map(flat, kept[3:]),
    )
