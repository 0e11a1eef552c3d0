r"""Ensemble: one network after another is trained on the same data and answers with the others.

Each begins with weights of its own and sees training windows of its own; what is estimated rather than
trained, such as the structural block, and what is held out are the same in all. Their answers are mixed
in equal parts (`latentode.forecast.Engine`), whose mean errs less than that of one and whose spread
says where they disagree.

References:
    Simple and scalable predictive uncertainty estimation using deep ensembles (Lakshminarayanan et al.,
    2017), https://arxiv.org/abs/1612.01474
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from latentode.data.cycles import describe
from latentode.data.periodogram import MOST_HARMONICS
from latentode.errors import LatentODEError
from latentode.estimators.judging import left_behind
from latentode.forecast.fitted import FittedForecaster
from latentode.model.building import own_draws
from latentode.model.config import ModelConfig
from latentode.nn.likelihoods import refuse_unexplained
from latentode.training.checkpoint import EpochCheckpoint
from latentode.training.config import TrainingConfig
from latentode.training.data_module import IrregularDataModule
from latentode.training.fit import run_fit
from latentode.training.module import LatentODEModule

__all__ = ["build_module", "train_ensemble"]

MEMBER = "member"  # the column of a history that tells members apart
TINY = 1e-6  # minutes that a member is given after all of them have passed


def build_module(
    estimator: Any, data: IrregularDataModule, model: ModelConfig | None = None, member: int = 0
) -> LatentODEModule:
    """An estimator's module for its data, of which each value can be explained.

    Args:
        estimator: a forecaster or a classifier.
        data: what it is trained on.
        model: the network's configuration; by default that of the estimator.
        member: of an ensemble, whose weights are drawn by a seed of its own.

    Raises:
        SchemaError: for an observation that its variable's likelihood cannot explain.
    """
    with own_draws(seed_of(estimator.random_state, member)):
        module = LatentODEModule(data.sizes, model or estimator.model, estimator.training)
    for table in data.tables():
        refuse_unexplained(table, module.model.likelihood)
    return module


def seed_of(random_state: int, member: int) -> int:
    """The seed of a member's weights and windows; that of the first is the ensemble's own."""
    if member == 0:
        return random_state
    return int(np.random.SeedSequence([random_state, member]).generate_state(1)[0])


def train_ensemble(
    estimator: Any,
    data: IrregularDataModule,
    spans: tuple[float, float],
    model: ModelConfig | None = None,
    save: Callable[[], None] | None = None,
    checkpoint: EpochCheckpoint | None = None,
    lightning: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Trains the networks of an estimator into its `fitted_`, however training ends.

    Of an ensemble whose training ends early the networks stay that had been trained; of the first, and
    of the only one, the best weights so far.

    Args:
        estimator: a forecaster or a classifier, of as many `members` as it says.
        data: what to train on.
        spans: horizon and context length, in time units.
        model: as for `build_module`.
        save: called after each improvement of the first network, and at the end of each if there was
            any epoch; None for nothing.
        checkpoint: from which to go on, and where to leave off; None for no such thing.
        lightning: `callbacks` and `settings` of the Trainer, as for `run_fit`; each further member has
            a copy of the callbacks as they were given.

    Raises:
        LatentODEError: for callbacks that cannot be copied for further members.
    """
    if estimator.verbose and data.found_cycles is not None:
        sines = zip(data.schema.periods, data.cycle_harmonics, strict=True)
        sharp = [f"; {period} is sharp, of {n} sines" for period, n in sines if n > MOST_HARMONICS]
        tqdm.write(f"cycles found: {describe(data.found_cycles)}{''.join(sharp)}", file=sys.stderr)
    begin, members = time.monotonic(), estimator.members
    callbacks = _copies(lightning.get("callbacks", ()), members)
    try:
        for member in range(members):
            module = build_module(estimator, data, model, member)
            module.estimate(data)  # by the same windows for each
            data.window_seed = seed_of(data.seed, member)
            kept = None if checkpoint is None else checkpoint.of_member(member)
            own = left_behind(module, data, *spans)
            how = {**lightning, "callbacks": callbacks[member]}
            if members > 1:
                how["name"] = f"fit {member + 1} of {members}"
            training = estimator.training
            if training.max_minutes is not None:  # of which those that come have their share
                left = training.max_minutes - (time.monotonic() - begin) / 60
                training = training.replace(max_minutes=max(left, TINY) / (members - member))
            if member == 0:
                estimator.fitted_ = own
                _train(estimator, training, module, data, save, kept, how)
                continue
            before, estimator.fitted_ = estimator.fitted_, own
            try:
                _train(estimator, training, module, data, None, kept, how)
            finally:
                trained, estimator.fitted_ = estimator.fitted_, before
            estimator.fitted_ = _joined(before, trained, member)
            if save is not None:
                save()
    finally:
        data.window_seed = data.seed


def _copies(callbacks: Sequence[Any], members: int) -> list[Sequence[Any]]:
    """Callbacks for each member, which keep what they have seen of one fit for themselves."""
    try:
        return [callbacks, *(deepcopy(list(callbacks)) for _ in range(members - 1))]
    except Exception as error:  # of whatever kind: callbacks hold anything
        raise LatentODEError(
            f"each of {members} members needs callbacks of its own, but these cannot be copied: "
            f"{error}; leave them out, or take members=1"
        ) from error


def _joined(before: FittedForecaster, trained: FittedForecaster, member: int) -> FittedForecaster:
    """An ensemble with one more member."""
    history = before.record.history
    if MEMBER not in history:
        history = history.assign(**{MEMBER: 0})
    more = trained.record.history.assign(**{MEMBER: member})
    record = replace(before.record, history=pd.concat([history, more], ignore_index=True))
    others = (*before.engine.others, trained.engine.network)
    return replace(before, engine=replace(before.engine, others=others), record=record)


def _train(
    estimator: Any,
    training: TrainingConfig,
    module: LatentODEModule,
    data: IrregularDataModule,
    save: Callable[[], None] | None,
    checkpoint: EpochCheckpoint | None,
    lightning: Mapping[str, Any],
) -> None:
    """Trains the module of `estimator.fitted_` and keeps its metrics there, however training ends."""
    begun = False

    def keep(history: pd.DataFrame) -> None:
        nonlocal begun
        begun = begun or len(history) > 0  # epochs that found nothing better than no training count
        record = replace(estimator.fitted_.record, history=history)
        estimator.fitted_ = replace(estimator.fitted_, record=record)

    def improved() -> None:
        nonlocal begun
        begun = True
        if save is not None:
            save()

    try:
        run_fit(
            module,
            data,
            training,
            verbose=estimator.verbose,
            on_end=keep,
            on_best=None if save is None else improved,
            checkpoint=checkpoint,
            **lightning,
        )
        begun = True
    finally:
        if begun and save is not None:
            save()  # again, with the whole history
