"""Likelihoods: raw decoder outputs -> a `torch.distributions` object, one element per query.

`LIKELIHOODS` names the families, and `likelihood_of` chooses one for all variables or for each its own.
A new family is a file with a subclass of `Likelihood` or `DataUnits`, and a line in `LIKELIHOODS`.
`refuse_unexplained` asks before training whether the values of a table lie within the support.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentode.data.dataset import SeriesDataset
from latentode.data.scaling import refuse_values
from latentode.errors import LatentODEError
from latentode.nn.likelihoods.base import (
    MIN_SCALE,
    Likelihood,
    gather_variable,
    join,
    mixture,
    parameters_of,
    pick,
    score,
    take,
    with_fixed_location,
    with_parameters,
)
from latentode.nn.likelihoods.continuous import (
    BetaLikelihood,
    LaplaceLikelihood,
    LogNormalLikelihood,
    NormalLikelihood,
    StudentTLikelihood,
)
from latentode.nn.likelihoods.counts import (
    BernoulliLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
)
from latentode.nn.likelihoods.per_variable import Mixed, PerVariable
from latentode.nn.likelihoods.quantiles import QuantileLikelihood, Quantiles

__all__ = [
    "DEFAULT",
    "LIKELIHOODS",
    "MIN_SCALE",
    "BernoulliLikelihood",
    "BetaLikelihood",
    "LaplaceLikelihood",
    "Likelihood",
    "LogNormalLikelihood",
    "Mixed",
    "Named",
    "NegativeBinomialLikelihood",
    "NormalLikelihood",
    "PerVariable",
    "PoissonLikelihood",
    "QuantileLikelihood",
    "Quantiles",
    "StudentTLikelihood",
    "gather_variable",
    "join",
    "likelihood_of",
    "mixture",
    "parameters_of",
    "pick",
    "refuse_unexplained",
    "score",
    "take",
    "with_fixed_location",
    "with_parameters",
]

DEFAULT = "normal"
LIKELIHOODS: dict[str, type[Likelihood]] = {
    kind.name: kind
    for kind in (
        NormalLikelihood,
        StudentTLikelihood,
        LaplaceLikelihood,
        QuantileLikelihood,
        LogNormalLikelihood,
        BernoulliLikelihood,
        PoissonLikelihood,
        NegativeBinomialLikelihood,
        BetaLikelihood,
    )
}
BOUNDED_TRANSFORMS = ("logit",)
Named = Mapping[str, Mapping[str, Any]]


def likelihood_of(
    chosen: str | Mapping[str, str], n_variables: int, variables: Named | None = None
) -> Likelihood:
    """The likelihood that a name, or a name per variable, stands for.

    Args:
        chosen: a name for all variables, or some variables' names with theirs; others are normal.
        n_variables: number of variables.
        variables: per variable, in order, its `loc` and `scale` of training and, where values are
            transformed, its `transform`; needed where variables are named, or data units matter.

    Raises:
        LatentODEError: for a name that is unknown, or a family that does not go with a transform.

    Example:
        >>> units = {"hr": {"loc": 80.0, "scale": 12.0}, "falls": {"loc": 0.3, "scale": 0.6}}
        >>> likelihood_of({"falls": "poisson"}, 2, units).families(2)
        (NormalLikelihood(), PoissonLikelihood(loc=(80.0, 0.3), scale=(12.0, 0.6)))
    """
    names = _names(chosen, n_variables, variables)
    _check_transforms(names, variables or {})
    kinds = sorted(set(names), key=names.index)
    if len(kinds) == 1 and not LIKELIHOODS[kinds[0]].of_data_units:
        return LIKELIHOODS[kinds[0]].of_units((), ())
    units = list((variables or {}).values()) or [{"loc": 0.0, "scale": 1.0}] * n_variables
    loc = tuple(float(u["loc"]) for u in units)
    scale = tuple(float(u["scale"]) for u in units)
    made = tuple(LIKELIHOODS[kind].of_units(loc, scale) for kind in kinds)
    return PerVariable(made, tuple(kinds.index(n) for n in names), loc, scale)


def _names(chosen: str | Mapping[str, str], n_variables: int, variables: Named | None) -> list[str]:
    """The name of each variable's likelihood."""
    if isinstance(chosen, str):
        _check_name(chosen)
        return [chosen] * n_variables
    for name in chosen.values():
        _check_name(name)
    if variables is None:
        raise LatentODEError(
            "a likelihood per variable needs the variables' names: build from a data module, "
            "ModelConfig(...).build(data.sizes), or name them in Sizes(variables=...)"
        )
    unknown = next((v for v in chosen if v not in variables), None)
    if unknown is not None:
        raise LatentODEError(
            f"likelihood= speaks of the variable {unknown!r}, which is none of {', '.join(variables)}"
        )
    return [chosen.get(v, DEFAULT) for v in variables]


def _check_name(name: str) -> None:
    if name not in LIKELIHOODS:
        raise LatentODEError(f"likelihood {name!r} is unknown; choose from {', '.join(LIKELIHOODS)}")


def _check_transforms(names: Sequence[str], variables: Named) -> None:
    for name, (variable, units) in zip(names, variables.items(), strict=False):
        transform = units.get("transform")
        if transform is None:
            continue
        if LIKELIHOODS[name].of_data_units:
            raise LatentODEError(
                f"likelihood {name!r} of `{variable}` is one of the table's own values, so it does not "
                f"go with the transform {transform!r}; leave one of them out"
            )
        if LIKELIHOODS[name].heavy_tailed and transform not in BOUNDED_TRANSFORMS:
            raise LatentODEError(
                f"likelihood {name!r} of `{variable}` has tails so heavy that, transformed back from "
                f"{transform!r}, no mean may exist; take 'normal' or 'quantile', or leave the "
                "transform out"
            )


def refuse_unexplained(dataset: SeriesDataset, likelihood: Likelihood) -> None:
    """Raises for the first observation that its variable's likelihood gives no probability.

    Args:
        dataset: what was read, in data units.
        likelihood: of the model's variables.

    Raises:
        SchemaError: naming column, row, value and fix.
    """
    for v, family in enumerate(likelihood.families(len(dataset.variables))):
        if family.wants:
            bad = family.outside(dataset.value[dataset.variable == v])
            fix = "correct it, or choose another likelihood for this variable and fit again"
            refuse_values(dataset, v, bad, f"likelihood {family.name!r}", family.wants, fix)
