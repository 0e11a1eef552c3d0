"""`latentode ask`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentode.cli.inputs import load, table_of
from latentode.cli.options import Adapter, Model, NaValues, Table, blame
from latentode.data.columns import quantile_list
from latentode.errors import LatentODEError

__all__ = ["ask"]

_UNITS = {
    "--first-passage": "probability within the horizon; quantiles in {unit} after the last observation",
    "--rate": "rates per unit of time, here {unit}",
    "--integral": "sums in units of the variable times {unit}",
}


def ask(
    model: Model,
    history: Table,
    first_passage: Annotated[
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
        typer.Option(help="With --first-passage: the first noisy reading counts, one every so long."),
    ] = None,
    quantiles: Annotated[str, typer.Option(help="Levels, comma-separated.")] = "0.1,0.5,0.9",
    draws: Annotated[int, typer.Option(min=1, help="How many futures to look at.")] = 256,
    na_values: NaValues = None,
    adapter: Adapter = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write; a table if left out.")] = None,
) -> None:
    """Ask what only continuous time can answer: first crossings, rates, accumulated values."""
    from latentode.cli.questions import When, answer

    asked = {"--first-passage": first_passage, "--rate": rate, "--integral": integral}
    questions = [(option, text) for option, text in asked.items() if text is not None]
    if len(questions) != 1:
        raise LatentODEError("ask one thing: exactly one of --first-passage, --rate, --integral")

    fitted = load(model)
    frame = table_of(fitted, history, na_values, adapter)
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
