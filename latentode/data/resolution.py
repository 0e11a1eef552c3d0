"""Resolution: a schema with every column named, found in a table where it was left open.

A column has a role by its name where people use that name for nothing else, or by the structure of the
table where that allows one reading. What is found so is said, and what has several readings is refused
with the options that name it: rows of two series or of two variables are never taken for those of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from latentode.data.columns import cell_name, column_of, row_name, some_names, without_arrow
from latentode.data.joined_columns import joined_times, parts_of_time, require
from latentode.data.number_text import is_text, looks_numeric
from latentode.data.roles import (
    UNNAMED,
    Search,
    are_dates,
    holds_clock,
    holds_hours,
    looks_like_times,
    never_changes,
    refuse_times_for_columns,
    repeats,
)
from latentode.data.schema import Schema
from latentode.data.series_roles import find_by_structure, find_id
from latentode.data.usual_names import (
    CLOCK_NAMES,
    DATE_NAMES,
    HOUR_NAMES,
    ID_NAMES,
    PARTS_OF_TIME,
    SURE_LONG_NAMES,
    SURE_TIME_NAMES,
    TIME_NAMES,
    VALUE_NAMES,
    VARIABLE_NAMES,
    detect,
    every,
    usual,
)
from latentode.errors import SchemaError

__all__ = ["Resolution", "resolve"]

# The columns of answers, beside which a table's identifier and time stand.
PARTS = ("year", "month", "day", "hour")
SHOWN = 60  # characters of a cell
ANSWERS = ("variable", "mean", "std", "sample", "value")


@dataclass(frozen=True)
class Resolution:
    """A schema that names every column, and what was found without being told.

    Args:
        schema: resolved.
        notes: sentences to say.
    """

    schema: Schema
    notes: tuple[str, ...] = ()


def resolve(schema: Schema, frame: pd.DataFrame) -> Resolution:
    """A schema for a table.

    Args:
        schema: what is known.
        frame: the table.

    Raises:
        SchemaError: if a named column is missing, a role has several readings, or a column that looks
            like a variable holds text.
    """
    _check_columns(frame, schema)
    search = Search(frame, schema)
    named = [*schema.named(), *schema.static_covariates, *schema.known_future]
    require(search.frame, named)
    if schema.targets is None and schema.layout != "long":
        refuse_times_for_columns(search.free())
    _find_long(search)
    _find_time(search)
    find_id(search)
    find_by_structure(search)
    if search.schema.layout is None:
        search.schema = replace(search.schema, layout="wide")
    search.schema.refuse_columns(ANSWERS)
    find_targets = _long_targets if search.schema.layout == "long" else _wide_targets
    resolved = find_targets(search)
    _check_transforms(resolved)
    return Resolution(resolved, tuple(search.notes))


def _find_time(search: Search) -> None:
    if search.schema.time is None:
        names = every(search.frame.columns, TIME_NAMES, search.taken())
        weak = ("t", *(name for part in PARTS_OF_TIME.values() for name in part))
        if not names or usual(names[0]) in weak:
            parts = parts_of_time(search.frame, search.taken())
            whole = any(looks_like_times(search.column(c)) for c in search.free())
            if parts and not whole:
                search.join_times(parts)
                return
            names = [] if parts else names
        time = names[0] if names else _time_by_contents(search)
        _refuse_parts(search, time)
        search.schema = replace(search.schema, time=time)
        _join_date(search, names[1:])
        if usual(str(search.schema.time)) not in (*SURE_TIME_NAMES, "date_time"):
            search.say(f"column `{search.schema.time}` is taken for the times; time= names another")
    elif search.schema.date is None:
        _join_date(search, every(search.frame.columns, DATE_NAMES, search.taken()))


def _refuse_parts(search: Search, time: str) -> None:
    """A day of the month, or a month of the year, is no time without the others."""
    parts = {p: c for p in PARTS for c in every(search.frame.columns, [p], search.taken())}
    if usual(time) in parts and len(parts) > 1:
        listed = list(parts.values())
        raise SchemaError(
            f"no time column: {some_names(listed)} hold parts of it; write them into one column, "
            "such as "
            f"pandas.to_datetime(frame[{listed!r}]), and name it with time="
        )


def _time_by_contents(search: Search) -> str:
    free = [c for c in search.free() if looks_like_times(search.column(c))]
    if len(free) == 1:
        return free[0]
    if free:
        raise SchemaError(
            f"no time column: {some_names(free)} all hold times; name the one that is meant with time="
        )
    raise SchemaError(
        f"no time column: none of {some_names(SURE_TIME_NAMES)} is among "
        f"{some_names(search.frame.columns)}; name it with time="
    )


def _join_date(search: Search, others: Sequence[str]) -> None:
    """Finds the column of dates where the times are times of a day, or the other way round."""
    time = str(search.schema.time)
    column = search.column(time)
    if holds_clock(column) and usual(time) in CLOCK_NAMES:
        dates = [c for c in others if not holds_clock(search.column(c))]
        for name in dates:
            whole = search.column(name)
            if are_dates(whole):
                search.schema = replace(search.schema, date=name)
                search.say(f"times are those of `{time}` on the days of `{name}`")
                return
            if looks_like_times(whole):
                search.schema = replace(
                    search.schema, time=name, leave_out=(*search.schema.leave_out, time)
                )
                search.say(f"times are those of `{name}`; `{time}` holds times of day and is left out")
                return
        return
    clock = next(iter(every(search.frame.columns, CLOCK_NAMES, [*search.taken(), time])), None)
    clocks = [c for c in search.free() if c != time and _holds_clock_text(search.column(c))]
    if clock is None and clocks and column.duplicated().any() and are_dates(column):
        _join_first(search, time, clocks)
        return
    if clock is None or usual(time) not in DATE_NAMES or not are_dates(column):
        return
    cells = search.column(clock)
    hours = usual(clock) in HOUR_NAMES and holds_hours(cells) and column.duplicated().any()
    if hours or _holds_clock_text(cells):
        search.schema = replace(search.schema, time=clock, date=time)
        search.say(f"times are those of `{clock}` on the days of `{time}`")


def _holds_clock_text(column: pd.Series) -> bool:
    return is_text(column) and holds_clock(column)


def _join_first(search: Search, date: str, clocks: Sequence[str]) -> None:
    """Joins a date that repeats with a time of day, where both go one way all through the table.

    Of several it is the first, which begins what ends at the others: these are left out.
    """
    first, *others = clocks
    out = (*search.schema.leave_out, *others)
    schema = replace(search.schema, time=first, date=date, leave_out=out)
    try:
        times = joined_times(search.frame, schema)
    except SchemaError:
        return
    one_way = times.is_monotonic_increasing or times.is_monotonic_decreasing
    if not one_way or times.duplicated().any():
        return
    search.schema = schema
    search.say(f"times are those of `{first}` on the days of `{date}`")
    if others:
        search.say(f"times of day in {some_names(others)} are left out")


def _find_long(search: Search) -> None:
    """Settles the layout and, in the long one, the columns of names and of values, by their names."""
    schema, taken = search.schema, search.taken()
    if schema.layout == "wide":
        return
    declared = schema.layout == "long" or schema.variable or schema.value
    variable = schema.variable or detect(search.frame.columns, SURE_LONG_NAMES[0], taken)
    value = schema.value or detect(search.frame.columns, SURE_LONG_NAMES[1], taken)
    # Targets that are all columns were meant as such.
    if not declared and schema.targets and set(schema.targets) <= set(search.frame.columns):
        search.schema = replace(schema, layout="wide")
        return
    found = variable is not None and value is not None
    if not found:
        variable = variable or detect(search.frame.columns, VARIABLE_NAMES, [*taken, value])
        value = value or detect(search.frame.columns, VALUE_NAMES, [*taken, variable])
        usable = variable is not None and value is not None
        found = usable and (bool(declared) or _may_be_long(search, str(variable), str(value)))
        if found and not declared:
            search.say(
                f"a long table: `{variable}` names the variable and `{value}` holds its value; "
                "layout='wide' says otherwise"
            )
    if found:
        search.schema = replace(schema, layout="long", variable=variable, value=value)
    elif declared:
        raise SchemaError(
            f"a long table needs a column of variable names and one of values; name them with "
            f"variable= and value=; there are {some_names(search.frame.columns)}"
        )


def _may_be_long(search: Search, variable: str, value: str) -> bool:
    names, values = search.column(variable), search.column(value)
    if not (is_text(names) or pd.api.types.is_integer_dtype(names)) or not repeats(names):
        return False
    if not is_text(names) and names.dropna().isin([0, 1]).all():  # which are no names
        return False
    if not (pd.api.types.is_numeric_dtype(values) or looks_numeric(values)):
        return False
    others = [c for c in search.free() if c not in (variable, value)]
    return not any(_is_measured(search, c) for c in others)


def _is_measured(search: Search, name: str) -> bool:
    column = search.column(name)
    if not pd.api.types.is_float_dtype(column) or name.startswith(UNNAMED):
        return False
    if usual(name) in (*TIME_NAMES, *ID_NAMES):
        return False
    values = column.dropna().to_numpy(np.float64)
    return bool((values != np.floor(values)).any())


def _long_targets(search: Search) -> Schema:
    column = column_of(search.frame, str(search.schema.variable))
    missing = column.isna().to_numpy()
    if missing.any():
        raise SchemaError(
            f"column `{search.schema.variable}` names no variable at {row_name(column, missing)}; name "
            "it or remove that row"
        )
    present = pd.Series(column.unique()).astype(str)
    targets = search.schema.targets or tuple(sorted(present.unique()))
    out = {c for c in search.schema.leave_out if c not in search.frame.columns}
    if search.schema.targets is None:
        targets = tuple(t for t in targets if t not in out)
    # So that a later table's variable, which nobody has left out, is told from these.
    others = sorted({*present} - {*targets, *search.frame.columns} - out)
    return replace(search.schema, targets=targets, leave_out=(*search.schema.leave_out, *others))


def _wide_targets(search: Search) -> Schema:
    if search.schema.targets is not None:
        require(search.frame, list(search.schema.targets))
        return search.schema
    targets = search.numeric()
    if not targets:
        raise SchemaError(
            f"no numeric column is left to model among {some_names(search.frame.columns)}; name them "
            "with targets="
        )
    same = [name for name in targets if never_changes(search.column(name))]
    if same and len(same) < len(targets):
        search.say(
            f"{some_names(same)} never {'changes' if len(same) == 1 else 'change'}; leave_out= "
            "has what never changes not modelled"
        )
    return replace(search.schema, targets=tuple(targets))


def _check_transforms(schema: Schema) -> None:
    targets = schema.targets or ()
    unknown = next((v for v in schema.transforms if v not in targets), None)
    if unknown is not None:
        raise SchemaError(
            f"transforms= speaks of `{unknown}`, which is none of the variables to model, "
            f"{some_names(targets)}; correct its name"
        )


def _check_columns(frame: pd.DataFrame, schema: Schema) -> None:
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
    named = {*schema.named(), *schema.static_covariates, *schema.known_future}
    for name in frame.columns.difference(list({*schema.leave_out} - named), sort=False):
        _refuse_nested(column_of(frame, name))


def _refuse_nested(column: pd.Series) -> None:
    """Raises for a column of lists or objects, as JSON may have them, or of complex numbers."""
    if column.dtype.kind == "c":
        raise SchemaError(
            f"column `{column.name}` holds complex numbers; give their parts columns of their own, or "
            f"say leave_out='{column.name}'"
        )
    arrow = isinstance(column.dtype, pd.ArrowDtype)
    if not pd.api.types.is_object_dtype(column) and not (arrow and column.dtype.kind == "O"):
        return
    plain = without_arrow(column)
    if pd.api.types.infer_dtype(plain, skipna=True) != "mixed":
        return
    nested = plain.map(lambda cell: isinstance(cell, list | dict | set | tuple | np.ndarray)).to_numpy()
    if nested.any():
        raise SchemaError(
            f"column `{column.name}` holds {cell_name(plain, nested, SHOWN)}, which is no single "
            "value; spread it over columns, as pandas.json_normalize does, or give "
            f"leave_out='{column.name}'"
        )
