"""LitLatentODE: a thin LightningModule over `LatentODE`; plugs into any `Trainer`."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.distributions import Distribution

from latentode.data.batch import Batch
from latentode.errors import SolveError
from latentode.model import LatentODE, build_latent_ode
from latentode.nn.encoders import shared_noise
from latentode.nn.likelihoods import mixture
from latentode.objective import elbo_terms, negative_elbo

__all__ = ["LitLatentODE"]


class LitLatentODE(LightningModule):
    """Trains a `LatentODE` on batches of an `IrregularDataModule`.

    Hyper-parameters are primitives, so a checkpoint loads under torch's safe `weights_only`.
    A batch whose solution, loss or gradient is not finite is skipped, counted (`skipped_batches`) and
    reported; three in a row raise `SolveError`. No NaN is ever written into a weight.

    Logged: `train_loss`, and on validation cuts, per target in scaled units, `val_loss` (negative
    log predictive density), `val_mse`, `val_mae` (of the predictive mean).

    Args:
        n_variables: number of variables; with the next three, see `IrregularDataModule.sizes`.
        n_static: number of encoded static features.
        n_known: number of known-future columns.
        time_scale: length of one unit of model time.
        lr: peak learning rate of Adam; decays along a cosine where the trainer has a last step.
        samples: latent samples per series in training; validation takes more.
        kl_warmup: optimiser steps over which the KL weight rises from 0 to 1.
        context_weight: weight of reconstructing the context against forecasting the targets.
        **network: further arguments of `build_latent_ode`.
    """

    VALIDATION_SAMPLES = 16
    LR_WARMUP = 50
    MAX_FAILURES = 3

    def __init__(
        self,
        n_variables: int,
        n_static: int = 0,
        n_known: int = 0,
        time_scale: float = 1.0,
        lr: float = 3e-3,
        samples: int = 3,
        kl_warmup: int = 500,
        context_weight: float = 0.05,
        **network: Any,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.samples = lr, samples
        self.skipped_batches = 0
        self._failures_in_a_row = 0
        self.kl_warmup, self.context_weight = kl_warmup, context_weight
        self.model: LatentODE = build_latent_ode(n_variables, n_static, n_known, time_scale, **network)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        shape = (self.samples, len(batch), self.model.latent_size)
        noise = torch.randn(shape, device=self.device, dtype=self.model.dtype)
        try:
            terms = elbo_terms(self.model, batch, noise, reconstruct=self.context_weight > 0)
        except SolveError as failure:
            return self._skip(str(failure))
        weight = min(1.0, self.global_step / max(1, self.kl_warmup))
        loss = negative_elbo(terms, weight, self.context_weight)
        if not torch.isfinite(loss):
            return self._skip("the loss is not finite")
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Lets no non-finite gradient reach a weight."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        if not gradients:
            return
        if torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            self._failures_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)
        self._skip("a gradient is not finite")

    def _skip(self, why: str) -> None:
        """Counts a batch that changes no weight; too many in a row end the fit with advice."""
        self.skipped_batches += 1
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self.MAX_FAILURES:
            raise SolveError(
                f"{self._failures_in_a_row} batches in a row could not be trained on; the last: {why}. "
                "Lower lr, take more solver steps, or shorten the horizon; the weights are still finite"
            )
        warnings.warn(f"batch skipped ({self.skipped_batches} so far): {why}", stacklevel=2)
        self.log("skipped_batches", float(self.skipped_batches))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if len(batch.target) == 0:
            return
        noise = shared_noise(self.VALIDATION_SAMPLES, self.model.latent_size).to(self.device)
        distribution, _ = self.model(batch, batch.target.queries(), noise)
        value = batch.target.value.to(self.model.dtype)
        error = distribution.mean.mean(dim=0) - value
        metrics = {
            "val_loss": -mixture(distribution).log_prob(value).mean(),
            "val_mse": error.square().mean(),
            "val_mae": error.abs().mean(),
        }
        self.log_dict(metrics, batch_size=len(batch.target))

    def predict_step(self, batch: Batch, batch_idx: int) -> Distribution:
        """The predictive distribution of the batch's targets in scaled units, shape `(targets,)`."""
        noise = shared_noise(self.VALIDATION_SAMPLES, self.model.latent_size).to(self.device)
        return mixture(self.model(batch, batch.target.queries(), noise)[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        total = self.trainer.estimated_stepping_batches

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / self.LR_WARMUP)
            if not math.isfinite(total):
                return warm
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
