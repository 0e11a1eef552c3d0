"""What compiled sweeps read: plans and perceptrons as arrays, and rows shared out among threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentode.ode.kernels.compiled import Array, Span
from latentode.ode.tableau import Plan

__all__ = [
    "Coefficients",
    "Gradients",
    "Network",
    "block_of",
    "coefficients",
    "each",
    "flat",
    "network",
    "parts_of",
    "small",
]

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
