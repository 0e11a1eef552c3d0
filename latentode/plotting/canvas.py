r"""Canvas: the axes of a picture, its colours, bands and dates. Needs matplotlib.

Colours are those of Okabe and Ito, which the colour-blind tell apart; whatever a colour says is said by
a marker, a dash or a shade besides, so that a picture can be printed in grey. A forecast is drawn as
bands of its central intervals, $[q_\tau, q_{1-\tau}]$, the narrower the darker.

References:
    Color universal design (Okabe and Ito, 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from latentode.data.cells.columns import quantile_levels, quantile_name
from latentode.data.cells.time_axis import UNITS
from latentode.errors import LatentODEError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ACTUAL",
    "HELD_OUT",
    "OWN",
    "DrawnTimes",
    "central_intervals",
    "check_picture",
    "draw_forecast",
    "draw_observed",
    "finish",
    "line_styles",
    "panels",
    "pyplot",
    "shown_once",
]

OWN, ACTUAL, HELD_OUT = "#0072B2", "#000000", "#D55E00"
COLOURS = (OWN, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LIGHTEST, DARKEST = 0.82, 0.45  # how white the widest and the narrowest interval are
DIGITS = 9  # to which levels are compared
WIDTH = 9.0  # inches


@dataclass(frozen=True)
class DrawnTimes:
    """How times are drawn: as they are, but durations, of which matplotlib has no axis, as numbers.

    Args:
        name: of the time column.
        unit: that durations are counted in; None for any other times.
    """

    name: str
    unit: str | None = None

    @classmethod
    def of(cls, name: str, *frames: pd.DataFrame) -> DrawnTimes:
        """Of frames with one time column; durations in days or the widest unit that fits in twice."""
        columns = [frame[name] for frame in frames if len(frame)]
        columns = [column for column in columns if column.dtype.kind == "m"]
        if not columns:
            return cls(name)
        span = max(c.max() for c in columns) - min(c.min() for c in columns)
        fit = [u for u, one in UNITS.items() if 2 * pd.Timedelta(one) <= span and u != "W"]
        return cls(name, fit[-1] if fit else next(iter(UNITS)))

    @property
    def label(self) -> str:
        """What to write beside the axis."""
        return self.name if self.unit is None else f"{self.name}, {self.unit}"

    def place(self, times: Any) -> Any:
        """Where a time, or a column of them, is drawn."""
        return times if self.unit is None else times / pd.Timedelta(UNITS[self.unit])

    def placed(self, frame: pd.DataFrame, *further: str) -> pd.DataFrame:
        """A frame whose times, those of further columns included, are as they are drawn."""
        if self.unit is None or frame.empty:
            return frame
        return frame.assign(**{name: self.place(frame[name]) for name in (self.name, *further)})


def pyplot() -> Any:
    """matplotlib's pyplot, with whatever backend the session has.

    Raises:
        LatentODEError: if matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise LatentODEError("drawing needs matplotlib: pip install 'latentode[plot]'") from error
    return plt


def check_picture(path: Path) -> None:
    """Raises unless the ending of a path is one that matplotlib can write.

    Raises:
        LatentODEError: naming those that it can, or if matplotlib is not installed.
    """
    pyplot()
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise LatentODEError(f"{path} is no picture; let its name end in .{', .'.join(sorted(known))}")


def panels(
    rows: int, columns: int = 1, height: float = 2.4, width: float = WIDTH, **shared: Any
) -> tuple[Figure, Any]:
    """A figure of axes in rows, each `height` inches high, and columns; `shared` as of `subplots`."""
    size = (width, 0.6 + height * rows)
    figure, grid = pyplot().subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", **shared
    )
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, grid


def line_styles(n: int) -> list[dict[str, Any]]:
    """So many styles of lines that differ in colour, dash and marker."""
    every = zip(cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
    return [{"color": c, "linestyle": d, "marker": m, "ms": 4} for c, d, m in islice(every, n)]


def central_intervals(frame: pd.DataFrame) -> list[tuple[float, float]]:
    """Pairs of quantile levels of a frame that are as far from 0 as from 1, the widest first.

    Example:
        >>> central_intervals(pd.DataFrame(columns=["q0.1", "q0.25", "q0.5", "q0.75", "q0.9"]))
        [(0.1, 0.9), (0.25, 0.75)]
    """
    levels = quantile_levels(frame)
    above = {round(1 - q, DIGITS): q for q in levels if q > 0.5}
    return [(q, above[round(q, DIGITS)]) for q in levels if round(q, DIGITS) in above]


def draw_forecast(
    axes: Axes, part: pd.DataFrame, time: str, colour: str = OWN, label: str = "forecast"
) -> None:
    """The mean of one variable's forecast as a line above the bands of its central intervals.

    Args:
        axes: where.
        part: of one series and variable: `time`, `mean` and quantiles.
        time: name of the time column.
        colour: of the line; bands are shades of it.
        label: of the line in a legend.
    """
    from matplotlib.colors import to_rgb

    part, pairs = part.sort_values(time, kind="stable"), central_intervals(part)
    for place, (below, above) in enumerate(pairs):
        share = place / max(len(pairs) - 1, 1)
        white = LIGHTEST + (DARKEST - LIGHTEST) * share
        shade = tuple(white + (1 - white) * c for c in to_rgb(colour))
        low, high = part[quantile_name(below)], part[quantile_name(above)]
        name = f"{100 * (above - below):.4g} % interval"
        axes.fill_between(part[time], low, high, color=shade, linewidth=0, label=name)
    axes.plot(part[time], part["mean"], color=colour, linewidth=1.6, label=label)


def draw_observed(
    axes: Axes, seen: pd.DataFrame, time: str, value: str = "value", label: str = "observed"
) -> None:
    """Observations as dots, a thin line between them."""
    seen = seen.sort_values(time, kind="stable")
    axes.plot(seen[time], seen[value], color="0.75", linewidth=0.8, zorder=1.5)
    axes.plot(seen[time], seen[value], ".", color=ACTUAL, ms=4, label=label)


def finish(figure: Figure, title: str = "", legend: Any = None, columns: int = 4) -> Figure:
    """Puts a title and the legend of some axes above the panels, and writes dates shortly."""
    import matplotlib.dates as dates

    for axes in figure.axes:
        if isinstance(axes.xaxis.get_major_locator(), dates.AutoDateLocator):
            locator = dates.AutoDateLocator(minticks=3, maxticks=8)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=axes.xaxis.units))
    if legend is not None:
        handles, names = legend.get_legend_handles_labels()
        if handles:
            n = min(columns, len(names))
            figure.legend(handles, names, loc="outside upper right", ncols=n, fontsize="small")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium", fontweight="bold")
    return shown_once(figure)


def shown_once(figure: Figure) -> Figure:
    """Closes a figure of a notebook, which shows what a cell returns and, again, what is open."""
    plt = pyplot()
    if "inline" in plt.get_backend():
        plt.close(figure)
    return figure
