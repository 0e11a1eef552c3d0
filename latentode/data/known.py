"""Known columns ahead of the last observation: what a question tells of them, and what nobody told.

A known value holds until the next one. Past the last value that a table gives it still holds, which is
a guess like any other, so it is said.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from latentode.data.columns import column_of
from latentode.data.dataset import SeriesDataset
from latentode.data.queries import QueryTimes

__all__ = ["warn_of_untold"]

SHOWN = 3
ROUNDINGS = 4  # a time and a place asked for may be reached by other sums


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
