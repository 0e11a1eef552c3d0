r"""Metrics: a frame of forecasts with their actual values in, a frame of figures out.

The forecast frame is long: a row per query with the columns `actual`, `mean`, a column such as `q0.1`
per quantile level, and perhaps `log_prob`, as `LatentODEForecaster.backtest` makes it. For an actual
value $y$, a quantile $q$ of level $\tau$ and a central interval $[l, u]$ that is to cover the share
$1 - \alpha$,

$$\mathrm{pinball} = \max\big(\tau (y - q),\, (\tau - 1)(y - q)\big), \qquad
  \mathrm{interval} = u - l + \tfrac2\alpha (l - y)_+ + \tfrac2\alpha (y - u)_+, \qquad
  \mathrm{nll} = -\log p(y),$$

and the CRPS is twice the mean pinball loss over the levels, which tends to it as levels are added. All
are proper: no forecast scores better on average than the true distribution. A forecast without
quantiles is a point, where all of its quantiles lie: its CRPS is the absolute error, and it covers
nothing and has no density, so both are NaN.

References:
    Strictly proper scoring rules, prediction, and estimation (Gneiting and Raftery, 2007).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.cells.columns import quantile_levels, quantile_name
from latentode.data.cells.time_axis import Duration
from latentode.data.dataset import SeriesDataset
from latentode.errors import LatentODEError, check_whole, shown

__all__ = [
    "METRICS",
    "USUAL",
    "at_leads",
    "bin_leads",
    "figures",
    "metric_list",
    "quantile_levels",
    "score_frame",
    "summarise",
]

USUAL = ("mae", "rmse", "crps", "coverage")
METRICS = (*USUAL, "pinball", "interval", "coverages", "nll")
ROUNDING = 1e-9  # of bins of lead time
DIGITS = 10  # to which levels are compared, and per cent are named


def metric_list(metrics: str | Sequence[str]) -> list[str]:
    """Names of metrics, each once, one bare or several.

    Raises:
        LatentODEError: for a name that is none of `METRICS`, or no name at all.

    Example:
        >>> metric_list("crps"), metric_list(["mae", "nll", "mae"])
        (['crps'], ['mae', 'nll'])
    """
    if not isinstance(metrics, str | Iterable):
        metrics = [metrics]
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    unknown = [name for name in names if not isinstance(name, str) or name not in METRICS]
    if unknown or not names:
        said = f"{shown(unknown[0])} is no metric" if unknown else "no metric is named"
        raise LatentODEError(f"{said}; choose among {', '.join(METRICS)}")
    return list(dict.fromkeys(names))


def score_frame(frame: pd.DataFrame, metrics: str | Sequence[str] = USUAL) -> pd.DataFrame:
    r"""Adds to each row its errors.

    Always `absolute`, `squared`, `crps`, and `inside`, whether the outermost interval covers the actual
    value; and, if they are among the metrics, `pinball_q0.1` of each level, `interval_80` (its score)
    and `coverage_80` of each central interval whose two ends are among the levels, and `nll`.

    Args:
        frame: forecasts with actual values.
        metrics: of `METRICS`.

    Raises:
        LatentODEError: for an unknown metric, or one for which the frame lacks the columns.

    Example:
        >>> frame = pd.DataFrame({"actual": [3.0], "mean": [2.0], "q0.1": [1.0], "q0.9": [2.5]})
        >>> found = score_frame(frame, "interval")
        >>> found[["absolute", "inside", "interval_80"]].round(9).to_numpy().tolist()
        [[1.0, 0.0, 6.5]]
    """
    return _scored(frame, metric_list(metrics))[0]


def summarise(
    frame: pd.DataFrame, by: Sequence[str], metrics: str | Sequence[str] = USUAL
) -> pd.DataFrame:
    """Mean figures per group.

    Args:
        frame: forecasts with actual values.
        by: grouping columns, such as `["model", "variable", "lead"]`.
        metrics: of `METRICS`: "mae", "rmse", "crps", "coverage" (of the outermost interval), "pinball"
            (a column per level), "interval" (the interval score) and "coverages" (each a column per
            central interval), "nll" (of the density in data units, from the column `log_prob`).

    Returns:
        `n` and the figures, indexed by group in order of appearance.

    Raises:
        LatentODEError: as `score_frame`.
    """
    scored, columns = _scored(frame, metric_list(metrics))
    groups = scored.groupby(list(by), sort=False, observed=True)
    found: dict[str, Any] = {"n": groups.size()}
    for name, column in columns.items():
        mean = groups[column].mean()
        found[name] = np.sqrt(mean) if name == "rmse" else mean
    return pd.DataFrame(found)


def bin_leads(frame: pd.DataFrame, bins: int) -> pd.DataFrame:
    """Replaces each `lead` by the upper end of its bin, of `bins` equally wide ones.

    Raises:
        LatentODEError: for no whole number of bins, or fewer than one.
    """
    check_whole("bins", bins)
    width = frame["lead"].max() / bins
    number = np.maximum(1, np.ceil(frame["lead"] / width - ROUNDING)).astype(np.int64)
    names = {n: float(f"{n * width:.6g}") for n in number.unique()}  # in any unit of time
    return frame.assign(lead=number.map(names))


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


def figures(compared: pd.DataFrame, metrics: str | Sequence[str], bins: int) -> pd.DataFrame:
    """Mean figures by variable, bin of lead time and model.

    Args:
        compared: forecasts of several models with their actual values, as
            `latentode.evaluation.compare` makes them.
        metrics: of `METRICS`.
        bins: into how many bins lead times are split, each named by its upper end.
    """
    table = summarise(bin_leads(compared, bins), ["variable", "lead", "model"], metrics)
    return table.sort_index(level=["variable", "lead"], sort_remaining=False)


def _scored(frame: pd.DataFrame, metrics: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The frame with each row's errors, and which column of it each figure is the mean of."""
    levels = quantile_levels(frame)
    point = frame[quantile_name(levels[0])].isna() if levels else pd.Series(True, index=frame.index)
    quantiles = {q: frame[quantile_name(q)].where(~point, frame["mean"]) for q in levels}
    error, actual = frame["actual"] - frame["mean"], frame["actual"]
    losses = {f"pinball_{quantile_name(q)}": _pinball(actual, at, q) for q, at in quantiles.items()}
    crps = 2 * np.mean(list(losses.values()), axis=0) if levels else error.abs()
    outermost = _covers(actual, quantiles[levels[0]], quantiles[levels[-1]]) if levels else error
    added: dict[str, Any] = {
        "absolute": error.abs(),
        "squared": error**2,
        "crps": np.where(point, error.abs(), crps),
        "inside": outermost.where(~point),
    }
    columns: dict[str, str] = {}
    for metric in metrics:
        if metric in _COLUMNS:
            columns[metric] = _COLUMNS[metric]
            continue
        more = losses if metric == "pinball" else _further(metric, frame, quantiles, point)
        if not more:
            raise LatentODEError(f"{metric} needs forecasts with {_NEEDED[metric]}; ask for them")
        added |= more
        columns |= {name: name for name in more}
    kept = frame.drop(columns=[name for name in added if name in frame.columns])
    return pd.concat([kept, pd.DataFrame(added, index=frame.index)], axis=1), columns


