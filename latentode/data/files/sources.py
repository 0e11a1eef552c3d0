"""Sources: the bytes of a table, from a file, a folder, a pattern, an archive or standard input.

What a file holds is told by its first bytes rather than by its ending, since both `data.csv` that is
gzipped and `data.dat` that is text are common.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import os
import select
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import unquote

import pandas as pd

from latentode.errors import SchemaError, as_path, shown

__all__ = ["STANDARD_INPUT", "Part", "Source", "ending_of", "parts_of"]

Source = str | Path | Sequence[str | Path]
STANDARD_INPUT = "-"
FOREIGN = {
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database: export the table from it",
    b"\x89HDF": "an HDF5 file: read it with pandas.read_hdf or xarray, and fit on the frame",
    b"CDF\x01": "a NetCDF file: read it with xarray, and fit on the frame",
    b"CDF\x02": "a NetCDF file: read it with xarray, and fit on the frame",
    b"Obj\x01": "an Avro file: write it as CSV or Parquet",
    b"\x80\x04": "a pickle: write the frame as CSV or Parquet",
    b"\x80\x05": "a pickle: write the frame as CSV or Parquet",
    b"\x93NUMPY": "an array of NumPy: write it as a table with named columns",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel before 2007: save it as .xlsx or CSV",
    b"{\\rtf": "a text document (RTF): save it as plain CSV",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"Rar!\x1a": "a RAR archive: unpack it",
    b"RDX2\n": "data of R: write them with write.csv",
    b"RDX3\n": "data of R: write them with write.csv",
    b"<stata_dta>": "data of Stata: export them as CSV",
}
WEB_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")
START = 512  # bytes that say what a file is
PATIENCE = 5.0  # seconds for somebody to begin to write into a pipe
ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".dat", ".parquet", ".pq", ".feather", ".arrow", ".ipc")
ENDINGS += (".jsonl", ".ndjson", ".json", ".xlsx")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True)
class Part:
    """One file of a table.

    Args:
        name: what messages call it.
        content: its bytes, unpacked; empty where `path` is to be read itself.
        path: of a file that a library reads by parts, such as Parquet.
        partitions: column and cell that each folder around it says, such as `patient=p1`.
    """

    name: str
    content: bytes = field(repr=False)
    path: Path | None = None
    partitions: tuple[tuple[str, str], ...] = ()

    @property
    def start(self) -> bytes:
        """Its first bytes."""
        return self.content[:START]

    @property
    def label(self) -> str:
        """Its name without folder and endings.

        Example:
            >>> Part("wards/p01.csv.gz", b"").label
            'p01'
        """
        label = PurePosixPath(self.name.replace("\\", "/")).name
        while PurePosixPath(label).suffix.lower() in (*ENDINGS, *PACKED):
            label = PurePosixPath(label).stem
        return label


def ending_of(name: str) -> str:
    """The ending that says what a file holds, in lower case, that of its packing left aside.

    Example:
        >>> ending_of("wards/P01.TSV.gz"), ending_of("notes")
        ('.tsv', '')
    """
    path = PurePosixPath(name.lower())
    return (path.with_suffix("") if path.suffix in PACKED else path).suffix


def parts_of(source: Source) -> Iterator[Part]:
    """The files that a table is in, one after another.

    Args:
        source: path of a file, of a folder of tables, of an archive of them, a pattern such as
            `wards/*.csv`, "-" for standard input, or several of these.

    Raises:
        SchemaError: for what is not there or cannot be unpacked.
    """
    many = isinstance(source, Iterable) and not isinstance(source, str | bytes | Path | pd.DataFrame)
    several = list(cast(Any, source)) if many else [cast(str | Path, source)]
    for one in several:
        as_path("the file", one)
    if not several:
        raise SchemaError("no file is named; give at least one")
    if any(isinstance(one, str) and not one.strip() for one in several):
        raise SchemaError("a file's name is empty; give one, or '.' for the folder where you are")
    if sum(str(one) == STANDARD_INPUT for one in several) > 1:
        raise SchemaError("standard input (-) can be read once; give the other table as a file")
    for one in several:
        if str(one) == STANDARD_INPUT:
            yield from _unpacked("standard input", sys.stdin.buffer.read())
            continue
        for path in _paths(Path(one)):
            partitions = _partitions(path, Path(one))
            yield from (replace(part, partitions=partitions) for part in _read(path))


def _partitions(path: Path, source: Path) -> tuple[tuple[str, str], ...]:
    """What the folders between a source and a file say, as Hive and pyarrow write them."""
    root = source
    while glob.has_magic(str(root)) and not root.exists():
        root = root.parent
    if not root.is_dir():
        return ()
    folders = path.relative_to(root).parts[:-1]
    pairs = (unquote(folder).partition("=") for folder in folders)
    return tuple((name, cell) for name, sign, cell in pairs if name and sign)


def _paths(path: Path) -> list[Path]:
    """The files that a path stands for."""
    try:
        if path.is_char_device() or path.is_block_device():
            raise SchemaError(f"{path} is a device and no file, so it may never end; name a file")
    except (OSError, ValueError) as error:
        raise SchemaError(f"{shown(str(path))} is no file's name: {error}") from error
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and _is_table(p.relative_to(path))]
        if not found:
            raise SchemaError(f"{path} is a folder without a table; tables end in {', '.join(ENDINGS)}")
        return found
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if not found:
            raise SchemaError(f"no file matches {path}; check the pattern")
        return found
    raise SchemaError(f"{path} is not there: it is not a file; check the path")


def _is_table(path: Path) -> bool:
    """Whether a file of a folder is one of its tables, rather than a note or what a system keeps."""
    suffixes = [s.lower() for s in path.suffixes]
    if any(part.startswith((".", "_")) for part in path.parts) or not suffixes:
        return False
    return suffixes[-1] in ENDINGS or (suffixes[-1] in PACKED and suffixes[-2:-1] != [".tar"])


def _read(path: Path) -> Iterator[Part]:
    try:
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(START)
            if start.startswith((b"PAR1", b"ARROW1")):
                yield Part(str(path), start, path)
                return
        content = _piped(path) if path.is_fifo() else path.read_bytes()
    except OSError as error:
        raise SchemaError(f"{path} cannot be read: {error.strerror or error}") from error
    yield from _unpacked(str(path), content)


def _piped(path: Path) -> bytes:
    """All that is written into a named pipe.

    Raises:
        SchemaError: where nobody begins to write within some seconds.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as pipe:
        if not select.select([pipe], [], [], PATIENCE)[0] and not _has_writer(handle):
            raise SchemaError(
                f"{path} is a named pipe into which nobody writes; begin to write before it is read, "
                "or name a file"
            )
        os.set_blocking(handle, True)
        return pipe.read()


