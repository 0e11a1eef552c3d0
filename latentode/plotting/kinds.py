"""Kinds of pictures: what a fitted forecaster shows of a table, each kind by its name.

A kind makes the frames that a picture needs, with the functions that every other door uses, and hands
them to the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from latentode.data.cells.columns import IntoFrame, interval_levels
from latentode.data.cells.time_axis import Duration
from latentode.data.queries import At
from latentode.errors import LatentODEError, warn
from latentode.evaluation.backtest import ORIGINS, backtest_pairs, compare_with_baselines
from latentode.evaluation.pairs import observed_ahead
from latentode.forecast.first_passage import level_asked
from latentode.forecast.sample_paths import SamplePaths
from latentode.forecast.smoothing import forecast_along
from latentode.plotting.canvas import pyplot
from latentode.plotting.diagnostics import (
    plot_calibration,
    plot_errors,
    plot_leaderboard,
    plot_learning,
    plot_residuals,
)
from latentode.plotting.fields import latent_slope_field, plot_latent
from latentode.plotting.forecasts import plot_components, plot_forecast, plot_origins, plot_what_if
from latentode.plotting.futures import plot_first_passage, plot_paths
from latentode.plotting.interactive import to_plotly
from latentode.plotting.phase import Forecaster, fitted_of
from latentode.plotting.views import (
    AS_GIVEN,
    BACK,
    another_future,
    answer_at,
    backtest_of,
    blamed,
    drawn_since,
    moment_of,
    name_of,
    observed,
    one_series,
    points_of,
    read_argument,
    seen_by,
    times_ahead,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "WITHOUT_TABLE", "arguments_of", "plot"]

ENGINES = ("matplotlib", "plotly")
GRADED = interval_levels((50, 80, 95), [0.5])  # levels of the graded intervals
NEEDED = {
    "variable": "whose values are to reach a level",
    "others": "tables with other known futures by name, such as others={'half the dose': table}",
}
FINE = (0.025, *np.round(np.arange(0.05, 1.0, 0.05), 2), 0.975)  # levels of calibration


def plot(
    forecaster: Forecaster,
    table: IntoFrame | None = None,
    kind: str = "forecast",
    engine: str = "matplotlib",
    **asked: Any,
) -> Any:
    """A picture of a fitted forecaster.

    Args:
        forecaster: fitted.
        table: with the columns of training; `kind="learning"` and "leaderboard" take none.
        kind: one of `KINDS`.
        engine: "matplotlib", or "plotly" for a picture to move about in, in a browser.
        **asked: what that kind takes: `series=` (which one; the first by default), `ahead=` (how far;
            one horizon), `origin=` (a time to forecast from; the last observation), and more.

    Returns:
        A matplotlib figure; `.savefig("picture.png")` writes it. Or one of plotly;
        `.write_html("picture.html")` writes it.

    Raises:
        LatentODEError: for an unknown kind, engine or argument, or if what draws is not installed.
        NotFittedError: before a fit.
        SchemaError: for a table that cannot be read.

    Warns:
        UserWarning: of what a forecast rests on, as `predict` does.
    """
    parameters = arguments_of(kind)
    if engine not in ENGINES:
        raise LatentODEError(f"nothing is called {engine!r} that draws; choose {' or '.join(ENGINES)}")
    unknown = next((name for name in asked if name not in parameters), None)
    if unknown is not None:
        takes = ", ".join(parameters) or "nothing further"
        raise LatentODEError(f"a picture of kind {kind!r} takes no {unknown}=; it takes {takes}")
    fitted = fitted_of(forecaster)
    if table is None and kind not in WITHOUT_TABLE:
        raise LatentODEError(f"a picture of kind {kind!r} needs a table with the columns of training")
    given: dict[str, Any] = {}
    for name, parameter in parameters.items():
        value = asked.get(name)
        if value is not None:
            given[name] = read_argument(fitted, name, value)
        elif parameter.default is Parameter.empty:
            raise LatentODEError(f"a picture of kind {kind!r} needs {name}=, {NEEDED[name]}")
        elif name in asked and "None" in str(parameter.annotation):  # which it may be
            given[name] = None
    figure = KINDS[kind](forecaster, table, **given)
    if engine == "matplotlib":
        return figure
    try:
        return to_plotly(figure)
    finally:
        pyplot().close(figure)  # which nobody will look at


def arguments_of(kind: str) -> Mapping[str, Parameter]:
    """The arguments that pictures of a kind take, by name.

    Raises:
        LatentODEError: for an unknown kind, with those that there are.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise LatentODEError(f"there is no picture of kind {kind!r}; choose among {', '.join(KINDS)}")
    own = signature(KINDS[kind]).parameters.items()
    return {name: parameter for name, parameter in own if name not in ("forecaster", "table")}


