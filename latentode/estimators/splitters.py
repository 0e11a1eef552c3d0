"""Splitters: cross-validation of forecasters in scikit-learn, by whole series or in time.

`cv=3` would cut a table by rows, so that a series lies on both sides and is forecast from its own
future. These keep series whole, or the future after the past:

    GridSearchCV(LatentODEForecaster("24h"), grid, cv=SeriesKFold(3)).fit(table)
    GridSearchCV(LatentODEForecaster("24h"), grid, cv=RollingOrigin(3)).fit(table)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator

from latentode.data.cells.columns import to_pandas
from latentode.data.tables.reading import read_columns
from latentode.data.tables.schema import Schema
from latentode.data.windows import mix, uniform
from latentode.errors import SchemaError, check_number, check_whole, shown, understood

__all__ = ["RollingOrigin", "SeriesKFold"]


class SeriesKFold(BaseCrossValidator):
    """Folds of whole series: each series is in the test part of one fold.

    Args:
        n_splits: number of folds, at least 2.
        schema: roles of the table's columns; what it leaves open is detected.
        random_state: seed of which series go together.

    Example:
        >>> table = pd.DataFrame({"id": list("aabbcc"), "time": [0, 1] * 3, "x": range(6)})
        >>> [test.tolist() for _, test in SeriesKFold(3).split(table)]
        [[2, 3], [4, 5], [0, 1]]
    """

    def __init__(self, n_splits: int = 5, schema: Schema | None = None, random_state: int = 0) -> None:
        self.n_splits, self.schema, self.random_state = n_splits, schema, random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # type: ignore[override]
        return self.n_splits

    def split(  # type: ignore[override]
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of training and test parts, a fold at a time.

        Args:
            X: a table as `fit` takes it.
            y: of no account, as are `groups`.

        Raises:
            SchemaError: for a table of fewer series than folds.
        """
        check_whole("n_splits", self.n_splits, least=2)
        frame, schema = _read(X, self.schema)[:2]
        if schema.id is None:
            raise SchemaError(
                "SeriesKFold parts series, and this table is one series; take RollingOrigin, or name "
                "the column that tells series apart: Schema(id=...)"
            )
        with understood("the table"):
            owner, names = pd.factorize(frame[schema.id], sort=True)
        if len(names) < self.n_splits:
            raise SchemaError(f"{self.n_splits} folds need as many series; this table has {len(names)}")
        keys = mix(np.arange(len(names)).astype(np.uint64), self.random_state)
        fold = np.argsort(np.argsort(uniform(keys, 0))) % self.n_splits
        for number in range(self.n_splits):
            held = fold[owner] == number
            yield np.nonzero(~held)[0], np.nonzero(held)[0]


class RollingOrigin(BaseCrossValidator):
    """Folds in time: each trains on what came before a time and is tested on what came after it.

    The last `share` of the table's span is cut into `n_splits` stretches of equal length. A fold's test
    part is one of them, of all series; its training part is everything earlier. Of a test part the
    first values are context, since no forecast is asked from before its first observation.

    Args:
        n_splits: number of folds.
        share: of the span that is tested, between 0 and 1.
        schema: roles of the table's columns; what it leaves open is detected.

    Example:
        >>> table = pd.DataFrame({"time": [0.0, 1, 2, 3, 4, 5, 6, 7, 8], "x": range(9)})
        >>> [(len(train), test.tolist()) for train, test in RollingOrigin(2).split(table)]
        [(5, [5, 6]), (7, [7, 8])]
    """

    def __init__(self, n_splits: int = 3, share: float = 0.5, schema: Schema | None = None) -> None:
        self.n_splits, self.share, self.schema = n_splits, share, schema

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # type: ignore[override]
        return self.n_splits

    def split(  # type: ignore[override]
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As for `SeriesKFold`.

        Raises:
            SchemaError: if a part would have no row, or `share` is no share.
        """
        check_whole("n_splits", self.n_splits)
        check_number("share", self.share)
        if not 0 < self.share < 1:
            raise SchemaError(f"share lies between 0 and 1, got {shown(self.share)}")
        _, _, ticks = _read(X, self.schema)
        if self.n_splits > len(ticks):
            raise SchemaError(
                f"this table has {len(ticks)} rows; take fewer folds than {shown(self.n_splits)}"
            )
        elapsed = (ticks - ticks.min()) / max(ticks.max() - ticks.min(), np.finfo(np.float64).tiny)
        edges = np.linspace(1 - self.share, 1, self.n_splits + 1)
        for number, (low, high) in enumerate(pairwise(edges)):
            train, test = elapsed <= low, (elapsed > low) & (elapsed <= high)
            if not train.any() or not test.any():
                raise SchemaError(
                    f"no row lies in the part of the span that fold {number + 1} tests, or before it; "
                    f"take fewer folds than {self.n_splits}, or another share than {self.share}"
                )
            yield np.nonzero(train)[0], np.nonzero(test)[0]


@understood("the table")
def _read(X: Any, schema: Schema | None) -> tuple[pd.DataFrame, Schema, np.ndarray]:
    """A table as a fit reads it, its roles, and when its rows are, in ticks."""
    read = read_columns(to_pandas(X), schema)
    return read.table, read.schema, read.axis.ticks_of(read.table[str(read.schema.time)])
