r"""How a vector field is evaluated and pulled back many times over: its kernel and its tape.

A solve calls $k_e = f(t_e, y_e; \theta)$ for $e = 1 \dots E$ at times known in advance. Its exact
discrete gradient needs two things of f: one after another $\mu_e = (\partial f/\partial y)^T g_e$,
and once at the end $\sum_e (\partial f/\partial\theta)^T g_e$. The first is a chain and small; the
second is a sum, so it is taken in batched passes over many evaluations instead of one accumulation
per evaluation. A *tape* holds a run of evaluations, called slots; a *kernel* makes tapes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from latentode.ode.context import Context
from latentode.ode.tableau import slope_of

__all__ = ["AutogradKernel", "Kernel", "Tape", "differentiable_once"]


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """As torch's `once_differentiable`, which is silent where only what was saved needs a gradient.

    Raises:
        RuntimeError: where a gradient is asked for with `create_graph=True`.
    """
    once = once_differentiable(backward)

    @wraps(backward)
    def checked(ctx: Any, *cotangents: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "this solve has first derivatives only, by a backward pass of its own; for second ones "
                "(create_graph=True) wrap the dynamics in a module that is no Dynamics"
            )
        return once(ctx, *cotangents)

    return checked


class Tape(ABC):
    """A run of evaluations that can be pulled back.

    Args:
        y: the states of each slot, shape `(slots, rows, latent)`, filled in by the solver; of one
            slot only, which none may rely on, where nothing will be pulled back.

    Attributes:
        kept: what pulling back needs, to be saved by the solve and put back before the sweep.
        scratch: buffers that the tapes of one sweep hand on: fresh memory costs as much as a product.
    """

    def __init__(self, y: Tensor) -> None:
        self.y = y
        self.kept: tuple[Tensor, ...] = ()
        self.scratch: dict[object, Tensor] = {}

    def lent(self, name: object, like: Tensor) -> Tensor:
        """An uninitialised tensor of the shape of `like`, from the scratch of this sweep."""
        held = self.scratch.get(name)
        if held is None or len(held) < len(like):
            held = self.scratch[name] = torch.empty_like(like)
        return held[: len(like)]

    @abstractmethod
    def evaluate(self, slot: int, y: Tensor, out: Tensor) -> None:
        """Writes f of the slot's state `y` into `out`, both of shape `(rows, latent)`."""

    def evaluate_many(self, low: int, high: int, out: Tensor) -> None:
        """Writes f of slots `low` to `high` into `out` of shape `(high - low, rows, latent)`."""
        for slot in range(low, high):
            self.evaluate(slot, self.y[slot], out[slot - low])

    @abstractmethod
    def pull(self, slot: int, g: Tensor, out: Tensor) -> None:
        """Writes the cotangent of the slot's y into `out`, given that of its slope, `g`."""

    @abstractmethod
    def release(self) -> None:
        """Lets go of every tensor that `kept` holds."""

    @abstractmethod
    def gather(self, g: Tensor, totals: Sequence[Tensor | None]) -> None:
        """Adds the gradients of all slots to `totals`, one per tensor of the kernel, or None.

        Args:
            g: cotangents of the slopes, shape `(slots, rows, latent)`, all pulled back before.
            totals: where a gradient is wanted, a tensor of its shape.
        """


class Kernel(ABC):
    """What a solve needs to know of a vector field.

    Args:
        tensors: everything besides y that a gradient may have to reach.
    """

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors = tensors

    @abstractmethod
    def tape(self, tensors: Sequence[Tensor], order: Tensor, y: Tensor, differentiable: bool) -> Tape:
        """A tape for the evaluations `order`, slot by slot.

        Args:
            tensors: the values of the kernel's tensors.
            order: which evaluation each slot is, shape `(slots,)`.
            y: where the solver writes the states of each slot; one slot if not differentiable.
            differentiable: whether slots will be pulled back.
        """


