"""Resolution: a schema with every column named, found in a table where it was left open.

A column has a role by its name where people use that name for nothing else, or by the structure of the
table where that allows one reading. What is found so is said, and what has several readings is refused
with the options that name it: rows of two series or of two variables are never taken for those of one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import NoReturn

import numpy as np
import pandas as pd

from latentode.data.cells.columns import (
    cell_name,
    column_of,
    or_fill_down,
    or_no_row,
    row_name,
    some_names,
    without_arrow,
)
from latentode.data.cells.number_cells import flags_advice
from latentode.data.cells.number_text import is_text, looks_numeric
from latentode.data.cells.usual_names import (
    ID_NAMES,
    RANGE_NAMES,
    SURE_LONG_NAMES,
    TIME_NAMES,
    VALUE_NAMES,
    VARIABLE_NAMES,
    detect,
    usual,
)
from latentode.data.tables.joined_columns import require
from latentode.data.tables.roles import (
    UNNAMED,
    Search,
    looks_like_times,
    never_changes,
    repeats,
)
from latentode.data.tables.schema import Schema
from latentode.data.tables.series_roles import find_by_structure, find_id
from latentode.data.tables.time_roles import find_time, refuse_times_for_columns
from latentode.errors import SchemaError

__all__ = ["Resolution", "resolve"]

SHOWN = 60  # characters of a cell
MANY = 4  # a column with more values than a part of the rows so large holds more than places
# The columns of answers, beside which a table's identifier and time stand.
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
        refuse_times_for_columns(
            search.free(), [c for c in search.frame.columns if c in search.taken()]
        )
    _find_long(search)
    find_time(search)
    find_id(search)
    find_by_structure(search)
    if search.schema.layout is None:
        search.schema = replace(search.schema, layout="wide")
    search.schema.refuse_columns(ANSWERS)
    find_targets = _long_targets if search.schema.layout == "long" else _wide_targets
    resolved = find_targets(search)
    _check_transforms(resolved)
    return Resolution(resolved, tuple(search.notes))


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
    if found and not declared:
        _refuse_one_name(search, str(variable), str(value))
    if found:
        search.schema = replace(schema, layout="long", variable=variable, value=value)
    elif declared:
        raise SchemaError(
            f"a long table needs a column of variable names and one of values; name them with "
            f"variable= and value=; there are {some_names(search.frame.columns)}"
        )


def _refuse_one_name(search: Search, variable: str, value: str) -> None:
    """Raises where a long table would be of one variable, and leave out what was measured beside it."""
    names = search.column(variable).dropna().unique()
    if len(names) != 1 or search.schema.targets is not None or usual(variable) == "variable":
        return
    others = [c for c in search.free() if c not in (variable, value) and _is_measured(search, c)]
    others = [c for c in others if MANY * search.column(c).nunique() > len(search.frame)]
    if others:
        raise SchemaError(
            f"columns `{variable}` and `{value}` make a long table of {names[0]!r} alone, in which "
            f"{some_names(others)} would have no part; say layout='wide' if `{value}` is one variable "
            "beside others, layout='long' if it is the only one"
        )


def _may_be_long(search: Search, variable: str, value: str) -> bool:
    names, values = search.column(variable), search.column(value)
    if not (is_text(names) or pd.api.types.is_integer_dtype(names)) or not repeats(names):
        return False
    if looks_like_times(names):  # such as days, "Tag"
        return False
    if not is_text(names) and names.dropna().isin([0, 1]).all():  # which are no names
        return False
    if is_text(names) and looks_numeric(names) and names.astype(str).str.contains(r"\d[.,]\d").any():
        return False
    if not (pd.api.types.is_numeric_dtype(values) or looks_numeric(values)):
        return False
    others = [c for c in search.free() if c not in (variable, value)]
    return not any(_is_measured(search, c) for c in others)


def _is_measured(search: Search, name: str) -> bool:
    column = search.column(name)
    if not pd.api.types.is_float_dtype(column) or name.startswith(UNNAMED):
        return False
    if usual(name) in (*TIME_NAMES, *ID_NAMES, *RANGE_NAMES):
        return False
    values = column.dropna().to_numpy(np.float64)
    return bool((values != np.floor(values)).any())


def _long_targets(search: Search) -> Schema:
    column = column_of(search.frame, str(search.schema.variable))
    missing = column.isna().to_numpy()
    if is_text(column):
        missing = missing | (column.astype(str).str.strip() == "").to_numpy()
    if missing.any():
        raise SchemaError(
            f"column `{search.schema.variable}` names no variable at {row_name(column, missing)}; name "
            f"it or remove that row{or_no_row(missing) or or_fill_down(column, missing)}"
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
        _refuse_without_targets(search)
    same = [name for name in targets if never_changes(search.column(name))]
    if same and len(same) < len(targets):
        search.say(
            f"{some_names(same)} never {'changes' if len(same) == 1 else 'change'}; leave_out= "
            "has what never changes not modelled"
        )
    return replace(search.schema, targets=tuple(targets))


def _refuse_without_targets(search: Search) -> NoReturn:
    free = [search.column(c) for c in search.free()]
    told = "name them with targets="
    if not any(map(pd.api.types.is_numeric_dtype, free)):
        shown = ", ".join(islice(filter(None, map(_no_number, free)), 3))
        advice = next(filter(None, (flags_advice(c.dropna()) for c in free if is_text(c))), "")
        told = f"{shown}, which is no number; write what is to be modelled as numbers in one unit"
        told += advice
        told = told if shown else "add a column of values"
    raise SchemaError(
        f"no numeric column is left to model among {some_names(search.frame.columns)}; {told}"
    )


def _no_number(column: pd.Series) -> str | None:
    """Names the first cell of text that is no number."""
    if not is_text(column):
        return None
    plain = without_arrow(column).astype(object)
    bad = (plain.notna() & pd.to_numeric(plain, errors="coerce").isna()).to_numpy(dtype=bool)
    return f"`{column.name}` holds {cell_name(plain, bad, SHOWN)}" if bad.any() else None


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
