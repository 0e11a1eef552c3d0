"""Typed files: Parquet, Feather, JSON and workbooks, whose cells have types already."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pandas as pd

from latentode.data.cells.columns import some_names
from latentode.data.files.sources import Part, ending_of
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.header_rows import Record, find_header
from latentode.errors import SchemaError

__all__ = ["PARQUET", "reader_of", "without_index"]

PARQUET = (".parquet", ".pq")
JSON = (".json", ".jsonl", ".ndjson")
ROWS = 400  # of a workbook, in which its header is looked for
SHOWN = 40  # characters of a cell in a message

# A cell with a formula and nothing behind it: Excel writes an empty result as text.
_FORMULA = re.compile(
    rb'<c r="([A-Z]+\d+)"([^>]*)>\s*<f[^>]*?(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v></v>)?\s*</c>'
)
Reader = Callable[[Part, FileFormat], pd.DataFrame]


def reader_of(part: Part) -> Reader | None:
    """What reads a file, by its first bytes; None for text."""
    start, ending = part.start, ending_of(part.name)
    if start.startswith(b"PAR1") or ending in PARQUET:
        return _read_parquet
    if start.startswith((b"ARROW1", b"FEA1", b"\xff\xff\xff\xff")) or ending in (".feather", ".arrow"):
        return _read_feather
    if start.startswith(b"PK\x03\x04"):
        return _read_workbook
    if ending in JSON or start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"[{", b'{"')):
        return _read_json
    return None


def without_index(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose named index has become columns."""
    return frame.reset_index() if any(name is not None for name in frame.index.names) else frame


@contextmanager
def _arrow(part: Part, what: str) -> Iterator[None]:
    """Says what to do where pyarrow is missing or cannot read a file."""
    try:
        from pyarrow import ArrowException
    except ImportError as error:
        raise SchemaError(
            f"{part.name} is {what}, which needs pyarrow: pip install latentode[parquet], or save it "
            "as CSV"
        ) from error
    try:
        yield
    except (OSError, ValueError, TypeError, NotImplementedError, ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SchemaError(f"{part.name} is not a readable {what} file: {reason}") from error


def _read_parquet(part: Part, told: FileFormat) -> pd.DataFrame:
    with _arrow(part, "Parquet"):
        source = part.path or io.BytesIO(part.content)
        return without_index(pd.read_parquet(source, partitioning=None))
    raise AssertionError


def _read_feather(part: Part, told: FileFormat) -> pd.DataFrame:
    with _arrow(part, "Feather"):
        import pyarrow as pa

        if part.start.startswith(b"\xff\xff\xff\xff"):
            return without_index(pa.ipc.open_stream(part.content).read_all().to_pandas())
        source = part.path or io.BytesIO(part.content)
        return without_index(pd.read_feather(source))
    raise AssertionError


def _read_json(part: Part, told: FileFormat) -> pd.DataFrame:
    """Records, a line each or in one list, or columns by name as pandas writes them."""
    content = part.content.removeprefix(b"\xef\xbb\xbf").strip()
    numbered = [(n, x) for n, x in enumerate(part.content.splitlines(), start=1) if x.strip()]
    if content.startswith(b"[") or ending_of(part.name) == ".json":
        whole = _parsed(part.name, content, "record")
        if isinstance(whole, dict):
            whole = whole.get("data", whole)  # beside which pandas writes a schema
        if isinstance(whole, dict) and all(isinstance(v, dict | list) for v in whole.values()):
            return pd.DataFrame(whole).reset_index(drop=True)
        records, lines = whole if isinstance(whole, list) else [whole], None
    else:
        records = [_parsed(part.name, text, f"line {line}") for line, text in numbered]
        lines = [line for line, _ in numbered]
    odd = next((r for r in records if not isinstance(r, dict)), None)
    if odd is not None:
        raise SchemaError(
            f"{part.name} holds {str(odd)[:SHOWN]!r} where a record belongs, such as "
            '{"id": "a", "time": 0, "hr": 71}; write one in each line, or one list of them'
        )
    frame = pd.DataFrame.from_records(records, index=lines)
    return frame if lines is None else frame.rename_axis(index="line")


def _parsed(name: str, text: bytes, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_record)
    except ValueError as error:
        raise SchemaError(f"{name} is not JSON, {where}: {error}; write the file again") from error


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each name of which has one value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} occurs twice in one object")
    return found


def _read_workbook(part: Part, told: FileFormat) -> pd.DataFrame:
    """One sheet of a workbook, whose header is found as that of a text is."""
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise SchemaError(
            f"{part.name} is a workbook of Excel, which needs openpyxl: pip install latentode[excel], "
            "or save it as CSV"
        ) from error
    try:
        sheets = pd.read_excel(io.BytesIO(part.content), sheet_name=None, header=None, dtype=object)
    except Exception as error:  # whatever openpyxl meets in a damaged archive
        raise SchemaError(f"{part.name} is not a readable workbook: {error}") from error
    name, sheet = _sheet(part.name, cast(dict[str, pd.DataFrame], sheets), told.sheet)
    if sheet.empty:
        raise SchemaError(f"{part.name}: the sheet {name!r} is empty")
    cells = sheet.head(ROWS).astype(object)
    cells = cells.where(cells.notna(), "").astype(str)
    skip = told.skip_rows or 0
    records: list[Record] = [
        (line, row)
        for line, row in enumerate(cells.to_numpy().tolist(), start=1)
        if line > skip and any(row)
    ]
    _refuse_formulas(part, list(sheets).index(name), sheet)
    header = find_header(records, part.name, told.skip_rows is not None, told.header_rows)
    if header.first >= len(records):
        raise SchemaError(f"{part.name}: the sheet {name!r} has a header but no rows")
    rows = sheet.iloc[records[header.first][0] - 1 :]
    frame = rows.set_axis(pd.Index(header.names), axis="columns").dropna(how="all")
    frame = frame.loc[:, frame.notna().any() | ~frame.columns.str.startswith("Unnamed: ")]
    frame.index = pd.Index(frame.index + 1, name="line")
    return frame.infer_objects()


def _refuse_formulas(part: Part, place: int, sheet: pd.DataFrame) -> None:
    """Raises for a formula that was never computed, as programs write it that do not compute."""
    if not sheet.isna().to_numpy().any():
        return
    with zipfile.ZipFile(io.BytesIO(part.content)) as archive:
        member = f"xl/worksheets/sheet{place + 1}.xml"
        content = archive.read(member) if member in archive.namelist() else b""
    found = next((cell for cell in _FORMULA.finditer(content) if b't="str"' not in cell[2]), None)
    if found is not None:
        raise SchemaError(
            f"{part.name}: cell {found[1].decode()} holds a formula without its result; open the "
            "workbook in Excel or LibreOffice and save it, or save it as CSV"
        )


def _sheet(name: str, sheets: dict[str, pd.DataFrame], wanted: str | None) -> tuple[str, pd.DataFrame]:
    if wanted is not None and wanted not in sheets:
        raise SchemaError(f"{name} has no sheet={wanted!r}; it has {some_names(sheets)}")
    filled = [n for n, sheet in sheets.items() if not sheet.empty] or list(sheets)[:1]
    if wanted is None and len(filled) > 1:
        raise SchemaError(f"{name} has the sheets {some_names(filled)}; say which, sheet={filled[0]!r}")
    chosen = wanted or filled[0]
    return chosen, sheets[chosen]
