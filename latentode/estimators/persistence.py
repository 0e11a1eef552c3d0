"""Persistence: a fitted estimator as a folder of `forecaster.json` and `weights.pt`, and back.

A classifier's description is `classifier.json`, so that neither is taken for the other.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from latentode.data.scaling import Climatology, Scaling
from latentode.data.schema import Schema
from latentode.data.time_axis import TimeAxis, TimeUnits
from latentode.errors import LatentODEError
from latentode.forecast.calibration import Calibration
from latentode.forecast.engine import Engine
from latentode.forecast.fitted import FitRecord, FittedForecaster, Reader
from latentode.forecast.residuals import Residuals
from latentode.model.config import Config, ModelConfig, Sizes
from latentode.model.network import LatentODE
from latentode.training.config import TrainingConfig

__all__ = ["load_model", "save_model"]

FORMAT = 2
CONFIGS = {"model": ModelConfig, "training": TrainingConfig}


def save_model(
    folder: Path, fitted: FittedForecaster, parameters: dict[str, Any], kind: str = "forecaster"
) -> None:
    """Writes what a fit left behind into a folder, which is made if need be.

    Args:
        folder: where to.
        fitted: the model.
        parameters: of the estimator.
        kind: "forecaster" or "classifier".

    Raises:
        LatentODEError: for a network that no configuration has built.
    """
    network = fitted.engine.network
    if network.config is None or network.sizes is None:
        raise LatentODEError(
            "this network was put together by hand, so nothing says how to build it again; build it by "
            "ModelConfig(...).build(sizes), or save its state_dict yourself"
        )
    if folder.exists() and not folder.is_dir():
        raise LatentODEError(f"{folder} is a file; a model is saved into a folder: name another")
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "format": FORMAT,
        "parameters": {n: v.to_dict() if isinstance(v, Config) else v for n, v in parameters.items()},
        "network": {"config": network.config.to_dict(), "sizes": network.sizes.to_dict()},
        "solver_steps": network.solver.steps,
        "schema": fitted.reader.schema.to_json(),
        "axis": vars(fitted.reader.axis),
        "scaling": fitted.reader.scaling.to_dict(),
        "climatology": fitted.climatology.to_dict(),
        "horizon": fitted.horizon,
        "context_length": fitted.engine.context_length,
        "history": fitted.record.history.to_dict("list"),
        "leaderboard": fitted.record.leaderboard.to_dict("list"),
        "classes": fitted.classes,
        "residuals": None if fitted.residuals is None else fitted.residuals.to_dict(),
        "calibration": None if fitted.calibration is None else fitted.calibration.to_dict(),
    }
    # Each file replaces its forerunner whole, so that a crash leaves a readable model.
    weights, described = folder / "weights.pt.new", folder / f"{kind}.json.new"
    torch.save(network.state_dict(), weights)
    described.write_text(json.dumps(state, indent=1, default=_json))
    weights.replace(folder / "weights.pt")
    described.replace(folder / f"{kind}.json")


def load_model(folder: Path, kind: str = "forecaster") -> tuple[FittedForecaster, dict[str, Any]]:
    """Reads what `save_model` wrote: the model and the parameters of its estimator.

    Raises:
        LatentODEError: if the folder holds no model, or one of another release's format.
    """
    path = folder / f"{kind}.json"
    if not path.exists():
        raise LatentODEError(f"{folder} holds no fitted model (no {kind}.json); fit one first")
    try:
        state = json.loads(path.read_text())
        newer, older = state["format"] > FORMAT, state["format"] < FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if newer:
        raise LatentODEError(f"{folder} was saved by a later release of latentode; upgrade")
    if older:
        raise LatentODEError(
            f"{folder} was saved by an earlier, unreleased version of latentode, whose layout this one "
            "does not read; fit the model again"
        )
    try:
        return _fitted(state, folder), _parameters(state)
    except LatentODEError:
        raise
    except Exception as error:  # whatever torch meets in bytes that are no weights
        raise _damaged(folder, error) from error


def _damaged(path: Path, error: Exception) -> LatentODEError:
    what = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
    return LatentODEError(
        f"{path} is damaged and cannot be read: {what}; copy it again from where it was saved, or fit "
        "the model again"
    )


def _fitted(state: dict[str, Any], folder: Path) -> FittedForecaster:
    """What a description and weights say that a fit has left behind."""
    scaling = Scaling.from_dict(state["scaling"])
    residuals, calibration = state["residuals"], state["calibration"]
    return FittedForecaster(
        Reader(Schema.from_json(state["schema"]), TimeAxis(**state["axis"]), scaling),
        Engine(_network(state, folder), scaling, state["context_length"]),
        Climatology.from_dict(state["climatology"]),
        TimeUnits(state["horizon"]),
        None if residuals is None else Residuals.from_dict(residuals),
        None if calibration is None else Calibration.from_dict(calibration),
        FitRecord(*(pd.DataFrame(state[name]) for name in ("history", "leaderboard"))),
        None if state["classes"] is None else tuple(state["classes"]),
    )


def _parameters(state: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the estimator."""
    named = state["parameters"]
    return {n: CONFIGS[n].of(v) if n in CONFIGS else v for n, v in named.items()}


def _network(state: dict[str, Any], folder: Path) -> LatentODE:
    """The network that a description is of, with its weights."""
    described = state["network"]
    with torch.random.fork_rng(devices=[]):
        network = ModelConfig.of(described["config"]).build(Sizes.of(described["sizes"]))
    network.solver = replace(network.solver, steps=state["solver_steps"])
    weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return network.eval()


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
