"""The solve of a tanh perceptron by compiled sweeps, and its exact gradient: see `compiled_sweeps`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from latentode.errors import SolveError
from latentode.ode.kernels.compiled import (
    Gradients,
    Span,
    block_of,
    coefficients,
    each,
    flat,
    network,
    parts_of,
)
from latentode.ode.kernels.compiled_sweeps import backward, forward
from latentode.ode.kernels.perceptron import by_input
from latentode.ode.kernels.tape import differentiable_once
from latentode.ode.tableau import Plan

__all__ = ["CompiledKernel"]

# Rows times evaluations whose activations lie together where few are to be held at once.
ROWS_PER_RUN = 2048


class CompiledKernel:
    """A perceptron with tanh between its linear layers, on a CPU.

    Made of what `MLPKernel` is made of; the last layer is as wide as z.
    """

    def __init__(
        self,
        layers: Sequence[nn.Linear],
        state_size: int,
        fixed: Tensor | None,
        varying: Tensor | None,
    ) -> None:
        first = layers[0]
        by_state, by_fixed, self.by_varying = by_input(first, state_size, fixed)
        self.varying = varying
        self.first = first.bias[None]
        if fixed is not None:
            self.first = torch.addmm(first.bias, fixed, by_fixed.T)
        others = [layer.weight.reshape(-1) for layer in layers[1:]]
        self.weights = torch.cat([by_state.reshape(-1), *others])
        self.offsets = torch.cat([layer.bias for layer in layers[1:]])
        self.sizes = (state_size, *(layer.out_features for layer in layers))

    def integrate(
        self, plan: Plan, z0: Tensor, width: Tensor, checkpoint: bool
    ) -> tuple[Tensor, Tensor]:
        """As `adjoint.integrate`.

        Raises:
            SolveError: if the context has not as many rows as z0.
        """
        rows = len(z0)
        n_rows = (len(self.first), 1 if self.varying is None else self.varying.shape[1])
        if not {1, rows}.issuperset(n_rows):
            raise SolveError(f"the context has {max(n_rows)} rows and z0 {rows}; they must be as many")
        tensors = _Tensors(width, self.first, self.weights, self.offsets, self.varying, self.by_varying)
        return _Solve.apply(plan, self.sizes, checkpoint, z0, *tensors)  # type: ignore[return-value]


class _Run(NamedTuple):
    """Steps `begin` to `end` and their evaluations, `first` to `last`."""

    begin: int
    end: int
    first: int
    last: int


@lru_cache(maxsize=256)
def _runs(plan: Plan, size: int) -> tuple[_Run, ...]:
    """The plan cut into runs of at most `size` evaluations, or one step."""
    runs: list[_Run] = []
    for n, step in enumerate(plan.steps):
        after = step.first + len(step.stages)
        if runs and after - runs[-1].first <= size:
            runs[-1] = runs[-1]._replace(end=n + 1, last=after)
        else:
            runs.append(_Run(n, n + 1, step.first, after))
    return tuple(runs)


class _Tensors(NamedTuple):
    """What a solve reads besides its first states.

    Args:
        width: t1 - t0, shape `(rows,)`.
        first: offsets of the first layer, shape `(1 or rows, out)`.
        weights: of all layers, matrix after matrix.
        offsets: of all layers but the first.
        varying: inputs that differ by evaluation, `(evaluations, rows, varying)`, or None.
        by_varying: the columns of the first layer's weight that read them.
    """

    width: Tensor
    first: Tensor
    weights: Tensor
    offsets: Tensor
    varying: Tensor | None
    by_varying: Tensor


class _Sweep:
    """A solve's arrays, and its steps run by run.

    Args:
        plan: what to evaluate and how to add it up.
        sizes: of the perceptron's input, hidden layers and output.
        short: whether runs are short, because what they hold is not kept; or the plan is one run.
        states: of each knot, shape `(knots, rows, latent)`; the first is to be there.
        tensors: what else the solve reads.

    Attributes:
        k: slopes of the evaluations of the run taken last.
    """

    def __init__(
        self,
        plan: Plan,
        sizes: tuple[int, ...],
        short: bool,
        states: Tensor,
        tensors: _Tensors,
    ) -> None:
        self.plan, self.sizes, self.states, self.tensors = plan, sizes, states, tensors
        self.coefficients = coefficients(plan, states.dtype)
        self.width = flat(tensors.width.to(states.dtype)[:, None].expand_as(states[0]))
        self.network = network(sizes, tensors.first, tensors.weights, tensors.offsets)
        self.rows = rows = states.shape[1]
        self.block, self.parts = block_of(rows, max(a * b for a, b in pairwise(sizes))), parts_of(rows)
        self.runs = _runs(plan, max(1, ROWS_PER_RUN // rows) if short else plan.evaluations)
        longest = max(run.last - run.first for run in self.runs)
        self.k = states.new_empty(longest, *states.shape[1:])

    def slopes(self, run: _Run) -> Tensor:
        """Slopes at the knots of a run just taken: those of each step's first evaluation."""
        return self.k[: run.last - run.first : len(self.plan.steps[0].stages)]

    def forward(self, run: _Run, keep: bool, move: bool = True) -> tuple[Tensor, Tensor]:
        """Takes the steps of a run, and returns the states and activations of its evaluations.

        Args:
            run: which steps.
            keep: whether they are wanted; those of one evaluation otherwise.
            move: whether knots are to be filled in; they are known otherwise.
        """
        places = run.last - run.first if keep else 1
        y = self.states.new_empty(places, *self.states.shape[1:])
        # From numpy, which asks Linux for huge pages: first touching small ones is slow.
        hidden = torch.from_numpy(
            np.empty(places * self.rows * sum(self.sizes[1:-1]), self.width.dtype)
        )
        net, tensors = self.network, self.tensors
        if tensors.varying is not None:
            varying = tensors.varying.detach()[run.first : run.last]
            sums = torch.matmul(varying, tensors.by_varying.detach().T).add_(tensors.first.detach())
            net = net._replace(first=sums.numpy())
        steps, block, plan, width = (run.begin, run.end), self.block, self.coefficients, self.width
        states, k, at, kept = flat(self.states), flat(self.k), flat(y), flat(hidden)

        def sweep(part: Span) -> None:
            forward(plan, net, width, part, steps, block, keep, move, states, k, at, kept)

        each(sweep, self.parts)
        return y, hidden


