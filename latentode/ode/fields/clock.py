"""ClockDynamics: no ODE worth the name, for comparisons."""

from __future__ import annotations

import torch
from torch import Tensor

from latentode.ode.context import Context
from latentode.ode.fields.mlp import Dynamics

__all__ = ["ClockDynamics"]


class ClockDynamics(Dynamics):
    r"""$\dot z = (1, 0, \dots, 0)$: a state that stays as it is, but for a component that counts time.

    What is left of a latent ODE whose decoder is told the lead time: an encoder and a decoder. Its path
    is exact at any time with one step of Euler's method.

    Example:
        >>> from latentode.ode import Solver
        >>> z0 = torch.tensor([[0.5, 3.0]])
        >>> start, end = torch.zeros(1), torch.full((1,), 4.0)
        >>> Solver("euler", 1).solve(ClockDynamics(), z0, start, end).final.tolist()
        [[4.5, 3.0]]
    """

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        slope = torch.zeros_like(z)
        slope[:, 0] = 1.0
        return slope
