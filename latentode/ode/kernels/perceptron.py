r"""The kernel of a tanh perceptron: its pullback by hand, weight gradients as a few large products.

With $\tanh x = 2\sigma(2x) - 1$ a tanh network is a sigmoid network with other weights,

$$V_1 = 2 W_1, \quad V_l = 4 W_l,\; c_l = 2 (b_l - W_l \mathbf 1) \;(1 < l < L), \quad
  V_L = 2 W_L,\; c_L = b_L - W_L \mathbf 1,$$

exactly; the sigmoid is a third faster on CPUs. Folding happens outside, so automatic
differentiation carries gradients of $V$ on to $W$. Activations $h_l = \sigma(V_l h_{l-1} + c_l)$ lie
in one buffer per layer for many evaluations. Pulling back fills buffers of
$\delta_l = (V_{l+1}^T \delta_{l+1}) \odot h_l (1 - h_l)$; then
$\partial V_l = \sum \delta_l h_{l-1}^T$ is one matrix product over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from latentode.ode.checks import check_slope
from latentode.ode.context import Context
from latentode.ode.fields.networks import MLPDynamics
from latentode.ode.kernels.tape import Kernel, Tape

__all__ = ["MLPKernel", "by_input", "divergence"]

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


def by_input(first: nn.Linear, state_size: int, fixed: Tensor | None) -> tuple[Tensor, ...]:
    """The columns of a first layer's weight that read z, what is fixed and what varies."""
    split = [state_size, 0 if fixed is None else fixed.shape[-1]]
    return first.weight.split([*split, first.in_features - sum(split)], dim=1)


