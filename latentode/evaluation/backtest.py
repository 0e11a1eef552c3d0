"""Pairs of a forecast origin and an observation after it: what a rolling evaluation asks.

Rolling evaluation: observations asked from earlier times of their series.

Every pair of an origin and an observation up to a horizon later is asked: from all times of a series,
from so many of them, evenly spread over those that have something to ask for, or from given cutoffs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from latentode.data.dataset import SeriesDataset
from latentode.data.queries import At, listed
from latentode.data.time_axis import Duration
from latentode.errors import LatentODEError, SchemaError
from latentode.evaluation.baselines import Baseline, LastValue
from latentode.evaluation.metrics import summarise
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import ForecastQueries

__all__ = [
    "ORIGINS",
    "BacktestPairs",
    "at_leads",
    "backtest",
    "bin_leads",
    "compare",
    "figures",
    "observed_after",
    "observed_ahead",
    "skill",
]

ROUNDINGS = 4  # a time, an origin, the horizon and their sum are each rounded once


class BacktestPairs(NamedTuple):
    """Observations, each asked from an origin earlier in its series.

    Args:
        asked: the queries.
        actual: what was observed, shape `(queries,)`.
        keys: identifier, `origin`, time, `lead` (time units), `variable` of each.
    """

    asked: ForecastQueries
    actual: np.ndarray
    keys: pd.DataFrame


def observed_ahead(dataset: SeriesDataset, horizon: float, origins: int | None = None) -> BacktestPairs:
    """Pairs each observation with the times of its series up to `horizon` before it.

    Args:
        dataset: series.
        horizon: in time units.
        origins: most times per series to ask from, evenly spread over those with an observation
            within the horizon; None asks from all.

    Raises:
        LatentODEError: for fewer than one origin.
    """
    if origins is not None and origins < 1:
        raise LatentODEError(f"origins must be at least 1, or None for all of them; got {origins!r}")
    series, time = dataset.series, dataset.time
    events = pd.DataFrame({"series": series, "time": time}).drop_duplicates()
    origin_series, origin = events["series"].to_numpy(), events["time"].to_numpy()
    upto = _upto(dataset, origin_series, origin, horizon)
    begin = _first_after(series, time, origin_series, origin)
    end = np.maximum(begin, _first_after(series, time, origin_series, upto))
    return _pairs(dataset, origin, begin, (end - begin) * _spread(origin_series, end > begin, origins))


def observed_after(dataset: SeriesDataset, horizon: float, cutoffs: At) -> BacktestPairs:
    """Pairs the observations of every series up to `horizon` after each cutoff with that cutoff.

    A series that has shown nothing by a cutoff is not asked about from it.

    Args:
        dataset: series.
        horizon: in time units.
        cutoffs: timestamps on the clock of the time column, the same for all series.

    Raises:
        SchemaError: if they cannot be read, or no series is observed both before one of them and
            within a horizon after it.
    """
    column = dataset.axis.parse(pd.Series(listed(cutoffs, "cutoffs")), "cutoffs").drop_duplicates()
    ticks = np.tile(np.sort(dataset.axis.query_ticks(column)), len(dataset))
    owner = np.repeat(np.arange(len(dataset)), len(column))
    origin = dataset.axis.to_units(ticks, dataset.start[owner])
    upto = _upto(dataset, owner, origin, horizon)
    begin = _first_after(dataset.series, dataset.time, owner, origin)
    end = np.maximum(begin, _first_after(dataset.series, dataset.time, owner, upto))
    counts = (end - begin) * (origin >= dataset.first[owner])
    if not counts.any():
        raise SchemaError(
            "no series has observations both by one of the cutoffs and within a horizon after it; "
            f"the table's times go from {dataset.keys[str(dataset.schema.time)].min()} to "
            f"{dataset.keys[str(dataset.schema.time)].max()}"
        )
    return _pairs(dataset, origin, begin, counts)


def _upto(dataset: SeriesDataset, series: np.ndarray, origin: np.ndarray, horizon: float) -> np.ndarray:
    """The end of each horizon, forgiving the rounding of times that are exactly there."""
    end = origin + horizon
    size = np.abs(end)
    if dataset.axis.kind == "float":  # whose times were rounded before they were counted from the start
        size = size + np.abs(dataset.start[series]) / dataset.axis.ticks_per_unit
    return end + ROUNDINGS * np.finfo(np.float64).eps * size


def _pairs(
    dataset: SeriesDataset, origin: np.ndarray, begin: np.ndarray, counts: np.ndarray
) -> BacktestPairs:
    """Each origin with so many observations from `begin` on."""
    owner = np.repeat(np.arange(len(origin)), counts)
    target = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + begin[owner]
    series, time = dataset.series[target], dataset.time[target]
    asked = ForecastQueries(series, dataset.variable[target], time, origin[owner])
    return BacktestPairs(asked, dataset.value[target], _keys(dataset, asked, target))


def _spread(series: np.ndarray, usable: np.ndarray, most: int | None) -> np.ndarray:
    """Mask of up to `most` usable origins per series, evenly spread by rank; sorted by series."""
    if most is None or len(series) == 0:
        return usable
    total = np.bincount(series, usable).astype(np.int64)[series]
    before = np.cumsum(usable) - usable
    rank = before - before[np.searchsorted(series, series)]
    kept, total = np.minimum(most, total), np.maximum(total, 1)
    return usable & ((rank + 1) * kept // total > rank * kept // total)


def _first_after(series: np.ndarray, time: np.ndarray, of: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Position of the first observation of series `of` later than `when`; sorted by series, time."""
    n = len(series)
    order = np.lexsort(
        (np.arange(n + len(of)) >= n, np.concatenate([time, when]), np.concatenate([series, of]))
    )
    asked = order >= n
    position = np.empty(len(of), dtype=np.int64)
    position[order[asked] - n] = np.cumsum(~asked)[asked]
    return position


