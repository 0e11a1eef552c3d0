r"""Transforms: increasing maps between a variable's values and what a model takes to be its scale.

With $y = T(x)$, a forecast of $y$ is one of $x$: $F_x(x) = F_y(T(x))$, quantiles and draws are mapped
by $T^{-1}$, and densities take the slope along, $\log p_x(x) = \log p_y(T(x)) + \log T'(x)$.

The powers of Box-Cox and Yeo-Johnson are fitted by scikit-learn to the training observations, and then
kept at 0 or above (Yeo-Johnson: within [0, 2]): of another power some of any normal distribution would
lie beyond infinity. Of a Box-Cox power above 0 what lies below its range, $y < -1/\lambda$, is 0.

References:
    An Analysis of Transformations (Box and Cox, 1964), https://doi.org/10.1111/j.2517-6161.1964.tb00553.x
    A new family of power transformations (Yeo and Johnson, 2000), https://doi.org/10.1093/biomet/87.4.954
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from latentode.errors import SchemaError

__all__ = [
    "BoxCox",
    "Log",
    "Logit",
    "Spec",
    "Transform",
    "YeoJohnson",
    "check_spec",
    "fit_transform",
    "restore",
]

Spec = str | tuple[Any, ...]  # "log", ("logit", 0, 100): as a schema says it
NEVER = -np.inf


class Transform(ABC):
    """An increasing, smooth map of one variable's values.

    Attributes:
        name: as a schema says it.
        wants: what values it is defined for, in words.
        instead: what to do about another value.
    """

    name: ClassVar[str]
    wants: ClassVar[str]
    instead: ClassVar[str]

    @abstractmethod
    def forward(self, x: np.ndarray) -> np.ndarray:
        """T(x); minus or plus infinity below and above its domain."""

    @abstractmethod
    def inverse(self, y: np.ndarray) -> np.ndarray:
        """The x of each y."""

    @abstractmethod
    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """log T'(x) within its domain."""

    @abstractmethod
    def outside(self, x: np.ndarray) -> np.ndarray:
        """Which values are not in its domain."""

    def to_list(self) -> list[Any]:
        """Its name and parameters; `restore` is its inverse."""
        return [self.name, *astuple(self)]  # type: ignore[call-overload]


@dataclass(frozen=True)
class Log(Transform):
    """The natural logarithm.

    Example:
        >>> Log().inverse(Log().forward(np.array([2.0])))
        array([2.])
    """

    name = "log"
    wants = "positive values"
    instead = (
        "take 'yeo-johnson', which has a place for them, or likelihood='normal' if a fit found the "
        "transform by itself, and fit again"
    )

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), NEVER)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        return np.exp(y)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        return -self.forward(x)

    def outside(self, x: np.ndarray) -> np.ndarray:
        return ~(x > 0)


@dataclass(frozen=True)
class Logit(Transform):
    """The log-odds of where a value lies between two bounds.

    Args:
        low: lower bound.
        high: upper bound.
    """

    low: float = 0.0
    high: float = 1.0
    name = "logit"
    wants = "values strictly between its bounds"
    instead = "give wider bounds"

    def forward(self, x: np.ndarray) -> np.ndarray:
        part = np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0)
        return special.logit(part)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        return self.low + (self.high - self.low) * special.expit(y)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.high - self.low) - np.log(x - self.low) - np.log(self.high - x)

    def outside(self, x: np.ndarray) -> np.ndarray:
        return ~((x > self.low) & (x < self.high))


@dataclass(frozen=True)
class BoxCox(Transform):
    r"""$(x^\lambda - 1) / \lambda$, the logarithm at $\lambda = 0$.

    Args:
        power: $\lambda$, from 0 on.
    """

    power: float
    name = "box-cox"
    wants = "positive values"
    instead = "take 'yeo-johnson', which has a place for them"

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, special.boxcox(np.where(x > 0, x, 1.0), self.power), NEVER)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        lowest = -1 / self.power if self.power else -np.inf
        return np.where(y > lowest, special.inv_boxcox(np.maximum(y, lowest), self.power), 0.0)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        return (self.power - 1) * np.log(np.where(x > 0, x, 1.0))

    def outside(self, x: np.ndarray) -> np.ndarray:
        return ~(x > 0)


@dataclass(frozen=True)
class YeoJohnson(Transform):
    r"""Box-Cox of $x + 1$ with $\lambda$ from 0 on, of $1 - x$ with $2 - \lambda$, mirrored, below.

    Args:
        power: $\lambda$, between 0 and 2.
    """

    power: float
    name = "yeo-johnson"
    wants = "numbers"
    instead = "correct it"

    def forward(self, x: np.ndarray) -> np.ndarray:
        up = special.boxcox1p(np.maximum(x, 0.0), self.power)
        return np.where(x >= 0, up, -special.boxcox1p(np.maximum(-x, 0.0), 2 - self.power))

    def inverse(self, y: np.ndarray) -> np.ndarray:
        up = special.inv_boxcox1p(np.maximum(y, 0.0), self.power)
        return np.where(y >= 0, up, -special.inv_boxcox1p(np.maximum(-y, 0.0), 2 - self.power))

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        return np.sign(x) * (self.power - 1) * np.log1p(np.abs(x))

    def outside(self, x: np.ndarray) -> np.ndarray:
        return np.isnan(x)


TRANSFORMS: dict[str, Callable[..., Transform]] = {t.name: t for t in (Log, Logit, BoxCox, YeoJohnson)}
POWERS = {"box-cox": (0.0, np.inf), "yeo-johnson": (0.0, 2.0)}


def check_spec(variable: str, given: Any) -> Spec:
    """What a schema says of a variable's transform, as it keeps it: a name, or a name and bounds.

    Raises:
        SchemaError: for one that is unknown, or bounds that are none.

    Example:
        >>> check_spec("saturation", ["logit", 0, 100])
        ('logit', 0.0, 100.0)
    """
    name, *bounds = tuple(given) if isinstance(given, list | tuple) and given else (given,)
    if not isinstance(name, str) or name not in TRANSFORMS:
        raise SchemaError(
            f"transform {name!r} of `{variable}` is unknown; choose from {', '.join(TRANSFORMS)}"
        )
    if not bounds:
        return str(name)
    if name != "logit" or len(bounds) != 2 or not float(bounds[0]) < float(bounds[1]):
        raise SchemaError(
            f"transform {given!r} of `{variable}`: only logit takes bounds, a lower and a higher one, "
            "such as ('logit', 0, 100)"
        )
    return (str(name), float(bounds[0]), float(bounds[1]))


def fit_transform(spec: Spec, value: np.ndarray) -> Transform:
    """The transform that a schema asks for, its power fitted to training values in its domain."""
    name, *bounds = (spec,) if isinstance(spec, str) else spec
    if name not in POWERS:
        return TRANSFORMS[name](*bounds)
    if len(np.unique(value)) < 2:  # no power makes one value normal
        return TRANSFORMS[name](1.0)
    from sklearn.preprocessing import PowerTransformer  # slow to import, and not needed to read tables

    fitted = PowerTransformer(method=name, standardize=False).fit(value[:, None])
    return TRANSFORMS[name](float(np.clip(fitted.lambdas_[0], *POWERS[name])))


def restore(state: list[Any] | None) -> Transform | None:
    """What `to_list` wrote; None for none."""
    return None if state is None else TRANSFORMS[state[0]](*state[1:])
