"""Cubic Hermite interpolation of many queries, compiled: see `hermite` for its equations.

A query costs some tens of nanoseconds, most of them to write its answer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentode.ode.kernels.compiled_arrays import flat
from latentode.ode.kernels.compiled_sweeps import Array, Span, compiled
from latentode.ode.kernels.once import differentiable_once

__all__ = ["interpolate"]


def interpolate(knots: Tensor, states: Tensor, slopes: Tensor, rows: Tensor, times: Tensor) -> Tensor:
    """The cubic through the two knots around each query; no gradient reaches knots or times.

    Args:
        knots: ascending or descending along each row, shape `(rows, K)`.
        states: shape `(rows, K, latent)`.
        slopes: shape `(rows, K, latent)`.
        rows: shape `(queries,)`.
        times: shape `(queries,)`; beyond a row's span its outermost polynomial goes on.

    Returns:
        Shape `(queries, latent)`.

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
def _locate(
    knots: Array, rows: Array, times: Array, strides: Span, first: Array, weights: Array
) -> int:
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
            wrong = _locate(knots.contiguous().numpy(), *asked, strides, *at)
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
