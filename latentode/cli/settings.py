"""Settings of network and training as options: each field of a configuration is one, by its own name.

    latentode fit data.csv --out model --latent-size 8 --max-epochs 20 --solver-method dopri5

A YAML file of `model:` and `training:` says the same; an option that is given beside it wins.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import typer
import yaml

from latentode.cli.options import likelihood_option
from latentode.errors import LatentODEError
from latentode.model.config import Config, ModelConfig
from latentode.training.config import TrainingConfig

__all__ = ["configurations", "setting_options", "settings_file"]

CONFIGS = {"model": ModelConfig, "training": TrainingConfig}
PANELS = {"model": "The network", "training": "Training"}


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

    own = [p for n, p in signature(command, eval_str=True).parameters.items() if n != "settings"]
    parameters = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in [*own, *_parameters()]]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
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
        return likelihood_option(value)
    if name == "error_units":
        return [float(part) for part in value.split(",")]
    if name == "solver__steps" and value.isdigit():
        return int(value)
    return None if value == "none" else value


def _help(kind: type[Config], name: str) -> str:
    """What the docstring of a configuration says of a field."""
    text = inspect.getdoc(kind) or ""
    found = re.search(rf"^    {name}: (.*?)(?=^    \w+: |^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    return "" if found is None else " ".join(found.group(1).split())
