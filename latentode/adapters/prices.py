"""Prices: bars and quotes of instruments, each by the calendar and the clock of its own exchange.

A bar is known when it has ended. A daily bar dated 5 January ended in Tokyo at 15:30 and in New York at
16:00 of that date, 14.5 hours later; on one axis of dates either would know the other's future. So
bars are stamped with the instant of their end, in UTC, and each instrument keeps its own holidays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.adapters.handover import Notes, hand_over, to_instants
from latentode.adapters.sheets import Sheet, Source, open_sheets
from latentode.data.cells.clock_times import in_plain_units
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = ["bars", "quotes"]

SYMBOLS = ("symbol", "ticker", "instrument")
TIMES = ("date", "timestamp", "time", "datetime")
MISSING = ("-", "N/D", "n.a.")
DAY = pd.Timedelta(days=1)
EPOCHS = ("s", "ms", "us", "ns")


def bars(
    source: Source | Mapping[str, Source],
    fields: Sequence[str] = ("close",),
    id: str | None = None,
    time: str | None = None,
    timezone: str | Mapping[str, str] | None = None,
    closes: str | Mapping[str, str] | None = None,
    length: str | None = None,
    time_format: str | None = None,
    thousands: str = "",
    duplicates: str = "error",
) -> tuple[pd.DataFrame, Schema]:
    """Reads bars of one instrument, of several in one table, or of several files by symbol.

    Args:
        source: table, or tables by symbol: `{"SPX": "spx.csv", "NKY": "nky.csv"}`.
        fields: columns to model, in any case; those of the file that are not named are left out.
        id: column of symbols; found by its usual names; without one, and without a mapping, the table
            is one series.
        time: column of times; found by its usual names by default.
        timezone: zone of the exchange, or of each symbol. Without it times stay naive, as they are.
        closes: of daily bars, the clock time at which they end, such as "16:00", or by symbol. A date
            without one is known at the end of its day.
        length: of intraday bars that are stamped with their beginning, how long they are: "5min".
        time_format: strptime format of times that are not ISO 8601; `%y` reads years 1969 to 2068 and
            refuses what would lie in the future.
        thousands: separator of thousands in numbers.
        duplicates: several bars of one instrument and time: "error", "mean" or "last".

    Returns:
        A wide table: `symbol` (if there are several), `time` at which each bar is known, in UTC where
        `timezone` is told, and the fields.

    Raises:
        SchemaError: naming file, line and field.

    Example:
        >>> table = pd.DataFrame({
        ...     "symbol": ["SPX", "NKY"], "date": ["2024-01-05"] * 2, "close": [4697.24, 33377.42],
        ... })
        >>> frame, schema = bars(
        ...     table,
        ...     timezone={"SPX": "America/New_York", "NKY": "Asia/Tokyo"},
        ...     closes={"SPX": "16:00", "NKY": "15:00"},
        ... )
        >>> frame["time"].astype(str).tolist()
        ['2024-01-05 21:00:00+00:00', '2024-01-05 06:00:00+00:00']
    """
    frame, notes, several = _instruments(source, id, time, time_format, fields, thousands)
    daily = bool((frame["time"] == frame["time"].dt.normalize()).all())
    if daily and length is None and (timezone is not None or closes is not None):
        frame["time"] = frame["time"] + _ends(cast(pd.Series, frame["symbol"]), closes)
    frame["time"] = _utc(frame, timezone, notes)
    if length is not None:
        frame["time"] = frame["time"] + _span(length, "length")
    return _handed(frame, tuple(fields), notes, several, duplicates)


def quotes(
    source: Source | Mapping[str, Source],
    bid: str = "bid",
    ask: str = "ask",
    id: str | None = None,
    time: str | None = None,
    timezone: str | Mapping[str, str] | None = None,
    epoch: str | None = None,
    crossed: bool = False,
    time_format: str | None = None,
    duplicates: str = "last",
) -> tuple[pd.DataFrame, Schema]:
    """Reads quotes, at the instants at which they were made, into mid prices and spreads.

    Args:
        source: table, or tables by symbol.
        bid: column of bids.
        ask: column of asks.
        id: column of symbols, as for `bars`.
        time: column of times, as for `bars`.
        timezone: zone of times that have none, or of each symbol's.
        epoch: unit of times written as whole numbers since 1970 in UTC: "s", "ms", "us" or "ns".
        crossed: whether to keep quotes whose bid is above the ask; left out by default. Quotes with a
            side that is not above 0 have no price and are always left out.
        time_format: strptime format of times that are not ISO 8601.
        duplicates: several quotes of one instrument at one instant: "last", "mean" or "error".

    Returns:
        A wide table: `symbol` (if there are several), `time`, `mid`, `spread`.

    Raises:
        SchemaError: naming file, line and field.

    Example:
        >>> times = [1704465000000, 1704465000150]
        >>> table = pd.DataFrame({"time": times, "bid": [9.9, 9.8], "ask": [10.1, 10.2]})
        >>> frame, schema = quotes(table, epoch="ms")
        >>> frame["mid"].tolist(), frame["spread"].round(2).tolist()
        ([10.0, 10.0], [0.2, 0.4])
    """
    if epoch not in (None, *EPOCHS):
        raise SchemaError(f"epoch {epoch!r} is no unit of time; use {', '.join(EPOCHS)}")
    frame, notes, several = _instruments(source, id, time, time_format, (bid, ask), "", epoch)
    frame["time"] = _utc(frame, timezone, notes)
    empty = ~((frame[bid] > 0) & (frame[ask] > 0))
    notes.add(int(empty.sum()), "quotes without a price on both sides left out")
    cross = ~empty & (frame[bid] > frame[ask])
    if not crossed:
        notes.add(int(cross.sum()), "quotes whose bid is above the ask left out (crossed=)")
    frame = cast(pd.DataFrame, frame[~(empty if crossed else empty | cross)])
    priced = frame[["symbol", "time"]].assign(
        mid=(frame[bid] + frame[ask]) / 2, spread=frame[ask] - frame[bid]
    )
    return _handed(priced, ("mid", "spread"), notes, several, duplicates)


def _instruments(
    source: Source | Mapping[str, Source],
    id: str | None,
    time: str | None,
    time_format: str | None,
    fields: Sequence[str],
    thousands: str,
    epoch: str | None = None,
) -> tuple[pd.DataFrame, Notes, bool]:
    """symbol, time as written and fields; whether there are several instruments."""
    sheets = open_sheets(source)
    notes = Notes(sheets[0][1].name if len(sheets) == 1 else f"{len(sheets)} tables")
    parts, several = [], isinstance(source, Mapping)
    for label, sheet in sheets:
        column = sheet.need(id, argument="id") if id is not None else sheet.find(*SYMBOLS)
        several = several or column is not None
        when = sheet.need(*([time] if time else TIMES), argument="time")
        symbols = pd.Series(label or "", index=sheet.frame.index)
        if label is None and column is not None:
            symbols = sheet.labels(column).astype(str)
        part = pd.DataFrame({"symbol": symbols, "time": _times(sheet, when, time_format, epoch)})
        for field in fields:
            part[field] = sheet.numbers(sheet.need(field, argument="fields"), MISSING, thousands)
        parts.append(part)
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    silent = frame[list(fields)].isna().all(axis=1)
    notes.add(int(silent.sum()), "rows without any of the fields left out")
    return cast(pd.DataFrame, frame[~silent]).copy(), notes, several


def _times(sheet: Sheet, column: str, time_format: str | None, epoch: str | None) -> pd.Series:
    if epoch is None:
        return sheet.times(column, time_format)
    # Through integers: an epoch in nanoseconds is too long for a float.
    text = sheet.text(column)
    whole = text.str.fullmatch(r"-?\d+").to_numpy(dtype=bool)
    sheet.refuse(column, ~whole, f"is no whole number of {epoch} since 1970", show=True)
    ticks = text.astype(np.int64).to_numpy()
    return pd.Series(pd.to_datetime(ticks, unit=cast(Any, epoch), utc=True), index=text.index)


def _ends(symbols: pd.Series, closes: str | Mapping[str, str] | None) -> pd.Series:
    """How long after midnight a daily bar of each symbol ends."""
    if closes is None:
        return pd.Series(DAY, index=symbols.index)
    if isinstance(closes, str):
        return pd.Series(_span(f"{closes}:00", "closes"), index=symbols.index)
    _require_all(symbols, closes, "closes")
    return symbols.map({s: _span(f"{c}:00", "closes") for s, c in closes.items()})


def _span(text: str, what: str) -> pd.Timedelta:
    try:
        return cast(pd.Timedelta, pd.Timedelta(in_plain_units(text, what)))
    except ValueError as error:
        raise SchemaError(
            f"{what} {text.removesuffix(':00')!r} is not understood; write '16:00' for closes and "
            "'5min' for length"
        ) from error


def _utc(frame: pd.DataFrame, timezone: str | Mapping[str, str] | None, notes: Notes) -> pd.Series:
    """Instants in UTC where a zone is told or written, naive times otherwise."""
    times, symbols = cast(pd.Series, frame["time"]), cast(pd.Series, frame["symbol"])
    if times.dt.tz is not None:
        return times.dt.tz_convert("UTC")
    if timezone is None:
        return times
    if isinstance(timezone, str):
        return to_instants(times, timezone, symbols, notes).dt.tz_convert("UTC")
    _require_all(symbols, timezone, "timezone")
    parts = []
    for zone in dict.fromkeys(timezone.values()):
        here = symbols.isin([s for s, z in timezone.items() if z == zone])
        placed = to_instants(times[here], zone, symbols[here], notes)
        parts.append(placed.dt.tz_convert("UTC"))
    return pd.concat(parts).reindex(times.index)


def _require_all(symbols: pd.Series, told: Mapping[str, str], what: str) -> None:
    untold = sorted(set(symbols) - set(told))
    if untold:
        raise SchemaError(f"{what}= says nothing of {', '.join(untold)}; add it")


def _handed(
    frame: pd.DataFrame, targets: tuple[str, ...], notes: Notes, several: bool, duplicates: str
) -> tuple[pd.DataFrame, Schema]:
    frame = frame if several else frame.drop(columns="symbol")
    schema = Schema(id="symbol" if several else None, time="time", targets=targets, layout="wide")
    return hand_over(frame, schema, notes, duplicates)
