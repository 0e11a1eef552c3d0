"""Pictures draw what their data say: lines, bands and steps of the axes equal the frames' values."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from making import waves

from latentode.errors import LatentODEError
from latentode.evaluation.metrics import bin_leads, summarise
from latentode.plotting import (
    KINDS,
    plot,
    plot_calibration,
    plot_components,
    plot_errors,
    plot_first_passage,
    plot_forecast,
    plot_latent,
    plot_leaderboard,
    plot_learning,
    plot_origins,
    plot_paths,
    plot_residuals,
    plot_what_if,
    to_plotly,
)
from latentode.plotting.canvas import COLOURS, central_intervals, line_styles
from latentode.plotting.phase import latent_paths
from latentode.plotting.views import points_of

LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
TOLD = {"first-passage": {"variable": "x", "above": 0.5}, "backtest": {"origins": 2, "count": 7}}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def one(frame):
    return frame[frame["id"] == "s0"]


@pytest.fixture(scope="module")
def history(one):
    return one.melt(["id", "time"], ["x", "y"]).dropna()


@pytest.fixture(scope="module")
def made(fitted, one):
    return fitted.predict(one, at=2.0, count=5, quantiles=LEVELS)


@pytest.fixture(scope="module")
def backtest(fitted, frame):
    return fitted.backtest(frame, quantiles=LEVELS)


def lines(axes):
    """What lines of axes go through, without straight ones across or up that mark a place."""
    return [line.get_xydata() for line in axes.lines]


def has_line(axes, x, y):
    wanted = np.column_stack([x, y])
    return any(d.shape == wanted.shape and np.allclose(d, wanted) for d in lines(axes))


def bands(axes):
    """Each filled band as (time, lower, upper)."""
    found = []
    for drawn in axes.collections:
        if type(drawn).__name__ not in ("FillBetweenPolyCollection", "PolyCollection"):
            continue
        points = drawn.get_paths()[0].vertices
        ends = pd.DataFrame(points, columns=["x", "y"]).groupby("x")["y"].agg(["min", "max"])
        found.append((ends.index.to_numpy(), ends["min"].to_numpy(), ends["max"].to_numpy()))
    return found


def test_a_forecast_is_drawn_with_its_intervals_its_origin_and_what_came_true(history, made):
    origin, later = 9.0, history[history["time"] > 9.0]
    figure = plot_forecast(history, made, "time", held_out=later, origin=origin)
    assert len(figure.axes) == 2
    for axes, variable in zip(figure.axes, ("x", "y"), strict=True):
        own, seen = made[made["variable"] == variable], history[history["variable"] == variable]
        came = later[later["variable"] == variable]
        assert has_line(axes, own["time"], own["mean"])
        assert has_line(axes, seen["time"], seen["value"]) and has_line(
            axes, came["time"], came["value"]
        )
        assert has_line(axes, [origin, origin], [0, 1])
        drawn = bands(axes)
        assert len(drawn) == 3  # 95, 80 and 50 %, the widest below
        for (low, high), (time, below, above) in zip(central_intervals(made), drawn, strict=True):
            assert np.allclose(time, own["time"])
            assert np.allclose(below, own[f"q{low:g}"]) and np.allclose(above, own[f"q{high:g}"])


def test_shades_of_intervals_are_told_apart_in_grey_the_narrower_the_darker(history, made):
    axes = plot_forecast(history, made, "time").axes[0]
    grey = [c.get_facecolor()[0][:3] @ np.array([0.299, 0.587, 0.114]) for c in axes.collections]
    assert (np.diff(grey) < -0.08).all()


def test_lines_differ_in_more_than_colour():
    styles = line_styles(len(COLOURS))
    for what in ("color", "linestyle", "marker"):
        assert len({str(style[what]) for style in styles}) == len(COLOURS)


def test_components_are_drawn_each_in_its_panel_on_one_scale(fitted, one):
    parts = fitted.forecast(one, at=2.0, count=4).components()
    names = list(dict.fromkeys(parts["component"]))
    figure = plot_components(parts, "time")
    for axes, (name, variable) in zip(
        figure.axes, [(n, v) for n in names for v in ("x", "y")], strict=True
    ):
        own = parts[(parts["component"] == name) & (parts["variable"] == variable)]
        assert has_line(axes, own["time"], own["value"])
    heights = [np.diff(axes.get_ylim())[0] for axes in figure.axes[::2]]
    assert np.allclose(heights, heights[0])


def test_forecasts_from_several_origins_lie_over_the_actual_course(history, backtest):
    own = backtest[backtest["id"] == "s0"]
    figure = plot_origins(history, own, "time")
    for axes, variable in zip(figure.axes, dict.fromkeys(own["variable"]), strict=True):
        seen = history[history["variable"] == variable]
        assert has_line(axes, seen["time"], seen["value"])
        for origin, part in own[own["variable"] == variable].groupby("origin"):
            assert has_line(axes, part["time"], part["mean"])
            assert has_line(axes, [origin, origin], [0, 1])


def test_reliability_and_pit_count_actual_values(backtest):
    figure = plot_calibration(backtest)
    for i, (_, own) in enumerate(backtest.groupby("variable", sort=False)):
        left, right = figure.axes[2 * i : 2 * i + 2]
        below = [(own["actual"] <= own[f"q{q:g}"]).mean() for q in LEVELS]
        assert has_line(left, LEVELS, below)
        heights, edges, _ = right.patches[0].get_data()
        assert heights @ np.diff(edges) == pytest.approx(1) and np.allclose(edges[1:-1], LEVELS)
        inside = own["actual"].between(own["q0.25"], own["q0.5"], inclusive="right").mean()
        assert heights[3] == pytest.approx(inside / 0.25)


def test_errors_by_lead_are_those_of_the_metrics(fitted, frame):
    compared = fitted.compare(frame)
    figure = plot_errors(compared, bins=3, metric="crps")
    table = summarise(bin_leads(compared, 3), ["variable", "model", "lead"], "crps")["crps"]
    for axes, variable in zip(figure.axes, dict.fromkeys(compared["variable"]), strict=True):
        for model in dict.fromkeys(compared["model"]):
            own = table[variable][model].sort_index()
            assert has_line(axes, own.index, own)


def test_residuals_are_standardised(backtest):
    figure = plot_residuals(backtest, "time")
    own = backtest[backtest["variable"] == backtest["variable"].iloc[0]]
    residual = (own["actual"] - own["mean"]) / own["std"]
    cloud, spread, leads = figure.axes[:3]
    assert has_line(cloud, own["time"], residual)
    heights, edges, _ = spread.patches[0].get_data()
    assert heights @ np.diff(edges) == pytest.approx(1)
    rms = np.sqrt((residual**2).groupby(bin_leads(own, 8)["lead"]).mean())
    assert has_line(leads, rms.index, rms)


def test_the_learning_curve_and_the_leaderboard_are_those_of_the_fit(fitted):
    record, board = fitted.history_, fitted.leaderboard_
    axes = plot_learning(record).axes[0]
    assert has_line(axes, record["epoch"], record["train_loss"])
    assert has_line(axes, record["epoch"], record["val_loss"])
    for axes, (_, own) in zip(
        plot_leaderboard(board).axes, board.groupby("variable", sort=False), strict=True
    ):
        own = own.sort_values("mae", ascending=False)
        assert has_line(axes, own["mae"], range(len(own)))
        assert [t.get_text() for t in axes.get_yticklabels()] == own["model"].tolist()
    for empty, draw in ((record.iloc[:0], plot_learning), (board.iloc[:0], plot_leaderboard)):
        with pytest.raises(LatentODEError, match="fit"):
            draw(empty)


def test_latent_states_are_drawn_over_time(fitted, frame):
    states, _, _ = latent_paths(fitted, frame, "y", ahead=3.0)
    figure = plot_latent(fitted, frame, "y", ahead=3.0, most=2)
    for axes, own in zip(figure.axes, states[:2].numpy(), strict=True):
        times = np.linspace(0, 3, states.shape[1])
        assert all(has_line(axes, times, line) for line in own.T)


def test_sample_paths_and_first_passages_are_those_that_were_drawn(fitted, frame, one, history):
    paths = fitted.sample_paths(one, draws=9)
    drawn = paths.to_frame(at=2.0, count=5)
    assert list(drawn) == ["id", "time", "variable", "draw", "value"] and len(drawn) == 9 * 5 * 2
    means = drawn.groupby(["variable", "time"])["value"].mean()
    said = paths.value(at=2.0, count=5).set_index(["variable", "time"])["mean"]
    assert np.allclose(means, said[means.index])
    figure = plot_paths(history, drawn, "time", level=0.5, shown=4)
    for axes, variable in zip(figure.axes, ("x", "y"), strict=True):
        for draw in range(9):
            own = drawn[(drawn["draw"] == draw) & (drawn["variable"] == variable)]
            assert has_line(axes, own["time"], own["value"]) == (draw < 4)
    passage = fitted.sample_paths(frame, draws=50).first_passage_time("x", above=0.5)
    axes = plot_first_passage(passage).axes[0]
    for series, step in enumerate(lines(axes)):
        for time in (0.5, 1.5, 2.0):
            share = step[step[:, 0] <= time, 1].max()
            assert share == pytest.approx(passage.cdf(time)[series])


def test_what_if_puts_futures_side_by_side(history, made):
    other = made.assign(mean=made["mean"] + 1)
    doses = {n: pd.DataFrame({"time": [0.0, 5.0], "dose": [d, 0.0]}) for n, d in (("a", 1), ("b", 2))}
    figure = plot_what_if(history, {"a": made, "b": other}, "time", doses)
    grid = np.array(figure.axes).reshape(3, 2)
    for column, (name, frame) in enumerate({"a": made, "b": other}.items()):
        assert grid[0, column].get_title() == name
        for axes, variable in zip(grid[:2, column], ("x", "y"), strict=True):
            own = frame[frame["variable"] == variable]
            assert has_line(axes, own["time"], own["mean"])
        assert has_line(grid[2, column], doses[name]["time"], doses[name]["dose"])
    assert grid[0, 0].get_ylim() == grid[0, 1].get_ylim()


def test_a_picture_from_an_origin_shows_what_predict_says_and_what_came_later(fitted, frame):
    one = frame[frame["id"] == "s1"]
    origin = float(one.dropna(subset=["x", "y"], how="all")["time"].iloc[12])
    axes = fitted.plot(frame, series="s1", origin=origin, count=9).axes[0]
    seen = one[one["time"] <= origin]
    times = pd.DataFrame({"id": "s1", "time": np.linspace(origin, origin + 2.0, 9)})
    own = fitted.predict(seen, times, variables=["x"], smooth=False)
    assert has_line(axes, own["time"], own["mean"])
    came = one[(one["time"] > origin) & (one["time"] <= origin + 2.0)].dropna(subset="x")
    assert has_line(axes, came["time"], came["x"])
    with pytest.raises(LatentODEError, match="before the first observation"):
        fitted.plot(frame, series="s1", origin=-5.0)


def test_what_cannot_be_drawn_is_refused_with_what_can(fitted, frame):
    with pytest.raises(LatentODEError, match="takes no colour=; it takes series, ahead"):
        plot(fitted, frame, colour="red")
    with pytest.raises(LatentODEError, match="several quantiles"):
        plot_calibration(waves(1).assign(variable="x"))
    with pytest.raises(LatentODEError, match="no rows"):
        plot_forecast(pd.DataFrame(), pd.DataFrame({"variable": []}), "time")


def test_a_curve_has_enough_points_for_its_shortest_cycle(fitted):
    from dataclasses import replace

    reader = fitted.fitted_.reader
    daily = replace(reader, schema=replace(reader.schema, cycles=(1.0, 7.0)))
    assert points_of(replace(fitted.fitted_, reader=daily), 28.0) >= 20 * 28
    assert points_of(fitted.fitted_, 28.0) < 200


def corners(trace, axis):
    """Numbers of a trace of plotly, of which gaps are NaN."""
    values = pd.Series(list(trace[axis]), dtype=object)
    return values.where(values.notna(), np.nan).to_numpy(float)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "what-if"])
def test_an_interactive_picture_shows_every_line_and_area_of_the_printed_one(kind, fitted, frame):
    go = pytest.importorskip("plotly.graph_objects")
    told = TOLD.get(kind, {})
    drawn, shown = (fitted.plot(frame, kind, engine=e, **told) for e in ("matplotlib", "plotly"))
    assert isinstance(shown, go.Figure) and shown.to_json()
    traces = {name: [] for name in ("lines", "areas")}
    for trace in shown.data:
        traces["areas" if trace.fill == "toself" else "lines"].append(trace)
    lines = [line for axes in drawn.axes for line in axes.lines]
    areas = sum(len(axes.patches) + len(axes.collections) for axes in drawn.axes)
    assert len(shown.data) == len(lines) + areas
    found = [np.stack([corners(t, "x"), corners(t, "y")], axis=1) for t in traces["lines"]]
    for line in lines:
        where = np.stack([line.get_xdata(orig=False), line.get_ydata(orig=False)], axis=1).astype(float)
        where = where if len(where) else np.full((1, 2), np.nan)
        if line.get_transform() == line.axes.transData:
            assert any(f.shape == where.shape and np.allclose(f, where, equal_nan=True) for f in found)
    titles = {a.text for a in shown.layout.annotations}
    assert {axes.get_title() for axes in drawn.axes} - {""} <= titles
    named = [t.name for t in shown.data if t.showlegend]
    assert len(named) == len(set(named))


def test_bands_of_an_interactive_forecast_are_its_intervals_and_dates_are_dates(history, made):
    pytest.importorskip("plotly")
    since = pd.Timestamp("2026-03-01")
    dated = [t.assign(time=since + pd.to_timedelta(t["time"], unit="h")) for t in (history, made)]
    shown = to_plotly(plot_forecast(*dated, "time"))
    bands = [t for t in shown.data if t.fill == "toself" and t.xaxis == "x"]
    own = made[made["variable"] == made["variable"].iloc[0]]
    assert [b.name for b in bands] == ["95 % interval", "80 % interval", "50 % interval"]
    for band, (low, high) in zip(
        bands, [("q0.025", "q0.975"), ("q0.1", "q0.9"), ("q0.25", "q0.75")], strict=True
    ):
        assert corners(band, "y").min() == pytest.approx(own[low].min())
        assert corners(band, "y").max() == pytest.approx(own[high].max())
        times = pd.to_datetime(pd.Series(list(band.x)).dropna())
        assert abs(times.max() - dated[1]["time"].max()) < pd.Timedelta("1s")
    assert shown.layout.xaxis.type == "date"


def test_names_in_interactive_pictures_are_names_times_local_and_panels_move_together(history, made):
    pytest.importorskip("plotly")
    since, name = pd.Timestamp("2026-03-01", tz="Europe/Berlin"), "<a href='x'>&lt;"
    dated = [
        t.assign(
            time=since + pd.to_timedelta(t["time"], unit="h"),
            variable=t["variable"].replace("x", name),
        )
        for t in (history, made)
    ]
    shown = to_plotly(plot_forecast(*dated, "time", name))
    assert name not in shown.to_json() and "&lt;a href" in shown.layout.yaxis.title.text
    times = pd.to_datetime(pd.Series(list(shown.data[-1].x)).dropna(), format="ISO8601")
    assert abs(times.max() - dated[0]["time"].max().tz_localize(None)) < pd.Timedelta("1s")
    assert shown.layout.xaxis2.matches == "x" and shown.layout.xaxis.matches is None
