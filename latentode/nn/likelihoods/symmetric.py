r"""Location-scale families of scaled units: normal, Student-t and Laplace.

$x = a + r_0 + s\,\varepsilon$ with the anchor $a$, $s = \mathrm{softplus}(r_1) + s_{\min}$ and
$\varepsilon$ standard of its family.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special
from torch import Tensor
from torch.distributions import Distribution, Laplace, Normal, StudentT
from torch.nn.functional import softplus

from latentode.nn.likelihoods.base import MIN_SCALE, Likelihood

__all__ = ["LaplaceLikelihood", "NormalLikelihood", "StudentTLikelihood"]


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

    def at_score(self, distribution: Distribution, t: float) -> np.ndarray:
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

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> StudentT:
        df = self.min_df + softplus(raw[..., 2])
        return StudentT(df, anchor + raw[..., 0], scale_of(raw, spread), validate_args=False)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return loc + scale * special.stdtrit(_df(distribution), q)

    def at_score(self, distribution: Distribution, t: float) -> np.ndarray:
        loc, scale = _parameters(distribution)
        lower = special.stdtrit(_df(distribution), special.ndtr(-abs(t)))  # 1 - tiny would be 1
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

    def distribution(
        self, raw: Tensor, anchor: Tensor, variable: Tensor | None = None, spread: Tensor | None = None
    ) -> Laplace:
        return Laplace(anchor + raw[..., 0], scale_of(raw, spread), validate_args=False)

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return loc + scale * np.sign(0.5 - q) * np.log(2 * np.minimum(q, 1 - np.asarray(q)))

    def at_score(self, distribution: Distribution, t: float) -> np.ndarray:
        loc, scale = _parameters(distribution)
        return loc - scale * np.sign(t) * (np.log(2) + special.log_ndtr(-abs(t)))

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
