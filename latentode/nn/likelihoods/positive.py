r"""Families of data units with a continuous value: log-normal (positive) and beta (between 0 and 1).

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
from torch.distributions import Beta, Distribution, LogNormal, constraints

from latentode.nn.likelihoods.data_units import DataUnits, unit_softplus
from latentode.nn.likelihoods.symmetric import scale_of

__all__ = ["BetaLikelihood", "LogNormalLikelihood", "Share"]

MAX_LOG_STEP = 20.0  # e^20 times the last value: beyond any forecast, within any float
MAX_LOG_SCALE = 4.0  # above, the mean of a log-normal distribution says nothing any more
NEAR_EDGE = 1e-3  # how near 0 or 1 a share may be counted from
MIN_CONCENTRATION, MAX_CONCENTRATION = 0.5, 1e4


@dataclass(frozen=True)
class LogNormalLikelihood(DataUnits):
    """The logarithm is normal; median and scale decoded."""

    n_raw: int = 2
    name = "log-normal"
    heavy_tailed = True
    wants = "positive values"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> LogNormal:
        c = self.relative(raw, variable)
        step = (c * raw[..., 0]).clamp(-MAX_LOG_STEP, MAX_LOG_STEP)
        loc = self.floored(anchor, variable).log() + step
        return LogNormal(loc, (c * scale_of(raw, spread)).clamp(max=MAX_LOG_SCALE), validate_args=False)

    def outside(self, value: np.ndarray) -> np.ndarray:
        return value <= 0

    def view(self, value: Tensor, variable: Tensor) -> Tensor:
        """The logarithm, near the mean of training like the scaled value itself."""
        loc, scale = self.units(value, variable)
        seen = self.floored(loc + scale * value, variable)
        return loc / scale * torch.log(seen / self.floored(loc, variable))

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        base: LogNormal = distribution  # type: ignore[assignment]
        return np.exp(base.loc.numpy() + base.scale.numpy() * special.ndtri(q))

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        base: LogNormal = distribution  # type: ignore[assignment]
        log = np.log(np.maximum(value, np.finfo(np.float64).tiny))
        found = special.ndtr((log - base.loc.numpy()) / base.scale.numpy())
        return np.where(value > 0, found, 0.0)


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
        base = Beta(*self.counts(), validate_args=False)
        return base.log_prob(value.double()).to(self.share.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        base = Beta(*self.counts(), validate_args=False)
        return base.sample(torch.Size(sample_shape)).to(self.share.dtype)


@dataclass(frozen=True)
class BetaLikelihood(DataUnits):
    """Shares strictly between 0 and 1; mean and concentration decoded."""

    n_raw: int = 2
    name = "beta"
    wants = "values above 0 and below 1"

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Share:
        loc, scale = self.units(raw, variable)
        loc = loc.clamp(NEAR_EDGE, 1 - NEAR_EDGE)
        usual = (loc * (1 - loc) / scale**2 - 1).clamp(1.0, MAX_CONCENTRATION)
        narrow = unit_softplus(-raw[..., 1])  # the second number widens, as with every family
        if spread is not None:
            narrow = narrow / spread**2
        logit = torch.logit(anchor.clamp(NEAR_EDGE, 1 - NEAR_EDGE))
        share = torch.sigmoid(logit + raw[..., 0]).clamp(0.1 * NEAR_EDGE, 1 - 0.1 * NEAR_EDGE)
        return Share(
            share, (usual * narrow).clamp(MIN_CONCENTRATION, MAX_CONCENTRATION), validate_args=False
        )

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
