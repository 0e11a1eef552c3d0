"""LatentODEModule: a thin LightningModule over `LatentODE`; plugs into any `Trainer`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm
from torchmetrics import MeanMetric

from latentode.data.batch import Batch
from latentode.errors import LatentODEError, SolveError
from latentode.forecast.forecast import Forecast
from latentode.model.config import ModelConfig, Sizes
from latentode.model.network import LatentODE
from latentode.model.objective import GAINS, elbo_terms, mean_label_loss, negative_elbo
from latentode.model.path_readings import known_events
from latentode.nn.latent_state import shared_noise
from latentode.nn.likelihoods import refuse_unexplained, with_parameters
from latentode.training.callbacks import SCHEDULES
from latentode.training.config import TrainingConfig
from latentode.training.data_module import IrregularDataModule
from latentode.training.metrics import Measures
from latentode.training.skipped import SkippedBatches

__all__ = ["LatentODEModule"]

STAGES = ("val", "test")


class LatentODEModule(LightningModule):
    """Trains a `LatentODE` on batches of an `IrregularDataModule`.

    Hyper-parameters are primitives, so a checkpoint loads under torch's safe `weights_only`.
    A batch whose solution, loss or gradient is not finite is skipped, counted over all processes
    (`skipped_batches`) and reported; three steps in a row without any other raise `SolveError`. No NaN
    is ever written into a weight. What is logged is of all processes, of every held-out window once.

    Logged: `train_loss`; every 300 steps `solver_error`, estimated by step doubling; and on
    validation windows, in scaled units, `val_nll` (negative log predictive density), `val_mse`,
    `val_mae` (of the predictive mean), a sum of both, `val_mse+mae`, and `val_loss`, the one of them
    that `loss` asks for; by `Trainer.test` the same as `test_*`. `Trainer.predict` returns a frame of
    forecasts per batch.

    With observation times `val_times` is logged too, their negative log-likelihood per event ahead of
    the origin, and `val_loss` holds it, weighted and shared out over observations; with labels
    `val_labels`, their cross-entropy, which `val_loss` then is, and `val_accuracy`.

    Args:
        sizes: of the data, `IrregularDataModule.sizes`; or a mapping, as a checkpoint has it.
        model: what the network is made of; likewise.
        training: how it is trained; likewise.

    Raises:
        LatentODEError: for a setting that is unknown, or settings that do not go together.
    """

    units: Tensor
    VALIDATION_SAMPLES = 16
    MAX_STEPS = 16
    CHECK_SOLVER_EVERY = 300

    def __init__(
        self,
        sizes: Sizes | Mapping[str, Any],
        model: ModelConfig | Mapping[str, Any] = ModelConfig(),
        training: TrainingConfig | Mapping[str, Any] = TrainingConfig(),
    ) -> None:
        super().__init__()
        sizes, model = Sizes.of(sizes), ModelConfig.of(model)
        self.training_config = training = TrainingConfig.of(training)
        _check_units(training.error_units, sizes.n_variables)
        # Primitives, which torch's safe loading of checkpoints takes.
        named = {"sizes": sizes, "model": model, "training": training}
        self.save_hyperparameters({name: config.to_dict() for name, config in named.items()})
        self.auto_steps, self.tolerance = model.solver.automatic, model.solver.tolerance
        self.skipped = SkippedBatches()
        self._noise_seed = int(torch.randint(2**62, ()))
        self.estimated = False
        self.lr = training.lr  # a field of its own, for Lightning's learning-rate finder
        units = training.error_units
        own = torch.tensor([1.0] * sizes.n_variables if units is None else list(units))
        self.register_buffer("units", own, persistent=False)
        self.model: LatentODE = model.build(sizes)
        self.measures = nn.ModuleDict({stage: self._measures(stage, sizes) for stage in STAGES})
        self.train_loss = MeanMetric()
        # Every process estimates them by itself, the same, and some are not where its device is.
        own_buffers = [name for name, _ in self.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, own_buffers)
        # Of a point one sample is all: more noise would be drawn for nothing.
        self.samples = training.samples if self.model.variational else 1
        self.validation_samples = self.VALIDATION_SAMPLES if self.model.variational else 1

    def _measures(self, stage: str, sizes: Sizes) -> Measures:
        kinds = self.model.event_times is not None, self.model.labelling is not None
        balanced, loss = self._balanced, self.training_config.loss
        return Measures(stage, sizes.n_variables, balanced, loss, *kinds)

    @property
    def _balanced(self) -> bool:
        return self.training_config.balance == "variables"

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
            if stage == "fit" and not self.estimated:
                self.estimate(data)
            self.estimated = False  # another fit may bring other data

    def estimate(self, data: IrregularDataModule) -> None:
        """Estimates what is no weight from training series: units of changes, the structural block.

        A fit does so by itself, once. Weights that a callback copies before that, to average them, have
        the estimate from the first optimiser step on, unless it is called before the fit.
        """
        self.estimated = True
        self.model.estimate(data.examples(), len(data.train))

    def teardown(self, stage: str) -> None:
        """Gives the trainer's precision back its own conversion of batches."""
        vars(self.trainer.precision_plugin).pop("convert_input", None)

    @property
    def skipped_batches(self) -> int:
        """How many batches could not be trained on so far."""
        return self.skipped.total

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._loss(batch, batch_idx)
        if loss is not None:
            self.skipped.learn()
            self.train_loss.update(loss.detach().float(), len(batch))
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True, batch_size=len(batch))
        if loss is not None and self.trainer.world_size == 1:
            return loss
        # Other processes wait for a gradient of every weight from this one.
        nothing = sum(0.0 * p.sum() for p in self.parameters() if p.requires_grad)
        return cast(Tensor, nothing if loss is None else loss + nothing)

    def _loss(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """The loss of a batch; None if it cannot be trained on."""
        config = self.training_config
        try:
            terms = elbo_terms(
                self.model,
                batch,
                self._noise(len(batch), batch_idx),
                reconstruct=config.context_weight * config.value_weight > 0,
                gain=GAINS[config.loss],
                balanced=self._balanced,
                units=self.units / self.units.mean(),  # the loss keeps its size, and Adam its pace
                variance_power=config.variance_power,
            )
        except SolveError as failure:
            return self.skipped.skip(str(failure))
        kl_weight = min(1.0, self.global_step / max(1, config.kl_warmup))
        loss = negative_elbo(terms, kl_weight, config.context_weight, config.time_weight)
        loss = config.value_weight * loss + config.label_weight * mean_label_loss(terms)
        if not torch.isfinite(loss):
            return self.skipped.skip("the loss is not finite")
        return loss

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.global_step % self.CHECK_SOLVER_EVERY == 0:
            self._check_solver(batch)

    def _check_solver(self, batch: Batch) -> None:
        """Logs the solver's error on the current weights; takes more steps if they are automatic."""
        try:
            worst = self.model.solver_error(batch).amax().float()
        except SolveError:
            worst = torch.tensor(math.inf, device=self.device)
        error = float(self.trainer.strategy.reduce(worst, reduce_op="max"))
        self.log("solver_error", error, on_step=True, on_epoch=False)
        if not self.auto_steps or error <= self.tolerance:
            return
        steps = min(2 * self.model.solver.steps, self.MAX_STEPS)
        if steps == self.model.solver.steps:
            warnings.warn(
                f"the solver's error {error:.2g} exceeds the tolerance "
                f"{self.tolerance:g} at the bound of {steps} steps per interval; "
                "raise SolverConfig.tolerance, or lower lr",
                stacklevel=2,
            )
            return
        self._take_steps(steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["noise_seed"] = self._noise_seed
        checkpoint["solver_steps"] = self.model.solver.steps
        checkpoint["skipped"] = [self.skipped.total, self.skipped.in_a_row]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._noise_seed = checkpoint.get("noise_seed", self._noise_seed)
        self._take_steps(checkpoint.get("solver_steps", self.model.solver.steps))
        self.skipped.total, self.skipped.in_a_row = checkpoint.get("skipped", (0, 0))

    def _take_steps(self, steps: int) -> None:
        self.model.solver = replace(self.model.solver, steps=steps)

    def _noise(self, n_series: int, batch_idx: int) -> Tensor:
        """Of this batch of this epoch, so that a fit that resumes goes on as if never interrupted."""
        place = (self._noise_seed, self.current_epoch, batch_idx, self.global_rank)
        seed = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])
        generator = torch.Generator(self.device).manual_seed(seed)
        shape = (self.samples, n_series, self.model.latent_size)
        return torch.randn(shape, generator=generator, device=self.device, dtype=self.model.dtype)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Lets no non-finite gradient reach a weight, nor a step that has nothing to learn from."""
        weights = chain.from_iterable(group["params"] for group in optimizer.param_groups)
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        finite = not gradients or bool(get_total_norm(gradients).isfinite())
        if not finite and self._scaled:
            return  # what overflows is not stepped along, but scaled down, by the scaler of losses
        if not finite:
            self.skipped.refuse_step("a gradient is not finite")
        before = self.skipped.total
        if not self.skipped.step(self._over_processes):
            optimizer.zero_grad(set_to_none=True)
        if self.skipped.total > before:
            self.log("skipped_batches", float(self.skipped.total))

    @property
    def _scaled(self) -> bool:
        """Whether losses are scaled up for half precision, so that gradients may overflow at times."""
        plugin = self.trainer.precision_plugin
        scaler = plugin.scaler if isinstance(plugin, MixedPrecision) else None
        return scaler is not None and scaler.get_scale() > 1

    def _over_processes(self, counts: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return counts
        return self.trainer.strategy.reduce(counts.to(self.device), reduce_op="sum").cpu()

    def on_validation_epoch_start(self) -> None:
        self._begin_metrics("val")

    def on_test_epoch_start(self) -> None:
        self._begin_metrics("test")

    def _begin_metrics(self, stage: str) -> None:
        """Logs metrics before the first batch, since a process with none has a part in them too."""
        measures = cast(Measures, self.measures[stage])
        measures.begin()
        self.log_dict(measures.named())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._update(cast(Measures, self.measures["val"]), batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._update(cast(Measures, self.measures["test"]), batch)

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
            measures.update_times(-gain, len(events), self.training_config.time_weight)
        if self.model.labelling is not None and batch.labels is not None:
            logits = self.model.label_logits(path, batch, batch.labels)
            measures.update_labels(logits, batch.labels.klass)
        if len(batch.target):
            value = batch.target.value.double()
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
        config = self.training_config
        # All weights at once, which gives the same as one after another, in less time.
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.lr, weight_decay=config.weight_decay, foreach=True
        )
        steps = self.trainer.estimated_stepping_batches
        return [optimizer], SCHEDULES[config.schedule](optimizer, steps, config.monitor)


def _unchanged(data: Any) -> Any:
    return data


def _check_units(units: Sequence[float] | None, n_variables: int) -> None:
    if units is None:
        return
    if len(units) != n_variables or not all(0 < a < math.inf for a in units):
        raise LatentODEError(
            f"error_units must be {n_variables} positive numbers, one per variable, got {units!r}"
        )
