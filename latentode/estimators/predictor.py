"""Predictor: what a fitted forecaster answers, on DataFrames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import pandas as pd

from latentode.data.columns import IntoFrame
from latentode.data.covariates import warn_of_untold
from latentode.data.dataset import SeriesDataset
from latentode.data.quantile_columns import interval_levels, quantile_list
from latentode.data.queries import At, query_times
from latentode.data.time_axis import Duration
from latentode.errors import LatentODEError
from latentode.forecast.first_passage import FirstPassageTime
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import chosen_variables
from latentode.forecast.sample_paths import SamplePaths
from latentode.forecast.smoothing import forecast_along, forecast_at
from latentode.forecast.timing import expected_counts, intensity, times_log_likelihood

__all__ = ["QUANTILES", "Predictor"]

QUANTILES = (0.1, 0.5, 0.9)


class Predictor(ABC):
    """Forecasts of the times asked, and answers of whole paths, from histories.

    Attributes:
        duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
        followed_: the rows of `follow` and `update`, if there were any.
    """

    duplicates: str
    followed_: pd.DataFrame

    @property
    @abstractmethod
    def _fitted(self) -> FittedForecaster:
        """All that answers need."""

    def predict(
        self,
        history: IntoFrame | None = None,
        at: At | IntoFrame | None = None,
        count: int | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
        level: float | Sequence[float] | None = None,
        samples: int | None = None,
        seed: int = 0,
        smooth: bool = True,
    ) -> pd.DataFrame:
        """Forecasts after, and fills in within, the given histories.

        Args:
            history: table with the columns of training; None for the one that is followed. Targets may
                be empty anywhere, all of one too; but its column must be there, since one misspelt
                looks like one left out.
            at: timestamps asked of every series, a frame of (identifier, time) and known columns,
                or a duration ahead of each series' last observation. Known values may also be given
                in later rows of the history; where neither tells them, the last is held, with a
                warning.
            count: with a duration, how many equally spaced times up to it.
            quantiles: levels between 0 and 1, or one of them.
            variables: which variables; all unless told.
            level: per cent of central intervals whose ends are to be among the quantiles: 80 adds
                `q0.1` and `q0.9`, so that every column says what it is.
            samples: so many draws of futures instead, each consistent over times and variables.
            seed: of the draws; those of a series depend on nothing but it.
            smooth: whether a time inside the history is answered from the observations on both of its
                sides; else, as in `backtest`, from what had been seen by then.

        Returns:
            A long frame in data units: identifier, time, `variable`, `mean`, `std`, and a column
            such as `q0.1` per level; times as asked, each with its variables in turn. With `samples`:
            identifier, time, `variable`, `sample` (from 0) and `value`, draw by draw.

        Raises:
            NotFittedError: before `fit`.
            SchemaError: for a history or a question that cannot be read.
        """
        levels = quantile_list(quantiles) if level is None else interval_levels(level, quantiles)
        made = self.forecast(history, at, count, variables, smooth)
        return made.to_frame(levels) if samples is None else made.samples_frame(samples, seed)

    def forecast(
        self,
        history: IntoFrame | None = None,
        at: At | IntoFrame | None = None,
        count: int | None = None,
        variables: Sequence[str] | None = None,
        smooth: bool = True,
    ) -> Forecast:
        """The predictive distribution itself; arguments as for `predict`."""
        chosen = chosen_variables(self._fitted.reader.schema, variables)
        dataset, asked = self._question(history, at)
        places = query_times(dataset, asked, count)
        warn_of_untold(dataset, places, stacklevel=3)
        return forecast_at(self._fitted, dataset, places, chosen, smooth)

    def paths(
        self,
        history: IntoFrame | None = None,
        horizon: Duration | None = None,
        draws: int = 256,
        seed: int = 0,
    ) -> SamplePaths:
        """Futures of each series as functions of time, for what only they can answer.

        Args:
            history: table with the columns of training, known ones told in later rows; None for the
                one that is followed.
            horizon: how far ahead to look for crossings; the fitted one unless told.
            draws: how many futures.
            seed: another seed, other futures; those of a series depend on nothing but it.

        Returns:
            `SamplePaths`, which answers `.rate(at)`, `.integral(b, a)` and
            `.first_passage_time(variable, above=)`.
        """
        fitted, dataset = self._fitted, self._history(history)
        ahead = fitted.horizon if horizon is None else fitted.reader.axis.duration(horizon)
        return SamplePaths(fitted, dataset, ahead, draws, seed)

    def rate(
        self, history: IntoFrame | None = None, at: At | IntoFrame | None = None, **how: Any
    ) -> pd.DataFrame:
        """How fast each quantity changes, in data units per time unit; see `SamplePaths.rate`."""
        dataset, asked = self._question(history, at)
        return SamplePaths(self._fitted, dataset, self._fitted.horizon).rate(asked, **how)

    def integral(
        self, history: IntoFrame | None = None, b: At | None = None, a: At | None = None, **how: Any
    ) -> pd.DataFrame:
        """What accumulates from a, or the last observation, until b; see `SamplePaths.integral`."""
        if b is None:
            raise LatentODEError("say until when: b='24h', or a time")
        return self.paths(history).integral(b, a, **how)

    def time_to(
        self,
        history: IntoFrame | None = None,
        variable: str | None = None,
        above: float | None = None,
        below: float | None = None,
        horizon: Duration | None = None,
        readings: Duration | None = None,
    ) -> FirstPassageTime:
        """When, and whether, a variable first reaches a level; see `SamplePaths.first_passage_time`."""
        if variable is None:
            raise LatentODEError("say of which variable: variable='glucose'")
        return self.paths(history, horizon).first_passage_time(variable, above, below, readings)

    def follow(self, history: IntoFrame) -> Self:
        """Keeps a history, which `update` adds to and from which is forecast where none is given.

        It lives with this object alone: `save` leaves it out, so that no model carries data of series
        that it was asked about.

        Args:
            history: table with the columns of training; one followed before is forgotten.

        Returns:
            Itself.
        """
        self.followed_ = self._fitted.reader.extend(None, history, self.duplicates)
        return self

    def update(self, rows: IntoFrame) -> Self:
        """Takes new observations in, without refitting: what is forecast is as from the longer history.

        Args:
            rows: table with the columns of training; of series known or new, in any order, also
                earlier than what is known. Rows that repeat one go by `duplicates`.

        Returns:
            Itself; unchanged if the rows are refused.

        Raises:
            SchemaError: for rows that cannot be read, alone or with the history.
        """
        before = getattr(self, "followed_", None)
        self.followed_ = self._fitted.reader.extend(before, rows, self.duplicates)
        return self

    def trace(self, history: pd.DataFrame, ahead: Duration | None = None, count: int = 60) -> Forecast:
        """The forecast along each series: from its first observation to `ahead` of its last.

        Every time is answered from what had been seen by then.

        Args:
            history: table with the columns of training.
            ahead: how far ahead; one horizon unless told.
            count: how many evenly spaced times per series (fewer where dates or integers repeat).
        """
        return forecast_along(self._fitted, self.read(history), ahead, count)

    def intensity(
        self,
        history: pd.DataFrame,
        at: At,
        count: int | None = None,
        variables: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """How often each series will be observed at the times asked, per time unit.

        For a forecaster with `network={"observation_times": "poisson"}`, or "poisson-per-variable".

        Args:
            history: table with the columns of training.
            at: as for `predict`; a time inside the history is answered from what had been seen by then,
                right after the last observation no later than it.
            count: as for `predict`.
            variables: which variables, where each has an intensity of its own; all unless told.

        Returns:
            A frame: identifier, time, (`variable`,) `intensity`, the mean over latent samples.

        Raises:
            LatentODEError: if the model was trained without `observation_times`.

        Example:
            >>> import numpy as np
            >>> from latentode import LatentODEForecaster
            >>> frame = pd.DataFrame({"id": 1, "time": np.arange(30.0), "x": np.sin(np.arange(30.0))})
            >>> options = {"latent_size": 2, "hidden_size": 8, "max_epochs": 1, "verbose": False}
            >>> network = {"observation_times": "poisson"}
            >>> model = LatentODEForecaster(4.0, network=network, **options).fit(frame)
            >>> found = model.intensity(frame, at=2.0, count=2)
            >>> list(found), found["time"].tolist()
            (['id', 'time', 'intensity'], [30.0, 31.0])
        """
        fitted, dataset = self._fitted, self.read(history)
        chosen = chosen_variables(fitted.reader.schema, variables)
        return intensity(fitted, dataset, query_times(dataset, at, count), chosen)

    def expected_counts(
        self,
        history: pd.DataFrame,
        at: At,
        count: int | None = None,
        variables: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """How many observations are expected between successive times after each series' last one.

        With `at="24h", count=4`, in each of the four times six hours ahead. Arguments and errors as for
        `intensity`.

        Returns:
            A frame: identifier, `since` (the last observation, then the time before), `until`,
            (`variable`,) `expected`; by series and time.

        Raises:
            SchemaError: for a time before the last observation of its series.
        """
        fitted, dataset = self._fitted, self.read(history)
        chosen = chosen_variables(fitted.reader.schema, variables)
        return expected_counts(fitted, dataset, query_times(dataset, at, count), chosen)

    def times_log_likelihood(self, df: pd.DataFrame) -> pd.DataFrame:
        """How well it is foreseen when each series is observed, after its first time.

        Every time is judged from the earlier ones of its series, with their values. A series is watched
        up to its last row: one without values says that nothing was observed until then.

        Args:
            df: held-out table.

        Returns:
            A frame: identifier, `events`, `watched`, `log_likelihood` (its differences matter, not its
            unit) and `constant`, the log-likelihood of the constant rate of training.

        Raises:
            LatentODEError: if the model was trained without `observation_times`.
        """
        return times_log_likelihood(self._fitted, self.read(df))

    def read(self, frame: IntoFrame) -> SeriesDataset:
        """A table as the fitted model reads it.

        Raises:
            SchemaError: if it cannot be read, lacks a column, or its times are of another kind.
        """
        return self._fitted.reader.read(frame, self.duplicates)

    def _history(self, history: IntoFrame | None) -> SeriesDataset:
        return self.read(self._rows(history))

    def _rows(self, history: IntoFrame | None) -> IntoFrame:
        """The table to answer from: the one given, else the one followed."""
        followed = getattr(self, "followed_", None) if history is None else history
        if followed is None:
            raise LatentODEError("no history: give one, or let the forecaster follow one with follow()")
        return followed

    def _question(
        self, history: IntoFrame | None, at: At | IntoFrame | None
    ) -> tuple[SeriesDataset, At]:
        """The history, with the known values that a question tells, and the question."""
        rows = self._rows(history)
        if at is None:
            raise LatentODEError("say when: at='24h', timestamps, or a frame of identifier and time")
        return self._fitted.reader.read_question(rows, at, self.duplicates)
