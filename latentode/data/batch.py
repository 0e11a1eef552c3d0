"""Observations and Queries: flat tensors, one element per value that exists.

An observation is (series, variable, time, value). There is no mask and no padding: a dense table of
asynchronous data is mostly empty cells, and a union of a batch's times would make one series' result
depend on its companions.

Batch: several cut series as flat tensors, time counted from each one's forecast origin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from latentode.data.dataset import Ragged, SeriesDataset
from latentode.data.labels import Labels, SeriesLabels
from latentode.data.scaling import Scaling, Units, series_keys
from latentode.data.task import Task
from latentode.data.windows import Cut, Timeline, cut_window, rounding

__all__ = ["Batch", "Observations", "Queries", "Series", "TargetNames"]


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
        """The same on a device."""
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
        """The same on a device."""
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


@dataclass(frozen=True)
class TargetNames:
    """What the targets of a batch are in the table that they come from.

    Args:
        keys: identifier (if the table has one), time and `variable` of each.
        units: what their scaled values are in data units.
    """

    keys: pd.DataFrame
    units: Units


@dataclass(frozen=True)
class Batch:
    """What a model sees of several series.

    Args:
        context: what the encoder sees; times at or before the origin are <= 0.
        target: what the model is asked for, with the answers.
        start: where each context begins (<= 0), float64, shape `(series,)`.
        static: encoded static features and phases of the schema's cycles, shape `(series, static)`.
        control_time: when each known value begins, ascending, shape `(series, changes)`.
        control_value: shape `(series, changes, known)`.
        names: what the targets are in the table; None where nobody will ask.
        events: where anything was observed from the start to `end`, also what is neither context nor
            target; only a likelihood of times looks at it, the encoder never does.
        end: until when `events` are complete, time since the origin (>= 0), shape `(series,)`.
        labels: of the series, where they are to be classified.
    """

    context: Observations
    target: Observations
    start: Tensor
    static: Tensor
    control_time: Tensor
    control_value: Tensor
    names: TargetNames | None = None
    events: Queries | None = None
    end: Tensor | None = None
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(self.start)

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        return _each(self, lambda tensor: tensor.to(device))

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory, as torch's loaders ask for with `pin_memory=True`."""
        return _each(self, Tensor.pin_memory)

    def unasked(self) -> Batch:
        """The same contexts, of which nothing is asked: no targets, no events ahead, no labels."""
        names, none = self.names, torch.zeros(0, dtype=torch.long, device=self.start.device)
        if names is not None:
            names = TargetNames(names.keys.iloc[:0], Units(np.zeros(0), np.zeros(0)))
        events, end = self.events, self.end
        if events is not None and end is not None:
            events, end = events.select(events.time <= 0), torch.zeros_like(end)
        target = self.target.select(none)
        return replace(self, target=target, names=names, events=events, end=end, labels=None)


