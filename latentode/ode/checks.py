"""What a solve refuses: states, times and slopes that are not of the shapes and dtypes it works with.

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


def check_problem(z0: Tensor, t0: Tensor, t1: Tensor) -> None:
    """Raises unless states and times have the shapes and dtypes of a solve, and times are finite.

    Raises:
        SolveError: naming both shapes, the dtype, or the row whose time is not finite.
    """
    if z0.ndim != 2 or t0.shape != (len(z0),) or t1.shape != (len(z0),):
        raise SolveError(
            f"z0 has shape {tuple(z0.shape)}, t0 {tuple(t0.shape)}, t1 {tuple(t1.shape)}; expected "
            "(rows, latent), (rows,), (rows,)"
        )
    for name, x in (("z0", z0), ("t0", t0), ("t1", t1)):
        if not x.is_floating_point():
            raise SolveError(f"{name} is of {x.dtype}; a solve needs a floating dtype: {name}.float()")
    # Elsewhere than on a CPU looking would wait for the device.
    if t0.device.type != "cpu" or symbolic() or math.isfinite(float((t0 + t1).detach().sum())):
        return
    for name, t in (("t0", t0), ("t1", t1)):
        for row in (~torch.isfinite(t)).nonzero().flatten().tolist()[:1]:
            raise SolveError(f"{name} of row {row} is {t[row].item()}; times must be finite")


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
