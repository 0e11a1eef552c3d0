r"""Pictures of how good forecasts are: calibration, errors, residuals, learning, leaderboard.

Calibration is read twice. *Reliability*: the share of actual values under each predicted quantile,
which lies on the diagonal where quantiles mean what they say. *PIT*: the density of the predictive
distribution function at the actual values, between neighbouring levels $\tau_i < \tau_{i+1}$

$$\frac{\#\{q_{\tau_i} < y \le q_{\tau_{i+1}}\}}{n\,(\tau_{i+1} - \tau_i)},$$

which is 1 everywhere then; a valley in the middle tells of intervals that are too narrow.

References:
    Probabilistic forecasts, calibration and sharpness (Gneiting, Balabdaoui and Raftery, 2007).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from latentode.data.cells.columns import quantile_levels, quantile_name
from latentode.errors import LatentODEError
from latentode.evaluation.metrics import METRICS, bin_leads, metric_list, summarise
from latentode.plotting.canvas import ACTUAL, OWN, DrawnTimes, finish, line_styles, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "plot_calibration",
    "plot_errors",
    "plot_leaderboard",
    "plot_learning",
    "plot_residuals",
    "shares_between",
]

REFERENCE = {"color": "0.55", "linewidth": 1, "linestyle": "--"}
MANY = 4000  # points of a cloud; more hide one another


def plot_calibration(backtest: pd.DataFrame, title: str = "") -> Figure:
    """Reliability and PIT of each variable.

    Args:
        backtest: forecasts with `actual` values and at least two quantiles, as
            `LatentODEForecaster.backtest(..., quantiles=)` returns them.
        title: above the panels.

    Raises:
        LatentODEError: for a frame with fewer than two quantiles.
    """
    levels, variables = quantile_levels(backtest), list(dict.fromkeys(backtest["variable"]))
    if len(levels) < 2:
        raise LatentODEError("calibration needs forecasts with several quantiles; ask for them")
    figure, grid = panels(len(variables), 2, height=2.8)
    for (left, right), variable in zip(grid, variables, strict=True):
        own = backtest[backtest["variable"] == variable]
        below = [(own["actual"] <= own[quantile_name(q)]).mean() for q in levels]
        left.plot([0, 1], [0, 1], **REFERENCE)
        left.plot(levels, below, "o-", color=OWN, ms=4)
        left.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted level", ylabel="share that lay below")
        left.set_title(f"{variable}: reliability", fontsize="medium")
        density = shares_between(own, levels)
        edges = np.array([0.0, *levels, 1.0])
        right.stairs(density, edges, fill=True, color=OWN, alpha=0.45)
        right.axhline(1.0, **REFERENCE)
        right.set(xlim=(0, 1), xlabel="where in its forecast a value lay (PIT)", ylabel="density")
        right.set_title(f"{variable}: PIT of {len(own)} values", fontsize="medium")
    return finish(figure, title)


def shares_between(own: pd.DataFrame, levels: list[float]) -> np.ndarray:
    """The density of the PIT between neighbouring levels, 0 and 1 included, `(levels + 1,)`.

    Example:
        >>> frame = pd.DataFrame({"actual": [0.0, 2.0], "q0.25": [1.0, 1.0], "q0.75": [3.0, 3.0]})
        >>> shares_between(frame, [0.25, 0.75]).tolist()
        [2.0, 1.0, 0.0]
    """
    under = [0.0, *((own["actual"] <= own[quantile_name(q)]).mean() for q in levels), 1.0]
    return np.diff(under) / np.diff([0.0, *levels, 1.0])


def plot_errors(
    compared: pd.DataFrame, unit: str = "", bins: int = 6, metric: str = "mae", title: str = ""
) -> Figure:
    """Errors by lead time: a panel per variable, a line per model.

    Args:
        compared: as `LatentODEForecaster.compare` returns it; or a backtest, of one model.
        unit: of lead times, for the axis.
        bins: of lead time, each drawn at its upper end.
        metric: one of `latentode.evaluation.METRICS` that is a single column, such as "crps".
        title: above the panels.
    """
    name, *others = metric_list(metric)
    if others:
        raise LatentODEError(f"metric {metric!r} is several; draw one of them")
    frame = compared if "model" in compared else compared.assign(model="forecast")
    table = summarise(bin_leads(frame, bins), ["variable", "lead", "model"], name).reset_index()
    if name not in table:
        raise LatentODEError(f"metric {metric!r} is several figures; draw mae, crps or nll")
    variables, models = (list(dict.fromkeys(table[c])) for c in ("variable", "model"))
    figure, grid = panels(-(-len(variables) // 2), min(2, len(variables)), height=2.8)
    for axes in grid.flat[len(variables) :]:
        axes.axis("off")
    for axes, variable in zip(grid.flat, variables, strict=False):
        for model, style in zip(models, line_styles(len(models)), strict=True):
            chosen = (table["variable"] == variable) & (table["model"] == model)
            part = table[chosen].sort_values("lead").dropna(subset=name)
            axes.plot(part["lead"], part[name], **style, label=str(model))
        axes.set(ylabel=name, xlabel=f"lead time up to{f', {unit}' if unit else ''}")
        axes.set_ylim(0, None)
        axes.set_title(variable, fontsize="medium")
    return finish(figure, title, grid[0, 0], columns=3)


def plot_residuals(backtest: pd.DataFrame, time: str, unit: str = "", title: str = "") -> Figure:
    """Standardised residuals, (actual - mean) / std: over time, their distribution, over lead time.

    Where forecasts are honest they have no pattern over time, the distribution of the forecast (the
    normal one is drawn beside), and a spread of 1 at every lead.

    Args:
        backtest: as `LatentODEForecaster.backtest` returns it.
        time: name of its time column.
        unit: of lead times, for the axis.
        title: above the panels.
    """
    variables = list(dict.fromkeys(backtest["variable"]))
    figure, grid = panels(len(variables), 3, height=2.6, width=11)
    times = DrawnTimes.of(time, backtest)
    frame = times.placed(backtest)
    frame = frame.assign(residual=(frame["actual"] - frame["mean"]) / frame["std"])
    for row, variable in zip(grid, variables, strict=True):
        own = frame[frame["variable"] == variable]
        some = own.iloc[:: max(1, len(own) // MANY)]
        row[0].plot(some[time], some["residual"], ".", color=OWN, ms=3, alpha=0.4)
        row[0].axhline(0.0, **REFERENCE)
        row[0].set(ylabel=variable, xlabel=times.label)
        reach = float(np.clip(own["residual"].abs().max(), 3.0, 6.0))
        edges = np.linspace(-reach, reach, 31)
        counts, _ = np.histogram(own["residual"].clip(-reach, reach), edges)
        row[1].stairs(counts / len(own) / np.diff(edges), edges, fill=True, color=OWN, alpha=0.45)
        row[1].plot(edges, stats.norm.pdf(edges), color=ACTUAL, linewidth=1, label="normal")
        row[1].set(xlabel="(actual - mean) / std", ylabel="density")
        by_lead = bin_leads(own, 8).groupby("lead")["residual"].apply(lambda r: np.sqrt((r**2).mean()))
        row[2].plot(by_lead.index, by_lead.to_numpy(), "o-", color=OWN, ms=4)
        row[2].axhline(1.0, **REFERENCE)
        row[2].set(ylabel="root mean square", xlabel=f"lead time up to{f', {unit}' if unit else ''}")
        row[2].set_ylim(0, None)
    for axes, name in zip(grid[0], ("over time", "distribution", "by lead time"), strict=True):
        axes.set_title(name, fontsize="medium")
    return finish(figure, title)


def plot_learning(history: pd.DataFrame, title: str = "") -> Figure:
    """The learning curve: losses of training and of what was held out, epoch by epoch.

    Args:
        history: `LatentODEForecaster.history_`; the epoch of the least held-out loss is marked, of an
            ensemble, whose members have a line each, that of the first.
        title: above the panel.

    Raises:
        LatentODEError: for a fit without epochs.
    """
    if "epoch" not in history or history.empty:
        raise LatentODEError("there is no learning curve: the fit had no epochs (max_epochs=0?)")
    losses = [c for c in ("train_loss", "val_loss") if c in history]
    figure, grid = panels(1, height=2.8)
    axes, styles = grid[0, 0], line_styles(2)
    of = [own for _, own in history.groupby("member")] if "member" in history else [history]
    for name, style in zip(losses, styles, strict=False):
        said = {"train_loss": "training", "val_loss": "held out"}[name]
        for number, own in enumerate(of):
            part = own.dropna(subset=name)
            axes.plot(part["epoch"], part[name], **style, label=None if number else said)
    history = of[0]
    if "val_loss" in history and history["val_loss"].notna().any():
        best = float(history["epoch"].iloc[int(np.nanargmin(history["val_loss"].to_numpy()))])
        axes.axvline(best, **REFERENCE, label="least held-out loss")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return finish(figure, title, axes)


def plot_leaderboard(leaderboard: pd.DataFrame, metric: str = "mae", title: str = "") -> Figure:
    """Held-out errors of a fit beside those of baselines: a panel per variable, the best on top.

    Args:
        leaderboard: `LatentODEForecaster.leaderboard_`.
        metric: "mae" or "crps".
        title: above the panels.

    Raises:
        LatentODEError: where nothing was held out, or for a metric that it does not have.
    """
    if leaderboard.empty:
        raise LatentODEError("there is no leaderboard: the fit held nothing out")
    known = [c for c in leaderboard.select_dtypes("number") if c in METRICS]
    if metric not in known:
        raise LatentODEError(f"metric {metric!r} is not in the leaderboard; draw {' or '.join(known)}")
    variables = list(dict.fromkeys(leaderboard["variable"]))
    figure, grid = panels(len(variables), height=1.9)
    for axes, variable in zip(grid[:, 0], variables, strict=True):
        own = leaderboard[leaderboard["variable"] == variable].sort_values(metric, ascending=False)
        place = np.arange(len(own))
        axes.hlines(place, 0, own[metric], color="0.8", linewidth=2)
        axes.plot(own[metric], place, "o", color=OWN)
        axes.set_yticks(place, own["model"])
        axes.set(xlim=(0, None), xlabel=metric)
        axes.set_title(variable, fontsize="medium")
    return finish(figure, title)
