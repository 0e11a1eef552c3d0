r"""What a fit does besides training: average the weights, keep the best ones, show how far it is.

The average over optimiser steps n is exponential, $\bar w_n = d_n \bar w_{n-1} + (1 - d_n) w_n$ with
$d_n = \min(d, (1 + n) / (10 + n))$, so that a short fit is not held back by its first weights.

Learning-rate schedules by name: `torch`'s schedulers in the form that Lightning takes.

All warm up linearly over `LR_WARMUP` steps. Then *constant* stays, *cosine* follows
$\frac12 (1 + \cos(\pi s / S))$ to the trainer's last step S (and stays where there is none), and
*plateau* halves the rate whenever the monitored metric has not fallen for some epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau
from tqdm.auto import tqdm

from latentode.nn.sequences import last_values

__all__ = [
    "SCHEDULES",
    "BestWeights",
    "EpochProgress",
    "Patience",
    "Schedule",
    "average_weights",
    "constant",
    "cosine",
    "plateau",
]

AVERAGED_AT_FIRST = 10


def average_weights(decay: float = 0.999) -> WeightAveraging:
    """A callback under which averaged weights are validated, checkpointed and left at the end.

    Args:
        decay: d above, below 1; the average spans about 1 / (1 - d) steps.
    """

    def average(means: Sequence[Tensor], new: Sequence[Tensor], n: Tensor | int) -> None:
        kept = min(decay, (1 + int(n)) / (AVERAGED_AT_FIRST + int(n)))
        for mean, own in zip(means, new, strict=True):
            # A precision such as "bf16-true" is that of the weights alone.
            mean.copy_(torch.lerp(own.to(mean.dtype), mean, kept))

    return WeightAveraging(multi_avg_fn=average)


class BestWeights(Callback):
    """Keeps the weights with the lowest `monitor` in memory and puts them back at the end.

    Where the trainer validates before the first epoch, those of no training are among them.

    Args:
        on_best: called after each improvement, to save what there is.
        monitor: a metric of validation.
    """

    def __init__(self, on_best: Callable[[], None] | None = None, monitor: str = "val_loss") -> None:
        self.on_best, self.monitor = on_best, monitor
        self.best = math.inf
        self.epoch: int | None = None
        self.weights: dict[str, torch.Tensor] | None = None

    # Before the end of validation, when averaged weights make room for those in training again.
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get(self.monitor)
        if loss is None or not float(loss) < self.best:
            return
        before = trainer.sanity_checking
        self.best, self.epoch = float(loss), None if before else trainer.current_epoch
        self.weights = {k: v.detach().clone() for k, v in pl_module.state_dict().items()}
        if self.on_best is not None and not before:
            self.on_best()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.epoch = state_dict["best"], state_dict["epoch"]
        self.weights = state_dict["weights"]

    def restore(self, module: LightningModule) -> None:
        """Puts the best weights back, if validation ever saw any."""
        if self.weights is not None:
            module.load_state_dict(self.weights)


class Patience(Callback):
    """Ends a fit that gets no better, but lowers the learning rate first: a plateau is not the end.

    Both after the `monitor` has not fallen for `epochs`, and for at least `FEWEST_STEPS` optimiser
    steps: an epoch of a short table is a few steps.

    Args:
        monitor: a metric of validation.
        epochs: how long to wait.
    """

    FEWEST_STEPS = 200
    LOWER = 0.2  # factor of the learning rate

    def __init__(self, monitor: str, epochs: int) -> None:
        self.monitor, self.epochs = monitor, epochs
        self.best, self.waited, self.lowered, self.ended = math.inf, 0, False, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.ended  # a fit that goes on from its end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get(self.monitor)
        if loss is None or math.isnan(loss):  # nothing was asked
            return
        if float(loss) < self.best:
            self.best, self.waited = float(loss), 0
            return
        if trainer.sanity_checking:
            return
        self.waited += 1
        steps = max(1, int(trainer.num_training_batches))
        if self.waited < max(self.epochs, math.ceil(self.FEWEST_STEPS / steps)):
            return
        if self.lowered:
            trainer.should_stop = self.ended = True
            return
        self.waited, self.lowered = 0, True
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.LOWER
        for configured in trainer.lr_scheduler_configs:
            rates = getattr(configured.scheduler, "base_lrs", None)
            if rates is not None:
                configured.scheduler.base_lrs = [self.LOWER * rate for rate in rates]

    def state_dict(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in ("best", "waited", "lowered", "ended")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


class EpochProgress(Callback):
    """One line for the whole fit: epochs done, time left, losses, errors beside a baseline's.

    `val_mae` is the mean absolute error of held-out values in scaled units, and next to it stands the
    smaller one of the last value's and of the training mean's.

    Args:
        name: what stands before it.
    """

    def __init__(self, name: str = "fit") -> None:
        self.name = name
        self.errors: dict[str, list[torch.Tensor]] = {"last value": [], "training mean": []}
        self.baseline: tuple[str, float] | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.baseline is None and pl_module.training_config.error_units is None:
            target, n_variables = batch.target, pl_module.model.emission.n_variables
            last = last_values(batch.context, len(batch), n_variables)[target.series, target.variable]
            self.errors["last value"].append((target.value - last).abs().cpu())
            self.errors["training mean"].append(target.value.abs().cpu())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.baseline is None and any(map(len, self.errors["last value"])):
            means = {name: float(torch.cat(found).mean()) for name, found in self.errors.items()}
            self.baseline = min(means.items(), key=lambda named: named[1])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = trainer.current_epoch
        others = not trainer.is_global_zero  # one process shows what all do
        total = trainer.max_epochs
        self.bar = tqdm(total=total, initial=done, desc=self.name, unit="epoch", disable=others)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shown = {k: f"{float(v):.4f}" for k, v in trainer.callback_metrics.items() if "loss" in k}
        if self.baseline is not None and "val_mae" in trainer.callback_metrics:
            shown["val_mae"] = f"{float(trainer.callback_metrics['val_mae']):.4f}"
            shown[self.baseline[0]] = f"{self.baseline[1]:.4f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


LR_WARMUP = 50
PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 3

Schedule = Callable[[Optimizer, float, str], list[dict[str, Any]]]


def cosine(optimizer: Optimizer, steps: float, monitor: str) -> list[dict[str, Any]]:
    """Warms up, then decays to nothing at the last step, if there is one.

    Args:
        optimizer: with the peak learning rate.
        steps: how many the trainer will take; may be infinite.
        monitor: the metric to watch; this schedule does not.
    """

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / LR_WARMUP)
        if not math.isfinite(steps):
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    return [{"scheduler": LambdaLR(optimizer, factor), "interval": "step"}]


def constant(optimizer: Optimizer, steps: float, monitor: str) -> list[dict[str, Any]]:
    """Warms up and stays; arguments as for `cosine`."""
    return cosine(optimizer, math.inf, monitor)


def plateau(optimizer: Optimizer, steps: float, monitor: str) -> list[dict[str, Any]]:
    """Warms up, then halves when `monitor` stops falling; arguments as for `cosine`."""
    warm = LinearLR(optimizer, 1 / LR_WARMUP, total_iters=LR_WARMUP - 1)
    fall = ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)
    watched = {"scheduler": fall, "interval": "epoch", "monitor": monitor, "strict": False}
    return [{"scheduler": warm, "interval": "step"}, watched]


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "constant": constant, "plateau": plateau}
