"""Pictures of forecasts: one with what was seen and what came, its components, several origins over the
actual course, several futures side by side, tracks on a plane.

Each takes frames as `predict`, `backtest` and `components` return them and draws what stands in them,
nothing else: means as lines, quantiles as bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from latentode.data.cells.columns import quantile_levels, quantile_name
from latentode.errors import LatentODEError
from latentode.forecast.components import DATA, LEVEL
from latentode.plotting.canvas import (
    ACTUAL,
    COLOURS,
    HELD_OUT,
    OWN,
    DrawnTimes,
    central_intervals,
    draw_forecast,
    draw_observed,
    finish,
    line_styles,
    panels,
    pyplot,
    shown_once,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_components", "plot_forecast", "plot_origins", "plot_tracks", "plot_what_if"]

ROOM = 0.6  # of the widest component's span, that each panel of components reaches to either side


def plot_forecast(
    history: pd.DataFrame,
    forecast: pd.DataFrame,
    time: str,
    title: str = "",
    components: pd.DataFrame | None = None,
    held_out: pd.DataFrame | None = None,
    origin: Any = None,
) -> Figure:
    """A panel per variable: what was observed, the forecast with graded intervals, what came true.

    With components another panel below each, of what adds up to the mean; a level is drawn less its own
    mean, which the others would not be seen beside.

    Args:
        history: of one series, long: `time`, `variable`, `value`.
        forecast: of the same series, as `LatentODEForecaster.predict` returns it.
        time: name of the time column of both.
        title: above the panels.
        components: of the same forecast, as `Forecast.components` returns them.
        held_out: what was observed later and not seen by the forecast, as `history`.
        origin: the forecast origin, marked by a line; none is drawn without.

    Raises:
        LatentODEError: if matplotlib is not installed, or the forecast has no rows.
    """
    variables, times = _variables(forecast), DrawnTimes.of(time, history, forecast)
    history, forecast = times.placed(history), times.placed(forecast)
    each = 1 if components is None else 2
    figure, grid = panels(each * len(variables), height=2.2, sharex=True)
    for axes, variable in zip(grid[::each, 0], variables, strict=True):
        if origin is not None:
            axes.axvline(
                times.place(origin), color="0.35", linewidth=1, linestyle="--", label="forecast origin"
            )
        draw_forecast(axes, forecast[forecast["variable"] == variable], time)
        draw_observed(axes, history[history["variable"] == variable], time)
        if held_out is not None:
            came = times.placed(held_out[held_out["variable"] == variable])
            style = {"marker": "o", "mfc": "white", "mec": HELD_OUT, "ms": 5, "linestyle": "none"}
            axes.plot(came[time], came["value"], **style, label="came true")
        axes.set_ylabel(variable)
    if components is not None:
        for axes, variable in zip(grid[1::2, 0], variables, strict=True):
            _add_up(axes, times.placed(components[components["variable"] == variable]), time)
    grid[-1, 0].set_xlabel(times.label)
    return finish(figure, title, grid[0, 0])


def plot_components(components: pd.DataFrame, time: str, title: str = "") -> Figure:
    """A panel per component and a column per variable of what adds up to the mean of a forecast.

    The panels of a variable have one scale, so that a component which hardly matters looks like it.

    Args:
        components: of one series, as `Forecast.components` returns them.
        time: name of its time column.
        title: above the panels.
    """
    variables, names = _variables(components), list(dict.fromkeys(components["component"]))
    times = DrawnTimes.of(time, components)
    components = times.placed(components)
    figure, grid = panels(len(names), len(variables), height=1.5, sharex=True)
    for column, variable in enumerate(variables):
        own = components[components["variable"] == variable]
        span = own.groupby("component")["value"].agg(lambda v: v.max() - v.min()).max()
        reach = ROOM * (span if span > 0 else 1.0)
        for axes, name in zip(grid[:, column], names, strict=True):
            part = own[own["component"] == name].sort_values(time, kind="stable")
            axes.plot(part[time], part["value"], color=OWN, linewidth=1.4)
            middle = (part["value"].max() + part["value"].min()) / 2
            axes.set_ylim(middle - reach, middle + reach)
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center")
        unit = own["unit"].iloc[0]
        grid[0, column].set_title(
            variable if unit == DATA else f"{variable} ({unit})", fontsize="medium"
        )
        grid[-1, column].set_xlabel(times.label)
    return finish(figure, title)


def plot_origins(course: pd.DataFrame, forecasts: pd.DataFrame, time: str, title: str = "") -> Figure:
    """Forecasts of one series from several origins over the course that it took.

    Args:
        course: of the series, long: `time`, `variable`, `value`.
        forecasts: as `LatentODEForecaster.backtest` returns them, with the column `origin`.
        time: name of the time column of both.
        title: above the panels.
    """
    variables, times = _variables(forecasts), DrawnTimes.of(time, course, forecasts)
    course, forecasts = times.placed(course), times.placed(forecasts, "origin")
    origins = list(dict.fromkeys(forecasts["origin"]))
    figure, grid = panels(len(variables), height=2.4, sharex=True)
    for axes, variable in zip(grid[:, 0], variables, strict=True):
        own = forecasts[forecasts["variable"] == variable]
        for place, origin in enumerate(origins):
            part = own[own["origin"] == origin]
            colour = COLOURS[(0, 1, 2)[place % 3]]
            axes.axvline(origin, color=colour, linewidth=0.8, linestyle=":", zorder=1)
            _outermost(axes, part, time, colour)
            draw_forecast(axes, part[[time, "mean"]], time, colour, label="_")
        draw_observed(axes, course[course["variable"] == variable], time, label="what came true")
        axes.plot([], [], color=OWN, label="forecasts, each from its dotted line")
        axes.set_ylabel(variable)
    grid[-1, 0].set_xlabel(times.label)
    return finish(figure, title, grid[0, 0])


def plot_what_if(
    history: pd.DataFrame,
    forecasts: Mapping[str, pd.DataFrame],
    time: str,
    known: Mapping[str, pd.DataFrame] | None = None,
    title: str = "",
) -> Figure:
    """Forecasts of one series under several futures, side by side on the same axes.

    Args:
        history: of the series, long: `time`, `variable`, `value`.
        forecasts: by the name of each future.
        time: name of the time column.
        known: the known-future columns of each future, wide: `time` and a column each, drawn as steps.
        title: above the panels.
    """
    names = list(forecasts)
    variables = _variables(forecasts[names[0]])
    times = DrawnTimes.of(time, history, *forecasts.values())
    history = times.placed(history)
    columns = [] if known is None else [c for c in known[names[0]] if c != time]
    shape = (len(variables) + len(columns), len(names))
    figure, grid = panels(*shape, height=2.1, sharex=True, sharey="row")
    for column, name in enumerate(names):
        grid[0, column].set_title(name, fontsize="medium")
        for axes, variable in zip(grid[:, column], variables, strict=False):
            made = times.placed(forecasts[name])
            draw_forecast(axes, made[made["variable"] == variable], time)
            draw_observed(axes, history[history["variable"] == variable], time)
        for axes, given in zip(grid[len(variables) :, column], columns, strict=True):
            told = pd.DataFrame() if known is None else times.placed(known[name].sort_values(time))
            axes.step(told[time], told[given], where="post", color=ACTUAL, linewidth=1.2)
        grid[-1, column].set_xlabel(times.label)
    for axes, label in zip(grid[:, 0], [*variables, *columns], strict=True):
        axes.set_ylabel(label)
    return finish(figure, title, grid[0, 0])


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
    plt = pyplot()
    columns = min(3, len(tracks))
    rows = -(-len(tracks) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4.6 * columns, 4 * rows), squeeze=False)
    for axes in grid.flat[len(tracks) :]:
        axes.axis("off")
    for axes, (title, seen, came, forecast) in zip(grid.flat, tracks, strict=False):
        _ellipses(axes, forecast, x, y)
        axes.plot(seen[x], seen[y], ".-", color=ACTUAL, markersize=4, linewidth=1, label="history")
        style = {"marker": "o", "mfc": "white", "mec": HELD_OUT, "ms": 4, "linestyle": "none"}
        axes.plot(came[x], came[y], **style, label="what came")
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.set_aspect("equal", adjustable="datalim")
    grid[0, 0].legend(loc="best", fontsize="small")
    figure.tight_layout()
    return shown_once(figure)


def _variables(frame: pd.DataFrame) -> list[str]:
    """The variables of a frame in order of appearance.

    Raises:
        LatentODEError: if it has no rows.
    """
    if frame.empty:
        raise LatentODEError("there is nothing to draw: the frame of forecasts has no rows")
    return list(dict.fromkeys(frame["variable"]))


def _outermost(axes: Axes, part: pd.DataFrame, time: str, colour: str) -> None:
    """The widest central interval of a forecast, so light that others are seen through it."""
    pairs = central_intervals(part)
    if pairs:
        part = part.sort_values(time, kind="stable")
        low, high = (part[quantile_name(level)] for level in pairs[0])
        axes.fill_between(part[time], low, high, color=colour, alpha=0.2, linewidth=0)


def _add_up(axes: Axes, parts: pd.DataFrame, time: str) -> None:
    """A line per component of one variable."""
    groups = list(parts.sort_values(time, kind="stable").groupby("component", sort=False))
    for (name, part), style in zip(groups, line_styles(len(groups)), strict=True):
        shift = part["value"].mean() if name == LEVEL else 0.0
        label = f"{name}, less {shift:.4g}" if name == LEVEL else str(name)
        style = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.2}
        axes.plot(part[time], part["value"] - shift, **style, label=label)
    unit = parts["unit"].iloc[0]
    axes.set_ylabel("adds" if unit == DATA else f"adds ({unit})")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")


def _ellipses(axes: Axes, forecast: pd.DataFrame, x: str, y: str) -> None:
    from matplotlib.patches import Ellipse

    levels = quantile_levels(forecast)
    across = forecast[forecast["variable"] == x].reset_index(drop=True)
    upward = forecast[forecast["variable"] == y].reset_index(drop=True)
    low, high = quantile_name(levels[0]), quantile_name(levels[-1])
    for i in range(len(across)):
        centre = (across["mean"][i], upward["mean"][i])
        width, height = across[high][i] - across[low][i], upward[high][i] - upward[low][i]
        axes.add_patch(Ellipse(centre, width, height, color=OWN, alpha=0.08))
    axes.plot(across["mean"], upward["mean"], ".-", color=OWN, markersize=4, label="forecast")
