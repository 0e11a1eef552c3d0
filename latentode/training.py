"""LitLatentODE: a thin LightningModule over `LatentODE`; plugs into any `Trainer`."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule
from torch import Tensor
from torch.distributions import Distribution

from latentode.data.batch import Batch
from latentode.errors import LatentODEError, SolveError
from latentode.forecast import Forecast
from latentode.model import LatentODE, build_latent_ode
from latentode.nn.encoders import shared_noise
from latentode.nn.likelihoods import mixture, with_parameters
from latentode.objective import elbo_terms, negative_elbo

__all__ = ["LitLatentODE"]


class LitLatentODE(LightningModule):
    """Trains a `LatentODE` on batches of an `IrregularDataModule`.

    Hyper-parameters are primitives, so a checkpoint loads under torch's safe `weights_only`.
    A batch whose solution, loss or gradient is not finite is skipped, counted (`skipped_batches`) and
    reported; three in a row raise `SolveError`. No NaN is ever written into a weight.

    Logged: `train_loss`; every 300 steps `solver_error`, estimated by step doubling; and on
    validation cuts, per target in scaled units, `val_loss` (negative
    log predictive density), `val_mse`, `val_mae` (of the predictive mean); by `Trainer.test` the
    same as `test_*`. `Trainer.predict` returns a frame of forecasts per batch.

    Args:
        n_variables: number of variables; with the next three, see `IrregularDataModule.sizes`.
        n_static: number of encoded static features.
        n_known: number of known-future columns.
        time_scale: length of one unit of model time.
        lr: peak learning rate of Adam; decays along a cosine where the trainer has a last step.
        samples: latent samples per series in training; validation takes more.
        kl_warmup: optimiser steps over which the KL weight rises from 0 to 1.
        context_weight: weight of reconstructing the context against forecasting the targets.
        solver_tolerance: error of the latent state that `solver={"steps": "auto"}` allows.
        auto_steps: where automatic steps begin; a checkpoint holds where they had got to.
        **network: further arguments of `build_latent_ode`. With `solver={"steps": "auto"}` the steps
            per interval double, up to 16, whenever the estimated error exceeds the tolerance.
    """

    VALIDATION_SAMPLES = 16
    LR_WARMUP = 50
    MAX_FAILURES = 3
    MAX_STEPS = 16
    CHECK_SOLVER_EVERY = 300

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
        solver_tolerance: float = 1e-2,
        auto_steps: int = 1,
        **network: Any,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        solver = dict(network.pop("solver", None) or {})
        self.auto_steps = solver.get("steps") == "auto"
        if self.auto_steps:
            solver["steps"] = auto_steps
        self.lr, self.samples = lr, samples
        self.skipped_batches = 0
        self._failures_in_a_row = 0
        self._noise_seed = int(torch.randint(2**62, ()))
        self.kl_warmup, self.context_weight = kl_warmup, context_weight
        self.model: LatentODE = build_latent_ode(
            n_variables, n_static, n_known, time_scale, solver=solver, **network
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        noise = self._noise(len(batch), batch_idx)
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

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.global_step % self.CHECK_SOLVER_EVERY == 0:
            self._check_solver(batch)

    def _check_solver(self, batch: Batch) -> None:
        """Logs the solver's error on the current weights; takes more steps if they are automatic."""
        try:
            error = float(self.model.solver_error(batch).amax())
        except SolveError:
            error = math.inf
        self.log("solver_error", error, on_step=True, on_epoch=False)
        if not self.auto_steps or error <= self.hparams["solver_tolerance"]:
            return
        steps = min(2 * self.model.solver.steps, self.MAX_STEPS)
        if steps == self.model.solver.steps:
            warnings.warn(
                f"the solver's error {error:.2g} exceeds the tolerance "
                f"{self.hparams['solver_tolerance']:g} at the bound of {steps} steps per interval; "
                "raise solver_tolerance, or lower lr",
                stacklevel=2,
            )
            return
        self._take_steps(steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["noise_seed"] = self._noise_seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._noise_seed = checkpoint.get("noise_seed", self._noise_seed)
        if self.auto_steps:
            self._take_steps(checkpoint["hyper_parameters"]["auto_steps"])

    def _take_steps(self, steps: int) -> None:
        self.model.solver = replace(self.model.solver, steps=steps)
        self.hparams["auto_steps"] = steps

    def _noise(self, n_series: int, batch_idx: int) -> Tensor:
        """Of this batch of this epoch, so that a fit that resumes goes on as if never interrupted."""
        place = (self._noise_seed, self.current_epoch, batch_idx, self.global_rank)
        seed = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])
        generator = torch.Generator(self.device).manual_seed(seed)
        shape = (self.samples, n_series, self.model.latent_size)
        return torch.randn(shape, generator=generator, device=self.device, dtype=self.model.dtype)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Lets no non-finite gradient reach a weight."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        if not gradients:
            return
        if torch.stack([g.norm() for g in gradients]).isfinite().all():
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
        self._log_metrics(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._log_metrics(batch, "test")

    def _log_metrics(self, batch: Batch, stage: str) -> None:
        if len(batch.target) == 0:
            return
        distribution = self.predictive(batch)
        value = batch.target.value.to(self.model.dtype)
        error = distribution.mean.mean(dim=0) - value
        metrics = {
            f"{stage}_loss": -mixture(distribution).log_prob(value).mean(),
            f"{stage}_mse": error.square().mean(),
            f"{stage}_mae": error.abs().mean(),
        }
        self.log_dict(metrics, batch_size=len(batch.target))

    def predict_step(self, batch: Batch, batch_idx: int) -> pd.DataFrame:
        """Forecasts of the batch's targets as a long frame: identifier, time, `variable`, `mean`, ...

        Raises:
            LatentODEError: for a batch that does not name its targets.
        """
        if batch.names is None:
            raise LatentODEError(
                "these batches do not name their targets; predict with the data module itself, or with "
                "its val_dataloader, test_dataloader or predict_dataloader"
            )
        found = with_parameters(self.predictive(batch), lambda p: p.detach().cpu().double())
        names = batch.names
        answer = Forecast(names.keys, found, self.model.likelihood, names.loc, names.scale)
        return answer.to_frame()

    def predictive(self, batch: Batch) -> Distribution:
        """The batch's targets in scaled units, shape `(latent samples, targets)`."""
        noise = shared_noise(self.VALIDATION_SAMPLES, self.model.latent_size).to(self.device)
        return self.model(batch, batch.target.queries(), noise)[0]

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
