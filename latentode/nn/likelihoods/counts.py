r"""Families of whole numbers: Bernoulli (0 or 1), Poisson and negative binomial (counts).

$$x \sim \mathrm{Poisson}(m),\quad \log m = \log(a + \tfrac12) + c\,r_0, \qquad
\mathrm{Var}_{NB}\, x = m + \alpha m^2,\ \alpha = \alpha_0\,\mathrm{softplus}(r_1) / \log 2$$

with the anchor $a$ (the last count, to which half an event is added, since none so far is not never)
and $c$ as for the log-normal family. $\alpha_0$ is what mean and variance of training ask for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Gamma, constraints
from torch.distributions import Poisson as TorchPoisson

from latentode.nn.likelihoods.base import (
    DataUnits,
    log_gamma_ratio,
    log_spread,
    smoothly_positive,
    unit_softplus,
)

__all__ = [
    "BernoulliLikelihood",
    "Counts",
    "NegativeBinomialLikelihood",
    "Poisson",
    "PoissonLikelihood",
]

HALF = 0.5
STIRLING_FROM = 16.0  # counts from which the series of the factorial has all digits of float64
LEVELS = (1e-300, 1 - 2.0**-53)  # the least and the greatest that have a normal score
MAX_LOG_STEP = 15.0
SURE = 0.01  # probability that is left to what a forecast says will not be
NEAR_NOTHING = 0.02  # of the mean of training: at what size an expected count is bent
UNSURE = 0.1  # probability that is left, untrained, to what was not seen last
MAX_LOGIT = 15.0
NO_MORE = 1e-12  # the least dispersion, next to none
SKEWED_BELOW = 9.0  # successes: skewness 2 / 3 and more
UNSURE_RATE = 4.0  # times Poisson's variance, up to which more than that may be chance
DISPERSIONS = (1e-4, 1e3)  # below, a count of that size is Poisson; above, nearly always 0


@dataclass(frozen=True)
class BernoulliLikelihood(DataUnits):
    """0 or 1, the probability of 1 decoded; the mean of a forecast is that probability."""

    n_raw = 1
    name = "bernoulli"
    discrete = True
    wants = "0 or 1"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Bernoulli:
        logits = torch.logit(anchor.clamp(UNSURE, 1 - UNSURE)) + raw[..., 0]
        return Bernoulli(logits=logits.clamp(-MAX_LOGIT, MAX_LOGIT), validate_args=False)

    def about(
        self, raw: Tensor, mean: Tensor, deviation: Tensor, variable: Tensor | None = None
    ) -> Bernoulli:
        logits = torch.logit(mean.clamp(SURE, 1 - SURE)) + raw[..., 0]
        return Bernoulli(logits=logits.clamp(-MAX_LOGIT, MAX_LOGIT), validate_args=False)

    def outside(self, value: np.ndarray) -> np.ndarray:
        return (value != 0) & (value != 1)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        return np.where(q <= special.expit(-_logits(distribution)), 0.0, 1.0)

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        zero = special.expit(-_logits(distribution))
        return np.where(value < 0, 0.0, np.where(value < 1, zero, 1.0))


class Poisson(TorchPoisson):
    r"""torch's, with log-probabilities that do not cancel where counts are large.

    From a count of 16 on, with Stirling's series of the factorial and $e = (m - x) / x$,
    $\log P(x) = x (\log(1 + e) - e) - \tfrac12 \log(2 \pi x) - \tfrac1{12 x} + \dots$

    References:
        Fast and accurate computation of binomial probabilities (Loader, 2000).
    """

    def log_prob(self, value: Tensor) -> Tensor:
        rate, value = self.rate.double(), value.double()
        small = value < STIRLING_FROM
        x = value.clamp(min=STIRLING_FROM)
        e = (rate - x) / x
        series = (1 / 12 - (1 / 360 - 1 / (1260 * x**2)) / x**2) / x
        large = x * (torch.log1p(e) - e) - 0.5 * torch.log(2 * math.pi * x) - series
        y = value.clamp(max=STIRLING_FROM)
        found = torch.where(small, torch.xlogy(y, rate) - rate - torch.lgamma(y + 1), large)
        return found.to(self.rate.dtype)


@dataclass(frozen=True)
class PoissonLikelihood(DataUnits):
    """Counts that come independently of each other, their rate decoded."""

    n_raw = 1
    name = "poisson"
    discrete = counting = True
    wants = "whole numbers from 0 on"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Poisson:
        return Poisson(_rate(self, raw, anchor, variable), validate_args=False)

    def about(
        self, raw: Tensor, mean: Tensor, deviation: Tensor, variable: Tensor | None = None
    ) -> Counts:
        """Poisson's; wider where a rate is known so badly that this is most of what is not known.

        A structural deviation far above that of counts is of a level that few or no values say.
        """
        rate = _rate_about(self, torch.zeros_like(raw), mean, variable)
        unknown = (deviation / rate).square() - UNSURE_RATE / rate
        return Counts(
            _rate_about(self, raw, mean, variable), unknown.clamp(NO_MORE, 10.0), validate_args=False
        )

    def outside(self, value: np.ndarray) -> np.ndarray:
        return _not_a_count(value)

    def view(self, value: Tensor, variable: Tensor) -> Tensor:
        return _log_view(self, value, variable)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        rate, t = _rates(distribution), special.ndtri(np.clip(q, *LEVELS))
        near = rate + t * np.sqrt(rate) + (t**2 - 1) / 6  # Cornish and Fisher's first two terms
        found = least_count(lambda count: special.pdtr(count, rate), np.asarray(q), near)
        return _where_wider(distribution, found, q, BURSTS.icdf)

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        count = np.floor(np.maximum(value, 0.0))
        found = np.where(value < 0, 0.0, special.pdtr(count, _rates(distribution)))
        return _where_wider(distribution, found, value, BURSTS.cdf)


def least_count(cdf: Callable[[np.ndarray], np.ndarray], q: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The least whole number from 0 on at which a distribution function reaches a level.

    Args:
        cdf: of whole numbers.
        q: the levels.
        near: about where the numbers are sought.
    """
    possible = np.where(q < 1, q, 0.5)
    low = np.floor(np.maximum(np.where(q < 1, near, 0.0), 0.0)) - 1.0
    high, width = low + 2.0, np.full_like(low, 2.0)
    while (short := cdf(np.maximum(high, 0.0)) < possible).any():
        low, high = np.where(short, high, low), np.where(short, high + width, high)
        width = np.where(short, 2 * width, width)
    width[...] = 2.0
    while (beyond := (low >= 0) & (cdf(np.maximum(low, 0.0)) >= possible)).any():
        low, high = np.where(beyond, np.maximum(low - width, -1.0), low), np.where(beyond, low, high)
        width = np.where(beyond, 2 * width, width)
    while (apart := high - low > 1).any():
        middle = np.floor((low + high) / 2)
        reached = cdf(middle) >= possible
        low, high = np.where(apart & ~reached, middle, low), np.where(apart & reached, middle, high)
    return np.where(q < 1, high, np.inf)


