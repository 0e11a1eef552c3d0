"""Leaderboard: a fitted model on held-out data beside its structural block alone and every baseline.

A variable's errors are in its own unit; together in standard deviations of the held-out values, a
variable that never changes left out. A single value is its own distribution, so that the CRPS of a
baseline is its absolute error.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from latentode.data.dataset import SeriesDataset
from latentode.evaluation.backtest import MODEL_NAME, compare
from latentode.evaluation.baselines import BASELINES
from latentode.evaluation.metrics import summarise
from latentode.evaluation.pairs import BacktestPairs
from latentode.evaluation.shrinkage import with_strength
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast

__all__ = ["STRUCTURE_NAME", "TOGETHER", "advice", "leaderboard", "to_text"]

STRUCTURE_NAME = "structural block alone"
TOGETHER = "all, in standard deviations"
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
FIGURES = ("variable", "model")
CLEARLY = 0.98  # of the model's error, below which another's is better
CONSTANT = 1e-9  # of the size of a variable


def leaderboard(
    fitted: FittedForecaster, dataset: SeriesDataset, pairs: BacktestPairs, answer: Forecast
) -> pd.DataFrame:
    """Mean figures of held-out forecasts, the best model first.

    Args:
        fitted: the model.
        dataset: what `pairs` are of, held out of its training.
        pairs: what is asked.
        answer: the model's forecast of them.

    Returns:
        A row per variable and model, and where there are several variables one of all: `variable`,
        `model`, `mae`, `crps`, `inside_80` (the share of values within the central 80 % interval; NaN
        for baselines, which have none) and `n`, how many values.
    """
    suited = [kind() for kind in BASELINES if kind.suits(fitted.reader.axis)]
    baselines = [b.use(fitted.reader.schema, fitted.climatology) for b in suited]
    own = answer.to_frame(LEVELS).assign(actual=pairs.actual)
    made = [compare(dataset, own, baselines, MODEL_NAME, pairs)]
    if fitted.engine.network.emission.structure is not None:
        alone = with_strength(replace(fitted, calibration=None), 0.0)
        plain = alone.forecast(dataset, pairs.queries, pairs.keys).to_frame(LEVELS)
        made.append(plain.assign(actual=pairs.actual, model=STRUCTURE_NAME))
    table = summarise(pd.concat(made, ignore_index=True), FIGURES, ("mae", "crps", "coverage"))
    table = table.reset_index().rename(columns={"coverage": "inside_80"})
    if len(fitted.reader.scaling.scale) > 1:
        table = pd.concat([_together(table, _sizes(pairs)), table], ignore_index=True)
    place = table.groupby("variable", sort=False).ngroup()
    order = np.lexsort((table["mae"], place))
    columns = ["variable", "model", "mae", "crps", "inside_80", "n"]
    return table.iloc[order][columns].reset_index(drop=True)


def _together(table: pd.DataFrame, sizes: pd.Series) -> pd.DataFrame:
    """A row per model: means over variables, each in its own size."""
    own = table.assign(size=table["variable"].map(sizes)).dropna(subset="size")
    own[["mae", "crps"]] = own[["mae", "crps"]].div(own["size"], axis=0)
    found = own.groupby("model", sort=False)
    means = found[["mae", "crps", "inside_80"]].mean()
    return means.assign(n=found["n"].sum(), variable=TOGETHER).reset_index()


def _sizes(pairs: BacktestPairs) -> pd.Series:
    """The deviation of each variable's asked values; of those that do not change there is none."""
    by = pd.DataFrame({"variable": pairs.keys["variable"].to_numpy(), "value": pairs.actual})
    by = by.groupby("variable")["value"].agg(["std", lambda v: v.abs().max()])
    spread = by["std"]
    return spread[spread > CONSTANT * by.iloc[:, 1]]


def advice(table: pd.DataFrame) -> str | None:
    """What to do where something simpler is clearly better; None where nothing is."""
    first = table[table["variable"] == table["variable"].iloc[0]].set_index("model")
    own, best = float(first.loc[MODEL_NAME, "mae"]), str(first["mae"].idxmin())  # type: ignore[arg-type]
    least = float(first.loc[best, "mae"])  # type: ignore[arg-type]
    if best == MODEL_NAME or least >= CLEARLY * own:
        return None
    said = f"on held-out data {best} has a smaller error than the model ({least:.3g} against {own:.3g})"
    if best == STRUCTURE_NAME:
        return f"{said}: training found nothing that helps; fit with max_epochs=0, or with more data"
    return (
        f"{said}: check horizon, cycles and known columns, train for longer (max_epochs, patience), or "
        "take the simpler forecast"
    )


def to_text(table: pd.DataFrame) -> str:
    """The first variable's rows, or those of all variables, as `fit` prints them."""
    name = table["variable"].iloc[0]
    own = table[table["variable"] == name]
    shown = own.assign(inside_80=own["inside_80"].map(lambda x: "" if np.isnan(x) else f"{x:.0%}"))
    shown = shown[["model", "mae", "crps", "inside_80"]].rename(columns={"inside_80": "inside 80 %"})
    body = shown.to_string(index=False, float_format=lambda x: f"{x:.4g}")
    return f"held-out error of {name} ({int(own['n'].iloc[0])} values):\n{body}"
