"""Tables in files, of whatever kind, each row named by the line that it begins on.

A table may be in several files: in a folder, in an archive, or in all that a pattern matches. Files are
one below another in the order of their names, and a row is then named by its file and line.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from latentode.data.cells.columns import cell_name, column_of, detect, some_names
from latentode.data.cells.number_cells import without_codes, without_flags
from latentode.data.files.sources import Part, Source, parts_of
from latentode.data.files.text_encoding import as_utf8
from latentode.data.files.text_table import MISSING, labels_of, read_text_table
from latentode.data.files.typed_files import PARQUET, reader_of
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.schema import ID_NAMES, TIME_NAMES, Schema, check_schema
from latentode.errors import SchemaError, understood, warn

__all__ = ["MISSING", "PARQUET", "read_table"]

PLAIN = ("utf-8", "utf-8-sig")


@understood("the file")
def read_table(
    path: Source, schema: Schema | None = None, file_format: FileFormat | None = None
) -> pd.DataFrame:
    """Reads a table; its index is the line in the file, so that errors name the line.

    Text with any separator (CSV, TSV, ...), Parquet, Feather, JSON (records) and workbooks of Excel are
    read, also packed by gzip, bzip2, xz, Zstandard or zip. What a file is, is told by its content.

    Args:
        path: of a file, a folder or an archive of files, a pattern such as `wards/*.csv`, "-" for
            standard input, or several of these: one table. Folders such as `patient=p1` inside of it
            are a column.
        schema: says which column identifies the series, if it has an unusual name, and the format of
            the files as `schema.file_format`.
        file_format: the same; where it says something, it wins.

    Returns:
        The table. What was found out of the format of text files is said in a warning.

    Raises:
        SchemaError: naming the file, the line where it can, and the fix.
    """
    check_schema(schema)
    schema = schema or Schema()
    told = (file_format or FileFormat()).over(schema.file_format)
    parts, frames = [], []
    for part in parts_of(path):
        frame = _read(part, schema, told)
        if frame.empty:
            raise SchemaError(f"{part.name} has no rows; its columns are {some_names(frame.columns)}")
        for column, cell in part.partitions:
            _add_partition(frame, column, cell, part)
        if told.file_column is not None:
            _add_file_column(frame, told.file_column, part)
        parts.append(part)
        frames.append(frame)
    if len(frames) == 1:
        return frames[0]
    return _together(parts, frames, schema, told)


def _read(part: Part, schema: Schema, told: FileFormat) -> pd.DataFrame:
    """The table of one file."""
    reader = reader_of(part)
    if reader is not None:
        return _without_told(reader(part, told), part.name, schema, told, told.na_values)
    content, encoding = as_utf8(part.content, part.name, told.encoding)
    frame, _, found = read_text_table(content, part.name, schema, told)
    if told.encoding is None and encoding not in PLAIN:
        found.insert(0, f"encoding={encoding!r}")
    if found:
        warn(f"{part.name} is read with {', '.join(found)}")
    return _without_told(frame, part.name, schema, told)


def _without_told(
    frame: pd.DataFrame, name: str, schema: Schema, told: FileFormat, missing: Sequence[str] = ()
) -> pd.DataFrame:
    """A table without what stands for missing cells and without flags, of which it says how many."""
    if not (missing or told.flags):
        return frame
    labels = labels_of([str(c) for c in frame.columns], schema)
    read = {c: column_of(frame, c) for c in frame.columns if c not in labels}
    for label, column in read.items():
        column = without_codes(column, missing) if missing else column
        read[label], flagged = without_flags(column, told.flags) if told.flags else (column, None)
        if flagged is not None and flagged.any():
            warn(
                f"{name}: column `{label}` has {', '.join(map(repr, told.flags))} behind "
                f"{int(flagged.sum())} numbers, first {cell_name(column, flagged)}, left aside"
            )
    return frame.assign(**read)


def _add_partition(frame: pd.DataFrame, name: str, cell: str, part: Part) -> None:
    """Adds what a folder says of a file; as text, since 007 is no 7."""
    if name not in frame.columns:
        frame.insert(0, name, pd.Series(cell, index=frame.index, dtype="str"))
    elif (column_of(frame, name).astype(str) != cell).any():
        raise SchemaError(
            f"{part.name} lies in a folder {name}={cell}, and its column `{name}` says something else; "
            "rename one of them"
        )


def _add_file_column(frame: pd.DataFrame, name: str, part: Part) -> None:
    if name in frame.columns:
        raise SchemaError(
            f"file_column={name!r} is a column of {part.name} already; give the file's name another"
        )
    frame.insert(0, name, pd.Series(part.label, index=frame.index, dtype="str"))


def _together(
    parts: Sequence[Part], frames: Sequence[pd.DataFrame], schema: Schema, told: FileFormat
) -> pd.DataFrame:
    """The tables of several files as one, its rows named by file and line."""
    labels = [part.label for part in parts]
    twice = next((p for p in parts if labels.count(p.label) > 1), None)
    if told.file_column is not None and twice is not None:
        raise SchemaError(
            f"several files are called {twice.label!r}, so file_column={told.file_column!r} cannot "
            "tell them apart; rename them"
        )
    first = frames[0]
    for part, frame in zip(parts[1:], frames[1:], strict=True):
        odd = first.columns.symmetric_difference(frame.columns, sort=False)
        if len(odd):
            has, lacks = (parts[0], part) if odd[0] in first.columns else (part, parts[0])
            raise SchemaError(
                f"{lacks.name} has no column `{odd[0]}`, which {has.name} has; files that are one "
                "table have the same columns"
            )
    if told.file_column is None and not parts[0].partitions:
        _refuse_unnamed_series(parts, frames, schema)
    table = pd.concat([f.reset_index(drop=True) for f in frames], ignore_index=True)
    codes = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
    places = np.concatenate([f.index.to_numpy() for f in frames])
    files = pd.Index([part.name for part in parts])[codes]
    table.index = pd.MultiIndex.from_arrays([files, places], names=["file", first.index.name or "row"])
    shown = f"{parts[0].name} to {parts[-1].name}"
    warn(f"{len(parts)} files are one table, {shown}")
    return table


def _refuse_unnamed_series(
    parts: Sequence[Part], frames: Sequence[pd.DataFrame], schema: Schema
) -> None:
    """Raises for files of the same times without an identifier: a series each, most likely."""
    columns = frames[0].columns
    if schema.id is not None or detect(columns, ID_NAMES) is not None:
        return
    time = schema.time or detect(columns, TIME_NAMES)
    if time is None or time not in columns:
        return
    spans = [_span(column_of(frame, time)) for frame in frames]
    named = zip(spans, (part.name for part in parts), strict=True)
    known = sorted((span, name) for span, name in named if span is not None)
    for (one, name), (other, later) in pairwise(known):
        if other[0] < one[1]:
            raise SchemaError(
                f"{name} and {later} go over the same times and no column names the series; if each "
                "file is a series of its own, have its name as the identifier, file_column='id'; if a "
                "column names the series, say which, id="
            )


def _span(times: pd.Series) -> tuple[float, float] | None:
    """First and last time, as numbers; None where they are not read that simply."""
    if pd.api.types.is_numeric_dtype(times):
        numbers = times
    else:
        stamps = pd.to_datetime(times, errors="coerce", format="ISO8601", utc=True)
        numbers = stamps.dropna().astype("int64")
    return (float(numbers.min()), float(numbers.max())) if len(numbers) else None
