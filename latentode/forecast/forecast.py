"""Forecast: the predictive distribution at queries, in data units.

It is an equal mixture over latent samples, perhaps with normal scores transformed. All is of that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch.distributions import Distribution

from latentode.data.cells.columns import IntoFrame, quantile_list, quantile_name
from latentode.data.files.writing import in_kind_of
from latentode.data.scaling import Units
from latentode.data.tables.transforms import Transform
from latentode.errors import LatentODEError, as_numbers, check_draws, check_size
from latentode.forecast.components import WITHOUT_STRUCTURE, StructuralParts
from latentode.forecast.mixture import (
    EDGES,
    mixture_cdf,
    mixture_quantile,
    mixture_quantiles,
    moments_in_units,
    moments_of_cdf,
    moments_of_counts,
)
from latentode.forecast.residuals import FURTHEST, ScoreTransform
from latentode.forecast.sampler import NOISE_POINTS, NOISE_WEIGHTS, Joint, independent_scores
from latentode.nn.likelihoods import Likelihood, mixture, pick, take

__all__ = ["Forecast"]

CELLS_AT_ONCE = 4_000_000  # samples times draws times queries, for the memory they take


@dataclass(frozen=True)
class Forecast:
    """An equal mixture over latent samples of one distribution per query.

    Made by `Forecast.of`; queries whose likelihood is one of data units have `loc` 0 and `scale` 1.

    Args:
        keys: identifier, time and variable of each query.
        distribution: components in scaled units, shape `(samples, queries)`, float64, on the CPU.
        likelihood: whose distribution it is.
        loc: per query, what scaled 0 is in data units.
        scale: per query, what one scaled unit is in data units.
        transforms: what data units are transformed by before they are scaled, each with its queries.
        joint: which queries share a path, and how long departures last along it; None where that is not
            known: then draws share their latent sample only.
        score_transform: of normal scores, by calibration or later observations; None for none.
        structure: parts of the structural mean; None if not asked for, or if the model has none.
        kind: a frame of the library in which frames are given; None for pandas.
    """

    keys: pd.DataFrame
    distribution: Distribution
    likelihood: Likelihood
    loc: np.ndarray
    scale: np.ndarray
    transforms: tuple[tuple[Transform, np.ndarray], ...] = ()
    joint: Joint | None = None
    score_transform: ScoreTransform | None = None
    structure: StructuralParts | None = None
    kind: IntoFrame | None = None

    @classmethod
    def of(
        cls, keys: pd.DataFrame, distribution: Distribution, likelihood: Likelihood, units: Units
    ) -> Forecast:
        """From components in scaled units and what those are in data units, likewise."""
        own, loc, scale = likelihood.in_data_units(distribution, units.loc, units.scale)
        return cls(keys, own, likelihood, loc, scale, units.transforms)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, places: np.ndarray) -> Forecast:
        """The forecast of the queries at `places`, in their order."""
        here = np.full(len(self), -1)
        here[places] = np.arange(len(places))
        moved = ((transform, here[at]) for transform, at in self.transforms)
        return replace(
            self,
            keys=self.keys.iloc[places].reset_index(drop=True),
            distribution=take(self.distribution, torch.from_numpy(places)),
            loc=self.loc[places],
            scale=self.scale[places],
            transforms=tuple((transform, at[at >= 0]) for transform, at in moved),
            joint=None if self.joint is None else self.joint.take(places),
            score_transform=None if self.score_transform is None else self.score_transform.take(places),
            structure=None if self.structure is None else self.structure.take(places),
        )

    @property
    def n_samples(self) -> int:
        """How many latent samples the mixture is of."""
        return self.distribution.batch_shape[0]

    @property
    def units(self) -> Units:
        """What the distribution's values are in data units."""
        return Units(self.loc, self.scale, self.transforms)

    @property
    def mean(self) -> np.ndarray:
        """Predictive mean in data units, shape `(queries,)`."""
        return self._moments[0].copy()

    @property
    def std(self) -> np.ndarray:
        """Predictive standard deviation in data units, within and between latent samples."""
        return self._moments[1].copy()

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each query."""
        mean, std = moments_in_units(self.likelihood, self.distribution, self.units)
        if self.score_transform is not None:
            place = np.flatnonzero(self.score_transform.changed)
            for whole in (False, True):
                own = place[self.whole[place] == whole]
                mean[own], std[own] = self.take(own)._transformed_moments(whole)
        return mean, std

    def _transformed_moments(self, whole: bool) -> tuple[np.ndarray, np.ndarray]:
        """Moments after the score transform: integrals of the cdf, or sums over whole numbers."""
        if len(self) == 0:
            return np.zeros(0), np.zeros(0)
        assert self.score_transform is not None
        if whole:
            ends = (self._at_level(special.ndtr(t)) for t in EDGES[[0, -1]])
            return moments_of_counts(self.cdf, *ends)
        edges = np.stack([self._at_level(self.score_transform.level(t)) for t in EDGES])
        return moments_of_cdf(self.cdf, edges)

    @cached_property
    def whole(self) -> np.ndarray:
        """Which queries have whole numbers for values, shape `(queries,)`."""
        return self.likelihood.whole(self.distribution)

    def cdf(self, value: float | np.ndarray) -> np.ndarray:
        """P(x <= value) of each query, shape `(queries,)`; one value in data units for all, or of each.

        Raises:
            LatentODEError: for what is no number, and for a value of any other shape.
        """
        value = as_numbers("value of cdf", value, len(self), one=True)
        found = self._cdf(np.broadcast_to(value, (len(self),)))
        return found if self.score_transform is None else self.score_transform.cdf(found)

    def _cdf(self, value: np.ndarray) -> np.ndarray:
        """`cdf` before any score transform."""
        return mixture_cdf(self.likelihood, self.distribution, self.units.to_scaled(value))

    def log_prob(self, actual: np.ndarray) -> np.ndarray:
        """Log-density of each query's actual value in data units; of counts the log-probability.

        Minus its mean is the negative log-likelihood; minus infinity is said of what cannot be.

        Args:
            actual: shape `(queries,)`; NaN gives NaN.

        Returns:
            Shape `(queries,)`.
        """
        actual, units = as_numbers("actual", actual, len(self)), self.units
        never = units.outside(actual) | self.likelihood.impossible(self.distribution, actual)
        odd = never | (missing := np.isnan(actual))
        possible = np.where(odd, self.quantile(0.5), actual) if odd.any() else actual
        scaled = torch.from_numpy(units.to_scaled(possible))
        found = mixture(self.distribution).log_prob(scaled).numpy() + units.log_slope(possible)
        if self.score_transform is not None:
            at, below = self._cdf(possible), self._cdf(possible - 1)
            found = self.score_transform.log_prob(found, at, below, self.whole)
        return np.where(missing, np.nan, np.where(never, -np.inf, found))

    def quantile(self, q: float) -> np.ndarray:
        """The value below which lies the probability `q`, shape `(queries,)`.

        Of whole numbers, the least one at or below which it lies.

        Raises:
            LatentODEError: unless 0 < q < 1.

        Warns:
            UserWarning: where `q` is further out than what it was calibrated by can guarantee.
        """
        (q,) = quantile_list(q)
        if self.score_transform is None:
            return self._at_level(q)
        if self.score_transform.curves is not None:
            self.score_transform.curves.warn_of_unguaranteed(q)
        return self._at_level(self.score_transform.level(special.ndtri(q)))

    def _at_level(self, level: float | np.ndarray) -> np.ndarray:
        """Where the mixture reaches a level, or each query's own, before any score transform."""
        return self.units.to_data(mixture_quantile(self.likelihood, self.distribution, level))

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Joint draws of readings, shape `(n, queries)`, each distributed as the forecast says.

        Within a draw all queries of a series share one latent path, and what departs from it lasts as
        long as it does in the data (`latentode.forecast.residuals`), so that sums, maxima and
        differences over time are those of one future. Draws of different series are independent.

        Args:
            n: number of draws.
            seed: another seed, other draws; no global generator is touched.
        """
        check_draws("samples", n, len(self), seed)
        if self.joint is None:
            took, scores = independent_scores(n, len(self), self.n_samples, seed)
            parts = pick(self.distribution, torch.from_numpy(took))
        else:
            parts = pick(self.distribution, torch.from_numpy(self.joint.took(n, self.n_samples)))
            scores = self.joint.scores(parts.variance.numpy(), seed)
        values = self.likelihood.icdf(parts, level := _level(scores))
        return self.units.to_data(self._transformed(values, self._inside_step(parts, values, level)))

    def quantity(self, took: np.ndarray, waves: np.ndarray) -> np.ndarray:
        """The quantity itself, without the noise of single readings, in draws of data units.

        It is the mean of the readings that share what lasts; of whole numbers a reading of which
        everything lasts.

        Args:
            took: which latent sample answers each query in each draw, shape `(n, queries)`.
            waves: draws of the residual process there, same shape.

        Raises:
            LatentODEError: if it is not known which queries share a path.
        """
        if self.joint is None:
            raise LatentODEError("this forecast does not say which of its queries share a path")
        parts, whole = pick(self.distribution, torch.from_numpy(took)), self.whole
        lasting = np.where(whole, 1.0, self.joint.lasting(parts.variance.numpy()))
        mean = np.zeros(waves.shape)
        for point, weight in zip(NOISE_POINTS.tolist(), NOISE_WEIGHTS.tolist(), strict=True):
            score = np.sqrt(lasting) * waves + np.sqrt(1 - lasting) * point
            mean += weight * self.units.to_data(self.likelihood.icdf(parts, _level(score)))
        mean = np.where(whole, np.rint(mean), mean)
        if self.score_transform is None:
            return mean
        values = self.units.to_scaled(mean)
        inside = self._inside_step(parts, values, _level(waves))
        return self.units.to_data(self._transformed(values, inside))

    def means(self, took: np.ndarray) -> np.ndarray:
        """The mean of the component that each draw takes, untransformed, shape `(n, queries)`."""
        return self.loc + self.scale * pick(self.distribution, torch.from_numpy(took)).mean.numpy()

    def _transformed(self, values: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Draws `(n, queries)` of the distribution's units, moved by the score transform.

        Args:
            values: draws of the components.
            inside: where in its step of the cdf each draw of a whole number lies, between 0 and 1.
        """
        if self.score_transform is None or not self.score_transform.changed.any():
            return values
        place = np.flatnonzero(self.score_transform.changed)
        own, transform = self.take(place), self.score_transform.take(place)
        level = np.empty((len(values), len(place)))
        at_once = max(1, CELLS_AT_ONCE // max(1, self.n_samples * len(place)))
        for begin in range(0, len(values), at_once):
            part = slice(begin, begin + at_once)
            drawn, steps = values[part][:, place], inside[part][:, place]
            every = own.take(np.tile(np.arange(len(place)), len(drawn)))
            scores = every._scores_at(drawn.reshape(-1), steps.reshape(-1))
            level[part] = transform.level(scores.reshape(drawn.shape))
        found = values.copy()
        found[:, place] = mixture_quantiles(self.likelihood, own.distribution, level)
        return found

    def _inside_step(self, parts: Distribution, values: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Where in its step of its component's cdf each draw of a whole number lies, else 1."""
        if self.score_transform is None or not self.whole.any():
            return np.ones(values.shape)
        at, below = (self.likelihood.cdf(parts, values - back) for back in (0.0, 1.0))
        return np.clip((level - below) / np.where(at > below, at - below, 1.0), 0.0, 1.0)

    def _scores_at(self, scaled: np.ndarray, inside: float | np.ndarray) -> np.ndarray:
        """Normal scores of values in the distribution's units, before any score transform."""
        level = mixture_cdf(self.likelihood, self.distribution, scaled)
        if self.whole.any():
            below = mixture_cdf(self.likelihood, self.distribution, scaled - 1)
            level = np.where(self.whole, below + inside * (level - below), level)
        return np.clip(special.ndtri(level), -FURTHEST, FURTHEST)

    def scores(self, actual: np.ndarray, inside: float | np.ndarray = 0.5) -> np.ndarray:
        """The normal scores of what was observed, at most 7.5 either way, shape `(queries,)`.

        Args:
            actual: in data units, shape `(queries,)`.
            inside: where in its step of the cdf the score of a whole number is taken, between 0 and 1.
        """
        scaled = self.units.to_scaled(as_numbers("actual", actual, len(self)))
        found = self._scores_at(scaled, inside)
        if self.score_transform is not None:
            found = np.clip(self.score_transform.score(found), -FURTHEST, FURTHEST)
        return found

    def samples_frame(self, n: int, seed: int = 0) -> Any:
        """Draws as a long frame: the keys, `sample` (0 to n - 1) and `value`; draw by draw."""
        value, number = self.sample(n, seed).reshape(-1), np.repeat(np.arange(n), len(self.keys))
        keys = pd.concat([self.keys] * n, ignore_index=True)
        return self._in_kind(keys.assign(sample=number, value=value))

    def to_frame(self, quantiles: float | Sequence[float] = (0.1, 0.5, 0.9)) -> Any:
        """A long frame: the keys, `mean`, `std`, and a column such as `q0.1` per level."""
        made = dict(self.keys.items()) | self.columns(quantile_list(quantiles))
        return self._in_kind(pd.DataFrame(made, index=self.keys.index))

    def columns(self, levels: Sequence[float]) -> dict[str, np.ndarray]:
        """The columns of `to_frame` that are no keys, by name."""
        check_size("forecasts and levels", len(self.keys), len(levels))
        quantiles = {quantile_name(level): self.quantile(level) for level in levels}
        return {"mean": self.mean, "std": self.std, **quantiles}

    def components(self) -> Any:
        """What adds up to the mean: keys, `component`, `value`, `unit`; see `StructuralParts.frame`.

        Raises:
            LatentODEError: for a forecast without structural parts.
        """
        if self.structure is None:
            raise LatentODEError(WITHOUT_STRUCTURE)
        decoded = replace(self, transforms=(), score_transform=None).mean
        moved = None if self.score_transform is None else replace(self, transforms=()).mean
        return self._in_kind(self.structure.frame(self.keys, self.units, decoded, moved))

    def _in_kind(self, frame: pd.DataFrame) -> Any:
        return frame if self.kind is None else in_kind_of(self.kind, frame)


def _level(scores: np.ndarray) -> np.ndarray:
    """Levels of normal scores, kept off 0 and 1."""
    return special.ndtr(np.clip(scores, -FURTHEST, FURTHEST))
