"""The commands that make a model and judge it: convert, inspect, fit, evaluate, calibrate; the demo.

`convert` and `inspect` come before any model, and need no torch."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from latentode.adapters import CONVERTERS
from latentode.cli.advice import in_options
from latentode.cli.file_options import Table, file_options
from latentode.cli.inputs import (
    check_outputs,
    duration,
    families_told,
    folder_of,
    load,
    read,
    refuse_unreadable,
    schema_options_of,
    settings_of,
    table_of,
    tell_left_out,
    write_converted,
)
from latentode.cli.options import (
    KINDS,
    Adapter,
    Model,
    Quiet,
    blame,
    configurations,
    schema_options,
    setting_options,
    split,
)
from latentode.data.cells.columns import quantile_list, quantile_name
from latentode.data.files.whole_files import require_writable
from latentode.data.files.writing import replacing, write_table
from latentode.data.report import inspect as inspect_table
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.schema import Schema
from latentode.errors import LatentODEError
from latentode.evaluation.metrics import METRICS, USUAL, metric_list

__all__ = ["calibrate", "convert", "demo", "evaluate", "fit", "inspect", "tune"]

TERMINATED = 128 + 15  # the exit status of a program that SIGTERM has ended
CALIBRATED = (50, 80, 95)  # per cent of the intervals that `calibrate` prints the coverage of

Duplicates = Annotated[
    str, typer.Option(help="Several rows of one (series, time): error, mean or last.")
]
Horizon = Annotated[str | None, typer.Option(help="How far ahead; as fitted if left out.")]
Cutoffs = Annotated[
    str | None, typer.Option(help="Times to forecast every series from instead, comma-separated.")
]


def convert(
    adapter: Annotated[str, typer.Argument(help=f"One of {', '.join(CONVERTERS)}.")],
    source: Annotated[Path, typer.Argument(help="The file or folder that it reads.")],
    out: Annotated[Path, typer.Option(help=f"Table to write: {KINDS}.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="An argument of the adapter, name=value; may be repeated."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Turn a field's own files into one table, and say how to fit it."""
    frame, schema = write_converted(adapter, source, out, settings_of(set_ or ()), overwrite)
    typer.echo(f"{len(frame)} rows in {out}: {schema.describe()}")
    typer.echo(f"next: latentode fit {out} {schema_options_of(schema, frame)} --out model")


@schema_options
@file_options
def inspect(
    data: Table,
    schema: Schema,
    file_format: FileFormat,
    adapter: Adapter = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead.")] = False,
    families: Annotated[bool, typer.Option("--families", help="Try distributions as `fit`.")] = False,
) -> None:
    """Report what a table holds and how irregular it is, before any training."""
    frame, schema = read(data, schema, file_format, adapter)
    report = inspect_table(frame, schema)
    told = (*report.notes, *(families_told(frame, schema) if families else ()))
    report = replace(report, notes=tuple(map(in_options, told)))
    typer.echo(report.to_json() if as_json else report.to_text())


