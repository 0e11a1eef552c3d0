r"""Draws of the quantity itself, without the noise of its readings, as functions of time.

Draw i of a series' variable is $x_i(t) = m_k(t) + w_k(t)\, g_i(t)$ with k the latent sample that it
takes, m its decoded mean, w what lasts of its decoded spread and g_i a draw of the residual process
(`latentode.residuals`); its slope is $\dot m_k + \dot w_k g_i + w_k \dot g_i$, exactly. Draws of one
series share their latent samples over all of its variables and times. All of that is said in scaled
units u; a variable that is transformed is carried over draw by draw, its slope by the chain rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentode.courses import courses_at
from latentode.data.batch import Series
from latentode.data.task import mix
from latentode.fitted import Fitted
from latentode.forecast import Asked
from latentode.residuals import draw_noise, draw_waves, shared_draws

__all__ = ["Draws", "draw_paths"]


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


def draw_paths(fitted: Fitted, series: Series, asked: Asked, n: int, seed: int = 0) -> Draws:
    """Draws sample paths, each query from what its series had shown by its origin.

    Args:
        fitted: the model; without residuals, nothing of the decoded spread lasts.
        series: histories.
        asked: the queries; those of one (series, origin, variable) lie on one path per draw.
        n: number of draws.
        seed: another seed, other draws; a series' own depend on its identifier and on no companion.
    """
    courses = courses_at(fitted.module.model, series, asked, fitted.context)
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


def _noise(fitted: Fitted, asked: Asked) -> np.ndarray:
    """Sigma of each query in scaled units; without residuals, so large that nothing lasts."""
    if fitted.residuals is None:
        return np.full(len(asked.series), 1e150)
    return np.asarray(fitted.residuals.noise)[asked.variable]


def _length(fitted: Fitted, asked: Asked) -> np.ndarray:
    if fitted.residuals is None:
        return np.full(len(asked.series), fitted.horizon)
    return fitted.residuals.lengths(asked.variable)
