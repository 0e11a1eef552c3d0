"""The border for tables in memory: any frame that narwhals understands becomes one of pandas."""

from __future__ import annotations

from typing import Any, cast

import narwhals.stable.v2 as nw
import pandas as pd
from narwhals.stable.v2.typing import IntoFrame

from latentode.errors import SchemaError

__all__ = ["IntoFrame", "frame_or_as_is", "to_pandas"]


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
            "that narwhals understands; read a file with latentode.data.tables.read_table"
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
