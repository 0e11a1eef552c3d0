"""A sealed file: tensors and a description in one safetensors file, with a checksum of every byte.

The SHA-256 stands before the description in the file's own header, and is that of the file with 64
zeros in its place. Such a file is read by any safetensors library, and nothing in it is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from latentode.errors import LatentODEError

__all__ = ["damaged", "seal", "unseal"]

NAME = "latentode"  # of the one entry of the header that is no tensor, so that its order is no matter
ZEROS = b"0" * 64
LENGTH = 8  # bytes of the number that a safetensors file begins with: how long its header is


def seal(description: str, tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file with this description and these tensors."""
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    content = safetensors.torch.save(own, {NAME: ZEROS.decode() + description})
    return content.replace(ZEROS, hashlib.sha256(content).hexdigest().encode(), 1)


def unseal(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The description and the tensors of a sealed file.

    Raises:
        LatentODEError: if it is no such file, or any byte of it is another than was written.
    """
    content = _read(path)
    length = int.from_bytes(content[:LENGTH], "little")
    header = content[LENGTH : LENGTH + length]
    try:
        text = json.loads(header)["__metadata__"][NAME]
        checksum, description = text[: len(ZEROS)].encode(), text[len(ZEROS) :]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, "its header cannot be read") from error
    zeroed = header.replace(checksum, ZEROS, 1) if len(checksum) == len(ZEROS) else header
    found = hashlib.sha256(content[:LENGTH] + zeroed + content[LENGTH + length :])
    if found.hexdigest().encode() != checksum:
        raise damaged(path, "its content does not match its checksum")
    try:
        return description, safetensors.torch.load(content)
    except Exception as error:  # of whatever kind: the file was made by hand
        raise damaged(path, str(error)) from error


def damaged(path: Path, what: str) -> LatentODEError:
    """The error of a file that is not as it was saved."""
    return LatentODEError(
        f"{path} is damaged and cannot be read: {what}; copy it again from where it was saved, or fit "
        "the model again"
    )


def _read(path: Path) -> bytes:
    """The bytes of an ordinary file, which a pipe or a device is not: reading these may never end."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise LatentODEError(
                    f"{path} is not an ordinary file, so it holds no model; name another"
                )
            return file.read()
    except OSError as error:
        raise LatentODEError(f"{path} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise LatentODEError(f"{path} is larger than memory, so it is no model of ours") from error
