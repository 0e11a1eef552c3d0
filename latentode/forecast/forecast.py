"""Forecast: the predictive distribution at queries, in data units, and how to compute one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from scipy import special
from scipy.optimize.elementwise import find_root
from torch.distributions import Distribution

from latentode.data.batch import Batch, Series
from latentode.data.observations import Queries
from latentode.data.quantile_columns import quantile_list, quantile_name
from latentode.data.scaling import Scaling, Units
from latentode.data.task import mix, uniform
from latentode.data.transforms import Transform
from latentode.errors import LatentODEError
from latentode.forecast.calibration import FURTHEST
from latentode.forecast.moments import moments
from latentode.forecast.residuals import Joint, ScoreTransform
from latentode.model.network import LatentODE
from latentode.nn.latent_state import shared_noise
from latentode.nn.likelihoods import Likelihood, join, mixture, pick, take, with_parameters

__all__ = ["Forecast", "ForecastQueries", "batches_of", "forecast"]

NO_SIGN_CHANGE = -1  # what find_root says of a bracket without a root inside
RESOLUTION = 2.0**-40  # of quantiles, in scaled units: far below float32's
ROWS_AT_ONCE = 256
HERMITE_POINTS = 9  # exact where quantiles are polynomials of degree 17 of the normal score
LATENT_ROWS_AT_ONCE = 65536  # samples of rows that are solved at once, for the memory they take


@dataclass(frozen=True)
class ForecastQueries:
    """Flat queries against series in memory, each with the forecast origin it is asked from.

    Args:
        series: index of the series, shape `(queries,)`.
        variable: index of the variable.
        time: time since the series' start, in time units, float64.
        origin: forecast origin since the series' start; what was observed later is not seen.
    """

    series: np.ndarray
    variable: np.ndarray
    time: np.ndarray
    origin: np.ndarray


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
        joint: which queries share a path, and how residuals last along it; where it is not known,
            draws share their latent path only.
        revision: of scores, by calibration or what was observed after the origins; None without.
    """

    keys: pd.DataFrame
    distribution: Distribution
    likelihood: Likelihood
    loc: np.ndarray
    scale: np.ndarray
    transforms: tuple[tuple[Transform, np.ndarray], ...] = ()
    joint: Joint | None = None
    revision: ScoreTransform | None = None

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
            revision=None if self.revision is None else self.revision.take(places),
        )

    @property
    def units(self) -> Units:
        """What the distribution's values are in data units."""
        return Units(self.loc, self.scale, self.transforms)

    @property
    def mean(self) -> np.ndarray:
        """Predictive mean in data units, shape `(queries,)`."""
        mean = self._moments[0]
        return (
            mean.copy()
            if self.revision is None
            else self._revised_moments(self.revision, mean, None)[0]
        )

    @property
    def std(self) -> np.ndarray:
        """Predictive standard deviation in data units: within and between latent samples."""
        std = self._moments[1]
        return (
            std.copy() if self.revision is None else self._revised_moments(self.revision, None, std)[1]
        )

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Exact; of transformed variables by quadrature."""
        mixed = mixture(self.distribution)
        mean = self.loc + self.scale * mixed.mean.numpy()
        std = self.scale * mixed.variance.sqrt().numpy()
        for transform, place in self.transforms:
            own = take(self.distribution, torch.from_numpy(place))
            loc, scale = self.loc[place], self.scale[place]

            def to_data(
                u: np.ndarray, t: Transform = transform, at: np.ndarray = loc, s: np.ndarray = scale
            ) -> np.ndarray:
                return t.inverse(at + s * u)

            mean[place], std[place] = moments(self.likelihood, own, to_data)
        return mean, std

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """P(x <= value) of each query, `value` in data units, shape `(queries,)`."""
        found = self._cdf(value)
        return found if self.revision is None else self.revision.cdf(found)

    def _cdf(self, value: np.ndarray) -> np.ndarray:
        """`cdf` before any revision."""
        return self.likelihood.cdf(self.distribution, self.units.to_scaled(value)).mean(axis=0)

    def log_prob(self, actual: np.ndarray) -> np.ndarray:
        """Log-density of each query's actual value in data units; of counts the log-probability.

        Minus its mean is the negative log-likelihood; minus infinity is said of what cannot be.

        Args:
            actual: shape `(queries,)`; NaN gives NaN.

        Returns:
            Shape `(queries,)`.
        """
        actual = np.asarray(actual, dtype=np.float64)
        units = self.units
        never = units.outside(actual) | self.likelihood.impossible(self.distribution, actual)
        missing = np.isnan(actual)
        odd = never | missing
        possible = np.where(odd, self.quantile(0.5), actual) if odd.any() else actual
        scaled = torch.from_numpy(units.to_scaled(possible))
        found = mixture(self.distribution).log_prob(scaled).numpy() + units.log_slope(possible)
        if self.revision is not None:
            whole = self.likelihood.whole(self.distribution)
            found = self.revision.log_prob(found, self._cdf(possible), self._cdf(possible - 1), whole)
        return np.where(missing, np.nan, np.where(never, -np.inf, found))

    def quantile(self, q: float) -> np.ndarray:
        """The value below which the mixture has probability `q`, shape `(queries,)`.

        Of counts, the least one that has.

        Raises:
            LatentODEError: unless 0 < q < 1.
        """
        (q,) = quantile_list(q)
        return self._at_level(q if self.revision is None else self.revision.level(special.ndtri(q)))

    def _at_level(self, q: float | np.ndarray) -> np.ndarray:
        """Where the mixture reaches a level, or each query's own, before any revision."""
        return self.units.to_data(self._scaled_at(q))

    def _scaled_at(self, q: float | np.ndarray) -> np.ndarray:
        """`_at_level` in the distribution's units."""
        # A mixture's quantile lies between the least and the greatest of its components'.
        components = self.likelihood.icdf(self.distribution, q)
        low, high = components.min(axis=0), components.max(axis=0)
        found, apart = high.copy(), np.flatnonzero(low < high)
        if len(apart):
            found[apart] = self._root(np.broadcast_to(q, high.shape), low[apart], high[apart], apart)
        whole = self.likelihood.whole(self.distribution)
        return np.where(whole, np.floor(found), found)

    def _root(self, level: np.ndarray, low: np.ndarray, high: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Where the mixtures of the queries `at` reach their levels, between `low` and `high`."""

        def excess(value: np.ndarray, place: np.ndarray) -> np.ndarray:
            every = len(place) == len(self)
            own = self.distribution if every else take(self.distribution, torch.from_numpy(place))
            return self.likelihood.cdf(own, value).mean(axis=0) - level[place]

        root = find_root(excess, (low, high), args=(at,), tolerances={"xatol": RESOLUTION})
        # Of a step of the cdf the end is taken that is never below.
        (left, right), (f_left, _) = root.bracket, root.f_bracket
        stepped = np.where(f_left >= 0, left, right)
        whole = self.likelihood.whole(self.distribution)[at]
        # Where both ends are on one side, by a step or by rounding, the level is reached at one.
        inside, reached = root.status != NO_SIGN_CHANGE, excess(low, at) >= 0
        return np.where(inside, np.where(whole, stepped, root.x), np.where(reached, low, high))

    def _revised_moments(
        self, revision: ScoreTransform, mean: np.ndarray | None, std: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation by Gauss-Hermite quadrature; those given where nothing changed."""
        scores, weights = np.polynomial.hermite_e.hermegauss(HERMITE_POINTS)
        values = np.stack([self._at_level(revision.level(float(score))) for score in scores])
        weights = weights[:, None] / weights.sum()
        middle = (weights * values).sum(axis=0)
        spread = np.sqrt((weights * (values - middle) ** 2).sum(axis=0))
        new = revision.revised
        return (
            middle if mean is None else np.where(new, middle, mean),
            spread if std is None else np.where(new, spread, std),
        )

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Joint draws of readings, shape `(n, queries)`.

        Within a draw all queries of a series share one latent path, and what departs from it lasts as
        long as it does in the data (`latentode.forecast.residuals`), so that sums, maxima and
        differences over time are those of one future. Draws of different series are independent.
        """
        drawn = self._independent(n, seed) if self.joint is None else self._futures(self.joint, n, seed)
        return self.units.to_data(self._calibrated(drawn, seed))

    def _calibrated(self, drawn: np.ndarray, seed: int) -> np.ndarray:
        """Draws in the distribution's units, each moved to the level that its own honestly is at."""
        curves = None if self.revision is None else self.revision.curves
        if curves is None or not curves.changed.any():
            return drawn
        made = []
        for values, tie in zip(drawn, self._ties(len(drawn), seed), strict=True):
            score = curves.stated(special.ndtri(self._level_of(values, tie)))
            moved = self._scaled_at(special.ndtr(np.clip(score, -FURTHEST, FURTHEST)))
            made.append(np.where(curves.changed, moved, values))
        return np.stack(made)

    def _ties(self, n: int, seed: int) -> np.ndarray:
        """Where in its step of the cdf each draw of a whole number lies, shape `(n, queries)`."""
        if self.joint is None:
            return np.random.default_rng(seed).uniform(size=(n, len(self)))
        stamps = mix(mix(self.joint.keys, self.joint.variable), self.joint.lead.view(np.uint64))
        return np.stack([uniform(stamps, i) for i in range(n)])

    def _level_of(self, scaled: np.ndarray, tie: np.ndarray) -> np.ndarray:
        """F of values of shape `(queries,)`, before any revision; of a count somewhere in its step."""
        found = self.likelihood.cdf(self.distribution, scaled).mean(axis=0)
        whole = self.likelihood.whole(self.distribution)
        if not whole.any():
            return found
        below = self.likelihood.cdf(self.distribution, scaled - 1).mean(axis=0)
        return np.where(whole, below + tie * (found - below), found)

    def scores(self, actual: np.ndarray, seed: int = 0) -> np.ndarray:
        """The normal scores of what was observed, before any revision: standard normal if F is honest.

        Args:
            actual: in data units, shape `(queries,)`.
            seed: of where counts lie in their steps of the cdf.
        """
        tie = np.random.default_rng(seed).uniform(size=len(self))
        level = self._level_of(self.units.to_scaled(np.asarray(actual, dtype=np.float64)), tie)
        return np.clip(special.ndtri(level), -FURTHEST, FURTHEST)

    def _independent(self, n: int, seed: int) -> np.ndarray:
        """Draws that share a latent path and nothing else."""
        generator = np.random.default_rng(seed)
        paths = generator.integers(self.distribution.batch_shape[0], size=n)
        with torch.random.fork_rng(devices=[]):
            # The generator of the CPU alone: torch.manual_seed would seed those of all devices.
            torch.default_generator.manual_seed(int(generator.integers(2**31)))
            rounds = int(np.bincount(paths).max(initial=0))
            drawn = self.distribution.sample((rounds,)).numpy()
        order = pd.Series(paths).groupby(paths).cumcount().to_numpy()
        return drawn[order, paths]

    def _futures(self, joint: Joint, n: int, seed: int) -> np.ndarray:
        took = torch.from_numpy(joint.took(n, self.distribution.batch_shape[0]))
        parts = pick(self.distribution, took)
        scores = joint.scores(parts.variance.numpy(), seed)
        if self.revision is not None:
            scores = self.revision.shift + self.revision.spread * scores
        return self.likelihood.icdf(parts, special.ndtr(scores))

    def samples_frame(self, n: int, seed: int = 0) -> pd.DataFrame:
        """Draws as a long frame: the keys, `sample` (0 to n - 1) and `value`; draw by draw."""
        if n < 1:
            raise LatentODEError(f"samples must be at least 1, got {n!r}")
        frame = pd.concat([self.keys] * n, ignore_index=True)
        frame["sample"] = np.repeat(np.arange(n), len(self.keys))
        frame["value"] = self.sample(n, seed).reshape(-1)
        return frame

    def to_frame(self, quantiles: float | Sequence[float] = (0.1, 0.5, 0.9)) -> pd.DataFrame:
        """A long frame: the keys, `mean`, `std`, and a column such as `q0.1` per level."""
        levels = quantile_list(quantiles)
        frame = self.keys.copy()
        frame["mean"], frame["std"] = self.mean, self.std
        for level in levels:
            frame[quantile_name(level)] = self.quantile(level)
        return frame


def forecast(
    model: LatentODE,
    series: Series,
    scaling: Scaling,
    asked: ForecastQueries,
    keys: pd.DataFrame,
    context: float,
    samples: int = 32,
) -> Forecast:
    """Answers queries, each from what its series had shown by its origin.

    Args:
        model: trained; its mode and parameters are left as they are.
        series: histories.
        scaling: the one the model was trained with.
        asked: the queries; none earlier than `context` before its origin.
        keys: what to call them.
        context: how far back of the origin the encoder sees, in time units.
        samples: latent samples in the mixture.
    """
    noise = shared_noise(samples, model.latent_size)
    parts, places = [], []
    training = model.training
    model.eval()
    for at, batch, local in batches_of(model, series, asked, context, samples):
        places.append(at)
        parts.append(_answer(model, batch, local, noise))
    model.train(training)
    found = _restore_order(parts, np.concatenate(places)) if parts else _empty(model, samples)
    return Forecast.of(keys, found, model.likelihood, scaling.units_of(asked.variable))


def batches_of(
    model: LatentODE, series: Series, asked: ForecastQueries, context: float, samples: int
) -> Iterator[tuple[np.ndarray, Batch, Queries]]:
    """Queries in parts that fit in memory: where they stand in `asked`, their batch, themselves.

    A row of a batch is a (series, origin). Arguments as for `forecast`.
    """
    pairs = np.stack([asked.series.astype(np.float64), asked.origin])
    rows, row_of = np.unique(pairs, axis=1, return_inverse=True)
    row_of = row_of.reshape(-1)
    indices, origins = rows[0].astype(np.int64), rows[1]
    at_once = min(ROWS_AT_ONCE, max(1, LATENT_ROWS_AT_ONCE // (samples * model.rows_per_series)))
    for begin in range(0, len(indices), at_once):
        chosen = np.arange(begin, min(begin + at_once, len(indices)))
        places = np.nonzero((row_of >= chosen[0]) & (row_of <= chosen[-1]))[0]
        batch = series.batch_at(indices[chosen], origins[chosen], context)
        yield places, batch, _queries(asked, places, row_of[places] - begin, origins[row_of])


def _queries(asked: ForecastQueries, at: np.ndarray, rows: np.ndarray, origin: np.ndarray) -> Queries:
    return Queries(
        torch.from_numpy(rows),
        torch.from_numpy(asked.variable[at]),
        torch.from_numpy(asked.time[at] - origin[at]),
    )


@torch.no_grad()
def _answer(model: LatentODE, batch: Batch, queries: Queries, noise: torch.Tensor) -> Distribution:
    """The components, shape `(samples, queries)`, float64."""
    device = next(model.parameters()).device
    distribution, _ = model(batch.to(device), queries.to(device), noise.to(device))
    return with_parameters(distribution, lambda p: p.detach().cpu().double())


def _restore_order(parts: list[Distribution], places: np.ndarray) -> Distribution:
    return take(join(parts), torch.from_numpy(np.argsort(places)))


def _empty(model: LatentODE, samples: int) -> Distribution:
    raw = torch.zeros(samples, 0, model.likelihood.n_raw, dtype=torch.float64)
    return model.likelihood.distribution(raw, raw[..., 0], torch.zeros(0, dtype=torch.long))
