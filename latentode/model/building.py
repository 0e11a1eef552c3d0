"""build_latent_ode: a `LatentODE` from primitives, which a checkpoint and a command line can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentode.errors import LatentODEError
from latentode.model.assembly import (
    DYNAMICS,
    LAYOUTS,
    Sizes,
    event_times_of,
    is_variational,
    labelling_of,
    solver_of,
)
from latentode.model.network import LatentODE
from latentode.nn.likelihoods import Likelihood, likelihood_of
from latentode.nn.scales import RecentChange, ScaleGrowth

__all__ = ["build_latent_ode"]

VALUE_UNITS = ("training", "recent")


def build_latent_ode(
    n_variables: int,
    n_static: int = 0,
    n_known: int = 0,
    time_scale: float = 1.0,
    *,
    layout: str = "per-variable",
    latent_size: int = 16,
    hidden_size: int = 64,
    encoder: str = "gru",
    encoder_size: int | None = None,
    embedding_size: int = 16,
    attention_layers: int = 2,
    heads: int = 4,
    interaction: str = "encoder",
    dynamics: str = "mlp",
    likelihood: str | Mapping[str, str] = "normal",
    t0: str = "origin",
    anchor: bool = True,
    value_units: str = "training",
    variational: bool | None = None,
    posterior: str = "normal",
    prior: str = "normal",
    solver: dict[str, Any] | None = None,
    observation_times: str | None = None,
    event_rate: float | Sequence[float] = 1.0,
    labels: str | None = None,
    n_classes: int = 2,
    label_dropout: float = 0.0,
    scale_growth: bool = False,
    variables: Mapping[str, Mapping[str, Any]] | None = None,
    known_zero: Sequence[float] | None = None,
) -> LatentODE:
    """Assembles a `LatentODE` from primitives, which a checkpoint can hold.

    Args:
        n_variables: number of variables.
        n_static: number of encoded static features.
        n_known: number of known-future columns.
        time_scale: length of one unit of model time, best the usual horizon.
        layout: "per-variable", a latent row per (series, variable), or "joint", one per series.
        latent_size: size of a latent row.
        hidden_size: width of dynamics and decoder.
        encoder: "gru", or, jointly, "ode-rnn" or "linear".
        encoder_size: width of the encoder; `hidden_size` unless told, per variable at most 48.
        embedding_size: size of a variable's embedding (per variable; so are the next three).
        attention_layers: how many times the variables of a series exchange what they have seen.
        heads: heads of that attention.
        interaction: "encoder" lets variables exchange before z(t0) only, "dynamics" also along the
            way: then all variables of a series are solved together.
        dynamics: the vector field: "mlp"; "gated", a GRU in continuous time, bounded; "linear", with
            a closed form, exact at any time, the cheapest; "second-order", half of the state being
            the other's velocity; "compartments", pools that known columns fill and that empty in
            proportion, in closed form: what a drug does. Jointly it is read by its logarithm, for
            targets of transform "log".
        likelihood: "normal", "student-t", "laplace" or "quantile" of scaled values, "log-normal",
            "bernoulli", "poisson", "negative-binomial" or "beta" of the table's own; or a name for
            some variables each, such as `{"falls": "poisson"}`, others being normal.
        t0: "origin" or "start".
        anchor: whether locations are counted from each variable's last observed value, so that an
            untrained model is already the last-value forecast.
        value_units: what values are counted in: "training", deviations of the training data, or
            "recent", from their variable's last value, how far its recent changes would carry a random
            walk (`RecentChange`): for prices and what else has no level and is now calm, now restless.
        variational: False makes z(t0) a point, as it is per variable unless told; True a normal
            distribution, as it is jointly.
        posterior: "normal", or "cnf": the normal distribution of z(t0) is carried on by a continuous
            normalising flow that is told what the encoder has read. Makes z(t0) a distribution.
        prior: "normal", or "cnf": a flow learns what z(t0) are like over all series. Likewise.
        solver: arguments of `Solver`; per variable 5 intervals unless told. Solves begin anew at up to
            4 jumps of known columns (`jumps`).
        observation_times: "poisson" models when anything of a series is observed, too, by an intensity
            that is decoded from z(t); "poisson-per-variable" when each variable is; None neither.
        event_rate: typical events per time unit, such as `IrregularDataModule.event_rate`, or one per
            variable, such as its `variable_rates`: where the intensity begins.
        labels: "series" classifies each series as a whole, "times" at any time; None neither.
        n_classes: number of classes.
        label_dropout: dropout of the label head.
        scale_growth: whether the scale is told the lead time, beginning with the growth of a random
            walk (`latentode.nn.ScaleGrowth`); without, only z(t) tells it.
        variables: what each variable is called and its scaled units are, of
            `IrregularDataModule.sizes`, for likelihoods that have to know.
        known_zero: what 0 of each known column is after scaling, likewise: where nothing is given.

    Raises:
        LatentODEError: if a name is unknown, a flow is asked for of a point, or a likelihood does not
            go with a variable's transform.
    """
    for name, choices, what in (
        (layout, LAYOUTS, "layout"),
        (dynamics, DYNAMICS, "dynamics"),
        (value_units, VALUE_UNITS, "value_units"),
    ):
        if name not in choices:
            raise LatentODEError(f"{what} {name!r} is unknown; choose from {', '.join(choices)}")
    kind, chosen = LAYOUTS[layout], likelihood_of(likelihood, n_variables, variables)
    recent = _recent(value_units, anchor, chosen.families(n_variables))
    sizes = Sizes(
        n_variables,
        n_static,
        n_known,
        latent_size,
        hidden_size,
        chosen.n_raw,
        embedding_size,
        known_zero,
        None if variables is None else [_per_log(v) for v in variables.values()],
    )
    options = {
        "encoder": encoder,
        "encoder_size": encoder_size,
        "attention_layers": attention_layers,
        "heads": heads,
        "interaction": interaction,
        "dynamics": dynamics,
        "posterior": posterior,
        "prior": prior,
    }
    parts = kind.make(sizes, options, is_variational(kind, options, variational))
    times = event_times_of(observation_times, sizes, parts[0], event_rate, time_scale)
    solver_ = solver_of(kind, dynamics, solver)
    labelling = labelling_of(labels, n_classes, label_dropout, sizes, parts[0])
    growth = ScaleGrowth(n_variables) if scale_growth else None
    return LatentODE(*parts, chosen, solver_, t0, time_scale, anchor, times, labelling, growth, recent)


def _per_log(variable: Mapping[str, Any]) -> float:
    """How many scaled units a unit of a variable's logarithm is; 1 where it is not the logarithm's."""
    return 1 / float(variable["scale"]) if variable.get("transform") == "log" else 1.0


def _recent(value_units: str, anchor: bool, families: Sequence[Likelihood]) -> RecentChange | None:
    """What units of recent changes come from, if they are asked for.

    Raises:
        LatentODEError: if they are, but the locations of some family are not distances in such units.
    """
    if value_units != "recent":
        return None
    if not anchor:
        raise LatentODEError("value_units='recent' counts from the last value; leave anchor=True")
    other = next((f.name for f in families if f.of_data_units), None)
    if other is not None:
        raise LatentODEError(
            f"value_units='recent' is for values that may be any number; leave it out with {other!r}"
        )
    return RecentChange(len(families))