class Counts(Distribution):
    """The negative binomial distribution by its mean and how far its variance exceeds a Poisson's.

    Args:
        rate: the mean m.
        dispersion: $\\alpha$ in the variance $m + \\alpha m^2$.
    """

    arg_constraints = {  # type: ignore[assignment,override]  # noqa: RUF012
        "rate": constraints.positive,
        "dispersion": constraints.positive,
    }

    def __init__(self, rate: Tensor, dispersion: Tensor, validate_args: bool | None = None) -> None:
        self.rate, self.dispersion = rate, dispersion
        super().__init__(rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def wider(self) -> Tensor:
        """Where it is wider than Poisson's, which it is elsewhere."""
        return self.dispersion > 2 * NO_MORE

    @property
    def variance(self) -> Tensor:
        return self.rate + torch.where(self.wider, self.dispersion * self.rate**2, 0.0)

    def log_prob(self, value: Tensor) -> Tensor:
        x, rate, alpha = value.double(), self.rate.double(), self.dispersion.double()
        n, mean = 1 / alpha, alpha * rate
        arrangements = log_gamma_ratio(x + 1, n - 1) - torch.lgamma(n)
        found = arrangements - n * torch.log1p(mean) - x * torch.log1p(1 / mean)
        plain = Poisson(rate, validate_args=False).log_prob(x)
        return torch.where(self.wider, found, plain).to(self.rate.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        n, rate = 1 / self.dispersion.double(), self.rate.double()
        rates = Gamma(n, n / rate, validate_args=False).sample(torch.Size(sample_shape))
        return torch.poisson(torch.where(self.wider, rates, rate)).to(self.rate.dtype)


@dataclass(frozen=True)
class NegativeBinomialLikelihood(DataUnits):
    """Counts that come in bursts: mean and dispersion decoded."""

    n_raw = 2
    name = "negative-binomial"
    discrete = counting = True
    wants = "whole numbers from 0 on"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Counts:
        loc, scale = self.units(raw, variable)
        usual = ((scale**2 - loc) / (loc + HALF) ** 2).clamp(0.05, 10.0)
        dispersion = usual * unit_softplus(raw[..., 1])
        if spread is not None:
            dispersion = dispersion * spread**2
        return Counts(
            _rate(self, raw, anchor, variable), dispersion.clamp(*DISPERSIONS), validate_args=False
        )

    def about(
        self, raw: Tensor, mean: Tensor, deviation: Tensor, variable: Tensor | None = None
    ) -> Counts:
        rate = _rate_about(self, torch.zeros_like(raw), mean, variable)
        usual = ((deviation / rate).square() - 1 / rate).clamp(DISPERSIONS[0], 10.0)
        dispersion = (usual * unit_softplus(raw[..., 1])).clamp(*DISPERSIONS)
        return Counts(_rate_about(self, raw, mean, variable), dispersion, validate_args=False)

    def outside(self, value: np.ndarray) -> np.ndarray:
        return _not_a_count(value)

    def view(self, value: Tensor, variable: Tensor) -> Tensor:
        return _log_view(self, value, variable)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        n, p = _trials(distribution)
        odds, level = (1 - p) / p, np.clip(q, *LEVELS)
        t, variance = special.ndtri(level), n * odds * (1 + odds)
        near = n * odds + t * np.sqrt(variance) + (t**2 - 1) / 6 * (1 + 2 * odds)
        few = n < SKEWED_BELOW  # of whose rates, a gamma distribution's, a quantile is nearer
        near = np.where(few, special.gammaincinv(np.where(few, n, 1.0), level) * odds, near)
        return least_count(lambda count: special.betainc(n, count + 1, p), np.asarray(q), near)

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        n, p = _trials(distribution)
        count = np.floor(np.maximum(value, 0.0))
        return np.where(value < 0, 0.0, special.betainc(n, count + 1, p))


def _rate(family: DataUnits, raw: Tensor, anchor: Tensor, variable: Tensor | None) -> Tensor:
    loc, scale = family.units(raw, variable)
    step = log_spread(loc + HALF, scale) * raw[..., 0]
    return (anchor.clamp(min=0) + HALF) * step.clamp(-MAX_LOG_STEP, MAX_LOG_STEP).exp()


def _rate_about(family: DataUnits, raw: Tensor, mean: Tensor, variable: Tensor | None) -> Tensor:
    """An expected count, bent to stay positive, times e to the first raw number."""
    loc, scale = family.units(raw, variable)
    step = log_spread(loc + HALF, scale) * raw[..., 0]
    size = NEAR_NOTHING * torch.where(loc > 0, loc, scale)
    return smoothly_positive(mean, size) * step.clamp(-MAX_LOG_STEP, MAX_LOG_STEP).exp()


def _log_view(family: DataUnits, value: Tensor, variable: Tensor) -> Tensor:
    """The logarithm of one more, near the mean of training like the scaled value itself."""
    loc, scale = family.units(value, variable)
    count = (loc + scale * value).clamp(min=0)
    return (1 + loc) / scale * (torch.log1p(count) - torch.log1p(loc))


def _not_a_count(value: np.ndarray) -> np.ndarray:
    return (value < 0) | (value != np.floor(value))


def _logits(distribution: Distribution) -> np.ndarray:
    return distribution.logits.double().numpy()  # type: ignore[attr-defined]


BURSTS = NegativeBinomialLikelihood()


def _where_wider(
    distribution: Distribution,
    found: np.ndarray,
    given: float | np.ndarray,
    wider: Callable[[Distribution, np.ndarray], np.ndarray],
) -> np.ndarray:
    """What was found of Poisson's distributions, and of those that are wider what they say."""
    if not isinstance(distribution, Counts) or not distribution.wider.any():
        return found
    shape, (rate, dispersion) = np.shape(found), (distribution.rate, distribution.dispersion)
    place = np.broadcast_to(distribution.wider.numpy(), shape)
    chosen = torch.from_numpy(place.copy())
    some = Counts(rate.expand(shape)[chosen], dispersion.expand(shape)[chosen], validate_args=False)
    made = np.array(found)
    made[place] = wider(some, np.broadcast_to(given, shape)[place])
    return made


def _rates(distribution: Distribution) -> np.ndarray:
    return distribution.rate.double().numpy()  # type: ignore[attr-defined]


def _trials(distribution: Distribution) -> tuple[np.ndarray, np.ndarray]:
    """scipy's parameters: number of successes and their probability."""
    own: Counts = distribution  # type: ignore[assignment]
    rate, alpha = own.rate.double().numpy(), own.dispersion.double().numpy()
    return 1 / alpha, 1 / (1 + alpha * rate)
