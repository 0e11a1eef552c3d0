"""The command line: files in, files out.

latentode convert | inspect | fit | forecast | ask | evaluate | plot | demo
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from latentode.convert import convert as convert_source
from latentode.convert import read_source, schema_options_of, settings_of
from latentode.data.adapters import CONVERTERS
from latentode.data.report import inspect as inspect_table
from latentode.data.schema import Schema
from latentode.data.tables import read_table
from latentode.errors import LatentODEError
from latentode.metrics import METRICS, USUAL, metric_list
from latentode.options import (
    Adapter,
    Model,
    NaValues,
    Quiet,
    Table,
    blame,
    in_options,
    likelihood_option,
    schema_options,
    split,
)
from latentode.quantiles import interval_levels, quantile_list, quantile_name

# Torch and Lightning take seconds to import. Commands that need no network do without: what needs one
# is imported inside the commands that do.
if TYPE_CHECKING:
    from latentode.data.dataset import SeriesDataset
    from latentode.data.queries import At
    from latentode.estimator import LatentODEForecaster

__all__ = ["main"]

CALIBRATED = (50, 80, 95)  # per cent of the intervals that `calibrate` prints the coverage of

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
    adapter: Adapter = None,
) -> None:
    """Report what a table holds and how irregular it is, before any training."""
    frame, schema = _read(data, schema, na_values, adapter)
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
    adapter: Adapter = None,
    duplicates: Duplicates = "error",
    latent_layout: Annotated[
        str, typer.Option(help="A latent state per variable (per-variable) or per series (joint).")
    ] = "per-variable",
    encoder: Annotated[str, typer.Option(help="gru; jointly also ode-rnn or linear.")] = "gru",
    likelihood: Annotated[
        str,
        typer.Option(
            help="normal, student-t, laplace, quantile, log-normal, beta, bernoulli, poisson or "
            "negative-binomial; or by variable, hr=student-t,falls=poisson, others normal."
        ),
    ] = "normal",
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
    blank_contexts: Annotated[
        float,
        typer.Option(help="Share of training cuts with nothing seen: for series not yet observed."),
    ] = 0.02,
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
    held_out = None if validation is None else _read(validation, schema, na_values, adapter)[0]
    frame, schema = _read(data, schema, na_values, adapter)
    from latentode.estimator import LatentODEForecaster

    model = LatentODEForecaster(
        horizon=horizon,
        context=context,
        layout=latent_layout,
        latent_size=latent_size,
        hidden_size=hidden_size,
        encoder=encoder,
        likelihood=likelihood_option(likelihood),
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
        blank_contexts=blank_contexts,
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
    fitted = _load(model)
    if sum(x is not None for x in (at or None, queries, ahead)) != 1:
        raise LatentODEError("say when: exactly one of --at, --queries, --ahead")
    if count is not None and ahead is None:
        raise LatentODEError("--count says how many times up to --ahead; it goes with nothing else")
    missing = split(na_values) or ()
    frame = _table(fitted, history, na_values, adapter)
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    question = _question(fitted, at, queries, ahead, missing)
    with blame("--level"):
        levels = levels if level is None else interval_levels(level.split(","), levels)
    made = fitted.predict(frame, question, count, levels, _chosen(fitted, variables), samples=samples)
    if out is None:
        made.to_csv(sys.stdout, index=False)
    else:
        made.to_csv(out, index=False)
        typer.echo(f"{len(made)} forecasts in {out}")


@app.command()
def ask(
    model: Model,
    history: Table,
    time_to: Annotated[
        str | None, typer.Option(help="When is a level first reached: 'glucose>180'.")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="How fast these variables change.")] = None,
    integral: Annotated[
        str | None, typer.Option(help="What these variables accumulate to, comma-separated.")
    ] = None,
    ahead: Annotated[
        str | None, typer.Option(help="How far ahead of each series' last observation: 24h.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="With --rate and --ahead, how many times up to it.")
    ] = None,
    at: Annotated[
        list[str] | None, typer.Option(help="With --rate: a timestamp; may be repeated.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="With --integral: since when; the last observation if left out."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="With --integral: until when.")] = None,
    readings: Annotated[
        str | None,
        typer.Option(help="With --time-to: the first noisy reading counts, one every so long."),
    ] = None,
    quantiles: Annotated[str, typer.Option(help="Levels, comma-separated.")] = "0.1,0.5,0.9",
    draws: Annotated[int, typer.Option(min=1, help="How many futures to look at.")] = 256,
    na_values: NaValues = None,
    adapter: Adapter = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write; a table if left out.")] = None,
) -> None:
    """Ask what only continuous time can answer: first crossings, rates, accumulated values."""
    from latentode.ask import When, answer

    asked = {"--time-to": time_to, "--rate": rate, "--integral": integral}
    questions = [(option, text) for option, text in asked.items() if text is not None]
    if len(questions) != 1:
        raise LatentODEError("ask one thing: exactly one of --time-to, --rate, --integral")

    fitted = _load(model)
    frame = _table(fitted, history, na_values, adapter)
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    when = When(tuple(at or ()), ahead, count, from_, to, readings)
    found = answer(fitted, frame, questions[0], when, levels, draws)
    unit = fitted.axis_.unit_name.strip() or "units of the time column"
    if out is not None:
        found.to_csv(out, index=False)
        typer.echo(f"{len(found)} answers in {out}")
        return
    typer.echo(_UNITS[questions[0][0]].format(unit=unit))
    typer.echo(found.to_string(index=False, float_format=lambda x: f"{x:.6g}"))


_UNITS = {
    "--time-to": "probability within the horizon; quantiles in {unit} after the last observation",
    "--rate": "rates per unit of time, here {unit}",
    "--integral": "sums in units of the variable times {unit}",
}


@app.command()
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
    from latentode.evaluation import ORIGINS, figures

    with blame("--metrics"):
        names = metric_list(split(metrics) or ())
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    every = set(levels)
    if report is not None:
        from latentode.page import REPORT_LEVELS

        every |= set(REPORT_LEVELS)

    fitted, origins = _load(model), ORIGINS if origins is None else origins
    frame = _table(fitted, data, na_values, adapter)
    ahead, when = _duration(fitted, horizon, "--horizon"), split(cutoffs)
    compared = fitted.compare(frame, ahead, origins, when, sorted(every), "nll" in names)
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
        from latentode.page import write_page

        write_page(report, compared, f"{model.name}: forecasts of {data.name}", about, unit, bins)
        typer.echo(f"report in {report}")


@app.command()
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
    na_values: NaValues = None,
    adapter: Adapter = None,
) -> None:
    """Make a model's quantiles mean what its forecasts of a table that it has not seen say."""
    from latentode.evaluation import ORIGINS
    from latentode.metrics import summarise

    fitted = _load(model)
    frame = _table(fitted, data, na_values, adapter)
    ahead, when = _duration(fitted, horizon, "--horizon"), split(cutoffs)
    fitted.calibration_ = None
    asked = (ahead, interval_levels(CALIBRATED), ORIGINS if origins is None else origins, when)
    before = fitted.backtest(frame, *asked)
    fitted.calibrate(frame, ahead, asked[2], when, bins).save(model)
    typer.echo("share of the table inside intervals until now:")
    typer.echo(summarise(before, ["variable"], "coverages").round(3).to_string())
    typer.echo(f"{model} is calibrated by it; judge it on other data")


