"""What a solve refuses: states, times, contexts and slopes that are not such as it works with.

Shapes and dtypes are known without waiting for a device. Values are looked at where that costs
nothing, and never where torch records what is done.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

from latentode.errors import SolveError
from latentode.ode.context import Context, known_path
from latentode.ode.control import LinearControl, StepControl

__all__ = ["check_finite", "check_problem", "check_slope", "symbolic"]


def symbolic() -> bool:
    """Whether torch records or transforms what is done now, so that no value may be looked at."""
    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return (
        torch.compiler.is_compiling()
        or tracing
        or torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportAttributeAccessIssue]
        or forward_ad._current_level >= 0
        or _get_current_dispatch_mode() is not None
    )


def check_problem(z0: Tensor, t0: Tensor, t1: Tensor, context: Context | None = None) -> None:
    """Raises unless states, times and context fit one another, and times are finite.

    Raises:
        SolveError: naming what is of another kind, shape or dtype, or the row whose time is not finite.
    """
    for name, x in (("z0", z0), ("t0", t0), ("t1", t1)):
        _check_tensor(name, x)
    if z0.ndim != 2 or t0.shape != (len(z0),) or t1.shape != (len(z0),):
        raise SolveError(
            f"z0 has shape {tuple(z0.shape)}, t0 {tuple(t0.shape)}, t1 {tuple(t1.shape)}; expected "
            "(rows, latent), (rows,), (rows,)"
        )
    for name, x in (("z0", z0), ("t0", t0), ("t1", t1)):
        _check_floating(name, x)
    _check_context(context, len(z0))
    if not _readable(t0) or math.isfinite(float((t0 + t1).detach().sum())):
        return
    for name, t in (("t0", t0), ("t1", t1)):
        for row in (~torch.isfinite(t)).nonzero().flatten().tolist()[:1]:
            raise SolveError(f"{name} of row {row} is {t[row].item()}; times must be finite")


def _check_context(context: object, rows: int) -> None:
    """Raises unless a context has the rows of z0; of a path of another kind nothing is known."""
    if context is None:
        return
    if not isinstance(context, Context):
        raise SolveError(
            f"the context is a {type(context).__name__}; what stays along a solve is given as "
            "Context(fixed), what changes as Context(control=StepControl(times, values))"
        )
    if context.fixed is not None:
        _check_tensor("the context's fixed part", context.fixed)
        if context.fixed.ndim != 2 or len(context.fixed) != rows:
            raise SolveError(
                f"the context's fixed part has shape {tuple(context.fixed.shape)} for {rows} rows of "
                "z0; expected (rows, fixed)"
            )
    path = known_path(context.control)
    if path is not None:
        _check_path(path, rows)


def _check_path(path: StepControl | LinearControl, rows: int) -> None:
    times, values, kind = path.times, path.values, type(path).__name__
    for name, x in (("times", times), ("values", values)):
        _check_tensor(f"the {name} of the {kind}", x)
        _check_floating(f"the {name} of the {kind}", x)
    fits = times.ndim == 2 and values.ndim == 3 and times.shape == values.shape[:2]
    if not fits or len(times) != rows or not times.shape[1]:
        raise SolveError(
            f"a {kind} has times of shape {tuple(times.shape)} and values of {tuple(values.shape)} for "
            f"{rows} rows of z0; expected (rows, changes) and (rows, changes, controls), at least one"
        )
    if not _readable(times):
        return
    # Not the differences, of which those of infinite times are no numbers.
    unordered = (times[:, 1:] < times[:, :-1]).any(dim=1) | times.isnan().any(dim=1)
    for row in unordered.nonzero().flatten().tolist()[:1]:
        raise SolveError(
            f"the times of the {kind} do not ascend in row {row}; sort them with their values"
        )


def _check_tensor(name: str, x: object) -> None:
    if not isinstance(x, Tensor):
        raise SolveError(f"{name} is a {type(x).__name__}; a solve needs tensors: torch.as_tensor(...)")


def _check_floating(name: str, x: Tensor) -> None:
    if not x.is_floating_point():
        raise SolveError(f"{name} is of {x.dtype}; a solve needs a floating dtype: .float()")


def _readable(x: Tensor) -> bool:
    """Whether values may be looked at: elsewhere than on a CPU that would wait for the device."""
    return x.device.type == "cpu" and not symbolic()


def check_slope(field: object, value: object, z: Tensor) -> None:
    """Raises unless a vector field's result can be the slope of z.

    It is of the shape of z, since any other would be broadcast, and of a dtype at least as precise,
    unless torch casts.

    Raises:
        SolveError: naming both.
    """
    if torch.compiler.is_compiling():
        return
    name = getattr(field, "__name__", type(field).__name__)
    if not isinstance(value, Tensor):
        raise SolveError(f"{name} returned a {type(value).__name__}; dz/dt must be a tensor like z")
    if value.shape != z.shape:
        raise SolveError(
            f"{name} returned shape {tuple(value.shape)} for states of shape {tuple(z.shape)}; dz/dt "
            "must have the shape of z"
        )
    if value.dtype == z.dtype or torch.is_autocast_enabled(z.device.type):
        return
    if not value.is_floating_point() or torch.promote_types(value.dtype, z.dtype) != value.dtype:
        raise SolveError(
            f"{name} returned {value.dtype} for states of {z.dtype}; dz/dt must have the dtype of z: "
            f"cast the result or the states"
        )


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
