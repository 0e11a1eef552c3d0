"""Persistence: a fitted estimator as a folder that holds one sealed file, and back.

The file is `forecaster.safetensors`, or `classifier.safetensors`, so that neither is taken for the
other: the weights, and in the header a description and a checksum. It is replaced in one step, so that
a reader finds the model before or the model after, whatever happens to who writes.

A checkpoint of a training in Lightning is read as the same, weights and a description.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from torch import Tensor

from latentode.data.cells.time_axis import TimeAxis, TimeUnits
from latentode.data.climatology import Climatology
from latentode.data.files.whole_files import write_file
from latentode.data.scaling import Scaling
from latentode.errors import LatentODEError, as_path
from latentode.estimators.description import Description, first_complaint
from latentode.estimators.sealed import damaged, seal, unseal
from latentode.forecast.calibration import Calibration
from latentode.forecast.engine import Engine
from latentode.forecast.fitted import FitRecord, FittedForecaster, Reader
from latentode.forecast.residuals import Residuals
from latentode.model.building import own_draws
from latentode.model.config import Config, ModelConfig
from latentode.model.network import LatentODE

__all__ = ["load_checkpoint", "load_model", "model_file", "save_model"]

FORMAT = 3
SMALL_WIDTH, SMALL_DEPTH = 512, 16
# What makes a description of the next format of one of an earlier format, by the number of that.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
# Weights that the first release did not have, and what they would have been.
_NEW = ("structure.least_size", "structure.size_rows", "static_weight", "static_share")
LATER = {"emission.strength_unseen": 1.0} | {f"emission.{name}": 0.0 for name in _NEW}


def model_file(folder: str | Path, kind: str = "forecaster") -> Path:
    """Where the model of a folder is; whether there is one, the file says by being there."""
    return as_path("folder", folder) / f"{kind}.safetensors"


def save_model(
    folder: str | Path, fitted: FittedForecaster, parameters: dict[str, Any], kind: str = "forecaster"
) -> None:
    """Writes what a fit left behind into a folder, which is made if need be.

    Args:
        folder: where to.
        fitted: the model.
        parameters: of the estimator.
        kind: "forecaster" or "classifier".

    Raises:
        LatentODEError: for a network that no configuration has built, a value that could not be read
            again, or a place that cannot be written to; then what was there stays.
    """
    folder, network = as_path("folder", folder), fitted.engine.network
    if network.config is None or network.sizes is None:
        raise LatentODEError(
            "this network was put together by hand, so nothing says how to build it again; build it by "
            "ModelConfig(...).build(sizes), or save its state_dict yourself"
        )
    with suppress(OSError):  # of a name that no file can have, which is said when it is written
        if folder.exists() and not folder.is_dir():
            raise LatentODEError(f"{folder} is a file; a model is saved into a folder: name another")
    state = {
        "format": FORMAT,
        "parameters": {n: v.to_dict() if isinstance(v, Config) else v for n, v in parameters.items()},
        "network": {"config": network.config.to_dict(), "sizes": network.sizes.to_dict()},
        "solver_steps": network.solver.steps,
        "other_solver_steps": [other.solver.steps for other in fitted.engine.others],
        "schema": json.loads(fitted.reader.schema.to_json()),
        "axis": vars(fitted.reader.axis),
        "scaling": fitted.reader.scaling.to_dict(),
        "climatology": fitted.climatology.to_dict(),
        "horizon": fitted.horizon,
        "context_length": fitted.engine.context_length,
        "history": fitted.record.history.to_dict("list"),
        "leaderboard": fitted.record.leaderboard.to_dict("list"),
        "classes": fitted.classes,
        "notes": list(fitted.reader.said),
        "residuals": None if fitted.residuals is None else fitted.residuals.to_dict(),
        "calibration": None if fitted.calibration is None else fitted.calibration.to_dict(),
    }
    text = json.dumps(state, default=_json)
    try:
        Description.model_validate_json(text)
    except ValidationError as error:
        raise LatentODEError(
            f"this model cannot be saved, since it could not be read again: {first_complaint(error)}"
        ) from error
    weights = network.state_dict()
    for number, other in enumerate(fitted.engine.others, 1):
        weights |= {f"{_member(number)}{name}": w for name, w in other.state_dict().items()}
    write_file(model_file(folder, kind), seal(text, weights))


def load_model(folder: str | Path, kind: str = "forecaster") -> tuple[FittedForecaster, dict[str, Any]]:
    """Reads what `save_model` wrote: the model and the parameters of its estimator.

    Raises:
        LatentODEError: if the folder holds no model, one that is damaged, saying what is, or one of
            another release's format.
    """
    path = _there(folder, kind)
    text, weights = unseal(path)
    return _restored(path, text, weights)


def _restored(
    path: Path, text: str, weights: dict[str, Tensor]
) -> tuple[FittedForecaster, dict[str, Any]]:
    """The model and its estimator's parameters, of a description and weights."""
    try:
        described = Description.model_validate_json(json.dumps(_migrated(path, json.loads(text))))
    except ValidationError as error:
        raise damaged(path, first_complaint(error)) from error
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        if isinstance(error, LatentODEError):
            raise
        raise damaged(path, "its description cannot be read") from error
    try:
        return _fitted(described, _networks(described, weights)), _parameters(described)
    except LatentODEError as error:
        raise damaged(path, str(error)) from error
    except Exception as error:  # of whatever kind: the description was written by hand
        raise damaged(path, str(error).partition("\n")[0]) from error


