"""Roles: what the columns of a table may be, by their contents and by the structure of the table.

Times of one series go one way and don't repeat. Where the times of a table repeat or go back, and do
neither once the table is split by a column, that column names the series; where they repeat within each
series, a column that tells them apart names the variable of a long table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.cells.clock_times import LONGEST_DAY, are_packed, is_clock
from latentode.data.cells.columns import column_of, some_names, without_arrow
from latentode.data.cells.number_text import is_text, looks_numeric
from latentode.data.cells.time_numbers import since_when
from latentode.data.cells.time_reading import TimeForm, read_times
from latentode.data.cells.usual_names import ID_NAMES, usual
from latentode.data.tables.joined_columns import (
    codes_of,
    joined,
    joined_times,
    parts_of,
    with_joined_columns,
)
from latentode.data.tables.qualifiers import qualifies
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = [
    "PROBED",
    "UNNAMED",
    "Search",
    "are_dates",
    "equivalent",
    "holds_clock",
    "holds_hours",
    "is_label",
    "label_columns",
    "looks_like_times",
    "never_changes",
    "numbered_in_blocks",
    "orderly",
    "repeats",
    "taken_in_turn",
]

PROBED = 200  # first cells of a column, which say what it holds
MOSTLY, SELDOM = 0.9, 0.6  # shares of gaps alike in a regular series, and in one that is not
ALIKE = 0.1  # share of a gap by which one that is alike differs at most
_OTHER_CLOCK = r"[0-2]?\d[0-5]\d|[0-2]?\d\.[0-5]\d(?:\.[0-5]\d)?|[0-2]?\d ?h ?(?:[0-5]\d)?"
UNNAMED = "Unnamed: "  # what pandas calls a column without a header: row numbers, nearly always
COUNTERS = (
    "index",
    "row",
    "row_number",
    "rn",
    "record",
    "nr",
    "no",
    "seq",
    "sequence",
    "line",
    "rownum",
    *("lfd_nr", "lfdnr", "laufende_nummer", "entry", "#", "rowname", "rownames", "row_id"),
)


def orderly(codes: np.ndarray, ticks: np.ndarray) -> bool:
    """Whether the rows of each group stand in the order of time, or all in the reverse, none twice.

    Example:
        >>> orderly(np.array([0, 0, 1, 1]), np.array([1, 5, 2, 3]))
        True
    """
    order = np.argsort(codes, kind="stable")
    steps = np.diff(ticks[order])[np.diff(codes[order]) == 0]
    return bool((steps > 0).all() or (steps < 0).all())


def repeats(column: pd.Series) -> bool:
    """Whether values of a column stand in more rows than one."""
    return column.nunique() < len(column)


def is_label(column: pd.Series) -> bool:
    """Whether a column holds labels: text that is neither numbers nor times, each in several rows."""
    if not is_text(column):
        return False
    n = column.nunique()
    if not 2 <= n <= len(column) / 2 or qualifies(column):
        return False
    return not looks_numeric(column) and not looks_like_times(column)


def label_columns(frame: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Those of some columns that hold labels."""
    return [name for name in names if is_label(column_of(frame, name))]


