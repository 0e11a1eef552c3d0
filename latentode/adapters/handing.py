"""Handing over: what an adapter leaves out is said, what repeats is settled, then (frame, schema)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import pandas as pd

from latentode.data.reading import DUPLICATES, merge_duplicates
from latentode.data.schema import Schema
from latentode.errors import SchemaError

__all__ = ["Notes", "hand_over", "settle"]


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

    def tell(self, stacklevel: int = 2) -> None:
        """Warns once of all of it."""
        if self.lines:
            warnings.warn(f"{self.source}: {'; '.join(self.lines)}", stacklevel=stacklevel + 1)


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
    notes.tell(stacklevel=3)
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
