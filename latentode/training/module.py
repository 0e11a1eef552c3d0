"""LatentODEModule: a thin LightningModule over `LatentODE`; plugs into any `Trainer`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode.data.batch import Batch
from latentode.errors import LatentODEError, SolveError
from latentode.forecast.forecast import Forecast
from latentode.model.building import build_latent_ode
from latentode.model.event_times import known_events
from latentode.model.network import LatentODE
from latentode.model.objective import GAINS, elbo_terms, mean_label_loss, negative_elbo
from latentode.nn.latent_state import shared_noise
from latentode.nn.likelihoods import with_parameters
from latentode.nn.likelihoods.choosing import refuse_unexplained
from latentode.training.callbacks import SCHEDULES
from latentode.training.data_module import IrregularDataModule
from latentode.training.metrics import MONITORS, Measures

__all__ = ["BALANCES", "MONITORS", "LatentODEModule"]

BALANCES = ("observations", "variables")
STAGES = ("val", "test")


class LatentODEModule(LightningModule):
    """Trains a `LatentODE` on batches of an `IrregularDataModule`.

    Hyper-parameters are primitives, so a checkpoint loads under torch's safe `weights_only`.
    A batch whose solution, loss or gradient is not finite is skipped, counted (`skipped_batches`) and
    reported; three in a row raise `SolveError`. No NaN is ever written into a weight.

    Logged: `train_loss`; every 300 steps `solver_error`, estimated by step doubling; and on
    validation cuts, in scaled units, `val_nll` (negative log predictive density), `val_mse`,
    `val_mae` (of the predictive mean), a sum of both, `val_mse+mae`, and `val_loss`, the one of them
    that `loss` asks for; by `Trainer.test` the same as `test_*`. `Trainer.predict` returns a frame of
    forecasts per batch.

    Args:
        n_variables: number of variables; with the next three, see `IrregularDataModule.sizes`.
        n_static: number of encoded static features.
        n_known: number of known-future columns.
        time_scale: length of one unit of model time.
        lr: peak learning rate of AdamW.
        weight_decay: its weight decay, decoupled from the loss.
        samples: latent samples per series in training; validation takes more. One if z(t0) is a point.
        kl_warmup: optimiser steps over which the KL weight rises from 0 to 1.
        context_weight: weight of reconstructing the context against forecasting the targets.
        solver_tolerance: error of the latent state that `solver={"steps": "auto"}` allows.
        auto_steps: where automatic steps begin; a checkpoint holds where they had got to.
        loss: "likelihood", or, for point forecasts, "mse", "mae" or "mse+mae" of the predictive mean;
            then the decoded scale is still fitted by the likelihood, without a say in the location.
        balance: what weighs the same in losses and metrics: "observations", or "variables", each
            variable by its own mean.
        units: what each variable's errors, in standard deviations of the training data, are multiplied
            by in the losses "mse" and "mae" and in the metrics; 1 unless told.
        schedule: of the learning rate after its warm-up: "cosine" (to nothing at the trainer's last
            step), "constant" or "plateau" (halved when `monitor` stops falling).
        monitor: the metric that "plateau" watches.
        time_weight: with `observation_times`, the weight of the log-likelihood of when observations
            come against that of their values. Then also logged: `val_times`, its negative per event
            ahead of the origin; `val_loss` holds it too, so weighted, shared out over observations.
        label_weight: with `labels`, the weight of their mean cross-entropy. Then also logged:
            `val_labels`, that cross-entropy, which `val_loss` then is, and `val_accuracy`.
        value_weight: weight of everything else, such as reconstructing the context, against it.
        **network: further arguments of `build_latent_ode`. With `solver={"steps": "auto"}` the steps
            per interval double, up to 16, whenever the estimated error exceeds the tolerance.
    """

    units: Tensor
    VALIDATION_SAMPLES = 16
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
        weight_decay: float = 0.0,
        samples: int = 3,
        kl_warmup: int = 500,
        context_weight: float = 0.05,
        solver_tolerance: float = 1e-2,
        auto_steps: int = 1,
        loss: str = "likelihood",
        balance: str = "observations",
        units: Sequence[float] | None = None,
        schedule: str = "cosine",
        monitor: str = "val_loss",
        time_weight: float = 1.0,
        label_weight: float = 1.0,
        value_weight: float = 1.0,
        **network: Any,
    ) -> None:
        super().__init__()
        for name, given, choices in (
            ("loss", loss, tuple(GAINS)),
            ("balance", balance, BALANCES),
            ("schedule", schedule, tuple(SCHEDULES)),
            ("monitor", monitor, MONITORS),
        ):
            if given not in choices:
                raise LatentODEError(f"{name} {given!r} is unknown; choose from {', '.join(choices)}")
        _check_units(units, n_variables)
        self.save_hyperparameters()
        solver = dict(network.pop("solver", None) or {})
        self.auto_steps = solver.get("steps") == "auto"
        if self.auto_steps:
            solver["steps"] = auto_steps
        self.lr, self.skipped_batches = lr, 0
        self._failures_in_a_row = 0
        self._noise_seed = int(torch.randint(2**62, ()))
        self.kl_warmup, self.context_weight, self.time_weight = kl_warmup, context_weight, time_weight
        self.label_weight, self.value_weight = label_weight, value_weight
        self.gain, self.balanced = GAINS[loss], balance == "variables"
        own = torch.tensor([1.0] * n_variables if units is None else units)
        self.register_buffer("units", own, persistent=False)
        self.model: LatentODE = build_latent_ode(
            n_variables, n_static, n_known, time_scale, solver=solver, **network
        )
        kinds = self.model.event_times is not None, self.model.labelling is not None
        self.measures = nn.ModuleDict(
            {stage: Measures(stage, n_variables, self.balanced, loss, *kinds) for stage in STAGES}
        )
        # Of a point one sample is all: more noise would be drawn for nothing.
        self.samples = samples if self.model.variational else 1
        self.validation_samples = self.VALIDATION_SAMPLES if self.model.variational else 1

    def setup(self, stage: str) -> None:
        """Refuses data that the likelihoods cannot explain, and has batches left as they are.

        Precisions such as "64-true" and "bf16-true" would cast every tensor of a batch; the network
        casts for itself, once times are relative to the forecast origin.

        Raises:
            SchemaError: naming column, row, value and fix.
        """
        self.trainer.precision_plugin.convert_input = _unchanged
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        # Loaders or a data module of your own have no table of ours to name a row of.
        if isinstance(data, IrregularDataModule):
            for dataset in data.tables():
                refuse_unexplained(dataset, self.model.likelihood)

    def teardown(self, stage: str) -> None:
        """Gives the trainer's precision back its own conversion of batches."""
        vars(self.trainer.precision_plugin).pop("convert_input", None)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        noise = self._noise(len(batch), batch_idx)
        try:
            terms = elbo_terms(
                self.model,
                batch,
                noise,
                reconstruct=self.context_weight * self.value_weight > 0,
                gain=self.gain,
                balanced=self.balanced,
                units=self.units / self.units.mean(),  # the loss keeps its size, and Adam its pace
            )
        except SolveError as failure:
            return self._skip(str(failure))
        weight = min(1.0, self.global_step / max(1, self.kl_warmup))
        loss = negative_elbo(terms, weight, self.context_weight, self.time_weight)
        loss = self.value_weight * loss + self.label_weight * mean_label_loss(terms)
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
        measures = cast(Measures, self.measures[stage])
        self._update(measures, batch)
        if found := measures.named():
            self.log_dict(found)

    def _update(self, measures: Measures, batch: Batch) -> None:
        """Measures what the model says of values, of times and of labels, where it says anything."""
        through = self.model.reach(batch, past=False)
        if through is None and len(batch.target) == 0:
            return
        noise = shared_noise(self.validation_samples, self.model.latent_size).to(self.device)
        distribution, _, path = self.model.answer(batch, batch.target.queries(), noise, through)
        if self.model.event_times is not None:
            each = self.model.times_log_likelihood(path, batch, past=False)
            gain = (each.logsumexp(dim=0) - math.log(len(each))).sum()
            events = known_events(batch, False, self.model.event_times.per_variable)
            measures.update_times(-gain, len(events), self.time_weight)
        if self.model.labelling is not None and batch.labels is not None:
            logits = self.model.label_logits(path, batch, batch.labels)
            measures.update_labels(logits, batch.labels.klass)
        if len(batch.target):
            value = batch.target.value.to(self.model.value_dtype)
            unit = self.units.to(value.dtype)[batch.target.variable]
            measures.update(distribution, value, batch.target.variable, unit)

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
        return Forecast.of(names.keys, found, self.model.likelihood, names.units).to_frame()

    def predictive(self, batch: Batch) -> Distribution:
        """The batch's targets in scaled units, shape `(latent samples, targets)`."""
        noise = shared_noise(self.validation_samples, self.model.latent_size).to(self.device)
        return self.model(batch, batch.target.queries(), noise)[0]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.lr, weight_decay=self.hparams["weight_decay"]
        )
        schedule = SCHEDULES[self.hparams["schedule"]]
        steps = self.trainer.estimated_stepping_batches
        return [optimizer], schedule(optimizer, steps, self.hparams["monitor"])


def _unchanged(data: Any) -> Any:
    return data


def _check_units(units: Sequence[float] | None, n_variables: int) -> None:
    if units is None:
        return
    if len(units) != n_variables or not all(0 < a < math.inf for a in units):
        raise LatentODEError(
            f"units must be {n_variables} positive numbers, one per variable, got {units!r}"
        )
