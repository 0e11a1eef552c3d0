r"""Quantile likelihood: decoded monotone quantiles, joined so that there is a whole distribution.

At levels $p_0 < \dots < p_{12}$ with normal scores $t_k = \Phi^{-1}(p_k)$ the quantiles are
$v_0 < \dots < v_{12}$, the median and positive slopes $b_k$ being decoded. In between, and beyond the
outermost, the quantile function is linear in the score:

$$Q(p) = v_k + b_k\,(\Phi^{-1}(p) - t_k), \qquad F(x) = \Phi(t_k + (x - v_k) / b_k)$$

Equal slopes are a normal distribution; tails are normal ones. Density, mean and variance are closed
forms. Training lowers the pinball loss over the levels, a quadrature of the CRPS, which asks nothing
of the density between two quantiles.

References:
    Regression Quantiles (Koenker and Bassett, 1978), https://doi.org/10.2307/1913643
    A multi-horizon quantile recurrent forecaster (Wen et al., 2017), https://arxiv.org/abs/1711.11053
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import softplus

from latentode.nn.likelihoods.base import MIN_SCALE, Likelihood, score

__all__ = ["LEVELS", "QuantileLikelihood", "Quantiles"]

LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
SCORES = special.ndtri(np.array(LEVELS))
SEGMENTS = len(LEVELS) - 1
MIDDLE = LEVELS.index(0.5)
# Each level stands for the part of (0, 1) that is nearest to it.
EDGES = np.concatenate([[0.0], (np.array(LEVELS[1:]) + np.array(LEVELS[:-1])) / 2, [1.0]])
BOUNDS = np.concatenate([[-np.inf], SCORES[1:-1], [np.inf]])  # of the segments, in normal scores


class Quantiles(Distribution):
    """The distribution with a quantile function that is piecewise linear in the normal score.

    Args:
        median: shape `(...)`.
        slopes: of each segment, positive, shape `(..., 12)`.

    Example:
        >>> normal = Quantiles(torch.tensor(1.0), torch.full((12,), 2.0))
        >>> normal.mean, normal.variance
        (tensor(1.), tensor(4.0000))
    """

    arg_constraints = {  # type: ignore[assignment,override]  # noqa: RUF012
        "median": constraints.real,
        "slopes": constraints.independent(constraints.positive, 1),
    }

    def __init__(self, median: Tensor, slopes: Tensor, validate_args: bool | None = None) -> None:
        self.median, self.slopes = median, slopes
        super().__init__(median.shape, validate_args=validate_args)

    @property
    def knots(self) -> Tensor:
        """The quantiles at `LEVELS`, shape `(..., 13)`."""
        rise = self.slopes * self.slopes.new_tensor(np.diff(SCORES))
        below = rise[..., :MIDDLE].flip(-1).cumsum(-1).flip(-1)
        above = rise[..., MIDDLE:].cumsum(-1)
        median = self.median[..., None]
        return torch.cat([median - below, median, median + above], dim=-1)

    @property
    def mean(self) -> Tensor:
        zeroth, first, _ = self._moments()
        return (self._intercepts() * zeroth + self.slopes * first).sum(-1)

    @property
    def variance(self) -> Tensor:
        zeroth, first, second = self._moments()
        at = self._intercepts() - self.mean[..., None]
        return (at**2 * zeroth + 2 * at * self.slopes * first + self.slopes**2 * second).sum(-1)

    def score_of(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The normal score of a value, and the slope there."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        value, knots = value.expand(shape)[..., None], self.knots.expand(*shape, -1)
        segment = (value > knots[..., 1:-1]).sum(-1, keepdim=True)
        slope = self.slopes.expand(*shape, -1).gather(-1, segment)
        t = self.slopes.new_tensor(SCORES)[segment]
        return (t + (value - knots.gather(-1, segment)) / slope).squeeze(-1), slope.squeeze(-1)

    def at(self, t: Tensor) -> Tensor:
        """The value at a normal score of any shape that goes with the batch."""
        t = t.expand(torch.broadcast_shapes(t.shape, self.batch_shape))
        segment = (t[..., None] > t.new_tensor(SCORES[1:-1])).sum(-1, keepdim=True)
        knots = self.knots.expand(*t.shape, -1).gather(-1, segment).squeeze(-1)
        slopes = self.slopes.expand(*t.shape, -1).gather(-1, segment).squeeze(-1)
        return knots + slopes * (t - t.new_tensor(SCORES)[segment].squeeze(-1))

    def log_prob(self, value: Tensor) -> Tensor:
        t, slope = self.score_of(value)
        return -0.5 * t**2 - 0.5 * math.log(2 * math.pi) - slope.log()

    def cdf(self, value: Tensor) -> Tensor:
        return torch.special.ndtr(self.score_of(value)[0])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            return self.at(torch.randn(shape, dtype=self.median.dtype, device=self.median.device))

    def pinball(self, value: Tensor) -> Tensor:
        r"""Twice the pinball loss, the mean over (0, 1) by the levels: nearly the CRPS."""
        level, weight = (self.median.new_tensor(x) for x in (np.array(LEVELS), np.diff(EDGES)))
        error = value[..., None] - self.knots
        return 2 * (weight * torch.maximum(level * error, (level - 1) * error)).sum(-1)

    def _intercepts(self) -> Tensor:
        """What each segment's line says at score 0."""
        return self.knots[..., :-1] - self.slopes * self.slopes.new_tensor(SCORES[:-1])

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of the standard normal over each segment: its mass, its first and second moments."""
        mass = np.diff(special.ndtr(BOUNDS))
        density = np.exp(-0.5 * BOUNDS**2) / math.sqrt(2 * math.pi)
        tilted = np.where(np.isinf(BOUNDS), 0.0, BOUNDS) * density
        first, second = -np.diff(density), mass - np.diff(tilted)
        made = self.slopes.new_tensor(np.stack([mass, first, second]))
        return made[0], made[1], made[2]


@score.register
def _(distribution: Quantiles, value: Tensor) -> Tensor:
    return -distribution.pinball(value)


@dataclass(frozen=True)
class QuantileLikelihood(Likelihood):
    """Thirteen quantiles, from 1 % to 99 %, of any shape in between, with normal tails."""

    n_raw = 1 + SEGMENTS
    name = "quantile"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Quantiles:
        slopes = softplus(raw[..., 1:]) + MIN_SCALE
        if spread is not None:
            slopes = slopes * spread[..., None]
        return Quantiles(anchor + raw[..., 0], slopes, validate_args=False)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        return self._at(distribution, special.ndtri(q))

    def at_score(self, distribution: Distribution, t: float | np.ndarray) -> np.ndarray:
        return self._at(distribution, t)

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        at = torch.as_tensor(value, dtype=torch.float64)
        return special.ndtr(_exact(distribution).score_of(at)[0].numpy())

    def _at(self, distribution: Distribution, t: float | np.ndarray) -> np.ndarray:
        return _exact(distribution).at(torch.as_tensor(t, dtype=torch.float64)).numpy()


def _exact(distribution: Distribution) -> Quantiles:
    """The same in float64."""
    own: Quantiles = distribution  # type: ignore[assignment]
    return Quantiles(own.median.double(), own.slopes.double(), validate_args=False)
