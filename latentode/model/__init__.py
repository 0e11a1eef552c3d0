"""The network: the four arrows put together, in one of the layouts of the latent state.

In: a `Batch` and queries. Out: the distribution of each query's value, and the terms of its loss.
May import: `nn`, `ode`, `data`, `errors`. Of libraries torch alone: nothing here trains.
"""

from latentode.model.building import build_latent_ode
from latentode.model.layouts import JointLayout, Layout, PerVariableLayout
from latentode.model.network import LatentODE
from latentode.model.objective import elbo_terms, negative_elbo

__all__ = [
    "JointLayout",
    "LatentODE",
    "Layout",
    "PerVariableLayout",
    "build_latent_ode",
    "elbo_terms",
    "negative_elbo",
]
