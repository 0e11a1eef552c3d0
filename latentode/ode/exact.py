r"""Closed-form solutions: knots and every time between them by the solution itself.

Where dynamics know their solution (`ClosedForm`), a solve needs no steps, and a trajectory carries a
knot on to a time instead of interpolating, exact at any time. Each knot keeps the force that acts in
its piece, so that paths may be joined where a control jumps. Between two knots the path is carried from
the one that the solve came from, also after `reverse`: carrying a decayed mode back would lose it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import torch
from torch import Tensor

from latentode.errors import SolveError
from latentode.ode.checks import check_slope
from latentode.ode.context import Context, known_path
from latentode.ode.fields.closed_form import ClosedForm
from latentode.ode.kernels import closed_form
from latentode.ode.kernels.hermite import locate
from latentode.ode.trajectory import NOTHING, Stats, Trajectory

__all__ = ["ClosedFormTrajectory", "solve_exactly"]


@dataclass(frozen=True)
class ClosedFormTrajectory(Trajectory):
    """A path of dynamics with a closed form.

    Args:
        times: knots, ascending or descending along each row, shape `(rows, knots)`.
        states: z at the knots, shape `(rows, knots, latent)`.
        dynamics: whose solution it is.
        anchor: which of its two knots each stretch between knots is carried from, 0 the first and 1
            the second, shape `(knots - 1,)`, int32.
        force: what drives each row in the piece of each knot, shape `(rows, knots, latent)`; None for
            nothing.
        stats: what the solve took.
    """

    times: Tensor
    states: Tensor
    dynamics: ClosedForm
    anchor: Tensor
    force: Tensor | None = None
    stats: Stats = NOTHING
    knotwise: ClassVar[tuple[str, ...]] = ("states", "force")

    def at(self, rows: Tensor, times: Tensor) -> Tensor:
        knot = self._anchored(rows, times)
        elapsed = times - self.times.reshape(-1).index_select(0, knot)
        z = self.states.flatten(0, 1).index_select(0, knot)
        return self.dynamics.carry(z, elapsed[:, None], self._force(knot)).squeeze(1)

    def derivative_at(self, rows: Tensor, times: Tensor) -> Tensor:
        force = self._force(self._anchored(rows, times))
        return self.dynamics.slope(self.at(rows, times), force)

    def panel(self, rows: Tensor) -> Tensor:
        apart = self.times.detach().diff(dim=1).abs()[rows]
        # Over the inverse of the fastest rate three points are exact to about a millionth.
        rate = self.dynamics.fastest_rate(self.states[:, 0]).detach()[rows]
        return torch.minimum(apart, 1 / rate[:, None])

    def join(self, *later: Trajectory, kinks: bool = False) -> Self:
        """As for any path; both knots where two meet are kept, each with the force of its own piece."""
        paths = [cast(ClosedFormTrajectory, path) for path in later]
        if any(type(path) is type(self) and path.dynamics is not self.dynamics for path in paths):
            raise SolveError("paths of different dynamics are not joined; solve both with the same")
        forced = any(getattr(path, "force", None) is not None for path in (self, *paths))
        first, *others = [path._forced() if forced else path for path in (self, *paths)]
        joined = cast(ClosedFormTrajectory, Trajectory.join(first, *others, kinks=True))
        meeting = self.anchor.new_zeros(1)
        anchors = [part for path in paths for part in (meeting, path.anchor)]
        return cast(Self, replace(joined, anchor=torch.cat([self.anchor, *anchors])))

    def reverse(self) -> Self:
        return replace(super().reverse(), anchor=1 - self.anchor.flip(0))

    def _forced(self) -> ClosedFormTrajectory:
        """The same path with a force of zero in the place of none."""
        return self if self.force is not None else replace(self, force=torch.zeros_like(self.states))

    def _anchored(self, rows: Tensor, times: Tensor) -> Tensor:
        """The knot that each time is carried from, knots numbered row after row."""
        cell = locate(self.times, rows, times)[0]
        return cell + self.anchor.index_select(0, cell - rows.int() * self.times.shape[1])

    def _force(self, knot: Tensor) -> Tensor | None:
        return None if self.force is None else self.force.flatten(0, 1).index_select(0, knot)


def solve_exactly(
    dynamics: object, z0: Tensor, times: Tensor, context: Context | None
) -> ClosedFormTrajectory:
    """The path through knots at `times` of shape `(rows, knots)`, the first those of z0.

    Raises:
        SolveError: for dynamics without a closed form, or driven by a path that is no step control.
    """
    field = closed_form(dynamics)
    if field is None:
        reason = "has none"
        if isinstance(dynamics, ClosedForm):
            reason = "has one that its own forward or a hook may contradict"
        raise SolveError(
            f"method 'exact' is for LinearDynamics, CompartmentDynamics and others with a closed form; "
            f"{type(dynamics).__name__} {reason}, choose rk38"
        )
    known = None if context is None else context.at(times[:, 0])
    force = field.force(known)
    control = None if context is None else context.control
    path = known_path(control)
    if force is not None and control is not None and (path is None or path.times.shape[1] > 1):
        raise SolveError(
            "method 'exact' knows a drive that holds from jump to jump, as a StepControl does (and not "
            "where the solve is compiled); for any other control path choose rk38"
        )
    n = times.shape[1]
    if force is not None:
        check_slope(field.force, force, z0)
    states = field.carry(z0, times - times[:, :1], force)
    check_slope(field.carry, states, z0[:, None].expand(-1, n, -1))
    states = torch.cat([z0[:, None], states[:, 1:]], dim=1)
    force = None if force is None else force[:, None].expand(-1, n, -1)
    anchor = torch.zeros(n - 1, dtype=torch.int32, device=times.device)
    return ClosedFormTrajectory(times, states, field, anchor, force, Stats(0, n - 1))
