"""Loops of machine code: how they are compiled and kept, and the elementary ones.

Every array is one-dimensional and contiguous, because then a view of it is, too.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import overload

__all__ = [
    "Array",
    "Span",
    "activate",
    "add",
    "add_product",
    "add_rows",
    "add_times",
    "add_to_rows",
    "compiled",
    "damp",
    "matrix",
    "tanh",
]

Array = np.ndarray
Span = tuple[int, int]
Loops = TypeVar("Loops", bound=Callable[..., Any])


def compiled(loops: Loops) -> Loops:
    """Compiles at the first call for a dtype, and keeps the machine code for later processes.

    It is kept beside the source or in the user's cache folder. What a function calls is compiled into
    it, so its name in the cache ends in a hash of the modules of all compiled functions that its own
    module knows: after a change of any of them the code is made anew.
    """
    how: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    # Sums may be reordered and contracted; that values are finite must not be assumed.
    how["fastmath"] = {"reassoc", "contract", "arcp", "nsz"}
    try:
        modules = _modules(loops)
        text = "".join(inspect.getsource(sys.modules[name]) for name in sorted(modules))
        loops.__qualname__ += f"_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        made: Any = njit(cache=True, **how)(loops)
        made.modules = modules
    except (RuntimeError, OSError):  # no folder to keep it in, or no source
        made = njit(**how)(loops)
    return made


def _modules(loops: Callable[..., Any]) -> frozenset[str]:
    """The modules of these loops and of all compiled functions that they may call."""
    called = (getattr(value, "modules", ()) for value in loops.__globals__.values())
    own = {__name__, loops.__module__} & set(sys.modules)
    return frozenset(own.union(*(names for names in called if isinstance(names, frozenset))))


def tanh(x: float) -> float:
    raise NotImplementedError  # what is compiled is chosen by the type of x


def _exact_tanh(x: Any) -> Any:
    return math.tanh(x)


@overload(tanh)
def _tanh_of(x: Any) -> Callable[[Any], Any]:
    if x != types.float32:
        return _exact_tanh
    # The rational function of degrees 13 and 6 in Eigen's `generic_fast_tanh_float`: three units in
    # the last place, and unlike the library's it can be evaluated for many numbers at once.
    f = np.float32
    bound = f(7.90531110763549805)
    p = tuple(
        f(c)
        for c in (
            -2.76076847742355e-16,
            2.00018790482477e-13,
            -8.60467152213735e-11,
            5.12229709037114e-08,
            1.48572235717979e-05,
            6.37261928875436e-04,
            4.89352455891786e-03,
        )
    )
    q = tuple(
        f(c)
        for c in (
            1.19825839466702e-06,
            1.18534705686654e-04,
            2.26843463243900e-03,
            4.89352518554385e-03,
        )
    )
    p6, p5, p4, p3, p2, p1, p0 = p
    q3, q2, q1, q0 = q

    def rational(x: Any) -> Any:
        x = bound if x > bound else x  # written so that NaN stays NaN
        x = -bound if x < -bound else x
        s = x * x
        above = (((((p6 * s + p5) * s + p4) * s + p3) * s + p2) * s + p1) * s + p0
        return x * above / (((q3 * s + q2) * s + q1) * s + q0)

    return rational


@compiled
def matrix(flat: Array, begin: int, rows: int, columns: int) -> Array:
    return flat[begin : begin + rows * columns].reshape(rows, columns)


@compiled
def activate(h: Array, offset: Array, by_row: bool) -> None:
    """tanh(h + offset) in place."""
    rows, size = h.shape
    for r in range(rows):
        c = offset[(r if by_row else 0) * size : (r if by_row else 0) * size + size]
        for j in range(size):
            h[r, j] = tanh(h[r, j] + c[j])


@compiled
def damp(g: Array, h: Array) -> None:
    """g (1 - h^2) in place; without a 1, an integer, which would make single precision double."""
    for i in range(g.size):
        g[i] -= g[i] * h[i] * h[i]


@compiled
def add(out: Array, a: Array) -> None:
    """out += a"""
    for i in range(out.size):
        out[i] += a[i]


@compiled
def add_times(out: Array, a: Array, factor: float) -> None:
    """out += factor * a"""
    for i in range(out.size):
        out[i] += factor * a[i]


@compiled
def add_product(out: Array, a: Array, b: Array, factor: float) -> None:
    """out += factor * a * b"""
    for i in range(out.size):
        out[i] += factor * a[i] * b[i]


@compiled
def add_to_rows(k: Array, offset: Array) -> None:
    """k += offset, in every row."""
    for r in range(k.shape[0]):
        for j in range(k.shape[1]):
            k[r, j] += offset[j]


@compiled
def add_rows(total: Array, x: Array, by_row: bool) -> None:
    """total += x, row by row or the sum of all rows."""
    rows, size = x.shape
    for r in range(rows):
        into = total[(r if by_row else 0) * size : (r if by_row else 0) * size + size]
        for j in range(size):
            into[j] += x[r, j]
