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
or half of the cell's context if less) and asked for what came after it, shrunk to a usual factor of the
variable. The last value and the mean of training are members too. The forecast is their mixture,

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
from dataclasses import dataclass, replace

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
GAIN = 10.0  # of what chooses between members: a few hundred steps of training are to change the choice
JITTER = 1e-10  # of a column's own precision
GATE_SIZE = 16
LEVEL, SLOPE, CYCLE, KNOWN = KINDS = range(4)
MEMBERS = ((LEVEL,), (LEVEL, SLOPE), (LEVEL, CYCLE), (LEVEL, CYCLE, KNOWN), KINDS)


@dataclass(frozen=True)
class Outlook:
    """What the structural block says of queries.

    Args:
        location: mean of the mixture, shape `(queries,)`.
        deviation: its standard deviation, in the values' units, likewise.
        growth: the factor by which parameters that are not known well widen it, at least 1, likewise.
        weights, means, variances, leverages: of the members, shape `(queries, members)`.
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
        root: a matrix W with $A^{-1} = W^\\top W$, so that the leverage is $|W \\phi|^2$, shape
            `(cells, half-lives, columns, columns)`.
        variance: residual variance $s^2$, shape `(cells, half-lives)`.
    """

    coefficients: Tensor
    root: Tensor
    variance: Tensor

    @classmethod
    def solve(
        cls, gram: Tensor, moment: Tensor, energy: Tensor, ridge: Tensor, noise: Tensor
    ) -> Regression:
        """The regressions of the module's equations; the first column is the level.

        Columns are scaled to ones on the diagonal of A before it is factored.

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
        factor = torch.linalg.cholesky(scaled + (ridge * unit**2 + JITTER)[..., None] * eye)
        inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        root = inverse * unit[..., None, :]
        answer = (root.transpose(-1, -2) @ (root @ moment[..., None])).squeeze(-1)
        unlearned = (ridge * root.square().sum(dim=-2)).sum(dim=-1)
        freedom = gram[..., 0, 0] - (gram.shape[-1] - unlearned)
        rest = (energy - (moment * answer).sum(dim=-1)).clamp(min=0)
        return cls(answer, root, (noise + rest) / (1 + freedom.clamp(min=0)))

    def readout(self, columns: list[int], n_columns: int) -> Tensor:
        """c and W of each half-life under each other, among all columns of the basis.

        Returns:
            Shape `(cells, half-lives * (1 + columns), n_columns)`.
        """
        rows = torch.cat([self.coefficients[:, :, None], self.root], dim=2).flatten(1, 2)
        place = torch.tensor(columns, device=rows.device)
        return rows.new_zeros(*rows.shape[:2], n_columns).index_copy(2, place, rows)


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
        self.log_damping, self.log_noise, self.log_evidence = (
            own(DAMPING),
            own(NOISE),
            own(EVIDENCE ** (1 / GAIN)),
        )
        self.log_trust, self.log_inflation = own(1.0), own(*[1.0] * n_members)
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
        context = _Context(self, wanted, seen.rescale_time(1.0, torch.float64), control)
        time, variable = asked.time.double(), asked.variable
        means, leverages, variances = context.at(asked, time)
        logits = GAIN * self.prior.double().index_select(0, variable)
        logits = logits - 0.5 * _positive(GAIN * self.log_evidence, variable) * variances.log()
        logits = logits + self._gate(logits, means, leverages, variances, time)
        weights = logits.softmax(dim=-1)
        location, variance = _moments(weights, means, variances)
        growth = (weights * (1 + leverages)).sum(dim=-1).sqrt()
        return Outlook(location, variance.sqrt(), growth, weights, means, variances, leverages)

    def _gate(
        self, logits: Tensor, means: Tensor, leverages: Tensor, variances: Tensor, time: Tensor
    ) -> Tensor:
        """What the gate adds to the logits; its inputs have no unit."""
        own = next(self.gate.parameters()).dtype
        dtype = torch.promote_types(own, torch.float32)
        location, variance = _moments(logits.softmax(dim=-1), means, variances)
        apart = (means - location[:, None]) * variance.rsqrt()[:, None]
        fit = (variances / variance[:, None]).to(dtype).log()
        numbers = [apart, leverages, torch.stack([time, time.square()], dim=-1)]
        bounded = [x.to(dtype) / (1 + x.to(dtype).abs()) for x in numbers]
        return self.gate(torch.cat([fit, *bounded], dim=-1).to(own)).double()

    def basis(self, time: Tensor, variable: Tensor, known: Tensor) -> Tensor:
        """$\\phi$: level, slope (damped ahead of time 0), cosines and sines, known columns.

        Args: `(n,)`, `(n,)` and `(n, known)`. Returns `(n, columns)`.
        """
        damping = _positive(self.log_damping, variable).squeeze(1)
        ahead = time.clamp(min=0)
        slope = time.clamp(max=0) - damping * torch.expm1(-ahead / damping)
        angle = time[:, None] * time.new_tensor(self.frequencies)
        fixed = torch.stack([torch.ones_like(time), slope], dim=1)
        return torch.cat([fixed, angle.cos(), angle.sin(), known.to(time.dtype)], dim=1)

    def ridge(self, variable: Tensor) -> Tensor:
        """The diagonal of $\\Lambda$ of cells of these variables, shape `(cells, columns)`."""
        order = self.log_precision.new_tensor(self.orders).double()
        return _positive(self.log_precision, variable)[:, self.kinds] * order**2


def _positive(logarithm: Tensor, variable: Tensor) -> Tensor:
    """What a parameter's logarithm says for each of `variable`, in double precision."""
    return logarithm.double().exp().index_select(0, variable)