class MLPKernel(Kernel):
    """A perceptron with tanh between its linear layers.

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
        first, *between, last = layers
        by_state, by_fixed, by_varying = by_input(first, state_size, fixed)
        base = 2 * first.bias[None]
        if fixed is not None:
            base = base + 2 * fixed @ by_fixed.T
        tensors = [base, 2 * by_state]
        for layer in between:
            tensors += [2 * (layer.bias - layer.weight.sum(1)), 4 * layer.weight]
        tensors += [last.bias - last.weight.sum(1), 2 * last.weight]
        self.depth = len(tensors) // 2
        if varying is not None:
            tensors += [varying, 2 * by_varying]
        super().__init__(tuple(tensors))

    def tape(
        self, tensors: Sequence[Tensor], order: Tensor, y: Tensor, differentiable: bool
    ) -> _MLPTape:
        return _MLPTape(tensors, self.depth, order, y, differentiable)


class _MLPTape(Tape):
    def __init__(
        self,
        tensors: Sequence[Tensor],
        depth: int,
        order: Tensor,
        y: Tensor,
        differentiable: bool,
    ) -> None:
        super().__init__(y)
        self.order = order
        first, *others = tensors[0 : 2 * depth : 2]
        # A vector is added within the matrix product, a matrix of one row before it.
        self.offsets = [first[0] if len(first) == 1 else first, *others]
        self.weights = list(tensors[1 : 2 * depth : 2])
        self.transposed = [weight.T for weight in self.weights]
        self.by_varying = tensors[2 * depth + 1] if len(tensors) > 2 * depth else None
        self.varying = None if self.by_varying is None else tensors[2 * depth][order]
        buffers = [y.new_empty(*y.shape[:2], len(weight)) for weight in self.weights[:-1]]
        if self.varying is not None and self.by_varying is not None:
            buffers[0] = torch.matmul(self.varying, self.by_varying.T).add_(self.offsets[0])
        self.kept = (y, *buffers)
        self.hidden = [b.unbind() * (1 if len(b) == len(order) else len(order)) for b in buffers]
        self.deltas: list[Tensor] = []
        self.back: list[tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]] = []

    def evaluate(self, slot: int, y: Tensor, out: Tensor) -> None:
        self._forward(y, [slots[slot] for slots in self.hidden], out, self.varying is not None)

    def evaluate_many(self, low: int, high: int, out: Tensor) -> None:
        x, *hidden = [buffer[low:high].flatten(0, 1) for buffer in self.kept]
        by_row = self.offsets[0].ndim == 2
        if by_row and self.varying is None:
            self.kept[1][low:high] = self.offsets[0]
        self._forward(x, hidden, out.view(-1, out.shape[-1]), by_row or self.varying is not None)

    def _forward(self, x: Tensor, hidden: Sequence[Tensor], out: Tensor, offset_in: bool) -> None:
        """`offset_in`: whether the first buffer already holds the first layer's offset."""
        first, weight = hidden[0], self.transposed[0]
        if offset_in:
            x = first.addmm_(x, weight).sigmoid_()
        else:
            x = torch.addmm(self.offsets[0], x, weight, out=first).sigmoid_()
        for layer, h in enumerate(hidden[1:], 1):
            x = torch.addmm(self.offsets[layer], x, self.transposed[layer], out=h).sigmoid_()
        torch.addmm(self.offsets[-1], x, self.transposed[-1], out=out)

    def pull(self, slot: int, g: Tensor, out: Tensor) -> None:
        if not self.back:
            self.deltas = [self.lent(i, buffer) for i, buffer in enumerate(self.kept[1:])]
            slots = ((b.unbind(), d.unbind()) for b, d in zip(self.kept[1:], self.deltas, strict=True))
            self.back = [(w, *pair) for w, pair in zip(self.weights[1:], slots, strict=True)][::-1]
        for weight, hidden, deltas in self.back:
            g = torch.mm(g, weight, out=deltas[slot])
            _sigmoid_backward(g, hidden[slot], grad_input=g)
        torch.mm(g, self.weights[0], out=out)

    def release(self) -> None:
        self.kept, self.y = (), self.y[:0]
        self.hidden, self.deltas, self.back = [], [], []

    def gather(self, g: Tensor, totals: Sequence[Tensor | None]) -> None:
        first = self.deltas[0]
        if totals[0] is not None:
            total = totals[0]
            total.add_(first.sum((0, 1)) if len(total) == 1 else first.sum(0))
        flat = [buffer.flatten(0, 1) for buffer in self.kept]
        for layer, delta in enumerate([*self.deltas, g]):
            delta = delta.flatten(0, 1)
            offset, weight = totals[2 * layer : 2 * layer + 2]
            if offset is not None and layer:
                offset.add_(delta.sum(0))
            if weight is not None:
                weight.addmm_(delta.T, flat[layer])
        self._gather_varying(first, totals[2 * len(self.weights) :])

    def _gather_varying(self, first: Tensor, totals: Sequence[Tensor | None]) -> None:
        if self.varying is None or self.by_varying is None:
            return
        varying, weight = totals
        if varying is not None:
            varying.index_add_(0, self.order, first @ self.by_varying)
        if weight is not None:
            weight.addmm_(first.flatten(0, 1).T, self.varying.flatten(0, 1))


def divergence(
    field: MLPDynamics, t: Tensor, z: Tensor, context: Context | None = None
) -> tuple[Tensor, Tensor]:
    r"""dz/dt of a perceptron and its divergence, at the price of one more layer.

    With $d_k = 1 - \tanh^2$ at hidden layer k and $W_1$ the columns that z meets,
    $\mathrm{tr}(W_2 D_1 W_1) = d_1 \cdot \mathrm{diag}(W_1 W_2)$ and
    $\mathrm{tr}(W_3 D_2 W_2 D_1 W_1) = d_2^T (W_2 \circ (W_1 W_3)^T) d_1$: no derivative is pushed
    through, whatever the dimension.

    Args:
        field: with one or two hidden layers.
        t: shape `(rows,)`.
        z: shape `(rows, latent)`.
        context: what else each row is given.

    Returns:
        Shapes `(rows, latent)` and `(rows,)`.
    """
    x, slopes = field.inputs(t, z, context), []
    for layer in field.layers[:-1]:
        x = torch.tanh(layer(x))
        slopes.append(1 - x * x)
    value = field.layers[-1](x)
    check_slope(field, value, z)
    weights: list[Any] = [layer.weight for layer in field.layers]
    first, *between, last = weights
    first = first[:, : z.shape[1]]
    if not between:
        return value, slopes[0] @ (first * last.T).sum(dim=1)
    around = between[0].T * (first @ last)
    return value, ((slopes[0] @ around) * slopes[1]).sum(dim=1)
