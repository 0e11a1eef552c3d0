"""Report: what a table holds and how irregular it is, said before any training.

What a fit refuses because somebody must decide on it (repeated rows, infinities) is counted here
rather than raised. What cannot be read at all is raised as everywhere.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data.cells.columns import IntoFrame, column_of, some_names, to_pandas
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.cycles import FoundCycle, describe, find_cycles
from latentode.data.dataset import SeriesDataset
from latentode.data.scaling import Scaling
from latentode.data.tables.column_report import (
    FeatureReport,
    VariableReport,
    feature_reports,
    variable_reports,
)
from latentode.data.tables.duplicates import DUPLICATES, merge_duplicates, other_readings
from latentode.data.tables.left_out import left_out
from latentode.data.tables.reading import (
    read_columns,
    series_codes,
    value_columns,
)
from latentode.data.tables.schema import AUTO, Schema
from latentode.data.tables.transforms import fit_transform
from latentode.errors import SchemaError, understood

__all__ = ["QUANTILES", "FeatureReport", "Report", "VariableReport", "describe_gap", "inspect"]

MOST, MOST_COLUMNS = 20, 12  # names in a line, columns of rows that are shown
ROWS_SHOWN = 5
OF_REPEATED = "of rows that repeat another row's time"
SEARCHED = 1_000_000  # rows of a large table, of whole series, in which cycles are looked for
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclass(frozen=True)
class Report:
    """What `inspect` found.

    Args:
        schema: with every column named.
        axis: what the time column means.
        n_rows: rows of the table.
        n_series: series.
        rows_per_series: fewest, median and most rows of a series.
        variables: each target.
        features: each static and known-future column.
        left_out: columns without a role; in the long layout also variables that are no targets.
        reasons: why each of them is left out.
        first_rows: of the columns that have a role, as they are understood.
        notes: what was found without being told, or has to be pointed out.
        span: first and last time, of the table's own type.
        gaps: quantile -> gap between successive distinct times within a series, a `Timedelta` or a
            number in the time column's own unit; empty if no series has two times.
        duplicates: rows that repeat another row's identifier and time (and variable, if long).
        merged: those of them that the chosen policy merges into others; 0 where it is "error".
        out_of_order: rows earlier than the row before them in their series; a fit sorts them.
        single_row: series of one row.
        unobserved: series without any observation.
        cycles: what is found in the whole table (of over a million rows in a part of its series) where
            the schema says "auto", else None. A fit looks at the series that it trains on, and may
            find less.
    """

    schema: Schema
    axis: TimeAxis
    n_rows: int
    n_series: int
    rows_per_series: tuple[int, float, int]
    variables: tuple[VariableReport, ...]
    features: tuple[FeatureReport, ...]
    left_out: tuple[str, ...]
    span: tuple[Any, Any]
    gaps: dict[float, Any]
    duplicates: int
    merged: int
    out_of_order: int
    single_row: int
    unobserved: int
    cycles: tuple[FoundCycle, ...] | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    first_rows: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)

    @property
    def timezone(self) -> str | None:
        """Name of the zone of the times; None for naive ones and for numbers."""
        return self.axis.timezone

    @property
    def constant(self) -> tuple[str, ...]:
        """Variables and known-future columns that never change."""
        known = (f.name for f in self.features if f.role == "known" and f.constant)
        return (*(v.name for v in self.variables if v.constant), *known)

    @property
    def non_finite(self) -> dict[str, int]:
        """Infinite cells of each column that has any."""
        return {v.name: v.infinite for v in (*self.variables, *self.features) if v.infinite}

    def to_text(self) -> str:
        """The report as lines for people, the tables of columns last."""
        low, middle, high = self.rows_per_series
        zone = self.timezone or ("none (naive times)" if self.axis.kind == "datetime" else "none")
        gaps = [f"{100 * q:.0f} % {describe_gap(g)}" for q, g in self.gaps.items()]
        lines = [
            f"schema         {self.schema.describe()}",
            *(f"note           {note}" for note in self.notes),
            f"left out       {self._left_out()}",
            f"rows           {self.n_rows}",
            f"series         {self.n_series} (rows each: {low} to {high}, median {middle:g})",
            f"variables      {len(self.variables)}",
            f"time           {self.span[0]} to {self.span[1]} ({self.axis.kind})",
            f"time zone      {zone}",
            f"cycles         {self._cycles()}",
            f"gaps           {', '.join(gaps) or 'none: no series has two times'}",
            *self._remarks(),
            "",
            *self._variable_lines(),
            *self._feature_lines(),
            "",
            "first rows, as they are understood:",
            self.first_rows.to_string(index=False, max_cols=MOST_COLUMNS),
        ]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The report as a JSON object; times and gaps are texts."""
        said: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        said |= {"schema": asdict(self.schema), "axis": asdict(self.axis), "constant": self.constant}
        said["variables"] = [
            {**asdict(v), "gap": None if np.isnan(v.gap) else str(duration_of(v.gap, self.axis))}
            for v in self.variables
        ]
        said["features"] = [asdict(f) for f in self.features]
        said["left_out"] = dict(zip(said["left_out"], said.pop("reasons"), strict=True))
        said["gaps"] = {str(q): str(gap) for q, gap in self.gaps.items()}
        said["span"] = [str(t) for t in self.span]
        said["first_rows"] = json.loads(self.first_rows.to_json(orient="records", date_format="iso"))
        said["cycles"] = None if self.cycles is None else [asdict(c) for c in self.cycles]
        return json.dumps(_finite(said), indent=1, default=str)

    def _left_out(self) -> str:
        shown = [f"`{n}` ({w})" for n, w in zip(self.left_out, self.reasons, strict=True)][:MOST]
        more = f" and {len(self.left_out) - MOST} more" if len(self.left_out) > MOST else ""
        return ", ".join(shown) + more or "nothing"

    def _cycles(self) -> str:
        if self.cycles is not None:
            return f"found: {describe(self.cycles)}"
        return ", ".join(map(str, self.schema.periods)) or "none are looked for"

    def _remarks(self) -> list[str]:
        keys = "(series, time, variable)" if self.schema.layout == "long" else "(series, time)"
        repeated = f"{self.duplicates} rows repeat another row's {keys}"
        if self.duplicates and not self.merged:
            told = any(note.startswith(OF_REPEATED) for note in self.notes)
            repeated += ": a note says what they may be; else" if told else ";"
            repeated += " remove them, or say how a fit merges them: duplicates='mean' or 'last' of "
            repeated += "LatentODEForecaster, `latentode fit --duplicates mean` or `last`"
        elif self.merged:
            repeated += f"; {self.merged} merged into others"
        infinite = ", ".join(f"`{name}` {n} cells" for name, n in self.non_finite.items())
        never = [v.name for v in self.variables if v.count == 0]
        return [
            f"duplicates     {repeated if self.duplicates else 'none'}",
            f"out of order   {self.out_of_order} rows (sorted when read)",
            f"one-row series {self.single_row} (kept)",
            f"empty series   {self.unobserved} (kept)",
            f"constant       {some_names(self.constant, 20) or 'none'}",
            f"non-finite     {infinite + '; correct or empty them' if infinite else 'none'}",
            *(
                f"warning        variable `{name}` has no value in any row: a fit refuses it; leave it "
                "out of targets, or check its spelling"
                for name in never
            ),
        ]

    def _variable_lines(self) -> list[str]:
        width = max([8, *(len(v.name) for v in self.variables)])
        share = "% of rows" if self.schema.layout == "wide" else "% of all"
        head = f"{'variable':<{width}} {'count':>9} {share:>9} {'min':>11} {'mean':>11} {'max':>11}"
        lines = [f"{head} {'distinct':>9} {'gap':>9} looks like"]
        for v in self.variables:
            numbers = " ".join(f"{x:>11.5g}" for x in (v.minimum, v.mean, v.maximum))
            gap = "" if np.isnan(v.gap) else describe_gap(duration_of(v.gap, self.axis))
            line = f"{v.name:<{width}} {v.count:>9} {100 * v.share:>9.1f} {numbers}"
            lines.append(f"{line} {v.distinct:>9} {gap:>9} {v.looks_like}")
        return lines

    def _feature_lines(self) -> list[str]:
        if not self.features:
            return []
        width = max([8, *(len(f.name) for f in self.features)])
        lines = ["", f"{'feature':<{width}} {'role':<6} {'kind':<7} {'distinct':>8} {'missing':>11}"]
        for f in self.features:
            lines.append(
                f"{f.name:<{width}} {f.role:<6} {f.kind:<7} {f.distinct:>8} {f.missing_text:>11}"
            )
        return lines


