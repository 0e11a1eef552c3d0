r"""RunningMean: a mean over a whole validation pass, whatever its batches.

$$\frac{\sum_i a_{v(i)} e_i}{\sum_i a_{v(i)}} \quad\text{or}\quad
\frac{1}{\sum_v a_v} \sum_v \frac{a_v}{N_v} \sum_{i : v(i) = v} e_i$$
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["RunningMean"]


class RunningMean(Metric):
    """The mean over observations, or over variables of each one's mean.

    Args:
        n_variables: number of variables.
        balanced: whether each variable that occurs counts the same; else each observation does.
        importance: a, how much each variable, or else each of its observations, counts; the same
            unless told.

    Example:
        >>> mean = RunningMean(3, balanced=True)
        >>> mean.update(torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0, 0, 2]))
        >>> float(mean.compute())
        5.0
    """

    total: Tensor
    count: Tensor

    def __init__(
        self, n_variables: int, balanced: bool, importance: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.balanced = balanced
        self.importance = [1.0] * n_variables if importance is None else list(importance)
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(n_variables, dtype=torch.float64), "sum")

    def update(self, each: Tensor, variable: Tensor) -> None:
        """Takes a number per observation and the variable that it is of."""
        each = each.to(self.total.dtype)
        self.total.index_add_(0, variable, each)
        self.count.index_add_(0, variable, torch.ones_like(each))

    def compute(self) -> Tensor:
        share = self.total.new_tensor(self.importance)
        if not self.balanced:
            return ((share * self.total).sum() / (share * self.count).sum()).float()
        some = self.count > 0
        share = share[some]
        return ((share * self.total[some] / self.count[some]).sum() / share.sum()).float()
