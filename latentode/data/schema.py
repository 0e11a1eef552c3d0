"""Schema: which columns of a table are what. Declared once, frozen, JSON both ways.

Two layouts are read as they are: *wide*, a row per (series, time) with a column per variable and NaN
where nothing was observed, and *long*, a row per observation with a column that names the variable.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd

from latentode.data.timeaxis import UNITS
from latentode.errors import SchemaError

__all__ = ["Schema"]

ID_NAMES = ("id", "item_id", "unique_id", "series_id")
TIME_NAMES = ("time", "timestamp", "ds", "date", "datetime")
VARIABLE_NAMES = ("variable", "parameter", "itemid")
VALUE_NAMES = ("value", "valuenum")
MOSTLY_NUMERIC = 0.5


@dataclass(frozen=True)
class Schema:
    """The roles of a table's columns; what is left None is detected by `resolve`.

    Args:
        id: column that names the series; None if the table is one series and has no such column.
        time: column of times.
        targets: variables to model: columns of a wide table, names in the variable column of a long
            one. None means all.
        static: columns that are constant within a series, numeric or text.
        known: numeric columns whose future is known (doses, schedules); each value holds until the
            next.
        layout: "wide" or "long".
        variable: in the long layout, the column that names the variable.
        value: in the long layout, the column of values.
        time_unit: "s", "min", "h", "D" or "W": the unit of durations given as plain numbers, for
            calendar times ("h" unless told, "D" for dates).
        timezone: IANA name; naive times are taken to be in it, aware ones are converted to it.
        time_format: strptime format of times written as text, unless they are ISO 8601.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"unique_id": ["a"], "ds": ["2024-01-01"], "y": [1.0]})
        >>> Schema().resolve(frame).targets
        ('y',)
    """

    id: str | None = None
    time: str | None = None
    targets: tuple[str, ...] | None = None
    static: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    layout: str | None = None
    variable: str | None = None
    value: str | None = None
    time_unit: str | None = None
    timezone: str | None = None
    time_format: str | None = None

    def __post_init__(self) -> None:
        for name in ("targets", "static", "known"):
            given = getattr(self, name)
            if given is not None:
                columns = (given,) if isinstance(given, str) else tuple(given)
                object.__setattr__(self, name, columns)
        if self.layout not in (None, "wide", "long"):
            raise SchemaError(f"layout {self.layout!r} is unknown; write 'wide' or 'long'")
        if self.time_unit is not None and self.time_unit not in UNITS:
            raise SchemaError(f"time_unit {self.time_unit!r} is unknown; use {', '.join(UNITS)}")
        roles = [c for c in (self.id, self.time, self.variable, self.value) if c]
        roles += [*(self.targets or ()), *self.static, *self.known]
        twice = next((c for c in roles if roles.count(c) > 1), None)
        if twice is not None:
            raise SchemaError(f"column `{twice}` has two roles in the schema; give it one")

    def resolve(self, frame: pd.DataFrame) -> Schema:
        """This schema with every column named, detected in `frame` where it was left open.

        Raises:
            SchemaError: if a named column is missing, none can be detected, or a column that looks
                like a variable holds text.
        """
        if frame.columns.has_duplicates:
            twice = frame.columns[frame.columns.duplicated()][0]
            raise SchemaError(f"column `{twice}` occurs twice; rename one of them")
        if frame.empty:
            raise SchemaError(f"the table has no rows; its columns are {_names(frame.columns)}")
        named = [c for c in (self.id, self.time, self.variable, self.value) if c]
        _require(frame, [*named, *self.static, *self.known])
        layout = self.layout or self._detect_layout(frame)
        id_ = self.id or _detect(frame, ID_NAMES)
        time = self.time or _detect(frame, TIME_NAMES)
        if time is None:
            raise SchemaError(
                f"no time column: none of {_names(TIME_NAMES)} is among {_names(frame.columns)}; "
                "name it with time="
            )
        found = replace(self, id=id_, time=time, layout=layout)
        return found._resolve_long(frame) if layout == "long" else found._resolve_wide(frame)

    def describe(self) -> str:
        """One line that says what was chosen."""
        parts = [f"{self.layout} layout", f"id={self.id or 'none (one series)'}"]
        parts.append(f"time={self.time}")
        if self.layout == "long":
            parts.append(f"variable={self.variable}, value={self.value}")
        parts.append(f"targets={', '.join(self.targets or ())}")
        parts += [f"{n}={', '.join(getattr(self, n))}" for n in ("static", "known") if getattr(self, n)]
        return "; ".join(parts)

    def columns(self) -> list[str]:
        """The table's columns that a resolved schema reads, each once."""
        targets = self.targets if self.layout == "wide" else (self.variable, self.value)
        named = (self.id, self.time, *(targets or ()), *self.static, *self.known)
        return [c for c in named if c is not None]

    def to_json(self) -> str:
        """A JSON object; `from_json` is its inverse."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Reads what `to_json` wrote."""
        return cls(**json.loads(text))

    def _detect_layout(self, frame: pd.DataFrame) -> str:
        variable = self.variable or _detect(frame, VARIABLE_NAMES)
        value = self.value or _detect(frame, VALUE_NAMES)
        return "long" if variable and value else "wide"

    def _resolve_long(self, frame: pd.DataFrame) -> Schema:
        variable = self.variable or _detect(frame, VARIABLE_NAMES)
        value = self.value or _detect(frame, VALUE_NAMES)
        if variable is None or value is None:
            raise SchemaError(
                f"a long table needs a column of variable names and one of values; name them with "
                f"variable= and value=; there are {_names(frame.columns)}"
            )
        missing = frame[variable].isna().to_numpy()
        if missing.any():
            label = frame.index[int(missing.argmax())]
            raise SchemaError(
                f"column `{variable}` names no variable at {frame.index.name or 'row'} {label}; "
                "name it or remove that row"
            )
        present = sorted(frame[variable].astype(str).unique())
        return replace(self, variable=variable, value=value, targets=self.targets or tuple(present))

    def _resolve_wide(self, frame: pd.DataFrame) -> Schema:
        if self.targets is not None:
            _require(frame, list(self.targets))
            return self
        roles = {self.id, self.time, *self.static, *self.known}
        rest = [c for c in frame.columns if c not in roles]
        targets = [c for c in rest if pd.api.types.is_numeric_dtype(frame[c])]
        for column in rest:
            if column not in targets:
                _refuse_spoilt_numbers(frame, column)
        if not targets:
            raise SchemaError(
                f"no numeric column is left to model among {_names(frame.columns)}; name them with "
                "targets="
            )
        return replace(self, targets=tuple(targets))