class _Solve(torch.autograd.Function):
    """Arguments: the plan, sizes, whether to checkpoint, z0, and `_Tensors` one by one."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, plan: Plan, sizes: tuple[int, ...], checkpoint: bool, z0: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        keep = any(ctx.needs_input_grad) and not checkpoint
        states = z0.new_empty(len(plan.steps), *z0.shape)
        states[0] = z0
        slopes = torch.empty_like(states)
        solve, kept = _Sweep(plan, sizes, not keep, states, _Tensors(*tensors)), ()
        for run in solve.runs:
            kept = solve.forward(run, keep)
            slopes[run.begin : run.end] = solve.slopes(run)
        ctx.how = (plan, sizes, not keep)
        ctx.has_k = keep and ctx.needs_input_grad[4]
        k = (solve.k,) if ctx.has_k else ()
        ctx.save_for_backward(states, *tensors, *k, *(kept if keep else ()))
        return states, slopes

    @staticmethod
    @differentiable_once
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        states, *saved = ctx.saved_tensors
        count = len(_Tensors._fields)
        tensors, kept = _Tensors(*saved[:count]), saved[count:]
        plan, sizes, redo = ctx.how
        solve = _Sweep(plan, sizes, redo, states, tensors)
        if ctx.has_k:
            solve.k = kept.pop(0)
        of_states, of_slopes = cotangents
        back = _Back(solve, of_states, of_slopes, span=ctx.needs_input_grad[4])
        for run in reversed(solve.runs):
            back.run(run, *(solve.forward(run, keep=True, move=False) if redo else kept))
        return (None, None, None, *back.gradients(ctx.needs_input_grad[3:]))


class _Back:
    """The sweep back and the gradients that it gathers."""

    def __init__(self, solve: _Sweep, of_states: Tensor, of_slopes: Tensor, span: bool) -> None:
        self.solve = solve
        self.span = torch.zeros_like(of_states[0, :, 0]) if span else None
        self.of_states = of_states.clone(memory_format=torch.contiguous_format)
        self.of_slopes = of_slopes.contiguous()
        self.kappa = torch.zeros_like(solve.k)
        # Each thread adds up gradients of its own.
        given = solve.tensors
        own = (given.first, given.weights, given.offsets)
        self.first, self.weights, self.offsets = (x.new_zeros(len(solve.parts), *x.shape) for x in own)
        self.by_varying = torch.zeros_like(given.by_varying)
        self.varying = None if given.varying is None else torch.zeros_like(given.varying)

    def run(self, run: _Run, y: Tensor, hidden: Tensor) -> None:
        """Carries cotangents back over a run and gathers what they leave behind."""
        solve, there, given = self.solve, slice(run.first, run.last), self.solve.tensors
        self.kappa.zero_()
        sums = y.new_empty(0)
        if self.varying is not None:
            sums = y.new_empty(*y.shape[:2], solve.sizes[1])
        of_sums = flat(sums)
        own = zip(self.weights.numpy(), self.offsets.numpy(), self.first.numpy(), strict=True)
        found = {
            part: Gradients(*arrays, of_sums) for part, arrays in zip(solve.parts, own, strict=True)
        }
        kept = (y, hidden, self.of_slopes, self.of_states, self.kappa)
        a, b, c, d, e = map(flat, kept)
        plan, net, width, block = solve.coefficients, solve.network, solve.width, solve.block
        steps = (run.begin, run.end)

        def sweep(part: Span) -> None:
            backward(plan, net, width, part, steps, block, a, b, c, d, e, found[part])

        each(sweep, solve.parts)
        if self.span is not None:
            held = run.last - run.first
            self.span += (self.kappa[:held] * solve.k[:held]).sum((0, 2))
        if given.varying is not None and self.varying is not None:
            self.varying[there] = sums @ given.by_varying.detach()
            self.by_varying.addmm_(sums.flatten(0, 1).T, given.varying.detach()[there].flatten(0, 1))

    def gradients(self, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """By z0, width and the other arguments of the solve."""
        sums = (x.sum(0) for x in (self.first, self.weights, self.offsets))
        found = (self.of_states[0], self.span, *sums, self.varying, self.by_varying)
        return tuple(x if want else None for x, want in zip(found, wanted, strict=True))
