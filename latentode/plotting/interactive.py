"""Interactive: the same pictures for a browser, as figures of plotly.

What matplotlib has drawn is told plotly artist by artist, in data units: lines, bands, bars, points,
arrows, names. So there is one drawing of each kind of picture, and both say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from latentode.errors import LatentODEError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path
    from matplotlib.transforms import Transform

__all__ = ["to_plotly"]

PIXELS = 100  # of an inch
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot", "None": "solid"}
SHAPES = {"default": "linear", "steps-post": "hv", "steps-pre": "vh", "steps": "vh", "steps-mid": "hvh"}
MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    ".": "circle",
}
ARROW = 0.7  # of the distance between neighbouring ones


def to_plotly(figure: Figure) -> Any:
    """A figure of plotly that shows what a matplotlib figure does.

    Args:
        figure: as the functions of `latentode.plotting` draw it.

    Returns:
        A `plotly.graph_objects.Figure`; `.show()` opens and `.write_html("picture.html")` writes it.

    Raises:
        LatentODEError: if plotly is not installed.
    """
    try:
        import plotly.graph_objects as go  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise LatentODEError(
            "an interactive picture needs plotly: pip install 'latentode[interactive]'"
        ) from error
    figure.canvas.draw()  # which lays the panels out
    width, height = figure.get_size_inches() * PIXELS
    layout: dict[str, Any] = {
        "width": width, "height": height, "template": "plotly_white", "annotations": [],
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "right", "x": 1},
        "margin": {"l": 10, "r": 10, "t": 60, "b": 10},
    }  # fmt: skip
    title = figure.get_suptitle()
    if title:
        layout["title"] = {"text": f"<b>{escape(title)}</b>", "x": 0.01}
    traces, named = [], set()
    for number, axes in enumerate(figure.axes, 1):
        x, y = (f"{name}{'' if number == 1 else number}" for name in "xy")
        layout |= _layout(axes, x, y)
        layout["annotations"] += list(_words(axes, x, y))
        for trace in _traces(axes):
            name = trace.pop("name", None)
            shown = name is not None and name not in named
            named.add(name)
            group = {} if name is None else {"name": name, "legendgroup": name}
            made = {**trace, **group, "showlegend": shown, "xaxis": x, "yaxis": y}
            traces.append(go.Scatter(**made))
    return go.Figure(traces, layout)


def _layout(axes: Axes, x: str, y: str) -> dict[str, Any]:
    """The two axes of a panel: where they are, what they are called, from where to where they go."""
    place = axes.get_position()
    ends = {"x": (place.x0, place.x1), "y": (place.y0, place.y1)}
    found = {}
    for name, other, axis in (("x", y, axes.xaxis), ("y", x, axes.yaxis)):
        low, high = axis.get_view_interval()
        own: dict[str, Any] = {
            "domain": ends[name],
            "anchor": other,
            "title": {"text": escape(axis.get_label_text())},
            "automargin": True,
            **_ticks(axis),
        }
        siblings = getattr(axes, f"get_shared_{name}_axes")().get_siblings(axes)
        first = min(axes.figure.axes.index(other_axes) for other_axes in siblings)
        if axes.figure.axes[first] is not axes:  # moved and enlarged together
            own["matches"] = f"{name}{first + 1 if first else ''}"
        if axis.get_scale() == "log":
            own |= {"type": "log", "range": [np.log10(low), np.log10(high)]}
        elif _has_dates(axis):
            own |= {"type": "date", "range": _dates(axis, np.array([low, high]))}
        else:
            own["range"] = [low, high]
        found[f"{name}axis{x[1:]}"] = own
    if axes.get_aspect() == 1.0:
        found[f"yaxis{x[1:]}"]["scaleanchor"] = x
    return found


def _has_dates(axis: Any) -> bool:
    from matplotlib.dates import DateLocator

    return isinstance(axis.get_major_locator(), DateLocator)


def _dates(axis: Any, numbers: np.ndarray) -> list[str | None]:
    """matplotlib's numbers of days as ISO times, as the axis' own time zone has them."""
    from matplotlib.dates import num2date

    times = (num2date(n, axis.units).replace(tzinfo=None) if np.isfinite(n) else None for n in numbers)
    return [None if time is None else time.isoformat() for time in times]


def _ticks(axis: Any) -> dict[str, Any]:
    """Ticks that are names rather than numbers, and whether another panel's say it already."""
    from matplotlib.ticker import FixedLocator

    told = axis.get_tick_params()
    shown = told.get("labelbottom" if axis.axis_name == "x" else "labelleft", True)
    if not isinstance(axis.get_major_locator(), FixedLocator):
        return {"showticklabels": shown}
    names = [escape(text.get_text()) for text in axis.get_ticklabels()]
    return {"showticklabels": shown, "tickvals": list(axis.get_majorticklocs()), "ticktext": names}


