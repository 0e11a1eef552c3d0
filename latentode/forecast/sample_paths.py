r"""SamplePaths: sample paths that carry histories on, and what can be asked of a path and of no grid.

A draw of a series is one function of time for each of its variables, from its last observation on: the
quantity itself, without the noise of single readings (`latentode.forecast.sampler`). So rates,
accumulated values and first passages are those of the same futures, and agree with one another. An
accumulated value is the integral of a draw,

$$\int_a^b x_i(t)\,dt \approx \sum_{\text{cells}} h \sum_{j=1}^{3} v_j\, x_i(t_\text{cell} + u_j h),$$

by Gauss and Legendre's three points per cell, the cells of equal width and no wider than what the path
changes over. The noise of single readings does not accumulate: it is the sensor's, not the quantity's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.batch import Series
from latentode.data.cells.columns import IntoFrame, frame_or_as_is, quantile_list, quantile_name
from latentode.data.cells.time_axis import Duration
from latentode.data.dataset import SeriesDataset
from latentode.data.files.writing import in_kind_of
from latentode.data.queries import At, QueryTimes, query_times
from latentode.errors import SchemaError, check_seed, check_size, check_whole
from latentode.forecast.first_passage import FirstPassageTime, first_passages, level_asked
from latentode.forecast.fitted import Draws, FittedForecaster
from latentode.forecast.queries import ForecastQueries, chosen_variables, queries_at, warn_of_guesses
from latentode.forecast.sampler import nodes_between

__all__ = ["SamplePaths"]

QUANTILES = (0.1, 0.5, 0.9)
POINTS_AT_ONCE = 20_000  # draws are made for so many places at a time, for the memory they take
CELLS_PER_LENGTH = 2  # of a quadrature, in the time over which what is integrated changes
POINTS_PER_LENGTH = 4  # of a search for a first passage, likewise


@dataclass(frozen=True)
class SamplePaths:
    """The futures of each series of a table; made by a fitted forecaster.

    Args:
        fitted: the model.
        dataset: histories, as `fitted` reads them.
        horizon: how far after each last observation to look for first passages, in time units.
        draws: how many futures.
        seed: another seed, other futures.
        kind: an empty frame of the library whose frames answer.

    Example:
        >>> from latentode import LatentODEForecaster, ModelConfig, TrainingConfig
        >>> frame = pd.DataFrame({"id": 1, "time": np.arange(30.0), "x": np.sin(np.arange(30.0))})
        >>> small, short = ModelConfig(latent_size=2, hidden_size=8), TrainingConfig(max_epochs=1)
        >>> model = LatentODEForecaster(4.0, model=small, training=short, verbose=False).fit(frame)
        >>> paths = model.sample_paths(frame)
        >>> list(paths.rate(at=2.0, quantiles=0.5))
        ['id', 'time', 'variable', 'mean', 'std', 'q0.5']
        >>> list(paths.integral(2.0, quantiles=()))
        ['id', 'since', 'until', 'variable', 'mean', 'std']
        >>> list(paths.first_passage_time("x", above=9.0).probability(by=2.0))
        ['id', 'since', 'variable', 'probability']
    """

    fitted: FittedForecaster
    dataset: SeriesDataset = field(repr=False)
    horizon: float
    draws: int = 256
    seed: int = 0
    kind: IntoFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_whole("draws", self.draws)
        check_seed(self.seed)

    def value(
        self,
        at: At | IntoFrame,
        count: int | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
    ) -> Any:
        """The quantity itself: `reading` without the noise of readings; arguments as for `rate`."""
        return self._along(at, count, quantiles, variables, lambda drawn: drawn.value)

    def reading(
        self,
        at: At | IntoFrame,
        count: int | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
    ) -> Any:
        """What is read at given times, distributed as is forecast; arguments as for `rate`."""
        return self._along(at, count, quantiles, variables, lambda drawn: drawn.reading)

    def rate(
        self,
        at: At | IntoFrame,
        count: int | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
    ) -> Any:
        """The rate of change dx/dt of the quantity, in data units per time unit.

        Whole numbers have none; the rate of their mean is given instead.

        The time unit is the schema's `time_unit` (hours by default, days for dates), or that of a
        numeric time column.

        Args:
            at: as for `predict`; a time inside the history is answered from what had been seen by then.
            count: with a duration, how many equally spaced times up to it.
            quantiles: levels between 0 and 1.
            variables: which variables; all by default.

        Returns:
            A long frame: identifier, time, `variable`, `mean`, `std`, and a column per quantile.

        Raises:
            SchemaError: for a question that cannot be read.
        """
        return self._along(at, count, quantiles, variables, lambda drawn: drawn.rate)

    def to_frame(
        self, at: At | IntoFrame, count: int | None = None, variables: Sequence[str] | None = None
    ) -> Any:
        """The draws themselves, of the quantity: a long frame of keys, `variable`, `draw`, `value`.

        Args:
            at: as for `predict`.
            count: with a duration, how many equally spaced times up to it.
            variables: which variables; all by default.
        """
        keys, found = self._drawn(at, count, variables, lambda drawn: drawn.value)
        frame = keys.loc[keys.index.repeat(self.draws)].reset_index(drop=True)
        draw = np.tile(np.arange(self.draws), len(keys))
        return in_kind_of(self.kind, frame.assign(draw=draw, value=found.T.reshape(-1)))

    def integral(
        self,
        b: At | IntoFrame,
        a: At | IntoFrame | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
    ) -> Any:
        """What accumulates between two times: the integral of the quantity, in data units times time.

        Args:
            b: until when: one time per series, in any form of `at`.
            a: since when, likewise; each series' last observation by default.
            quantiles: levels between 0 and 1.
            variables: which variables; all by default.

        Returns:
            A long frame: identifier, `since`, `until`, `variable`, `mean`, `std`, and a column per
            quantile.

        Raises:
            SchemaError: for two times of one series, for b before a, and for a before the last
                observation, from where on there are futures.
        """
        levels = quantile_list(quantiles)
        chosen = chosen_variables(self.fitted.reader.schema, variables)
        self.fitted.reader.schema.refuse_columns(("since", "until"))
        until = self._once(b, "b")
        since = self._starts(until) if a is None else self._matched(self._once(a, "a"), until)
        self._refuse_backwards(since, until)
        time = str(self.fitted.reader.schema.time)
        series, variable = np.repeat(until.series, len(chosen)), np.tile(chosen, len(until.series))
        start, end = np.repeat(since.time, len(chosen)), np.repeat(until.time, len(chosen))
        self._warn(ForecastQueries(series, variable, end, self.dataset.last[series]))
        found = np.empty((self.draws, len(series)))
        width = self.fitted.bending(variable) / CELLS_PER_LENGTH
        check_size("draws and parts of the span", self.draws, np.max((end - start) / width, initial=1))
        for part in _chunks((end - start) / width * 3):
            nodes = nodes_between(start[part], end[part], width[part])
            own = series[part][nodes.owner]
            last = self.dataset.last[own]
            queries = ForecastQueries(own, variable[part][nodes.owner], nodes.time, last)
            found[:, part] = nodes.sums(self._draw(queries).value)
        keys = until.keys.rename(columns={time: "until"})
        keys.insert(len(keys.columns) - 1, "since", since.keys[time].to_numpy())
        keys = keys.loc[keys.index.repeat(len(chosen))].reset_index(drop=True)
        keys = keys.assign(variable=self._names(variable))
        return in_kind_of(self.kind, _summary(keys, found, levels))

    def first_passage_time(
        self,
        variable: str,
        above: float | None = None,
        below: float | None = None,
        readings: Duration | None = None,
    ) -> FirstPassageTime:
        """When each series first reaches a level after its last observation.

        Args:
            variable: whose values.
            above: the level to be at or above.
            below: or the level to be at or below; exactly one of the two.
            readings: how far apart the sensor reads. Then the first *reading* at the level counts, its
                noise included; without, the quantity itself does, at any time whatever, and whole
                numbers at the points of a grid.

        Returns:
            Its distribution: `.probability(by=)`, `.cdf`, `.quantile`, `.to_frame()`.

        Raises:
            LatentODEError: unless exactly one level is given, as a number.
        """
        (v,) = chosen_variables(self.fitted.reader.schema, [variable])
        side, level = level_asked(above, below)
        dataset, n = self.dataset, len(self.dataset)
        last = self.dataset.last
        self._warn(ForecastQueries(np.arange(n), np.full(n, v), last + self.horizon, last))
        grid = self._grid(int(v), readings)
        found = np.empty((self.draws, n))
        for part in _chunks(np.full(n, len(grid))):
            series = np.repeat(np.arange(n)[part], len(grid))
            origin = dataset.last[series]
            time = origin + np.tile(grid, len(series) // len(grid))
            drawn = self._draw(ForecastQueries(series, np.full(len(series), v), time, origin))
            found[:, part] = first_passages(drawn, grid, level, side == "above", readings is not None)
        keys = self._last_keys().assign(variable=variable)
        return FirstPassageTime(keys, found, self.horizon, dataset.axis, self.kind)

    def _along(
        self,
        at: At | IntoFrame,
        count: int | None,
        quantiles: float | Sequence[float],
        variables: Sequence[str] | None,
        part: Callable[[Draws], np.ndarray],
    ) -> Any:
        levels = quantile_list(quantiles)
        return in_kind_of(self.kind, _summary(*self._drawn(at, count, variables, part), levels))

    def _drawn(
        self,
        at: At | IntoFrame,
        count: int | None,
        variables: Sequence[str] | None,
        part: Callable[[Draws], np.ndarray],
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Keys of what is asked, and the draws there, shape `(draws, queries)`."""
        chosen = chosen_variables(self.fitted.reader.schema, variables)
        places = query_times(self.dataset, frame_or_as_is(at), count)
        queries, keys = queries_at(self.dataset, places, chosen)
        self._warn(queries)
        check_size("draws and times", self.draws, len(queries))
        found = np.empty((self.draws, len(queries)))
        for some in _chunks(np.ones(len(queries))):
            found[:, some] = part(self._draw(queries.take(some)))
        return keys, found

    @cached_property
    def _series(self) -> Series:
        return self.fitted.series(self.dataset)

    def _warn(self, queries: ForecastQueries) -> None:
        warn_of_guesses(self.dataset, queries, self.fitted.horizon)

    def _draw(self, queries: ForecastQueries) -> Draws:
        return Draws(self.fitted, self._series, queries, self.draws, self.seed)

    def _grid(self, variable: int, readings: Duration | None) -> np.ndarray:
        """Where a crossing is looked for, time since the last observation."""
        if readings is not None:
            every = self.dataset.axis.duration(readings, "readings")
            check_size("draws and readings", self.draws, self.horizon / every)
            return every * np.arange(1, math.floor(self.horizon / every + 1e-9) + 1)
        step = float(self.fitted.bending(np.array([variable]))[0]) / POINTS_PER_LENGTH
        check_size("draws and parts of the horizon", self.draws, self.horizon / step)
        points = math.ceil(self.horizon / step - 1e-9)
        return np.r_[step * np.arange(points), self.horizon]

    def _once(self, at: At | IntoFrame, name: str) -> QueryTimes:
        places = query_times(self.dataset, frame_or_as_is(at))
        if len(np.unique(places.series)) < len(places.series):
            raise SchemaError(f"{name} names several times of one series; give one of each")
        return places

    def _starts(self, until: QueryTimes) -> QueryTimes:
        dataset, time = self.dataset, str(self.fitted.reader.schema.time)
        ticks = dataset.last_ticks[until.series]
        keys = until.keys.assign(**{time: dataset.axis.restore(ticks)})
        return QueryTimes(until.series, dataset.last[until.series], keys)

    def _matched(self, since: QueryTimes, until: QueryTimes) -> QueryTimes:
        """The beginnings in the order of the ends."""
        place = pd.Index(since.series).get_indexer(pd.Index(until.series))
        if (place < 0).any() or len(since.series) != len(until.series):
            raise SchemaError("a and b are of different series; give one time of each series in both")
        keys = since.keys.iloc[place].reset_index(drop=True)
        return QueryTimes(until.series, since.time[place], keys)

    def _refuse_backwards(self, since: QueryTimes, until: QueryTimes) -> None:
        names = self.dataset.ids[until.series].tolist()
        unit = self.dataset.axis.unit_name
        last = self.dataset.last[until.series]
        early = since.time < last - 1e-9 * (self.fitted.horizon + np.abs(last))
        if early.any():
            at = int(early.argmax())
            raise SchemaError(
                f"series {names[at]!r} is asked to accumulate from a time {last[at] - since.time[at]:g}"
                f"{unit} before its last observation; paths begin there: cut the history, or ask later"
            )
        turned = until.time < since.time
        if turned.any():
            at = int(turned.argmax())
            raise SchemaError(f"series {names[at]!r} is asked to accumulate until before it begins")

    def _last_keys(self) -> pd.DataFrame:
        dataset, id_ = self.dataset, self.fitted.reader.schema.id
        keys = pd.DataFrame({"since": dataset.axis.restore(dataset.last_ticks)})
        if id_ is not None:
            keys.insert(0, id_, dataset.ids)
        return keys

    def _names(self, variable: np.ndarray) -> np.ndarray:
        return np.asarray(self.dataset.variables, dtype=object)[variable]


def _summary(keys: pd.DataFrame, found: np.ndarray, levels: Sequence[float]) -> pd.DataFrame:
    """Keys, mean, standard deviation and quantiles over draws."""
    frame = keys.copy()
    frame["mean"], frame["std"] = found.mean(axis=0), found.std(axis=0)
    for level in levels:
        frame[quantile_name(level)] = np.quantile(found, level, axis=0)
    return frame


def _chunks(size: np.ndarray) -> Iterator[slice]:
    """Slices of things whose sizes add up to what fits in memory, at least one each."""
    group = np.floor(np.cumsum(size) / POINTS_AT_ONCE)
    edges = np.r_[0, np.nonzero(np.diff(group))[0] + 1, len(size)]
    return (slice(int(i), int(j)) for i, j in pairwise(edges) if j > i)
