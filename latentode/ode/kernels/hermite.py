r"""Cubic Hermite interpolation of many queries at a cost far below that of the solve.

At position $u$ of an interval of width $h$, with $v = 1 - u$, the value is a sum of four rows, and so
is its slope,

$$z = (1+2u)v^2 z_a + u^2(1+2v) z_b + h u v^2 f_a - h u^2 v f_b,$$
$$\dot z = 6uv\,(z_b - z_a)/h + v(1-3u) f_a + u(3u-2) f_b.$$

So all queries together are a sparse matrix with four entries a row times the knots, and the
gradient of the knots is its transpose times the cotangents, summed interval by interval after one
sort. The formula stands here three times, each equal to the others up to rounding: `cubic` in plain
operations, differentiable in every way; `cubic_in_bags` by `embedding_bag`, several times faster than
gathering and scattering; and `interpolate` in compiled loops, where a query costs some tens of
nanoseconds, most of them to write its answer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from latentode.ode.kernels.compiled import Array, Span, flat
from latentode.ode.kernels.machine_code import compiled
from latentode.ode.kernels.tape import differentiable_once

__all__ = ["bracket", "cubic", "cubic_in_bags", "interpolate", "locate", "slope"]


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


def locate(knots: Tensor, rows: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where each time lies among knots that are numbered row after row.

    Args:
        knots: shape `(rows, K)`.
        rows: shape `(queries,)`.
        times: shape `(queries,)`.

    Returns:
        The number of the knot before it, int32; the position u after it, 0 to 1; the width of the
        interval; and one over that. Of an interval of no width u is 0 and the last is one.
    """
    cell = rows.int() * knots.shape[1] + bracket(knots, rows, times)
    along = knots.reshape(-1)
    start = along.index_select(0, cell)
    width = along.index_select(0, cell + 1) - start
    # Dividing by one instead of zero keeps gradients finite.
    inverse = 1 / torch.where(width == 0, torch.ones_like(width), width)
    return cell, (times - start) * inverse, width, inverse


