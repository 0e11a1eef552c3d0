"""FileFormat: how a file holds its table. What is left open is found out from the file itself.

A frame that others have read from a file without its format looks so, which is said too.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import pandas as pd

from latentode.data.cells.columns import PLACES, column_of, names_places, row_name
from latentode.errors import SchemaError

__all__ = ["WHITESPACE", "FileFormat", "empty_rows", "header_within", "misread"]

WHITESPACE = r"\s+"  # the separator of columns that are lined up with blanks or tabs
# What a shell, or a reader of a page, can hardly write or see.
WORDS = {
    "comma": ",",
    "semicolon": ";",
    "tab": "\t",
    r"\t": "\t",
    "pipe": "|",
    "whitespace": WHITESPACE,
    "space": " ",
}
WRITTEN = {WORDS[word]: word for word in ("tab", "space", "whitespace")}
OPEN = (None, ())
SEPARATORS = (";", "\t", "|", ",")
MOST_HEADER = 3  # rows of units and the like
FEWEST, LOOKED_AT = 3, 20  # rows of values below them


@dataclass(frozen=True)
class FileFormat:
    r"""How a file holds its table; what is left None is found out, and said in a warning.

    All but `na_values`, `flags`, `file_column` and `sheet` is of text files alone.

    Args:
        separator: the character between cells, or "comma", "semicolon", "tab", "pipe", "space", or
            "whitespace" for any number of blanks.
        decimal: "." or ",", the sign before the decimals of numbers.
        encoding: of the text, such as "utf-8", "cp1252" (Western Windows) or "utf-16".
        skip_rows: lines before the header that are no part of the table.
        comment: what lines begin with that are no part of the table, such as "#", or several such
            beginnings; "" for nothing.
        header_rows: rows that name the columns: 0 for none (they become `column1`, `column2`, ...), 1,
            or more where units or further levels of names stand below the names.
        na_values: further texts that mean a missing value, besides empty cells, "NA", "nan" and their
            like. Identifiers are never missing by them.
        flags: what stands behind some numbers and says how they were come by, such as "e" in 20.5e; it
            is left aside, and counted. One text with commas between means several.
        file_column: name of a column to add that holds each file's name without its ending; an
            identifier where every series has a file of its own.
        sheet: which sheet of a workbook.

    Raises:
        SchemaError: for what cannot be.

    Example:
        >>> FileFormat(separator="tab", decimal=",").separator
        '\t'
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    skip_rows: int | None = None
    comment: str | tuple[str, ...] | None = None
    header_rows: int | None = None
    na_values: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    file_column: str | None = None
    sheet: str | None = None

    def __post_init__(self) -> None:
        given = (self.na_values,) if isinstance(self.na_values, str) else tuple(self.na_values)
        object.__setattr__(self, "na_values", given)
        flags = self.flags.split(",") if isinstance(self.flags, str) else self.flags
        object.__setattr__(self, "flags", tuple(flag.strip() for flag in flags if flag.strip()))
        digits = next((flag for flag in self.flags if any(map(str.isdigit, flag))), None)
        if digits is not None:
            raise SchemaError(f"flags={digits!r} holds a digit, as numbers do; give signs or letters")
        if self.comment is not None and not isinstance(self.comment, str):
            object.__setattr__(self, "comment", tuple(self.comment))
        if self.separator is not None:
            object.__setattr__(self, "separator", WORDS.get(self.separator, self.separator))
            if self.separator != WHITESPACE and (len(self.separator) != 1 or self.separator in '"\r\n'):
                raise SchemaError(
                    f"separator={self.separator!r} is not one character; give one, or "
                    f"{', '.join(w for w in WORDS if w.isalpha())}"
                )
        if self.decimal not in (None, ".", ","):
            raise SchemaError(f"decimal={self.decimal!r} is unknown; it is '.' or ','")
        for name in ("skip_rows", "header_rows"):
            number = getattr(self, name)
            if number is not None and (isinstance(number, bool) or int(number) != number or number < 0):
                raise SchemaError(f"{name}={number!r} is no number of lines; give 0, 1, 2, ...")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise SchemaError(
                    f"encoding={self.encoding!r} is unknown; give 'utf-8', 'cp1252', 'utf-16', "
                    "'shift_jis', ..."
                ) from None

    def over(self, other: FileFormat) -> FileFormat:
        """This format; where it leaves something open, the other.

        Example:
            >>> FileFormat(decimal=",").over(FileFormat(separator=";", decimal=".")).describe()
            "separator=';', decimal=','"
        """
        mine = {n: v for n, v in vars(self).items() if v not in OPEN}
        return FileFormat(**{**vars(other), **mine})

    def of_text(self) -> tuple[str, ...]:
        """Names of what is given that only a text file has."""
        elsewhere = ("na_values", "flags", "file_column", "sheet")
        return tuple(n for n, v in vars(self).items() if v not in OPEN and n not in elsewhere)

    @property
    def comments(self) -> tuple[str, ...]:
        """What lines begin with that are no part of the table."""
        given = (self.comment,) if isinstance(self.comment, str) else self.comment or ()
        return tuple(filter(None, given))

    def describe(self) -> str:
        """What is given, as one would write it."""
        given = {n: v for n, v in vars(self).items() if v not in OPEN}
        if "separator" in given:
            given["separator"] = WRITTEN.get(given["separator"], given["separator"])
        return ", ".join(f"{name}={value!r}" for name, value in given.items())

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; `of` is its inverse."""
        return asdict(self)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """A format from its fields by name.

        Raises:
            SchemaError: for a name that is none of them.
        """
        unknown = set(given) - {f.name for f in fields(cls)}
        if unknown:
            raise SchemaError(f"a file's format has no {sorted(unknown)[0]!r}")
        return cls(**given)


def misread(frame: pd.DataFrame) -> str:
    """Advice where a frame looks like a file that was read without its separator or header rows.

    Example:
        >>> misread(pd.DataFrame({"meter;time;value": ["7;2024-01-01;3.5"]}))
        "; the name of its one column holds ';': read the file with latentode.read_table, which finds \
separators, or pandas.read_csv(sep=';')"
        >>> misread(pd.DataFrame({"time": [1], "x": [2]}))
        ''
    """
    if frame.index.name in PLACES or names_places(frame.index):
        return ""  # as read_table leaves it
    if len(frame.columns) == 1:
        name = str(frame.columns[0])
        mark = next((mark for mark in SEPARATORS if mark in name), None)
        if mark is not None:
            return (
                f"; the name of its one column holds {mark!r}: read the file with "
                f"latentode.read_table, which finds separators, or pandas.read_csv(sep={mark!r})"
            )
    if all(type(name) is str for name in frame.columns) and not frame.columns.has_duplicates:
        again, odd = header_within(frame)
        if again.any():
            where = row_name(frame.iloc[:, 0], again)
            return (
                f"; {where} repeats the names of the columns: remove such rows, or read the file with "
                "latentode.read_table, which leaves them out"
            )
        if odd is not None:
            return f"; {odd}, as where another table stands below the first: read each by itself"
    first = frame.iloc[: MOST_HEADER + LOOKED_AT]
    columns = [first.iloc[:, place] for place in range(first.shape[1])]
    texts = [c for c in columns if pd.api.types.is_string_dtype(c) or c.dtype == object]
    for rows in range(1, MOST_HEADER + 1):
        if sum(_begins_late(column, rows) for column in texts) > 1:
            return (
                f"; in several columns no values but units or the like stand above row {rows}: "
                "read the file with latentode.read_table, which finds them, or with "
                "pandas.read_csv(skiprows=...) without them"
            )
    return ""


def _begins_late(column: pd.Series, rows: int) -> bool:
    """Whether a column holds numbers or times from its row `rows` on, and none before."""
    cells = column.fillna("").astype(str)
    numbers = pd.to_numeric(cells, errors="coerce").notna()
    times = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True).notna()
    return any(
        len(values) >= rows + FEWEST and not values.iloc[:rows].any() and values.iloc[rows:].all()
        for values in (numbers, times)
    )


def empty_rows(frame: pd.DataFrame) -> np.ndarray:
    """Mask of the rows in which nothing is written."""
    empty = np.ones(len(frame), dtype=bool)
    for name in reversed(frame.columns):  # the first one is seldom empty, and text, which is slower
        if not empty.any():
            break
        column = column_of(frame, name)
        blank = column.isna().to_numpy()
        if empty[~blank].any() and not pd.api.types.is_numeric_dtype(column):
            blank = blank | (column == "").to_numpy(dtype=bool)
        empty &= blank
    return empty


def header_within(frame: pd.DataFrame) -> tuple[np.ndarray, str | None]:
    """Rows that repeat the names of the columns, as where exports stand one below another.

    Args:
        frame: as it was read, its columns named in text.

    Returns:
        A mask of those rows, whatever the case of their letters and the blanks around them; and what is
        wrong with the first row that holds these names otherwise, None where there is none.

    Example:
        >>> table = pd.DataFrame({"time": ["1", "Time", "2", "x"], "x": ["5", "X", "6", "time"]})
        >>> header_within(table)[0].tolist(), header_within(table)[1]
        ([False, True, False, False], "row 3 holds 'x', 'time' where the header has 'time', 'x'")
    """
    repeated = np.zeros(len(frame), dtype=bool)
    names = [_plainly(name) for name in frame.columns]
    first = frame.iloc[:, 0]
    if len(names) < 2 or not (first.dtype == object or pd.api.types.is_string_dtype(first)):
        return repeated, None
    written = {f(n.strip()) for n in frame.columns for f in (str, str.lower, str.upper, str.title)}
    padded = (f"{before}{n}{behind}" for n in written for before in ("", " ") for behind in ("", " "))
    likely = first.isin([*padded, *frame.columns])
    for row in np.flatnonzero(likely):
        held = [_plainly(cell) for cell in frame.iloc[int(row)]]
        if held == names:
            repeated[row] = True
        elif sum(cell in names for cell in held) > max(1, len(names) // 2):
            shown = ", ".join(repr(str(cell)) for cell in frame.iloc[int(row)])
            where = row_name(first, np.arange(len(frame)) == row)
            had = ", ".join(map(repr, frame.columns))
            return repeated, f"{where} holds {shown} where the header has {had}"
    return repeated, None


def _plainly(cell: object) -> str:
    return "" if cell is None or cell != cell else str(cell).strip().strip("\"'").strip().casefold()
