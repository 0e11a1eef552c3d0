"""File options: how the files of a table are written, for every command that reads one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from latentode.cli.options import split, with_options
from latentode.data.tables.file_format import FileFormat

__all__ = ["Table", "file_options"]

PANEL = "The file, where it is not found out"
Table = Annotated[
    list[Path],
    typer.Argument(
        help="Table, wide or long, rows in any order: CSV or other text, Parquet, Feather, JSON lines "
        "or a workbook; several files, a folder or a pattern are one table; - is standard input."
    ),
]
Text = str | None


def format_of(
    separator: Annotated[
        Text,
        typer.Option(
            help="Between cells: a character, or comma, semicolon, tab, pipe, space, whitespace.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    decimal: Annotated[
        Text, typer.Option(help="Decimal sign, a point or a comma.", rich_help_panel=PANEL)
    ] = None,
    encoding: Annotated[
        Text,
        typer.Option(help="Of the text, such as utf-8, cp1252 or utf-16.", rich_help_panel=PANEL),
    ] = None,
    skip_rows: Annotated[
        int | None, typer.Option(min=0, help="Lines before the header.", rich_help_panel=PANEL)
    ] = None,
    comment: Annotated[
        list[str] | None,
        typer.Option(
            help="What lines begin with that are no rows; once for each beginning.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    header_rows: Annotated[
        int | None,
        typer.Option(min=0, help="Rows of names and units; 0 for no header.", rich_help_panel=PANEL),
    ] = None,
    na_values: Annotated[
        Text, typer.Option(help="Texts that mean missing, comma-separated.", rich_help_panel=PANEL)
    ] = None,
    flags: Annotated[
        Text,
        typer.Option(
            help="What stands behind numbers and is left aside, such as e,*, comma-separated.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    file_column: Annotated[
        Text,
        typer.Option(
            help="Add a column of this name with each file's name, such as id.", rich_help_panel=PANEL
        ),
    ] = None,
    sheet: Annotated[
        Text, typer.Option(help="Which sheet of a workbook.", rich_help_panel=PANEL)
    ] = None,
) -> FileFormat:
    """The format that the options say."""
    return FileFormat(
        separator=separator,
        decimal=decimal,
        encoding=encoding,
        skip_rows=skip_rows,
        comment=tuple(comment) if comment else None,
        header_rows=header_rows,
        na_values=split(na_values) or (),
        flags=split(flags) or (),
        file_column=file_column,
        sheet=sheet,
    )


def file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `format_of` in place of its parameter `file_format`."""
    shared = signature(format_of, eval_str=True).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared}
        command(file_format=format_of(**options), **given)

    run.__signature__ = with_options(command, "file_format", shared.values())  # type: ignore[attr-defined]
    return run
