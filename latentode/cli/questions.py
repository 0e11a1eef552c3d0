"""The questions to a fitted model: from their texts to a frame of answers.

`latentode forecast` asks for values at any time; `latentode ask` for what only continuous time can
answer: first crossings, rates, accumulated values.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import pandas as pd
import typer

from latentode.cli.file_options import Table, file_options
from latentode.cli.inputs import check_outputs, chosen, question, served, table_of
from latentode.cli.options import KINDS, Adapter, Model, blame
from latentode.data.cells.columns import interval_levels, quantile_list
from latentode.data.files.writing import write_table
from latentode.data.queries import At
from latentode.data.tables.file_format import FileFormat
from latentode.errors import LatentODEError

if TYPE_CHECKING:
    from latentode.estimators.serving import AnyForecaster

__all__ = ["When", "answer", "ask", "forecast", "level_of"]

Ahead = Annotated[str | None, typer.Option(help="How far ahead of each series' last observation: 24h.")]
_CROSSING = re.compile(r"^\s*(?P<name>.+?)\s*(?P<sign>[<>])=?\s*(?P<level>[^<>=\s]+)\s*$")
_UNITS = {
    "--first-passage": "probability within the horizon; quantiles in {unit} after the last observation",
    "--rate": "rates per unit of time, here {unit}",
    "--integral": "sums in units of the variable times {unit}",
}


@file_options
def forecast(
    model: Model,
    history: Table,
    file_format: FileFormat,
    at: Annotated[
        list[str] | None, typer.Option(help="A timestamp, asked of every series; may be repeated.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Table of (identifier, time) and known-future columns.")
    ] = None,
    ahead: Ahead = None,
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
    components: Annotated[
        Path | None,
        typer.Option(help="Another file: level, trend, cycles, ... that add up to the mean."),
    ] = None,
    adapter: Adapter = None,
    out: Annotated[
        Path | None, typer.Option(help=f"File to write: {KINDS}; CSV on standard output if left out.")
    ] = None,
) -> None:
    """Forecast after, or fill in within, the histories of a table, at any timestamps."""
    check_outputs(tables={"--out": out, "--components": components})
    fitted = served(model)
    if sum(x is not None for x in (at or None, queries, ahead)) != 1:
        raise LatentODEError("say when: exactly one of --at, --queries, --ahead")
    if count is not None and ahead is None:
        raise LatentODEError("--count says how many times up to --ahead; it goes with nothing else")
    frame = table_of(fitted, history, file_format, adapter)
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    asked = question(fitted, at, queries, ahead, file_format)
    with blame("--level"):
        levels = levels if level is None else interval_levels(level.split(","), levels)
    answer = fitted.forecast(frame, asked, count, chosen(fitted, variables))
    with blame("--components"):
        parts = None if components is None else answer.components()
    made = answer.to_frame(levels) if samples is None else answer.samples_frame(samples)
    if out is None:
        made.to_csv(sys.stdout, index=False)
    else:
        write_table(made, out)
        typer.echo(f"{len(made)} forecasts in {out}")
    if parts is not None:
        write_table(parts, cast(Path, components))
        typer.echo(f"their components in {components}", err=out is None)


@dataclass(frozen=True)
class When:
    """The times that a question names, as they were written.

    Args:
        at: timestamps, asked of every series.
        ahead: a duration after each series' last observation.
        count: with `ahead`, how many times up to it.
        since: a timestamp to accumulate from.
        until: a timestamp to accumulate up to.
        readings: how far apart the sensor reads, where its readings are what counts.
    """

    at: Sequence[str] = ()
    ahead: str | None = None
    count: int | None = None
    since: str | None = None
    until: str | None = None
    readings: str | None = None


def level_of(text: str) -> tuple[str, str, float]:
    """The variable, "above" or "below", and the level of a crossing.

    Raises:
        LatentODEError: for another text.

    Example:
        >>> level_of("glucose>180")
        ('glucose', 'above', 180.0)
        >>> level_of("mean pressure < 65.5")
        ('mean pressure', 'below', 65.5)
    """
    found = _CROSSING.match(text)
    try:
        if found is None:
            raise ValueError
        side = "above" if found["sign"] == ">" else "below"
        return found["name"], side, float(found["level"])
    except ValueError:
        raise LatentODEError(f"--first-passage {text!r} names no level; write 'glucose>180'") from None


def answer(
    model: AnyForecaster,
    history: pd.DataFrame,
    question: tuple[str, str],
    when: When,
    quantiles: Sequence[float],
    draws: int,
) -> pd.DataFrame:
    """The answer to one question about each series of a table.

    Args:
        model: fitted.
        history: table with the columns of training.
        question: which one, "--first-passage", "--rate" or "--integral", and what it says.
        when: the times.
        quantiles: levels between 0 and 1.
        draws: how many futures to look at.

    Raises:
        LatentODEError: for times that do not go with the question, or cannot be read.
    """
    option, text = question
    _refuse_others(option, when)
    if option == "--first-passage":
        name, side, level = level_of(text)
        paths = model.sample_paths(history, _span(model, when.ahead, "--ahead"), draws)
        readings = _span(model, when.readings, "--readings")
        return paths.first_passage_time(name, **{side: level}, readings=readings).to_frame(quantiles)
    paths, chosen = model.sample_paths(history, draws=draws), [part.strip() for part in text.split(",")]
    if option == "--rate":
        return paths.rate(_place(model, when, "--rate"), when.count, quantiles, chosen)
    if when.until is not None:
        since = None if when.since is None else _stamp(model, when.since, "--from")
        return paths.integral(_stamp(model, when.until, "--to"), since, quantiles, chosen)
    if when.since is not None or when.ahead is None:
        raise LatentODEError("say until when to accumulate: --to with a time, or --ahead alone")
    ahead = model.axis_.duration(when.ahead, "--ahead")
    return paths.integral(ahead, quantiles=quantiles, variables=chosen)


def _refuse_others(option: str, when: When) -> None:
    """Refuses times that the question would overlook."""
    allowed = {
        "--first-passage": {"ahead", "readings"},
        "--rate": {"at", "ahead", "count"},
        "--integral": {"ahead", "since", "until"},
    }[option]
    names = {"since": "--from", "until": "--to"}
    for name, given in vars(when).items():
        if given not in (None, (), []) and name not in allowed:
            raise LatentODEError(f"{names.get(name, f'--{name}')} does not go with {option}")


def _place(model: AnyForecaster, when: When, option: str) -> At:
    if bool(when.at) == (when.ahead is not None):
        raise LatentODEError(f"say when, for {option}: either --at or --ahead")
    if when.at:
        return list(model.axis_.parse(pd.Series(list(when.at)), "--at"))
    return model.axis_.duration(str(when.ahead), "--ahead")


def _stamp(model: AnyForecaster, text: str, option: str) -> At:
    return list(model.axis_.parse(pd.Series([text]), option))


def _span(model: AnyForecaster, text: str | None, option: str) -> float | None:
    return None if text is None else model.axis_.duration(text, option)


@file_options
def ask(
    model: Model,
    history: Table,
    file_format: FileFormat,
    first_passage: Annotated[
        str | None, typer.Option(help="When is a level first reached: 'glucose>180'.")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="How fast these variables change.")] = None,
    integral: Annotated[
        str | None, typer.Option(help="What these variables accumulate to, comma-separated.")
    ] = None,
    ahead: Ahead = None,
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
    adapter: Adapter = None,
    out: Annotated[
        Path | None, typer.Option(help=f"File to write: {KINDS}; shown if left out.")
    ] = None,
) -> None:
    """Ask what only continuous time can answer: first crossings, rates, accumulated values."""
    asked = {"--first-passage": first_passage, "--rate": rate, "--integral": integral}
    questions = [(option, text) for option, text in asked.items() if text is not None]
    if len(questions) != 1:
        raise LatentODEError("ask one thing: exactly one of --first-passage, --rate, --integral")

    check_outputs(tables={"--out": out})
    fitted = served(model)
    frame = table_of(fitted, history, file_format, adapter)
    with blame("--quantiles"):
        levels = quantile_list(quantiles.split(","))
    when = When(tuple(at or ()), ahead, count, from_, to, readings)
    found = answer(fitted, frame, questions[0], when, levels, draws)
    unit = fitted.axis_.unit_name.strip() or "units of the time column"
    if out is not None:
        write_table(found, out)
        typer.echo(f"{len(found)} answers in {out}")
        return
    typer.echo(_UNITS[questions[0][0]].format(unit=unit))
    typer.echo(found.to_string(index=False, float_format=lambda x: f"{x:.6g}"))
