r"""ClockConfig: a network without an ODE, for comparisons with one that has.

What is left of a latent ODE whose decoder is told the lead time is an encoder and a decoder. The field
$\dot z = (1, 0, \dots, 0)$ leaves the state as it is, but for a component that counts time; its path is
exact at any time with one step of Euler's method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentode import LatentODE, ModelConfig
from latentode.model import Sizes
from latentode.ode import Context, Dynamics, Solver

__all__ = ["ClockConfig", "ClockDynamics"]


class ClockDynamics(Dynamics):
    r"""The vector field $\dot z = (1, 0, \dots, 0)$.

    Example:
        >>> z0 = torch.tensor([[0.5, 3.0]])
        >>> start, end = torch.zeros(1), torch.full((1,), 4.0)
        >>> Solver("euler", 1).solve(ClockDynamics(), z0, start, end).final.tolist()
        [[4.5, 3.0]]
    """

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        slope = torch.zeros_like(z)
        slope[:, 0] = 1.0
        return slope


@dataclass(frozen=True, repr=False)
class ClockConfig(ModelConfig):
    """The settings of a network whose vector field is `ClockDynamics`, whatever `dynamics` names."""

    def build(self, sizes: Sizes) -> LatentODE:
        """The network of these settings with the clock in the place of its field and its solver."""
        network = super().build(sizes)
        network.dynamics, network.solver = ClockDynamics(), Solver("euler", 1)
        return network
