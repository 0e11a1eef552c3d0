r"""Pictures of histories, forecasts and vector fields. Needs matplotlib: `pip install latentode[plot]`.

A field $f$ of more than two dimensions is seen on a plane $z = o + a u + b w$, its slopes as
$(u \cdot f, w \cdot f)$, paths as $(u \cdot (z - o), w \cdot (z - o))$.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from latentode.data.columns import quantile_levels, quantile_name
from latentode.data.time_axis import Duration
from latentode.errors import LatentODEError
from latentode.estimators.forecaster import LatentODEForecaster
from latentode.forecast.components import DATA, LEVEL
from latentode.ode import Context, Solver
from latentode.ode.solver import VectorField
from latentode.plotting.phase import ALONG, Plane, latent_paths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "check_picture",
    "latent_slope_field",
    "plot_forecast",
    "plot_tracks",
    "pyplot",
    "slope_field",
]

MARGIN = 0.15  # of what a picture of paths leaves around them
STEPS = 2  # of the solver between drawn points: a picture should not show the solver


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


def plot_forecast(
    history: pd.DataFrame,
    forecast: pd.DataFrame,
    time: str,
    title: str = "",
    components: pd.DataFrame | None = None,
) -> Figure:
    """A panel per variable: what was observed, the predictive mean and its outermost interval.

    With components another panel below each, of what adds up to the mean; a level is drawn less its own
    mean, which the others would not be seen beside.

    Args:
        history: of one series, long: `time`, `variable`, `value`.
        forecast: of the same series, as `LatentODEForecaster.predict` returns it.
        time: name of the time column of both.
        title: above the panels.
        components: of the same forecast, as `Forecast.components` returns them.

    Raises:
        LatentODEError: if matplotlib is not installed.
    """
    plt = pyplot()
    variables = list(dict.fromkeys(forecast["variable"]))
    each = 1 if components is None else 2
    panels = each * len(variables)
    figure, grid = plt.subplots(panels, 1, figsize=(9, 1 + 2 * panels), sharex=True, squeeze=False)
    for axes, variable in zip(grid[::each, 0], variables, strict=True):
        seen = history[history["variable"] == variable]
        axes.plot(seen[time], seen["value"], "k.", markersize=4, label="observed")
        _band(axes, forecast[forecast["variable"] == variable].sort_values(time), time)
        axes.set_ylabel(variable)
    if components is not None:
        for axes, variable in zip(grid[1::2, 0], variables, strict=True):
            _lines(axes, components[components["variable"] == variable], time)
    grid[0, 0].legend(loc="best", fontsize="small")
    grid[0, 0].set_title(title)
    figure.autofmt_xdate()
    figure.tight_layout()
    return figure


def plot_tracks(
    tracks: Sequence[tuple[str, pd.DataFrame, pd.DataFrame, pd.DataFrame]], x: str, y: str
) -> Figure:
    """SamplePaths on a plane with the uncertainty of where they go.

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
        axes.plot(seen[x], seen[y], "k.-", markersize=4, linewidth=1, label="history")
        axes.plot(came[x], came[y], "o", color="tab:green", markersize=3, label="what came")
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.set_aspect("equal", adjustable="datalim")
    grid[0, 0].legend(loc="best", fontsize="small")
    figure.tight_layout()
    return figure


def slope_field(
    dynamics: VectorField,
    x: tuple[float, float],
    y: tuple[float, float],
    starts: Tensor | None = None,
    span: tuple[float, float] = (0.0, 10.0),
    plane: Plane | None = None,
    context: Context | None = None,
    density: int = 20,
    axes: Axes | None = None,
) -> Figure:
    """The slopes of a field at `t = span[0]` and solutions through it: a phase portrait.

    Args:
        dynamics: a `Dynamics`, another module or any function of (t, z, context), of two dimensions
            unless a plane is given.
        x: from where to where, across.
        y: from where to where, upwards.
        starts: states at `span[0]` whose solutions are drawn, shape `(paths, latent)`; none without.
        span: from when to when they are solved.
        plane: where to look at a field of more dimensions.
        context: what the field is told, of one row.
        density: arrows per direction.
        axes: where to draw; a figure of its own by default.

    Raises:
        LatentODEError: if matplotlib is not installed.
        SolveError: if a solution is not finite.

    Example:
        >>> turn = lambda t, z, context: torch.stack([z[:, 1], -z[:, 0]], dim=1)
        >>> figure = slope_field(turn, (-2, 2), (-2, 2), starts=torch.tensor([[1.0, 0.0]]))
        >>> len(figure.axes[0].lines)  # a path and the dot where it begins
        2
    """
    axes = axes or _square()
    like = torch.zeros(()) if plane is None else plane.origin
    plane = plane or Plane(like.new_zeros(2), torch.eye(2).to(like))
    _arrows(axes, dynamics, (x, y), span[0], plane, context, density)
    if starts is not None:
        told = None if context is None else context.repeat(len(starts))
        t0, t1 = (starts.new_full((len(starts),), end) for end in span)
        with torch.no_grad():
            path = Solver("rk38", ALONG, STEPS).solve(dynamics, starts, t0, t1, told).check_finite()
        _paths(axes, plane.project(path.states))
    axes.set(xlim=x, ylim=y)
    return axes.get_figure()  # type: ignore[return-value]


