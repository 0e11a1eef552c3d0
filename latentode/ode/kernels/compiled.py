"""Loops of machine code: the elementary ones, which others call.

Every array is one-dimensional and contiguous, because then a view of it is, too.

What compiled sweeps read: plans and perceptrons as arrays, and rows shared out among threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from latentode.ode.kernels.machine_code import compiled
from latentode.ode.tableau import Plan

__all__ = [
    "Array",
    "Coefficients",
    "Gradients",
    "Network",
    "Span",
    "activate",
    "add",
    "add_product",
    "add_rows",
    "add_times",
    "add_to_rows",
    "block_of",
    "coefficients",
    "copy",
    "damp",
    "each",
    "flat",
    "matrix",
    "network",
    "parts_of",
    "small",
    "tanh",
]

Array = np.ndarray
Span = tuple[int, int]


def tanh(x: float) -> float:
    """What is compiled is chosen by the type of x."""
    return math.tanh(x)


tanh.modules = frozenset({__name__})  # type: ignore[attr-defined]


def _exact_tanh(x: Any) -> Any:
    return math.tanh(x)


@overload(tanh)
def _tanh_of(x: Any) -> Callable[[Any], Any]:
    if x != types.float32:
        return _exact_tanh
    # The rational function of degrees 13 and 6 in Eigen's `generic_fast_tanh_float`: three units in
    # the last place, and unlike the library's it can be evaluated for many numbers at once.
    f = np.float32
    bound = f(7.90531110763549805)
    p = tuple(
        f(c)
        for c in (
            -2.76076847742355e-16,
            2.00018790482477e-13,
            -8.60467152213735e-11,
            5.12229709037114e-08,
            1.48572235717979e-05,
            6.37261928875436e-04,
            4.89352455891786e-03,
        )
    )
    q = tuple(
        f(c)
        for c in (
            1.19825839466702e-06,
            1.18534705686654e-04,
            2.26843463243900e-03,
            4.89352518554385e-03,
        )
    )
    p6, p5, p4, p3, p2, p1, p0 = p
    q3, q2, q1, q0 = q

    def rational(x: Any) -> Any:
        x = bound if x > bound else x  # written so that NaN stays NaN
        x = -bound if x < -bound else x
        s = x * x
        above = (((((p6 * s + p5) * s + p4) * s + p3) * s + p2) * s + p1) * s + p0
        return x * above / (((q3 * s + q2) * s + q1) * s + q0)

    return rational


@compiled
def matrix(flat: Array, begin: int, rows: int, columns: int) -> Array:
    return flat[begin : begin + rows * columns].reshape(rows, columns)


@compiled
def activate(h: Array, offset: Array, by_row: bool) -> None:
    """tanh(h + offset) in place."""
    rows, size = h.shape
    for r in range(rows):
        c = offset[(r if by_row else 0) * size : (r if by_row else 0) * size + size]
        for j in range(size):
            h[r, j] = tanh(h[r, j] + c[j])


@compiled
def damp(g: Array, h: Array) -> None:
    """g (1 - h^2) in place; without a 1, an integer, which would make single precision double."""
    for i in range(g.size):
        g[i] -= g[i] * h[i] * h[i]


@compiled
def copy(out: Array, a: Array) -> None:
    """out = a; numba's own takes seconds to compile, as it may refuse shapes in words."""
    for i in range(out.size):
        out[i] = a[i]


@compiled
def add(out: Array, a: Array) -> None:
    """out += a"""
    for i in range(out.size):
        out[i] += a[i]


@compiled
def add_times(out: Array, a: Array, factor: float) -> None:
    """out += factor * a"""
    for i in range(out.size):
        out[i] += factor * a[i]


@compiled
def add_product(out: Array, a: Array, b: Array, factor: float) -> None:
    """out += factor * a * b"""
    for i in range(out.size):
        out[i] += factor * a[i] * b[i]


@compiled
def add_to_rows(k: Array, offset: Array) -> None:
    """k += offset, in every row."""
    for r in range(k.shape[0]):
        for j in range(k.shape[1]):
            k[r, j] += offset[j]


