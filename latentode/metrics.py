r"""Metrics: a frame of forecasts with their actual values in, a frame of figures out.

The forecast frame is long: a row per query with the columns `actual`, `mean`, and a column such as
`q0.1` per quantile level. A forecast without quantiles is scored as a point.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentode.quantiles import quantile_levels, quantile_name

__all__ = ["quantile_levels", "score_frame", "summarise"]


def score_frame(frame: pd.DataFrame) -> pd.DataFrame:
    r"""Adds to each row its errors.

    `absolute`, `squared`; `crps`, the continuous ranked probability score as twice the mean pinball
    loss over the quantile columns, which tends to it as levels are added and is the absolute error
    for a point forecast (Gneiting and Raftery, 2007); `inside`, whether the outermost interval
    covers the actual value (NaN for a point forecast).
    """
    error = frame["actual"] - frame["mean"]
    scored = frame.assign(absolute=error.abs(), squared=error**2)
    levels = quantile_levels(frame)
    if not levels:
        return scored.assign(crps=error.abs(), inside=np.nan)
    losses = []
    for level in levels:
        miss = frame["actual"] - frame[quantile_name(level)]
        losses.append(np.maximum(level * miss, (level - 1) * miss))
    low, high = (frame[quantile_name(level)] for level in (levels[0], levels[-1]))
    inside = ((frame["actual"] >= low) & (frame["actual"] <= high)).astype(float)
    crps = 2 * np.mean(losses, axis=0)
    point = low.isna()
    return scored.assign(crps=np.where(point, error.abs(), crps), inside=inside.where(~point))


def summarise(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean figures per group.

    Args:
        frame: forecasts with actual values.
        by: grouping columns, such as `["model", "variable", "lead"]`.

    Returns:
        The columns `n`, `mae`, `rmse`, `crps`, `coverage`, indexed by group in order of appearance.
    """
    scored = score_frame(frame)
    groups = scored.groupby(list(by), sort=False, observed=True)
    return pd.DataFrame(
        {
            "n": groups.size(),
            "mae": groups["absolute"].mean(),
            "rmse": np.sqrt(groups["squared"].mean()),
            "crps": groups["crps"].mean(),
            "coverage": groups["inside"].mean(),
        }
    )
