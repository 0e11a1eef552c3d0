r"""Encoders: observations -> a distribution over initial states, $q(z(t_0)\mid x) = N(\mu, \sigma^2)$.

First of the four arrows. An encoder reads each series' events towards $t_0$: backwards in time if
$t_0$ is the start of the context (Chen et al., 2018), forwards if it is the forecast origin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from latentode.errors import LatentODEError
from latentode.nn.events import Events
from latentode.nn.latent_flows import LatentFlows
from latentode.nn.mlp import mlp

__all__ = [
    "Encoder",
    "LatentHead",
    "LatentState",
    "shared_noise",
]


@dataclass(frozen=True)
class LatentState:
    r"""$q(z(t_0))$ of each row: a diagonal normal, one that flows carry on, or a point.

    Args:
        loc: shape `(rows, latent)`.
        scale: positive, same shape; None for a point.
        flows: of q and of its prior; None where both are normal.
        told: what the flow of q is told, shape `(rows, blocks, told)`; None for nothing.
        estimate: KL(q || prior) from a draw, shape `(rows,)`.
    """

    loc: Tensor
    scale: Tensor | None
    flows: LatentFlows | None = None
    told: Tensor | None = None
    estimate: Tensor | None = None

    def sample(self, noise: Tensor) -> Tensor:
        """z(t0) by reparameterisation.

        Args:
            noise: standard normal, shape `(samples, rows or 1, latent)`.

        Returns:
            Shape `(samples, rows, latent)`; `(1, rows, latent)` for a point, whose samples are one.
        """
        if self.scale is None:
            return self.loc[None]
        u = self.loc + self.scale * noise
        return u if self.flows is None else self.flows.points(u, self.told)

    def draw(self, noise: Tensor) -> tuple[Tensor, LatentState]:
        """Samples as by `sample`, and this state with its KL, which flows leave to the samples."""
        if self.flows is None or self.scale is None:
            return self.sample(noise), self
        u = self.loc + self.scale * noise
        z, log_det = self.flows.carry(u, self.told)
        log_q = Normal(self.loc, self.scale).log_prob(u).sum(dim=-1) - log_det
        return z, replace(self, estimate=(log_q - self.flows.log_prior(z)).mean(dim=0))

    def kl(self) -> Tensor:
        """KL(q || prior) of each row, shape `(rows,)`: 0 for a point, exact between normals.

        Raises:
            LatentODEError: where flows leave it to samples and none have been drawn.
        """
        if self.estimate is not None:
            return self.estimate
        if self.scale is None:
            return self.loc.new_zeros(len(self.loc))
        if self.flows is not None:
            raise LatentODEError("the KL of flows is known from samples only; use the state of draw()")
        variance = self.scale**2
        return 0.5 * (variance + self.loc**2 - 1 - variance.log()).sum(dim=1)

    def merge(self, rows: int) -> LatentState:
        """The same latent state in fewer rows, each of several that follow one another."""
        scale, told = self.scale, self.told
        return replace(
            self,
            loc=self.loc.reshape(rows, -1),
            scale=None if scale is None else scale.reshape(rows, -1),
            told=None if told is None else told.reshape(rows, -1, told.shape[-1]),
        )


class Encoder(nn.Module, ABC):
    """Summarises each series' events, read towards t0."""

    @abstractmethod
    def forward(self, events: Events, t0: Tensor, last: Tensor) -> Tensor:
        """Reads a context.

        Args:
            events: in reading order.
            t0: where reading ends, shape `(series,)`.
            last: latest value of each variable, shape `(series, variables)`.

        Returns:
            Shape `(series, hidden)`.
        """


class LatentHead(nn.Module):
    """From a summary and static features to q(z(t0)).

    Args:
        summary_size: size of what the encoder returns.
        n_static: number of encoded static features.
        latent_size: size of z.
        variational: False makes q a point.
        flows: of q and of its prior; None where both are normal.
    """

    MIN_SCALE = 1e-4
    INITIAL_SHIFT = -2.0

    def __init__(
        self,
        summary_size: int,
        n_static: int,
        latent_size: int,
        variational: bool = True,
        flows: LatentFlows | None = None,
    ) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.variational = variational
        self.flows = flows
        self.layers = mlp(
            summary_size + n_static, summary_size, latent_size * (2 if variational else 1)
        )

    def forward(self, summary: Tensor, static: Tensor) -> LatentState:
        """Args: `(series, summary)` and `(series, static)`."""
        known = torch.cat([summary, static], dim=1)
        raw = self.layers(known)
        if not self.variational:
            return LatentState(raw, None)
        loc, spread = raw.chunk(2, dim=1)
        scale = nn.functional.softplus(spread + self.INITIAL_SHIFT) + self.MIN_SCALE
        told = None if self.flows is None else self.flows.tell(known)
        return LatentState(loc, scale, self.flows, told)


def shared_noise(samples: int, latent_size: int, seed: int = 0) -> Tensor:
    """Standard normal noise that every series shares, shape `(samples, 1, latent)`.

    The same for all, so that a series' forecast does not depend on its companions, and antithetic
    (each draw with its negative), so that the mean over samples is that of q.
    """
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn((samples + 1) // 2, 1, latent_size, generator=generator)
    return torch.cat([half, -half])[:samples]
