r"""Trajectory: the solution as a function of time, evaluated anywhere in its span.

Between two knots $t_a, t_b$ with states $z_a, z_b$ and slopes $f_a, f_b$ it is the cubic Hermite
polynomial in $u = (t - t_a)/(t_b - t_a)$,

$$z(t) = (1+2u)(1-u)^2 z_a + u^2(3-2u) z_b + (t_b-t_a)\,[u(1-u)^2 f_a - u^2(1-u) f_b],$$

fourth-order accurate (Hairer, Norsett and Wanner, *Solving ODEs I*, II.6). So the cost of a solve
does not depend on how many times are asked for, and asking for one more changes no other answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import linear

from latentode.errors import SolveError
from latentode.ode.kernels.compiled_arrays import readable
from latentode.ode.kernels.compiled_hermite import interpolate
from latentode.ode.kernels.hermite import bracket, hermite

__all__ = ["Stats", "Trajectory", "check_finite"]


@dataclass(frozen=True)
class Stats:
    """What a solve took. All rows of a batch take the same steps, so these are of every row.

    Args:
        evaluations: calls of the vector field, each for all rows.
        steps: steps taken.
        rejected: steps of an adaptive method that were tried and not taken.
    """

    evaluations: int = 0
    steps: int = 0
    rejected: int = 0

    def __add__(self, other: Stats) -> Stats:
        return Stats(
            self.evaluations + other.evaluations,
            self.steps + other.steps,
            self.rejected + other.rejected,
        )


@dataclass(frozen=True)
class Trajectory:
    """A path per row through its own knots.

    Args:
        times: knots, ascending or descending along each row, shape `(rows, knots)`.
        states: z at the knots, shape `(rows, knots, latent)`.
        slopes: dz/dt at the knots, shape `(rows, knots, latent)`.
        stats: what the solve took.
    """

    times: Tensor
    states: Tensor
    slopes: Tensor
    stats: Stats = Stats()

    @property
    def final(self) -> Tensor:
        """z at the end of each row's span, shape `(rows, latent)`."""
        return self.states[:, -1]

    def __call__(self, times: Tensor) -> Tensor:
        """z at `times` of shape `(rows, queries)`, each in its row's span.

        Returns:
            Shape `(rows, queries, latent)`.

        Raises:
            SolveError: if a time lies outside its row's span; the message names both.
        """
        rows, flat = self._flat(times)
        return self.at(rows, flat).reshape(*times.shape, -1)

    def derivative(self, times: Tensor) -> Tensor:
        """dz/dt of the interpolant at `times`, shapes as for a call.

        It is the derivative of the polynomial, third-order accurate; where the exact slope of the
        model matters, call the vector field at `self(times)`.
        """
        rows, flat = self._flat(times)
        return self.derivative_at(rows, flat).reshape(*times.shape, -1)

    def derivative_at(self, rows: Tensor, times: Tensor) -> Tensor:
        """dz/dt of the interpolant at flat (row, time) pairs, unchecked; shapes as for `at`."""
        cell, u, width, inverse = self._locate(rows, times)
        states, slopes = self.states.flatten(0, 1), self.slopes.flatten(0, 1)
        za, zb = states[cell], states[cell + 1]
        fa, fb = slopes[cell], slopes[cell + 1]
        u, width = u[:, None], width[:, None]
        chord = (zb - za) * inverse[:, None]
        slope = 6 * u * (1 - u) * chord + (1 - u) * (1 - 3 * u) * fa + u * (3 * u - 2) * fb
        return torch.where(width == 0, fa, slope)

    def at(self, rows: Tensor, times: Tensor) -> Tensor:
        """z at flat (row, time) pairs: the unchecked form for callers that know their spans.

        Args:
            rows: shape `(queries,)`.
            times: shape `(queries,)`; beyond a row's span its outermost polynomial goes on.

        Returns:
            Shape `(queries, latent)`.
        """
        moving = torch.is_grad_enabled() and (times.requires_grad or self.times.requires_grad)
        if not moving and readable(self.times, self.states, self.slopes, times):
            return interpolate(self.times, self.states, self.slopes, rows, times)
        cell, u, width, _ = self._locate(rows, times)
        return hermite(self.states.flatten(0, 1), self.slopes.flatten(0, 1), cell, u, width)

    def check_finite(self) -> Trajectory:
        """This path, if every state on it is finite. Native solves leave this check to the caller.

        Raises:
            SolveError: naming the first row that is not and the time it begins.
        """
        check_finite(self.times, self.states)
        return self

    def join(self, *later: Trajectory, kinks: bool = False) -> Trajectory:
        """This path followed by others, each begun where the one before ends, all one way in time.

        Args:
            later: the others.
            kinks: whether the slope may jump where two paths meet: then both knots are kept, the one
                with the slope from the left and the one with that to the right.
        """
        first = 0 if kinks else 1
        return replace(
            self,
            times=torch.cat([self.times, *(p.times[:, first:] for p in later)], dim=1),
            states=torch.cat([self.states, *(p.states[:, first:] for p in later)], dim=1),
            slopes=torch.cat([self.slopes, *(p.slopes[:, first:] for p in later)], dim=1),
            stats=sum((p.stats for p in later), self.stats),
        )

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Trajectory:
        """The path of W z + b. Interpolation is linear too, so the map is applied to the knots alone.

        Where few numbers are read out of a large state at many times, this costs a fraction of
        `linear(path(times), weight, bias)`, and is equal to it up to rounding.

        Args:
            weight: shape `(out, latent)`.
            bias: shape `(out,)`, or None.

        Raises:
            SolveError: for the path of a closed form, which is no polynomial between its knots.
        """
        states, slopes = linear(self.states, weight, bias), linear(self.slopes, weight)
        return replace(self, states=states, slopes=slopes)

    def reverse(self) -> Trajectory:
        """The same path with its knots in the opposite order."""
        return replace(
            self,
            times=self.times.flip(1),
            states=self.states.flip(1),
            slopes=self.slopes.flip(1),
        )

    def _locate(self, rows: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The cell of the knot before each time, the position after it in [0, 1], the width, 1 / it.

        Knots are numbered row after row.
        """
        cell = rows.int() * self.times.shape[1] + bracket(self.times, rows, times)
        knots = self.times.reshape(-1)
        start = knots.index_select(0, cell)
        width = knots.index_select(0, cell + 1) - start
        # A span of no length has one state; dividing by one instead of zero keeps gradients finite.
        inverse = 1 / torch.where(width == 0, torch.ones_like(width), width)
        return cell, (times - start) * inverse, width, inverse

    def _flat(self, times: Tensor) -> tuple[Tensor, Tensor]:
        if times.ndim != 2 or len(times) != len(self.times):
            raise SolveError(
                f"times has shape {tuple(times.shape)}, expected (rows, queries) with "
                f"{len(self.times)} rows"
            )
        low = torch.minimum(self.times[:, 0], self.times[:, -1])[:, None]
        high = torch.maximum(self.times[:, 0], self.times[:, -1])[:, None]
        outside = (times < low) | (times > high) | ~torch.isfinite(times)
        if outside.any():
            row, query = (int(i) for i in outside.nonzero()[0])
            raise SolveError(
                f"time {times[row, query].item():g} of row {row} lies outside its span "
                f"[{low[row].item():g}, {high[row].item():g}]; solve over a longer span"
            )
        rows = torch.arange(len(times), device=times.device).repeat_interleave(times.shape[1])
        return rows, times.reshape(-1)


def check_finite(times: Tensor, states: Tensor) -> None:
    """Raises unless every state is finite.

    Args:
        times: shape `(rows, knots)`.
        states: shape `(rows, knots, latent)`.

    Raises:
        SolveError: naming the first row that is not and the time it begins.
    """
    finite = torch.isfinite(states).all(dim=2)
    if finite.all():
        return
    row, knot = (int(i) for i in (~finite).nonzero()[0])
    raise SolveError(
        f"the state of row {row} is not finite from time {times[row, knot].item():g} on; take more "
        "steps, bound the dynamics, or lower the learning rate if this happens in training"
    )
