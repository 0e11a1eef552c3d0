"""Events: the padded layout that a recurrent encoder needs, made from flat observations.

All values that a series has at one time form one event. Rows are padded at the end only, each series
on its own times: nothing is taken from its companions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentode.data.observations import Observations

__all__ = ["Events", "Packed", "last_values"]

CHANGE_GAIN = 4.0  # brings typical changes to the size of typical values


@dataclass(frozen=True)
class Packed:
    """Where events lie in an order that a compiled recurrence reads.

    Args:
        series: whose event it is, shape `(events,)`.
        step: which of its events it is, likewise.
        sizes: how many series have each step, descending.
    """

    series: Tensor
    step: Tensor
    sizes: list[int]

    def final(self, state: Tensor, n_series: int) -> Tensor:
        """States after each series' last event, zero for those without; `(series, hidden)`."""
        read = self.series[: self.sizes[0]] if self.sizes else self.series
        return state.new_zeros(n_series, state.shape[1]).index_copy(0, read, state)


@dataclass(frozen=True)
class Events:
    """Events of each series in reading order.

    Args:
        time: shape `(series, events)`; padding repeats the last event's time.
        value: 0 where nothing was observed, shape `(series, events, variables)`.
        observed: 1 where something was, same shape.
        length: number of events, shape `(series,)`.
    """

    time: Tensor
    value: Tensor
    observed: Tensor
    length: Tensor

    @classmethod
    def of(cls, observations: Observations, n_series: int, n_variables: int, backward: bool) -> Events:
        """Gathers observations in any order; `backward` reads from the last to the first."""
        order = torch.argsort(observations.time, stable=True)
        order = order[torch.argsort(observations.series[order], stable=True)]
        sorted_ = observations.select(order)
        new = torch.ones_like(sorted_.series, dtype=torch.bool)
        new[1:] = (sorted_.series.diff() != 0) | (sorted_.time.diff() != 0)
        event = new.long().cumsum(0) - 1
        owner = sorted_.series[new]
        length = torch.bincount(owner, minlength=n_series)
        place = torch.arange(len(owner), device=owner.device) - (length.cumsum(0) - length)[owner]
        if backward:
            place = length[owner] - 1 - place
        width = max(1, int(length.max())) if n_series else 1
        value = sorted_.value.new_zeros(n_series, width, n_variables)
        observed = torch.zeros_like(value)
        slot = (sorted_.series, place[event], sorted_.variable)
        value[slot] = sorted_.value
        observed[slot] = 1.0
        time = sorted_.time.new_zeros(n_series, width)
        time[owner, place] = sorted_.time[new]
        final = (length - 1).clamp(min=0)[:, None]
        padding = torch.arange(width, device=time.device) > final
        return cls(torch.where(padding, time.gather(1, final), time), value, observed, length)

    def packed(self) -> Packed:
        """The events step after step, the series with most events first."""
        order = torch.argsort(self.length, descending=True, stable=True)
        steps = torch.arange(int(self.length.max()) if len(order) else 0, device=order.device)
        step, rank = (self.length[order] > steps[:, None]).nonzero(as_tuple=True)
        return Packed(order[rank], step, torch.bincount(step).tolist())

    def features(self, t0: Tensor, last: Tensor) -> Tensor:
        """What a recurrent encoder reads at each event.

        Values, their difference from each variable's latest one (a change is often small against
        the spread of the data), what was observed, the gap since the event read before, and the
        time to `t0`.

        Args:
            t0: where reading ends, shape `(series,)`.
            last: of `last_values`, shape `(series, variables)`.

        Returns:
            Shape `(series, events, 3 * variables + 2)`.
        """
        gap = torch.zeros_like(self.time)
        gap[:, 1:] = self.time.diff(dim=1).abs()
        reach = (self.time - t0[:, None]).abs()
        change = (self.value - last[:, None]) * self.observed * CHANGE_GAIN
        return torch.cat([self.value, change, self.observed, gap[..., None], reach[..., None]], dim=2)

    @staticmethod
    def n_features(n_variables: int) -> int:
        """Size of what `features` returns."""
        return 3 * n_variables + 2


def last_values(observations: Observations, n_series: int, n_variables: int) -> Tensor:
    """The latest value of each (series, variable), 0 (the training mean) where there is none.

    Returns:
        Shape `(series, variables)`.
    """
    cell = observations.series * n_variables + observations.variable
    latest = observations.time.new_full((n_series * n_variables,), -torch.inf)
    latest = latest.scatter_reduce(0, cell, observations.time, "amax")
    chosen = observations.time == latest[cell]
    values = observations.value.new_zeros(n_series * n_variables)
    values[cell[chosen]] = observations.value[chosen]
    return values.reshape(n_series, n_variables)
