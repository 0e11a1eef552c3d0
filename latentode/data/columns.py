"""Columns: the few things that every reader of a table needs, so that messages agree on their words.

The border for tables in memory: any frame that narwhals understands becomes one of pandas.

Refusing: observed values that what is said of their variable cannot be true of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, cast

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from narwhals.stable.v2.typing import IntoFrame

from latentode.errors import SchemaError

__all__ = [
    "IntoFrame",
    "cell_name",
    "column_of",
    "detect",
    "frame_or_as_is",
    "refuse_text",
    "row_name",
    "some_names",
    "to_pandas",
]


def column_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """One column; pandas would give a frame for a name that occurs twice, which `Schema` refuses."""
    return cast(pd.Series, frame[name])


def row_name(column: pd.Series, bad: np.ndarray) -> str:
    """Names the first bad row by its index label; a frame read from a file counts lines."""
    return f"{column.index.name or 'row'} {column.index[int(np.argmax(bad))]}"


def cell_name(column: pd.Series, bad: np.ndarray) -> str:
    """Names the first bad cell by what it holds and where."""
    return f"{column.iloc[int(np.argmax(bad))]!r} at {row_name(column, bad)}"


def detect(
    columns: Iterable[str], names: Iterable[str], taken: Collection[str | None] = ()
) -> str | None:
    """The first of the usual `names`, in any case, among `columns` that have no role yet."""
    lowered = {str(c).lower(): c for c in reversed(list(columns)) if c not in taken}
    return next((lowered[n] for n in names if n in lowered), None)


def some_names(columns: Iterable[object], limit: int = 8) -> str:
    """Column names for a message, not more than one can read."""
    columns = list(columns)
    shown = ", ".join(f"`{c}`" for c in columns[:limit])
    return shown + (f" and {len(columns) - limit} more" if len(columns) > limit else "")


def refuse_text(column: pd.Series) -> None:
    """Raises the error for the first cell of a numeric column that is not a number."""
    name, where = column.name, f"leave `{column.name}` out of targets"
    if pd.api.types.is_datetime64_any_dtype(column) or column.dtype.kind == "m":
        raise SchemaError(
            f"column `{name}` has dtype {column.dtype}: it holds times, not numbers; {where}, or "
            "convert it to numbers"
        )
    numbers = cast(pd.Series, pd.to_numeric(column.astype(object), errors="coerce"))
    bad = (numbers.isna() & column.notna()).to_numpy()
    if not bad.any():
        raise SchemaError(
            f"column `{name}` has dtype {column.dtype}: it holds numbers written as text; convert it "
            f"with pandas.to_numeric, or {where}"
        )
    raise SchemaError(
        f"column `{name}` has dtype {column.dtype}: {cell_name(column, bad)} "
        f"is not a number. Correct it, name it in na_values when reading the "
        f"file, or {where}"
    )


def to_pandas(frame: IntoFrame) -> pd.DataFrame:
    """A frame of pandas as it is; one of Polars, PyArrow, Modin, DuckDB, ... converted.

    Args:
        frame: eager or lazy; a lazy one is collected.

    Raises:
        SchemaError: for what is no frame, or one whose conversion lacks a package.

    Example:
        >>> frame = pd.DataFrame({"time": [0, 1], "x": [2.0, 3.0]})
        >>> to_pandas(frame) is frame
        True
    """
    if isinstance(frame, pd.DataFrame):
        return frame
    try:
        known = nw.from_native(cast(nw.DataFrame, frame))
    except TypeError as error:
        raise SchemaError(
            f"{type(frame).__name__} is no table; give a frame of pandas, Polars or PyArrow, or any "
            "that narwhals understands; read a file with latentode.data.files.read_table"
        ) from error
    eager = known.collect() if isinstance(known, nw.LazyFrame) else known
    try:
        return eager.to_pandas()
    except ImportError as error:
        raise SchemaError(
            f"a frame of {type(frame).__module__.split('.')[0]} becomes one of pandas by way of "
            "pyarrow: pip install latentode[parquet]"
        ) from error


def frame_or_as_is(value: Any) -> Any:
    """A frame of any kind as one of pandas; anything else as it is."""
    known = nw.from_native(value, pass_through=True)
    return to_pandas(value) if isinstance(known, nw.DataFrame | nw.LazyFrame) else value
