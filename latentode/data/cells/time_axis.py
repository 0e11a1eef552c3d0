"""TimeAxis: what a table's time column means, exactly, in both directions.

A time is kept as an integer *tick* since the epoch (datetimes, dates, integers) or as a float, and
becomes float64 in the *time unit* only relative to an origin of its own series, before any cast to
float32: an epoch in float32 resolves minutes. What comes in goes out again: same type, same zone.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.arrays import DatetimeArray, TimedeltaArray
from pandas.errors import OutOfBoundsDatetime, OutOfBoundsTimedelta

from latentode.data.cells.clock_times import in_plain_units
from latentode.errors import SchemaError, as_float, shown

__all__ = ["KINDS", "UNITS", "Duration", "TimeAxis", "TimeUnits"]

Duration = str | float | int | pd.Timedelta | dt.timedelta | np.timedelta64

KINDS = ("datetime", "date", "elapsed", "integer", "float")
FARTHEST = float(2**63 - 2**10)  # ticks, the largest number below 2^63
UNITS = {"s": "1s", "min": "1min", "h": "1h", "D": "1D", "W": "7D"}


class TimeUnits(float):
    """A duration that is counted in the time units of its table already, whatever these are.

    `TimeAxis.duration` returns one, and takes it back as it is.

    Example:
        >>> TimeAxis("datetime").duration(TimeAxis("datetime").duration("2D"))
        48.0
    """


@dataclass(frozen=True)
class TimeAxis:
    """How times of one table convert to ticks, to time units, and back.

    Args:
        kind: "datetime", "date", "elapsed" (a duration since the start of each series), "integer" or
            "float".
        unit: for datetimes and durations, numpy's unit of the column ("s", "ms", "us", "ns").
        timezone: name of the zone of aware datetimes, else None.
        time_unit: what one unit of model-facing time is: "s", "min", "h", "D" or "W" for calendar
            times; "1" for numbers, which are their own unit.
        declared: whether the time unit was chosen rather than supplied, so that a plain number can be
            meant as a duration in it.
        form: how the times were written, if not in ISO 8601; times that are asked for may be so too.
        clock: zone of the clock on the wall, if it is another than that of the column.
        zone_declared: whether the zone was declared, so that naive times that are asked for are in it.
        repeated_hour: "first" or "second": which pass they mean of an hour that the zone passed twice.
    """

    kind: str
    unit: str = "us"
    timezone: str | None = None
    time_unit: str = "h"
    declared: bool = False
    form: str | None = None
    clock: str | None = None
    zone_declared: bool = False
    repeated_hour: str | None = None

    @property
    def is_calendar(self) -> bool:
        """Whether times are counted in hours and days rather than in a unit of their own."""
        return self.kind in ("datetime", "date", "elapsed")

    @property
    def scale(self) -> str:
        """What times are compared with: "calendar", "elapsed" or "number"."""
        if self.kind == "elapsed":
            return "elapsed"
        return "calendar" if self.is_calendar else "number"

    @property
    def tick(self) -> str:
        """Unit of a tick: at least microseconds, so that forecast times between stamps are exact."""
        return "ns" if self.unit == "ns" else "us"

    @property
    def unit_name(self) -> str:
        """What to write after a number of time units: " h", or nothing where numbers are their own."""
        return f" {self.time_unit}" if self.is_calendar else ""

    @property
    def ticks_per_unit(self) -> float:
        """How many ticks a time unit has; 1 where times are numbers."""
        if not self.is_calendar:
            return 1.0
        return _unit(UNITS[self.time_unit]) / _unit(f"1{self.tick}")

    def to_units(self, ticks: np.ndarray, origin: np.ndarray | float) -> np.ndarray:
        """Time since `origin` in time units, float64; the difference is exact before the division.

        Raises:
            SchemaError: for a difference that 64 bits of ticks cannot hold.
        """
        if ticks.dtype.kind == "i" and ticks.size:
            ahead = float(ticks.max()) - float(np.min(origin))
            if max(ahead, float(np.max(origin)) - float(ticks.min())) > FARTHEST:
                raise SchemaError(
                    f"times lie too far apart for 64 bits of {self.tick}; correct or leave out those "
                    "that are centuries away from all others, or write times in a coarser unit"
                )
        return (ticks - origin).astype(np.float64) / self.ticks_per_unit

    @property
    def numbers_are_durations(self) -> bool:
        """Whether a plain number is a duration: of number times, of dates, or in a declared unit."""
        return self.declared or self.kind not in ("datetime", "elapsed")

    def duration(self, value: Duration, name: str = "horizon") -> TimeUnits:
        """A duration in time units: "24h", a timedelta, or a number in the table's own unit.

        A plain number, also one written as text, is a duration where its unit is plain: among times
        that are numbers, among dates (in days), and where a time unit was declared. Of datetimes it
        might be hours or days.

        Args:
            value: the duration; a `TimeUnits` is taken as it is.
            name: what to call it in messages.

        Raises:
            SchemaError: for what is no duration, or not a positive one, and for a number whose unit is
                not plain.
        """
        if isinstance(value, TimeUnits):
            return value
        number = _number(value) if isinstance(value, str) else value
        if _is_number(number):
            units = as_float(number)
        elif not self.is_calendar:
            raise SchemaError(
                f"{name} {value!r} is a calendar duration, but the time column holds numbers; give "
                "a number in the unit of that column"
            )
        else:
            units = self._calendar_duration(value, name)
        if not np.isfinite(units) or units < np.finfo(np.float64).tiny:
            raise SchemaError(f"{name} must be positive and finite, got {shown(value)}")
        if _is_number(number) and not self.numbers_are_durations:
            text = str(value).strip()
            raise SchemaError(
                f"{name} {value!r} has no unit, but the times are datetimes: {text}h or {text}D? Write "
                f"'{text}h', '{text}D' or '{text}s', or say what plain numbers mean when fitting, with "
                "time_unit="
            )
        return TimeUnits(units)

    def _calendar_duration(self, value: Duration, name: str) -> float:
        told = in_plain_units(value, name) if isinstance(value, str) else value
        try:
            return cast(pd.Timedelta, pd.Timedelta(told)) / _unit(UNITS[self.time_unit])
        except (OverflowError, OutOfBoundsDatetime, OutOfBoundsTimedelta) as error:
            raise SchemaError(
                f"{name} {value!r} lies too far ahead: 64 bits cannot hold it; ask for less"
            ) from error
        except (TypeError, ValueError) as error:
            raise SchemaError(
                f"{name} {value!r} is not a duration; write '24h', '30min', '7D'"
            ) from error

    def wall_clock(self, start: np.ndarray, time: np.ndarray) -> np.ndarray:
        """What the clock on the wall shows, in ticks: in the clock's zone, summer time included.

        Args:
            start: tick of each series' start.
            time: time units since it, of the same shape.

        Returns:
            Ticks since 1970-01-01 00:00 local time; of numeric times the numbers themselves.
        """
        ticks = start + time * self.ticks_per_unit
        if self.timezone is None:
            return ticks
        stamps = pd.to_datetime(np.rint(ticks).astype(np.int64), unit=cast(Any, self.tick))
        local = stamps.tz_localize("UTC").tz_convert(self.clock or self.timezone).tz_localize(None)
        return local.as_unit(cast(Any, self.tick)).asi8

    def cycle_phases(
        self, cycles: Sequence[Duration], start: np.ndarray, time: np.ndarray
    ) -> np.ndarray:
        r"""Sine and cosine of the phase of each cycle of the wall's clock.

        A model counts time from the forecast origin, so it does not know whether that is noon. Of a
        clock that shows s and a period p it is told $\sin(2\pi s / p)$ and $\cos(2\pi s / p)$, and the
        phase at any other time follows.

        Args:
            cycles: the periods.
            start, time: as for `wall_clock`, shape `(moments,)`.

        Returns:
            Shape `(moments, 2 * cycles)`.
        """
        clock = self.wall_clock(start, time)
        periods = np.array([self.duration(c, "cycles") for c in cycles]) * self.ticks_per_unit
        # Remainders in ticks are exact; an angle made of ticks since 1970 would not be.
        angle = 2 * math.pi * np.remainder(clock[:, None], periods) / periods
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    def ticks_of(self, column: pd.Series) -> np.ndarray:
        """The ticks of a column that `parse_times` produced or that holds this axis' type."""
        held = column.array
        if isinstance(held, DatetimeArray | TimedeltaArray) and held.unit == self.tick:
            return held.asi8  # pyright: ignore[reportAttributeAccessIssue]
        if self.kind == "datetime":
            naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if self.timezone else column
            return _as_unit(naive, self.tick).astype("int64").to_numpy()
        if self.kind == "date":
            return _as_unit(pd.to_datetime(column), self.tick).astype("int64").to_numpy()
        if self.kind == "elapsed":
            return _as_unit(column, self.tick, "timedelta64").astype("int64").to_numpy()
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
        whole = _whole(np.asarray(ticks), self.tick)
        if self.kind == "elapsed":
            spans = pd.Series(whole.view(f"m8[{self.tick}]"))
            if self.unit == self.tick:
                return spans
            coarse = _as_unit(spans, self.unit, "timedelta64")
            return coarse if (coarse == spans).all() else spans
        stamps: Any = pd.Series(whole.view(f"M8[{self.tick}]"))
        if self.kind == "date":
            if not (stamps == stamps.dt.normalize()).all():
                raise SchemaError(
                    "a time within a day was asked for, but the time column holds dates; convert it "
                    "with pandas.to_datetime, or ask for whole days"
                )
            return stamps.dt.date
        if self.unit != self.tick:
            coarse = _as_unit(stamps, self.unit)
            stamps = coarse if (coarse == stamps).all() else stamps
        if self.timezone is None:
            return stamps
        zoned = stamps.dt.tz_localize("UTC")
        return zoned if self.timezone == "UTC" else zoned.dt.tz_convert(self.timezone)

    def parse(self, values: pd.Series, name: str) -> pd.Series:
        """Times that a caller asks for, as a column of this axis' type or a finer one.

        Args:
            values: of any type that a time column may have; numbers may be written as text.
            name: what to call them in messages.

        Raises:
            SchemaError: if they cannot be compared with this axis (a zone on one side only, ...).
        """
        from latentode.data.cells.time_reading import read_asked

        return read_asked(self, values, name)

    def query_ticks(self, column: pd.Series) -> np.ndarray:
        """Ticks of what `parse` returned; fractions stay where the axis holds integers."""
        if self.kind == "integer" and not pd.api.types.is_integer_dtype(column):
            return column.to_numpy(dtype=np.float64)
        return self.ticks_of(column)


