"""Column reports: what a table's variables, static columns and known-future columns hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentode.data.cells.columns import column_of
from latentode.data.tables.reading import value_columns
from latentode.data.tables.schema import Schema

__all__ = ["FeatureReport", "VariableReport", "feature_reports", "variable_reports"]

SKEWED = 1.0  # moment of the third order of what a transform may straighten


@dataclass(frozen=True)
class VariableReport:
    """One variable.

    Args:
        name: its column, or its name in the long layout.
        count: finite observations.
        share: wide: part of the rows in which it is observed; long: its part of all observations.
        minimum: NaN, as the next two, where nothing finite was observed.
        mean: over its finite observations.
        maximum: likewise.
        infinite: infinite cells; a fit refuses them.
        distinct: different finite values.
        looks_like: "constant", "0/1", "count", "whole", "share", "positive and skewed", "positive" or
            "real", by its finite values; "empty" if it has none.
        gap: the median time between its successive observations of one series, in ticks; NaN where no
            series has two.
    """

    name: str
    count: int
    share: float
    minimum: float
    mean: float
    maximum: float
    infinite: int
    distinct: int = 0
    looks_like: str = "empty"
    gap: float = float("nan")

    @property
    def constant(self) -> bool:
        """Whether several observations are all the same."""
        return self.count > 1 and self.minimum == self.maximum


@dataclass(frozen=True)
class FeatureReport:
    """One static or known-future column.

    Args:
        name: its column.
        role: "static" or "known".
        kind: "number", "boolean" or "text".
        distinct: different values.
        missing: static: series of which no row tells it; known: rows without a value.
        infinite: infinite cells; a fit refuses them.
    """

    name: str
    role: str
    kind: str
    distinct: int
    missing: int
    infinite: int

    @property
    def constant(self) -> bool:
        """Whether all that it tells is the same."""
        return self.distinct == 1

    @property
    def missing_text(self) -> str:
        """What is missing, with its unit."""
        unit = "series" if self.role == "static" else "rows"
        return f"{self.missing} {unit}" if self.missing else "none"


def variable_reports(
    table: pd.DataFrame, schema: Schema, series: np.ndarray, ticks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[VariableReport, ...]]:
    """Describes the targets of a table.

    Args:
        table: of `read_columns`.
        schema: resolved.
        series: of each row.
        ticks: time of each row.

    Returns:
        The variable of each row (0 if wide, -1 for no target), whether the row says something of a
        target, and a report per target.
    """
    targets = list(schema.targets or ())
    order = np.lexsort((ticks, series))
    series, ticks = series[order], ticks[order]
    if schema.layout == "wide":
        variable, observed = np.zeros(len(table), dtype=np.int64), np.zeros(len(table), dtype=bool)
        reports = []
        for name in value_columns(schema):
            value = column_of(table, name).to_numpy(np.float64, na_value=np.nan)
            told = ~np.isnan(value)
            observed |= told
            rows = told[order]
            gap = _median_gap(series[rows], ticks[rows])
            reports.append(_variable(name, value, len(table), gap))
        return variable, observed, tuple(reports)
    codes, names = pd.factorize(column_of(table, str(schema.variable)))
    variable = pd.Index(targets).get_indexer(pd.Index(names).astype(str))[codes]
    value = column_of(table, str(schema.value)).to_numpy(np.float64, na_value=np.nan)
    observed = ~np.isnan(value) & (variable >= 0)
    total = int(observed.sum())
    reports = []
    for i, name in enumerate(targets):
        rows = (variable == i)[order]
        told = rows & observed[order]
        gap = _median_gap(series[told], ticks[told])
        reports.append(_variable(name, value[order][rows], total, gap))
    return variable, observed, tuple(reports)


def feature_reports(
    table: pd.DataFrame, schema: Schema, series: np.ndarray
) -> tuple[FeatureReport, ...]:
    """Describes the static columns, then the known ones.

    Args:
        table: of `read_columns`.
        schema: resolved.
        series: of each row.
    """
    roles = (("static", schema.static_covariates), ("known", schema.known_future))
    return tuple(_feature(column_of(table, c), role, series) for role, names in roles for c in names)


def _feature(column: pd.Series, role: str, series: np.ndarray) -> FeatureReport:
    told, kind, infinite = column.notna().to_numpy(), _kind(column), 0
    missing = int((~told).sum())
    if role == "static":
        missing = len(np.unique(series)) - len(np.unique(series[told]))
    if kind == "number":
        infinite = int(np.isinf(column.to_numpy(np.float64, na_value=np.nan)).sum())
    return FeatureReport(str(column.name), role, kind, column.nunique(), missing, infinite)


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"


def _median_gap(series: np.ndarray, ticks: np.ndarray) -> float:
    """The median time between rows of one series, sorted by series and time; NaN for none."""
    gaps = np.diff(ticks)[np.diff(series) == 0]
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if len(gaps) else float("nan")


def _variable(name: str, value: np.ndarray, total: int, gap: float) -> VariableReport:
    finite = value[np.isfinite(value)]
    count, infinite = len(finite), int(np.isinf(value).sum())
    if not count:
        numbers = (np.nan, np.nan, np.nan)
        return VariableReport(name, 0, 0.0, *numbers, infinite)
    numbers = (float(finite.min()), float(finite.mean()), float(finite.max()))
    distinct = len(pd.unique(finite))
    looks = _looks_like(finite, distinct)
    return VariableReport(name, count, count / max(1, total), *numbers, infinite, distinct, looks, gap)


def _looks_like(value: np.ndarray, distinct: int) -> str:
    """What kind of quantity finite values may be of."""
    low, high = float(value.min()), float(value.max())
    whole = bool((value == np.floor(value)).all())
    if distinct == 1:
        return "constant"
    if whole and low >= 0:
        return "0/1" if high <= 1 else "count"
    if whole:
        return "whole"
    if low >= 0 and high <= 1:
        return "share"
    if low <= 0:
        return "real"
    scaled = (value - value.mean()) / value.std()
    return "positive and skewed" if float((scaled**3).mean()) > SKEWED else "positive"
