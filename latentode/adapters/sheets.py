"""Sheets: a file as its rows stand on their lines, before anything is made of them.

Every cell of a text file is kept as text until an adapter says what its column holds, so that what
cannot be read is named by file, line and field.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import pandas as pd

from latentode.data.cells.columns import (
    IntoFrame,
    cell_name,
    column_of,
    row_name,
    some_names,
    to_pandas,
)
from latentode.data.cells.time_text import ISO, read_text
from latentode.data.files.table_files import MISSING, PARQUET, read_table
from latentode.errors import SchemaError

__all__ = ["Readable", "Sheet", "Source", "lines_of", "open_sheet", "open_sheets", "text_of"]

PREAMBLE = 30  # lines of metadata that an export may put before its header


@runtime_checkable
class Readable(Protocol):
    """An open file, of text or of bytes."""

    def read(self) -> str | bytes: ...


Source = str | Path | Readable | IntoFrame


@dataclass(frozen=True)
class Sheet:
    """A table with the name by which messages call it.

    Args:
        frame: cells of text files as text; index counts lines, of other tables rows.
        name: the file's.
    """

    frame: pd.DataFrame = field(repr=False)
    name: str

    def __len__(self) -> int:
        return len(self.frame)

    def find(self, *names: str) -> str | None:
        """The first of `names` that is a column, in whatever case it is written there."""
        lowered = {str(c).lower(): str(c) for c in reversed(self.frame.columns.tolist())}
        exact = next((n for n in names if n in self.frame.columns), None)
        return exact or next((lowered[n.lower()] for n in names if n.lower() in lowered), None)

    def need(self, *names: str, argument: str | None = None) -> str:
        """As `find`.

        Raises:
            SchemaError: if there is none; `argument` is what names it otherwise.
        """
        found = self.find(*names)
        if found is None:
            way = f"name it with {argument}=" if argument else "is this the file you mean?"
            raise SchemaError(
                f"{self.name} has no column {' or '.join(f'`{n}`' for n in names)}; its columns are "
                f"{some_names(self.frame.columns)}; {way}"
            )
        return found

    def require(self, name: str) -> None:
        """Raises unless there is a column of exactly this name."""
        if name not in self.frame.columns:
            raise SchemaError(
                f"{self.name} has no column `{name}`; its columns are "
                f"{some_names(self.frame.columns)}; rename the one that is meant"
            )

    def where(self, kept: pd.Series | np.ndarray) -> Sheet:
        """The rows that a mask keeps."""
        return Sheet(cast(pd.DataFrame, self.frame[np.asarray(kept, dtype=bool)]), self.name)

    def text(self, column: str) -> pd.Series:
        """A column as text without blanks around it; a missing cell is empty."""
        cells = column_of(self.frame, column)
        return cells.astype(object).where(cells.notna(), "").astype(str).str.strip()

    def labels(self, column: str) -> pd.Series:
        """Identifiers as they are.

        Raises:
            SchemaError: where one is missing.
        """
        cells = column_of(self.frame, column)
        labels = cells if pd.api.types.is_numeric_dtype(cells) else self.text(column)
        self.refuse(column, (labels.isna() | (labels.astype(str) == "")).to_numpy(), "names no series")
        return labels

    def numbers(self, column: str, missing: Sequence[str] = (), thousands: str = "") -> pd.Series:
        """A column as float64, NaN where nothing is written.

        Args:
            column: its name.
            missing: further texts that mean nothing was observed.
            thousands: separator of thousands, such as ",".

        Raises:
            SchemaError: for the first cell that is no number.
        """
        cells = column_of(self.frame, column)
        if pd.api.types.is_numeric_dtype(cells):
            return cells.astype(np.float64)
        text = self.text(column)
        written = text.where(~text.isin([*MISSING, *missing]))
        if thousands:
            written = written.str.replace(thousands, "", regex=False)
        numbers = cast(pd.Series, pd.to_numeric(written, errors="coerce")).astype(np.float64)
        bad = (numbers.isna() & written.notna()).to_numpy()
        self.refuse(column, bad, "is not a number; correct it, or name it in missing=", show=True)
        return numbers

    def times(self, column: str, time_format: str | None = None) -> pd.Series:
        """A column as datetimes; years of two digits are 1969 to 2068.

        Raises:
            SchemaError: for the first cell that is no time, or one in the future by its two digits.
        """
        cells = column_of(self.frame, column)
        if pd.api.types.is_datetime64_any_dtype(cells):
            self.refuse(column, cells.isna().to_numpy(), "holds no time")
            return cells
        text = self.text(column)
        self.refuse(column, (text == "").to_numpy(), "holds no time")
        what = f"{self.name}: column `{column}`"
        parsed = read_text(text, what, time_format or ISO, convert=True).column
        if time_format is not None and "%y" in time_format:
            aware = parsed.dt.tz is not None
            late = (parsed > pd.Timestamp.now(tz="UTC" if aware else None)).to_numpy()
            why = "has a year of two digits that would lie in the future; write it with four"
            self.refuse(column, late, why, show=True)
        return parsed

    def refuse(self, column: str, bad: np.ndarray, why: str, show: bool = False) -> None:
        """Raises for the first bad cell, if any; `show` says what is written there."""
        if bad.any():
            cells = column_of(self.frame, column)
            cell = cell_name(cells, bad) if show else row_name(cells, bad)
            raise SchemaError(f"{self.name}: column `{column}`: {cell} {why}")


def open_sheets(source: Source | Mapping[str, Source], **how: Any) -> list[tuple[str | None, Sheet]]:
    """Sheets by the label under which they are given; None for a single one."""
    if isinstance(source, Mapping):
        return [(str(label), open_sheet(one, **how)) for label, one in source.items()]
    return [(None, open_sheet(cast(Source, source), **how))]


def open_sheet(
    source: Source,
    header: Sequence[str] = (),
    names: Sequence[str] | None = None,
    comment: str | None = None,
) -> Sheet:
    """Reads a table from wherever it is.

    Args:
        source: a path (CSV, TSV, gzipped or not, Parquet), an open file, or a frame.
        header: names by which the header is known where lines of metadata come before it.
        names: the columns of a file without a header.
        comment: lines that begin so are left out.

    Raises:
        SchemaError: naming file and line.
    """
    if isinstance(source, str | Path) and Path(source).suffix.lower() in PARQUET:
        return Sheet(read_table(source), Path(source).name)
    if not isinstance(source, str | Path | Readable):
        frame = to_pandas(cast(IntoFrame, source))
        return Sheet(frame.rename_axis(index="row") if frame.index.name is None else frame, "the table")
    text, name = text_of(source)
    return Sheet(_parse(text, name, header, names, comment), name)


def text_of(source: str | Path | Readable) -> tuple[str, str]:
    """The text of a file, unpacked and decoded, and the file's name.

    Raises:
        SchemaError: if it is no file, damaged, or not UTF-8.
    """
    if isinstance(source, str | Path):
        name = Path(source).name
        if not Path(source).is_file():
            raise SchemaError(f"{source} is not a file; check the path")
        content: str | bytes = Path(source).read_bytes()
    else:
        name = Path(str(getattr(source, "name", "the file"))).name
        content = source.read()
    if isinstance(content, str):
        return content.removeprefix("\ufeff"), name
    try:
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        return content.decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = content[error.start]
        raise SchemaError(
            f"{name} is not UTF-8 text: line {line} holds the byte {byte:#04x}; save it as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SchemaError(f"{name} cannot be unpacked: {error}; write or copy it again") from error


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers, without the blanks at their ends."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.rstrip()


def _parse(
    text: str, name: str, header: Sequence[str], names: Sequence[str] | None, comment: str | None
) -> pd.DataFrame:
    records = list(_records(text, name, comment))
    if not records:
        raise SchemaError(f"{name} is empty; check the export that wrote it")
    begin, columns = (0, list(names)) if names is not None else _header(records, name, header)
    rows = records[begin:]
    if not rows:
        raise SchemaError(f"{name} has a header but no rows; check the export that wrote it")
    width = len(columns)
    for line, cells in rows:
        if len(cells) != width:
            if any(c.strip() for c in cells[width:]) or len(cells) < width:
                raise SchemaError(
                    f"{name}: line {line} has {len(cells)} cells where {width} belong "
                    f"({some_names(columns)}); correct that line, or is the file cut off?"
                )
            del cells[width:]
    lines = pd.Index(np.array([line for line, _ in rows], dtype=np.int64), name="line")
    cells_of = zip(*(cells for _, cells in rows), strict=True)
    filled = {c: list(cells) for c, cells in zip(columns, cells_of, strict=True) if c}
    return pd.DataFrame(filled, index=lines, dtype=str)


def _records(text: str, name: str, comment: str | None) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not blank, with the line on which it begins."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    tabs = first.count("\t") > first.count(",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ",", strict=True)
    begin = 1
    try:
        for cells in reader:
            blank = not cells or (len(cells) == 1 and not cells[0].strip())
            if not blank and not (comment and cells[0].startswith(comment)):
                yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise SchemaError(
            f"{name} cannot be read from line {begin}: {error}; is a quotation mark left open?"
        ) from error


def _header(
    records: list[tuple[int, list[str]]], name: str, known: Sequence[str]
) -> tuple[int, list[str]]:
    """Where the rows begin, and the names of their columns; the last ones may have none."""
    wanted = {k.lower() for k in known}
    found = next(
        (i for i, (_, cells) in enumerate(records[:PREAMBLE]) if wanted <= {_name(c) for c in cells}), 0
    )
    columns = [c.strip().strip('"').strip() for c in records[found][1]]
    named = [c for c in columns if c]
    twice = next((c for c in named if named.count(c) > 1), None)
    if twice is not None:
        raise SchemaError(f"{name}: column `{twice}` occurs twice in the header; rename one of them")
    if len(named) == 1 and ";" in named[0]:
        raise SchemaError(f"{name} has its cells separated by ';'; save it with ','")
    return found + 1, columns


def _name(cell: str) -> str:
    return cell.strip().strip('"').strip().lower()
