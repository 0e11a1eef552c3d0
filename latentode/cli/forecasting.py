"""`latentode forecast` and `latentode plot`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from latentode.cli.inputs import chosen, duration, load, question, table_of
from latentode.cli.options import Adapter, Model, NaValues, Table, blame, split
from latentode.data.columns import interval_levels, quantile_list
from latentode.errors import LatentODEError

if TYPE_CHECKING:
    from latentode.data.dataset import SeriesDataset

__all__ = ["forecast", "plot"]


def forecast(
    model: Model,
    history: Table,
    at: Annotated[
        list[str] | None, typer.Option(help="A timestamp, asked of every series; may be repeated.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Table of (identifier, time) and known columns.")
    ] = None,
    ahead: Annotated[
        str | None, typer.Option(help="How far ahead of each series' last observation: 24h.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="With --ahead, how many times up to it.")
    ] = None,
    quantiles: Annotated[str, typer.Option(help="Levels, comma-separated.")] = "0.1,0.5,0.9",
    level: Annotated[
        str | None,
        typer.Option(help="Central intervals in per cent, such as 50,80; their ends join the levels."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Write so many draws of futures instead.")
    ] = None,
    variables: Annotated[str | None, typer.Option(help="Which variables, comma-separated.")] = None,
    na_values: NaValues = None,
    adapter: Adapter = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write; standard output if left out.")] = None,
) -> None:
    """Forecast after, or fill in within, the histories of a table, at any timestamps."""
    fitted = load(model)
    if sum(x is not None for x in (at or None, queries, ahead)) != 1:
        raise LatentODEError("say when: exactly one of --at, --queries, --ahead")
    if count is not None and ahead is None:
        raise LatentODEError("--count says how many times up to --ahead; it goes with nothing else")
    missing = split(na_values) or ()
    frame = table_of(fitted, history, na_values, adapter)
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    asked = question(fitted, at, queries, ahead, missing)
    with blame("--level"):
        levels = levels if level is None else interval_levels(level.split(","), levels)
    made = fitted.predict(frame, asked, count, levels, chosen(fitted, variables), samples=samples)
    if out is None:
        made.to_csv(sys.stdout, index=False)
    else:
        made.to_csv(out, index=False)
        typer.echo(f"{len(made)} forecasts in {out}")


def plot(
    model: Model,
    history: Table,
    out: Annotated[Path, typer.Option(help="PNG, PDF or SVG to write.")],
    series: Annotated[str | None, typer.Option(help="Which series; the first if left out.")] = None,
    ahead: Annotated[str | None, typer.Option(help="How far ahead; one horizon if left out.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many times within history and ahead.")] = 60,
    na_values: NaValues = None,
    adapter: Adapter = None,
) -> None:
    """Draw a series' observations and its forecast with the 80 % interval."""
    from latentode.forecast.smoothing import forecast_along
    from latentode.plotting.pictures import check_picture, plot_forecast

    with blame("--out"):
        check_picture(out)
    fitted = load(model)
    dataset = fitted.read(table_of(fitted, history, na_values, adapter))
    with blame("--series"):
        index = 0 if series is None else int(dataset.index_of([series])[0])
    one = dataset.select([index])
    answer = forecast_along(fitted.fitted_, one, duration(fitted, ahead, "--ahead"), count).to_frame()
    time = str(fitted.schema_.time)
    figure = plot_forecast(_observed(one), answer, time, title=str(dataset.ids[index]))
    figure.savefig(out, dpi=120)
    typer.echo(f"picture in {out}")


def _observed(dataset: SeriesDataset) -> pd.DataFrame:
    """Long observations of one series, for drawing."""
    time = str(dataset.schema.time)
    stamps = dataset.keys[time].iloc[dataset.row].reset_index(drop=True)
    names = [dataset.variables[v] for v in dataset.variable]
    return pd.DataFrame({time: stamps, "variable": names, "value": dataset.value})