def latent_slope_field(
    forecaster: LatentODEForecaster,
    history: pd.DataFrame,
    variable: str | None = None,
    ahead: Duration | None = None,
    density: int = 20,
    axes: Axes | None = None,
) -> Figure:
    """The latent space of a fitted forecaster: paths of series, and the field that carries them.

    Drawn on the plane of the paths' two principal components, from each series' forecast origin (a
    dot) to `ahead` of it. Slopes are those of the field on that plane, told what the first series is.

    Args:
        forecaster: fitted.
        history: table with the columns of training; a path is drawn for each series.
        variable: whose latent state, in the layout per variable; the first by default.
        ahead: how far; one horizon by default.
        density: arrows per direction.
        axes: where to draw; a figure of its own by default.

    Raises:
        LatentODEError: if matplotlib is not installed, the latent state has one dimension, or
            variables act on each other along the way: then no field of one variable exists.
    """
    axes = axes or _square()
    states, context, name = latent_paths(forecaster, history, variable, ahead)
    plane = Plane.of(states.flatten(0, 1))
    points = plane.project(states)
    low, high = points.amin((0, 1)), points.amax((0, 1))
    room = MARGIN * (high - low).clamp(min=1e-6)
    x, y = torch.stack([low - room, high + room], dim=1).tolist()
    field = forecaster.network_.dynamics
    slope_field(field, tuple(x), tuple(y), plane=plane, context=context, density=density, axes=axes)
    _paths(axes, points)
    share = f"{plane.explained:.0%} of the variance"
    axes.set(xlabel="first component", ylabel="second component", title=f"latent {name}, {share}")
    return axes.get_figure()  # type: ignore[return-value]


def _square() -> Axes:
    return pyplot().subplots(figsize=(5, 5), layout="constrained")[1]


def _arrows(
    axes: Axes,
    dynamics: VectorField,
    window: tuple[tuple[float, float], tuple[float, float]],
    time: float,
    plane: Plane,
    context: Context | None,
    density: int,
) -> None:
    """Directions as arrows of one length, coloured by speed."""
    across, upward = (torch.linspace(*ends, density).to(plane.origin) for ends in window)
    points = torch.cartesian_prod(across, upward)
    told = None if context is None else context.repeat(len(points))
    with torch.no_grad():
        t = points.new_full((len(points),), time)
        slopes = dynamics(t, plane.lift(points), told) @ plane.axes.T
    speed = slopes.norm(dim=1)
    u, v = (slopes / speed.clamp(min=torch.finfo(speed.dtype).tiny)[:, None]).cpu().numpy().T
    arrows = axes.quiver(*points.cpu().numpy().T, u, v, speed.cpu().numpy(), angles="xy", cmap="Greys")
    arrows.set_clim(-float(speed.max()) / 2, float(speed.max()))  # so that slow ones are seen too


def _paths(axes: Axes, points: Tensor) -> None:
    """Curves of shape `(paths, times, 2)`, each with a dot where it begins."""
    for curve in points.cpu().numpy():
        axes.plot(*curve.T, linewidth=1)
        axes.plot(*curve[0], "o", color=axes.lines[-1].get_color(), markersize=3)


def _band(axes: Axes, part: pd.DataFrame, time: str) -> None:
    axes.plot(part[time], part["mean"], ".-", color="tab:blue", markersize=4, label="forecast")
    levels = quantile_levels(part)
    if len(levels) > 1:
        low, high = part[quantile_name(levels[0])], part[quantile_name(levels[-1])]
        label = f"{levels[-1] - levels[0]:.0%} interval"
        axes.fill_between(part[time], low, high, color="tab:blue", alpha=0.2, label=label)


def _lines(axes: Axes, parts: pd.DataFrame, time: str) -> None:
    """A line per component of one variable."""
    for name, part in parts.sort_values(time, kind="stable").groupby("component", sort=False):
        shift = part["value"].mean() if name == LEVEL else 0.0
        label = f"{name}, less {shift:.4g}" if name == LEVEL else str(name)
        axes.plot(part[time], part["value"] - shift, linewidth=1, label=label)
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
        axes.add_patch(Ellipse(centre, width, height, color="tab:blue", alpha=0.08))
    axes.plot(across["mean"], upward["mean"], ".-", color="tab:blue", markersize=4, label="forecast")


def pyplot() -> Any:
    """matplotlib's pyplot, drawing into files.

    Raises:
        LatentODEError: if matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg", force=False)
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise LatentODEError("drawing needs matplotlib: pip install 'latentode[plot]'") from error
    return plt
