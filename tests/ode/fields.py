"""Vector fields with known solutions, shared by the tests."""

import torch
from torch import Tensor

from latentode.ode import Context, Dynamics


class Decay(Dynamics):
    """dz/dt = -rate z, so z(t) = z0 exp(-rate (t - t0))."""

    def __init__(self, rate: float = 1.0) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(rate))

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        return -self.rate * z

    def exact(self, z0: Tensor, t0: Tensor, t: Tensor) -> Tensor:
        return z0[:, None] * torch.exp(-self.rate * (t - t0[:, None]))[..., None]


class Rotation(Dynamics):
    """dz/dt = w [-y, x] with each row's own frequency w as its fixed context."""

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        assert context is not None and context.fixed is not None
        x, y = z.unbind(1)
        return context.fixed * torch.stack([-y, x], dim=1)

    @staticmethod
    def exact(w: Tensor, z0: Tensor, t0: Tensor, t: Tensor) -> Tensor:
        angle = w * (t - t0[:, None])
        x, y = z0[:, :1], z0[:, 1:]
        sin, cos = torch.sin(angle), torch.cos(angle)
        return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)


class Wave(Dynamics):
    """dz/dt = cos t, so z(t) = z0 + sin t - sin t0."""

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        return torch.cos(t)[:, None].expand_as(z)


class Dose(Dynamics):
    """dz/dt = u(t): the state adds up the control."""

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        known = None if context is None else context.at(t)
        assert known is not None
        return known


class Product(Dynamics):
    """dz/dt = z (cos t + a sin z) + c: nonlinear, time-dependent, with a parameter and a context."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(0.7))

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        known = None if context is None else context.at(t)
        push = 0.0 if known is None else known.sum(dim=1, keepdim=True)
        return z * (torch.cos(t)[:, None] + self.a * torch.sin(z)) + push
