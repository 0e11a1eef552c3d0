"""Continuous glucose monitors: exports of Dexcom Clarity and LibreView, and plain tables of readings.

A monitor reads every 5 or 15 minutes by the patient's own wall clock, is silent while the sensor is
changed, and writes "Low" or "High" beyond what it can measure.

Medicine: what intensive care units, laboratories, cohort studies and glucose monitors write.

Identifiers stay as they are, and nothing is written anywhere. What a reader leaves out, it counts in a
warning.

Visits: a row per visit of a patient, at true offsets in days, as cohort studies keep them. This is the
layout of `pbcseq` (312 patients with primary biliary cholangitis, 1,945 visits) in R's survival package
and of most follow-up tables: an identifier, a day, and what was measured on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd

from latentode.adapters.handover import Notes, hand_over, to_instants
from latentode.adapters.labs import Conversion, lab_events
from latentode.adapters.physionet import physionet2012, physionet2012_outcomes
from latentode.adapters.sheets import Sheet, Source, open_sheet, open_sheets
from latentode.data.cells.columns import column_of
from latentode.data.files.table_files import MISSING
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = [
    "MG_PER_MMOL",
    "UNITS",
    "Conversion",
    "glucose",
    "lab_events",
    "physionet2012",
    "physionet2012_outcomes",
    "visits",
]

MG_PER_MMOL = 18.0156  # mg/dL per mmol/L: the molar mass of glucose is 180.156 g/mol
UNITS = ("mg/dL", "mmol/L")
TIMES = ("Timestamp (YYYY-MM-DDThh:mm:ss)", "Device Timestamp", "timestamp", "datetime", "time")
VALUES = ("glucose", "glucose value", "sgv", "bg")
LIBRE_FORMATS = ("%m-%d-%Y %I:%M %p", "%m-%d-%Y %H:%M", "%d-%m-%Y %H:%M", "%Y-%m-%d %H:%M")
HISTORIC, SCAN = "0", "1"  # record types of LibreView


def glucose(
    source: Source | Mapping[str, Source],
    unit: str = "mg/dL",
    id: str | None = None,
    time: str | None = None,
    value: str | None = None,
    value_unit: str | None = None,
    limits: tuple[float, float] | None = (40.0, 400.0),
    scans: bool = False,
    timezone: str | None = None,
    time_format: str | None = None,
    duplicates: str = "mean",
) -> tuple[pd.DataFrame, Schema]:
    """Reads readings of one patient, or of several: `{"anna": "anna.csv", "ben": "ben.csv"}`.

    Args:
        source: a file or frame, or several by patient; the export is known by its header.
        unit: of the result, "mg/dL" or "mmol/L".
        id: column of patients in a table of several; without one, and without a mapping, the table is
            one series.
        time: column of times; found by its usual names by default.
        value: column of readings; found by its usual names by default.
        value_unit: unit of the readings; from the column's name by default, else mg/dL.
        limits: what "Low" and "High" are taken to be, in mg/dL; None leaves such readings out.
        scans: of LibreView, also the readings by hand (record type 1), not the historic ones alone.
        timezone: IANA name of the zone of the monitor's clock; times stay naive without it.
        time_format: strptime format, where days and months cannot be told apart.
        duplicates: several readings at one time: "mean", "last" or "error".

    Returns:
        A wide table of `id` (if there are several), `time`, `glucose`; the schema's
        cycle is the day.

    Raises:
        SchemaError: naming file, line and field.

    Example:
        >>> table = pd.DataFrame({"datetime": ["2010-03-24 09:51:00"], "glucose": [258]})
        >>> frame, schema = glucose(table, unit="mmol/L")
        >>> frame["glucose"].round(2).tolist(), schema.cycles
        ([14.32], ('24h',))
    """
    if unit not in UNITS:
        raise SchemaError(f"unit {unit!r} of glucose is unknown; use {' or '.join(UNITS)}")
    if value_unit not in (None, *UNITS):
        raise SchemaError(f"value_unit {value_unit!r} is unknown; use {' or '.join(UNITS)}")
    sheets = open_sheets(source, header=(TIMES[1],))
    notes = Notes(sheets[0][1].name if len(sheets) == 1 else f"{len(sheets)} tables")
    parts = []
    for label, whole in sheets:
        sheet, readings = _readings(whole, value, scans, notes)
        when = sheet.need(*([time] if time else TIMES), argument="time")
        stamps = _times(sheet, when, time_format)
        whose = pd.Series(label or "", index=stamps.index)
        if id is not None:
            whose = sheet.labels(sheet.need(id, argument="id"))
        stamps = to_instants(stamps, timezone, whose, notes)
        numbers = _mg_per_dl(sheet, readings, value_unit, limits, notes)
        parts.append(pd.DataFrame({"id": whose, "time": stamps, "glucose": numbers}))
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    several = id is not None or isinstance(source, Mapping)
    frame = frame if several else frame.drop(columns="id")
    silent = frame["glucose"].isna()
    notes.add(int(silent.sum()), "rows without a reading left out")
    frame = cast(pd.DataFrame, frame[~silent]).copy()
    if unit == UNITS[1]:
        frame["glucose"] /= MG_PER_MMOL
    schema = Schema(
        id="id" if several else None,
        time="time",
        targets=("glucose",),
        layout="wide",
        cycles=("24h",),
    )
    return hand_over(frame, schema, notes, duplicates)


def _readings(sheet: Sheet, value: str | None, scans: bool, notes: Notes) -> tuple[Sheet, pd.Series]:
    """The rows that are readings and, as text, their column under the name that tells its unit."""
    event, record = sheet.find("Event Type"), sheet.find("Record Type")
    if event is not None:
        kept = sheet.text(event).str.upper() == "EGV"
        notes.add(int((~kept).sum()), "rows of other events than EGV left out")
        sheet = sheet.where(kept)
        return sheet, sheet.text(_column(sheet, value, "glucose value"))
    if record is None:
        return sheet, sheet.text(_column(sheet, value, *VALUES))
    kinds = sheet.text(record)
    kept = kinds.isin([HISTORIC, SCAN] if scans else [HISTORIC])
    notes.add(int((~kept).sum()), "rows of other record types left out (scans=True takes type 1)")
    sheet, kinds = sheet.where(kept), kinds[kept]
    texts = sheet.text(_column(sheet, value, "historic glucose"))
    if scans:
        texts = texts.where(kinds == HISTORIC, sheet.text(_column(sheet, None, "scan glucose")))
    return sheet, texts


def _column(sheet: Sheet, value: str | None, *begin: str) -> str:
    """The column that is named, or the first that begins so, whatever unit follows."""
    if value is not None:
        return sheet.need(value, argument="value")
    columns = [str(c) for c in sheet.frame.columns]
    found = next((c for b in begin for c in columns if c.lower().startswith(b)), None)
    return sheet.need(*begin, argument="value") if found is None else found


def _mg_per_dl(
    sheet: Sheet,
    readings: pd.Series,
    unit: str | None,
    limits: tuple[float, float] | None,
    notes: Notes,
) -> pd.Series:
    """Readings as numbers, those beyond the monitor's range at its limits."""
    name = str(readings.name)
    written = readings.str.lower()
    low, high = written.isin(["low", "lo"]), written.isin(["high", "hi"])
    plain = Sheet(pd.DataFrame({name: readings.mask(low | high, "")}), sheet.name)
    numbers = plain.numbers(name)
    if (unit or (UNITS[1] if "mmol" in name.lower() else UNITS[0])) == UNITS[1]:
        numbers *= MG_PER_MMOL
    beyond = int((low | high).sum())
    if limits is None:
        notes.add(beyond, "readings beyond the monitor's range (Low, High) without a number (limits=)")
        return numbers
    notes.add(
        beyond, f"readings of Low or High taken as {limits[0]:g} and {limits[1]:g} mg/dL (limits=)"
    )
    return numbers.mask(low, limits[0]).mask(high, limits[1])


