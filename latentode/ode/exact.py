r"""Closed-form solutions: knots and every time between them by the flow itself.

Where dynamics know their flow $\phi_{\Delta t}$ (`ClosedForm`), a solve needs no steps, and a
trajectory carries the knot before a time on to it instead of interpolating, exact at any time. Each
knot keeps the force that acts from it on, so that a path may be joined where a control jumps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.fields.closed_form import ClosedForm
from latentode.ode.trajectory import Stats, Trajectory

__all__ = ["Flow", "solve_exactly"]


@dataclass(frozen=True)
class Flow(Trajectory):
    """A path of dynamics with a closed form.

    Args:
        dynamics: whose flow it is.
        force: what drives each row around each knot, shape `(rows, knots, latent)`; None for nothing.
    """

    dynamics: ClosedForm | None = None
    force: Tensor | None = None

    def at(self, rows: Tensor, times: Tensor) -> Tensor:
        cell, _, _, _ = self._locate(rows, times)
        elapsed = times - self.times.reshape(-1).index_select(0, cell)
        assert self.dynamics is not None
        z = self.states.flatten(0, 1).index_select(0, cell)
        return self.dynamics.carry(z, elapsed[:, None], self._force(cell)).squeeze(1)

    def derivative(self, times: Tensor) -> Tensor:
        rows, flat = self._flat(times)
        cell, _, _, _ = self._locate(rows, flat)
        assert self.dynamics is not None
        slope = self.dynamics.slope(self.at(rows, flat), self._force(cell))
        return slope.reshape(*times.shape, -1)

    def join(self, *later: Trajectory, kinks: bool = False) -> Trajectory:
        joined = super().join(*later, kinks=kinks)
        if self.force is None:
            return joined
        forces = [cast(Tensor, cast(Flow, path).force) for path in later]
        first = 0 if kinks else 1
        return replace(
            cast(Flow, joined), force=torch.cat([self.force, *(f[:, first:] for f in forces)], dim=1)
        )

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Trajectory:
        """Not to be had: between knots this path is the flow itself, and no polynomial."""
        raise SolveError("this path is exact between its knots, too: apply the map to path(times)")

    def reverse(self) -> Trajectory:
        force = None if self.force is None else self.force.flip(1)
        return replace(cast(Flow, super().reverse()), force=force)

    def _force(self, cell: Tensor) -> Tensor | None:
        return None if self.force is None else self.force.flatten(0, 1).index_select(0, cell)


def solve_exactly(dynamics: object, z0: Tensor, times: Tensor, context: Context | None) -> Trajectory:
    """The path through knots at `times` of shape `(rows, knots)`, the first those of z0.

    Raises:
        SolveError: for dynamics without a closed form, or driven by a path that is no step control.
    """
    if not isinstance(dynamics, ClosedForm):
        raise SolveError(
            f"method 'exact' is for LinearDynamics and CompartmentDynamics, which have a closed form; "
            f"{type(dynamics).__name__} has none, choose rk38"
        )
    known = None if context is None else context.at(times[:, 0])
    force = dynamics.force(known)
    control = None if context is None else context.control
    if force is not None and control is not None and control.times.shape[1] > 1:
        raise SolveError(
            "method 'exact' knows a drive that holds from jump to jump, as a StepControl does (and not "
            "where the solve is compiled); for any other control path choose rk38"
        )
    n = times.shape[1]
    states = dynamics.carry(z0, times - times[:, :1], force)
    states = torch.cat([z0[:, None], states[:, 1:]], dim=1)
    force = None if force is None else force[:, None].expand(-1, n, -1)
    flat = None if force is None else force.flatten(0, 1)
    slopes = dynamics.slope(states.flatten(0, 1), flat).view_as(states)
    return Flow(times, states, slopes, Stats(0, n - 1), dynamics, force)
