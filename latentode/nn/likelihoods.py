"""Likelihoods: raw decoder outputs -> a `torch.distributions` object, one element per query."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal, StudentT
from torch.nn.functional import softplus

__all__ = [
    "LIKELIHOODS",
    "Likelihood",
    "NormalLikelihood",
    "StudentTLikelihood",
    "mixture",
    "with_parameters",
]

MIN_SCALE = 1e-3  # in standard deviations of the training data: no likelihood can diverge


class Likelihood(ABC):
    """How a value scatters about what the decoder says, in scaled units."""

    n_raw: int

    @abstractmethod
    def distribution(self, raw: Tensor, anchor: Tensor, unit: Tensor | float = 1.0) -> Distribution:
        """The distribution of each query's value.

        Args:
            raw: unconstrained numbers, shape `(..., n_raw)`.
            anchor: what the location is counted from, shape `(...)`.
            unit: what location and scale are counted in, positive, shape `(...)`.
        """

    @abstractmethod
    def icdf(self, distribution: Distribution, q: float) -> np.ndarray:
        """The q-quantile of each component."""

    @abstractmethod
    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        """P(x <= value), in numpy: torch has no gradient-free Student-t cdf."""


@dataclass(frozen=True)
class NormalLikelihood(Likelihood):
    """N(loc, scale^2) with both decoded."""

    n_raw: int = 2

    def distribution(self, raw: Tensor, anchor: Tensor, unit: Tensor | float = 1.0) -> Normal:
        scale = unit * softplus(raw[..., 1]) + MIN_SCALE
        return Normal(anchor + unit * raw[..., 0], scale, validate_args=False)

    def icdf(self, distribution: Distribution, q: float) -> np.ndarray:
        assert isinstance(distribution, Normal)
        return distribution.loc.numpy() + distribution.scale.numpy() * special.ndtri(q)

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        assert isinstance(distribution, Normal)
        return special.ndtr((value - distribution.loc.numpy()) / distribution.scale.numpy())


@dataclass(frozen=True)
class StudentTLikelihood(Likelihood):
    """Student-t with location, scale and degrees of freedom (above 2: a variance exists) decoded."""

    n_raw: int = 3
    min_df: float = 2.1

    def distribution(self, raw: Tensor, anchor: Tensor, unit: Tensor | float = 1.0) -> StudentT:
        df = self.min_df + softplus(raw[..., 2])
        scale = unit * softplus(raw[..., 1]) + MIN_SCALE
        return StudentT(df, anchor + unit * raw[..., 0], scale, validate_args=False)

    def icdf(self, distribution: Distribution, q: float) -> np.ndarray:
        assert isinstance(distribution, StudentT)
        standard = special.stdtrit(distribution.df.numpy(), q)
        return distribution.loc.numpy() + distribution.scale.numpy() * standard

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        assert isinstance(distribution, StudentT)
        z = (value - distribution.loc.numpy()) / distribution.scale.numpy()
        return special.stdtr(distribution.df.numpy(), z)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": NormalLikelihood,
    "student-t": StudentTLikelihood,
}


def gather_variable(raw: Tensor, variable: Tensor, n_raw: int) -> Tensor:
    """Each query's own numbers out of `(..., queries, variables * n_raw)`: `(..., queries, n_raw)`."""
    raw = raw.unflatten(-1, (-1, n_raw))
    index = variable[:, None, None].expand(*raw.shape[:-2], 1, n_raw)
    return torch.gather(raw, -2, index).squeeze(-2)


def with_parameters(distribution: Distribution, change: Callable[[Tensor], Tensor]) -> Distribution:
    """The same kind of distribution with each of its parameters changed."""
    changed = {n: change(getattr(distribution, n)) for n in distribution.arg_constraints}
    kind: Any = type(distribution)
    return kind(**changed, validate_args=False)


def mixture(distribution: Distribution) -> MixtureSameFamily:
    """Equal parts of components of shape `(samples, queries)`: shape `(queries,)`."""
    components = with_parameters(distribution, lambda p: p.transpose(0, 1))
    weights = torch.zeros(components.batch_shape)
    mean = components.mean
    weights = weights.to(device=mean.device, dtype=mean.dtype)
    equal = Categorical(logits=weights, validate_args=False)
    return MixtureSameFamily(equal, components, validate_args=False)
