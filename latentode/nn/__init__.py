"""The learned parts between data and dynamics: encoders, decoders, likelihoods."""

from latentode.nn.decoders import Decoder, MLPDecoder, VariableDecoder
from latentode.nn.encoders import Encoder, GRUEncoder, LatentHead, LatentState, ODERNNEncoder
from latentode.nn.events import Events
from latentode.nn.intensity import Intensity
from latentode.nn.label_head import LabelHead
from latentode.nn.likelihoods import LIKELIHOODS, Likelihood, NormalLikelihood, StudentTLikelihood
from latentode.nn.linear_encoder import LinearEncoder
from latentode.nn.variable_encoder import VariableEncoder

__all__ = [
    "ENCODERS",
    "LIKELIHOODS",
    "Decoder",
    "Encoder",
    "Events",
    "GRUEncoder",
    "Intensity",
    "LabelHead",
    "LatentHead",
    "LatentState",
    "Likelihood",
    "LinearEncoder",
    "MLPDecoder",
    "NormalLikelihood",
    "ODERNNEncoder",
    "StudentTLikelihood",
    "VariableDecoder",
    "VariableEncoder",
]

ENCODERS: dict[str, type[Encoder]] = {
    "gru": GRUEncoder,
    "ode-rnn": ODERNNEncoder,
    "linear": LinearEncoder,
}
