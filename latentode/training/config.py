"""Configuration of training: what is lowered, by which optimiser, for how long, from which windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentode.errors import LatentODEError, check_choice
from latentode.model.config import Config

__all__ = ["BALANCES", "METRICS", "MONITORS", "SCHEDULES", "TrainingConfig"]

MOST_WINDOWS, MOST_LR = 10**7, 1e6
BALANCES = ("observations", "variables")
SCHEDULES = ("cosine", "constant", "plateau")  # as `latentode.training.callbacks` has them
# What held-out data are measured by, by the loss; as `latentode.training.metrics` has them.
METRICS = {"likelihood": "nll", "mse": "mse", "mae": "mae", "mse+mae": "mse+mae"}
MONITORS = ("val_loss", *(f"val_{name}" for name in METRICS.values()), "val_times", "val_labels")


@dataclass(frozen=True, repr=False)
class TrainingConfig(Config):
    """How a network is trained.

    Args:
        max_epochs: most epochs.
        patience: epochs, and at least 200 optimiser steps, without a better `monitor` on held-out data
            after which the learning rate is lowered to a fifth, and after so many more training stops.
        max_minutes: minutes after which training stops; None for no limit.
        batch_size: windows per optimiser step.
        windows_per_epoch: training windows per epoch, at least one per series; None takes five per
            series, or one per horizon that the series span if these are more, but no fewer than 512
            and, for their sake, no more than 4,096.
        lr: peak learning rate of AdamW.
        weight_decay: its weight decay, decoupled from the loss.
        schedule: of the learning rate after its warm-up: "cosine" (to nothing at the last step),
            "constant" or "plateau" (halved when `monitor` stops falling).
        ema_decay: decay of an exponential moving average of the weights, such as 0.999, which then is
            what is validated and kept; None for none.
        loss: "likelihood", or, for point forecasts, "mse", "mae" or "mse+mae" of the predictive mean;
            then the decoded scale is still fitted by the likelihood, without a say in the location, so
            that intervals keep their meaning.
        variance_power: with the loss "likelihood", the power of its predicted variance, beside the mean
            one of its variable, by which a value counts: 0 is maximum likelihood, which cares little
            for means where values scatter widely, and 1 cares for means as least squares do.
        balance: what weighs the same in losses and metrics: "observations", or "variables", each
            variable by its own mean.
        error_units: what each variable's errors, in standard deviations of the training data, are
            multiplied by in the losses "mse" and "mae" and in the metrics; None for 1.
        monitor: the metric on held-out data by which the best weights are kept and training stops:
            "val_loss" (of `loss`), "val_nll", "val_mse" or "val_mae", in scaled units.
        observation_dropout: largest part of a training context to hide from the encoder; the part is
            drawn for each window between none and this.
        context_dropout: share of training windows whose context is hidden whole, so that a series not
            observed yet is answered by what its static covariates say, as uncertain as that is.
        samples: latent samples per series in training; one where z(t0) is a point.
        kl_warmup: optimiser steps over which the weight of the KL term rises from 0 to 1.
        context_weight: weight of reconstructing the context against forecasting the targets.
        time_weight: with `observation_times`, the weight of the log-likelihood of when observations
            come against that of their values.
        label_weight: with labels, the weight of their mean cross-entropy.
        value_weight: weight of everything else, such as reconstructing the context, against it.
    """

    max_epochs: int = 60
    patience: int = 12
    max_minutes: float | None = None
    batch_size: int = 32
    windows_per_epoch: int | None = None
    lr: float = 1.5e-3
    weight_decay: float = 0.0
    schedule: str = "cosine"
    ema_decay: float | None = 0.99
    loss: str = "likelihood"
    variance_power: float = 0.0
    balance: str = "observations"
    error_units: Sequence[float] | None = None
    monitor: str = "val_loss"
    observation_dropout: float = 0.0
    context_dropout: float = 0.02
    samples: int = 3
    kl_warmup: int = 500
    context_weight: float = 0.05
    time_weight: float = 1.0
    label_weight: float = 1.0
    value_weight: float = 1.0

    def check(self) -> None:
        # Here, so that the command line lists these settings without loading torch.
        from latentode.model.objective import GAINS

        check_choice("loss", self.loss, GAINS)
        check_choice("balance", self.balance, BALANCES)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("monitor", self.monitor, MONITORS)
        for name in ("max_epochs", "patience", "kl_warmup"):
            self._require(name, getattr(self, name) >= 0, "must not be negative")
        for name in ("batch_size", "samples"):
            self._require(name, getattr(self, name) >= 1, "must be at least 1")
        windows, minutes, decay = self.windows_per_epoch, self.max_minutes, self.ema_decay
        few = windows is None or 1 <= windows <= MOST_WINDOWS
        self._require("windows_per_epoch", few, f"must be from 1 to {MOST_WINDOWS:,}, or None")
        self._require("max_minutes", minutes is None or minutes > 0, "must be positive, or None")
        self._require("lr", 0 < self.lr <= MOST_LR, f"must be positive and at most {MOST_LR:g}")
        self._require("ema_decay", decay is None or 0 <= decay < 1, "must be at least 0 and below 1")
        self._require("variance_power", 0 <= self.variance_power <= 1, "must be between 0 and 1")
        weighed = self.variance_power == 0 or self.loss == "likelihood"
        self._require("variance_power", weighed, 'goes with loss="likelihood"; leave it out')
        for name in ("observation_dropout", "context_dropout"):
            self._require(name, 0 <= getattr(self, name) < 1, "must be at least 0 and below 1")
        for name in ("weight_decay", "context_weight", "time_weight", "label_weight", "value_weight"):
            own = 0 <= getattr(self, name) < math.inf
            self._require(name, own, "must not be negative, and finite")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise LatentODEError(f"{name} {rule}, got {getattr(self, name)!r}")
