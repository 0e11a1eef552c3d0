"""IrregularDataModule: irregular tables as Lightning data, cut afresh every epoch."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from latentode.data.batch import Batch, Series
from latentode.data.climatology import Climatology, observation_rates, rate_of
from latentode.data.cycles import find_cycles, harmonics_needed
from latentode.data.dataset import SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.labels import SeriesLabels, as_frame, read_labels
from latentode.data.on_disk import ParquetFolder
from latentode.data.scaling import Scaling
from latentode.data.split import HeldOut, tamed, usual_context
from latentode.data.stored import StoredDataset, some_of
from latentode.data.tables.schema import AUTO, Schema
from latentode.data.task import Classification, Forecasting, Task
from latentode.errors import LatentODEError, SchemaError
from latentode.model.config import Sizes
from latentode.training.cuts import STATIC_DROPOUT, Cuts, Draws, Share, in_rounds
from latentode.training.resumable import FromPlace, Loading, ResumableLoader, whole_batches

__all__ = ["IrregularDataModule"]

CUTS_PER_SERIES, MIN_CUTS, MANY_CUTS = 5, 512, 4096
HELD_OUT_BATCH = 4  # times a batch of training, as no gradient needs memory
FEWEST_EXAMPLES, MOST_EXAMPLES, USUAL_EXAMPLES = 32, 512, 2  # the last of each series

Table = str | Path | pd.DataFrame | SeriesDataset | ParquetFolder


class IrregularDataModule(LightningDataModule):
    """Training and validation batches of `Batch`, for any Lightning `Trainer`.

    Scaling is fitted on `train` only and travels in the checkpoint. An epoch cuts
    `windows_per_epoch / n_series` windows out of each training series at freshly drawn places; the
    windows of validation are always the same. Each of several processes is given its share, of
    validation too, where no window is seen twice. Where the schema says `cycles="auto"` they are found
    in the series of `train`, over all of their time: `found_cycles`, None where they were named;
    `schema` names them.

    Args:
        train: a frame, a dataset already read, a path of what `latentode.read_table` reads, or a
            `ParquetFolder`, which is left on disk; so is a folder of Parquet files that a path names,
            if it has more than two million rows.
        validation: likewise, but in memory, or what `split_validation` holds out; None for none.
        schema: roles of the columns of the frames.
        task: how training series are cut; validation uses `task.fixed()`. Wrapped in
            `ContextDropout` it hides parts of training contexts; a `Classification` brings labels.
        batch_size: windows per batch.
        windows_per_epoch: at least one per series; by default five per series, or one per horizon that
            the series span if these are more, but no fewer than 512 and, for their sake, no more than
            4,096.
        seed: of the places of the windows and of their order.
        bucketed: whether a batch holds contexts of like length, to pad little; in random order.
        **loading: `num_workers`, `pin_memory`, `persistent_workers` and `prefetch_factor` of torch's
            loaders, which change no batch.

    Raises:
        SchemaError: for a table that cannot be read.
        LatentODEError: for an argument of loaders that does not exist.

    Example:
        >>> from latentode import Forecasting
        >>> frame = pd.DataFrame({"id": 1, "time": [0.0, 0.4, 1.7, 2.0], "x": [1.0, 2.0, 3.0, 4.0]})
        >>> data = IrregularDataModule(frame, task=Forecasting(horizon=1.0), windows_per_epoch=8)
        >>> len(next(iter(data.train_dataloader())))
        8
    """

    def __init__(
        self,
        train: Table,
        validation: Table | HeldOut | None = None,
        schema: Schema | None = None,
        task: Task | None = None,
        batch_size: int = 64,
        windows_per_epoch: int | None = None,
        seed: int = 0,
        bucketed: bool = False,
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__()
        self.loading = loading
        whole_batches(loading)  # before anything is read
        if task is None:
            raise SchemaError("say what to learn: task=Forecasting(horizon='24h'), for example")
        train = _read(train, schema)
        train.require_observed()
        self.scaling = Scaling.fit(train)
        shown = self._shown(train, validation) if train.schema.cycles else train
        self.found_cycles = find_cycles(shown) if train.schema.cycles == AUTO else None
        train = self._with_cycles(train)
        self.schema, self.axis = train.schema, train.axis
        self.periods = [float(train.axis.duration(c, "cycles")) for c in train.schema.periods]
        self.cycle_harmonics = harmonics_needed(shown, self.periods)
        self.training_task = task.resolve(train.axis)
        self.task = self.training_task.undropped()
        self.train = Series(train, self.scaling)
        self.validation_task, self.held_out_after = self.task.fixed(), None
        self.whole = train  # what may be known in the end: what was held out of few series, too
        if isinstance(validation, HeldOut):
            if validation.whole is not None and len(train) < MOST_EXAMPLES:
                self.whole = self._with_cycles(validation.whole)
            if validation.begin is not None:
                self.validation_task = self.task.rolling(validation.begin)
                self.held_out_after = validation.begin
            validation = validation.dataset
        self.validation = None if validation is None else self._read(validation, "validation")
        labels = self.task.asked_labels()
        self.classes = None if labels is None else self._label(labels)
        self.batch_size = batch_size
        windows = self._usual_windows() if windows_per_epoch is None else windows_per_epoch
        self.windows_per_epoch = max(windows, len(train))
        self.seed, self.window_seed, self.bucketed = seed, seed, bucketed
        self._loader: ResumableLoader | None = None
        self._resumed: tuple[int, ...] = ()

    def _usual_windows(self) -> int:
        """So many that an epoch sees most of what there is: a few of each series, more of long ones."""
        reach, spans = self.task.reach(), self.train.last - self.train.first
        horizons = 0 if reach is None else int(min(spans.sum() / reach, MANY_CUTS))
        return min(max(CUTS_PER_SERIES * len(self.train), MIN_CUTS, horizons), MANY_CUTS)

    def read(self, table: Table) -> Series:
        """The series of a further table, read and scaled as those of training.

        Raises:
            SchemaError: for a table that cannot be read, or that means other things.
        """
        series, labels = self._read(table, "the table"), self.task.asked_labels()
        if labels is not None:
            series.labels = self._labels_of(series, labels, self.classes)
        return series

    def loader(self, table: Table) -> DataLoader:
        """Batches of a further table, cut as validation is: for `Trainer.test` or `Trainer.predict`."""
        return self._fixed(self.read(table), self.task.fixed())

    def _read(self, table: Table, what: str) -> Series:
        held_out = self._with_cycles(_in_memory(table, self.schema))
        _check_alike(self.train.dataset, held_out, what)
        return Series(held_out, self.scaling)

    def _shown(self, train: SeriesDataset, validation: Any) -> SeriesDataset:
        """What shows cycles of a table, its values scaled: of few series the held-out ends, too."""
        train = some_of(train)
        if isinstance(validation, HeldOut) and validation.begin is not None:
            _check_alike(train, validation.dataset, "validation")
            train = validation.dataset
        self.scaling.refuse_outside(train)
        return replace(train, value=self.scaling.scale_values(train.value, train.variable))

    def _with_cycles(self, dataset: SeriesDataset) -> SeriesDataset:
        """A dataset whose schema names the cycles that were found, where it left them to be found."""
        if dataset.schema.cycles != AUTO:
            return dataset
        found = tuple(c.period for c in self.found_cycles or ())
        return replace(dataset, schema=replace(dataset.schema, cycles=found))

    def _label(self, labels: pd.Series | pd.DataFrame) -> tuple[Any, ...]:
        """Gives every series its labels; returns the classes, which are those of training."""
        classes = None
        for series in (self.train, self.validation):
            if series is not None:
                series.labels = self._labels_of(series, labels, classes)
                classes = series.labels.classes
        return classes or ()

    def _labels_of(
        self, series: Series, labels: pd.Series | pd.DataFrame, classes: tuple[Any, ...] | None
    ) -> SeriesLabels:
        """The labels of some series; there may be labels of others, such as those of a later table."""
        frame = as_frame(labels, series.dataset)
        others = [] if self.schema.id is None else frame[self.schema.id].tolist()
        return read_labels(labels, series.dataset, classes, others)

    @property
    def sizes(self) -> Sizes:
        """What a network has to know of the data: `LatentODEModule(data.sizes)`."""
        reach = self.task.reach()
        span, labels = self.train.last - self.train.first, self.train.labels
        known = len(self.schema.known_future)
        return Sizes(
            n_variables=len(self.schema.targets or ()),
            n_static=self.scaling.n_static + 2 * len(self.schema.periods),
            n_known=known,
            time_scale=(float(span.max(initial=0.0)) or 1.0) if reach is None else reach,
            variables=self._variables(),
            known_zero=self.scaling.scale_known(np.zeros((1, known)))[0].tolist() if known else None,
            event_rate=self.event_rate,
            variable_rates=self.variable_rates,
            labels=None if labels is None else "series" if labels.time is None else "times",
            n_classes=len(self.classes or ()),
            periods=self.periods or None,
            cycle_harmonics=self.cycle_harmonics or None,
        )

    def _variables(self) -> dict[str, dict[str, Any]]:
        """Per variable what a likelihood may have to know: its units, and whether it is transformed."""
        scaling, names = self.scaling, self.schema.targets or ()
        found: dict[str, dict[str, Any]] = {
            v: {"loc": at, "scale": one}
            for v, at, one in zip(names, scaling.loc, scaling.scale, strict=True)
        }
        for v, transform in zip(names, scaling.transforms, strict=False):
            if transform is not None:
                found[v]["transform"] = transform.name
        return found

    @property
    def event_rate(self) -> float:
        """Times per time unit at which anything of a training series was observed, after the first."""
        times = self.train.timeline.moments[1].offsets
        return rate_of(int(np.maximum(np.diff(times) - 1, 0).sum()), self.train.dataset)

    @property
    def variable_rates(self) -> tuple[float, ...]:
        """Observations of each variable per time unit of training, after each series' first time."""
        return observation_rates(self.train.dataset)

    def tables(self) -> list[SeriesDataset]:
        """What was read: training series, and validation series if there are any."""
        return [s.dataset for s in (self.train, self.validation) if s is not None]

    def examples(self, whole: bool = False) -> Batch:
        """Some windows to estimate from, alike for any seed; `whole` for what is held out too."""
        tame = tamed(self.whole if whole else self.train.dataset)
        of = self.train if tame is self.train.dataset else Series(tame, self.scaling)
        series = np.argsort(of.keys, kind="stable")[:MOST_EXAMPLES].tolist()
        few, task = -(-FEWEST_EXAMPLES // len(series)), self.task
        n = max(few, min(USUAL_EXAMPLES, MOST_EXAMPLES // len(series)))
        task = replace(task, strata=n) if isinstance(task, Forecasting) else task
        order = np.array([(0, i, draw) for draw in range(n) for i in series])
        return Cuts(of, task, order, seed=0).__getitems__(range(len(order)))

    def train_dataloader(self) -> DataLoader:
        order = in_rounds(len(self.train), self.windows_per_epoch)
        data = Cuts(self.train, self.training_task, order, self.window_seed, False, STATIC_DROPOUT)
        sampler = Draws(data, self.windows_per_epoch, self.batch_size if self.bucketed else None)
        # Lightning restores the place of loaders only if none was asked for before.
        draws, self._resumed = FromPlace(sampler, *self._resumed), ()
        made = whole_batches(self.loading)
        self._loader = ResumableLoader(data, self.batch_size, sampler=draws, **made)
        return self._loader

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        held_out, task = self.validation, self.validation_task
        return [] if held_out is None else self._fixed(held_out, task)

    def predict_dataloader(self) -> DataLoader | list[DataLoader]:
        """Of the validation series; `loader` makes one of any other table."""
        return self.val_dataloader()

    def _fixed(self, series: Series, task: Task) -> DataLoader:
        counts = task.held_out_cuts(series.timeline)
        order = np.array([(0, i, draw) for i, n in enumerate(counts.tolist()) for draw in range(n)])
        data = Cuts(series, task, order.reshape(-1, 3), self.seed, named=True)
        made, size = whole_batches(self.loading), HELD_OUT_BATCH * self.batch_size
        # By name, since Lightning builds a loader anew to predict from it.
        return DataLoader(data, batch_size=size, sampler=Share(data.order), **made)

    @cached_property
    def climatology(self) -> Climatology:
        """What training series show on average."""
        return Climatology.fit(self.train.dataset)

    @cached_property
    def _ends(self) -> tuple[str, float, float] | None:
        """Which estimator learns such a task, and its horizon and context."""
        task = self.task
        if not isinstance(task, Forecasting | Classification):
            return None
        forecasts, back = isinstance(task, Forecasting), task.context_length
        if back is None:
            back = usual_context(some_of(self.whole), task.reach()) if forecasts else math.inf
        return "forecaster" if forecasts else "classifier", float(task.reach()), float(str(back))

    def state_dict(self) -> dict[str, Any]:
        """All that a fitted estimator has beside its network, as primitives; the place in an epoch."""
        drawn = {"batch_size": self.batch_size, "seed": self.seed}
        return {
            "schema": self.schema.to_json(),
            "axis": dict(vars(self.axis)),
            "scaling": self.scaling.to_dict(),
            "climatology": self.climatology.to_dict(),
            "ends": self._ends,
            "classes": None if self.classes is None else list(self.classes),
            "drawn": {**drawn, "windows_per_epoch": self.windows_per_epoch},
            "place": () if self._loader is None else self._loader.place,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuses to go on with a checkpoint that was trained on otherwise scaled data."""
        if Scaling.from_dict(state_dict["scaling"]) != self.scaling:
            raise SchemaError(
                "the checkpoint was trained on other training data (its scaling differs); resume "
                "with the same frame, or start a new fit"
            )
        self._resumed = tuple(state_dict.get("place", ()))


def _check_alike(train: SeriesDataset, held_out: SeriesDataset, what: str) -> None:
    if train.variables != held_out.variables:
        raise SchemaError(
            f"{what} has the variables {', '.join(held_out.variables)}, but training has "
            f"{', '.join(train.variables)}; read both with one schema"
        )
    ours, theirs = train.axis, held_out.axis
    if (ours.scale, ours.time_unit) != (theirs.scale, theirs.time_unit):
        raise SchemaError(
            f"{what} has {theirs.kind} times in units of {theirs.time_unit}, but training has "
            f"{ours.kind} times in units of {ours.time_unit}; read both with one schema"
        )


def _read(table: Table, schema: Schema | None) -> SeriesDataset:
    """Training series, of a large folder on disk."""
    if isinstance(table, StoredDataset):
        return table
    folder = table if isinstance(table, ParquetFolder) else ParquetFolder.at(table)
    return _in_memory(table, schema) if folder is None else folder.stored(schema)[0]


def _in_memory(table: Table, schema: Schema | None) -> SeriesDataset:
    """Series of which forecasts are named.

    Raises:
        LatentODEError: for those of a folder on disk, of whose rows too little is known.
    """
    if isinstance(table, StoredDataset | ParquetFolder):
        raise LatentODEError("what is left on disk is to train on; give a table in memory, or its path")
    if isinstance(table, SeriesDataset):
        return table
    if isinstance(table, str | Path):
        return SeriesDataset.from_frame(read_table(table, schema or Schema()), schema or Schema())
    return SeriesDataset.from_frame(table, schema)
