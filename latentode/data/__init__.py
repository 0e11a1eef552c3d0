"""Tables become batches: the first room that data walks through.

In: a pandas DataFrame (or Polars, PyArrow, a file) and a `Schema`. Out: a `SeriesDataset` of flat
observations, cut by a `Task` into the contexts and targets of a `Batch`.
Within it data walk from `cells` (numbers and times as people write them) through `tables` (which
column is what, and rows as flat observations) and `files` to datasets, windows and batches beside them.
May import: `errors`. Of libraries pandas, numpy, narwhals; torch only where a batch is made.
Knows nothing of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from latentode.data.batch import Batch, Observations, Queries, Series
    from latentode.data.cells.time_axis import TimeAxis
    from latentode.data.climatology import Climatology
    from latentode.data.dataset import SeriesDataset
    from latentode.data.files.table_files import read_table
    from latentode.data.on_disk import ParquetFolder
    from latentode.data.scaling import Scaling, Units
    from latentode.data.tables.file_format import FileFormat
    from latentode.data.tables.schema import Schema
    from latentode.data.task import Classification, ContextDropout, Forecasting, Interpolation, Task
    from latentode.data.windows import Cut, Cuttable, Timeline

__all__ = [
    "Batch",
    "Classification",
    "Climatology",
    "ContextDropout",
    "Cut",
    "Cuttable",
    "FileFormat",
    "Forecasting",
    "Interpolation",
    "Observations",
    "ParquetFolder",
    "Queries",
    "Scaling",
    "Schema",
    "Series",
    "SeriesDataset",
    "Task",
    "TimeAxis",
    "Timeline",
    "Units",
    "read_table",
]

# Imported on first use, so that a command that needs no network loads neither torch nor Lightning.
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "batch": ["Batch", "Observations", "Queries", "Series"],
        "dataset": ["SeriesDataset"],
        "tables.file_format": ["FileFormat"],
        "files.table_files": ["read_table"],
        "on_disk": ["ParquetFolder"],
        "climatology": ["Climatology"],
        "scaling": ["Scaling", "Units"],
        "tables.schema": ["Schema"],
        "task": ["Classification", "ContextDropout", "Forecasting", "Interpolation", "Task"],
        "cells.time_axis": ["TimeAxis"],
        "windows": ["Cut", "Cuttable", "Timeline"],
    },
)
