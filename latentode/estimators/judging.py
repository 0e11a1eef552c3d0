"""What a fit leaves behind, and how good it is: its forecasts of what was held out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from latentode.data.climatology import Climatology
from latentode.data.dataset import SeriesDataset
from latentode.data.split import tamed
from latentode.estimators.families import Family
from latentode.evaluation.leaderboard import STRUCTURE_NAME, advice, leaderboard, to_text
from latentode.evaluation.pairs import BacktestPairs
from latentode.evaluation.residual_fit import fit_residuals, judging_pairs
from latentode.evaluation.shrinkage import shrunk, with_strength
from latentode.forecast.engine import Engine
from latentode.forecast.fitted import FittedForecaster, Reader
from latentode.training.config import TrainingConfig
from latentode.training.data_module import IrregularDataModule
from latentode.training.module import LatentODEModule

__all__ = [
    "as_given",
    "judged",
    "judged_by",
    "judging",
    "left_behind",
    "say_how_good",
    "say_what_is_decided",
    "told_family",
]

SHOWN = 5  # names of variables
SCALES = {"log": "logarithms", "logit": "logits"}


def left_behind(
    module: LatentODEModule,
    data: IrregularDataModule,
    horizon: float,
    context_length: float,
) -> FittedForecaster:
    """What the training of a module leaves behind; it holds the network itself, trained or not yet.

    Baselines know the training means only, not what was held out to stop training and to judge it by.
    """
    reader = Reader(data.schema, data.axis, data.scaling, data.train.dataset.notes)
    engine = Engine(module.model, data.scaling, context_length)
    means = Climatology.fit(data.train.dataset)
    return FittedForecaster(reader, engine, means, horizon, classes=data.classes)


def judging(fitted: FittedForecaster, data: IrregularDataModule) -> tuple[SeriesDataset, BacktestPairs]:
    """What a fit is judged by: what was held out, else what it was trained on."""
    judge = data.validation if data.validation is not None else data.train
    return judging_pairs(fitted.horizon, judge.dataset, data.held_out_after)


def judged(
    fitted: FittedForecaster, data: IrregularDataModule, training: TrainingConfig
) -> FittedForecaster:
    """The model with its residuals and, where anything was held out, its strength and leaderboard.

    Residuals are of what a fit was validated on, else of what it was trained on.
    """
    asked = judging(fitted, data)
    if data.validation is not None and len(asked[1].actual):
        fitted = judged_by(fitted, asked[0], training, asked[1])
        fitted = _estimated_again(fitted, data)
        if data.held_out_after is None:
            return fitted  # with the residuals of series that it had not met
    answer = fitted.forecast(asked[0], asked[1].queries, asked[1].keys)
    return replace(fitted, residuals=fit_residuals(fitted, *asked, answer))


def _estimated_again(fitted: FittedForecaster, data: IrregularDataModule) -> FittedForecaster:
    """The model whose structural forecasts know what was held out too, now that it is judged.

    Of a short table the end is what says most about its future; of few series each is a good part, and
    which of them were held out is no more than chance. Where something learnt is believed all forecasts
    stay, since it was learnt about these.
    """
    if data.whole is data.train.dataset:
        return fitted
    batch, engine = data.examples(whole=True), fitted.engine
    network, *others = (deepcopy(own) for own in engine.networks)
    for own in (network, *others):
        own.emission.estimate_again(batch, own.time_scale, len(data.whole))
    return replace(fitted, engine=replace(engine, network=network, others=tuple(others)))


def judged_by(
    fitted: FittedForecaster,
    dataset: SeriesDataset,
    training: TrainingConfig,
    pairs: BacktestPairs | None = None,
) -> FittedForecaster:
    """The model with its strength, residuals and leaderboard.

    Args:
        fitted: trained, or not.
        dataset: series that were held out.
        training: whose metric says how strong corrections are.
        pairs: what is asked of them; None for values ahead of some of their times.
    """
    if pairs is None:
        dataset, pairs = judging_pairs(fitted.horizon, dataset)
    watched = training.monitor.removeprefix("val_")
    error = {"loss": training.loss, "nll": "likelihood"}.get(watched, watched)
    if training.max_epochs:
        fitted = shrunk(fitted, dataset, pairs, error.partition("+")[0])
    else:
        fitted = with_strength(fitted, 0.0)
    answer = fitted.forecast(dataset, pairs.queries, pairs.keys)
    fitted = replace(fitted, residuals=fit_residuals(fitted, dataset, pairs, answer))
    board = leaderboard(fitted, dataset, pairs, answer)
    if training.max_epochs == 0:  # where both are one
        board = board[board["model"] != STRUCTURE_NAME].reset_index(drop=True)
    return replace(fitted, record=replace(fitted.record, leaderboard=board))


def say_what_is_decided(
    estimator: Any, data: IrregularDataModule, families: Mapping[str, Family]
) -> None:
    """What a fit takes of its data, line by line on standard error, if it is to be said."""
    if estimator.verbose:
        for line in _decisions(estimator, data, families):
            tqdm.write(line, file=sys.stderr)


def _decisions(
    estimator: Any, data: IrregularDataModule, families: Mapping[str, Family]
) -> Iterator[str]:
    """A line for each thing that a fit decides, with why."""
    train, schema, unit = data.train.dataset, data.schema, data.axis.unit_name
    series = f"{len(train)} series told apart by `{schema.id}`" if schema.id else "one series"
    variables = _listed(train.variables)
    yield f"learns from {len(train.time)} values of {variables} in {series} by `{schema.time}`"
    horizon, context = data.task.reach(), data.task.context_length  # type: ignore[attr-defined]
    usual = "" if estimator.horizon is not None else ", as is usual for these times"
    ahead, back = (
        as_given(estimator.horizon, horizon, unit),
        as_given(estimator.context_length, context, unit),
    )
    yield f"horizon: {ahead}{usual}; context: {back}"
    for name, own in families.items():
        yield told_family(name, own)
    known, tame = data.whole, tamed(data.whole)
    wild = [] if tame is known else np.flatnonzero(tame.value != known.value)
    for v in np.unique(known.variable[wild]):
        values = known.value[wild][known.variable[wild] == v]
        more = f", and {len(values) - 1} more" if len(values) > 1 else ""
        yield (
            f"`{known.variables[v]}`: {values[0]:g} is wild beside its neighbours{more}, and drawn in "
            "where the structural forecast is estimated; where it is made, such are left out of account"
        )
    if data.validation is None:
        yield "held out: nothing, there is too little"
    elif data.held_out_after is None:
        yield f"held out: {len(data.validation)} whole series"
    else:
        part = np.median(data.validation.last - data.held_out_after)
        yield f"held out: the last {part:g}{unit} of each series (the median)"
    training = estimator.training
    if training.max_epochs == 0:
        structural = estimator.model.structure == "state-space"
        answers = "the structural forecast" if structural else "what nobody has trained"
        yield f"training: none (max_epochs is 0), so that {answers} answers alone"
        return
    yield (
        f"training: up to {training.max_epochs} epochs of {data.windows_per_epoch} windows, until "
        f"{training.monitor} has not fallen for {training.patience}"
    )


def as_given(given: object, length: float | None, unit: str) -> str:
    """A duration as it was given with a unit of its own, else in time units."""
    own = given.strip() if isinstance(given, str) else ""
    return own if own[-1:].isalpha() else f"{length:g}{unit}"


def told_family(name: str, family: Family | None) -> str:
    """What a variable is forecast by, and why; None is normal, which is what is left."""
    if family is None:
        return f"`{name}`: no family is better than normal"
    scale = "" if family.transform is None else f" {SCALES[family.transform]}"
    return f"`{name}`: {family.kind}, so {family.likelihood}{scale}"


def say_how_good(estimator: Any) -> None:
    """The leaderboard of a fit, if there is one and it is to be said."""
    board = estimator.fitted_.record.leaderboard
    if board.empty or not estimator.verbose:
        return
    believed = _believed(estimator.fitted_) if estimator.training.max_epochs else None
    for said in (believed, to_text(board), advice(board)):
        if said is not None:
            tqdm.write(said, file=sys.stderr)


def _believed(fitted: FittedForecaster) -> str | None:
    """How much of what training has learnt is believed, of which variables; None where all of it is."""
    emission = fitted.engine.network.emission
    if emission.structure is None:
        return None
    by = pd.Series(fitted.reader.schema.targets).groupby(emission.strength.double().numpy())
    parts = [f"{strength:.0%} for {_listed(list(names))}" for strength, names in by]
    return (
        f"of what training adds to the structural forecast, held-out values ask for {', '.join(parts)}"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:SHOWN]) + more
