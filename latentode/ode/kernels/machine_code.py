"""Machine code: how loops are compiled, and how what was compiled is kept for later processes.

It is kept beside the source or in the user's cache folder. What a function calls is compiled into it,
so its name in the cache ends in a hash of the modules of all compiled functions that its own module
knows: after a change of any of them the code is made anew, as is code that cannot be read.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from numba import config, njit
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys

__all__ = ["compiled", "compiled_in_order"]

Loops = TypeVar("Loops", bound=Callable[..., Any])

# Sums may be reordered and contracted; that values are finite must not be assumed.
HOW: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
}


def compiled_in_order(loops: Loops) -> Loops:
    """As `compiled`, with sums in the order in which they are written.

    A process that compiles reorders them otherwise than one that finds what was kept. An optimiser that
    goes on from there would end in another optimum on a fresh machine than afterwards.
    """
    return compiled(loops, {**HOW, "fastmath": False})


def compiled(loops: Loops, how: dict[str, Any] = HOW) -> Loops:
    """Compiles at the first call for a dtype, and keeps the machine code for later processes.

    Args:
        loops: a function that numba takes.
        how: options of `numba.njit`.

    Warns:
        UserWarning: once, where there is no place to keep it.
    """
    modules = _modules(loops)
    made: Any = njit(**how)(loops)
    made.modules = modules
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return made  # as it was written
    try:
        text = "".join(inspect.getsource(sys.modules[name]) for name in sorted(modules))
        loops.__qualname__ += f"_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        made._cache = KeptCode(loops)
    except (RuntimeError, OSError):  # no folder to keep it in, or no source
        _warn_unkept()
    return made


class KeptCode(FunctionCache):
    """numba's cache, where a damaged file or a full disk costs time and is no error."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for a signature; None where there is none that can be read.

        What is kept is run with numba's runtime alone: all that numba knows of Python and numpy, which
        takes it half a second to load, is needed to compile, and is loaded then.
        """
        try:
            rtsys.initialize(target_context)
            with self._guard_against_spurious_io_errors():
                return self._load_overload(sig, target_context)
        except Exception:  # of whatever kind: files are damaged in many ways
            try:
                self.flush()
            except OSError:
                _warn_unkept()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps the code for a signature, if there is a place."""
        try:
            super().save_overload(sig, data)
        except OSError:
            _warn_unkept()


@cache
def _warn_unkept() -> None:
    warnings.warn(
        "the machine code of fast paths cannot be kept, so each process compiles it anew, which takes "
        "up to a minute; set the variable NUMBA_CACHE_DIR to a folder that can be written to",
        stacklevel=2,
    )


def _modules(loops: Callable[..., Any]) -> frozenset[str]:
    """The modules of these loops and of all compiled functions that they may call."""
    called = (getattr(value, "modules", ()) for value in loops.__globals__.values())
    own = {__name__, loops.__module__} & set(sys.modules)
    return frozenset(own.union(*(names for names in called if isinstance(names, frozenset))))