@understood("the table")
def inspect(frame: IntoFrame, schema: Schema | None = None, duplicates: str = "error") -> Report:
    """Describes a table.

    Args:
        frame: wide or long; it is not modified.
        schema: roles of the columns; what it leaves open is detected.
        duplicates: the policy that a fit would be given; here it only decides what `merged` says.

    Raises:
        SchemaError: for what cannot be read: a missing column, text among numbers, no time.

    Example:
        >>> frame = pd.DataFrame({"id": 1, "time": [0, 3, 4], "x": [1.0, None, 2.0]})
        >>> report = inspect(frame)
        >>> report.gaps[0.5], report.variables[0].count
        (2.0, 2)
    """
    if duplicates not in DUPLICATES:
        raise SchemaError(f"duplicates {duplicates!r}: choose from {', '.join(DUPLICATES)}")
    frame = to_pandas(frame)
    read = read_columns(frame, schema)
    table, schema, axis = read.table, read.schema, read.axis
    missed = left_out(frame, schema)
    codes, ids = series_codes(table, schema)
    ticks = axis.ticks_of(column_of(table, str(schema.time)))
    variable, observed, variables = variable_reports(table, schema, codes, ticks)
    order = np.lexsort((variable, ticks, codes))
    repeated = _repeats(codes[order], ticks[order], variable[order])
    repeated = int((repeated & (variable[order] >= 0)).sum())
    otherwise = other_readings(table, schema, frame) if repeated else None
    otherwise = otherwise and f"{OF_REPEATED}: {otherwise}"
    rows = np.bincount(codes, minlength=len(ids))
    # Of a large table, series that lie evenly spread among all.
    searched = codes % max(1, round(len(table) / SEARCHED)) == 0
    return Report(
        schema=schema,
        axis=axis,
        n_rows=len(table),
        n_series=len(ids),
        rows_per_series=(int(rows.min()), float(np.median(rows)), int(rows.max())),
        variables=variables,
        features=feature_reports(table, schema, codes),
        left_out=tuple(one.name for one in missed),
        reasons=tuple(one.why for one in missed),
        notes=read.notes if otherwise is None else (*read.notes, otherwise),
        first_rows=table.head(ROWS_SHOWN),
        span=tuple(axis.restore(np.array([ticks.min(), ticks.max()]))),  # type: ignore[arg-type]
        gaps=_gaps(codes[order], ticks[order], axis),
        duplicates=repeated,
        merged=0 if duplicates == "error" else repeated,
        out_of_order=_out_of_order(codes, ticks),
        single_row=int((rows == 1).sum()),
        unobserved=len(ids) - len(np.unique(codes[observed])),
        cycles=_cycles(table[searched], schema, axis, repeated > 0) if schema.cycles == AUTO else None,
    )


