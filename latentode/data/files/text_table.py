"""Text tables: the text of a file as a frame whose index is the line that each row begins on.

A label must stay as it is written: "007" is no 7, and a patient may be called NA. So the identifier
column (and, in the long layout, the one that names the variable) is read as text; all other columns
are read by their contents.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import column_of, detect
from latentode.data.cells.number_cells import exact_numbers, without_codes, without_thousands
from latentode.data.files.text_encoding import (
    offset_of,
    with_plain_rules,
    without_comments,
    without_lines,
    without_rules,
)
from latentode.data.files.text_layout import TextLayout, find_layout, lines_from, records_of
from latentode.data.tables.file_format import WHITESPACE, FileFormat, empty_rows, header_within
from latentode.data.tables.header_rows import TIME, UNNAMED, Record, kind_of
from latentode.data.tables.joined_columns import parts_of
from latentode.data.tables.resolution import resolve
from latentode.data.tables.schema import ID_NAMES, VALUE_NAMES, VARIABLE_NAMES, Schema
from latentode.errors import SchemaError

__all__ = ["MISSING", "labels_of", "read_text_table"]

# What is usually written where nothing was observed; "" is an empty cell.
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "None", "<NA>", "#N/A")
MISSING += ("#NA", "NaT", "NAN", "-NAN", "Null", r"\N")
_YEAR = re.compile(r"(?:1[5-9]|20)\d{2}")
_BLANK_LINE = re.compile(rb"^[ \t]*$", re.MULTILINE)


def read_text_table(
    content: bytes, name: str, schema: Schema, told: FileFormat
) -> tuple[pd.DataFrame, FileFormat, list[str]]:
    """Reads a text.

    Args:
        content: in UTF-8, with line feeds.
        name: of the file, for messages.
        schema: says which column identifies the series, if it has an unusual name.
        told: what is known of the format.

    Returns:
        The frame, its format, and what was found out or left out, to be said.

    Raises:
        SchemaError: naming line and fix.
    """
    content = without_rules(with_plain_rules(content))
    layout = find_layout(content, name, told)
    said = list(layout.found)
    content, n_repeated = _without_marked(content, layout)
    text = _Text(content, name, layout)
    frame = text.read(schema)
    headers = text.other_headers(frame)
    if headers:
        text = replace(text, content=without_lines(content, headers))
        frame = text.read(schema)
    n_repeated += len(headers)
    if n_repeated:
        said.append(f"{n_repeated} repeated header line{'s' * (n_repeated > 1)} left out")
    codes = text.codes(frame, schema)
    if codes:
        frame = text.read(schema, codes)
    if frame.empty:
        raise SchemaError(f"{name} has a header but no rows; check the export that wrote it")
    frame.index = text.lines_of_rows(len(frame))
    short = text.short_rows(frame)
    if short:
        said.append(short)
    empty = empty_rows(frame)
    if empty.any():
        first = frame.index[empty][0]
        said.append(f"{_rows(int(empty.sum()))} without a single cell left out, first line {first}")
        frame = cast(pd.DataFrame, frame[~empty])
    return _without_nameless(frame), layout.format, said


def _without_marked(content: bytes, layout: TextLayout) -> tuple[bytes, int]:
    """The text with its comments and whatever repeats the header blanked, and how often that does."""
    content = without_comments(content, layout.format.comments)
    header = layout.header.encode()
    begin = offset_of(content, layout.first_line)
    repeated = 0
    if header and content.find(b"\n" + header + b"\n", max(0, begin - 1)) >= 0:
        line = re.compile(rb"^" + re.escape(header) + rb"$", re.MULTILINE)
        rows, repeated = line.subn(b"", content[begin:])
        content = content[:begin] + rows
    return content, repeated


def _without_nameless(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that separators too many make, which have neither name nor cells."""
    empty = [c for c in frame.columns if c.startswith(UNNAMED) and column_of(frame, c).isna().all()]
    return frame.drop(columns=empty) if empty else frame


