"""Errors that a user can act on: what is wrong, where, and what to do about it.

Each is a `ValueError`, so code that guards against bad input needs no knowledge of this package.
"""

from numbers import Integral

__all__ = ["LatentODEError", "SchemaError", "SolveError", "check_whole"]


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
        raise error(f"{name} must be a whole number, got {value!r}")
    if int(value) < least:
        raise error(f"{name} must be at least {least}, got {value}")
