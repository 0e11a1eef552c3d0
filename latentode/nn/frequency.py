r"""Frequencies of stochastic cycles: a periodogram, and each cell's own frequency by likelihood.

The periodogram (`latentode.nn.sine_gains`) is taken on a grid as fine as a cell's span asks for, from a
period of one and a half spans to one of two median gaps. Where frequencies differ from cell to cell,
the few highest of its peaks plus the log-normal prior are compared by the marginal likelihood of the
whole state-space model, with the cell's variance profiled out, so that the size of values does not
matter,

$$L(\omega) = \tfrac12 \sum_i \log F_i + \tfrac{n}{2} \log \sum_i e_i^2 / F_i
  + \tfrac12 (\log \omega - \mu)^2 / s^2,$$

and the best is refined by parabolas. A cell of few rows has the frequency of the prior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentode.nn import compiled_filter
from latentode.nn.compiled_filter import COLUMNS, PARAMETERS
from latentode.nn.sine_gains import peaks, periodogram, refined
from latentode.nn.state_space import Cells, Filtered
from latentode.ode.kernels.compiled import Array
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = [
    "FLAT",
    "ONE_FREQUENCY",
    "Suggestion",
    "cells_that_tell",
    "frequencies",
    "line_variances",
    "suggestions",
]

NO_CYCLE = 1e-9  # relative variance of a cycle below which there is none
ONE_FREQUENCY = 1e-4  # spread of the logarithm of frequencies below which cells share one
FREQUENCY, SPREAD = PARAMETERS.index("frequency"), PARAMETERS.index("frequency_spread")
CYCLE = PARAMETERS.index("cycle")
FEWEST = 6  # rows of a cell that a frequency is looked for in
SPANS = 1.5  # that a period may take
FINENESS = 5.0  # points of the grid in the width of a peak, 2 pi over the span
POINTS = 1024  # of a grid at most; where there are more, only the last rows are looked at
WIDTH = 3.0  # deviations of the prior that are looked at
GOLDEN, TINY = 0.3819660112501051, 1e-300
MOST_STEPS, NEAR, FLAT = 24, 1e-6, 1e-3  # steps, of the interval that is searched, and nats
LEAST_GAIN = 5.0  # of a cell's periodogram at a clear peak
FEWEST_CELLS = 3  # with one, for frequencies of cells' own to be suggested
POOLED_PEAKS = 2  # that are suggested


@compiled_in_order
def _cost(omega: Any, centre: float, spread: Any, own: Any, rest: Any, room: Any) -> float:
    """Minus the logarithm of a cell's density and of the prior, but for constants."""
    begins, variable, time, value, basis, theta = own
    (mean, variance), (means, covs, sums, innovations) = rest, room
    compiled_filter.run(
        begins, variable, time, value, basis, theta, np.full(1, omega), mean, variance,
        means, covs, sums, innovations,
    )  # fmt: skip
    likelihood = 0.5 * sums[0, 0] + 0.5 * (begins[1] - begins[0]) * math.log(max(sums[0, 1], TINY))
    return likelihood + 0.5 * ((math.log(omega) - centre) / spread) ** 2


@compiled_in_order
def _lowest(low: float, x: Any, high: float, cost: float, flat: float, how: Any) -> tuple:
    """A frequency near x at which the cost is lowest, and its cost, which is that of x or less.

    Each step is to the lowest point of a parabola through x and the ends, or by golden section where
    there is none.
    """
    near, cost_low, cost_high = NEAR * (high - low), _cost(low, *how), _cost(high, *how)
    for _ in range(MOST_STEPS):
        below, above = (x - low) * (cost - cost_high), (x - high) * (cost - cost_low)
        bend = 2 * (below - above)
        at = x - ((x - low) * below - (x - high) * above) / bend if bend != 0.0 else x
        if golden := not (low < at < high) or cost > min(cost_low, cost_high):
            at = x + GOLDEN * ((high if high - x > x - low else low) - x)
        if abs(at - x) < near:
            break
        found = _cost(at, *how)
        if not golden and abs(found - cost) < flat:
            return (at, found) if found < cost else (x, cost)
        if found < cost and at > x:
            low, cost_low, x, cost = x, cost, at, found
        elif found < cost:
            high, cost_high, x, cost = x, cost, at, found
        elif at > x:
            high, cost_high = at, found
        else:
            low, cost_low = at, found
    return x, cost


