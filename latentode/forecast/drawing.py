r"""Draws of the quantity itself, without the noise of its readings, as functions of time.

Draw i of a series' variable is $x_i(t) = m_k(t) + w_k(t)\, g_i(t)$ with k the latent sample that it
takes, m its decoded mean, w what lasts of its decoded spread and g_i a draw of the residual process
(`latentode.forecast.residuals`); its slope is $\dot m_k + \dot w_k g_i + w_k \dot g_i$, exactly. Draws
of one series share their latent samples over all of its variables and times. All of that is
said in scaled units u; a variable that is transformed is carried over draw by draw,
its slope by the chain rule.

Accumulated values: integrals of sample paths between two times.

$$\int_a^b x_i(t)\,dt \approx \sum_{\text{cells}} h \sum_{j=1}^{3} v_j\, x_i(t_\text{cell} + u_j h)$$

by Gauss and Legendre's three points per cell, the cells of equal width and no wider than what the path
changes over. The noise of single readings does not accumulate: it is the sensor's, not the quantity's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentode.data.batch import Series
from latentode.data.task import mix
from latentode.forecast.courses import decoded_moments
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import ForecastQueries
from latentode.forecast.residuals import draw_noise, draw_waves, shared_draws
from latentode.ode.trajectory import POINTS, WEIGHTS

__all__ = ["Draws", "Nodes", "draw_paths", "nodes_between"]


@dataclass(frozen=True)
class Draws:
    """Sample paths at queries, in data units; every field of shape `(draws, queries)`.

    Args:
        value: the quantity itself.
        rate: its derivative, per time unit.
        reading: what a sensor would read there, if it read at just that time.
    """

    value: np.ndarray
    rate: np.ndarray
    reading: np.ndarray


def draw_paths(
    fitted: FittedForecaster, series: Series, asked: ForecastQueries, n: int, seed: int = 0
) -> Draws:
    """Draws sample paths, each query from what its series had shown by its origin.

    Args:
        fitted: the model; without residuals, nothing of the decoded spread lasts.
        series: histories.
        asked: the queries; those of one (series, origin, variable) lie on one path per draw.
        n: number of draws.
        seed: another seed, other draws; a series' own depend on its identifier and on no companion.
    """
    courses = decoded_moments(fitted.module.model, series, asked, fitted.context)
    owner = series.keys[asked.series]
    took = shared_draws(owner, n, len(courses.mean))
    mean, std, mean_rate, std_rate = (
        np.take_along_axis(x, took, axis=0)
        for x in (courses.mean, courses.std, courses.mean_rate, courses.std_rate)
    )
    sigma = _noise(fitted, asked)
    both = np.hypot(std, sigma)
    keys, lead = mix(owner, asked.variable), asked.time - asked.origin
    g, slope = draw_waves(keys, lead, _length(fitted, asked), n, seed)
    lasting, lasting_rate = std * (std / both), std_rate * (std / both) * (1 + (sigma / both) ** 2)
    scaled = mean + lasting * g
    rate = mean_rate + lasting_rate * g + lasting * slope
    reading = scaled + std * (sigma / both) * draw_noise(keys, lead, n, seed)
    units = fitted.scaling.units_of(asked.variable)
    value = units.to_data(scaled)
    return Draws(value, rate / np.exp(units.log_slope(value)), units.to_data(reading))


def _noise(fitted: FittedForecaster, asked: ForecastQueries) -> np.ndarray:
    """Sigma of each query in scaled units; without residuals, so large that nothing lasts."""
    if fitted.residuals is None:
        return np.full(len(asked.series), 1e150)
    return np.asarray(fitted.residuals.noise)[asked.variable]


def _length(fitted: FittedForecaster, asked: ForecastQueries) -> np.ndarray:
    if fitted.residuals is None:
        return np.full(len(asked.series), fitted.horizon)
    return fitted.residuals.lengths(asked.variable)


@dataclass(frozen=True)
class Nodes:
    """Places to evaluate, and what each adds to its integral.

    Args:
        owner: which integral, ascending, shape `(nodes,)`.
        time: shape `(nodes,)`.
        weight: in units of time; those of an integral sum to its length.
        n: number of integrals.
    """

    owner: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    n: int

    def sums(self, value: np.ndarray) -> np.ndarray:
        """The integrals of values at the nodes: from `(draws, nodes)` to `(draws, integrals)`."""
        begin = np.searchsorted(self.owner, np.arange(self.n))
        return np.add.reduceat(value * self.weight, begin, axis=1)


def nodes_between(start: np.ndarray, end: np.ndarray, width: np.ndarray) -> Nodes:
    """Nodes of integrals from `start` to `end`, in cells at most `width` wide.

    Args:
        start: shape `(integrals,)`.
        end: no earlier, likewise; of a time to itself the integral is 0.
        width: likewise.

    Example:
        >>> nodes = nodes_between(np.zeros(1), np.full(1, 2.0), np.full(1, 0.8))
        >>> nodes.sums(nodes.time[None] ** 5).round(9).tolist()  # 2 ** 6 / 6
        [[10.666666667]]
    """
    cells = np.maximum(1, np.ceil((end - start) / width - 1e-9)).astype(np.int64)
    owner = np.repeat(np.arange(len(start)), cells)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(cells) - cells, cells)
    step = ((end - start) / cells)[owner]
    time = (start[owner] + place * step)[:, None] + step[:, None] * np.asarray(POINTS)
    weight = step[:, None] * np.asarray(WEIGHTS)
    return Nodes(np.repeat(owner, len(POINTS)), time.reshape(-1), weight.reshape(-1), len(start))
