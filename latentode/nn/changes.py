r"""ChangeUnits: how much each variable usually changes, in which an encoder reads changes.

What moves a forecast is often a small part of a variable's spread: the six-hourly step of a storm is
a fifteenth of a deviation of its position. So changes are read in units of the variable's own, root
mean squares over training data: $s_v$ of the step from one observation to the next, $d_v$ of the
distance from a context's latest value, and the rate

$$r_v = \sqrt{\textstyle\sum_i (x_i - x_{i-1})^2 \big/ \sum_i (t_i - t_{i-1})^2},$$

which observations that follow each other closely do not decide. Of an observation are read

$$\frac{x_i - x_n}{d_v},\quad \sinh^{-1} \frac{x_i - x_n}{s_v},\quad
  \frac{\Delta_i}{s_v},\quad \sinh^{-1} \frac{\Delta_i}{s_v},\quad
  \sinh^{-1} \frac{\rho_i}{r_v},\quad \sinh^{-1} \frac{\rho_i - \rho_{i-1}}{r_v},$$

with $\Delta_i = x_i - x_{i-1}$, $\rho_i = \Delta_i / (t_i - t_{i-1})$ and $x_n$ the latest value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentode.data.batch import Observations

__all__ = ["N_CHANGES", "ChangeUnits", "Changes", "slopes"]

N_CHANGES = 6


@dataclass(frozen=True)
class Changes:
    """Changes of observations, tensors of one shape; 0 where there is nothing to differ from.

    Args:
        distance: from the latest value of the same variable.
        step: from the observation of it that was read before.
        rate: step by the time since then.
        bend: how much the rate differs from that of the observation before.
    """

    distance: Tensor
    step: Tensor
    rate: Tensor
    bend: Tensor


def slopes(step: Tensor, gap: Tensor) -> Tensor:
    """Steps by the times that they took; 0 where rounding has left no time between."""
    return torch.where(gap > 0, step / torch.where(gap > 0, gap, 1.0), 0.0)


class ChangeUnits(nn.Module):
    """How much each variable usually changes, in scaled values and model time.

    Args:
        n_variables: number of variables; each begins with units of 1.

    Attributes:
        read: whether changes are read at all; without, an encoder is told that there were none.
    """

    step: Tensor
    distance: Tensor
    rate: Tensor

    def __init__(self, n_variables: int) -> None:
        super().__init__()
        self.read = True
        for name in ("step", "distance", "rate"):
            self.register_buffer(name, torch.ones(n_variables))

    def estimate(self, seen: Observations) -> None:
        """Takes root mean squares over contexts; a variable that never changed keeps units of 1.

        Args:
            seen: contexts of training series as an encoder reads them, times in units of the model.
        """
        n = len(self.step)
        order = torch.argsort(seen.time, stable=True)
        order = order[torch.argsort((seen.series * n + seen.variable)[order], stable=True)]
        seen = seen.select(order)
        cell, value, time = seen.series * n + seen.variable, seen.value.double(), seen.time.double()
        follows = cell[1:] == cell[:-1]
        step, gap, variable = value.diff()[follows], time.diff()[follows], seen.variable[1:][follows]
        length = torch.bincount(cell)
        distance = value - value[(length.cumsum(0) - 1)[cell]]

        def total(of: Tensor, numbers: Tensor) -> Tensor:
            return numbers.new_zeros(n).index_add(0, of, numbers)

        squares, earlier = total(variable, step**2), distance != 0
        found = {
            "step": squares / total(variable, torch.ones_like(step)),
            "distance": total(seen.variable, distance**2) / total(seen.variable, earlier.double()),
            "rate": squares / total(variable, gap**2),
        }
        for name, square in found.items():
            usable = (square > 0) & square.isfinite()
            getattr(self, name).copy_(torch.where(usable, square, 1.0).sqrt())

    def forward(self, changes: Changes, variable: Tensor) -> Tensor:
        """Changes of observations of `variable` in its units; one more dimension, of `N_CHANGES`."""
        units = (self.step, self.distance, self.rate)
        step, distance, rate = (unit.to(changes.step)[variable] for unit in units)
        told = [
            changes.distance / distance,
            torch.asinh(changes.distance / step),
            changes.step / step,
            torch.asinh(changes.step / step),
            torch.asinh(changes.rate / rate),
            torch.asinh(changes.bend / rate),
        ]
        found = torch.stack(told, dim=-1)
        return found if self.read else torch.zeros_like(found)
