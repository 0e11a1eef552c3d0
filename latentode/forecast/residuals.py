r"""Residuals: what a series does about its predicted mean, part of it lasting, part of it noise.

A distribution per query says how far a value may lie from its mean, not whether it will stay there.
Between a value $x$ at lead $\tau$ and its mean $m$, with decoded standard deviation $s(\tau)$,

$$x = m(\tau) + w(\tau)\, g(\tau) + \varepsilon(\tau), \qquad
  w^2 = \frac{s^4}{s^2 + \sigma^2}, \quad
  \mathrm{Var}\,\varepsilon = \frac{s^2 \sigma^2}{s^2 + \sigma^2},$$

$\varepsilon$ is the noise of each reading on its own, of standard deviation $\sigma$ where much more
than it is uncertain, and never more than s; and g, a stationary Gaussian process of variance
one with the Matern correlation of order 5/2,

$$k(x) = (1 + \sqrt5 x + 5 x^2 / 3)\, e^{-\sqrt5 x}, \quad x = |\tau - \tau'| / \ell,$$

is what lasts: the quantity itself, $m + w g$, departs from what was foreseen and comes back, smoothly.
$\sigma$ and $\ell$ are found per variable from forecasts of observed values (`latentode.questions`).
The spread at any single time stays exactly what the likelihood was trained to say.

g is drawn as a sum of waves whose frequencies follow the spectrum of k, a Student-t of five degrees of
freedom, so that a draw is a function: it can be evaluated anywhere, differentiated, and asked at one
more time without changing at another.

References:
    Gaussian Processes for Machine Learning (Rasmussen and Williams, 2006), section 4.2.1.
    Random features for large-scale kernel machines (Rahimi and Recht, 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from latentode.data.task import mix, uniform
from latentode.forecast.calibration import FURTHEST, Curves

__all__ = ["Joint", "Residuals", "ScoreTransform", "draw_noise", "draw_waves", "matern", "shared_draws"]

WAVES = 16  # per draw: the correlation of one draw is right within a few per cent, over draws exactly
DEGREES = 5.0  # of the spectrum of the Matern kernel of order 5/2
CELLS_AT_ONCE = 4_000_000  # waves times draws times queries, for the memory they take
AMPLITUDES, FREQUENCIES, READINGS = 0xA3, 0xF5, 0x4E  # streams of draws of their own


@dataclass(frozen=True)
class Residuals:
    r"""Of each variable, how noisy a reading is and how long a departure lasts.

    Args:
        noise: standard deviation $\sigma$ of a reading's own noise, in scaled units, per variable.
        length: correlation time of what lasts, in time units, per variable.
    """

    noise: tuple[float, ...]
    length: tuple[float, ...]

    def lasting(self, variance: np.ndarray, variable: np.ndarray) -> np.ndarray:
        r"""The share $s^2 / (s^2 + \sigma^2)$ of a decoded variance (scaled units) that lasts.

        Args:
            variance: shape `(..., queries)`.
            variable: shape `(queries,)`.

        Example:
            >>> one = Residuals(noise=(0.5,), length=(2.0,))
            >>> one.lasting(np.array([1.0, 0.25]), np.array([0, 0])).tolist()
            [0.8, 0.5]
        """
        return variance / (variance + np.square(np.asarray(self.noise)[variable]))

    def lengths(self, variable: np.ndarray) -> np.ndarray:
        """The correlation time of each query's variable."""
        return np.asarray(self.length)[variable]

    def to_dict(self) -> dict[str, Sequence[float]]:
        """Primitives; `from_dict` is its inverse."""
        return {"noise": self.noise, "length": self.length}

    @classmethod
    def from_dict(cls, state: dict[str, Sequence[float]]) -> Residuals:
        """Reads what `to_dict` wrote."""
        return cls(tuple(state["noise"]), tuple(state["length"]))


