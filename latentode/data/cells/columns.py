"""Columns of tables: how they are found, named and refused, so that all messages use the same words.

Tables in memory come in here: any frame that narwhals understands becomes one of pandas. Tables of
forecasts have a column for each quantile level, which is named here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, cast

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from narwhals.stable.v2.typing import IntoFrame

from latentode.data.cells.usual_names import ID_NAMES, TIME_NAMES, detect
from latentode.errors import LatentODEError, SchemaError, as_float, check_length, shown, warn

__all__ = [
    "IntoFrame",
    "cell_name",
    "column_of",
    "forecast_column",
    "frame_or_as_is",
    "interval_levels",
    "names_places",
    "number_column",
    "or_fill_down",
    "or_no_row",
    "quantile_levels",
    "quantile_list",
    "quantile_name",
    "row_name",
    "some_names",
    "to_pandas",
    "without_arrow",
]

DIGITS = 15  # so that 0.1 + 0.2 is called 0.3, and no two levels that anybody means share a name
LAST_ROWS, FEW = 0.05, 3  # share or number of rows that notes below a table may be
MERGED = 0.5  # share of cells that are empty, below others, where each stands for several rows
PLACES = ("line", "row")  # what rows of files are counted by


def column_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """One column; pandas would give a frame for a name that occurs twice, which `Schema` refuses."""
    return cast(pd.Series, frame[name])


def names_places(index: pd.Index) -> bool:
    """Whether an index says on which line of which file each row is."""
    return index.nlevels == 2 and index.names[0] == "file" and index.names[1] in PLACES


def row_name(column: pd.Series, bad: np.ndarray) -> str:
    """Names the first bad row by its index label; a frame read from a file counts lines."""
    place = column.index[int(np.argmax(bad))]
    if names_places(column.index):
        return f"{column.index.names[1]} {place[1]} of {place[0]}"
    return f"{column.index.name or 'row'} {place}"


def cell_name(column: pd.Series, bad: np.ndarray, longest: int | None = None) -> str:
    """Names the first bad cell by what it holds, cut off where it is too long, and where."""
    held = column.iloc[int(np.argmax(bad))]
    cell = repr(held.item() if isinstance(held, np.number) else held)
    if longest is not None and len(cell) > longest:
        cell = f"{cell[:longest]}..."
    return f"{cell} at {row_name(column, bad)}"


def or_no_row(bad: np.ndarray) -> str:
    """Further advice where bad cells stand at the end alone, as lines do that are no rows of a table.

    Example:
        >>> or_no_row(np.array([False] * 30 + [True]))
        '; or remove what stands below the table, or in a text file say with comment= how it begins'
    """
    first = int(np.argmax(bad))
    below = len(bad) - first
    if not bad[first:].all() or below > max(FEW, LAST_ROWS * len(bad)) or below >= first:
        return ""
    return "; or remove what stands below the table, or in a text file say with comment= how it begins"


def or_fill_down(column: pd.Series, empty: np.ndarray) -> str:
    """Further advice where most cells are empty but the first, as below merged cells of a spreadsheet.

    Example:
        >>> or_fill_down(pd.Series(["a", "", "b", ""], name="id"), np.array([False, True] * 2))[:55]
        '; or, where a cell is meant for the empty ones below it'
    """
    if empty[0] or empty.mean() < MERGED:
        return ""
    cells = f"frame[{column.name!r}]"
    return (
        "; or, where a cell is meant for the empty ones below it, as merged ones of a spreadsheet are, "
        f"fill these in, with pandas {cells} = {cells}.mask({cells} == '').ffill()"
    )


def some_names(columns: Iterable[object], limit: int = 8) -> str:
    """Column names for a message, not more than one can read."""
    columns = list(columns)
    shown = ", ".join(f"`{c}`" for c in columns[:limit])
    return shown + (f" and {len(columns) - limit} more" if len(columns) > limit else "")


def to_pandas(frame: IntoFrame) -> pd.DataFrame:
    """A frame of pandas as it is; one of Polars, PyArrow, Modin, DuckDB, ... converted.

    What stands in the index becomes a column: levels of a MultiIndex, datetimes, and an index that is
    named as identifiers and times usually are. Several rows of column names become one.

    Args:
        frame: eager or lazy; a lazy one is collected.

    Warns:
        UserWarning: where rows of column names were joined.

    Raises:
        SchemaError: for what is no frame, or one whose conversion lacks a package.

    Example:
        >>> frame = pd.DataFrame({"time": [0, 1], "x": [2.0, 3.0]})
        >>> to_pandas(frame) is frame
        True
    """
    if isinstance(frame, pd.DataFrame):
        return _with_flat_names(_with_index_columns(frame))
    try:
        known = nw.from_native(cast(nw.DataFrame, frame))
    except TypeError as error:
        raise SchemaError(
            f"{type(frame).__name__} is no table; give a frame of pandas, Polars or PyArrow, or any "
            "that narwhals understands; read a file with latentode.read_table"
        ) from error
    eager = known.collect() if isinstance(known, nw.LazyFrame) else known
    try:
        return eager.to_pandas()
    except ImportError as error:
        raise SchemaError(
            f"a frame of {type(frame).__module__.split('.')[0]} becomes one of pandas by way of "
            "pyarrow: pip install latentode[parquet]"
        ) from error


def _with_index_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with what its index says as columns."""
    index = frame.index
    names = [n for n in index.names if n is not None]
    if names_places(index):
        return frame
    if isinstance(index, pd.MultiIndex):
        known = [n for n in names if n not in frame.columns]
    elif isinstance(index, pd.DatetimeIndex | pd.PeriodIndex | pd.TimedeltaIndex):
        known = [n for n in names or ["time"] if n not in frame.columns]
        index = index.rename(known[0]) if known else index
    else:
        usual = detect(map(str, names), (*ID_NAMES, *TIME_NAMES))
        known = [n for n in names if n == usual and n not in frame.columns]
    if not known:
        return frame
    levels = index.to_frame(index=False)[known]
    return pd.concat([levels, frame.reset_index(drop=True)], axis=1)


