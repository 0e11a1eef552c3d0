"""Quantile columns: the name of a level, and the levels of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from latentode.errors import LatentODEError

__all__ = ["interval_levels", "quantile_levels", "quantile_list", "quantile_name"]

DIGITS = 15  # so that 0.1 + 0.2 is called 0.3, and no two levels that anybody means share a name


def quantile_name(level: float) -> str:
    """The column of a level between 0 and 1, without an exponent.

    Example:
        >>> quantile_name(0.1), quantile_name(0.1 + 0.2), quantile_name(1e-6)
        ('q0.1', 'q0.3', 'q0.000001')
    """
    return "q" + np.format_float_positional(level, DIGITS, fractional=False, trim="-")


def quantile_levels(columns: Iterable[object]) -> list[float]:
    """Levels of the quantile columns among some, or of a frame, ascending.

    Example:
        >>> quantile_levels(["mean", "q0.9", "q0.1"])
        [0.1, 0.9]
    """
    return sorted(float(str(c)[1:]) for c in columns if str(c).startswith("q0."))


def quantile_list(levels: float | Sequence[float | str]) -> list[float]:
    """Levels as numbers; one may have been given bare.

    Raises:
        LatentODEError: for what is no number between 0 and 1.

    Example:
        >>> quantile_list(0.5)
        [0.5]
    """
    given: Any = [levels] if isinstance(levels, Real | str) else levels
    try:
        numbers = [float(level) for level in given]
    except (TypeError, ValueError) as error:
        raise LatentODEError(f"quantiles must be numbers between 0 and 1, got {levels!r}") from error
    for number in numbers:
        if not 0 < number < 1:
            raise LatentODEError(f"a quantile level lies between 0 and 1, got {number}")
    return numbers


def interval_levels(
    level: float | Sequence[float | str], quantiles: float | Sequence[float | str] = ()
) -> list[float]:
    """The ends of central intervals of so many per cent, and further levels, each once, ascending.

    Raises:
        LatentODEError: for what is no number between 0 and 100.

    Example:
        >>> interval_levels([50, 80], quantiles=0.5)
        [0.1, 0.25, 0.5, 0.75, 0.9]
    """
    given: Any = [level] if isinstance(level, Real | str) else level
    try:
        percents = [float(percent) for percent in given]
    except (TypeError, ValueError) as error:
        raise LatentODEError(f"level must be per cent, such as 80, got {level!r}") from error
    ends: set[float] = set(quantile_list(quantiles))
    for percent in percents:
        if not 0 < percent < 100:
            raise LatentODEError(f"a level is per cent, between 0 and 100, such as 80; got {percent:g}")
        tail = (100 - percent) / 200
        ends |= {round(tail, DIGITS), round(1 - tail, DIGITS)}
    return sorted(ends)
