"""Macro series of several rates, each value at the time at which the world could know it.

A statistic has a *period* (the inflation of January) and a *publication* (the middle of February).
Files such as FRED's date a value by the first day of its period: a model that reads it there knows
January's inflation on New Year's Day. With `available_at` a value stands at its publication.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pandas as pd

from latentode.adapters.handover import Notes, hand_over
from latentode.adapters.sheets import Sheet, Source, open_sheets
from latentode.data.schema import Schema
from latentode.errors import SchemaError

__all__ = ["Available", "macro"]

Available = str | pd.Timedelta | Callable[[pd.Series], pd.Series]
DATES = ("observation_date", "DATE", "date", "time")
NOT_VALUES = ("realtime_start", "realtime_end")  # of ALFRED: from when until when a value stood
MISSING = (".", "#N/A", "-")
# The longest usual gap of a rate, in days, and what leads from a period's first day past its last.
RATES = (
    (4.0, pd.DateOffset(days=1)),
    (8.0, pd.DateOffset(weeks=1)),
    (32.0, pd.DateOffset(months=1)),
    (93.0, pd.DateOffset(months=3)),
    (float("inf"), pd.DateOffset(years=1)),
)


def macro(
    source: Source | Mapping[str, Source],
    available_at: Available | Mapping[str, Available] | None = None,
    variables: Sequence[str] | None = None,
    time: str | None = None,
    timezone: str | None = None,
    time_format: str | None = None,
    missing: Sequence[str] = MISSING,
) -> tuple[pd.DataFrame, Schema]:
    """Reads series of several rates into one long table: one series, a variable per column.

    Args:
        source: a table of a date and one or more columns, or several tables by any label: each keeps
            its own rate.
        available_at: when a value of a period is known, for all variables or by variable: a duration
            after its date ("45D"), the column of the file that says it ("realtime_start", as ALFRED
            writes), or a function of the dates. Left out, a value stands at the end of its period, as
            its dates are spaced, and a warning says that publications are later.
        variables: columns to take; all that hold numbers by default.
        time: column of dates; found by its usual names by default.
        timezone: IANA name of the zone of publication; times stay naive without it.
        time_format: strptime format of dates that are not ISO 8601.
        missing: texts that mean no value, such as FRED's ".".

    Returns:
        A long table: `time` of publication, `variable`, `value`, `period` (the date in the file). Where
        one publication brings values of several periods, as the first of ALFRED does, it stands for the
        latest of them; the others are left out and counted.

    Raises:
        SchemaError: naming file, line and field, and where something would be known before its period.

    Example:
        >>> import io
        >>> text = "observation_date,CPILFESL\\n2024-01-01,315.6\\n2024-02-01,.\\n2024-03-01,317.1\\n"
        >>> frame, schema = macro(io.StringIO(text), available_at="45D")
        >>> frame[["time", "value"]].astype(str).to_numpy().tolist()
        [['2024-02-15', '315.6'], ['2024-04-15', '317.1']]
    """
    sheets = open_sheets(source)
    notes = Notes(sheets[0][1].name if len(sheets) == 1 else f"{len(sheets)} tables")
    parts = []
    for _, sheet in sheets:
        when = sheet.need(*([time] if time else DATES), argument="time")
        periods = sheet.times(when, time_format)
        for name in _columns(sheet, when, variables, available_at):
            values = sheet.numbers(name, missing)
            notes.add(int(values.isna().sum()), f"periods without a value of {name} left out")
            known = _known_at(sheet, name, periods, _rule(available_at, name), notes)
            part = pd.DataFrame({"time": known, "variable": name, "value": values, "period": periods})
            parts.append(part[values.notna()])
    frame = pd.concat(parts, ignore_index=True)
    if variables is not None:
        absent = [v for v in variables if v not in set(frame["variable"])]
        if absent:
            raise SchemaError(f"{notes.source}: no column `{absent[0]}` with a value; check variables=")
    frame = frame.sort_values(["time", "variable", "period"], kind="stable", ignore_index=True)
    older = frame.duplicated(["time", "variable"], keep="last")
    notes.add(int(older.sum()), "values left out that were published together with a later period's")
    frame = cast(pd.DataFrame, frame[~older]).reset_index(drop=True)
    if timezone is not None and cast(pd.Series, frame["time"]).dt.tz is None:
        frame["time"] = cast(pd.Series, frame["time"]).dt.tz_localize(timezone)
    schema = Schema(time="time", variable="variable", value="value", layout="long", time_unit="D")
    return hand_over(frame, schema, notes, "error")


def _columns(
    sheet: Sheet,
    time: str,
    variables: Sequence[str] | None,
    available_at: Available | Mapping[str, Available] | None,
) -> list[str]:
    rules = available_at.values() if isinstance(available_at, Mapping) else [available_at]
    apart = {time, *NOT_VALUES, *(r for r in rules if isinstance(r, str))}
    columns = [str(c) for c in sheet.frame.columns if c not in apart]
    return columns if variables is None else [c for c in columns if c in variables]


def _rule(available_at: Available | Mapping[str, Available] | None, name: str) -> Available | None:
    return available_at.get(name) if isinstance(available_at, Mapping) else available_at


def _known_at(
    sheet: Sheet, name: str, periods: pd.Series, rule: Available | None, notes: Notes
) -> pd.Series:
    """When each value is known, never before its period begins."""
    if rule is None:
        gap = periods.drop_duplicates().sort_values().diff().median()
        days = 1.0 if pd.isna(gap) else cast(pd.Timedelta, gap) / pd.Timedelta(days=1)
        step = next(offset for longest, offset in RATES if days <= longest)
        text = "values of {} stand at the end of their period; publication is later (available_at=)"
        notes.add(len(periods), text.format(name))
        return periods + step
    if callable(rule):
        known = pd.Series(rule(periods), index=periods.index)
    elif isinstance(rule, str) and sheet.find(rule) is not None:
        known = sheet.times(sheet.need(rule))
    else:
        known = periods + _duration(sheet, rule)
    early = (known < periods).to_numpy()
    if early.any():
        line = periods.index[int(early.argmax())]
        raise SchemaError(
            f"{sheet.name}: {name} of {periods.index.name} {line} would be known before its period "
            "begins; correct available_at="
        )
    return known


def _duration(sheet: Sheet, rule: str | pd.Timedelta) -> pd.Timedelta:
    try:
        return cast(pd.Timedelta, pd.Timedelta(rule))
    except ValueError as error:
        raise SchemaError(
            f"available_at {rule!r} is neither a column of {sheet.name} nor a duration like '45D'"
        ) from error
