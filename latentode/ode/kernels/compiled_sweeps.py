r"""The two sweeps of a tanh perceptron's solve, compiled.

A solve of tens of rows is a thousand small operations, and calling them takes longer than doing them.
So both sweeps over a plan (see `adjoint` for their equations) are one call each here: matrix products
by BLAS, all between them in loops of machine code, a block of rows at a time.

Every array is one-dimensional and contiguous, because then a view of it is, too. Of an array over
evaluations (or knots), rows and numbers, with shape $(E, B, n)$, the block of rows $b \dots b'$ of
evaluation e begins at $(e B + b) n$. Arrays over hidden layers hold one layer after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import overload

__all__ = [
    "Array",
    "Coefficients",
    "Gradients",
    "Network",
    "Span",
    "add",
    "backward",
    "compiled",
    "forward",
    "matrix",
    "tanh",
]

Array = np.ndarray
Span = tuple[int, int]
Loops = TypeVar("Loops", bound=Callable[..., Any])


def compiled(loops: Loops) -> Loops:
    """Compiles at the first call for a dtype, and keeps the machine code for later processes.

    It is kept beside the source or in the user's cache folder, and made anew when that source file
    changes. What a function calls is compiled into it: after a change here delete `__pycache__`, as
    the tests do.
    """
    how: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    # Sums may be reordered and contracted; that values are finite must not be assumed.
    how["fastmath"] = {"reassoc", "contract", "arcp", "nsz"}
    try:
        made: Any = njit(cache=True, **how)(loops)
    except RuntimeError:  # no folder to keep it in
        made = njit(**how)(loops)
    return made


class Coefficients(NamedTuple):
    """A plan as arrays.

    Args:
        first: each step's first evaluation, shape `(steps,)`; and so are the next two.
        stages: how many evaluations a step has.
        since: the evaluation that the first of a step's weights belongs to.
        begins: where a step's weights begin in `weights`, shape `(steps + 1,)`.
        weights: of consecutive slopes in the next knot, step after step.
        pair_begins: where an evaluation's pairs begin, shape `(evaluations + 1,)`.
        pair_slopes: which earlier slope a pair adds.
        pair_weights: with which weight.
    """

    first: Array
    stages: Array
    since: Array
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


def tanh(x: float) -> float:
    raise NotImplementedError  # what is compiled is chosen by the type of x


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
def _activate(h: Array, offset: Array, by_row: bool) -> None:
    """tanh(h + offset) in place."""
    rows, size = h.shape
    for r in range(rows):
        c = offset[(r if by_row else 0) * size : (r if by_row else 0) * size + size]
        for j in range(size):
            h[r, j] = tanh(h[r, j] + c[j])


@compiled
def _damp(g: Array, h: Array) -> None:
    """g (1 - h^2) in place; without a 1, an integer, which would make single precision double."""
    for i in range(g.size):
        g[i] -= g[i] * h[i] * h[i]


@compiled
def add(out: Array, a: Array) -> None:
    """out += a"""
    for i in range(out.size):
        out[i] += a[i]


@compiled
def _add_times(out: Array, a: Array, factor: float) -> None:
    """out += factor * a"""
    for i in range(out.size):
        out[i] += factor * a[i]


@compiled
def _add_product(out: Array, a: Array, b: Array, factor: float) -> None:
    """out += factor * a * b"""
    for i in range(out.size):
        out[i] += factor * a[i] * b[i]


@compiled
def _add_to_rows(k: Array, offset: Array) -> None:
    """k += offset, in every row."""
    for r in range(k.shape[0]):
        for j in range(k.shape[1]):
            k[r, j] += offset[j]


@compiled
def _add_rows(total: Array, x: Array, by_row: bool) -> None:
    """total += x, row by row or the sum of all rows."""
    rows, size = x.shape
    for r in range(rows):
        into = total[(r if by_row else 0) * size : (r if by_row else 0) * size + size]
        for j in range(size):
            into[j] += x[r, j]


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
            _activate(h, net.offsets[offset : offset + out], False)
            offset += out
        else:
            _activate(h, first, by_row)
        at += out * size
        place += stride * out
        x = h
    np.dot(x, matrix(net.transposed, at, x.shape[1], k.shape[1]), k)
    _add_to_rows(k, net.offsets[offset:])


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
    origin: int,
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
        origin: the evaluation that the first slope of `k` belongs to.
        k: slopes of evaluations from there on, `(evaluations, rows, latent)`, as far back as these
            steps read.
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
                x[:] = z
                for p in range(plan.pair_begins[e], plan.pair_begins[e + 1]):
                    at = ((plan.pair_slopes[p] - origin) * rows + r) * latent
                    _add_product(x, w, k[at : at + numbers], plan.pair_weights[p])
                skip = (e - e0) * net.first.shape[1] if by_evaluation else 0
                told = first[(skip + (r if by_row else 0)) * net.sizes[1] :]
                slope = matrix(k, ((e - origin) * rows + r) * latent, count, latent)
                _evaluate(
                    net, x.reshape(count, latent), told, by_row, hidden, taken * rows, slot, slope
                )
            if move and plan.begins[n + 1] > plan.begins[n]:
                after = states[((n + 1) * rows + r) * latent : ((n + 1) * rows + r + count) * latent]
                after[:] = z
                for i in range(plan.begins[n], plan.begins[n + 1]):
                    if plan.weights[i] != 0:
                        at = ((plan.since[n] - origin + i - plan.begins[n]) * rows + r) * latent
                        _add_product(after, w, k[at : at + numbers], plan.weights[i])


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
            _add_rows(found.offsets[offset : offset + out], g, False)
            place -= stride * size
            x = matrix(hidden, place + slot * size, count, size)
        else:
            x = matrix(y, slot * size, count, size)
            _add_rows(first[(row if by_row else 0) * out :], g, by_row)
            if found.varying.size:
                found.varying[slot * out : (slot + count) * out] = g.reshape(count * out)
        change = matrix(product, 0, out, size)
        np.dot(g.T, x, change)
        add(found.weights[at : at + out * size], product)
        before = matrix(room[(step + 1) % 2], 0, count, size)
        np.dot(g, matrix(net.weights, at, out, size), before)
        if layer:
            _damp(before.reshape(count * size), x.reshape(count * size))
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
    origin: int,
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
        origin: the evaluation that the first of `kappa` belongs to.
        kappa: cotangents of slopes over the span, `(evaluations, rows, latent)`, as far back as these
            steps read, with what later steps left there.
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
                        at = ((plan.since[n] - origin + i - plan.begins[n]) * rows + r) * latent
                        _add_times(kappa[at : at + numbers], later, plan.weights[i])
            for e in range(plan.first[n] + plan.stages[n] - 1, plan.first[n] - 1, -1):
                g[:] = 0
                if e == plan.first[n]:
                    g[:] = of_slopes[knot : knot + numbers]
                at = ((e - origin) * rows + r) * latent
                _add_product(g, w, kappa[at : at + numbers], one)
                slot = (e - e0) * rows + r
                mu = _pull(net, y, hidden, stride, slot, count, found, r, room, product)
                add(here, mu)
                for p in range(plan.pair_begins[e], plan.pair_begins[e + 1]):
                    at = ((plan.pair_slopes[p] - origin) * rows + r) * latent
                    _add_times(kappa[at : at + numbers], mu, plan.pair_weights[p])
