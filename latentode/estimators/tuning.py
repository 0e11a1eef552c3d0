"""Tuning: settings of network and training that do best on held-out data, found by Optuna.

Each trial fits a forecaster with the same windows held out, for a quarter of the epochs at first; only
one that is then among the better half of its predecessors is fitted in full. The first trial is of the
settings as they are, so that what is found is no worse than these. A study that is stored goes on where
it was ended.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
from sklearn.base import clone

from latentode.data.cells.columns import IntoFrame
from latentode.data.tables.schema import Schema
from latentode.errors import LatentODEError, check_whole
from latentode.estimators.forecaster import LatentODEForecaster
from latentode.model.config import ModelConfig
from latentode.training.config import TrainingConfig

if TYPE_CHECKING:
    from optuna import Trial  # pyright: ignore[reportMissingImports]

__all__ = ["Tuned", "suggest", "tune"]

FIRST = 4  # the part of all epochs after which a trial is judged
BEFORE_PRUNING = 4  # trials that are fitted in full whatever they find
Settings = dict[str, Any]  # by the names of `set_params`


@dataclass(frozen=True)
class Tuned:
    """What was found.

    Args:
        model: the network of the best trial.
        training: its training.
        error: the held-out metric of it, `TrainingConfig.monitor`, in scaled units.
        trials: all of them, a row each: number, state, error, and each setting.
    """

    model: ModelConfig
    training: TrainingConfig
    error: float
    trials: pd.DataFrame


def suggest(trial: Trial) -> Settings:
    """The usual settings to choose among: layout, sizes, vector field, and how it is trained."""
    return {
        "model__latent": trial.suggest_categorical("model__latent", ["per-variable", "joint"]),
        "model__dynamics": trial.suggest_categorical("model__dynamics", ["mlp", "gated"]),
        "model__latent_size": trial.suggest_categorical("model__latent_size", [8, 16, 32]),
        "model__hidden_size": trial.suggest_categorical("model__hidden_size", [32, 64, 128]),
        "training__lr": trial.suggest_float("training__lr", 3e-4, 6e-3, log=True),
        "training__weight_decay": trial.suggest_float("training__weight_decay", 1e-6, 1e-1, log=True),
        "training__observation_dropout": trial.suggest_float("training__observation_dropout", 0.0, 0.5),
    }


def tune(
    forecaster: LatentODEForecaster,
    df: IntoFrame,
    schema: Schema | None = None,
    validation: IntoFrame | None = None,
    trials: int = 20,
    storage: str | Path | None = None,
    space: Callable[[Trial], Settings] = suggest,
) -> Tuned:
    """Searches settings of a forecaster, which stays as it is.

    Args:
        forecaster: whose settings the search begins with, and whose others it keeps.
        df, schema, validation: as for `fit`.
        trials: how many in all, those of a stored study counted in.
        storage: a file that keeps the study: ".log" is a journal, which several processes may share,
            any other SQLite. None for none.
        space: from a trial of Optuna to settings by the names of `set_params`.

    Raises:
        LatentODEError: without Optuna, for fewer than one trial, or where no trial could be fitted.
    """
    try:
        import optuna  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise LatentODEError("tuning needs Optuna: pip install latentode[tune]") from error
    check_whole("trials", trials)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=BEFORE_PRUNING, n_warmup_steps=0)
    sampler = optuna.samplers.TPESampler(seed=forecaster.random_state)
    study = optuna.create_study(
        storage=_storage(storage),
        sampler=sampler,
        pruner=pruner,
        study_name="latentode",
        load_if_exists=True,
    )

    def error_of(settings: Settings, epochs: int) -> float:
        # One network of an ensemble: settings that make it better make the others better.
        chosen = _copy(forecaster).set_params(verbose=False, members=1, **settings)
        chosen.set_params(training__max_epochs=epochs).fit(df, schema, validation)
        monitor = chosen.training.monitor
        if monitor not in chosen.history_:
            raise LatentODEError("nothing could be held out to tune by; give validation=")
        return float(chosen.history_[monitor].min())

    def objective(trial: Trial) -> float:
        settings = {} if trial.user_attrs.get("as it was") else space(trial)
        trial.set_user_attr("settings", settings)
        epochs = forecaster.training.max_epochs
        if (first := epochs // FIRST) > 0:
            trial.report(error_of(settings, first), first)
            if trial.should_prune():
                raise optuna.TrialPruned
        return error_of(settings, epochs)

    if not study.trials:
        study.enqueue_trial({}, user_attrs={"as it was": True})
    done = sum(t.state.is_finished() for t in study.trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what each fit would say again
        study.optimize(objective, n_trials=max(0, trials - done), catch=(LatentODEError,))
    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        raise LatentODEError("no trial could be fitted; fit the forecaster itself, which says why")
    best = _copy(forecaster).set_params(**study.best_trial.user_attrs["settings"])
    return Tuned(best.model, best.training, study.best_value, _table(study.trials))


def _copy(forecaster: LatentODEForecaster) -> LatentODEForecaster:
    """One with the same settings, not fitted."""
    return cast(LatentODEForecaster, clone(forecaster))


def _storage(place: str | Path | None) -> Any:
    if place is None:
        return None
    from optuna.storages import JournalStorage, RDBStorage  # pyright: ignore[reportMissingImports]
    from optuna.storages.journal import (  # pyright: ignore[reportMissingImports]
        JournalFileBackend,
    )

    path = Path(place)
    if path.suffix == ".log":
        return JournalStorage(JournalFileBackend(str(path)))
    return RDBStorage(f"sqlite:///{path.resolve()}")


def _table(trials: list[Any]) -> pd.DataFrame:
    rows = [
        {"trial": t.number, "state": t.state.name.lower(), "error": t.value}
        | t.user_attrs.get("settings", {})
        for t in trials
    ]
    return pd.DataFrame(rows)