@cache
def _unit(text: str) -> pd.Timedelta:
    return cast(pd.Timedelta, pd.Timedelta(text))


def _as_unit(stamps: pd.Series, unit: str, kind: str = "datetime64") -> Any:
    """Naive datetimes or durations in another unit; towards a finer one nothing is lost.

    Raises:
        SchemaError: for one that the unit can't hold in 64 bits.
    """
    try:
        return stamps.astype(cast(Any, f"{kind}[{unit}]"))
    except (OverflowError, ValueError) as error:  # pandas' OutOfBounds errors are ValueErrors
        span = {"ns": "the years 1677 to 2262", "us": "292,000 years"}[unit]
        raise SchemaError(
            f"a time as far away as {_farthest(stamps)} cannot be held in {unit}, which cover {span}; "
            "write times in microseconds, or ask for nearer ones"
        ) from error


def _farthest(stamps: pd.Series) -> Any:
    low, high = stamps.min(), stamps.max()
    years = [abs(getattr(t, "year", 0) - 1970) for t in (low, high)]
    return high if years[1] >= years[0] else low


def _whole(ticks: np.ndarray, unit: str) -> np.ndarray:
    """Ticks as integers, none of which may have wrapped around.

    Raises:
        SchemaError: for one that 64 bits can't hold.
    """
    if ticks.dtype.kind == "f" and not (np.abs(ticks) < FARTHEST).all():
        raise SchemaError(
            f"a time was asked for that is too far away to be counted in {unit} in 64 bits; ask for "
            "a nearer one"
        )
    return ticks.astype(np.int64)


def _is_number(value: object) -> bool:
    """Also of numpy's types; but no boolean, and no timedelta, which is one of numpy's integers."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_ | np.timedelta64)


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
