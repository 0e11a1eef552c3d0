"""The learned parts between data and dynamics: encoders, decoders, likelihoods."""

from latentode.nn.decoders import Decoder, MLPDecoder
from latentode.nn.encoders import ENCODERS, Encoder, GRUEncoder, LatentHead, LatentState, ODERNNEncoder
from latentode.nn.events import Events
from latentode.nn.likelihoods import LIKELIHOODS, Likelihood, NormalLikelihood, StudentTLikelihood

__all__ = [
    "ENCODERS",
    "LIKELIHOODS",
    "Decoder",
    "Encoder",
    "Events",
    "GRUEncoder",
    "LatentHead",
    "LatentState",
    "Likelihood",
    "MLPDecoder",
    "NormalLikelihood",
    "ODERNNEncoder",
    "StudentTLikelihood",
]
