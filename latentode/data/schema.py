"""Schema: which columns of a table are what. Declared once, frozen, JSON both ways.

Two layouts are read as they are: *wide*, a row per (series, time) with a column per variable and NaN
where nothing was observed, and *long*, a row per observation with a column that names the variable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, cast

import pandas as pd

from latentode.data.columns import column_of, detect, refuse_text, row_name, some_names
from latentode.data.file_format import FileFormat
from latentode.data.time_axis import UNITS
from latentode.data.transforms import Spec, check_spec
from latentode.errors import SchemaError

__all__ = ["AUTO", "Schema"]

AUTO, NONE = "auto", "none"  # of cycles
ID_NAMES = ("id", "item_id", "unique_id", "series_id")
TIME_NAMES = ("time", "timestamp", "ds", "date", "datetime")
VARIABLE_NAMES = ("variable", "parameter", "itemid")
VALUE_NAMES = ("value", "valuenum")
MOSTLY_NUMERIC = 0.5
UNNAMED = "Unnamed: "  # what pandas calls a column without a header: row numbers, nearly always


@dataclass(frozen=True)
class Schema:
    """The roles of a table's columns; what is left None is detected by `resolve`.

    Args:
        id: column that names the series; None if the table is one series and has no such column.
        time: column of times.
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
        time_format: strptime format of times written as text, unless they are ISO 8601.
        cycles: periods of the clock that values follow, such as `("24h", "7D")`; a forecast is told
            where in each its origin lies, by the clock of the table's own zone. "auto" has a fit find
            them in its training series; the fitted model's schema names what was found. `()`, None and
            "none" mean none.
        transforms: per variable "log", "logit" (or `("logit", low, high)`; 0 and 1 by default),
            "box-cox" or "yeo-johnson": what its distribution is transformed by, fitted on training
            data, so that forecasts of a positive or bounded variable stay so.
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
    file_format: FileFormat = field(default_factory=FileFormat)

    def __post_init__(self) -> None:
        for name in ("targets", "static_covariates", "known_future"):
            given = getattr(self, name)
            if given is not None:
                columns = (given,) if isinstance(given, str) else tuple(given)
                object.__setattr__(self, name, columns)
        object.__setattr__(self, "cycles", _periods(self.cycles))
        transforms = {v: check_spec(v, given) for v, given in dict(self.transforms).items()}
        object.__setattr__(self, "transforms", transforms)
        if isinstance(self.file_format, Mapping):  # as JSON has it
            object.__setattr__(self, "file_format", FileFormat.of(self.file_format))
        if self.layout not in (None, "wide", "long"):
            raise SchemaError(f"layout {self.layout!r} is unknown; write 'wide' or 'long'")
        if self.time_unit is not None and self.time_unit not in UNITS:
            raise SchemaError(f"time_unit {self.time_unit!r} is unknown; use {', '.join(UNITS)}")
        roles = [*self._named(), *self.static_covariates, *self.known_future]
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
        _check_columns(frame)
        _require(frame, [*self._named(), *self.static_covariates, *self.known_future])
        long = self._resolve_names(frame)
        taken = (*long._named(), *long.static_covariates, *long.known_future)
        if long.layout == "wide":
            taken += long.targets or ()
        id_ = self.id or detect(frame.columns, ID_NAMES, taken)
        time = self.time or detect(frame.columns, TIME_NAMES, (*taken, id_))
        if time is None:
            raise SchemaError(
                f"no time column: none of {some_names(TIME_NAMES)} is among "
                f"{some_names(frame.columns)}; name it with time="
            )
        found = replace(long, id=id_, time=time)
        long_table = found.layout == "long"
        found = found._resolve_long(frame) if long_table else found._resolve_wide(frame)
        unknown = next((v for v in found.transforms if v not in (found.targets or ())), None)
        if unknown is not None:
            raise SchemaError(
                f"transforms= speaks of `{unknown}`, which is none of the variables to model, "
                f"{some_names(found.targets or ())}; correct its name"
            )
        return found

    def describe(self) -> str:
        """One line that says what was chosen."""
        parts = [f"{self.layout} layout", f"id={self.id or 'none (one series)'}"]
        parts.append(f"time={self.time}")
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

    def _named(self) -> list[str]:
        return [c for c in (self.id, self.time, self.variable, self.value) if c is not None]

    def _resolve_names(self, frame: pd.DataFrame) -> Schema:
        """Settles the layout and, in the long one, the columns of names and of values."""
        if self.layout == "wide":
            return self
        taken = [*self._named(), *self.static_covariates, *self.known_future]
        variable = self.variable or detect(frame.columns, VARIABLE_NAMES, taken)
        value = self.value or detect(frame.columns, VALUE_NAMES, taken)
        declared = self.layout == "long" or self.variable or self.value
        if variable is None or value is None:
            if not declared:
                return replace(self, layout="wide")
            raise SchemaError(
                f"a long table needs a column of variable names and one of values; name them with "
                f"variable= and value=; there are {some_names(frame.columns)}"
            )
        # Targets that are all columns were meant as such.
        if not declared and self.targets and set(self.targets) <= set(frame.columns):
            return replace(self, layout="wide")
        return replace(self, layout="long", variable=variable, value=value)

    def _resolve_long(self, frame: pd.DataFrame) -> Schema:
        column = column_of(frame, str(self.variable))
        missing = column.isna().to_numpy()
        if missing.any():
            raise SchemaError(
                f"column `{self.variable}` names no variable at {row_name(column, missing)}; name it "
                "or remove that row"
            )
        present = pd.Series(column.unique()).astype(str)
        return replace(self, targets=self.targets or tuple(sorted(present.unique())))

    def _resolve_wide(self, frame: pd.DataFrame) -> Schema:
        if self.targets is not None:
            _require(frame, list(self.targets))
            return self
        roles = {self.id, self.time, *self.static_covariates, *self.known_future}
        rest = [c for c in frame.columns if c not in roles and not c.startswith(UNNAMED)]
        targets = [c for c in rest if pd.api.types.is_numeric_dtype(column_of(frame, c))]
        for column in rest:
            if column not in targets:
                _refuse_spoilt_numbers(column_of(frame, column))
        if not targets:
            raise SchemaError(
                f"no numeric column is left to model among {some_names(frame.columns)}; name them "
                "with targets="
            )
        return replace(self, targets=tuple(targets))


