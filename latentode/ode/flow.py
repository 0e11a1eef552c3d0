r"""Closed-form solutions: knots and every time between them by the flow itself.

Where dynamics know their flow $\phi_{\Delta t}$ (`LinearDynamics`), a solve needs no steps, and a
trajectory carries the knot before a time on to it instead of interpolating, exact at any time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.linear import LinearDynamics
from latentode.ode.trajectory import Stats, Trajectory

__all__ = ["Flow", "solve_exactly"]


@dataclass(frozen=True)
class Flow(Trajectory):
    """A path of dynamics with a closed form.

    Args:
        dynamics: whose flow it is.
        force: what drives each row, shape `(rows, latent)`; None for nothing.
    """

    dynamics: LinearDynamics | None = None
    force: Tensor | None = None

    def at(self, rows: Tensor, times: Tensor) -> Tensor:
        cell, _, _, _ = self._locate(rows, times)
        elapsed = times - self.times.reshape(-1).index_select(0, cell)
        force = None if self.force is None else self.force.index_select(0, rows)
        assert self.dynamics is not None
        z = self.states.flatten(0, 1).index_select(0, cell)
        return self.dynamics.carry(z, elapsed[:, None], force).squeeze(1)

    def derivative(self, times: Tensor) -> Tensor:
        rows, _ = self._flat(times)
        z = self(times).flatten(0, 1)
        assert self.dynamics is not None
        slope = self.dynamics(times.reshape(-1), z)
        if self.force is not None:
            slope = slope + self.force.index_select(0, rows)
        return slope.reshape(*times.shape, -1)


def solve_exactly(dynamics: object, z0: Tensor, times: Tensor, context: Context | None) -> Trajectory:
    """The path through knots at `times` of shape `(rows, knots)`, the first those of z0.

    Raises:
        SolveError: for dynamics without a closed form, or driven by a control path.
    """
    if not isinstance(dynamics, LinearDynamics):
        raise SolveError(
            f"method 'exact' is for LinearDynamics, which has a closed form; {type(dynamics).__name__} "
            "has none, choose rk38"
        )
    if dynamics.drive is not None and context is not None and context.control is not None:
        raise SolveError(
            "method 'exact' knows a drive that stays fixed; for a control path choose rk38"
        )
    states = dynamics.flow(z0, times - times[:, :1], context)
    states = torch.cat([z0[:, None], states[:, 1:]], dim=1)
    force = dynamics.force(context)
    slopes = dynamics(times[:, 0].repeat_interleave(times.shape[1]), states.flatten(0, 1))
    slopes = slopes.view_as(states) if force is None else slopes.view_as(states) + force[:, None]
    return Flow(times, states, slopes, Stats(0, times.shape[1] - 1), dynamics, force)
