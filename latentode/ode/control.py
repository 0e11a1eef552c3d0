r"""Control paths u(t), known in advance along a row's time, and their means over the nodes of a solve.

A `StepControl` holds each value until the next, a `LinearControl` is straight between its values. A
fixed-step method looks at a path at its nodes $t_j$ only, with weights $w_j$, so that a short pulse
between two nodes would be lost. Both paths are therefore replaced, over the span of a solve, by one
value per node whose weighted sum is the integral, $\sum_j w_j \bar u_j = \int u\,dt$.

A step control is given by its means $m_j$ over windows as long as the weights. A linear control in a
step from a to b is given by its values at the nodes plus what they miss of its integral,

$$c_j = u(t_j) + \frac{1}{W} \Big(\int_a^b u\,dt - \sum_i w_i u(t_i)\Big), \qquad
  \bar u_j = m_j + \theta\,(c_j - m_j),$$

W being the weight of the nodes within the step, which alone are moved. Where the nodes see the path
well, $c_j$ differs from $u(t_j)$ by the method's own error. $\theta \in [0, 1]$ is the largest fraction
at which no value leaves the range of the path in the step: it is 1 but for pulses at a node.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from latentode.ode.tableau import Windows

__all__ = ["ControlPath", "LinearControl", "StepControl"]


class ControlPath(Protocol):
    """Whatever says its values at times: all that a vector field asks of a control path."""

    def at(self, t: Tensor) -> Tensor:
        """The values at `t` of shape `(rows,)`: shape `(rows, controls)`."""
        ...


Path = TypeVar("Path", "StepControl", "LinearControl")


@dataclass(frozen=True)
class StepControl:
    """A path that holds each value until the next one is known: u(t) = value at the last time <= t.

    Before the first time the first value holds. Padding repeats a row's last time and value, so it
    changes nothing.

    Args:
        times: when each value begins, ascending along a row, shape `(rows, changes)`.
        values: shape `(rows, changes, controls)`.
    """

    times: Tensor
    values: Tensor

    def at(self, t: Tensor) -> Tensor:
        """The values in force at `t` of shape `(rows,)`: shape `(rows, controls)`."""
        index = (self.times <= t[:, None]).sum(dim=1).sub(1).clamp(min=0)
        return self.values[torch.arange(len(t), device=t.device), index]

    def of_rows(self, row: Tensor, t: Tensor) -> Tensor:
        """The values in force in `row` at `t`, both `(n,)`: `(n, controls)`, by bisection."""
        changes = self.times.shape[1]
        low, high = torch.zeros_like(row), torch.full_like(row, changes - 1)
        for _ in range(changes.bit_length()):
            middle = (low + high + 1) // 2
            begun = self.times[row, middle] <= t
            low, high = torch.where(begun, middle, low), torch.where(begun, high, middle - 1)
        return self.values[row, low]

    def along(self, times: Tensor) -> Tensor:
        """`at` for each of `times`, shape `(n, rows)`: shape `(n, rows, controls)`."""
        index = _last(self.times, times.detach().T)
        found = self.values.gather(1, index[..., None].expand(-1, -1, self.values.shape[2]))
        return found.transpose(0, 1)

    def averaged(self, t0: Tensor, t1: Tensor, windows: Windows) -> StepControl:
        r"""The path by its means over windows of a span, each in force around the window's node.

        Over a window $[a, b]$ that holds the jumps $\tau_k$ of size $\Delta_k$ the mean is
        $u(a) + \sum_k \Delta_k (b - \tau_k)/(b - a)$. So a path that stays is left as it is, bit for
        bit, and the sum of a solve's evaluations is the integral of the path.

        Args:
            t0: shape `(rows,)`.
            t1: shape `(rows,)`, later or earlier.
            windows: of the solve's nodes.
        """
        begin, width = t0.double()[:, None], (t1.double() - t0.double())[:, None]
        low, high = begin + width * windows.begins, begin + width * windows.ends
        means, back = self._means(low, high).to(self.values), width < 0
        starts = begin + width * torch.where(back, windows.starts_back, windows.starts)
        means = torch.where(back[..., None], means.flip(1), means)
        return StepControl(starts.detach().to(self.times), means)

    def _means(self, begin: Tensor, end: Tensor) -> Tensor:
        """Means from `begin` to `end`, `(rows, windows)` in double precision; at a point the value."""
        low, high = begin.minimum(end), begin.maximum(end)
        # Relative to the span, and no further off than it: what happened long ago has no rounding.
        origin = low.amin(dim=1, keepdim=True)
        times = self.times.double() - origin
        inside = times.minimum(high.amax(dim=1, keepdim=True) - origin).clamp(min=0)[:, 1:, None]
        values = self.values.double()
        moments = pad((values.diff(dim=1) * inside).cumsum(dim=1), (0, 0, 1, 0))

        def last(bound: Tensor) -> Tensor:
            found = _last(times, (bound - origin).detach())
            return found[..., None].expand(-1, -1, values.shape[2])

        first, final = last(low), last(high)
        before, moved = values.gather(1, first), moments.gather(1, final) - moments.gather(1, first)
        rise = (values.gather(1, final) - before) * (high - origin)[..., None] - moved
        width = (high - low)[..., None]
        return before + rise / torch.where(width > 0, width, torch.ones_like(width))

    def jumps(self, t0: Tensor, t1: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Where the values change strictly between t0 and t1, in the order from t0 to t1.

        Args:
            t0: shape `(rows,)`.
            t1: shape `(rows,)`, later or earlier.
            most: a row with more jumps than this is left whole.

        Returns:
            Shape `(rows, n)`, n the most jumps of any other row; a row with fewer ends on its t1. And
            which rows are left whole, shape `(rows,)`.
        """
        return _inside(self.times, self._jumping(), t0, t1, most)

    def _jumping(self) -> Tensor:
        """Whether the value changes at each time, at the last of equal ones; `(rows, changes)`."""
        later = self.times[:, 1:] > self.times[:, :-1]
        ends = pad(later, (0, 1), value=True)
        place = torch.arange(self.times.shape[1], device=self.times.device)
        begin = torch.where(pad(later, (1, 0), value=True), place, 0).cummax(dim=1).values
        before = (begin - 1).clamp(min=0)[..., None].expand_as(self.values)
        return (self.values != self.values.gather(1, before)).any(dim=2) & ends

    def held(self, t: Tensor, whole: Tensor) -> StepControl:
        """The values in force at `t` of shape `(rows,)` for all time; rows left whole as they are."""
        times, values = t[:, None], self.at(t)[:, None]
        if not bool(whole.any()):
            return StepControl(times, values)
        return StepControl(
            torch.where(whole[:, None], self.times, times),
            torch.where(whole[:, None, None], self.values, values),
        )

    def repeat(self, n: int) -> Self:
        """The same rows `n` times over, copy by copy."""
        return _repeated(self, n)

    def select(self, rows: Tensor) -> Self:
        """The rows at these indices."""
        return dataclasses.replace(self, times=self.times[rows], values=self.values[rows])

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that a gradient may have to reach; moving a jump in time has none."""
        return (self.values,)

    def replace(self, tensors: Sequence[Tensor]) -> Self:
        """The same path with others in the place of `tensors()`."""
        return dataclasses.replace(self, values=tensors[0])


@dataclass(frozen=True)
class LinearControl:
    r"""A path through its values, straight between them: $u(t) = (1-\theta) u_k + \theta u_{k+1}$.

    Before the first time the first value holds, after the last the last: a known path is never
    extrapolated. Padding repeats a row's last time and value, so it changes nothing.

    Args:
        times: ascending along a row, shape `(rows, values)`, at least one.
        values: shape `(rows, values, controls)`.
    """

    times: Tensor
    values: Tensor

    def at(self, t: Tensor) -> Tensor:
        """The values at `t` of shape `(rows,)`: shape `(rows, controls)`."""
        row = torch.arange(len(t), device=t.device)
        k = (self.times <= t[:, None]).sum(dim=1).sub(1).clamp(min=0)
        after = (k + 1).clamp(max=self.times.shape[1] - 1)
        start, end = self.times[row, k], self.times[row, after]
        width = torch.where(end > start, end - start, torch.ones_like(end))
        theta = ((t - start) / width).clamp(0, 1)[:, None].to(self.values)
        return torch.lerp(self.values[row, k], self.values[row, after], theta)

    def along(self, times: Tensor) -> Tensor:
        """`at` for each of `times`, shape `(n, rows)`: shape `(n, rows, controls)`."""
        return torch.stack([self.at(t) for t in times])

    def averaged(self, t0: Tensor, t1: Tensor, windows: Windows) -> StepControl:
        """The path by one value per node of a solve, whose weighted sum is its integral.

        Args:
            t0: shape `(rows,)`.
            t1: shape `(rows,)`, later or earlier.
            windows: of the solve's nodes.
        """
        begin, width = t0.double()[:, None], (t1.double() - t0.double())[:, None]
        span = _Span.of(self, t0.double(), t1.double())
        values, places = span.at(width * windows.nodes), windows.places
        found = span.spread(values[:, places], width, windows).flatten(1, 2)
        weights = windows.weights.expand(places.shape).flatten()[:, None]
        total = weights.new_zeros(len(windows.nodes), 1).index_add(0, places.flatten(), weights)
        sums = torch.zeros_like(values).index_add(1, places.flatten(), weights * found)
        values = torch.where(total > 0, sums / torch.where(total > 0, total, 1.0), values)
        back = width < 0
        starts = begin + width * torch.where(back, windows.starts_back, windows.starts)
        values = torch.where(back[..., None], values.flip(1), values)
        return StepControl(starts.detach().to(self.times), values.to(self.values))

    def jumps(self, t0: Tensor, t1: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """The path's own times strictly between t0 and t1, where it may bend; see `StepControl`."""
        last = pad(self.times[:, 1:] > self.times[:, :-1], (0, 1), value=True)
        return _inside(self.times, last, t0, t1, most)

    def held(self, t: Tensor, whole: Tensor) -> LinearControl:
        """The path itself, which between two bends is smooth."""
        return self

    def repeat(self, n: int) -> Self:
        """The same rows `n` times over, copy by copy."""
        return _repeated(self, n)

    def select(self, rows: Tensor) -> Self:
        """The rows at these indices."""
        return dataclasses.replace(self, times=self.times[rows], values=self.values[rows])

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that a gradient may have to reach."""
        return (self.times, self.values)

    def replace(self, tensors: Sequence[Tensor]) -> Self:
        """The same path with others in the place of `tensors()`."""
        return dataclasses.replace(self, times=tensors[0], values=tensors[1])


@dataclass(frozen=True)
class _Span:
    """A linear control over a span, in double precision and in times since t0 in the span's direction.

    Args:
        times: ascending, from 0 to the length of the span, shape `(rows, values)`.
        values: at these times, shape `(rows, values, controls)`.
        areas: integrals up to these times, of the shape of `values`.
    """

    times: Tensor
    values: Tensor
    areas: Tensor

    @classmethod
    def of(cls, path: LinearControl, t0: Tensor, t1: Tensor) -> _Span:
        sign = torch.where(t1 < t0, -1.0, 1.0).to(t0)[:, None]
        times = sign * (path.times.double() - t0[:, None])
        values = path.values.double()
        times = torch.where(sign < 0, times.flip(1), times)
        values = torch.where(sign[..., None] < 0, values.flip(1), values)
        # What lies outside the span has no width in it, so that it has no rounding either.
        clamped = times.clamp(min=0).minimum((t1 - t0).abs()[:, None])
        values = _interpolated(times, values, clamped)
        heights = (values[:, 1:] + values[:, :-1]) / 2
        areas = pad((heights * clamped.diff(dim=1)[..., None]).cumsum(dim=1), (0, 0, 1, 0))
        return cls(clamped, values, areas)

    def at(self, elapsed: Tensor) -> Tensor:
        """Values at times since t0 of either sign, `(rows, n)`: shape `(rows, n, controls)`."""
        return _interpolated(self.times, self.values, elapsed.abs())

    def area(self, elapsed: Tensor) -> Tensor:
        """Integrals since t0, as lengths whatever the direction; shapes as for `at`."""
        elapsed = elapsed.abs()
        k = _last(self.times, elapsed.detach())
        k3 = k[..., None].expand(-1, -1, self.values.shape[2])
        heights = (self.values.gather(1, k3) + self.at(elapsed)) / 2
        return self.areas.gather(1, k3) + heights * (elapsed - self.times.gather(1, k))[..., None]

    def spread(self, looked: Tensor, width: Tensor, windows: Windows) -> Tensor:
        """The value of each node in each step, from those looked at.

        Shapes `(rows, steps, stages, controls)`.
        """
        weights, own, edges = windows.weights[:, None], windows.own, windows.edges
        areas = self.area(width * edges.flatten()).unflatten(1, edges.shape)
        lengths = (width.abs() * windows.weights)[:, None, :, None]
        wide = lengths > 0
        means = torch.where(wide, areas.diff(dim=2) / torch.where(wide, lengths, 1.0), looked)
        low, high = self._range(width * edges[:, 0], width * edges[:, -1])
        means = means.maximum(low).minimum(high)
        missed = ((means - looked) * weights).sum(dim=2, keepdim=True) / own.sum()
        away = looked + torch.where(own[:, None] > 0, missed, 0.0) - means
        room = torch.where(away > 0, high - means, means - low)
        beyond = away.abs() > room
        fraction = torch.where(beyond, room / torch.where(beyond, away.abs(), 1.0), 1.0)
        fraction = torch.where(weights > 0, fraction, 1.0).amin(dim=2, keepdim=True)
        return means + fraction * away

    def _range(self, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Least and largest values from begin to end, `(rows, steps, 1, controls)` each."""
        begin, end = begin.abs(), end.abs()
        ends = torch.stack([self.at(begin), self.at(end)], dim=2)
        times = self.times[:, None]
        inside = ((times >= begin[..., None]) & (times <= end[..., None]))[..., None]
        values = torch.where(inside, self.values[:, None], ends[:, :, :1])
        every = torch.cat([values, ends], dim=2)
        return every.amin(dim=2, keepdim=True), every.amax(dim=2, keepdim=True)


