"""LatentODEClassifier: classes of irregular series from DataFrames, in scikit-learn's manner."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from latentode.data.climatology import Climatology
from latentode.data.dataset import SeriesDataset
from latentode.data.labels import SeriesLabels, as_frame, read_labels
from latentode.data.queries import query_times
from latentode.data.scaling import series_keys
from latentode.data.schema import Schema
from latentode.data.split import HELD_OUT, MANY_SERIES, by_key
from latentode.data.task import Forecasting, uniform
from latentode.data.time_axis import Duration, TimeUnits
from latentode.errors import LatentODEError, SchemaError
from latentode.estimators.persistence import load_model, save_model
from latentode.forecast.engine import Engine
from latentode.forecast.fitted import FittedForecaster, Reader, plain
from latentode.training.data_module import IrregularDataModule
from latentode.training.fit import cpu_threads, run_fit
from latentode.training.module import LatentODEModule

__all__ = ["LatentODEClassifier"]

KIND = "classifier"
FEWEST = 256  # series per epoch: of fewer, each is read several times


class LatentODEClassifier(ClassifierMixin, BaseEstimator):
    """Classifies irregular series, or series at times, by a latent ODE with a label head.

    A whole series' label is read from its latent state at its last observation and from the mean of its
    latent path; a label at a time from the state there, known what came before *and after*: cut the
    table where later observations are not to be known. Observations are reconstructed beside.

    Args:
        layout: "per-variable", a latent state per (series, variable), or "joint", one per series.
        latent_size: size of a latent state.
        hidden_size: width of the networks.
        encoder: "gru", or, jointly, "ode-rnn" or "linear".
        context: how far back of its last observation a series is looked at; None for all of it.
        network: further arguments of `LatentODEModule` and `build_latent_ode`, such as
            `{"dynamics": "gated", "solver": {"intervals": 10}}`.
        reconstruction: weight of the observations' negative log-likelihood, per observation, beside the
            labels' cross-entropy, per label.
        dropout: of the label head.
        observation_dropout: largest part of a training series to hide from the encoder.
        max_epochs: most epochs to train.
        patience: epochs without a lower cross-entropy on held-out series after which training stops.
        batch_size: series per optimiser step.
        lr: peak learning rate.
        weight_decay: of AdamW.
        ema_decay: decay of a running average of the weights; None for none.
        duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
        verbose: whether to show a progress bar.
        random_state: seed of weights, order and what is held out.

    Attributes:
        classes_: the labels that there are, ascending.
        of_times_: whether labels are of times rather than of whole series.
        schema_, axis_: how tables are read.
        module_: the trained `LatentODEModule`.
        history_: a frame of metrics per epoch.

    References:
        Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
        https://arxiv.org/abs/1907.03907

    Example:
        >>> rng = np.random.default_rng(0)
        >>> frame = pd.DataFrame({"id": np.repeat(range(24), 5), "time": rng.uniform(0, 9, 120)})
        >>> frame["x"] = frame["id"] % 2 + 0.1 * rng.normal(size=120)
        >>> labels = pd.Series(["low", "high"] * 12, index=range(24))
        >>> model = LatentODEClassifier(latent_size=2, hidden_size=8, max_epochs=10, verbose=False)
        >>> found = model.fit(frame, labels).predict_proba(frame)
        >>> list(found), found.index.name, len(found)
        (['high', 'low'], 'id', 24)
        >>> model.score(frame, labels)
        1.0
    """

    history_: pd.DataFrame

    def __init__(
        self,
        layout: str = "per-variable",
        latent_size: int = 16,
        hidden_size: int = 64,
        encoder: str = "gru",
        context: Duration | None = None,
        network: dict[str, Any] | None = None,
        reconstruction: float = 0.1,
        dropout: float = 0.1,
        observation_dropout: float = 0.0,
        max_epochs: int = 60,
        patience: int = 12,
        batch_size: int = 32,
        lr: float = 3e-3,
        weight_decay: float = 1e-3,
        ema_decay: float | None = 0.99,
        duplicates: str = "error",
        verbose: bool = True,
        random_state: int = 0,
    ) -> None:
        self.layout = layout
        self.latent_size = latent_size
        self.hidden_size = hidden_size
        self.encoder = encoder
        self.context = context
        self.network = network
        self.reconstruction = reconstruction
        self.dropout = dropout
        self.observation_dropout = observation_dropout
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.ema_decay = ema_decay
        self.duplicates = duplicates
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        df: pd.DataFrame,
        labels: pd.Series | pd.DataFrame,
        schema: Schema | None = None,
        num_threads: int | None = 1,
    ) -> LatentODEClassifier:
        """Trains on a table and its labels; keeps the weights that did best on held-out series.

        A fifth of the series is held out, of whole-series labels a fifth of each class, where there are
        at least 20.

        Args:
            df: observations, wide or long; never modified.
            labels: of every series: a pandas Series indexed by identifier, or a frame of identifier and
                label; or, at any times, a frame of identifier, time and label.
            schema: roles of the columns of `df`; what it leaves open is detected.
            num_threads: CPU threads to train with; None leaves them as they are.

        Raises:
            SchemaError: for a table or labels that cannot be read, before any training.
        """
        self._check_parameters()
        dataset = SeriesDataset.from_frame(df, schema, self.duplicates)
        dataset.require_observed()
        dataset = by_key(dataset)
        read = read_labels(labels, dataset)
        if len(read.classes) < 2:
            raise SchemaError(
                f"every label is {repr(*read.classes)}: there is nothing to tell apart; give series of "
                "at least two classes"
            )
        self.classes_, self.of_times_ = np.array(read.classes), read.time is not None
        self.schema_, self.axis_ = dataset.schema, dataset.axis
        self.context_ = np.inf
        if self.context is not None:
            self.context_ = dataset.axis.duration(self.context, "context")
        span = dataset.last - dataset.first
        self.span_ = float(np.median(span[span > 0])) if (span > 0).any() else 1.0
        self.climatology_ = Climatology.fit(dataset)
        data = self._data(dataset, read, labels)
        self.scaling_ = data.scaling
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), cpu_threads(num_threads):
            torch.manual_seed(self.random_state)
            self.module_ = self._module(data.sizes)
            self._train(data)
        return self

    def predict_proba(self, df: pd.DataFrame, at: pd.DataFrame | None = None) -> pd.DataFrame:
        """The probability of each class.

        Args:
            df: observations, with the columns of training.
            at: where labels are of times, a frame of identifier and time: what is asked.

        Returns:
            A column per class; of whole series a row each, indexed by identifier in the table's order,
            else a row per row of `at`, indexed by identifier and time.

        Raises:
            NotFittedError: before `fit`.
            SchemaError: for a table or a question that cannot be read.
        """
        fitted = self._fitted
        dataset = fitted.reader.read(df, self.duplicates)
        if self.of_times_ != (at is not None):
            raise LatentODEError(
                "this model classifies series at times: say at which, at=frame of identifier and time"
                if self.of_times_
                else "this model classifies whole series; leave out at="
            )
        series, time = np.arange(len(dataset)), None
        index = pd.Index(dataset.ids, name=dataset.schema.id)
        if at is not None:
            places = query_times(dataset, at)
            series, time = places.series, places.time
            index = pd.MultiIndex.from_frame(places.keys)
            _refuse_early(dataset, series, time)
        found = fitted.engine.class_probabilities(fitted.reader.series(dataset), series, time)
        return pd.DataFrame(found, index=index, columns=self.classes_)

    def predict(self, df: pd.DataFrame, at: pd.DataFrame | None = None) -> pd.Series:
        """The likeliest class, indexed as `predict_proba`, whose arguments these are."""
        found = self.predict_proba(df, at)
        chosen = found.to_numpy().argmax(axis=1)
        return pd.Series(self.classes_[chosen], index=found.index, name="label")

    def score(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, df: pd.DataFrame, labels: pd.Series | pd.DataFrame
    ) -> float:
        """Accuracy: the part of the labels, given as for `fit`, that are the likeliest class."""
        fitted = self._fitted
        dataset = fitted.reader.read(df, self.duplicates)
        read_labels(labels, dataset, self.classes_.tolist())
        frame = as_frame(labels, dataset)
        if self.of_times_:
            predicted = self.predict(df, frame.drop(columns="label")).to_numpy()
        else:
            place = np.zeros(len(frame), dtype=np.int64)
            if dataset.schema.id is not None:
                place = dataset.index_of(frame[dataset.schema.id])
            predicted = self.predict(df).to_numpy()[place]
        return float((predicted == frame["label"].to_numpy()).mean())

    def save(self, folder: str | Path) -> None:
        """Writes `classifier.json` and `weights.pt` into a folder, which is made if need be."""
        save_model(Path(folder), self._fitted, self.module_, self.get_params(), KIND)

    @classmethod
    def load(cls, folder: str | Path) -> LatentODEClassifier:
        """Reads what `save` wrote.

        Raises:
            LatentODEError: if the folder holds no classifier, or one of a later release.
        """
        fitted, module, parameters = load_model(Path(folder), KIND)
        return cls(**parameters)._take(fitted, module)

    def _take(self, fitted: FittedForecaster, module: LatentODEModule) -> Self:
        reader = fitted.reader
        self.schema_, self.axis_, self.scaling_ = reader.schema, reader.axis, reader.scaling
        self.climatology_, self.module_ = fitted.climatology, module
        self.span_, self.context_ = fitted.horizon, fitted.engine.context_length
        self.classes_ = np.array(fitted.classes)
        self.of_times_ = module.hparams["labels"] == "times"
        if fitted.history is not None:
            self.history_ = fitted.history
        return self

    @property
    def _fitted(self) -> FittedForecaster:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return FittedForecaster(
            Reader(self.schema_, self.axis_, self.scaling_),
            Engine(self.module_.model, self.scaling_, self.context_),
            self.climatology_,
            self.span_,
            history=getattr(self, "history_", None),
            classes=tuple(self.classes_.tolist()),
        )

    def _data(
        self, dataset: SeriesDataset, read: SeriesLabels, labels: pd.Series | pd.DataFrame
    ) -> IrregularDataModule:
        held_out = _held_out(dataset, read, self.random_state)
        train, validation = dataset, None
        if held_out.any():
            train, validation = dataset.select(~held_out), dataset.select(held_out)
        context = None if self.context is None else self.context_
        return IrregularDataModule(
            train,
            validation,
            task=Forecasting(TimeUnits(self.span_), context, origin="end"),
            batch_size=self.batch_size,
            cuts=max(len(train), FEWEST),
            seed=self.random_state,
            observation_dropout=self.observation_dropout,
            bucketed=len(train) > self.batch_size,
            labels=labels,
        )

    def _module(self, sizes: dict[str, Any]) -> LatentODEModule:
        options = {
            "lr": plain(self.lr),
            "weight_decay": plain(self.weight_decay),
            "context_weight": 1.0,  # everything is context
            "value_weight": plain(self.reconstruction),
            "layout": self.layout,
            "latent_size": plain(self.latent_size),
            "hidden_size": plain(self.hidden_size),
            "encoder": self.encoder,
            "labels": "times" if self.of_times_ else "series",
            "n_classes": len(self.classes_),
            "label_dropout": plain(self.dropout),
        }
        return LatentODEModule(**{**sizes, **options, **(self.network or {})})

    def _train(self, data: IrregularDataModule) -> None:
        def keep(history: pd.DataFrame) -> None:
            self.history_ = history

        run_fit(
            self.module_,
            data,
            max_epochs=self.max_epochs,
            patience=self.patience,
            verbose=self.verbose,
            on_end=keep,
            ema_decay=plain(self.ema_decay),
        )

    def _check_parameters(self) -> None:
        for name in ("latent_size", "hidden_size", "max_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise LatentODEError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        for name in ("reconstruction", "weight_decay"):
            if not 0 <= getattr(self, name) < np.inf:
                raise LatentODEError(f"{name} must not be negative, got {getattr(self, name)!r}")
        for name in ("dropout", "observation_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise LatentODEError(
                    f"{name} must be at least 0 and below 1, got {getattr(self, name)!r}"
                )


def _held_out(dataset: SeriesDataset, labels: SeriesLabels, seed: int) -> np.ndarray:
    """Mask of the series to validate on: a fifth of those of each class, whatever their order."""
    n = len(dataset)
    if n < MANY_SERIES:
        warnings.warn(
            f"{n} series are too few to hold any out: training goes on for all epochs without early "
            "stopping",
            stacklevel=4,
        )
        return np.zeros(n, dtype=bool)
    stratum = labels.klass if labels.time is None else np.zeros(n, dtype=np.int64)
    order = uniform(series_keys(dataset), seed)
    rank = pd.Series(order).groupby(stratum).rank(method="first") - 1
    size = pd.Series(stratum).groupby(stratum).transform("size")
    held_out = (rank < (HELD_OUT * size).round()).to_numpy()
    left = dataset.select(~held_out)
    return held_out & (len(np.unique(left.variable)) == len(dataset.variables))


def _refuse_early(dataset: SeriesDataset, series: np.ndarray, time: np.ndarray) -> None:
    early = time < dataset.first[series]
    if early.any():
        raise SchemaError(
            f"series {dataset.name(series[int(early.argmax())])!r} is asked about a time before its "
            "first observation, when nothing is known of it; leave that time out"
        )
