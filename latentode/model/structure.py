r"""Structural block: levels, slopes, cycles and effects of known columns, inferred in closed form.

Levels, trends, rotations at known periods and responses to known columns are linear ODEs with known
solutions. For a cell, a (series, variable) with observations $(t_i, x_i)$ at model times $t_i \le 0$,
each *member* k is a discounted ridge regression with basis $\phi$, half-life $h_k$ and precisions
$\Lambda_k$, counted from the last value $x_n$:

$$A_k = \sum_i w_{ik}\,\phi_i\phi_i^\top + \Lambda_k, \quad
  c_k = A_k^{-1} \sum_i w_{ik}\,\phi_i\,(x_i - x_n), \quad
  m_k(t) = x_n + \phi(t)^\top c_k, \quad w_{ik} = 2^{t_i / h_k}$$

$$s_k^2 = \frac{\sigma_0^2 + \sum_i w_{ik} (x_i - x_n)^2 - b_k^\top c_k}
               {1 + (\sum_i w_{ik} - \mathrm{tr}\,A_k^{-1}(A_k - \Lambda_k))_+}, \qquad
  v_k(t) = r_k\, s_k^2\,(1 + \phi(t)^\top A_k^{-1} \phi(t)).$$

$s^2$ is the residual variance and $\phi^\top A^{-1}\phi$ the leverage; r says how much larger squared
errors were than that when the member was fitted up to an earlier origin (one unit of model time back,
or half of the cell's context if less) and asked for what came after it. The last value and the mean of
training are members too. The forecast is their mixture,

$$m = \sum_k \pi_k m_k, \quad v = \sum_k \pi_k \big(v_k + (m_k - m)^2\big), \quad
  \pi = \mathrm{softmax}\big(a_k - \tfrac{\beta}{2} \log v_k + g_k\big)$$

with prior logits a and a weight $\beta$ of the evidence per variable, and a gate g, a perceptron of
$v_k$, leverages, distances between members and the lead time, whose output is 0 before any training.

References:
    Smoothing, Forecasting and Prediction of Discrete Time Series (Brown, 1963): discounted regression.
    Forecasting, Structural Time Series Models and the Kalman Filter (Harvey, 1989).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentode.data.batch import Observations, Queries
from latentode.nn.latent_state import mlp
from latentode.nn.sequences import CellRows, last_values
from latentode.ode import StepControl

__all__ = ["Outlook", "Regression", "StructuralBlock"]

HALF_LIVES = (1.0, 30.0)  # initial, in units of model time: a short one, and nearly none
DAMPING = 30.0  # initial: the model time in which a slope dies away
PRECISIONS = (0.01, 0.1, 0.1, 0.1)  # initial, of level, slope, first harmonics and known columns
NOISE = 0.05  # initial variance, in units of the training data, that one observation before any has
EVIDENCE = 4.0  # initial weight of the evidence, as if of so many independent errors
JITTER = 1e-10  # of a column's own precision
GATE_SIZE = 16
LEVEL, SLOPE, CYCLE, KNOWN = range(4)
MEMBERS = (
    {LEVEL},
    {LEVEL, SLOPE},
    {LEVEL, CYCLE},
    {LEVEL, CYCLE, KNOWN},
    {LEVEL, SLOPE, CYCLE, KNOWN},
)


@dataclass(frozen=True)
class Outlook:
    """What the structural block says of queries.

    Args:
        location: mean of the mixture, shape `(queries,)`.
        deviation: its standard deviation, in the values' units, likewise.
        growth: the factor by which parameters that are not known well widen it, at least 1, likewise.
        weights, means, variances: of the members, shape `(queries, members)`.
        leverages: likewise; 0 for those that have no parameters.
    """

    location: Tensor
    deviation: Tensor
    growth: Tensor
    weights: Tensor
    means: Tensor
    variances: Tensor
    leverages: Tensor


@dataclass(frozen=True)
class Regression:
    """Ridge regressions of each cell on one set of columns, for each half-life.

    Args:
        coefficients: shape `(cells, half-lives, columns)`.
        factor: lower Cholesky factor of A, its columns scaled to ones on the diagonal.
        unit: what the columns were multiplied by for that.
        variance: residual variance $s^2$, shape `(cells, half-lives)`.
    """

    coefficients: Tensor
    factor: Tensor
    unit: Tensor
    variance: Tensor

    @classmethod
    def solve(
        cls, gram: Tensor, moment: Tensor, energy: Tensor, ridge: Tensor, noise: Tensor
    ) -> Regression:
        """The regressions of the module's equations; the first column is the level.

        Args:
            gram: $\\sum w \\phi \\phi^\\top$, shape `(cells, half-lives, columns, columns)`.
            moment: $b$, shape `(cells, half-lives, columns)`.
            energy: $\\sum w (x - x_n)^2$, shape `(cells, half-lives)`.
            ridge: the diagonal of $\\Lambda$, shape `(cells, columns)`.
            noise: $\\sigma_0^2$, shape `(cells, 1)`.
        """
        ridge = ridge[:, None]
        unit = (gram.diagonal(dim1=-2, dim2=-1) + ridge).rsqrt()
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        scaled = unit[..., None] * gram * unit[..., None, :]
        own = (ridge * unit**2 + JITTER)[..., None] * eye
        factor = torch.linalg.cholesky(scaled + own)
        answer = torch.cholesky_solve((unit * moment)[..., None], factor).squeeze(-1) * unit
        inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        unlearned = (ridge * unit**2 * inverse.square().sum(dim=-2)).sum(dim=-1)
        freedom = gram[..., 0, 0] - (gram.shape[-1] - unlearned)
        rest = (energy - (moment * answer).sum(dim=-1)).clamp(min=0)
        return cls(answer, factor, unit, (noise + rest) / (1 + freedom.clamp(min=0)))

    def at(self, rows: CellRows, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions less the last value, and leverages, both of shape `(rows, half-lives)`."""
        laid, owner = rows.lay(basis)[:, None], rows.owner
        mean = (laid @ self.coefficients[owner][..., None]).squeeze(-1)
        scaled = (laid * self.unit[owner][..., None, :]).transpose(-1, -2)
        solved = torch.linalg.solve_triangular(self.factor[owner], scaled, upper=False)
        leverage = solved.square().sum(dim=-2)
        return rows.pick(mean.transpose(1, 2)), rows.pick(leverage.transpose(1, 2))


