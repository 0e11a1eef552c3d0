r"""Cubic Hermite interpolation of many queries at a cost far below that of the solve.

At position $u$ of an interval of width $h$, with $v = 1 - u$, the value is a sum of four rows,

$$z = (1+2u)v^2 z_a + u^2(1+2v) z_b + h u v^2 f_a - h u^2 v f_b.$$

So all queries together are a sparse matrix with four entries a row times the knots, and the
gradient of the knots is its transpose times the cotangents, summed interval by interval after one
sort. Both are done by `embedding_bag`, several times faster on CPUs than gathering and scattering.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from latentode.ode.kernels.once import differentiable_once

__all__ = ["bracket", "hermite"]


def bracket(knots: Tensor, rows: Tensor, times: Tensor) -> Tensor:
    """The interval that each time lies in, by bisection: the last knot not after it, 0 to K - 2.

    Args:
        knots: ascending or descending along each row, shape `(rows, K)`.
        rows: shape `(queries,)`.
        times: shape `(queries,)`.

    Returns:
        Shape `(queries,)`, int32: half the bits are moved in half the time, and 2 ** 31 knots would
        not fit in memory.
    """
    candidates = knots.shape[1] - 1
    bits = (candidates - 1).bit_length()
    # Descending rows are mirrored, so that every row ascends.
    sign = torch.where(knots[:, -1] >= knots[:, 0], 1.0, -1.0).to(knots.dtype)
    ascending = knots[:, :-1] * sign[:, None]
    flat = pad(ascending, (0, (1 << bits) - candidates), value=math.inf).reshape(-1)
    t, start = times * sign.index_select(0, rows), rows.int() << bits
    found = start
    for bit in reversed(range(bits)):
        later = flat.index_select(0, found + (1 << bit)) <= t
        found = torch.add(found, later, alpha=1 << bit)
    return found - start


def hermite(states: Tensor, slopes: Tensor, cell: Tensor, u: Tensor, width: Tensor) -> Tensor:
    """The cubic through two neighbouring knots, for each query.

    Args:
        states: of all knots, row after row, shape `(rows * K, latent)`.
        slopes: of all knots, likewise.
        cell: where each query's first knot stands in them, shape `(queries,)`, int32.
        u: position between the knots, 0 to 1, shape `(queries,)`.
        width: time between the knots, shape `(queries,)`.

    Returns:
        Shape `(queries, latent)`.
    """
    # The fewest operations: of many queries each moves as much memory as a look at the knots.
    v = 1 - u
    both = u * v
    bend = width * both
    weights = (
        v * torch.add(v, both, alpha=2),
        u * torch.add(u, both, alpha=2),
        bend * v,
        bend.neg() * u,
    )
    if torch.compiler.is_compiling():
        a, b, c, d = (weight[:, None] for weight in weights)
        of_states = a * states[cell] + b * states[cell + 1]
        return of_states + c * slopes[cell] + d * slopes[cell + 1]
    table = torch.cat([states, slopes])
    return _Combination.apply(table, cell, torch.stack(weights))  # type: ignore[return-value]


class _Combination(torch.autograd.Function):
    """`sum_j weights[j, q] table[index_j(q)]` with the four rows next to `cell` in both halves."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, cell: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, cell, weights)
        half = len(table) // 2
        pair = torch.arange(2, device=cell.device, dtype=cell.dtype)
        index = cell[:, None] + (half * pair[:, None] + pair).reshape(-1)
        return embedding_bag(index, table, per_sample_weights=weights.T.contiguous(), mode="sum")

    @staticmethod
    @differentiable_once
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        table, cell, weights = ctx.saved_tensors
        g = cotangents[0].contiguous()
        of_table = of_weights = None
        if ctx.needs_input_grad[0]:
            of_table = _transpose(table, cell, weights, g)
        if ctx.needs_input_grad[2]:
            half = len(table) // 2
            near = (cell, cell + 1, cell + half, cell + half + 1)
            of_weights = torch.stack([(g * table.index_select(0, index)).sum(1) for index in near])
        return of_table, None, of_weights


def _transpose(table: Tensor, cell: Tensor, weights: Tensor, g: Tensor) -> Tensor:
    half, queries = len(table) // 2, len(cell)
    if not queries:
        return torch.zeros_like(table)
    if cell.device.type == "cpu" and bool((cell[1:] >= cell[:-1]).all()):
        # As queries mostly come; elsewhere than on a CPU looking would wait for the device.
        ordered, order = cell, torch.arange(queries, dtype=cell.dtype)
    else:
        ordered, order = cell.sort(stable=True)
        order = order.to(cell.dtype)
        weights = weights.index_select(1, order)
    begins = torch.arange(half, device=cell.device, dtype=cell.dtype)
    begins = torch.searchsorted(ordered, begins).to(cell.dtype)
    each = [embedding_bag(order, g, begins, per_sample_weights=part, mode="sum") for part in weights]
    sums = torch.stack(each).view(2, 2, half, -1)
    result = sums[:, 0].clone()
    result[:, 1:] += sums[:, 1, :-1]
    return result.view_as(table)
