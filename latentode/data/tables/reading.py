"""Reading: from any table to the columns that a schema names, checked; the first half of a dataset.

What cannot be read is refused with its column, its row and the fix, before anything is computed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import (
    IntoFrame,
    column_of,
    or_fill_down,
    or_no_row,
    row_name,
    to_pandas,
    without_arrow,
)
from latentode.data.cells.number_text import NumberColumn, read_numbers, without_unit
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.cells.time_numbers import PLAIN
from latentode.data.cells.time_reading import TimeColumn, TimeForm, read_times
from latentode.data.tables.cautions import cautions
from latentode.data.tables.file_format import misread
from latentode.data.tables.joined_columns import JOINT, joined_times, with_joined_columns
from latentode.data.tables.left_out import left_out, overlooked
from latentode.data.tables.qualifiers import qualify
from latentode.data.tables.resolution import resolve
from latentode.data.tables.schema import Schema, check_schema
from latentode.errors import SchemaError, warn

__all__ = [
    "EXACT",
    "LARGEST",
    "Reading",
    "key_columns",
    "numeric_column",
    "observed_cells",
    "read_columns",
    "refuse_infinite",
    "series_codes",
    "times_of",
    "value_columns",
    "without_its_units",
]

EXACT = 2**53  # the largest integer up to which float64 holds each one
# What differs between two notes of one matter: how often, where first, and such a cell.
_COUNTED = re.compile(
    r"\d+ (?=(?:censored cells|limits|rows)\b)|first '.*?' at .*?(?=, taken)|such as '.*?'"
)
_READ = "latentode: in the units of before"
LARGEST = float(np.sqrt(np.finfo(np.float64).max / EXACT))  # the squares of so many can be added


@dataclass(frozen=True)
class Reading:
    """The columns of a table that a schema names, read.

    Args:
        table: rows as they were, times parsed and values numeric.
        schema: resolved.
        axis: what the time column means.
        notes: what was found without being told, or has to be pointed out.
    """

    table: pd.DataFrame
    schema: Schema
    axis: TimeAxis
    notes: tuple[str, ...] = ()

    def warn(self, said: Collection[str] = ()) -> None:
        """Says each note as a warning.

        Args:
            said: notes of an earlier table, not to be said again where only counts and places differ.
        """
        known = {_COUNTED.sub("", note) for note in said}
        for note in self.notes:
            if _COUNTED.sub("", note) not in known:
                warn(note)


def times_of(
    column: pd.Series, schema: Schema, codes: np.ndarray
) -> tuple[TimeColumn, Schema, TimeAxis]:
    """The times of a column, and what schema and axis are once they are read.

    Args:
        column: as the table has it, dates and clock times joined.
        schema: names every column.
        codes: the series of each row.

    Raises:
        SchemaError: for a time that cannot be read, or a cycle that is no duration of such times.
    """
    how = TimeForm(schema.time_format, schema.timezone, schema.repeated_hour)
    read = read_times(column, f"column `{schema.time}`", how, codes)
    axis = read.axis
    if axis.kind == "datetime" and _are_written_days(column, read.column, schema):
        axis = replace(axis, time_unit="D")
    if axis.is_calendar:
        declared = schema.time_unit is not None
        axis = replace(axis, time_unit=schema.time_unit or axis.time_unit, declared=declared)
        schema = schema if declared else replace(schema, time_unit=axis.time_unit)
    if schema.timezone is not None:
        axis = replace(axis, zone_declared=True, repeated_hour=schema.repeated_hour)
    # Also that numbers are plain: later ones may look like dates, and are not.
    found = read.form or (PLAIN if axis.kind in ("integer", "float") else None)
    if found is not None and schema.time_format is None:
        schema = replace(schema, time_format=found)
    for cycle in schema.periods:
        axis.duration(cycle, "cycles")
    return read, schema, axis


def _are_written_days(column: pd.Series, times: pd.Series, schema: Schema) -> bool:
    """Whether times were written as dates: text, numbers or parts that are midnight in each row."""
    if pd.api.types.is_datetime64_any_dtype(column) and JOINT not in str(schema.time):
        return False
    if times.dt.tz is not None or times.iloc[0] != times.iloc[0].normalize():
        return False
    return bool((times == times.dt.normalize()).all())


def read_columns(frame: IntoFrame, schema: Schema | None) -> Reading:
    """The columns that the schema reads, times parsed and values numeric, rows as they were.

    Infinities and repeated rows pass: a report counts them, `SeriesDataset` refuses them.

    Args:
        frame: wide or long, of pandas or any other that narwhals understands; it is not modified.
        schema: roles of the columns; what it leaves open is detected.

    Raises:
        SchemaError: naming column, row and fix.
    """
    check_schema(schema)
    frame = to_pandas(frame)
    try:
        return _read_columns(frame, schema)
    except SchemaError as error:
        advice = misread(frame)
        if not advice:
            raise
        raise SchemaError(f"{error}{advice}") from error


def _read_columns(frame: pd.DataFrame, schema: Schema | None) -> Reading:
    resolution = resolve(schema or Schema(), frame)
    declared_targets = schema is not None and schema.targets is not None
    schema, notes = resolution.schema, [*resolution.notes]
    if frame.attrs.get(_READ):
        schema = replace(schema, units={})
    frame = with_joined_columns(frame, schema)
    missed = None if declared_targets else overlooked(left_out(frame, schema))
    notes += [missed] if missed else []
    table = cast(pd.DataFrame, frame[schema.columns()]).apply(without_arrow).copy()
    _check_ids(table, schema)
    codes, _ = series_codes(table, schema)
    read, schema, axis = times_of(joined_times(frame, schema), schema, codes)
    name = str(schema.time)
    table[name] = read.column
    if schema.layout == "long":
        _blank_other_variables(table, schema)
    said = qualify(frame, schema, declared_targets, axis)
    units = {**schema.units, **said.units}
    point = any(pd.api.types.is_float_dtype(frame[c]) for c in frame.columns)
    for name in (*value_columns(schema), *schema.known_future):
        role = "value" if name == schema.value else "targets"
        role = "known_future" if name in schema.known_future else role
        number = numeric_column(column_of(table, name), role, schema, point)
        table[name] = number.column
        if said.dropped is not None and name in value_columns(schema):
            table[name] = number.column.mask(said.dropped)
        notes += [number.note] if number.note else []
        units |= {name: number.unit} if number.unit else {}
    _check_static(table, schema, codes)
    _check_known(table, schema, codes)
    notes += [*said.notes, *([read.note] if read.note else [])]
    notes += cautions(table, schema, axis, codes, declared_targets)
    return Reading(table, replace(schema, units=units), axis, tuple(notes))


def without_its_units(table: pd.DataFrame) -> pd.DataFrame:
    """A table that was read once, whose values are numbers in the units that they were in."""
    table.attrs[_READ] = True
    return table


def value_columns(schema: Schema) -> list[str]:
    """The columns that hold observed values."""
    return list(schema.targets or ()) if schema.layout == "wide" else [str(schema.value)]


def observed_cells(frame: pd.DataFrame, schema: Schema) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, variable and value of every cell that holds a value."""
    targets = list(schema.targets or ())
    if schema.layout == "wide":
        values = cast(pd.DataFrame, frame[targets]).to_numpy(dtype=np.float64, na_value=np.nan)
        row, variable = np.nonzero(~np.isnan(values))
        return row, variable, values[row, variable]
    # Names are compared once each, not once per row.
    codes, names = pd.factorize(column_of(frame, str(schema.variable)))
    variable = pd.Index(targets).get_indexer(pd.Index(names).astype(str))[codes]
    values = column_of(frame, str(schema.value)).to_numpy(dtype=np.float64, na_value=np.nan)
    row = np.nonzero((variable >= 0) & ~np.isnan(values))[0]
    return row, variable[row], values[row]


