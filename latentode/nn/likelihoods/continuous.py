r"""Location-scale families of scaled units: normal, Student-t and Laplace.

$x = a + r_0 + s\,\varepsilon$ with the anchor $a$, $s = \mathrm{softplus}(r_1) + s_{\min}$ and
$\varepsilon$ standard of its family.

Families of data units with a continuous value: log-normal (positive) and beta (between 0 and 1).

What is decoded is counted from the last value on the scale on which the family is free:

$$\log x \sim N(\log a + c\,r_0,\ (c\,s)^2), \qquad
x \sim \mathrm{Beta}(m k, (1 - m) k),\quad \mathrm{logit}\,m = \mathrm{logit}\,a + r_0$$

with $c$ the standard deviation of the logarithm that a log-normal distribution of the training data's
mean and standard deviation has, so that the network decodes numbers near one whatever the units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.distributions import Beta, Distribution, Laplace, LogNormal, Normal, StudentT, constraints
from torch.nn.functional import softplus

from latentode.nn.likelihoods.base import (
    MIN_SCALE,
    DataUnits,
    Likelihood,
    log_gamma_ratio,
    log_spread,
    smoothly_positive,
    unit_softplus,
)

__all__ = [
    "BetaLikelihood",
    "LaplaceLikelihood",
    "LogNormalLikelihood",
    "NormalLikelihood",
    "Share",
    "StudentTLikelihood",
]


@dataclass(frozen=True)
class NormalLikelihood(Likelihood):
    """N(loc, scale^2) with both decoded."""

    n_raw = 2
    name = "normal"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Normal:
        return Normal(anchor + raw[..., 0], scale_of(raw, spread), validate_args=False)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return loc + scale * special.ndtri(q)

    def at_score(self, distribution: Distribution, t: float | np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return loc + scale * t

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return special.ndtr((value - loc) / scale)


@dataclass(frozen=True)
class StudentTLikelihood(Likelihood):
    """Student-t with location, scale and degrees of freedom (above 2: a variance exists) decoded."""

    n_raw = 3
    name = "student-t"
    min_df: float = 2.1
    heavy_tailed = True
    width = 0.77  # of 2.1 + log 2 degrees of freedom

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> StudentT:
        df = self.min_df + softplus(raw[..., 2])
        return StudentT(df, anchor + raw[..., 0], scale_of(raw, spread), validate_args=False)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return loc + scale * special.stdtrit(_df(distribution), q)

    def at_score(self, distribution: Distribution, t: float | np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        lower = special.stdtrit(_df(distribution), special.ndtr(-np.abs(t)))  # 1 - tiny would be 1
        return loc - scale * np.sign(t) * lower

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return special.stdtr(_df(distribution), (value - loc) / scale)


@dataclass(frozen=True)
class LaplaceLikelihood(Likelihood):
    """Laplace(loc, scale) with both decoded: its likelihood weighs errors by their size, not square."""

    n_raw = 2
    name = "laplace"
    heavy_tailed = True
    width = 0.796

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Laplace:
        return Laplace(anchor + raw[..., 0], scale_of(raw, spread), validate_args=False)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return loc + scale * np.sign(0.5 - q) * np.log(2 * np.minimum(q, 1 - np.asarray(q)))

    def at_score(self, distribution: Distribution, t: float | np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return loc - scale * np.sign(t) * (np.log(2) + special.log_ndtr(-np.abs(t)))

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        z = (value - loc) / scale
        tail = 0.5 * np.exp(-np.abs(z))
        return np.where(z < 0, tail, 1 - tail)


def scale_of(raw: Tensor, spread: Tensor | None) -> Tensor:
    """The positive scale that the second raw number says, widened."""
    scale = softplus(raw[..., 1]) + MIN_SCALE
    return scale if spread is None else scale * spread


def _parameters(distribution: Distribution) -> tuple[np.ndarray, np.ndarray]:
    own: Normal = distribution  # type: ignore[assignment]
    return own.loc.double().numpy(), own.scale.double().numpy()


def _df(distribution: Distribution) -> np.ndarray:
    return distribution.df.double().numpy()  # type: ignore[attr-defined]


MAX_LOG_STEP = 20.0  # e^20 times the last value: beyond any forecast, within any float
MAX_LOG_SCALE = 4.0  # above, the mean of a log-normal distribution says nothing any more
LEAST_PART = 1e-6  # of the mean of training: what a value that is not positive is taken for
NEAR_EDGE = (
    1e-3  # of the mean share, and of what it lacks to 1: how near 0 or 1 a share is counted from
)
FURTHEST = 0.1  # of `NEAR_EDGE`: how near a forecast may come
NEAR_NOTHING = 0.02  # of the mean of training: at what size a forecast is bent to stay positive
MIN_CONCENTRATION, MAX_CONCENTRATION = 0.5, 1e12  # beyond, gamma functions lose their digits


@dataclass(frozen=True)
class LogNormalLikelihood(DataUnits):
    """The logarithm is normal; median and scale decoded."""

    n_raw = 2
    name = "log-normal"
    heavy_tailed = True
    wants = "positive values"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> LogNormal:
        c = log_spread(*self.sizes(raw, variable))
        step = (c * raw[..., 0]).clamp(-MAX_LOG_STEP, MAX_LOG_STEP)
        loc = self.floored(anchor, variable).log() + step
        return LogNormal(loc, (c * scale_of(raw, spread)).clamp(max=MAX_LOG_SCALE), validate_args=False)

    def about(
        self, raw: Tensor, mean: Tensor, deviation: Tensor, variable: Tensor | None = None
    ) -> LogNormal:
        size, _ = self.sizes(raw, variable)
        # A series that is small beside the others is bent where its own scatter reaches nothing.
        mean = smoothly_positive(mean, torch.minimum(NEAR_NOTHING * size, deviation))
        c = log_spread(mean, deviation)
        step = (c * raw[..., 0]).clamp(-MAX_LOG_STEP, MAX_LOG_STEP)
        scale = (c * unit_softplus(raw[..., 1])).clamp(MIN_SCALE, MAX_LOG_SCALE)
        return LogNormal(mean.log() - c.square() / 2 + step, scale, validate_args=False)

    def outside(self, value: np.ndarray) -> np.ndarray:
        return value <= 0

    def view(self, value: Tensor, variable: Tensor) -> Tensor:
        """The logarithm, near the mean of training like the scaled value itself."""
        loc, scale = self.units(value, variable)
        size, _ = self.sizes(value, variable)
        return size / scale * torch.log(self.floored(loc + scale * value, variable) / size)

    def sizes(self, like: Tensor, variable: Tensor | None) -> tuple[Tensor, Tensor]:
        """What values are compared with, the mean of training, and their standard deviation.

        Where there is no positive mean, because nothing is known of the data, the deviation is both.
        """
        loc, scale = self.units(like, variable)
        return torch.where(loc > 0, loc, scale), scale

    def floored(self, value: Tensor, variable: Tensor | None) -> Tensor:
        """Values of data units, no less than a small part of the mean of training."""
        return torch.maximum(value, LEAST_PART * self.sizes(value, variable)[0])

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        loc, scale = _log_parameters(distribution)
        return np.exp(loc + scale * special.ndtri(q))

    def at_score(self, distribution: Distribution, t: float | np.ndarray) -> np.ndarray:
        loc, scale = _log_parameters(distribution)
        return np.exp(loc + scale * t)

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        loc, scale = _log_parameters(distribution)
        log = np.log(np.where(value > 0, value, 1.0))
        return np.where(value > 0, special.ndtr((log - loc) / scale), 0.0)


class Share(Distribution):
    """The beta distribution by its mean and its concentration, the sum of its two counts.

    Args:
        share: the mean, in (0, 1).
        concentration: positive; the variance is `share (1 - share) / (1 + concentration)`.
    """

    arg_constraints = {  # type: ignore[assignment,override]  # noqa: RUF012
        "share": constraints.unit_interval,
        "concentration": constraints.positive,
    }

    def __init__(self, share: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        self.share, self.concentration = share, concentration
        super().__init__(share.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.share

    @property
    def variance(self) -> Tensor:
        return self.share * (1 - self.share) / (1 + self.concentration)

    def counts(self) -> tuple[Tensor, Tensor]:
        """Its two counts in float64, whose gamma functions do not cancel."""
        share, concentration = self.share.double(), self.concentration.double()
        return share * concentration, (1 - share) * concentration

    def log_prob(self, value: Tensor) -> Tensor:
        (one, other), x = self.counts(), value.double()
        larger, smaller = torch.maximum(one, other), torch.minimum(one, other)
        arrangements = log_gamma_ratio(larger, smaller) - torch.lgamma(smaller)
        found = arrangements + torch.xlogy(one - 1, x) + (other - 1) * torch.log1p(-x)
        return found.to(self.share.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        base = Beta(*self.counts(), validate_args=False)
        return base.sample(torch.Size(sample_shape)).to(self.share.dtype)


@dataclass(frozen=True)
class BetaLikelihood(DataUnits):
    """Shares strictly between 0 and 1; mean and concentration decoded."""

    n_raw = 2
    name = "beta"
    wants = "values above 0 and below 1"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Share:
        _, scale = self.units(raw, variable)
        loc, low, high = self._bounds(raw, variable)
        usual = (loc * (1 - loc) / scale**2 - 1).clamp(1.0, MAX_CONCENTRATION)
        narrow = unit_softplus(-raw[..., 1])  # the second number widens, as with every family
        if spread is not None:
            narrow = narrow / spread**2
        narrow = narrow.clamp(max=1 / MIN_SCALE**2)
        concentration = (usual * narrow).clamp(MIN_CONCENTRATION, MAX_CONCENTRATION)
        share = self._moved(anchor, raw[..., 0], low, high)
        return Share(share, concentration, validate_args=False)

    def _bounds(self, like: Tensor, variable: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The usual share, and how near 0 and 1 one is counted from."""
        loc, _ = self.units(like, variable)
        edge = torch.finfo(like.dtype).eps
        loc = torch.where((loc > 0) & (loc < 1), loc, 0.5)  # nothing is known of the data
        return loc, NEAR_EDGE * loc, 1 - (NEAR_EDGE * (1 - loc)).clamp(min=16 * edge)

    @staticmethod
    def _moved(share: Tensor, step: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """A share between bounds, moved by a step of its logit."""
        logit = torch.logit(torch.minimum(torch.maximum(share, low), high))
        share = torch.sigmoid(logit + step)
        return torch.minimum(torch.maximum(share, FURTHEST * low), 1 - FURTHEST * (1 - high))

    def about(
        self, raw: Tensor, mean: Tensor, deviation: Tensor, variable: Tensor | None = None
    ) -> Share:
        loc, low, high = self._bounds(raw, variable)
        mean = smoothly_positive(mean, NEAR_NOTHING * loc)
        lacking = 1 - mean
        mean = mean - (smoothly_positive(lacking, NEAR_NOTHING * (1 - loc) * mean) - lacking)
        share = self._moved(mean, raw[..., 0], low, high)
        usual = ((mean / deviation) * ((1 - mean) / deviation) - 1).clamp(min=1.0)
        concentration = usual * unit_softplus(-raw[..., 1])
        bounds = MIN_CONCENTRATION, MAX_CONCENTRATION
        return Share(share, concentration.clamp(*bounds), validate_args=False)

    def outside(self, value: np.ndarray) -> np.ndarray:
        return (value <= 0) | (value >= 1)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        return special.betaincinv(*_counts(distribution), q)

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        return special.betainc(*_counts(distribution), np.clip(value, 0.0, 1.0))


def _counts(distribution: Distribution) -> tuple[np.ndarray, np.ndarray]:
    own: Share = distribution  # type: ignore[assignment]
    one, other = own.counts()
    return one.numpy(), other.numpy()


def _log_parameters(distribution: Distribution) -> tuple[np.ndarray, np.ndarray]:
    base: LogNormal = distribution  # type: ignore[assignment]
    return base.loc.double().numpy(), base.scale.double().numpy()
