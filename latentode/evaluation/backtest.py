"""Rolling backtests: observations forecast from earlier times of their series, and figures of that.

Every pair of an origin and an observation up to a horizon later is asked: from all times of a series,
from so many of them, evenly spread over those that have something to ask for, or from given cutoffs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from latentode.data.dataset import SeriesDataset
from latentode.data.queries import At, listed
from latentode.data.time_axis import Duration
from latentode.errors import LatentODEError, SchemaError, check_whole
from latentode.evaluation.baselines import BASELINES, Baseline, LastValue
from latentode.evaluation.metrics import figures, metric_list
from latentode.forecast.calibration import Calibration
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.queries import ForecastQueries

__all__ = [
    "ORIGINS",
    "BacktestPairs",
    "backtest",
    "backtest_pairs",
    "calibrated",
    "compare",
    "compare_with_baselines",
    "evaluate",
    "observed_after",
    "observed_ahead",
    "skill",
]

ORIGINS = 200  # per series: the cost of an evaluation stays linear in the series
EXCHANGEABLE = ("series", "origins")
MODEL_NAME = "latent ODE"
ROUNDING = 1e-9
NOTICED = 0.01  # of the size of a variable: an error of its forecasts that a user should know of
ROUNDINGS = 4  # a time, an origin, the horizon and their sum are each rounded once


class BacktestPairs(NamedTuple):
    """Observations, each asked from an origin earlier in its series.

    Args:
        queries: what is asked.
        actual: what was observed, shape `(queries,)`.
        keys: identifier, `origin`, time, `lead` (time units), `variable` of each.
    """

    queries: ForecastQueries
    actual: np.ndarray
    keys: pd.DataFrame


def observed_ahead(
    dataset: SeriesDataset,
    horizon: float,
    origins: int | None = None,
    since: np.ndarray | None = None,
) -> BacktestPairs:
    """Pairs each observation with the times of its series up to `horizon` before it.

    Args:
        dataset: series.
        horizon: in time units.
        origins: most times per series to ask from, evenly spread over those with an observation
            within the horizon; None asks from all.
        since: the earliest origin of each series, shape `(series,)`; None for its first time.

    Raises:
        LatentODEError: for no whole number of origins, or fewer than one.
    """
    if origins is not None:
        check_whole("origins", origins)
    series, time = dataset.series, dataset.time
    events = pd.DataFrame({"series": series, "time": time}).drop_duplicates()
    origin_series, origin = events["series"].to_numpy(), events["time"].to_numpy()
    upto = _upto(dataset, origin_series, origin, horizon)
    begin = _first_after(series, time, origin_series, origin)
    end = np.maximum(begin, _first_after(series, time, origin_series, upto))
    usable = end > begin
    if since is not None:
        usable &= origin >= since[origin_series]
    return _pairs(dataset, origin, begin, (end - begin) * _spread(origin_series, usable, origins))


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
    queries = ForecastQueries(series, dataset.variable[target], time, origin[owner])
    return BacktestPairs(queries, dataset.value[target], _keys(dataset, queries, target))


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


def _keys(dataset: SeriesDataset, queries: ForecastQueries, target: np.ndarray) -> pd.DataFrame:
    schema, axis = dataset.schema, dataset.axis
    ticks = axis.ticks_of(dataset.keys[str(schema.time)])
    frame = pd.DataFrame({"origin": axis.restore(_origin_ticks(dataset, queries))})
    if schema.id is not None:
        frame.insert(0, schema.id, dataset.ids[queries.series])
    frame[str(schema.time)] = axis.restore(ticks[dataset.row[target]])
    frame["lead"] = queries.time - queries.origin
    frame["variable"] = np.asarray(dataset.variables, dtype=object)[queries.variable]
    return frame


def _origin_ticks(dataset: SeriesDataset, queries: ForecastQueries) -> np.ndarray:
    elapsed = queries.origin * dataset.axis.ticks_per_unit
    if dataset.axis.kind != "float":
        elapsed = np.rint(elapsed).astype(np.int64)
    return dataset.start[queries.series] + elapsed


def backtest_pairs(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    horizon: Duration | None = None,
    origins: int | None = ORIGINS,
    cutoffs: At | None = None,
) -> BacktestPairs:
    """The pairs that a backtest asks of a fitted model.

    Args:
        fitted: the model.
        dataset: held-out series, as `fitted` reads them.
        horizon: how far ahead; the fitted one by default.
        origins: as for `observed_ahead`; of no account with `cutoffs`.
        cutoffs: as for `observed_after`; None for times of each series.
    """
    ahead = fitted.horizon if horizon is None else fitted.reader.axis.duration(horizon)
    if cutoffs is None:
        return observed_ahead(dataset, ahead, origins)
    return observed_after(dataset, ahead, cutoffs)


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
    answer = fitted.forecast(dataset, pairs.queries, pairs.keys)
    frame = answer.to_frame(levels)
    frame.insert(len(pairs.keys.columns), "actual", pairs.actual)
    return frame.assign(log_prob=answer.log_prob(pairs.actual)) if log_prob else frame


def calibrated(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    pairs: BacktestPairs,
    bins: int = 6,
    exchangeable: str | None = None,
) -> FittedForecaster:
    """The model with its quantiles calibrated by forecasts of a table that came true.

    Args:
        fitted: the model; a calibration that it has is replaced.
        dataset: series that the fit has not seen, as `fitted` reads them.
        pairs: what is forecast of them.
        bins: of lead time, at most.
        exchangeable: "series", if new series are to be forecast: each counts once, and levels are
            guaranteed as far as their number allows; "origins", if later times of the same series are:
            then each forecast counts on its own. By default "series", of a single one "origins".

    Raises:
        SchemaError: where nothing can be forecast.
        LatentODEError: for any other word.
    """
    if exchangeable not in (None, *EXCHANGEABLE):
        raise LatentODEError(
            f"exchangeable must be one of {', '.join(EXCHANGEABLE)}, got {exchangeable!r}"
        )
    if len(pairs.actual) == 0:
        raise SchemaError("no series has two times within a horizon: nothing can be calibrated by")
    plain = replace(fitted, calibration=None)
    series = pairs.queries.series
    inside = np.random.default_rng(0).uniform(size=len(series))  # of whole numbers, in their steps
    score = plain.forecast(dataset, pairs.queries, pairs.keys).scores(pairs.actual, inside)
    by_series = len(dataset) > 1 if exchangeable is None else exchangeable == "series"
    names, lead = pairs.keys["variable"].to_numpy(), pairs.keys["lead"].to_numpy()
    group = series if by_series else None
    return replace(fitted, calibration=Calibration.fit(names, lead, score, bins, group))


def skill(fitted: FittedForecaster, dataset: SeriesDataset, origins: int | None = ORIGINS) -> float:
    """1 - MAE / MAE(last value) up to the fitted horizon, mean over variables.

    A variable of which the last value is never wrong leaves nothing to improve on. It is left out; if
    no variable is left, the score is 0, no better than repeating the last value.

    Warns:
        UserWarning: naming a variable that is left out although its forecasts are wrong.

    Raises:
        SchemaError: if there is nothing to forecast.
    """
    queries, actual, keys = observed_ahead(dataset, fitted.horizon, origins)
    if len(actual) == 0:
        raise SchemaError("no series has two times within a horizon: nothing can be scored")
    last = LastValue().use(fitted.reader.schema, fitted.climatology)
    error = np.abs(fitted.forecast(dataset, queries, keys).mean - actual)
    naive = np.abs(last.answer(dataset, queries) - actual)
    by = pd.DataFrame({"error": error, "naive": naive, "size": np.abs(actual)})
    by = by.groupby(keys["variable"].to_numpy()).mean()
    constant = by["naive"] <= ROUNDING * by["size"]
    for name in by.index[constant & (by["error"] > NOTICED * by["size"])]:
        warnings.warn(
            f"`{name}` is left out of the score: it never changes within a horizon, so that the last "
            f"value is always right, while its forecasts are off by {by.loc[name, 'error']:.3g}",
            stacklevel=3,
        )
    by = by[~constant]
    return float((1 - by["error"] / by["naive"]).mean()) if len(by) else 0.0


def compare_with_baselines(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    pairs: BacktestPairs,
    levels: Sequence[float],
    log_prob: bool = False,
) -> pd.DataFrame:
    """The backtest of a model and of the baselines that suit its times; arguments as for `backtest`."""
    made = backtest(fitted, dataset, pairs, levels, log_prob)
    suited = [b() for b in BASELINES if b.suits(fitted.reader.axis)]
    baselines = [b.use(fitted.reader.schema, fitted.climatology) for b in suited]
    return compare(dataset, made, baselines, MODEL_NAME, pairs)


def evaluate(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    pairs: BacktestPairs,
    levels: Sequence[float],
    metrics: str | Sequence[str],
    bins: int = 3,
) -> pd.DataFrame:
    """Mean figures of `compare_with_baselines` by variable, lead time and model.

    Raises:
        SchemaError: where nothing can be scored.
        LatentODEError: for an unknown metric, or one that the quantiles do not allow.
    """
    names = metric_list(metrics)
    if len(pairs.actual) == 0:
        raise SchemaError("no series has two times within a horizon: nothing can be scored")
    return figures(compare_with_baselines(fitted, dataset, pairs, levels, "nll" in names), names, bins)


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
        answer = baseline.answer(dataset, pairs.queries)
        frames.append(pairs.keys.assign(actual=pairs.actual, mean=answer, model=baseline.name))
    return pd.concat(frames, ignore_index=True)
