"""Ragged: rows of several lengths in one array. SeriesDataset: a checked table as flat arrays.

Reads a frame through a `Schema`, refuses what it cannot read with the column, the row and the fix,
and keeps every value that exists: none is dropped, resampled, filled or invented.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import IntoFrame, column_of
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.tables.duplicates import DUPLICATES, merge_duplicates
from latentode.data.tables.reading import (
    observed_cells,
    read_columns,
    refuse_infinite,
    series_codes,
    value_columns,
)
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError, understood

__all__ = ["Ragged", "SeriesDataset", "ranges"]

FEW = 4096  # elements of one row that are looked at all at once


@dataclass(frozen=True)
class Ragged:
    """Rows of several lengths laid end to end: row i is `[offsets[i], offsets[i + 1])`."""

    offsets: np.ndarray

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the elements of rows `indices`, and for each the place of its row there."""
        return ranges(self.offsets[indices], self.offsets[indices + 1])

    def bisect(self, indices: np.ndarray, early: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The first position of each of the rows `indices` at which `early` no longer holds.

        Args:
            indices: which rows, shape `(n,)`; a row may occur more than once.
            early: from positions, one for each of these rows, to a mask; within a row it holds up to
                some position and not from there on. Of a single row it is asked about many at once.

        Returns:
            Shape `(n,)`; the end of a row at all of whose positions it holds.
        """
        low, high = self.offsets[indices], self.offsets[indices + 1]
        if len(indices) == 1 and high[0] - low[0] <= FEW:  # all at once, which is sooner done
            return low + np.count_nonzero(early(np.arange(low[0], high[0])))
        while (low < high).any():
            middle = np.minimum((low + high) // 2, self.offsets[-1] - 1)
            inside, holds = low < high, early(middle)
            low = np.where(inside & holds, middle + 1, low)
            high = np.where(inside & ~holds, middle, high)
        return low

    @staticmethod
    def of(sorted_rows: np.ndarray, n_rows: int) -> Ragged:
        """From the row number of each element, ascending."""
        return Ragged(np.searchsorted(sorted_rows, np.arange(n_rows + 1)))


def ranges(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers of several ranges `[begin, end)`, one after the other, and the range of each.

    Example:
        >>> ranges(np.array([7, 2]), np.array([9, 3]))
        (array([7, 8, 2]), array([0, 0, 1]))
    """
    lengths = end - begin
    shift = np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
    return shift + np.arange(lengths.sum()), np.repeat(np.arange(len(begin)), lengths)


@dataclass(frozen=True)
class SeriesDataset:
    """Series of a table; make one with `from_frame`.

    Args:
        schema: resolved.
        axis: what the time column means.
        ids: identifier of each series as the table has it, in order of first appearance.
        keys: identifier, time, static and known-future columns of every row, in the table's order.
        dtypes: dtype of each target column.
        row: position in `keys` of each observation, int64, shape `(observations,)`.
        variable: index into `schema.targets`, int64; observations are sorted by series, time,
            variable.
        time: time since `start` of the series in time units, float64.
        value: float64.
        parts: where each series' observations lie.
        start: tick of the first row of each series.
        series_of_row: series of each row of `keys`.
        merged: rows that a duplicate policy merged into others.
        notes: what was said of the table.
    """

    schema: Schema
    axis: TimeAxis
    ids: pd.Index
    keys: pd.DataFrame = field(repr=False)
    dtypes: dict[str, Any] = field(repr=False)
    row: np.ndarray = field(repr=False)
    variable: np.ndarray = field(repr=False)
    time: np.ndarray = field(repr=False)
    value: np.ndarray = field(repr=False)
    parts: Ragged = field(repr=False)
    start: np.ndarray = field(repr=False)
    series_of_row: np.ndarray = field(repr=False)
    merged: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, series: int) -> Any:
        """A series' identifier as a message shows it: of Python's own type, not numpy's."""
        return self.ids[[series]].tolist()[0]

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the target variables."""
        return self.schema.targets or ()

    @property
    def series(self) -> np.ndarray:
        """The series of each observation."""
        return np.repeat(np.arange(len(self)), np.diff(self.parts.offsets))

    @property
    def last(self) -> np.ndarray:
        """Time of each series' last observation in time units; 0 where it has none."""
        return self._edge(first=False)

    @property
    def watched_until(self) -> np.ndarray:
        """Until when each series was watched: the time of its last row, with a value or without.

        So a row without values at the end of a record says that nothing more was observed up to it.
        """
        latest = self.start.copy()
        np.maximum.at(latest, self.series_of_row, self.row_ticks)
        return np.maximum(self.last, self.axis.to_units(latest, self.start))

    @property
    def first(self) -> np.ndarray:
        """Time of each series' first observation in time units; 0 where it has none."""
        return self._edge(first=True)

    @classmethod
    @understood("the table")
    def from_frame(
        cls,
        frame: IntoFrame,
        schema: Schema | None = None,
        duplicates: str = "error",
        said: Collection[str] = (),
    ) -> SeriesDataset:
        """Reads and checks a table.

        Args:
            frame: wide or long, of any kind that narwhals understands, rows in any order; not modified.
            schema: roles of the columns; what it leaves open is detected, and said in a warning.
            duplicates: of several rows of one (series, time): "error", "mean" or "last" (observed one).
            said: notes of an earlier table, which are not said again.

        Raises:
            SchemaError: naming column, row and fix.
        """
        if duplicates not in DUPLICATES:
            raise SchemaError(f"duplicates {duplicates!r}: choose from {', '.join(DUPLICATES)}")
        read = read_columns(frame, schema)
        read.warn(said)
        refuse_infinite(read.table, read.schema)
        kept = merge_duplicates(read.table, read.schema, duplicates, frame)
        made, lost = cls.of_table(kept, read.schema, read.axis), len(read.table) - len(kept)
        return replace(made, merged=lost, notes=read.notes)

    @classmethod
    def of_table(cls, frame: pd.DataFrame, schema: Schema, axis: TimeAxis) -> SeriesDataset:
        """From a table that `read_columns` has read, without repeated rows and infinities."""
        codes, ids = series_codes(frame, schema)
        ticks = axis.ticks_of(column_of(frame, str(schema.time)))
        start = np.full(len(ids), ticks.max(initial=0), dtype=ticks.dtype)
        np.minimum.at(start, codes, ticks)
        row, variable, value = observed_cells(frame, schema)
        order = np.lexsort((variable, ticks[row], codes[row]))
        row, variable, value = row[order], variable[order], value[order]
        return cls(
            schema=schema,
            axis=axis,
            ids=ids,
            keys=frame.drop(columns=value_columns(schema)),
            dtypes={c: column_of(frame, c).dtype for c in value_columns(schema)},
            row=row,
            variable=variable,
            time=axis.to_units(ticks[row], start[codes[row]]),
            value=value,
            parts=Ragged.of(codes[row], len(ids)),
            start=start,
            series_of_row=codes,
        )

    @property
    def row_ticks(self) -> np.ndarray:
        """Tick of each row of `keys`."""
        return self.axis.ticks_of(column_of(self.keys, str(self.schema.time)))

    @property
    def last_ticks(self) -> np.ndarray:
        """Tick of each series' last observation, exact; its start where it has none."""
        ticks, some = self.start.copy(), np.diff(self.parts.offsets) > 0
        ticks[some] = self.row_ticks[self.row[self.parts.offsets[1:][some] - 1]]
        return ticks

    def to_frame(self) -> pd.DataFrame:
        """The table again: the schema's columns, rows in their order, values from the arrays.

        In the long layout, rows of variables that are no targets are left out, as columns of a wide
        table are.
        """
        frame = self._table()
        if self.schema.layout == "long":
            names = column_of(frame, str(self.schema.variable)).astype(str)
            frame = cast(pd.DataFrame, frame[names.isin(self.variables)])
        return frame

    def _table(self) -> pd.DataFrame:
        frame = self.keys.copy()
        for name, dtype in self.dtypes.items():
            cells = np.full(len(frame), np.nan)
            chosen: Any = slice(None)
            if self.schema.layout == "wide":
                chosen = self.variable == self.variables.index(name)
            cells[self.row[chosen]] = self.value[chosen]
            frame[name] = pd.Series(cells, index=frame.index).astype(dtype)
        return cast(pd.DataFrame, frame[self.schema.columns()])

    def select(self, indices: Sequence[int] | np.ndarray) -> SeriesDataset:
        """The dataset of some series, in the order given: distinct indices, or a mask.

        Raises:
            SchemaError: if a series is named twice.
        """
        if len(indices) == 0:
            indices = np.zeros(0, dtype=np.int64)
        chosen = np.arange(len(self))[np.asarray(indices)]
        if len(np.unique(chosen)) < len(chosen):
            raise SchemaError("a series was selected twice; a dataset holds each once")
        kept = np.isin(self.series_of_row, chosen)
        return self._rebuild(kept, self.ids[chosen])

    def until(self, time: np.ndarray) -> SeriesDataset:
        """The rows by `time` of their series (time units, `(series,)`), of series that have any."""
        elapsed = self.axis.to_units(self.row_ticks, self.start[self.series_of_row])
        kept = elapsed <= time[self.series_of_row]
        return self._rebuild(kept, self.ids[np.unique(self.series_of_row[kept])])

    def _rebuild(self, kept: np.ndarray, ids: pd.Index) -> SeriesDataset:
        frame = cast(pd.DataFrame, self._table()[kept])
        dataset = replace(self.of_table(frame, self.schema, self.axis), notes=self.notes)
        return dataset._reorder(dataset.ids.get_indexer(ids))

    def _reorder(self, order: np.ndarray) -> SeriesDataset:
        if np.array_equal(order, np.arange(len(self))):
            return self
        positions, series = self.parts.gather(order)
        return replace(
            self,
            ids=self.ids[order],
            row=self.row[positions],
            variable=self.variable[positions],
            time=self.time[positions],
            value=self.value[positions],
            parts=Ragged.of(series, len(order)),
            start=self.start[order],
            series_of_row=np.argsort(order)[self.series_of_row],
        )

    def index_of(self, ids: pd.Series | Sequence[object]) -> np.ndarray:
        """Position of each identifier.

        Raises:
            SchemaError: naming the first that is not there.
        """
        asked = pd.Index(cast(Any, ids))
        index = self.ids.get_indexer(asked)
        if (index < 0).any():
            unknown = asked.tolist()[int((index < 0).argmax())]
            known = ", ".join(repr(i) for i in self.ids[:5])
            alike = [i for i in self.ids if str(i) == str(unknown)]
            typed = [f"it has {a!r}, of type {type(a).__name__}: convert one of the two" for a in alike]
            hint = typed[0] if alike else "name one of them, or give it a row whose values are empty"
            raise SchemaError(
                f"series {unknown!r} is not in the history, whose {len(self)} series are {known}"
                f"{', ...' if len(self) > 5 else ''}; {hint}"
            )
        return index

    def require_observed(self) -> None:
        """Raises unless every variable was observed at least once."""
        counts = np.bincount(self.variable, minlength=len(self.variables))
        if (counts == 0).any():
            name = self.variables[int(counts.argmin())]
            raise SchemaError(
                f"variable `{name}` has no observation in any of the {len(self.keys)} rows; leave it "
                "out of targets, or check its spelling"
            )

    def static_frame(self) -> pd.DataFrame:
        """The static columns, a row per series: what any of its rows says."""
        if not self.schema.static_covariates:
            return pd.DataFrame(index=range(len(self)))
        columns = cast(pd.DataFrame, self.keys[list(self.schema.static_covariates)])
        return columns.groupby(self.series_of_row).first()

    def known_paths(self) -> tuple[np.ndarray, np.ndarray, Ragged]:
        """Times (since `start`), values `(changes, known)` and series of the known-future columns.

        A cell without a value leaves the one before it in force; cells before the first value take
        that one.
        """
        columns, ticks = list(self.schema.known_future), self.row_ticks
        order = np.lexsort((ticks, self.series_of_row))
        table = self.keys[columns].astype(float).reset_index(drop=True).iloc[order]
        series = self.series_of_row[order]
        held = table.groupby(series).ffill().groupby(series).bfill()
        missing = held.isna().to_numpy()
        if missing.any():
            at, column = (int(i) for i in np.argwhere(missing)[0])
            raise SchemaError(
                f"series {self.name(series[at])!r} has no value of known-future column "
                f"`{columns[column]}`; give it at least once"
            )
        time = self.axis.to_units(ticks[order], self.start[series])
        return time, held.to_numpy(), Ragged.of(series, len(self))

    def _edge(self, first: bool) -> np.ndarray:
        offsets = self.parts.offsets
        edge = offsets[:-1] if first else offsets[1:] - 1
        result, some = np.zeros(len(self)), np.diff(offsets) > 0
        result[some] = self.time[edge[some]]
        return result