class StructuralBlock(nn.Module):
    """The mixture of structural members of every (series, variable), from flat contexts.

    All parameters are per variable, but for the gate's. Everything is computed in double precision.

    Args:
        n_variables: number of variables.
        n_known: number of known columns.
        periods: of the clock's cycles, in units of model time.
        harmonics: how many sines a cycle is made of.
    """

    def __init__(
        self, n_variables: int, n_known: int = 0, periods: Sequence[float] = (), harmonics: int = 4
    ) -> None:
        super().__init__()
        self.n_variables, self.n_known = n_variables, n_known
        orders = [k for _ in periods for k in range(1, harmonics + 1)]
        lengths = [p for p in periods for _ in range(harmonics)]
        self.frequencies = [2 * math.pi * k / p for k, p in zip(orders, lengths, strict=True)]
        self.kinds = [LEVEL, SLOPE, *[CYCLE] * (2 * len(orders)), *[KNOWN] * n_known]
        # Higher harmonics are expected to be smaller: the precision grows as the square of their order.
        self.orders = [1, 1, *orders, *orders, *[1] * n_known]
        columns = [[c for c, kind in enumerate(self.kinds) if kind in m] for m in MEMBERS]
        self.members = [c for i, c in enumerate(columns) if c not in columns[:i]]
        n_members = 2 + len(self.members) * len(HALF_LIVES)

        def own(*initial: float) -> nn.Parameter:
            return nn.Parameter(torch.tensor(initial).log().repeat(n_variables, 1))

        self.log_half_life, self.log_precision = own(*HALF_LIVES), own(*PRECISIONS)
        self.log_damping, self.log_noise, self.log_evidence = own(DAMPING), own(NOISE), own(EVIDENCE)
        self.prior = nn.Parameter(torch.zeros(n_variables, n_members))
        self.gate = mlp(3 * n_members + 2, GATE_SIZE, n_members)
        nn.init.zeros_(self.gate[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.gate[-1].bias)  # type: ignore[arg-type]

    def forward(
        self, seen: Observations, asked: Queries, n_series: int, control: StepControl | None = None
    ) -> Outlook:
        """The mixture at each query; times in units of the model, best in double precision.

        Args:
            seen: the contexts in any order; times before or at the origin, 0.
            asked: what is asked.
            n_series: number of series.
            control: paths of the known columns, a row per series; None where there are none.
        """
        wanted = torch.zeros(n_series * self.n_variables, dtype=torch.bool, device=asked.series.device)
        wanted[asked.series * self.n_variables + asked.variable] = True
        seen = seen.select(wanted[seen.series * self.n_variables + seen.variable])
        context = _Context(self, wanted, seen.rescale_time(1.0, torch.float64), n_series, control)
        time = asked.time.double()
        means, leverages, variances = context.at(asked, time)
        variable = asked.variable
        logits = self.prior.double()[variable]
        logits = logits - 0.5 * self.log_evidence.double().exp()[variable] * variances.log()
        logits = logits + self._gate(logits, means, leverages, variances, time)
        weights = logits.softmax(dim=-1)
        location, variance = _moments(weights, means, variances)
        growth = (weights * (1 + leverages)).sum(dim=-1).sqrt()
        return Outlook(location, variance.sqrt(), growth, weights, means, variances, leverages)

    def _gate(
        self, logits: Tensor, means: Tensor, leverages: Tensor, variances: Tensor, time: Tensor
    ) -> Tensor:
        """What the gate adds to the logits; its inputs have no unit."""
        location, variance = _moments(logits.softmax(dim=-1), means, variances)
        apart = torch.asinh((means - location[:, None]) * variance.rsqrt()[:, None])
        fit = variances.log() - variance.log()[:, None]
        lead = torch.stack([time, time.square()], dim=-1)
        lead = lead / (1 + lead.abs())
        features = torch.cat([apart, fit, leverages.log1p(), lead], dim=-1)
        first = next(self.gate.parameters())
        return self.gate(features.to(first.dtype)).to(time.dtype)

    def basis(self, time: Tensor, variable: Tensor, known: Tensor) -> Tensor:
        """$\\phi$: level, slope (damped ahead of time 0), cosines and sines, known columns.

        Args: `(n,)`, `(n,)` and `(n, known)`. Returns `(n, columns)`.
        """
        damping = self.log_damping.to(time.dtype).exp()[variable, 0]
        ahead = time.clamp(min=0)
        slope = time.clamp(max=0) - damping * torch.expm1(-ahead / damping)
        angle = time[:, None] * time.new_tensor(self.frequencies)
        fixed = torch.stack([torch.ones_like(time), slope], dim=1)
        return torch.cat([fixed, angle.cos(), angle.sin(), known.to(time.dtype)], dim=1)

    def ridge(self, variable: Tensor) -> Tensor:
        """The diagonal of $\\Lambda$ of cells of these variables, shape `(cells, columns)`."""
        order = self.log_precision.new_tensor(self.orders).double()
        return self.log_precision.double().exp()[variable][:, self.kinds] * order**2


def _moments(weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    location = (weights * means).sum(dim=-1)
    spread = variances + (means - location[:, None]).square()
    return location, (weights * spread).sum(dim=-1)


@dataclass(frozen=True)
class _Members:
    """Every member of every cell, fitted up to an origin of each cell's own.

    Args:
        regressions: with the columns of each.
        last: the last value of each cell, shape `(cells,)`.
        plain: variances of the last value and of the mean of training, shape `(cells, 2)`.
    """

    regressions: list[tuple[list[int], Regression]]
    last: Tensor
    plain: Tensor

    def at(self, cell: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, leverages and residual variances, each of shape `(rows, members)`."""
        last = self.last[cell][:, None]
        none = torch.zeros_like(last)
        means, leverages, variances = [last, none], [none, none], [self.plain[cell]]
        rows = CellRows.of(cell, len(self.last))
        for columns, regression in self.regressions:
            ahead, leverage = regression.at(rows, basis[:, columns])
            means.append(last + ahead)
            leverages.append(leverage)
            variances.append(regression.variance[cell])
        return torch.cat(means, 1), torch.cat(leverages, 1), torch.cat(variances, 1)


class _Context:
    """What was observed of the cells that are asked for.

    Args:
        block: whose members are fitted.
        wanted: which cells are asked for, shape `(series * variables,)`.
        seen: observations of those cells, in double precision.
        n_series: number of series.
        control: paths of known columns, or None.
    """

    def __init__(
        self,
        block: StructuralBlock,
        wanted: Tensor,
        seen: Observations,
        n_series: int,
        control: StepControl | None,
    ) -> None:
        self.block, self.seen, self.n_series, self.control = block, seen, n_series, control
        self.chosen = wanted.nonzero().squeeze(1)
        self.variable = self.chosen % block.n_variables
        self.number = wanted.cumsum(0) - 1
        self.cell = self.cell_of(seen)
        self.known = self.known_at(seen.series, seen.time)

    def cell_of(self, rows: Observations | Queries) -> Tensor:
        """The number of each row's cell among those that are asked for."""
        return self.number[rows.series * self.block.n_variables + rows.variable]

    def known_at(self, series: Tensor, time: Tensor) -> Tensor:
        """Values of known columns, shape `(rows, known)`."""
        if self.control is None or not self.block.n_known:
            return time.detach().new_zeros(len(time), 0)
        return self.control.of_rows(series, time)

    def at(self, asked: Queries, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, leverages and variances of members fitted up to the forecast origin."""
        members = self._fit(torch.ones_like(self.cell, dtype=torch.bool), self.seen.time)
        basis = self.block.basis(time, asked.variable, self.known_at(asked.series, time))
        cell = self.cell_of(asked)
        means, leverages, variances = members.at(cell, basis)
        return means, leverages, variances * (1 + leverages) * self._inflation()[cell]

    def _inflation(self) -> Tensor:
        """r: squared errors after an earlier origin over their expected size, `(cells, members)`."""
        time, cell = self.seen.time, self.cell
        oldest = time.new_zeros(len(self.chosen)).scatter_reduce(0, cell, time, "amin")
        back = (-oldest / 2).clamp(max=1.0)
        shifted = time + back[cell]
        early = shifted <= 0
        members = self._fit(early, shifted)
        late = ~early
        cell, value = cell[late], self.seen.value[late]
        basis = self.block.basis(shifted[late], self.seen.variable[late], self.known[late])
        means, leverages, variances = members.at(cell, basis)
        surprise = (value[:, None] - means).square() / (variances * (1 + leverages))
        total = surprise.new_ones(len(self.chosen), surprise.shape[1])
        count = torch.bincount(cell, minlength=len(self.chosen))[:, None]
        return total.index_add(0, cell, surprise) / (1 + count)

    def _fit(self, chosen: Tensor, time: Tensor) -> _Members:
        """Members fitted to some observations, times counted from an origin of each cell's own."""
        block, seen, cell, time = self.block, self.seen.select(chosen), self.cell[chosen], time[chosen]
        last = last_values(seen, self.n_series, block.n_variables).flatten()[self.chosen]
        basis = block.basis(time, seen.variable, self.known[chosen])
        from_last = seen.value - last[cell]
        table = torch.cat([basis, from_last[:, None], seen.value[:, None]], dim=1)
        half_life = block.log_half_life.double().exp()[seen.variable]
        weight = torch.exp2(time[:, None] / half_life)
        sums = CellRows.of(cell, len(self.chosen)).products(table, weight)
        ridge, noise = block.ridge(self.variable), block.log_noise.double().exp()[self.variable]
        regressions = []
        for c in block.members:
            parts = sums[..., c, :][..., c], sums[..., c, -2], sums[..., -2, -2], ridge[:, c], noise
            regressions.append((c, Regression.solve(*parts)))
        return _Members(regressions, last, self._plain(sums, noise[:, 0], cell))

    def _plain(self, sums: Tensor, noise: Tensor, cell: Tensor) -> Tensor:
        """Variances about the last value (of late) and about the mean of training (all the time)."""
        count = sums[..., 0, 0]
        of_mean = (1 + sums[:, 1, -1, -1]) / (1 + count[:, 1])
        of_last = (noise + sums[:, 0, -2, -2]) / (1 + count[:, 0])
        empty = torch.bincount(cell, minlength=len(sums)) == 0
        return torch.stack([torch.where(empty, of_mean, of_last), of_mean], dim=1)
