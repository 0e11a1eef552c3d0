"""Clock times: how long after midnight a time of day is, from text, numbers such as 801, or objects."""

from __future__ import annotations

import datetime as dt
import re
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import cell_name
from latentode.data.cells.usual_names import HOUR_NAMES, usual
from latentode.errors import SchemaError

__all__ = ["LONGEST_DAY", "are_packed", "clock_of", "is_clock"]

_HALF = r"\s*([AaPp])\.?[Mm]\.?$"
_CLOCK = re.compile(r"^\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?$")
SECONDS_OF_DAY = 86_400
HOURS, LONGEST_DAY = 24, 25


def are_packed(numbers: np.ndarray) -> bool:
    """Whether numbers are hours and minutes such as 801, or seconds too such as 153000.

    Example:
        >>> are_packed(np.array([801, 1759])), are_packed(np.array([93000, 153000]))
        (True, True)
        >>> are_packed(np.array([0, 3600, 7200]))
        False
    """
    seconds = 100 if numbers.max(initial=0.0) > SECONDS_OF_DAY else 1
    minutes = numbers // seconds
    whole = (numbers == np.floor(numbers)) & (numbers >= 0) & (numbers % seconds < 60)
    return bool((whole & (minutes % 100 < 60) & (minutes < 2400)).all())


def is_clock(text: pd.Series) -> bool:
    """Whether all texts are times of a day without its date."""
    return bool(text.str.fullmatch(_CLOCK).all())


def clock_of(column: pd.Series) -> pd.Series:
    """How long after midnight each time of day is, from text, numbers such as 801, or objects."""
    if pd.api.types.is_numeric_dtype(column):
        return _clock_of_numbers(column)
    if column.dtype.kind == "m":
        return column
    text = column.map(lambda v: v.isoformat() if isinstance(v, dt.time) else str(v)).astype(object)
    text = cast(pd.Series, text.str.strip().str.replace(",", ".", regex=False))
    text = text.str.replace(r"\s*Uhr$", "", regex=True)
    half = text.str.extract(_HALF, expand=False).str.lower()
    text = text.str.replace(_HALF, "", regex=True)
    text = text.where(half.isna() | ~text.str.fullmatch(r"\d{1,2}"), text + ":00")
    text = text.str.replace(r"^(\d{1,2}) ?h$", r"\1:00", regex=True)
    text = text.str.replace(r"^(\d{1,2}) ?h ?(\d{2})$", r"\1:\2", regex=True)
    pointed = text.str.fullmatch(r"\d{1,2}\.\d{2}(?:\.\d{2})?")
    text = text.where(~pointed, text.str.replace(".", ":", regex=False))
    packed = text.str.fullmatch(r"\d{3,4}")
    text = text.where(~packed, text.str.replace(r"^(\d{1,2})(\d{2})$", r"\1:\2", regex=True))
    text = text.where(~text.str.fullmatch(r"\d{1,2}:\d{2}"), text + ":00")
    # Numbers alone pandas would take for nanoseconds.
    read = pd.to_timedelta(text.mask(text.str.fullmatch(r"[\d.]+")), errors="coerce")
    hours = read.dt.total_seconds() / 3600
    read = read + pd.to_timedelta(np.where((half == "p") & (hours < 12), 12, 0), unit="h")
    read = read - pd.to_timedelta(np.where((half == "a") & (hours >= 12), 12, 0), unit="h")
    _refuse(column, (read.isna() | (read < pd.Timedelta(0)) | (read > pd.Timedelta("1D"))).to_numpy())
    return read


def _clock_of_numbers(column: pd.Series) -> pd.Series:
    """How long after midnight each time of day is: hours by the name of the column, or such as 801.

    What can be neither are minutes or seconds since midnight, parts of a day, or such as 153000.

    Raises:
        SchemaError: for what may be several of these, or is none.

    Example:
        >>> _clock_of_numbers(pd.Series([0, 801]))[1], _clock_of_numbers(pd.Series([0, 481]))[1]
        (Timedelta('0 days 08:01:00'), Timedelta('0 days 08:01:00'))
    """
    numbers = column.to_numpy(np.float64)
    least, most = numbers.min(initial=0.0), numbers.max(initial=0.0)
    if usual(str(column.name)) in HOUR_NAMES and least >= 0 and most <= LONGEST_DAY:
        if most > HOURS:
            bad = numbers > HOURS
            raise SchemaError(
                f"column `{column.name}` holds {cell_name(column, bad)}, an hour of a day on which "
                "clocks are set back; write times with their UTC offset, such as "
                "2024-10-27T02:00+01:00, in one column"
            )
        return pd.Series(pd.to_timedelta(numbers, unit="h"), index=column.index)
    if 1 <= most < 100 and least >= 0:  # of hhmm, all within the first hour
        raise SchemaError(
            f"column `{column.name}` holds {most:g} and less, which may be hours, minutes or "
            "numbers of intervals; write times of day such as 06:00, or call the column `hour` if "
            "it holds hours"
        )
    if 0.5 <= most < 1 and least >= 0:
        return pd.Series(pd.to_timedelta(numbers, unit="D").round("s"), index=column.index)
    bad = ~((numbers >= 0) & (numbers <= 2400) & (numbers % 100 < 60))
    whole = bool((numbers == np.floor(numbers)).all())
    if bad.any() and whole and least >= 0 and most <= SECONDS_OF_DAY:  # since midnight, then
        unit = "min" if most <= SECONDS_OF_DAY / 60 else "s"
        return pd.Series(pd.to_timedelta(numbers, unit=unit), index=column.index)
    if most > SECONDS_OF_DAY and are_packed(numbers):
        seconds = numbers // 10_000 * 3600 + numbers // 100 % 100 * 60 + numbers % 100
        return pd.Series(pd.to_timedelta(seconds, unit="s"), index=column.index)
    _refuse(column, bad | (numbers != np.floor(numbers)))
    minutes = np.floor(numbers / 100) * 60 + numbers % 100
    return pd.Series(pd.to_timedelta(minutes, unit="min"), index=column.index)


def _refuse(column: pd.Series, bad: np.ndarray) -> None:
    """Raises for the first cell that is no time of day."""
    if bad.any():
        raise SchemaError(
            f"column `{column.name}` holds {cell_name(column, bad)}, which is no time of day; correct "
            "it or remove that row"
        )
