r"""ClosedForm: vector fields whose flow $\phi_{\Delta t}$ is known, under a drive that stays.

$\dot z = f(z, g)$ where g, the force, is all that the context enters by. Where the context holds a step
control, g is constant from one jump to the next, and so the flow is exact from jump to jump.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from latentode.ode.context import Context
from latentode.ode.fields.mlp import Dynamics

__all__ = ["ClosedForm"]


class ClosedForm(Dynamics):
    """Dynamics that `Solver(method="exact")` carries without steps."""

    @abstractmethod
    def force(self, known: Tensor | None) -> Tensor | None:
        """What drives each row.

        Args:
            known: what `Context.at` returns, shape `(rows, context)`, or None.

        Returns:
            Shape `(rows, latent)`; None for nothing.
        """

    @abstractmethod
    def slope(self, z: Tensor, force: Tensor | None) -> Tensor:
        """dz/dt of states of shape `(rows, latent)`."""

    @abstractmethod
    def carry(self, z0: Tensor, elapsed: Tensor, force: Tensor | None) -> Tensor:
        """The exact solution under a force that stays.

        Args:
            z0: states at the start, shape `(rows, latent)`.
            elapsed: times since, of either sign, shape `(rows, queries)`.
            force: of each row, shape `(rows, latent)`, or None.

        Returns:
            Shape `(rows, queries, latent)`.
        """

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        return self.slope(z, self.force(None if context is None else context.at(t)))
