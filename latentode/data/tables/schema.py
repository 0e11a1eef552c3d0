"""Schema: which columns of a table are what. Declared once, frozen, JSON both ways.

Two layouts are read as they are: *wide*, a row per (series, time) with a column per variable and NaN
where nothing was observed, and *long*, a row per observation with a column that names the variable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import pandas as pd

from latentode.data.cells.clock_times import REPEATED
from latentode.data.cells.columns import some_names
from latentode.data.cells.number_text import CENSORED
from latentode.data.cells.time_axis import UNITS
from latentode.data.cells.usual_names import ID_NAMES, TIME_NAMES, VALUE_NAMES, VARIABLE_NAMES
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.transforms import Spec, check_spec
from latentode.errors import SchemaError, shown

__all__ = [
    "AUTO",
    "ID_NAMES",
    "TIME_NAMES",
    "VALUE_NAMES",
    "VARIABLE_NAMES",
    "Schema",
    "check_schema",
]

AUTO, NONE = "auto", "none"  # of cycles
_QUANTILE = re.compile(r"q0?\.\d+")


@dataclass(frozen=True)
class Schema:
    """The roles of a table's columns; what is left None is detected by `resolve`.

    Args:
        id: column that names the series; None if the table is one series and has no such column.
        time: column of times.
        date: column of dates, where the column of times holds times of a day.
        targets: variables to model: columns of a wide table, names in the variable column of a long
            one. None means all.
        static_covariates: columns that are constant within a series, numeric or text.
        known_future: numeric columns whose future is known (doses, schedules); each value holds
            until the next.
        layout: "wide" or "long".
        variable: in the long layout, the column that names the variable.
        value: in the long layout, the column of values.
        time_unit: "s", "min", "h", "D" or "W": the unit of time of a table of datetimes or dates; hours
            by default, days for dates. Plain numbers are durations of datetimes only where it is
            declared.
        timezone: IANA name; naive times are taken to be in it, aware ones are converted to it.
        time_format: how times are written, unless in ISO 8601: a strptime format, or one of
            `latentode.data.cells.time_reading.TIME_FORMS`: "epoch-s", "epoch-ms", "epoch-us",
            "epoch-ns", "excel", "yyyymmdd" and so on, "elapsed", "week", "quarter", "month",
            "decimal-year", a unit since a date such as "days since 1850-01-01", or "number" for plain
            numbers. Found where they can be nothing else.
        repeated_hour: "first" or "second": which pass is meant of the hour that comes twice when clocks
            are set back, where the order of rows does not say.
        leave_out: columns (of a long table also variables) that have no part in the model.
        censored: what becomes of cells such as "<0.5" or "HI": "limit" takes them as their limit,
            "drop" as missing; None refuses them.
        cycles: periods of the clock that values follow, such as `("24h", "7D")`; a forecast is told
            where in each its origin lies, by the clock of the table's own zone. "auto" has a fit find
            them in its training series; the fitted model's schema names what was found. `()`, None and
            "none" mean none.
        transforms: per variable "log", "logit" (or `("logit", low, high)`; 0 and 1 by default),
            "box-cox" or "yeo-johnson": what its distribution is transformed by, fitted on training
            data, so that forecasts of a positive or bounded variable stay so.
        units: per column, or variable of a long table, the unit that its values are written in; found,
            so that a later table in another unit is refused.
        file_format: how the files are written that the table is read from; a fitted model reads later
            ones so.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"unique_id": ["a"], "ds": ["2024-01-01"], "y": [1.0]})
        >>> Schema().resolve(frame).targets
        ('y',)
    """

    id: str | None = None
    time: str | None = None
    targets: tuple[str, ...] | None = None
    static_covariates: tuple[str, ...] = ()
    known_future: tuple[str, ...] = ()
    layout: str | None = None
    variable: str | None = None
    value: str | None = None
    time_unit: str | None = None
    timezone: str | None = None
    time_format: str | None = None
    cycles: str | float | Sequence[str | float | pd.Timedelta] | None = AUTO
    transforms: Mapping[str, Spec] = field(default_factory=dict, hash=False)
    date: str | None = None
    repeated_hour: str | None = None
    leave_out: tuple[str, ...] = ()
    censored: str | None = None
    units: Mapping[str, str] = field(default_factory=dict, hash=False)
    file_format: FileFormat = field(default_factory=FileFormat)

    def __post_init__(self) -> None:
        for name in ("targets", "static_covariates", "known_future", "leave_out"):
            given = getattr(self, name)
            if given is None and name == "targets":
                continue
            several = cast(Any, given) if isinstance(given, Iterable) else (given,)
            columns = (given,) if isinstance(given, str) else tuple(several)
            if not all(isinstance(column, str) for column in columns):
                raise SchemaError(f"{name} names columns, which are text; got {shown(given)}")
            object.__setattr__(self, name, columns)
        for name in ("id", "time", "date", "variable", "value"):
            given = getattr(self, name)
            if not isinstance(given, str | None):
                raise SchemaError(f"{name} {given!r} is no column's name; names of columns are text")
        object.__setattr__(self, "cycles", _periods(self.cycles))
        for name in ("transforms", "units"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise SchemaError(f"{name} is a mapping by variable, not {shown(given)}")
        transforms = {v: check_spec(v, given) for v, given in dict(self.transforms).items()}
        object.__setattr__(self, "transforms", transforms)
        object.__setattr__(self, "units", dict(self.units))
        if isinstance(self.file_format, Mapping):  # as JSON has it
            object.__setattr__(self, "file_format", FileFormat.of(self.file_format))
        if self.layout not in (None, "wide", "long"):
            raise SchemaError(f"layout {self.layout!r} is unknown; write 'wide' or 'long'")
        if self.time_unit is not None and str(self.time_unit) not in UNITS:
            raise SchemaError(f"time_unit {self.time_unit!r} is unknown; use {', '.join(UNITS)}")
        choices = {"repeated_hour": REPEATED, "censored": CENSORED}
        for name, allowed in choices.items():
            if getattr(self, name) not in (None, *allowed):
                raise SchemaError(
                    f"{name} {getattr(self, name)!r} is unknown; write "
                    f"{' or '.join(map(repr, allowed))}"
                )
        roles = [*self.named(), *self.static_covariates, *self.known_future]
        roles += [self.date] if self.date is not None else []
        if self.layout != "long" and self.variable is None:
            roles += self.targets or ()  # in the long layout targets are no columns
        twice = next((c for c in roles if roles.count(c) > 1), None)
        if twice is not None:
            raise SchemaError(f"column `{twice}` has two roles in the schema; give it one")

    def resolve(self, frame: pd.DataFrame) -> Schema:
        """This schema with every column named, detected in `frame` where it was left open.

        Raises:
            SchemaError: if a named column is missing, none can be detected, or a column that looks
                like a variable holds text.
        """
        from latentode.data.tables.resolution import resolve

        return resolve(self, frame).schema

    def describe(self) -> str:
        """One line that says what was chosen."""
        parts = [f"{self.layout} layout", f"id={self.id or 'none (one series)'}"]
        parts.append(f"time={self.time}" if self.date is None else f"time={self.date} {self.time}")
        if self.time_format not in (None, "number"):
            parts[-1] += f" ({self.time_format})"
        if self.layout == "long":
            parts.append(f"variable={self.variable}, value={self.value}")
        parts.append(f"targets={'all' if self.targets is None else ', '.join(self.targets)}")
        roles = {
            "static_covariates": self.static_covariates,
            "known_future": self.known_future,
            "cycles": tuple(map(str, self.periods)),
        }
        parts += [f"{name}={', '.join(chosen)}" for name, chosen in roles.items() if chosen]
        if self.transforms:
            parts.append(f"transforms={', '.join(f'{v}: {t}' for v, t in self.transforms.items())}")
        return "; ".join(parts)

    @property
    def periods(self) -> tuple[str | float, ...]:
        """The cycles that are named; none as long as a fit has still to find them."""
        return () if self.cycles == AUTO else cast(tuple[str | float, ...], self.cycles)

    def columns(self) -> list[str]:
        """The table's columns that a resolved schema reads, each once."""
        targets = self.targets if self.layout == "wide" else (self.variable, self.value)
        named = (self.id, self.time, *(targets or ()), *self.static_covariates, *self.known_future)
        return [c for c in named if c is not None]

    def refuse_columns(self, answers: Collection[str]) -> None:
        """Raises if identifier or time are called as a column of answers is, or a quantile."""
        for role, name in (("series", self.id), ("times", self.time)):
            if name is not None and (name in answers or _QUANTILE.fullmatch(name)):
                raise SchemaError(
                    f"column `{name}` names the {role}, but answers have a column of that name; "
                    "rename it, "
                    f"such as `{name}_{'id' if role == 'series' else 'time'}`"
                )

    def to_json(self) -> str:
        """A JSON object; `from_json` is its inverse."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Reads what `to_json` wrote.

        Raises:
            SchemaError: for anything else.
        """
        try:
            state = json.loads(text)
        except json.JSONDecodeError as error:
            raise SchemaError(f"the schema is not JSON: {error}; write it with to_json") from error
        names = [f.name for f in fields(cls)]
        unknown = set(state) - set(names) if isinstance(state, dict) else {str(state)}
        if unknown:
            raise SchemaError(
                f"the schema says {sorted(unknown)[0]!r}, which is unknown; use {some_names(names, 20)}"
            )
        return cls(**state)

    def named(self) -> list[str]:
        """The columns that are named for one role each."""
        return [c for c in (self.id, self.time, self.variable, self.value) if c is not None]


