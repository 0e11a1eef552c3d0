"""Rolling evaluation: observations asked from earlier times of their series.

Every pair of an origin and an observation up to a horizon later is asked: from all times of a series,
from so many of them, evenly spread over those that have something to ask for, or from given cutoffs.
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
from latentode.metrics import summarise
from latentode.pairs import Pairs, observed_ahead

__all__ = ["ORIGINS", "at_leads", "backtest", "bin_leads", "compare", "figures", "skill"]

ORIGINS = 200  # per series: the cost of an evaluation stays linear in the series


def backtest(
    fitted: Fitted,
    dataset: SeriesDataset,
    pairs: Pairs,
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
    pairs: Pairs,
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
        metrics: of `latentode.metrics.METRICS`.
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