def _keys(dataset: SeriesDataset, asked: ForecastQueries, target: np.ndarray) -> pd.DataFrame:
    schema, axis = dataset.schema, dataset.axis
    ticks = axis.ticks_of(dataset.keys[str(schema.time)])
    frame = pd.DataFrame({"origin": axis.restore(_origin_ticks(dataset, asked))})
    if schema.id is not None:
        frame.insert(0, schema.id, dataset.ids[asked.series])
    frame[str(schema.time)] = axis.restore(ticks[dataset.row[target]])
    frame["lead"] = asked.time - asked.origin
    frame["variable"] = np.asarray(dataset.variables, dtype=object)[asked.variable]
    return frame


def _origin_ticks(dataset: SeriesDataset, asked: ForecastQueries) -> np.ndarray:
    elapsed = asked.origin * dataset.axis.ticks_per_unit
    if dataset.axis.kind != "float":
        elapsed = np.rint(elapsed).astype(np.int64)
    return dataset.start[asked.series] + elapsed


ORIGINS = 200  # per series: the cost of an evaluation stays linear in the series


def backtest(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    pairs: BacktestPairs,
    levels: Sequence[float],
    log_prob: bool = False,
) -> pd.DataFrame:
    """Forecasts of what `pairs` ask of the `dataset` they are of, beside the `actual` values.

    With `log_prob`, the log-densities of these in data units are the last column.
    """
    answer = fitted.answer(dataset, pairs.asked, pairs.keys)
    frame = answer.to_frame(levels)
    frame.insert(len(pairs.keys.columns), "actual", pairs.actual)
    return frame.assign(log_prob=answer.log_prob(pairs.actual)) if log_prob else frame


def skill(fitted: FittedForecaster, dataset: SeriesDataset, origins: int | None) -> float:
    """1 - MAE / MAE(last value) up to the fitted horizon, mean over variables.

    Raises:
        SchemaError: if there is nothing to forecast.
    """
    asked, actual, keys = observed_ahead(dataset, fitted.horizon, origins)
    if len(actual) == 0:
        raise SchemaError("no series has two times within a horizon: nothing can be scored")
    last = LastValue().use(fitted.schema, fitted.climatology)
    error = np.abs(fitted.answer(dataset, asked, keys).mean - actual)
    naive = np.abs(last.answer(dataset, asked) - actual)
    by = pd.DataFrame({"error": error, "naive": naive}).groupby(asked.variable).mean()
    return float((1 - by["error"] / by["naive"].clip(lower=1e-12)).mean())


def compare(
    dataset: SeriesDataset,
    backtest: pd.DataFrame,
    baselines: Sequence[Baseline],
    name: str,
    pairs: BacktestPairs,
) -> pd.DataFrame:
    """The backtest of a model with those of fitted baselines below it, told apart by `model`.

    Args:
        dataset: what `pairs` are of.
        backtest: the model's answers to `pairs`.
        baselines: fitted on the training table.
        name: what to call the model.
        pairs: what every baseline is asked.
    """
    frames = [backtest.assign(model=name)]
    for baseline in baselines:
        answer = baseline.answer(dataset, pairs.asked)
        frames.append(pairs.keys.assign(actual=pairs.actual, mean=answer, model=baseline.name))
    return pd.concat(frames, ignore_index=True)


def bin_leads(frame: pd.DataFrame, bins: int) -> pd.DataFrame:
    """Replaces each `lead` by the upper end of its bin, of `bins` equally wide ones.

    Raises:
        LatentODEError: for fewer than one bin.
    """
    if bins < 1:
        raise LatentODEError(f"bins must be at least 1, got {bins!r}")
    width = frame["lead"].max() / bins
    upper = np.maximum(1, np.ceil(frame["lead"] / width - 1e-9)) * width
    return frame.assign(lead=upper.round(6))


def figures(compared: pd.DataFrame, metrics: str | Sequence[str], bins: int) -> pd.DataFrame:
    """Mean figures by variable, bin of lead time and model.

    Args:
        compared: forecasts of several models with their actual values, as `compare` makes them.
        metrics: of `latentode.evaluation.metrics.METRICS`.
        bins: into how many bins lead times are split, each named by its upper end.
    """
    table = summarise(bin_leads(compared, bins), ["variable", "lead", "model"], metrics)
    return table.sort_index(level=["variable", "lead"], sort_remaining=False)


def at_leads(
    frame: pd.DataFrame, dataset: SeriesDataset, leads: Sequence[Duration], tolerance: Duration
) -> pd.DataFrame:
    """The rows within `tolerance` of one of the `leads`, which replaces their own."""
    axis = dataset.axis
    near = axis.duration(tolerance, "tolerance")
    parts = []
    for lead in leads:
        chosen = frame[(frame["lead"] - axis.duration(lead, "lead")).abs() <= near]
        parts.append(chosen.assign(lead=str(lead)))
    return pd.concat(parts, ignore_index=True)
