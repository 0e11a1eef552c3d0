"""Observations and Queries: flat tensors, one element per value that exists.

An observation is (series, variable, time, value). There is no mask and no padding: a dense table of
asynchronous data is mostly empty cells, and a union of a batch's times would make one series' result
depend on its companions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Observations", "Queries"]


@dataclass(frozen=True)
class Queries:
    """Where a value is asked for.

    Args:
        series: index of the series in its batch, int64, shape `(queries,)`.
        variable: index of the variable, int64, shape `(queries,)`.
        time: time since the series' forecast origin in time units, float64, shape `(queries,)`.
    """

    series: Tensor
    variable: Tensor
    time: Tensor

    def __len__(self) -> int:
        return len(self.series)

    def select(self, chosen: Tensor) -> Queries:
        """Those at `chosen`: a boolean mask or indices."""
        return Queries(self.series[chosen], self.variable[chosen], self.time[chosen])

    def to(self, device: torch.device | str) -> Queries:
        return Queries(self.series.to(device), self.variable.to(device), self.time.to(device))


@dataclass(frozen=True)
class Observations:
    """Values that exist, in any order.

    Args:
        series: index of the series in its batch, int64, shape `(observations,)`.
        variable: index of the variable, int64, shape `(observations,)`.
        time: time since the series' forecast origin in time units, float64.
        value: the observed value, floating.
    """

    series: Tensor
    variable: Tensor
    time: Tensor
    value: Tensor

    def __len__(self) -> int:
        return len(self.series)

    def queries(self) -> Queries:
        """The same places without their values."""
        return Queries(self.series, self.variable, self.time)

    def select(self, chosen: Tensor) -> Observations:
        """Those at `chosen`: a boolean mask or indices."""
        return Observations(
            self.series[chosen], self.variable[chosen], self.time[chosen], self.value[chosen]
        )

    def rescale_time(self, unit: float, dtype: torch.dtype) -> Observations:
        """Time divided by `unit` in its own precision, then times and values cast to `dtype`."""
        return replace(self, time=(self.time / unit).to(dtype), value=self.value.to(dtype))

    def to(self, device: torch.device | str) -> Observations:
        return Observations(
            self.series.to(device),
            self.variable.to(device),
            self.time.to(device),
            self.value.to(device),
        )

    @staticmethod
    def cat(parts: list[Observations]) -> Observations:
        """All of several, one after another."""
        return Observations(
            torch.cat([p.series for p in parts]),
            torch.cat([p.variable for p in parts]),
            torch.cat([p.time for p in parts]),
            torch.cat([p.value for p in parts]),
        )
