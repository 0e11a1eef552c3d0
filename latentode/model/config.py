"""Configuration of a network: frozen values with defaults, reachable by name from every door.

A field is the same whether it comes from a constructor, `replace`, a nested parameter of scikit-learn
(`model__latent_size`, `model__solver__method`) or a mapping that was read from YAML or JSON. A name
that does not exist is refused with the names that do.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Any, Self, get_args, get_origin, get_type_hints

import numpy as np

from latentode.errors import LatentODEError, check_choice, shown

if TYPE_CHECKING:
    from latentode.model.network import LatentODE

__all__ = ["AUTO", "Config", "ModelConfig", "Sizes", "SolverConfig"]

MOST_OF_ANY = 10**9  # of any setting

AUTO = "auto"
# Of `latentode.nn.likelihoods`, known here without it, so that a wrong name is refused at once.
FAMILIES = (AUTO, "normal", "student-t", "laplace", "quantile", "log-normal", "bernoulli", "poisson",
            "negative-binomial", "beta")  # fmt: skip
WIDEST, DEEPEST = 1 << 16, 1 << 10
MOST = dict.fromkeys(("latent_size", "hidden_size", "encoder_size", "embedding_size"), WIDEST)
MOST |= dict.fromkeys(("attention_layers", "attention_heads", "harmonics"), DEEPEST)


@dataclass(frozen=True)
class Config:
    """A frozen set of named settings; a subclass is a frozen dataclass that declares its fields."""

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        for name in settings:  # before Python's own error, which does not say what there is
            cls._refuse_unknown(name)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for f in fields(self):
            given = getattr(self, f.name)
            if isinstance(given, np.generic):  # as a grid of numpy's has them
                object.__setattr__(self, f.name, given := given.item())
            if isinstance(f.default, Config) and isinstance(given, Mapping):
                object.__setattr__(self, f.name, given := type(f.default).of(given))
            if not _fits(given, hints[f.name]):
                kind = str(hints[f.name]).replace("collections.abc.", "").replace("typing.", "")
                kind = hints[f.name].__name__ if isinstance(hints[f.name], type) else kind
                raise LatentODEError(f"{f.name} must be {kind}, got {shown(given)}")
            if isinstance(given, int) and abs(given) > MOST_OF_ANY:
                raise LatentODEError(f"{f.name} must be at most {MOST_OF_ANY:,}, got {shown(given)}")
        self.check()

    def check(self) -> None:
        """Raises a `LatentODEError` for a field that no value of others could make right."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Fields by name; with `deep`, those of nested configurations too, as `solver__method`."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        if deep:
            for name, value in list(found.items()):
                if isinstance(value, Config):
                    found |= {f"{name}__{n}": v for n, v in value.get_params().items()}
        return found

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; a field of a nested configuration is named `solver__method`.

        Raises:
            LatentODEError: for a name that does not exist, listing those that do.
        """
        own: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            head, _, rest = name.partition("__")
            self._refuse_unknown(head)
            if rest:
                nested.setdefault(head, {})[rest] = value
            else:
                own[name] = value
        for name, inner in nested.items():
            before = own.get(name, getattr(self, name))
            if not isinstance(before, Config):
                raise LatentODEError(f"{type(self).__name__}.{name} has no setting `{min(inner)}`")
            own[name] = before.replace(**inner)
        return replace(self, **own)

    @classmethod
    def of(cls, given: Self | Mapping[str, Any]) -> Self:
        """A configuration as it is, or from a mapping of names, as YAML or JSON have it.

        Raises:
            LatentODEError: for a name that does not exist, listing those that do.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise LatentODEError(f"{cls.__name__} is made of named settings, got {given!r}")
        default = cls()
        nested = {n for n, v in default.get_params(deep=False).items() if isinstance(v, Config)}
        made = {n: v for n, v in given.items() if n not in nested}
        for name in nested & given.keys():
            made[name] = type(getattr(default, name)).of(given[name])
        return default.replace(**made)

    def to_dict(self) -> dict[str, Any]:
        """Primitives by name, nested ones too; `of` is its inverse."""
        found = self.get_params(deep=False)
        return {
            n: v.to_dict() if isinstance(v, Config) else dict(v) if isinstance(v, Mapping) else v
            for n, v in found.items()
        }

    def __sklearn_clone__(self) -> Self:
        """Itself: what cannot be changed need not be copied."""
        return self

    def __repr__(self) -> str:
        """The fields that differ from their defaults."""
        default = {f.name: _default(f) for f in fields(self)}
        changed = {n: v for n, v in self.get_params(deep=False).items() if v != default[n]}
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in changed.items())})"

    @classmethod
    def _refuse_unknown(cls, name: str) -> None:
        names = [f.name for f in fields(cls)]
        if name in names:
            return
        near = difflib.get_close_matches(name, names, 1)
        meant = f"; did you mean `{near[0]}`?" if near else "."
        known = ", ".join(f"`{n}`" for n in names)
        raise LatentODEError(f"{cls.__name__} has no setting `{name}`{meant} It has {known}")


