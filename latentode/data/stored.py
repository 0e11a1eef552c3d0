"""StoredDataset: series whose observations are flat arrays in unnamed files on disk.

Beside what is observed it knows the first and the last row of each series, from which come when it was
watched and its static columns. It is made shard by shard, by `Kept`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.dataset import Ragged, SeriesDataset
from latentode.data.scaling import keys_of
from latentode.errors import LatentODEError, SchemaError

__all__ = ["Kept", "StoredDataset", "some_of"]

AT_ONCE = 1 << 20  # observations that are put in order at a time


@dataclass(frozen=True)
class StoredDataset(SeriesDataset):
    """Series whose observations lie on disk; to be cut into windows, and not to become a table again.

    Args:
        sample: some of the series in memory, all of them where they are few.
    """

    sample: SeriesDataset | None = field(default=None, repr=False)

    def _table(self) -> pd.DataFrame:
        raise LatentODEError(
            "of a folder that is left on disk no table is made again; read a part of it by read_table"
        )


def some_of(dataset: SeriesDataset) -> SeriesDataset:
    """What of a dataset is in memory: all of it, or the sample of one on disk."""
    return dataset.sample or dataset if isinstance(dataset, StoredDataset) else dataset


class _Column:
    """An array that grows in an unnamed file, which the system removes with the last who uses it."""

    def __init__(self, dtype: type) -> None:
        self.dtype, self.length, self.file = np.dtype(dtype), 0, tempfile.TemporaryFile()  # noqa: SIM115

    def append(self, values: np.ndarray) -> None:
        np.ascontiguousarray(values, dtype=self.dtype).tofile(self.file)
        self.length += len(values)

    def mapped(self) -> np.ndarray:
        self.file.flush()
        if self.length == 0:
            return np.zeros(0, dtype=self.dtype)
        return np.memmap(self.file, dtype=self.dtype, mode="r+", shape=(self.length,))


@dataclass
class Kept:
    """What is known so far: observations on disk, and of each series its ends and static columns."""

    columns: dict[str, _Column]
    counts: list[np.ndarray]
    ids: list[pd.Index]
    start: list[np.ndarray]
    ends: list[pd.DataFrame]
    merged: int = 0

    @classmethod
    def empty(cls, begun: SeriesDataset) -> Kept:
        return cls(_columns(), [], [], [], [])

    def __len__(self) -> int:
        return self.columns["time"].length

    def add(self, part: SeriesDataset, chosen: np.ndarray) -> None:
        """Appends some series of a shard."""
        counts = np.diff(part.parts.offsets)
        mine = np.repeat(chosen, counts)
        for name in ("variable", "time", "value"):
            self.columns[name].append(getattr(part, name)[mine])
        self.counts.append(counts[chosen])
        self.ids.append(part.ids[chosen])
        self.start.append(part.start[chosen])
        self.ends.append(_ends(part, chosen))
        self.merged += part.merged

    def dataset(self, begun: SeriesDataset, sample: SeriesDataset) -> StoredDataset:
        """All of it; rows are named by their series."""
        if not self.ids:
            raise SchemaError("no series is left to train on; hold fewer out")
        ids = self.ids[0].append(self.ids[1:])
        counts = np.concatenate(self.counts)
        order = np.argsort(keys_of(ids), kind="stable")
        both = (2 * order[:, None] + np.arange(2)).reshape(-1)
        keys = cast(pd.DataFrame, pd.concat(self.ends, ignore_index=True).iloc[both])
        keys.index = pd.Index(np.repeat(ids[order].to_numpy(dtype=object), 2), name="series")
        return StoredDataset(
            schema=begun.schema,
            axis=begun.axis,
            ids=ids[order],
            keys=keys,
            dtypes=begun.dtypes,
            **self._sorted(Ragged(np.r_[0, np.cumsum(counts)]), order),
            parts=Ragged(np.r_[0, np.cumsum(counts[order])]),
            start=np.concatenate(self.start)[order],
            series_of_row=np.repeat(np.arange(len(ids)), 2),
            merged=self.merged,
            notes=begun.notes,
            sample=sample,
        )

    def _sorted(self, parts: Ragged, order: np.ndarray) -> dict[str, np.ndarray]:
        """Observations of series in another order, and of each the first row of its series."""
        found, before = _columns("row"), {name: c.mapped() for name, c in self.columns.items()}
        sizes = np.cumsum(np.diff(parts.offsets)[order]) // AT_ONCE
        for some in np.split(np.arange(len(order)), np.nonzero(np.diff(sizes))[0] + 1):
            positions, place = parts.gather(order[some])
            for name, values in before.items():
                found[name].append(values[positions])
            found["row"].append(2 * some[place])
        return {name: column.mapped() for name, column in found.items()}


def _columns(*more: str) -> dict[str, _Column]:
    kinds = {"variable": np.int64, "time": np.float64, "value": np.float64}
    return {name: _Column(kind) for name, kind in (kinds | dict.fromkeys(more, np.int64)).items()}


def _ends(part: SeriesDataset, chosen: np.ndarray) -> pd.DataFrame:
    """The first and the last row of some series, one after the other, with the statics of each."""
    order = np.lexsort((part.row_ticks, part.series_of_row))
    offsets = Ragged.of(part.series_of_row[order], len(part)).offsets
    both = np.stack([order[offsets[:-1]], order[offsets[1:] - 1]], axis=1)[chosen]
    rows = cast(pd.DataFrame, part.keys.iloc[both.reshape(-1)].reset_index(drop=True))
    static = part.static_frame()
    for column in static.columns:
        rows[column] = np.repeat(static[column].to_numpy()[chosen], 2)
    return rows
