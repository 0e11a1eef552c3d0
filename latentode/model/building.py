"""The layouts of the latent state that a network can be built with, by name: `LAYOUTS`.

build_latent_ode: a network from its configuration and the sizes of its data.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from latentode.errors import LatentODEError, check_choice
from latentode.model.config import AUTO, ModelConfig, Sizes
from latentode.model.emission import STRUCTURES, Emission
from latentode.model.layouts import JointLayout, Layout, PerVariableLayout
from latentode.model.network import LatentODE
from latentode.model.path_readings import OBSERVATION_TIMES, EventTimes, Labelling
from latentode.model.structure import N_FEATURES, StructuralBlock
from latentode.nn import ENCODERS
from latentode.nn.decoders import (
    Decoder,
    Intensity,
    LabelHead,
    MLPDecoder,
    PoolDecoder,
    VariableDecoder,
)
from latentode.nn.encoders import VariableEncoder
from latentode.nn.latent_state import LatentFlows, LatentHead
from latentode.nn.likelihoods import DEFAULT, Likelihood, likelihood_of
from latentode.nn.memory import N_SUMMARIES
from latentode.ode import FIELDS, CoupledDynamics, Dynamics, FieldSizes, Solver

__all__ = ["LAYOUTS", "LayoutEntry", "build_latent_ode", "own_draws"]

INTERACTIONS = ("encoder", "dynamics")
CHANGES, READS = "changes", ("changes", "values")
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
    encoder = ENCODERS[config.encoder](sizes.n_variables, width, n_known=sizes.n_known)  # type: ignore[call-arg]
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
    encoder = VariableEncoder(embedding, sizes.n_static, width, layers, heads, sizes.n_known)
    head = LatentHead(width, 0, latent, variational, _flows(width, config))
    told, gain = _told(config, sizes)
    decoder = VariableDecoder(latent + told, embedding, n_raw, config.hidden_size, gain)
    others = sizes.n_static + sizes.n_known
    dynamics = (
        CoupledDynamics(sizes.n_variables, latent, embedding, others, config.hidden_size)
        if coupled
        else _field(config, sizes, embedding + sizes.n_static)
    )
    layout = PerVariableLayout(sizes.n_variables, embedding, encoder, head, decoder, coupled)
    return layout, dynamics


def _field(config: ModelConfig, sizes: Sizes, n_fixed: int) -> Dynamics:
    """The vector field of a latent row, which is given `n_fixed` numbers that stay along a solve."""
    kind, size = FIELDS[config.dynamics], config.latent_size
    if kind.even and size % 2:
        raise LatentODEError(f"dynamics={config.dynamics!r} takes an even latent_size; it is {size}")
    return kind.make(FieldSizes(size, config.hidden_size, n_fixed, sizes.n_known, sizes.known_zero))


def _told(config: ModelConfig, sizes: Sizes) -> tuple[int, float]:
    """How many numbers a decoder is told beside z(t), and the initial size of its output layer."""
    if config.structure == "state-space":
        told = N_FEATURES + 2 * len(sizes.periods or ()) + sizes.n_known
        return told, 0.0  # an untrained forecast is the structural one
    return 0, MLPDecoder.INITIAL_GAIN


def _joint_decoder(config: ModelConfig, sizes: Sizes, n_raw: int) -> Decoder:
    told, gain = _told(config, sizes)
    if not FIELDS[config.dynamics].positive:
        size = config.latent_size + told
        return MLPDecoder(size, sizes.n_variables, n_raw, config.hidden_size, gain)
    if told:
        raise LatentODEError(
            f"dynamics={config.dynamics!r} says by itself how large values are, not how far off a "
            'structural forecast; give structure=None or structure="last-value" with it'
        )
    units = None if sizes.variables is None else list(sizes.variables.values())
    gains = None if units is None else [_per_logarithm(u) for u in units]
    return PoolDecoder(config.latent_size, sizes.n_variables, n_raw, config.hidden_size, gains)


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


CLOSED_FORM = {"method": "exact", "intervals": 1}
DRAWING = threading.RLock()
DENSITIES = ("normal", "cnf")  # of z(t0), a posteriori and a priori


@contextmanager
def own_draws(seed: int) -> Iterator[None]:
    """torch's own generator, that all threads share, for one of them at a time: seeded, then as before.

    Weights are drawn by it, since torch's layers know no other.
    """
    with DRAWING, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def build_latent_ode(config: ModelConfig, sizes: Sizes) -> LatentODE:
    """The network that a configuration describes; see `ModelConfig.build`."""
    check_choice("latent", config.latent, LAYOUTS)
    check_choice("dynamics", config.dynamics, FIELDS)
    check_choice("reads", config.reads, READS)
    entry = LAYOUTS[config.latent]
    named = DEFAULT if config.likelihood == AUTO else config.likelihood
    likelihood = likelihood_of(named, sizes.n_variables, sizes.variables)
    structure, last_value = _structure(config, sizes, likelihood), config.structure == "last-value"
    told = sizes.n_static - 2 * len(sizes.periods or ())
    emission = Emission(likelihood, sizes.n_variables, structure, last_value, max(told, 0))
    n_raw = likelihood.n_raw + (structure is not None)
    layout, dynamics = entry.build(config, sizes, n_raw, _variational(entry, config))
    layout.units.read = config.reads == CHANGES
    exact = CLOSED_FORM if FIELDS[config.dynamics].closed_form else {}
    suited = {"method": "rk38", "intervals": 6, **entry.solver, **exact}
    network = LatentODE(
        layout,
        dynamics,
        emission,
        Solver(**config.solver.arguments(**suited)),
        config.t0,
        sizes.time_scale,
        _event_times(config, sizes, layout),
        _labelling(config, sizes, layout),
    )
    network.config, network.sizes = config, sizes
    return network


def _variational(entry: LayoutEntry, config: ModelConfig) -> bool:
    """Whether z(t0) is a distribution: as chosen, where a flow wants one, or as suits the layout."""
    for name in ("posterior", "prior"):
        check_choice(name, getattr(config, name), DENSITIES)
    flows = [n for n in ("posterior", "prior") if getattr(config, n) == "cnf"]
    if flows and config.variational is False:
        raise LatentODEError(
            f"{flows[0]}='cnf' makes z(t0) a distribution and variational=False a point; leave one of "
            "them out"
        )
    if config.variational is None:
        return entry.variational or bool(flows)
    return config.variational


def _structure(config: ModelConfig, sizes: Sizes, likelihood: Likelihood) -> StructuralBlock | None:
    """The structural block; None where none is asked for."""
    check_choice("structure", config.structure, STRUCTURES)
    if config.structure != "state-space":
        return None
    periods = [p / sizes.time_scale for p in sizes.periods or ()]
    zero = [_nothing(units) for units in (sizes.variables or {}).values()] or None
    counting = [family.counting for family in likelihood.families(sizes.n_variables)]
    counts = [config.harmonics] * len(periods) if config.harmonics else sizes.cycle_harmonics
    if len(counts or periods) != len(periods):
        raise LatentODEError(
            f"sizes have {len(counts or ())} cycle_harmonics for {len(periods)} periods"
        )
    return StructuralBlock(sizes.n_variables, sizes.n_known, periods, counts, zero, counting)


def _nothing(units: Any) -> float:
    """What 0 is in scaled units, where a value can be so many times another; else not a number."""
    loc, scale = float(units["loc"]), float(units["scale"])
    return -loc / scale if loc > 0 and not units.get("transform") else math.nan


def _event_times(config: ModelConfig, sizes: Sizes, layout: Layout) -> EventTimes | None:
    """The model of observation times; None where none is asked for."""
    name = config.observation_times
    if name is None:
        return None
    check_choice("observation_times", name, (*OBSERVATION_TIMES, None))
    per_variable = name == "poisson-per-variable"
    n_rates = sizes.n_variables // layout.blocks if per_variable else 1
    rate = sizes.variable_rates if per_variable and sizes.variable_rates else sizes.event_rate
    intensity = Intensity(
        config.latent_size, layout.row_embedding.shape[1], n_rates, config.hidden_size
    )
    return EventTimes(intensity, per_variable, rate, sizes.n_variables, sizes.time_scale)


def _labelling(config: ModelConfig, sizes: Sizes, layout: Layout) -> Labelling | None:
    """The label head; None where nothing is to be classified."""
    if sizes.labels is None:
        return None
    n, width = sizes.n_classes, config.hidden_size
    if n < 2:
        raise LatentODEError(f"labels need at least two classes to choose between, got {n}")
    state = config.latent_size * Labelling.states_read(sizes.labels)
    head = LabelHead(state, layout.row_embedding.shape[1], width, n, config.label_dropout)
    if sizes.labels != "series":
        return Labelling(head, sizes.labels)
    wide = nn.Linear(N_SUMMARIES * sizes.n_variables + sizes.n_static, n, bias=False)
    nn.init.zeros_(wide.weight)
    return Labelling(head, sizes.labels, wide)