def _default(f: Any) -> Any:
    return f.default


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: a truth value is no number, and a whole number is a number."""
    if isinstance(hint, UnionType):
        return any(_fits(value, kind) for kind in get_args(hint))
    if get_origin(hint) is Sequence:
        every = isinstance(value, Sequence) and not isinstance(value, str)
        return every and all(_fits(v, get_args(hint)[0]) for v in value)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


@dataclass(frozen=True, repr=False)
class Sizes(Config):
    """What a network has to know of the data that it is for; `IrregularDataModule.sizes` makes it.

    Args:
        n_variables: number of variables.
        n_static: number of encoded static covariates.
        n_known: number of known-future covariates.
        time_scale: length of one unit of model time in time units of the data, best the usual horizon.
        variables: per variable what a likelihood may have to know: `loc` and `scale` of training, and
            `transform` where it has one; None where no names are known.
        known_zero: what 0 of each known-future covariate is after scaling; None for 0.
        event_rate: typical times of observation per time unit of a series.
        variable_rates: typical observations per time unit of each variable; None for `event_rate`.
        labels: "series" or "times": what has a class; None where nothing is to be classified.
        n_classes: number of classes.
        periods: of the schema's cycles, in time units of the data; None for none.
        cycle_harmonics: of how many sines each cycle's shape asks; None for four.
    """

    n_variables: int = 1
    n_static: int = 0
    n_known: int = 0
    time_scale: float = 1.0
    variables: Mapping[str, Mapping[str, Any]] | None = field(default=None, hash=False)
    known_zero: Sequence[float] | None = None
    event_rate: float = 1.0
    variable_rates: Sequence[float] | None = None
    labels: str | None = None
    n_classes: int = 0
    periods: Sequence[float] | None = None
    cycle_harmonics: Sequence[int] | None = None


@dataclass(frozen=True, repr=False)
class SolverConfig(Config):
    """How a network's differential equation is solved; see `latentode.ode.Solver`.

    Args:
        method: a method of `latentode.ode.Solver`; None takes what suits the dynamics.
        intervals: knots per solve, less one; None takes what suits the latent state.
        steps: steps of a fixed-step method per interval; "auto" doubles them in training, up to 16,
            whenever the estimated error exceeds `tolerance`.
        rtol: relative tolerance of adaptive methods.
        atol: absolute tolerance of adaptive methods.
        adjoint: "direct", "checkpoint" or "backsolve".
        jumps: most jumps of known-future covariates within a solve at which it begins anew.
        tolerance: the error of the latent state that `steps="auto"` allows.
    """

    method: str | None = None
    intervals: int | None = None
    steps: int | str = 1
    rtol: float = 1e-5
    atol: float = 1e-6
    adjoint: str = "direct"
    jumps: int = 4
    tolerance: float = 1e-2

    def check(self) -> None:
        if isinstance(self.steps, str) and self.steps != AUTO:
            raise LatentODEError(f"steps must be a whole number or 'auto', got {self.steps!r}")
        for name in ("intervals", "steps", "jumps"):
            if isinstance(given := getattr(self, name), int) and given > DEEPEST:
                raise LatentODEError(f"{name} must be at most {DEEPEST}, got {given}")
        if not self.tolerance > 0:
            raise LatentODEError(f"tolerance must be positive, got {self.tolerance!r}")

    @property
    def automatic(self) -> bool:
        """Whether training chooses the number of steps."""
        return self.steps == AUTO

    def arguments(self, **suited: Any) -> dict[str, Any]:
        """Arguments of `latentode.ode.Solver`; `suited` stands where nothing was chosen."""
        chosen = self.get_params(deep=False)
        del chosen["tolerance"]
        chosen["steps"] = 1 if self.automatic else self.steps
        return {n: suited[n] if v is None and n in suited else v for n, v in chosen.items()}


@dataclass(frozen=True, repr=False)
class ModelConfig(Config):
    """What a network is made of.

    Args:
        latent: "per-variable", a latent state per (series, variable), the more accurate one more often,
            or "joint", one per series, the classic latent ODE.
        latent_size: size of a latent state.
        hidden_size: width of dynamics and decoder.
        encoder: "gru", or, jointly, "ode-rnn" or "linear" (parallel over events).
        reads: "changes": the encoder is told, beside each value, how much it has changed and how fast;
            "values": values alone, as in the 2019 paper.
        encoder_size: width of the encoder; None takes `hidden_size`, per variable at most 48.
        embedding_size: size of a variable's embedding (per variable; so are the next three).
        attention_layers: how many times the variables of a series exchange what they have seen.
        attention_heads: heads of that attention.
        interaction: "encoder" lets variables exchange before z(t0) only, "dynamics" also along the way:
            then all variables of a series are solved together.
        dynamics: the vector field: "mlp"; "gated", a GRU in continuous time, bounded; "linear", with a
            closed form, exact at any time, the cheapest; "second-order", half of the state being the
            other's velocity; "compartments", pools that known covariates fill and that empty in
            proportion, in closed form: what a drug does. Jointly it is read by its logarithm, for
            targets of transform "log".
        likelihood: how values scatter: "normal", "student-t", "laplace" or "quantile" (of any shape),
            "log-normal" (positive), "beta" (between 0 and 1), "bernoulli" (0 or 1), "poisson" or
            "negative-binomial" (counts); or some variables' names with theirs, others being normal.
            "auto": an estimator takes for each variable that no transform is named for what its values
            allow and held-out ones are likeliest by, positive and skewed ones by their logarithm;
            elsewhere normal.
        t0: where the latent state starts: "origin" (the end of the context) or "start" (its beginning,
            as in the 2018 paper).
        structure: what a forecast is counted from: "state-space", a structural model of level,
            slope, deviation, the schema's cycles and effects of known-future columns, in closed form,
            which the latent state corrects in units of its deviation; "last-value", each variable's
            last observed value; None for nothing: then z(t) holds where a system is, as in the 2018
            paper.
        harmonics: how many sines each cycle of that forecast is made of; None for four, or eight or
            twelve where a cycle is so sharp that held-out blocks of time ask for them.
        variational: False makes z(t0) a point, as it is per variable; True a normal distribution, as it
            is jointly; None takes what suits the latent state.
        posterior: "normal", or "cnf": a continuous normalising flow that is told what the encoder has
            read carries the normal distribution of z(t0) on. Makes z(t0) a distribution.
        prior: "normal", or "cnf": a flow learns what z(t0) are like over all series. Likewise.
        solver: how the differential equation is solved.
        observation_times: "poisson" models when anything of a series is observed, too, by an intensity
            that is decoded from z(t); "poisson-per-variable" when each variable is; None neither.
        label_dropout: dropout of the label head, where there are labels.

    Example:
        >>> ModelConfig(latent_size=8).replace(solver__method="dopri5")
        ModelConfig(latent_size=8, solver=SolverConfig(method='dopri5'))
    """

    latent: str = "per-variable"
    latent_size: int = 16
    hidden_size: int = 64
    encoder: str = "gru"
    reads: str = "changes"
    encoder_size: int | None = None
    embedding_size: int = 16
    attention_layers: int = 2
    attention_heads: int = 4
    interaction: str = "encoder"
    dynamics: str = "mlp"
    likelihood: str | Mapping[str, str] = field(default=AUTO, hash=False)
    t0: str = "origin"
    structure: str | None = "state-space"
    harmonics: int | None = None
    variational: bool | None = None
    posterior: str = "normal"
    prior: str = "normal"
    solver: SolverConfig = SolverConfig()
    observation_times: str | None = None
    label_dropout: float = 0.0

    def check(self) -> None:
        sizes = ("latent_size", "hidden_size", "embedding_size", "attention_heads", "harmonics")
        for name in sizes:
            if (given := getattr(self, name)) is not None and given < 1:
                raise LatentODEError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not 0 <= self.label_dropout < 1:
            raise LatentODEError(
                f"label_dropout must be at least 0 and below 1, got {self.label_dropout!r}"
            )
        if self.encoder_size is not None and self.encoder_size < 1:
            raise LatentODEError(f"encoder_size must be at least 1, or None; got {self.encoder_size}")
        if self.attention_layers < 0:
            raise LatentODEError(f"attention_layers must not be negative, got {self.attention_layers}")
        told = self.likelihood
        by_variable = isinstance(told, Mapping)
        for name in told.values() if by_variable else (told,):
            check_choice("likelihood", name, FAMILIES[by_variable:])
        for name, most in MOST.items():  # so that no network is begun that memory cannot hold
            if (getattr(self, name) or 0) > most:
                raise LatentODEError(f"{name} must be at most {most}, got {getattr(self, name)!r}")

    def build(self, sizes: Sizes) -> LatentODE:
        """The network, its weights drawn by torch's generator.

        Args:
            sizes: of the data, such as `IrregularDataModule.sizes`.

        Raises:
            LatentODEError: for a name that is unknown, or choices that do not go together.
        """
        # Here, since what builds a network reads its configuration.
        from latentode.model.building import build_latent_ode

        return build_latent_ode(self, sizes)