def _words(axes: Axes, x: str, y: str) -> Iterator[dict[str, Any]]:
    """The panel's title, and words in it."""
    own = {"xref": f"{x} domain", "yref": f"{y} domain", "showarrow": False}
    for side, at in (("left", 0.0), ("center", 0.5), ("right", 1.0)):
        text = axes.get_title(loc=side)  # type: ignore[arg-type]
        if text:
            yield own | {"text": escape(text), "x": at, "xanchor": side, "y": 1.0, "yanchor": "bottom"}
    inside = axes.transAxes.inverted()
    for text in axes.texts:
        at, up = inside.transform(text.get_transform().transform(text.get_position()))
        yield own | {"text": escape(text.get_text()), "x": at, "y": up}


def _traces(axes: Axes) -> Iterator[dict[str, Any]]:
    """What is drawn in a panel, what lies behind first."""
    from matplotlib.collections import LineCollection, PathCollection, PolyCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.quiver import Quiver

    drawn = [*axes.patches, *axes.collections, *axes.lines]
    for artist in sorted(drawn, key=lambda a: a.get_zorder()):
        if not artist.get_visible():
            continue
        if isinstance(artist, Line2D):
            yield _line(axes, artist)
        elif isinstance(artist, Quiver):
            yield _arrows(axes, artist)
        elif isinstance(artist, Patch):
            yield _area(axes, artist, [artist.get_path()], artist.get_facecolor())
        elif isinstance(artist, LineCollection):
            yield _segments(axes, artist)
        elif isinstance(artist, PathCollection):
            yield _points(axes, artist)
        elif isinstance(artist, PolyCollection):
            yield _area(axes, artist, artist.get_paths(), np.asarray(artist.get_facecolor())[0])


def _line(axes: Axes, line: Any) -> dict[str, Any]:
    marker, style = str(line.get_marker()), line.get_linestyle()
    lines, marked = style not in ("None", " ", ""), marker not in ("None", "none", " ", "")
    where = np.stack([line.get_xdata(orig=False), line.get_ydata(orig=False)], axis=1).astype(float)
    if line.get_transform() != axes.transData:  # told in parts of the panel, as of a line across it
        where = axes.transData.inverted().transform(line.get_transform().transform(where))
    size = line.get_markersize() * (0.6 if marker == "." else 1.3)
    dash = "dash" if line.is_dashed() and style not in DASHES else DASHES.get(style, "solid")
    return {
        **_at(axes, where),
        **_named(line),
        "mode": "+".join(m for m, some in (("lines", lines), ("markers", marked)) if some) or "none",
        "line": {
            "color": _colour(line.get_color(), line.get_alpha()),
            "width": 1.3 * line.get_linewidth(),
            "dash": dash,
            "shape": SHAPES[line.get_drawstyle()],
        },
        "marker": {
            "symbol": MARKERS.get(marker, "circle"),
            "size": size,
            "color": _colour(line.get_markerfacecolor(), line.get_alpha()),
            "line": {
                "color": _colour(line.get_markeredgecolor(), line.get_alpha()),
                "width": line.get_markeredgewidth() if marker != "." else 0.0,
            },
        },
    }


