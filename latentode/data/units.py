"""Units: what the scaled values of queries are in the table, each by its own variable's transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentode.data.transforms import Transform

__all__ = ["Units"]


@dataclass(frozen=True)
class Units:
    r"""The map $u = (T(x) - l) / s$ of each query and back.

    Args:
        loc: what scaled 0 is, after the transform, shape `(queries,)`.
        scale: what one scaled unit is, likewise.
        transforms: each with the queries whose values it transforms; none for the others.
    """

    loc: np.ndarray
    scale: np.ndarray
    transforms: tuple[tuple[Transform, np.ndarray], ...] = ()

    def to_data(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled values of shape `(..., queries)` as the table has them."""
        value = self.loc + self.scale * scaled
        for transform, place in self.transforms:
            value[..., place] = transform.inverse(value[..., place])
        return value

    def to_scaled(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `to_data`; infinite beyond a transform's domain."""
        value = np.array(value, dtype=np.float64)
        for transform, place in self.transforms:
            value[..., place] = transform.forward(value[..., place])
        return (value - self.loc) / self.scale

    def log_slope(self, value: np.ndarray) -> np.ndarray:
        """log du/dx at values of data units, within each transform's domain."""
        slope = np.broadcast_to(-np.log(self.scale), np.shape(value)).copy()
        for transform, place in self.transforms:
            slope[..., place] += transform.log_slope(np.asarray(value)[..., place])
        return slope

    def outside(self, value: np.ndarray) -> np.ndarray:
        """Which values `(queries,)` lie beyond their transform's domain."""
        found = np.zeros(np.shape(value), dtype=bool)
        for transform, place in self.transforms:
            found[place] = transform.outside(np.asarray(value)[place])
        return found
