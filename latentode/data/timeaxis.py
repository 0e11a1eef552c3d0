"""TimeAxis: what a table's time column means, exactly, in both directions.

A time is kept as an integer *tick* since the epoch (datetimes, dates, integers) or as a float, and
becomes float64 in the *time unit* only relative to an origin of its own series, before any cast to
float32: an epoch in float32 resolves minutes. What comes in goes out again: same type, same zone.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from latentode.errors import SchemaError

__all__ = ["Duration", "TimeAxis"]

Duration = str | float | int | pd.Timedelta | dt.timedelta

UNITS = {"s": "1s", "min": "1min", "h": "1h", "D": "1D", "W": "7D"}
_OFFSET = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")


@dataclass(frozen=True)
class TimeAxis:
    """How times of one table convert to ticks, to time units, and back.

    Args:
        kind: "datetime", "date", "integer" or "float".
        unit: for datetimes, numpy's unit of the column ("s", "ms", "us", "ns"); "D" for dates.
        timezone: name of the zone of aware datetimes, else None.
        time_unit: what one unit of model-facing time is: "s", "min", "h", "D" or "W" for calendar
            times; "1" for numbers, which are their own unit.
    """

    kind: str
    unit: str = "us"
    timezone: str | None = None
    time_unit: str = "h"

    @property
    def is_calendar(self) -> bool:
        return self.kind in ("datetime", "date")

    @property
    def tick(self) -> str:
        """Unit of a tick: at least microseconds, so that forecast times between stamps are exact."""
        return "ns" if self.unit == "ns" else "us"

    @property
    def ticks_per_unit(self) -> float:
        if not self.is_calendar:
            return 1.0
        return float(pd.Timedelta(UNITS[self.time_unit]) / pd.Timedelta(1, self.tick))

    def to_units(self, ticks: np.ndarray, origin: np.ndarray | float) -> np.ndarray:
        """Time since `origin` in time units, float64; the difference is exact before the division."""
        return (ticks - origin).astype(np.float64) / self.ticks_per_unit

    def duration(self, value: Duration, name: str = "horizon") -> float:
        """A duration in time units: "24h", a timedelta, or a number in the table's own unit."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            units = float(value)
        elif not self.is_calendar:
            raise SchemaError(
                f"{name} {value!r} is a calendar duration, but the time column holds numbers; give "
                "a number in the unit of that column"
            )
        else:
            try:
                units = pd.Timedelta(value) / pd.Timedelta(UNITS[self.time_unit])
            except ValueError as error:
                raise SchemaError(
                    f"{name} {value!r} is not a duration; write '24h', '30min', '7D'"
                ) from error
        if not np.isfinite(units) or units <= 0:
            raise SchemaError(f"{name} must be positive and finite, got {value!r}")
        return units

    def ticks_of(self, column: pd.Series) -> np.ndarray:
        """The ticks of a column that `parse_times` produced or that holds this axis' type."""
        if self.kind == "datetime":
            naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if self.timezone else column
            return naive.astype(f"datetime64[{self.tick}]").astype("int64").to_numpy()
        if self.kind == "date":
            stamps = pd.to_datetime(column).astype(f"datetime64[{self.tick}]")
            return stamps.astype("int64").to_numpy()
        return column.to_numpy(dtype=np.int64 if self.kind == "integer" else np.float64)

    def restore(self, ticks: np.ndarray) -> pd.Series:
        """The inverse of `ticks_of`.

        Raises:
            SchemaError: if a time falls between the values that a date or integer column can hold.
        """
        if self.kind == "float":
            return pd.Series(ticks, dtype=np.float64)
        if self.kind == "integer":
            if not np.all(ticks == np.round(ticks)):
                raise SchemaError(
                    "a time between integers was asked for, but the time column holds integers; "
                    "convert it to float, or ask for whole steps"
                )
            return pd.Series(ticks).astype(np.int64)
        stamps = pd.Series(np.asarray(ticks).astype(np.int64).view(f"M8[{self.tick}]"))
        if self.kind == "date":
            if not (stamps == stamps.dt.normalize()).all():
                raise SchemaError(
                    "a time within a day was asked for, but the time column holds dates; convert it "
                    "with pandas.to_datetime, or ask for whole days"
                )
            return stamps.dt.date
        coarse = stamps.astype(f"datetime64[{self.unit}]")
        stamps = coarse if (coarse == stamps).all() else stamps
        if self.timezone is None:
            return stamps
        return stamps.dt.tz_localize("UTC").dt.tz_convert(self.timezone)

    def parse(self, values: pd.Series, name: str) -> pd.Series:
        """Times that a caller asks for, as a column of this axis' type or a finer one.

        Raises:
            SchemaError: if they cannot be compared with this axis (a zone on one side only, ...).
        """
        column, other = parse_times(values, name, time_format=None, timezone=None)
        if other.is_calendar != self.is_calendar:
            raise SchemaError(
                f"{name} holds {other.kind} times, but the history's times are {self.kind}"
            )
        if self.kind == "datetime" and other.kind == "date":
            column, other = pd.to_datetime(column), replace(other, kind="datetime")
        if self.kind == "datetime" and (other.timezone is None) != (self.timezone is None):
            have, lack = (name, "the history") if other.timezone else ("the history", name)
            raise SchemaError(f"{have} has a time zone and {lack} has none; give both or neither")
        if self.timezone is not None:
            return column.dt.tz_convert(self.timezone)
        if self.kind == "date" and other.kind == "datetime":
            return self.restore(replace(other, unit=self.tick).ticks_of(column)).set_axis(column.index)
        return column

    def query_ticks(self, column: pd.Series) -> np.ndarray:
        """Ticks of what `parse` returned; numbers stay float where the axis holds integers."""
        if self.kind == "integer":
            return column.to_numpy(dtype=np.float64)
        return self.ticks_of(column)


