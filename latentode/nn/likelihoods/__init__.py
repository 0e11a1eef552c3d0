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
from latentode.nn.likelihoods.counts import (
    BernoulliLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
)
from latentode.nn.likelihoods.per_variable import Mixed, PerVariable
from latentode.nn.likelihoods.positive import BetaLikelihood, LogNormalLikelihood
from latentode.nn.likelihoods.quantiles import QuantileLikelihood, Quantiles
from latentode.nn.likelihoods.symmetric import (
    LaplaceLikelihood,
    NormalLikelihood,
    StudentTLikelihood,
)

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
