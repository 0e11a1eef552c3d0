"""Qualifiers: columns that say how cells of other columns are to be read: their sign, unit or zone.

A laboratory writes `<` beside 0.5 or `mg/dL` beside 95, a logger `+01:00` beside a local time. Left out
in silence, a limit is taken for a value, two units for one, and two clocks for one.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from latentode.data.cells.columns import cell_name, column_of, row_name, without_arrow
from latentode.data.cells.number_text import is_text
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.cells.usual_names import OFFSET_NAMES, UNIT_NAMES, ZONE_NAMES, usual
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = ["Qualified", "qualifies", "qualify"]

_SIGNS = ("<", ">", "≤", "≥", "<=", ">=", "=<", "=>", "=", "==", "~", "")
_BEYOND = _SIGNS[:8]
# As the common data model of OMOP numbers them.
_OPERATORS = {4171754: "<=", 4171755: ">=", 4171756: "<", 4172703: "=", 4172704: ">"}
_ABBREVIATIONS = frozenset(
    (
        *("UTC", "GMT", "WET", "WEST", "CET", "CEST", "MET", "MEST", "MEZ", "MESZ", "EET", "EEST"),
        *("MSK", "BST", "IST", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "AST", "ADT"),
        *("NST", "NDT", "AKST", "AKDT", "HST", "JST", "KST", "HKT", "SGT", "AEST", "AEDT", "ACST"),
        *("ACDT", "AWST", "NZST", "NZDT", "SAST", "BRT", "ART"),
    )
)
_OFFSET = re.compile(r"(?:UTC|GMT)?[+-]\d{1,2}(?::?\d{2})?|UTC|GMT|Z")
_REMARK = re.compile(r"[A-Za-z]{1,3}")
_NAMED = 3  # rows in a message
_MOST = 100  # signs, units or zones that a column may have


@dataclass(frozen=True)
class Qualified:
    """What the qualifiers of a table say.

    Args:
        dropped: mask of the rows whose value only is a limit, and is to be taken as missing.
        units: the unit of each variable of a long table; of a wide one, under the column's own name.
        notes: sentences to say.
    """

    dropped: np.ndarray | None
    units: dict[str, str]
    notes: tuple[str, ...] = ()


def qualifies(column: pd.Series) -> bool:
    """Whether a column holds nothing but signs of limits, or offsets or names of time zones.

    Example:
        >>> qualifies(pd.Series(["<", "=", None])), qualifies(pd.Series(["+01:00", "-05:00"]))
        (True, True)
    """
    return _are_signs(column) or _are_zones(column)


def qualify(frame: pd.DataFrame, schema: Schema, asked: bool, axis: TimeAxis) -> Qualified:
    """Looks for qualifiers among the columns of a table that have no role.

    Args:
        frame: the table.
        schema: names every column.
        asked: whether the targets were named, so that a number among them was meant as such.
        axis: what the times mean.

    Raises:
        SchemaError: for limits about which nothing is said, for a variable in several units or another
            one than it was in before, and for times by several clocks.
    """
    read = {*schema.columns(), *schema.leave_out, schema.date}
    free = [c for c in frame.columns if c not in read]
    notes: list[str] = []
    dropped, units = None, {}
    for name in free:
        column = column_of(frame, name)
        if usual(name) == "operator_concept_id":
            column = column.map(_OPERATORS)
        if usual(name) in UNIT_NAMES:
            units |= _units(frame, column, schema)
        elif _are_signs(column) and column.isin(_BEYOND).any():
            dropped = _limits(column, schema, notes)
        elif _are_zones(column):
            _refuse_clocks(column, schema, axis, notes)
    told = {v: unit for v, unit in schema.units.items() if v in (schema.targets or ())}
    if schema.layout == "long" and told and not units:
        variable, unit = next(iter(told.items()))
        notes.append(
            "values have no column of units, and are taken to be in those of before, such as "
            f"{unit!r} of `{variable}`"
        )
    offsets = () if asked or schema.layout == "long" else schema.targets or ()
    for name in offsets:
        column = column_of(frame, name)
        if usual(name) in OFFSET_NAMES and len(column.unique()) > 1:
            _refuse_clocks(column, schema, axis, notes)
    return Qualified(dropped, units, tuple(notes))


def _holds_only(column: pd.Series, fits: Callable[[str], bool]) -> bool:
    """Whether a column holds a few texts, all of which fit."""
    if not is_text(column):
        return False
    for some in (column.iloc[:_MOST], column):  # most end at the first
        texts = without_arrow(some).astype(object).dropna().unique()
        if len(texts) > _MOST or not all(isinstance(t, str) and fits(t.strip()) for t in texts):
            return False
    return True


def _are_signs(column: pd.Series) -> bool:
    """Signs of limits; beside them may stand short codes, such as E for estimated."""
    if _holds_only(column, _SIGNS.__contains__):
        return bool((column.dropna() != "").any())
    found = _holds_only(column, lambda text: text in _SIGNS or _REMARK.fullmatch(text) is not None)
    return found and bool(column.isin(_BEYOND).any())


def _are_zones(column: pd.Series) -> bool:
    named = usual(str(column.name)) in ZONE_NAMES
    fits = (lambda text: _is_zone(text) or text in _ABBREVIATIONS) if named else _is_zone
    return _holds_only(column, fits) and bool((column.dropna() != "").any())


def _is_zone(text: str) -> bool:
    return text == "" or _OFFSET.fullmatch(text) is not None or text in _zones()


@cache
def _zones() -> frozenset[str]:
    return frozenset(z for z in zoneinfo.available_timezones() if "/" in z)


def _limits(column: pd.Series, schema: Schema, notes: list[str]) -> np.ndarray | None:
    values = [str(schema.value)] if schema.layout == "long" else list(schema.targets or ())
    beyond = column.astype(object).isin(_BEYOND).to_numpy()
    where = f"first {cell_name(column, beyond)}"
    if schema.censored is None:
        raise SchemaError(
            f"column `{column.name}` says of {int(beyond.sum())} rows that their value is only a "
            f"limit, {where}; choose censored='limit' to take it as the value, censored='drop' to "
            f"take it as missing, or leave_out='{column.name}' if it means something else"
        )
    taken = "their limit" if schema.censored == "limit" else "missing"
    notes.append(f"column `{column.name}`: {int(beyond.sum())} limits, {where}, taken as {taken}")
    if schema.censored == "limit":
        return None
    if len(values) > 1:
        raise SchemaError(
            f"column `{column.name}` says that a value is only a limit, {where}, but not which of "
            f"{len(values)} variables; write the sign into the cells, such as '<0.5', or choose "
            "censored='limit'"
        )
    return beyond


def _units(frame: pd.DataFrame, column: pd.Series, schema: Schema) -> dict[str, str]:
    """The unit of each variable, in the words that most of its rows have."""
    texts = column.astype(object).where(column.notna(), "").astype(str).str.strip().to_numpy()
    names = np.full(len(frame), str(column.name), dtype=object)
    told = texts != ""
    if schema.layout == "long":
        names = column_of(frame, str(schema.variable)).astype(str).to_numpy()
        told &= np.isin(names, list(schema.targets or ()))
    table = pd.DataFrame({"variable": names[told], "unit": texts[told]}, index=frame.index[told])
    found: dict[str, str] = {}
    counts = table.groupby(["variable", "unit"], sort=False).size().rename("count").reset_index()
    for variable, group in counts.groupby("variable", sort=False):
        units = group.sort_values("count", ascending=False, kind="stable")["unit"].tolist()
        of = f"variable `{variable}` is" if schema.layout == "long" else "values are"
        before = schema.units.get(str(variable), units[0])
        other = next((u for u in reversed(units) if _spelt(u) != _spelt(before)), None)
        if other is not None:
            bad = told & (names == variable) & (texts == other)
            most = "elsewhere" if before in units else "before"
            raise SchemaError(
                f"{of} in {other!r} at {_places(column, bad)} and in {before!r} {most}, as column "
                f"`{column.name}` says; convert them to one unit, or give leave_out='{column.name}' if "
                "both mean the same"
            )
        found[str(variable)] = before
    return found


def _places(column: pd.Series, bad: np.ndarray) -> str:
    """The first bad rows, and how many there are where they are too many to name."""
    rows = np.flatnonzero(bad)
    shown = [row_name(column.iloc[[row]], np.ones(1, dtype=bool)) for row in rows[:_NAMED]]
    last = f"{len(rows) - _NAMED} more" if len(rows) > _NAMED else shown.pop()
    return f"{', '.join(shown)} and {last}" if shown else last


def _spelt(unit: str) -> str:
    return unit.casefold().replace(" ", "")


def _refuse_clocks(column: pd.Series, schema: Schema, axis: TimeAxis, notes: list[str]) -> None:
    if not axis.is_calendar or axis.timezone is not None:
        return
    zones = list(dict.fromkeys(map(str, column.dropna())))
    if len(zones) > 1:
        raise SchemaError(
            f"times in `{schema.time}` are by several clocks, {zones[0]!r} and {zones[1]!r}, as column "
            f"`{column.name}` says, and have no zone of their own; write them with their UTC offset, "
            f"or give leave_out='{column.name}' if all are by one clock"
        )
    notes.append(
        f"times have no zone, though column `{column.name}` says {zones[0]!r} of all of them; give "
        "timezone= if that matters"
    )
