"""The command line: files in, files out.

latentode convert | inspect | fit | forecast | evaluate | plot | demo
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from latentode.convert import convert as convert_source
from latentode.convert import schema_options_of, settings_of
from latentode.data.adapters import CONVERTERS
from latentode.data.dataset import SeriesDataset
from latentode.data.queries import At
from latentode.data.report import inspect as inspect_table
from latentode.data.schema import Schema
from latentode.data.tables import read_table
from latentode.demo import run_demo
from latentode.errors import LatentODEError
from latentode.estimator import LatentODEForecaster
from latentode.evaluation import ORIGINS, bin_leads
from latentode.metrics import summarise
from latentode.options import (
    Model,
    NaValues,
    Quiet,
    Table,
    blame,
    in_options,
    schema_options,
    split,
)
from latentode.plotting import check_picture, plot_forecast
from latentode.quantiles import quantile_list

__all__ = ["main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Forecast irregular time series at any timestamp with latent neural ODEs. Start with "
    "`latentode inspect data.csv`, then `latentode fit data.csv --out model`.",
)

Duplicates = Annotated[
    str, typer.Option(help="Several rows of one (series, time): error, mean or last.")
]


@app.command()
def convert(
    adapter: Annotated[str, typer.Argument(help=f"One of {', '.join(CONVERTERS)}.")],
    source: Annotated[Path, typer.Argument(help="The file or folder that it reads.")],
    out: Annotated[Path, typer.Option(help="CSV or Parquet to write.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="An argument of the adapter, name=value; may be repeated."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Turn a field's own files into one table, and say how to fit it."""
    frame, schema = convert_source(adapter, source, out, settings_of(set_ or ()), overwrite)
    typer.echo(f"{len(frame)} rows in {out}: {schema.describe()}")
    typer.echo(f"next: latentode fit {out} {schema_options_of(schema, frame)} --out model")


@app.command()
@schema_options
def inspect(
    data: Table,
    schema: Schema,
    na_values: NaValues = None,
) -> None:
    """Report what a table holds and how irregular it is, before any training."""
    frame = read_table(data, schema, split(na_values) or ())
    typer.echo(inspect_table(frame, schema).to_text())


