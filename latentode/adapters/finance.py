r"""Finance: bars, quotes and macro series, each value at the time at which it was known; logarithms.

A statistic has a *period* (the inflation of January) and a *publication* (the middle of February).
Files such as FRED's date a value by the first day of its period: a model that reads it there knows
January's inflation on New Year's Day. With `available_at` a value stands at its publication.

Prices move by factors: $\log p$ moves by sums, whose spread does not grow with the level. A return
since the observation before, $r_i = \log p_i - \log p_{i-1}$, adds up again:
$p_i = p_0 \exp(\sum_{j \le i} r_j)$. If $\log p \sim N(\mu, \sigma^2)$, then
$E[p] = \exp(\mu + \sigma^2/2)$ and quantiles map by exp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.adapters.handover import Notes, hand_over
from latentode.adapters.prices import bars, quotes
from latentode.adapters.sheets import Sheet, Source, open_sheets
from latentode.data.cells.clock_times import in_plain_units
from latentode.data.cells.columns import cell_name, column_of
from latentode.data.tables.reading import series_codes
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = [
    "Available",
    "bars",
    "from_log_prices",
    "from_log_returns",
    "log_prices",
    "log_returns",
    "macro",
    "quotes",
]

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


def log_prices(
    frame: pd.DataFrame, schema: Schema, variables: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Schema]:
    """The table with logarithms in place of prices; names stay.

    Args:
        frame: wide or long.
        schema: its own, with targets named.
        variables: which targets; all by default.

    Raises:
        SchemaError: for a price that is not above 0, by its row.

    Example:
        >>> table = pd.DataFrame({"time": [0, 3], "close": [1.0, np.e]})
        >>> schema = Schema(time="time", targets=("close",), layout="wide")
        >>> log_prices(table, schema)[0]["close"].tolist()
        [0.0, 1.0]
    """
    result = frame.copy()
    for column, rows in _cells(frame, schema, variables):
        result.loc[rows, column] = np.log(_positive(frame, column, rows))
    return result, schema


def from_log_prices(answer: pd.DataFrame, variables: Sequence[str] | None = None) -> pd.DataFrame:
    """A frame of forecasts (`predict`, `backtest`) of log prices as one of prices.

    Quantiles and actual values are exact for any likelihood; mean and standard deviation are those of
    a log-normal distribution, exact for the normal likelihood.

    Args:
        answer: with `variable`, and `mean`, `std`, `q...`, `actual` as far as they are there.
        variables: whose values are logarithms; all by default.

    Example:
        >>> answer = pd.DataFrame({"variable": ["close"], "mean": [0.0], "std": [0.1], "q0.5": [0.0]})
        >>> from_log_prices(answer).round(4).to_dict("records")
        [{'variable': 'close', 'mean': 1.005, 'std': 0.1008, 'q0.5': 1.0}]
    """
    result = answer.copy()
    rows = _chosen(column_of(answer, "variable"), variables)
    exact = [c for c in answer.columns if c == "actual" or _is_quantile(str(c))]
    for column in exact:
        result.loc[rows, column] = np.exp(column_of(answer, column)[rows])
    if "mean" in answer.columns:
        variance = column_of(answer, "std")[rows] ** 2 if "std" in answer.columns else 0.0
        mean = np.exp(column_of(answer, "mean")[rows] + variance / 2)
        result.loc[rows, "mean"] = mean
        if "std" in answer.columns:
            result.loc[rows, "std"] = mean * np.sqrt(np.expm1(variance))
    return result


def log_returns(
    frame: pd.DataFrame, schema: Schema, variables: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Schema]:
    """The table with returns since the observation before in place of prices; names stay.

    The first of each series has none and is left empty. A return stands at the later of its two times;
    over a weekend it spans three days, as it did.

    Args:
        frame: wide or long, rows in any order.
        schema: its own, with targets named.
        variables: which targets; all by default.

    Raises:
        SchemaError: for a price that is not above 0, by its row.

    Example:
        >>> table = pd.DataFrame({"time": [0, 1, 3], "close": [100.0, 110.0, 99.0]})
        >>> schema = Schema(time="time", targets=("close",), layout="wide")
        >>> log_returns(table, schema)[0]["close"].round(4).tolist()
        [nan, 0.0953, -0.1054]
    """
    result = frame.copy()
    for column, rows in _cells(frame, schema, variables):
        logs = cast(pd.Series, np.log(_positive(frame, column, rows))).dropna()
        result.loc[rows, column] = _steps(frame, schema, logs)
    return result, schema


def from_log_returns(
    frame: pd.DataFrame,
    schema: Schema,
    start: float | Mapping[Any, float],
    variables: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Prices from returns in a table: observed ones, or a path of them, not quantiles.

    Args:
        frame: as `log_returns` made it; what is empty in it stays empty, the first of a series too.
        schema: its own.
        start: the price from which the returns lead on, or by series (by variable, if long without
            identifiers).
        variables: which targets; all by default.

    Example:
        >>> table = pd.DataFrame({"time": [0, 1, 3], "close": [np.nan, np.log(1.1), np.log(0.9)]})
        >>> schema = Schema(time="time", targets=("close",), layout="wide")
        >>> from_log_returns(table, schema, start=100.0)["close"].round(6).tolist()
        [nan, 110.0, 99.0]
    """
    result = frame.copy()
    for column, rows in _cells(frame, schema, variables):
        returns = column_of(frame, column)[rows]
        order = column_of(frame, str(schema.time))[rows].sort_values(kind="stable").index
        group = _groups(frame, schema).loc[order]
        sums = returns.loc[order].groupby(group).cumsum()
        begin = group.map(start) if isinstance(start, Mapping) else start
        result.loc[order, column] = begin * np.exp(sums)
    return result


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
        told = in_plain_units(rule, "available_at") if isinstance(rule, str) else rule
        return cast(pd.Timedelta, pd.Timedelta(told))
    except ValueError as error:
        raise SchemaError(
            f"available_at {rule!r} is neither a column of {sheet.name} nor a duration like '45D'"
        ) from error


