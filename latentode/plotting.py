"""Pictures of histories and forecasts. Needs matplotlib: `pip install latentode[plot]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from latentode.errors import LatentODEError
from latentode.quantiles import quantile_levels, quantile_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_picture", "plot_forecast", "plot_tracks"]


def check_picture(path: Path) -> None:
    """Raises unless the ending of a path is one that matplotlib can write.

    Raises:
        LatentODEError: naming those that it can, or if matplotlib is not installed.
    """
    _pyplot()
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise LatentODEError(f"{path} is no picture; let its name end in .{', .'.join(sorted(known))}")


def plot_forecast(history: pd.DataFrame, forecast: pd.DataFrame, time: str, title: str = "") -> Figure:
    """A panel per variable: what was observed, the predictive mean and its outermost interval.

    Args:
        history: of one series, long: `time`, `variable`, `value`.
        forecast: of the same series, as `LatentODEForecaster.predict` returns it.
        time: name of the time column of both.
        title: above the panels.

    Raises:
        LatentODEError: if matplotlib is not installed.
    """
    plt = _pyplot()
    variables = list(dict.fromkeys(forecast["variable"]))
    figure, grid = plt.subplots(
        len(variables), 1, figsize=(9, 1 + 2 * len(variables)), sharex=True, squeeze=False
    )
    for axes, variable in zip(grid[:, 0], variables, strict=True):
        seen = history[history["variable"] == variable]
        axes.plot(seen[time], seen["value"], "k.", markersize=4, label="observed")
        _band(axes, forecast[forecast["variable"] == variable].sort_values(time), time)
        axes.set_ylabel(variable)
    grid[0, 0].legend(loc="best", fontsize="small")
    grid[0, 0].set_title(title)
    figure.autofmt_xdate()
    figure.tight_layout()
    return figure


def plot_tracks(
    tracks: Sequence[tuple[str, pd.DataFrame, pd.DataFrame, pd.DataFrame]], x: str, y: str
) -> Figure:
    """Paths on a plane with the uncertainty of where they go.

    Args:
        tracks: per panel a title, what was seen, what came (both wide, with the columns `x` and
            `y`), and the forecast (long, with quantiles), whose outermost intervals in both
            directions are drawn as an ellipse at each time.
        x: variable across.
        y: variable upwards.

    Raises:
        LatentODEError: if matplotlib is not installed.
    """
    plt = _pyplot()
    columns = min(3, len(tracks))
    rows = -(-len(tracks) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4.6 * columns, 4 * rows), squeeze=False)
    for axes in grid.flat[len(tracks) :]:
        axes.axis("off")
    for axes, (title, seen, came, forecast) in zip(grid.flat, tracks, strict=False):
        _ellipses(axes, forecast, x, y)
        axes.plot(seen[x], seen[y], "k.-", markersize=4, linewidth=1, label="history")
        axes.plot(came[x], came[y], "o", color="tab:green", markersize=3, label="what came")
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.set_aspect("equal", adjustable="datalim")
    grid[0, 0].legend(loc="best", fontsize="small")
    figure.tight_layout()
    return figure


def _band(axes: Axes, part: pd.DataFrame, time: str) -> None:
    axes.plot(part[time], part["mean"], ".-", color="tab:blue", markersize=4, label="forecast")
    levels = quantile_levels(part)
    if len(levels) > 1:
        low, high = part[quantile_name(levels[0])], part[quantile_name(levels[-1])]
        label = f"{levels[-1] - levels[0]:.0%} interval"
        axes.fill_between(part[time], low, high, color="tab:blue", alpha=0.2, label=label)


def _ellipses(axes: Axes, forecast: pd.DataFrame, x: str, y: str) -> None:
    from matplotlib.patches import Ellipse

    levels = quantile_levels(forecast)
    across = forecast[forecast["variable"] == x].reset_index(drop=True)
    upward = forecast[forecast["variable"] == y].reset_index(drop=True)
    low, high = quantile_name(levels[0]), quantile_name(levels[-1])
    for i in range(len(across)):
        centre = (across["mean"][i], upward["mean"][i])
        width, height = across[high][i] - across[low][i], upward[high][i] - upward[low][i]
        axes.add_patch(Ellipse(centre, width, height, color="tab:blue", alpha=0.08))
    axes.plot(across["mean"], upward["mean"], ".-", color="tab:blue", markersize=4, label="forecast")


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg", force=False)
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise LatentODEError("drawing needs matplotlib: pip install 'latentode[plot]'") from error
    return plt
