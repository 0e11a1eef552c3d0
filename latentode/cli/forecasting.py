"""`latentode forecast` and `latentode plot`.

`latentode evaluate` and `latentode calibrate`: forecasts beside what came true.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from latentode.cli.inputs import chosen, duration, load, question, table_of
from latentode.cli.options import Adapter, Model, NaValues, Table, blame, split
from latentode.data.columns import interval_levels, quantile_list, quantile_name
from latentode.errors import LatentODEError
from latentode.evaluation.metrics import METRICS, USUAL, metric_list

__all__ = ["calibrate", "evaluate", "forecast", "plot"]

if TYPE_CHECKING:
    from latentode.data.dataset import SeriesDataset


def forecast(
    model: Model,
    history: Table,
    at: Annotated[
        list[str] | None, typer.Option(help="A timestamp, asked of every series; may be repeated.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Table of (identifier, time) and known-future columns.")
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


CALIBRATED = (50, 80, 95)  # per cent of the intervals that `calibrate` prints the coverage of


def evaluate(
    model: Model,
    data: Table,
    horizon: Annotated[str | None, typer.Option(help="How far ahead; as fitted if left out.")] = None,
    origins: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most times of a series to forecast from, evenly spread; 200 if left out."
        ),
    ] = None,
    cutoffs: Annotated[
        str | None, typer.Option(help="Times to forecast every series from instead, comma-separated.")
    ] = None,
    bins: Annotated[int, typer.Option(min=1, help="Into how many bins of lead time to split.")] = 3,
    metrics: Annotated[
        str, typer.Option(help=f"Which figures, comma-separated, of {', '.join(METRICS)}.")
    ] = ",".join(USUAL),
    quantiles: Annotated[
        str, typer.Option(help="Levels to score, comma-separated; intervals are between them.")
    ] = "0.1,0.5,0.9",
    na_values: NaValues = None,
    adapter: Adapter = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write the table into as well.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML page to write: the tables, with pictures.")
    ] = None,
) -> None:
    """Forecast the observations of a table from earlier ones of their series, beside the baselines."""
    from latentode.evaluation.backtest import ORIGINS
    from latentode.evaluation.metrics import figures

    with blame("--metrics"):
        names = metric_list(split(metrics) or ())
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    every = set(levels)
    if report is not None:
        from latentode.plotting.page import REPORT_LEVELS

        every |= set(REPORT_LEVELS)

    fitted, origins = load(model), ORIGINS if origins is None else origins
    frame = table_of(fitted, data, na_values, adapter)
    ahead, when = duration(fitted, horizon, "--horizon"), split(cutoffs)
    asked = {"horizon": ahead, "origins": origins, "cutoffs": when}
    compared = fitted.compare(frame, sorted(every), "nll" in names, **asked)
    if compared.empty:
        raise LatentODEError("no series has two times within a horizon: nothing can be evaluated")
    others = [quantile_name(q) for q in every - set(levels)]
    table = figures(compared.drop(columns=others), names, bins)
    unit = fitted.axis_.unit_name.strip() or "units of the time column"
    about = (
        f"forecast from up to {origins} times of each series, evenly spread (--origins)"
        if when is None
        else f"forecast from {compared['origin'].nunique()} of {len(when)} cutoffs"
    )
    typer.echo(about)
    notes = [f"lead: upper end of a bin, in {unit}"]
    if "coverage" in names and len(levels) > 1:
        notes.append(f"coverage: of the {100 * (max(levels) - min(levels)):g} % interval")
    typer.echo("; ".join(notes))
    typer.echo(table.round(4).to_string())
    if out is not None:
        table.to_csv(out)
    if report is not None:
        from latentode.plotting.page import write_page

        write_page(report, compared, f"{model.name}: forecasts of {data.name}", about, unit, bins)
        typer.echo(f"report in {report}")


def calibrate(
    model: Model,
    data: Table,
    horizon: Annotated[str | None, typer.Option(help="How far ahead; as fitted if left out.")] = None,
    origins: Annotated[
        int | None,
        typer.Option(min=1, help="Most times of a series to forecast from; 200 if left out."),
    ] = None,
    cutoffs: Annotated[
        str | None, typer.Option(help="Times to forecast every series from instead, comma-separated.")
    ] = None,
    bins: Annotated[int, typer.Option(min=1, help="Most bins of lead time to tell apart.")] = 6,
    exchangeable: Annotated[
        str | None,
        typer.Option(help="What new forecasts will be like: other series, or later origins of these."),
    ] = None,
    na_values: NaValues = None,
    adapter: Adapter = None,
) -> None:
    """Calibrate a model's quantiles by forecasts of a held-out table."""
    from latentode.evaluation.backtest import ORIGINS

    fitted = load(model)
    frame = table_of(fitted, data, na_values, adapter)
    ahead, when = duration(fitted, horizon, "--horizon"), split(cutoffs)
    asked = {"horizon": ahead, "origins": ORIGINS if origins is None else origins, "cutoffs": when}
    fitted.calibrate(frame, bins, exchangeable, **asked).save(model)
    typer.echo("share of the table's values inside the model's intervals before calibration:")
    calibration = fitted.fitted_.calibration
    assert calibration is not None
    for name, curve in calibration.curves.items():
        shares = ", ".join(f"{curve.uncalibrated_coverage(p):.1%} of {p} %" for p in CALIBRATED)
        typer.echo(f"  {name}: {shares} ({curve.forecasts} forecasts)")
    typer.echo(f"{model} is calibrated by it; judge it on other data")