@compiled
def add_rows(total: Array, x: Array, by_row: bool) -> None:
    """total += x, row by row or the sum of all rows."""
    rows, size = x.shape
    for r in range(rows):
        into = total[(r if by_row else 0) * size : (r if by_row else 0) * size + size]
        for j in range(size):
            into[j] += x[r, j]


# Multiply-adds in one product up to which OpenBLAS starts no threads of its own.
LARGEST_PRODUCT = 2**19 - 1
ROWS_AT_ONCE = 64
# With larger matrices, of which fewer rows fit, calling operations is not what takes time.
FEWEST_ROWS = 16
# Fewer rows than this are not worth a thread: starting one takes as long as a step of some rows.
ROWS_PER_THREAD = 256


class Coefficients(NamedTuple):
    """A plan as arrays.

    Args:
        first: each step's first evaluation, shape `(steps,)`; and so is the next.
        stages: how many evaluations a step has.
        begins: where a step's weights begin in `weights`, shape `(steps + 1,)`.
        weights: of a step's slopes in the next knot, step after step.
        pair_begins: where an evaluation's pairs begin, shape `(evaluations + 1,)`.
        pair_slopes: which earlier slope a pair adds.
        pair_weights: with which weight.
    """

    first: Array
    stages: Array
    begins: Array
    weights: Array
    pair_begins: Array
    pair_slopes: Array
    pair_weights: Array


class Network(NamedTuple):
    """A perceptron.

    Args:
        sizes: of its input, hidden layers and output, shape `(layers + 1,)`.
        weights: matrix after matrix, each of shape `(out, in)`.
        transposed: the same, each of shape `(in, out)`.
        offsets: of all layers but the first, one after the other.
        first: offsets of the first layer, shape `(1 or evaluations, 1 or rows, out)`.
    """

    sizes: Array
    weights: Array
    transposed: Array
    offsets: Array
    first: Array


class Gradients(NamedTuple):
    """Where gradients are added up.

    Args:
        weights: laid out as `Network.weights`.
        offsets: as `Network.offsets`.
        first: as `Network.first`, but over all evaluations, shape `(1 or rows, out)`.
        varying: each evaluation's cotangents of the first layer's sums, `(evaluations, rows, out)`,
            set rather than added; of no size where `Network.first` is the same for all.
    """

    weights: Array
    offsets: Array
    first: Array
    varying: Array


def small(*matrices: Tensor) -> bool:
    """Whether products with these are so short that calling operations is what takes time."""
    return all(matrix.numel() * FEWEST_ROWS <= LARGEST_PRODUCT for matrix in matrices)


def flat(x: Tensor) -> Array:
    """The numbers of a tensor, row after row."""
    return x.detach().contiguous().view(-1).numpy()


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


def network(sizes: tuple[int, ...], first: Tensor, weights: Tensor, offsets: Tensor) -> Network:
    """A perceptron as arrays.

    Args:
        sizes: of its input, hidden layers and output.
        first: offsets of the first layer, shape `(1 or rows, out)`.
        weights: matrix after matrix, each of shape `(out, in)`.
        offsets: of all layers but the first.
    """
    matrices = weights.detach().split([a * b for a, b in pairwise(sizes)])
    shapes = zip(matrices, sizes, strict=False)
    transposed = torch.cat([w.view(-1, size).T.reshape(-1) for w, size in shapes])
    by_row = first.detach()[None].contiguous().numpy()
    return Network(np.array(sizes), flat(weights), transposed.numpy(), flat(offsets), by_row)


@lru_cache(maxsize=256)
def coefficients(plan: Plan, dtype: torch.dtype) -> Coefficients:
    """The plan as arrays."""
    number = np.float32 if dtype == torch.float32 else np.float64
    pairs = [pairs for step in plan.steps for pairs in step.pairs]
    counts = [len(step.weights) for step in plan.steps]
    return Coefficients(
        first=np.array([step.first for step in plan.steps]),
        stages=np.array([len(step.stages) for step in plan.steps]),
        begins=np.cumsum([0, *counts]),
        weights=np.array([w for step in plan.steps for w in step.weights], number),
        pair_begins=np.cumsum([0, *map(len, pairs)]),
        pair_slopes=np.array([e for some in pairs for _, e in some], np.int64),
        pair_weights=np.array([w for some in pairs for w, _ in some], number),
    )
