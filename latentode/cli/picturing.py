"""Picturing: from the options of `latentode plot` to a file with a picture of one kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer

from latentode.cli.file_options import Table, file_options
from latentode.cli.inputs import duration, load, table_of
from latentode.cli.options import Adapter, Model, blame
from latentode.cli.questions import level_of
from latentode.data.files.writing import check_place, replacing
from latentode.data.tables.file_format import FileFormat
from latentode.errors import LatentODEError

if TYPE_CHECKING:
    from latentode.estimators.forecaster import LatentODEForecaster

__all__ = ["plot"]


@file_options
def plot(
    model: Model,
    history: Table,
    file_format: FileFormat,
    out: Annotated[Path, typer.Option(help="PNG, PDF or SVG to write, or HTML to move about in.")],
    kind: Annotated[
        str,
        typer.Option(
            help="forecast, components, backtest, calibration, errors, residuals, learning, "
            "leaderboard, latent, plane, paths, first-passage or what-if."
        ),
    ] = "forecast",
    series: Annotated[str | None, typer.Option(help="Which series; the first if left out.")] = None,
    ahead: Annotated[str | None, typer.Option(help="How far ahead; one horizon if left out.")] = None,
    back: Annotated[
        str | None, typer.Option(help="How much history to draw; three horizons if left out.")
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(help="A time to forecast from; what came later is drawn as what came true."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=2, help="Points of a curve; if left out, enough for the shortest cycle."),
    ] = None,
    variable: Annotated[str | None, typer.Option(help="Which one, of kinds that draw one.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Of errors and leaderboard: mae, rmse, crps, ...")
    ] = None,
    first_passage: Annotated[
        str | None, typer.Option(help="Of kind first-passage, which level: 'glucose>180'.")
    ] = None,
    other: Annotated[
        list[Path] | None,
        typer.Option(
            help="Of kind what-if, another known future: a table like the first, or rows of the known "
            "columns alone; may be repeated."
        ),
    ] = None,
    components: Annotated[
        bool, typer.Option("--components", help="Draw below a forecast what adds up to its mean.")
    ] = False,
    adapter: Adapter = None,
) -> None:
    """Draw a forecast with graded intervals, or how good forecasts are, into a file."""
    from latentode.plotting.canvas import check_picture
    from latentode.plotting.kinds import WITHOUT_TABLE, arguments_of

    interactive = out.suffix.lower() in (".html", ".htm")
    with blame("--out"):
        if not interactive:
            check_picture(out)
        check_place(out)
    with blame("--kind"):
        takes = arguments_of(kind)
    fitted = load(model)
    asked: dict[str, Any] = {
        "ahead": duration(fitted, ahead, "--ahead"),
        "back": duration(fitted, back, "--back"),
        "origin": origin,
        "count": count,
        "variable": variable,
        "metric": metric,
        "components": components or None,
    }
    options = {name: f"--{name}" for name in asked}
    if first_passage is not None:
        with blame("--first-passage"):
            name, side, level = level_of(first_passage)
        asked |= {"variable": name, side: level}
        options |= dict.fromkeys(("variable", side), "--first-passage")
    files = _by_name(other or [])
    asked["others"] = files or None
    options["others"] = "--other"
    given = {name: value for name, value in asked.items() if value is not None}
    for name in given:
        if name not in takes:
            raise LatentODEError(f"{options[name]} does not go with --kind {kind}")
    if kind == "what-if" and not other:
        raise LatentODEError("--kind what-if compares with other known futures; give --other TABLE")
    if kind == "first-passage" and first_passage is None:
        raise LatentODEError("--kind first-passage needs a level; give --first-passage 'glucose>180'")
    frame = None
    if kind not in WITHOUT_TABLE:
        frame = _of_series(fitted, table_of(fitted, history, file_format, adapter), series)
    elif series is not None:
        raise LatentODEError(f"--series does not go with --kind {kind}")
    if files:
        with blame("--other"):
            tables = {n: table_of(fitted, [path], file_format, adapter) for n, path in files.items()}
        given["others"] = tables
    said = {f"others[{n!r}]": f"--other {path}" for n, path in files.items()}
    with _in_options(said | {name: options[name] for name in given}):
        engine = "plotly" if interactive else "matplotlib"
        figure = fitted.plot(frame, kind, engine=engine, **given)
    with replacing(out) as new:
        if interactive:
            figure.write_html(new)
        else:
            figure.savefig(new, dpi=120)
    typer.echo(f"picture in {out}")


def _by_name(files: list[Path]) -> dict[str, Path]:
    """Files by what they are called in a picture: without folder and ending, where that is enough.

    Raises:
        LatentODEError: for a file that is named twice.
    """
    for names in ([f.stem for f in files], [f.name for f in files], [str(f) for f in files]):
        if len(set(names)) == len(names):
            return dict(zip(names, files, strict=True))
    raise LatentODEError("--other names a file twice; name each once")


@contextmanager
def _in_options(options: Mapping[str, str]) -> Iterator[None]:
    """Has an error that begins with the name of an argument begin with that of its option."""
    try:
        yield
    except LatentODEError as error:
        said = str(error)
        for name, option in options.items():
            # Not "variable `x` is", which is of the table.
            if re.match(rf"{re.escape(name)}(?!\w)(?! `)", said):
                raise LatentODEError(option + said.removeprefix(name)) from error
        raise


def _of_series(fitted: LatentODEForecaster, table: pd.DataFrame, series: str | None) -> pd.DataFrame:
    """The rows of one series, if one is named."""
    if series is None:
        return table
    dataset = fitted.read(table)
    with blame("--series"):
        return dataset.select(dataset.index_of([series])).to_frame()
