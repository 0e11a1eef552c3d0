"""Best tracks: HURDAT2, the paths of tropical cyclones as the National Hurricane Center settled them.

A header line per storm (`AL092011, IRENE, 39,`) tells how many fixes follow, mostly every 6 hours and
at landfall in between. -999 is an unknown pressure or radius, -99 an unknown wind.

References:
    The revised Atlantic hurricane database (HURDAT2) (Landsea, Franklin and Beven),
    https://www.nhc.noaa.gov/data/hurdat/hurdat2-format-atl-1851-2021.pdf

Weather: daily and hourly stations and tracks of storms, in the formats of their archives.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from latentode.adapters.ghcn import ghcn_daily
from latentode.adapters.handover import Notes, hand_over
from latentode.adapters.sheets import Readable, lines_of, text_of
from latentode.adapters.surface import Field, global_hourly, station_table
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = ["Field", "ghcn_daily", "global_hourly", "hurdat2", "station_table"]

TARGETS = ("latitude", "longitude", "wind", "pressure")
QUADRANTS = ("ne", "se", "sw", "nw")
RADII = tuple(f"r{knots}_{quadrant}" for knots in (34, 50, 64) for quadrant in QUADRANTS)
FIXED = 8  # date, time, record, status, latitude, longitude, wind, pressure
UNKNOWN = (-99.0, -999.0)
HEADER = re.compile(r"^[A-Z]{2}\d{6}$")
TURN = 360.0

Fix = tuple[int, str, str, pd.Timestamp, str, str, list[float]]


def hurdat2(
    source: str | Path | Readable,
    radii: bool = False,
    unwrap: bool = True,
    duplicates: str = "error",
) -> tuple[pd.DataFrame, Schema]:
    """Reads best tracks of any basin.

    Args:
        source: text in HURDAT2's format.
        radii: whether to take the radii of 34, 50 and 64 knots by quadrant (nautical miles) too.
        unwrap: whether a track that crosses the date line goes on beyond 180°, so that a path is
            continuous, rather than jumping to the other sign.
        duplicates: several fixes of a storm at one time: "error", "mean" or "last".

    Returns:
        A wide table: `id` (AL092011), `name`, `time` in UTC, `record` (L for landfall), `status` (HU,
        TS ...), latitude and longitude in degrees (west is negative), wind in knots, pressure in hPa,
        empty where unknown; targets are the last four and, if told, the radii.

    Raises:
        SchemaError: naming line and field, also where a storm has not the fixes its header counts.

    Example:
        >>> import io
        >>> lines = "AL092011, IRENE, 1,\\n20110828, 0935, L, TS, 39.4N, 74.4W, 60, 959, 230, 280\\n"
        >>> frame, schema = hurdat2(io.StringIO(lines))
        >>> frame[["id", "latitude", "longitude", "wind", "pressure"]].to_numpy().tolist()
        [['AL092011', 39.4, -74.4, 60.0, 959.0]]
    """
    text, name = text_of(source)
    fixes = _fixes(text, name)
    columns = ["line", "id", "name", "time", "record", "status"]
    frame = pd.DataFrame([f[:6] for f in fixes], columns=columns)
    width = len(RADII) if radii else 0
    values = np.array([f[6][: 4 + width] for f in fixes], dtype=np.float64).reshape(len(fixes), -1)
    targets = (*TARGETS, *(RADII if radii else ()))
    frame[list(targets)] = values
    unknown = frame[list(targets)[2:]].isin(UNKNOWN)
    frame[list(targets)[2:]] = frame[list(targets)[2:]].mask(unknown)
    if unwrap and len(frame):
        frame["longitude"] = frame.groupby("id")["longitude"].transform(_unwrapped)
    known = [t for t in targets if frame[t].notna().any()]
    schema = Schema(id="id", time="time", targets=tuple(known), layout="wide")
    notes = Notes(name)
    notes.add(len(targets) - len(known), "variables that are unknown in every fix are no targets")
    return hand_over(frame.set_index("line"), schema, notes, duplicates)


def _fixes(text: str, name: str) -> list[Fix]:
    fixes: list[Fix] = []
    storm, title, header, expected = "", "", 0, 0
    for number, line in lines_of(text):
        cells = [c.strip() for c in line.split(",")]
        if HEADER.match(cells[0]):
            _check_count(fixes, storm, header, expected, name)
            storm, title, header = cells[0], cells[1] if len(cells) > 1 else "", number
            expected = _whole(cells[2] if len(cells) > 2 else "", "number of fixes", name, number)
        elif not storm:
            raise SchemaError(
                f"{name}: line {number} reads {line[:40]!r} where the header of a storm belongs, such "
                "as 'AL092011, IRENE, 39,'; is this a HURDAT2 file?"
            )
        else:
            stamp, record, status, values = _fix(cells, name, number)
            fixes.append((number, storm, title, stamp, record, status, values))
    _check_count(fixes, storm, header, expected, name)
    return fixes


def _fix(cells: list[str], name: str, line: int) -> tuple[pd.Timestamp, str, str, list[float]]:
    if len(cells) < FIXED:
        raise SchemaError(
            f"{name}: line {line} has {len(cells)} fields where a fix has at least {FIXED}; is the "
            "file cut off?"
        )
    date, clock, record, status = cells[:4]
    try:
        stamp = pd.to_datetime(f"{date} {clock}", format="%Y%m%d %H%M", utc=True)
    except ValueError as error:
        raise SchemaError(
            f"{name}: line {line}: date and time are {date!r} and {clock!r}, not like 20110828 and 0935"
        ) from error
    values = [_degrees(cells[4], "NS", name, line), _degrees(cells[5], "EW", name, line)]
    for cell, what in zip(cells[6 : FIXED + len(RADII)], ("wind", "pressure", *RADII), strict=False):
        values.append(float(_whole(cell, what, name, line)) if cell else np.nan)
    return stamp, record, status, values + [np.nan] * (FIXED - 4 + len(RADII) - len(values))


def _degrees(text: str, signs: str, name: str, line: int) -> float:
    found = re.fullmatch(rf"(-?\d+(?:\.\d+)?)([{signs}])", text)
    if found is None:
        what = "latitude" if signs == "NS" else "longitude"
        raise SchemaError(
            f"{name}: line {line}: {what} is {text!r}, not degrees and {signs[0]} or {signs[1]}"
        )
    return float(found[1]) * (1.0 if found[2] == signs[0] else -1.0)


def _whole(text: str, what: str, name: str, line: int) -> int:
    try:
        return int(text)
    except ValueError:
        raise SchemaError(
            f"{name}: line {line}: {what} is {text!r}, not a whole number; correct it"
        ) from None


def _check_count(fixes: list[Fix], storm: str, header: int, expected: int, name: str) -> None:
    found = sum(1 for f in reversed(fixes[-expected - 1 :]) if f[1] == storm) if storm else 0
    if storm and found != expected:
        many = f"{found}" if found < expected else f"more than {expected}"
        raise SchemaError(
            f"{name}: line {header} counts {expected} fixes of {storm}, but {many} follow; correct the "
            "count, or is the file cut off?"
        )


def _unwrapped(longitude: pd.Series) -> pd.Series:
    return pd.Series(np.unwrap(longitude.to_numpy(), period=TURN), index=longitude.index)
