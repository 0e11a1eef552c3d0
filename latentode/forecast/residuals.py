r"""Normal scores of values: how long departures last (Residuals), and how scores are revised.

The normal score of a value x that is forecast with cdf F is $t = \Phi^{-1}(F(x))$. A distribution per
query says how far a value may lie from its mean, not whether it will stay there. Of two scores of one
forecast, the part that lasts is shared: where the decoded standard deviation is s, a score is

$$t = \sqrt{\lambda}\, g(\tau) + \sqrt{1 - \lambda}\, \varepsilon(\tau), \qquad
  \lambda = \frac{s^2}{s^2 + \sigma^2},$$

$\varepsilon$ being the noise of each reading on its own, of standard deviation $\sigma$ where much
more than it is uncertain, and never more than s; and g, a stationary Gaussian process of variance one
with the Matern correlation of order 5/2,

$$k(x) = (1 + \sqrt5 x + 5 x^2 / 3)\, e^{-\sqrt5 x}, \quad x = |\tau - \tau'| / \ell,$$

is what lasts: the quantity itself departs from what was foreseen and comes back, smoothly. $\sigma$ and
$\ell$ are found per variable from forecasts of observed values (`latentode.evaluation.residual_fit`).
The distribution at any single time stays exactly what the likelihood was trained to say.

Scores are revised by calibration (`latentode.forecast.calibration`) and by what was observed after the
time that is asked for (`latentode.forecast.smoothing`).

References:
    Gaussian Processes for Machine Learning (Rasmussen and Williams, 2006), section 4.2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from latentode.data.cells.columns import quantile_name
from latentode.errors import warn

__all__ = [
    "CALIBRATED_SCORES",
    "FURTHEST",
    "LEVELS",
    "Curves",
    "Residuals",
    "ScoreTransform",
    "guaranteed_levels",
    "matern",
    "piecewise_linear",
]

FURTHEST = 7.5  # the score beyond which levels round to 0 and 1
LOWER_LEVELS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
LEVELS = np.array([*LOWER_LEVELS, 0.5, *(round(1 - p, 3) for p in reversed(LOWER_LEVELS))])
ROUNDING = 1e-9  # of levels
# The calibrated scores at the knots of a calibration curve: those of the levels, and the ends.
CALIBRATED_SCORES = np.r_[-FURTHEST, special.ndtri(LEVELS), FURTHEST]


def guaranteed_levels(groups: int) -> np.ndarray:
    """Which of `LEVELS` calibration by so many exchangeable groups can guarantee, and the median.

    Those from 1 / (groups + 1) to groups / (groups + 1), as a mask of shape `(levels,)`.

    Example:
        >>> LEVELS[guaranteed_levels(4)].tolist()
        [0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8]
    """
    return (np.minimum(LEVELS, 1 - LEVELS) * (groups + 1) >= 1 - ROUNDING) | (LEVELS == 0.5)


@dataclass(frozen=True)
class Residuals:
    r"""The noise of a reading and the correlation time of departures, per variable.

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
class Curves:
    """The calibration curve c of each query: from nominal to calibrated scores, and back.

    The nominal score of a value is the normal score that the forecast gives it, the calibrated score
    the one that it gets by calibration.

    Args:
        nominal_scores: the nominal scores at which the calibrated scores are `CALIBRATED_SCORES`,
            ascending, shape `(knots, queries)`; equal to them where nothing is calibrated.
        count: how many exchangeable forecasts, or series of them, each curve is learnt from, shape
            `(queries,)`, 0 where nothing is calibrated; None where that is of no account.
    """

    nominal_scores: np.ndarray
    count: np.ndarray | None = None

    @property
    def changed(self) -> np.ndarray:
        """Which queries are calibrated, shape `(queries,)`."""
        return (self.nominal_scores != CALIBRATED_SCORES[:, None]).any(axis=0)

    def warn_of_unguaranteed(self, level: float) -> None:
        """Warns of a quantile level that calibration by so few forecasts or series cannot guarantee."""
        if self.count is None or not (self.count > 0).any():
            return
        count = int(self.count[self.count > 0].min())
        low, high = LEVELS[guaranteed_levels(count)][[0, -1]]
        if not low - ROUNDING <= level <= high + ROUNDING:
            warn(
                f"the quantile at level {quantile_name(level)[1:]} is not guaranteed: calibration by "
                f"{count} series (or forecasts, if each counts on its own) reaches from {low:g} to "
                f"{high:g}, and further out the tail of the uncalibrated forecast is shifted along; "
                "calibrate by more of them",
            )

    def take(self, places: np.ndarray) -> Curves:
        """The curves of the queries at `places`."""
        return Curves(
            self.nominal_scores[:, places], None if self.count is None else self.count[places]
        )

    def calibrated_score(self, nominal: np.ndarray) -> np.ndarray:
        """c at nominal scores, of shape `(..., queries)`."""
        return piecewise_linear(np.asarray(nominal), self.nominal_scores, CALIBRATED_SCORES[:, None])

    def nominal_score(self, calibrated: np.ndarray | float) -> np.ndarray:
        """The inverse of c at calibrated scores, of shape `(..., queries)`."""
        knots = np.broadcast_to(CALIBRATED_SCORES[:, None], self.nominal_scores.shape)
        shape = np.broadcast_shapes(np.shape(calibrated), self.nominal_scores.shape[1:])
        return piecewise_linear(np.broadcast_to(calibrated, shape), knots, self.nominal_scores)

    def log_slope(self, score: np.ndarray) -> np.ndarray:
        """The logarithm of the derivative of c at nominal scores of shape `(queries,)`."""
        piece = _piece(score, self.nominal_scores)
        rise, run = (
            np.diff(CALIBRATED_SCORES)[piece],
            _take(np.diff(self.nominal_scores, axis=0), piece),
        )
        return np.log(rise / run)


