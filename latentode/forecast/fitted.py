"""FittedForecaster: all that a fit leaves behind; Reader: how it reads tables; Draws: its sample paths.

None of them knows how the network was trained, so that all can be built by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from torch.distributions import Distribution

from latentode.data import Climatology
from latentode.data.batch import Series
from latentode.data.dataset import SeriesDataset
from latentode.errors import warn
from latentode.forecast.calibration import Calibration
from latentode.forecast.components import StructuralParts
from latentode.forecast.engine import Engine
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import ForecastQueries
from latentode.forecast.reader import Reader
from latentode.forecast.residuals import Residuals, ScoreTransform
from latentode.forecast.sampler import Joint
from latentode.model.structure import Outlook
from latentode.nn.likelihoods import refuse_unexplained

__all__ = ["Draws", "FittedForecaster"]

SHOWN = 3  # unknown categories that a warning names
STEP = 1e-4  # of a difference quotient, in the shortest time over which a path bends


@dataclass(frozen=True)
class FitRecord:
    """How a fit went.

    Args:
        history: metrics per epoch; empty where a fit left none.
        leaderboard: held-out figures beside those of baselines; empty where nothing was held out.
    """

    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    leaderboard: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class FittedForecaster:
    """What a fit leaves behind; answers queries.

    Args:
        reader: reads tables as the training table was read.
        engine: asks the trained network.
        climatology: training means.
        horizon: how far ahead it was trained to look, in time units.
        residuals: how long departures from a forecast last; None where that is not known.
        calibration: of quantiles, by forecasts that came true; None for none.
        record: how the fit went.
        classes: what series are classified into; None where they are not.
    """

    reader: Reader
    engine: Engine
    climatology: Climatology
    horizon: float
    residuals: Residuals | None = None
    calibration: Calibration | None = None
    record: FitRecord = field(default_factory=FitRecord)
    classes: tuple[Any, ...] | None = None

    def series(self, dataset: SeriesDataset) -> Series:
        """Scaled histories, whose every value the likelihood can explain.

        Raises:
            SchemaError: for an observation that a likelihood or a transform cannot take.
        """
        refuse_unexplained(dataset, self.engine.network.likelihood)
        scaling = self.reader.scaling
        unknown = scaling.unknown_categories(dataset) if scaling.categories else []
        if unknown:
            named = ", ".join(unknown[:SHOWN]) + (", ..." if len(unknown) > SHOWN else "")
            warn(f"training had no {named}: answered as what is not known")
        return self.reader.series(dataset)

    def forecast(
        self, dataset: SeriesDataset, queries: ForecastQueries, keys: pd.DataFrame
    ) -> Forecast:
        """The forecast of queries, called by a row of `keys` each, against what `reader` has read.

        Raises:
            SchemaError: for an observation that a likelihood or a transform cannot take.
        """
        return self.forecast_series(self.series(dataset), queries, keys)

    def forecast_series(
        self,
        series: Series,
        queries: ForecastQueries,
        keys: pd.DataFrame,
        outlook: Outlook | None = None,
    ) -> Forecast:
        """As `forecast`, of histories that are scaled already; `outlook` as for the engine."""
        made = self.engine.distributions(series, queries, outlook)
        return self.forecast_of(made, series, queries, keys)

    def structural_parts(self, outlook: Outlook | None, variable: np.ndarray) -> StructuralParts | None:
        """What the structural mean of queries is made of; None where the network has no such block.

        Args:
            outlook: what the block says of them; None where there are none.
            variable: of each.
        """
        block, schema = self.engine.network.emission.structure, self.reader.schema
        if block is None:
            return None
        names = block.part_names([f"cycle {p}" for p in schema.periods], schema.known_future)
        scaled = np.zeros((0, len(names))) if outlook is None else outlook.parts.numpy()
        return StructuralParts.of(names, scaled, self.reader.scaling.units_of(variable))

    def forecasts_around(
        self, series: Series, queries: ForecastQueries, step: float
    ) -> tuple[Forecast, Forecast]:
        """Forecasts of a short step before and after each query, to first order in `step`.

        Args:
            series: scaled histories.
            queries: what is asked.
            step: in time units, far below `bending`.
        """
        keys = pd.DataFrame(index=range(len(queries)))
        found = self.engine.around(series, queries, step)
        before, after = (
            self.forecast_of(distribution, series, replace(queries, time=queries.time + shift), keys)
            for distribution, shift in zip(found, (-step, step), strict=True)
        )
        return before, after

    def bending(self, variable: np.ndarray) -> np.ndarray:
        """The time over which paths of variables bend: a solver's interval or a correlation time."""
        network = self.engine.network
        knots = np.full(len(variable), network.time_scale / network.solver.intervals)
        return knots if self.residuals is None else np.minimum(knots, self.residuals.lengths(variable))

    def forecast_of(
        self, distribution: Distribution, series: Series, queries: ForecastQueries, keys: pd.DataFrame
    ) -> Forecast:
        """The forecast of components, with what is known of calibration and of what lasts."""
        scaling, likelihood = self.reader.scaling, self.engine.network.likelihood
        made = Forecast.of(keys, distribution, likelihood, scaling.units_of(queries.variable))
        lead = queries.time - queries.origin
        transform = None
        if self.calibration is not None:
            names = np.asarray(self.reader.schema.targets)[queries.variable]
            transform = ScoreTransform.calibrated(self.calibration.of(names, lead))
        noise, length = np.full(len(queries), np.inf), np.full(len(queries), self.horizon)
        if self.residuals is not None:
            # In units of the distribution, which of some likelihoods are those of the data.
            unit = np.asarray(scaling.scale)[queries.variable] / made.scale
            noise = np.asarray(self.residuals.noise)[queries.variable] * unit
            length = self.residuals.lengths(queries.variable)
        joint = Joint(series.keys[queries.series], queries.variable, lead, noise, length)
        return replace(made, joint=joint, score_transform=transform)


