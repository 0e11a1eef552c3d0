"""ResumableLoader: batches of an epoch from where another run left off, without making those before.

FromPlace: each of several processes draws its share of an epoch, as many windows as any other, so that
none waits for gradients that never come. It is one of torch's distributed samplers because Lightning
puts its own in the place of others: that one repeats windows and forgets the place in an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypedDict

import torch
from torch import distributed
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from latentode.errors import LatentODEError

__all__ = ["FromPlace", "Loading", "ResumableLoader", "processes", "whole_batches"]


class Loading(TypedDict, total=False):
    """Arguments of torch's `DataLoader` by which batches are made, whatever is in them.

    Args:
        num_workers: processes that make batches beside that which trains; 0 for none.
        pin_memory: whether batches lie in page-locked memory, from which a GPU copies faster.
        persistent_workers: whether workers stay from epoch to epoch; with some of them only.
        prefetch_factor: how many batches each worker makes ahead; likewise.
    """

    num_workers: int
    pin_memory: bool
    persistent_workers: bool
    prefetch_factor: int


def processes() -> tuple[int, int]:
    """The number of this process among those that train together, and how many these are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class FromPlace(DistributedSampler):
    """A process' share of what another sampler draws, in one epoch only from some place on.

    Args:
        draws: as many for each process, in turns; with a `set_epoch`, by which alone the draws of an
            epoch differ.
        resumed_epoch: that epoch; -1 for none.
        first: how many draws of it are left out by each process.
    """

    def __init__(self, draws: Any, resumed_epoch: int = -1, first: int = 0) -> None:
        super().__init__(draws, num_replicas=1, rank=0)  # both are asked for when a pass begins
        self.draws, self.resumed_epoch, self.first = draws, resumed_epoch, first

    def __len__(self) -> int:
        return len(self.draws) // processes()[1]

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning, also when a fit resumes."""
        self.epoch = epoch
        self.draws.set_epoch(epoch)

    def begin(self) -> int:
        """How many draws the next pass leaves out."""
        return self.first if self.epoch == self.resumed_epoch else 0

    def __iter__(self) -> Iterator[Any]:
        begin, self.resumed_epoch = self.begin(), -1
        number, n = processes()
        yield from islice(self.draws, number + begin * n, None, n)


class ResumableLoader(DataLoader):
    """A loader that knows its `place`: an epoch, and how many draws of its `FromPlace` were given."""

    given = 0

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # To predict from it, or to overfit, Lightning puts a sampler of its own in the place of ours.
        self.given = self.sampler.begin() if isinstance(self.sampler, FromPlace) else 0
        for batch in super().__iter__():
            self.given += self.batch_size or 1
            yield batch

    @property
    def place(self) -> tuple[int, int]:
        """The epoch, and how many of its draws were given to this process."""
        return (self.sampler.epoch, self.given) if isinstance(self.sampler, FromPlace) else (0, 0)

    def state_dict(self) -> dict[str, int]:
        """Where it is, for a Lightning checkpoint."""
        epoch, given = self.place
        return {"epoch": epoch, "given": given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Has the next pass begin there, if it is of the same epoch."""
        if isinstance(self.sampler, FromPlace):
            self.sampler.resumed_epoch, self.sampler.first = state_dict["epoch"], state_dict["given"]


def whole_batches(loading: Loading) -> dict[str, Any]:
    """Arguments of a loader: batches stay as they are made, and its generator is its own.

    A loader draws seeds for workers, whether it has any or not.

    Raises:
        LatentODEError: for an argument that there is not, or that goes with workers only.
    """
    names = Loading.__annotations__
    unknown = next((name for name in loading if name not in names), None)
    if unknown is not None:
        raise LatentODEError(
            f"a data module has no argument `{unknown}`; those of its loaders are {', '.join(names)}"
        )
    workers = loading.get("num_workers", 0)
    alone = next((n for n in ("persistent_workers", "prefetch_factor") if loading.get(n)), None)
    if alone is not None and workers < 1:
        raise LatentODEError(f"{alone} is of workers, and there are none; give num_workers=1 or more")
    return {"collate_fn": _as_is, "generator": torch.Generator(), **loading}


def _as_is(batch: Any) -> Any:
    return batch
