"""Known columns ahead of the last observation: what a question tells of them, and what nobody told.

A known value holds until the next one. Past the last value that a table gives it still holds, which is
a guess like any other, so it is said.
"""

from __future__ import annotations

import warnings
from typing import cast

import numpy as np
import pandas as pd

from latentode.data.columns import column_of
from latentode.data.dataset import SeriesDataset
from latentode.data.frames import IntoFrame
from latentode.data.queries import At, QueryTimes, query_times
from latentode.data.reading import read_columns

__all__ = ["tell", "warn_of_untold"]

SHOWN = 3
ROUNDINGS = 4  # a time and a place asked for may be reached by other sums


def tell(history: IntoFrame, dataset: SeriesDataset, at: At) -> pd.DataFrame | None:
    """The history and, below it, the rows of a question that say something of known columns.

    Args:
        history: a table.
        dataset: the same, read.
        at: a question about it.

    Returns:
        A table to read instead; None where the question says nothing of them.
    """
    schema = dataset.schema
    told = [c for c in schema.known if isinstance(at, pd.DataFrame) and c in at.columns]
    if not told:
        return None
    asked = cast(pd.DataFrame, at)
    places = query_times(dataset, asked)
    ticks = dataset.axis.query_ticks(places.keys[str(schema.time)])
    there = pd.MultiIndex.from_arrays([dataset.series_of_row, dataset.row_ticks])
    new = ~pd.MultiIndex.from_arrays([places.series, ticks]).isin(there)
    statics = dataset.static_frame().iloc[places.series].reset_index(drop=True)
    values = asked[told].reset_index(drop=True)
    added = pd.concat([places.keys, statics, values], axis=1)[new].drop_duplicates()
    if schema.layout == "long":
        added[str(schema.variable)] = dataset.variables[0]
    table, _, _ = read_columns(history, schema)
    return pd.concat([table, added], ignore_index=True)


def warn_of_untold(history: SeriesDataset, places: QueryTimes, stacklevel: int = 2) -> None:
    """Warns of known columns that say nothing up to the times that are asked for.

    Args:
        history: with the rows that a question adds.
        places: what is asked.
        stacklevel: as for `warnings.warn`.
    """
    for name in history.schema.known:
        last = _last_told(history, name)[places.series]
        slack = ROUNDINGS * np.finfo(np.float64).eps * np.maximum(np.abs(last), np.abs(places.time))
        untold = history.ids[np.unique(places.series[places.time > last + slack])]
        if len(untold):
            more = f" and {len(untold) - SHOWN} more" if len(untold) > SHOWN else ""
            warnings.warn(
                f"known column `{name}` has no values up to the times asked of series "
                f"{', '.join(repr(i) for i in untold[:SHOWN])}{more}; its last value is held there. "
                f"Give `{name}` at those times: as a column of the queries, or in rows of the history",
                stacklevel=stacklevel + 1,
            )


def _last_told(history: SeriesDataset, name: str) -> np.ndarray:
    """When each series last tells a value, in time units; -inf where it never does."""
    told = column_of(history.keys, name).notna().to_numpy()
    series = history.series_of_row[told]
    time = history.axis.to_units(history.row_ticks[told], history.start[series])
    return pd.Series(time).groupby(series).max().reindex(range(len(history))).fillna(-np.inf).to_numpy()
