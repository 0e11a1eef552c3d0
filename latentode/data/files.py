"""Tables in files: CSV, TSV and Parquet, with rows numbered as an editor numbers their lines.

A label must stay as it is written: "007" is no 7, and a patient may be called NA. So the identifier
column (and, in the long layout, the one that names the variable) is read as text; all other columns
are read by their contents.
"""

from __future__ import annotations

import csv
import gzip
import io
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import pandas as pd

from latentode.data.columns import detect, some_names
from latentode.data.schema import ID_NAMES, VALUE_NAMES, VARIABLE_NAMES, Schema
from latentode.errors import SchemaError

__all__ = ["read_table"]

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
# What is usually written where nothing was observed; "" is an empty cell.
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "None", "<NA>", "#N/A")
MISSING += ("#NA", "NaT")


def read_table(
    path: str | Path, schema: Schema | None = None, na_values: Sequence[str] = ()
) -> pd.DataFrame:
    """Reads a table; its index is the line in the file, so that errors name the line.

    Args:
        path: `.csv`, `.tsv` (either also with `.gz`) or `.parquet`.
        schema: says which column identifies the series, if it has an unusual name.
        na_values: further texts that mean a missing value, besides empty cells, "NA", "nan" and
            their like. Not applied to identifiers.

    Raises:
        SchemaError: naming the file, the line where it can, and the fix.
    """
    path = Path(path)
    if not path.is_file():
        raise SchemaError(f"{path} is not a file; check the path")
    if path.suffix.lower() in PARQUET:
        return _read_parquet(path)
    separator = SEPARATORS.get(_suffix(path))
    if separator is None:
        raise SchemaError(
            f"{path} ends in {path.suffix or 'nothing'!r}; tables are read from .csv, .tsv, .csv.gz, "
            ".tsv.gz and .parquet: save it as one of these"
        )
    with _readable(path):
        header = _header(path, separator)
        frame = _read_text(path, separator, header, schema or Schema(), na_values)
        if frame.empty:
            raise SchemaError(f"{path} has a header but no rows; check the export that wrote it")
        frame.index = _lines(path, separator, len(frame))
    return frame


def _suffix(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _open(path: Path) -> TextIO:
    """As UTF-8 text with or without a byte-order mark, line ends untouched."""
    if path.suffix.lower() == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what may go wrong with a file's bytes into an error that says where."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"{path} is not UTF-8 text: line {_undecodable(path)} holds the byte "
            f"{error.object[error.start]:#04x}; save it as UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SchemaError(f"{path} cannot be unpacked: {error}; write or copy it again") from error
    except OSError as error:
        raise SchemaError(f"{path} cannot be read: {error.strerror or error}") from error


def _undecodable(path: Path) -> int:
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix.lower() == ".gz" else content).split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return number
    return 1


def _header(path: Path, separator: str) -> list[str]:
    with _open(path) as text:
        header = next((r for r in csv.reader(text, delimiter=separator) if r), None)
    if header is None:
        raise SchemaError(f"{path} is empty; check the export that wrote it")
    named = [c for c in header if c]
    twice = next((c for c in named if named.count(c) > 1), None)
    if twice is not None:
        raise SchemaError(f"{path}: column `{twice}` occurs twice in the header; rename one of them")
    other = next((s for s in (";", "\t", ",") if len(header) == 1 and s in header[0]), None)
    if other is not None:
        raise SchemaError(
            f"{path} has its cells separated by {other!r}; save it with {separator!r}, the separator "
            f"of {_suffix(path)} files"
        )
    return header


def _read_text(
    path: Path, separator: str, header: list[str], schema: Schema, na_values: Sequence[str]
) -> pd.DataFrame:
    labels = _labels(header, schema)
    missing = [*MISSING, *na_values]
    try:
        with warnings.catch_warnings():
            # Without an index column pandas cuts off cells too many, and warns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                sep=separator,
                encoding="utf-8-sig",
                index_col=False,
                dtype=cast(Any, dict.fromkeys(labels, str)),
                keep_default_na=False,
                na_values={c: missing for c in header if c not in labels},
                low_memory=False,
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        line = _refuse_long_rows(path, separator, len(header))
        raise SchemaError(
            f"{path} cannot be read: {error}; is a quotation mark on line {line} left open?"
        ) from error


def _labels(header: list[str], schema: Schema) -> list[str]:
    """The columns whose text is kept as it is written."""
    id_ = schema.id or detect(
        header, ID_NAMES, (schema.time, *schema.static_covariates, *schema.known_future)
    )
    variable = schema.variable or detect(header, VARIABLE_NAMES)
    value = schema.value or detect(header, VALUE_NAMES)
    long = schema.layout != "wide" and variable and value
    return [c for c in (id_, variable if long else None) if c is not None and c in header]


def _refuse_long_rows(path: Path, separator: str, width: int) -> int:
    """Raises for the first row with cells too many; else tells where the last row begins."""
    line = 1
    with _open(path) as text:
        for line, cells in _records(text, separator):
            if len(cells) > width:
                raise SchemaError(
                    f"{path}: line {line} has {len(cells)} cells, but the header has {width}; put "
                    "text that holds a separator in quotation marks, and remove separators too many"
                )
    return line


def _lines(path: Path, separator: str, n_rows: int) -> pd.Index:
    """The line on which each row begins; the header is line 1."""
    with _open(path) as text:
        last, blank = _count_lines(text)
    if not blank and last == n_rows + 1:
        return pd.RangeIndex(2, n_rows + 2, name="line")
    with _open(path) as text:
        lines = [line for line, _ in _records(text, separator)][1:]
    if len(lines) != n_rows:  # the two parsers disagree: rather no line than a wrong one
        return pd.RangeIndex(n_rows, name="row")
    return pd.Index(np.array(lines, dtype=np.int64), name="line")


def _count_lines(text: TextIO) -> tuple[int, bool]:
    """The number of lines, and whether any is blank."""
    number, blank = 0, False
    for number, line in enumerate(text, start=1):  # noqa: B007
        blank = blank or not line.strip()
    return number, blank


def _records(text: TextIO, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not blank, with the line on which it begins."""
    reader = csv.reader(text, delimiter=separator)
    begin = 1
    for cells in reader:
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield begin, cells
        begin = reader.line_num + 1


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise SchemaError(
            f"{path} is Parquet, which needs pyarrow: pip install latentode[parquet], or save it as CSV"
        ) from error
    try:
        frame = pd.read_parquet(io.BytesIO(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise SchemaError(f"{path} is not a readable Parquet file: {error}") from error
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    if frame.empty:
        raise SchemaError(f"{path} has no rows; its columns are {some_names(frame.columns)}")
    return frame
