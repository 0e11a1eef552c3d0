"""Parameters of estimators that are configurations: named, nested, and reached by scikit-learn."""

from __future__ import annotations

from typing import Any, TypeVar

from sklearn.base import BaseEstimator

from latentode.errors import LatentODEError
from latentode.model.config import Config, ModelConfig
from latentode.training.config import TrainingConfig

__all__ = ["check_configs", "set_nested"]

Estimator = TypeVar("Estimator", bound=BaseEstimator)


def set_nested(estimator: Estimator, params: dict[str, Any]) -> Estimator:
    """Sets parameters by name; a field of a configuration by a new one in its place.

    Args:
        estimator: whose parameters they are.
        params: such as `horizon` and `model__latent_size`.

    Raises:
        LatentODEError: for a field that a configuration does not have, listing those that it has.
    """
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in params.items():
        head, _, rest = name.partition("__")
        if rest and isinstance(getattr(estimator, head, None), Config):
            nested.setdefault(head, {})[rest] = value
        else:
            own[name] = value
    if own:
        BaseEstimator.set_params(estimator, **own)
    for name, changes in nested.items():
        setattr(estimator, name, getattr(estimator, name).replace(**changes))
    return estimator


def check_configs(estimator: Any) -> None:
    """Raises a `LatentODEError` unless `model` and `training` are configurations."""
    for name, kind in (("model", ModelConfig), ("training", TrainingConfig)):
        given = getattr(estimator, name)
        if not isinstance(given, kind):
            raise LatentODEError(
                f"{name} is a {kind.__name__}, such as {name}={kind.__name__}(); got {given!r}"
            )
