r"""ScaleGrowth: how the scale of a forecast grows with its lead time.

$$\sigma(t) = \sigma_z(t)\,\Big(\frac{|t| + \epsilon_v}{1 + \epsilon_v}\Big)^{\gamma_v}$$

with $t$ in units of the horizon, $\sigma_z$ what is decoded from the latent state, and per variable a
learned exponent, which begins at the $\tfrac12$ of a random walk, and a learned floor, the lead at
which noise of observation and growth weigh the same. At one horizon the factor is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ScaleGrowth"]

FLOOR = 0.05  # of a horizon, to begin with


class ScaleGrowth(nn.Module):
    """A factor of the scale, by lead time and variable.

    Args:
        n_variables: number of variables.

    Example:
        >>> growth = ScaleGrowth(1)
        >>> growth(torch.tensor([0.0, 1.0, 4.15]), torch.zeros(3, dtype=torch.long)).detach()
        tensor([0.2182, 1.0000, 2.0000])
    """

    def __init__(self, n_variables: int) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.full((n_variables,), 0.5))
        self.log_floor = nn.Parameter(torch.full((n_variables,), FLOOR).log())

    def forward(self, time: Tensor, variable: Tensor) -> Tensor:
        """Args: time since the origin in horizons and variable, `(queries,)`. Returns the factor."""
        floor = self.log_floor[variable].exp()
        return ((time.abs() + floor) / (1 + floor)) ** self.exponent[variable]