class Series:
    """Scaled series in memory, from which batches are assembled by slicing flat arrays.

    Args:
        dataset: what was read, in data units.
        scaling: fitted on the training series.
        labels: of these series, if they have any.

    Raises:
        SchemaError: for a value beyond the domain of its variable's transform.
    """

    def __init__(
        self, dataset: SeriesDataset, scaling: Scaling, labels: SeriesLabels | None = None
    ) -> None:
        self.dataset, self.scaling, self.labels = dataset, scaling, labels
        scaling.refuse_outside(dataset)
        self.static = scaling.encode_static(dataset)
        self.timeline, self.keys = Timeline.of(dataset), series_keys(dataset)
        if dataset.schema.known_future:
            time, value, self.known_parts = _changes(*dataset.known_paths())
            self.known_time, self.known_value = time, scaling.scale_known(value)

    @property
    def first(self) -> np.ndarray:
        """Time of each series' first observation, since its start; 0 where it has none."""
        return self.timeline.first

    @property
    def last(self) -> np.ndarray:
        """Time of each series' last observation, since its start; 0 where it has none."""
        return self.timeline.last

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(
        self,
        indices: np.ndarray,
        task: Task,
        keys: np.ndarray | None = None,
        named: bool = False,
        draws: np.ndarray | None = None,
    ) -> Batch:
        """Cuts and collates series.

        Args:
            indices: which series, in batch order; a series may occur more than once.
            task: how they are cut.
            keys: random key of each cut, uint64; the series' own by default.
            named: whether to say what the targets are in the table.
            draws: which of the cuts of its series each is, counted from 0; the first by default.
        """
        keys = self.keys[indices] if keys is None else keys
        cut = task.cut(self.timeline.cuttable(indices, keys, draws))
        batch = self.collate(indices, cut)
        return replace(batch, names=self._names(cut.positions[cut.target])) if named else batch

    def _names(self, positions: np.ndarray) -> TargetNames:
        schema, dataset = self.dataset.schema, self.dataset
        columns = [c for c in (schema.id, schema.time) if c is not None]
        keys = cast(pd.DataFrame, dataset.keys[columns].iloc[dataset.row[positions]])
        variable = dataset.variable[positions]
        names = np.asarray(dataset.variables, dtype=object)[variable]
        keys = keys.reset_index(drop=True).assign(variable=names)
        return TargetNames(keys, self.scaling.units_of(variable))

    def context_sizes(self, indices: np.ndarray, task: Task, keys: np.ndarray) -> np.ndarray:
        """How many observations `batch` would give the context of each cut, shape `(cuts,)`."""
        cut = task.cut(self.timeline.cuttable(indices, keys))
        return np.bincount(cut.series[cut.context], minlength=len(indices))

    def batch_at(
        self, indices: np.ndarray, origin: np.ndarray, context: float, ahead: float | None = None
    ) -> Batch:
        """Contexts of up to `context` before given origins, without targets.

        Args:
            indices: which series, in batch order, shape `(cuts,)`.
            origin: forecast origin of each, time since its start, shape `(cuts,)`.
            context: how far back of the origin the encoder sees, in time units.
            ahead: how far ahead of the origin the paths of known-future columns are needed, in time
                units; None for all that is known of them.
        """
        cut = cut_window(self.timeline.cuttable(indices, self.keys[indices]), origin, context, 0.0)
        return self.collate(indices, cut, origin + (np.inf if ahead is None else ahead))

    def collate(self, indices: np.ndarray, cut: Cut, known_until: np.ndarray | None = None) -> Batch:
        """Concatenates cut series; times become relative to the origin in float64.

        Args:
            indices: the series of each cut.
            cut: where they are cut.
            known_until: until when the paths of known-future columns are needed, time since each
                series' start; the end of the cut by default.
        """
        time = self.dataset.time[cut.positions] - cut.origin[cut.series]
        flat = Observations(
            torch.from_numpy(cut.series),
            torch.from_numpy(variable := np.asarray(self.dataset.variable[cut.positions])),
            torch.from_numpy(np.asarray(time)),
            torch.from_numpy(self.scaling.scale_values(self.dataset.value[cut.positions], variable)),
        )
        start, end = cut.start - cut.origin, cut.end - cut.origin
        known = (time >= start[cut.series]) & (time <= end[cut.series])
        known |= cut.context | cut.target  # whose ends are inclusive up to rounding
        control_time, control_value = self._controls(
            indices, cut, cut.end if known_until is None else known_until
        )
        labels = None
        if self.labels is not None:
            labels = self.labels.gather(indices, cut.origin, cut.start)
        return Batch(
            flat.select(torch.from_numpy(np.nonzero(cut.context)[0])),
            flat.select(torch.from_numpy(np.nonzero(cut.target)[0])),
            torch.from_numpy(start),
            torch.from_numpy(self._fixed(indices, cut.origin)),
            control_time,
            control_value,
            events=flat.select(torch.from_numpy(np.nonzero(known)[0])).queries(),
            end=torch.from_numpy(end),
            labels=labels,
        )

    def _fixed(self, indices: np.ndarray, origin: np.ndarray) -> np.ndarray:
        cycles, axis = self.dataset.schema.periods, self.dataset.axis
        if not cycles:
            return self.static[indices]
        phases = axis.cycle_phases(cycles, self.dataset.start[indices], origin)
        return np.concatenate([self.static[indices], phases], axis=1)

    def _controls(self, indices: np.ndarray, cut: Cut, until: np.ndarray) -> tuple[Tensor, Tensor]:
        """The paths of known-future columns from the start of each context to `until`, padded."""
        if not self.dataset.schema.known_future:
            empty = torch.zeros(len(indices), 0, 0, dtype=torch.float64)
            return empty.flatten(1), empty
        positions = self._known_window(indices, cut.start, until)
        time = self.known_time[positions] - cut.origin[:, None]
        return torch.from_numpy(time), torch.from_numpy(self.known_value[positions])

    def _known_window(self, indices: np.ndarray, start: np.ndarray, until: np.ndarray) -> np.ndarray:
        """Positions of the known values in force from `start` to `until`.

        Shape `(cuts, changes)`: the first is in force at the start, and rows with fewer changes repeat
        their last.
        """
        time, parts = self.known_time, self.known_parts
        begin = parts.bisect(indices, lambda p: time[p] <= start) - 1
        begin = np.maximum(begin, parts.offsets[indices])
        limit = until + rounding(until, start)
        end = np.maximum(parts.bisect(indices, lambda p: time[p] <= limit), begin + 1)
        width = int((end - begin).max(initial=1))
        return np.minimum(begin[:, None] + np.arange(width), end[:, None] - 1)


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch, or a part of one, with every tensor changed alike."""
    if isinstance(value, Tensor):
        return change(value)
    if not isinstance(value, Batch | Observations | Queries | Labels):
        return value
    return replace(value, **{f.name: _each(getattr(value, f.name), change) for f in fields(value)})


def _changes(
    time: np.ndarray, value: np.ndarray, parts: Ragged
) -> tuple[np.ndarray, np.ndarray, Ragged]:
    """Known paths with the rows left out that leave every value as it was: the same step functions."""
    kept = np.ones(len(time), dtype=bool)
    kept[1:] = (np.diff(value, axis=0) != 0).any(axis=1)
    kept[parts.offsets[:-1]] = True  # every series has a row, and so a first value
    return time[kept], value[kept], Ragged(np.r_[0, np.cumsum(kept)][parts.offsets])