def load_checkpoint(path: str | Path, kind: str) -> tuple[FittedForecaster, dict[str, Any]]:
    """What a checkpoint of a training with an `IrregularDataModule` holds, without its data.

    Args:
        path: of a file that Lightning wrote; nothing in it is run.
        kind: "forecaster" or "classifier".

    Returns:
        The model, of which neither residuals nor a leaderboard are known, and the parameters that an
        estimator would have been fitted with.

    Raises:
        LatentODEError: for a file that is none, is damaged, or is of a training of another kind.
    """
    # Here, so that a saved model is read without Lightning.
    from latentode.training.checkpoint import WholeFiles
    from latentode.training.data_module import IrregularDataModule

    path = as_path("path", path)
    content = WholeFiles().load_checkpoint(path)
    try:
        given, data = content["hyper_parameters"], content[IrregularDataModule.__qualname__]
        ends, axis = data["ends"], TimeAxis(**data["axis"])
    except (LookupError, TypeError) as error:
        raise LatentODEError(
            f"{path} is of no training with an IrregularDataModule of this release (it lacks {error}); "
            "give a checkpoint of one, or from_lightning the module and its data"
        ) from error
    if ends is None or ends[0] != kind:
        what = "another task" if ends is None else f"a {ends[0]}"
        raise LatentODEError(f"{path} is of a training for {what}, so it holds no {kind}")
    _, horizon, context_length = ends
    text = [None if math.isinf(t) else f"{t!r}{axis.unit_name.strip()}" for t in ends[1:]]
    drawn = {n: data["drawn"][n] for n in ("batch_size", "windows_per_epoch")}
    parameters = {
        "model": given["model"],
        "training": {**given["training"], **drawn},
        "duplicates": "error",
        "verbose": True,
        "random_state": data["drawn"]["seed"],
        "context_length": text[1],
        **({"horizon": text[0]} if kind == "forecaster" else {}),
    }
    state = {
        "format": FORMAT,
        "parameters": parameters,
        "network": {"config": given["model"], "sizes": given["sizes"]},
        "solver_steps": content["solver_steps"],
        "schema": json.loads(data["schema"]),
        "axis": data["axis"],
        "scaling": data["scaling"],
        "climatology": data["climatology"],
        "horizon": horizon,
        "context_length": context_length,
        "classes": data["classes"],
        **{"history": {}, "leaderboard": {}, "residuals": None, "calibration": None},
    }
    prefix = "model."
    weights = {n[len(prefix) :]: w for n, w in content["state_dict"].items() if n.startswith(prefix)}
    return _restored(path, json.dumps(state, default=_json), weights)


def _there(folder: str | Path, kind: str) -> Path:
    """The file of a model, if a folder has one.

    Raises:
        LatentODEError: saying what the folder has instead.
    """
    path = model_file(folder, kind)
    try:
        if path.exists():
            return path
        before = Path(folder, f"{kind}.json").exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise LatentODEError(f"{str(folder)!r} cannot be read: {error}; name a folder") from error
    if before:
        raise LatentODEError(
            f"{folder} was saved by an earlier, unreleased version of latentode, whose layout this one "
            "does not read; fit the model again"
        )
    why = f"no {path.name}" if Path(folder).exists() else "there is no such folder"
    raise LatentODEError(f"{folder} holds no fitted model ({why}); fit one first")


