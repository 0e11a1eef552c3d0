"""Files written whole: a reader sees what was there before or all that is new, never a part of it.

What is written goes to a temporary file in the same folder, to the disk, and by one renaming into its
place. Of a failure nothing is left; of a process that was killed, nothing after the next writing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentode.errors import LatentODEError, as_path

__all__ = ["require_writable", "write_file"]

TRIED = bytes(1 << 14)  # what a full disk has no room for either


def write_file(path: str | Path, content: bytes) -> None:
    """Puts a file of this content in the place of what is there, in one step.

    Two writers do not disturb each other: the file is that of the one who ended last.

    Args:
        path: of the file; its folder is made if need be.
        content: all of it.

    Raises:
        LatentODEError: naming the file, if there is no room, no permission, or no such place.
    """
    path = as_path("path", path)
    with _disk(path):
        made = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary = _temporary(path)
        try:
            _write(temporary, content)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            if made:
                with contextlib.suppress(OSError):  # another writer is at work in it
                    path.parent.rmdir()
            raise
        _to_disk(path.parent)


def require_writable(folder: str | Path) -> None:
    """Tries whether files can be written into a folder, before the work whose results are to go there.

    Args:
        folder: need not exist: then the nearest folder above it that does is tried.

    Raises:
        LatentODEError: naming the place, if not.
    """
    folder = as_path("folder", folder)
    with _disk(folder):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.stat(folder)  # which refuses a name that no file can have
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not there.is_dir():
            raise LatentODEError(
                f"{there} is a file, so nothing can be written into {folder}: name another"
            )
        tried = _temporary(there / "writable")
        try:
            _write(tried, TRIED)
        finally:
            tried.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """Into a new file, and to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _temporary(path: Path) -> Path:
    """A name that no other thread, process or machine writes to."""
    own = f"{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
    return path.parent / f".{path.name}.{own}.tmp"


def _remove_abandoned(path: Path) -> None:
    """Removes temporary files of this machine's processes that ended before they could."""
    before, after = f".{path.name}.{socket.gethostname()}.", ".tmp"
    for name in os.listdir(path.parent):
        process, _, rest = name.removeprefix(before).partition(".")
        ours = name.startswith(before) and rest.endswith(after) and process.isdecimal()
        if ours and not _running(int(process)):
            with contextlib.suppress(OSError):  # another writer was faster
                (path.parent / name).unlink()


def _running(process: int) -> bool:
    if os.name != "posix":
        return False  # where files in use cannot be removed
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _to_disk(folder: Path) -> None:
    """The renaming itself, where a folder can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Says of which place an error of the operating system is, and what to do."""
    try:
        yield
    except OSError as error:
        raise LatentODEError(
            f"cannot write {path}: {error.strerror or error}; make room or allow it, or name another "
            "place"
        ) from error
    except ValueError as error:
        if isinstance(error, LatentODEError):
            raise
        raise LatentODEError(f"cannot write {str(path)!r}: {error}; name another place") from error
