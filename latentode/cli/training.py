"""`latentode fit` and `latentode demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentode.cli.inputs import read
from latentode.cli.options import Adapter, NaValues, Quiet, Table, likelihood_option, schema_options
from latentode.data.schema import Schema
from latentode.errors import LatentODEError

__all__ = ["demo", "fit"]

Duplicates = Annotated[
    str, typer.Option(help="Several rows of one (series, time): error, mean or last.")
]


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
    context_length: Annotated[
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
    dynamics: Annotated[
        str, typer.Option(help="mlp, gated, linear, second-order or compartments.")
    ] = "mlp",
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
    ema_decay: Annotated[
        float, typer.Option(help="Decay of the running average of the weights; 0 for none.")
    ] = 0.99,
    observation_dropout: Annotated[
        float, typer.Option(help="Largest part of a training context to hide from the encoder.")
    ] = 0.0,
    context_dropout: Annotated[
        float,
        typer.Option(help="Share of training cuts with nothing seen: for series not yet observed."),
    ] = 0.02,
    windows_per_epoch: Annotated[
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
    held_out = None if validation is None else read(validation, schema, na_values, adapter)[0]
    frame, schema = read(data, schema, na_values, adapter)
    from latentode.estimators.forecaster import LatentODEForecaster

    model = LatentODEForecaster(
        horizon=horizon,
        context=context_length,
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
        ema_decay=ema_decay or None,
        observation_dropout=observation_dropout,
        context_dropout=context_dropout,
        cuts=windows_per_epoch,
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


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("latentode-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs to train.")] = 60,
    quiet: Quiet = False,
) -> None:
    """Fit on Atlantic storms before 2018, forecast the later ones, score and draw it."""
    from latentode.cli.demo import run_demo

    run_demo(out, typer.echo, verbose=not quiet, epochs=epochs)
