"""The layouts of the latent state that a network can be built with, by name: `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from latentode.errors import LatentODEError
from latentode.model.config import ModelConfig, Sizes, check_choice
from latentode.model.layouts import JointLayout, Layout, PerVariableLayout
from latentode.nn import ENCODERS
from latentode.nn.decoders import Decoder, MLPDecoder, PoolDecoder, VariableDecoder
from latentode.nn.latent_state import LatentFlows, LatentHead
from latentode.nn.variable_encoder import VariableEncoder
from latentode.ode import FIELDS, CoupledDynamics, Dynamics, FieldSizes

__all__ = ["LAYOUTS", "LayoutEntry"]

INTERACTIONS = ("encoder", "dynamics")
WIDEST = 48  # of the per-variable encoder: it runs once for each variable of each series

Build = Callable[[ModelConfig, Sizes, int, bool], tuple[Layout, Dynamics]]


@dataclass(frozen=True)
class LayoutEntry:
    """A layout by name: how it is made, and what suits it where nothing is chosen.

    Args:
        build: from the configuration, the data's sizes, the numbers that the likelihood takes per query
            and whether z(t0) is a distribution to the layout and its dynamics.
        variational: whether z(t0) is a distribution.
        solver: arguments of `latentode.ode.Solver`.
    """

    build: Build
    variational: bool
    solver: dict[str, Any] = field(default_factory=dict)


def _joint(
    config: ModelConfig, sizes: Sizes, n_raw: int, variational: bool
) -> tuple[JointLayout, Dynamics]:
    width = config.encoder_size or config.hidden_size
    check_choice("encoder", config.encoder, ENCODERS)
    if config.interaction != "encoder":
        raise LatentODEError("interaction is a choice of latent='per-variable' only; leave it out")
    encoder = ENCODERS[config.encoder](sizes.n_variables, width)  # type: ignore[call-arg]
    flows = _flows(width + sizes.n_static, config)
    head = LatentHead(width, sizes.n_static, config.latent_size, variational, flows)
    dynamics = _field(config, sizes, sizes.n_static)
    return JointLayout(encoder, head, _joint_decoder(config, sizes, n_raw)), dynamics


def _per_variable(
    config: ModelConfig, sizes: Sizes, n_raw: int, variational: bool
) -> tuple[PerVariableLayout, Dynamics]:
    check_choice("encoder", config.encoder, ENCODERS)
    check_choice("interaction", config.interaction, INTERACTIONS)
    if config.encoder != "gru":
        raise LatentODEError(
            f"latent='per-variable' reads each variable with a GRU; encoder={config.encoder!r} goes "
            "with latent='joint'"
        )
    coupled = config.interaction == "dynamics"
    if coupled and config.dynamics != "mlp":
        raise LatentODEError("interaction='dynamics' couples perceptrons; it goes with dynamics='mlp'")
    width = config.encoder_size or min(config.hidden_size, WIDEST)
    embedding, latent = config.embedding_size, config.latent_size
    layers, heads = config.attention_layers, config.attention_heads
    encoder = VariableEncoder(embedding, sizes.n_static, width, layers, heads)
    head = LatentHead(width, 0, latent, variational, _flows(width, config))
    decoder = VariableDecoder(latent, embedding, n_raw, config.hidden_size)
    others = sizes.n_static + sizes.n_known
    dynamics = (
        CoupledDynamics(sizes.n_variables, latent, embedding, others, config.hidden_size)
        if coupled
        else _field(config, sizes, embedding + sizes.n_static)
    )
    layout = PerVariableLayout(sizes.n_variables, embedding, encoder, head, decoder, coupled)
    return layout, dynamics


def _field(config: ModelConfig, sizes: Sizes, n_fixed: int) -> Dynamics:
    """The vector field of a latent row that is told so many numbers which stay along a solve."""
    kind, size = FIELDS[config.dynamics], config.latent_size
    if kind.even and size % 2:
        raise LatentODEError(f"dynamics={config.dynamics!r} takes an even latent_size; it is {size}")
    return kind.make(FieldSizes(size, config.hidden_size, n_fixed, sizes.n_known, sizes.known_zero))


def _joint_decoder(config: ModelConfig, sizes: Sizes, n_raw: int) -> Decoder:
    shape = (config.latent_size, sizes.n_variables, n_raw, config.hidden_size)
    if not FIELDS[config.dynamics].positive:
        return MLPDecoder(*shape)
    units = None if sizes.variables is None else list(sizes.variables.values())
    return PoolDecoder(*shape, None if units is None else [_per_logarithm(u) for u in units])


def _per_logarithm(units: Any) -> float:
    """How many scaled units a unit of a variable's logarithm is; 1 where it is not the logarithm's."""
    return 1 / float(units["scale"]) if units.get("transform") == "log" else 1.0


def _flows(summary_size: int, config: ModelConfig) -> LatentFlows | None:
    posterior, prior = config.posterior == "cnf", config.prior == "cnf"
    if not posterior and not prior:
        return None
    return LatentFlows(summary_size, config.latent_size, config.hidden_size, posterior, prior)


LAYOUTS: dict[str, LayoutEntry] = {
    "joint": LayoutEntry(_joint, variational=True),
    "per-variable": LayoutEntry(_per_variable, variational=False, solver={"intervals": 5}),
}