@dataclass(frozen=True)
class ScoreTransform:
    r"""The transform of a query's normal score, by calibration, by what was observed later, or both.

    Where F is the cdf of a forecast and c its calibration curve, values observed elsewhere on the path
    say that the calibrated score $c(\Phi^{-1}(F(x)))$ is $N(\mu, \tau^2)$. So the transformed
    distribution has the cdf $\Phi((c(\Phi^{-1}(F(x))) - \mu) / \tau)$, whatever the likelihood. With
    $\mu = 0$, $\tau = 1$ and c the identity the forecast stays as it was.

    Args:
        shift: $\mu$, shape `(queries,)`.
        spread: $\tau$, at most 1, likewise.
        curves: c; None where nothing is calibrated.
    """

    shift: np.ndarray
    spread: np.ndarray
    curves: Curves | None = None

    @classmethod
    def calibrated(cls, curves: Curves) -> ScoreTransform:
        """The transform by calibration alone."""
        n = curves.nominal_scores.shape[1]
        return cls(np.zeros(n), np.ones(n), curves)

    @property
    def changed(self) -> np.ndarray:
        """Which queries have a distribution other than that of the forecast, shape `(queries,)`."""
        moved = (self.shift != 0) | (self.spread != 1)
        return moved if self.curves is None else moved | self.curves.changed

    def take(self, places: np.ndarray) -> ScoreTransform:
        """The transforms of the queries at `places`."""
        curves = None if self.curves is None else self.curves.take(places)
        return ScoreTransform(self.shift[places], self.spread[places], curves)

    def score(self, before: np.ndarray) -> np.ndarray:
        """The transformed score of a score of the forecast, shape `(..., queries)`."""
        calibrated = before if self.curves is None else self.curves.calibrated_score(before)
        return (calibrated - self.shift) / self.spread

    def cdf(self, before: np.ndarray) -> np.ndarray:
        """The transformed probability of what the forecast gave the probability `before`."""
        return special.ndtr(self.score(special.ndtri(before)))

    def log_prob(
        self, before: np.ndarray, at: np.ndarray, below: np.ndarray, whole: np.ndarray
    ) -> np.ndarray:
        """The transformed log-density, or log-probability of a whole number.

        Args:
            before: that of the forecast, shape `(queries,)`, as are the others.
            at: the forecast probability of at most the value.
            below: the forecast probability of at most the whole number before it.
            whole: which queries have whole numbers for values.
        """
        score = np.clip(special.ndtri(at), -FURTHEST, FURTHEST)
        moved = self.score(score)
        slope = -np.log(self.spread) + (0.0 if self.curves is None else self.curves.log_slope(score))
        density = before + 0.5 * (score**2 - moved**2) + slope
        chance = np.maximum(self.cdf(at) - self.cdf(below), np.finfo(np.float64).tiny)
        return np.where(self.changed, np.where(whole, np.log(chance), density), before)

    def level(self, score: np.ndarray | float) -> np.ndarray:
        """The level of the forecast at which the transformed score is `score`, `(..., queries)`."""
        calibrated = self.shift + self.spread * score
        nominal = calibrated if self.curves is None else self.curves.nominal_score(calibrated)
        return special.ndtr(np.clip(nominal, -FURTHEST, FURTHEST))


def matern(x: np.ndarray) -> np.ndarray:
    """The correlation at distances `x` >= 0, in correlation times.

    Example:
        >>> matern(np.array([0.0, 1.0, 10.0])).round(3).tolist()
        [1.0, 0.524, 0.0]
    """
    far = math.sqrt(5.0) * x
    return (1 + far + far**2 / 3) * np.exp(-far)


def _piece(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Between which knots of its query each x `(..., queries)` lies; the outermost ones reach on."""
    place = (x[..., None, :] >= knots).sum(axis=-2) - 1
    return np.clip(place, 0, len(knots) - 2)


def _take(values: np.ndarray, piece: np.ndarray) -> np.ndarray:
    return values[piece, np.broadcast_to(np.arange(values.shape[1]), piece.shape)]


def piecewise_linear(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Piecewise linear through (knots, values) of each query, both of shape `(knots, queries)`."""
    piece = _piece(x, knots)
    values = np.broadcast_to(values, knots.shape)
    left, right = _take(knots, piece), _take(knots, piece + 1)
    low, high = _take(values, piece), _take(values, piece + 1)
    return low + (high - low) * (x - left) / (right - left)
