"""ResumableLoader: batches of an epoch from where another run left off, without making those before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

__all__ = ["FromPlace", "ResumableLoader", "whole_batches"]


class FromPlace(Sampler):
    """What another sampler draws, in one epoch only from some place on.

    Args:
        draws: with a `set_epoch`, by which alone the draws of an epoch differ.
        resumed_epoch: that epoch; -1 for none.
        first: how many draws of it are left out.
    """

    def __init__(self, draws: Any, resumed_epoch: int = -1, first: int = 0) -> None:
        self.draws, self.epoch = draws, 0
        self.resumed_epoch, self.first = resumed_epoch, first

    def __len__(self) -> int:
        return len(self.draws)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning, also when a fit resumes."""
        self.epoch = epoch
        self.draws.set_epoch(epoch)

    def begin(self) -> int:
        """How many draws the next pass leaves out."""
        return self.first if self.epoch == self.resumed_epoch else 0

    def __iter__(self) -> Iterator[Any]:
        begin, self.resumed_epoch = self.begin(), -1
        yield from islice(self.draws, begin, None)


class ResumableLoader(DataLoader):
    """A loader that knows its `place`: an epoch, and how many draws of its `FromPlace` were given."""

    given = 0

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # To predict from it, Lightning puts a sampler of its own in the place of ours.
        self.given = self.sampler.begin() if isinstance(self.sampler, FromPlace) else 0
        for batch in super().__iter__():
            self.given += self.batch_size or 1
            yield batch

    @property
    def place(self) -> tuple[int, int]:
        """The epoch, and how many of its draws were given."""
        sampler: Any = self.sampler
        return sampler.epoch, self.given

    def state_dict(self) -> dict[str, int]:
        """Where it is, for a Lightning checkpoint."""
        epoch, given = self.place
        return {"epoch": epoch, "given": given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Has the next pass begin there, if it is of the same epoch."""
        sampler: Any = self.sampler
        sampler.resumed_epoch, sampler.first = state_dict["epoch"], state_dict["given"]


def whole_batches() -> dict[str, Any]:
    """Arguments of a loader: batches stay as they are made, and its generator is its own.

    A loader draws seeds for workers, whether it has any or not.
    """
    return {"collate_fn": _as_is, "generator": torch.Generator()}


def _as_is(batch: Any) -> Any:
    return batch
