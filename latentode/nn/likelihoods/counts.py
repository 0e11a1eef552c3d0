r"""Families of whole numbers: Bernoulli (0 or 1), Poisson and negative binomial (counts).

$$x \sim \mathrm{Poisson}(m),\quad \log m = \log(a + \tfrac12) + c\,r_0, \qquad
\mathrm{Var}_{NB}\, x = m + \alpha m^2,\ \alpha = \alpha_0\,\mathrm{softplus}(r_1) / \log 2$$

with the anchor $a$ (the last count, to which half an event is added, since none so far is not never)
and $c$ as for the log-normal family. $\alpha_0$ is what mean and variance of training ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Gamma, constraints
from torch.distributions import Poisson as TorchPoisson

from latentode.nn.likelihoods.data_units import DataUnits, unit_softplus

__all__ = [
    "BernoulliLikelihood",
    "Counts",
    "NegativeBinomialLikelihood",
    "Poisson",
    "PoissonLikelihood",
]

HALF = 0.5
MAX_LOG_STEP = 15.0
UNSURE = 0.1  # probability that is left, untrained, to what was not seen last
MAX_LOGIT = 15.0
DISPERSIONS = (1e-4, 1e3)  # below, a count of that size is Poisson; above, nearly always 0


@dataclass(frozen=True)
class BernoulliLikelihood(DataUnits):
    """0 or 1, the probability of 1 decoded; the mean of a forecast is that probability."""

    n_raw: int = 1
    name = "bernoulli"
    discrete = True
    wants = "0 or 1"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Bernoulli:
        logits = torch.logit(anchor.clamp(UNSURE, 1 - UNSURE)) + raw[..., 0]
        return Bernoulli(logits=logits.clamp(-MAX_LOGIT, MAX_LOGIT), validate_args=False)

    def outside(self, value: np.ndarray) -> np.ndarray:
        return (value != 0) & (value != 1)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        return np.where(q <= special.expit(-_logits(distribution)), 0.0, 1.0)

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        zero = special.expit(-_logits(distribution))
        return np.where(value < 0, 0.0, np.where(value < 1, zero, 1.0))


class Poisson(TorchPoisson):
    """torch's, its log-probabilities in float64 inside: of large counts they cancel."""

    def log_prob(self, value: Tensor) -> Tensor:
        rate = self.rate.double()
        found = torch.xlogy(value.double(), rate) - rate - torch.lgamma(value.double() + 1)
        return found.to(self.rate.dtype)


@dataclass(frozen=True)
class PoissonLikelihood(DataUnits):
    """Counts that come independently of each other, their rate decoded."""

    n_raw: int = 1
    name = "poisson"
    discrete = True
    wants = "whole numbers from 0 on"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Poisson:
        return Poisson(_rate(self, raw, anchor, variable), validate_args=False)

    def outside(self, value: np.ndarray) -> np.ndarray:
        return _not_a_count(value)

    def view(self, value: Tensor, variable: Tensor) -> Tensor:
        return _log_view(self, value, variable)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        return np.asarray(stats.poisson.ppf(q, distribution.rate.numpy()))  # type: ignore[attr-defined]

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        rate = distribution.rate.numpy()  # type: ignore[attr-defined]
        count = np.floor(np.maximum(value, 0.0))
        return np.where(value < 0, 0.0, special.pdtr(count, rate))


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
    def variance(self) -> Tensor:
        return self.rate + self.dispersion * self.rate**2

    def log_prob(self, value: Tensor) -> Tensor:
        x, rate, alpha = value.double(), self.rate.double(), self.dispersion.double()
        n = 1 / alpha
        arrangements = torch.lgamma(x + n) - torch.lgamma(n) - torch.lgamma(x + 1)
        odds = torch.log1p(alpha * rate)
        found = arrangements - n * odds + torch.xlogy(x, alpha * rate) - x * odds
        return found.to(self.rate.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        n = 1 / self.dispersion
        rates = Gamma(n, n / self.rate, validate_args=False).sample(torch.Size(sample_shape))
        return torch.poisson(rates)


@dataclass(frozen=True)
class NegativeBinomialLikelihood(DataUnits):
    """Counts that come in bursts: mean and dispersion decoded."""

    n_raw: int = 2
    name = "negative-binomial"
    discrete = True
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

    def outside(self, value: np.ndarray) -> np.ndarray:
        return _not_a_count(value)

    def view(self, value: Tensor, variable: Tensor) -> Tensor:
        return _log_view(self, value, variable)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        return np.asarray(stats.nbinom.ppf(q, *_trials(distribution)))

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        n, p = _trials(distribution)
        count = np.floor(np.maximum(value, 0.0))
        return np.where(value < 0, 0.0, special.betainc(n, count + 1, p))


def _rate(family: DataUnits, raw: Tensor, anchor: Tensor, variable: Tensor | None) -> Tensor:
    step = family.relative(raw, variable, HALF) * raw[..., 0]
    return (anchor.clamp(min=0) + HALF) * step.clamp(-MAX_LOG_STEP, MAX_LOG_STEP).exp()


def _log_view(family: DataUnits, value: Tensor, variable: Tensor) -> Tensor:
    """The logarithm of one more, near the mean of training like the scaled value itself."""
    loc, scale = family.units(value, variable)
    count = (loc + scale * value).clamp(min=0)
    return (1 + loc) / scale * (torch.log1p(count) - torch.log1p(loc))


def _not_a_count(value: np.ndarray) -> np.ndarray:
    return (value < 0) | (value != np.floor(value))


def _logits(distribution: Distribution) -> np.ndarray:
    return distribution.logits.numpy()  # type: ignore[attr-defined]


def _trials(distribution: Distribution) -> tuple[np.ndarray, np.ndarray]:
    """scipy's parameters: number of successes and their probability."""
    own: Counts = distribution  # type: ignore[assignment]
    rate, alpha = own.rate.numpy(), own.dispersion.numpy()
    return 1 / alpha, 1 / (1 + alpha * rate)
