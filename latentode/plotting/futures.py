"""Pictures of sample paths, and of when they first reach a level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from latentode.forecast.first_passage import FirstPassageTime
from latentode.plotting.canvas import (
    OWN,
    DrawnTimes,
    draw_observed,
    finish,
    line_styles,
    panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_first_passage", "plot_paths"]

SHOWN = 40  # draws; more are a band


def plot_paths(
    history: pd.DataFrame,
    draws: pd.DataFrame,
    time: str,
    title: str = "",
    level: float | None = None,
    shown: int = SHOWN,
) -> Figure:
    """Sample paths of one series behind what was observed: a panel per variable, a line per draw.

    Args:
        history: long: `time`, `variable`, `value`.
        draws: as `SamplePaths.to_frame` returns them: `time`, `variable`, `draw`, `value`.
        time: name of the time column of both.
        title: above the panels.
        level: a level that is asked about, drawn as a line across.
        shown: how many draws at most, the first ones.
    """
    variables, times = list(dict.fromkeys(draws["variable"])), DrawnTimes.of(time, history, draws)
    history, draws = times.placed(history), times.placed(draws)
    figure, grid = panels(len(variables), height=2.4, sharex=True)
    for axes, variable in zip(grid[:, 0], variables, strict=True):
        own = draws[(draws["variable"] == variable) & (draws["draw"] < shown)]
        for place, (_, part) in enumerate(own.groupby("draw", sort=True)):
            label = "sample paths" if place == 0 else "_"
            axes.plot(part[time], part["value"], color=OWN, alpha=0.35, linewidth=0.9, label=label)
        if level is not None:
            axes.axhline(level, color="0.35", linestyle="--", linewidth=1, label=f"level {level:g}")
        draw_observed(axes, history[history["variable"] == variable], time)
        axes.set_ylabel(variable)
    grid[-1, 0].set_xlabel(times.label)
    return finish(figure, title, grid[0, 0])


def plot_first_passage(passage: FirstPassageTime, title: str = "", most: int = 6) -> Figure:
    """The probability that a level has been reached, by time since the forecast origin.

    Args:
        passage: of `SamplePaths.first_passage_time`.
        title: above the panel.
        most: how many series at most, the first ones.
    """
    figure, grid = panels(1, height=3.0)
    axes, n = grid[0, 0], min(most, len(passage))
    names = passage.keys.iloc[:, 0] if len(passage.keys.columns) > 2 else pd.Series([""] * n)
    for series, style in enumerate(line_styles(n)):
        reached = np.sort(passage.times[:, series])
        reached = reached[np.isfinite(reached)]
        when = np.r_[0.0, reached, passage.horizon]
        share = np.r_[0.0, np.arange(1, len(reached) + 1), len(reached)] / len(passage.times)
        label = f"{names.iloc[series]} ({share[-1]:.0%} within the horizon)".strip()
        drawn = {"color": style["color"], "linestyle": style["linestyle"]}
        axes.step(when, share, where="post", **drawn, label=label)
    unit = passage.axis.unit_name
    axes.set(xlim=(0, passage.horizon), ylim=(0, 1), ylabel="probability that it has happened")
    axes.set_xlabel(f"time since the last observation{f',{unit}' if unit else ''}")
    return finish(figure, title, axes, columns=2)
