"""LatentODEForecaster: `fit` and `predict` on DataFrames, in scikit-learn's manner."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from latentode.asking import chosen_variables, queries_at
from latentode.baselines import BASELINES, Climatology
from latentode.calibration import Calibration
from latentode.data.datamodule import IrregularDataModule
from latentode.data.dataset import SeriesDataset
from latentode.data.frames import IntoFrame, frame_or_as_is
from latentode.data.known import tell, warn_of_untold
from latentode.data.queries import At, QueryTimes, query_times, times_along
from latentode.data.schema import Schema
from latentode.data.split import by_key, durations, split_validation
from latentode.data.task import Forecasting
from latentode.data.timeaxis import Duration
from latentode.domains import refuse_unexplained
from latentode.errors import LatentODEError, SchemaError
from latentode.evaluation import ORIGINS, backtest, compare, figures, skill
from latentode.fitted import Fitted, plain, settings_of
from latentode.fitting import cpu_threads, run_fit
from latentode.forecast import Forecast
from latentode.metrics import USUAL, metric_list
from latentode.pairs import Pairs, observed_after, observed_ahead
from latentode.persistence import load_model, save_model
from latentode.quantiles import interval_levels, quantile_list
from latentode.questions.crossing import FirstCrossing
from latentode.questions.estimate import fit_residuals
from latentode.questions.following import extended
from latentode.questions.paths import Paths
from latentode.questions.smoothing import smoothed
from latentode.residuals import Residuals
from latentode.timing import expected_counts, intensity, times_log_likelihood
from latentode.training import LitLatentODE

__all__ = ["LatentODEForecaster"]

QUANTILES = (0.1, 0.5, 0.9)
MODEL_NAME = "latent ODE"


class LatentODEForecaster(BaseEstimator):
    """Forecasts irregular series at any timestamps with a latent ODE.

    Args:
        horizon: how far ahead to learn to look: "24h", or a number in the unit of a numeric time
            column. None takes what is usual among the series of a quarter of a series' span, or of
            the time that 50 further observation times of it take where that is less, so that of a
            long series a horizon is still a small part. Longer questions are answered too, by
            carrying the ODE on.
        context: how far back the encoder looks; None takes eight horizons.
        layout: "per-variable", a latent state per (series, variable), the more accurate one more
            often, or "joint", one per series, the classic latent ODE.
        latent_size: size of a latent state.
        hidden_size: width of the networks.
        encoder: "gru", or, jointly, "ode-rnn" or "linear" (parallel over events).
        likelihood: how values scatter: "normal", "student-t", "laplace", "quantile" (of any shape),
            "log-normal" (positive), "beta" (between 0 and 1), "bernoulli" (0 or 1), "poisson" or
            "negative-binomial" (counts); or some variables' names with theirs, others being normal.
        t0: where the latent state starts: "origin" (the end of the history) or "start" (its
            beginning, as in the 2018 paper).
        dynamics: "mlp", "gated" (bounded), "linear" (in closed form, the cheapest), "second-order", or
            "clock" (no ODE: a decoder that is told the time, for comparisons).
        solver: arguments of `latentode.ode.Solver`, such as `{"method": "dopri5"}`.
        network: further arguments of `build_latent_ode`, such as `{"interaction": "dynamics"}`.
        max_epochs: most epochs to train.
        patience: epochs without improvement on held-out data after which training stops.
        batch_size: cuts per optimiser step.
        lr: peak learning rate.
        duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
        verbose: whether to show a progress bar.
        random_state: seed of weights, cuts and their order.
        loss: what training lowers: "likelihood", or, for point forecasts, "mse", "mae" or "mse+mae" of
            the predictive mean; the intervals are fitted by the likelihood in any case.
        balance: what weighs the same in it: "observations", or "variables", each by its own mean.
        schedule: of the learning rate: "cosine", "constant" or "plateau".
        weight_averaging: decay of a running average of the weights, such as 0.999, which then is what
            is validated and kept; None for none.
        drop_observations: largest part of a training context to hide from the encoder.
        blank_contexts: share of training cuts of which the encoder sees nothing, so that a series not
            observed yet is answered by what its statics say, as uncertain as that is; 0 for none.
        monitor: the metric on held-out data by which the best weights are kept and training stops:
            "val_loss" (of `loss`), "val_nll", "val_mse" or "val_mae", in scaled units.
        cuts: training cuts per epoch, at least one per series; None takes five per series, but no fewer
            than 512, so that a few long series may want more, and, for their sake, no more than 4,096.

    Attributes:
        schema_: the schema with every column named.
        horizon_, context_: in time units of `axis_`.
        module_: the trained `LitLatentODE`; `module_.model` is the network.
        history_: a frame of metrics per epoch; not there on a forecaster `from_lightning`.
        residuals_: how noisy readings are and how long departures last; None where that is unknown.
        calibration_: what `calibrate` learnt, by which forecasts are calibrated; None for none.
        followed_: the rows of `follow` and `update`, if there were any; never saved.

    References:
        Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
        https://arxiv.org/abs/1907.03907
    """

    history_: pd.DataFrame
    residuals_: Residuals | None
    calibration_: Calibration | None
    followed_: pd.DataFrame

    def __init__(
        self,
        horizon: Duration | None = None,
        context: Duration | None = None,
        layout: str = "per-variable",
        latent_size: int = 16,
        hidden_size: int = 64,
        encoder: str = "gru",
        likelihood: str | dict[str, str] = "normal",
        t0: str = "origin",
        dynamics: str = "mlp",
        solver: dict[str, Any] | None = None,
        network: dict[str, Any] | None = None,
        max_epochs: int = 60,
        patience: int = 12,
        batch_size: int = 32,
        lr: float = 3e-3,
        duplicates: str = "error",
        verbose: bool = True,
        random_state: int = 0,
        loss: str = "likelihood",
        balance: str = "observations",
        schedule: str = "cosine",
        weight_averaging: float | None = 0.99,
        drop_observations: float = 0.0,
        blank_contexts: float = 0.02,
        monitor: str = "val_loss",
        cuts: int | None = None,
    ) -> None:
        self.horizon = horizon
        self.context = context
        self.layout = layout
        self.latent_size = latent_size
        self.hidden_size = hidden_size
        self.encoder = encoder
        self.likelihood = likelihood
        self.t0 = t0
        self.dynamics = dynamics
        self.solver = solver
        self.network = network
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.lr = lr
        self.duplicates = duplicates
        self.verbose = verbose
        self.random_state = random_state
        self.loss = loss
        self.balance = balance
        self.schedule = schedule
        self.weight_averaging = weight_averaging
        self.drop_observations = drop_observations
        self.blank_contexts = blank_contexts
        self.monitor = monitor
        self.cuts = cuts

    def fit(
        self,
        df: IntoFrame,
        schema: Schema | None = None,
        validation: IntoFrame | None = None,
        save_to: str | Path | None = None,
        num_threads: int | None = 1,
    ) -> LatentODEForecaster:
        """Trains on a table, wide or long, and keeps the weights that did best on held-out data.

        Args:
            df: training table, of pandas, Polars, PyArrow, ...; never modified.
            schema: roles of its columns; what it leaves open is detected.
            validation: table of held-out series. Without it a fifth of the series is held out where
                there are at least 20, otherwise the last horizon of every series.
            save_to: folder to save the best model so far into, during the fit, so that a crash or
                an interruption loses nothing.
            num_threads: CPU threads to train with; None leaves them as they are. Matrices this small
                gain nothing from more than one (`experiments/training_step`). Restored afterwards.

        Returns:
            Itself.

        Raises:
            SchemaError: for a table that cannot be read, before any training.
        """
        self._check_parameters()
        if num_threads is not None and num_threads < 1:
            raise LatentODEError(f"num_threads must be at least 1, or None; got {num_threads!r}")
        dataset = SeriesDataset.from_frame(df, schema, self.duplicates)
        dataset.require_observed()
        _say_merged(dataset)
        dataset = by_key(dataset)
        self.schema_, self.axis_ = dataset.schema, dataset.axis
        self.horizon_, self.context_ = durations(dataset, self.horizon, self.context)
        self.climatology_ = Climatology.fit(dataset)
        self.history_ = pd.DataFrame()  # of an earlier fit
        self.residuals_ = self.calibration_ = None
        data = self._data(dataset, validation)
        self.scaling_ = data.scaling
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), cpu_threads(num_threads):
            torch.manual_seed(self.random_state)
            self.module_ = self._module({**data.sizes, **self._typical_rate(data)})
            for table in data.tables():
                refuse_unexplained(table, self.module_.model.likelihood)
            self._train(data, None if save_to is None else Path(save_to))
            self.residuals_ = fit_residuals(self._fitted, _held_out(data))
        if save_to is not None:
            self.save(save_to)
        return self

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
        chosen = chosen_variables(self._fitted.schema, variables)
        dataset, asked = self._question(history, at)
        return self._forecast_at(dataset, query_times(dataset, asked, count), chosen, smooth)

    def paths(
        self,
        history: IntoFrame | None = None,
        horizon: Duration | None = None,
        draws: int = 256,
        seed: int = 0,
    ) -> Paths:
        """Futures of each series as functions of time, for what only they can answer.

        Args:
            history: table with the columns of training, known ones told in later rows; None for the
                one that is followed.
            horizon: how far ahead to look for crossings; the fitted one unless told.
            draws: how many futures.
            seed: another seed, other futures; those of a series depend on nothing but it.

        Returns:
            `Paths`, which answers `.rate(at)`, `.integral(b, a)`, `.time_to(variable, above=)`.
        """
        fitted, dataset = self._fitted, self._history(history)
        ahead = fitted.horizon if horizon is None else fitted.axis.duration(horizon)
        return Paths(fitted, dataset, ahead, draws, seed)

    def rate(
        self, history: IntoFrame | None = None, at: At | IntoFrame | None = None, **how: Any
    ) -> pd.DataFrame:
        """How fast each quantity changes, in data units per time unit; see `Paths.rate`."""
        dataset, asked = self._question(history, at)
        return Paths(self._fitted, dataset, self.horizon_).rate(asked, **how)

    def integral(
        self, history: IntoFrame | None = None, b: At | None = None, a: At | None = None, **how: Any
    ) -> pd.DataFrame:
        """What accumulates from a, or the last observation, until b; see `Paths.integral`."""
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
    ) -> FirstCrossing:
        """When, and whether, a variable first reaches a level within `horizon`; see `Paths.time_to`."""
        if variable is None:
            raise LatentODEError("say of which variable: variable='glucose'")
        return self.paths(history, horizon).time_to(variable, above, below, readings)

    def follow(self, history: IntoFrame) -> Self:
        """Keeps a history, which `update` adds to and from which is forecast where none is given.

        It lives with this object alone: `save` leaves it out, so that no model carries data of series
        that it was asked about.

        Args:
            history: table with the columns of training; one followed before is forgotten.

        Returns:
            Itself.
        """
        self.followed_, _ = extended(self._fitted, None, history, self.duplicates)
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
        self.followed_, _ = extended(self._fitted, before, rows, self.duplicates)
        return self

    def trace(self, history: pd.DataFrame, ahead: Duration | None = None, count: int = 60) -> Forecast:
        """The forecast along each series: from its first observation to `ahead` of its last.

        Every time is answered from what had been seen by then.

        Args:
            history: table with the columns of training.
            ahead: how far ahead; one horizon unless told.
            count: how many evenly spaced times per series (fewer where dates or integers repeat).
        """
        dataset = self.read(history)
        horizon = self.horizon_ if ahead is None else self.axis_.duration(ahead, "ahead")
        chosen = chosen_variables(self.schema_, None)
        return self._forecast_at(dataset, times_along(dataset, horizon, count), chosen, smooth=False)

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
        rows, dataset = self._rows(history), self._history(history)
        if at is None:
            raise LatentODEError("say when: at='24h', timestamps, or a frame of identifier and time")
        asked: At = frame_or_as_is(at)
        told = tell(rows, dataset, asked)
        return (dataset if told is None else self.read(told)), asked

    def _forecast_at(
        self, dataset: SeriesDataset, places: QueryTimes, chosen: np.ndarray, smooth: bool
    ) -> Forecast:
        warn_of_untold(dataset, places, stacklevel=4)
        asked, keys = queries_at(dataset, places, chosen)
        if smooth:
            return smoothed(self._fitted, dataset, asked, keys)
        return self._fitted.answer(dataset, asked, keys)

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
            >>> frame = pd.DataFrame({"id": 1, "time": np.arange(30.0), "x": np.sin(np.arange(30.0))})
            >>> options = {"latent_size": 2, "hidden_size": 8, "max_epochs": 1, "verbose": False}
            >>> network = {"observation_times": "poisson"}
            >>> model = LatentODEForecaster(4.0, network=network, **options).fit(frame)
            >>> found = model.intensity(frame, at=2.0, count=2)
            >>> list(found), found["time"].tolist()
            (['id', 'time', 'intensity'], [30.0, 31.0])
        """
        fitted, dataset = self._fitted, self.read(history)
        chosen = chosen_variables(fitted.schema, variables)
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
        chosen = chosen_variables(fitted.schema, variables)
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

    def backtest(
        self,
        df: IntoFrame,
        horizon: Duration | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        log_prob: bool = False,
    ) -> pd.DataFrame:
        """Forecasts observations of a table from earlier times of their series, or from given cutoffs.

        Nothing later than an origin is seen when it is forecast from, but of columns that are known
        ahead. The model stays as it is: fit it on what was there before the first cutoff.

        Args:
            df: held-out table; for cutoffs with what came before them, too.
            horizon: how far ahead; the fitted one unless told.
            quantiles: levels between 0 and 1, or one of them.
            origins: most times per series to forecast from, evenly spread over those with an
                observation within the horizon; None takes all, which costs rows times rows per
                horizon. Of no account with `cutoffs`.
            cutoffs: timestamps to forecast every series from that has shown anything by then: a
                rolling evaluation in time, as a forecaster in use would have met it.
            log_prob: whether to add the log-density of each actual value, in data units.

        Returns:
            A long frame: identifier, `origin`, time, `lead` (in time units), `variable`, `actual`,
            `mean`, `std` and quantiles (and `log_prob`), for `latentode.metrics.summarise`.

        Raises:
            SchemaError: for a table or cutoffs that cannot be read, and where nothing is observed
                within a horizon after any cutoff.

        Example:
            >>> frame = pd.DataFrame({"id": 1, "time": np.arange(30.0), "x": np.sin(np.arange(30.0))})
            >>> options = {"latent_size": 2, "hidden_size": 8, "max_epochs": 1, "verbose": False}
            >>> model = LatentODEForecaster(4.0, **options).fit(frame[:20])
            >>> found = model.backtest(frame, horizon=2.0, cutoffs=[19.5, 25.0])
            >>> found[["origin", "time", "lead"]].to_numpy().tolist()
            [[19.5, 20.0, 0.5], [19.5, 21.0, 1.5], [25.0, 26.0, 1.0], [25.0, 27.0, 2.0]]
        """
        fitted, levels, dataset = self._fitted, quantile_list(quantiles), self.read(df)
        pairs = self._pairs(dataset, horizon, origins, cutoffs)
        return backtest(fitted, dataset, pairs, levels, log_prob)

    def compare(
        self,
        df: IntoFrame,
        horizon: Duration | None = None,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        log_prob: bool = False,
    ) -> pd.DataFrame:
        """The backtest of this model and of the baselines, told apart by the column `model`.

        The time-of-day mean is among them where the times have hours: neither dates nor numbers do.
        Arguments as for `backtest`: from up to 200 times of each series unless told.
        """
        fitted, dataset = self._fitted, self.read(df)
        pairs = self._pairs(dataset, horizon, origins, cutoffs)
        made = backtest(fitted, dataset, pairs, quantile_list(quantiles), log_prob)
        baselines = [b().use(self.schema_, self.climatology_) for b in BASELINES if b.suits(self.axis_)]
        return compare(dataset, made, baselines, MODEL_NAME, pairs)

    def evaluate(
        self,
        df: IntoFrame,
        horizon: Duration | None = None,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        metrics: str | Sequence[str] = USUAL,
        bins: int = 3,
    ) -> pd.DataFrame:
        """Mean figures of `compare`: by variable, lead time and model, as `latentode evaluate` prints.

        Args:
            df, horizon, origins, cutoffs: as for `backtest`.
            quantiles: levels between 0 and 1: those of "pinball", of which intervals are the ends, and
                of which the CRPS is a mean, so that figures compare at equal levels only.
            metrics: of `latentode.metrics.METRICS`: "mae", "rmse", "crps", "coverage" (of the outermost
                interval), "pinball", "interval" (its score), "coverages" and "nll", which baselines,
                having no density, do not have.
            bins: of lead time, each named by its upper end in time units.

        Returns:
            A frame indexed by `variable`, `lead`, `model`, with `n` and the figures.

        Raises:
            SchemaError: where nothing can be scored.
            LatentODEError: for an unknown metric, or one that the quantiles do not allow.

        Example:
            >>> frame = pd.DataFrame({"id": 1, "time": np.arange(30.0), "x": np.sin(np.arange(30.0))})
            >>> options = {"latent_size": 2, "hidden_size": 8, "max_epochs": 1, "verbose": False}
            >>> model = LatentODEForecaster(4.0, **options).fit(frame)
            >>> list(model.evaluate(frame, metrics=["crps", "interval", "nll"]))
            ['n', 'crps', 'interval_80', 'nll']
        """
        names = metric_list(metrics)
        compared = self.compare(df, horizon, origins, cutoffs, quantiles, "nll" in names)
        if compared.empty:
            raise SchemaError("no series has two times within a horizon: nothing can be scored")
        return figures(compared, names, bins)

    def calibrate(
        self,
        df: IntoFrame,
        horizon: Duration | None = None,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        bins: int = 6,
    ) -> Self:
        """Makes quantiles mean what they say, by forecasts of a table that came true.

        What is observed is forecast from earlier times, as in `backtest`; where it lay among the
        quantiles says, by variable and lead time, which quantiles deserve their names: see
        `latentode.calibration`. From then on all that says how likely a value is at a time ahead is
        calibrated: `predict`, `forecast`, `backtest` and what is drawn by `samples=`. Whole futures
        (`paths`, `rate`, `integral`, `time_to`) are not. Again replaces it; `calibration_ = None`
        undoes it.

        Args:
            df: table that the fit has not seen; as many series, or as long a time, as can be had.
            horizon: how far ahead; the fitted one unless told. Later leads are taken as the last.
            origins: as for `backtest`.
            cutoffs: as for `backtest`.
            bins: of lead time, at most; fewer where a variable has under 200 forecasts for each.

        Returns:
            Itself.

        Raises:
            SchemaError: for a table that cannot be read, and where nothing in it can be forecast.

        Warns:
            UserWarning: naming variables with too few forecasts that came true; they stay as they are.

        References:
            Distributional conformal prediction (Chernozhukov, Wuthrich and Zhu, 2021),
            https://arxiv.org/abs/1909.07889
        """
        fitted, dataset = replace(self._fitted, calibration=None), self.read(df)
        pairs = self._pairs(dataset, horizon, origins, cutoffs)
        if len(pairs.actual) == 0:
            raise SchemaError("no series has two times within a horizon: nothing can be calibrated by")
        score = fitted.answer(dataset, pairs.asked, pairs.keys).scores(pairs.actual)
        names = pairs.keys["variable"].to_numpy()
        self.calibration_ = Calibration.fit(names, pairs.keys["lead"].to_numpy(), score, bins)
        return self

    def _pairs(
        self,
        dataset: SeriesDataset,
        horizon: Duration | None,
        origins: int | None,
        cutoffs: At | None,
    ) -> Pairs:
        ahead = self.horizon_ if horizon is None else self.axis_.duration(horizon)
        if cutoffs is None:
            return observed_ahead(dataset, ahead, origins)
        return observed_after(dataset, ahead, cutoffs)

    def score(self, df: pd.DataFrame, origins: int | None = ORIGINS) -> float:
        """Skill over the last-value forecast: 1 - MAE / MAE(last value), mean over variables.

        0 is no better than repeating the last value, 1 is perfect, below 0 is worse. Forecasts from
        up to `origins` evenly spread times of each series; None takes all.
        """
        return skill(self._fitted, self.read(df), origins)

    def save(self, folder: str | Path) -> None:
        """Writes `forecaster.json` and `weights.pt` into a folder, which is made if need be."""
        save_model(Path(folder), self._fitted, self.get_params())

    @classmethod
    def load(cls, folder: str | Path) -> LatentODEForecaster:
        """Reads what `save` wrote.

        Raises:
            LatentODEError: if the folder holds no model, or one of a later release.
        """
        fitted, parameters = load_model(Path(folder))
        return cls(**parameters)._take(fitted)

    @classmethod
    def from_lightning(cls, module: LitLatentODE, data: IrregularDataModule) -> LatentODEForecaster:
        """A fitted forecaster around a module that your own `Trainer` has trained.

        Args:
            module: trained on `data`.
            data: with a `Forecasting` task; its schema and scaling are taken over, and with its other
                settings and those of the module become the forecaster's parameters.

        Raises:
            LatentODEError: if the task is another.
        """
        fitted = Fitted.from_lightning(module, data)
        fitted = replace(fitted, residuals=fit_residuals(fitted, _held_out(data)))
        return cls(**settings_of(module, data, cls().get_params()))._take(fitted)

    def _take(self, fitted: Fitted) -> Self:
        self.schema_, self.axis_, self.scaling_ = fitted.schema, fitted.axis, fitted.scaling
        self.climatology_, self.module_ = fitted.climatology, fitted.module
        self.horizon_, self.context_ = fitted.horizon, fitted.context
        self.residuals_, self.calibration_ = fitted.residuals, fitted.calibration
        if fitted.history is not None:
            self.history_ = fitted.history
        return self

    @property
    def _fitted(self) -> Fitted:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return Fitted(
            self.schema_,
            self.axis_,
            self.scaling_,
            self.climatology_,
            self.horizon_,
            self.context_,
            self.module_,
            getattr(self, "history_", None),
            residuals=getattr(self, "residuals_", None),
            calibration=getattr(self, "calibration_", None),
        )

    def _data(self, dataset: SeriesDataset, validation: IntoFrame | None) -> IrregularDataModule:
        if validation is None:
            train, held_out = split_validation(dataset, self.horizon_, self.random_state)
        else:
            train = dataset
            held_out = by_key(SeriesDataset.from_frame(validation, dataset.schema, self.duplicates))
        task = Forecasting(self.horizon_, self.context_)
        return IrregularDataModule(
            train,
            held_out,
            task=task,
            batch_size=self.batch_size,
            cuts=plain(self.cuts),
            seed=self.random_state,
            drop_observations=self.drop_observations,
            blank_contexts=self.blank_contexts,
        )

    def _typical_rate(self, data: IrregularDataModule) -> dict[str, Any]:
        """Where the intensity of observation times begins, if there is one."""
        network = self.network or {}
        name = network.get("observation_times")
        if name is None or "event_rate" in network:
            return {}
        return {"event_rate": data.event_rate if name == "poisson" else data.variable_rates}

    def _module(self, sizes: dict[str, Any]) -> LitLatentODE:
        return LitLatentODE(
            **sizes,
            lr=plain(self.lr),
            layout=self.layout,
            latent_size=plain(self.latent_size),
            hidden_size=plain(self.hidden_size),
            encoder=self.encoder,
            likelihood=self.likelihood,
            t0=self.t0,
            dynamics=self.dynamics,
            solver=None if self.solver is None else {k: plain(v) for k, v in self.solver.items()},
            **{k: plain(v) for k, v in (self.network or {}).items()},
            loss=self.loss,
            balance=self.balance,
            schedule=self.schedule,
            monitor=self.monitor,
        )

    def _train(self, data: IrregularDataModule, folder: Path | None) -> None:
        begun = False

        def keep(history: pd.DataFrame) -> None:
            self.history_ = history

        def save() -> None:
            nonlocal begun
            begun = True
            if folder is not None:
                self.save(folder)

        try:
            run_fit(
                self.module_,
                data,
                max_epochs=self.max_epochs,
                patience=self.patience,
                verbose=self.verbose,
                on_end=keep,
                on_best=None if folder is None else save,
                monitor=self.monitor,
                weight_averaging=plain(self.weight_averaging),
            )
            begun = True
        finally:
            if begun:
                save()  # again, with the whole history

    def _check_parameters(self) -> None:
        for name in ("latent_size", "hidden_size", "max_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise LatentODEError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.cuts is not None and self.cuts < 1:
            raise LatentODEError(f"cuts must be at least 1, or None; got {self.cuts!r}")
        if not 0 < self.lr < np.inf:
            raise LatentODEError(f"lr must be positive and finite, got {self.lr!r}")
        decay = self.weight_averaging
        if decay is not None and not 0 <= decay < 1:
            raise LatentODEError(f"weight_averaging must be at least 0 and below 1, got {decay!r}")
        for name in ("drop_observations", "blank_contexts"):
            if not 0 <= getattr(self, name) < 1:
                raise LatentODEError(
                    f"{name} must be at least 0 and below 1, got {getattr(self, name)!r}"
                )
        if self.random_state < 0:
            raise LatentODEError(f"random_state must not be negative, got {self.random_state!r}")
        own = (self.network or {}).keys() & self.get_params().keys()
        if own:
            name = min(own)
            raise LatentODEError(
                f"network says {name!r}, which is an argument of the forecaster itself; give {name}="
            )

    def read(self, frame: IntoFrame) -> SeriesDataset:
        """A table as the fitted model reads it.

        Raises:
            SchemaError: if it cannot be read, lacks a column, or its times are of another kind.
        """
        return self._fitted.read(frame, self.duplicates)


def _held_out(data: IrregularDataModule) -> SeriesDataset:
    """What a fit was validated on, else what it was trained on."""
    return (data.train if data.validation is None else data.validation).dataset


def _say_merged(dataset: SeriesDataset) -> None:
    if dataset.merged:
        warnings.warn(
            f"{dataset.merged} rows were merged into others of the same series and time, as duplicates "
            "asks",
            stacklevel=3,
        )
