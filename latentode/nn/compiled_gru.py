"""The two sweeps of a GRU over packed sequences, compiled; its state may follow an ODE between steps.

Sequences lie step after step, the longest first (see `gru` for the equations), so that of a step with n
sequences the first n rows of the state take part. Every array is one-dimensional, as in
`ode.kernels.compiled`, and a block of rows is carried through all steps before the next one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from latentode.ode.kernels.compiled import (
    Array,
    Coefficients,
    Gradients,
    Network,
    Span,
    add,
    copy,
    matrix,
    tanh,
)
from latentode.ode.kernels.compiled_sweeps import backward, forward
from latentode.ode.kernels.machine_code import compiled

__all__ = ["Cell", "GapSolve", "Steps", "pull", "read"]


class Steps(NamedTuple):
    """Where sequences lie.

    Args:
        counts: how many sequences have each step, descending.
        begins: where each step begins among all rows.
    """

    counts: Array
    begins: Array


class Cell(NamedTuple):
    """A GRU cell, gates laid out [reset, update, candidate].

    Args:
        size: of its state.
        weight: shape `(3 * size, size)`.
        transposed: the same, shape `(size, 3 * size)`.
        bias: of the candidate, within its reset, shape `(size,)`.
    """

    size: int
    weight: Array
    transposed: Array
    bias: Array


class GapSolve(NamedTuple):
    """The ODE that a state follows up to each step, and what pulling back needs of it.

    Args:
        steps: how many steps of the plan are taken up to each event; 0 where there is no ODE.
        plan: `Coefficients`.
        net: `Network`.
        width: how long it follows the ODE, of each number, shape `(rows * size,)`.
        states: knots of each event, `(steps + 1, sequences, size)`.
        k: slopes, `(evaluations, sequences, size)`.
        y: states of evaluations, likewise.
        hidden: activations, likewise.
    """

    steps: int
    plan: Coefficients
    net: Network
    width: Array
    states: Array
    k: Array
    y: Array
    hidden: Array


@compiled
def _of_step(array: Array, per_row: int, begin: int, count: int) -> Array:
    return array[per_row * begin : per_row * (begin + count)]


@compiled
def _evaluations(solve: GapSolve) -> int:
    return solve.plan.first[solve.steps - 1] + solve.plan.stages[solve.steps - 1]


@compiled
def _update(
    gates: Array, product: Array, bias: Array, state: Array, mixed: Array, rows: int, size: int
) -> None:
    """The cell's next states; its gates in the place of what inputs brought.

    Short loops over few arrays, here and below: the compiler vectorises no others.
    """
    half = bias.dtype.type(0.5)
    for i in range(rows):
        gate = gates[3 * size * i : 3 * size * (i + 1)]
        own = product[3 * size * i : 3 * size * (i + 1)]
        h, inner = state[size * i : size * (i + 1)], mixed[size * i : size * (i + 1)]
        for j in range(2 * size):  # the logistic function of x is (1 + tanh(x / 2)) / 2
            gate[j] = half + half * tanh(half * (gate[j] + own[j]))
        reset, update, candidate = gate[:size], gate[size : 2 * size], gate[2 * size :]
        part = own[2 * size :]
        for j in range(size):
            inner[j] = part[j] + bias[j]
        for j in range(size):
            candidate[j] = tanh(candidate[j] + reset[j] * inner[j])
        for j in range(size):
            h[j] = candidate[j] + update[j] * (h[j] - candidate[j])


@compiled
def read(
    steps: Steps,
    cell: Cell,
    solve: GapSolve,
    part: Span,
    block: int,
    gates: Array,
    before: Array,
    mixed: Array,
    state: Array,
) -> None:
    """Reads all sequences.

    Args:
        steps: `Steps`.
        cell: `Cell`.
        solve: `GapSolve`, whose last four are filled in.
        part: the rows to take.
        block: rows at a time.
        gates: what inputs bring, `(rows, 3 * size)`, replaced by the gates.
        before: states that each update begins with, `(rows, size)`, filled in.
        mixed: what the reset gate multiplies, likewise.
        state: of all sequences, carried from the first to the last of their steps.
    """
    size = cell.size
    product = np.empty(block * 3 * size, state.dtype)
    evaluations = _evaluations(solve) if solve.steps else 0
    for r in range(part[0], part[1], block):
        for step in range(steps.counts.size):
            n, begin = steps.counts[step], steps.begins[step]
            count = min(r + block, part[1], n) - r
            if count <= 0:
                break
            own = state[r * size : (r + count) * size]
            if solve.steps:
                knots = _of_step(solve.states, (solve.steps + 1) * size, begin, n)
                copy(knots[r * size : (r + count) * size], own)
                forward(
                    solve.plan,
                    solve.net,
                    _of_step(solve.width, size, begin, n),
                    (r, r + count),
                    (steps.begins[0], solve.steps),  # from 0; literals would have it compiled anew
                    block,
                    solve.steps > 0,
                    solve.steps > 0,
                    knots,
                    _of_step(solve.k, evaluations * size, begin, n),
                    _of_step(solve.y, evaluations * size, begin, n),
                    _of_step(solve.hidden, evaluations * solve.net.sizes[1:-1].sum(), begin, n),
                )
                end = (solve.steps * n + r) * size
                copy(own, knots[end : end + count * size])
            at = (begin + r) * size
            copy(before[at : at + count * size], own)
            h = own.reshape(count, size)
            np.dot(h, matrix(cell.transposed, 0, size, 3 * size), matrix(product, 0, count, 3 * size))
            _update(gates[3 * at :], product, cell.bias, own, mixed[at:], count, size)


@compiled
def _downdate(
    gates: Array,
    before: Array,
    mixed: Array,
    g: Array,
    of_input: Array,
    of_state: Array,
    rows: int,
    size: int,
) -> None:
    """Cotangents of the gates' sums, those of the state's part too; g is left with u g."""
    for i in range(rows):
        gate = gates[3 * size * i : 3 * size * (i + 1)]
        reset, update, candidate = gate[:size], gate[size : 2 * size], gate[2 * size :]
        inner, h = mixed[size * i : size * (i + 1)], before[size * i : size * (i + 1)]
        own = g[size * i : size * (i + 1)]
        of_gates = of_input[3 * size * i : 3 * size * (i + 1)]
        of_reset, of_update = of_gates[:size], of_gates[size : 2 * size]
        of_candidate = of_gates[2 * size :]
        kept = of_state[3 * size * i : 3 * size * (i + 1)]
        of_mixed = kept[2 * size :]
        for j in range(size):
            of_candidate[j] = own[j] - own[j] * update[j]
        for j in range(size):
            of_candidate[j] -= of_candidate[j] * candidate[j] * candidate[j]
        for j in range(size):
            of_mixed[j] = of_candidate[j] * reset[j]
        for j in range(size):
            of_reset[j] = of_mixed[j] * inner[j]
        for j in range(size):
            of_reset[j] -= of_reset[j] * reset[j]
        for j in range(size):
            of_update[j] = own[j] * (h[j] - candidate[j])
        for j in range(size):
            of_update[j] *= update[j] - update[j] * update[j]
        for j in range(size):
            own[j] *= update[j]
        copy(kept[: 2 * size], of_gates[: 2 * size])


@compiled
def _clear_rows(into: Array, knots: int, rows: int, first: int, count: int, size: int) -> None:
    """Zeroes the rows `first` to `first + count` of every knot."""
    for knot in range(knots):
        into[(knot * rows + first) * size : (knot * rows + first + count) * size] = 0


@compiled
def pull(
    steps: Steps,
    cell: Cell,
    solve: GapSolve,
    part: Span,
    block: int,
    gates: Array,
    before: Array,
    mixed: Array,
    g: Array,
    of_input: Array,
    of_weight: Array,
    of_bias: Array,
    found: Gradients,
) -> None:
    """Carries the cotangents of final states back over all steps.

    Args:
        steps: as for `read`, and so are the next seven.
        cell: `Cell`.
        solve: `GapSolve`.
        part: the rows to take.
        block: rows at a time.
        gates: as `read` left them, and so are `before` and `mixed`.
        before: states that each update began with.
        mixed: what the reset gate multiplied.
        g: cotangents of the final states, carried back to those of the first.
        of_input: cotangents of what inputs brought, `(rows, 3 * size)`, filled in.
        of_weight: to which the gradient of the cell's weight is added.
        of_bias: to which that of its bias is added.
        found: `Gradients` of the ODE, added to.
    """
    size = cell.size
    of_state = np.empty(block * 3 * size, g.dtype)
    product = np.empty(3 * size * size, g.dtype)
    change = np.empty(block * size, g.dtype)
    evaluations = _evaluations(solve) if solve.steps else 0
    most = steps.counts[0] if solve.steps else 0
    of_knots = np.zeros((solve.steps + 1) * most * size, g.dtype)
    of_slopes = np.zeros((solve.steps + 1) * most * size, g.dtype)
    kappa = np.zeros(evaluations * most * size, g.dtype)
    for r in range(part[0], part[1], block):
        for step in range(steps.counts.size - 1, -1, -1):
            n, begin = steps.counts[step], steps.begins[step]
            count = min(r + block, part[1], n) - r
            if count <= 0:
                continue
            own, at = g[r * size : (r + count) * size], (begin + r) * size
            _downdate(
                gates[3 * at :], before[at:], mixed[at:], own, of_input[3 * at :], of_state, count, size
            )
            kept = matrix(of_state, 0, count, 3 * size)
            np.dot(kept.T, matrix(before, at, count, size), matrix(product, 0, 3 * size, size))
            add(of_weight, product)
            for i in range(count):
                add(of_bias, of_state[(3 * i + 2) * size : 3 * (i + 1) * size])
            np.dot(kept, matrix(cell.weight, 0, 3 * size, size), matrix(change, 0, count, size))
            add(own, change)
            if solve.steps:
                _clear_rows(of_knots, solve.steps, n, r, count, size)
                _clear_rows(kappa, evaluations, n, r, count, size)
                end = (solve.steps * n + r) * size
                copy(of_knots[end : end + count * size], own)
                backward(
                    solve.plan,
                    solve.net,
                    _of_step(solve.width, size, begin, n),
                    (r, r + count),
                    (steps.begins[0], solve.steps),
                    block,
                    _of_step(solve.y, evaluations * size, begin, n),
                    _of_step(solve.hidden, evaluations * solve.net.sizes[1:-1].sum(), begin, n),
                    of_slopes,
                    of_knots,
                    kappa,
                    found,
                )
                copy(own, of_knots[r * size : (r + count) * size])
