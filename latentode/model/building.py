"""build_latent_ode: a network from its configuration and the sizes of its data."""

from __future__ import annotations

from latentode.errors import LatentODEError
from latentode.model.assembly import LAYOUTS, LayoutEntry
from latentode.model.config import ModelConfig, Sizes, check_choice
from latentode.model.emission import VALUE_UNITS, Emission
from latentode.model.event_times import OBSERVATION_TIMES, EventTimes
from latentode.model.labelling import Labelling
from latentode.model.layouts import Layout
from latentode.model.network import LatentODE
from latentode.nn.decoders import Intensity, LabelHead
from latentode.nn.likelihoods import likelihood_of
from latentode.ode import FIELDS, Solver

__all__ = ["build_latent_ode"]

CLOSED_FORM = {"method": "exact", "intervals": 1}
DENSITIES = ("normal", "cnf")  # of z(t0), a posteriori and a priori


def build_latent_ode(config: ModelConfig, sizes: Sizes) -> LatentODE:
    """The network that a configuration describes; see `ModelConfig.build`."""
    check_choice("latent", config.latent, LAYOUTS)
    check_choice("dynamics", config.dynamics, FIELDS)
    check_choice("value_units", config.value_units, VALUE_UNITS)
    entry = LAYOUTS[config.latent]
    likelihood = likelihood_of(config.likelihood, sizes.n_variables, sizes.variables)
    emission = Emission(
        likelihood, sizes.n_variables, config.anchor, config.value_units, config.scale_growth
    )
    layout, dynamics = entry.build(config, sizes, likelihood.n_raw, _variational(entry, config))
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


def _event_times(config: ModelConfig, sizes: Sizes, layout: Layout) -> EventTimes | None:
    """The model of observation times; None where none is asked for."""
    name = config.observation_times
    if name is None:
        return None
    check_choice("observation_times", name, (*OBSERVATION_TIMES, None))
    per_variable = name == "poisson-per-variable"
    n_rates = sizes.n_variables // layout.blocks if per_variable else 1
    rate = sizes.variable_rates if per_variable and sizes.variable_rates else sizes.event_rate
    intensity = Intensity(config.latent_size, layout.told.shape[1], n_rates, config.hidden_size)
    return EventTimes(intensity, per_variable, rate, sizes.n_variables, sizes.time_scale)


def _labelling(config: ModelConfig, sizes: Sizes, layout: Layout) -> Labelling | None:
    """The label head; None where nothing is to be classified."""
    if sizes.labels is None:
        return None
    n, width = sizes.n_classes, config.hidden_size
    if n < 2:
        raise LatentODEError(f"labels need at least two classes to choose between, got {n}")
    state = config.latent_size * Labelling.states_read(sizes.labels)
    head = LabelHead(state, layout.told.shape[1], width, n, config.label_dropout)
    return Labelling(head, sizes.labels)
