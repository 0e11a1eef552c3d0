"""Times in two columns: the days in one, the times of the day in the other."""

from __future__ import annotations

import datetime as dt
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.columns import cell_name, column_of, without_arrow
from latentode.data.schema import Schema
from latentode.data.time_reading import TimeForm, read_times
from latentode.errors import SchemaError

__all__ = ["joined_times"]

PM = r"\s*([AaPp])\.?[Mm]\.?$"


def joined_times(frame: pd.DataFrame, schema: Schema) -> pd.Series:
    """The column of times; with the days of the column of dates, where the schema names one.

    Args:
        frame: a table; one whose times were joined before has datetimes already.
        schema: with `time`, and maybe `date`.

    Raises:
        SchemaError: for a row whose day or time of day cannot be read.

    Example:
        >>> frame = pd.DataFrame({"date": ["2024-03-01"], "time": ["08:30"], "x": 1.0})
        >>> joined_times(frame, Schema(time="time", date="date"))[0]
        Timestamp('2024-03-01 08:30:00')
    """
    column = without_arrow(column_of(frame, str(schema.time)))
    if schema.date is None or pd.api.types.is_datetime64_any_dtype(column):
        return column
    if schema.date not in frame.columns:
        raise SchemaError(
            f"column `{schema.date}`, which holds the days of the times in `{schema.time}`, is not "
            "in the "
            "table; add it, or give whole timestamps"
        )
    days = column_of(frame, schema.date)
    form = None if schema.time_format in ("elapsed", "number") else schema.time_format
    read = read_times(days, f"column `{schema.date}`", TimeForm(form))
    day = pd.to_datetime(read.column)
    if day.dt.tz is not None:
        raise SchemaError(
            f"column `{schema.date}` has a time zone, so it holds whole timestamps; name it with "
            "time= alone"
        )
    return (day.dt.normalize() + _clock(column)).rename(column.name)


def _clock(column: pd.Series) -> pd.Series:
    """How long after midnight each clock shows."""
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(np.float64)
        bad = ~(
            (numbers >= 0) & (numbers <= 2400) & (numbers % 100 < 60) & (numbers == np.floor(numbers))
        )
        _refuse(column, bad)
        minutes = np.floor(numbers / 100) * 60 + numbers % 100
        return pd.Series(pd.to_timedelta(minutes, unit="min"), index=column.index)
    if column.dtype.kind == "m":
        return column
    text = column.map(lambda v: v.isoformat() if isinstance(v, dt.time) else str(v)).astype(object)
    text = cast(pd.Series, text.str.strip().str.replace(",", ".", regex=False))
    half = text.str.extract(PM, expand=False).str.lower()
    text = text.str.replace(PM, "", regex=True)
    packed = text.str.fullmatch(r"\d{3,4}")
    text = text.where(~packed, text.str.replace(r"^(\d{1,2})(\d{2})$", r"\1:\2", regex=True))
    text = text.where(~text.str.fullmatch(r"\d{1,2}:\d{2}"), text + ":00")
    read = pd.to_timedelta(text, errors="coerce")
    hours = read.dt.total_seconds() / 3600
    read = read + pd.to_timedelta(np.where((half == "p") & (hours < 12), 12, 0), unit="h")
    read = read - pd.to_timedelta(np.where((half == "a") & (hours >= 12), 12, 0), unit="h")
    _refuse(column, (read.isna() | (read < pd.Timedelta(0)) | (read > pd.Timedelta("1D"))).to_numpy())
    return read


def _refuse(column: pd.Series, bad: np.ndarray) -> None:
    if bad.any():
        raise SchemaError(
            f"column `{column.name}` holds {cell_name(column, bad)}, which is no time of day; "
            "correct it or "
            "remove that row"
        )
