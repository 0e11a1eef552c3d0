r"""Memory: what a variable has been like on average, over several spans of the past.

A recurrence has to learn to average; exponentially weighted means do so by themselves. Of each (series,
variable), with half-lives $h_k$ that are learnt, at $t_0$

$$W_k = \sum_i 2^{-|t_0 - t_i| / h_k}, \quad m_k = \frac{1}{W_k} \sum_i 2^{-|t_0 - t_i| / h_k}\, x_i,$$

which is a linear state with closed form, so that no event waits for another. Read are $m_k$, its
distance from the latest value in units of the variable's own (`ChangeUnits`), $\log(1 + W_k)$, the
latest value, and whether there is one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latentode.data.batch import Observations
from latentode.nn.changes import ChangeUnits
from latentode.nn.sequences import last_values

__all__ = ["Memory"]


class Memory(nn.Module):
    """A bank of exponentially weighted means of each variable's own values.

    Args:
        means: how many half-lives.
    """

    SHORTEST, LONGEST = 1 / 16, 8.0  # half-lives at the start of training, in units of model time
    MEANS = 6

    def __init__(self, means: int = MEANS) -> None:
        super().__init__()
        between = torch.linspace(math.log(self.SHORTEST), math.log(self.LONGEST), means)
        self.log_half_life = nn.Parameter(between)

    @staticmethod
    def n_features(means: int = MEANS) -> int:
        """How many numbers there are of a variable."""
        return 3 * means + 2

    def forward(
        self, seen: Observations, t0: Tensor, n_variables: int, units: ChangeUnits | None = None
    ) -> Tensor:
        """Reads contexts.

        Args:
            seen: times in units of the model.
            t0: where reading ends, shape `(series,)`.
            n_variables: number of variables.
            units: in which distances are read; None for 1.

        Returns:
            Shape `(series, variables, n_features)`, 0 for what was never observed.
        """
        n = n_variables
        cell = seen.series * n + seen.variable
        elapsed = (seen.time - t0[seen.series]).abs()
        latest = elapsed.new_full((len(t0) * n,), torch.inf).scatter_reduce(0, cell, elapsed, "amin")
        half_life = self.log_half_life.to(seen.value.dtype).exp()
        # Weights relative to the nearest one, which is 1, so that means of long ago are no 0 / 0.
        own = torch.exp2(-(elapsed - latest[cell])[:, None] / half_life)
        parts = own.new_zeros(len(latest), 2 * own.shape[1])
        parts = parts.index_add(0, cell, torch.cat([own * seen.value[:, None], own], dim=1))
        total, weight = parts.chunk(2, dim=1)
        there = latest.isfinite()[:, None]
        mean = total / torch.where(there, weight, 1.0)
        near = torch.where(there, latest[:, None], 0.0)
        amount = torch.log1p(weight * torch.exp2(-near / half_life))
        value = last_values(seen, len(t0), n).reshape(-1, 1)
        unit = 1.0 if units is None else units.distance.to(mean).repeat(len(t0))[:, None]
        distance = torch.where(there, (mean - value) / unit, 0.0)
        found = torch.cat([mean, distance, amount, value, there.to(mean)], dim=1)
        return found.unflatten(0, (len(t0), n))
