"""Columns: the few things that every reader of a table needs, so that messages agree on their words."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import cast

import numpy as np
import pandas as pd

from latentode.errors import SchemaError

__all__ = ["cell_name", "column_of", "detect", "refuse_text", "row_name", "some_names"]


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
