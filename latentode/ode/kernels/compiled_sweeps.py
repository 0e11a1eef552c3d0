r"""The two sweeps of a tanh perceptron's solve, compiled.

A solve of tens of rows is a thousand small operations, and calling them takes longer than doing them.
So both sweeps over a plan (see `adjoint` for their equations) are one call each here: matrix products
by BLAS, all between them in loops of machine code, a block of rows at a time.

Of an array over evaluations (or knots), rows and numbers, with shape $(E, B, n)$, the block of rows
$b \dots b'$ of evaluation e begins at $(e B + b) n$. Arrays over hidden layers hold one layer after the
other.
"""

from __future__ import annotations

import numpy as np

from latentode.ode.kernels.compiled import (
    Array,
    Coefficients,
    Gradients,
    Network,
    Span,
    activate,
    add,
    add_product,
    add_rows,
    add_times,
    add_to_rows,
    copy,
    damp,
    matrix,
)
from latentode.ode.kernels.machine_code import compiled

__all__ = ["backward", "forward"]


@compiled
def _evaluate(
    net: Network, x: Array, first: Array, by_row: bool, hidden: Array, stride: int, slot: int, k: Array
) -> None:
    """The perceptron at x, shape `(count, latent)`, into `k`; activations into `hidden`.

    Args:
        net: `Network`.
        x: the states.
        first: offsets of the first layer.
        by_row: whether they differ by row.
        hidden: activations of `stride` rows, layer after layer.
        stride: how many rows there are.
        slot: which of them is that of the first state.
        k: where the slopes go.
    """
    layers, count = net.sizes.size - 1, x.shape[0]
    at, place, offset = 0, 0, 0
    for layer in range(layers - 1):
        size, out = net.sizes[layer], net.sizes[layer + 1]
        h = matrix(hidden, place + slot * out, count, out)
        np.dot(x, matrix(net.transposed, at, size, out), h)
        if layer:
            activate(h, net.offsets[offset : offset + out], False)
            offset += out
        else:
            activate(h, first, by_row)
        at += out * size
        place += stride * out
        x = h
    np.dot(x, matrix(net.transposed, at, x.shape[1], k.shape[1]), k)
    add_to_rows(k, net.offsets[offset:])


@compiled
def forward(
    plan: Coefficients,
    net: Network,
    width: Array,
    part: Span,
    steps: Span,
    block: int,
    keep: bool,
    move: bool,
    states: Array,
    k: Array,
    y: Array,
    hidden: Array,
) -> None:
    """Takes steps, filling `states`, slopes `k` and, where something is to be kept, `y` and `hidden`.

    Args:
        plan: `Coefficients` in the dtype of all the others.
        net: `Network`; `first` has as many evaluations as are taken here, or one.
        width: span of each number's row, shape `(rows * latent,)`.
        part: the rows to take, the first and the one after the last.
        steps: the first and the one after the last.
        block: rows at a time.
        keep: whether `y` and `hidden` hold all evaluations taken here; one otherwise.
        move: whether to fill the knots after steps; those before are read only.
        states: knots, `(knots, rows, latent)`.
        k: slopes of the evaluations taken here, `(evaluations, rows, latent)`.
        y: states of evaluations, `(evaluations, rows, latent)`.
        hidden: activations, layer after layer, each `(evaluations, rows, size)`.
    """
    begin, end = steps
    latent = net.sizes[0]
    rows = width.size // latent
    e0 = plan.first[begin]
    taken = plan.first[end - 1] + plan.stages[end - 1] - e0 if keep else 1
    by_evaluation, by_row = net.first.shape[0] > 1, net.first.shape[1] > 1
    first = net.first.reshape(net.first.size)
    for r in range(part[0], part[1], block):
        count = min(block, part[1] - r)
        numbers = count * latent
        w = width[r * latent : r * latent + numbers]
        for n in range(begin, end):
            z = states[(n * rows + r) * latent : (n * rows + r + count) * latent]
            for e in range(plan.first[n], plan.first[n] + plan.stages[n]):
                slot = (e - e0 if keep else 0) * rows + r
                x = y[slot * latent : slot * latent + numbers]
                copy(x, z)
                for p in range(plan.pair_begins[e], plan.pair_begins[e + 1]):
                    at = ((plan.pair_slopes[p] - e0) * rows + r) * latent
                    add_product(x, w, k[at : at + numbers], plan.pair_weights[p])
                skip = (e - e0) * net.first.shape[1] if by_evaluation else 0
                offset = first[(skip + (r if by_row else 0)) * net.sizes[1] :]
                slope = matrix(k, ((e - e0) * rows + r) * latent, count, latent)
                _evaluate(
                    net, x.reshape(count, latent), offset, by_row, hidden, taken * rows, slot, slope
                )
            if move and plan.begins[n + 1] > plan.begins[n]:
                after = states[((n + 1) * rows + r) * latent : ((n + 1) * rows + r + count) * latent]
                copy(after, z)
                for i in range(plan.begins[n], plan.begins[n + 1]):
                    if plan.weights[i] != 0:
                        at = ((plan.first[n] - e0 + i - plan.begins[n]) * rows + r) * latent
                        add_product(after, w, k[at : at + numbers], plan.weights[i])


