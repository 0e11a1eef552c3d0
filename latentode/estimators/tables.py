"""Tables of a fit: what is trained on and what is held out, from a frame or a folder on disk."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from latentode.data.cells.columns import IntoFrame
from latentode.data.dataset import SeriesDataset
from latentode.data.on_disk import ParquetFolder
from latentode.data.split import HeldOut, by_key, split_validation
from latentode.data.stored import StoredDataset
from latentode.data.tables.schema import Schema
from latentode.data.task import ContextDropout, Forecasting
from latentode.errors import warn
from latentode.training.data_module import IrregularDataModule

__all__ = ["forecasting_data", "read_folder", "read_training"]


def read_training(
    df: IntoFrame, schema: Schema | None, duplicates: str, said: Collection[str] = ()
) -> SeriesDataset:
    """A training table, in an order of its series that does not depend on that of the table.

    Args:
        df: the table.
        schema: what is known of it.
        duplicates: what to do with several rows of one (series, time).
        said: notes of an earlier table, which are not said again.

    Warns:
        UserWarning: counting rows that were merged, as `duplicates` asks.
    """
    dataset = SeriesDataset.from_frame(df, schema, duplicates, said)
    dataset.require_observed()
    _say_merged(dataset)
    return by_key(dataset)


def read_folder(
    estimator: Any, folder: ParquetFolder, schema: Schema | None, hold_out: bool
) -> tuple[StoredDataset, HeldOut | None]:
    """Training series on disk, and held-out ones in memory where these are to be chosen."""
    dataset, held = folder.stored(schema, estimator.duplicates, hold_out, estimator.random_state)
    dataset.require_observed()
    _say_merged(dataset)
    return dataset, None if held is None else replace(held, dataset=by_key(held.dataset))


def _say_merged(dataset: SeriesDataset) -> None:
    if dataset.merged:
        warn(
            f"{dataset.merged} rows were merged into others of the same series and time, as duplicates "
            "asks",
        )


def forecasting_data(
    estimator: Any,
    dataset: SeriesDataset,
    validation: SeriesDataset | HeldOut | None,
    horizon: float,
    context_length: float,
) -> IrregularDataModule:
    """Training and held-out windows of a forecaster; what to hold out is chosen where not given."""
    training, seed = estimator.training, estimator.random_state
    held_out = validation
    if held_out is None:
        dataset, held_out = split_validation(dataset, horizon, seed)
    return IrregularDataModule(
        dataset,
        held_out,
        task=ContextDropout(
            Forecasting(horizon, context_length),
            training.observation_dropout,
            training.context_dropout,
        ),
        batch_size=training.batch_size,
        windows_per_epoch=training.windows_per_epoch,
        seed=seed,
    )
