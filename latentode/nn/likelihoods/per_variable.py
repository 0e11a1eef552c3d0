r"""PerVariable: a likelihood for each variable; Mixed: a distribution of queries of several kinds.

The model works in scaled units $u = (x - l) / s$. For a query of a family of data units

$$\log p(u) = \log p(x) + \log s \quad\text{(a density)}, \qquad P(u) = P(x) \quad\text{(a count)}$$

Queries are sorted into one part per family, each a `torch.distributions` object; what a part says of
its queries depends on no other part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from latentode.nn.likelihoods.base import (
    Likelihood,
    change_parameters,
    join,
    joined,
    pick,
    score,
    take,
)

__all__ = ["Mixed", "Part", "PerVariable"]


@dataclass(frozen=True)
class Part:
    """The queries of one family.

    Args:
        distribution: in the family's own units, shape `(samples, queries of the part)`.
        place: where they stand among all queries.
        loc: what scaled 0 is in the family's units, shape `(queries of the part,)`.
        scale: what one scaled unit is, likewise.
        discrete: whether values are whole numbers.
    """

    distribution: Distribution
    place: Tensor
    loc: Tensor
    scale: Tensor
    discrete: bool

    def own(self, value: Tensor) -> Tensor:
        """Its part of scaled values `(..., queries)`, in its own units."""
        value = value[..., self.place]
        if not self.discrete:
            return self.loc + self.scale * value
        return (self.loc.double() + self.scale.double() * value.double()).round()

    def exact(self, value: np.ndarray) -> np.ndarray:
        """Its part of scaled values in its own units, whole where only rounding is amiss."""
        loc, scale = self.loc.double().numpy(), self.scale.double().numpy()
        own = loc + scale * value
        if not self.discrete or ((loc == 0) & (scale == 1)).all():
            return own
        rounding = 4 * torch.finfo(torch.float64).eps * (np.abs(loc) + np.abs(scale * value))
        whole = np.rint(own)
        return np.where(np.abs(own - whole) <= rounding, whole, own)

    def log_prob(self, value: Tensor, rule: Callable[[Distribution, Tensor], Tensor]) -> Tensor:
        found = rule(self.distribution, self.own(value)).to(self.scale.dtype)
        return found if self.discrete else found + self.scale.log()


class Mixed(Distribution):
    """A distribution of scaled values whose queries come in parts.

    Args:
        parts: their places are all of the queries, each once; one for each family, also where it has
            no query.
        queries: their number.
    """

    arg_constraints = {}  # type: ignore[assignment,override]  # noqa: RUF012

    def __init__(self, parts: Sequence[Part], queries: int) -> None:
        self.parts = tuple(parts)
        shape = (*self.parts[0].distribution.batch_shape[:-1], queries)
        super().__init__(torch.Size(shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self._gather([(p.distribution.mean - p.loc) / p.scale for p in self.parts])

    @property
    def variance(self) -> Tensor:
        return self._gather([p.distribution.variance / p.scale**2 for p in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        return self._gather([p.log_prob(value, _log_density) for p in self.parts])

    def score(self, value: Tensor) -> Tensor:
        """What training raises; see `score`."""
        return self._gather([p.log_prob(value, score) for p in self.parts])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        return self._gather([(p.distribution.sample(shape) - p.loc) / p.scale for p in self.parts])

    def own_units(self) -> Mixed:
        """The same of values in each query's own units."""
        parts = [
            replace(p, loc=torch.zeros_like(p.loc), scale=torch.ones_like(p.scale)) for p in self.parts
        ]
        return Mixed(parts, self.batch_shape[-1])

    def _gather(self, found: Sequence[Tensor]) -> Tensor:
        """Queries back in their places, shape `(..., queries)`."""
        place = torch.cat([p.place for p in self.parts])
        return torch.cat(list(found), dim=-1)[..., place.argsort()]


def _log_density(distribution: Distribution, value: Tensor) -> Tensor:
    return distribution.log_prob(value)


@score.register
def _(distribution: Mixed, value: Tensor) -> Tensor:
    return distribution.score(value)