def _forecast(
    forecaster: Forecaster,
    table: IntoFrame,
    series: Any = None,
    ahead: Duration | None = None,
    origin: Any = None,
    count: int | None = None,
    back: Duration | None = None,
    components: bool = False,
) -> Figure:
    fitted, one, span = one_series(forecaster, table, series, ahead)
    seen = seen_by(one, moment_of(one, origin))
    places = times_ahead(fitted, seen, span, count)
    answer = answer_at(fitted, seen, places, components)
    with blamed("components"):
        parts = answer.components() if components else None
    made = answer.to_frame(GRADED)
    start, name = float(seen.last[0]), name_of(one)
    history = observed(seen, seen.time >= drawn_since(fitted, seen, back))
    held_out = observed(one, (one.time > start) & (one.time <= start + span))
    time = str(one.schema.time)
    at = one.axis.restore(seen.last_ticks).iloc[0]
    return plot_forecast(history, made, time, name, parts, held_out if len(held_out) else None, at)


def _components(
    forecaster: Forecaster,
    table: IntoFrame,
    series: Any = None,
    ahead: Duration | None = None,
    count: int | None = None,
) -> Figure:
    fitted, one, span = one_series(forecaster, table, series, ahead)
    n = points_of(fitted, float(one.last[0] - one.first[0]) + span) if count is None else count
    parts = forecast_along(fitted, one, span, n, parts=True).components()
    return plot_components(parts, str(one.schema.time), name_of(one))


def _origins(
    forecaster: Forecaster,
    table: IntoFrame,
    series: Any = None,
    ahead: Duration | None = None,
    origins: int = 4,
    count: int | None = None,
) -> Figure:
    fitted, one, span = one_series(forecaster, table, series, ahead)
    usable = np.unique(observed_ahead(one, span).queries.origin)
    if not len(usable):
        raise LatentODEError("the series has no two times within a horizon: there is nothing to draw")
    wanted = np.linspace(usable[0], usable[-1], origins + 1)[1:]
    chosen = np.unique(usable[np.minimum(np.searchsorted(usable, wanted), len(usable) - 1)])
    frames, time = [], str(one.schema.time)
    for moment in chosen:
        seen = seen_by(one, moment)
        made = answer_at(fitted, seen, times_ahead(fitted, seen, span, count)).to_frame(GRADED)
        frames.append(made.assign(origin=one.axis.restore(seen.last_ticks).iloc[0]))
    course = observed(one, one.time >= chosen[0] - BACK * span)
    return plot_origins(course, pd.concat(frames, ignore_index=True), time, name_of(one))


def _what_if(
    forecaster: Forecaster,
    table: IntoFrame,
    others: Mapping[str, IntoFrame],
    series: Any = None,
    ahead: Duration | None = None,
    count: int | None = None,
    back: Duration | None = None,
) -> Figure:
    fitted, given, span = one_series(forecaster, table, series, ahead)
    time, columns = str(given.schema.time), list(given.schema.known_future)
    if not columns:
        raise LatentODEError(
            "the model has no known-future columns, so that every future is the same to it; to ask "
            "what if, fit with known_future= naming the columns that are known ahead"
        )
    courses, own = {AS_GIVEN: given}, None if given.schema.id is None else given.ids[0]
    for name, other in others.items():
        with blamed(f"others[{name!r}]"):
            courses[name] = another_future(forecaster, table, other, own)
    futures, known, since = {}, {}, drawn_since(fitted, given, back)
    for name, one in courses.items():
        futures[name] = answer_at(fitted, one, times_ahead(fitted, one, span, count)).to_frame(GRADED)
        rows = one.axis.to_units(one.row_ticks, one.start[0])
        inside = (rows >= drawn_since(fitted, one, back)) & (rows <= one.last[0] + span)
        known[name] = one.keys.loc[inside, [time, *columns]]
        if name != AS_GIVEN and futures[name].equals(futures[AS_GIVEN]):
            warn(f"others[{name!r}] has the same history and known future as the table, so far ahead")
    history = observed(given, given.time >= since)
    return plot_what_if(history, futures, time, known)


