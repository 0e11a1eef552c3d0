"""LatentODEForecaster: `fit` and `predict` on DataFrames, in scikit-learn's manner."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, Self

import numpy as np
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
from latentode.estimators.persistence import load_model, save_model
from latentode.evaluation.residual_fit import fit_residuals
from latentode.forecast.calibration import Calibration
from latentode.forecast.fitted import FittedForecaster, plain
from latentode.forecast.residuals import Residuals
from latentode.model.building import build_latent_ode
from latentode.nn.likelihoods.choosing import refuse_unexplained
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
        dynamics: "mlp", "gated" (bounded), "linear" (in closed form, the cheapest), "second-order",
            or "compartments" (pools that known doses fill, for targets of transform "log").
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
        ema_decay: decay of a running average of the weights, such as 0.999, which then is what
            is validated and kept; None for none.
        observation_dropout: largest part of a training context to hide from the encoder.
        context_dropout: share of training cuts of which the encoder sees nothing, so that a series not
            observed yet is answered by what its statics say, as uncertain as that is; 0 for none.
        monitor: the metric on held-out data by which the best weights are kept and training stops:
            "val_loss" (of `loss`), "val_nll", "val_mse" or "val_mae", in scaled units.
        cuts: training cuts per epoch, at least one per series; None takes five per series, but no fewer
            than 512, so that a few long series may want more, and, for their sake, no more than 4,096.

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
        ema_decay: float | None = 0.99,
        observation_dropout: float = 0.0,
        context_dropout: float = 0.02,
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
        self.ema_decay = ema_decay
        self.observation_dropout = observation_dropout
        self.context_dropout = context_dropout
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
        return cls(**settings_of(module, data, cls().get_params()))._take(fitted)

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
            batch_size=self.batch_size,
            cuts=plain(self.cuts),
            seed=self.random_state,
            observation_dropout=self.observation_dropout,
            context_dropout=self.context_dropout,
        )

    def _typical_rate(self, data: IrregularDataModule) -> dict[str, Any]:
        """Where the intensity of observation times begins, if there is one."""
        network = self.network or {}
        name = network.get("observation_times")
        if name is None or "event_rate" in network:
            return {}
        return {"event_rate": data.event_rate if name == "poisson" else data.variable_rates}

    def _module(self, sizes: dict[str, Any]) -> LatentODEModule:
        return LatentODEModule(
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
                ema_decay=plain(self.ema_decay),
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
        decay = self.ema_decay
        if decay is not None and not 0 <= decay < 1:
            raise LatentODEError(f"ema_decay must be at least 0 and below 1, got {decay!r}")
        for name in ("observation_dropout", "context_dropout"):
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
    horizon, context = durations(trained, data.task.horizon, data.task.context)
    means = Climatology.fit(trained)
    module = module.cpu().eval()
    return FittedForecaster(data.schema, data.axis, data.scaling, means, horizon, context, module)


def settings_of(
    module: LatentODEModule, data: IrregularDataModule, names: Iterable[str]
) -> dict[str, Any]:
    """Those of the named parameters that a module and its data say, given or by default."""
    network = {n: p.default for n, p in signature(build_latent_ode).parameters.items()}
    of_data = {
        **vars(data.task),
        "batch_size": data.batch_size,
        "cuts": data.cuts,
        "random_state": data.seed,
    }
    said = {**network, **module.hparams, **of_data}
    return {name: said[name] for name in names if name in said}