def _cycles(
    table: pd.DataFrame, schema: Schema, axis: TimeAxis, repeated: bool
) -> tuple[FoundCycle, ...]:
    """The cycles of a table as it would be modelled.

    With one value for repeated rows, and none for infinite cells and those beyond a transform's domain.
    """
    columns = {n: column_of(table, n).astype(np.float64) for n in value_columns(schema)}
    infinite = {n: c.where(np.isfinite(c)) for n, c in columns.items() if np.isinf(c).any()}
    finite = table.assign(**infinite)
    if repeated:
        finite = merge_duplicates(finite, schema, "mean")
    if not schema.transforms:
        return find_cycles(SeriesDataset.of_table(finite, schema, axis))
    values = finite.copy(deep=False)
    for name, spec in schema.transforms.items():
        column = name if schema.layout == "wide" else str(schema.value)
        bad = fit_transform(spec, np.zeros(0)).outside(values[column].to_numpy(dtype=np.float64))
        if schema.layout == "long":
            bad &= (values[str(schema.variable)] == name).to_numpy()
        values[column] = values[column].where(~bad)
    dataset = SeriesDataset.of_table(values, schema, axis)
    if not len(dataset.value):
        return ()
    scaled = Scaling.fit(dataset).scale_values(dataset.value, dataset.variable)
    return find_cycles(replace(dataset, value=scaled))


def describe_gap(gap: Any) -> str:
    """A gap in the largest unit that leaves at least one of it: "20 s", "1.5 h", "3 d"."""
    if not isinstance(gap, pd.Timedelta):
        return f"{gap:g}"
    seconds = gap.total_seconds()
    for name, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds * 1e6:.3g} us"


def _repeats(codes: np.ndarray, ticks: np.ndarray, variable: np.ndarray) -> np.ndarray:
    """Mask over sorted rows of those that repeat the one before."""
    same = np.zeros(len(codes), dtype=bool)
    same[1:] = (np.diff(codes) == 0) & (np.diff(ticks) == 0) & (np.diff(variable) == 0)
    return same


def _gaps(codes: np.ndarray, ticks: np.ndarray, axis: TimeAxis) -> dict[float, Any]:
    gaps = np.diff(ticks)[np.diff(codes) == 0]
    gaps = gaps[gaps > 0]
    if len(gaps) == 0:
        return {}
    values = np.quantile(gaps, QUANTILES)
    return {q: duration_of(v, axis) for q, v in zip(QUANTILES, values, strict=True)}


def duration_of(ticks: float, axis: TimeAxis) -> Any:
    """A `Timedelta`, or a number in the time column's own unit."""
    if axis.is_calendar:
        return pd.Timedelta(round(ticks) * np.timedelta64(1, cast(Any, axis.tick)))
    return float(ticks)


def _finite(said: Any) -> Any:
    """The same without NaN and infinities, which JSON has not."""
    if isinstance(said, dict):
        return {k: _finite(v) for k, v in said.items()}
    if isinstance(said, list | tuple):
        return [_finite(v) for v in said]
    return None if isinstance(said, float) and not np.isfinite(said) else said


def _out_of_order(codes: np.ndarray, ticks: np.ndarray) -> int:
    order = np.argsort(codes, kind="stable")
    return int(((np.diff(ticks[order]) < 0) & (np.diff(codes[order]) == 0)).sum())
