"""LatentODEClassifier: classes of irregular series from DataFrames, in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from latentode.data import Classification, ContextDropout, Schema, SeriesDataset
from latentode.data.cells.columns import IntoFrame
from latentode.data.cells.time_axis import Duration, TimeUnits
from latentode.data.files.writing import FrameT, in_kind_of
from latentode.data.labels import SeriesLabels, as_frame, read_labels
from latentode.data.queries import query_times
from latentode.data.scaling import series_keys
from latentode.data.split import HELD_OUT, MANY_SERIES
from latentode.data.windows import uniform
from latentode.errors import LatentODEError, SchemaError, warn
from latentode.estimators import fitting
from latentode.estimators.ensemble import train_ensemble
from latentode.estimators.persistence import load_checkpoint, load_model, save_model
from latentode.estimators.tables import read_training
from latentode.forecast import FittedForecaster
from latentode.model import LatentODE, ModelConfig
from latentode.model.building import own_draws
from latentode.training import IrregularDataModule, TrainingConfig

__all__ = ["LatentODEClassifier"]

KIND = "classifier"
CLASSIFYING = TrainingConfig(
    weight_decay=1e-3, context_weight=1.0, value_weight=0.1, context_dropout=0.0
)  # everything is context
FEWEST = 256  # series per epoch: of fewer, each is read several times


class LatentODEClassifier(ClassifierMixin, BaseEstimator):
    """Classifies irregular series, or series at times, by a latent ODE with a label head.

    A whole series' label is read from its latent state at its last observation, from the mean of its
    latent path, and linearly from summaries of each variable (last value, mean, extremes, how often it
    was observed) and static covariates; a label at a time from the state there, known what came before
    *and after*: cut the table where later observations are not to be known. Observations are
    reconstructed beside.

    Args:
        context_length: how far back of its last observation a series is looked at; None for all of it.
        model: what the network is made of; `model__latent_size` and its like name its fields.
        training: how it is trained; likewise `training__max_epochs`. Training stops where the
            cross-entropy on held-out series falls no more; `value_weight` is the weight of the
            observations' negative log-likelihood, per observation, beside the labels' cross-entropy.
        duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
        verbose: whether to show a progress bar.
        random_state: seed of weights, order and what is held out.
        members: networks that are trained one after another, whose probabilities are averaged.

    Attributes:
        classes_: the labels that there are, ascending.
        fitted_: what the fit has left behind: how tables are read, the network, training means.

    References:
        Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
        https://arxiv.org/abs/1907.03907

    Example:
        >>> rng = np.random.default_rng(0)
        >>> frame = pd.DataFrame({"id": np.repeat(range(24), 5), "time": rng.uniform(0, 9, 120)})
        >>> frame["x"] = frame["id"] % 2 + 0.1 * rng.normal(size=120)
        >>> labels = pd.Series(["low", "high"] * 12, index=range(24))
        >>> model = LatentODEClassifier(
        ...     model=ModelConfig(latent_size=2, hidden_size=8),
        ...     training=CLASSIFYING.replace(max_epochs=10),
        ...     verbose=False,
        ... )
        >>> found = model.fit(frame, labels).predict_proba(frame)
        >>> list(found), found.index.name, len(found)
        (['high', 'low'], 'id', 24)
        >>> model.score(frame, labels) > 0.9
        True
    """

    classes_: np.ndarray
    fitted_: FittedForecaster

    def __init__(
        self,
        context_length: Duration | None = None,
        model: ModelConfig = ModelConfig(label_dropout=0.1),
        training: TrainingConfig = CLASSIFYING,
        duplicates: str = "error",
        verbose: bool = True,
        random_state: int = 0,
        members: int = 1,
    ) -> None:
        self.context_length = context_length
        self.model = model
        self.training = training
        self.duplicates = duplicates
        self.verbose = verbose
        self.random_state = random_state
        self.members = members

    def set_params(self, **params: Any) -> Self:
        """Sets parameters by name, nested ones such as `model__latent_size` too.

        Raises:
            LatentODEError: for a setting that does not exist, listing those that do.
        """
        return fitting.set_nested(self, params)

    def fit(
        self,
        df: pd.DataFrame,
        labels: pd.Series | pd.DataFrame,
        schema: Schema | None = None,
        num_threads: int | None = 1,
        save_to: str | Path | None = None,
        resume: bool = False,
        callbacks: Sequence[Any] = (),
        trainer: Mapping[str, Any] = MappingProxyType({}),
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
            save_to: folder for the best model so far, so that a crash or interruption loses nothing.
            resume: whether to go on from the last epoch of a fit into `save_to` that was ended, if any.
            callbacks: of Lightning, called beside those of the fit.
            trainer: arguments of its Trainer: `accelerator`, `devices`, `strategy`, `logger`, ...

        Raises:
            SchemaError: for a table or labels that cannot be read, before any training.
        """
        fitting.check_parameters(self)
        save, checkpoint = fitting.places_of(self, save_to, resume)
        dataset = read_training(df, schema, self.duplicates)
        read = read_labels(labels, dataset)
        if len(read.classes) < 2:
            raise SchemaError(
                f"every label is {repr(*read.classes)}: there is nothing to tell apart; give series of "
                "at least two classes"
            )
        context_length = np.inf
        if self.context_length is not None:
            context_length = dataset.axis.duration(self.context_length, "context_length")
        span = dataset.last - dataset.first
        span = float(np.median(span[span > 0])) if (span > 0).any() else 1.0
        data = self._data(dataset, read, labels, span, context_length)
        self.classes_ = np.array(read.classes)
        # All of it, since what a label head drops out is drawn from torch's own generator, too.
        lightning = {"callbacks": callbacks, "settings": trainer}
        with fitting.gradients(num_threads), own_draws(self.random_state):
            train_ensemble(self, data, (span, context_length), None, save, checkpoint, lightning)
        if save is not None:
            save()
        if checkpoint is not None:
            checkpoint.remove()
        return self

    def predict_proba(self, df: FrameT, at: pd.DataFrame | None = None) -> FrameT:
        """The probability of each class.

        Args:
            df: observations, with the columns of training.
            at: where labels are of times, a frame of identifier and time: what is asked.

        Returns:
            A column per class; of whole series a row each, indexed by identifier in the table's order,
            else a row per row of `at`, indexed by identifier and time. Of Polars or PyArrow, if `df`
            is, with columns in place of the index.

        Raises:
            NotFittedError: before `fit`.
            SchemaError: for a table or a question that cannot be read.
        """
        return in_kind_of(df, self._probabilities(df, at))

    def _probabilities(self, df: IntoFrame, at: pd.DataFrame | None) -> pd.DataFrame:
        fitted = self._fitted
        dataset = fitted.reader.read(df, self.duplicates)
        if self._of_times != (at is not None):
            raise LatentODEError(
                "this model classifies series at times: say at which, at=frame of identifier and time"
                if self._of_times
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
        found = self._probabilities(df, at)
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
        if self._of_times:
            predicted = self.predict(df, frame.drop(columns="label")).to_numpy()
        else:
            place = np.zeros(len(frame), dtype=np.int64)
            if dataset.schema.id is not None:
                place = dataset.index_of(frame[dataset.schema.id])
            predicted = self.predict(df).to_numpy()[place]
        return float((predicted == frame["label"].to_numpy()).mean())

    def save(self, folder: str | Path) -> None:
        """Writes `classifier.safetensors` into a folder, which is made if need be."""
        save_model(folder, self._fitted, self.get_params(deep=False), KIND)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            LatentODEError: if the folder holds no classifier, or one of another release's format.
        """
        fitted, parameters = load_model(folder, KIND)
        made = cls(**parameters)
        made.fitted_, made.classes_ = fitted, np.array(fitted.classes)
        return made

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """A fitted classifier of a Lightning checkpoint alone; a `LatentODEError` if it holds none."""
        fitted, parameters = load_checkpoint(path, KIND)
        made = cls(**parameters)
        made.fitted_, made.classes_ = fitted, np.array(fitted.classes)
        return made

    @property
    def network_(self) -> LatentODE:
        """The trained network, a plain `nn.Module`."""
        return self._fitted.engine.network

    @property
    def history_(self) -> pd.DataFrame:
        """Metrics of each epoch; empty where a fit left none."""
        return self._fitted.record.history

    @property
    def _of_times(self) -> bool:
        """Whether labels are of times rather than of whole series."""
        sizes = self.network_.sizes
        return sizes is not None and sizes.labels == "times"

    @property
    def _fitted(self) -> FittedForecaster:
        if not hasattr(self, "fitted_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self.fitted_

    def _data(
        self,
        dataset: SeriesDataset,
        read: SeriesLabels,
        labels: pd.Series | pd.DataFrame,
        span: float,
        context_length: float,
    ) -> IrregularDataModule:
        held_out = _held_out(dataset, read, self.random_state)
        train, validation = dataset, None
        if held_out.any():
            train, validation = dataset.select(~held_out), dataset.select(held_out)
        context = None if self.context_length is None else TimeUnits(context_length)
        task = Classification(labels, TimeUnits(span), context)
        return IrregularDataModule(
            train,
            validation,
            task=ContextDropout(task, self.training.observation_dropout),
            batch_size=self.training.batch_size,
            windows_per_epoch=max(len(train), FEWEST),
            seed=self.random_state,
            bucketed=len(train) > self.training.batch_size,
        )


def _held_out(dataset: SeriesDataset, labels: SeriesLabels, seed: int) -> np.ndarray:
    """Mask of the series to validate on: a fifth of those of each class, whatever their order."""
    n = len(dataset)
    if n < MANY_SERIES:
        warn(
            f"{n} series are too few to hold any out: training goes on for all epochs without early "
            "stopping",
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