def _with_flat_names(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with one row of column names."""
    if not isinstance(frame.columns, pd.MultiIndex) and not any(
        isinstance(c, tuple) for c in frame.columns
    ):
        return frame
    parts = [c if isinstance(c, tuple) else (c,) for c in frame.columns]
    flat = ["_".join(str(p) for p in c if str(p)) for c in parts]
    warn(
        f"the {max(map(len, parts))} rows of column names were joined: {some_names(flat, 4)}",
    )
    return frame.set_axis(flat, axis=1)


def without_arrow(column: pd.Series) -> pd.Series:
    """A column whose values PyArrow holds as one of numpy's or pandas' own types."""
    if not isinstance(column.dtype, pd.ArrowDtype):
        return column
    import pyarrow

    kind = column.dtype.pyarrow_dtype
    if pyarrow.types.is_integer(kind) or pyarrow.types.is_boolean(kind):
        return column.astype(cast(Any, "boolean" if column.dtype.kind == "b" else "Int64"))
    if pyarrow.types.is_timestamp(kind) or pyarrow.types.is_duration(kind):
        # Not by way of Python's datetimes, which hold no nanoseconds.
        zone = getattr(kind, "tz", None)
        plain = (
            column.astype(cast(Any, f"{'M' if column.dtype.kind == 'M' else 'm'}8[{kind.unit}]"))
            if zone is None
            else column.astype(pd.DatetimeTZDtype(kind.unit, zone))
        )
        return plain
    if pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind):
        return column.astype(np.float64)
    return column.astype(object).where(column.notna(), None)


def frame_or_as_is(value: Any) -> Any:
    """A frame of any kind as one of pandas; anything else as it is."""
    known = nw.from_native(value, pass_through=True)
    return to_pandas(value) if isinstance(known, nw.DataFrame | nw.LazyFrame) else value


def quantile_name(level: float) -> str:
    """The column of a level between 0 and 1, without an exponent.

    Example:
        >>> quantile_name(0.1), quantile_name(0.1 + 0.2), quantile_name(1e-6)
        ('q0.1', 'q0.3', 'q0.000001')
    """
    return "q" + np.format_float_positional(level, DIGITS, fractional=False, trim="-")


def quantile_levels(columns: Iterable[object]) -> list[float]:
    """Levels of the quantile columns among some, or of a frame, ascending.

    Example:
        >>> quantile_levels(["mean", "q0.9", "q0.1"])
        [0.1, 0.9]
    """
    return sorted(float(str(c)[1:]) for c in columns if str(c).startswith("q0."))


def _as_written(level: Any) -> float:
    """A level as a float, one of fewer bits as the decimal number that it stands for.

    Example:
        >>> _as_written(np.float32(0.1)), _as_written("0.25")
        (0.1, 0.25)
    """
    held = level if isinstance(level, Real | str) else np.asarray(level)[()]
    short = isinstance(held, np.floating) and held.dtype.itemsize < np.dtype(np.float64).itemsize
    return as_float(str(held) if short else held)


def quantile_list(levels: float | Sequence[float | str]) -> list[float]:
    """Levels as numbers; one may have been given bare.

    Raises:
        LatentODEError: for what is no number between 0 and 1.

    Example:
        >>> quantile_list(0.5)
        [0.5]
    """
    given: Any = [levels] if isinstance(levels, Real | str) else levels
    check_length("quantiles", given)
    try:
        numbers = [_as_written(level) for level in given]
    except (TypeError, ValueError) as error:
        said = f"quantiles must be numbers between 0 and 1, got {shown(levels)}"
        raise LatentODEError(said) from error
    for number in numbers:
        if not 0 < number < 1:
            raise LatentODEError(f"a quantile level lies between 0 and 1, got {number}")
    return numbers


def interval_levels(
    level: float | Sequence[float | str], quantiles: float | Sequence[float | str] = ()
) -> list[float]:
    """The ends of central intervals of so many per cent, and further levels, each once, ascending.

    Raises:
        LatentODEError: for what is no number from 1 to below 100: .8 is meant to be 80, as a rule.

    Example:
        >>> interval_levels([50, 80], quantiles=0.5)
        [0.1, 0.25, 0.5, 0.75, 0.9]
    """
    given: Any = [level] if isinstance(level, Real | str) else level
    check_length("levels", given)
    try:
        percents = [_as_written(percent) for percent in given]
    except (TypeError, ValueError) as error:
        raise LatentODEError(f"level must be per cent, such as 80, got {shown(level)}") from error
    ends: set[float] = set(quantile_list(quantiles))
    for percent in percents:
        if not 1 <= percent < 100:
            raise LatentODEError(f"a level is per cent, between 1 and 100, such as 80; got {percent:g}")
        tail = (100 - percent) / 200
        ends |= {round(tail, DIGITS), round(1 - tail, DIGITS)}
    return sorted(ends)


def forecast_column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column that a table of forecasts has to have.

    Raises:
        LatentODEError: if it has not.
    """
    if name not in frame:
        raise LatentODEError(
            f"the forecasts have no column `{name}`; their columns are {some_names(frame.columns)}"
        )
    return column_of(frame, name)


def number_column(frame: pd.DataFrame, name: str, finite: bool = True) -> np.ndarray:
    """A column of numbers of a table of forecasts, shape `(forecasts,)`.

    Args:
        frame: the table.
        name: of the column.
        finite: whether all have to be finite; else what is missing is NaN.

    Raises:
        LatentODEError: for no such column, for what is no number, naming the first row that is not
            finite.
    """
    column = forecast_column(frame, name)
    try:
        if column.dtype.kind in "mM":  # which would become nanoseconds
            raise TypeError
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    except (TypeError, ValueError) as failure:
        raise LatentODEError(
            f"`{name}` of the forecasts holds {column.dtype}, not numbers"
        ) from failure
    for row in np.flatnonzero(~np.isfinite(numbers))[:1] if finite else ():
        raise LatentODEError(
            f"row {row} of the forecasts has no `{name}` that is a finite number; leave out what has "
            "not come true, and point forecasts"
        )
    return numbers
