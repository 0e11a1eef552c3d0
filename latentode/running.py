r"""RunningMean: a mean over a whole validation pass, whatever its batches.

$$\frac{1}{N} \sum_i e_i \quad\text{or}\quad
\frac{1}{V} \sum_v \frac{1}{N_v} \sum_{i : v(i) = v} e_i$$

To either may be added $b / N$ for what does not belong to any one observation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["RunningMean"]


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
        self.besides += torch.as_tensor(besides, dtype=self.besides.dtype, device=each.device)
        each = each.to(self.total.dtype)
        self.total.index_add_(0, variable, each)
        self.count.index_add_(0, variable, torch.ones_like(each))

    def compute(self) -> Tensor:
        shared = self.besides / self.count.sum().clamp(min=1.0)
        if not self.balanced:
            return (self.total.sum() / self.count.sum() + shared).float()
        some = self.count > 0
        return ((self.total[some] / self.count[some]).mean() + shared).float()
