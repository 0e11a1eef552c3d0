r"""torchdiffeq behind the package's solver: adaptive methods and the continuous adjoint.

All rows are integrated in $s = (t - t_0)/(t_1 - t_0)$, knot to knot: $dz/ds = w f(t_0 + s w, z)$ with
$w = t_1 - t_0$. They share their adaptive steps, which the worst row decides: a step is taken when
every row's own error is within the tolerance, so companions can only make a row's answer finer. (A
norm over the whole batch, torchdiffeq's default, lets one row of a thousand be thirty times as far off
as asked for.)
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.tableau import VectorField, slope_of

__all__ = ["RescaledField", "odeint"]

# Its "rk4" is the 3/8 rule.
NAMES = {"rk38": "rk4"}


class RescaledField(nn.Module):
    """The vector field in s, with a count of its evaluations and of adaptive steps."""

    def __init__(self, dynamics: VectorField, t0: Tensor, t1: Tensor, context: Context | None) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.t0, self.t1 = t0, t1
        self.context = context
        self.evaluations = self.accepted = self.rejected = 0

    def count_steps(self) -> None:
        """Has torchdiffeq report each adaptive step, under the names that it looks for."""
        self.callback_accept_step = partial(self._count, "accepted")
        self.callback_reject_step = partial(self._count, "rejected")

    def _count(self, kind: str, *_: Tensor) -> None:
        setattr(self, kind, getattr(self, kind) + 1)

    def forward(self, s: Tensor, z: Tensor) -> Tensor:
        self.evaluations += 1
        # Here and not before: the continuous adjoint differentiates this function by t0 and t1, and
        # a width made of t0 elsewhere would count t0 twice.
        width = self.t1 - self.t0
        slope = slope_of(self.dynamics, self.t0 + s * width, z, self.context)
        return width[:, None].to(z.dtype) * slope

    def differentiable(self) -> tuple[Tensor, ...]:
        """Every tensor besides z that a gradient may have to reach."""
        context = () if self.context is None else self.context.tensors()
        tensors = (*self.parameters(), self.t0, self.t1, *context)
        return tuple(p for p in tensors if p.requires_grad)


def odeint(
    field: RescaledField,
    z0: Tensor,
    s: Tensor,
    method: str,
    tolerances: tuple[float, float],
    backsolve: bool,
    adaptive: bool,
    steps: int = 1,
) -> Tensor:
    """States at each of `s`, shape `(len(s), rows, latent)`; `steps` fixed steps between two of them.

    Raises:
        SolveError: if the method cannot go on.
    """
    import torchdiffeq  # here, since it is slow to load and native methods do without

    options, adjoint_options = _options(adaptive, s, steps)
    arguments = {
        "rtol": tolerances[0],
        "atol": tolerances[1],
        "method": NAMES.get(method, method),
        "options": options,
    }
    if adaptive:
        field.count_steps()
    try:
        if not backsolve:
            return torchdiffeq.odeint(field, z0, s, **arguments)  # type: ignore[return-value]
        return torchdiffeq.odeint_adjoint(  # type: ignore[return-value]
            field,
            z0,
            s,
            adjoint_options=adjoint_options,
            adjoint_params=field.differentiable(),
            **arguments,
        )
    except AssertionError as failure:
        for row in (~torch.isfinite(z0)).any(dim=1).nonzero().flatten().tolist()[:1]:
            raise SolveError(f"z0 of row {row} is not finite; no method can begin there") from failure
        raise SolveError(
            f"{method} could not go on ({failure}); loosen rtol and atol, use a fixed-step method "
            "such as rk4, or lower the learning rate if this happens in training"
        ) from failure


def _worst_row(error: Tensor) -> Tensor:
    """The largest of the rows' root mean squares, of shape `(..., latent)`."""
    # The root last: of a row without error, as one over no time, it has an infinite slope.
    return error.abs().square().mean(dim=-1).amax().sqrt()


def _options(adaptive: bool, s: Tensor, steps: int) -> tuple[dict, dict]:
    """Options of the solve and of its adjoint."""
    if adaptive:
        # Steps end on knots: between steps torchdiffeq interpolates, less exactly than it solves.
        return {"step_t": s, "norm": _worst_row}, {"norm": "seminorm"}
    # States are returned, and by the continuous adjoint kept, at `s` only, not at every step.
    options: dict = {"grid_constructor": partial(_grid, steps)}
    return options, options


def _grid(steps: int, _field: object, _z0: Tensor, s: Tensor) -> Tensor:
    """Where the steps of a fixed-step method begin and end, `steps` of them between two of `s`."""
    part = torch.arange(steps, dtype=s.dtype, device=s.device) / steps
    return torch.cat([(s[:-1, None] + part * (s[1:] - s[:-1])[:, None]).flatten(), s[-1:]])
