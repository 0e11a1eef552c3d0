"""Views: what a picture looks at, one series of a table cut at an origin, and the times of a curve.

What a picture is asked for comes in here by the name of its argument, and an error names it. A curve
has so many points that its shortest cycle has `PER_CYCLE` of them.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.cells.columns import IntoFrame, to_pandas
from latentode.data.cells.time_axis import Duration, TimeUnits
from latentode.data.dataset import Ragged, SeriesDataset
from latentode.data.queries import At, QueryTimes, listed, times_along, with_known_values
from latentode.errors import LatentODEError, check_number, check_whole, understood
from latentode.evaluation.backtest import backtest, backtest_pairs
from latentode.evaluation.metrics import metric_list
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import chosen_variables
from latentode.forecast.smoothing import forecast_at
from latentode.plotting.phase import Forecaster, fitted_of

__all__ = [
    "AS_GIVEN",
    "BACK",
    "another_future",
    "answer_at",
    "backtest_of",
    "blamed",
    "drawn_since",
    "moment_of",
    "name_of",
    "observed",
    "one_series",
    "points_of",
    "read_argument",
    "seen_by",
    "times_ahead",
]

PER_CYCLE, LEAST, MOST = 24, 120, 2000  # points of a curve
BACK = 3.0  # horizons of history that are drawn, by default
FEWEST = 30  # observations that are drawn at least, if there are so many
AS_GIVEN = "as given"  # the future that the table itself gives


def read_argument(fitted: FittedForecaster, name: str, value: Any) -> Any:
    """An argument of a picture as its kind takes it.

    Args:
        fitted: the model that is drawn.
        name: of the argument.
        value: as the user gives it.

    Raises:
        LatentODEError: naming the argument, for a value that it cannot have.
    """
    with understood(name):
        return _ARGUMENTS[name](fitted, name, value)


@contextmanager
def blamed(name: str) -> Iterator[None]:
    """Names the argument that an error inside comes from."""
    try:
        with understood(name):
            yield
    except LatentODEError as error:
        if str(error).startswith(name):
            raise
        raise LatentODEError(f"{name}: {error}") from error


def _duration(fitted: FittedForecaster, name: str, value: Any) -> TimeUnits:
    if isinstance(value, bool):
        raise LatentODEError(f"{name} must be a duration, got {value!r}")
    return fitted.reader.axis.duration(value, name)


def _whole(least: int) -> Callable[[FittedForecaster, str, Any], int]:
    def read(fitted: FittedForecaster, name: str, value: Any) -> int:
        check_whole(name, value, least)
        return int(value)

    return read


def _number(fitted: FittedForecaster, name: str, value: Any) -> float:
    check_number(name, value)
    return float(value)


def _label(fitted: FittedForecaster, name: str, value: Any) -> Any:
    if pd.api.types.is_list_like(value):
        raise LatentODEError(f"{name} names one series, got {value!r}; draw several one after another")
    return value


def _one_time(fitted: FittedForecaster, name: str, value: Any) -> Any:
    if pd.api.types.is_list_like(value):
        raise LatentODEError(f"{name} is one time, got {value!r}")
    fitted.reader.axis.parse(pd.Series([value]), name)
    return value


def _times(fitted: FittedForecaster, name: str, value: Any) -> At:
    times = [value] if isinstance(value, float | int | dt.timedelta) else listed(value, name)
    fitted.reader.axis.parse(pd.Series(times), name)
    return value


def _variable(fitted: FittedForecaster, name: str, value: Any) -> str:
    with blamed(name):
        chosen_variables(fitted.reader.schema, [value])
    return value


def _metric(fitted: FittedForecaster, name: str, value: Any) -> str:
    with blamed(name):
        if not isinstance(value, str):
            raise LatentODEError(f"{name} is one name, got {value!r}")
        metric_list(value)
    return value


def _switch(fitted: FittedForecaster, name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise LatentODEError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _tables(fitted: FittedForecaster, name: str, value: Any) -> Mapping[str, IntoFrame]:
    advice = f"give a table for each name: {name}={{'half the dose': table}}"
    if not isinstance(value, Mapping) or not value:
        raise LatentODEError(f"{name} must be tables by name, got {type(value).__name__}; {advice}")
    for one in value:
        if not isinstance(one, str) or one == AS_GIVEN:
            raise LatentODEError(f"{name} calls a table {one!r}; call it by another text; {advice}")
    return value


_ARGUMENTS: Mapping[str, Callable[[FittedForecaster, str, Any], Any]] = {
    **dict.fromkeys(("ahead", "back", "horizon"), _duration),
    **dict.fromkeys(("bins", "draws", "most", "origins"), _whole(1)),
    **dict.fromkeys(("above", "below", "level"), _number),
    "count": _whole(2),
    "components": _switch,
    "cutoffs": _times,
    "metric": _metric,
    "origin": _one_time,
    "others": _tables,
    "series": _label,
    "variable": _variable,
}


def points_of(fitted: FittedForecaster, span: float) -> int:
    """How many points a curve over `span` (time units) has, so that no cycle of it is aliased."""
    axis, schema = fitted.reader.axis, fitted.reader.schema
    cycles = [axis.duration(c, "cycles") for c in schema.periods]
    wanted = math.ceil(PER_CYCLE * span / min(cycles)) if cycles else LEAST
    return int(np.clip(wanted, LEAST, MOST))


def one_series(
    forecaster: Forecaster, table: IntoFrame, series: Any, ahead: Duration | None
) -> tuple[FittedForecaster, SeriesDataset, TimeUnits]:
    """The fitted model, one series of a table, and how far ahead is drawn, in time units."""
    fitted, dataset = fitted_of(forecaster), forecaster.read(table)
    span = fitted.horizon if ahead is None else fitted.reader.axis.duration(ahead, "ahead")
    return fitted, _picked(dataset, series), TimeUnits(span)


def _picked(dataset: SeriesDataset, series: Any) -> SeriesDataset:
    """One series of a table, the first by default."""
    if series is None:
        return dataset.select([0])
    with blamed("series"):
        return dataset.select([int(dataset.index_of([series])[0])])


def another_future(
    forecaster: Forecaster, table: IntoFrame, other: IntoFrame, series: Any
) -> SeriesDataset:
    """One series as another table has it: its history and another known future.

    A table in which nothing is observed is taken as what `predict` takes as `at`: known-future values
    that take the place of those of the history, from the rows of which there are.

    Args:
        forecaster: fitted.
        table: the history, with its own known future.
        other: the other table.
        series: which one; None where a table is one series.

    Raises:
        LatentODEError: for a table that cannot be read, or has neither history nor known values.
    """
    schema, frame = fitted_of(forecaster).reader.schema, to_pandas(other)
    values = (schema.targets or ()) if schema.layout == "wide" else (str(schema.value),)
    if not any(name in frame.columns and frame[name].notna().any() for name in values):
        known = frame.drop(columns=[*values], errors="ignore")
        told = with_known_values(table, forecaster.read(table), known)
        if told is None:
            raise LatentODEError(
                "it has neither a history nor another known future; give the history with other values "
                f"of {' or '.join(schema.known_future)} after it, or rows with these alone"
            )
        frame = told
    return _picked(forecaster.read(frame), series)


def name_of(one: SeriesDataset) -> str:
    """The identifier of one series for a title; nothing where a table is a single series."""
    return "" if one.schema.id is None else str(one.ids[0])


def moment_of(one: SeriesDataset, origin: Any) -> float:
    """A time of one series in time units since its start; its last observation by default."""
    if origin is None:
        return float(one.last[0])
    with understood("origin"):
        ticks = one.axis.query_ticks(one.axis.parse(pd.Series([origin]), "origin"))
    moment = float(one.axis.to_units(ticks, one.start[0])[0])
    if moment < one.first[0]:
        raise LatentODEError(
            f"origin={origin!r} lies before the first observation of series {one.name(0)!r}; "
            "a forecast needs something observed before it"
        )
    if moment > one.last[0]:
        raise LatentODEError(
            f"origin={origin!r} lies after the last observation of series {one.name(0)!r}; leave it "
            "out to forecast from there, and say with horizon= how far ahead to draw"
        )
    return moment


def seen_by(one: SeriesDataset, moment: float) -> SeriesDataset:
    """What was observed by a moment, together with every known-future row."""
    kept = one.time <= moment
    own = replace(one, row=one.row[kept], variable=one.variable[kept], time=one.time[kept])
    return replace(own, value=one.value[kept], parts=Ragged.of(one.series[kept], len(one)))


def times_ahead(
    fitted: FittedForecaster, seen: SeriesDataset, span: float, count: int | None
) -> QueryTimes:
    """Times from the forecast origin on, as many as a curve needs."""
    n = points_of(fitted, span) if count is None else count
    return times_along(seen, span, n, since=seen.last)


def answer_at(
    fitted: FittedForecaster, seen: SeriesDataset, places: QueryTimes, parts: bool = False
) -> Forecast:
    """The forecast of every variable at places in time, with its components if they are asked for."""
    chosen = np.arange(len(seen.variables))
    return forecast_at(fitted, seen, places, chosen, smooth=False, parts=parts)


def drawn_since(fitted: FittedForecaster, seen: SeriesDataset, back: Duration | None) -> float:
    """From when on history is drawn: three horizons, and enough observations to see it."""
    last = float(seen.last[0])
    if back is not None:
        return last - fitted.reader.axis.duration(back, "back")
    times = np.unique(seen.time)[-FEWEST:]
    return float(times[:1].min(initial=last - BACK * fitted.horizon))


def observed(one: SeriesDataset, kept: np.ndarray) -> pd.DataFrame:
    """Observations of one series, long."""
    time = str(one.schema.time)
    stamps = one.keys[time].iloc[one.row[kept]].reset_index(drop=True)
    names = np.asarray(one.variables, dtype=object)[one.variable[kept]]
    return pd.DataFrame({time: stamps, "variable": names, "value": one.value[kept]})


def backtest_of(
    forecaster: Forecaster,
    table: IntoFrame,
    levels: Sequence[float],
    horizon: Duration | None,
    origins: int | None,
    cutoffs: At | None,
) -> pd.DataFrame:
    fitted, dataset = fitted_of(forecaster), forecaster.read(table)
    pairs = backtest_pairs(fitted, dataset, horizon, origins, cutoffs)
    if not len(pairs.actual):
        raise LatentODEError("no series has two times within a horizon: there is nothing to draw")
    return backtest(fitted, dataset, pairs, [float(q) for q in levels])