def _migrated(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """A description in today's format."""
    number = state["format"]
    if type(number) is not int or number < min(MIGRATIONS, default=FORMAT):
        raise damaged(path, f"there is no format {number!r}")
    if number > FORMAT:
        raise LatentODEError(f"{path} was saved by a later release of latentode; upgrade")
    for step in range(number, FORMAT):
        state = MIGRATIONS[step](state)
    return state


def _fitted(described: Description, networks: list[LatentODE]) -> FittedForecaster:
    """What a description and networks say that a fit has left behind."""
    state = described.model_dump()
    scaling = Scaling.from_dict(state["scaling"])
    residuals, calibration = state["residuals"], state["calibration"]
    return FittedForecaster(
        Reader(described.schema_, described.axis, scaling, tuple(described.notes)),
        Engine(networks[0], scaling, described.context_length, others=tuple(networks[1:])),
        Climatology.from_dict(state["climatology"]),
        TimeUnits(described.horizon),
        None if residuals is None else Residuals.from_dict(residuals),
        None if calibration is None else Calibration.from_dict(calibration),
        FitRecord(pd.DataFrame(described.history), pd.DataFrame(described.leaderboard)),
        None if described.classes is None else tuple(described.classes),
    )


def _parameters(described: Description) -> dict[str, Any]:
    """The parameters of the estimator."""
    own = described.parameters
    return {name: getattr(own, name) for name in own.model_fields_set}


def _member(number: int) -> str:
    """What the names of the weights of a further member of an ensemble begin with."""
    return f"members.{number}."


def _networks(described: Description, weights: dict[str, Tensor]) -> list[LatentODE]:
    """The networks that a description is of, with their weights."""
    own, made = dict(weights), []
    for number, steps in enumerate(described.other_solver_steps, 1):
        begin = _member(number)
        other = {name: own.pop(name) for name in weights if name.startswith(begin)}
        made.append(_network(described, {n.removeprefix(begin): w for n, w in other.items()}, steps))
    return [_network(described, own, described.solver_steps), *made]


def _network(described: Description, weights: dict[str, Tensor], steps: int) -> LatentODE:
    """A network that a description is of, with its weights.

    Raises:
        LatentODEError: for weights of other names, shapes or kinds, or that are not finite.
    """
    config, sizes, weights = described.network.config, described.network.sizes, dict(weights)
    with own_draws(0):
        # What shapes there are, before memory is taken for them; of a small network it is taken at
        # once, since what torch loads to work without any takes it a second.
        with nullcontext() if _small(config) else torch.device("meta"):
            network = config.build(sizes)
        expected = network.state_dict()
        for name, value in LATER.items():
            if name in expected and name not in weights:
                weights[name] = torch.full(expected[name].shape, value, dtype=torch.float64)
        if expected.keys() != weights.keys():
            odd = min(expected.keys() ^ weights.keys())
            raise LatentODEError(f"the weight {odd} is missing or has no place")
        for name, weight in weights.items():
            _check_weight(name, weight, expected[name])
        if not _small(config):
            network = config.build(sizes)
    network.to(_precision([weights[name] for name, _ in network.named_parameters()]))
    for name, buffer in network.named_buffers():  # each in its own, as the fit left it
        if buffer.is_floating_point():
            buffer.data = buffer.data.to(weights.get(name, buffer).dtype)
    network.solver = replace(network.solver, steps=steps)
    network.load_state_dict(weights)
    return network.eval()


def _precision(parameters: list[Tensor]) -> torch.dtype:
    """That which all parameters were trained in; single where they were not, or in one unknown."""
    kinds = {p.dtype for p in parameters}
    known = kinds & {torch.float64, torch.bfloat16, torch.float16}
    return known.pop() if len(kinds) == len(known) == 1 else torch.float32


def _small(config: ModelConfig) -> bool:
    """Whether the memory of a network, whatever data it is for, is no question."""
    wide = (config.latent_size, config.hidden_size, config.encoder_size or 0, config.embedding_size)
    deep = (config.attention_layers, config.attention_heads, config.harmonics or 0)
    return max(wide) <= SMALL_WIDTH and max(deep) <= SMALL_DEPTH


def _check_weight(name: str, weight: Tensor, expected: Tensor) -> None:
    if weight.shape != expected.shape:
        shapes = f"{tuple(weight.shape)}, not {tuple(expected.shape)}"
        raise LatentODEError(f"the weight {name} has the shape {shapes}")
    if weight.is_floating_point() != expected.is_floating_point() or weight.is_complex():
        raise LatentODEError(f"the weight {name} has the type {weight.dtype}")
    if not weight.isfinite().all():
        raise LatentODEError(f"the weight {name} is not finite")


def _json(value: object) -> object:
    """What JSON does not know as something that it does.

    Raises:
        LatentODEError: for what could not be read again.
    """
    if isinstance(value, dt.timedelta | np.timedelta64):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise LatentODEError(
        f"the parameter {value!r} is no text, number or duration, so it could not be read again; give "
        "it as one of these"
    )