def _interpolated(times: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Straight between values at ascending times, held beyond them: shape `(rows, n, controls)`."""
    k = _last(times, at.detach())
    after = (k + 1).clamp(max=times.shape[1] - 1)
    start, end = times.gather(1, k), times.gather(1, after)
    theta = ((at - start) / torch.where(end > start, end - start, torch.ones_like(end))).clamp(0, 1)
    before, later = (values.gather(1, i[..., None].expand(-1, -1, values.shape[2])) for i in (k, after))
    return torch.lerp(before, later, theta[..., None])


def _inside(times: Tensor, marked: Tensor, t0: Tensor, t1: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The marked times strictly between t0 and t1, and which rows have more than `most` of them."""
    low, high = torch.minimum(t0, t1)[:, None], torch.maximum(t0, t1)[:, None]
    inside = marked & (times > low) & (times < high)
    whole = inside.sum(dim=1) > most
    inside &= ~whole[:, None]
    n = int(inside.sum(dim=1).max()) if len(inside) else 0
    sign = torch.where(t1 >= t0, 1.0, -1.0).to(times)[:, None]
    found = torch.where(inside, sign * times, sign * t1[:, None]).sort(dim=1).values
    return sign * found[:, :n], whole


def _last(times: Tensor, at: Tensor) -> Tensor:
    """The last of a row's times that is not after each of `at`, `(rows, n)`; the first if all are."""
    dtype = torch.promote_types(times.dtype, at.dtype)
    found = torch.searchsorted(times.to(dtype).contiguous(), at.to(dtype).contiguous(), right=True)
    return (found - 1).clamp(min=0)


def _repeated(path: Path, n: int) -> Path:
    """The rows of a path given by times and values, `n` times over."""
    return dataclasses.replace(path, times=path.times.repeat(n, 1), values=path.values.repeat(n, 1, 1))
