"""`latentode convert` and `latentode inspect`: before any model, and without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentode.adapters import CONVERTERS
from latentode.cli.convert import convert as convert_source
from latentode.cli.convert import schema_options_of, settings_of
from latentode.cli.inputs import read
from latentode.cli.options import Adapter, NaValues, Table, schema_options
from latentode.data.report import inspect as inspect_table
from latentode.data.schema import Schema

__all__ = ["convert", "inspect"]


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