@dataclass(frozen=True)
class Joint:
    """What makes the queries of a forecast one future: which of them share a path.

    Args:
        residuals: of the model that answers.
        keys: of each query's series and origin, uint64.
        variable: index of each query's variable.
        lead: time since each query's origin.
        unit: what one unit of the distribution is in scaled units, per query.
    """

    residuals: Residuals
    keys: np.ndarray
    variable: np.ndarray
    lead: np.ndarray
    unit: np.ndarray | float = 1.0

    def take(self, places: np.ndarray) -> Joint:
        """Of the queries at `places`."""
        one = np.ndim(self.unit) == 0
        unit = self.unit if one else np.asarray(self.unit)[places]
        return Joint(self.residuals, self.keys[places], self.variable[places], self.lead[places], unit)

    def took(self, n: int, parts: int) -> np.ndarray:
        """Which latent sample answers each query in each draw, shape `(n, queries)`."""
        return shared_draws(self.keys, n, parts)

    def scores(self, variance: np.ndarray, seed: int) -> np.ndarray:
        """Standard normal scores of draws, correlated along each path.

        Args:
            variance: decoded, in units of the distribution, shape `(n, queries)`.
            seed: another seed, other draws.
        """
        n, keys = len(variance), mix(self.keys, self.variable)
        lasting = self.residuals.lasting(variance * np.square(self.unit), self.variable)
        g, _ = draw_waves(keys, self.lead, self.residuals.lengths(self.variable), n, seed)
        noise = draw_noise(keys, self.lead, n, seed)
        return np.sqrt(lasting) * g + np.sqrt(1 - lasting) * noise


@dataclass(frozen=True)
class ScoreTransform:
    r"""How the normal score of a query is revised, by calibration, by what was observed later, or both.

    Where F is what was forecast and c its calibration (`latentode.forecast.calibration`), values
    observed elsewhere on the path say that the honest score $c(\Phi^{-1}(F(x)))$ is $N(\mu, \tau^2)$.
    So the revised distribution has the cdf $\Phi((c(\Phi^{-1}(F(x))) - \mu) / \tau)$, whatever the
    likelihood. 0 and 1, and no curves, leave it as it was.

    Args:
        shift: $\mu$, shape `(queries,)`.
        spread: $\tau$, at most 1, likewise.
        curves: c; None for what is not calibrated.
    """

    shift: np.ndarray
    spread: np.ndarray
    curves: Curves | None = None

    @classmethod
    def calibrated(cls, curves: Curves) -> ScoreTransform:
        """Calibration alone."""
        n = curves.said.shape[1]
        return cls(np.zeros(n), np.ones(n), curves)

    @property
    def revised(self) -> np.ndarray:
        """Which queries are."""
        seen = (self.shift != 0) | (self.spread != 1)
        return seen if self.curves is None else seen | self.curves.changed

    def take(self, places: np.ndarray) -> ScoreTransform:
        """Of the queries at `places`."""
        curves = None if self.curves is None else Curves(self.curves.said[:, places])
        return ScoreTransform(self.shift[places], self.spread[places], curves)

    def _honest(self, score: np.ndarray) -> np.ndarray:
        return score if self.curves is None else self.curves.honest(score)

    def cdf(self, before: np.ndarray) -> np.ndarray:
        """The revised probability of staying below where it was `before`."""
        return special.ndtr((self._honest(special.ndtri(before)) - self.shift) / self.spread)

    def log_prob(
        self, before: np.ndarray, at: np.ndarray, below: np.ndarray, whole: np.ndarray
    ) -> np.ndarray:
        """The revised log-density, or log-probability of a whole number.

        Args:
            before: what it was, shape `(queries,)`, as are the others.
            at: the probability, before, of at most the value.
            below: of at most the whole number before it.
            whole: which queries have whole numbers for values.
        """
        score = np.clip(special.ndtri(at), -FURTHEST, FURTHEST)
        moved = (self._honest(score) - self.shift) / self.spread
        slope = -np.log(self.spread) + (0.0 if self.curves is None else self.curves.log_slope(score))
        density = before + 0.5 * (score**2 - moved**2) + slope
        chance = np.maximum(self.cdf(at) - self.cdf(below), np.finfo(np.float64).tiny)
        return np.where(self.revised, np.where(whole, np.log(chance), density), before)

    def level(self, score: np.ndarray | float) -> np.ndarray:
        """The level of what was forecast that a standard normal score of the revised is at."""
        honest = self.shift + self.spread * score
        said = honest if self.curves is None else self.curves.stated(honest)
        return special.ndtr(np.clip(said, -FURTHEST, FURTHEST))


