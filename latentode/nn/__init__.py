"""The learned parts between data and dynamics: encoders, decoders, likelihoods.

In: flat `Observations` of a batch, or latent states. Out: `LatentState`, a distribution over initial
states, or a `torch.distributions` object with one element per query.
May import: `ode`, `data`, `errors`. Of libraries torch, scipy and numba.
"""

from latentode.nn.decoders import Decoder, Intensity, LabelHead, MLPDecoder, VariableDecoder
from latentode.nn.encoders import GRUEncoder, LinearEncoder, ODERNNEncoder, VariableEncoder
from latentode.nn.latent_state import Encoder, LatentHead, LatentState
from latentode.nn.likelihoods import LIKELIHOODS, Likelihood, likelihood_of
from latentode.nn.sequences import Events

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
    "ODERNNEncoder",
    "VariableDecoder",
    "VariableEncoder",
    "likelihood_of",
]

# A new encoder is a file with a subclass of `Encoder`, and a line here.
ENCODERS: dict[str, type[Encoder]] = {
    "gru": GRUEncoder,
    "ode-rnn": ODERNNEncoder,
    "linear": LinearEncoder,
}
