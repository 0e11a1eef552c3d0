"""The vector fields that a network can be built with, by name: `DYNAMICS`.

To add one: write it as a `latentode.ode.Dynamics` and name it here with the function that builds it
and, where it has a closed form, the solver that suits it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from latentode.errors import LatentODEError
from latentode.model.config import ModelConfig, Sizes
from latentode.ode import (
    CompartmentDynamics,
    Dynamics,
    GatedDynamics,
    LinearDynamics,
    MLPDynamics,
    SecondOrderDynamics,
)

__all__ = ["DYNAMICS", "DynamicsEntry"]

CLOSED_FORM = {"method": "exact", "intervals": 1}

Build = Callable[[ModelConfig, Sizes, int], Dynamics]


@dataclass(frozen=True)
class DynamicsEntry:
    """A vector field by name.

    Args:
        build: from the configuration, the data's sizes and the number of inputs that stay fixed along a
            solve (embedding and static covariates) to the field.
        solver: arguments of `latentode.ode.Solver` that suit it, where none are chosen.
        by_logarithm: whether a joint latent state is read by its logarithm.
    """

    build: Build
    solver: dict[str, Any] = field(default_factory=dict)
    by_logarithm: bool = False


def _mlp(config: ModelConfig, sizes: Sizes, n_fixed: int) -> Dynamics:
    width = (config.hidden_size,) * 2
    return MLPDynamics(config.latent_size, width, context_size=n_fixed + sizes.n_known)


def _gated(config: ModelConfig, sizes: Sizes, n_fixed: int) -> Dynamics:
    return GatedDynamics(config.latent_size, context_size=n_fixed + sizes.n_known)


def _linear(config: ModelConfig, sizes: Sizes, n_fixed: int) -> Dynamics:
    _require_even(config)
    return LinearDynamics(config.latent_size, context_size=n_fixed + sizes.n_known)


def _compartments(config: ModelConfig, sizes: Sizes, n_fixed: int) -> Dynamics:
    _require_even(config)
    return CompartmentDynamics(config.latent_size, sizes.n_known, sizes.known_zero)


def _second_order(config: ModelConfig, sizes: Sizes, n_fixed: int) -> Dynamics:
    _require_even(config)
    size, width = config.latent_size, (config.hidden_size,) * 2
    return SecondOrderDynamics(MLPDynamics(size, width, n_fixed + sizes.n_known, out_size=size // 2))


def _require_even(config: ModelConfig) -> None:
    if config.latent_size % 2:
        raise LatentODEError(
            f"dynamics={config.dynamics!r} takes an even latent_size; it is {config.latent_size}"
        )


DYNAMICS: dict[str, DynamicsEntry] = {
    "mlp": DynamicsEntry(_mlp),
    "gated": DynamicsEntry(_gated),
    "linear": DynamicsEntry(_linear, CLOSED_FORM),
    "second-order": DynamicsEntry(_second_order),
    "compartments": DynamicsEntry(_compartments, CLOSED_FORM, by_logarithm=True),
}
