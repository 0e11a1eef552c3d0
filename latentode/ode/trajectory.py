r"""Trajectory: the solution as a function of time, evaluated anywhere in its span.

A trajectory answers three questions: the values z(t), their slopes dz/dt, and how finely an integral
along it has to look. There are two kinds. A `HermiteTrajectory` is a cubic between two knots $t_a, t_b$
with states $z_a, z_b$ and slopes $f_a, f_b$; in $u = (t - t_a)/(t_b - t_a)$

$$z(t) = (1+2u)(1-u)^2 z_a + u^2(3-2u) z_b + (t_b-t_a)\,[u(1-u)^2 f_a - u^2(1-u) f_b],$$

fourth-order accurate (Hairer, Norsett and Wanner, *Solving ODEs I*, II.6). A `ClosedFormTrajectory` is
the solution itself. Either way the cost of a solve does not depend on how many times are asked for, and
asking for one more changes no other answer.

Integrals of a function of the state,
$\int_a^b g(z(t))\,dt \approx \sum_{\text{panels}} h \sum_{j=1}^{3} w_j\, g(z(t_a + u_j h))$, are by
Gauss-Legendre quadrature with three points in panels as fine as the trajectory asks for: exact where
$g \circ z$ is a polynomial of degree five in a panel. They cost evaluations of g, none of the vector
field, and differentiate like any sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import linear

from latentode.errors import SolveError
from latentode.ode.checks import (
    check_bounds,
    check_finite,
    check_inside,
    check_integrand,
    check_meeting,
)
from latentode.ode.kernels import hermite, interpolate

__all__ = ["POINTS", "WEIGHTS", "HermiteTrajectory", "Stats", "Trajectory", "integrate"]

# Gauss and Legendre's points on [0, 1] and their weights.
POINTS = (0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5)
WEIGHTS = (5 / 18, 8 / 18, 5 / 18)
# Between two knots, so that a rate that has run away asks for no more memory than there is.
MOST_PANELS = 256


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


NOTHING = Stats()


class Trajectory(ABC):
    """A path per row through its own knots; each kind is a frozen dataclass.

    Attributes:
        times: knots, ascending or descending along each row, shape `(rows, knots)`.
        states: z at the knots, shape `(rows, knots, latent)`.
        stats: what the solve took.
        knotwise: names of the fields of shape `(rows, knots, ...)` besides `times`; a field that is
            None is left out.
    """

    times: Tensor
    states: Tensor
    stats: Stats
    knotwise: ClassVar[tuple[str, ...]]

    @abstractmethod
    def at(self, rows: Tensor, times: Tensor) -> Tensor:
        """z at flat (row, time) pairs: the unchecked form for callers that know their spans.

        Args:
            rows: shape `(queries,)`.
            times: shape `(queries,)`; beyond a row's span its outermost piece goes on.

        Returns:
            Shape `(queries, latent)`.
        """

    @abstractmethod
    def panel(self, rows: Tensor) -> Tensor:
        """How finely an integral has to look: the widest panel in which three points see a path.

        Args:
            rows: shape `(n,)`.

        Returns:
            Between any two neighbouring knots of these rows, in units of time, shape `(n, knots - 1)`.
        """

    def derivative_at(self, rows: Tensor, times: Tensor) -> Tensor:
        """dz/dt at flat (row, time) pairs, unchecked; shapes as for `at`, whose derivative it is."""
        return torch.func.jvp(lambda t: self.at(rows, t), (times,), (torch.ones_like(times),))[1]

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
        return self._each(self.at, times)

    def derivative(self, times: Tensor) -> Tensor:
        """dz/dt of the path at `times`, shapes as for a call.

        Of a cubic it is third-order accurate; where the exact slope of the model matters, call the
        vector field at `self(times)`.
        """
        return self._each(self.derivative_at, times)

    def check_finite(self) -> Self:
        """This path, if every state on it is finite. Native solves leave this check to the caller.

        Raises:
            SolveError: naming the first row that is not and the time it begins.
        """
        check_finite(self.times, self.states)
        return self

    def join(self, *later: Trajectory, kinks: bool = False) -> Self:
        """This path followed by others, each begun where the one before ends, all one way in time.

        Args:
            later: the others, of the same kind.
            kinks: whether the slope may jump where two paths meet: then both knots are kept, the one
                with the slope from the left and the one with that to the right.

        Raises:
            SolveError: if the others are of another kind, or begin elsewhere.
        """
        for before, path in pairwise((self, *later)):
            if type(path) is not type(self):
                raise SolveError(
                    f"a {type(self).__name__} is joined to paths of its own kind, not to a "
                    f"{type(path).__name__}; solve both with one method"
                )
            check_meeting(before.times, path.times)
        first = 0 if kinks else 1

        def joined(name: str) -> Tensor:
            parts = (getattr(path, name)[:, first:] for path in later)
            return torch.cat([getattr(self, name), *parts], dim=1)

        fields = {name: joined(name) for name in self._at_knots()}
        return self._with(fields, stats=sum((path.stats for path in later), self.stats))

    def reverse(self) -> Self:
        """The same path with its knots in the opposite order."""
        return self._with({name: getattr(self, name).flip(1) for name in self._at_knots()})

    def unfold(self, folded: int) -> Trajectory:
        """The paths of several states that lie side by side in one row, each as a row of its own.

        Args:
            folded: how many, one after another.

        Raises:
            SolveError: if this kind of path cannot be taken apart.
        """
        if folded == 1:
            return self
        raise SolveError(f"a {type(self).__name__} is one of its whole state and has no parts")

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Trajectory:
        """The path of W z + b, where that can be had from the knots alone.

        Where few numbers are read out of a large state at many times, this costs a fraction of
        `linear(path(times), weight, bias)`, and is equal to it up to rounding.

        Args:
            weight: shape `(out, latent)`.
            bias: shape `(out,)`, or None.

        Raises:
            SolveError: for a path that is no polynomial between its knots.
        """
        raise SolveError(
            f"a {type(self).__name__} is no polynomial between its knots: apply the map to path(times)"
        )

    def _at_knots(self) -> tuple[str, ...]:
        return ("times", *(name for name in self.knotwise if getattr(self, name) is not None))

    def _with(self, fields: dict[str, Tensor], **others: object) -> Self:
        return replace(self, **fields, **others)  # type: ignore[type-var]

    def _each(self, answer: Callable[[Tensor, Tensor], Tensor], times: Tensor) -> Tensor:
        check_inside(self.times, times)
        rows = torch.arange(len(times), device=times.device).repeat_interleave(times.shape[1])
        return answer(rows, times.reshape(-1)).reshape(*times.shape, self.states.shape[2])


@dataclass(frozen=True)
class HermiteTrajectory(Trajectory):
    """A cubic between any two knots.

    Args:
        times: knots, ascending or descending along each row, shape `(rows, knots)`.
        states: z at the knots, shape `(rows, knots, latent)`.
        slopes: dz/dt at the knots, shape `(rows, knots, latent)`.
        stats: what the solve took.
    """

    times: Tensor
    states: Tensor
    slopes: Tensor
    stats: Stats = NOTHING
    knotwise: ClassVar[tuple[str, ...]] = ("states", "slopes")

    def at(self, rows: Tensor, times: Tensor) -> Tensor:
        return interpolate(self.times, self.states, self.slopes, rows, times)

    def derivative_at(self, rows: Tensor, times: Tensor) -> Tensor:
        return hermite.slope(self.times, self.states, self.slopes, rows, times)

    def panel(self, rows: Tensor) -> Tensor:
        return self.times.detach().diff(dim=1).abs()[rows]

    def unfold(self, folded: int) -> HermiteTrajectory:
        def apart(x: Tensor) -> Tensor:
            return x.unflatten(2, (folded, x.shape[2] // folded)).transpose(1, 2).flatten(0, 1)

        if folded == 1:
            return self
        if folded < 1 or self.states.shape[2] % folded:
            raise SolveError(
                f"a state of {self.states.shape[2]} numbers is not of {folded} alike parts"
            )
        times = self.times.repeat_interleave(folded, dim=0)
        return replace(self, times=times, states=apart(self.states), slopes=apart(self.slopes))

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> HermiteTrajectory:
        states, slopes = linear(self.states, weight, bias), linear(self.slopes, weight)
        return replace(self, states=states, slopes=slopes)


def integrate(
    path: Trajectory,
    integrand: Callable[[Tensor, Tensor], Tensor],
    rows: Tensor,
    start: Tensor,
    end: Tensor,
) -> Tensor:
    """Integrates along rows of a path, each from its own start to its own end.

    Args:
        path: the trajectory.
        integrand: from rows `(points,)` and states `(points, latent)` to values `(points, k)`.
        rows: which row each integral runs along, shape `(integrals,)`.
        start: where it begins, inside the row's span, shape `(integrals,)`.
        end: where it ends, inside the span; where it is earlier, the integral is minus that from
            `end` to `start`.

    Returns:
        Shape `(integrals, k)`.

    Raises:
        SolveError: if rows and bounds are not as many, a bound lies outside its row's span by more than
            rounding, or the integrand's values are not of that shape.

    Example:
        >>> times = torch.tensor([[0.0, 1.0, 2.0]])
        >>> line = HermiteTrajectory(times, times[..., None], torch.ones(1, 3, 1))
        >>> ends = torch.tensor([1.5, 2.0])
        >>> integrate(line, lambda rows, z: z, torch.tensor([0, 0]), ends * 0, ends).squeeze(1)
        tensor([1.1250, 2.0000])
    """
    check_bounds(path.times, rows, start, end)
    low, high = start.minimum(end), start.maximum(end)
    owner, begin, width = _panels(path, rows, low, high)
    times = begin[:, None] + width[:, None] * width.new_tensor(POINTS)
    along = rows[owner].repeat_interleave(len(POINTS))
    values = integrand(along, path.at(along, times.reshape(-1)))
    check_integrand(values, len(along))
    each = values.reshape(len(owner), len(POINTS), values.shape[1]) * width.new_tensor(WEIGHTS)[:, None]
    sums = each.sum(dim=1) * torch.where(end < start, -1.0, 1.0).to(width)[owner, None] * width[:, None]
    return sums.new_zeros(len(rows), sums.shape[1]).index_add(0, owner, sums)


def _panels(
    path: Trajectory, rows: Tensor, start: Tensor, end: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Which integral each panel belongs to, where it begins and how wide it is, `(panels,)` each."""
    knots = path.times[rows]
    early, late = knots[:, :-1].minimum(knots[:, 1:]), knots[:, :-1].maximum(knots[:, 1:])
    begin = early.maximum(start[:, None])
    width = late.minimum(end[:, None]) - begin
    # Only cells that the integral runs through are looked at.
    owner, cell = (width > 0).nonzero(as_tuple=True)
    begin, width = begin[owner, cell], width[owner, cell]
    panels = width.detach() / path.panel(rows)[owner, cell]
    # A hundredth more than a whole number is rounding, not another panel.
    count = (panels - 0.01).ceil().clamp(1, MOST_PANELS).nan_to_num(nan=1.0).long()
    place = torch.arange(int(count.sum()), device=count.device)
    place = place - (count.cumsum(0) - count).repeat_interleave(count)
    each = (width / count).repeat_interleave(count)
    return owner.repeat_interleave(count), begin.repeat_interleave(count) + place * each, each
