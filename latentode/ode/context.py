r"""What a row's vector field is told besides time and state.

In $\dot z = f(t, z, c(t))$ the context $c$ has a part that stays fixed along a row's solve (statics,
an embedding) and a part that is a *control path* $u(t)$ known in advance (doses, schedules).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["Context", "LinearControl", "StepControl", "Windows"]


@dataclass(frozen=True)
class Windows:
    """Which part of the span [0, 1] each node of a solve speaks for, in order of the solve.

    Args:
        begins: where the window of each node begins, shape `(nodes,)`, double precision, and so are
            the others.
        ends: where it ends; windows of nodes with a weight follow one another without a gap.
        starts: 0 and the middles between each node and the next.
        starts_back: the same seen from the end: 1 and the middles, descending.
    """

    begins: Tensor
    ends: Tensor
    starts: Tensor
    starts_back: Tensor


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
        """The values in force at times of chosen rows, by bisection: memory is linear in times.

        Args:
            row: shape `(n,)`.
            t: shape `(n,)`.

        Returns:
            Shape `(n, controls)`.
        """
        changes = self.times.shape[1]
        low, high = torch.zeros_like(row), torch.full_like(row, changes)
        for _ in range(changes.bit_length()):
            middle = (low + high) // 2
            begun = (self.times[row, middle.clamp(max=changes - 1)] <= t) & (middle < changes)
            low, high = torch.where(begun, middle, low), torch.where(begun, high, middle)
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
        low, high = torch.minimum(t0, t1)[:, None], torch.maximum(t0, t1)[:, None]
        inside = self._jumping() & (self.times > low) & (self.times < high)
        whole = inside.sum(dim=1) > most
        inside &= ~whole[:, None]
        n = int(inside.sum(dim=1).max()) if len(inside) else 0
        sign = torch.where(t1 >= t0, 1.0, -1.0).to(self.times)[:, None]
        found = torch.where(inside, sign * self.times, sign * t1[:, None]).sort(dim=1).values
        return sign * found[:, :n], whole

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

    def repeat(self, n: int) -> StepControl:
        """The same rows `n` times over, copy by copy."""
        return StepControl(self.times.repeat(n, 1), self.values.repeat(n, 1, 1))

    def select(self, rows: Tensor) -> StepControl:
        """The rows at these indices."""
        return StepControl(self.times[rows], self.values[rows])

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that a gradient may have to reach; moving a jump in time has none."""
        return (self.values,)

    def replace(self, tensors: Sequence[Tensor]) -> StepControl:
        """The same path with others in the place of `tensors()`."""
        return StepControl(self.times, *tensors)


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
        last = self.times.shape[1] - 1
        k = (self.times <= t[:, None]).sum(dim=1).sub(1).clamp(min=0)
        after = (k + 1).clamp(max=last)
        start, end = self.times[row, k], self.times[row, after]
        width = torch.where(end > start, end - start, torch.ones_like(end))
        theta = ((t - start) / width).clamp(0, 1)[:, None]
        return torch.lerp(self.values[row, k], self.values[row, after], theta)

    def along(self, times: Tensor) -> Tensor:
        """`at` for each of `times`, shape `(n, rows)`: shape `(n, rows, controls)`."""
        return torch.stack([self.at(t) for t in times])

    def averaged(self, t0: Tensor, t1: Tensor, windows: Windows) -> LinearControl:
        """The path itself: it is continuous, and a solve looks at it where it evaluates the field."""
        return self

    def jumps(self, t0: Tensor, t1: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """None, shape `(rows, 0)`: the path is continuous, and every row is left whole."""
        return self.times[:, :0], torch.ones_like(t0, dtype=torch.bool)

    def held(self, t: Tensor, whole: Tensor) -> LinearControl:
        """The path itself."""
        return self

    def repeat(self, n: int) -> LinearControl:
        """The same rows `n` times over, copy by copy."""
        return LinearControl(self.times.repeat(n, 1), self.values.repeat(n, 1, 1))

    def select(self, rows: Tensor) -> LinearControl:
        """The rows at these indices."""
        return LinearControl(self.times[rows], self.values[rows])

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that a gradient may have to reach."""
        return (self.times, self.values)

    def replace(self, tensors: Sequence[Tensor]) -> LinearControl:
        """The same path with others in the place of `tensors()`."""
        return LinearControl(*tensors)


def _last(times: Tensor, at: Tensor) -> Tensor:
    """The last of a row's times that is not after each of `at`, `(rows, n)`; the first if all are."""
    dtype = torch.promote_types(times.dtype, at.dtype)
    found = torch.searchsorted(times.to(dtype).contiguous(), at.to(dtype).contiguous(), right=True)
    return (found - 1).clamp(min=0)


@dataclass(frozen=True)
class Context:
    """The fixed part and the control path of each row; either may be absent.

    Args:
        fixed: shape `(rows, fixed)`.
        control: a path with the same rows.
    """

    fixed: Tensor | None = None
    control: StepControl | LinearControl | None = None

    def at(self, t: Tensor) -> Tensor | None:
        """Everything known at `t` of shape `(rows,)`: shape `(rows, fixed + controls)`, or None."""
        parts = [] if self.fixed is None else [self.fixed]
        if self.control is not None:
            parts.append(self.control.at(t))
        return torch.cat(parts, dim=1) if parts else None

    def held(self, t: Tensor, whole: Tensor) -> Context:
        """The same context with what the control path says at `t` for all time; see `StepControl`."""
        return self if self.control is None else Context(self.fixed, self.control.held(t, whole))

    def averaged(self, t0: Tensor, t1: Tensor, windows: Windows) -> Context:
        """The same context with its control path by means over windows; see `StepControl`."""
        if self.control is None or self.control.times.shape[1] < 2:
            return self
        return Context(self.fixed, self.control.averaged(t0, t1, windows))

    def repeat(self, n: int) -> Context:
        """The same rows `n` times over, copy by copy: `n * rows` rows."""
        return Context(
            None if self.fixed is None else self.fixed.repeat(n, 1),
            None if self.control is None else self.control.repeat(n),
        )

    def select(self, rows: Tensor) -> Context:
        """The rows at these indices, of shape `(n,)`."""
        return Context(
            None if self.fixed is None else self.fixed[rows],
            None if self.control is None else self.control.select(rows),
        )

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that a gradient may have to reach."""
        control = () if self.control is None else self.control.tensors()
        return (() if self.fixed is None else (self.fixed,)) + control

    def replace(self, tensors: Sequence[Tensor]) -> Context:
        """The same context with others in the place of `tensors()`."""
        own = 0 if self.fixed is None else 1
        control = None if self.control is None else self.control.replace(tensors[own:])
        return Context(tensors[0] if own else None, control)
