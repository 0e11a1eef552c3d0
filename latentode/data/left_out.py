"""What is left out of a table, and why; what looks like data must not be left out in silence."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from latentode.data.columns import column_of, some_names, without_arrow
from latentode.data.number_text import is_text, looks_numeric
from latentode.data.roles import UNNAMED, codes_of, looks_like_times
from latentode.data.schema import Schema
from latentode.data.usual_names import ID_NAMES, TIME_NAMES, usual

__all__ = ["LeftOut", "left_out", "overlooked"]

PROBED = 10_000


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
    found = [_why(column_of(frame, c), schema) for c in frame.columns if c not in read]
    if schema.layout == "long":
        names = pd.Series(column_of(frame, str(schema.variable)).unique()).astype(str)
        others = sorted(set(names) - set(schema.targets or ()))
        found += [LeftOut(name, "no target") for name in others]
    return tuple(found)


def overlooked(found: tuple[LeftOut, ...]) -> str | None:
    """A sentence about what looks like data and is left out all the same; None if there is none."""
    names = [one.name for one in found if one.looks_like_data]
    if not names:
        return None
    return (
        f"left out, though it looks like data: {some_names(names)}; say leave_out= if that is meant, "
        "or name the columns that matter with targets="
    )


def _why(column: pd.Series, schema: Schema) -> LeftOut:
    name = str(column.name)
    if name in schema.leave_out:
        return LeftOut(name, "as asked")
    if name.startswith(UNNAMED):
        return LeftOut(name, "no name")
    cells = without_arrow(column).dropna().iloc[:PROBED]
    if cells.empty:
        return LeftOut(name, "empty")
    if looks_like_times(cells) or usual(name) in TIME_NAMES:
        return LeftOut(name, "times")
    if usual(name) in ID_NAMES or usual(name).endswith("_id"):
        return LeftOut(name, "another identifier")
    constant = len(column) > 1 and not codes_of(cells).any()
    if pd.api.types.is_numeric_dtype(cells) or (is_text(cells) and looks_numeric(cells)):
        return LeftOut(name, "numbers, not named", not constant)
    if is_text(cells) and cells.nunique() > 2 and _mostly_digits(cells.astype(str)):
        return LeftOut(name, "text with digits", looks_like_data=True)
    return LeftOut(name, "constant text" if constant else "text")


def _mostly_digits(text: pd.Series) -> bool:
    """Whether most cells are more digits than anything else, as "120/80" is."""
    digits = text.str.count(r"\d")
    return bool((digits > text.str.len() / 2).mean() > 0.5)
