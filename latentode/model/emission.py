r"""Emission: the distribution of a value given what the decoder reads off the latent state.

$$x_{t, v} \sim p\big(x;\, a_v + r_1(z(t)),\; \sigma(r_2(z(t)))\, g_v(t)\big)$$

Last of the four arrows. The location is counted from an anchor $a_v$, the variable's last observed
value, so that an untrained network is the last-value forecast; the scale may grow with the lead time
by $g_v$ (`ScaleGrowth`), and both may be told in units of the variable's recent changes
(`RecentChange`). Or a `latentode.model.structure.StructuralBlock` says anchor, unit and growth: then an
untrained network is a structural forecast, and what is decoded is counted in its standard deviations.

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

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode.data.batch import Batch, Observations, Queries
from latentode.errors import LatentODEError
from latentode.model.marginal_likelihood import estimate
from latentode.model.structure import Cells, Clocks, Outlook, StructuralBlock
from latentode.nn.likelihoods import Likelihood
from latentode.nn.sequences import last_values
from latentode.ode import StepControl

__all__ = ["VALUE_UNITS", "Emission", "RecentChange", "ScaleGrowth", "structural_inputs"]

VALUE_UNITS = ("training", "recent")

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


def structural_inputs(
    batch: Batch, time_scale: float, cycles: int
) -> tuple[StepControl | None, Tensor]:
    """Paths of known columns in units of the model, and phases of cycles at origins, `(series, cycles)`."""
    control = None
    if batch.control_value.shape[2]:
        control = StepControl(batch.control_time / time_scale, batch.control_value.double())
    sine, cosine = batch.static[:, batch.static.shape[1] - 2 * cycles :].chunk(2, dim=1)
    return control, torch.atan2(sine, cosine)


class Emission(nn.Module):
    """From raw decoder outputs to distributions, with a context's last values at hand.

    Args:
        likelihood: how values scatter.
        n_variables: number of variables.
        anchor: whether locations are counted from each variable's last observed value.
        value_units: "training", values as they are scaled, or "recent", distances from their variable's
            last value in units of its recent changes.
        scale_growth: whether the scale of a forecast grows with its lead time by itself.
        structure: says location and scale of an untrained forecast in place of these three.

    Raises:
        LatentODEError: for units of recent changes without an anchor, or with a family whose locations
            are no distances, and for a structural block beside what it replaces.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        n_variables: int,
        anchor: bool = True,
        value_units: str = "training",
        scale_growth: bool = False,
        structure: StructuralBlock | None = None,
    ) -> None:
        super().__init__()
        self.likelihood, self.n_variables, self.anchor = likelihood, n_variables, anchor
        self.structure = structure
        if structure is not None and (not anchor or value_units != "training" or scale_growth):
            raise LatentODEError(
                "a structural block says by itself what anchor, value_units and scale_growth would; "
                "leave these three as they are, or leave structure out"
            )
        self.growth = ScaleGrowth(n_variables) if scale_growth else None
        self.recent = None
        if value_units == "recent":
            self._check_recent()
            self.recent = RecentChange(n_variables)

    def view(self, seen: Observations, n_series: int) -> Observations:
        """A context as the encoder reads it, times and values in units of the model."""
        if self.recent is not None:
            seen = self.recent.relative(seen, n_series)
        return replace(seen, value=self.likelihood.view(seen.value, seen.variable))

    def forward(
        self,
        raw: Tensor,
        batch: Batch,
        queries: Queries,
        time_scale: float,
        outlook: Outlook | None = None,
    ) -> Distribution:
        """The distribution of each query's value in scaled units, shape `(samples, queries)`.

        Args:
            raw: of the decoder, shape `(samples, queries, n_raw)`, in the precision of values.
            batch: the contexts.
            queries: what is asked, times in time units.
            time_scale: length of one unit of model time, in time units.
            outlook: what the structural block says of the queries, where there is one.
        """
        if outlook is not None:
            return self._structural(raw, queries, outlook)
        seen, n_series = batch.context.rescale_time(time_scale, raw.dtype), len(batch)
        queries = replace(queries, time=(queries.time / time_scale).to(raw.dtype))
        anchor = raw.new_zeros(len(queries))
        if self.anchor:
            cell = (queries.series, queries.variable)
            anchor = last_values(seen, n_series, self.n_variables)[cell]
        spread = None if self.growth is None else self.growth(queries.time, queries.variable)
        if self.recent is not None:
            unit = self.recent.ahead(seen, queries, n_series)
            raw = torch.cat([raw[..., :1] * unit[:, None], raw[..., 1:]], dim=-1)
            spread = unit if spread is None else unit * spread
        anchors = anchor.expand(len(raw), -1)
        return self.likelihood.distribution(raw, anchors, queries.variable, spread)

    def outlook(self, batch: Batch, queries: Queries, time_scale: float) -> Outlook:
        """What the structural block says of queries; arguments as for `forward`.

        Raises:
            LatentODEError: if there is none.
        """
        if self.structure is None:
            raise LatentODEError(
                'this model has no structural block; build it with ModelConfig(structure="state-space")'
            )
        exact = torch.float64  # cycles are many, and jumps of known columns at the very moment
        asked = replace(queries, time=queries.time / time_scale)
        seen = batch.context.rescale_time(time_scale, exact)
        control, phase = structural_inputs(batch, time_scale, len(self.structure.periods))
        return self.structure(seen, asked, len(batch), control, phase)

    def estimate(self, batch: Batch, time_scale: float) -> None:
        """Estimates the structural block, if there is one, from training windows.

        Args:
            batch: of training series, with targets.
            time_scale: length of one unit of model time, in time units.
        """
        if self.structure is None:
            return
        block, n = self.structure, self.n_variables
        control, phase = structural_inputs(batch, time_scale, len(block.periods))
        clocks = Clocks.of(len(batch), control, phase)

        def told(rows: Observations) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
            rows = rows.rescale_time(time_scale, torch.float64)
            series, time = rows.series.numpy(), rows.time.numpy()
            cell = series * n + rows.variable.numpy()
            return cell, (time, rows.value.numpy(), block.columns(series, time, clocks))

        variable = np.tile(np.arange(n), len(batch))
        seen, _ = Cells.of(told(batch.context)[0], variable, told(batch.context)[1])
        estimate(block, seen, Cells.of(told(batch.target)[0], variable, told(batch.target)[1])[0])

    def _structural(self, raw: Tensor, queries: Queries, outlook: Outlook) -> Distribution:
        """What is decoded corrects the structural forecast, in units of its standard deviation.

        Families of data units have a scale of their own, which only the growth widens.
        """
        families = self.likelihood.families(self.n_variables)
        own = torch.tensor([f.of_data_units for f in families], device=raw.device)[queries.variable]
        unit = torch.where(own, torch.ones_like(outlook.deviation), outlook.deviation).to(raw.dtype)
        spread = torch.where(own, outlook.growth, outlook.deviation / math.log(2)).to(raw.dtype)
        raw = torch.cat([raw[..., :1] * unit[:, None], raw[..., 1:]], dim=-1)
        anchors = outlook.location.to(raw.dtype).expand(len(raw), -1)
        return self.likelihood.distribution(raw, anchors, queries.variable, spread)

    def _check_recent(self) -> None:
        if not self.anchor:
            raise LatentODEError("value_units='recent' counts from the last value; leave anchor=True")
        families = self.likelihood.families(self.n_variables)
        other = next((f.name for f in families if f.of_data_units), None)
        if other is not None:
            raise LatentODEError(
                "value_units='recent' is for values that may be any number; leave it out with "
                f"{other!r}"
            )
