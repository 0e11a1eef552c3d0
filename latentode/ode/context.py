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

__all__ = ["Context", "LinearControl", "StepControl"]


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