@change_parameters.register
def _(distribution: Mixed, change: Callable[[str, Tensor], Tensor]) -> Mixed:
    parts = []
    for p in distribution.parts:
        loc, scale = change("units_loc", p.loc), change("units_scale", p.scale)
        made = change_parameters(p.distribution, change)
        parts.append(replace(p, distribution=made, place=p.place.to(loc.device), loc=loc, scale=scale))
    return Mixed(parts, distribution.batch_shape[-1])


@take.register
def _(distribution: Mixed, places: Tensor) -> Mixed:
    parts = []
    for p in distribution.parts:
        # Of each place asked for, which query of this part stands there, if any.
        here = torch.full((distribution.batch_shape[-1],), -1, device=p.place.device)
        here[p.place] = torch.arange(len(p.place), device=p.place.device)
        own = here[places]
        new = (own >= 0).nonzero().squeeze(1)
        own = own[new]
        made = take(p.distribution, own)
        parts.append(replace(p, distribution=made, place=new, loc=p.loc[own], scale=p.scale[own]))
    return Mixed(parts, len(places))


@pick.register
def _(distribution: Mixed, samples: Tensor) -> Mixed:
    parts = [
        replace(p, distribution=pick(p.distribution, samples[:, p.place])) for p in distribution.parts
    ]
    return Mixed(parts, distribution.batch_shape[-1])


@joined.register
def _(first: Mixed, parts: Sequence[Mixed]) -> Mixed:
    begin = np.cumsum([0, *(m.batch_shape[-1] for m in parts)])
    together = []
    for n, p in enumerate(first.parts):
        same = [m.parts[n] for m in parts]
        together.append(
            replace(
                p,
                distribution=join([s.distribution for s in same]),
                place=torch.cat([s.place + int(b) for s, b in zip(same, begin, strict=False)]),
                loc=torch.cat([s.loc for s in same]),
                scale=torch.cat([s.scale for s in same]),
            )
        )
    return Mixed(together, int(begin[-1]))


@dataclass(frozen=True)
class _Asked:
    """The queries of one family before they are answered; fields as of `Part`."""

    raw: Tensor
    place: Tensor
    variable: Tensor
    loc: Tensor
    scale: Tensor

    def own(self, value: Tensor) -> Tensor:
        """Its part of scaled values `(..., queries)`, in the family's units."""
        return self.loc + self.scale * value[..., self.place]