@dataclass(frozen=True)
class _Text:
    """A text with its layout.

    Args:
        content: without comments.
        name: of the file.
        layout: how it is written.
    """

    content: bytes
    name: str
    layout: TextLayout

    def codes(self, frame: pd.DataFrame, schema: Schema) -> list[str]:
        """Columns of digits, some with zeros before them, that tell series or variables apart.

        As numbers 07 and 7 would be one; but many a number is written with zeros before it, too.
        """
        whole = [c for c in frame.columns if pd.api.types.is_integer_dtype(column_of(frame, c))]
        if not whole or not self._has_codes():
            return []
        text = self.read(schema, whole)[whole]
        padded = [c for c in whole if column_of(text, c).str.fullmatch(r"\s*0\d+\s*").any()]
        try:
            as_text = frame.assign(**{c: column_of(text, c) for c in padded})
            found = resolve(schema, as_text).schema if padded else schema
        except SchemaError:  # said where the table is used
            return []
        named = [c for c in (found.id, found.variable) if c is not None]
        parts = [part for c in named for part in parts_of(c, frame.columns) or [c]]
        return [c for c in padded if c in parts]

    def _has_codes(self) -> bool:
        """Whether some cell is of digits alone, of which the first is a zero."""
        separator = str(self.layout.format.separator)
        between = b" " if separator == WHITESPACE else separator.encode()
        begin = max(0, offset_of(self.content, self.layout.first_line) - 1)
        ends = re.escape(between + b' "\r\n')
        starts = dict.fromkeys((between, b" ", b'"', b"\t", b"\n"))  # each alone is found quickly
        cells = (re.compile(re.escape(x) + rb"0\d+(?:[%b]|$)" % ends) for x in starts)
        return any(cell.search(self.content, begin) for cell in cells)

    def read(self, schema: Schema, as_text: Sequence[str] = ()) -> pd.DataFrame:
        """The rows, of some columns the text."""
        names = [*self.layout.names]
        extra = self.layout.width - len(names)
        if extra > 0:
            names = self._with_nameless(names, extra)
        try:
            return self._parsed(names, schema, as_text)
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            widest, line = self._widest_row(len(names))
            if widest == len(names):
                raise SchemaError(
                    f"{self.name} cannot be read: {str(error).strip()}; is a quotation mark on line "
                    f"{line} left open?"
                ) from error
        # Some rows end in separators too many, and in nothing else.
        names += [f"{UNNAMED}{i}" for i in range(len(names), widest)]
        return self._parsed(names, schema, as_text)

    def other_headers(self, frame: pd.DataFrame) -> list[int]:
        """Lines that repeat the names of the columns in another case or with other blanks.

        Raises:
            SchemaError: for one that has other names, or has them in another order.
        """
        again, odd = header_within(frame)
        if not again.any() and odd is None:
            return []
        again, odd = header_within(frame.set_axis(self.lines_of_rows(len(frame)), axis="index"))
        if odd is not None:
            raise SchemaError(
                f"{self.name}: {odd}, as where another table stands below the first; put each into a "
                "file of its own, and give these together if they have the same columns"
            )
        return self.lines_of_rows(len(frame))[again].tolist()

    def lines_of_rows(self, n_rows: int) -> pd.Index:
        """The line on which each row begins."""
        first = self.layout.first_line
        body = self.content[offset_of(self.content, first) :]
        n_lines = body.count(b"\n") + (not body.endswith(b"\n"))
        if n_lines == n_rows and (b'"' not in body or not _BLANK_LINE.search(body.rstrip(b"\n"))):
            return pd.RangeIndex(first, first + n_rows, name="line")
        lines = [line for line, _ in self._records()]
        if len(lines) != n_rows:  # the two parsers disagree: rather no line than a wrong one
            return pd.RangeIndex(n_rows, name="row")
        return pd.Index(np.array(lines, dtype=np.int64), name="line")

    def short_rows(self, frame: pd.DataFrame) -> str:
        """What there is to say of rows with fewer cells than the header.

        Raises:
            SchemaError: where the last line alone is short, as where a file is cut off, and where
                blanks stand between cells, so that it is not known which one lacks.
        """
        separator, width = str(self.layout.format.separator), len(self.layout.names)
        last = column_of(frame, self.layout.names[-1]).isna().to_numpy()
        if not last.any():
            return ""
        if separator == WHITESPACE:
            self._refuse_short(width)
            return ""
        between = separator.encode()
        body = memoryview(self.content)[offset_of(self.content, self.layout.first_line) :]
        if b'"' not in self.content and bytes(body).count(between) >= len(frame) * (width - 1):
            return ""
        short = [(line, len(cells)) for line, cells in self._records() if len(cells) < width]
        if not short:
            return ""
        line, cells = short[0]
        if len(short) == 1 and line == frame.index[-1] and not self.content.endswith(b"\n"):
            raise SchemaError(
                f"{self.name} ends within line {line}, which has {cells} cells where the header has "
                f"{width}: it is cut off; copy or download it again, or remove that line"
            )
        first = f"{_rows(len(short))} with fewer cells than the header, first line {line}"
        return f"{first}: what they lack is taken as missing"

    def _refuse_short(self, width: int) -> None:
        short = next(((line, cells) for line, cells in self._records() if len(cells) < width), None)
        if short is not None:
            raise SchemaError(
                f"{self.name}: line {short[0]} has {len(short[1])} cells where the header has {width}, "
                "and with blanks between them it is not known which one is missing; write NA for what "
                "is missing, or give the file with another separator"
            )

    def _parsed(self, names: list[str], schema: Schema, as_text: Sequence[str]) -> pd.DataFrame:
        told = self.layout.format
        labels = [*labels_of(names, schema), *as_text]
        missing = [*MISSING, *told.na_values]
        text = io.BytesIO(self.content)
        text.seek(offset_of(self.content, self.layout.first_line))
        with warnings.catch_warnings():
            # Without an index column pandas cuts off cells too many, and warns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                frame = pd.read_csv(
                    text,
                    sep=cast(str, told.separator),
                    decimal=cast(str, told.decimal),
                    header=None,
                    names=names,
                    index_col=False,
                    dtype=cast(Any, dict.fromkeys(labels, str)),
                    keep_default_na=False,
                    na_values={c: missing for c in names if c not in labels},
                    skipinitialspace=self.layout.padded,
                    low_memory=False,
                    float_precision=None if exact_numbers() else "round_trip",
                )
            except pd.errors.EmptyDataError:
                return pd.DataFrame(columns=pd.Index(names))
        if told.na_values:
            plain = (name for name in names if name not in labels)
            frame = frame.assign(
                **{c: without_codes(column_of(frame, c), told.na_values) for c in plain}
            )
        if told.decimal == ",":  # so that points stand between thousands
            for name in (c for c in names if c not in labels):
                frame[name] = without_thousands(column_of(frame, name))
        if told.separator == "|":  # blanks beside it align the columns
            frame = frame.assign(**{c: column_of(frame, c).str.strip() for c in labels})
        return frame

    def _records(self) -> list[Record]:
        """Every record, slowly."""
        lines = lines_from(self.content, self.layout.first_line - 1)
        return list(records_of(lines, str(self.layout.format.separator)))

    def _with_nameless(self, names: list[str], extra: int) -> list[str]:
        """Names for the cells that the header has none for, where these are empty or count the rows.

        Raises:
            SchemaError: where they hold anything else.
        """
        records = self._records()
        first = [cells[0] for _, cells in records if len(cells) > len(names)]
        if extra == 1 and (_counts(first) or _are_times(first)) and len(first) == len(records):
            years = all(map(_YEAR.fullmatch, first)) and "year" not in names
            return ["year" if years else f"{UNNAMED}0", *names]  # as R names its rows
        self._refuse_long(records, len(names))
        return [*names, *(f"{UNNAMED}{len(names) + i}" for i in range(extra))]

    def _widest_row(self, width: int) -> tuple[int, int]:
        """The number of cells of the widest row, and where the last row begins."""
        records = self._records()
        self._refuse_long(records, width)
        return max((len(cells) for _, cells in records), default=width), records[-1][0]

    def _refuse_long(self, records: list[Record], width: int) -> None:
        """Raises for the first row with cells beyond the header's that hold anything."""
        long = [(n, cells) for n, cells in records if any(c.strip() for c in cells[width:])]
        if not long:
            return
        line, cells = long[0]
        fix = "put text that holds a separator in quotation marks, and remove separators too many"
        if self.layout.format.separator == "," and len(long) > len(records) / 2:
            fix = (
                "if numbers are written with a decimal comma, export the table with semicolons or "
                "points instead; if text holds a comma, put it in quotation marks"
            )
        if 2 * len({*cells} & {*self.layout.names}) > width:
            fix = "put each table into a file of its own, if another one begins there"
        raise SchemaError(
            f"{self.name}: line {line} has {len(cells)} cells, but the header has {width}; {fix}"
        )


def _rows(n: int) -> str:
    return f"{n} row{'s' * (n != 1)}"


def _are_times(cells: Sequence[str]) -> bool:
    return all(kind_of(cell) == TIME or _YEAR.fullmatch(cell) for cell in cells)


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2, ... or 1, 2, 3, ..."""
    first = cells[0] if cells else ""
    begin = int(first) if first in ("0", "1") else -1
    return begin >= 0 and len(cells) > 1 and all(c == str(begin + i) for i, c in enumerate(cells))


def labels_of(header: Sequence[str], schema: Schema) -> list[str]:
    """The columns whose text is kept as it is written."""
    id_ = schema.id or detect(
        header, ID_NAMES, (schema.time, *schema.static_covariates, *schema.known_future)
    )
    variable = schema.variable or detect(header, VARIABLE_NAMES)
    value = schema.value or detect(header, VALUE_NAMES)
    long = schema.layout != "wide" and variable and value
    named = [*(parts_of(id_, header) or [id_]), variable if long else None]
    return [c for c in named if c is not None and c in header]