class AutogradKernel(Kernel):
    """Any module, pulled back by automatic differentiation, for *checkpoint*.

    Where everything may be kept, plain backpropagation is faster than this. Gradients reach the
    module's parameters, the context and the times. A tensor that the module reads without owning
    it gets none.

    Args:
        module: called as `module(t, z, context)`; rows must not mix.
        times: of every evaluation, shape `(evaluations, rows)`.
        context: what each row is told.
    """

    def __init__(self, module: nn.Module, times: Tensor, context: Context | None) -> None:
        self.module = module
        self.context = context
        self.names = [name for name, _ in module.named_parameters()]
        known = () if context is None else context.tensors()
        super().__init__((times, *known, *module.parameters()))
        self.known = len(known)

    def tape(
        self, tensors: Sequence[Tensor], order: Tensor, y: Tensor, differentiable: bool
    ) -> _AutogradTape:
        return _AutogradTape(self, tensors, order, y, differentiable)

    def bind(
        self, known: Sequence[Tensor], parameters: Sequence[Tensor], copies: int = 1
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """f of (t, y) with these tensors in the place of the context's and the module's own."""
        context = None if self.context is None else self.context.replace(known)
        if context is not None and copies > 1:
            context = context.repeat(copies)
        own = self.module.parameters()
        if all(p is q for p, q in zip(own, parameters, strict=True)):
            return lambda t, y: slope_of(self.module, t, y, context)
        swapped = dict(zip(self.names, parameters, strict=True))

        def field(t: Tensor, y: Tensor, context: Context | None) -> Tensor:
            return torch.func.functional_call(self.module, swapped, (t, y, context))

        return lambda t, y: slope_of(field, t, y, context)


class _AutogradTape(Tape):
    def __init__(
        self,
        kernel: AutogradKernel,
        tensors: Sequence[Tensor],
        order: Tensor,
        y: Tensor,
        differentiable: bool,
    ) -> None:
        super().__init__(y)
        self.kernel = kernel
        self.times = tensors[0].detach()[order]
        self.order = order
        self.known = [tensor.detach() for tensor in tensors[1 : 1 + kernel.known]]
        self.tensors = tensors
        self.call = kernel.bind(self.known, self._parameters())
        self.differentiable = differentiable
        self.pairs: list[Tensor] = [y] * (2 * len(order)) if differentiable else []

    def _parameters(self) -> Sequence[Tensor]:
        return self.tensors[1 + self.kernel.known :]

    def evaluate(self, slot: int, y: Tensor, out: Tensor) -> None:
        if not self.differentiable:
            out.copy_(self.call(self.times[slot], y))
            return
        # A copy: autograd would take writes to other slots for changes of this one.
        y = y.clone().requires_grad_()
        with torch.enable_grad():
            k = self.call(self.times[slot], y)
        self.pairs[2 * slot : 2 * slot + 2] = y, k
        out.copy_(k.detach())
        self.kept = tuple(self.pairs)

    def pull(self, slot: int, g: Tensor, out: Tensor) -> None:
        y, k = self.kept[2 * slot : 2 * slot + 2]
        mu = None
        if k.requires_grad:
            (mu,) = torch.autograd.grad(k, y, g, retain_graph=True, allow_unused=True)
        out.zero_() if mu is None else out.copy_(mu)

    def release(self) -> None:
        self.kept, self.pairs, self.y = (), [], self.y[:0]

    def gather(self, g: Tensor, totals: Sequence[Tensor | None]) -> None:
        wanted = [i for i, total in enumerate(totals) if total is not None]
        if not wanted:
            return
        slots, rows = self.times.shape
        y = torch.stack(self.kept[::2]).detach()
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (self.times, *self.known)]
            call = self.kernel.bind(leaves[1:], self._parameters(), slots)
            k = call(leaves[0].reshape(-1), y.reshape(slots * rows, -1))
        if not k.requires_grad:
            return
        sources = [*leaves, *self._parameters()]
        gradients = torch.autograd.grad(
            k, [sources[i] for i in wanted], g.reshape(slots * rows, -1), allow_unused=True
        )
        for i, gradient in zip(wanted, gradients, strict=True):
            total = totals[i]
            if gradient is None or total is None:
                continue
            if i == 0:
                total.index_add_(0, self.order, gradient)
            else:
                total.add_(gradient)
