"""The command line: files in, files out.

latentode convert | inspect | fit | forecast | ask | evaluate | calibrate | plot | demo
In: files and options. Out: files, tables on standard output, one-line errors with exit status 1.
May import: every room; torch and Lightning only inside the commands that need a network.
"""

from __future__ import annotations

import sys
import warnings

import typer

from latentode.cli.advice import in_options
from latentode.cli.modelling import calibrate, convert, demo, evaluate, fit, inspect
from latentode.cli.questions import ask, forecast, plot
from latentode.errors import LatentODEError

__all__ = ["main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Forecast irregular time series at any timestamp with latent neural ODEs. Start with "
    "`latentode inspect data.csv`, then `latentode fit data.csv --out model`.",
)

for command in (convert, inspect, fit, forecast, ask, evaluate, calibrate, plot, demo):
    app.command()(command)


def main() -> None:
    """Runs the command line; an error that the user can mend is one line and exit status 1."""
    warnings.showwarning = _note
    try:
        app()
    except (LatentODEError, OSError) as error:
        typer.echo(f"error: {in_options(str(error))}", err=True)
        sys.exit(1)


def _note(message: Warning | str, *place: object) -> None:
    typer.echo(f"note: {in_options(str(message))}", err=True)
