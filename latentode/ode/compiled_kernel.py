"""The solve of a tanh perceptron by compiled sweeps, and its exact gradient: see `compiled_sweeps`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from latentode.ode.compiled_sweeps import (
    Array,
    Coefficients,
    Gradients,
    Network,
    Span,
    backward,
    forward,
)
from latentode.ode.tableau import Plan

__all__ = [
    "CompiledKernel",
    "block_of",
    "coefficients",
    "each",
    "flat",
    "network",
    "parts_of",
    "readable",
]

# Multiply-adds in one product up to which OpenBLAS starts no threads of its own.
LARGEST_PRODUCT = 2**19 - 1
ROWS_AT_ONCE = 64
# With larger matrices, of which fewer rows fit, calling operations is not what takes time.
FEWEST_ROWS = 7
# Fewer rows than this are not worth a thread: starting one takes as long as a step of some rows.
ROWS_PER_THREAD = 256
# Rows times evaluations whose activations lie together: enough for large matrix products, few enough
# for a cache.
ROWS_PER_RUN = 2048


class CompiledKernel:
    """A perceptron with tanh between its linear layers, on a CPU.

    Args:
        layers: at least two, the first reading `[z, fixed, varying]`.
        state_size: how many of its inputs are z.
        fixed: inputs that stay the same over the solve, shape `(rows, fixed)`, or None.
        varying: inputs that differ by evaluation, `(evaluations, rows, varying)`, or None.
    """

    def __init__(
        self,
        layers: Sequence[nn.Linear],
        state_size: int,
        fixed: Tensor | None,
        varying: Tensor | None,
    ) -> None:
        first = layers[0]
        split = [state_size, 0 if fixed is None else fixed.shape[-1]]
        split.append(first.in_features - sum(split))
        by_state, by_fixed, self.by_varying = first.weight.split(split, dim=1)
        self.varying = varying
        self.first = first.bias[None]
        if fixed is not None:
            self.first = torch.addmm(first.bias, fixed, by_fixed.T)
        others = [layer.weight.reshape(-1) for layer in layers[1:]]
        self.weights = torch.cat([by_state.reshape(-1), *others])
        self.offsets = torch.cat([layer.bias for layer in layers[1:]])
        self.sizes = (state_size, *(layer.out_features for layer in layers))

    @staticmethod
    def suits(layers: Sequence[nn.Linear], z0: Tensor) -> bool:
        """Whether the compiled sweeps serve states like `z0`."""
        return len(z0) > 0 and readable(z0, *(layer.weight for layer in layers))

    def integrate(
        self, plan: Plan, z0: Tensor, width: Tensor, checkpoint: bool
    ) -> tuple[Tensor, Tensor]:
        """As `adjoint.integrate`."""
        arguments = (z0, width, self.first, self.weights, self.offsets, self.varying, self.by_varying)
        if torch.is_grad_enabled():
            return _Solve.apply(plan, self.sizes, checkpoint, *arguments)  # type: ignore[return-value]
        # In short runs where what the first layer is told differs by evaluation: it takes memory.
        solve = _Sweep(plan, self.sizes, self.varying is not None, *arguments)
        solve.start()
        for run in solve.runs:
            solve.forward(run, keep=False)
        return solve.states, solve.slopes()


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


@lru_cache(maxsize=256)
def coefficients(plan: Plan, dtype: torch.dtype) -> Coefficients:
    """The plan as arrays."""
    number = np.float32 if dtype == torch.float32 else np.float64
    pairs = [pairs for step in plan.steps for pairs in step.pairs]
    counts = [len(step.weights) for step in plan.steps]
    return Coefficients(
        first=np.array([step.first for step in plan.steps]),
        stages=np.array([len(step.stages) for step in plan.steps]),
        since=np.array([step.since for step in plan.steps]),
        begins=np.cumsum([0, *counts]),
        weights=np.array([w for step in plan.steps for w in step.weights], number),
        pair_begins=np.cumsum([0, *map(len, pairs)]),
        pair_slopes=np.array([e for some in pairs for _, e in some], np.int64),
        pair_weights=np.array([w for some in pairs for w, _ in some], number),
    )


def readable(x: Tensor, *matrices: Tensor) -> bool:
    """Whether compiled loops serve numbers like x, and products with matrices like these."""
    known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    small = all(matrix.numel() * FEWEST_ROWS <= LARGEST_PRODUCT for matrix in matrices)
    return known and small and not torch.compiler.is_compiling()


def network(sizes: tuple[int, ...], first: Tensor, weights: Tensor, offsets: Tensor) -> Network:
    """A perceptron as arrays."""
    matrices = weights.detach().split([a * b for a, b in pairwise(sizes)])
    shapes = zip(matrices, sizes, strict=False)
    transposed = torch.cat([w.view(-1, size).T.reshape(-1) for w, size in shapes])
    by_row = first.detach()[None].contiguous().numpy()
    return Network(np.array(sizes), flat(weights), transposed.numpy(), flat(offsets), by_row)


def block_of(rows: int, largest: int) -> int:
    """How many rows to carry along at a time, given the numbers in the largest matrix."""
    most = max(1, min(rows, ROWS_AT_ONCE, LARGEST_PRODUCT // largest))
    return math.ceil(rows / math.ceil(rows / most))  # blocks of one size, none of a few rows


def parts_of(rows: int) -> list[Span]:
    """The rows cut into as many parts as threads may take them."""
    threads = max(1, min(torch.get_num_threads(), rows // ROWS_PER_THREAD))
    return list(pairwise(rows * i // threads for i in range(threads + 1)))


def each(call: Callable[[Span], None], parts: list[Span]) -> None:
    """A call for each part of the rows, in a thread of its own where there are several."""
    if len(parts) == 1:
        call(parts[0])
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(call, parts))


def flat(x: Tensor) -> Array:
    """The numbers of a tensor, row after row."""
    return x.detach().contiguous().view(-1).numpy()


class _Sweep:
    """A solve's arrays, and its steps run by run."""

    def __init__(
        self,
        plan: Plan,
        sizes: tuple[int, ...],
        checkpoint: bool,
        z0: Tensor,
        width: Tensor,
        first: Tensor,
        weights: Tensor,
        offsets: Tensor,
        varying: Tensor | None,
        by_varying: Tensor,
    ) -> None:
        self.plan, self.sizes = plan, sizes
        self.z0, self.varying, self.by_varying = z0, varying, by_varying
        self.first, self.weights, self.offsets = first, weights, offsets
        self.coefficients = coefficients(plan, z0.dtype)
        self.width = width.detach()[:, None].expand_as(z0).reshape(-1).numpy()
        self.network = network(sizes, first, weights, offsets)
        rows = len(z0)
        self.block, self.parts = block_of(rows, max(a * b for a, b in pairwise(sizes))), parts_of(rows)
        self.runs = _runs(plan, max(1, ROWS_PER_RUN // rows) if checkpoint else plan.evaluations)

    def start(self) -> None:
        """Room for knots and slopes."""
        self.states = self.z0.new_empty(len(self.plan.steps), *self.z0.shape)
        self.k = self.z0.new_empty(self.plan.evaluations, *self.z0.shape)
        self.states[0] = self.z0

    def slopes(self) -> Tensor:
        """Slopes at the knots: those of each step's first evaluation."""
        return self.k[torch.from_numpy(self.coefficients.first)]

    def forward(self, run: _Run, keep: bool, move: bool = True) -> tuple[Tensor, Tensor]:
        """Takes the steps of a run, and returns the states and activations of its evaluations.

        Args:
            run: which steps.
            keep: whether they are wanted; those of one evaluation otherwise.
            move: whether knots are to be filled in; they are known otherwise.
        """
        places = run.last - run.first if keep else 1
        y = self.z0.new_empty(places, *self.z0.shape)
        # From numpy, which asks Linux for huge pages: first touching small ones is slow.
        numbers = places * len(self.z0) * sum(self.sizes[1:-1])
        hidden = torch.from_numpy(np.empty(numbers, self.width.dtype))
        net = self.network
        if self.varying is not None:
            varying = self.varying.detach()[run.first : run.last]
            sums = torch.matmul(varying, self.by_varying.detach().T).add_(self.first.detach())
            net = net._replace(first=sums.numpy())
        steps = (run.begin, run.end)
        arrays = [flat(x) for x in (self.states, self.k, y, hidden)]
        fixed: tuple[Any, ...] = (steps, self.block, keep, move, *arrays)
        each(lambda part: forward(self.coefficients, net, self.width, part, *fixed), self.parts)
        return y, hidden


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, plan: Plan, sizes: tuple[int, ...], checkpoint: bool, *arguments: Tensor
    ) -> tuple[Tensor, Tensor]:
        solve = _Sweep(plan, sizes, checkpoint, *arguments)
        solve.start()
        kept = [solve.forward(run, keep=not checkpoint) for run in solve.runs]
        ctx.solve, ctx.checkpoint = (plan, sizes, checkpoint), checkpoint
        ctx.save_for_backward(*arguments, solve.states, solve.k, *(() if checkpoint else kept[0]))
        return solve.states, solve.slopes()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        *arguments, states, k = ctx.saved_tensors[:9]
        solve = _Sweep(*ctx.solve, *arguments)
        solve.states, solve.k = states, k
        of_states, of_slopes = cotangents
        back = _Back(solve, of_states, of_slopes, ctx.needs_input_grad[3:])
        for run in reversed(solve.runs):
            kept = ctx.saved_tensors[9:]
            back.run(run, *(kept or solve.forward(run, keep=True, move=False)))
        return (None, None, None, *back.gradients())


class _Back:
    """The sweep back and the gradients that it gathers."""

    def __init__(
        self, solve: _Sweep, of_states: Tensor, of_slopes: Tensor, wanted: Sequence[bool]
    ) -> None:
        self.solve, self.wanted = solve, wanted
        self.of_states = of_states.clone(memory_format=torch.contiguous_format)
        self.of_slopes = of_slopes.contiguous()
        self.kappa = torch.zeros_like(solve.k)
        # Each thread adds up gradients of its own.
        own = (solve.first, solve.weights, solve.offsets)
        self.first, self.weights, self.offsets = (x.new_zeros(len(solve.parts), *x.shape) for x in own)
        self.by_varying = torch.zeros_like(solve.by_varying)
        self.varying = None if solve.varying is None else torch.zeros_like(solve.varying)

    def run(self, run: _Run, y: Tensor, hidden: Tensor) -> None:
        """Carries cotangents back over a run and gathers what they leave behind."""
        solve, there = self.solve, slice(run.first, run.last)
        sums = y.new_empty(0)
        if self.varying is not None:
            sums = y.new_empty(*y.shape[:2], solve.sizes[1])
        told = flat(sums)
        own = zip(self.weights.numpy(), self.offsets.numpy(), self.first.numpy(), strict=True)
        found = {part: Gradients(*arrays, told) for part, arrays in zip(solve.parts, own, strict=True)}
        kept = (y, hidden, self.of_slopes, self.of_states, self.kappa)
        a, b, c, d, e = map(flat, kept)
        plan, net, width, block = solve.coefficients, solve.network, solve.width, solve.block
        steps = (run.begin, run.end)

        def sweep(part: Span) -> None:
            backward(plan, net, width, part, steps, block, a, b, c, d, e, found[part])

        each(sweep, solve.parts)
        if solve.varying is not None and self.varying is not None:
            self.varying[there] = sums @ solve.by_varying.detach()
            self.by_varying.addmm_(sums.flatten(0, 1).T, solve.varying.detach()[there].flatten(0, 1))

    def gradients(self) -> tuple[Tensor | None, ...]:
        """By the arguments of the solve."""
        sums = (x.sum(0) for x in (self.first, self.weights, self.offsets))
        found: list[Tensor | None] = [self.of_states[0], None, *sums]
        if self.wanted[1]:
            found[1] = (self.kappa * self.solve.k).sum((0, 2))
        found += [self.varying, self.by_varying]
        return tuple(x if want else None for x, want in zip(found, self.wanted, strict=True))
