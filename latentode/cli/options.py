"""Options: those that commands share, and the command line's names for what Python calls arguments.

Each field of a configuration of network or training is an option, by its own name:

    latentode fit data.csv --out model --latent-size 8 --max-epochs 20 --solver-method dopri5

A YAML file of `model:` and `training:` says the same; an option that is given beside it wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, getdoc, signature
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import typer
import yaml

from latentode.data.tables.schema import AUTO, Schema
from latentode.data.tables.transforms import Spec, check_spec
from latentode.errors import LatentODEError
from latentode.model.config import Config, ModelConfig
from latentode.training.config import TrainingConfig

__all__ = [
    "KINDS",
    "Adapter",
    "Model",
    "Quiet",
    "blame",
    "configurations",
    "schema_options",
    "setting_options",
    "settings_file",
    "split",
    "with_options",
]

Model = Annotated[Path, typer.Argument(help="Folder that `latentode fit` wrote.")]
Adapter = Annotated[
    str | None,
    typer.Option(help="Read a field's own files as `latentode convert` does: physionet2012, ..."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]

KINDS = ".csv, .tsv, .parquet, .feather or .jsonl"  # of files that are written
Text = str | None
CONFIGS = {"model": ModelConfig, "training": TrainingConfig}
PANELS = {"model": "The network", "training": "Training"}


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
    date: Annotated[
        Text, typer.Option(help="Column of dates, where that of times holds times of day.")
    ] = None,
    time_format: Annotated[
        Text,
        typer.Option(
            help="How times are written, unless in ISO 8601: %d/%m/%Y %H:%M, epoch-s (-ms, -us, -ns), "
            "excel, yyyymmdd, 20yymmdd, decimal-year, elapsed, week, quarter; number for plain numbers."
        ),
    ] = None,
    repeated_hour: Annotated[
        Text,
        typer.Option(help="first or second pass of the hour that comes twice, if rows don't say."),
    ] = None,
    leave_out: Annotated[
        Text, typer.Option(help="Columns that have no part in the model, comma-separated.")
    ] = None,
    censored: Annotated[
        Text, typer.Option(help="Cells such as <0.5 or HI: limit (taken as it) or drop (missing).")
    ] = None,
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
        date=date,
        repeated_hour=repeated_hour,
        leave_out=split(leave_out) or (),
        censored=censored,
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


def schema_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `schema_of` in place of its parameter `schema`."""
    shared = signature(schema_of, eval_str=True).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared}
        command(schema=schema_of(**options), **given)

    run.__signature__ = with_options(command, "schema", shared.values())  # type: ignore[attr-defined]
    return run


class _Settings(yaml.SafeLoader):
    """Reads 1e-3 as the number that it is, for which YAML 1.1 wants a point and a sign."""


_Settings.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for every field of the configurations, in place of `settings`.

    The command gets a mapping of what was given: `{"model": {...}, "training": {...}}`.
    """
    places = _options()

    @wraps(command)
    def run(**given: Any) -> None:
        named: dict[str, dict[str, Any]] = {group: {} for group in CONFIGS}
        for option in list(given):
            if option in places:
                group, name = places[option]
                value = given.pop(option)
                if value is not None:
                    named[group][name] = _converted(name, value)
        command(settings=named, **given)

    run.__signature__ = with_options(command, "settings", _parameters())  # type: ignore[attr-defined]
    return run


def settings_file(path: Path) -> dict[str, dict[str, Any]]:
    """What a YAML file says of network and training.

    Raises:
        LatentODEError: for a file that is no mapping of `model` and `training`.
    """
    try:
        said = yaml.load(path.read_text(encoding="utf-8"), _Settings)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LatentODEError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(said, Mapping) or not all(isinstance(v, Mapping) for v in said.values()):
        raise LatentODEError(f"{path} must hold `model:` and `training:`, each with settings by name")
    unknown = next((n for n in said if n not in CONFIGS), None)
    if unknown is not None:
        raise LatentODEError(f"{path} has the section {unknown!r}; it may have {' and '.join(CONFIGS)}")
    return {group: dict(said.get(group, {})) for group in CONFIGS}


def configurations(
    settings: Mapping[str, Mapping[str, Any]], file: Path | None
) -> tuple[ModelConfig, TrainingConfig]:
    """The configurations that a file and options say, of network and training.

    Raises:
        LatentODEError: for a setting that does not exist, listing those that do.
    """
    said = {group: {} for group in CONFIGS} if file is None else settings_file(file)
    model = ModelConfig.of(said["model"]).replace(**settings["model"])
    return model, TrainingConfig.of(said["training"]).replace(**settings["training"])


def with_options(command: Callable[..., None], name: str, options: Iterable[Parameter]) -> Signature:
    """A command's signature, every parameter by its name, with options in the place of one of them."""
    own = [p for n, p in signature(command, eval_str=True).parameters.items() if n != name]
    return Signature([p.replace(kind=Parameter.KEYWORD_ONLY) for p in [*own, *options]])


def _options() -> dict[str, tuple[str, str]]:
    """The group and the nested name of each option: `solver_method` is `model`'s `solver__method`."""
    found = {}
    for group, kind in CONFIGS.items():
        for f in fields(kind):
            if isinstance(f.default, Config):
                inner = [g.name for g in fields(f.default)]
                found |= {f"{f.name}_{n}": (group, f"{f.name}__{n}") for n in inner}
            else:
                found[f.name] = (group, f.name)
    return found


def _parameters() -> list[Parameter]:
    return [_parameter(option, group, name) for option, (group, name) in _options().items()]


def _parameter(option: str, group: str, name: str) -> Parameter:
    kind, default = _field(CONFIGS[group], name)
    own = name.rpartition("__")[2]
    shown = "" if default is None else f" [default: {default}]"
    text = typer.Option(help=_help(kind, own) + shown, rich_help_panel=PANELS[group])
    hint = _plain_type(get_type_hints(kind)[own])
    return Parameter(
        option, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint | None, text]
    )


def _field(kind: type[Config], name: str) -> tuple[type[Config], Any]:
    """The configuration that a nested name is a field of, and its default."""
    head, _, rest = name.partition("__")
    default: Any = next(f.default for f in fields(kind) if f.name == head)
    return _field(type(default), rest) if rest else (kind, default)


def _plain_type(hint: Any) -> Any:
    """The type that an option is read as: text where it may be of several kinds."""
    kinds = [k for k in (get_args(hint) or (hint,)) if k is not NoneType]
    return kinds[0] if len(kinds) == 1 and kinds[0] in (int, float, bool) else str


def _converted(name: str, value: Any) -> Any:
    """An option's value as its field has it."""
    if name == "likelihood":
        return _likelihood(value)
    if name == "error_units":
        return [float(part) for part in value.split(",")]
    if name == "solver__steps" and value.isdigit():
        return int(value)
    return None if value == "none" else value


def _help(kind: type[Config], name: str) -> str:
    """What the docstring of a configuration says of a field."""
    text = getdoc(kind) or ""
    found = re.search(rf"^    {name}: (.*?)(?=^    \w+: |^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    return "" if found is None else " ".join(found.group(1).split())


def _likelihood(text: str) -> str | dict[str, str]:
    """A likelihood by name, or by variable from "hr=student-t,falls=poisson".

    Example:
        >>> _likelihood("laplace"), _likelihood("hr=student-t,falls=poisson")
        ('laplace', {'hr': 'student-t', 'falls': 'poisson'})
    """
    if "=" not in text:
        return text
    pairs = [part.rpartition("=") for part in text.split(",")]
    return {variable.strip(): name.strip() for variable, _, name in pairs}


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