def _times(sheet: Sheet, column: str, time_format: str | None) -> pd.Series:
    """Times in the format given or, of LibreView, in the one of its formats that reads all of them."""
    if time_format is not None or column.lower() != TIMES[1].lower():
        return sheet.times(column, time_format)
    text = sheet.text(column)
    fitting = [f for f in LIBRE_FORMATS if _fits(text, f)]
    if len(fitting) > 1:
        raise SchemaError(
            f"{sheet.name}: column `{column}` can be read as {' and as '.join(fitting)}: no day is "
            "past the 12th; say which with time_format="
        )
    return sheet.times(column, fitting[0] if fitting else LIBRE_FORMATS[0])


def _fits(text: pd.Series, time_format: str) -> bool:
    return bool(pd.to_datetime(text, format=time_format, errors="coerce").notna().all())


ROW_NUMBERS = ("rownames", "unnamed: 0", "index")  # what R and pandas write before the columns


def visits(
    source: Source,
    id: str = "id",
    time: str = "day",
    targets: Sequence[str] | None = None,
    static_covariates: Sequence[str] = (),
    missing: Sequence[str] = (),
    duplicates: str = "error",
) -> tuple[pd.DataFrame, Schema]:
    """Reads a table of visits; days stay numbers.

    A column that never changes within a patient is no variable. It may be a descriptor, such as age at
    entry, or an outcome, such as the days until death, which is not known when a forecast is made. So
    it is left out unless `static_covariates` names it.

    Args:
        source: table with a row per visit.
        id: column of patients.
        time: column of offsets in days, from 0 or not.
        targets: columns to model; all numeric ones that change within some patient by default.
        static_covariates: columns constant within a patient, known at entry; text is kept as text.
        missing: further texts that mean nothing was measured.
        duplicates: several rows of one patient and day: "error", "mean" or "last".

    Returns:
        A wide table of the identifier, the time, targets and statics.

    Raises:
        SchemaError: naming line and field.

    Example:
        >>> table = pd.DataFrame({
        ...     "id": [1, 1, 2, 2], "futime": [400, 400, 5169, 5169], "age": [58.8, 58.8, 56.4, 56.4],
        ...     "day": [0, 192, 0, 182], "bili": [14.5, 21.3, 1.1, 0.8],
        ... })
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     frame, schema = visits(table, static_covariates=["age"])
        >>> schema.targets, schema.static_covariates
        (('bili',), ('age',))
    """
    sheet = open_sheet(source)
    notes = Notes(sheet.name)
    id_, time_ = sheet.need(id, argument="id"), sheet.need(time, argument="time")
    frame = pd.DataFrame({id_: sheet.labels(id_), time_: _days(sheet, time_)})
    statics = [sheet.need(name) for name in static_covariates]
    taken = {id_, time_, *statics}
    if targets is None:
        chosen = _changing(sheet, frame[id_], taken, missing, notes)
    else:
        chosen = [sheet.need(name) for name in targets]
    for name in chosen:
        frame[name] = sheet.numbers(name, missing)
    for name in statics:
        frame[name] = _numbers_or_text(sheet, name, missing)
    schema = Schema(
        id=id_, time=time_, targets=tuple(chosen), static_covariates=tuple(statics), layout="wide"
    )
    return hand_over(frame, schema, notes, duplicates)


