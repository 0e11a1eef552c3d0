r"""Scales: how wide a forecast is by its lead time, and in what unit restless values are counted.

`ScaleGrowth`, a factor of the scale by lead time t in units of the horizon,

$$\sigma(t) = \sigma_z(t)\,\Big(\frac{|t| + \epsilon_v}{1 + \epsilon_v}\Big)^{\gamma_v}$$

with $\sigma_z$ decoded from the latent state, and per variable a learned exponent, initialised at the
$\tfrac12$ of a random walk, and a learned floor $\epsilon_v$, the lead time at which observation noise
and growth weigh the same. At one horizon the factor is 1.

`RecentChange`, the local volatility of a variable, as a unit for its values. Prices, loads and growing
counts have no level to return to, and change now by much, now by little; then the distance from the
last value, in units of recent changes, says more than the value. With the observations $(t_i, x_i)$,
$i \le n$, of a (series, variable),

$$u^2 = \frac{\kappa \sigma^2 + \sum_i w_i (x_i - x_{i-1})^2}{\kappa + \sum_i w_i (t_i - t_{i-1})},
  \qquad w_i = 2^{(t_i - t_n) / h}, \qquad u(t) = u \sqrt{|t - t_n| + \nu}.$$

$u^2$ is the variance of a random walk per unit of model time, weighted towards the present: at regular
times it is the exponentially weighted moving average of squared changes, and irregular times need no
change. A random walk is $u(t)$ from its last value at time $t$, so that a network with inputs in $u$
and outputs in $u(t)$ only learns how the variable differs from a random walk. The half-life $h$, the
change $\sigma$ expected before anything was seen, and the observation noise $\nu$ are learned per
variable.

References:
    RiskMetrics technical document (J.P. Morgan and Reuters, 4th edition, 1996), chapter 5.
    Reversible instance normalization for accurate time-series forecasting against distribution shift
    (Kim et al., 2022), https://openreview.net/forum?id=cGDAkQo1C0p
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from latentode.data.batch import Observations, Queries
from latentode.nn.sequences import last_values

__all__ = ["RecentChange", "ScaleGrowth"]

FLOOR = 0.05  # initial floor, in horizons


class ScaleGrowth(nn.Module):
    """A factor of the scale, by lead time and variable.

    Args:
        n_variables: number of variables.

    Example:
        >>> growth = ScaleGrowth(1)
        >>> growth(torch.tensor([0.0, 1.0, 4.15]), torch.zeros(3, dtype=torch.long)).detach()
        tensor([0.2182, 1.0000, 2.0000])
    """

    def __init__(self, n_variables: int) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.full((n_variables,), 0.5))
        self.log_floor = nn.Parameter(torch.full((n_variables,), FLOOR).log())

    def forward(self, time: Tensor, variable: Tensor) -> Tensor:
        """Args: time since the origin in horizons and variable, `(queries,)`. Returns the factor."""
        floor = self.log_floor[variable].exp()
        return ((time.abs() + floor) / (1 + floor)) ** self.exponent[variable]


PRIOR_TIME = 0.01  # kappa, the model time that the expected change counts for
NOISE_TIME = 0.01  # initial nu, in which model time a random walk goes as far as observations scatter


class RecentChange(nn.Module):
    """How much each variable of each series has changed of late, per square root of model time.

    Args:
        n_variables: number of variables.

    Example:
        >>> cell, time = torch.zeros(3, dtype=torch.long), torch.tensor([-2.0, -1.0, 0.0])
        >>> seen = Observations(cell, cell, time, torch.tensor([5.0, 8.0, 5.0]))
        >>> recent = RecentChange(1).requires_grad_(False)
        >>> recent(seen, n_series=1)  # steps of 3, each in one unit of time
        tensor([[2.9912]])
        >>> asked = Queries(cell[:1], cell[:1], torch.tensor([3.99]))
        >>> recent.ahead(seen, asked, n_series=1)  # twice as far in four times the time
        tensor([5.9823])
    """

    def __init__(self, n_variables: int) -> None:
        super().__init__()
        self.n_variables = n_variables
        self.log_half_life = nn.Parameter(torch.zeros(n_variables))
        self.log_expected = nn.Parameter(torch.zeros(n_variables))
        self.log_noise = nn.Parameter(torch.full((n_variables,), math.log(NOISE_TIME)))

    def forward(self, seen: Observations, n_series: int) -> Tensor:
        """$u$ of each (series, variable).

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
        half_life = self.log_half_life.to(time.dtype).exp()[owner % self.n_variables]
        since = time[1:][same] - self._last(seen, n_series).flatten()[owner]
        weight = torch.exp2(since / half_life)
        expected = (2 * self.log_expected.to(time.dtype)).exp().repeat(n_series)
        squares = (PRIOR_TIME * expected).index_add(0, owner, weight * change.square())
        length = torch.full_like(squares, PRIOR_TIME).index_add(0, owner, weight * elapsed)
        return (squares / length).sqrt().view(n_series, self.n_variables)

    def relative(self, seen: Observations, n_series: int) -> Observations:
        """Values as distances from the last one of their variable, in units of $u$."""
        last = last_values(seen, n_series, self.n_variables)
        place = seen.series, seen.variable
        return replace(seen, value=(seen.value - last[place]) / self(seen, n_series)[place])

    def ahead(self, seen: Observations, asked: Queries, n_series: int) -> Tensor:
        """$u(t)$ of each query, times in units of the model, shape `(queries,)`."""
        place = asked.series, asked.variable
        elapsed = (asked.time - self._last(seen, n_series)[place]).abs()
        noise = self.log_noise.exp()[asked.variable]
        return self(seen, n_series)[place] * (elapsed + noise).sqrt()

    def _last(self, seen: Observations, n_series: int) -> Tensor:
        """The time of each (series, variable)'s last observation; the origin where there is none."""
        cell = seen.series * self.n_variables + seen.variable
        last = seen.time.new_zeros(n_series * self.n_variables)
        last = last.scatter_reduce(0, cell, seen.time, "amax", include_self=False)
        return last.view(n_series, self.n_variables)
