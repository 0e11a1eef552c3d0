"""Rolling evaluation: observations asked from earlier times of their series.

Every pair of an origin and an observation up to a horizon later is asked, from all origins of a series
or from so many of them, evenly spread over those that have something to ask for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentode.baselines import Baseline, LastValue
from latentode.data.dataset import SeriesDataset
from latentode.data.timeaxis import Duration
from latentode.errors import LatentODEError, SchemaError
from latentode.fitted import Fitted
from latentode.forecast import Asked

__all__ = ["ORIGINS", "at_leads", "backtest", "bin_leads", "compare", "observed_ahead", "skill"]

ORIGINS = 200  # per series: the cost of an evaluation stays linear in the series
ROUNDINGS = 4  # a time, an origin, the horizon and their sum are each rounded once


def observed_ahead(
    dataset: SeriesDataset, horizon: float, origins: int | None = None
) -> tuple[Asked, np.ndarray, pd.DataFrame]:
    """Pairs each observation with the times of its series up to `horizon` before it.

    Args:
        dataset: series.
        horizon: in time units.
        origins: most times per series to ask from, evenly spread over those with an observation
            within the horizon; None asks from all.

    Returns:
        The queries, their actual values, and their keys: identifier, `origin`, time, `lead` (time
        units), `variable`.

    Raises:
        LatentODEError: for fewer than one origin.
    """
    if origins is not None and origins < 1:
        raise LatentODEError(f"origins must be at least 1, or None for all of them; got {origins!r}")
    series, time = dataset.series, dataset.time
    events = pd.DataFrame({"series": series, "time": time}).drop_duplicates()
    origin_series, origin = events["series"].to_numpy(), events["time"].to_numpy()
    upto = (origin + horizon) * (1 + ROUNDINGS * np.finfo(np.float64).eps)
    begin = _first_after(series, time, origin_series, origin)
    end = np.maximum(begin, _first_after(series, time, origin_series, upto))
    counts = (end - begin) * _spread(origin_series, end > begin, origins)
    owner = np.repeat(np.arange(len(origin)), counts)
    target = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + begin[owner]
    asked = Asked(series[target], dataset.variable[target], time[target], origin[owner])
    return asked, dataset.value[target], _keys(dataset, asked, target)


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


def backtest(
    fitted: Fitted,
    dataset: SeriesDataset,
    horizon: float,
    levels: Sequence[float],
    origins: int | None,
) -> pd.DataFrame:
    """Forecasts of what `observed_ahead` asks, beside the `actual` values."""
    asked, actual, keys = observed_ahead(dataset, horizon, origins)
    frame = fitted.answer(dataset, asked, keys).to_frame(levels)
    frame.insert(len(keys.columns), "actual", actual)
    return frame


def skill(fitted: Fitted, dataset: SeriesDataset, origins: int | None) -> float:
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
    origins: int | None = None,
) -> pd.DataFrame:
    """The backtest of a model with those of fitted baselines below it, told apart by `model`.

    Args:
        dataset: what `backtest` was made from.
        backtest: of `LatentODEForecaster.backtest`.
        baselines: fitted on the training table.
        name: what to call the model.
        origins: that `backtest` was made with.
    """
    lead = float(backtest["lead"].max()) if len(backtest) else 0.0
    asked, actual, keys = observed_ahead(dataset, lead, origins)
    frames = [backtest.assign(model=name)]
    for baseline in baselines:
        answer = baseline.answer(dataset, asked)
        frames.append(keys.assign(actual=actual, mean=answer, model=baseline.name))
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


def _keys(dataset: SeriesDataset, asked: Asked, target: np.ndarray) -> pd.DataFrame:
    schema, axis = dataset.schema, dataset.axis
    ticks = axis.ticks_of(dataset.keys[str(schema.time)])
    frame = pd.DataFrame({"origin": axis.restore(_origin_ticks(dataset, asked))})
    if schema.id is not None:
        frame.insert(0, schema.id, dataset.ids[asked.series])
    frame[str(schema.time)] = axis.restore(ticks[dataset.row[target]])
    frame["lead"] = asked.time - asked.origin
    frame["variable"] = np.asarray(dataset.variables, dtype=object)[asked.variable]
    return frame


def _origin_ticks(dataset: SeriesDataset, asked: Asked) -> np.ndarray:
    elapsed = asked.origin * dataset.axis.ticks_per_unit
    if dataset.axis.kind != "float":
        elapsed = np.rint(elapsed).astype(np.int64)
    return dataset.start[asked.series] + elapsed
