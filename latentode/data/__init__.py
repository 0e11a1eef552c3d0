"""From tables to batches. Knows pandas and torch, nothing of models."""

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