def _paths(
    forecaster: Forecaster,
    table: IntoFrame,
    series: Any = None,
    ahead: Duration | None = None,
    variable: str | None = None,
    level: float | None = None,
    draws: int = 40,
    count: int | None = None,
    back: Duration | None = None,
) -> Figure:
    fitted, one, span = one_series(forecaster, table, series, ahead)
    at = times_ahead(fitted, one, span, count).keys
    chosen = None if variable is None else [variable]
    frame = SamplePaths(fitted, one, span, draws).to_frame(at, variables=chosen)
    history = observed(one, one.time >= drawn_since(fitted, one, back))
    return plot_paths(history, frame, str(one.schema.time), name_of(one), level, draws)


def _first_passage(
    forecaster: Forecaster,
    table: IntoFrame,
    variable: str,
    above: float | None = None,
    below: float | None = None,
    ahead: Duration | None = None,
    draws: int = 256,
    most: int = 6,
) -> Figure:
    fitted, dataset = fitted_of(forecaster), forecaster.read(table)
    side, level = level_asked(above, below)
    span = fitted.horizon if ahead is None else fitted.reader.axis.duration(ahead, "ahead")
    some = dataset.select(np.arange(min(most, len(dataset))))
    passage = SamplePaths(fitted, some, span, draws).first_passage_time(variable, above, below)
    return plot_first_passage(passage, f"first time that {variable} is {side} {level:g}", most)


def _calibration(
    forecaster: Forecaster,
    table: IntoFrame,
    horizon: Duration | None = None,
    origins: int | None = ORIGINS,
    cutoffs: At | None = None,
) -> Figure:
    return plot_calibration(backtest_of(forecaster, table, FINE, horizon, origins, cutoffs))


def _residuals(
    forecaster: Forecaster,
    table: IntoFrame,
    horizon: Duration | None = None,
    origins: int | None = ORIGINS,
    cutoffs: At | None = None,
) -> Figure:
    reader = fitted_of(forecaster).reader
    frame = backtest_of(forecaster, table, (), horizon, origins, cutoffs)
    return plot_residuals(frame, str(reader.schema.time), reader.axis.unit_name.strip())


def _errors(
    forecaster: Forecaster,
    table: IntoFrame,
    metric: str = "mae",
    bins: int = 6,
    horizon: Duration | None = None,
    origins: int | None = ORIGINS,
    cutoffs: At | None = None,
) -> Figure:
    fitted, dataset = fitted_of(forecaster), forecaster.read(table)
    pairs = backtest_pairs(fitted, dataset, horizon, origins, cutoffs)
    compared = compare_with_baselines(fitted, dataset, pairs, GRADED, metric == "nll")
    return plot_errors(compared, fitted.reader.axis.unit_name.strip(), bins, metric)


def _latent(
    forecaster: Forecaster,
    table: IntoFrame,
    variable: str | None = None,
    ahead: Duration | None = None,
    most: int = 4,
) -> Figure:
    return plot_latent(forecaster, table, variable, ahead, most)


def _plane(
    forecaster: Forecaster,
    table: IntoFrame,
    variable: str | None = None,
    ahead: Duration | None = None,
) -> Figure:
    return latent_slope_field(forecaster, table, variable, ahead)


def _learning(forecaster: Forecaster, table: IntoFrame | None = None) -> Figure:
    return plot_learning(fitted_of(forecaster).record.history)


def _leaderboard(forecaster: Forecaster, table: IntoFrame | None = None, metric: str = "mae") -> Figure:
    return plot_leaderboard(fitted_of(forecaster).record.leaderboard, metric)


KINDS: Mapping[str, Callable[..., Any]] = {
    "forecast": _forecast,
    "components": _components,
    "backtest": _origins,
    "calibration": _calibration,
    "errors": _errors,
    "residuals": _residuals,
    "learning": _learning,
    "leaderboard": _leaderboard,
    "latent": _latent,
    "plane": _plane,
    "paths": _paths,
    "first-passage": _first_passage,
    "what-if": _what_if,
}
WITHOUT_TABLE = ("learning", "leaderboard")
