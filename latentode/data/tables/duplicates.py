"""Duplicates: several rows of one series and time, in the long layout also of one variable.

They are refused unless somebody says what they mean, with the column that tells them apart if there is
one.
"""

from __future__ import annotations

import zoneinfo
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.cells.clock_times import pass_twice_a_day
from latentode.data.cells.columns import IntoFrame, column_of, row_name, some_names, to_pandas
from latentode.data.cells.number_text import is_text
from latentode.data.cells.usual_names import ID_NAMES, MAY_BE_MEASURED, usual
from latentode.data.tables.cautions import TWELVE_HOURS
from latentode.data.tables.joined_columns import codes_of, joined, telling_together
from latentode.data.tables.reading import key_columns, series_codes, value_columns
from latentode.data.tables.roles import are_dates, is_label, repeats
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError, warn

__all__ = ["DUPLICATES", "known_rows", "merge_duplicates", "other_readings", "with_new_rows"]

DUPLICATES = ("error", "mean", "last")
MOST_TIMES = 100  # that are looked up in all time zones
ALMOST = 0.1  # share of repeated rows that a column may leave that tells the others apart


def merge_duplicates(
    table: pd.DataFrame, schema: Schema, policy: str, frame: IntoFrame | None = None
) -> pd.DataFrame:
    """One row per (series, time), in the long layout per (series, time, variable).

    Args:
        table: from `read_columns`.
        schema: resolved.
        policy: "error", "mean" (of the observed values) or "last" (observed value by row order).
        frame: what an estimator reads the table from, where the error looks for a column that tells
            them apart; None where rows are merged before, as by adapters, which take the policy.
    """
    keys = key_columns(schema)
    twice = table.duplicated(subset=keys, keep="first").to_numpy()
    if not twice.any():
        return table
    if policy == "error":
        at = ", ".join(f"{k}={column_of(table, k).iloc[int(twice.argmax())]}" for k in keys)
        whose = " of the estimator, as in LatentODEForecaster(duplicates='mean')"
        whose = "" if frame is None else whose
        otherwise = other_readings(table, schema, None if frame is None else to_pandas(frame))
        merging = f"remove them, or choose duplicates='mean' or 'last'{whose}"
        if otherwise is not None:  # of a clock of 12 hours nothing is to be merged
            merging = otherwise if otherwise == TWELVE_HOURS else f"{otherwise}; or {merging}"
        raise SchemaError(
            f"{twice.sum()} rows repeat another row's {' and '.join(f'`{k}`' for k in keys)}, first "
            f"{row_name(column_of(table, keys[0]), twice)} ({at}); "
            f"{merging}"
        )
    # Numbered by first appearance, so group i is row i of what is left; labels of rows stay.
    group = table.groupby(keys, sort=False, observed=True).ngroup().to_numpy()
    merged = table[~twice].copy()
    for name in table.columns.difference(keys, sort=False):
        how = policy if name in value_columns(schema) else "last"
        merged[name] = column_of(table, name).groupby(group).agg(how).array
    return merged


def other_readings(table: pd.DataFrame, schema: Schema, frame: pd.DataFrame | None) -> str | None:
    """What repeated rows may be but duplicates: an hour that came twice, or rows of several series.

    Args:
        table: from `read_columns`, with repeated rows.
        schema: resolved.
        frame: what it was read from, where a column may tell them apart.

    Returns:
        What to do about them; None where they are nothing else.
    """
    times = column_of(table, str(schema.time))
    codes, _ = series_codes(table, schema)
    if pd.api.types.is_datetime64_any_dtype(times) and pass_twice_a_day(times, codes):
        return TWELVE_HOURS
    twice = table.duplicated(subset=key_columns(schema)).to_numpy()
    clocks = _set_back(times[twice])
    readings = ["give timezone= if clocks were set back then"] if clocks else []
    apart = None if frame is None else _told_apart(frame, table, schema)
    return "; or ".join(readings + ([] if apart is None else [apart])) or None


