r"""GRU: a gated recurrent unit over many short sequences of unlike length, without padding.

Sequences lie in one array step after step, the longest first, so that step $t$ is a block of the first
$n_t$ sequences. With the input's part of all gates as one product beforehand, $a = W x + b$,

$$r = \sigma(a_r + U_r h), \quad u = \sigma(a_u + U_u h), \quad
  c = \tanh(a_c + r \odot (U_c h + d)), \quad h \leftarrow (1 - u) \odot c + u \odot h.$$

Only the final states are wanted. Between steps the state stands still or, in an ODE-RNN, follows an
ODE over each sequence's own gap (`Gaps`). One module holds the parameters and chooses how to read:

- *compiled*: sweeps in machine code with an exact gradient, for small states on CPUs;
- *by tensors*: a hand-written loop of tensor operations with an exact gradient, on any device;
- *plain*: `GRU.update` step by step, left to automatic differentiation. Subclasses, hooked modules and
  what is traced are read so, because a fast path knows only what this file itself computes.

All three give equal states and gradients. The recurrence is not cast under autocast: rounding
errors would add up over hundreds of steps.

References:
    Learning phrase representations using RNN encoder-decoder (Cho et al., 2014),
    https://arxiv.org/abs/1406.1078
    Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019), section 3.1,
    https://arxiv.org/abs/1907.03907
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from latentode.nn.recurrence import (
    Compiled,
    Gradient,
    OdeSweep,
    Sweeps,
    TensorLoop,
    gru_update,
    uncast,
)
from latentode.ode import Solver
from latentode.ode.kernels import kernel_of, readable, recorded, small, untouched
from latentode.ode.kernels.compiled_perceptron import CompiledKernel
from latentode.ode.tableau import NATIVE, VectorField, plan

__all__ = ["GRU", "Gaps"]


@dataclass(frozen=True)
class Gaps:
    """The ODE that a state follows before each step: from the sequence's last event to this one.

    Args:
        solver: how the ODE is solved over a gap.
        dynamics: its vector field.
        start: time of the event before (at the first event its own time), in the order of the rows,
            shape `(rows,)`.
        end: time of the event, likewise.
    """

    solver: Solver
    dynamics: VectorField
    start: Tensor
    end: Tensor

    def carry(self, state: Tensor, rows: slice) -> Tensor:
        """The states of some rows at their own events."""
        start, end = self.start[rows].to(state.dtype), self.end[rows].to(state.dtype)
        return self.solver.advance(self.dynamics, state, start, end)


class GRU(nn.Module):
    """A GRU that reads packed sequences and returns their final states.

    Args:
        input_size: size of an input.
        hidden_size: size of the state.

    Example:
        >>> gru = GRU(2, 3)
        >>> gru(torch.randn(5, 2), [3, 1, 1]).shape  # lengths 3, 1 and 1
        torch.Size([3, 3])
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        bound = 1 / math.sqrt(hidden_size)
        self.input_gates = nn.Linear(input_size, 3 * hidden_size)
        self.state_weight = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.candidate_bias = nn.Parameter(torch.empty(hidden_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self,
        inputs: Tensor,
        sizes: list[int],
        gaps: Gaps | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Reads all sequences from a state of zero.

        Args:
            inputs: step after step, the longest sequence first, shape `(sum(sizes), input)`.
            sizes: how many sequences have each step, descending.
            gaps: the ODE between steps; None where the state stands still.
            present: which rows are events, shape `(sum(sizes),)`; the others leave their sequence's
                state as it is. None for all.

        Returns:
            Final states in the order of the first step, shape `(sizes[0], hidden)`.

        Raises:
            ValueError: if sizes do not descend to at least 1, or are not those of the inputs.
        """
        with uncast(inputs.device.type):
            return self._read(inputs.to(self.state_weight.dtype), sizes, gaps, present)

    def update(self, gates: Tensor, state: Tensor) -> Tensor:
        """The next state.

        Args:
            gates: what the inputs bring to the gates [reset, update, candidate], `(rows, 3 * hidden)`.
            state: shape `(rows, hidden)`.
        """
        return gru_update(gates, state, self.state_weight, self.candidate_bias)

    def _read(
        self, inputs: Tensor, sizes: list[int], gaps: Gaps | None, present: Tensor | None
    ) -> Tensor:
        if not sizes or not sizes[0]:
            return self.input_gates(inputs[:0])[:, : self.hidden_size]
        descending = all(a >= b for a, b in pairwise(sizes)) and sizes[-1] > 0
        if not descending or sum(sizes) != len(inputs):
            raise ValueError(f"sizes must descend to 1 or more and sum to {len(inputs)}, got {sizes}")
        sweeps = _fast_path(self, inputs, sizes, gaps, present)
        if sweeps is None:
            return self._plain(inputs, sizes, gaps, present)
        weights = self.input_gates.weight, self.input_gates.bias, self.state_weight, self.candidate_bias
        return Gradient.apply(sweeps, inputs, *weights, *sweeps.field)  # type: ignore[return-value]

    def _plain(
        self, inputs: Tensor, sizes: list[int], gaps: Gaps | None, present: Tensor | None
    ) -> Tensor:
        gates = self.input_gates(inputs)
        state = gates.new_zeros(sizes[0], self.hidden_size)
        begin = 0
        for n in sizes:
            rows = slice(begin, begin + n)
            begin += n
            before = state[:n]
            after = self.update(gates[rows], before if gaps is None else gaps.carry(before, rows))
            if present is not None:
                after = torch.where(present[rows, None], after, before)
            state = torch.cat([after, state[n:]]) if n < len(state) else after
        return state


def _fast_path(
    gru: GRU, inputs: Tensor, sizes: list[int], gaps: Gaps | None, present: Tensor | None
) -> Sweeps | None:
    """The sweeps that give what the plain loop does; None where there are none.

    The only place that asks whether a fast path fits. It answers by exact type, and for nothing that
    is subclassed, hooked, parametrised or traced.
    """
    exact = type(gru) is GRU and type(gru.input_gates) is nn.Linear and "update" not in vars(gru)
    if present is not None or not exact or not untouched(gru) or recorded(inputs.device.type):
        return None
    weights = [*gru.parameters()]
    if readable(inputs, *weights) and small(gru.state_weight):
        if gaps is None:
            return Compiled(sizes)
        sweep = _ode_sweep(gaps, inputs.new_zeros(1, gru.hidden_size))
        return None if sweep is None else Compiled(sizes, sweep)
    alike = all(w.dtype == inputs.dtype and w.device == inputs.device for w in weights)
    return TensorLoop(sizes) if gaps is None and alike else None


def _ode_sweep(gaps: Gaps, like: Tensor) -> OdeSweep | None:
    """How compiled sweeps carry states like `like` over gaps; None where they do not serve the ODE."""
    solver, dynamics, width = gaps.solver, gaps.dynamics, gaps.end - gaps.start
    native = type(solver) is Solver and solver.method in NATIVE and solver.adjoint == "direct"
    if not native or (width.requires_grad and torch.is_grad_enabled()):
        return None
    kernel = kernel_of(dynamics, width[None], None, like)
    if not isinstance(kernel, CompiledKernel) or kernel.varying is not None:
        return None
    method = plan(solver.method, solver.intervals * solver.steps)
    field = kernel.first, kernel.weights, kernel.offsets
    return OdeSweep(method, kernel.sizes, width.detach(), field)