def _periods(given: Any) -> str | tuple[str | float, ...]:
    """Cycles as a schema keeps them: "auto", or texts and numbers, which JSON can hold."""
    periods: tuple[Any, ...] = tuple(given) if isinstance(given, (tuple, list)) else (given,)
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
    named = tuple(p if isinstance(p, (str, int, float)) else str(pd.Timedelta(p)) for p in periods)
    twice = next((p for i, p in enumerate(named) if p in named[:i]), None)
    if twice is not None:
        raise SchemaError(f"cycles name {twice!r} twice; name each period once")
    return named


def _check_columns(frame: pd.DataFrame) -> None:
    if frame.empty:
        raise SchemaError(
            f"the table has no rows; its columns are {some_names(frame.columns) or 'none either'}; "
            "check the file or the filter that it came through"
        )
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise SchemaError(f"column `{twice}` occurs twice; rename one of them")
    for name in frame.columns:
        if not isinstance(name, str):
            raise SchemaError(
                f"column {name!r} has a name that is not text; rename it, for all columns with "
                "frame.columns = frame.columns.astype(str)"
            )


def _require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise SchemaError(
                f"column `{column}` is not in the table, whose columns are "
                f"{some_names(frame.columns)}; correct its name in the schema, or the table"
            )


def _refuse_spoilt_numbers(column: pd.Series) -> None:
    """A text column is left out unless it is plainly a numeric one with a few cells of text."""
    if not (pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)):
        return
    values = column.dropna()
    numbers = cast(pd.Series, pd.to_numeric(values.astype(object), errors="coerce")).notna()
    if len(values) and numbers.mean() >= MOSTLY_NUMERIC:
        refuse_text(column)
