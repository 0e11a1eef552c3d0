"""SeriesDataset: a validated table as flat arrays, and back again.

Reads a frame through a `Schema`, refuses what it cannot read with the column, the row and the fix,
and keeps every value that exists: none is dropped, resampled, filled or invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from latentode.data.schema import Schema, refuse_text
from latentode.data.timeaxis import TimeAxis, parse_times
from latentode.errors import SchemaError

__all__ = ["Ragged", "SeriesDataset"]

DUPLICATES = ("error", "mean", "last")


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


@dataclass(frozen=True)
class SeriesDataset:
    """Series of a table; make one with `from_frame`.

    Args:
        schema: resolved.
        axis: what the time column means.
        ids: identifier of each series as the table has it, in order of first appearance.
        keys: identifier, time, static and known columns of every row, in the table's order.
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
    """

    schema: Schema
    axis: TimeAxis
    ids: pd.Index
    keys: pd.DataFrame = field(repr=False)
    dtypes: dict[str, np.dtype] = field(repr=False)
    row: np.ndarray = field(repr=False)
    variable: np.ndarray = field(repr=False)
    time: np.ndarray = field(repr=False)
    value: np.ndarray = field(repr=False)
    parts: Ragged = field(repr=False)
    start: np.ndarray = field(repr=False)
    series_of_row: np.ndarray = field(repr=False)
    merged: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def variables(self) -> tuple[str, ...]:
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
    def first(self) -> np.ndarray:
        """Time of each series' first observation in time units; 0 where it has none."""
        return self._edge(first=True)

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, schema: Schema | None = None, duplicates: str = "error"
    ) -> SeriesDataset:
        """Reads and checks a table.

        Args:
            frame: wide or long; rows in any order; it is not modified.
            schema: roles of the columns; what it leaves open is detected.
            duplicates: what to do with several rows of one (series, time): "error", "mean" (of the
                observed values) or "last" (observed value by row order).

        Raises:
            SchemaError: naming column, row and fix.
        """
        if duplicates not in DUPLICATES:
            raise SchemaError(f"duplicates {duplicates!r}: choose from {', '.join(DUPLICATES)}")
        schema = (schema or Schema()).resolve(frame)
        frame = frame[schema.columns()].copy()
        _check_ids(frame, schema)
        name = str(schema.time)
        frame[name], axis = parse_times(frame[name], name, schema.time_format, schema.timezone)
        if schema.time_unit is not None and axis.is_calendar:
            axis = replace(axis, time_unit=schema.time_unit)
        schema = replace(schema, time_format=None)
        for column in [*_value_columns(schema), *schema.known]:
            _check_numeric(frame[column])
        rows_before = len(frame)
        frame = _merge_duplicates(frame, schema, duplicates)
        dataset = cls._build(frame, schema, axis)
        return replace(dataset, merged=rows_before - len(frame))

    @classmethod
    def _build(cls, frame: pd.DataFrame, schema: Schema, axis: TimeAxis) -> SeriesDataset:
        codes, ids = _series_codes(frame, schema)
        _check_static(frame, schema, codes)
        ticks = axis.ticks_of(frame[str(schema.time)])
        start = np.full(len(ids), ticks.max(), dtype=ticks.dtype)
        np.minimum.at(start, codes, ticks)
        row, variable, value = _observed(frame, schema)
        order = np.lexsort((variable, ticks[row], codes[row]))
        row, variable, value = row[order], variable[order], value[order]
        keys = frame.drop(columns=_value_columns(schema))
        return cls(
            schema=schema,
            axis=axis,
            ids=ids,
            keys=keys,
            dtypes={c: frame[c].dtype for c in _value_columns(schema)},  # type: ignore[misc]
            row=row,
            variable=variable,
            time=axis.to_units(ticks[row], start[codes[row]]),
            value=value,
            parts=Ragged.of(codes[row], len(ids)),
            start=start,
            series_of_row=codes,
        )

    def to_frame(self) -> pd.DataFrame:
        """The table again: the schema's columns, rows in their order, values from the arrays."""
        frame = self.keys.copy()
        for name, dtype in self.dtypes.items():
            column = np.full(len(frame), np.nan)
            chosen = slice(None)
            if self.schema.layout == "wide":
                chosen = self.variable == self.variables.index(name)
            column[self.row[chosen]] = self.value[chosen]
            exact = not np.isnan(column).any() or pd.api.types.is_extension_array_dtype(dtype)
            frame[name] = pd.Series(column, index=frame.index).astype(dtype if exact else float)
        return frame[self.schema.columns()]

    def select(self, indices: Sequence[int] | np.ndarray) -> SeriesDataset:
        """The dataset of some series, in the order given."""
        indices = np.asarray(indices, dtype=np.int64)
        place = np.full(len(self), -1)
        place[indices] = np.arange(len(indices))
        return self._rebuild(place[self.series_of_row] >= 0, self.ids[indices])

    def until(self, time: np.ndarray) -> SeriesDataset:
        """Rows no later than `time` of their series (time units, shape `(series,)`)."""
        ticks = self.axis.ticks_of(self.keys[str(self.schema.time)])
        elapsed = self.axis.to_units(ticks, self.start[self.series_of_row])
        kept = elapsed <= time[self.series_of_row]
        return self._rebuild(kept, self.ids[np.unique(self.series_of_row[kept])])

    def _rebuild(self, kept: np.ndarray, ids: pd.Index) -> SeriesDataset:
        frame = self.to_frame()[kept]
        dataset = self._build(frame, self.schema, self.axis)
        order = dataset.ids.get_indexer(ids)
        if (order == np.arange(len(order))).all():
            return dataset
        return dataset._reorder(order)

    def _reorder(self, order: np.ndarray) -> SeriesDataset:
        positions, series = self.parts.gather(order)
        inverse = np.argsort(order)
        return replace(
            self,
            ids=self.ids[order],
            row=self.row[positions],
            variable=self.variable[positions],
            time=self.time[positions],
            value=self.value[positions],
            parts=Ragged.of(series, len(order)),
            start=self.start[order],
            series_of_row=inverse[self.series_of_row],
        )

    def index_of(self, ids: pd.Series | Sequence[object]) -> np.ndarray:
        """Position of each identifier.

        Raises:
            SchemaError: naming the first that is not there.
        """
        index = self.ids.get_indexer(pd.Index(ids))
        if (index < 0).any():
            unknown = list(ids)[int((index < 0).argmax())]
            known = ", ".join(repr(i) for i in self.ids[:5])
            raise SchemaError(
                f"series {unknown!r} is not in the history, which has {len(self)}: {known}"
                f"{', ...' if len(self) > 5 else ''}"
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
        """The static columns, a row per series."""
        first = pd.Series(self.series_of_row).drop_duplicates()
        order = np.argsort(first.to_numpy())
        return self.keys[list(self.schema.static)].iloc[first.index.to_numpy()[order]]

    def known_paths(self) -> tuple[np.ndarray, np.ndarray, Ragged]:
        """Times (since `start`), values `(changes, known)` and series of the known-future columns.

        A cell without a value leaves the one before it in force.
        """
        columns = list(self.schema.known)
        table = self.keys[columns].astype(float).reset_index(drop=True)
        ticks = self.axis.ticks_of(self.keys[str(self.schema.time)])
        order = np.lexsort((ticks, self.series_of_row))
        table, series = table.iloc[order], self.series_of_row[order]
        held = table.groupby(series).ffill()
        held = held.groupby(series).bfill()
        missing = held.isna().to_numpy()
        if missing.any():
            at, column = (int(i) for i in np.argwhere(missing)[0])
            raise SchemaError(
                f"series {self.ids[series[at]]!r} has no value of known column "
                f"`{columns[column]}`; give it at least once"
            )
        time = self.axis.to_units(ticks[order], self.start[series])
        return time, held.to_numpy(), Ragged.of(series, len(self))

    def _edge(self, first: bool) -> np.ndarray:
        offsets = self.parts.offsets
        edge = offsets[:-1] if first else offsets[1:] - 1
        result = np.zeros(len(self))
        some = np.diff(offsets) > 0
        result[some] = self.time[edge[some]]
        return result


def _value_columns(schema: Schema) -> list[str]:
    return list(schema.targets or ()) if schema.layout == "wide" else [str(schema.value)]


def _series_codes(frame: pd.DataFrame, schema: Schema) -> tuple[np.ndarray, pd.Index]:
    if schema.id is None:
        return np.zeros(len(frame), dtype=np.int64), pd.Index(["series"])
    codes, ids = pd.factorize(frame[schema.id])
    return codes.astype(np.int64), pd.Index(ids)


def _observed(frame: pd.DataFrame, schema: Schema) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, variable and value of every cell that holds a value."""
    targets = list(schema.targets or ())
    if schema.layout == "wide":
        values = frame[targets].to_numpy(dtype=np.float64, na_value=np.nan)
        row, variable = np.nonzero(~np.isnan(values))
        return row, variable, values[row, variable]
    names = frame[str(schema.variable)].astype(str)
    variable = pd.Index(targets).get_indexer(pd.Index(names))
    values = frame[str(schema.value)].to_numpy(dtype=np.float64, na_value=np.nan)
    row = np.nonzero((variable >= 0) & ~np.isnan(values))[0]
    return row, variable[row], values[row]


def _check_ids(frame: pd.DataFrame, schema: Schema) -> None:
    if schema.id is None:
        return
    column = frame[schema.id]
    missing = (column.isna() | (column.astype(str) == "")).to_numpy()
    if missing.any():
        raise SchemaError(
            f"column `{schema.id}` names no series at {_row_name(column, missing)}; fill it in or "
            "remove that row"
        )


def _check_numeric(column: pd.Series) -> None:
    if not pd.api.types.is_numeric_dtype(column) and column.notna().any():
        refuse_text(column)
    infinite = np.isinf(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if infinite.any():
        raise SchemaError(
            f"column `{column.name}` is infinite at {_row_name(column, infinite)}; correct it, or "
            "leave the cell empty if nothing was observed"
        )


def _merge_duplicates(frame: pd.DataFrame, schema: Schema, policy: str) -> pd.DataFrame:
    keys = [c for c in (schema.id, schema.time) if c is not None]
    if schema.layout == "long":
        keys.append(str(schema.variable))
    twice = frame.duplicated(subset=keys, keep="first").to_numpy()
    if not twice.any():
        return frame
    if policy == "error":
        at = ", ".join(f"{k}={frame[k].iloc[int(twice.argmax())]}" for k in keys)
        raise SchemaError(
            f"{twice.sum()} rows repeat another row's {' and '.join(f'`{k}`' for k in keys)}, first "
            f"{_row_name(frame[keys[0]], twice)} ({at}); remove them, or choose duplicates='mean' or "
            "'last'"
        )
    values = _value_columns(schema)
    how = {c: policy if c in values else "last" for c in frame.columns if c not in keys}
    merged = frame.groupby(keys, sort=False, as_index=False).agg(how)
    return merged[frame.columns]


def _check_static(frame: pd.DataFrame, schema: Schema, codes: np.ndarray) -> None:
    for name in schema.static:
        values = pd.factorize(frame[name], use_na_sentinel=True)[0]
        first = pd.Series(values).groupby(codes).transform("first").to_numpy()
        changed = values != first
        if changed.any():
            raise SchemaError(
                f"static column `{name}` changes within its series at "
                f"{_row_name(frame[name], changed)}; make it constant, or list it under targets"
            )


def _row_name(column: pd.Series, bad: np.ndarray) -> str:
    return f"{column.index.name or 'row'} {column.index[int(np.argmax(bad))]}"
