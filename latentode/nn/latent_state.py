r"""Latent states: observations -> a distribution over initial states, $q(z(t_0)\mid x)$.

First of the four arrows. An encoder reads each series' events towards $t_0$: backwards in time if
$t_0$ is the start of the context (Chen et al., 2018), forwards if it is the forecast origin. A head
turns its summary s into a point or a diagonal normal distribution $N(\mu, \sigma^2)$, which a
continuous normalising flow $\phi$, conditioned on s, may carry on:

$$z_0 = \phi(u; s), \quad u \sim N(\mu, \sigma^2), \qquad
  \log q(z_0 \mid x) = \log N(u; \mu, \sigma^2) - \log\Big|\det \frac{d\phi}{du}\Big|.$$

The prior is standard normal or a flow of its own, the same for every series. Flows have no KL in closed
form; it is the mean of $\log q - \log p$ over samples, both of them exact.

References:
    Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015),
    https://arxiv.org/abs/1505.05770
    FFJORD (Grathwohl et al., 2018), section 4.3, https://arxiv.org/abs/1810.01367
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from latentode.errors import LatentODEError
from latentode.nn.sequences import Events
from latentode.ode import CNF, MLPDynamics, Solver

__all__ = ["Encoder", "LatentFlows", "LatentHead", "LatentState", "mlp", "shared_noise"]


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of the given sizes with tanh between them.

    Example:
        >>> mlp(2, 8, 1)[0].out_features
        8
    """
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


CONDITION_SIZE = 16  # numbers by which the posterior's flow is conditioned on the summary
SOLVER = Solver("rk38", intervals=4)  # few intervals: these flows change a density little


class LatentFlows(nn.Module):
    """The continuous normalising flows of a latent row; each row of a series is carried by itself.

    Args:
        summary_size: size of the encoder's summary of a row.
        latent_size: size of a row.
        hidden_size: width of the flows' fields; one hidden layer, whose trace is exact and cheap.
        posterior: whether a flow carries q.
        prior: whether a flow is the prior, in the place of a standard normal distribution.
    """

    def __init__(
        self, summary_size: int, latent_size: int, hidden_size: int, posterior: bool, prior: bool
    ) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.posterior = self.prior = self.summarise = None
        if posterior:
            self.summarise = nn.Linear(summary_size, CONDITION_SIZE)
            self.posterior = _identity(latent_size, CONDITION_SIZE, hidden_size)
        if prior:
            self.prior = _identity(latent_size, 0, hidden_size)

    def condition(self, summary: Tensor) -> Tensor | None:
        """What the posterior's flow is conditioned on, shape `(rows, 1, condition)`."""
        return None if self.summarise is None else torch.tanh(self.summarise(summary))[:, None]

    def carry(self, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        r"""From samples of the normal to samples of q.

        Args:
            u: shape `(samples, series, blocks * latent)`.
            condition: of `condition`, shape `(series, blocks, condition)`.

        Returns:
            z(t0), of the shape of u, and $\log|\det dz/du|$, shape `(samples, series)`.
        """
        if self.posterior is None:
            return u, u.new_zeros(u.shape[:-1])
        z, log_det = self.posterior.transport(self._blocks(u), condition)
        return z.flatten(-2), log_det.sum(dim=-1)

    def points(self, u: Tensor, condition: Tensor | None) -> Tensor:
        """`carry` without the determinant."""
        if self.posterior is None:
            return u
        return self.posterior.points(self._blocks(u), condition).flatten(-2)

    def log_prior(self, z: Tensor) -> Tensor:
        """Log-density of z(t0), of the shape of `u` in `carry`: shape `(samples, series)`."""
        if self.prior is None:
            return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=-1)
        return self.prior().log_prob(self._blocks(z)).sum(dim=-1)

    def _blocks(self, z: Tensor) -> Tensor:
        return z.unflatten(-1, (-1, self.latent_size))


def _identity(features: int, context_size: int, hidden_size: int) -> CNF:
    """A flow that changes nothing yet: training begins with normal densities."""
    field = MLPDynamics(features, (hidden_size,), context_size, time_dependent=True)
    nn.init.zeros_(field.layers[-1].weight)  # type: ignore[arg-type]
    return CNF(features, context_size, field=field, solver=SOLVER)


@dataclass(frozen=True)
class LatentState:
    r"""$q(z(t_0))$ of each row: a diagonal normal, one that flows carry on, or a point.

    Args:
        loc: shape `(rows, latent)`.
        scale: positive, same shape; None for a point.
        flows: of q and of its prior; None where both are normal.
        condition: what the flow of q is conditioned on, shape `(rows, blocks, condition)`; None for
            nothing.
        estimate: KL(q || prior) from a draw, shape `(rows,)`.
    """

    loc: Tensor
    scale: Tensor | None
    flows: LatentFlows | None = None
    condition: Tensor | None = None
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
        return u if self.flows is None else self.flows.points(u, self.condition)

    def draw(self, noise: Tensor) -> tuple[Tensor, LatentState]:
        """Samples as by `sample`, and this state with its KL, which flows leave to the samples."""
        if self.flows is None or self.scale is None:
            return self.sample(noise), self
        u = self.loc + self.scale * noise
        z, log_det = self.flows.carry(u, self.condition)
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
        scale, condition = self.scale, self.condition
        return replace(
            self,
            loc=self.loc.reshape(rows, -1),
            scale=None if scale is None else scale.reshape(rows, -1),
            condition=None if condition is None else condition.reshape(rows, -1, condition.shape[-1]),
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
        dtype = self.layers[0].weight.dtype  # z(t0) has that of the weights, also under autocast
        known = torch.cat([summary, static], dim=1).to(dtype)  # type: ignore[call-overload]
        raw = self.layers(known).to(dtype)
        if not self.variational:
            return LatentState(raw, None)
        loc, spread = raw.chunk(2, dim=1)
        scale = nn.functional.softplus(spread + self.INITIAL_SHIFT) + self.MIN_SCALE
        condition = None if self.flows is None else self.flows.condition(known)
        return LatentState(loc, scale, self.flows, condition)


def shared_noise(samples: int, latent_size: int, seed: int = 0) -> Tensor:
    """Standard normal noise that every series shares, shape `(samples, 1, latent)`.

    The same for all, so that a series' forecast does not depend on its companions, and antithetic
    (each draw with its negative), so that the mean over samples is that of q.
    """
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn((samples + 1) // 2, 1, latent_size, generator=generator)
    return torch.cat([half, -half])[:samples]
