r"""RecentChange: the size of a variable's recent changes, as a unit for its values.

Some series have no level to return to, and change now by much, now by little: prices, loads, growing
counts. To those a value says little, and its distance from the last one, in units of how much it has
moved of late, says most. With the observations $(t_i, x_i)$ of a (series, variable) up to the origin,

$$u^2 = \frac{\kappa \sigma^2 + \sum_i w_i (x_i - x_{i-1})^2}{\kappa + \sum_i w_i (t_i - t_{i-1})},
  \qquad w_i = 2^{(t_i - t_n) / h},$$

the variance of a random walk per unit of model time, weighted towards the present. At regular times it
is the exponentially weighted moving average that practitioners take for a volatility; irregular times
need no change. The half-life $h$ and the change $\sigma$ that is expected before anything was seen are
learned for each variable.

References:
    RiskMetrics technical document (J.P. Morgan and Reuters, 4th edition, 1996), chapter 5.
    Reversible instance normalization for accurate time-series forecasting against distribution shift
    (Kim et al., 2022), https://openreview.net/forum?id=cGDAkQo1C0p
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from latentode.data.observations import Observations
from latentode.nn.events import last_values

__all__ = ["RecentChange"]

PRIOR_TIME = 0.01  # of model time that the expected change counts for: little beside what was seen


class RecentChange(nn.Module):
    """How much each variable of each series has changed of late, per square root of model time.

    Args:
        n_variables: number of variables.

    Example:
        >>> from latentode.data.observations import Observations
        >>> cell, time = torch.zeros(3, dtype=torch.long), torch.tensor([-2.0, -1.0, 0.0])
        >>> seen = Observations(cell, cell, time, torch.tensor([5.0, 8.0, 5.0]))
        >>> RecentChange(1)(seen, n_series=1)  # steps of 3 in a unit of time
        tensor([[2.9...]], grad_fn=...)
    """

    def __init__(self, n_variables: int) -> None:
        super().__init__()
        self.n_variables = n_variables
        self.log_half_life = nn.Parameter(torch.zeros(n_variables))
        self.log_expected = nn.Parameter(torch.zeros(n_variables))

    def forward(self, seen: Observations, n_series: int) -> Tensor:
        """The unit of each (series, variable).

        Args:
            seen: contexts in any order, times in units of the model.
            n_series: how many series there are.

        Returns:
            Positive, shape `(series, variables)`.
        """
        cell = seen.series * self.n_variables + seen.variable
        order = torch.argsort(seen.time, stable=True)
        order = order[torch.argsort(cell[order], stable=True)]
        cell, time, value = cell[order], seen.time[order], seen.value[order]
        same = cell[1:] == cell[:-1]
        owner = cell[1:][same]
        elapsed, change = time.diff()[same], value.diff()[same]
        n_cells = n_series * self.n_variables
        last = time.new_zeros(n_cells).scatter_reduce(0, cell, time, "amax", include_self=False)
        half_life = self.log_half_life.exp()[owner % self.n_variables]
        weight = torch.exp2((time[1:][same] - last[owner]) / half_life)
        expected = (2 * self.log_expected).exp().repeat(n_series)
        squares = (PRIOR_TIME * expected).index_add(0, owner, weight * change.square())
        length = torch.full_like(squares, PRIOR_TIME).index_add(0, owner, weight * elapsed)
        return (squares / length).sqrt().view(n_series, self.n_variables)

    def relative(self, seen: Observations, n_series: int) -> Observations:
        """Values as distances from the last one of their variable, in these units."""
        last = last_values(seen, n_series, self.n_variables)
        place = seen.series, seen.variable
        return replace(seen, value=(seen.value - last[place]) / self(seen, n_series)[place])