_COLUMNS = {"mae": "absolute", "rmse": "squared", "crps": "crps", "coverage": "inside"}
_NEEDED = {
    "pinball": "quantiles",
    "interval": "the quantiles at both ends of a central interval, such as 0.1 and 0.9",
    "coverages": "the quantiles at both ends of a central interval, such as 0.1 and 0.9",
    "nll": "the column `log_prob`, which backtest(..., log_prob=True) adds",
}


def _further(
    metric: str, frame: pd.DataFrame, quantiles: dict[float, pd.Series], point: pd.Series
) -> dict[str, pd.Series]:
    """The columns of a metric that not every table has; empty where the frame can't give them."""
    if metric == "nll":
        return {"nll": -frame["log_prob"]} if "log_prob" in frame.columns else {}
    actual, found = frame["actual"], {}
    for below, above in _intervals(list(quantiles)):
        low, high = quantiles[below], quantiles[above]
        share = round(above - below, DIGITS)
        percent = f"{round(100 * share, DIGITS):g}"
        if metric == "coverages":
            found[f"coverage_{percent}"] = _covers(actual, low, high).where(~point)
        else:
            outside = (low - actual).clip(lower=0) + (actual - high).clip(lower=0)
            found[f"interval_{percent}"] = high - low + 2 / (1 - share) * outside
    return found


def _intervals(levels: list[float]) -> list[tuple[float, float]]:
    """Pairs of levels as far from 0 as from 1, the narrowest interval first."""
    upper = {round(1 - q, DIGITS): q for q in levels if q > 0.5}
    below = [q for q in levels if q < 0.5 and round(q, DIGITS) in upper]
    return [(q, upper[round(q, DIGITS)]) for q in sorted(below, reverse=True)]


def _pinball(actual: pd.Series, quantile: pd.Series, level: float) -> pd.Series:
    miss = actual - quantile
    return np.maximum(level * miss, (level - 1) * miss)


def _covers(actual: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    return ((actual >= low) & (actual <= high)).astype(float)
