r"""Memory: what a variable has been like on average, over several spans of the past.

A recurrence has to learn to average; exponentially weighted means do so by themselves. Of each (series,
variable), with half-lives $h_k$ that are learnt, at $t_0$

$$W_k = \sum_i 2^{-|t_0 - t_i| / h_k}, \quad m_k = \frac{1}{W_k} \sum_i 2^{-|t_0 - t_i| / h_k}\, x_i,$$

which is a linear state with closed form, so that no event waits for another. Read are $m_k$, its
distance from the latest value in units of the variable's own (`ChangeUnits`), $\log(1 + W_k)$, the
latest value, and whether there is one.

An outcome often follows what was measured at all, how often, and how high it was at last or at worst.
Of n observations $x_1, \dots, x_n$ of a variable a head that labels is told the summaries

$$x_n,\quad \bar x,\quad \min x,\quad \max x,\quad s_x,\quad 1_{n > 0},\quad \log(1 + n),$$

the first five through asinh, so that a wild reading does not decide, and 0 where there is none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latentode.data.batch import Observations
from latentode.nn.changes import ChangeUnits
from latentode.nn.sequences import last_values

__all__ = ["N_SUMMARIES", "Memory", "summaries"]

N_SUMMARIES = 7


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


def summaries(seen: Observations, n_series: int, n_variables: int) -> Tensor:
    """Summaries of every variable of each series.

    Args:
        seen: contexts, values in scaled units.
        n_series: number of series.
        n_variables: number of variables.

    Returns:
        Shape `(series, variables, N_SUMMARIES)`, in the precision of the values.

    Example:
        >>> one = torch.zeros(2, dtype=torch.long)
        >>> seen = Observations(one, one, torch.tensor([-2.0, -1.0]), torch.tensor([1.0, 3.0]))
        >>> summaries(seen, 1, 2)[0].sinh().round(decimals=1)[:, :5].tolist()
        [[3.0, 2.0, 1.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    cell = seen.series * n_variables + seen.variable
    value = seen.value.double()  # of which a square may be beyond single precision
    none = value.new_zeros(n_series * n_variables)
    count = none.index_add(0, cell, torch.ones_like(value))
    most = count.clamp(min=1)
    mean = none.index_add(0, cell, value) / most
    square = none.index_add(0, cell, (value - mean[cell]).square()) / most
    low, high = (
        none.scatter_reduce(0, cell, value, how, include_self=False) for how in ("amin", "amax")
    )
    last = last_values(seen, n_series, n_variables).reshape(-1).double()
    level = torch.stack([last, mean, low, high, square.sqrt()], dim=-1).asinh()
    amount = torch.stack([(count > 0).to(value), count.log1p()], dim=-1)
    found = torch.cat([level, amount], dim=-1).to(seen.value.dtype)
    return found.unflatten(0, (n_series, n_variables))
