"""What fits of estimators share: checked parameters, read tables, a seeded training, what it leaves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from sklearn.base import BaseEstimator

from latentode.data.cells.columns import IntoFrame
from latentode.data.dataset import SeriesDataset
from latentode.data.files.whole_files import require_writable
from latentode.data.on_disk import ParquetFolder
from latentode.data.split import HeldOut, durations
from latentode.data.stored import some_of
from latentode.data.tables.schema import Schema
from latentode.data.task import Forecasting
from latentode.errors import LatentODEError, check_whole
from latentode.estimators.ensemble import train_ensemble
from latentode.estimators.families import Family, best_families, log_masses
from latentode.estimators.judging import (
    judged,
    judging,
    left_behind,
    say_how_good,
    say_what_is_decided,
)
from latentode.estimators.tables import forecasting_data, read_folder, read_training
from latentode.evaluation.residual_fit import judging_pairs
from latentode.forecast.fitted import FittedForecaster
from latentode.model.building import own_draws
from latentode.model.config import AUTO, Config, ModelConfig
from latentode.nn.likelihoods import DEFAULT
from latentode.training.checkpoint import EpochCheckpoint
from latentode.training.config import TrainingConfig
from latentode.training.data_module import IrregularDataModule
from latentode.training.fit import cpu_threads
from latentode.training.module import LatentODEModule

__all__ = [
    "check_parameters",
    "families_of",
    "fit_forecaster",
    "fitted_by_lightning",
    "gradients",
    "places_of",
    "set_nested",
]

MOST_MEMBERS, MOST_THREADS = 100, 4096
Estimator = TypeVar("Estimator", bound=BaseEstimator)


def set_nested(estimator: Estimator, params: dict[str, Any]) -> Estimator:
    """Sets parameters by name; a field of a configuration by a new one in its place.

    Args:
        estimator: whose parameters they are.
        params: such as `horizon` and `model__latent_size`.

    Raises:
        LatentODEError: for a field that a configuration does not have, listing those that it has.
    """
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in params.items():
        head, _, rest = name.partition("__")
        if rest and isinstance(getattr(estimator, head, None), Config):
            nested.setdefault(head, {})[rest] = value
        elif rest and hasattr(estimator, head):
            raise LatentODEError(f"{head} has no settings of its own; give {head}= as a whole")
        else:
            own[name] = value
    known = estimator.get_params(deep=False)
    for name in own:
        if name not in known:
            of = type(estimator).__name__
            raise LatentODEError(f"{of} has no parameter `{name}`; it has {', '.join(sorted(known))}")
    if own:
        BaseEstimator.set_params(estimator, **own)
    for name, changes in nested.items():
        setattr(estimator, name, getattr(estimator, name).replace(**changes))
    return estimator


def check_parameters(estimator: Any) -> None:
    """Raises a `LatentODEError` for a parameter that no data could make right."""
    for name, kind in (("model", ModelConfig), ("training", TrainingConfig)):
        given = getattr(estimator, name)
        if not isinstance(given, kind):
            raise LatentODEError(
                f"{name} is a {kind.__name__}, such as {name}={kind.__name__}(); got {given!r}"
            )
    check_whole("random_state", estimator.random_state, least=0)
    check_whole("members", estimator.members)
    if estimator.members > MOST_MEMBERS:
        raise LatentODEError(f"members must be at most {MOST_MEMBERS}, got {estimator.members}")


@contextmanager
def gradients(num_threads: int | None) -> Iterator[None]:
    """Runs with gradients on, wherever a fit is called, and so many CPU threads, then all as before.

    Raises:
        LatentODEError: for fewer than one thread.
    """
    if num_threads is not None:
        check_whole("num_threads", num_threads)
        if num_threads > MOST_THREADS:
            raise LatentODEError(f"num_threads must be at most {MOST_THREADS}, got {num_threads}")
    with torch.inference_mode(mode=False), torch.enable_grad(), cpu_threads(num_threads):
        yield


def places_of(
    estimator: Any, save_to: str | Path | None, resume: bool
) -> tuple[Callable[[], None] | None, EpochCheckpoint | None]:
    """What saves a fit into a folder, and the checkpoint of its last epoch there; None without one.

    Raises:
        LatentODEError: for a folder that cannot be written to, or none to go on in.
    """
    if save_to is not None:
        require_writable(save_to)
        return partial(estimator.save, save_to), EpochCheckpoint(Path(save_to), resume)
    if resume:
        raise LatentODEError("resume= goes on with a fit into a folder: name it with save_to=")
    return None, None


def fit_forecaster(
    estimator: Any,
    df: IntoFrame | ParquetFolder,
    schema: Schema | None,
    validation: IntoFrame | None,
    save_to: str | Path | None,
    resume: bool,
    num_threads: int | None,
    lightning: Mapping[str, Any],
) -> Any:
    """The forecaster, fitted; arguments as for its `fit`, `lightning` as for `train_ensemble`."""
    check_parameters(estimator)
    save, checkpoint = places_of(estimator, save_to, resume)
    held = None
    if isinstance(df, ParquetFolder):
        dataset, held = read_folder(estimator, df, schema, validation is None)
    else:
        dataset = read_training(df, schema, estimator.duplicates)
    some = some_of(dataset)
    spans = durations(some, estimator.horizon, estimator.context_length)
    if validation is not None:
        held = read_training(validation, dataset.schema, estimator.duplicates, dataset.notes)
    with gradients(num_threads):
        judge = held.dataset if isinstance(held, HeldOut) else held
        families = _families(estimator, some, judge, spans)
    dataset, held = (_transformed(t, families) for t in (dataset, held))
    data = forecasting_data(estimator, dataset, held, *spans)
    say_what_is_decided(estimator, data, families)
    with gradients(num_threads):
        model = _with_likelihoods(estimator.model, families)
        train_ensemble(estimator, data, spans, model, save, checkpoint, lightning)
        estimator.fitted_ = judged(estimator.fitted_, data, estimator.training)
    if save is not None:
        save()
    if checkpoint is not None:
        checkpoint.remove()
    say_how_good(estimator)
    return estimator


def families_of(
    estimator: Any, df: IntoFrame, schema: Schema | None = None
) -> tuple[dict[str, Family], tuple[str, ...]]:
    """What a fit of a table would take each variable's values for, and the names of the variables.

    Args:
        estimator: a forecaster, not yet fitted.
        df: training table.
        schema: of it.

    Returns:
        Families by variable; those that are best forecast by a normal distribution have none.

    Raises:
        SchemaError: for a table that cannot be read, as by a fit.
    """
    check_parameters(estimator)
    dataset = read_training(df, schema, estimator.duplicates)
    spans = durations(dataset, estimator.horizon, estimator.context_length)
    with gradients(1):
        return _families(estimator, dataset, None, spans), dataset.variables


def _families(
    estimator: Any, dataset: SeriesDataset, held: SeriesDataset | None, spans: tuple[float, float]
) -> dict[str, Family]:
    """The family of each variable other than normal, where the estimator is to find them out."""
    model = estimator.model
    if model.likelihood != AUTO or model.structure != "state-space":
        return {}

    def judge(families: Mapping[str, Family]) -> pd.Series:
        tables = _transformed(dataset, families), _transformed(held, families)
        data = forecasting_data(estimator, *tables, *spans)
        with own_draws(estimator.random_state):
            named = _with_likelihoods(model, families)
            module = LatentODEModule(data.sizes, named, estimator.training)
        module.estimate(data)
        fitted = left_behind(module.eval(), data, *spans)
        asked = [judging(fitted, data)]
        if data.held_out_after is not None:  # a few series, of whose end alone little can be told
            asked.append(judging_pairs(fitted.horizon, data.train.dataset))
        made = [fitted.forecast(some, pairs.queries, pairs.keys) for some, pairs in asked]
        logs = [log_masses(own, pairs.actual) for own, (_, pairs) in zip(made, asked, strict=True)]
        return pd.concat(logs).groupby(level=0).mean()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the fit itself will say
        return best_families([t for t in (dataset, held) if t is not None], judge)


def _transformed(table: Any, families: Mapping[str, Family]) -> Any:
    """A table, if there is one, with the transforms that its variables' families take."""
    chosen = {name: own.transform for name, own in families.items() if own.transform is not None}
    if table is None or not chosen:
        return table
    if isinstance(table, HeldOut):
        whole = _transformed(table.whole, families)
        return replace(table, dataset=_transformed(table.dataset, families), whole=whole)
    named = {**table.schema.transforms, **chosen}
    return replace(table, schema=replace(table.schema, transforms=named))


