"""Measures: what a validation or test pass finds, each a running mean over all of its batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode.nn.likelihoods import mixture
from latentode.objective import ABSOLUTE_WEIGHT, error_of_mean
from latentode.running import RunningMean

__all__ = ["METRICS", "MONITORS", "Measures"]

# What `val_loss` stands for.
METRICS = {"likelihood": "nll", "mse": "mse", "mae": "mae", "mse+mae": "mse+mae"}
MONITORS = ("val_loss", *(f"val_{name}" for name in METRICS.values()), "val_times")


class Measures(nn.Module):
    """The metrics of one stage.

    Args:
        stage: "val" or "test": what their names begin with.
        n_variables: number of variables.
        balanced: whether each variable counts the same.
        loss: what the loss of the stage is; of `METRICS`.
        times: whether when observations come is measured too; then the loss holds it.
    """

    def __init__(
        self, stage: str, n_variables: int, balanced: bool, loss: str, times: bool = False
    ) -> None:
        super().__init__()
        self.stage, self.of_loss = stage, METRICS[loss]
        self.values = nn.ModuleDict({n: RunningMean(n_variables, balanced) for n in METRICS.values()})
        self.loss = RunningMean(n_variables, balanced)
        self.times = RunningMean(1, balanced=False) if times else None

    def update(self, distribution: Distribution, value: Tensor, variable: Tensor, unit: Tensor) -> None:
        """Takes predictions and what came of them.

        Args:
            distribution: shape `(samples, targets)`, in scaled units.
            value: shape `(targets,)`.
            variable: likewise.
            unit: what errors are multiplied by, likewise.
        """
        error = error_of_mean(distribution, value, unit)
        found = {
            "nll": -mixture(distribution).log_prob(value),
            "mse": error.square(),
            "mae": error.abs(),
            "mse+mae": error.square() + 2 * ABSOLUTE_WEIGHT * error.abs(),
        }
        for name, each in found.items():
            self.values[name].update(each, variable)  # type: ignore[operator]
        self.loss.update(found[self.of_loss], variable)

    def update_times(self, nll: Tensor, events: int, weight: float) -> None:
        """Takes the negative log-likelihood of so many events, and its weight in the loss."""
        none = nll.new_zeros(events), torch.zeros(events, dtype=torch.long, device=nll.device)
        if self.times is not None:
            self.times.update(*none, nll)
        self.loss.update(none[0][:0], none[1][:0], weight * nll)

    def named(self) -> dict[str, RunningMean]:
        """The metrics by the names that they are logged by."""
        found = {**self.values, "loss": self.loss}
        if self.times is not None:
            found["times"] = self.times
        return {f"{self.stage}_{name}": metric for name, metric in found.items()}  # type: ignore[misc]
