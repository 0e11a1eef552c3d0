"""What solves and paths refuse: states, times, contexts and slopes that are not such as they work with.

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

__all__ = [
    "check_bounds",
    "check_finite",
    "check_inside",
    "check_integrand",
    "check_meeting",
    "check_problem",
    "check_slope",
    "symbolic",
]


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


def check_inside(knots: Tensor, times: object) -> None:
    """Raises unless times, `(rows, queries)`, lie in the spans of their rows of knots.

    Raises:
        SolveError: naming the shape, or the first time that does not and its span.
    """
    _check_tensor("times", times)
    assert isinstance(times, Tensor)
    if times.ndim != 2 or len(times) != len(knots):
        raise SolveError(
            f"times has shape {tuple(times.shape)}, expected (rows, queries) with {len(knots)} rows"
        )
    low = torch.minimum(knots[:, 0], knots[:, -1])[:, None]
    high = torch.maximum(knots[:, 0], knots[:, -1])[:, None]
    outside = (times < low) | (times > high) | ~torch.isfinite(times)
    if outside.any():
        row, query = (int(i) for i in outside.nonzero()[0])
        raise SolveError(
            f"time {times[row, query].item():g} of row {row} lies outside its span "
            f"[{low[row].item():g}, {high[row].item():g}]; solve over a longer span"
        )


def check_bounds(knots: Tensor, rows: Tensor, start: Tensor, end: Tensor) -> None:
    """Raises unless integrals along rows of knots begin and end in their rows' spans, but for rounding.

    Raises:
        SolveError: naming the shapes, or the first integral that does not and its span.
    """
    for name, x in (("rows", rows), ("start", start), ("end", end)):
        _check_tensor(name, x)
    if rows.ndim != 1 or not rows.shape == start.shape == end.shape:
        raise SolveError(
            f"rows has shape {tuple(rows.shape)}, start {tuple(start.shape)}, end {tuple(end.shape)}; "
            "expected (integrals,) thrice"
        )
    if _readable(rows):
        for i in ((rows < 0) | (rows >= len(knots))).nonzero().flatten().tolist()[:1]:
            raise SolveError(f"integral {i} runs along row {int(rows[i])} of {len(knots)} rows")
    low, high = start.minimum(end), start.maximum(end)
    first, last = (knots.detach()[rows, end] for end in (0, -1))
    early, late = first.minimum(last), first.maximum(last)
    rounding = 16 * max(torch.finfo(x.dtype).eps for x in (knots, low))
    slack = rounding * early.abs().maximum(late.abs())
    inside = (low >= early - slack) & (high <= late + slack)
    if not inside.all():
        i = int((~inside).nonzero()[0])
        raise SolveError(
            f"integral {i} runs over [{low[i].item():g}, {high[i].item():g}], outside of its row's "
            f"span [{early[i].item():g}, {late[i].item():g}]; solve over a longer span"
        )


def check_integrand(values: object, points: int) -> None:
    """Raises unless an integrand has returned values of shape `(points, k)`."""
    if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != points:
        found = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise SolveError(f"the integrand returned {found} for {points} points; expected (points, k)")


def check_meeting(before: Tensor, later: Tensor) -> None:
    """Raises unless a path with the knots `later` begins where the one before it ends."""
    if len(before) != len(later):
        raise SolveError(f"a path of {len(later)} rows is not joined to one of {len(before)} rows")
    if not _readable(before):
        return
    for row in (later[:, 0] != before[:, -1]).nonzero().flatten().tolist()[:1]:
        raise SolveError(
            f"the later path of row {row} begins at {later[row, 0].item():g}, and the one before ends "
            f"at {before[row, -1].item():g}; a path is joined to one that ends where it begins"
        )
