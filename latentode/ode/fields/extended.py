r"""Dynamics with a structured state: second order in time, and augmented.

*Second order*: $z = [x, v]$ with $\dot x = v$, $\dot v = a(t, x, v, c)$; paths of x may cross.
*Augmented*: z is carried together with dimensions that start at zero, $[z, 0] \mapsto f([z, a])$, so
that paths of z may cross and the field can stay simple.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.fields.mlp import Dynamics, FieldSizes, MLPDynamics

__all__ = ["AugmentedDynamics", "SecondOrderDynamics"]


class SecondOrderDynamics(Dynamics):
    """Position and velocity, with a learned acceleration.

    Args:
        acceleration: any module of (t, z, context) that returns shape `(rows, latent / 2)`; z is
            positions followed by velocities.

    References:
        On Second Order Behaviour in Augmented Neural ODEs (Norcliffe et al., 2020),
        https://arxiv.org/abs/2006.07220
    """

    def __init__(self, acceleration: nn.Module) -> None:
        super().__init__()
        self.acceleration = acceleration

    @classmethod
    def of(cls, sizes: FieldSizes) -> SecondOrderDynamics:
        """An acceleration by a perceptron that is told the whole context.

        Raises:
            SolveError: if the state is not as many velocities as positions.
        """
        if sizes.state % 2:
            raise SolveError(f"state is {sizes.state}; it must be even, for positions and velocities")
        half, width = sizes.state // 2, (sizes.hidden,) * 2
        return cls(MLPDynamics(sizes.state, width, sizes.context, out_size=half))

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        velocity = z.chunk(2, dim=1)[1]
        return torch.cat([velocity, self.acceleration(t, z, context)], dim=1)


class AugmentedDynamics(Dynamics):
    """A field over more dimensions than the state that one asks about.

    Args:
        inner: dynamics of `state_size + extra` dimensions.
        extra: how many of them start at zero.

    References:
        Augmented Neural ODEs (Dupont et al., 2019), https://arxiv.org/abs/1904.01681

    Example:
        >>> from latentode.ode import MLPDynamics, Solver
        >>> f = AugmentedDynamics(MLPDynamics(5), extra=2)
        >>> path = Solver().solve(f, f.augment(torch.randn(4, 3)), torch.zeros(4), torch.ones(4))
        >>> f.project(path.final).shape
        torch.Size([4, 3])
    """

    def __init__(self, inner: Dynamics, extra: int) -> None:
        super().__init__()
        self.inner = inner
        self.extra = extra

    def augment(self, z: Tensor) -> Tensor:
        """States with zeros after them: `(..., state)` to `(..., state + extra)`."""
        return pad(z, (0, self.extra))

    def project(self, z: Tensor) -> Tensor:
        """What was augmented: `(..., state + extra)` to `(..., state)`."""
        return z[..., : z.shape[-1] - self.extra]

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        return self.inner(t, z, context)
