"""The network: the four arrows put together, in one of the layouts of the latent state.

In: a `Batch` and queries. Out: the distribution of each query's value, and the terms of its loss.
May import: `nn`, `ode`, `data`, `errors`. Of libraries torch alone: nothing here trains.
`ModelConfig` says what a network is made of, and builds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.model.config import Config, ModelConfig, Sizes, SolverConfig
    from latentode.model.emission import Emission
    from latentode.model.layouts import JointLayout, Layout, PerVariableLayout
    from latentode.model.network import LatentODE
    from latentode.model.objective import elbo_terms, negative_elbo

__all__ = [
    "Config",
    "Emission",
    "JointLayout",
    "LatentODE",
    "Layout",
    "ModelConfig",
    "PerVariableLayout",
    "Sizes",
    "SolverConfig",
    "elbo_terms",
    "negative_elbo",
]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["Config", "ModelConfig", "Sizes", "SolverConfig"],
        "emission": ["Emission"],
        "layouts": ["JointLayout", "Layout", "PerVariableLayout"],
        "network": ["LatentODE"],
        "objective": ["elbo_terms", "negative_elbo"],
    },
)
