"""Cautions: what nobody asked about a table that was read, and has to be pointed out all the same.

None of it is an error: numbers that may stand for missing ones, names that differ in blanks, times far
from all others, a variable that is a property of its series, and rows that may be of several series.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from latentode.data.columns import column_of, row_name, some_names
from latentode.data.schema import Schema
from latentode.data.time_axis import TimeAxis
from latentode.data.time_reading import far_times

__all__ = ["cautions", "is_far_code"]

FAR = 2  # ranges of all other values
RUNS = 10  # rows that one run through the times has at least, on average
BEHIND = 0.25  # share of rows before the latest time so far, beyond which these are no late ones
_CODE = re.compile(r"-?(?:9{2,}|8{3,}|7{3,})(?:\.[09]+)?")


def cautions(
    table: pd.DataFrame, schema: Schema, axis: TimeAxis, codes: np.ndarray, asked: bool
) -> list[str]:
    """Sentences to say of a table.

    Args:
        table: times parsed and values numeric.
        schema: names every column.
        axis: what the times mean.
        codes: the series of each row.
        asked: whether somebody named the targets.
    """
    values = list(schema.targets or ()) if schema.layout == "wide" else [str(schema.value)]
    names = (*values, *schema.known_future)
    notes = [_far_code(column_of(table, name)) for name in names]
    notes += _odd_labels(table, schema)
    notes.append(far_times(column_of(table, str(schema.time)), axis))
    if not asked:
        if (np.diff(codes) < 0).any():
            order = np.argsort(codes, kind="stable")
            table, codes = table.iloc[order], codes[order]
        if schema.layout == "wide":
            notes.append(_constant_within(table, values, codes))
        notes.append(_run_through_again(table, schema, axis, codes))
    return [note for note in notes if note is not None]


def _constant_within(table: pd.DataFrame, names: list[str], codes: np.ndarray) -> str | None:
    """Points out variables that never change within a series and differ between series."""
    found = []
    for name in names if codes[-1] > 0 else ():
        values = column_of(table, name).to_numpy(np.float64, na_value=np.nan)
        observed = ~np.isnan(values)
        step, same = np.diff(values[observed]) != 0, np.diff(codes[observed]) == 0
        if same.any() and step.any() and not (step & same).any():
            found.append(name)
    if not found or len(found) == len(names):
        return None
    return (
        f"constant within each series: {some_names(found)}; name what is known of a series "
        "beforehand in static_covariates=, or say leave_out="
    )


def _run_through_again(
    table: pd.DataFrame, schema: Schema, axis: TimeAxis, codes: np.ndarray
) -> str | None:
    """Points out times that run through the same span again, as those of series one after the other."""
    column = column_of(table, str(schema.time))
    ticks = axis.ticks_of(column)
    back = np.append(False, (np.diff(ticks) < 0) & (np.diff(codes) == 0))
    if not 0 < RUNS * int(back.sum()) <= len(ticks) or schema.layout == "long":
        return None
    latest = pd.Series(ticks).groupby(codes).cummax().to_numpy()
    if (ticks < latest).mean() < BEHIND:
        return None
    return (
        f"column `{schema.time}` goes back at {row_name(column, back)} and runs through the same times "
        "again, as where several series stand one after the other; if so, name the column that "
        "tells them apart with id="
    )


def _odd_labels(table: pd.DataFrame, schema: Schema) -> list[str]:
    """Points out identifiers and names of variables that differ in blanks at their ends alone."""
    notes = []
    for name in (schema.id, schema.variable):
        if name is None or pd.api.types.is_numeric_dtype(column_of(table, name)):
            continue
        labels = pd.Series(column_of(table, name).unique()).astype(str)
        twice = labels[labels.str.strip().duplicated(keep=False)]
        if len(twice):
            notes.append(
                f"column `{name}` holds {' and '.join(map(repr, twice[:2]))}, which differ in "
                "blanks alone "
                "and are taken for two; correct one of them if they are the same"
            )
    return notes


def is_far_code(value: float) -> bool:
    """Whether a number is written as those are that stand for a missing one, such as -9999."""
    return _CODE.fullmatch(f"{value:.10g}") is not None


def _far_code(column: pd.Series) -> str | None:
    """Points out a number such as -9999 far from all others, which may stand for a missing value."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    values = values[np.isfinite(values)]
    for code in {values.min(), values.max()} if len(values) > 2 else ():
        if not is_far_code(code):
            continue
        others = values[values != code]
        if len(others) > 1 and np.abs(others - code).min() > FAR * max(np.ptp(others), 1e-300):
            return (
                f"column `{column.name}` holds {code:.10g} in {len(values) - len(others)} rows, "
                "far from all "
                "other values; name it in na_values if it stands for a missing one"
            )
    return None
