"""LatentODEForecaster: `fit` and `predict` on DataFrames; it delegates to a `FittedForecaster`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

import latentode.evaluation as evaluation
import latentode.plotting as plotting
from latentode.data import ParquetFolder, Schema, SeriesDataset
from latentode.data.cells.columns import IntoFrame, quantile_list
from latentode.data.cells.time_axis import Duration, TimeAxis
from latentode.data.files.writing import FrameT, in_kind_of
from latentode.data.queries import At
from latentode.estimators.persistence import load_checkpoint, load_model, save_model
from latentode.estimators.serving import QUANTILES, ServedForecaster
from latentode.evaluation.backtest import ORIGINS, BacktestPairs
from latentode.evaluation.metrics import USUAL, metric_list
from latentode.forecast import FittedForecaster, Forecast, ObservationTimes, SamplePaths
from latentode.model import LatentODE, ModelConfig
from latentode.training.config import TrainingConfig

if TYPE_CHECKING:
    from latentode.training import IrregularDataModule, LatentODEModule

__all__ = ["LatentODEForecaster"]


class LatentODEForecaster(BaseEstimator):
    """Forecasts irregular series at any timestamps with a latent ODE.

    Args:
        horizon: how far ahead to learn to look: "24h", or a number in the unit of a numeric time
            column. None takes, as is usual among the series, a quarter of the span, or the time that
            50 further observation times take if less. Longer questions carry the ODE on.
        context_length: how far back to look; None takes eight horizons, or 64 observation times.
        model: what the network is made of; `model__latent_size` and its like name its fields.
        training: how it is trained; likewise `training__max_epochs`.
        duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
        verbose: whether to show a progress bar.
        random_state: seed of weights, windows and their order.
        members: networks to train one after another, which answer as one mixture: an ensemble.

    Attributes:
        fitted_: what the fit has left behind; `dataclasses.replace(fitted_, calibration=None)` takes
            a calibration back.
    """

    fitted_: FittedForecaster

    def __init__(
        self,
        horizon: Duration | None = None,
        context_length: Duration | None = None,
        model: ModelConfig = ModelConfig(),
        training: TrainingConfig = TrainingConfig(),
        duplicates: str = "error",
        verbose: bool = True,
        random_state: int = 0,
        members: int = 1,
    ) -> None:
        self.horizon = horizon
        self.context_length = context_length
        self.model = model
        self.training = training
        self.duplicates = duplicates
        self.verbose = verbose
        self.random_state = random_state
        self.members = members

    def set_params(self, **params: Any) -> Self:
        """Sets parameters by name, nested ones such as `model__latent_size` too."""
        from latentode.estimators.fitting import set_nested

        return set_nested(self, params)

    def fit(
        self,
        df: IntoFrame | ParquetFolder,
        schema: Schema | None = None,
        validation: IntoFrame | None = None,
        save_to: str | Path | None = None,
        num_threads: int | None = 1,
        resume: bool = False,
        callbacks: Sequence[Any] = (),
        trainer: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """Trains on a table, wide or long, and keeps the weights that did best on held-out data.

        Args:
            df: training table, of pandas, Polars, PyArrow, ..., or a folder on disk; never modified.
            schema: roles of its columns; what it leaves open is detected.
            validation: held-out series; else a fifth of 20 or more, or the last part of every series.
            save_to: folder for the best model so far, so that a crash or interruption loses nothing.
            num_threads: CPU threads to train with, of which more gain little; None leaves them so.
            resume: whether to go on from the last epoch of a fit into `save_to` that was ended, if any.
            callbacks, trainer: Lightning's, and arguments such as `accelerator` and `devices` for it.
        """
        from latentode.estimators.fitting import fit_forecaster  # which loads Lightning

        own = {"callbacks": callbacks, "settings": trainer}
        return fit_forecaster(self, df, schema, validation, save_to, resume, num_threads, own)

    def predict(
        self,
        history: FrameT,
        at: At | IntoFrame,
        count: int | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        variables: Sequence[str] | None = None,
        level: float | Sequence[float] | None = None,
        samples: int | None = None,
        seed: int = 0,
        smooth: bool = True,
    ) -> FrameT:
        """Forecasts after, and fills in within, the given histories.

        Args:
            history: table with the columns of training; targets may be empty anywhere.
            at: timestamps asked of every series, a frame of (identifier, time) and known-future
                covariates, or a duration ahead of each series' last observation. Where neither it nor
                later rows of the history give known values, the last are held, with a warning.
            count: with a duration, how many equally spaced times up to it.
            quantiles: levels between 0 and 1, or one of them.
            variables: which variables; all by default.
            level: per cent of central intervals whose ends join the quantiles: of 80, `q0.1`, `q0.9`.
            samples, seed: so many draws of futures instead, consistent over times and variables.
            smooth: whether a time inside the history is answered from both sides, else as `backtest`.

        Returns:
            A long frame in data units, of the history's library: identifier, time, `variable`, `mean`,
            `std` and `q0.1`, ... per level; with `samples` `sample` and `value` in their place.
        """
        how = (count, quantiles, variables, level, samples, seed, smooth)
        return self.served_.predict(history, at, *how)

    def forecast(
        self,
        history: IntoFrame,
        at: At | IntoFrame,
        count: int | None = None,
        variables: Sequence[str] | None = None,
        smooth: bool = True,
    ) -> Forecast:
        """The predictive distribution itself, with its components; arguments as for `predict`."""
        return self.served_.forecast(history, at, count, variables, smooth)

    def sample_paths(
        self,
        history: IntoFrame,
        horizon: Duration | None = None,
        draws: int = 256,
        seed: int = 0,
        at: At | IntoFrame | None = None,
    ) -> SamplePaths:
        """Futures of each series as functions of time: `.value`, `.rate`, `.integral`, first passages.

        Args:
            history: table with the columns of training, known values given in later rows or in `at`.
            horizon: how far ahead to look for first passages; the fitted one by default.
            draws, seed: how many, and which; those of a series depend on nothing but it.
            at: a frame of identifier, time and known-future covariates that drive the futures.
        """
        return self.served_.sample_paths(history, horizon, draws, seed, at)

    def observation_times(self, history: IntoFrame) -> ObservationTimes:
        """When series are observed, for a model with `ModelConfig(observation_times=...)`."""
        return self.served_.observation_times(history)

    def backtest(
        self,
        df: FrameT,
        horizon: Duration | None = None,
        quantiles: float | Sequence[float] = QUANTILES,
        origins: int | None = ORIGINS,
        cutoffs: At | None = None,
        log_prob: bool = False,
    ) -> FrameT:
        """Forecasts observations of a table from earlier times of their series, or from given cutoffs.

        Nothing later than an origin is seen from it, but known-future covariates.

        Args:
            df: held-out table; for cutoffs with what came before them, too.
            horizon, quantiles: how far ahead, the fitted horizon by default; levels between 0 and 1.
            origins: most times per series to forecast from, evenly spread; None for all, or `cutoffs`.
            cutoffs: timestamps to forecast every series from that has shown anything by then.
            log_prob: whether to add the log-density of each actual value, in data units.

        Returns:
            A long frame: identifier, `origin`, time, `lead` (in time units), `variable`, `actual`,
            `mean`, `std` and quantiles (and `log_prob`), for `latentode.evaluation.summarise`.
        """
        pairs = self._pairs(df, horizon=horizon, origins=origins, cutoffs=cutoffs)
        return in_kind_of(df, evaluation.backtest(*pairs, quantile_list(quantiles), log_prob))

    def compare(
        self,
        df: FrameT,
        quantiles: float | Sequence[float] = QUANTILES,
        log_prob: bool = False,
        **asked: Any,
    ) -> FrameT:
        """The backtest of model and baselines, told apart by `model`; arguments as for `backtest`."""
        pairs, levels = self._pairs(df, **asked), quantile_list(quantiles)
        return in_kind_of(df, evaluation.compare_with_baselines(*pairs, levels, log_prob))

    def evaluate(
        self,
        df: FrameT,
        quantiles: float | Sequence[float] = QUANTILES,
        metrics: str | Sequence[str] = USUAL,
        bins: int = 3,
        **asked: Any,
    ) -> FrameT:
        """Mean figures of `compare`: by variable, lead time and model, as `latentode evaluate` prints.

        Args:
            df: held-out table.
            quantiles: levels that "pinball", intervals and the CRPS are taken at.
            metrics: of `latentode.evaluation.METRICS`; baselines have no "nll".
            bins: of lead time, each named by its upper end in time units.
            **asked: `horizon`, `origins` and `cutoffs`, as for `backtest`.
        """
        names, levels = metric_list(metrics), quantile_list(quantiles)
        return in_kind_of(df, evaluation.evaluate(*self._pairs(df, **asked), levels, names, bins))

    def calibrate(
        self, df: IntoFrame, bins: int = 6, exchangeable: str | None = None, **asked: Any
    ) -> Self:
        """Makes quantiles mean what they say, in all answers; see `latentode.evaluation.calibrated`.

        Args:
            df: table that the fit has not seen; as many series, or as long a time, as can be had.
            bins: of lead time, at most; fewer where a variable has under 200 forecasts for each.
            exchangeable: "series", if new series are to be forecast, or "origins", if later times are.
            **asked: `horizon`, `origins` and `cutoffs`, as for `backtest`.
        """
        self.fitted_ = evaluation.calibrated(*self._pairs(df, **asked), bins, exchangeable)
        return self

    def score(self, df: IntoFrame, origins: int | None = ORIGINS) -> float:
        """Skill, 1 - MAE / MAE(last value), mean over variables; `origins` as for `backtest`."""
        return evaluation.skill(self._fitted, self.read(df), origins)

    def plot(self, table: IntoFrame | None = None, kind: str = "forecast", **asked: Any) -> Any:
        """A picture of one of the kinds of `latentode.plotting.KINDS`; see `plot` there."""
        return plotting.plot(self, table, kind, **asked)

    def read(self, frame: IntoFrame) -> SeriesDataset:
        """A table as the fitted model reads it."""
        return self.served_.read(frame)

    def save(self, folder: str | Path) -> None:
        """Writes `forecaster.safetensors` into a folder, which is made if need be; see `save_model`."""
        save_model(folder, self._fitted, self.get_params(deep=False))

    def export(self, path: str | Path, max_rows: int = 256, max_queries: int = 64) -> None:
        """Writes the forecast of one series as a graph, ".pt2" or ".onnx"; see `export_forecast`."""
        from latentode.forecast.export import export_forecast

        export_forecast(self._fitted, path, max_rows, max_queries)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote; a `LatentODEError` says what is not to be read, and why."""
        return cls._made(*load_model(folder))

    @classmethod
    def from_lightning(cls, module: LatentODEModule, data: IrregularDataModule) -> Self:
        """A fitted forecaster of a module that your own `Trainer` has trained to forecast `data`."""
        from latentode.estimators import fitting, judging

        fitted, parameters = fitting.fitted_by_lightning(module, data)
        return cls._made(judging.judged(fitted, data, parameters["training"]), parameters)

    @classmethod
    def from_checkpoint(cls, path: str | Path, held_out: IntoFrame | None = None) -> Self:
        """Of a Lightning checkpoint alone; `held_out` says how far to trust corrections."""
        from latentode.estimators import judging

        fitted, parameters = load_checkpoint(path, "forecaster")
        held = None if held_out is None else fitted.reader.read(held_out)
        training = parameters["training"]
        return cls._made(
            fitted if held is None else judging.judged_by(fitted, held, training), parameters
        )

    @property
    def served_(self) -> ServedForecaster:
        """What answers, without what fits."""
        return ServedForecaster(self._fitted, self.duplicates)

    @property
    def network_(self) -> LatentODE:
        """The trained `nn.Module`; of an ensemble the first, of those in `fitted_.engine.networks`."""
        return self._fitted.engine.network

    @property
    def schema_(self) -> Schema:
        """What each column means."""
        return self.served_.schema_

    @property
    def axis_(self) -> TimeAxis:
        """What times mean."""
        return self.served_.axis_

    @property
    def horizon_(self) -> float:
        """How far it has learnt to look, in time units."""
        return self.served_.horizon_

    @property
    def history_(self) -> pd.DataFrame:
        """Metrics, a row per epoch; `member` tells the networks of an ensemble apart."""
        return self._fitted.record.history

    @property
    def leaderboard_(self) -> pd.DataFrame:
        """Held-out figures beside those of baselines; empty where nothing was held out."""
        return self._fitted.record.leaderboard

    @property
    def _fitted(self) -> FittedForecaster:
        if not hasattr(self, "fitted_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self.fitted_

    def _pairs(self, df: Any, **asked: Any) -> tuple[FittedForecaster, SeriesDataset, BacktestPairs]:
        fitted, dataset = self._fitted, self.read(df)
        return fitted, dataset, evaluation.backtest_pairs(fitted, dataset, **asked)

    @classmethod
    def _made(cls, fitted: FittedForecaster, parameters: dict[str, Any]) -> Self:
        made = cls(**parameters)
        made.fitted_ = fitted
        return made