@compiled_in_order
def _search(
    chosen: Array, begins: Array, variable: Array, time: Array, value: Array, residual: Array,
    basis: Array, theta: Array, prior_mean: Array, prior_variance: Array, omega: Array, flat: float,
) -> None:  # fmt: skip
    """Fills the frequencies of chosen cells, where they hold that of the prior."""
    size = basis.shape[1] + compiled_filter.DYNAMIC
    room = np.zeros((1, size)), np.zeros((1, size, size)), np.zeros((1, 2)), np.zeros(len(time))
    for c in chosen:
        t, spread = time[begins[c] : begins[c + 1]], theta[variable[c], SPREAD]
        gaps, some, centre = np.zeros(len(t)), 0, math.log(omega[c])
        for i in range(1, len(t)):
            if t[i] > t[i - 1]:
                gaps[some] = t[i] - t[i - 1]
                some += 1
        if some < FEWEST:
            continue
        gaps = gaps[:some]
        gaps.sort()
        median = (gaps[(some - 1) // 2] + gaps[some // 2]) / 2
        reach, reach_of_prior = t[-1] - t[0], math.exp(WIDTH * spread)
        low = max(2 * math.pi / (SPANS * reach), omega[c] / reach_of_prior)
        high = min(math.pi / median, omega[c] * reach_of_prior)
        if low >= high:
            continue
        step = 2 * math.pi / (FINENESS * reach)
        coarser = max(1.0, (high - low) / step / POINTS)
        begin = 0
        while t[begin] < t[-1] - reach / coarser:
            begin += 1
        step *= coarser
        gain = np.zeros(int((high - low) / step) + 2)
        periodogram(t[begin:], residual[begins[c] + begin : begins[c + 1]], low, step, gain)
        for k in range(len(gain)):
            gain[k] -= 0.5 * ((math.log(low + k * step) - centre) / spread) ** 2
        own = begins[c : c + 2], variable[c : c + 1], time, value, basis, theta
        how = centre, spread, own, (prior_mean, prior_variance), room
        best, cost = omega[c], _cost(omega[c], *how)
        for k in peaks(gain):
            at = low + (k + refined(gain, k)) * step
            found = _cost(at, *how)
            if found < cost:
                best, cost = at, found
        omega[c], _ = _lowest(max(best - step, 0.5 * best), best, best + step, cost, flat, how)


def frequencies(
    cells: Cells, theta: np.ndarray, prior: tuple[np.ndarray, np.ndarray], flat: float = 0.0
) -> np.ndarray:
    """Of each cell's cycle, in radians per unit of model time, shape `(cells,)`; 0 where it has none.

    Args:
        cells: in units of the model.
        theta: `PARAMETERS` of each variable, shape `(variables, parameters)`.
        prior: mean and variance of each variable's coefficients, `(variables, columns)`.
        flat: nats between two points near a top, either then as good; 0 for what has to be smooth.
    """
    own = theta[cells.variable]
    omega = np.where(own[:, CYCLE] > NO_CYCLE, own[:, FREQUENCY], 0.0)
    chosen = np.flatnonzero((omega > 0) & (own[:, SPREAD] > ONE_FREQUENCY))
    if len(chosen):
        rows = cells.begins, cells.variable, cells.time, cells.value
        residual = _without_columns(cells, theta, prior)
        _search(chosen, *rows, residual, cells.basis, theta, *prior, omega, flat)
    return omega


def cells_that_tell(
    cells: Cells, theta: np.ndarray, prior: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Numbers of those cells whose periodograms have a clear peak; arguments as for `frequencies`."""
    return _tell(_periodograms(cells, _without_columns(cells, theta, prior))[1])


@dataclass(frozen=True)
class Suggestion:
    """A cycle to begin an estimate with.

    Args:
        frequency: in radians per unit of model time.
        own: whether each cell has a frequency of its own.
        spread: of the logarithms of these.
        cycle: variance of the cycle, relative to each cell's own; the median of cells.
        noise: likewise, of what is left.
    """

    frequency: float
    own: bool
    spread: float
    cycle: float
    noise: float


def suggestions(
    cells: Cells,
    theta: np.ndarray,
    prior: tuple[np.ndarray, np.ndarray],
    variances: np.ndarray,
) -> list[Suggestion]:
    """Cycles at peaks of the periodogram pooled over cells, and at those of each cell.

    Args:
        cells: of one variable, each with rows.
        theta, prior: as for `frequencies`, of a model without a cycle.
        variances: of each cell its own in that model, shape `(cells,)`.
    """
    residual = _without_columns(cells, theta, prior)
    grid, gains = _periodograms(cells, residual)
    sizes, count = line_variances(cells, residual) / variances, np.diff(cells.begins)

    def suggestion(gain: np.ndarray, frequency: Any, own: bool, spread: float) -> Suggestion:
        left = np.exp(-2 * gain / count)
        cycle, noise = np.median((1 - left) * sizes), np.median(left * sizes)
        return Suggestion(float(frequency), own, spread, float(cycle), float(noise))

    pooled, tell = gains.sum(axis=0), _tell(gains)
    tops = np.flatnonzero((pooled[1:-1] >= pooled[:-2]) & (pooled[1:-1] > pooled[2:])) + 1
    tops = tops[np.argsort(-pooled[tops], kind="stable")][:POOLED_PEAKS]
    found = [suggestion(gains[:, k], grid[k], False, 0.0) for k in tops]
    if len(tell) >= FEWEST_CELLS:
        logs = np.log(grid[gains[tell].argmax(axis=1)])
        found.append(suggestion(gains.max(axis=1), math.exp(logs.mean()), True, float(logs.std())))
    return found


def _tell(gains: np.ndarray) -> np.ndarray:
    return np.flatnonzero(gains.max(axis=1, initial=0.0) > LEAST_GAIN)


def line_variances(cells: Cells, value: np.ndarray) -> np.ndarray:
    """Of each cell's values about a line, shape `(cells,)`; each has rows."""
    count = np.diff(cells.begins)
    owner = np.repeat(np.arange(len(count)), count)

    def mean(x: np.ndarray) -> np.ndarray:
        return np.bincount(owner, x, len(count)) / count

    t, y = cells.time - mean(cells.time)[owner], value - mean(value)[owner]
    square = mean(t * t)
    slope = np.divide(mean(t * y), square, out=np.zeros_like(square), where=square > 0)
    return mean((y - slope[owner] * t) ** 2)


def _without_columns(
    cells: Cells, theta: np.ndarray, prior: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Values of rows without what columns explain in the model without a cycle, shape `(rows,)`."""
    columns = cells.basis.shape[1]
    if not columns:
        return cells.value
    none = np.zeros(len(cells.variable))
    means = Filtered.of(cells, theta, prior, none).means
    owner = np.repeat(np.arange(len(none)), np.diff(cells.begins))
    return cells.value - (cells.basis * means[owner, COLUMNS : COLUMNS + columns]).sum(axis=1)


def _periodograms(cells: Cells, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gains of cells on a grid that they share; 0 at periods that a cell has not seen often enough.

    Args:
        cells: of one variable.
        residual: values of rows, as of `without_columns`.

    Returns:
        Frequencies, shape `(grid,)`, and gains, `(cells, grid)`; no grid where all cells are short.
    """
    begins, long = cells.begins, np.flatnonzero(np.diff(cells.begins) > FEWEST)
    spans = cells.time[begins[1:][long] - 1] - cells.time[begins[:-1][long]]
    gaps = np.diff(cells.time)[np.diff(np.repeat(np.arange(len(cells.variable)), np.diff(begins))) == 0]
    gaps = gaps[gaps > 0]
    if not len(gaps) or not spans.max(initial=0.0) > 0:
        return np.zeros(0), np.zeros((len(cells.variable), 0))
    reach = spans.max()
    low, high = 2 * math.pi / (SPANS * reach), math.pi / np.median(gaps)
    step = 2 * math.pi / (FINENESS * reach)
    coarser = max(1.0, (high - low) / step / POINTS)
    grid = low + step * coarser * np.arange(max(1, int((high - low) / step / coarser) + 1))
    gains = np.zeros((len(cells.variable), len(grid)))
    for c, span in zip(long, spans, strict=True):
        t = cells.time[begins[c] : begins[c + 1]]
        begin = np.searchsorted(t, t[-1] - reach / coarser)
        if len(t) - begin > FEWEST and t[-1] > t[begin]:
            own = residual[begins[c] : begins[c + 1]]
            periodogram(t[begin:], own[begin:], low, step * coarser, gains[c])
            gains[c, grid < 2 * math.pi / (SPANS * span)] = 0.0
    return grid, gains
