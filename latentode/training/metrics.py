r"""RunningMean: a mean over a whole validation pass, whatever its batches.

$$\frac{1}{N} \sum_i e_i \quad\text{or}\quad
\frac{1}{V} \sum_v \frac{1}{N_v} \sum_{i : v(i) = v} e_i$$

To either may be added $b / N$ for what does not belong to any one observation.

Measures: what a validation or test pass finds, each a running mean over all of its batches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torchmetrics import Metric

from latentode.model.objective import ABSOLUTE_WEIGHT, error_of_mean
from latentode.nn.likelihoods import mixture
from latentode.training.config import METRICS

__all__ = ["Measures", "RunningMean"]


class RunningMean(Metric):
    """The mean over observations, or over variables of each one's mean.

    Args:
        n_variables: number of variables.
        balanced: whether each variable that occurs counts the same; else each observation does.

    Example:
        >>> mean = RunningMean(3, balanced=True)
        >>> mean.update(torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0, 0, 2]))
        >>> float(mean.compute())
        5.0
    """

    total: Tensor
    count: Tensor
    besides: Tensor

    def __init__(self, n_variables: int, balanced: bool) -> None:
        super().__init__()
        self.balanced = balanced
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(n_variables, dtype=torch.float64), "sum")
        self.add_state("besides", torch.zeros((), dtype=torch.float64), "sum")

    def update(self, each: Tensor, variable: Tensor, besides: Tensor | float = 0.0) -> None:
        """Takes a number per observation, the variable that it is of, and what all share `besides`."""
        # Never in place: a state that was reset under inference mode may not be changed outside it.
        shared = torch.as_tensor(besides, dtype=self.besides.dtype, device=each.device)
        self.besides = self.besides + shared
        each = each.to(self.total.dtype)
        self.total = self.total.index_add(0, variable, each)
        self.count = self.count.index_add(0, variable, torch.ones_like(each))

    def compute(self) -> Tensor:
        shared = self.besides / self.count.sum().clamp(min=1.0)
        if not self.balanced:
            return (self.total.sum() / self.count.sum() + shared).float()
        some = self.count > 0
        return ((self.total[some] / self.count[some]).mean() + shared).float()


class Measures(nn.Module):
    """The metrics of one stage.

    Args:
        stage: "val" or "test": what their names begin with.
        n_variables: number of variables.
        balanced: whether each variable counts the same.
        loss: what the loss of the stage is; of `latentode.training.config.METRICS`.
        times: whether when observations come is measured too; then the loss holds it.
        labels: whether series are classified; then the loss is that of the labels alone.
    """

    def __init__(
        self,
        stage: str,
        n_variables: int,
        balanced: bool,
        loss: str,
        times: bool = False,
        labels: bool = False,
    ) -> None:
        super().__init__()
        self.stage, self.of_loss = stage, METRICS[loss]
        self.values = nn.ModuleDict({n: RunningMean(n_variables, balanced) for n in METRICS.values()})
        self.loss = RunningMean(n_variables, balanced)
        self.times = RunningMean(1, balanced=False) if times else None
        self.labels = RunningMean(1, balanced=False) if labels else None
        self.accuracy = RunningMean(1, balanced=False) if labels else None

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
        if self.labels is None:
            self.loss.update(found[self.of_loss], variable)

    def update_times(self, nll: Tensor, events: int, weight: float) -> None:
        """Takes the negative log-likelihood of so many events, and its weight in the loss."""
        none = nll.new_zeros(events), torch.zeros(events, dtype=torch.long, device=nll.device)
        if self.times is not None:
            self.times.update(*none, nll)
        if self.labels is None:
            self.loss.update(none[0][:0], none[1][:0], weight * nll)

    def update_labels(self, logits: Tensor, klass: Tensor) -> None:
        """Takes logits `(samples, labels, classes)` and what the labels are."""
        if self.labels is None or self.accuracy is None:
            return
        found = logits.softmax(dim=2).mean(dim=0)
        nll = -found.gather(1, klass[:, None]).squeeze(1).clamp(min=torch.finfo(found.dtype).tiny).log()
        zero = torch.zeros_like(klass)
        self.labels.update(nll, zero)
        self.loss.update(nll, zero)
        self.accuracy.update((found.argmax(dim=1) == klass).to(nll.dtype), zero)

    def begin(self) -> None:
        """Forgets what was measured: all metrics are of nothing, which nobody has to be warned of."""
        for metric in self.named().values():
            metric.reset()
            none = metric.total[:0]
            metric.update(none, torch.zeros_like(none, dtype=torch.long))

    def named(self) -> dict[str, RunningMean]:
        """The metrics of this kind of model by the names that they are logged by; nan where of nothing.

        Those of values are left out where series are classified: then mostly none are asked for.
        """
        more = {"times": self.times, "labels": self.labels, "accuracy": self.accuracy}
        values = self.values if self.labels is None else {}
        found: dict[str, Any] = {**values, "loss": self.loss, **more}
        return {f"{self.stage}_{n}": metric for n, metric in found.items() if metric is not None}
