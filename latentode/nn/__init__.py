"""The learned parts between data and dynamics: encoders, decoders, likelihoods."""

from latentode.nn.decoders import Decoder, MLPDecoder, VariableDecoder
from latentode.nn.encoders import Encoder, LatentHead, LatentState
from latentode.nn.events import Events
from latentode.nn.growth import ScaleGrowth
from latentode.nn.intensity import Intensity
from latentode.nn.label_head import LabelHead
from latentode.nn.likelihoods import DATA_UNITS, LIKELIHOODS, Likelihood, likelihood_of
from latentode.nn.linear_encoder import LinearEncoder
from latentode.nn.recurrent_encoders import GRUEncoder, ODERNNEncoder
from latentode.nn.variable_encoder import VariableEncoder

__all__ = [
    "DATA_UNITS",
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
    "ODERNNEncoder",
    "ScaleGrowth",
    "VariableDecoder",
    "VariableEncoder",
    "likelihood_of",
]

ENCODERS: dict[str, type[Encoder]] = {
    "gru": GRUEncoder,
    "ode-rnn": ODERNNEncoder,
    "linear": LinearEncoder,
}