def known_rows(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Rows of a long table whose variable a model knows; new ones come one by one, of any variable.

    Warns:
        UserWarning: naming the variables of others, which say nothing to it.
    """
    if schema.variable not in frame.columns:
        return frame
    names = column_of(frame, str(schema.variable))
    told = (names.astype(str).isin([*(schema.targets or ())]) | names.isna()).to_numpy()
    other = [n for n in names[~told].astype(str).unique() if n not in schema.leave_out]
    if other:
        warn(
            f"new rows are of {some_names(other)}, which the model was not trained on, and say "
            f"nothing; it knows {some_names(schema.targets or ())}"
        )
    return frame[told]


def with_new_rows(
    history: pd.DataFrame, added: pd.DataFrame, schema: Schema, policy: str
) -> pd.DataFrame:
    """A history with new rows, whose places are counted in what was handed in.

    Args:
        history: from `read_columns`.
        added: likewise.
        schema: resolved.
        policy: of `DUPLICATES`; where it is "error", no new row may be one of the history's.

    Raises:
        SchemaError: for a row that is known already, or times of another kind.
    """
    time = str(schema.time)
    if added[time].dtype != history[time].dtype:
        added = added.assign(**{time: _as_before(added[time], history[time])})
    table = cast(pd.DataFrame, pd.concat([history, added], ignore_index=True))
    if policy == "error":
        keys = key_columns(schema)
        again = table.duplicated(subset=keys).to_numpy()[len(history) :]
        if again.any():
            row = int(again.argmax())
            at = ", ".join(f"{k}={column_of(added, k).iloc[row]}" for k in keys)
            raise SchemaError(
                f"{row_name(column_of(added, keys[0]), again)} of the new rows is known already "
                f"({at}); give it once, or let a later row revise an earlier one by "
                "forecaster.set_params(duplicates='last'), of a ServedForecaster by "
                "dataclasses.replace(served, duplicates='last')"
            )
    places = (f"{label} of the new rows" for label in added.index)
    table.index = pd.Index([*range(len(history)), *places], dtype=object)
    return table


def _as_before(new: pd.Series, old: pd.Series) -> pd.Series:
    """Times of new rows in the type of those before them: zone and resolution may differ."""
    try:
        if isinstance(old.dtype, pd.DatetimeTZDtype):
            return new.dt.tz_convert(old.dt.tz)
    except (AttributeError, TypeError) as error:
        raise SchemaError(
            f"column `{new.name}` holds {new.dtype} in the new rows and {old.dtype} before them; give "
            "both the same kind of times, with a zone or without"
        ) from error
    return new


def _told_apart(frame: pd.DataFrame, table: pd.DataFrame, schema: Schema) -> str | None:
    """Advice about columns without a role that tell repeated rows apart, or hold few values that do."""
    keys = [codes_of(column_of(table, c)) for c in key_columns(schema)]
    read = {*schema.columns(), schema.date, *schema.leave_out} - {*value_columns(schema)}
    free = {c: column_of(frame, c) for c in frame.columns if c not in read}
    repeated = _n_repeated(*keys)
    for name, column in free.items():
        if not (is_text(column) or pd.api.types.is_integer_dtype(column)) or not repeats(column):
            continue
        left = _n_repeated(*keys, column)
        if are_dates(column):
            if left == 0:
                return f"say date='{name}', if the times are those of its days"
        elif is_text(column) and left <= ALMOST * repeated and (left == 0 or is_label(column)):
            them = "them" if left == 0 else f"{repeated - left} of them"
            return _text_advice(name, schema, them, is_label(column))
    likely = [
        name
        for name, column in free.items()
        if (is_label(column) or pd.api.types.is_numeric_dtype(column))
        and not (pd.api.types.is_bool_dtype(column) or are_dates(column))
    ]
    own = [k for c, k in zip(key_columns(schema), keys, strict=True) if c != schema.time]
    base = codes_of(*own) if own else np.zeros(len(table), dtype=np.int64)
    ticks = codes_of(column_of(table, str(schema.time)))
    names = telling_together(frame, likely, base, ticks)
    whole = [c for c in likely if pd.api.types.is_integer_dtype(free[c]) and repeats(free[c])]
    names = names or [c for c in whole if not _n_repeated(*keys, free[c])][:1]
    if not names:
        return None
    both = joined([*([] if schema.id is None else [schema.id]), *names])
    shown, plural = " and ".join(f"`{c}`" for c in names), len(names) > 1
    return (
        f"say id='{both}', if {shown}, which tell{'' if plural else 's'} them apart, "
        f"name{'' if plural else 's'} the series{'' if plural else ' too'}"
    )


def _n_repeated(*columns: pd.Series | np.ndarray) -> int:
    return int(pd.Series(codes_of(*columns)).duplicated().sum())


def _text_advice(name: str, schema: Schema, them: str, labels: bool) -> str:
    """What text may name that tells repeated rows apart: the series or, if labels, what is measured."""
    both = joined([schema.id, name]) if schema.id is not None else name
    told = f"`{name}`, which tells {them} apart,"
    if not labels or schema.layout == "long" or len(schema.targets or ()) != 1:
        return f"say id='{both}', if {told} names the series too"
    long = f"variable='{name}' and value='{(schema.targets or ('',))[0]}'"
    if usual(name) in ID_NAMES and usual(name) not in MAY_BE_MEASURED:
        return f"say id='{both}', if {told} names the series too; or {long}, if what is measured"
    return f"say {long}, if {told} names what is measured; or id='{both}', if it names the series too"


def _set_back(times: pd.Series) -> bool:
    """Whether there is a time zone in which each of some naive times comes twice."""
    if not pd.api.types.is_datetime64_any_dtype(times) or times.dt.tz is not None:
        return False
    if (times == times.dt.normalize()).all():  # days, not moments
        return False
    some = pd.DatetimeIndex(times.unique()[:MOST_TIMES])
    first = np.ones(len(some), dtype=bool)
    for zone in zoneinfo.available_timezones():
        own = zoneinfo.ZoneInfo(zone)
        try:
            one, other = (
                some.tz_localize(own, ambiguous=a, nonexistent="NaT") for a in (first, ~first)
            )
        except (NotImplementedError, OverflowError, pd.errors.OutOfBoundsDatetime):
            return False  # so far away nobody sets a clock
        if ((one != other) & one.notna() & other.notna()).all():
            return True
    return False
