"""Options that several commands share, and the command line's names for what Python calls arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from latentode.data.schema import AUTO, Schema
from latentode.data.transforms import Spec, check_spec
from latentode.errors import LatentODEError
from latentode.model.config import ModelConfig
from latentode.training.config import TrainingConfig

__all__ = [
    "Adapter",
    "Model",
    "NaValues",
    "Quiet",
    "Table",
    "blame",
    "in_options",
    "likelihood_option",
    "schema_options",
    "split",
]

Table = Annotated[Path, typer.Argument(help="CSV or Parquet file, wide or long, rows in any order.")]
Model = Annotated[Path, typer.Argument(help="Folder that `latentode fit` wrote.")]
NaValues = Annotated[str | None, typer.Option(help="Texts that mean missing, comma-separated.")]
Adapter = Annotated[
    str | None,
    typer.Option(help="Read a field's own files as `latentode convert` does: physionet2012, ..."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]

Text = str | None
ARGUMENTS = (  # of the library, that its messages name where the command line has an option
    *signature(Schema).parameters,
    *("na_values", "horizon", "context_length", "duplicates", "validation"),
    *("num_threads", "origins", "cutoffs"),
    *(f.name for kind in (ModelConfig, TrainingConfig) for f in fields(kind) if f.name != "solver"),
)
RENAMED = {"random_state": "seed", "transforms": "transform"}
COLUMN_ROLES = ("id", "time", "targets", "variable", "value")  # also plain English


def schema_of(
    id: Annotated[
        Text, typer.Option(help="Column that names the series; detected if left out.")
    ] = None,
    time: Annotated[Text, typer.Option(help="Column of times; detected if left out.")] = None,
    targets: Annotated[
        Text, typer.Option(help="Variables to model, comma-separated; all numeric ones if left out.")
    ] = None,
    static_covariates: Annotated[
        Text, typer.Option(help="Columns constant within a series, comma-separated.")
    ] = None,
    known_future: Annotated[
        Text, typer.Option(help="Columns whose future is known, comma-separated.")
    ] = None,
    layout: Annotated[Text, typer.Option(help="wide or long; detected if left out.")] = None,
    variable: Annotated[Text, typer.Option(help="Long layout: column of variable names.")] = None,
    value: Annotated[Text, typer.Option(help="Long layout: column of values.")] = None,
    time_unit: Annotated[Text, typer.Option(help="Unit of plain numbers: s, min, h, D or W.")] = None,
    timezone: Annotated[Text, typer.Option(help="Zone of naive times, such as Europe/Berlin.")] = None,
    time_format: Annotated[Text, typer.Option(help="Format of times that are not ISO 8601.")] = None,
    cycles: Annotated[
        Text,
        typer.Option(
            help="Periods of the clock that values follow, 24h,7D; none; found (auto) if left out."
        ),
    ] = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(
            help="variable=log, =logit, =logit:0:100, =box-cox or =yeo-johnson; may be repeated."
        ),
    ] = None,
) -> Schema:
    """The schema that the options say."""
    return Schema(
        id=id,
        time=time,
        targets=split(targets),
        static_covariates=split(static_covariates) or (),
        known_future=split(known_future) or (),
        layout=layout,
        variable=variable,
        value=value,
        time_unit=time_unit,
        timezone=timezone,
        time_format=time_format,
        cycles=split(cycles) or AUTO,
        transforms=_transforms(transform or ()),
    )


def _transforms(texts: Sequence[str]) -> dict[str, Spec]:
    """Transforms from texts such as "saturation=logit:0:100".

    Raises:
        LatentODEError: for a text that is none.

    Example:
        >>> _transforms(["dose=log", "saturation=logit:0:100"])
        {'dose': 'log', 'saturation': ('logit', 0.0, 100.0)}
    """
    found: dict[str, Spec] = {}
    for text in texts:
        variable, _, told = text.rpartition("=")
        name, *bounds = told.split(":")
        try:
            numbers = [float(b) for b in bounds]
        except ValueError:
            numbers = None
        if not variable or numbers is None:
            raise LatentODEError(
                f"--transform {text!r} is not variable=name, such as dose=log or spo2=logit:0:100"
            )
        found[variable] = check_spec(variable, (name, *numbers))
    return found


def likelihood_option(text: str) -> str | dict[str, str]:
    """A likelihood by name, or by variable from "hr=student-t,falls=poisson".

    Example:
        >>> likelihood_option("laplace"), likelihood_option("hr=student-t,falls=poisson")
        ('laplace', {'hr': 'student-t', 'falls': 'poisson'})
    """
    if "=" not in text:
        return text
    pairs = [part.rpartition("=") for part in text.split(",")]
    return {variable.strip(): name.strip() for variable, _, name in pairs}


def schema_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `schema_of` in place of its parameter `schema`."""
    shared = signature(schema_of, eval_str=True).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared}
        command(schema=schema_of(**options), **given)

    own = signature(command, eval_str=True).parameters
    merged = [p for name, p in own.items() if name != "schema"] + list(shared.values())
    by_name = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in merged]
    run.__signature__ = Signature(by_name)  # type: ignore[attr-defined]
    return run


def split(text: str | None) -> tuple[str, ...] | None:
    """The parts of a comma-separated option."""
    return None if text is None else tuple(part.strip() for part in text.split(","))


@contextmanager
def blame(option: str) -> Iterator[None]:
    """Names the option that an error inside is about."""
    try:
        yield
    except LatentODEError as error:
        raise LatentODEError(f"{option}: {error}") from error


def in_options(message: str) -> str:
    """A message of the library in the terms of the command line.

    Example:
        >>> in_options("time_unit 'year' is unknown; choose duplicates='mean'; give time_format=")
        "--time-unit 'year' is unknown; choose --duplicates 'mean'; give --time-format"
    """
    for name in (*ARGUMENTS, *RENAMED):
        option = "--" + RENAMED.get(name, name).replace("_", "-")
        message = re.sub(rf"(?<![\w`]){name}=(?=')", f"{option} ", message)
        message = re.sub(rf"(?<![\w`]){name}=(?!\w)", option, message)
        if "_" in name:
            message = re.sub(rf"(?<![\w`]){name}\b", option, message)
        elif name not in COLUMN_ROLES:
            message = re.sub(rf"^{name}(?= ('|must|is unknown))", option, message)
    message = re.sub(r"^at (?=has no)", "--queries ", message)
    return message.replace("` of at ", "` of --queries ")
