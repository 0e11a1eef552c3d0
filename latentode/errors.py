"""Errors that a user can act on: what is wrong, where, and what to do about it.

Each is a `ValueError`, so code that guards against bad input needs no knowledge of this package.
"""

__all__ = ["LatentODEError", "SchemaError", "SolveError"]


class LatentODEError(ValueError):
    """Base of every error that this package raises on purpose."""


class SchemaError(LatentODEError):
    """A table does not hold what its schema says; the message names column, row and fix."""


class SolveError(LatentODEError):
    """A differential equation could not be solved; the message names row, time and remedy."""
