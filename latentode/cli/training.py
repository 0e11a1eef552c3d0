"""`latentode convert` and `latentode inspect`: before any model, and without torch.

`latentode fit` and `latentode demo`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from latentode.adapters import CONVERTERS
from latentode.cli.inputs import read, schema_options_of, settings_of, write_converted
from latentode.cli.options import Adapter, NaValues, Quiet, Table, schema_options
from latentode.cli.settings import configurations, setting_options
from latentode.data.report import inspect as inspect_table
from latentode.data.schema import Schema
from latentode.errors import LatentODEError

__all__ = ["convert", "demo", "fit", "inspect"]


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
    frame, schema = write_converted(adapter, source, out, settings_of(set_ or ()), overwrite)
    typer.echo(f"{len(frame)} rows in {out}: {schema.describe()}")
    typer.echo(f"next: latentode fit {out} {schema_options_of(schema, frame)} --out model")


@schema_options
def inspect(
    data: Table,
    schema: Schema,
    na_values: NaValues = None,
    adapter: Adapter = None,
) -> None:
    """Report what a table holds and how irregular it is, before any training."""
    frame, schema = read(data, schema, na_values, adapter)
    typer.echo(inspect_table(frame, schema).to_text())


Duplicates = Annotated[
    str, typer.Option(help="Several rows of one (series, time): error, mean or last.")
]


@schema_options
@setting_options
def fit(
    data: Table,
    schema: Schema,
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
        str | None, typer.Option(help="How far back to look; eight horizons if left out.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Table of held-out series for early stopping.")
    ] = None,
    na_values: NaValues = None,
    adapter: Adapter = None,
    duplicates: Duplicates = "error",
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file of settings, `model:` and `training:`, each by name."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and of training windows.")] = 0,
    num_threads: Annotated[int, typer.Option(min=1, help="CPU threads; more seldom help.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Replace a model that is there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Fit a latent ODE to a table and save it; the best model so far is saved as it goes."""
    if (out / "forecaster.json").exists() and not overwrite:
        raise LatentODEError(f"{out} already holds a model; choose another --out, or pass --overwrite")
    held_out = None if validation is None else read(validation, schema, na_values, adapter)[0]
    frame, schema = read(data, schema, na_values, adapter)
    from latentode.estimators.forecaster import LatentODEForecaster

    network, training = configurations(settings, config)
    model = LatentODEForecaster(
        horizon, context_length, network, training, duplicates, verbose=not quiet, random_state=seed
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


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("latentode-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs to train.")] = 60,
    quiet: Quiet = False,
) -> None:
    """Fit on Atlantic storms before 2018, forecast the later ones, score and draw it."""
    from latentode.cli.demo import run_demo

    run_demo(out, typer.echo, verbose=not quiet, epochs=epochs)
