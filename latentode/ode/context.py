r"""What a row's vector field is told besides time and state.

In $\dot z = f(t, z, c(t))$ the context $c$ has a part that stays fixed along a row's solve (statics,
an embedding) and a part that is a *control path* $u(t)$ known in advance (doses, schedules).

A path of another kind than `StepControl` and `LinearControl`, or of a kind derived from them, is asked
by its `at` alone, wherever a vector field is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentode.ode.control import ControlPath, LinearControl, StepControl

if TYPE_CHECKING:
    from latentode.ode.tableau import Windows

__all__ = ["Context", "known_path"]


def known_path(control: ControlPath | None) -> StepControl | LinearControl | None:
    """The path if it is one of this package's exactly, whose `at` says no other than its values."""
    return control if type(control) in (StepControl, LinearControl) else None  # type: ignore[return-value]


@dataclass(frozen=True)
class _Copies:
    """A path of any kind for its rows several times over, copy by copy."""

    path: ControlPath
    n: int

    def at(self, t: Tensor) -> Tensor:
        return torch.cat([self.path.at(part) for part in t.unflatten(0, (self.n, len(t) // self.n))])

    def repeat(self, n: int) -> _Copies:
        return _Copies(self.path, n * self.n)


@dataclass(frozen=True)
class Context:
    """The fixed part and the control path of each row; either may be absent.

    Args:
        fixed: shape `(rows, fixed)`.
        control: a path with the same rows.
    """

    fixed: Tensor | None = None
    control: ControlPath | None = None

    def at(self, t: Tensor) -> Tensor | None:
        """Everything known at `t` of shape `(rows,)`: shape `(rows, fixed + controls)`, or None."""
        parts = [] if self.fixed is None else [self.fixed]
        if self.control is not None:
            parts.append(self.control.at(t))
        return torch.cat(parts, dim=1) if parts else None

    def along(self, times: Tensor) -> Tensor | None:
        """The control path's values at times of shape `(n, rows)`: `(n, rows, controls)`, or None."""
        if self.control is None:
            return None
        path, control = known_path(self.control), self.control
        return path.along(times) if path else torch.stack([control.at(t) for t in times])

    def held(self, t: Tensor, whole: Tensor) -> Context:
        """The same context with what the control path says at `t` for all time; see `StepControl`."""
        path = known_path(self.control)
        return replace(self, control=path.held(t, whole)) if path else self

    def averaged(self, t0: Tensor, t1: Tensor, windows: Windows) -> Context:
        """The same context with its control path by means over windows; see `StepControl`."""
        path = known_path(self.control)
        if path is None or path.times.shape[1] < 2:
            return self
        return replace(self, control=path.averaged(t0, t1, windows))

    def repeat(self, n: int) -> Context:
        """The same rows `n` times over, copy by copy: `n * rows` rows."""
        control: Any = self.control
        if control is not None:
            control = control.repeat(n) if hasattr(control, "repeat") else _Copies(control, n)
        return replace(
            self, fixed=None if self.fixed is None else self.fixed.repeat(n, 1), control=control
        )

    def select(self, rows: Tensor) -> Context:
        """The rows at these indices, of shape `(n,)`; a control path then has a `select` of its own."""
        control: Any = self.control
        return replace(
            self,
            fixed=None if self.fixed is None else self.fixed[rows],
            control=None if control is None else control.select(rows),
        )

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that a gradient may have to reach; a path that names none has none."""
        control = self.control.tensors() if hasattr(self.control, "tensors") else ()  # type: ignore[union-attr]
        return (() if self.fixed is None else (self.fixed,)) + control

    def replace(self, tensors: Sequence[Tensor]) -> Context:
        """The same context with others in the place of `tensors()`."""
        own, control = 0 if self.fixed is None else 1, self.control
        if hasattr(control, "replace") and hasattr(control, "tensors"):
            control = control.replace(tensors[own:])  # type: ignore[union-attr]
        return replace(self, fixed=tensors[0] if own else None, control=control)
