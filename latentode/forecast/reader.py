"""Reader: how a fitted model reads later tables, and the questions that are asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode.data import Scaling
from latentode.data.batch import Series
from latentode.data.cells.columns import IntoFrame, frame_or_as_is, to_pandas
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.cells.time_numbers import PLAIN
from latentode.data.dataset import SeriesDataset
from latentode.data.plain_tables import read_arrays, read_plain
from latentode.data.queries import At, with_known_values
from latentode.data.tables.duplicates import DUPLICATES, known_rows, with_new_rows
from latentode.data.tables.left_out import compare_variables
from latentode.data.tables.reading import read_columns, without_its_units
from latentode.data.tables.schema import Schema
from latentode.errors import SchemaError, shown, understood, warn

__all__ = ["Reader"]

SHOWN = 3  # unknown categories that a warning names


@dataclass(frozen=True)
class Reader:
    """How a fitted model reads tables: as its training table was read.

    Args:
        schema: with every column named.
        axis: what its time column means.
        scaling: fitted on the training data.
        said: notes of the training table, which are not said again of each later one.
    """

    schema: Schema
    axis: TimeAxis
    scaling: Scaling
    said: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        schema, axis = self.schema, self.axis  # which are less complete of an earlier release
        if axis.scale == "number" and schema.time_format is None:
            object.__setattr__(self, "schema", replace(schema, time_format=PLAIN))
        said = {"zone_declared": schema.timezone is not None, "repeated_hour": schema.repeated_hour}
        object.__setattr__(self, "axis", replace(axis, **said))

    @understood("the table")
    def read(self, frame: IntoFrame, duplicates: str = "error") -> SeriesDataset:
        """A table as the model reads it.

        Args:
            frame: with the columns of the training table.
            duplicates: what to do with several rows of one (series, time): "error", "mean", "last".

        Raises:
            SchemaError: if it cannot be read, lacks a column, or its times are of another kind.
        """
        schema, frame = self.schema, to_pandas(frame)
        compare_variables(frame, schema)
        try:
            dataset = self._read(frame, schema, duplicates)
        except SchemaError:
            dataset = self._in_another_form(frame, duplicates)
            if dataset is None:
                raise
        return self._comparable(dataset)

    @understood("the table")
    def read_arrays(
        self, history: Mapping[str, Any], at: At | IntoFrame, duplicates: str = "error"
    ) -> tuple[SeriesDataset, At]:
        """As `read_question`, of a table whose columns are arrays, best of one series and all plain.

        Where training's times had a zone, arrays of datetimes, which have none, are in UTC.

        Args:
            history: a column each by name, of numpy or a list; what is the same in all rows may be one
                value.
            at: as for `read_question`.
            duplicates: as for `read`.
        """
        if not isinstance(history, Mapping):
            raise SchemaError(f"a table is given as arrays by column here; got {shown(history)}")
        name, asked = (
            str(self.schema.time),
            self._in_utc(at if isinstance(at, str) else frame_or_as_is(at)),
        )
        table = {**history, name: self._in_utc(history[name])} if name in history else history
        if isinstance(asked, pd.DataFrame):
            return self.read_question(pd.DataFrame(table), asked, duplicates)
        dataset = read_arrays(table, self.schema) if duplicates in DUPLICATES else None
        if dataset is None:
            return self.read(pd.DataFrame(table), duplicates), asked
        return self._comparable(dataset), asked

    def _in_utc(self, times: Any) -> Any:
        """An array of datetimes as times in UTC, where the model's have a zone that none declared."""
        zoned = self.axis.timezone is not None and self.schema.timezone is None
        if not zoned or not isinstance(times, np.ndarray) or times.dtype.kind != "M":
            return times
        return pd.DatetimeIndex(times, tz="UTC")

    def _comparable(self, dataset: SeriesDataset) -> SeriesDataset:
        """What was read, with times that mean what those of training do.

        Raises:
            SchemaError: for times of another kind.
        """
        schema = self.schema
        if dataset.axis.scale != self.axis.scale:
            raise SchemaError(
                f"column `{schema.time}` holds {dataset.axis.kind} times, but the model was "
                f"trained on {self.axis.kind} times"
            )
        if self.axis.is_calendar and self.axis.timezone is None and dataset.axis.timezone is not None:
            raise SchemaError(
                f"column `{schema.time}` has a time zone, {dataset.axis.timezone}, and had none when "
                "the model was fitted; give the times of that clock without a zone, or fit with "
                "timezone="
            )
        if dataset.axis.timezone is None and self.axis.timezone is not None:
            raise SchemaError(
                f"column `{schema.time}` has no time zone, and had one, {self.axis.timezone}, when the "
                "model was fitted; write the times with their UTC offset, such as "
                f"{pd.Timestamp(dataset.keys[schema.time].iloc[0], tz='UTC')}"
            )
        # A resolved schema has a time unit, declared or not; cycles were learnt on training's clock.
        own = {"declared": self.axis.declared, "clock": self.axis.timezone}
        return replace(dataset, axis=replace(dataset.axis, **own))

    def _read(self, frame: pd.DataFrame, schema: Schema, duplicates: str) -> SeriesDataset:
        dataset = read_plain(frame, schema) if duplicates in DUPLICATES else None
        return dataset or SeriesDataset.from_frame(frame, schema, duplicates, self.said)

    def _in_another_form(self, frame: pd.DataFrame, duplicates: str) -> SeriesDataset | None:
        """A table whose times are clearly written in another form than the training table's, if so.

        Warns:
            UserWarning: naming the form.
        """
        told = self.schema.time_format
        if not self.axis.is_calendar or told is None:
            return None
        try:
            dataset = self._read(frame, replace(self.schema, time_format=None), duplicates)
        except SchemaError:
            return None
        if dataset.axis.scale != self.axis.scale:
            return None
        found = dataset.schema.time_format or "ISO 8601"
        warn(
            f"column `{self.schema.time}` is written in another form than that of the training table, "
            f"{found!r} and not {told!r}; the first is read as {dataset.keys[self.schema.time].iloc[0]}"
        )
        return dataset

    @understood("the question")
    def read_question(
        self, history: IntoFrame, at: At | IntoFrame, duplicates: str = "error"
    ) -> tuple[SeriesDataset, At]:
        """A history together with the known values that the question gives, and the question.

        Args:
            history: with the columns of the training table.
            at: times, or a frame of identifier, time and known-future columns.
            duplicates: as for `read`.
        """
        dataset, asked = self.read(history, duplicates), cast(At, frame_or_as_is(at))
        completed = with_known_values(history, dataset, asked)
        if completed is not None:
            heard = replace(self, said=(*self.said, *dataset.notes))
            dataset = heard.read(completed, duplicates)
        return dataset, asked

    @understood("the table")
    def extend(
        self, history: pd.DataFrame | None, rows: IntoFrame, duplicates: str = "error"
    ) -> pd.DataFrame:
        """A history with new rows, which are read anew with each addition.

        So a forecast from a history that grew is that from the longer history, exactly, late rows and
        revised ones included.

        Args:
            history: what there was, as this returned it; None for nothing.
            rows: new ones of any series, in any order; of one already known, a later row counts as the
                later for `duplicates="last"`.
            duplicates: as for `read`.

        Raises:
            SchemaError: for rows that cannot be read, alone or with the history.
        """
        frame = to_pandas(rows)
        if history is not None and self.schema.layout == "long":
            frame = known_rows(frame, self.schema)
            if frame.empty:
                return history
        new = self.read(frame, duplicates)  # whatever is wrong with them is said of them
        added = read_columns(frame, new.schema).table
        if history is None:
            return without_its_units(added)
        table = without_its_units(with_new_rows(history, added, self.schema, duplicates))
        replace(self, said=(*self.said, *new.notes)).read(table, duplicates)
        return table.reset_index(drop=True)

    def series(self, dataset: SeriesDataset) -> Series:
        """What `read` has read, scaled and ready to be cut into batches."""
        return Series(dataset, self.scaling)