def _with_likelihoods(model: ModelConfig, families: Mapping[str, Family]) -> ModelConfig:
    """A network's configuration with the likelihoods of families, where they are to be found."""
    if model.likelihood != AUTO:
        return model
    named = {name: own.likelihood for name, own in families.items() if own.transform is None}
    return model.replace(likelihood=named or DEFAULT)


def fitted_by_lightning(
    module: LatentODEModule, data: IrregularDataModule
) -> tuple[FittedForecaster, dict[str, Any]]:
    """What the user's own training of a module leaves behind, and the parameters that it was done with.

    Raises:
        LatentODEError: unless the task is to forecast.
    """
    task = data.task
    if not isinstance(task, Forecasting):
        raise LatentODEError("a forecaster needs a data module with task=Forecasting(...)")
    trained = some_of(data.whole)
    horizon, context_length = durations(trained, task.horizon, task.context_length)
    module = module.cpu().eval()
    fitted = left_behind(module, data, horizon, context_length)
    drawn = {"batch_size": data.batch_size, "windows_per_epoch": data.windows_per_epoch}
    return fitted, {
        "horizon": task.horizon,
        "context_length": task.context_length,
        "model": ModelConfig.of(module.hparams["model"]),
        "training": module.training_config.replace(**drawn),
        "random_state": data.seed,
    }
