"""Following: a history that grows, row by row, and that forecasts are made from without refitting.

The rows are kept as they came, and read anew with each addition: a forecast from a history that grew is
that from the longer history, exactly, late rows and revised ones included.
"""

from __future__ import annotations

from typing import cast

import pandas as pd

from latentode.data.columns import IntoFrame, to_pandas
from latentode.data.dataset import SeriesDataset
from latentode.data.reading import read_columns
from latentode.errors import SchemaError
from latentode.forecast.fitted import FittedForecaster

__all__ = ["extended"]


def extended(
    fitted: FittedForecaster, history: pd.DataFrame | None, rows: IntoFrame, duplicates: str
) -> tuple[pd.DataFrame, SeriesDataset]:
    """A history with rows added, as a table and as read.

    Args:
        fitted: the model.
        history: what there was, as this returned it; None for nothing.
        rows: new ones of any series, in any order; of one already known, a later row counts as the
            later for `duplicates="last"`.
        duplicates: as for the forecaster.

    Raises:
        SchemaError: for rows that cannot be read, alone or with the history.
    """
    schema = fitted.schema
    fitted.read(rows, duplicates)  # whatever is wrong with them is said of them
    added, _, axis = read_columns(to_pandas(rows), schema)
    if history is None:
        return added, fitted.read(added, duplicates)
    time = str(schema.time)
    if added[time].dtype != history[time].dtype:
        added[time] = _as_before(added[time], history[time], axis.kind)
    table = cast(pd.DataFrame, pd.concat([history, added], ignore_index=True))
    return table, fitted.read(table, duplicates)


def _as_before(new: pd.Series, old: pd.Series, kind: str) -> pd.Series:
    """Times of new rows in the type of those before them: zone and resolution may differ."""
    try:
        if kind == "datetime" and old.dt.tz is not None:
            return new.dt.tz_convert(old.dt.tz)
    except (AttributeError, TypeError) as error:
        raise SchemaError(
            f"column `{new.name}` holds {new.dtype} in the new rows and {old.dtype} before them; give "
            "both the same kind of times, with a zone or without"
        ) from error
    return new
