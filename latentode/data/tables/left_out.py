"""Left out: columns without a role, and why; what looks like data is pointed out.

So are the variables of a later table that a model was not trained on, and that say nothing to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from latentode.data.cells.columns import column_of, some_names, without_arrow
from latentode.data.cells.number_text import is_text, looks_numeric
from latentode.data.cells.usual_names import ID_NAMES, STATE_NAMES, TIME_NAMES, UNIT_NAMES, usual
from latentode.data.tables.file_format import misread
from latentode.data.tables.joined_columns import JOINT, codes_of
from latentode.data.tables.roles import UNNAMED, is_label, looks_like_times
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError, warn

__all__ = ["PROBED", "LeftOut", "compare_variables", "left_out", "overlooked"]

PROBED = 10_000  # cells of a column without a role
SHOWN = 5  # near matches


@dataclass(frozen=True)
class LeftOut:
    """A column without a role, or a variable of a long table that is no target.

    Args:
        name: its name.
        why: why it has no part in the model.
        looks_like_data: whether it holds numbers that nobody decided on.
    """

    name: str
    why: str
    looks_like_data: bool = False


def left_out(frame: pd.DataFrame, schema: Schema) -> tuple[LeftOut, ...]:
    """What a resolved schema leaves out of a table.

    Args:
        frame: the table.
        schema: resolved.
    """
    read = {*schema.columns(), schema.date}
    read |= {part.strip() for c in (schema.id, schema.time) for part in str(c).split(JOINT)}
    found = [_why(column_of(frame, c), schema) for c in frame.columns if c not in read]
    first = frame.iloc[:PROBED]
    keys = (schema.id, schema.variable)
    known = [column_of(first, c) for c in keys if c is not None and c in frame.columns]
    base = codes_of(*known) if known else np.zeros(len(first), dtype=np.int64)
    found = [
        one if one.why != "text" else _label(one, column_of(first, one.name), base) for one in found
    ]
    if schema.layout == "long":
        names = pd.Series(column_of(frame, str(schema.variable)).unique()).astype(str)
        others = sorted(set(names) - set(schema.targets or ()))
        found += [LeftOut(name, "no target") for name in others]
    return tuple(found)


def _label(one: LeftOut, column: pd.Series, base: np.ndarray) -> LeftOut:
    """Labels that change within a series are data, of a kind that no model here takes."""
    if one.why != "text" or not is_label(column):
        return one
    if int(codes_of(base, column).max()) == int(base.max()):
        return one
    return replace(one, why="labels that change within a series", looks_like_data=True)


def overlooked(found: tuple[LeftOut, ...]) -> str | None:
    """A sentence about what looks like data and is left out all the same; None if there is none."""
    names = [one.name for one in found if one.looks_like_data]
    if not names:
        return None
    states = [name for name in names if usual(name) in STATE_NAMES]
    alike = f"; rows are read whatever {some_names(states)} says, so remove those that should not be"
    return (
        f"left out, though it looks like data: {some_names(names)}; say leave_out= if that is meant, "
        f"or name the columns that matter with targets={alike if states else ''}"
    )


def _why(column: pd.Series, schema: Schema) -> LeftOut:
    name = str(column.name)
    if name in schema.leave_out:
        return LeftOut(name, "as asked")
    cells = without_arrow(column).dropna().iloc[:PROBED]
    if name.startswith(UNNAMED):
        return LeftOut(name, "no name", pd.api.types.is_numeric_dtype(cells) and not _counts(cells))
    if cells.empty:
        return LeftOut(name, "empty")
    if cells.dtype.kind == "m":
        return LeftOut(name, "durations", looks_like_data=True)
    if looks_like_times(cells) or usual(name) in TIME_NAMES:
        return LeftOut(name, "times")
    if usual(name) in UNIT_NAMES and is_text(cells):
        return LeftOut(name, "the unit of the values")
    if usual(name) in ID_NAMES or usual(name).endswith("_id"):
        return LeftOut(name, "another identifier")
    constant = len(column) > 1 and not codes_of(cells).any()
    if pd.api.types.is_numeric_dtype(cells) or (is_text(cells) and looks_numeric(cells)):
        return LeftOut(name, "numbers, not named", not constant)
    if is_text(cells) and cells.nunique() > 2 and _mostly_digits(cells.astype(str)):
        return LeftOut(name, "text with digits", looks_like_data=True)
    if constant and len(cells) < len(column.iloc[:PROBED]):  # NA is a label, too
        return LeftOut(name, "one label beside empty cells", looks_like_data=True)
    return LeftOut(name, "constant text" if constant else "text")


def _counts(cells: pd.Series) -> bool:
    """Whether numbers are those of rows, or there are none."""
    return cells.empty or (cells.iloc[0] in (0, 1) and bool((np.diff(cells) == 1).all()))


def _mostly_digits(text: pd.Series) -> bool:
    """Whether most cells begin with a digit, as "120/80" and "1.2M" do."""
    return bool(text.str.match(r"[^\w]*\d").mean() > 0.5)


def compare_variables(frame: pd.DataFrame, schema: Schema) -> None:
    """Compares the variables of a later table with those that a model was trained on.

    Of a long table each may be absent, as where it was not measured; but not all of them.

    Args:
        frame: the later table.
        schema: of the model.

    Raises:
        SchemaError: for a wide table that lacks one of them, a long one that has none.

    Warns:
        UserWarning: naming variables of a long table that the model does not know.
    """
    known = [*(schema.targets or ())]
    if schema.layout == "wide":
        absent = next((v for v in known if v not in frame.columns), None)
        if absent is not None:
            free = [c for c in frame.columns if c not in schema.columns()]
            raise SchemaError(
                f"column `{absent}`, which the model was trained on, is not in the table, whose "
                f"columns are {some_names(frame.columns)}{_alike([absent], free)}; correct "
                f"its name, or add it empty if nothing was observed of it{misread(frame)}"
            )
    if schema.layout == "wide" or schema.variable not in frame.columns:
        return
    names = [str(n) for n in column_of(frame, str(schema.variable)).dropna().unique()]
    other = [n for n in names if n not in known and n not in schema.leave_out]
    if not other:
        return
    alike = _alike([v for v in known if v not in names], other)
    if not set(names) & set(known):
        raise SchemaError(
            f"column `{schema.variable}` names {some_names(other)}, but the model was trained on "
            f"{some_names(known)}, of which the table has none{alike}; write names as the training "
            "table did"
        )
    warn(
        f"column `{schema.variable}` names {some_names(other)}, which the model was not trained on, "
        f"so that their rows say nothing{alike}; it knows {some_names(known)}"
    )


def _alike(absent: Sequence[str], other: Collection[str]) -> str:
    """Which absent names are written nearly as others are; nothing if none is."""
    written = {name.casefold(): name for name in map(str, other)}
    near = {v: difflib.get_close_matches(v.casefold(), written, n=1) for v in absent}
    found = [f"`{v}` may be {written[like[0]]!r} there" for v, like in near.items() if like]
    return f" ({', '.join(found[:SHOWN])})" if found else ""
