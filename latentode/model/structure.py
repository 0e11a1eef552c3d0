r"""Structural block: level, slope, deviation, oscillation, cycles and known columns in closed form.

These are linear ODEs with known solutions. Of a cell, a (series, variable), the structural state-space
model of `latentode.nn.compiled_filter` infers them from the context by a Kalman filter, whatever the
times, and carries them to any time:

$$x(t) = \ell(t) + r(t) + u(t) + \phi(t)^\top c + \epsilon, \qquad
  m(t) = E[x(t) \mid x_{1..n}], \quad v(t) = \sigma^2\, \mathrm{Var}[x(t) \mid x_{1..n}] / \sigma^2$$

with level $\ell$ and damped slope, a deviation r that dies away, an oscillation u that dies away and is
renewed, of a frequency that all series share or of each one's own (`latentode.nn.frequency`), and
coefficients c of the columns $\phi$: cosines and sines of the clock's cycles, and known-future columns,
at once and with a lag, $h\,\dot u_h = u - u_h$; they may walk, as a cycle grows or changes shape.
A line, a random walk, mean reversion, exponential smoothing, a stochastic cycle, harmonic regression,
and regression with autocorrelated errors are special cases; which it is, the parameters of a variable
say, which `latentode.model.marginal_likelihood` estimates. A cell's variance is its own, with an
inverse-gamma prior: from innovations $e_i$ with relative variances $F_i$,

$$\sigma^2 = \frac{\nu + \sum_i w_i e_i^2 / F_i}{\nu + \sum_i w_i}, \qquad w_i = 2^{(t_i - t_n) / h},$$

discounted, since some series are now calm, now restless. Where the last rows of a cell say that its
level has jumped for good (`latentode.nn.jumps`), its step is one more column. Where cells of large
values move more than those of small ones, as sales do, values are told in units of each cell's own, the
mean size of its context: a cycle or the effect of a known column is then a share of each one's size.
Inside a context the smoother answers, which knows what came before and after.

References:
    Forecasting, Structural Time Series Models and the Kalman Filter (Harvey, 1989).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentode.data.batch import Observations, Queries
from latentode.model.candidate import INITIAL
from latentode.nn.compiled_filter import COLUMNS, PAIR, PARAMETERS, forecast
from latentode.nn.frequency import FLAT, frequencies
from latentode.nn.jumps import Undisturbed
from latentode.nn.smoother import smooth
from latentode.nn.state_space import Cells, Clocks, array_of
from latentode.ode import StepControl

__all__ = ["N_FEATURES", "Outlook", "StructuralBlock"]

HARMONICS = 4  # sines of a cycle
COEFFICIENT = 0.5  # initial variance of first harmonics and of effects of known columns
N_FEATURES = 7
STATE_NAMES = ("level", "trend", "deviation", "oscillation")  # before cycles and known columns
STEP = 1e-4  # of model time, over which a derivative is taken


@dataclass(frozen=True)
class Outlook:
    """What the structural block says of queries, in scaled units.

    Args:
        location: mean, shape `(queries,)`.
        deviation: standard deviation of a value, likewise.
        scale: deviation that is the cell's own, likewise.
        parts: what adds up to the mean: the level, what the slope adds to it, the deviation, the
            oscillation, each cycle, each known column; shape `(queries, parts)`.
        given: cosine and sine of the clock's cycles and known columns there, `(queries, given)`.
    """

    location: Tensor
    deviation: Tensor
    scale: Tensor
    parts: Tensor
    given: Tensor

    @classmethod
    def join(cls, parts: Sequence[Outlook]) -> Outlook:
        """Those of several sets of queries, one after another."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def each(self, change: Callable[[Tensor], Tensor]) -> Outlook:
        """With every tensor changed alike, as by choosing queries."""
        return Outlook(*(change(getattr(self, f.name)) for f in fields(self)))

    def features(self, time: Tensor) -> Tensor:
        """What a decoder is told of it, bounded, `(queries, N_FEATURES + given)`; `time` since t0."""
        steps = self.parts[:, 1 : COLUMNS + 1] / self.deviation[:, None]
        sizes = [self.deviation.log() / 2, self.scale.log() / 2, self.location]
        told = torch.cat([torch.stack([*sizes, *steps.unbind(1), time], dim=1), self.given], dim=1)
        return told / (1 + told.abs())


