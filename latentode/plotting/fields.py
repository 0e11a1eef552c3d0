r"""Slope fields and phase portraits, of any vector field and of a fitted forecaster's latent space.

A field $f$ of more than two dimensions is seen on a plane $z = o + a u + b w$, its slopes as
$(u \cdot f, w \cdot f)$, paths as $(u \cdot (z - o), w \cdot (z - o))$.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentode.data.cells.columns import IntoFrame
from latentode.data.cells.time_axis import Duration
from latentode.ode import Context, Solver
from latentode.ode.solver import VectorField
from latentode.plotting.canvas import COLOURS, DASHES, finish, panels, pyplot, shown_once
from latentode.plotting.phase import ALONG, Forecaster, Plane, latent_paths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["latent_slope_field", "plot_latent", "slope_field"]

MARGIN = 0.15  # of what a picture of paths leaves around them
STEPS = 2  # of the solver between drawn points: a picture should not show the solver


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
    return shown_once(axes.get_figure())  # type: ignore[arg-type]


def latent_slope_field(
    forecaster: Forecaster,
    history: IntoFrame,
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
    field = forecaster.fitted_.engine.network.dynamics
    slope_field(field, tuple(x), tuple(y), plane=plane, context=context, density=density, axes=axes)
    _paths(axes, points)
    share = f"{plane.explained:.0%} of the variance"
    axes.set(xlabel="first component", ylabel="second component", title=f"latent {name}, {share}")
    return shown_once(axes.get_figure())  # type: ignore[arg-type]


def plot_latent(
    forecaster: Forecaster,
    history: IntoFrame,
    variable: str | None = None,
    ahead: Duration | None = None,
    most: int = 4,
) -> Figure:
    """The latent state of series over time, from the forecast origin on: a panel each, a line per axis.

    Args:
        forecaster: fitted.
        history: table with the columns of training.
        variable: whose latent state, in the layout per variable; the first by default.
        ahead: how far; one horizon by default.
        most: how many series at most, the first ones.

    Raises:
        LatentODEError: if matplotlib is not installed, or as `latent_paths` raises.
    """
    states, _, name = latent_paths(forecaster, history, variable, ahead)
    axis, ids = forecaster.fitted_.reader.axis, forecaster.read(history).ids
    horizon = forecaster.fitted_.horizon if ahead is None else axis.duration(ahead, "ahead")
    times, drawn = torch.linspace(0, horizon, states.shape[1]).numpy(), states[:most].cpu().numpy()
    figure, grid = panels(len(drawn), height=1.7, sharex=True)
    for axes, own, identifier in zip(grid[:, 0], drawn, ids, strict=False):
        for i, line in enumerate(own.T):
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
            axes.plot(times, line, **style, label=f"z{i + 1}")
        axes.set_ylabel(str(identifier))
    grid[-1, 0].set_xlabel(f"time since the forecast origin{_in(axis.unit_name)}")
    return finish(figure, f"latent {name} over time", grid[0, 0], columns=8)


def _in(unit: str) -> str:
    return f",{unit}" if unit else ""


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