@schema_options
@file_options
@setting_options
def fit(
    data: Table,
    schema: Schema,
    file_format: FileFormat,
    settings: dict[str, dict[str, Any]],
    out: Annotated[Path, typer.Option(help="Folder to write the model into.")],
    horizon: Annotated[
        str | None,
        typer.Option(
            help="How far ahead to learn to look, such as 24h; or a number. If left out, a quarter of "
            "a series' span, or what 50 observation times of it take if that is less."
        ),
    ] = None,
    context_length: Annotated[
        str | None, typer.Option(help="How far back; by default 8 horizons, or 64 observation times.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Table of held-out series for early stopping.")
    ] = None,
    adapter: Adapter = None,
    on_disk: Annotated[
        bool | None,
        typer.Option("--on-disk/--in-memory", help="Of Parquet files; on disk above 2,000,000 rows."),
    ] = None,
    duplicates: Duplicates = "error",
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file of settings, `model:` and `training:`, each by name."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and of training windows.")] = 0,
    members: Annotated[int, typer.Option(min=1, help="Networks to train, which are mixed.")] = 1,
    num_threads: Annotated[int, typer.Option(min=1, help="CPU threads; more seldom help.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Replace a model that is there.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a fit that was ended, from its last epoch.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Fit a latent ODE to a table and save it; the best model so far is saved as it goes."""
    require_writable(out)
    folder = folder_of(data, adapter, on_disk)
    if folder is None:
        frame, schema = read(data, schema, file_format, adapter)
        refuse_unreadable(frame, schema, duplicates)
    else:
        frame, schema = folder.first, replace(schema, file_format=file_format)
    held_out = None if validation is None else read([validation], schema, file_format, adapter)[0]
    from latentode.estimators.forecaster import LatentODEForecaster
    from latentode.estimators.judging import as_given
    from latentode.estimators.persistence import model_file
    from latentode.training.checkpoint import EpochCheckpoint

    begun = resume and EpochCheckpoint(out).path.exists()
    if model_file(out).exists() and not (overwrite or begun):
        raise LatentODEError(f"{out} already holds a model; choose another --out, or pass --overwrite")
    network, training = configurations(settings, config)
    model = LatentODEForecaster(
        horizon, context_length, network, training, duplicates, not quiet, seed, members
    )
    if not quiet:
        resolved = schema.resolve(frame)
        typer.echo(f"schema: {resolved.describe()}")
        tell_left_out(frame, resolved, err=False)
        if folder is not None:
            typer.echo(f"{folder.n_rows} rows in {len(folder.files)} files are left on disk")
    table = frame if folder is None else folder
    try:
        with _ended_by_sigterm():
            model.fit(table, schema, held_out, out, num_threads, resume)
    except (KeyboardInterrupt, SystemExit) as ended:
        saved = model_file(out).exists()
        left = f"the best model so far is in {out}" if saved else "no epoch had ended, nothing is saved"
        typer.echo(f"interrupted: {left}; --resume goes on from the last epoch", err=True)
        raise typer.Exit(130 if isinstance(ended, KeyboardInterrupt) else TERMINATED) from None
    if not quiet:
        ahead = as_given(horizon, model.horizon_, model.axis_.unit_name)
        typer.echo(f"learnt to look {ahead} ahead; model in {out}")


@schema_options
@file_options
@setting_options
def tune(
    data: Table,
    schema: Schema,
    file_format: FileFormat,
    settings: dict[str, dict[str, Any]],
    out: Annotated[Path, typer.Option(help="YAML file to write, for `latentode fit --config`.")],
    horizon: Annotated[str | None, typer.Option(help="As for fit.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many fits, stored ones counted in.")] = 20,
    storage: Annotated[
        Path | None, typer.Option(help="File that keeps the study, to go on with: .log or .db.")
    ] = None,
    adapter: Adapter = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings to begin with.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search and of each fit.")] = 0,
) -> None:
    """Search settings that do best on held-out data; needs latentode[tune]."""
    frame, schema = read(data, schema, file_format, adapter)
    from latentode.estimators import LatentODEForecaster
    from latentode.estimators import tune as search

    model = LatentODEForecaster(horizon, None, *configurations(settings, config), random_state=seed)
    found = search(model, frame, schema, trials=trials, storage=storage)
    said = {"model": found.model.to_dict(), "training": found.training.to_dict()}
    with replacing(out) as path:
        Path(path).write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    typer.echo(found.trials.to_string(index=False))
    typer.echo(f"held-out {found.training.monitor} {found.error:.4g}; settings in {out}")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends what is done within as Ctrl+C would, so that what there is can be saved."""

    def end(*_: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@file_options
def evaluate(
    model: Model,
    data: Table,
    file_format: FileFormat,
    horizon: Horizon = None,
    origins: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most times of a series to forecast from, evenly spread; 200 if left out."
        ),
    ] = None,
    cutoffs: Cutoffs = None,
    bins: Annotated[int, typer.Option(min=1, help="Into how many bins of lead time to split.")] = 3,
    metrics: Annotated[
        str, typer.Option(help=f"Which figures, comma-separated, of {', '.join(METRICS)}.")
    ] = ",".join(USUAL),
    quantiles: Annotated[
        str, typer.Option(help="Levels to score, comma-separated; intervals are between them.")
    ] = "0.1,0.5,0.9",
    adapter: Adapter = None,
    out: Annotated[
        Path | None, typer.Option(help=f"File to write the table into as well: {KINDS}.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML page to write: the tables, with pictures.")
    ] = None,
) -> None:
    """Forecast the observations of a table from earlier ones of their series, beside the baselines."""
    from latentode.evaluation.backtest import ORIGINS
    from latentode.evaluation.metrics import figures

    check_outputs(tables={"--out": out}, others={"--report": report})
    with blame("--metrics"):
        names = metric_list(split(metrics) or ())
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    every = set(levels)
    if report is not None:
        from latentode.plotting.page import REPORT_LEVELS

        every |= set(REPORT_LEVELS)

    fitted, origins = load(model), ORIGINS if origins is None else origins
    frame = table_of(fitted, data, file_format, adapter)
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
        write_table(table.reset_index(), out)
    if report is not None:
        from latentode.plotting.page import write_page

        title = f"{model.name}: forecasts of {' '.join(path.name for path in data)}"
        with replacing(report) as page:
            write_page(page, compared, title, about, unit, bins)
        typer.echo(f"report in {report}")


@file_options
def calibrate(
    model: Model,
    data: Table,
    file_format: FileFormat,
    horizon: Horizon = None,
    origins: Annotated[
        int | None,
        typer.Option(min=1, help="Most times of a series to forecast from; 200 if left out."),
    ] = None,
    cutoffs: Cutoffs = None,
    bins: Annotated[int, typer.Option(min=1, help="Most bins of lead time to tell apart.")] = 6,
    exchangeable: Annotated[
        str | None,
        typer.Option(help="What new forecasts will be like: other series, or later origins of these."),
    ] = None,
    adapter: Adapter = None,
) -> None:
    """Calibrate a model's quantiles by forecasts of a held-out table."""
    from latentode.evaluation.backtest import ORIGINS

    fitted = load(model)
    frame = table_of(fitted, data, file_format, adapter)
    ahead, when = duration(fitted, horizon, "--horizon"), split(cutoffs)
    asked = {"horizon": ahead, "origins": ORIGINS if origins is None else origins, "cutoffs": when}
    fitted.calibrate(frame, bins, exchangeable, **asked).save(model)
    typer.echo("share of the table's values inside the model's intervals before calibration:")
    calibration = fitted.fitted_.calibration
    assert calibration is not None
    for name, curve in calibration.curves.items():
        shares = ", ".join(f"{curve.uncalibrated_coverage(p):.1%} of {p} %" for p in CALIBRATED)
        reach = f"levels {1 / (curve.groups + 1):.2g} to {curve.groups / (curve.groups + 1):.2g}"
        of = f"{curve.forecasts} forecasts of {curve.groups} series or blocks of time: {reach}"
        typer.echo(f"  {name}: {shares} ({of} are guaranteed)")
    typer.echo(f"{model} is calibrated by it; judge it on other data")


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("latentode-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs to train.")] = 60,
    quiet: Quiet = False,
) -> None:
    """Fit on Atlantic storms before 2018, forecast the later ones, score and draw it."""
    from latentode.cli.demo import run_demo

    run_demo(out, typer.echo, verbose=not quiet, epochs=epochs)
