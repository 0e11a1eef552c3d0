r"""Dynamics: the vector field $f$ of $\dot z = f(t, z, c(t))$, rows independent of one another.

Second of the four arrows: a solver turns `(Dynamics, z0, span)` into a trajectory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.fields.divergence import exact_divergence
from latentode.ode.kernels.compiled_perceptron import CompiledKernel
from latentode.ode.kernels.perceptron import MLPKernel
from latentode.ode.kernels.tape import AnyKernel

__all__ = ["Dynamics", "MLPDynamics"]


class Dynamics(nn.Module, ABC):
    """A vector field. Rows never mix: row i of the result depends on row i of the arguments only."""

    @abstractmethod
    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        """Evaluates dz/dt.

        Args:
            t: the time of each row, shape `(rows,)`.
            z: the states, shape `(rows, latent)`.
            context: what else a row is told, or None.

        Returns:
            dz/dt, shape `(rows, latent)`.
        """

    def kernel(self, times: Tensor, context: Context | None, z0: Tensor) -> AnyKernel | None:
        """A pullback by hand for native solves, or None: then it is differentiated automatically.

        Args:
            times: of every evaluation to come, shape `(evaluations, rows)`.
            context: what each row is told.
            z0: the first states, shape `(rows, latent)`.
        """
        return None

    def divergence(self, t: Tensor, z: Tensor, context: Context | None = None) -> tuple[Tensor, Tensor]:
        """dz/dt and its divergence by z, exactly; what a continuous normalising flow integrates.

        Args:
            t: as for a call, and so are the others.

        Returns:
            Shapes `(rows, latent)` and `(rows,)`.
        """
        return exact_divergence(self, t, z, context)


class MLPDynamics(Dynamics):
    r"""A multi-layer perceptron with tanh: $f(t, z, c) = W_n \tanh(\dots \tanh(W_1 [z, c, t]))$.

    Smooth, hence kind to solvers. The last layer starts small, so that an untrained trajectory is
    nearly constant instead of running away over long spans.

    Args:
        state_size: latent size.
        hidden: widths of the hidden layers.
        context_size: size of what `context.at(t)` returns; 0 for none.
        time_dependent: whether t is an input too (then shifting time changes the solution).
        out_size: size of what it returns; that of the state, unless it is a part of a field, such as
            an acceleration.

    References:
        Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366

    Example:
        >>> f = MLPDynamics(3, hidden=(8,))
        >>> f(torch.zeros(5), torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """

    INITIAL_GAIN = 0.1

    def __init__(
        self,
        state_size: int,
        hidden: tuple[int, ...] = (64, 64),
        context_size: int = 0,
        time_dependent: bool = False,
        out_size: int | None = None,
    ) -> None:
        super().__init__()
        self.context_size = context_size
        self.time_dependent = time_dependent
        sizes = (state_size + context_size + time_dependent, *hidden, out_size or state_size)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        last = self.layers[-1]
        nn.init.xavier_uniform_(last.weight, gain=self.INITIAL_GAIN)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        x = self._inputs(t, z, context)
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)

    def _inputs(self, t: Tensor, z: Tensor, context: Context | None) -> Tensor:
        known = None if context is None or not self.context_size else context.at(t)
        parts = [z] if known is None else [z, known]
        if self.time_dependent:
            parts.append(t[:, None])
        return torch.cat(parts, dim=1) if len(parts) > 1 else z

    def divergence(self, t: Tensor, z: Tensor, context: Context | None = None) -> tuple[Tensor, Tensor]:
        r"""dz/dt and its divergence; with one or two hidden layers at the price of another layer.

        With $d_k = 1 - \tanh^2$ at hidden layer k and $W_1$ the columns that z meets,
        $\mathrm{tr}(W_2 D_1 W_1) = d_1 \cdot \mathrm{diag}(W_1 W_2)$ and
        $\mathrm{tr}(W_3 D_2 W_2 D_1 W_1) = d_2^T (W_2 \circ (W_1 W_3)^T) d_1$: no derivative is
        pushed through, whatever the dimension.
        """
        if len(self.layers) not in (2, 3):
            return super().divergence(t, z, context)
        x, slopes = self._inputs(t, z, context), []
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
            slopes.append(1 - x * x)
        value = self.layers[-1](x)
        weights: list[Any] = [layer.weight for layer in self.layers]
        first, *between, last = weights
        first = first[:, : z.shape[1]]
        if not between:
            return value, slopes[0] @ (first * last.T).sum(dim=1)
        around = between[0].T * (first @ last)
        return value, ((slopes[0] @ around) * slopes[1]).sum(dim=1)

    def kernel(self, times: Tensor, context: Context | None, z0: Tensor) -> AnyKernel | None:
        layers = [layer for layer in self.layers if type(layer) is nn.Linear]
        plain = len(layers) == len(self.layers) > 1 and layers[0].weight.dtype == z0.dtype
        # A forward pre-hook (pruning, for one) may set weights that are only known inside forward.
        if not plain or any(layer._forward_pre_hooks for layer in layers):
            return super().kernel(times, context, z0)
        known = self._known(times, context)
        told = z0.shape[1] + sum(x.shape[-1] for x in known if x is not None)
        if told != layers[0].in_features or layers[-1].out_features != z0.shape[1]:
            raise SolveError(
                f"the dynamics read {layers[0].in_features} numbers and return "
                f"{layers[-1].out_features}; state, context and time are {told} numbers, of which "
                f"{z0.shape[1]} are the state's"
            )
        kind = CompiledKernel if CompiledKernel.suits(layers, z0) else MLPKernel
        return kind(layers, z0.shape[1], *known)

    def _known(self, times: Tensor, context: Context | None) -> tuple[Tensor | None, Tensor | None]:
        """Inputs besides z that stay, `(rows, ...)`, and that differ, `(evaluations, rows, ...)`."""
        context = context if self.context_size else None
        fixed = None if context is None else context.fixed
        varying = []
        if context is not None and context.control is not None:
            control = context.control
            varying.append(torch.stack([control.at(t) for t in times]))
        if self.time_dependent:
            varying.append(times[..., None])
        return fixed, torch.cat(varying, dim=-1) if varying else None
