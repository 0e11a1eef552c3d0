"""LatentODEForecaster: `fit` and `predict` on DataFrames, in scikit-learn's manner."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from latentode.data.climatology import Climatology
from latentode.data.columns import IntoFrame
from latentode.data.dataset import SeriesDataset
from latentode.data.schema import Schema
from latentode.data.split import by_key, durations, split_validation
from latentode.data.task import Forecasting
from latentode.data.time_axis import Duration
from latentode.errors import LatentODEError
from latentode.estimators.backtester import Backtester
from latentode.estimators.parameters import check_configs, set_nested
from latentode.estimators.persistence import load_model, save_model
from latentode.evaluation.residual_fit import fit_residuals
from latentode.forecast.calibration import Calibration
from latentode.forecast.fitted import FittedForecaster
from latentode.forecast.residuals import Residuals
from latentode.model.config import ModelConfig
from latentode.nn.likelihoods.choosing import refuse_unexplained
from latentode.training.config import TrainingConfig
from latentode.training.data_module import IrregularDataModule
from latentode.training.fit import cpu_threads, run_fit
from latentode.training.module import LatentODEModule

__all__ = ["LatentODEForecaster"]


class LatentODEForecaster(BaseEstimator, Backtester):
    """Forecasts irregular series at any timestamps with a latent ODE.

    Args:
        horizon: how far ahead to learn to look: "24h", or a number in the unit of a numeric time
            column. None takes what is usual among the series of a quarter of a series' span, or of
            the time that 50 further observation times of it take where that is less, so that of a
            long series a horizon is still a small part. Longer questions are answered too, by
            carrying the ODE on.
        context_length: how far back the encoder looks; None takes eight horizons.
        model: what the network is made of; `model__latent_size` and its like name its fields.
        training: how it is trained; likewise `training__max_epochs`.
        duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
        verbose: whether to show a progress bar.
        random_state: seed of weights, windows and their order.

    Attributes:
        schema_: the schema with every column named.
        horizon_, context_: in time units of `axis_`.
        module_: the trained `LatentODEModule`; `module_.model` is the network.
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
        context_length: Duration | None = None,
        model: ModelConfig = ModelConfig(),
        training: TrainingConfig = TrainingConfig(),
        duplicates: str = "error",
        verbose: bool = True,
        random_state: int = 0,
    ) -> None:
        self.horizon = horizon
        self.context_length = context_length
        self.model = model
        self.training = training
        self.duplicates = duplicates
        self.verbose = verbose
        self.random_state = random_state

    def set_params(self, **params: Any) -> Self:
        """Sets parameters by name, nested ones such as `model__latent_size` too.

        Raises:
            LatentODEError: for a setting that does not exist, listing those that do.
        """
        return set_nested(self, params)

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
        self.horizon_, self.context_ = durations(dataset, self.horizon, self.context_length)
        self.climatology_ = Climatology.fit(dataset)
        self.history_ = pd.DataFrame()  # of an earlier fit
        self.residuals_ = self.calibration_ = None
        data = self._data(dataset, validation)
        self.scaling_ = data.scaling
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), cpu_threads(num_threads):
            torch.manual_seed(self.random_state)
            self.module_ = LatentODEModule(data.sizes, self.model, self.training)
            for table in data.tables():
                refuse_unexplained(table, self.module_.model.likelihood)
            self._train(data, None if save_to is None else Path(save_to))
            self.residuals_ = fit_residuals(self._fitted, _held_out(data))
        if save_to is not None:
            self.save(save_to)
        return self

    def save(self, folder: str | Path) -> None:
        """Writes `forecaster.json` and `weights.pt` into a folder, which is made if need be."""
        save_model(Path(folder), self._fitted, self.get_params(deep=False))

    @classmethod
    def load(cls, folder: str | Path) -> LatentODEForecaster:
        """Reads what `save` wrote.

        Raises:
            LatentODEError: if the folder holds no model, or one of a later release.
        """
        fitted, parameters = load_model(Path(folder))
        return cls(**parameters)._take(fitted)

    @classmethod
    def from_lightning(cls, module: LatentODEModule, data: IrregularDataModule) -> LatentODEForecaster:
        """A fitted forecaster around a module that your own `Trainer` has trained.

        Args:
            module: trained on `data`.
            data: with a `Forecasting` task; its schema and scaling are taken over, and with its other
                settings and those of the module become the forecaster's parameters.

        Raises:
            LatentODEError: if the task is another.
        """
        fitted = _fitted_of(module, data)
        fitted = replace(fitted, residuals=fit_residuals(fitted, _held_out(data)))
        task, own = data.task, module.training_config
        assert isinstance(task, Forecasting)
        training = own.replace(batch_size=data.batch_size, windows_per_epoch=data.windows_per_epoch)
        model = ModelConfig.of(module.hparams["model"])
        made = cls(task.horizon, task.context_length, model, training, random_state=data.seed)
        return made._take(fitted)

    def _take(self, fitted: FittedForecaster) -> Self:
        self.schema_, self.axis_, self.scaling_ = fitted.schema, fitted.axis, fitted.scaling
        self.climatology_, self.module_ = fitted.climatology, fitted.module
        self.horizon_, self.context_ = fitted.horizon, fitted.context
        self.residuals_, self.calibration_ = fitted.residuals, fitted.calibration
        if fitted.history is not None:
            self.history_ = fitted.history
        return self

    @property
    def _fitted(self) -> FittedForecaster:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return FittedForecaster(
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
            batch_size=self.training.batch_size,
            windows_per_epoch=self.training.windows_per_epoch,
            seed=self.random_state,
            observation_dropout=self.training.observation_dropout,
            context_dropout=self.training.context_dropout,
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
                self.training,
                verbose=self.verbose,
                on_end=keep,
                on_best=None if folder is None else save,
            )
            begun = True
        finally:
            if begun:
                save()  # again, with the whole history

    def _check_parameters(self) -> None:
        check_configs(self)
        if self.random_state < 0:
            raise LatentODEError(f"random_state must not be negative, got {self.random_state!r}")


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


def _fitted_of(module: LatentODEModule, data: IrregularDataModule) -> FittedForecaster:
    """What the training of a module on `data` leaves behind.

    Raises:
        LatentODEError: unless the task is to forecast.
    """
    if not isinstance(data.task, Forecasting):
        raise LatentODEError("a forecaster needs a data module with task=Forecasting(...)")
    trained = data.train.dataset
    horizon, context = durations(trained, data.task.horizon, data.task.context_length)
    means = Climatology.fit(trained)
    module = module.cpu().eval()
    return FittedForecaster(data.schema, data.axis, data.scaling, means, horizon, context, module)
