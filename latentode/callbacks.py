"""What a fit does besides training: keep the best weights, show how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from lightning import Callback, LightningModule, Trainer
from tqdm.auto import tqdm

__all__ = ["BestWeights", "EpochProgress"]


class BestWeights(Callback):
    """Keeps the weights with the lowest `val_loss` in memory and puts them back at the end.

    Args:
        on_best: called after each improvement, to save what there is.
    """

    def __init__(self, on_best: Callable[[], None] | None = None) -> None:
        self.on_best = on_best
        self.best = math.inf
        self.epoch: int | None = None
        self.weights: dict[str, torch.Tensor] | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get("val_loss")
        if trainer.sanity_checking or loss is None or not float(loss) < self.best:
            return
        self.best, self.epoch = float(loss), trainer.current_epoch
        self.weights = {k: v.detach().clone() for k, v in pl_module.state_dict().items()}
        if self.on_best is not None:
            self.on_best()

    def restore(self, module: LightningModule) -> None:
        """Puts the best weights back, if validation ever saw any."""
        if self.weights is not None:
            module.load_state_dict(self.weights)


class EpochProgress(Callback):
    """One line for the whole fit: epochs done, time left, losses."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar = tqdm(total=trainer.max_epochs, desc="fit", unit="epoch", leave=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shown = {k: f"{float(v):.4f}" for k, v in trainer.callback_metrics.items() if "loss" in k}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if hasattr(self, "bar"):
            self.bar.close()
