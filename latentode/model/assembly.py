"""Assembles layouts and the dynamics that go with them from primitives, which a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latentode.errors import LatentODEError
from latentode.model.event_times import OBSERVATION_TIMES, EventTimes
from latentode.model.labelling import Labelling
from latentode.model.layouts import JointLayout, Layout, PerVariableLayout
from latentode.nn import ENCODERS
from latentode.nn.decoders import (
    Decoder,
    Intensity,
    LabelHead,
    MLPDecoder,
    PoolDecoder,
    VariableDecoder,
)
from latentode.nn.latent_state import LatentFlows, LatentHead
from latentode.nn.variable_encoder import VariableEncoder
from latentode.ode import (
    CompartmentDynamics,
    CoupledDynamics,
    Dynamics,
    GatedDynamics,
    LinearDynamics,
    MLPDynamics,
    SecondOrderDynamics,
    Solver,
)

__all__ = [
    "DYNAMICS",
    "INTERACTIONS",
    "LAYOUTS",
    "Kind",
    "Sizes",
    "event_times_of",
    "is_variational",
    "labelling_of",
    "solver_of",
]

INTERACTIONS = ("encoder", "dynamics")
DENSITIES = ("normal", "cnf")  # of z(t0), a posteriori and a priori


@dataclass(frozen=True)
class Sizes:
    """What every layout has to know.

    Args:
        variables: number of variables.
        static: number of encoded static features.
        known: number of known-future columns.
        latent: size of a latent row.
        hidden: width of dynamics and decoder.
        raw: numbers that the likelihood takes per query.
        embedding: size of a variable's embedding.
        known_zero: what 0 of each known column is after scaling; None for 0.
        per_log: how many scaled units of each variable a unit of its logarithm is; None if unknown.
    """

    variables: int
    static: int
    known: int
    latent: int
    hidden: int
    raw: int
    embedding: int
    known_zero: Sequence[float] | None = None
    per_log: Sequence[float] | None = None


@dataclass(frozen=True)
class Kind:
    """A layout by name: how it is made, and what suits it unless told otherwise.

    Args:
        make: from sizes and the options of `build_latent_ode` to the layout and its dynamics.
        variational: whether z(t0) is a distribution.
        solver: arguments of `Solver`.
    """

    make: Callable[[Sizes, dict[str, Any], bool], tuple[Layout, Dynamics]]
    variational: bool
    solver: dict[str, Any]


def _unknown_encoder(name: str) -> str:
    return f"encoder {name!r} is unknown; choose from {', '.join(ENCODERS)}"


def _mlp(sizes: Sizes, fixed: int) -> Dynamics:
    return MLPDynamics(sizes.latent, (sizes.hidden,) * 2, context_size=fixed + sizes.known)


def _gated(sizes: Sizes, fixed: int) -> Dynamics:
    return GatedDynamics(sizes.latent, context_size=fixed + sizes.known)


def _linear(sizes: Sizes, fixed: int) -> Dynamics:
    _require_even(sizes, "linear")
    return LinearDynamics(sizes.latent, context_size=fixed + sizes.known)


def _compartments(sizes: Sizes, fixed: int) -> Dynamics:
    _require_even(sizes, "compartments")
    return CompartmentDynamics(sizes.latent, sizes.known, sizes.known_zero)


def _second_order(sizes: Sizes, fixed: int) -> Dynamics:
    _require_even(sizes, "second-order")
    size, width = sizes.latent, (sizes.hidden,) * 2
    return SecondOrderDynamics(MLPDynamics(size, width, fixed + sizes.known, out_size=size // 2))


def _require_even(sizes: Sizes, name: str) -> None:
    if sizes.latent % 2:
        raise LatentODEError(f"dynamics={name!r} takes an even latent_size; it is {sizes.latent}")


DYNAMICS: dict[str, Callable[[Sizes, int], Dynamics]] = {
    "mlp": _mlp,
    "gated": _gated,
    "linear": _linear,
    "second-order": _second_order,
    "compartments": _compartments,
}
SOLVERS: dict[str, dict[str, Any]] = {
    "linear": {"method": "exact", "intervals": 1},
    "compartments": {"method": "exact", "intervals": 1},
}


JUMPS = 4  # of known columns within a solve, at which it begins anew: doses and schedules, not weather


def solver_of(kind: Kind, dynamics: str, asked: dict[str, Any] | None) -> Solver:
    """The solver that suits a layout and its dynamics, where none is asked for by name."""
    return Solver(**{"jumps": JUMPS, **kind.solver, **SOLVERS.get(dynamics, {}), **(asked or {})})


def is_variational(kind: Kind, options: dict[str, Any], asked: bool | None) -> bool:
    """Whether z(t0) is a distribution: as asked, where a flow wants one, or as suits the layout.

    Raises:
        LatentODEError: for a density that is unknown, or a flow where a point is asked for.
    """
    flows = []
    for name in ("posterior", "prior"):
        if options[name] not in DENSITIES:
            raise LatentODEError(
                f"{name} {options[name]!r} is unknown; choose from {', '.join(DENSITIES)}"
            )
        if options[name] == "cnf":
            flows.append(name)
    if flows and asked is False:
        raise LatentODEError(
            f"{flows[0]}='cnf' makes z(t0) a distribution and variational=False a point; leave one of "
            "them out"
        )
    if asked is None:
        return kind.variational or bool(flows)
    return asked


def _flows(summary_size: int, sizes: Sizes, options: dict[str, Any]) -> LatentFlows | None:
    posterior, prior = options["posterior"] == "cnf", options["prior"] == "cnf"
    if not posterior and not prior:
        return None
    return LatentFlows(summary_size, sizes.latent, sizes.hidden, posterior, prior)


def event_times_of(
    name: str | None,
    sizes: Sizes,
    layout: Layout,
    event_rate: float | Sequence[float],
    time_scale: float,
) -> EventTimes | None:
    """The model of observation times that goes with a layout; None where none is asked for.

    Raises:
        LatentODEError: if the name is unknown.
    """
    if name is None:
        return None
    if name not in OBSERVATION_TIMES:
        raise LatentODEError(
            f"observation_times {name!r} is unknown; choose from {', '.join(OBSERVATION_TIMES)} or None"
        )
    per_variable = name == "poisson-per-variable"
    n_rates = sizes.variables // layout.blocks if per_variable else 1
    intensity = Intensity(sizes.latent, layout.told.shape[1], n_rates, sizes.hidden)
    return EventTimes(intensity, per_variable, event_rate, sizes.variables, time_scale)


def labelling_of(
    name: str | None, n_classes: int, dropout: float, sizes: Sizes, layout: Layout
) -> Labelling | None:
    """The label head that goes with a layout; None where none is asked for.

    Raises:
        LatentODEError: if the name is unknown, or there is nothing to choose between.
    """
    if name is None:
        return None
    if n_classes < 2:
        raise LatentODEError(f"labels need at least two classes to choose between, got {n_classes}")
    state = sizes.latent * Labelling.states_read(name)
    head = LabelHead(state, layout.told.shape[1], sizes.hidden, n_classes, dropout)
    return Labelling(head, name)


def _joint_decoder(sizes: Sizes, dynamics: str) -> Decoder:
    shape = (sizes.latent, sizes.variables, sizes.raw, sizes.hidden)
    return PoolDecoder(*shape, sizes.per_log) if dynamics == "compartments" else MLPDecoder(*shape)


def _joint(sizes: Sizes, options: dict[str, Any], variational: bool) -> tuple[JointLayout, Dynamics]:
    name, width = options["encoder"], options["encoder_size"] or sizes.hidden
    if name not in ENCODERS:
        raise LatentODEError(_unknown_encoder(name))
    if options["interaction"] != "encoder":
        raise LatentODEError("interaction is a choice of layout='per-variable' only; leave it out")
    encoder = ENCODERS[name](sizes.variables, width)  # type: ignore[call-arg]
    flows = _flows(width + sizes.static, sizes, options)
    head = LatentHead(width, sizes.static, sizes.latent, variational, flows)
    dynamics = DYNAMICS[options["dynamics"]](sizes, sizes.static)
    decoder = _joint_decoder(sizes, options["dynamics"])
    return JointLayout(encoder, head, decoder), dynamics


WIDEST = 48  # of the per-variable encoder: it runs once for each variable of each series


def _per_variable(
    sizes: Sizes, options: dict[str, Any], variational: bool
) -> tuple[PerVariableLayout, Dynamics]:
    width = options["encoder_size"] or min(sizes.hidden, WIDEST)
    if options["encoder"] not in ENCODERS:
        raise LatentODEError(_unknown_encoder(options["encoder"]))
    if options["encoder"] != "gru":
        raise LatentODEError(
            f"layout='per-variable' reads each variable with a GRU; encoder={options['encoder']!r} "
            "goes with layout='joint'"
        )
    if options["interaction"] not in INTERACTIONS:
        raise LatentODEError(
            f"interaction {options['interaction']!r} is unknown; choose from {', '.join(INTERACTIONS)}"
        )
    coupled = options["interaction"] == "dynamics"
    layers, heads = options["attention_layers"], options["heads"]
    encoder = VariableEncoder(sizes.embedding, sizes.static, width, layers, heads)
    head = LatentHead(width, 0, sizes.latent, variational, _flows(width, sizes, options))
    decoder = VariableDecoder(sizes.latent, sizes.embedding, sizes.raw, sizes.hidden)
    others = sizes.static + sizes.known
    if coupled and options["dynamics"] != "mlp":
        raise LatentODEError("interaction='dynamics' couples perceptrons; it goes with dynamics='mlp'")
    dynamics = (
        CoupledDynamics(sizes.variables, sizes.latent, sizes.embedding, others, sizes.hidden)
        if coupled
        else DYNAMICS[options["dynamics"]](sizes, sizes.embedding + sizes.static)
    )
    layout = PerVariableLayout(sizes.variables, sizes.embedding, encoder, head, decoder, coupled)
    return layout, dynamics


LAYOUTS: dict[str, Kind] = {
    "joint": Kind(_joint, variational=True, solver={}),
    "per-variable": Kind(_per_variable, variational=False, solver={"intervals": 5}),
}
