"""Times written as text, and naive times placed in a zone; what cannot be read is named by its row."""

from __future__ import annotations

import datetime as dt
from typing import cast

import pandas as pd

from latentode.data.columns import cell_name, row_name
from latentode.errors import SchemaError

__all__ = ["FIX", "place_in_zone", "read_text", "zone_name"]

FIX = "correct it, or give time_format= (such as '%d/%m/%Y %H:%M') if the whole column is written so"
# A clock time is needed before an offset: the last field of a bare date would look like one.
_OFFSET = r"[Tt ].*?(Z|[+-]\d\d(?::?\d\d)?)$"


def read_text(
    column: pd.Series, what: str, time_format: str | None, convert: bool, fix: str = FIX
) -> pd.Series:
    """A datetime column from text or from datetime objects.

    Args:
        column: without missing cells.
        what: names it in messages.
        time_format: strptime format of text that is not ISO 8601.
        convert: whether times of several offsets may be brought to UTC, since the caller converts
            them to a zone anyway.
        fix: what to advise where a cell is not a time.

    Raises:
        SchemaError: naming the first row that cannot be read, and the fix.
    """
    column = column.infer_objects()
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    text = column
    if column.dtype == object:
        text = column.map(lambda v: v.isoformat() if isinstance(v, dt.datetime) else str(v))
    text = text.astype(str).str.strip()
    chosen = time_format or "ISO8601"
    try:
        parsed = pd.to_datetime(text, format=chosen)
        if pd.api.types.is_datetime64_any_dtype(parsed):
            return parsed
    except ValueError:
        pass
    _refuse_unreadable(column, text, what, chosen, fix)
    offsets = text.str.extract(_OFFSET, expand=False).fillna("").replace("Z", "+00:00")
    _refuse_mixed(column, offsets, what, convert)
    return pd.to_datetime(text, format=chosen, utc=True)


def place_in_zone(column: pd.Series, what: str, timezone: str) -> pd.Series:
    """Aware times converted to a zone, naive ones taken to be in it.

    Raises:
        SchemaError: for an unknown zone, or a clock time that the zone skipped or passed twice.
    """
    try:
        pd.Timestamp(0, tz=timezone)
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(
            f"timezone {timezone!r} is unknown; write an IANA name such as 'Europe/Berlin' or 'UTC'"
        ) from error
    if column.dt.tz is not None:
        return column.dt.tz_convert(timezone)
    placed = column.dt.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT")
    lost = placed.isna().to_numpy()
    if lost.any():
        raise SchemaError(
            f"{what} holds {cell_name(column.astype(str), lost)}, which {timezone} skipped or passed "
            "twice when its clocks changed; write the times with their UTC offset"
        )
    return placed


def zone_name(column: pd.Series, what: str) -> str | None:
    """The name by which pandas finds the column's zone again; None for naive times."""
    zone = column.dt.tz
    if zone is None:
        return None
    fixed = zone.utcoffset(None)
    name = str(zone) if fixed is None else str(dt.timezone(fixed))
    try:
        pd.Timestamp(0, tz=name)
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(
            f"{what} has the time zone {zone!r}, which has no name; convert the column with "
            "dt.tz_convert to an IANA zone such as 'Europe/Berlin'"
        ) from error
    return name


def _refuse_unreadable(column: pd.Series, text: pd.Series, what: str, chosen: str, fix: str) -> None:
    readable = pd.to_datetime(text, format=chosen, errors="coerce", utc=True).notna().to_numpy()
    if readable.all():
        return
    numbers = cast(pd.Series, pd.to_numeric(text.astype(object), errors="coerce")).notna().to_numpy()
    if numbers.mean() > 0.5 and not numbers.all() and chosen == "ISO8601":
        raise SchemaError(
            f"{what} holds numbers, but {cell_name(column, ~numbers)}; correct it or remove that row"
        )
    raise SchemaError(
        f"{what} holds {cell_name(column, ~readable)}, which is not a time in the format {chosen}; "
        f"{fix}"
    )


def _refuse_mixed(column: pd.Series, offsets: pd.Series, what: str, convert: bool) -> None:
    """Refuses times of which some have a zone, and several zones that may not be converted."""
    aware = (offsets != "").to_numpy()
    if aware.any() and not aware.all():
        odd = aware != aware[0]
        raise SchemaError(
            f"{what} mixes times with and without a zone, first at {row_name(column, odd)}; write all "
            "of them with an offset, or none"
        )
    if convert:
        return
    digits = offsets.str.replace(":", "")
    odd = (digits != digits.iloc[0]).to_numpy()
    where = f": offset {cell_name(offsets, odd)} after {offsets.iloc[0]!r}" if odd.any() else ""
    raise SchemaError(
        f"{what} mixes time zones{where}; give timezone= (such as 'Europe/Berlin' or 'UTC') to convert "
        "all of them to"
    )
