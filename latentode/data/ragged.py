"""Ragged: rows of several lengths in one flat array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Ragged"]


@dataclass(frozen=True)
class Ragged:
    """Rows of several lengths laid end to end: row i is `[offsets[i], offsets[i + 1])`."""

    offsets: np.ndarray

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the elements of rows `indices`, and for each the place of its row there."""
        lengths = self.offsets[indices + 1] - self.offsets[indices]
        begins = np.cumsum(lengths) - lengths
        shift = np.repeat(self.offsets[indices] - begins, lengths)
        return shift + np.arange(lengths.sum()), np.repeat(np.arange(len(indices)), lengths)

    @staticmethod
    def of(sorted_rows: np.ndarray, n_rows: int) -> Ragged:
        """From the row number of each element, ascending."""
        return Ragged(np.searchsorted(sorted_rows, np.arange(n_rows + 1)))
