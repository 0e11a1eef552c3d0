"""Cuts of an epoch: which series are cut, in which order, and the batches that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from torch.utils.data.distributed import DistributedSampler

from latentode.data.batch import Batch, Series
from latentode.data.task import Task
from latentode.data.windows import mix, uniform
from latentode.training.resumable import processes

__all__ = ["STATIC_DROPOUT", "Cuts", "Draws", "Key", "Share", "in_rounds"]

BATCHES_SORTED = 16  # how many batches share out series of like length
CUT_AT_ONCE = 4096
Key = tuple[int, int, int]
STATICS = 0x57A7  # a stream of random draws of its own
STATIC_DROPOUT = 0.03  # share of training windows in which a static column is hidden
SILENT = -1  # as a draw: a window of which nothing is asked


class Cuts(Dataset[Batch]):
    """Batches by lists of keys, assembled at once rather than series by series.

    Args:
        series: what is cut.
        task: how.
        order: keys by which a plain number names a window, as samplers of other makers draw them,
            shape `(windows, 3)`.
        seed: of the places of the windows.
        named: whether batches say what their targets are in the table.
        static_dropout: share of windows in which a static column is hidden.
    """

    def __init__(
        self,
        series: Series,
        task: Task,
        order: np.ndarray,
        seed: int,
        named: bool = False,
        static_dropout: float = 0.0,
    ) -> None:
        self.series, self.task, self.order, self.seed = series, task, order, seed
        self.named, self.static_dropout = named, static_dropout

    def __len__(self) -> int:
        return len(self.order)

    def __getitems__(self, keys: Sequence[Key] | Sequence[int]) -> Batch:
        cuts = np.array(keys, dtype=np.int64)
        if cuts.ndim == 1:
            cuts = self.order[cuts]
        if (cuts[:, 2] == SILENT).any():
            return self._cut(np.maximum(cuts, 0)).unasked()
        return self._cut(cuts)

    def _cut(self, cuts: np.ndarray) -> Batch:
        index, own = self._draws(cuts)
        batch = self.series.batch(index, self.task, own, self.named, cuts[:, 2])
        parts = self.series.scaling.static_parts if self.static_dropout else []
        for number, part in enumerate(parts):  # so that an unknown category is one that was met
            hidden = uniform(mix(own, STATICS), number) < self.static_dropout
            batch.static[torch.from_numpy(hidden), part] = 0.0
        return batch

    def context_sizes(self, keys: np.ndarray) -> np.ndarray:
        """How many observations the context of each cut has."""
        sizes = []
        for begin in range(0, len(keys), CUT_AT_ONCE):
            index, own = self._draws(keys[begin : begin + CUT_AT_ONCE])
            sizes.append(self.series.context_sizes(index, self.task, own))
        return np.concatenate(sizes)

    def _draws(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epoch, index, draw = keys.T
        return index, mix(mix(mix(self.series.keys[index], self.seed), epoch), draw)


def in_rounds(n_series: int, windows: int) -> np.ndarray:
    """Keys of the first epoch's windows, series after series and round after round, `(windows, 3)`."""
    number = np.arange(windows)
    return np.stack([np.zeros_like(number), number % n_series, number // n_series], axis=1)


class Share(DistributedSampler):
    """Each process its own of a fixed list of keys, every one of them once.

    A process for which none is left is given one window of which nothing is asked: it too has to take
    part in what all processes do together.
    """

    def __init__(self, order: np.ndarray) -> None:
        super().__init__(order, num_replicas=1, rank=0)  # type: ignore[arg-type]
        self.order = order

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[Key]:
        yield from map(tuple, self._own().tolist())

    def _own(self) -> np.ndarray:
        number, n = processes()
        own = self.order[number::n]
        if len(own) or not len(self.order):
            return own
        return self.order[:1] * [1, 1, 0] + [0, 0, SILENT]


class Draws(Sampler[Key]):
    """(epoch, series, draw): every series equally often, in an order shuffled per epoch.

    Shuffled are the random keys of the series, so that their order in the table does not matter. With
    a batch size, contexts of like length are neighbours, also in the batches that several processes
    make at once. They draw as many windows each.
    """

    def __init__(self, data: Cuts, windows_per_epoch: int, batch_size: int | None) -> None:
        self.data, self.windows_per_epoch, self.batch_size, self.epoch = (
            data,
            windows_per_epoch,
            batch_size,
            0,
        )
        self.by_key = np.argsort(data.series.keys, kind="stable")

    def __len__(self) -> int:
        n = processes()[1]
        return -(-self.windows_per_epoch // n) * n

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning, also when a fit resumes."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        generator = np.random.default_rng((self.data.seed, self.epoch))
        n_series, windows = len(self.by_key), len(self)
        orders = [generator.permutation(self.by_key) for _ in range(-(-windows // n_series))]
        series = np.concatenate(orders)[:windows]
        draw = np.arange(len(series)) // n_series
        keys = np.stack([np.full_like(series, self.epoch), series, draw], axis=1)
        if self.batch_size is not None:
            sizes = self.data.context_sizes(keys)
            keys = keys[_neighbours(sizes, self.batch_size * processes()[1], generator)]
        yield from map(tuple, keys.tolist())


def _neighbours(sizes: np.ndarray, batch_size: int, generator: np.random.Generator) -> np.ndarray:
    """An order in which each batch holds like sizes, and the batches come at random.

    Sizes are sorted within stretches of several batches only, so that a batch's companions vary.
    """
    stretch = np.arange(len(sizes)) // (BATCHES_SORTED * batch_size)
    order = np.lexsort((sizes, stretch))
    full = len(sizes) // batch_size * batch_size
    batches = generator.permutation(order[:full].reshape(-1, batch_size))
    return np.concatenate([batches.reshape(-1), order[full:]])