@dataclass(frozen=True)
class Draws:
    """Sample paths at queries, each from what its series had shown by its origin.

    Args:
        fitted: the model; without residuals, nothing of the decoded spread lasts.
        series: scaled histories.
        queries: those of one (series, origin, variable) lie on one path per draw.
        n: number of draws.
        seed: another seed, other draws; a series' own depend on its identifier and on no companion.
    """

    fitted: FittedForecaster
    series: Series
    queries: ForecastQueries
    n: int
    seed: int = 0

    @cached_property
    def forecast(self) -> Forecast:
        """The distribution of readings at the queries."""
        keys = pd.DataFrame(index=range(len(self.queries)))
        return self.fitted.forecast_series(self.series, self.queries, keys)

    @property
    def value(self) -> np.ndarray:
        """The quantity itself, in data units, shape `(draws, queries)`."""
        took, waves, _ = self._waves
        return self.forecast.quantity(took, waves)

    @property
    def reading(self) -> np.ndarray:
        """What a sensor would read, if it read at just these times, shape `(draws, queries)`."""
        return self.forecast.sample(self.n, self.seed)

    @property
    def rate(self) -> np.ndarray:
        """The derivative of the quantity, per time unit, shape `(draws, queries)`.

        Of whole numbers, which have none, that of the mean of the component.
        """
        every = np.arange(len(self.fitted.reader.schema.targets or ()))
        step = STEP * float(self.fitted.bending(every).min())
        took, waves, slope = self._waves
        before, after = self.fitted.forecasts_around(self.series, self.queries, step)
        earlier, later = before.means(took), after.means(took)
        if not before.whole.all():
            paths = (
                before.quantity(took, waves - step * slope),
                after.quantity(took, waves + step * slope),
            )
            earlier, later = (
                np.where(before.whole, mean, path)
                for mean, path in zip((earlier, later), paths, strict=True)
            )
        return (later - earlier) / (2 * step)

    @cached_property
    def _waves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Latent samples taken, draws of the residual process and their slopes, `(draws, queries)`."""
        joint = self.forecast.joint
        assert joint is not None  # a fitted model's forecasts always have one
        return joint.took(self.n, self.forecast.n_samples), *joint.waves(self.n, self.seed)
