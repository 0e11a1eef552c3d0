"""Persistence: a fitted estimator as a folder of `forecaster.json` and `weights.pt`, and back.

A classifier's description is `classifier.json`, so that neither is taken for the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from latentode.data.climatology import Climatology
from latentode.data.scaling import Scaling
from latentode.data.schema import Schema
from latentode.data.time_axis import TimeAxis
from latentode.errors import LatentODEError
from latentode.forecast.calibration import Calibration
from latentode.forecast.engine import Engine
from latentode.forecast.fitted import FittedForecaster, Reader, plain
from latentode.forecast.residuals import Residuals
from latentode.training.module import LatentODEModule

__all__ = ["load_model", "save_model"]

FORMAT = 1


def save_model(
    folder: Path,
    fitted: FittedForecaster,
    module: LatentODEModule,
    parameters: dict[str, Any],
    kind: str = "forecaster",
) -> None:
    """Writes what a fit left behind into a folder, which is made if need be.

    Args:
        folder: where to.
        fitted: the model.
        module: whose network it asks.
        parameters: of the estimator.
        kind: "forecaster" or "classifier".
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "format": FORMAT,
        "parameters": parameters,
        "schema": fitted.reader.schema.to_json(),
        "axis": vars(fitted.reader.axis),
        "scaling": fitted.reader.scaling.to_dict(),
        "climatology": fitted.climatology.to_dict(),
        "module": dict(module.hparams),
        "horizon": fitted.horizon,
        "context": fitted.engine.context_length,
        "history": None if fitted.history is None else fitted.history.to_dict("list"),
        "classes": fitted.classes,
        "residuals": None if fitted.residuals is None else fitted.residuals.to_dict(),
        "calibration": None if fitted.calibration is None else fitted.calibration.to_dict(),
    }
    # Each file replaces its forerunner whole, so that a crash leaves a readable model.
    weights, described = folder / "weights.pt.new", folder / f"{kind}.json.new"
    torch.save(module.state_dict(), weights)
    described.write_text(json.dumps(state, indent=1, default=_json))
    weights.replace(folder / "weights.pt")
    described.replace(folder / f"{kind}.json")


def load_model(
    folder: Path, kind: str = "forecaster"
) -> tuple[FittedForecaster, LatentODEModule, dict[str, Any]]:
    """Reads what `save_model` wrote: the model, its module and the parameters of its estimator.

    Raises:
        LatentODEError: if the folder holds no model, or one of a later release.
    """
    path = folder / f"{kind}.json"
    if not path.exists():
        raise LatentODEError(f"{folder} holds no fitted model (no {kind}.json); fit one first")
    state = json.loads(path.read_text())
    if state["format"] > FORMAT:
        raise LatentODEError(f"{folder} was saved by a later release of latentode; upgrade")
    with torch.random.fork_rng(devices=[]):
        module = LatentODEModule(**state["module"])
    weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
    module.load_state_dict(weights)
    history, residuals = state.get("history"), state.get("residuals")
    calibration = state.get("calibration")
    scaling = Scaling.from_dict(state["scaling"])
    reader = Reader(Schema.from_json(state["schema"]), TimeAxis(**state["axis"]), scaling)
    fitted = FittedForecaster(
        reader,
        Engine(module.eval().model, scaling, state["context"]),
        Climatology.from_dict(state["climatology"]),
        state["horizon"],
        None if residuals is None else Residuals.from_dict(residuals),
        None if calibration is None else Calibration.from_dict(calibration),
        None if history is None else pd.DataFrame(history),
        None if state.get("classes") is None else tuple(state["classes"]),
    )
    return fitted, module, state["parameters"]


def _json(value: object) -> object:
    found = plain(value)
    return str(value) if found is value else found