def _area(axes: Axes, artist: Artist, paths: Sequence[Path], colour: Any) -> dict[str, Any]:
    """A band, a bar or another outline, filled."""
    shift, gap = artist.get_transform(), np.full((1, 2), np.nan)
    corners = [np.concatenate([part, gap]) for path in paths for part in _outlines(path, shift)]
    where = np.concatenate(corners)[:-1] if corners else np.zeros((0, 2))
    return {
        **_at(axes, axes.transData.inverted().transform(where)),
        **_named(artist),
        "mode": "lines",
        "fill": "toself",
        "fillcolor": _colour(colour, None),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _outlines(path: Path, shift: Transform) -> list[np.ndarray]:
    """The closed outlines of a path in pixels, its curves as many short lines."""
    path = path.transformed(shift)
    corners = np.asarray(path.vertices)
    if path.codes is None:
        return [corners]
    if np.isin(path.codes, (path.CURVE3, path.CURVE4)).any():
        path.should_simplify = False
        return [np.asarray(part) for part in path.to_polygons()]
    begins = np.flatnonzero(path.codes == path.MOVETO)
    parts = np.split(corners, begins[1:])
    ends = np.split(path.codes, begins[1:])
    return [
        np.where((c == path.CLOSEPOLY)[:, None], v[:1], v) for v, c in zip(parts, ends, strict=True)
    ]


def _segments(axes: Axes, lines: Any) -> dict[str, Any]:
    gap = np.full((1, 2), np.nan)
    parts = [np.concatenate([part, gap]) for part in lines.get_segments()]
    where = np.concatenate(parts) if parts else np.zeros((0, 2))
    colour = _colour(np.asarray(lines.get_color())[0], lines.get_alpha())
    width = 1.3 * float(np.asarray(lines.get_linewidth())[0])
    line = {"color": colour, "width": width}
    return {**_at(axes, where), **_named(lines), "mode": "lines", "line": line}


def _points(axes: Axes, points: Any) -> dict[str, Any]:
    where = np.asarray(points.get_offsets(), dtype=float)
    size = 1.3 * float(np.sqrt(points.get_sizes()[0]))
    marker = {"size": size, "color": _colour(points.get_facecolor()[0], points.get_alpha())}
    return {**_at(axes, where), **_named(points), "mode": "markers", "marker": marker}


def _arrows(axes: Axes, arrows: Any) -> dict[str, Any]:
    """Arrows of one length, each a line that ends in a head."""
    begin = np.stack([arrows.X, arrows.Y], axis=1)
    apart = [np.diff(np.unique(begin[:, k])).min(initial=np.ptp(begin[:, k]) or 1.0) for k in (0, 1)]
    way = np.stack([arrows.U, arrows.V], axis=1)
    end = begin + ARROW * way / np.maximum(np.hypot(*(way / apart).T), 1e-9)[:, None]
    where = np.stack([begin, end, np.full_like(begin, np.nan)], axis=1).reshape(-1, 2)
    grey = "rgba(120, 120, 120, 0.8)"
    return {
        **_at(axes, where),
        "mode": "lines+markers",
        "line": {"color": grey, "width": 1},
        "marker": {
            "symbol": "arrow",
            "angleref": "previous",
            "color": grey,
            "size": np.tile([0, 7, 0], len(begin)).tolist(),
        },
        "hoverinfo": "skip",
    }


def _at(axes: Axes, where: np.ndarray) -> dict[str, Any]:
    """Places in data units."""
    # What is nowhere, such as a line that only has a name, has a place so that its name is shown.
    x, y = where.T if len(where) else np.full((2, 1), np.nan)
    return {"x": _values(axes.xaxis, x), "y": _values(axes.yaxis, y)}


def _values(axis: Any, numbers: np.ndarray) -> list[Any]:
    """Numbers for plotly, which knows no NaN, or dates."""
    if _has_dates(axis):
        return _dates(axis, numbers)
    return [float(n) if np.isfinite(n) else None for n in numbers]


def _named(artist: Artist) -> dict[str, str]:
    """What a legend calls an artist, if it has one of its own."""
    name = str(artist.get_label())
    return {} if not name or name.startswith("_") else {"name": escape(name)}


def _colour(colour: Any, alpha: float | None) -> str:
    from matplotlib.colors import to_rgba

    red, green, blue, opacity = to_rgba(colour, alpha)
    return f"rgba({round(255 * red)}, {round(255 * green)}, {round(255 * blue)}, {opacity:.3g})"
