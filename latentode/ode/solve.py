r"""Solver: from (dynamics, z0, span) to a trajectory, every row on its own clock.

Row $i$ runs from $t_{0,i}$ to $t_{1,i}$. With $s = (t - t_0)/(t_1 - t_0)$ all rows share
$s \in [0, 1]$ and $dz/ds = (t_1 - t_0) f(t_0 + s (t_1 - t_0), z, c)$: no union of the batch's times,
and no row's span enters another's. The solver makes knots; a `Trajectory` answers at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchdiffeq
from torch import Tensor, nn

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.trajectory import Trajectory

__all__ = ["ADAPTIVE", "ADJOINTS", "METHODS", "Solver", "VectorField"]

VectorField = Callable[[Tensor, Tensor, Context | None], Tensor]

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun", "scipy_solver")
FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams")
METHODS = FIXED + ADAPTIVE
ADJOINTS = ("direct", "backsolve")


@dataclass(frozen=True)
class Solver:
    """How a differential equation is solved and differentiated.

    Args:
        method: one of `METHODS`, all that torchdiffeq has. Fixed-step methods take `steps` steps
            per interval: a row's answer is then the same whatever its batch. Adaptive ones choose
            steps by an error norm over the whole batch, so companions may change a row within
            the tolerance.
        intervals: knots per solve, less one; the trajectory interpolates between them.
        steps: steps of a fixed-step method in each interval.
        rtol: relative tolerance of adaptive methods.
        atol: absolute tolerance of adaptive methods.
        adjoint: *direct* backpropagates through the solver's own arithmetic: the exact gradient of
            the discrete solution, memory linear in steps. *backsolve* solves the continuous adjoint
            backwards (Chen et al., 2018, section 2): memory constant in steps, a gradient exact
            only to tolerance. Choose it when memory, not time, is short.

    Example:
        >>> decay = lambda t, z, context: -z
        >>> t0, t1 = torch.zeros(2), torch.tensor([1.0, 3.0])
        >>> path = Solver().solve(decay, torch.ones(2, 1), t0, t1)
        >>> [round(z, 4) for z in path(torch.tensor([[0.5], [2.5]])).flatten().tolist()]
        [0.6065, 0.0821]
    """

    method: str = "rk4"
    intervals: int = 8
    steps: int = 1
    rtol: float = 1e-5
    atol: float = 1e-6
    adjoint: str = "direct"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SolveError(f"method {self.method!r} is unknown; choose from {', '.join(METHODS)}")
        if self.adjoint not in ADJOINTS:
            raise SolveError(f"adjoint {self.adjoint!r} is unknown; choose from {', '.join(ADJOINTS)}")
        if self.intervals < 1 or self.steps < 1:
            raise SolveError("intervals and steps must be at least 1")

    def solve(
        self,
        dynamics: VectorField,
        z0: Tensor,
        t0: Tensor,
        t1: Tensor,
        context: Context | None = None,
    ) -> Trajectory:
        """Carries each row from its t0 to its t1, forwards or backwards in time.

        Args:
            dynamics: a `Dynamics`, or any callable of (t, z, context).
            z0: states at t0, shape `(rows, latent)`, a floating dtype.
            t0: shape `(rows,)`, in the dynamics' unit of time, the dtype of z0.
            t1: shape `(rows,)`; where it equals t0 the path is a point.
            context: what else each row's vector field is told.

        Returns:
            A trajectory with `intervals + 1` knots per row.

        Raises:
            SolveError: if shapes disagree, a state becomes non-finite, or an adaptive method's step
                underflows.
        """
        _check_shapes(z0, t0, t1)
        field = _RescaledField(dynamics, t0, t1, context)
        s = torch.linspace(0, 1, self.intervals * self._steps() + 1, dtype=z0.dtype, device=z0.device)
        states = self._integrate(field, z0, s)[:: self._steps()].transpose(0, 1)
        evaluations = field.evaluations
        knots = s[:: self._steps()]
        times = t0[:, None] + knots * (t1 - t0)[:, None]
        # The last knot is t1 itself, not t0 + (t1 - t0), which may round to a neighbour.
        times = torch.cat([times[:, :-1], t1[:, None]], dim=1)
        _check_finite(states, times)
        slopes = _slopes(dynamics, times, states, context)
        return Trajectory(times, states, slopes, evaluations)

    def _steps(self) -> int:
        return 1 if self.method in ADAPTIVE else self.steps

    def _integrate(self, field: _RescaledField, z0: Tensor, s: Tensor) -> Tensor:
        options = {"solver": "RK45"} if self.method == "scipy_solver" else None
        arguments = {"rtol": self.rtol, "atol": self.atol, "method": self.method}
        try:
            if self.adjoint == "direct":
                return torchdiffeq.odeint(field, z0, s, options=options, **arguments)
            seminorm = self.method in ADAPTIVE and self.method != "scipy_solver"
            return torchdiffeq.odeint_adjoint(  # type: ignore[return-value]
                field,
                z0,
                s,
                options=options,
                adjoint_options={"norm": "seminorm"} if seminorm else options,
                adjoint_params=field.differentiable(),
                **arguments,
            )
        except AssertionError as failure:
            raise SolveError(
                f"{self.method} could not go on ({failure}); loosen rtol and atol, use a fixed-step "
                "method such as rk4, or lower the learning rate if this happens in training"
            ) from failure


class _RescaledField(nn.Module):
    """The vector field in s, with a count of its evaluations."""

    def __init__(self, dynamics: VectorField, t0: Tensor, t1: Tensor, context: Context | None) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.t0, self.t1, self.width = t0, t1, t1 - t0
        self.context = context
        self.evaluations = 0

    def forward(self, s: Tensor, z: Tensor) -> Tensor:
        self.evaluations += 1
        return self.width[:, None] * self.dynamics(self.t0 + s * self.width, z, self.context)

    def differentiable(self) -> tuple[Tensor, ...]:
        """Every tensor besides z that a gradient may have to reach."""
        context = () if self.context is None else self.context.tensors()
        tensors = (*self.parameters(), self.t0, self.width, *context)
        return tuple(p for p in tensors if p.requires_grad)


def _slopes(dynamics: VectorField, times: Tensor, states: Tensor, context: Context | None) -> Tensor:
    """dz/dt at all knots by one call: rows are laid out knot after knot."""
    rows, knots = times.shape
    repeated = None if context is None else context.repeat(knots)
    flat = dynamics(
        times.transpose(0, 1).reshape(-1),
        states.transpose(0, 1).reshape(rows * knots, -1),
        repeated,
    )
    return flat.reshape(knots, rows, -1).transpose(0, 1)


def _check_shapes(z0: Tensor, t0: Tensor, t1: Tensor) -> None:
    if z0.ndim != 2 or t0.shape != (len(z0),) or t1.shape != (len(z0),):
        raise SolveError(
            f"z0 has shape {tuple(z0.shape)}, t0 {tuple(t0.shape)}, t1 {tuple(t1.shape)}; expected "
            "(rows, latent), (rows,), (rows,)"
        )


def _check_finite(states: Tensor, times: Tensor) -> None:
    finite = torch.isfinite(states).all(dim=2)
    if finite.all():
        return
    row, knot = (int(i) for i in (~finite).nonzero()[0])
    raise SolveError(
        f"the state of row {row} is not finite from time {times[row, knot].item():g} on; take more "
        "steps, bound the dynamics, or lower the learning rate if this happens in training"
    )
