"""Rolling backtests: observations forecast from earlier times of their series, and figures of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from latentode.data.cells.time_axis import Duration
from latentode.data.dataset import SeriesDataset
from latentode.data.queries import At
from latentode.errors import LatentODEError, SchemaError, check_flag, warn
from latentode.evaluation.baselines import BASELINES, Baseline, LastValue
from latentode.evaluation.metrics import figures, metric_list
from latentode.evaluation.pairs import BacktestPairs, observed_after, observed_ahead
from latentode.forecast.calibration import Calibration, time_blocks
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.queries import warn_of_guesses

__all__ = [
    "ORIGINS",
    "backtest",
    "backtest_pairs",
    "calibrated",
    "compare",
    "compare_with_baselines",
    "evaluate",
    "skill",
]

ORIGINS = 200  # per series: the cost of an evaluation stays linear in the series
EXCHANGEABLE = ("series", "origins")
MODEL_NAME = "latent ODE"
ROUNDING = 1e-9
NOTICED = 0.01  # of the size of a variable: an error of its forecasts that a user should know of


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

    Warns:
        UserWarning: as `warn_of_guesses` does.
    """
    ahead = fitted.horizon if horizon is None else fitted.reader.axis.duration(horizon)
    if cutoffs is None:
        pairs = observed_ahead(dataset, ahead, origins)
    else:
        pairs = observed_after(dataset, ahead, cutoffs)
    warn_of_guesses(dataset, pairs.queries, fitted.horizon)
    return pairs


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
    check_flag("log_prob", log_prob)
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
            then stretches of time as long as the longest lead. By default "series", if there are two.

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
    names, lead = pairs.keys["variable"].to_numpy(), pairs.queries.time - pairs.queries.origin
    group = series if by_series else time_blocks(series, pairs.queries.time, lead.max())
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
    queries, actual, keys = backtest_pairs(fitted, dataset, None, origins)
    if len(actual) == 0:
        raise SchemaError("no series has two times within a horizon: nothing can be scored")
    last = LastValue().use(fitted.reader.schema, fitted.climatology)
    error = np.abs(fitted.forecast(dataset, queries, keys).mean - actual)
    naive = np.abs(last.answer(dataset, queries) - actual)
    by = pd.DataFrame({"error": error, "naive": naive, "size": np.abs(actual)})
    by = by.groupby(keys["variable"].to_numpy()).mean()
    constant = by["naive"] <= ROUNDING * by["size"]
    for name in by.index[constant & (by["error"] > NOTICED * by["size"])]:
        warn(
            f"`{name}` is left out of the score: it never changes within a horizon, so that the last "
            f"value is always right, while its forecasts are off by {by.loc[name, 'error']:.3g}",
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