@app.command()
@schema_options
def fit(
    data: Table,
    schema: Schema,
    out: Annotated[Path, typer.Option(help="Folder to write the model into.")],
    horizon: Annotated[
        str | None,
        typer.Option(
            help="How far ahead to learn to look, such as 24h; or a number. If left out, a quarter of "
            "a series' span, or what 50 observation times of it take if that is less."
        ),
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="How far back to look; eight horizons if left out.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Table of held-out series for early stopping.")
    ] = None,
    na_values: NaValues = None,
    duplicates: Duplicates = "error",
    latent_layout: Annotated[
        str, typer.Option(help="A latent state per variable (per-variable) or per series (joint).")
    ] = "per-variable",
    encoder: Annotated[str, typer.Option(help="gru; jointly also ode-rnn or linear.")] = "gru",
    likelihood: Annotated[str, typer.Option(help="normal or student-t.")] = "normal",
    t0: Annotated[str, typer.Option(help="Place of the latent state: origin or start.")] = "origin",
    dynamics: Annotated[str, typer.Option(help="mlp, gated, linear or second-order.")] = "mlp",
    latent_size: Annotated[int, typer.Option(min=1, help="Size of the latent state.")] = 16,
    hidden_size: Annotated[int, typer.Option(min=1, help="Width of the networks.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs to train.")] = 60,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    loss: Annotated[str, typer.Option(help="likelihood, mse, mae or mse+mae.")] = "likelihood",
    balance: Annotated[
        str, typer.Option(help="What weighs the same in it: observations or variables.")
    ] = "observations",
    schedule: Annotated[
        str, typer.Option(help="Of the learning rate: cosine, constant or plateau.")
    ] = "cosine",
    monitor: Annotated[
        str, typer.Option(help="What early stopping watches: val_loss, val_nll, val_mse or val_mae.")
    ] = "val_loss",
    weight_averaging: Annotated[
        float, typer.Option(help="Decay of the running average of the weights; 0 for none.")
    ] = 0.99,
    drop_observations: Annotated[
        float, typer.Option(help="Largest part of a training context to hide from the encoder.")
    ] = 0.0,
    cuts: Annotated[
        int | None,
        typer.Option(min=1, help="Training cuts per epoch; by the number of series if left out."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and of training cuts.")] = 0,
    num_threads: Annotated[int, typer.Option(min=1, help="CPU threads; more seldom help.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Replace a model that is there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Fit a latent ODE to a table and save it; the best model so far is saved as it goes."""
    if (out / "forecaster.json").exists() and not overwrite:
        raise LatentODEError(f"{out} already holds a model; choose another --out, or pass --overwrite")
    missing = split(na_values) or ()
    frame = read_table(data, schema, missing)
    held_out = None if validation is None else read_table(validation, schema, missing)
    model = LatentODEForecaster(
        horizon=horizon,
        context=context,
        layout=latent_layout,
        latent_size=latent_size,
        hidden_size=hidden_size,
        encoder=encoder,
        likelihood=likelihood,
        t0=t0,
        dynamics=dynamics,
        max_epochs=epochs,
        lr=lr,
        loss=loss,
        balance=balance,
        schedule=schedule,
        monitor=monitor,
        weight_averaging=weight_averaging or None,
        drop_observations=drop_observations,
        cuts=cuts,
        duplicates=duplicates,
        verbose=not quiet,
        random_state=seed,
    )
    if not quiet:
        typer.echo(f"schema: {schema.resolve(frame).describe()}")
    try:
        model.fit(frame, schema, held_out, save_to=out, num_threads=num_threads)
    except KeyboardInterrupt:
        saved = (out / "forecaster.json").exists()
        left = f"the best model so far is in {out}" if saved else "no epoch had ended, nothing is saved"
        typer.echo(f"interrupted: {left}", err=True)
        raise typer.Exit(130) from None
    if not quiet:
        typer.echo(f"learnt to look {model.horizon_:g}{model.axis_.unit_name} ahead; model in {out}")


@app.command()
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
    variables: Annotated[str | None, typer.Option(help="Which variables, comma-separated.")] = None,
    na_values: NaValues = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write; standard output if left out.")] = None,
) -> None:
    """Forecast after, or fill in within, the histories of a table, at any timestamps."""
    fitted = LatentODEForecaster.load(model)
    if sum(x is not None for x in (at or None, queries, ahead)) != 1:
        raise LatentODEError("say when: exactly one of --at, --queries, --ahead")
    if count is not None and ahead is None:
        raise LatentODEError("--count says how many times up to --ahead; it goes with nothing else")
    missing = split(na_values) or ()
    frame = read_table(history, fitted.schema_, missing)
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    question = _question(fitted, at, queries, ahead, missing)
    answer = fitted.predict(frame, question, count, levels, _chosen(fitted, variables))
    if out is None:
        answer.to_csv(sys.stdout, index=False)
    else:
        answer.to_csv(out, index=False)
        typer.echo(f"{len(answer)} forecasts in {out}")


@app.command()
def evaluate(
    model: Model,
    data: Table,
    horizon: Annotated[str | None, typer.Option(help="How far ahead; as fitted if left out.")] = None,
    origins: Annotated[
        int, typer.Option(min=1, help="Most times of a series to forecast from, evenly spread.")
    ] = ORIGINS,
    cutoffs: Annotated[
        str | None, typer.Option(help="Times to forecast every series from instead, comma-separated.")
    ] = None,
    bins: Annotated[int, typer.Option(min=1, help="Into how many bins of lead time to split.")] = 3,
    na_values: NaValues = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write the table into as well.")] = None,
) -> None:
    """Forecast the observations of a table from earlier ones of their series, beside the baselines."""
    fitted = LatentODEForecaster.load(model)
    frame = read_table(data, fitted.schema_, split(na_values) or ())
    ahead, when = _duration(fitted, horizon, "--horizon"), split(cutoffs)
    compared = fitted.compare(frame, ahead, origins, when)
    if compared.empty:
        raise LatentODEError("no series has two times within a horizon: nothing can be evaluated")
    table = summarise(bin_leads(compared, bins), ["variable", "lead", "model"])
    table = table.sort_index(level=["variable", "lead"], sort_remaining=False)
    unit = fitted.axis_.unit_name.strip() or "units of the time column"
    typer.echo(
        f"forecast from up to {origins} times of each series, evenly spread (--origins)"
        if when is None
        else f"forecast from {compared['origin'].nunique()} of {len(when)} cutoffs"
    )
    typer.echo(f"lead: upper end of a bin, in {unit}; coverage: of the 80 % interval")
    typer.echo(table.round(4).to_string())
    if out is not None:
        table.to_csv(out)


@app.command()
def plot(
    model: Model,
    history: Table,
    out: Annotated[Path, typer.Option(help="PNG, PDF or SVG to write.")],
    series: Annotated[str | None, typer.Option(help="Which series; the first if left out.")] = None,
    ahead: Annotated[str | None, typer.Option(help="How far ahead; one horizon if left out.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many times within history and ahead.")] = 60,
    na_values: NaValues = None,
) -> None:
    """Draw a series' observations and its forecast with the 80 % interval."""
    with blame("--out"):
        check_picture(out)
    fitted = LatentODEForecaster.load(model)
    dataset = fitted.read(read_table(history, fitted.schema_, split(na_values) or ()))
    with blame("--series"):
        index = 0 if series is None else int(dataset.index_of([series])[0])
    one = dataset.select([index])
    frame = one.to_frame()
    answer = fitted.trace(frame, _duration(fitted, ahead, "--ahead"), count).to_frame()
    time = str(fitted.schema_.time)
    figure = plot_forecast(_observed(one), answer, time, title=str(dataset.ids[index]))
    figure.savefig(out, dpi=120)
    typer.echo(f"picture in {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("latentode-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs to train.")] = 60,
    quiet: Quiet = False,
) -> None:
    """Fit on Atlantic storms before 2018, forecast the later ones, score and draw it."""
    run_demo(out, typer.echo, verbose=not quiet, epochs=epochs)


def main() -> None:
    """Runs the command line; an error that the user can mend is one line and exit status 1."""
    warnings.showwarning = _note
    try:
        app()
    except (LatentODEError, OSError) as error:
        typer.echo(f"error: {in_options(str(error))}", err=True)
        sys.exit(1)


def _question(
    fitted: LatentODEForecaster,
    at: list[str] | None,
    queries: Path | None,
    ahead: str | None,
    missing: tuple[str, ...],
) -> At:
    """What the one of the three that was given asks for."""
    if queries is not None:
        return read_table(queries, fitted.schema_, missing)
    if at:
        return list(fitted.axis_.parse(pd.Series(at), "--at"))
    return fitted.axis_.duration(str(ahead), "--ahead")


def _duration(fitted: LatentODEForecaster, text: str | None, option: str) -> float | None:
    return None if text is None else fitted.axis_.duration(text, option)


def _chosen(fitted: LatentODEForecaster, variables: str | None) -> tuple[str, ...] | None:
    chosen, known = split(variables), fitted.schema_.targets or ()
    for name in chosen or ():
        if name not in known:
            raise LatentODEError(f"--variables: {name!r} is none of {', '.join(known)}")
    return chosen


def _observed(dataset: SeriesDataset) -> pd.DataFrame:
    """Long observations of one series, for drawing."""
    time = str(dataset.schema.time)
    stamps = dataset.keys[time].iloc[dataset.row].reset_index(drop=True)
    names = [dataset.variables[v] for v in dataset.variable]
    return pd.DataFrame({time: stamps, "variable": names, "value": dataset.value})


def _note(message: Warning | str, *place: object) -> None:
    typer.echo(f"note: {in_options(str(message))}", err=True)


if __name__ == "__main__":
    main()