def _moments(weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    location = (weights * means).sum(dim=-1)
    spread = variances + (means - location[:, None]).square()
    return location, (weights * spread).sum(dim=-1)


@dataclass(frozen=True)
class _Members:
    """Every member of every cell: `last` values, `(cells,)`, residual variances, `(cells, members)`,
    and readouts of regressions, one after another, `(cells, rows, columns)`, with `sizes` in rows.
    """

    last: Tensor
    variances: Tensor
    readout: Tensor
    sizes: list[int]

    @classmethod
    def fit(
        cls, block: StructuralBlock, seen: Observations, known: Tensor, variable: Tensor
    ) -> _Members:
        """Fits members to cells of these variables.

        Args:
            block: whose parameters are taken.
            seen: what was observed of them; `series` is the cell, times count from its own origin.
            known: values of known columns, shape `(observations, known)`.
            variable: of each cell.
        """
        cell, n_cells = seen.series, len(variable)
        last = last_values(replace(seen, variable=torch.zeros_like(cell)), n_cells, 1).squeeze(1)
        basis, value = block.basis(seen.time, seen.variable, known), seen.value
        table = torch.cat([basis, (value - last.index_select(0, cell))[:, None], value[:, None]], dim=1)
        half_life = _positive(block.log_half_life, seen.variable)
        sums = CellRows.of(cell, n_cells).products(table, torch.exp2(seen.time[:, None] / half_life))
        ridge, noise = block.ridge(variable), _positive(block.log_noise, variable)
        found = []
        for c in block.members:
            parts = sums[..., c, :][..., c], sums[..., c, -2], sums[..., -2, -2], ridge[:, c], noise
            found.append(Regression.solve(*parts))
        count = sums[..., 0, 0]
        of_mean = (1 + sums[:, 1, -1, -1]) / (1 + count[:, 1])  # over all the context
        of_last = (noise[:, 0] + sums[:, 0, -2, -2]) / (1 + count[:, 0])  # of late
        seen_once = torch.bincount(cell, minlength=n_cells) > 0
        plain = torch.stack([torch.where(seen_once, of_last, of_mean), of_mean], dim=1)
        pairs = zip(found, block.members, strict=True)
        readout = torch.cat([r.readout(c, basis.shape[1]) for r, c in pairs], dim=1)
        sizes = [1 + len(c) for c in block.members for _ in HALF_LIVES]
        return cls(last, torch.cat([plain, *(r.variance for r in found)], dim=1), readout, sizes)

    def at(self, cell: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, leverages and residual variances, each of shape `(rows, members)`."""
        rows, last = CellRows.of(cell, len(self.last)), self.last.index_select(0, cell)[:, None]
        read = rows.lay(basis) @ self.readout.index_select(0, rows.owner).transpose(1, 2)
        size = torch.tensor(self.sizes, device=cell.device)
        first = size.cumsum(0) - size
        own = torch.eye(len(size), dtype=read.dtype, device=cell.device).repeat_interleave(size, dim=0)
        leverages = rows.pick(read.square() @ own.index_fill(0, first, 0.0))
        ahead, none = rows.pick(read[..., first]), torch.zeros_like(last)
        means = torch.cat([last, none, last + ahead], dim=1)
        return means, torch.cat([none, none, leverages], dim=1), self.variances.index_select(0, cell)


class _Context:
    """What was observed of the cells that are asked for, up to the origin and up to an earlier one.

    `wanted` says which those are, `(series * variables,)`; `seen` is of them, in double precision.
    """

    def __init__(
        self, block: StructuralBlock, wanted: Tensor, seen: Observations, control: StepControl | None
    ) -> None:
        self.block, self.control = block, control
        self.variable = wanted.nonzero().squeeze(1) % block.n_variables
        self.number = wanted.cumsum(0) - 1
        known = self._known(seen.series, seen.time)
        n_cells = len(self.variable)
        seen = replace(seen, series=self._cell(seen))
        oldest = seen.time.new_zeros(n_cells).scatter_reduce(0, seen.series, seen.time, "amin")
        back = (-oldest / 2).clamp(max=1.0)
        shifted = replace(seen, series=seen.series + n_cells, time=seen.time + back[seen.series])
        early = shifted.time <= 0
        both = Observations.cat([seen, shifted.select(early)])
        self.late, self.late_known = shifted.select(~early), known[~early]
        variables = self.variable.repeat(2)
        self.members = _Members.fit(block, both, torch.cat([known, known[early]]), variables)

    def _cell(self, rows: Observations | Queries) -> Tensor:
        """The number of each row's cell among those that are asked for."""
        return self.number[rows.series * self.block.n_variables + rows.variable]

    def _known(self, series: Tensor, time: Tensor) -> Tensor:
        """Values of known columns, shape `(rows, known)`."""
        if self.control is None or not self.block.n_known:
            return time.detach().new_zeros(len(time), 0)
        return self.control.of_rows(series, time)

    def at(self, asked: Queries, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, leverages and variances of queries, the latter with what later errors say."""
        late, cell, n = self.late, self._cell(asked), len(time)
        rows = torch.cat([cell, late.series])
        known = torch.cat([self._known(asked.series, time), self.late_known])
        variable, time = torch.cat([asked.variable, late.variable]), torch.cat([time, late.time])
        basis = self.block.basis(time, variable, known)
        means, leverages, variances = self.members.at(rows, basis)
        variances = variances * (1 + leverages)
        surprise = (late.value[:, None] - means[n:]).square() / variances[n:]
        earlier, n_cells = late.series - len(self.variable), len(self.variable)
        count = torch.bincount(earlier, minlength=n_cells)[:, None]
        total = surprise.new_zeros(n_cells, surprise.shape[1]).index_add(0, earlier, surprise)
        trust = _positive(self.block.log_trust, self.variable)
        usual = trust * _positive(GAIN * self.block.log_inflation, self.variable)
        inflation = (usual + total / (1 + count)) / (trust + count / (1 + count))
        return means[:n], leverages[:n], variances[:n] * inflation.index_select(0, cell)
