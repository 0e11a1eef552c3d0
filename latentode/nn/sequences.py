r"""Sequences: what recurrent encoders read, made from flat observations in any order.

`Events`, for one sequence per series: all values that a series has at one time form one event. Rows are
padded at the end only, each series on its own times, so that nothing comes from its companions.

`Histories`, for one sequence per *cell*, a (series, variable): only cells with an observation have one,
and its features come from its own cell and from nothing else. There is no mask, no padding and no
imputation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentode.data.batch import Observations
from latentode.nn.changes import N_CHANGES, Changes, ChangeUnits, slopes
from latentode.nn.recurrence import traced

__all__ = ["N_FEATURES", "Events", "Histories", "Packed", "last_values"]


@dataclass(frozen=True)
class Packed:
    """Rows of events in the order in which a `GRU` reads them: step after step.

    Args:
        series: index of each row's series, shape `(rows,)`.
        step: index of the event within its series, likewise.
        sizes: how many series have each step, descending.
        present: which rows are events; None where all are.
    """

    series: Tensor
    step: Tensor
    sizes: list[int]
    present: Tensor | None = None

    def final(self, state: Tensor, n_series: int) -> Tensor:
        """States after each series' last event, zero for series without events; `(series, hidden)`."""
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
        given: known columns at each event, shape `(series, events, known)`; None for none.
        units: in which changes are read; None for 1.
    """

    time: Tensor
    value: Tensor
    observed: Tensor
    length: Tensor
    given: Tensor | None = None
    units: ChangeUnits | None = None

    @classmethod
    def of(
        cls,
        observations: Observations,
        n_series: int,
        n_variables: int,
        backward: bool,
        given: Tensor | None = None,
        units: ChangeUnits | None = None,
    ) -> Events:
        """Gathers observations in any order; `backward` reads from the last to the first.

        `given` is what known columns were at each observation, shape `(observations, known)`.
        """
        order = _ascending(observations.time)
        order = order[_ascending(observations.series[order])]
        sorted_ = observations.select(order)
        new = torch.ones_like(sorted_.series, dtype=torch.bool)
        new[1:] = (sorted_.series.diff() != 0) | (sorted_.time.diff() != 0)
        # Shapes are those of the observations, also where numbers of events are not to be looked at.
        event, owner = new.long().cumsum(0) - 1, sorted_.series
        begin = event.new_full((n_series,), len(event)).scatter_reduce(0, owner, event, "amin")
        place = event - begin[owner]
        length = event.new_zeros(n_series).scatter_reduce(0, owner, place + 1, "amax")
        if backward:
            place = length[owner] - 1 - place
        longest = len(event) if traced() or not n_series else int(length.max())
        width = max(1, longest)
        value = sorted_.value.new_zeros(n_series, width, n_variables)
        observed = torch.zeros_like(value)
        slot = (owner, place, sorted_.variable)
        value[slot] = sorted_.value
        observed[slot] = 1.0
        time = sorted_.time.new_zeros(n_series, width)
        time[owner, place] = sorted_.time
        known = None
        if given is not None:
            known = value.new_zeros(n_series, width, given.shape[1])
            known[owner, place] = given[order].to(value)
        final = (length - 1).clamp(min=0)[:, None]
        padding = torch.arange(width, device=time.device) > final
        time = torch.where(padding, time.gather(1, final), time)
        return cls(time, value, observed, length, known, units)

    def packed(self) -> Packed:
        """The events step after step, the series with most events first.

        Where operations are traced, numbers of events are not known: then every series has a row at
        every step, present or not.
        """
        if traced():
            return self._padded()
        order = torch.argsort(self.length, descending=True, stable=True)
        steps = torch.arange(int(self.length.max()) if len(order) else 0, device=order.device)
        step, rank = (self.length[order] > steps[:, None]).nonzero(as_tuple=True)
        return Packed(order[rank], step, torch.bincount(step).tolist())

    def _padded(self) -> Packed:
        n_series, width = self.time.shape
        row = torch.arange(n_series * width, device=self.time.device)
        series, step = row % n_series, row // n_series
        return Packed(series, step, [n_series] * width, step < self.length[series])

    def features(self, t0: Tensor, last: Tensor) -> Tensor:
        """What a recurrent encoder reads at each event.

        Values, their changes in the variable's own units, what was observed, the gap since the event
        read before, the time to `t0`, and known columns, bounded.

        Args:
            t0: where reading ends, shape `(series,)`.
            last: of `last_values`, shape `(series, variables)`.

        Returns:
            Shape `(series, events, n_features)`.
        """
        n = self.value.shape[2]
        gap = torch.zeros_like(self.time)
        gap[:, 1:] = self.time.diff(dim=1).abs()
        reach = (self.time - t0[:, None]).abs()
        units = ChangeUnits(n).to(self.value.device) if self.units is None else self.units
        changed = units(self._changes(last), torch.arange(n, device=self.value.device))
        told = [self.value, changed.flatten(2), self.observed, gap[..., None], reach[..., None]]
        return torch.cat([*told, *([] if self.given is None else [_bounded(self.given)])], dim=2)

    def _changes(self, last: Tensor) -> Changes:
        """Changes of each variable, 0 where it was not observed."""
        seen, width = self.observed > 0, self.time.shape[1]
        place = torch.arange(width, device=seen.device)[None, :, None]
        latest = torch.where(seen, place, -1).cummax(dim=1).values
        before = torch.cat([torch.full_like(latest[:, :1], -1), latest[:, :-1]], dim=1)
        follows, before = seen & (before >= 0), before.clamp(min=0)
        time = self.time[..., None].expand_as(self.value)
        step = torch.where(follows, self.value - self.value.gather(1, before), 0.0)
        rate = slopes(step, torch.where(follows, (time - time.gather(1, before)).abs(), 0.0))
        twice = follows & follows.gather(1, before)
        bend = torch.where(twice, rate - rate.gather(1, before), 0.0)
        distance = torch.where(seen, self.value - last[:, None], 0.0)
        return Changes(distance, step, rate, bend)

    @staticmethod
    def n_features(n_variables: int, n_known: int = 0) -> int:
        """Size of what `features` returns."""
        return (2 + N_CHANGES) * n_variables + 2 + n_known


def last_values(observations: Observations, n_series: int, n_variables: int) -> Tensor:
    """The latest value of each (series, variable), 0 (the training mean) where there is none.

    Returns:
        Shape `(series, variables)`.
    """
    cell = observations.series * n_variables + observations.variable
    latest = observations.time.new_full((n_series * n_variables,), -torch.inf)
    latest = latest.scatter_reduce(0, cell, observations.time, "amax")
    there = torch.arange(1, len(cell) + 1, device=cell.device)
    there = torch.where(observations.time == latest[cell], there, 0)
    last = cell.new_zeros(n_series * n_variables).scatter_reduce(0, cell, there, "amax")
    values = torch.cat([observations.value.new_zeros(1), observations.value])[last]
    return values.reshape(n_series, n_variables)


CYCLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # per unit of model time
N_FEATURES = 4 + N_CHANGES + 2 * len(CYCLES)
RESOLUTION = 100.0  # gaps from a hundredth of a unit of model time on are told apart


@dataclass(frozen=True)
class Histories:
    """Sequences laid out step after step, the longest first, as a `GRU` reads them.

    Args:
        cell: whose observation it is, `series * variables + variable`, shape `(observations,)`.
        features: see `of`, shape `(observations, N_FEATURES + known)`.
        sizes: how many sequences have each step, descending; the first are the cells observed.
        source: which of the given observations each one is, shape `(observations,)`.
        present: which rows are observations; None where all are.
    """

    cell: Tensor
    features: Tensor
    sizes: list[int]
    source: Tensor
    present: Tensor | None = None

    @property
    def observed(self) -> Tensor:
        """The cells with a sequence, in its order."""
        return self.cell[: self.sizes[0]] if self.sizes else self.cell

    @classmethod
    def of(
        cls,
        observations: Observations,
        t0: Tensor,
        n_variables: int,
        backward: bool,
        given: Tensor | None = None,
        units: ChangeUnits | None = None,
    ) -> Histories:
        """Gathers observations in any order; `backward` reads from the last to the first.

        Features are the value, its changes in the variable's own units, and in time the gap since
        the observation read before and what is left to `t0`, both as logarithms, the latter also
        as it is and by the sines and cosines of `CYCLES`, from which a phase can be read; and known
        columns, bounded.

        Args:
            observations: times in units of the model.
            t0: where reading ends, shape `(series,)`.
            n_variables: number of variables.
            backward: order of reading.
            given: what known columns were at each observation, shape `(observations, known)`.
            units: in which changes are read; None for 1.
        """
        cell = observations.series * n_variables + observations.variable
        order = _ascending(observations.time)
        order = order[_ascending(cell[order])]
        cell = cell[order]
        time, value = observations.time[order], observations.value[order]
        length = cell.new_zeros(len(t0) * n_variables).index_add(0, cell, torch.ones_like(cell))
        end = length.cumsum(0)
        step = torch.arange(len(cell), device=cell.device) - (end - length)[cell]
        shift, own = (-1, length[cell] - 1 - step) if backward else (1, step)
        gap = torch.where(own == 0, 0.0, (time - time.roll(shift)).abs())
        change = torch.where(own == 0, 0.0, value - value.roll(shift))
        rate = slopes(change, gap)
        bend = torch.where(own < 2, 0.0, rate - rate.roll(shift))
        left = (time - t0[cell // n_variables]).abs()
        changes = Changes(value - value[end[cell] - 1], change, rate, bend)
        units = ChangeUnits(n_variables).to(value.device) if units is None else units
        features = torch.stack([value, _log(gap), _log(left), left], dim=1)
        changed = units(changes, cell % n_variables)
        known = features[:, :0] if given is None else _bounded(given[order]).to(features)
        features = torch.cat([features, changed, _phases(left), known], dim=1)
        if traced():
            return cls._padded(features, order, own * len(length) + cell, len(length))
        place, sizes = _packed(length, cell, own)
        return cls(cell[place], features[place], sizes, order[place])

    @classmethod
    def _padded(cls, features: Tensor, order: Tensor, slot: Tensor, n_cells: int) -> Histories:
        """A row for every cell at every step, since numbers of observations are not to be looked at."""
        n = len(slot)
        row = slot.new_full((n * n_cells,), n).index_copy(0, slot, torch.arange(n, device=slot.device))
        cell = torch.arange(n_cells, device=slot.device).repeat(n)
        none = features.new_zeros(1, features.shape[1])
        source = torch.cat([order, order[:1]])[row]
        return cls(cell, torch.cat([features, none])[row], [n_cells] * n, source, row < n)


def _packed(length: Tensor, cell: Tensor, step: Tensor) -> tuple[Tensor, list[int]]:
    """Which observation comes where, and the number of sequences with each step."""
    rank = torch.empty_like(length)
    longest_first = torch.argsort(length, descending=True, stable=True)
    rank[longest_first] = torch.arange(len(length), device=length.device)
    sizes = torch.bincount(step)
    where = (sizes.cumsum(0) - sizes)[step] + rank[cell]
    place = torch.empty_like(where)
    place[where] = torch.arange(len(where), device=where.device)
    return place, sizes.tolist()


def _ascending(x: Tensor) -> Tensor:
    """Where the numbers lie in ascending order, equal ones as they were."""
    if not traced():
        return torch.argsort(x, stable=True)
    # By counting what comes before each: not everything that carries out a graph can sort stably.
    place = torch.arange(len(x), device=x.device)
    earlier = (x[:, None] > x) | ((x[:, None] == x) & (place[:, None] > place))
    return place.index_copy(0, earlier.sum(dim=1), place)


def _bounded(known: Tensor) -> Tensor:
    """Near known columns that are within a few deviations, and no larger than 1."""
    return known / (1 + known.abs())


def _phases(duration: Tensor) -> Tensor:
    """Sines and cosines, shape `(durations, 2 * len(CYCLES))`."""
    angle = duration[:, None] * duration.new_tensor(CYCLES) * (2 * math.pi)
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)


def _log(duration: Tensor) -> Tensor:
    """0 for none, 1 for one unit of model time."""
    return torch.log1p(RESOLUTION * duration) / math.log1p(RESOLUTION)
