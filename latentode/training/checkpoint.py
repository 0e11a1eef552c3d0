"""EpochCheckpoint: a fit that was ended goes on from its last whole epoch, as if it had not been.

What is kept is Lightning's checkpoint, with the states of callbacks, optimiser and schedule. It is one
file, replaced in one step, with a checksum, and torch loads it without running anything.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from latentode.data.files.whole_files import write_file
from latentode.data.task import Task
from latentode.errors import LatentODEError
from latentode.training.data_module import IrregularDataModule

__all__ = ["EpochCheckpoint"]

NAME = "training.ckpt"
OURS = re.compile(r"training(\.\d+)?\.ckpt")
ARRAYS = ("series", "variable", "time", "value", "start")


class EpochCheckpoint(Checkpoint):
    """Keeps how far a fit is, after each epoch, in a folder.

    Args:
        folder: the one that the model is saved into.
        resume: whether to go on from what is kept there.
        member: of an ensemble, of which each network has a file of its own.
    """

    def __init__(self, folder: Path, resume: bool = False, member: int = 0) -> None:
        self.folder, self.resume = folder, resume
        self.member, self.path = member, folder / (NAME if member == 0 else f"training.{member}.ckpt")
        self.identity = ""

    def of_member(self, member: int) -> EpochCheckpoint:
        """That of another network of the same fit."""
        return EpochCheckpoint(self.folder, self.resume, member)

    def begin(self, module: LightningModule, data: IrregularDataModule) -> Path | None:
        """The file to go on from; None where a fit begins anew, and nothing of an earlier one is left.

        Raises:
            LatentODEError: for a file that is damaged, or of a fit of other data or settings.
        """
        self.identity = _identity(module, data)
        if not self.resume or not self.path.exists():
            if self.member == 0:
                self.remove()
            return None
        kept = WholeFiles().load_checkpoint(self.path)
        if kept.get("callbacks", {}).get(self.state_key, {}).get("identity") != self.identity:
            raise LatentODEError(
                f"{self.path} is of a fit with other data or settings; give those of then, or begin "
                "anew without resuming"
            )
        return self.path

    def remove(self) -> None:
        """Removes what is kept of every network, once a fit has ended and its model is saved."""
        for path in self.folder.glob("training*.ckpt"):
            if OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"identity": self.identity, "random": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["random"])


class WholeFiles(TorchCheckpointIO):
    """The kept one is replaced in one step, begins with the SHA-256 of the rest; others are plain."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        if not OURS.fullmatch(Path(path).name):  # of a callback of the user's
            return super().save_checkpoint(checkpoint, path, storage_options)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        write_file(path, hashlib.sha256(content).digest() + content)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if not OURS.fullmatch(Path(path).name):
            return _plain(Path(path))
        try:
            content = Path(path).read_bytes()
            size = hashlib.sha256().digest_size
            if hashlib.sha256(content[size:]).digest() != content[:size]:
                raise ValueError("its content does not match its checksum")
            return torch.load(io.BytesIO(content[size:]), map_location="cpu", weights_only=True)
        except Exception as error:  # of whatever kind: files are damaged in many ways
            raise LatentODEError(
                f"{path} is damaged and cannot be gone on from: {error}; begin anew without resuming"
            ) from error


def _plain(path: Path) -> dict[str, Any]:
    """A checkpoint as Lightning writes it, of tensors and primitives only."""
    if path.exists() and not path.is_file():
        raise LatentODEError(f"{path} is not an ordinary file, so it is no checkpoint; name another")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise LatentODEError(
            f"{path} cannot be read: {error.strerror or error}; name another"
        ) from error
    except Exception as error:  # of whatever kind: files are damaged in many ways
        what = str(error).partition("\n")[0]
        raise LatentODEError(f"{path} is no checkpoint that can be read safely: {what}") from error


def _identity(module: LightningModule, data: IrregularDataModule) -> str:
    """A text that is another for other data, settings or seeds."""
    drawn = [data.seed, data.window_seed, data.batch_size, data.windows_per_epoch]
    told = [dict(module.hparams), drawn, _settings(data.training_task), data.classes]
    found = hashlib.sha256(json.dumps(told, default=str).encode())
    for series in (data.train, data.validation):
        labels = None if series is None else series.labels
        if labels is not None:
            parts = (labels.klass, labels.parts.offsets, labels.time)
            for part in parts:
                found.update(np.ascontiguousarray(() if part is None else part).tobytes())
    for table in data.tables():
        for name in ARRAYS:
            found.update(np.ascontiguousarray(getattr(table, name)).data)
        found.update(pd.util.hash_pandas_object(table.keys, index=False).to_numpy().tobytes())
    return found.hexdigest()


def _settings(task: Task) -> dict[str, Any]:
    """What a task says of itself, but for tables, whose content is told apart by what was read."""
    own = {f.name: getattr(task, f.name) for f in fields(task)}  # type: ignore[arg-type]
    return {
        name: _settings(value) if isinstance(value, Task) else value
        for name, value in own.items()
        if not isinstance(value, pd.Series | pd.DataFrame)
    }