def _cells(
    frame: pd.DataFrame, schema: Schema, variables: Sequence[str] | None
) -> list[tuple[str, pd.Series]]:
    """Column and mask of rows of each variable to transform."""
    schema = schema.resolve(frame)
    if not frame.index.is_unique:
        raise SchemaError("the table's index has a label twice; call reset_index(drop=True) on it")
    strange = [v for v in variables or () if v not in (schema.targets or ())]
    if strange:
        raise SchemaError(f"variable `{strange[0]}` is no target of the schema; correct its name")
    chosen = tuple(variables or schema.targets or ())
    every = pd.Series(True, index=frame.index)
    if schema.layout == "wide":
        return [(name, every) for name in chosen]
    names = column_of(frame, str(schema.variable)).astype(str)
    return [(str(schema.value), names == name) for name in chosen]


def _positive(frame: pd.DataFrame, column: str, rows: pd.Series) -> pd.Series:
    prices = column_of(frame, column)[rows].astype(np.float64)
    bad = (prices <= 0).to_numpy()
    if bad.any():
        raise SchemaError(
            f"column `{column}`: {cell_name(prices.astype(object), bad)} is not above 0 and has no "
            "logarithm; leave it out, or model the price itself"
        )
    return prices


def _steps(frame: pd.DataFrame, schema: Schema, values: pd.Series) -> pd.Series:
    """Differences along the time of each series."""
    times = column_of(frame, str(schema.time)).loc[values.index]
    order = times.sort_values(kind="stable").index
    return values.loc[order].groupby(_groups(frame, schema).loc[order]).diff()


def _groups(frame: pd.DataFrame, schema: Schema) -> pd.Series:
    if schema.id is None and schema.layout == "long":
        return column_of(frame, str(schema.variable))
    codes, ids = series_codes(frame, schema)
    return pd.Series(np.asarray(ids)[codes], index=frame.index)


def _chosen(names: pd.Series, variables: Sequence[str] | None) -> pd.Series:
    return names.notna() if variables is None else names.isin(list(variables))


def _is_quantile(name: str) -> bool:
    return name.startswith("q") and name[1:].replace(".", "", 1).isdigit()
