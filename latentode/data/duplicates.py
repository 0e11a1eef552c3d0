"""Duplicates: several rows of one series and time, in the long layout also of one variable.

They are refused unless somebody says what they mean, with the column that tells them apart if there is
one.
"""

from __future__ import annotations

import pandas as pd

from latentode.data.columns import IntoFrame, column_of, row_name, to_pandas
from latentode.data.joined_columns import joined
from latentode.data.number_text import is_text
from latentode.data.reading import key_columns, value_columns
from latentode.data.roles import codes_of, repeats
from latentode.data.schema import Schema
from latentode.errors import SchemaError

__all__ = ["DUPLICATES", "merge_duplicates", "refuse_revisions"]

DUPLICATES = ("error", "mean", "last")
CLOCKS_CHANGE = 4  # hours after midnight by which summer time has ended everywhere


def merge_duplicates(
    table: pd.DataFrame, schema: Schema, policy: str, frame: IntoFrame | None = None
) -> pd.DataFrame:
    """One row per (series, time), in the long layout per (series, time, variable).

    Args:
        table: from `read_columns`.
        schema: resolved.
        policy: "error", "mean" (of the observed values) or "last" (observed value by row order).
        frame: what the table was read from, where the error looks for a column that tells them apart.
    """
    keys = key_columns(schema)
    twice = table.duplicated(subset=keys, keep="first").to_numpy()
    if not twice.any():
        return table
    if policy == "error":
        at = ", ".join(f"{k}={column_of(table, k).iloc[int(twice.argmax())]}" for k in keys)
        at_night = _at_night(column_of(table, str(schema.time))[twice])
        apart = "" if frame is None else _told_apart(to_pandas(frame), table, schema)
        clocks = "; or give timezone= if clocks were set back then" if at_night else ""
        raise SchemaError(
            f"{twice.sum()} rows repeat another row's {' and '.join(f'`{k}`' for k in keys)}, first "
            f"{row_name(column_of(table, keys[0]), twice)} ({at}); remove them, or choose "
            f"duplicates='mean' or 'last'{clocks}{apart}"
        )
    # Numbered by first appearance, so group i is row i of what is left; labels of rows stay.
    group = table.groupby(keys, sort=False, observed=True).ngroup().to_numpy()
    merged = table[~twice].copy()
    for name in table.columns.difference(keys, sort=False):
        how = policy if name in value_columns(schema) else "last"
        merged[name] = column_of(table, name).groupby(group).agg(how).array
    return merged


def refuse_revisions(table: pd.DataFrame, known: int, schema: Schema) -> None:
    """Raises for a row that repeats one of the first `known` rows, by its series and time."""
    keys = key_columns(schema)
    again = table.duplicated(subset=keys).to_numpy()[known:]
    if again.any():
        row = int(again.argmax())
        at = ", ".join(f"{k}={column_of(table, k).iloc[known + row]}" for k in keys)
        raise SchemaError(
            f"row {row} of the new ones is known already ({at}); give it once, or set "
            "duplicates='last' on the forecaster, so that a later row revises an earlier one"
        )


def _told_apart(frame: pd.DataFrame, table: pd.DataFrame, schema: Schema) -> str:
    """Advice about columns without a role that tell repeated rows apart."""
    keys = [codes_of(column_of(table, c)) for c in key_columns(schema)]
    read = {*schema.columns(), schema.date, *schema.leave_out} - {*value_columns(schema)}
    for name in frame.columns:
        column = column_of(frame, name)
        if name in read or not (is_text(column) or pd.api.types.is_integer_dtype(column)):
            continue
        if not repeats(column) or pd.Series(codes_of(*keys, column)).duplicated().any():
            continue
        both = joined([schema.id, name]) if schema.id is not None else name
        return f"; or say id='{both}', if `{name}`, which tells them apart, names the series too"
    return ""


def _at_night(times: pd.Series) -> bool:
    """Whether naive times all lie within the hours in which clocks are set back."""
    if not pd.api.types.is_datetime64_any_dtype(times) or times.dt.tz is not None:
        return False
    return bool((times.dt.hour < CLOCKS_CHANGE).all() and (times != times.dt.normalize()).any())
