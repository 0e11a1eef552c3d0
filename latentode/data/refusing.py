"""Refusing: observed values that what is said of their variable cannot be true of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from latentode.data.columns import cell_name
from latentode.data.dataset import SeriesDataset
from latentode.errors import SchemaError

__all__ = ["refuse_values"]


def refuse_values(
    dataset: SeriesDataset, variable: int, bad: np.ndarray, what: str, wants: str, fix: str
) -> None:
    """Raises for the first observation that is bad, if any, naming its column, row and value.

    Args:
        dataset: what was read.
        variable: index of the variable.
        bad: of each of its observations, in the dataset's order.
        what: what was said of the variable, such as "likelihood 'poisson'".
        wants: what values that needs.
        fix: what to do.

    Raises:
        SchemaError: unless none is bad.
    """
    if not bad.any():
        return
    schema, name = dataset.schema, dataset.variables[variable]
    place = np.nonzero(dataset.variable == variable)[0][bad]
    first = place[dataset.row[place].argmin()]  # in the table, not in the series' order
    rows = dataset.keys.index[dataset.row[first : first + 1]]
    cell = pd.Series([float(dataset.value[first])], index=rows, dtype=object)
    where = cell_name(cell, np.ones(1, dtype=bool))
    column = f"column `{name}`"
    if schema.layout == "long":
        column = f"column `{schema.value}` (variable `{name}`)"
    raise SchemaError(f"{column}: {where}, but {what} wants {wants}; {fix}")
