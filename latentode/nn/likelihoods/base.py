r"""Likelihood: the interface of all families, and operations on their distributions.

$$p(x_{t, v} \mid z(t)) = p(x;\, \theta), \qquad \theta = \theta(\text{raw}, \text{anchor})$$

The model works in scaled units (standard deviations of the training data about their mean). The values
of a family are scaled ones themselves (normal, Student-t, Laplace, quantiles) or those of the table
(`DataUnits`: counts, shares, positive numbers), of which `per_variable` makes distributions over scaled
values again. Nothing depends on the unit of the table: multiplying a variable by a constant multiplies
its forecast.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

__all__ = [
    "MIN_SCALE",
    "DataUnits",
    "EqualMixture",
    "Likelihood",
    "change_parameters",
    "gather_variable",
    "join",
    "log_gamma_ratio",
    "log_spread",
    "mixture",
    "pick",
    "score",
    "smoothly_positive",
    "take",
    "unit_softplus",
    "with_fixed_location",
    "with_parameters",
]

MIN_SCALE = 1e-3  # in standard deviations of the training data: no likelihood can diverge
STIRLING_FROM = 1e3  # from where two terms of the series have all digits of float64
LOCATIONS = ("loc", "median", "rate", "logits", "share")  # what a point loss moves, by its name
ALTERNATIVES = {"probs": "logits"}  # torch lists both, and takes either


class Likelihood(ABC):
    """The family of a value's distribution given the decoder's raw numbers.

    Attributes:
        name: by which `LIKELIHOODS` lists it.
        n_raw: unconstrained numbers that it takes per query.
        of_data_units: whether its values are those of the table rather than scaled ones.
        width: the scale at which its 80 % interval is that of a standard normal value.
        discrete: whether its values are whole numbers.
        counting: whether they are counts, of any size.
        heavy_tailed: whether the exponential of a value has no mean.
        wants: the support in words, such as "positive values"; empty if any value is possible.
    """

    name: ClassVar[str] = ""
    n_raw: int
    of_data_units: ClassVar[bool] = False
    width: ClassVar[float] = 1.0
    discrete: ClassVar[bool] = False
    counting: ClassVar[bool] = False
    heavy_tailed: ClassVar[bool] = False
    wants: ClassVar[str] = ""

    @abstractmethod
    def distribution(
        self,
        raw: Tensor,
        anchor: Tensor,
        variable: Tensor | None = None,
        spread: Tensor | None = None,
    ) -> Distribution:
        """The distribution of each query's value.

        Args:
            raw: unconstrained numbers, shape `(..., n_raw)`.
            anchor: the value that the location is counted from, shape `(...)`, in the family's units.
            variable: of each query, shape `(queries,)`, the last of `...`; ignored by families of
                scaled values.
            spread: what the scale is multiplied by, shape `(...)`; None for 1.
        """

    def about(
        self, raw: Tensor, mean: Tensor, deviation: Tensor, variable: Tensor | None = None
    ) -> Distribution:
        """The distribution of each query's value about a forecast, which raw numbers correct.

        Where they are 0, mean and 80 % interval are those of the forecast, as far as the family can.

        Args:
            raw: unconstrained numbers, shape `(..., n_raw)`.
            mean, deviation: of the forecast, shape `(...)`, in the family's units.
            variable: as for `distribution`.
        """
        told = torch.cat([raw[..., :1] * deviation[..., None], raw[..., 1:]], dim=-1)
        spread = deviation * (self.width / math.log(2))  # softplus makes log 2 of nothing
        return self.distribution(told, mean, variable, spread)

    @abstractmethod
    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        """The q-quantile of each component; one level for all, or levels of the components' shape."""

    @abstractmethod
    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        """P(x <= value), in numpy: torch has no gradient-free Student-t cdf."""

    def at_score(self, distribution: Distribution, t: float | np.ndarray) -> np.ndarray:
        r"""The quantile at level $\Phi(t)$, t as levels are; families of scaled units lose nothing."""
        level = torch.special.ndtr(torch.as_tensor(t, dtype=torch.float64)).numpy()
        return self.icdf(distribution, level if level.ndim else float(level))

    def outside(self, value: np.ndarray) -> np.ndarray:
        """Which values, in data units, lie outside its support."""
        return np.zeros(len(value), dtype=bool)

    @classmethod
    def of_units(cls, loc: tuple[float, ...], scale: tuple[float, ...]) -> Likelihood:
        """The family for variables with these units; families of scaled values need none.

        Args:
            loc: mean of each variable over its training observations.
            scale: standard deviation likewise.
        """
        return cls()

    def impossible(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        """Which values `(queries,)`, in the likelihood's own units, it gives no probability."""
        return self.outside(value)

    def view(self, value: Tensor, variable: Tensor) -> Tensor:
        """Scaled values as the encoder reads them."""
        return value

    def whole(self, distribution: Distribution) -> np.ndarray:
        """Which queries have whole numbers for values, shape `(queries,)`."""
        return np.full(distribution.batch_shape[-1], self.discrete)

    def of_every(self) -> Likelihood:
        """One that says the same of every query whatever is asked, as a graph has to."""
        return self

    def own_parts(self, distribution: Distribution, variable: Tensor) -> Distribution:
        """Of what one `of_every` query says, what holds of these variables, shape `(queries,)`."""
        return distribution

    def families(self, n_variables: int) -> tuple[Likelihood, ...]:
        """The likelihood of each variable."""
        return (self,) * n_variables

    def in_data_units(
        self, distribution: Distribution, loc: np.ndarray, scale: np.ndarray
    ) -> tuple[Distribution, np.ndarray, np.ndarray]:
        """The same with each query in its likelihood's own units, and what those are in the table.

        Args:
            distribution: in scaled units, shape `(samples, queries)`.
            loc: what scaled 0 is in data units, shape `(queries,)`.
            scale: what one scaled unit is in data units, likewise.

        Returns:
            The distribution, `loc` and `scale`; the latter 0 and 1 where it is in data units.
        """
        return distribution, loc, scale


@dataclass(frozen=True)
class DataUnits(Likelihood, ABC):
    """A family whose values are those of the table, and which knows what scaled units are in it.

    Nothing that it does depends on the unit of the table: sizes are compared with `loc` and `scale`.

    Args:
        loc: mean of each variable over its training observations.
        scale: standard deviation likewise.
    """

    loc: tuple[float, ...] = (1.0,)
    scale: tuple[float, ...] = (1.0,)
    of_data_units = True

    @classmethod
    def of_units(cls, loc: tuple[float, ...], scale: tuple[float, ...]) -> DataUnits:
        return cls(loc=loc, scale=scale)

    def units(self, like: Tensor, variable: Tensor | None) -> tuple[Tensor, Tensor]:
        """`loc` and `scale` of each query; of the first variable where none is given."""
        loc, scale = like.new_tensor(self.loc), like.new_tensor(self.scale)
        return (loc[0], scale[0]) if variable is None else (loc[variable], scale[variable])


def smoothly_positive(value: Tensor, size: Tensor) -> Tensor:
    """Near a value that is well above 0, positive where it is not, compared with a positive size."""
    reach = torch.hypot(value, size)  # which no size can overflow
    mirrored = size * (size / (value.abs() + reach)) / 2  # of a negative value, without cancelling
    return torch.where(value < 0, mirrored, value.abs() + mirrored)


def unit_softplus(raw: Tensor) -> Tensor:
    """Positive, and 1 where the raw number is 0."""
    return softplus(raw) / math.log(2)


def log_spread(size: Tensor, scale: Tensor) -> Tensor:
    """The standard deviation of the logarithm of a log-normal value of this mean and deviation."""
    return torch.log1p((scale / size) ** 2).sqrt()


def log_gamma_ratio(b: Tensor, a: Tensor) -> Tensor:
    r"""$\log \Gamma(b + a) - \log \Gamma(b)$; of a large b, where it cancels, by Stirling's formula.

    Args:
        b: positive.
        a: above -b.
    """
    large, y, x = b > STIRLING_FROM, b.clamp(min=STIRLING_FROM), b.clamp(max=STIRLING_FROM)
    correction = (1 / (y + a) - 1 / y) / 12
    series = (y - 0.5) * torch.log1p(a / y) + a * torch.log(y + a) - a + correction
    return torch.where(large, series, torch.lgamma(x + a) - torch.lgamma(x))


def parameter_names(distribution: Distribution) -> list[str]:
    """Its parameters, each once."""
    names = list(distribution.arg_constraints)
    return [n for n in names if ALTERNATIVES.get(n) not in names]


@singledispatch
def change_parameters(
    distribution: Distribution, change: Callable[[str, Tensor], Tensor]
) -> Distribution:
    """The same kind of distribution, each parameter being what `change` makes of its name and it."""
    changed = {n: change(n, getattr(distribution, n)) for n in parameter_names(distribution)}
    kind: Any = type(distribution)
    return kind(**changed, validate_args=False)


@singledispatch
def take(distribution: Distribution, places: Tensor) -> Distribution:
    """Some of the queries of a distribution of shape `(samples, queries)`."""
    return with_parameters(distribution, lambda p: p[:, places])


@singledispatch
def pick(distribution: Distribution, samples: Tensor) -> Distribution:
    """Of each query one component after another: those of `samples`, indices `(n, queries)`."""

    def gather(p: Tensor) -> Tensor:
        index = samples.view(*samples.shape, *(1,) * (p.dim() - 2))
        return p.gather(0, index.expand(*samples.shape, *p.shape[2:]))

    return with_parameters(distribution, gather)


@singledispatch
def score(distribution: Distribution, value: Tensor) -> Tensor:
    """What training by likelihood maximises: the log-density, unless a family has a better score."""
    return distribution.log_prob(value)


def with_parameters(distribution: Distribution, change: Callable[[Tensor], Tensor]) -> Distribution:
    """The same kind of distribution with each of its parameters changed."""
    return change_parameters(distribution, lambda name, p: change(p))


def parameters_of(distribution: Distribution) -> tuple[Tensor, ...]:
    """The parameters of a distribution, in the order in which `with_parameters` changes them."""
    found: list[Tensor] = []

    def keep(parameter: Tensor) -> Tensor:
        found.append(parameter)
        return parameter

    with_parameters(distribution, keep)
    return tuple(found)


def with_fixed_location(distribution: Distribution) -> Distribution:
    """The same, its location cut off from gradients."""
    return change_parameters(distribution, lambda name, p: p.detach() if name in LOCATIONS else p)


def join(parts: Sequence[Distribution]) -> Distribution:
    """The queries of several distributions of one kind, one after another."""
    return joined(parts[0], parts)


@singledispatch
def joined(first: Distribution, parts: Sequence[Distribution]) -> Distribution:
    """`join`, by the kind of the first."""
    names = parameter_names(first)
    together = {n: torch.cat([getattr(p, n) for p in parts], dim=1) for n in names}
    kind: Any = type(first)
    return kind(**together, validate_args=False)


class EqualMixture(Distribution):
    """Equal parts of components of shape `(samples, queries)`: shape `(queries,)`."""

    arg_constraints = {}  # type: ignore[assignment,override]  # noqa: RUF012

    def __init__(self, components: Distribution) -> None:
        self.components = components
        super().__init__(components.batch_shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.components.mean.mean(dim=0)

    @property
    def variance(self) -> Tensor:
        means = self.components.mean
        between = (means - means.mean(dim=0)).square()
        return (self.components.variance + between).mean(dim=0)

    def log_prob(self, value: Tensor) -> Tensor:
        each = self.components.log_prob(value)
        return each.logsumexp(dim=0) - float(np.log(len(each)))


def mixture(distribution: Distribution) -> EqualMixture:
    """Equal parts of components of shape `(samples, queries)`: shape `(queries,)`."""
    return EqualMixture(distribution)


def gather_variable(raw: Tensor, variable: Tensor, n_raw: int) -> Tensor:
    """Each query's own numbers out of `(..., queries, variables * n_raw)`: `(..., queries, n_raw)`."""
    raw = raw.unflatten(-1, (-1, n_raw))
    index = variable[:, None, None].expand(*raw.shape[:-2], 1, n_raw)
    return torch.gather(raw, -2, index).squeeze(-2)