@app.command()
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
    from latentode.plotting import check_picture, plot_forecast

    with blame("--out"):
        check_picture(out)
    fitted = _load(model)
    dataset = fitted.read(_table(fitted, history, na_values, adapter))
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
    from latentode.demo import run_demo

    run_demo(out, typer.echo, verbose=not quiet, epochs=epochs)


def main() -> None:
    """Runs the command line; an error that the user can mend is one line and exit status 1."""
    warnings.showwarning = _note
    try:
        app()
    except (LatentODEError, OSError) as error:
        typer.echo(f"error: {in_options(str(error))}", err=True)
        sys.exit(1)


def _read(
    data: Path, schema: Schema, na_values: str | None, adapter: str | None
) -> tuple[pd.DataFrame, Schema]:
    """A table with the roles of its columns: as the options say, or as an adapter does."""
    if adapter is None:
        return read_table(data, schema, split(na_values) or ()), schema
    if schema != Schema() or na_values is not None:
        raise LatentODEError(
            "--adapter says itself what columns and texts mean; leave out the options that do, or "
            "`latentode convert` first and give them with the table"
        )
    return read_source(adapter, data)


def _table(
    fitted: LatentODEForecaster, data: Path, na_values: str | None, adapter: str | None
) -> pd.DataFrame:
    """A table for a fitted model."""
    if adapter is not None:
        return _read(data, Schema(), na_values, adapter)[0]
    return read_table(data, fitted.schema_, split(na_values) or ())


def _load(folder: Path) -> LatentODEForecaster:
    from latentode.estimator import LatentODEForecaster

    return LatentODEForecaster.load(folder)


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
