"""GHCN-Daily: the daily records of 100,000 weather stations, in the three layouts that NOAA writes.

*Fixed width* (`.dly`): a line per station, month and element, 31 slots of a value in 5 columns and
three flags. *By year or station* (`.csv`): a line per station, day and element. *Access* (`.csv`): a
line per station and day, each element a column beside one of its flags. Temperature, rain and wind are
written in tenths, -9999 where nothing was observed; a quality flag names the check that a value failed.

References:
    An overview of the Global Historical Climatology Network-Daily database (Menne et al., 2012),
    https://doi.org/10.1175/JTECH-D-11-00103.1; readme.txt, section III, of
    https://www.ncei.noaa.gov/pub/data/ghcn/daily/
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from latentode.adapters.handover import Notes, hand_over, settle
from latentode.adapters.sheets import Readable, Sheet, Source, lines_of, open_sheet, text_of
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = ["CORE", "TENTHS", "ghcn_daily"]

CORE = ("PRCP", "SNOW", "SNWD", "TMAX", "TMIN")
# Elements written in tenths of their unit (mm, °C, m/s, hPa); the soil temperatures SN*, SX* are too.
TENTHS = (
    *("PRCP", "TMAX", "TMIN", "TAVG", "TOBS", "ADPT", "ASLP", "ASTP", "AWBT", "AWND", "EVAP", "MDEV"),
    *("MDPR", "MDTN", "MDTX", "MNPN", "MXPN", "THIC", "WESD", "WESF", "WSF1", "WSF2", "WSF5", "WSFG"),
    *("WSFI", "WSFM"),
)
SOIL = r"S[NX]\d\d"
MISSING = -9999
FIELDS = ("ID", "DATE", "ELEMENT", "DATA_VALUE", "M_FLAG", "Q_FLAG", "S_FLAG", "OBS_TIME")
SLOT, FIRST, DAYS = 8, 21, 31  # columns of a day, before the first one, and days of a line
QUALITY = r"^[^,]*,([^,]*)"  # the second of the flags m, q, s


def ghcn_daily(
    source: Source,
    elements: Sequence[str] | None = CORE,
    flagged: bool = False,
    tenths: bool = True,
    static_covariates: Sequence[str] = (),
    duplicates: str = "error",
) -> tuple[pd.DataFrame, Schema]:
    """Reads a file of GHCN-Daily; its layout is known by its first line.

    Args:
        source: `.dly`, or either layout of `.csv`, gzipped or not; also with several stations.
        elements: which to take; None takes all that the file has.
        flagged: whether to keep values that failed a check of quality; left out by default.
        tenths: whether the file holds tenths, as NOAA's archive does. Orders from Climate Data Online
            and its "daily-summaries" in metric units hold whole units: say False.
        static_covariates: of the access layout, columns constant for a station, such as LATITUDE.
        duplicates: several values of one station, day and element: "error", "mean" or "last".

    Returns:
        A wide table: `station`, `time` (the day), a column per element in °C, mm, m/s or the unit of
        NOAA's list; empty where nothing was observed, which is no 0. A trace of rain (flag T) is 0.

    Raises:
        SchemaError: naming line and field.

    Example:
        >>> import io
        >>> rows = "USW00094728,20240101,TMAX,83,,,W,2400\\nUSW00094728,20240101,PRCP,3,,X,W,2400\\n"
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     frame, schema = ghcn_daily(io.StringIO(rows))
        >>> frame["TMAX"].tolist(), schema.targets
        ([8.3], ('TMAX',))
        >>> print(told[0].message)
        the file: 1 values that failed a check of quality left out (flagged=)
    """
    table, notes, statics = _long(source, static_covariates)
    absent = table["value"] == MISSING
    table = table[~absent & table["value"].notna()]
    if elements is not None:
        other = ~table["element"].isin(elements)
        names = ", ".join(sorted(table.loc[other, "element"].unique()))
        notes.add(int(other.sum()), f"values of other elements left out: {names} (elements=)")
        table = table[~other]
    failed = table["quality"] != ""
    if not flagged:
        notes.add(int(failed.sum()), "values that failed a check of quality left out (flagged=)")
        table = table[~failed]
    if tenths:
        scaled = table["element"].isin(TENTHS) | table["element"].str.fullmatch(SOIL)
        table = table.assign(value=table["value"].where(~scaled, table["value"] / 10))
    frame = _wide(cast(pd.DataFrame, table), notes, duplicates)
    targets = tuple(c for c in frame.columns if c not in ("station", "time"))
    if static_covariates:
        frame = frame.join(statics, on="station")
    schema = Schema(
        id="station",
        time="time",
        targets=targets,
        static_covariates=tuple(static_covariates),
        layout="wide",
        time_unit="D",
    )
    return hand_over(frame, schema, notes, duplicates)


def _wide(table: pd.DataFrame, notes: Notes, duplicates: str) -> pd.DataFrame:
    """A row per station and day, a column per element."""
    keys = ["station", "time", "element"]
    long = Schema(id="station", time="time", variable="element", value="value", layout="long")
    once, _ = settle(cast(pd.DataFrame, table[[*keys, "value"]]), long, notes, duplicates)
    frame = once.set_index(keys)["value"].unstack("element")  # noqa: PD010, each key is there once
    return frame.rename_axis(columns=None).reset_index()


def _long(source: Source, static_covariates: Sequence[str]) -> tuple[pd.DataFrame, Notes, pd.DataFrame]:
    """station, time, element, value, quality; and the statics by station."""
    if isinstance(source, str | Path | Readable):
        text, name = text_of(source)
        first = next((line for _, line in lines_of(text)), "")
        if first and "," not in first:
            return _fixed_width(text, name), Notes(name), pd.DataFrame()
        named = any(f in first.upper() for f in ("ELEMENT", "STATION"))
        sheet = Sheet(open_sheet(_Again(text), names=None if named else FIELDS).frame, name)
    else:
        sheet = open_sheet(source)
    notes = Notes(sheet.name)
    if sheet.find("ELEMENT") is not None:
        return _by_element(sheet), notes, pd.DataFrame()
    return *_access(sheet, notes), _statics(sheet, static_covariates)


class _Again:
    """A text that has been read, to be read once more."""

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self) -> str:
        return self.text


def _fixed_width(text: str, name: str) -> pd.DataFrame:
    rows: list[tuple[int, str, np.datetime64, str, int, str]] = []
    for number, line in lines_of(text):
        head, body = line[:FIRST], line[FIRST:].ljust(SLOT * DAYS)
        year, month, element = head[11:15], head[15:17], head[17:21]
        if not (year + month).isdigit() or not 1 <= int(month) <= 12 or len(element.strip()) < 4:
            raise SchemaError(
                f"{name}: line {number}: {head!r} is no station, year, month and element "
                "(columns 1-11, 12-15, 16-17, 18-21); is this a .dly file?"
            )
        length = calendar.monthrange(int(year), int(month))[1]
        for day in range(DAYS):
            slot = body[day * SLOT : (day + 1) * SLOT]
            value = _slot_value(slot, name, number, day)
            if value == MISSING or value is None:
                continue
            if day >= length:
                raise SchemaError(
                    f"{name}: line {number}: VALUE{day + 1} is {value}, but {year}-{month} has "
                    f"{length} days; write {MISSING}"
                )
            stamp = np.datetime64(f"{year}-{month}-{day + 1:02d}", "s")
            rows.append((number, head[:11].strip(), stamp, element, value, slot[6].strip()))
    columns = ["line", "station", "time", "element", "value", "quality"]
    table = pd.DataFrame(rows, columns=columns).set_index("line")
    return table.astype({"value": np.float64, "time": "datetime64[s]"})


def _slot_value(slot: str, name: str, line: int, day: int) -> int | None:
    """The value of a day; None where a line whose trailing blanks were cut off has ended."""
    text = slot[:5].strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        begin = FIRST + day * SLOT + 1
        raise SchemaError(
            f"{name}: line {line}: VALUE{day + 1} (columns {begin}-{begin + 4}) is {text!r}, not a "
            "whole number; are columns shifted?"
        ) from None


def _by_element(sheet: Sheet) -> pd.DataFrame:
    value = sheet.need("DATA_VALUE", "VALUE", "DATA VALUE")
    quality = sheet.need("Q_FLAG", "Q-FLAG", "QFLAG")
    return pd.DataFrame(
        {
            "station": sheet.labels(sheet.need("ID", "STATION")),
            "time": _days(sheet),
            "element": sheet.text(sheet.need("ELEMENT")),
            "value": sheet.numbers(value),
            "quality": sheet.text(quality),
        }
    )


def _access(sheet: Sheet, notes: Notes) -> tuple[pd.DataFrame, Notes]:
    """An element is a column that has flags beside it, or one whose name NOAA's lists have."""
    ending = "_ATTRIBUTES"
    columns = [str(c) for c in sheet.frame.columns]
    elements = [c for c in columns if c + ending in columns]
    bare = [c for c in columns if c not in elements and c.upper() in (*CORE, *TENTHS)]
    if not elements and not bare:
        sheet.need("ELEMENT")
    stations, days = sheet.labels(sheet.need("STATION", "ID")), _days(sheet)
    notes.add(len(bare), f"elements without flags, all kept: {', '.join(bare)}")
    parts = []
    for name in [*elements, *bare]:
        values = sheet.numbers(name)
        flags = pd.Series("", index=values.index)
        if name in elements:
            flags = sheet.text(name + ending).str.extract(QUALITY, expand=False).fillna("").str.strip()
        parts.append(
            pd.DataFrame(
                {"station": stations, "time": days, "element": name, "value": values, "quality": flags}
            )
        )
    return pd.concat(parts), notes


def _days(sheet: Sheet) -> pd.Series:
    column = sheet.need("DATE")
    compact = sheet.text(column).str.fullmatch(r"\d{8}").all()
    return sheet.times(column, "%Y%m%d" if compact else None)


def _statics(sheet: Sheet, static_covariates: Sequence[str]) -> pd.DataFrame:
    columns = {name: sheet.numbers(sheet.need(name)) for name in static_covariates}
    frame = pd.DataFrame({"station": sheet.labels(sheet.need("STATION", "ID")), **columns})
    grouped = frame.groupby("station")[list(static_covariates)]
    changed = grouped.max() > grouped.min()
    for name in static_covariates:
        if changed[name].any():
            raise SchemaError(
                f"{sheet.name}: `{name}` of station {changed[name].idxmax()} changes: it has moved; "
                f"leave `{name}` out of static_covariates"
            )
    return frame.groupby("station").first()
