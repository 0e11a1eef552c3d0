r"""Emission: the distribution of a value given what the decoder reads off the latent state.

$$x_{t, v} \sim p\big(x;\, m_v(t) + u_v(t)\, r_1(z(t)),\; u_v(t)\, \sigma(r_2(z(t)))\big)$$

Last of the four arrows. Locations are counted from a forecast $m_v$ in a unit $u_v$, which are said by

- the structural block (`latentode.model.structure`): its mean and its standard deviation, so that an
  untrained network is a structural forecast, and what is decoded corrects it;
- or the variable's last observed value, in units of the training data;
- or nothing but the training mean: then z(t) holds where a system is, as in the classic latent ODE.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode.data.batch import Batch, Observations, Queries
from latentode.errors import LatentODEError
from latentode.model.candidate import response_time
from latentode.model.marginal_likelihood import estimate
from latentode.model.structure import Outlook, StructuralBlock
from latentode.nn.likelihoods import Likelihood
from latentode.nn.sequences import last_values
from latentode.nn.state_space import Cells, Clocks
from latentode.ode import StepControl

__all__ = ["STRUCTURES", "Emission", "structural_inputs"]

FEWEST_SERIES = 8  # of which static covariates may tell levels
FARTHEST = 3.0  # deviations from the mean of training that a static covariate counts as, at most
LEAST_LEFT, TINY = 0.05, 1e-300  # of a variance, that nothing explains
ROUNDINGS = 8  # that a scaled value has passed, each by half of its precision
COMMON = 0.1  # the quantile of training deviations that is a variable's unit
STRUCTURES = ("state-space", "last-value", None)


def structural_inputs(
    batch: Batch, time_scale: float, cycles: int
) -> tuple[StepControl | None, Tensor]:
    """Paths of known columns in units of the model; phases of cycles at origins, `(series, cycles)`."""
    control = None
    if batch.control_value.shape[2]:
        control = StepControl(batch.control_time / time_scale, batch.control_value.double())
    sine, cosine = batch.static[:, batch.static.shape[1] - 2 * cycles :].chunk(2, dim=1)
    return control, torch.atan2(sine, cosine)


class Emission(nn.Module):
    """From raw decoder outputs to distributions.

    About a structural forecast a correction has two parts, one in units of that forecast's deviation
    and one in `unit` of its variable, a deviation that is small among those of training: a series'
    own variance is known from few values, and what all series have in common needs none. The latter is
    never larger than the former, and where series differ by orders of magnitude next to nothing.
    Beyond one unit of model time, the horizon, a correction is not learnt: it fades into the structural
    forecast, as $1 / (1 + (t - 1)^2)$. What held-out values do not ask for is taken back by `strength`,
    a factor of each variable's corrections, and by `strength_unseen` where of a series nothing at all
    was observed, since training has met few of these. There a value is forecast about what series of
    its static covariates are in the mean, by ridge regression, if they say enough of levels.

    Args:
        likelihood: how values scatter.
        n_variables: number of variables.
        structure: says what is expected before anything is decoded; None for the last value or nothing.
        last_value: without a structural block, whether locations are counted from each variable's last
            observed value.
        n_static: number of static covariates as they are encoded, phases of cycles not counted.
    """

    unit: Tensor
    strength: Tensor
    strength_unseen: Tensor
    static_weight: Tensor
    static_share: Tensor

    def __init__(
        self,
        likelihood: Likelihood,
        n_variables: int,
        structure: StructuralBlock | None = None,
        last_value: bool = True,
        n_static: int = 0,
    ) -> None:
        super().__init__()
        self.likelihood, self.n_variables = likelihood, n_variables
        self.structure, self.last_value = structure, last_value
        self.register_buffer("unit", torch.zeros(n_variables, dtype=torch.float64))
        self.register_buffer("strength", torch.ones(n_variables, dtype=torch.float64))
        self.register_buffer("strength_unseen", torch.ones(n_variables, dtype=torch.float64))
        none = torch.zeros(n_variables, n_static + 1, dtype=torch.float64)
        self.register_buffer("static_weight", none)  # the level in scaled units, of each and of 1
        self.register_buffer("static_share", none[:, 0].clone())  # of the variance, which they explain

    def view(self, seen: Observations) -> Observations:
        """A context as the encoder reads it, times and values in units of the model."""
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
            raw: of the decoder, shape `(samples, queries, n_raw)`, in the precision of values; one more
                about a structural forecast, the second part of its correction.
            batch: the contexts.
            queries: what is asked, times in time units.
            time_scale: length of one unit of model time, in time units.
            outlook: what the structural block says of the queries, where there is one.
        """
        if outlook is not None:
            # In the precision of the structural forecast, which tells a series of thousandths beside
            # one of millions; scaled by all, in float32 both are the same number.
            mean, deviation = outlook.location, outlook.deviation
            raw = raw.to(mean.dtype)
            # What never changes lies within its intervals, however it was rounded.
            rounded = ROUNDINGS * torch.finfo(raw.dtype).eps * (1 + mean.abs())
            deviation = torch.maximum(deviation, rounded)
            common = (self.unit.to(raw)[queries.variable] / deviation).clamp(max=1.0)
            raw = torch.cat([raw[..., :1] + common[:, None] * raw[..., -1:], raw[..., 1:-1]], dim=-1)
            beyond = (queries.time.to(raw) / time_scale - 1).clamp(min=0)
            unseen = torch.ones(len(batch), dtype=torch.bool, device=raw.device)
            unseen = unseen.index_fill(0, batch.context.series, False)[queries.series]
            strengths = torch.stack([self.strength, self.strength_unseen]).to(raw)
            believed = strengths[unseen.long(), queries.variable] / (1 + beyond.square())
            raw = raw * believed[:, None]
            mean, deviation = (x.expand(len(raw), -1) for x in (mean, deviation))
            return self.likelihood.about(raw, mean, deviation, queries.variable)
        anchor = raw.new_zeros(len(queries))
        if self.last_value:
            seen = batch.context.rescale_time(time_scale, raw.dtype)
            last = last_values(seen, len(batch), self.n_variables)
            anchor = last[queries.series, queries.variable]
        return self.likelihood.distribution(raw, anchor.expand(len(raw), -1), queries.variable)

    def silent(self, variable: Tensor) -> bool:
        """Whether of all these variables nothing is believed but the structural forecast."""
        if self.structure is None:
            return False
        believed = (self.strength != 0) | (self.strength_unseen != 0)
        return not believed[variable].any()

    def alone(
        self, like: Tensor, batch: Batch, queries: Queries, time_scale: float, outlook: Outlook | None
    ) -> Distribution:
        """As `forward` where nothing was decoded; `like` is of its precision, `(samples, ...)`."""
        outlook = outlook or self.outlook(batch, queries, time_scale)
        raw = like.new_zeros(len(like), len(queries), self.likelihood.n_raw + 1)
        return self(raw, batch, queries, time_scale, outlook)

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
        made = self.structure(seen, asked, len(batch), control, phase)
        return self._by_statics(made, batch, queries) if self.static_share.any() else made

    def _by_statics(self, made: Outlook, batch: Batch, queries: Queries) -> Outlook:
        """With the level that static covariates say where nothing was observed of a cell."""
        cell, own = (x.series * self.n_variables + x.variable for x in (queries, batch.context))
        empty = torch.ones(len(batch) * self.n_variables, dtype=torch.bool, device=own.device)
        empty = empty.index_fill(0, own, False)[cell].to(made.location.device)
        ones = batch.static.new_ones(len(batch), 1)
        static = batch.static[:, : self.static_weight.shape[1] - 1].clamp(-FARTHEST, FARTHEST)
        told = torch.cat([static, ones], dim=1).double()
        level = (told @ self.static_weight.double().T)[queries.series, queries.variable].to(
            made.location
        )
        level = torch.where(empty, level, 0.0)
        left = torch.where(empty, (1 - self.static_share).to(level)[queries.variable], 1.0).sqrt()
        parts = torch.cat([made.parts[:, :1] + level[:, None], made.parts[:, 1:]], dim=1)
        return replace(
            made, location=made.location + level, deviation=made.deviation * left, parts=parts
        )

    def estimate(self, batch: Batch, time_scale: float, n_series: int) -> None:
        """Estimates the structural block, if there is one, from training windows.

        Args:
            batch: of training series, with targets.
            time_scale: length of one unit of model time, in time units.
            n_series: from how many series the windows are.
        """
        if self.structure is None:
            return
        block, n = self.structure, self.n_variables
        control, phase = structural_inputs(batch, time_scale, len(block.periods))
        clocks = Clocks.of(len(batch), control, phase)
        every = Observations.cat([batch.context, batch.target]).rescale_time(time_scale, torch.float64)
        of = (x.numpy() for x in (every.series, every.variable, every.time, every.value))
        series, kind, time, value = of
        block.lag.fill_(response_time(series * n + kind, kind, (series, time, value), clocks))
        clocks = replace(clocks, lag=float(block.lag))

        def cells_of(rows: Observations) -> Cells:
            rows = rows.rescale_time(time_scale, torch.float64)
            series, time = rows.series.numpy(), rows.time.numpy()
            cell, every = series * n + rows.variable.numpy(), np.tile(np.arange(n), len(batch))
            told = time, rows.value.numpy(), block.columns(series, time, clocks)
            return Cells.of(cell, every, told)

        estimate(block, cells_of(batch.context), cells_of(batch.target), n_series)
        # What cycles and known columns add in the mean is forecast of series without observations too.
        common = np.sum(block.columns(series, time, clocks) * block.prior()[0][kind], axis=1)
        self._estimate_statics(batch, series * n + kind, value - common, n_series)
        made = self.outlook(batch, batch.target.queries(), time_scale).deviation
        for v in torch.unique(batch.target.variable).tolist():
            self.unit[v] = made[batch.target.variable == v].quantile(COMMON)

    def _estimate_statics(
        self, batch: Batch, cell: np.ndarray, value: np.ndarray, n_series: int
    ) -> None:
        """Regresses means of cells on static covariates, where these are worth their parameters."""
        n, told = self.n_variables, batch.static[:, : self.static_weight.shape[1] - 1].double().numpy()
        self.static_weight.zero_()
        self.static_share.zero_()
        if n_series < FEWEST_SERIES or not told.shape[1]:
            return
        count = np.bincount(cell, minlength=len(batch) * n).reshape(-1, n)
        total = np.bincount(cell, value, len(batch) * n).reshape(-1, n)
        for v in range(n):
            some = count[:, v] > 0
            if some.sum() < 2:
                continue
            mean, x = (total[some, v] / count[some, v]), told[some]
            centre, level = x.mean(axis=0), mean.mean()
            x, y = x - centre, mean - level
            square = x.T @ x
            ridge = square + some.sum() / n_series * np.eye(len(square))
            weight = np.linalg.solve(ridge, x.T @ y)
            left = max(1 - (x @ weight) @ y / max(y @ y, TINY), LEAST_LEFT)
            freedom = np.trace(np.linalg.solve(ridge, square))
            other = n_series - 1 - freedom  # degrees of freedom that are left
            if other <= 1:
                continue
            unbiased = left * (n_series - 1) / other
            if n_series * np.log(unbiased) + (freedom + 1) * np.log(n_series) < 0:
                own = np.r_[weight, level - centre @ weight]
                self.static_weight[v] = torch.from_numpy(own)
                share = np.var(x @ weight) / max(np.var(value[cell % n == v]), TINY)
                self.static_share[v] = min(float(share), 1 - LEAST_LEFT)

    def estimate_again(self, batch: Batch, time_scale: float, n_series: int) -> None:
        """As `estimate`, from more data, where training adds nothing to the forecast of any variable.

        What is learnt of one is told by the structural forecasts of all. Where it is believed of series
        without observations alone, which have none to tell, they are estimated.
        """
        block = self.structure
        if block is None or self.strength.any():
            return
        fresh = StructuralBlock(block.n_variables, block.n_known, block.periods, block.harmonics)
        block.load_state_dict(fresh.state_dict())
        self.estimate(batch, time_scale, n_series)
