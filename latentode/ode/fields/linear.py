r"""Linear dynamics with complex diagonal eigenvalues: exact at any time, without steps.

BacktestPairs of real components are complex numbers with $\dot z = \lambda z + (Bc)$,
$\lambda = -\mathrm{softplus}(a) + i\omega$, so

$$z(t) = e^{\lambda (t - t_0)} z_0 + \frac{e^{\lambda (t - t_0)} - 1}{\lambda} B c.$$

Every mode decays; a read-out by a perceptron makes up for what a linear flow cannot do. Under a step
control c holds until its next jump, and the solution is exact from jump to jump.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentode.ode.context import Context
from latentode.ode.fields.closed_form import ClosedForm

__all__ = ["LinearDynamics"]


class LinearDynamics(ClosedForm):
    """Decaying rotations, driven by the context.

    Args:
        state_size: latent size, even: components 2j and 2j + 1 are one complex number.
        context_size: size of what `context.at(t)` returns; 0 for none.
        slowest: the longest period that a mode starts with, in the dynamics' unit of time.
        fastest: the shortest; periods are spread evenly in logarithm between the two.

    References:
        Resurrecting Recurrent Neural Networks for Long Sequences (Orvieto et al., 2023),
        https://arxiv.org/abs/2303.06349

    Example:
        >>> f = LinearDynamics(4)
        >>> f.flow(torch.randn(5, 4), torch.rand(5, 7)).shape
        torch.Size([5, 7, 4])
    """

    def __init__(
        self,
        state_size: int,
        context_size: int = 0,
        slowest: float = 32.0,
        fastest: float = 0.5,
    ) -> None:
        super().__init__()
        if state_size % 2:
            raise ValueError(f"state_size is {state_size}; it must be even, for complex pairs")
        modes = state_size // 2
        periods = torch.logspace(math.log10(slowest), math.log10(fastest), modes)
        self.frequency = nn.Parameter(2 * math.pi / periods)
        # Each mode starts losing half its size in one period.
        self.raw_decay = nn.Parameter(torch.log(torch.expm1(math.log(2) / periods)))
        self.drive = nn.Linear(context_size, state_size, bias=False) if context_size else None

    def slope(self, z: Tensor, force: Tensor | None) -> Tensor:
        x, y = z.unflatten(1, (-1, 2)).unbind(2)
        decay = softplus(self.raw_decay)
        slope = torch.stack(
            [-decay * x - self.frequency * y, self.frequency * x - decay * y], dim=2
        ).flatten(1)
        return slope if force is None else slope + force

    def flow(self, z0: Tensor, elapsed: Tensor, context: Context | None = None) -> Tensor:
        """The exact solution.

        Args:
            z0: states at the start, shape `(rows, latent)`.
            elapsed: times since, of either sign, shape `(rows, queries)`.
            context: of which the fixed part is looked at, no control path.

        Returns:
            Shape `(rows, queries, latent)`.
        """
        return self.carry(z0, elapsed, self.force(None if context is None else context.fixed))

    def carry(self, z0: Tensor, elapsed: Tensor, force: Tensor | None) -> Tensor:
        rate = torch.complex(-softplus(self.raw_decay), self.frequency)
        exponent = elapsed.to(rate.dtype)[..., None] * rate
        z = torch.exp(exponent) * _complex(z0)[:, None]
        if force is not None:
            z = z + torch.expm1(exponent) / rate * _complex(force)[:, None]
        return torch.view_as_real(z).flatten(2)

    def force(self, known: Tensor | None) -> Tensor | None:
        return None if self.drive is None or known is None else self.drive(known)


def _complex(z: Tensor) -> Tensor:
    return torch.view_as_complex(z.unflatten(1, (-1, 2)).contiguous())
