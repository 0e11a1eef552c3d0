"""Plain tables: the short way from a table to a dataset, for what a served model is asked most.

A table is plain to a schema that names every column if it is wide, of pandas, with numbers for values
and without covariates, and if nothing in it has to be pointed out or refused. Then `read_columns` would
look for roles and oddities that are not there, which takes it longer than a forecast. What this cannot
read in full it does not read at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.cells.columns import column_of
from latentode.data.cells.number_cells import is_far_code
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.cells.usual_names import CLOCK_NAMES, DATE_NAMES, UNIT_NAMES, every
from latentode.data.dataset import Ragged, SeriesDataset
from latentode.data.tables.cautions import disorder, far_times, summary_rows
from latentode.data.tables.qualifiers import qualifies
from latentode.data.tables.reading import EXACT, LARGEST, series_codes, times_of
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = ["read_arrays", "read_plain"]

NUMBERS = {float, int}
IN_THE_INDEX = (pd.MultiIndex, pd.DatetimeIndex, pd.PeriodIndex, pd.TimedeltaIndex)


def read_plain(frame: object, schema: Schema) -> SeriesDataset | None:
    """What `SeriesDataset.from_frame` makes of a plain table; None where a table is not.

    Args:
        frame: of any kind.
        schema: of any kind.
    """
    if not isinstance(frame, pd.DataFrame) or not _names_all(schema) or not _is_named_by(frame, schema):
        return None
    columns = [column_of(frame, c) for c in schema.targets or ()]
    if not all(isinstance(c.dtype, np.dtype) for c in columns):
        return None
    values = _values([c.to_numpy() for c in columns])
    labels = None if values is None else _series(frame, schema)
    if values is None or labels is None:
        return None
    own = {} if schema.id is None else {schema.id: column_of(frame, schema.id)}
    dtypes = [c.dtype for c in columns]
    return _read(schema, own, column_of(frame, str(schema.time)), dtypes, values, *labels)


def read_arrays(table: Mapping[str, Any], schema: Schema) -> SeriesDataset | None:
    """What `SeriesDataset.from_frame` makes of a plain table of one series; None where it is not.

    Args:
        table: arrays of numpy, lists or tuples by column; the identifier may be given once.
        schema: of any kind.
    """
    if not _names_all(schema) or set(table) != set(schema.columns()):
        return None
    time, columns = table[str(schema.time)], [_array(table[c]) for c in schema.targets or ()]
    if type(time) not in (np.ndarray, list, tuple, pd.DatetimeIndex) or not len(time):
        return None
    arrays = [c for c in columns if c is not None and c.shape == (len(time),)]
    values = _values(arrays) if len(arrays) == len(columns) else None
    if values is None:
        return None
    codes, ids = np.zeros(len(time), dtype=np.int64), pd.Index(["series"])
    own = {}
    if schema.id is not None:
        name = _one_of(table[schema.id], len(time))
        if not _is_name(name):
            return None
        ids = pd.Index([name])
        own = {schema.id: ids[codes]}
    stamps = pd.Series(time, name=schema.time)
    return _read(schema, own, stamps, [c.dtype for c in arrays], values, codes, ids)


def _read(
    schema: Schema,
    own: Mapping[str, pd.Series | pd.Index],
    time: pd.Series,
    dtypes: Sequence[Any],
    values: np.ndarray,
    codes: np.ndarray,
    ids: pd.Index,
) -> SeriesDataset | None:
    """The dataset of values, shape `(rows, variables)`; None where a time is to be looked at.

    Args:
        schema: names every column.
        own: the column of identifiers by its name, if there is one.
        time: the column of times.
        dtypes: of each variable's column.
        values: in order of rows.
        codes: the series of each row.
        ids: of each series.
    """
    try:
        times = _times(time, schema, codes)
    except SchemaError:  # which is said of the whole table, in the order of its checks
        return None
    if times is None:
        return None
    column, schema, axis = times
    ticks = axis.ticks_of(column)
    order = _in_order(codes, ticks)
    if order is None:
        return None
    start = np.full(len(ids), ticks.max(initial=0), dtype=ticks.dtype)
    np.minimum.at(start, codes, ticks)
    place, variable = np.nonzero(~np.isnan(values[order]))
    row = order[place]
    return SeriesDataset(
        schema,
        axis,
        ids,
        pd.DataFrame({**own, str(schema.time): column}),
        dict(zip(schema.targets or (), dtypes, strict=True)),
        row,
        variable,
        axis.to_units(ticks[row], start[codes[row]]),
        values[row, variable],
        Ragged.of(codes[row], len(ids)),
        start,
        codes,
    )


def _in_order(codes: np.ndarray, ticks: np.ndarray) -> np.ndarray | None:
    """The rows by series and time, which they mostly are; None where a series has a time twice."""
    before, after = codes[:-1], codes[1:]
    if ((after > before) | ((after == before) & (ticks[1:] > ticks[:-1]))).all():
        return np.arange(len(codes))
    order = np.lexsort((ticks, codes))
    again = (np.diff(ticks[order]) == 0) & (np.diff(codes[order]) == 0)
    return None if again.any() else order


def _names_all(schema: Schema) -> bool:
    """Whether a schema leaves nothing open, and names no covariates, column of dates or units."""
    named = schema.layout == "wide" and schema.targets is not None and schema.time is not None
    more = schema.date or schema.static_covariates or schema.known_future or schema.units
    return named and not more


def _is_named_by(frame: pd.DataFrame, schema: Schema) -> bool:
    """Whether a table has the columns of a schema, and no other that might have a role."""
    columns, index = list(frame.columns), frame.index
    if isinstance(index, IN_THE_INDEX) or index.name is not None or len(index) == 0:
        return False
    if len(set(columns)) < len(columns) or not all(type(c) is str for c in columns):
        return False
    read = schema.columns()
    if not set(read) <= set(columns):
        return False
    free = [c for c in columns if c not in read and c not in schema.leave_out]
    if any(qualifies(column_of(frame, c)) for c in free):
        return False
    # Beside an identifier that leaves no time twice, labels and numbers without a role have none.
    named = every(free, (*CLOCK_NAMES, *DATE_NAMES, *UNIT_NAMES))
    return not free or (schema.id is not None and not named)


def _values(columns: Sequence[np.ndarray]) -> np.ndarray | None:
    """The values of all variables, shape `(rows, variables)`; None where one is to be looked at."""
    for column in columns:
        if column.dtype.kind not in "fi" or column.dtype.itemsize > 8:
            return None
        if column.dtype.kind == "i" and (np.abs(column.astype(np.float64)) >= EXACT).any():
            return None
    values = np.stack(columns, axis=1, dtype=np.float64)
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)
    if (low < -LARGEST).any() or (high > LARGEST).any():  # or infinite
        return None
    return None if any(is_far_code(edge) for edge in (*low.tolist(), *high.tolist())) else values


def _array(cells: object) -> np.ndarray | None:
    """Cells that are numbers or missing as an array; None where they are to be looked at."""
    if type(cells) is np.ndarray:
        return cells
    if not isinstance(cells, list | tuple):
        return None
    kinds = {type(cell) for cell in cells}
    if not kinds <= {*NUMBERS, type(None)} or not kinds & NUMBERS:
        return None
    return np.array([np.nan if cell is None else cell for cell in cells])


def _one_of(cells: Any, n: int) -> object:
    """What all `n` rows hold, which may be given once; None where they differ."""
    if type(cells) is np.ndarray and cells.dtype == object and cells.ndim == 1:
        cells = cells.tolist()
    if not isinstance(cells, list | tuple):
        return cells
    alike = len(cells) == n and {type(cell) for cell in cells} in ({str}, {int})
    return cells[0] if alike and len(set(cells)) == 1 else None


def _is_name(given: object) -> bool:
    """Whether this is one identifier that nothing has to be said of."""
    return type(given) is int or (type(given) is str and given.strip() != "")


def _series(frame: pd.DataFrame, schema: Schema) -> tuple[np.ndarray, pd.Index] | None:
    """The series of each row and the identifiers; None where one is missing or to be looked at."""
    if schema.id is None:
        return series_codes(frame, schema)
    column = column_of(frame, schema.id)
    if isinstance(column.dtype, pd.ArrowDtype | pd.CategoricalDtype):
        return None
    codes, ids = series_codes(frame, schema)
    names = [str(i).strip() for i in ids]
    if (codes < 0).any() or "" in names or len(set(names)) < len(names):
        return None
    if summary_rows(codes, ids, schema) is not None:
        return None
    return codes, ids


def _times(
    column: pd.Series, schema: Schema, codes: np.ndarray
) -> tuple[pd.Series, Schema, TimeAxis] | None:
    """The times, and what schema and axis are then, as `read_columns` has them; None with a note."""
    read, schema, axis = times_of(column, schema, codes)
    if read.note is not None or far_times(read.column, axis) is not None:
        return None
    if disorder(read.column, axis, codes) is not None:
        return None
    return read.column, schema, axis