def matern(x: np.ndarray) -> np.ndarray:
    """The correlation at distances `x` >= 0, in correlation times.

    Example:
        >>> matern(np.array([0.0, 1.0, 10.0])).round(3).tolist()
        [1.0, 0.524, 0.0]
    """
    far = np.sqrt(DEGREES) * x
    return (1 + far + far**2 / 3) * np.exp(-far)


def draw_waves(
    keys: np.ndarray, time: np.ndarray, length: np.ndarray, n: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of g, and of its derivative, where they are asked for.

    Draw i is one function of time for each key; of different keys, independent ones. What a key draws
    depends on nothing else.

    Args:
        keys: of what varies on its own (a series' variable), uint64, shape `(queries,)`.
        time: shape `(queries,)`.
        length: correlation times, one per key, shape `(queries,)`.
        n: number of draws.
        seed: another seed, other draws.

    Returns:
        Values and slopes, both of shape `(n, queries)`.

    Example:
        >>> key, unit = np.full(3, 7, dtype=np.uint64), np.ones(3)
        >>> g, slope = draw_waves(key, np.array([0.0, 1e-6, 9.0]), unit, 2000)
        >>> bool(np.allclose(g[:, 1] - g[:, 0], 1e-6 * slope[:, 0], atol=1e-10))
        True
        >>> round(float(g[:, 2].std()), 1)
        1.0
    """
    frequency = _frequencies(n, seed)
    value, slope = np.empty((n, len(keys))), np.empty((n, len(keys)))
    for part in _parts(len(keys), n * WAVES):
        own, of = np.unique(keys[part], return_inverse=True)
        base = mix(own, AMPLITUDES ^ seed)
        size = n * WAVES
        a, b = (
            _normal(base[:, None], first + np.arange(size)).reshape(len(own), n, WAVES)
            for first in (0, size)
        )
        speed = frequency[:, None, :] / length[part][None, :, None]
        angle = speed * time[part][None, :, None]
        sine, cosine = np.sin(angle), np.cos(angle)
        a, b = a[of].swapaxes(0, 1), b[of].swapaxes(0, 1)
        value[:, part] = (a * cosine + b * sine).sum(axis=2) / np.sqrt(WAVES)
        slope[:, part] = (speed * (b * cosine - a * sine)).sum(axis=2) / np.sqrt(WAVES)
    return value, slope


def draw_noise(keys: np.ndarray, time: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Standard normal noise of readings, independent between times, shape `(n, queries)`.

    The same (key, time) draws the same, so that asking for more readings changes none.
    """
    stamp = mix(mix(keys, READINGS ^ seed), time.astype(np.float64).view(np.uint64))
    return np.stack([_normal(stamp, i) for i in range(n)]) if n else np.zeros((0, len(keys)))


def shared_draws(keys: np.ndarray, n: int, parts: int) -> np.ndarray:
    """Which of `parts` latent samples each draw of each key takes, in turn, shape `(n, keys)`."""
    first = (mix(keys, AMPLITUDES) % np.uint64(parts)).astype(np.int64)
    return (np.arange(n)[:, None] + first) % parts


def _frequencies(n: int, seed: int) -> np.ndarray:
    """Those of every draw, `(n, WAVES)`: one in each of equally likely parts of the spectrum."""
    key = mix(np.arange(n, dtype=np.uint64), FREQUENCIES ^ seed)
    inside = uniform(key[:, None], np.arange(WAVES))
    level = 0.5 + 0.5 * (np.arange(WAVES) + inside) / WAVES  # a wave of -w is one of w
    return special.stdtrit(DEGREES, np.minimum(level, 1 - 1e-9))


def _normal(keys: np.ndarray, counter: np.ndarray | int) -> np.ndarray:
    return special.ndtri(uniform(keys, counter) + 2.0**-54)


def _parts(n: int, cells: int) -> Iterator[slice]:
    step = max(1, CELLS_AT_ONCE // max(1, cells))
    return (slice(i, min(i + step, n)) for i in range(0, n, step))
