"""Writing: answers as frames of the library that was asked with, and into files of any kind.

A file is written beside its place and then renamed to it, so that whoever reads there sees the old file
or the new one, and neither a crash nor a full disk leaves half of one.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import narwhals.stable.v2 as nw
import pandas as pd

from latentode.data.cells.columns import IntoFrame
from latentode.data.files.sources import ending_of
from latentode.data.files.typed_files import PARQUET
from latentode.errors import LatentODEError

__all__ = [
    "FrameT",
    "check_output",
    "check_place",
    "in_kind_of",
    "kind_of",
    "replacing",
    "write_table",
]

FrameT = TypeVar("FrameT", bound=IntoFrame)

ARROW = (*PARQUET, ".feather", ".arrow")
LINES = (".jsonl", ".ndjson")
TEXT = (".csv", ".tsv", ".txt")
PACKED = (".gz", ".bz2", ".xz", ".zip")  # by what pandas itself has
_NOTHING = pd.DataFrame()


def kind_of(given: IntoFrame) -> IntoFrame:
    """An empty frame of the library of another, to be kept in its place for later answers.

    Example:
        >>> len(kind_of(pd.DataFrame({"x": [1.0]})))
        0
    """
    return _NOTHING if isinstance(given, pd.DataFrame) else in_kind_of(given, pd.DataFrame())


def in_kind_of(given: FrameT, answer: pd.DataFrame) -> FrameT:
    """An answer as a frame of the library that the question came from.

    Args:
        given: the frame that was asked with; a lazy one of Polars is answered by an eager one, and
            what is neither of pandas, Polars nor PyArrow by one of pandas.
        answer: of pandas; named levels of its index become columns in other libraries.

    Example:
        >>> answer = pd.DataFrame({"mean": [1.0]})
        >>> in_kind_of(pd.DataFrame(), answer) is answer
        True
    """
    if isinstance(given, pd.DataFrame):
        return cast(Any, answer)
    known = nw.from_native(cast(Any, given), pass_through=True)
    if not isinstance(known, nw.DataFrame | nw.LazyFrame):
        return cast(Any, answer)
    named = any(name is not None for name in answer.index.names)
    table = nw.from_native(answer.reset_index() if named else answer)
    if known.implementation.is_polars():
        return cast(Any, table.to_polars())
    return cast(Any, table.to_arrow() if known.implementation.is_pyarrow() else answer)


def check_output(path: Path, option: str = "--out") -> None:
    """Raises what would keep a table from being written, so that it is known before any work.

    Args:
        path: where to; standard input's like, such as /dev/stdout, takes CSV whatever its name.
        option: what named it.

    Raises:
        LatentODEError: for an ending that says no kind of table, a folder that is not there, a missing
            package.
    """
    check_place(path, option)
    if _is_device(path):
        return
    ending = ending_of(path.name)
    packed = path.suffix.lower() in PACKED
    if ending not in (*TEXT, *LINES, *ARROW) or (packed and ending not in TEXT):
        raise LatentODEError(
            f"{option}: {path} ends in {path.suffix or 'nothing'!r}; a table is written to .csv or "
            ".tsv (also with .gz), .parquet, .feather or .jsonl"
        )
    if ending in ARROW:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise LatentODEError(
                f"{option}: {path} needs pyarrow: pip install latentode[parquet], or write a .csv"
            ) from error


def check_place(path: Path, option: str = "--out") -> None:
    """Raises unless a file may be written at a path.

    Raises:
        LatentODEError: for a folder that is not there or takes no files, and for a path that is one.
    """
    if path.is_dir():
        raise LatentODEError(f"{option}: {path} is a folder; name a file in it")
    folder = path.parent
    if not folder.is_dir():
        raise LatentODEError(
            f"{option}: there is no folder {folder}; make it first, or correct the path"
        )
    if not os.access(folder, os.W_OK) and not _is_device(path):
        raise LatentODEError(f"{option}: no file may be written into the folder {folder}")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Writes the columns of a table.

    Args:
        frame: the table.
        path: one that `check_output` lets pass.

    Raises:
        OSError: where the disk takes no more; nothing is left behind, and an older file stays.
    """
    if _is_device(path):
        frame.to_csv(path, index=False)
        return
    with replacing(path) as new:
        _writer(ending_of(path.name))(frame.reset_index(drop=True), new)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, in the same folder and with the same ending, that takes the place of another.

    Args:
        path: what is replaced once all is written; a link stays one.
    """
    path = path.resolve()
    if _is_device(path):
        yield path
        return
    new = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield new
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            new.chmod(path.stat().st_mode & 0o7777)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _writer(ending: str) -> Callable[[pd.DataFrame, Path], Any]:
    if ending in PARQUET:
        return lambda table, path: table.to_parquet(path, index=False)
    if ending in ARROW:
        return lambda table, path: table.to_feather(path)
    if ending in LINES:
        return _write_lines
    separator = "\t" if ending == ".tsv" else ","
    return lambda table, path: table.to_csv(path, index=False, sep=separator)


def _write_lines(table: pd.DataFrame, path: Path) -> None:
    """A JSON object in each line; what is missing is null, and times are text."""
    cells = table.astype(object).where(table.notna(), None)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in cells.to_dict("records"):
            file.write(json.dumps(record, default=_plain, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """What JSON does not know as a number of Python or as text."""
    return value.item() if hasattr(value, "item") else str(value)