def looks_like_times(column: pd.Series) -> bool:
    """Whether a column holds datetimes, text of ISO 8601 throughout its first rows, or numbers that its
    name says to be times."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    if pd.api.types.is_numeric_dtype(column):
        return since_when(str(column.name)) is not None
    if not is_text(column):
        return False
    first = without_arrow(column).dropna().iloc[:PROBED].astype(str).str.strip()
    if first.empty or first.str.fullmatch(r"[\d.]*|\d{4,}-\d").any():  # codes such as 8867-4
        return False
    return bool(pd.to_datetime(first, format="ISO8601", errors="coerce", utc=True).notna().all())


def are_dates(column: pd.Series) -> bool:
    """Whether a column holds dates without a time of day, in its first rows."""
    first = without_arrow(column).dropna().iloc[:PROBED]
    if first.empty:
        return False
    if pd.api.types.is_numeric_dtype(first):
        numbers = first.to_numpy(np.float64)
        if not ((numbers == np.floor(numbers)) & (np.abs(numbers) < 1e8)).all():  # eight digits
            return False
        whole = pd.Series(numbers.astype(np.int64)).astype(str)
        return bool(pd.to_datetime(whole, format="%Y%m%d", errors="coerce").notna().all())
    if pd.api.types.is_datetime64_any_dtype(first):
        return bool((first == first.dt.normalize()).all())
    return bool(first.astype(str).str.fullmatch(r"\s*[\w ,]+[-./ ][\w ,]+[-./ ]\w+\s*").all())


def holds_clock(column: pd.Series) -> bool:
    """Whether a column holds times of day: text such as "08:01", or numbers such as 801."""
    first = without_arrow(column).dropna()
    if first.empty:
        return False
    if pd.api.types.is_numeric_dtype(first):
        return are_packed(first.to_numpy(np.float64))
    text = first.iloc[:PROBED].astype(str).str.strip()
    return is_clock(text) or bool(text.str.fullmatch(_OTHER_CLOCK).all())


def never_changes(column: pd.Series) -> bool:
    """Whether several numbers are one."""
    if not pd.api.types.is_numeric_dtype(column):
        return False
    values = column.dropna().to_numpy()
    return len(values) > 1 and bool((values == values[0]).all())


def holds_hours(column: pd.Series) -> bool:
    """Whether a column holds hours of a day, such as 0 or 23; 25 where clocks are set back."""
    hours = without_arrow(column).dropna()
    if hours.empty or not pd.api.types.is_numeric_dtype(hours):
        return False
    return bool(hours.between(0, LONGEST_DAY).all() and (hours == np.floor(hours)).all())


def numbered_in_blocks(column: pd.Series, codes: np.ndarray) -> bool:
    """Whether whole numbers stand each in one block of rows, several rows long."""
    if not pd.api.types.is_integer_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    runs = int((np.diff(codes) != 0).sum()) + 1
    n = int(codes.max(initial=0)) + 1
    return 2 <= n <= len(column) / 2 and runs == n


def taken_in_turn(base: np.ndarray, codes: np.ndarray, ticks: np.ndarray) -> bool:
    """Whether rows of several groups alternate, each of which is regular where all together are not.

    Args:
        base: series of each row, as far as is known.
        codes: what each row would be of if a column split the series.
        ticks: time of each row.

    Example:
        >>> clock = np.array([0, 7, 60, 67, 120, 127, 180, 187])
        >>> taken_in_turn(np.zeros(8, dtype=int), np.arange(8) % 2, clock)
        True
    """
    order = np.lexsort((ticks, base))
    changes = (np.diff(codes[order]) != 0) & (np.diff(base[order]) == 0)
    if 2 * int(changes.sum()) < len(ticks):
        return False
    return _regular(codes, ticks) > MOSTLY and _regular(base, ticks) < SELDOM


def _regular(codes: np.ndarray, ticks: np.ndarray) -> float:
    """The share of gaps within groups that are as long as the median one of their group."""
    order = np.lexsort((ticks, codes))
    gaps = pd.Series(np.diff(ticks[order]).astype(np.float64))[np.diff(codes[order]) == 0]
    if gaps.empty:
        return 0.0
    usual_gap = gaps.groupby(codes[order][1:][gaps.index]).transform("median")
    return float(((gaps - usual_gap).abs() <= ALIKE * usual_gap).mean())


def equivalent(columns: Sequence[np.ndarray]) -> bool:
    """Whether some columns split the rows in the same way."""
    joined = codes_of(*columns)
    return all(int(c.max()) == int(joined.max()) for c in columns)


class Search:
    """A table whose roles are being found, one after the other.

    Args:
        frame: the table.
        schema: what is known so far.

    Attributes:
        notes: what was found without being told.
        complete: whether layout, time and variables were all named from the start, as in a schema that
            was resolved before; of such a table no labels are refused.
    """

    def __init__(self, frame: pd.DataFrame, schema: Schema) -> None:
        self.columns = frozenset(frame.columns)
        self.frame = with_joined_columns(frame, schema)
        self.schema = schema
        self.notes: list[str] = []
        self.complete = None not in (schema.layout, schema.time, schema.targets)
        self._ticks: np.ndarray | None = None

    def taken(self) -> list[str]:
        """The columns that have a role, or are left out."""
        schema = self.schema
        taken = [*schema.named(), *schema.static_covariates, *schema.known_future, *schema.leave_out]
        taken += [p for c in (schema.id, schema.time) for p in parts_of(c, self.columns)]
        if schema.date is not None:
            taken.append(schema.date)
        # The targets of a long table are no columns.
        targets = schema.targets or ()
        if schema.layout == "wide" or (not schema.layout and set(targets) <= set(self.frame.columns)):
            taken += targets
        return taken

    def free(self) -> list[str]:
        """The columns without a role."""
        taken = set(self.taken())
        return [c for c in self.frame.columns if c not in taken]

    def numeric(self) -> list[str]:
        """The columns without a role that hold numbers."""
        return [c for c in self.free() if self._holds_numbers(c)]

    def _holds_numbers(self, name: str) -> bool:
        if name.startswith(UNNAMED) or self._is_counter(name):
            return False
        column = self.column(name)
        if pd.api.types.is_numeric_dtype(column):
            return True
        return is_text(column) and looks_numeric(column, self.schema.file_format.decimal)

    def _is_counter(self, name: str) -> bool:
        """Whether a column only numbers the rows, or names something else than the series."""
        column = self.column(name)
        if is_text(column) and usual(name) in COUNTERS:  # as below rows of units
            column = cast(pd.Series, pd.to_numeric(column, errors="coerce"))
            column = column.convert_dtypes() if column.notna().all() else column
        if not pd.api.types.is_integer_dtype(column) or self.schema.targets is not None:
            return False
        if usual(name) in ID_NAMES and usual(name).endswith("id"):
            return self.schema.id is not None
        if usual(name) not in COUNTERS or len(column) < 3:
            return False
        return bool((np.diff(column.to_numpy(np.float64, na_value=np.nan)) == 1).all())

    def column(self, name: str) -> pd.Series:
        return column_of(self.frame, name)

    def join_times(self, parts: Sequence[str]) -> None:
        """Takes several columns together for the times."""
        self.schema = replace(self.schema, time=joined(parts))
        self.frame = with_joined_columns(self.frame, self.schema)
        first = self.column(str(self.schema.time)).iloc[0]
        self.say(
            f"times are put together of {some_names(parts)}, the first as {first}; time= names another "
            "column"
        )

    def say(self, text: str) -> None:
        """Notes what was found."""
        self.notes.append(text)

    def ticks(self) -> np.ndarray | None:
        """Something that orders the rows; None where the times can't be read, which is said later."""
        if self._ticks is None:
            try:
                column = joined_times(self.frame, self.schema)
                read = read_times(column, "", TimeForm(self.schema.time_format))
                self._ticks = read.axis.ticks_of(read.column)
            except (SchemaError, ValueError, TypeError):
                return None
        return self._ticks

    def base(self) -> np.ndarray:
        """What is known to tell rows of one time apart: series and, in the long layout, variable."""
        known = [c for c in (self.schema.id, self.schema.variable) if c is not None]
        if not known:
            return np.zeros(len(self.frame), dtype=np.int64)
        return codes_of(*(column_of(self.frame, c) for c in known))