def key_columns(schema: Schema) -> list[str]:
    """The columns that together name a row."""
    keys = [c for c in (schema.id, schema.time) if c is not None]
    return [*keys, str(schema.variable)] if schema.layout == "long" else keys


def series_codes(table: pd.DataFrame, schema: Schema) -> tuple[np.ndarray, pd.Index]:
    """The series of each row, counted in order of first appearance, and their identifiers."""
    if schema.id is None:
        return np.zeros(len(table), dtype=np.int64), pd.Index(["series"])
    codes, ids = pd.factorize(column_of(table, schema.id))
    return codes.astype(np.int64), pd.Index(ids)


def refuse_infinite(table: pd.DataFrame, schema: Schema) -> None:
    """Raises for the first infinite value, from which there is no distance to anything, or one whose
    square is infinite as good as."""
    statics = [
        c for c in schema.static_covariates if pd.api.types.is_numeric_dtype(column_of(table, c))
    ]
    for name in (*value_columns(schema), *schema.known_future, *statics):
        column = column_of(table, name)
        infinite = np.isinf(column.to_numpy(dtype=np.float64, na_value=np.nan))
        if infinite.any():
            raise SchemaError(
                f"column `{name}` is infinite at {row_name(column, infinite)}; correct it, or leave "
                "the cell empty if nothing was observed"
            )
        large = np.abs(column.to_numpy(dtype=np.float64, na_value=np.nan)) > LARGEST
        if large.any():
            raise SchemaError(
                f"column `{name}` holds {column.iloc[int(large.argmax())]} at "
                f"{row_name(column, large)}, too large to be squared in 64 bits; correct it, or "
                f"write `{name}` in a larger unit"
            )


