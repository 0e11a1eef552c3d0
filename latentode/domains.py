"""Domains: whether a likelihood can explain what a table holds, asked before any training."""

from __future__ import annotations

from latentode.data.dataset import SeriesDataset
from latentode.data.refusing import refuse_values
from latentode.nn.likelihoods import Likelihood

__all__ = ["refuse_unexplained"]


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
            fix = "correct it, or choose another likelihood for this variable"
            refuse_values(dataset, v, bad, f"likelihood {family.name!r}", family.wants, fix)