def parse_times(
    column: pd.Series, name: str, time_format: str | None, timezone: str | None
) -> tuple[pd.Series, TimeAxis]:
    """Reads a time column of any supported type.

    Args:
        column: datetimes, dates, ISO 8601 text, integers or floats.
        name: the column's name, for messages.
        time_format: strptime format of text that is not ISO 8601.
        timezone: zone to localise naive datetimes in, or to convert aware ones to.

    Returns:
        The column, text parsed, and its axis.

    Raises:
        SchemaError: naming the first row that cannot be read, and the fix.
    """
    if pd.api.types.is_bool_dtype(column):
        raise SchemaError(f"column `{name}` holds booleans; a time is a datetime or a number")
    missing = column.isna().to_numpy()
    if missing.any():
        raise SchemaError(
            f"column `{name}` has no time at {_row(column, missing)}; give each row its time or "
            "remove that row"
        )
    if pd.api.types.is_numeric_dtype(column):
        if timezone is not None:
            raise SchemaError(f"column `{name}` holds numbers, which have no timezone; leave it out")
        infinite = ~np.isfinite(column.to_numpy(dtype=np.float64))
        if infinite.any():
            raise SchemaError(f"column `{name}` is infinite at {_row(column, infinite)}")
        kind = "integer" if pd.api.types.is_integer_dtype(column) else "float"
        return column, TimeAxis(kind, unit="1", time_unit="1")
    if not pd.api.types.is_datetime64_any_dtype(column):
        values = list(column)
        if values and all(type(v) is dt.date for v in values):
            return column, TimeAxis("date", unit="us", time_unit="D")
        column = _parse_text(column, name, time_format, timezone)
    column = _zoned(column, name, timezone)
    unit, zone = np.datetime_data(column.dt.tz_localize(None).dtype)[0], column.dt.tz
    return column, TimeAxis("datetime", unit=unit, timezone=None if zone is None else str(zone))


def _parse_text(
    column: pd.Series, name: str, time_format: str | None, timezone: str | None
) -> pd.Series:
    text = column.map(lambda v: v.isoformat() if isinstance(v, dt.datetime) else str(v).strip())
    chosen = time_format or "ISO8601"
    readable = pd.to_datetime(text, format=chosen, errors="coerce", utc=True).notna().to_numpy()
    if not readable.all():
        raise SchemaError(
            f"column `{name}` holds {column[~readable].iloc[0]!r} at {_row(column, ~readable)}, "
            f"which is not a time in the format {chosen}; correct it, or give time_format= (such as "
            "'%d/%m/%Y %H:%M') if the whole column is written so"
        )
    if time_format is None:
        aware = text.str.contains(_OFFSET) & text.str.contains(":")
        if aware.any() and not aware.all():
            odd = (aware != aware.iloc[0]).to_numpy()
            raise SchemaError(
                f"column `{name}` mixes times with and without a zone, first at "
                f"{_row(column, odd)}; write all of them with an offset, or none"
            )
        offsets = text.str.extract(f"({_OFFSET.pattern})")[0].str.replace("Z", "+00:00")
        odd = (offsets.str.replace(":", "") != offsets.iloc[0:1].str.replace(":", "").iloc[0]) & aware
        if odd.any() and timezone is None:
            raise SchemaError(
                f"column `{name}` mixes time zones: offset {offsets[odd].iloc[0]} at "
                f"{_row(column, odd.to_numpy())} after {offsets.iloc[0]}; give timezone= (such as "
                "'Europe/Berlin' or 'UTC') to convert all of them to"
            )
        return pd.to_datetime(text, format=chosen, utc=bool(odd.any()))
    try:
        return pd.to_datetime(text, format=chosen)
    except ValueError:
        if timezone is None:
            raise SchemaError(
                f"column `{name}` mixes time zones; give timezone= to convert all of them to"
            ) from None
        return pd.to_datetime(text, format=chosen, utc=True)


def _zoned(column: pd.Series, name: str, timezone: str | None) -> pd.Series:
    if timezone is None:
        return column
    try:
        if column.dt.tz is not None:
            return column.dt.tz_convert(timezone)
        return column.dt.tz_localize(timezone)
    except Exception as error:
        raise SchemaError(
            f"column `{name}` cannot be placed in time zone {timezone!r}: {error}; write the times "
            "with their UTC offset"
        ) from error


def _row(column: pd.Series, bad: np.ndarray) -> str:
    """Names the first bad row by its index label, the way every message does."""
    return f"{column.index.name or 'row'} {column.index[int(np.argmax(bad))]}"
