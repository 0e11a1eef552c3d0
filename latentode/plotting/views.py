"""Views: what a picture looks at, one series of a table cut at an origin, and the times of a curve.

A curve has so many points that its shortest cycle has `PER_CYCLE` of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.columns import IntoFrame
from latentode.data.dataset import Ragged, SeriesDataset
from latentode.data.queries import At, QueryTimes, times_along
from latentode.data.time_axis import Duration, TimeUnits
from latentode.errors import LatentODEError
from latentode.evaluation.backtest import backtest, backtest_pairs
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.smoothing import forecast_at
from latentode.plotting.phase import Forecaster

__all__ = [
    "BACK",
    "answer_at",
    "backtest_of",
    "drawn_since",
    "moment_of",
    "name_of",
    "observed",
    "one_series",
    "points_of",
    "seen_by",
    "times_ahead",
]

PER_CYCLE, LEAST, MOST = 24, 120, 2000  # points of a curve
BACK = 3.0  # horizons of history that are drawn, by default
FEWEST = 30  # observations that are drawn at least, if there are so many


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
    fitted, dataset = forecaster.fitted_, forecaster.read(table)
    index = 0 if series is None else int(dataset.index_of([series])[0])
    span = fitted.horizon if ahead is None else fitted.reader.axis.duration(ahead, "ahead")
    return fitted, dataset.select([index]), TimeUnits(span)


def name_of(one: SeriesDataset) -> str:
    """The identifier of one series for a title; nothing where a table is a single series."""
    return "" if one.schema.id is None else str(one.ids[0])


def moment_of(one: SeriesDataset, origin: Any) -> float:
    """A time of one series in time units since its start; its last observation by default."""
    if origin is None:
        return float(one.last[0])
    ticks = one.axis.query_ticks(one.axis.parse(pd.Series([origin]), "origin"))
    moment = float(one.axis.to_units(ticks, one.start[0])[0])
    if moment < one.first[0]:
        raise LatentODEError(
            f"origin={origin!r} lies before the first observation of series {one.name(0)!r}; "
            "a forecast needs something observed before it"
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
    times = np.unique(seen.time)
    return min(last - BACK * fitted.horizon, float(times[max(0, len(times) - FEWEST)]))


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
    fitted, dataset = forecaster.fitted_, forecaster.read(table)
    pairs = backtest_pairs(fitted, dataset, horizon, origins, cutoffs)
    if not len(pairs.actual):
        raise LatentODEError("no series has two times within a horizon: there is nothing to draw")
    return backtest(fitted, dataset, pairs, [float(q) for q in levels])