def check_schema(given: object) -> None:
    """Raises a `SchemaError` for what is given as a schema, and is none.

    Example:
        >>> check_schema(Schema(id="patient")), check_schema(None)
        (None, None)
    """
    if given is not None and not isinstance(given, Schema):
        raise SchemaError(f"schema is a Schema, such as Schema(id='patient'); got {shown(given)}")


def _periods(given: Any) -> str | tuple[str | float, ...]:
    """Cycles as a schema keeps them: "auto", or texts and numbers, which JSON can hold."""
    one = isinstance(given, str | bytes) or not isinstance(given, Iterable)
    periods: tuple[Any, ...] = (given,) if one else tuple(cast(Any, given))
    if periods == (AUTO,):
        return AUTO
    if periods in ((None,), (NONE,)):
        return ()
    mixed = next((p for p in periods if p is None or (isinstance(p, str) and p in (AUTO, NONE))), "")
    if mixed != "":
        raise SchemaError(
            f"cycles {mixed!r} stands beside other periods; write 'auto' to have them found, 'none' or "
            "() for none, or name the periods"
        )
    try:
        named = tuple(p if isinstance(p, (str, int, float)) else str(pd.Timedelta(p)) for p in periods)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"cycles are durations such as '24h', got {shown(given)}") from error
    twice = next((p for i, p in enumerate(named) if p in named[:i]), None)
    if twice is not None:
        raise SchemaError(f"cycles name {twice!r} twice; name each period once")
    return named
