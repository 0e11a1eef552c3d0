"""Renames: tables as other forecasting packages have them, with the roles that their names mean.

Nothing is renamed in the table: the schema says what is what, and forecasts come back under the same
names. A column without a role there has none here either, unless it is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pandas as pd

from latentode.adapters.handover import Notes, hand_over
from latentode.adapters.sheets import Sheet, Source, open_sheet
from latentode.data.cells.columns import column_of
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError

__all__ = ["from_gluonts", "from_nixtla", "from_prophet"]


def from_nixtla(
    source: Source,
    static_covariates: Source | None = None,
    known_future: Sequence[str] = (),
    duplicates: str = "error",
) -> tuple[pd.DataFrame, Schema]:
    """A table of Nixtla's packages: `unique_id`, `ds`, `y`.

    Args:
        source: table; `unique_id` may be its index, as in older releases.
        static_covariates: table of a row per `unique_id`, `static_df` there.
        known_future: exogenous columns whose future is known, those of `X_df` there.
        duplicates: several rows of one series and time: "error", "mean" or "last".

    Raises:
        SchemaError: naming line and field.

    Example:
        >>> days = ["2024-01-01", "2024-01-03"]
        >>> table = pd.DataFrame({"unique_id": ["a", "a"], "ds": days, "y": [1, 2]})
        >>> frame, schema = from_nixtla(table)
        >>> schema.describe()
        'wide layout; id=unique_id; time=ds; targets=y'
    """
    frame, notes = _renamed(source, "unique_id", "ds", "y", known_future)
    statics: tuple[str, ...] = ()
    if static_covariates is not None:
        sheet = _indexed(open_sheet(static_covariates), "unique_id")
        table = sheet.frame.assign(unique_id=sheet.labels(sheet.need("unique_id")))
        statics = tuple(str(c) for c in table.columns if c != "unique_id")
        if table["unique_id"].duplicated().any():
            raise SchemaError(f"{sheet.name} has several rows of one `unique_id`; leave one of each")
        frame = frame.join(_read_numbers(table).set_index("unique_id"), on="unique_id")
    schema = Schema("unique_id", "ds", ("y",), statics, tuple(known_future), layout="wide")
    return hand_over(frame, schema, notes, duplicates)


def from_gluonts(
    source: Source,
    known_future: Sequence[str] = (),
    static_covariates: Sequence[str] = (),
    duplicates: str = "error",
) -> tuple[pd.DataFrame, Schema]:
    """A long table as `PandasDataset.from_long_dataframe` of GluonTS takes it.

    Args:
        source: table of `item_id`, `timestamp`, `target`.
        known_future: columns of `feat_dynamic_real`.
        static_covariates: columns constant within an item.
        duplicates: several rows of one item and time: "error", "mean" or "last".

    Raises:
        SchemaError: naming line and field.

    Example:
        >>> table = pd.DataFrame({"item_id": [1], "timestamp": ["2024-01-01"], "target": [2.5]})
        >>> from_gluonts(table)[1].targets
        ('target',)
    """
    frame, notes = _renamed(
        source, "item_id", "timestamp", "target", (*known_future, *static_covariates)
    )
    schema = Schema(
        "item_id",
        "timestamp",
        ("target",),
        tuple(static_covariates),
        tuple(known_future),
        layout="wide",
    )
    return hand_over(frame, schema, notes, duplicates)


def from_prophet(
    source: Source, regressors: Sequence[str] = (), duplicates: str = "error"
) -> tuple[pd.DataFrame, Schema]:
    """A table of Prophet: one series of `ds` and `y`.

    Args:
        source: the table.
        regressors: columns that `add_regressor` would name; their future is known.
        duplicates: several rows of one time: "error", "mean" or "last".

    Raises:
        SchemaError: naming line and field.

    Example:
        >>> table = pd.DataFrame({"ds": ["2024-01-01", "2024-01-02"], "y": [9.1, 8.7]})
        >>> from_prophet(table)[1].id is None
        True
    """
    frame, notes = _renamed(source, None, "ds", "y", regressors)
    schema = Schema(None, "ds", ("y",), (), tuple(regressors), layout="wide")
    return hand_over(frame, schema, notes, duplicates)


def _renamed(
    source: Source, id: str | None, time: str, target: str, others: Sequence[str]
) -> tuple[pd.DataFrame, Notes]:
    """The columns with a role, read; those without one are noted."""
    sheet = open_sheet(source)
    sheet = _indexed(sheet, id) if id is not None else sheet
    for name in (time, target, *others, *([id] if id else ())):
        sheet.require(name)
    notes = Notes(sheet.name)
    frame = pd.DataFrame(index=sheet.frame.index)
    if id is not None:
        frame[id] = sheet.labels(id)
    frame[time] = _times(sheet, time)
    frame[target] = sheet.numbers(target)
    for name in others:
        frame[name] = _read_numbers(cast(pd.DataFrame, sheet.frame[[name]]))[name]
    left = [c for c in sheet.frame.columns if c not in frame.columns]
    notes.add(len(left), f"columns without a role left out: {', '.join(map(str, left))}")
    return frame, notes


def _indexed(sheet: Sheet, id: str) -> Sheet:
    """The sheet with its identifier as a column, where it was the index."""
    frame = sheet.frame
    return Sheet(frame.reset_index(), sheet.name) if frame.index.name == id else sheet


def _times(sheet: Sheet, column: str) -> pd.Series:
    """Datetimes, or the whole numbers that may stand in their place."""
    text = sheet.text(column)
    if text.str.fullmatch(r"-?\d{1,7}").all():
        return sheet.numbers(column).astype("int64")
    return sheet.times(column)


def _read_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of text as numbers where all of them are."""
    read = frame.copy()
    for name in frame.columns.difference(["unique_id"]):
        numbers = cast(pd.Series, pd.to_numeric(column_of(frame, name), errors="coerce"))
        cells = column_of(frame, name)
        empty = cells.isna() | (cells.astype(str).str.strip() == "")
        if (numbers.notna() | empty).all():
            read[name] = numbers
    return read
