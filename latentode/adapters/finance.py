r"""Finance: bars, quotes and macro series, each value at the time at which it was known; logarithms.

Log prices and log returns, and back.

Prices move by factors: $\log p$ moves by sums, whose spread does not grow with the level. A return
since the observation before, $r_i = \log p_i - \log p_{i-1}$, adds up again:
$p_i = p_0 \exp(\sum_{j \le i} r_j)$. If $\log p \sim N(\mu, \sigma^2)$, then
$E[p] = \exp(\mu + \sigma^2/2)$ and quantiles map by exp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.adapters.macro import Available, macro
from latentode.adapters.prices import bars, quotes
from latentode.data.columns import cell_name, column_of
from latentode.data.reading import series_codes
from latentode.data.schema import Schema
from latentode.errors import SchemaError

__all__ = [
    "Available",
    "bars",
    "from_log_prices",
    "from_log_returns",
    "log_prices",
    "log_returns",
    "macro",
    "quotes",
]


def log_prices(
    frame: pd.DataFrame, schema: Schema, variables: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Schema]:
    """The table with logarithms in place of prices; names stay.

    Args:
        frame: wide or long.
        schema: its own, with targets named.
        variables: which targets; all by default.

    Raises:
        SchemaError: for a price that is not above 0, by its row.

    Example:
        >>> table = pd.DataFrame({"time": [0, 3], "close": [1.0, np.e]})
        >>> schema = Schema(time="time", targets=("close",), layout="wide")
        >>> log_prices(table, schema)[0]["close"].tolist()
        [0.0, 1.0]
    """
    result = frame.copy()
    for column, rows in _cells(frame, schema, variables):
        result.loc[rows, column] = np.log(_positive(frame, column, rows))
    return result, schema


def from_log_prices(answer: pd.DataFrame, variables: Sequence[str] | None = None) -> pd.DataFrame:
    """A frame of forecasts (`predict`, `backtest`) of log prices as one of prices.

    Quantiles and actual values are exact for any likelihood; mean and standard deviation are those of
    a log-normal distribution, exact for the normal likelihood.

    Args:
        answer: with `variable`, and `mean`, `std`, `q...`, `actual` as far as they are there.
        variables: whose values are logarithms; all by default.

    Example:
        >>> answer = pd.DataFrame({"variable": ["close"], "mean": [0.0], "std": [0.1], "q0.5": [0.0]})
        >>> from_log_prices(answer).round(4).to_dict("records")
        [{'variable': 'close', 'mean': 1.005, 'std': 0.1008, 'q0.5': 1.0}]
    """
    result = answer.copy()
    rows = _chosen(column_of(answer, "variable"), variables)
    exact = [c for c in answer.columns if c == "actual" or _is_quantile(str(c))]
    for column in exact:
        result.loc[rows, column] = np.exp(column_of(answer, column)[rows])
    if "mean" in answer.columns:
        variance = column_of(answer, "std")[rows] ** 2 if "std" in answer.columns else 0.0
        mean = np.exp(column_of(answer, "mean")[rows] + variance / 2)
        result.loc[rows, "mean"] = mean
        if "std" in answer.columns:
            result.loc[rows, "std"] = mean * np.sqrt(np.expm1(variance))
    return result


def log_returns(
    frame: pd.DataFrame, schema: Schema, variables: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Schema]:
    """The table with returns since the observation before in place of prices; names stay.

    The first of each series has none and is left empty. A return stands at the later of its two times;
    over a weekend it spans three days, as it did.

    Args:
        frame: wide or long, rows in any order.
        schema: its own, with targets named.
        variables: which targets; all by default.

    Raises:
        SchemaError: for a price that is not above 0, by its row.

    Example:
        >>> table = pd.DataFrame({"time": [0, 1, 3], "close": [100.0, 110.0, 99.0]})
        >>> schema = Schema(time="time", targets=("close",), layout="wide")
        >>> log_returns(table, schema)[0]["close"].round(4).tolist()
        [nan, 0.0953, -0.1054]
    """
    result = frame.copy()
    for column, rows in _cells(frame, schema, variables):
        logs = cast(pd.Series, np.log(_positive(frame, column, rows))).dropna()
        result.loc[rows, column] = _steps(frame, schema, logs)
    return result, schema


def from_log_returns(
    frame: pd.DataFrame,
    schema: Schema,
    start: float | Mapping[Any, float],
    variables: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Prices from returns in a table: observed ones, or a path of them, not quantiles.

    Args:
        frame: as `log_returns` made it; what is empty in it stays empty, the first of a series too.
        schema: its own.
        start: the price from which the returns lead on, or by series (by variable, if long without
            identifiers).
        variables: which targets; all by default.

    Example:
        >>> table = pd.DataFrame({"time": [0, 1, 3], "close": [np.nan, np.log(1.1), np.log(0.9)]})
        >>> schema = Schema(time="time", targets=("close",), layout="wide")
        >>> from_log_returns(table, schema, start=100.0)["close"].round(6).tolist()
        [nan, 110.0, 99.0]
    """
    result = frame.copy()
    for column, rows in _cells(frame, schema, variables):
        returns = column_of(frame, column)[rows]
        order = column_of(frame, str(schema.time))[rows].sort_values(kind="stable").index
        group = _groups(frame, schema).loc[order]
        sums = returns.loc[order].groupby(group).cumsum()
        begin = group.map(start) if isinstance(start, Mapping) else start
        result.loc[order, column] = begin * np.exp(sums)
    return result


def _cells(
    frame: pd.DataFrame, schema: Schema, variables: Sequence[str] | None
) -> list[tuple[str, pd.Series]]:
    """Column and mask of rows of each variable to transform."""
    schema = schema.resolve(frame)
    if not frame.index.is_unique:
        raise SchemaError("the table's index has a label twice; call reset_index(drop=True) on it")
    strange = [v for v in variables or () if v not in (schema.targets or ())]
    if strange:
        raise SchemaError(f"variable `{strange[0]}` is no target of the schema; correct its name")
    chosen = tuple(variables or schema.targets or ())
    every = pd.Series(True, index=frame.index)
    if schema.layout == "wide":
        return [(name, every) for name in chosen]
    names = column_of(frame, str(schema.variable)).astype(str)
    return [(str(schema.value), names == name) for name in chosen]


def _positive(frame: pd.DataFrame, column: str, rows: pd.Series) -> pd.Series:
    prices = column_of(frame, column)[rows].astype(np.float64)
    bad = (prices <= 0).to_numpy()
    if bad.any():
        raise SchemaError(
            f"column `{column}`: {cell_name(prices.astype(object), bad)} is not above 0 and has no "
            "logarithm; leave it out, or model the price itself"
        )
    return prices


def _steps(frame: pd.DataFrame, schema: Schema, values: pd.Series) -> pd.Series:
    """Differences along the time of each series."""
    times = column_of(frame, str(schema.time)).loc[values.index]
    order = times.sort_values(kind="stable").index
    return values.loc[order].groupby(_groups(frame, schema).loc[order]).diff()


def _groups(frame: pd.DataFrame, schema: Schema) -> pd.Series:
    if schema.id is None and schema.layout == "long":
        return column_of(frame, str(schema.variable))
    codes, ids = series_codes(frame, schema)
    return pd.Series(np.asarray(ids)[codes], index=frame.index)


def _chosen(names: pd.Series, variables: Sequence[str] | None) -> pd.Series:
    return names.notna() if variables is None else names.isin(list(variables))


def _is_quantile(name: str) -> bool:
    return name.startswith("q") and name[1:].replace(".", "", 1).isdigit()