class StructuralBlock(nn.Module):
    """The structural state-space model of every (series, variable), from flat contexts.

    Everything is computed on the CPU in double precision. Parameters are buffers: they are estimated in
    closed form before any training, and training by gradients leaves them.

    Args:
        n_variables: number of variables.
        n_known: number of known columns.
        periods: of the clock's cycles, in units of model time.
        harmonics: how many sines each cycle is made of; None for four.
        zero: what no value at all is in scaled units, of each variable; None where nothing is known.
        counting: which variables are counts; None for none.
    """

    log_theta: Tensor
    least_size: Tensor
    size_rows: Tensor
    lag: Tensor
    prior_mean: Tensor
    log_prior_variance: Tensor

    def __init__(
        self,
        n_variables: int,
        n_known: int = 0,
        periods: Sequence[float] = (),
        harmonics: Sequence[int] | None = None,
        zero: Sequence[float] | None = None,
        counting: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        self.zero = np.asarray(zero or [math.nan] * n_variables, dtype=float)
        self.counting = np.asarray(counting or [False] * n_variables)
        self.n_variables, self.n_known, self.periods = n_variables, n_known, tuple(periods)
        self.harmonics = tuple(harmonics or [HARMONICS] * len(self.periods))
        self.begins = np.cumsum([0, *(2 * n for n in self.harmonics)])  # columns of cycles and of known
        waves = [np.repeat(np.arange(1, n + 1), 2) for n in self.harmonics]
        sizes = np.r_[*(1.0 / own**2 for own in waves), np.ones(2 * n_known)] * COEFFICIENT
        self.register_buffer("lag", torch.zeros((), dtype=torch.float64))
        initial = torch.tensor([INITIAL[name] for name in PARAMETERS], dtype=torch.float64)
        self.register_buffer("log_theta", initial.log().repeat(n_variables, 1))
        self.register_buffer("least_size", initial.new_zeros(n_variables))  # 0: no units of their own
        self.register_buffer("size_rows", initial.new_zeros(n_variables))
        self.register_buffer("prior_mean", initial.new_zeros(n_variables, len(sizes)))
        spread = torch.from_numpy(np.log(sizes)).repeat(n_variables, 1)
        self.register_buffer("log_prior_variance", spread)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """As any module, but the buffers stay in double precision on the CPU, where they are used."""
        return self

    def forward(
        self,
        seen: Observations,
        asked: Queries,
        n_series: int,
        control: StepControl | None = None,
        phase: Tensor | None = None,
    ) -> Outlook:
        """What is expected at each query; times in units of the model, best in double precision.

        Args:
            seen: the contexts in any order; times before or at the origin, 0.
            asked: what is asked.
            n_series: number of series.
            control: paths of the known columns, a row per series; None where there are none.
            phase: of each cycle at each series' origin, in radians, `(series, cycles)`; None for 0.
        """
        # Where derivatives are taken, tensors have no numbers to be seen until the function is applied.
        context = cache(partial(self._context, seen, asked, n_series, control, phase))
        plain = torch.is_inference_mode_enabled()  # where no derivative can be asked for
        answer = context().answer() if plain else _Answer.apply(asked.time, context)
        location, variance, own, parts, given = (x.to(asked.time.device) for x in answer)
        return Outlook(location, variance.sqrt(), own.sqrt(), parts, given)

    def _context(self, seen: Observations, asked: Queries, *clocks: Any) -> _Context:
        return _Context(self, seen, asked, Clocks.of(*clocks, lag=float(self.lag)))

    def columns(
        self, series: np.ndarray, time: np.ndarray, clocks: Clocks, shift: float = 0.0
    ) -> np.ndarray:
        """Columns of rows: of each cycle cosines and sines, then known columns, at once and slow.

        Args:
            series, time: of rows, `(n,)`.
            clocks: of all series.
            shift: how far on from `time`; known values stay, as between two jumps.

        Returns:
            Shape `(n, columns)`.
        """
        parts = []
        for place, period in enumerate(self.periods):
            turn = 2 * math.pi * (time + shift) / period
            if clocks.phase.shape[1]:
                turn = turn + clocks.phase[series, place]
            angle = turn[:, None] * np.arange(1, self.harmonics[place] + 1)
            waves = np.stack([np.cos(angle), np.sin(angle)], axis=2)
            parts.append(waves.reshape(len(time), 2 * self.harmonics[place]))
        return np.concatenate([*parts, *clocks.effects(series, time, self.n_known, shift)], axis=1)

    def theta(self) -> np.ndarray:
        """The parameters of each variable, shape `(variables, parameters)`."""
        return np.exp(self.log_theta.numpy())

    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of coefficients before anything was observed, `(variables, columns)`."""
        return self.prior_mean.numpy(), np.exp(self.log_prior_variance.numpy())

    @staticmethod
    def part_names(cycles: Sequence[str], known: Sequence[str]) -> list[str]:
        """Names of `Outlook.parts` in their order, given those of cycles and of known columns."""
        return [*STATE_NAMES, *cycles, *known]

    @property
    def told(self) -> np.ndarray:
        """Which columns a decoder is told: first harmonics of cycles, and known columns at once."""
        waves = (self.begins[:-1, None] + np.arange(2)).ravel()
        return np.r_[waves, self.begins[-1] + np.arange(self.n_known)].astype(int)

    def gather(self, parts: np.ndarray) -> np.ndarray:
        """Columns of a cycle added up: `(n, state)` to `(n, 4 + cycles + known)`."""
        begins = COLUMNS + self.begins
        cycles = [parts[:, a:b].sum(axis=1) for a, b in itertools.pairwise(begins)]
        known = parts[:, begins[-1] : -2].reshape(len(parts), 2, self.n_known).sum(axis=1)
        return np.column_stack([parts[:, :COLUMNS], parts[:, -2], *cycles, known])


class _Answer(torch.autograd.Function):
    """A context's answers as functions of time; its derivative is a central difference."""

    @staticmethod
    def forward(time: Tensor, context: Any) -> tuple[Tensor, ...]:
        return context().answer()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.context = inputs[1]

    @staticmethod
    def _slopes(ctx: Any) -> list[Tensor]:
        answer = ctx.context().answer
        pairs = zip(answer(STEP), answer(-STEP), strict=True)
        return [(after - before) / (2 * STEP) for after, before in pairs]

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        slopes = _Answer._slopes(ctx)
        moved = tangents[0].to(slopes[0])
        return tuple(s * (moved[:, None] if s.dim() == 2 else moved) for s in slopes)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        slopes = _Answer._slopes(ctx)
        each = [g.to(s) * s for g, s in zip(gradients, slopes, strict=True)]
        return torch.stack([x.sum(dim=1) if x.dim() == 2 else x for x in each]).sum(dim=0), None


class _Context:
    """What was observed of the cells that are asked for, filtered up to each one's last row."""

    def __init__(
        self, block: StructuralBlock, seen: Observations, asked: Queries, clocks: Clocks
    ) -> None:
        self.block, self.clocks, n = block, clocks, block.n_variables
        self.theta, self.prior = block.theta(), block.prior()
        self.series, self.time = array_of(asked.series), array_of(asked.time.double())
        cell, own = (array_of(r.series) * n + array_of(r.variable) for r in (asked, seen))
        wanted = np.zeros(len(clocks.phase) * n, dtype=bool)
        wanted[cell] = True
        chosen = np.flatnonzero(wanted[own])
        numbers = np.cumsum(wanted) - 1
        self.cell, variable = numbers[cell], np.flatnonzero(wanted) % n
        series, time, value = (
            array_of(x)[chosen] for x in (seen.series, seen.time.double(), seen.value.double())
        )
        rows = time, value, block.columns(series, time, clocks)
        cells = Cells.of(numbers[own[chosen]], variable, rows)
        zero, least = block.zero[variable], block.least_size.numpy()[variable]
        self.sizes = cells.sizes(zero, least, block.size_rows.numpy()[variable])
        self.zero = np.where(least > 0, zero, 0.0)
        self.cells = cells.in_units(self.zero, self.sizes)
        flat = 0.0 if block.training else FLAT
        self.omega = frequencies(self.cells, self.theta, self.prior, flat)
        how = block.counting[variable] & cells.reach(zero), block.n_known, self.theta, self.prior
        self.undisturbed = Undisturbed.of(self.cells, *how, self.omega)
        if self.undisturbed.cells is not self.cells and self.omega.any():  # which are then known better
            self.omega = frequencies(self.undisturbed.cells, self.theta, self.undisturbed.prior, flat)
            self.undisturbed = Undisturbed.of(self.cells, *how, self.omega)
        own = self.undisturbed
        self.cells, self.prior, self.found = own.cells, own.prior, own.found

    def answer(self, shift: float = 0.0) -> tuple[Tensor, ...]:
        """Location, variance, the cell's own, and parts of queries moved on by `shift`."""
        basis = self.block.columns(self.series, self.time, self.clocks, shift)
        empty = np.diff(self.cells.begins) == 0  # nothing lies inside of these
        given = basis[:, self.block.told]
        basis = self.undisturbed.beside(basis, self.cell, self.time)
        ahead = (self.time >= self.cells.last[self.cell]) | empty[self.cell]
        moved = self.time + shift
        parts = np.zeros((len(moved), self.found.means.shape[1]))
        relative = np.zeros(len(moved))
        self._ahead(np.flatnonzero(ahead), moved, basis, parts, relative)
        self._inside(np.flatnonzero(~ahead), moved, basis, parts, relative)
        end = parts.shape[1] - PAIR
        jumps = slice(end - self.undisturbed.since.shape[1], end)
        parts[:, 0] += parts[:, jumps].sum(axis=1)  # they are of the level
        parts = np.delete(parts, jumps, axis=1)
        theta, own = self.theta[self.cells.variable[self.cell]], self.found.variance[self.cell]
        size, zero = self.sizes[self.cell], self.zero[self.cell]
        variance = (own * relative + theta[:, PARAMETERS.index("excess")]) * size**2
        parts *= size[:, None]
        parts[:, 0] += zero * (1 - size)
        own = own * size**2
        found = parts.sum(axis=1), variance, own, self.block.gather(parts), given
        return tuple(torch.from_numpy(x) for x in found)

    def _ahead(self, q: np.ndarray, time: Any, basis: Any, parts: Any, relative: Any) -> None:
        """Fills parts and relative variances of queries after their cell's last row."""
        cell, own, spread = self.cell[q], np.zeros((len(q), parts.shape[1])), np.zeros(len(q))
        elapsed = time[q] - self.cells.last[cell]
        forecast(
            cell, elapsed, np.ascontiguousarray(basis[q]), self.theta[self.cells.variable],
            self.omega, self.found.means, self.found.covs, own, spread,
        )  # fmt: skip
        parts[q], relative[q] = own, spread

    def _inside(self, q: np.ndarray, time: Any, basis: Any, parts: Any, relative: Any) -> None:
        """The same of queries before it, each told as a row without a value."""
        if not len(q):
            return
        cells, cell = self.cells, self.cell[q]
        names, number = np.unique(cell, return_inverse=True)
        lengths = cells.begins[names + 1] - cells.begins[names]
        at = np.repeat(cells.begins[names] - np.r_[0, np.cumsum(lengths)[:-1]], lengths)
        rows = at + np.arange(lengths.sum())
        owner = np.r_[np.repeat(np.arange(len(names)), lengths), number]
        early = cells.time[cells.begins[cell]]
        times = np.r_[cells.time[rows], np.maximum(time[q], early)]
        observed = np.r_[np.ones(len(rows), dtype=bool), np.zeros(len(q), dtype=bool)]
        order = np.lexsort((~observed, times, owner))
        value = np.r_[cells.value[rows], np.zeros(len(q))][order]
        columns = np.ascontiguousarray(np.concatenate([cells.basis[rows], basis[q]])[order])
        begins = np.r_[0, np.cumsum(np.bincount(owner, minlength=len(names)))]
        own, spread = np.zeros((len(order), parts.shape[1])), np.zeros(len(order))
        smooth(
            begins, cells.variable[names], times[order], value, observed[order], columns,
            self.theta, self.omega[names], *self.prior, own, spread,
        )  # fmt: skip
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        parts[q], relative[q] = own[place[len(rows) :]], spread[place[len(rows) :]]