def _weights(u: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the two states and the two slopes around each query.

    The fewest operations: of many queries each moves as much memory as a look at the knots.
    """
    v = 1 - u
    both = u * v
    bend = width * both
    return (
        v * torch.add(v, both, alpha=2),
        u * torch.add(u, both, alpha=2),
        bend * v,
        bend.neg() * u,
    )


def cubic(knots: Tensor, states: Tensor, slopes: Tensor, rows: Tensor, times: Tensor) -> Tensor:
    """The cubic around each query in plain operations; arguments as of `kernels.interpolate`."""
    cell, u, width, _ = locate(knots, rows, times)
    cell = cell.long()  # which every runtime of exported graphs takes for an index
    z, f = states.flatten(0, 1), slopes.flatten(0, 1)
    a, b, c, d = (weight[:, None] for weight in _weights(u, width))
    return a * z[cell] + b * z[cell + 1] + c * f[cell] + d * f[cell + 1]


def slope(knots: Tensor, states: Tensor, slopes: Tensor, rows: Tensor, times: Tensor) -> Tensor:
    """The derivative of `cubic` by time; in an interval of no width the slope at its first knot."""
    cell, u, width, inverse = locate(knots, rows, times)
    z, f = states.flatten(0, 1), slopes.flatten(0, 1)
    u, width, inverse, fa = u[:, None], width[:, None], inverse[:, None], f[cell]
    chord = (z[cell + 1] - z[cell]) * inverse
    found = 6 * u * (1 - u) * chord + (1 - u) * (1 - 3 * u) * fa + u * (3 * u - 2) * f[cell + 1]
    return torch.where(width == 0, fa, found)


def cubic_in_bags(knots: Tensor, states: Tensor, slopes: Tensor, rows: Tensor, times: Tensor) -> Tensor:
    """`cubic`, its arguments too, for at least one query; gradients of first order."""
    cell, u, width, _ = locate(knots, rows, times)
    table = torch.cat([states.flatten(0, 1), slopes.flatten(0, 1)])
    weights = torch.stack(_weights(u, width))
    return _Combination.apply(table, cell, weights)  # type: ignore[return-value]


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


def interpolate(knots: Tensor, states: Tensor, slopes: Tensor, rows: Tensor, times: Tensor) -> Tensor:
    """`cubic`, its arguments too, in compiled loops; no gradient reaches knots or times.

    Raises:
        IndexError: if a row is none of the trajectory's.
        ValueError: if shapes disagree, or there are fewer than two knots.
    """
    if rows.ndim != 1 or rows.shape != times.shape or rows.is_floating_point():
        raise ValueError(
            f"rows and times must be as many, got {tuple(rows.shape)}, {tuple(times.shape)}"
        )
    if states.shape != slopes.shape or states.shape[:2] != knots.shape or knots.shape[1] < 2:
        raise ValueError(
            f"at least two knots must have a state and a slope each, got times {tuple(knots.shape)}, "
            f"states {tuple(states.shape)}, slopes {tuple(slopes.shape)}"
        )
    return _Interpolation.apply(states, slopes, knots.detach(), rows, times.detach())  # type: ignore[return-value]


@compiled
def _find(knots: Array, rows: Array, times: Array, strides: Span, first: Array, weights: Array) -> int:
    """Where each query's first knot begins and the weights of its four rows; the first bad query."""
    count, last = knots.shape[0], knots.shape[1] - 2
    one = times.dtype.type(1)  # an integer would make single precision double
    row, cell, sign, before = -1, 0, one, times[0]
    for q in range(times.size):
        if q == 0 or rows[q] != row:
            row = rows[q]
            if row < 0 or row >= count:
                return q
            sign, cell = one if knots[row, last + 1] >= knots[row, 0] else -one, 0
        elif not sign * times[q] >= sign * before:  # so that after NaN the search begins anew
            cell = 0
        t = before = times[q]
        stride = 1  # doubled while the knot is not after t, then halved: queries mostly ascend
        while cell + stride <= last and sign * knots[row, cell + stride] <= sign * t:
            cell += stride
            stride *= 2
        while stride > 1:
            stride //= 2
            if cell + stride <= last and sign * knots[row, cell + stride] <= sign * t:
                cell += stride
        start = knots[row, cell]
        h = knots[row, cell + 1] - start
        u = (t - start) / (h if h != 0 else one)
        v = one - u
        first[q] = row * strides[0] + cell * strides[1]
        weights[q, 0] = (v + u + u + u) * v * v
        weights[q, 1] = u * u * (u + v + v + v)
        weights[q, 2] = h * u * v * v
        weights[q, 3] = -h * u * u * v
    return -1


@compiled
def _combine(
    states: Array, slopes: Array, apart: int, first: Array, weights: Array, out: Array
) -> None:
    """Each query's weighted sum of two states and two slopes, `apart` numbers from each other."""
    latent = out.shape[1]
    for q in range(first.size):
        i, j, z = first[q], first[q] + apart, out[q]
        a, b, c, d = weights[q, 0], weights[q, 1], weights[q, 2], weights[q, 3]
        za, zb, fa, fb = states[i:], states[j:], slopes[i:], slopes[j:]
        for k in range(latent):
            z[k] = a * za[k] + b * zb[k] + c * fa[k] + d * fb[k]


@compiled
def _spread(states: Array, slopes: Array, apart: int, first: Array, weights: Array, g: Array) -> None:
    """The transpose of `_combine`: adds each query's cotangent to those of its four rows."""
    latent = g.shape[1]
    for q in range(first.size):
        i, j, x = first[q], first[q] + apart, g[q]
        a, b, c, d = weights[q, 0], weights[q, 1], weights[q, 2], weights[q, 3]
        za, zb, fa, fb = states[i:], states[j:], slopes[i:], slopes[j:]
        for k in range(latent):  # loops of their own: the compiler vectorises over few arrays only
            za[k] += a * x[k]
        for k in range(latent):
            zb[k] += b * x[k]
        for k in range(latent):
            fa[k] += c * x[k]
        for k in range(latent):
            fb[k] += d * x[k]


class _Interpolation(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, states: Tensor, slopes: Tensor, knots: Tensor, rows: Tensor, times: Tensor
    ) -> Tensor:
        count, number, latent = states.shape
        out = states.new_empty(len(times), latent)
        ctx.knotwise = states.transpose(0, 1).is_contiguous()  # as solves make them
        ctx.shape = (number, count, latent) if ctx.knotwise else states.shape
        strides = (latent, count * latent) if ctx.knotwise else (number * latent, latent)
        ctx.apart = strides[1]
        first, weights = times.new_empty(len(times), dtype=torch.int64), times.new_empty(len(times), 4)
        if len(times):
            asked = rows.contiguous().numpy(), times.contiguous().numpy()
            at = first.numpy(), weights.numpy()
            wrong = _find(knots.contiguous().numpy(), *asked, strides, *at)
            if wrong >= 0:
                raise IndexError(f"query {wrong} asks for row {int(rows[wrong])} of {count} rows")
            _combine(
                _flat(states, ctx.knotwise), _flat(slopes, ctx.knotwise), ctx.apart, *at, out.numpy()
            )
        ctx.save_for_backward(first, weights)
        return out

    @staticmethod
    @differentiable_once
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        first, weights = ctx.saved_tensors
        g = cotangents[0].contiguous()
        found = g.new_zeros(2, *ctx.shape)
        if len(g):
            flat = found.view(2, -1).numpy()
            _spread(flat[0], flat[1], ctx.apart, first.numpy(), weights.numpy(), g.numpy())
        if ctx.knotwise:
            found = found.transpose(1, 2)
        return found[0], found[1], None, None, None


def _flat(x: Tensor, knotwise: bool) -> Array:
    return flat(x.transpose(0, 1) if knotwise else x)
