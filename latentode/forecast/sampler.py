r"""Sampler: draws of futures by the likelihood's own quantile function, for readings, paths and slopes.

Draw i of a series' variable takes the latent sample k, the same for all variables and times of the
series. With $Q_k$ the quantile function of its component at lead $\tau$, g a draw of the residual
process (`latentode.forecast.residuals`) and $\varepsilon$ the noise of a reading on its own,

$$x_\text{reading}(\tau) = Q_k\big(\Phi(\sqrt\lambda\, g(\tau) + \sqrt{1 - \lambda}\,\varepsilon)\big),
  \qquad x(\tau) = E_\varepsilon[x_\text{reading}(\tau)].$$

A reading has exactly the distribution that is forecast, so it is never a value that cannot be. The
quantity itself, x, is the mean of the readings that might be taken of it: of a normal likelihood
$m + w g$ with $w^2 = s^4 / (s^2 + \sigma^2)$; its mean over draws is that of the forecast, whatever
the likelihood. The expectation is taken by Gauss and Hermite's rule of five points. Whole numbers are
not told apart into a quantity and its noise: a draw of theirs is a step function with $\lambda = 1$.

What is calibrated or smoothed is moved by its score transform, at the level of the mixture of
components. A rate of change is the central difference of x between a short step before and after, the
parameters of $Q_k$ moved along their exact derivatives (`Engine.around`); that of whole numbers, which
have none, is the rate of the mean of the component.

g is drawn as a sum of waves whose frequencies follow the spectrum of its kernel, a Student-t of five
degrees of freedom, so that a draw is a function: it can be evaluated anywhere, differentiated, and
asked at one more time without changing at another.

References:
    Random features for large-scale kernel machines (Rahimi and Recht, 2007).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from latentode.data.windows import mix, uniform

__all__ = [
    "NOISE_POINTS",
    "NOISE_WEIGHTS",
    "Joint",
    "Nodes",
    "draw_noise",
    "draw_waves",
    "independent_scores",
    "nodes_between",
    "shared_draws",
]

WAVES = 16  # per draw: the correlation of one draw is right within a few per cent, over draws exactly
DEGREES = 5.0  # of the spectrum of the Matern kernel of order 5/2
CELLS_AT_ONCE = 4_000_000  # waves times draws times queries, for the memory they take
AMPLITUDES, FREQUENCIES, READINGS = 0xA3, 0xF5, 0x4E  # streams of draws of their own
NOISE_POINTS, NOISE_WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
NOISE_WEIGHTS = NOISE_WEIGHTS / NOISE_WEIGHTS.sum()
# Gauss and Legendre's points on [0, 1] and their weights: exact for polynomials of degree five.
POINTS, WEIGHTS = (0.5 * x for x in np.polynomial.legendre.leggauss(3))
POINTS = 0.5 + POINTS


@dataclass(frozen=True)
class Joint:
    r"""The joint distribution of queries: which of them share a path, and how long departures last.

    Args:
        keys: of each query's series, uint64, shape `(queries,)`, as are the others.
        variable: index of each query's variable.
        lead: time since each query's origin.
        noise: $\sigma$, the standard deviation of a reading's own noise, in units of the distribution;
            infinite where nothing lasts.
        length: $\ell$, the correlation time of what lasts, in time units.
    """

    keys: np.ndarray
    variable: np.ndarray
    lead: np.ndarray
    noise: np.ndarray
    length: np.ndarray

    def take(self, places: np.ndarray) -> Joint:
        """The joint distribution of the queries at `places`."""
        columns = (self.keys, self.variable, self.lead, self.noise, self.length)
        return Joint(*(column[places] for column in columns))

    def took(self, n: int, parts: int) -> np.ndarray:
        """Which latent sample answers each query in each draw, shape `(n, queries)`."""
        return shared_draws(self.keys, n, parts)

    def lasting(self, variance: np.ndarray) -> np.ndarray:
        r"""The share $\lambda$ of decoded variances `(..., queries)` that lasts."""
        return variance / (variance + np.square(self.noise))

    def waves(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws of the residual process g at each query, and their slopes, each `(n, queries)`."""
        return draw_waves(mix(self.keys, self.variable), self.lead, self.length, n, seed)

    def scores(self, variance: np.ndarray, seed: int) -> np.ndarray:
        """Standard normal scores of readings, correlated along each path.

        Args:
            variance: decoded, in units of the distribution, shape `(n, queries)`.
            seed: another seed, other draws.
        """
        n, lasting = len(variance), self.lasting(variance)
        noise = draw_noise(mix(self.keys, self.variable), self.lead, n, seed)
        return np.sqrt(lasting) * self.waves(n, seed)[0] + np.sqrt(1 - lasting) * noise


def independent_scores(
    n: int, queries: int, parts: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Latent samples that all queries of a draw share, and scores that they do not.

    Returns:
        Both of shape `(n, queries)`: indices below `parts`, and standard normal scores.
    """
    generator = np.random.default_rng(seed)
    took = np.repeat(generator.integers(parts, size=n)[:, None], queries, axis=1)
    return took, generator.standard_normal((n, queries))


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
    time = (start[owner] + place * step)[:, None] + step[:, None] * POINTS
    weight = step[:, None] * WEIGHTS
    return Nodes(np.repeat(owner, len(POINTS)), time.reshape(-1), weight.reshape(-1), len(start))