def _check_ids(table: pd.DataFrame, schema: Schema) -> None:
    if schema.id is None:
        return
    column = column_of(table, schema.id)
    missing = column.isna().to_numpy()
    if not pd.api.types.is_numeric_dtype(column):
        missing = missing | (column.astype(str) == "").to_numpy()
    if missing.any():
        raise SchemaError(
            f"column `{schema.id}` names no series at {row_name(column, missing)}; fill it in or "
            f"remove that row{or_no_row(missing) or or_fill_down(column, missing)}"
        )


def _blank_other_variables(table: pd.DataFrame, schema: Schema) -> None:
    """Rows of variables that are no targets keep their time and say nothing, not even text."""
    names = column_of(table, str(schema.variable))
    other = ~names.astype(str).isin(schema.targets or ())
    if not other.any():
        return
    table[str(schema.value)] = column_of(table, str(schema.value)).mask(other)


def numeric_column(
    column: pd.Series, role: str, schema: Schema | None = None, point_elsewhere: bool = False
) -> NumberColumn:
    """The column as numbers; one without any value becomes NaN.

    Args:
        column: of a table.
        role: the schema's name of its role, for the error.
        schema: what it says of censored cells and of decimal signs.
        point_elsewhere: whether other columns of the table have "." for a decimal sign.

    Raises:
        SchemaError: for text, and for integers too large to compute with.
    """
    schema = schema or Schema()
    unit = schema.units.get(str(column.name))
    if not pd.api.types.is_numeric_dtype(column):
        if column.notna().any():
            decimal = schema.file_format.decimal
            return read_numbers(column, role, schema.censored, decimal, point_elsewhere, unit)
        return NumberColumn(pd.Series(np.nan, index=column.index, name=column.name))
    if pd.api.types.is_integer_dtype(column):
        large = ((column > EXACT) | (column < -EXACT)).fillna(False).to_numpy(dtype=bool)
        if large.any():
            raise SchemaError(
                f"column `{column.name}` holds the integer {column.iloc[int(large.argmax())]} at "
                f"{row_name(column, large)}, too large to be computed with exactly; leave "
                f"`{column.name}` out of {role} if it is an identifier, or convert it to float"
            )
    return NumberColumn(column, None if unit is None else without_unit(column, unit))


def _check_static(table: pd.DataFrame, schema: Schema, codes: np.ndarray) -> None:
    """A static cell without a value says nothing; the others of a series must agree."""
    for name in schema.static_covariates:
        column = column_of(table, name)
        values = pd.Series(pd.factorize(column, use_na_sentinel=True)[0])
        values = values.where(values >= 0)
        first = values.groupby(codes).transform("first")
        changed = ((values != first) & values.notna()).to_numpy()
        if changed.any():
            raise SchemaError(
                f"static column `{name}` changes within its series at {row_name(column, changed)}; "
                "make it constant, or list it under targets"
            )


def _check_known(table: pd.DataFrame, schema: Schema, codes: np.ndarray) -> None:
    for name in schema.known_future:
        column = column_of(table, name)
        counts = column.notna().groupby(codes).transform("sum").to_numpy()
        if (counts == 0).any():
            begins = row_name(column, counts == 0)
            raise SchemaError(
                f"known-future column `{name}` has no value anywhere in the series that begins at "
                f"{begins}; give it at least once"
            )
