r"""ClockDynamics: no ODE worth the name, for comparisons; importing this module names it "clock".

What is left of a latent ODE whose decoder is told the lead time is an encoder and a decoder. The field
$\dot z = (1, 0, \dots, 0)$ leaves the state as it is, but for a component that counts time; its path is
exact at any time with one step of Euler's method.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentode.ode import FIELDS, Context, Dynamics, FieldKind

__all__ = ["ClockDynamics"]


class ClockDynamics(Dynamics):
    r"""$\dot z = (1, 0, \dots, 0)$.

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


FIELDS["clock"] = FieldKind(lambda sizes: ClockDynamics())  # with SolverConfig("euler", 1)