def _detect(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    lowered = {str(c).lower(): c for c in reversed(frame.columns)}
    return next((lowered[n] for n in names if n in lowered), None)


def _require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise SchemaError(
                f"column `{column}` is not in the table, whose columns are {_names(frame.columns)}"
            )


def _refuse_spoilt_numbers(frame: pd.DataFrame, column: str) -> None:
    """A text column is left out unless it is plainly a numeric one with a few cells of text."""
    values = frame[column].dropna()
    numbers = pd.to_numeric(values, errors="coerce").notna()
    if len(values) and numbers.mean() >= MOSTLY_NUMERIC:
        refuse_text(frame[column])


def refuse_text(column: pd.Series) -> None:
    """Raises the error for the first cell of a numeric column that is not a number."""
    bad = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    at = int(bad.argmax())
    if not bad.any():
        raise SchemaError(
            f"column `{column.name}` holds numbers written as text; convert it with pandas.to_numeric"
        )
    raise SchemaError(
        f"column `{column.name}` has dtype {column.dtype}: {column.iloc[at]!r} at "
        f"{column.index.name or 'row'} {column.index[at]} is not a number. Correct it, name it in "
        f"na_values when reading the file, or leave `{column.name}` out of targets"
    )


def _names(columns: Sequence[object] | pd.Index, limit: int = 8) -> str:
    shown = ", ".join(f"`{c}`" for c in list(columns)[:limit])
    return shown + (f" and {len(columns) - limit} more" if len(columns) > limit else "")
