"""The command line: files in, files out.

latentode convert | inspect | fit | tune | forecast | ask | evaluate | calibrate | plot | demo
In: files and options. Out: files, tables on standard output, one-line errors with exit status 1.
May import: every room; torch and Lightning only inside the commands that need a network.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from inspect import signature
from typing import Annotated, cast

import typer
from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from latentode.adapters import CONVERTERS
from latentode.cli.advice import Door, in_options
from latentode.cli.modelling import calibrate, convert, demo, evaluate, fit, inspect, tune
from latentode.cli.picturing import plot
from latentode.cli.questions import ask, forecast
from latentode.errors import LatentODEError

__all__ = ["door_of", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Forecast irregular time series at any timestamp with latent neural ODEs. Start with "
    "`latentode inspect data.csv`, then `latentode fit data.csv --out model`.",
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"latentode {metadata.version('latentode')}")
        raise typer.Exit()


@app.callback()
def _before_any_command(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Nothing more: options of the program itself end it."""


for command in (convert, inspect, fit, tune, forecast, ask, evaluate, calibrate, plot, demo):
    app.command()(command)


def main() -> None:
    """Runs the command line; an error that the user can mend is one line and exit status 1."""
    arguments, said = sys.argv[1:], set[str]()

    def note(message: Warning | str, *place: object) -> None:
        text = f"note: {in_options(str(message), door_of(arguments))}"
        if text not in said:  # several tables of one command may have the same to tell
            said.add(text)
            typer.echo(text, err=True)

    warnings.showwarning = note
    os.environ.setdefault("MPLBACKEND", "Agg")  # pictures go into files, no window is opened
    try:
        _refuse_twice(arguments)
        app()
    except (LatentODEError, OSError) as error:
        typer.echo(f"error: {in_options(str(error), door_of(arguments))}", err=True)
        sys.exit(1)


def _refuse_twice(arguments: Sequence[str]) -> None:
    """Raises for an option that may be given once and is given again, of which the last would count.

    Args:
        arguments: the command and what follows it.
    """
    command = cast(TyperGroup, get_command(app)).commands.get(next(iter(arguments), ""))
    options = [] if command is None else [p for p in command.params if isinstance(p, TyperOption)]
    once = {name: o for o in options for name in o.opts if not (o.multiple or o.is_flag)}
    given: dict[str, str] = {}
    words = iter(arguments[1:])
    for word in words:
        if word == "--":
            break
        name, sign, value = word.partition("=")
        if name not in once:
            continue
        value = value if sign else next(words, "")
        if name in given:
            listed = ", with a comma between" if "comma-separated" in (once[name].help or "") else ""
            raise LatentODEError(
                f"{name} is given twice, {given[name]!r} and {value!r}, of which one would be lost; "
                f"give it once{listed}"
            )
        given[name] = value


def door_of(arguments: Sequence[str]) -> Door:
    """The command that some arguments run, with its options and those of its adapter."""
    commands = cast(TyperGroup, get_command(app)).commands
    options = {n: frozenset(o for p in c.params for o in p.opts) for n, c in commands.items()}
    command, source, *_ = [*arguments, "", ""]
    adapter = CONVERTERS.get(source) if command == "convert" else None
    of_adapter = () if adapter is None else tuple(signature(adapter).parameters)[1:]
    return Door(options.get(command), frozenset(of_adapter), options["fit"])