@compiled
def _pull(
    net: Network,
    y: Array,
    hidden: Array,
    stride: int,
    slot: int,
    count: int,
    found: Gradients,
    row: int,
    room: Array,
    product: Array,
) -> Array:
    """The cotangent of the states of an evaluation; adds what it leaves behind to `found`.

    Args:
        net: `Network`.
        y: states of evaluations, and `hidden`, as `forward` filled them in.
        hidden: activations of `stride` rows, layer after layer.
        stride: how many rows there are.
        slot: which of them is that of the first state.
        count: how many states there are.
        found: `Gradients`.
        row: which row of the solve the first state is of.
        room: two arrays in which cotangents take turns; the first begins with those of the slopes.
        product: room for the gradient of one matrix.
    """
    by_row = found.first.shape[0] > 1
    first = found.first.reshape(found.first.size)
    g = matrix(room[0], 0, count, net.sizes[0])
    at, place, offset = net.weights.size, hidden.size, net.offsets.size
    for step in range(net.sizes.size - 1):
        layer = net.sizes.size - 2 - step
        size, out = net.sizes[layer], net.sizes[layer + 1]
        at -= out * size
        if layer:
            offset -= out
            add_rows(found.offsets[offset : offset + out], g, False)
            place -= stride * size
            x = matrix(hidden, place + slot * size, count, size)
        else:
            x = matrix(y, slot * size, count, size)
            add_rows(first[(row if by_row else 0) * out :], g, by_row)
            if found.varying.size:
                copy(found.varying[slot * out : (slot + count) * out], g.reshape(count * out))
        change = matrix(product, 0, out, size)
        np.dot(g.T, x, change)
        add(found.weights[at : at + out * size], product)
        before = matrix(room[(step + 1) % 2], 0, count, size)
        np.dot(g, matrix(net.weights, at, out, size), before)
        if layer:
            damp(before.reshape(count * size), x.reshape(count * size))
        g = before
    return g.reshape(count * net.sizes[0])


@compiled
def backward(
    plan: Coefficients,
    net: Network,
    width: Array,
    part: Span,
    steps: Span,
    block: int,
    y: Array,
    hidden: Array,
    of_slopes: Array,
    of_states: Array,
    kappa: Array,
    found: Gradients,
) -> None:
    """Carries cotangents back over steps.

    Args:
        plan: as for `forward`, and so are the next five.
        net: of which `first` is not read.
        width: span of each number's row.
        part: the rows to take.
        steps: the first and the one after the last.
        block: rows at a time.
        y: states that `forward` kept of the same steps.
        hidden: activations, likewise.
        of_slopes: cotangents of the slopes at knots, `(knots, rows, latent)`.
        of_states: cotangents of the states at knots, to which those of later steps are added.
        kappa: cotangents of the slopes over the span, `(evaluations, rows, latent)`, zero at first.
        found: `Gradients`, to which those of these steps are added.
    """
    begin, end = steps
    latent, widest = net.sizes[0], net.sizes.max()
    rows = width.size // latent
    e0 = plan.first[begin]
    stride = (plan.first[end - 1] + plan.stages[end - 1] - e0) * rows
    room = np.empty((2, block * widest), width.dtype)
    product = np.empty(widest * widest, width.dtype)
    one = width.dtype.type(1)
    for r in range(part[0], part[1], block):
        count = min(block, part[1] - r)
        numbers = count * latent
        w = width[r * latent : r * latent + numbers]
        g = room[0, :numbers]
        for n in range(end - 1, begin - 1, -1):
            knot = (n * rows + r) * latent
            here = of_states[knot : knot + numbers]
            if plan.begins[n + 1] > plan.begins[n]:
                later = of_states[knot + rows * latent : knot + rows * latent + numbers]
                add(here, later)
                for i in range(plan.begins[n], plan.begins[n + 1]):
                    if plan.weights[i] != 0:
                        at = ((plan.first[n] - e0 + i - plan.begins[n]) * rows + r) * latent
                        add_times(kappa[at : at + numbers], later, plan.weights[i])
            for e in range(plan.first[n] + plan.stages[n] - 1, plan.first[n] - 1, -1):
                g[:] = 0
                if e == plan.first[n]:
                    copy(g, of_slopes[knot : knot + numbers])
                at = ((e - e0) * rows + r) * latent
                add_product(g, w, kappa[at : at + numbers], one)
                slot = (e - e0) * rows + r
                mu = _pull(net, y, hidden, stride, slot, count, found, r, room, product)
                add(here, mu)
                for p in range(plan.pair_begins[e], plan.pair_begins[e + 1]):
                    at = ((plan.pair_slopes[p] - e0) * rows + r) * latent
                    add_times(kappa[at : at + numbers], mu, plan.pair_weights[p])
