"""Errors that a user can act on: what is wrong, where, and what to do about it.

Each is a `ValueError`, so code that guards against bad input needs no knowledge of this package.
"""

import math
import os
import sys
import warnings
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "LatentODEError",
    "SchemaError",
    "SolveError",
    "as_float",
    "as_numbers",
    "as_path",
    "check_choice",
    "check_draws",
    "check_flag",
    "check_length",
    "check_number",
    "check_seed",
    "check_size",
    "check_whole",
    "shown",
    "understood",
    "warn",
]

MOST_VALUES = 2 * 10**8  # that one answer may hold: 1.6 GB
MOST_WHOLE = 2**63 - 1
MOST_SHOWN = 40  # characters of what was given
PACKAGE = f"{Path(__file__).parent}{os.sep}"
DECORATORS = "contextlib.py"  # Python's own and torch's, `_contextlib.py`


class LatentODEError(ValueError):
    """Base of every error that this package raises on purpose."""


class SchemaError(LatentODEError):
    """A table does not hold what its schema says; the message names column, row and fix."""


class SolveError(LatentODEError):
    """A differential equation could not be solved; the message names row, time and remedy."""


def check_whole(
    name: str, value: object, least: int = 1, error: type[LatentODEError] = LatentODEError
) -> None:
    """Raises `error` unless an argument is a whole number of at least so much.

    Example:
        >>> check_whole("bins", 3), check_whole("jumps", 0, least=0)
        (None, None)
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise error(f"{name} must be a whole number, got {shown(value)}")
    if int(value) < least:
        raise error(f"{name} must be at least {least}, got {shown(value)}")
    if int(value) > MOST_WHOLE:
        raise error(f"{name} must be below 2 ** 63, got {shown(value)}")


def check_choice(what: str, name: object, choices: object) -> None:
    """Raises a `LatentODEError` that lists the choices unless the name is one of them."""
    known = list(choices)  # type: ignore[call-overload]
    if name not in known:
        raise LatentODEError(f"{what} {name!r} is unknown; choose from {', '.join(map(str, known))}")


def check_flag(name: str, value: object) -> None:
    """Raises a `LatentODEError` unless an argument is True or False.

    Example:
        >>> check_flag("smooth", False)
    """
    if not isinstance(value, bool | np.bool_):
        raise LatentODEError(f"{name} must be True or False, got {shown(value)}")


def check_number(name: str, value: object) -> None:
    """Raises a `LatentODEError` unless an argument is a number that is finite.

    Example:
        >>> check_number("above", 7.5)
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(as_float(value)):
        raise LatentODEError(f"{name} must be a finite number, got {shown(value)}")


def as_float(value: Any) -> float:
    """A number as a float; infinite where it is too large for one.

    Example:
        >>> as_float(2), as_float(-(10**400))
        (2.0, -inf)
    """
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def as_numbers(name: str, given: Any, size: int, one: bool = False) -> np.ndarray:
    """Numbers, one for each of so many forecasts, as an array of floats, shape `(size,)`.

    Args:
        name: of the argument.
        given: an array, a list, a column or a tensor; what is missing becomes NaN.
        size: how many there have to be.
        one: whether a single number may stand for all of them, shape `()`.

    Raises:
        LatentODEError: for what holds anything but numbers, or another number of them.

    Example:
        >>> as_numbers("actual", [1, None, 3], 3)
        array([ 1., nan,  3.])
    """
    said = (
        f"{name} must be numbers, one per forecast, shape ({size},){', or one for all' if one else ''}"
    )
    try:
        held = np.asarray(given)
        text = held.dtype.kind == "O" and any(isinstance(cell, str) for cell in held.flat)
        if given is None or text or held.dtype.kind not in "biufO":
            raise TypeError
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LatentODEError(f"{said}; got {shown(given)}") from error
    if numbers.shape != (size,) and not (one and numbers.shape == ()):
        raise LatentODEError(f"{said}; got shape {numbers.shape}")
    return numbers


def as_path(name: str, given: Any) -> Path:
    """The place that an argument names.

    Raises:
        LatentODEError: for what is no name of a file or folder.

    Example:
        >>> as_path("folder", "model").name
        'model'
    """
    if not isinstance(given, str | os.PathLike) or isinstance(os.fspath(given), bytes):
        raise LatentODEError(f"{name} must be text or a pathlib.Path that names it; got {shown(given)}")
    return Path(given)


def shown(value: object) -> str:
    """What was given, cut off where nobody reads on.

    Example:
        >>> shown("x" * 9), shown(10**100)
        ("'xxxxxxxxx'", '1000000000000000000000000000000000000000...')
    """
    try:
        text = repr(value)
    except ValueError:  # of thousands of digits, which Python does not write
        return f"a number of {type(value).__name__} beyond all reason"
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def check_length(name: str, given: object) -> None:
    """Raises a `LatentODEError` for what holds more than an answer may, such as `range(10**12)`."""
    if isinstance(given, Sized):
        try:
            size = len(given)
        except OverflowError:
            size = math.inf
        check_size(name, size)


def check_seed(seed: object) -> None:
    """Raises a `LatentODEError` unless a seed is a whole number that generators take.

    Example:
        >>> check_seed(7)
    """
    check_whole("seed", seed, least=0)


def check_draws(name: str, n: object, n_queries: int, seed: object) -> None:
    """Raises a `LatentODEError` for draws that are no whole number, too many, or of no seed."""
    check_whole(name, n)
    check_size(f"{name} and times", as_float(n), n_queries)
    check_seed(seed)


def check_size(what: str, *counts: float) -> None:
    """Raises a `LatentODEError` if an answer of so many values would not fit, before it is made.

    Args:
        what: the counts, by name.
        counts: whose product the size is.

    Example:
        >>> check_size("draws and times", 256, 1000)
    """
    size = math.prod(as_float(count) for count in counts)
    if not size <= MOST_VALUES:
        raise LatentODEError(
            f"so many {what} make {size:.3g} values, and an answer may hold {MOST_VALUES:.0e}; ask for "
            "fewer, or in parts"
        )


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Has every error within be one of ours, for input whose oddities nobody can list.

    Args:
        what: is read, such as "the table".

    Raises:
        SchemaError: in the place of another error, which is its cause.
    """
    try:
        yield
    except (LatentODEError, OSError, ImportError, Warning):
        raise
    except Exception as error:
        if isinstance(error, TypeError) and _of_the_call(error):
            raise  # an argument that the function has not
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise SchemaError(
            f"{what} holds something that cannot be understood: {reason}; numbers, texts and times of "
            "one kind in each column are"
        ) from error


def _of_the_call(error: TypeError) -> bool:
    """Whether a decorated function was called as it cannot be, so that none of its lines ran."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_filename.endswith(DECORATORS)


def warn(message: str) -> None:
    """Warns the user from the line that called this package, whatever was called in between.

    Of the frames on the stack, the line is that of the caller of the outermost one that is ours: what
    others put between two of ours, such as decorators, is no line of the user's either.

    Args:
        message: what is wrong, where, and what to do about it.

    Warns:
        UserWarning: with the message.
    """
    line = frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            line = frame.f_back or frame
        frame = frame.f_back
    while line.f_back is not None and line.f_code.co_filename.endswith(DECORATORS):
        line = line.f_back
    registry = line.f_globals.setdefault("__warningregistry__", {})
    module = line.f_globals.get("__name__")
    place = line.f_code.co_filename, line.f_lineno
    warnings.warn_explicit(message, UserWarning, *place, module, registry)
