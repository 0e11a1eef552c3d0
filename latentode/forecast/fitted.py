"""FittedForecaster: all that a fit leaves behind; Reader: how it reads tables; Draws: its sample paths.

None of them knows how the network was trained, so that all can be built by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
from torch.distributions import Distribution

from latentode.data import Climatology, Scaling
from latentode.data.batch import Series
from latentode.data.cautions import compare_variables
from latentode.data.columns import IntoFrame, frame_or_as_is, to_pandas
from latentode.data.dataset import SeriesDataset
from latentode.data.duplicates import DUPLICATES, known_rows, with_new_rows
from latentode.data.plain_tables import read_plain
from latentode.data.queries import At, with_known_values
from latentode.data.reading import read_columns
from latentode.data.schema import Schema
from latentode.data.time_axis import TimeAxis
from latentode.data.time_numbers import PLAIN
from latentode.errors import SchemaError, understood, warn
from latentode.forecast.calibration import Calibration
from latentode.forecast.components import StructuralParts
from latentode.forecast.engine import Engine
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import ForecastQueries
from latentode.forecast.residuals import Residuals, ScoreTransform
from latentode.forecast.sampler import Joint
from latentode.model.structure import Outlook
from latentode.nn.likelihoods import refuse_unexplained

__all__ = ["Draws", "FittedForecaster", "Reader"]

SHOWN = 3  # unknown categories that a warning names
STEP = 1e-4  # of a difference quotient, in the shortest time over which a path bends


@dataclass(frozen=True)
class Reader:
    """How a fitted model reads tables: as its training table was read.

    Args:
        schema: with every column named.
        axis: what its time column means.
        scaling: fitted on the training data.
        said: notes of the training table, which are not said again of each later one.
    """

    schema: Schema
    axis: TimeAxis
    scaling: Scaling
    said: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        schema, axis = self.schema, self.axis  # which are less complete of an earlier release
        if axis.scale == "number" and schema.time_format is None:
            object.__setattr__(self, "schema", replace(schema, time_format=PLAIN))
        said = {"zone_declared": schema.timezone is not None, "repeated_hour": schema.repeated_hour}
        object.__setattr__(self, "axis", replace(axis, **said))

    @understood("the table")
    def read(self, frame: IntoFrame, duplicates: str = "error") -> SeriesDataset:
        """A table as the model reads it.

        Args:
            frame: with the columns of the training table.
            duplicates: what to do with several rows of one (series, time): "error", "mean", "last".

        Raises:
            SchemaError: if it cannot be read, lacks a column, or its times are of another kind.
        """
        schema, frame = self.schema, to_pandas(frame)
        compare_variables(frame, schema)
        dataset = read_plain(frame, schema) if duplicates in DUPLICATES else None
        dataset = dataset or SeriesDataset.from_frame(frame, schema, duplicates, self.said)
        if dataset.axis.scale != self.axis.scale:
            raise SchemaError(
                f"column `{schema.time}` holds {dataset.axis.kind} times, but the model was "
                f"trained on {self.axis.kind} times"
            )
        if self.axis.is_calendar and self.axis.timezone is None and dataset.axis.timezone is not None:
            raise SchemaError(
                f"column `{schema.time}` has a time zone, {dataset.axis.timezone}, and had none when "
                "the model was fitted; give the times of that clock without a zone, or fit with "
                "timezone="
            )
        # A resolved schema has a time unit, declared or not; cycles were learnt on training's clock.
        own = {"declared": self.axis.declared, "clock": self.axis.timezone}
        return replace(dataset, axis=replace(dataset.axis, **own))

    @understood("the question")
    def read_question(
        self, history: IntoFrame, at: At | IntoFrame, duplicates: str = "error"
    ) -> tuple[SeriesDataset, At]:
        """A history together with the known values that the question gives, and the question.

        Args:
            history: with the columns of the training table.
            at: times, or a frame of identifier, time and known-future columns.
            duplicates: as for `read`.
        """
        dataset, asked = self.read(history, duplicates), cast(At, frame_or_as_is(at))
        completed = with_known_values(history, dataset, asked)
        if completed is not None:
            heard = replace(self, said=(*self.said, *dataset.notes))
            dataset = heard.read(completed, duplicates)
        return dataset, asked

    @understood("the table")
    def extend(
        self, history: pd.DataFrame | None, rows: IntoFrame, duplicates: str = "error"
    ) -> pd.DataFrame:
        """A history with new rows, which are read anew with each addition.

        So a forecast from a history that grew is that from the longer history, exactly, late rows and
        revised ones included.

        Args:
            history: what there was, as this returned it; None for nothing.
            rows: new ones of any series, in any order; of one already known, a later row counts as the
                later for `duplicates="last"`.
            duplicates: as for `read`.

        Raises:
            SchemaError: for rows that cannot be read, alone or with the history.
        """
        frame = to_pandas(rows)
        if history is not None and self.schema.layout == "long":
            frame = known_rows(frame, self.schema)
            if frame.empty:
                return history
        new = self.read(frame, duplicates)  # whatever is wrong with them is said of them
        added = read_columns(frame, self.schema).table
        if history is None:
            return added
        table = with_new_rows(history, added, self.schema, duplicates)
        replace(self, said=(*self.said, *new.notes)).read(table, duplicates)
        return table.reset_index(drop=True)

    def series(self, dataset: SeriesDataset) -> Series:
        """What `read` has read, scaled and ready to be cut into batches."""
        return Series(dataset, self.scaling)


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
        unknown = self.reader.scaling.unknown_categories(dataset)
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
