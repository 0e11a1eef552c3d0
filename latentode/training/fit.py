"""A whole fit: a quiet `Trainer`, early stopping, the best weights at the end whatever happens."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from difflib import get_close_matches
from inspect import signature
from typing import Any

import pandas as pd
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch import distributed

from latentode.errors import LatentODEError, shown
from latentode.training.callbacks import BestWeights, EpochProgress, Patience, average_weights
from latentode.training.checkpoint import EpochCheckpoint, WholeFiles
from latentode.training.config import TrainingConfig
from latentode.training.data_module import IrregularDataModule
from latentode.training.module import LatentODEModule

__all__ = ["cpu_threads", "run_fit"]

TERMINATED = 128 + 15  # the exit status of a program that SIGTERM has ended
# What a fit decides of its Trainer, and where it is told.
OWN = {
    "max_epochs": "give TrainingConfig(max_epochs=)",
    "max_time": "give TrainingConfig(max_minutes=)",
    "callbacks": "give fit(callbacks=)",
}


def run_fit(
    module: LatentODEModule,
    data: IrregularDataModule,
    config: TrainingConfig,
    *,
    verbose: bool,
    on_end: Callable[[pd.DataFrame], None],
    on_best: Callable[[], None] | None = None,
    checkpoint: EpochCheckpoint | None = None,
    callbacks: Sequence[Callback] = (),
    settings: Mapping[str, Any] | None = None,
    name: str = "fit",
) -> None:
    """Trains a module in place; also after an error or an interruption it holds its best weights.

    Args:
        module: to be trained.
        data: with validation windows, if early stopping is wanted.
        config: for how long, and by which metric weights are better.
        verbose: whether to show a progress bar.
        on_end: given the metrics, a row per epoch, however the fit ends.
        on_best: called after each improvement, when the module holds the better weights.
        checkpoint: from which to go on, and where to leave off; None for no such thing.
        callbacks: further ones of the user's, called before those of the fit.
        name: what the progress bar calls it.
        settings: further arguments of the `Trainer`, such as `accelerator`, `devices` and `logger`.

    Raises:
        SystemExit: with the status 143, where the process was told to end by SIGTERM.
        LatentODEError: for a checkpoint that cannot be gone on from, or cannot be written, and for
            settings that a `Trainer` does not have, or that are those of the fit.
    """
    settings = _checked(settings or {})
    if not isinstance(callbacks, Iterable) or not all(isinstance(c, Callback) for c in callbacks):
        raise LatentODEError(f"callbacks are Lightning's, in a list; got {shown(callbacks)}")
    if not module.estimated:
        module.estimate(data)  # before callbacks copy the module
    minutes = config.max_minutes
    best, log = BestWeights(on_best, config.monitor), _History()
    called: list[Callback] = [*callbacks, best, log]
    if config.ema_decay is not None:
        called.append(average_weights(config.ema_decay))  # after `best`, which sees the average
    if data.validation is not None:
        called.append(Patience(config.monitor, config.patience))
    begin = None
    if checkpoint is not None:
        begin = checkpoint.begin(module, data)
        called.append(checkpoint)
    if verbose:
        called.append(EpochProgress(name))
    with warnings.catch_warnings(), _quiet_lightning():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*treespec.*")
        defaults: dict[str, Any] = {
            "gradient_clip_val": 1.0,
            "logger": False,
            "enable_checkpointing": any(isinstance(c, Checkpoint) for c in called),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0 if data.validation is None else -1,  # what no training does
        }
        own = {"plugins": [WholeFiles(), *_listed(settings.get("plugins"))]}
        with _told_plainly():
            trainer = Trainer(
                max_epochs=config.max_epochs,
                max_time=None if minutes is None else timedelta(minutes=minutes),
                callbacks=called,
                **{**defaults, **settings, **own},
            )
        _refuse_children(trainer)
        if trainer.precision == "64-true":
            module.double()  # before callbacks copy the module, in single precision
        try:
            with _passing_interrupts_on(trainer):
                trainer.fit(module, data, ckpt_path=begin, weights_only=True)
        finally:
            best.restore(module)
            module.eval()
            on_end(pd.DataFrame(log.epochs))
            if trainer.world_size > 1 and distributed.is_initialized():
                distributed.destroy_process_group()  # another fit may be of one process


def _checked(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of a `Trainer`, of which none is the fit's own."""
    known = signature(Trainer).parameters
    for name in settings:
        if name in OWN:
            raise LatentODEError(f"trainer={{{name!r}: ...}} is not for a fit to be told: {OWN[name]}")
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise LatentODEError(f"a Trainer has no argument {name!r}{meant}")
    loggers = _listed(settings.get("logger"))
    if not all(isinstance(logger, bool | Logger) for logger in loggers):
        raise LatentODEError(f"logger is one of Lightning's, or several; got {shown(loggers)}")
    return settings


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Has what Lightning refuses, by errors of several kinds, be one of ours."""
    try:
        yield
    except LatentODEError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise LatentODEError(f"trainer= holds what a Trainer cannot take: {reason}") from error


def _refuse_children(trainer: Trainer) -> None:
    """Raises where training would be in processes that end with it, and the best weights with them."""
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise LatentODEError(
            "a fit keeps its best weights in its own process, which this strategy trains in others "
            "that end with it; take strategy='ddp' in a script, or train in a Trainer of your own"
        )


def _listed(plugins: Any) -> list[Any]:
    """Plugins as a list, of which a Trainer takes none, one or several."""
    return [] if plugins is None else list(plugins) if isinstance(plugins, list | tuple) else [plugins]


class _History(Callback):
    """Metrics of each epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        before = self.epochs[-1] if self.epochs else {}  # what is not logged in every epoch stays
        self.epochs.append({**before, **metrics, "epoch": trainer.current_epoch})

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = list(state_dict["epochs"])


@contextmanager
def _passing_interrupts_on(trainer: Trainer) -> Iterator[None]:
    """On a keyboard interrupt Lightning would end the program, and have it ignore the next one.

    Told to end by SIGTERM it would say by the status 0 that all was well.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if trainer.received_sigterm:
            raise SystemExit(TERMINATED) from None
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


@contextmanager
def cpu_threads(n: int | None) -> Iterator[None]:
    """Runs with `n` CPU threads, then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if n is None else n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _quiet_lightning:
    """Keeps Lightning's notices on hardware and hints out of the way while a fit runs."""

    NAMES = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")

    def __enter__(self) -> None:
        self.levels = {n: logging.getLogger(n).level for n in self.NAMES}
        for name in self.NAMES:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __exit__(self, *failure: object) -> None:
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)