def _days(sheet: Sheet, column: str) -> pd.Series:
    days = sheet.numbers(column)
    sheet.refuse(column, days.isna().to_numpy(), "gives no day")
    whole = bool((days == np.round(days)).all())
    return days.astype(np.int64) if whole else days


def _changing(
    sheet: Sheet, ids: pd.Series, taken: set[str], missing: Sequence[str], notes: Notes
) -> list[str]:
    """The numeric columns that change within some patient; the others are noted."""
    chosen, constant, text = [], [], []
    for name in sheet.frame.columns:
        if name in taken or str(name).lower() in ROW_NUMBERS:
            continue
        column = _numbers_or_text(sheet, name, missing)
        if not pd.api.types.is_numeric_dtype(column):
            text.append(name)
        elif (column.groupby(ids).max() > column.groupby(ids).min()).any():
            chosen.append(name)
        else:
            constant.append(name)
    names = ", ".join(f"`{c}`" for c in constant)
    notes.add(
        len(constant),
        f"columns that are constant within patients left out: {names} (static_covariates=)",
    )
    notes.add(len(text), f"columns of text left out: {', '.join(f'`{c}`' for c in text)}")
    if not chosen:
        raise SchemaError(f"{sheet.name}: no numeric column changes within a patient; name targets=")
    return chosen


def _numbers_or_text(sheet: Sheet, name: str, missing: Sequence[str]) -> pd.Series:
    column = column_of(sheet.frame, name)
    if pd.api.types.is_numeric_dtype(column):
        return column
    written = sheet.text(name)
    written = written.where(~written.isin([*MISSING, *missing]))
    numbers = pd.to_numeric(written, errors="coerce")
    # A few texts among numbers are faults, which `numbers` names by their line.
    if len(numbers) and numbers.notna().sum() > written.notna().sum() / 2:
        return sheet.numbers(name, missing)
    return written
