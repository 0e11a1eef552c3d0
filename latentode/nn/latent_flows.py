r"""LatentFlows: q(z(t0)) and its prior made more flexible than normal, by continuous normalising flows.

$$z_0 = \phi(u; s), \quad u \sim N(\mu, \sigma^2), \qquad
  \log q(z_0 \mid x) = \log N(u; \mu, \sigma^2) - \log\Big|\det \frac{d\phi}{du}\Big|,$$

where the flow $\phi$ is told a summary s of what the encoder has read. The prior is a flow of its own,
the same for every series. Neither has a closed KL; it is the mean of $\log q - \log p$ over samples,
both of them exact.

References:
    Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015),
    https://arxiv.org/abs/1505.05770
    FFJORD (Grathwohl et al., 2018), section 4.3, https://arxiv.org/abs/1810.01367
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentode.ode import CNF, MLPDynamics, Solver

__all__ = ["LatentFlows"]

TOLD = 16  # numbers that the posterior's flow is told of the summary
SOLVER = Solver("rk38", intervals=4)  # a flow between normals and what is nearly one is mild


class LatentFlows(nn.Module):
    """The flows of a latent row; a series may have several rows, which they carry one by one.

    Args:
        summary_size: size of what the encoder says of a row.
        latent_size: size of a row.
        hidden_size: width of the flows' fields; one hidden layer, whose trace is exact and cheap.
        posterior: whether q is carried by a flow.
        prior: whether the prior is.
    """

    def __init__(
        self, summary_size: int, latent_size: int, hidden_size: int, posterior: bool, prior: bool
    ) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.posterior = self.prior = self.summarise = None
        if posterior:
            self.summarise = nn.Linear(summary_size, TOLD)
            self.posterior = _identity(latent_size, TOLD, hidden_size)
        if prior:
            self.prior = _identity(latent_size, 0, hidden_size)

    def tell(self, summary: Tensor) -> Tensor | None:
        """What the posterior's flow is told of each row, shape `(rows, 1, told)`."""
        return None if self.summarise is None else torch.tanh(self.summarise(summary))[:, None]

    def carry(self, u: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor]:
        r"""From samples of the normal to samples of q.

        Args:
            u: shape `(samples, series, blocks * latent)`.
            told: shape `(series, blocks, told)`.

        Returns:
            z(t0), of the shape of u, and $\log|\det dz/du|$, shape `(samples, series)`.
        """
        if self.posterior is None:
            return u, u.new_zeros(u.shape[:-1])
        z, log_det = self.posterior.transport(self._blocks(u), told)
        return z.flatten(-2), log_det.sum(dim=-1)

    def points(self, u: Tensor, told: Tensor | None) -> Tensor:
        """`carry` without the determinant."""
        if self.posterior is None:
            return u
        return self.posterior.points(self._blocks(u), told).flatten(-2)

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
