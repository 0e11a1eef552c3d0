"""Intensity: from latent states to positive rates relative to a typical one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentode.nn.mlp import mlp

__all__ = ["Intensity"]

INITIAL_GAIN = 0.1
UNIT = 0.5413248546129181  # whose softplus is 1
LOWEST = -30.0  # a rate 1e13 times below the typical one: its logarithm stays finite


class Intensity(nn.Module):
    r"""Relative rates $\mathrm{softplus}(\mathrm{MLP}(z, e) + c) > 0$, near 1 before any training.

    Args:
        latent_size: size of z.
        told_size: size of what tells rows apart.
        n_rates: how many rates are read off a row.
        hidden_size: width of the hidden layer.

    Example:
        >>> rates = Intensity(4, 0, 2, 8)(torch.zeros(5, 4), torch.zeros(5, 0))
        >>> rates.shape, bool((rates > 0).all())
        (torch.Size([5, 2]), True)
    """

    def __init__(self, latent_size: int, told_size: int, n_rates: int, hidden_size: int) -> None:
        super().__init__()
        self.layers = mlp(latent_size + told_size, hidden_size, n_rates)
        # Untrained, every series has nearly the typical rate.
        nn.init.xavier_uniform_(self.layers[-1].weight, gain=INITIAL_GAIN)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, told: Tensor) -> Tensor:
        """Args: `(points, latent)` and `(points, told)`. Returns `(points, n_rates)`."""
        raw = self.layers(torch.cat([z, told], dim=1)) + UNIT
        return softplus(raw.clamp(min=LOWEST))
