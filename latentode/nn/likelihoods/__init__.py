"""Likelihoods: raw decoder outputs -> a `torch.distributions` object, one element per query."""

from latentode.nn.likelihoods.base import (
    MIN_SCALE,
    Likelihood,
    gather_variable,
    join,
    mixture,
    pick,
    score,
    take,
    with_fixed_location,
    with_parameters,
)
from latentode.nn.likelihoods.choosing import LIKELIHOODS, likelihood_of
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
    "LIKELIHOODS",
    "MIN_SCALE",
    "BernoulliLikelihood",
    "BetaLikelihood",
    "LaplaceLikelihood",
    "Likelihood",
    "LogNormalLikelihood",
    "Mixed",
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
    "pick",
    "score",
    "take",
    "with_fixed_location",
    "with_parameters",
]
