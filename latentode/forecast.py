"""Forecast: the predictive distribution at queries, in data units, and how to compute one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.distributions import Distribution

from latentode.data.batch import Batch, Series
from latentode.data.observations import Queries
from latentode.data.scaling import Scaling
from latentode.model import LatentODE
from latentode.nn.encoders import shared_noise
from latentode.nn.likelihoods import Likelihood, with_parameters
from latentode.quantiles import quantile_list, quantile_name

__all__ = ["Asked", "Forecast", "batches_of", "forecast"]

BISECTIONS = 32  # halvings of the bracket: float32 resolution and to spare
ROWS_AT_ONCE = 256
LATENT_ROWS_AT_ONCE = 65536  # samples of rows that are solved at once, for the memory they take


@dataclass(frozen=True)
class Asked:
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

    Args:
        keys: identifier, time and variable of each query.
        distribution: components in scaled units, shape `(samples, queries)`, float64, on the CPU.
        likelihood: whose distribution it is.
        loc: per query, what scaled 0 is in data units.
        scale: per query, what one scaled unit is in data units.
    """

    keys: pd.DataFrame
    distribution: Distribution
    likelihood: Likelihood
    loc: np.ndarray
    scale: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def mean(self) -> np.ndarray:
        """Predictive mean in data units, shape `(queries,)`."""
        return self.loc + self.scale * self.distribution.mean.mean(dim=0).numpy()

    @property
    def std(self) -> np.ndarray:
        """Predictive standard deviation in data units: within and between latent samples."""
        means = self.distribution.mean
        variance = self.distribution.variance.mean(dim=0) + means.var(dim=0, correction=0)
        return self.scale * variance.sqrt().numpy()

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """P(x <= value) of each query, `value` in data units, shape `(queries,)`."""
        scaled = (value - self.loc) / self.scale
        return self.likelihood.cdf(self.distribution, scaled).mean(axis=0)

    def quantile(self, q: float) -> np.ndarray:
        """The value below which the mixture has probability `q`, shape `(queries,)`.

        Raises:
            LatentODEError: unless 0 < q < 1.
        """
        (q,) = quantile_list(q)
        # A mixture's quantile lies between the least and the greatest of its components'.
        components = self.likelihood.icdf(self.distribution, q)
        low, high = components.min(axis=0), components.max(axis=0)
        for _ in range(BISECTIONS if (low < high).any() else 0):
            middle = 0.5 * (low + high)
            above = self.likelihood.cdf(self.distribution, middle).mean(axis=0) >= q
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return self.loc + self.scale * 0.5 * (low + high)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Joint draws, shape `(n, queries)`: within a draw all queries share one latent path."""
        generator = np.random.default_rng(seed)
        paths = generator.integers(self.distribution.batch_shape[0], size=n)
        with torch.random.fork_rng(devices=[]):
            # The generator of the CPU alone: torch.manual_seed would seed those of all devices.
            torch.default_generator.manual_seed(int(generator.integers(2**31)))
            rounds = int(np.bincount(paths).max(initial=0))
            drawn = self.distribution.sample((rounds,)).numpy()
        order = pd.Series(paths).groupby(paths).cumcount().to_numpy()
        return self.loc + self.scale * drawn[order, paths]

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
    asked: Asked,
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
    loc, scale = np.asarray(scaling.loc), np.asarray(scaling.scale)
    return Forecast(
        keys,
        _restore_order(parts, np.concatenate(places)) if parts else _empty(model, samples),
        model.likelihood,
        loc[asked.variable],
        scale[asked.variable],
    )


def batches_of(
    model: LatentODE, series: Series, asked: Asked, context: float, samples: int
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


def _queries(asked: Asked, at: np.ndarray, rows: np.ndarray, origin: np.ndarray) -> Queries:
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
    order = torch.from_numpy(np.argsort(places))
    names = parts[0].arg_constraints
    joined = {n: torch.cat([getattr(p, n) for p in parts], dim=1)[:, order] for n in names}
    kind: Any = type(parts[0])
    return kind(**joined, validate_args=False)


def _empty(model: LatentODE, samples: int) -> Distribution:
    raw = torch.zeros(samples, 0, model.likelihood.n_raw, dtype=torch.float64)
    return model.likelihood.distribution(raw, raw[..., 0])
