r"""Gated dynamics: a recurrent unit in continuous time, bounded by construction.

The difference of a GRU's two states over a step that goes to nothing:

$$r = \sigma(W_r [z, c, t]), \quad u = \sigma(W_u [z, c, t]), \quad
  g = \tanh(W_g [r \odot z, c, t]), \qquad \dot z = (1 - u) \odot (g - z).$$

Each component is drawn towards $g \in (-1, 1)$, so a state in $[-1, 1]$ stays there and no state
runs away, over any span.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentode.ode.context import Context
from latentode.ode.fields.mlp import Dynamics, FieldSizes

__all__ = ["GatedDynamics"]


class GatedDynamics(Dynamics):
    """A GRU in continuous time.

    Args:
        state_size: latent size.
        context_size: size of what `context.at(t)` returns; 0 for none.
        time_dependent: whether t is an input too.

    References:
        GRU-ODE-Bayes (De Brouwer et al., 2019), https://arxiv.org/abs/1905.12374

    Example:
        >>> f = GatedDynamics(3)
        >>> f(torch.zeros(5), torch.full((5, 3), 9.0)).max().item() < 0
        True
    """

    def __init__(self, state_size: int, context_size: int = 0, time_dependent: bool = False) -> None:
        super().__init__()
        self.context_size = context_size
        self.time_dependent = time_dependent
        inputs = state_size + context_size + time_dependent
        self.gates = nn.Linear(inputs, 2 * state_size)
        self.candidate = nn.Linear(inputs, state_size)

    @classmethod
    def of(cls, sizes: FieldSizes) -> GatedDynamics:
        """Gates that are told the whole context."""
        return cls(sizes.state, sizes.context)

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        known = None if context is None or not self.context_size else context.at(t)
        others = [] if known is None else [known]
        if self.time_dependent:
            others.append(t[:, None])
        reset, update = self.gates(torch.cat([z, *others], dim=1)).sigmoid().chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([reset * z, *others], dim=1)))
        return (1 - update) * (candidate - z)