@dataclass(frozen=True)
class PerVariable(Likelihood):
    """A family for each variable.

    Args:
        kinds: the families that occur, each once, knowing the units of all variables.
        kind: which of them each variable has.
        loc: mean of each variable over its training observations.
        scale: standard deviation likewise.
        every: whether each family says something of every query, as a graph has to, which does not
            depend on what is asked; `own_parts` then keeps what is each family's own.
    """

    kinds: tuple[Likelihood, ...]
    kind: tuple[int, ...]
    loc: tuple[float, ...]
    scale: tuple[float, ...]
    every: bool = False

    @property
    def n_raw(self) -> int:  # type: ignore[override]
        return max(k.n_raw for k in self.kinds)

    def distribution(
        self,
        raw: Tensor,
        anchor: Tensor,
        variable: Tensor | None = None,
        spread: Tensor | None = None,
    ) -> Mixed:
        def made(family: Likelihood, part: _Asked) -> Distribution:
            wide = None if spread is None else spread[..., part.place]
            return family.distribution(part.raw, part.own(anchor), part.variable, wide)

        return self._parts(raw, variable, made)

    def about(
        self, raw: Tensor, mean: Tensor, deviation: Tensor, variable: Tensor | None = None
    ) -> Mixed:
        def made(family: Likelihood, part: _Asked) -> Distribution:
            wide = part.scale * deviation[..., part.place]
            return family.about(part.raw, part.own(mean), wide, part.variable)

        return self._parts(raw, variable, made)

    def _parts(
        self, raw: Tensor, variable: Tensor | None, make: Callable[[Likelihood, _Asked], Distribution]
    ) -> Mixed:
        """Of each family what `make` says of its queries."""
        if variable is None:
            variable = torch.zeros(raw.shape[-2], dtype=torch.long, device=raw.device)
        of = torch.tensor(self.kind, device=raw.device)[variable]
        parts = []
        for n, family in enumerate(self.kinds):
            every = torch.arange(len(variable), device=raw.device)
            place = every if self.every else (of == n).nonzero().squeeze(1)
            own = variable[place]
            loc, scale = raw.new_zeros(len(place)), raw.new_ones(len(place))
            if family.of_data_units:
                loc, scale = raw.new_tensor(self.loc)[own], raw.new_tensor(self.scale)[own]
            asked = _Asked(raw[..., place, : family.n_raw], place, own, loc, scale)
            parts.append(Part(make(family, asked), place, loc, scale, family.discrete))
        return Mixed(parts, len(variable))

    def of_every(self) -> PerVariable:
        return replace(self, every=True)

    def own_parts(self, distribution: Distribution, variable: Tensor) -> Distribution:
        parts, of = [], torch.tensor(self.kind)[variable]
        for n, part in enumerate(distribution.parts):  # type: ignore[attr-defined]
            place = (of == n).nonzero().squeeze(1)
            made, loc, scale = take(part.distribution, place), part.loc[place], part.scale[place]
            parts.append(replace(part, distribution=made, place=place, loc=loc, scale=scale))
        return Mixed(parts, len(variable))

    def icdf(self, distribution: Distribution, q: float | np.ndarray) -> np.ndarray:
        return self._each(
            distribution, lambda family, part: family.icdf(part.distribution, _own(q, part))
        )

    def at_score(self, distribution: Distribution, t: float | np.ndarray) -> np.ndarray:
        return self._each(
            distribution, lambda family, part: family.at_score(part.distribution, _own(t, part))
        )

    def cdf(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        mixed: Mixed = distribution  # type: ignore[assignment]
        value = np.asarray(value, dtype=np.float64)
        found = []
        for family, part in zip(self.kinds, mixed.parts, strict=True):
            own = part.exact(value[..., part.place.numpy()])
            shape = part.distribution.batch_shape
            found.append(np.broadcast_to(family.cdf(part.distribution, own), shape))
        return _in_places(mixed, found)

    def impossible(self, distribution: Distribution, value: np.ndarray) -> np.ndarray:
        mixed: Mixed = distribution  # type: ignore[assignment]
        asked = zip(self.kinds, mixed.parts, strict=True)
        return _in_places(mixed, [family.outside(value[p.place.numpy()]) for family, p in asked])

    def view(self, value: Tensor, variable: Tensor) -> Tensor:
        """Counts and positive values by their logarithm, so that bursts do not drown the rest."""
        kind = torch.tensor(self.kind, device=value.device)[variable]
        seen = value
        for n, family in enumerate(self.kinds):
            if family.of_data_units:
                seen = torch.where(kind == n, family.view(value, variable), seen)
        return seen

    def whole(self, distribution: Distribution) -> np.ndarray:
        mixed: Mixed = distribution  # type: ignore[assignment]
        return _in_places(mixed, [np.full(len(p.place), p.discrete) for p in mixed.parts])

    def families(self, n_variables: int) -> tuple[Likelihood, ...]:
        return tuple(self.kinds[k] for k in self.kind)

    def in_data_units(
        self, distribution: Distribution, loc: np.ndarray, scale: np.ndarray
    ) -> tuple[Distribution, np.ndarray, np.ndarray]:
        mixed: Mixed = distribution  # type: ignore[assignment]
        loc, scale = loc.copy(), scale.copy()
        for family, part in zip(self.kinds, mixed.parts, strict=True):
            if family.of_data_units:
                loc[part.place.numpy()], scale[part.place.numpy()] = 0.0, 1.0
        return mixed.own_units(), loc, scale

    def _each(
        self, distribution: Distribution, ask: Callable[[Likelihood, Part], np.ndarray]
    ) -> np.ndarray:
        mixed: Mixed = distribution  # type: ignore[assignment]
        found = []
        for family, part in zip(self.kinds, mixed.parts, strict=True):
            own = ask(family, part)
            found.append((own - part.loc.numpy()) / part.scale.numpy())
        return _in_places(mixed, found)


def _own(asked: float | np.ndarray, part: Part) -> Any:
    """What is asked of the queries of a part: one number for all, or each its own."""
    return asked if np.ndim(asked) == 0 else np.asarray(asked)[..., part.place.numpy()]


def _in_places(mixed: Mixed, found: Sequence[np.ndarray]) -> np.ndarray:
    place = np.concatenate([p.place.numpy() for p in mixed.parts])
    return np.concatenate(found, axis=-1)[..., np.argsort(place)]
