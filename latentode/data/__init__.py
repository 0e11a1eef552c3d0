"""From tables to batches. Knows pandas and torch, nothing of models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentode.data.batch import Batch, Series
    from latentode.data.datamodule import IrregularDataModule
    from latentode.data.dataset import SeriesDataset
    from latentode.data.observations import Observations, Queries
    from latentode.data.scaling import Scaling
    from latentode.data.schema import Schema
    from latentode.data.task import Forecasting, Interpolation, Task
    from latentode.data.timeaxis import TimeAxis

__all__ = [
    "Batch",
    "Forecasting",
    "Interpolation",
    "IrregularDataModule",
    "Observations",
    "Queries",
    "Scaling",
    "Schema",
    "Series",
    "SeriesDataset",
    "Task",
    "TimeAxis",
]

# Imported on first use: reading, converting and inspecting a table need neither torch nor Lightning.
_HOMES = {
    "Batch": "batch",
    "Forecasting": "task",
    "Interpolation": "task",
    "IrregularDataModule": "datamodule",
    "Observations": "observations",
    "Queries": "observations",
    "Scaling": "scaling",
    "Schema": "schema",
    "Series": "batch",
    "SeriesDataset": "dataset",
    "Task": "task",
    "TimeAxis": "timeaxis",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'latentode.data' has no attribute {name!r}")
    return getattr(import_module(f"latentode.data.{_HOMES[name]}"), name)