def _has_writer(handle: int) -> bool:
    """Whether somebody holds the other end of a pipe, of which nothing has come yet."""
    try:
        os.read(handle, 0)
        return os.read(handle, 1) != b""
    except BlockingIOError:
        return True


def _unpacked(name: str, content: bytes) -> Iterator[Part]:
    """The tables in some bytes."""
    unpack = next((u for magic, u in UNPACKERS.items() if content.startswith(magic)), None)
    if unpack is not None:
        yield from _unpacked(name, _unpack(name, content, unpack))
    elif content.startswith(b"PK\x03\x04") and b"xl/workbook" not in content:
        yield from _members(name, content)
    else:
        _refuse_foreign(name, content)
        yield Part(name, content)


def _unpack(name: str, content: bytes, unpack: Callable[[bytes], bytes]) -> bytes:
    try:
        return unpack(content)
    except ImportError as error:
        raise SchemaError(
            f"{name} is packed with Zstandard, which needs pyarrow: pip install latentode[parquet], or "
            "unpack it"
        ) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise SchemaError(f"{name} cannot be unpacked: {error}; write or copy it again") from error


def _members(name: str, content: bytes) -> Iterator[Part]:
    """The tables of a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [m for m in archive.namelist() if not m.endswith("/")]
            tables = [m for m in inside if _is_table(Path(m))] if len(inside) > 1 else inside
            if not tables:
                raise SchemaError(f"{name} is an archive without a table; it holds {inside[:8]}")
            for member in tables:
                shown = member if len(tables) > 1 else name
                yield from _unpacked(shown, archive.read(member))
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError) as error:
        raise SchemaError(f"{name} cannot be unpacked: {error}; write or copy it again") from error


def _zstd(content: bytes) -> bytes:
    import pyarrow

    with pyarrow.input_stream(pyarrow.py_buffer(content), compression="zstd") as stream:
        return stream.read()


UNPACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    **{b"BZh%d1AY" % level: bz2.decompress for level in range(1, 10)},
    b"\xfd7zXZ\x00": lzma.decompress,
    b"\x28\xb5\x2f\xfd": _zstd,
}


def _refuse_foreign(name: str, content: bytes) -> None:
    """Raises for what is plainly no table."""
    start = content[:START]
    what = next((w for magic, w in FOREIGN.items() if start.startswith(magic)), None)
    if what is None and start[257:262] == b"ustar":
        what = "a tar archive: unpack it"
    if what is not None:
        raise SchemaError(f"{name} is no table but {what}")
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(WEB_PAGES):
        raise SchemaError(
            f"{name} is no table but a web page (HTML or XML); open it to see what it says: a download "
            "that failed often leaves one, so fetch the file again"
        )
