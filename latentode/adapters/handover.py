"""Handing over: how every adapter ends. What it leaves out is said, what repeats is settled.

Times that the clocks of a place showed become instants, also on the two nights when its clocks change.
In spring an hour does not exist: a clock that nobody has set forward yet still shows it, and it is read
with the offset from before the change. In autumn an hour comes twice: within a series the rows stand in
the order in which they were written, so where its clock goes back (or a time repeats), the second pass
has begun.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from latentode.data.cells.clock_times import second_pass
from latentode.data.tables.duplicates import DUPLICATES, merge_duplicates
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError, warn

__all__ = ["Notes", "hand_over", "settle", "to_instants"]

BEFORE = pd.Timedelta(hours=6)  # earlier than any change of clocks of the same night


@dataclass
class Notes:
    """What is to be told of one source, each with its count; nothing is told of a count of 0.

    Args:
        source: its name.
        lines: what has been noted so far.
    """

    source: str
    lines: list[str] = field(default_factory=list)

    def add(self, count: int, what: str) -> None:
        if count:
            self.lines.append(f"{count} {what}")

    def tell(self) -> None:
        """Warns once of all of it."""
        if self.lines:
            warn(f"{self.source}: {'; '.join(self.lines)}")


def hand_over(
    frame: pd.DataFrame, schema: Schema, notes: Notes, duplicates: str
) -> tuple[pd.DataFrame, Schema]:
    """The frame with one row per key, and its schema with every column named; tells the notes.

    Args:
        frame: whose values are numbers and whose times are read.
        schema: with its targets named, if wide.
        notes: told as a warning at the place that called the adapter.
        duplicates: "error", "mean" or "last".

    Raises:
        SchemaError: if nothing is left, or rows repeat and may not.
    """
    merged, resolved = settle(frame, schema, notes, duplicates)
    notes.tell()
    return merged, resolved


def settle(
    frame: pd.DataFrame, schema: Schema, notes: Notes, duplicates: str
) -> tuple[pd.DataFrame, Schema]:
    """As `hand_over`, before anything is told."""
    if duplicates not in DUPLICATES:
        raise SchemaError(f"duplicates {duplicates!r}: choose from {', '.join(DUPLICATES)}")
    if frame.empty:
        left_out = f": {'; '.join(notes.lines)}" if notes.lines else ""
        raise SchemaError(f"{notes.source} holds no observation that could be kept{left_out}")
    resolved = schema.resolve(frame)
    try:
        merged = merge_duplicates(frame, resolved, duplicates)
    except SchemaError as error:
        raise SchemaError(f"{notes.source}: {error}") from error
    notes.add(
        len(frame) - len(merged),
        f"rows of the same series and time merged into others (duplicates={duplicates!r})",
    )
    return merged, resolved


def to_instants(times: pd.Series, timezone: str | None, series: pd.Series, notes: Notes) -> pd.Series:
    """Times in a zone.

    Args:
        times: datetimes; aware ones are converted, naive ones are what the clocks of the zone show.
        timezone: IANA name; None leaves naive times as they are.
        series: the series of each row, whose rows are in the order (or the reverse) of recording.
        notes: told how many rows fell into a change of clocks, and how each was read.

    Raises:
        SchemaError: for an unknown zone.
    """
    if timezone is None:
        return times
    try:
        if times.dt.tz is not None:
            return times.dt.tz_convert(timezone)
        never = times.dt.tz_localize(timezone, ambiguous=_all(times), nonexistent="NaT").isna()
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(
            f"timezone {timezone!r} is unknown; write an IANA name such as 'America/New_York' or 'UTC'"
        ) from error
    shown = times.where(~never, times - BEFORE)
    twice = shown.dt.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT").isna()
    second, _ = second_pass(times, twice.to_numpy(), pd.factorize(series)[0])
    placed = shown.dt.tz_localize(timezone, ambiguous=~second)
    placed = placed.where(~never, placed + BEFORE)
    notes.add(int(never.sum()), f"times that the clocks of {timezone} skipped, read as not set forward")
    notes.add(
        int(twice.sum()),
        f"times that the clocks of {timezone} passed twice, {int(second.sum())} of them read as the "
        "second pass by the order of rows",
    )
    return placed


def _all(times: pd.Series) -> np.ndarray:
    return np.ones(len(times), dtype=bool)
