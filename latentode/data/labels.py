"""Labels: the class of each series, or of a series at a time; read from a table of their own.

A whole series' label comes as a pandas Series indexed by identifier, or as a frame of identifier and
label; labels of times as a frame of identifier, time and label. What doesn't match is refused: a series
without a label, a label without a series, two labels where there can be one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from latentode.data.cells.columns import column_of, some_names
from latentode.data.dataset import Ragged, SeriesDataset
from latentode.data.queries import query_times
from latentode.data.tables.joined_columns import parts_of, with_joined_columns
from latentode.errors import SchemaError

__all__ = ["Labels", "SeriesLabels", "as_frame", "read_labels"]


@dataclass(frozen=True)
class Labels:
    """Labels of the series of a batch.

    Args:
        series: index of the series in its batch, int64, shape `(labels,)`.
        time: time since the series' origin in time units, float64; 0 of a whole series' label.
        klass: index of the class, int64.
    """

    series: Tensor
    time: Tensor
    klass: Tensor

    def __len__(self) -> int:
        return len(self.series)

    def to(self, device: torch.device | str) -> Labels:
        return Labels(self.series.to(device), self.time.to(device), self.klass.to(device))


@dataclass(frozen=True)
class SeriesLabels:
    """Labels of the series of a dataset, in the order of its series.

    Args:
        classes: what the classes are called, ascending.
        klass: index of each label's class, int64, shape `(labels,)`.
        time: since the series' start in time units, or None where a label is of the whole series.
        parts: where each series' labels lie.
    """

    classes: tuple[Any, ...]
    klass: np.ndarray
    time: np.ndarray | None
    parts: Ragged

    def gather(self, indices: np.ndarray, origin: np.ndarray, start: np.ndarray) -> Labels:
        """Labels of some series, cut at their origins; without those before their contexts."""
        positions, series = self.parts.gather(indices)
        time = np.zeros(len(series))
        if self.time is not None:
            kept = self.time[positions] >= start[series]
            positions, series = positions[kept], series[kept]
            time = self.time[positions] - origin[series]
        klass = self.klass[positions]
        return Labels(torch.from_numpy(series), torch.from_numpy(time), torch.from_numpy(klass))


def as_frame(labels: pd.Series | pd.DataFrame, dataset: SeriesDataset) -> pd.DataFrame:
    """Labels as a frame of identifier, time if they are of times, and `label`.

    Raises:
        SchemaError: if the columns cannot be told apart, or a label is missing.
    """
    schema = dataset.schema
    if not isinstance(labels, pd.Series | pd.DataFrame):
        raise SchemaError(
            f"labels are a {type(labels).__name__}, which does not say whose they are; give a pandas "
            "Series indexed by identifier, or a frame of identifier, time where it matters, and label"
        )
    if isinstance(labels, pd.Series):
        name = schema.id or "series"
        frame = pd.DataFrame({name: labels.index, "label": labels.to_numpy()})
    else:
        parts = [p for c in (schema.id, schema.time) for p in parts_of(c, labels.columns)]
        labels = with_joined_columns(labels, schema).drop(columns=parts)
        keys = [c for c in (schema.id, schema.time) if c in labels.columns]
        rest = [c for c in labels.columns if c not in keys]
        if len(rest) != 1 or (schema.id is not None and schema.id not in keys):
            raise SchemaError(
                f"labels have the columns {some_names(labels.columns)}; give the identifier "
                f"`{schema.id}`, the time `{schema.time}` if labels are of times, and one column more, "
                "the label; or a pandas Series indexed by identifier"
            )
        frame = labels[keys].assign(label=column_of(labels, rest[0]))
    frame = cast(pd.DataFrame, frame.reset_index(drop=True))
    if frame.empty:
        raise SchemaError("labels have no rows: there is nothing to learn from")
    missing = frame["label"].isna().to_numpy()
    if missing.any():
        place = ", ".join(map(repr, frame.drop(columns="label").iloc[int(missing.argmax())]))
        raise SchemaError(f"the label of {place} is missing; fill it in, or leave that row out")
    return frame


def read_labels(
    labels: pd.Series | pd.DataFrame,
    dataset: SeriesDataset,
    classes: Sequence[Any] | None = None,
    others: Sequence[Any] | pd.Index = (),
) -> SeriesLabels:
    """Labels of the series of a dataset, checked.

    Args:
        labels: see above.
        dataset: whose series they are of.
        classes: what they may be; of the labels themselves by default.
        others: identifiers of further series that labels may be of.

    Raises:
        SchemaError: naming the series and the fix.

    Example:
        >>> frame = pd.DataFrame({"id": ["a", "a", "b"], "time": [0.0, 1.0, 0.0], "x": [1.0, 2.0, 3.0]})
        >>> found = read_labels(pd.Series({"b": "ill", "a": "well"}), SeriesDataset.from_frame(frame))
        >>> found.classes, found.klass.tolist()
        (('ill', 'well'), [1, 0])
    """
    frame = as_frame(labels, dataset)
    known = _classes_of(frame["label"]) if classes is None else tuple(classes)
    klass = pd.Index(known).get_indexer(pd.Index(frame["label"]))
    if (klass < 0).any():
        raise SchemaError(
            f"label {frame['label'].tolist()[int((klass < 0).argmax())]!r} was not among the classes "
            f"of training: {some_names(list(map(str, known)))}"
        )
    frame = frame.assign(_klass=klass)
    time = str(dataset.schema.time)
    of_times = time in frame.columns
    series = _series_of(frame, dataset, others)
    frame, series = frame[series >= 0].reset_index(drop=True), series[series >= 0]
    when = _times_of(frame, dataset) if of_times else None
    _refuse_twice(frame, dataset, series, when)
    _refuse_unlabelled(dataset, series)
    order = np.lexsort((series if when is None else when, series))
    return SeriesLabels(
        known,
        frame["_klass"].to_numpy(dtype=np.int64)[order],
        None if when is None else when[order],
        Ragged.of(series[order], len(dataset)),
    )


def _series_of(
    frame: pd.DataFrame, dataset: SeriesDataset, others: Sequence[Any] | pd.Index
) -> np.ndarray:
    """Index of each label's series; -1 for one of `others`."""
    if dataset.schema.id is None:
        return np.zeros(len(frame), dtype=np.int64)
    ids = column_of(frame, dataset.schema.id)
    elsewhere = ids.isin(list(others)).to_numpy()
    index = dataset.ids.get_indexer(pd.Index(ids))
    unknown = (index < 0) & ~elsewhere
    if unknown.any():
        name = ids.tolist()[int(unknown.argmax())]
        alike = [i for i in dataset.ids if str(i) == str(name)]
        hint = "remove that label"
        if alike:
            hint = f"it has {alike[0]!r}, of type {type(alike[0]).__name__}: convert one of the two"
        raise SchemaError(f"there is a label of series {name!r}, which is not in the table; {hint}")
    return index


def _times_of(frame: pd.DataFrame, dataset: SeriesDataset) -> np.ndarray:
    """Since each series' start."""
    places = query_times(dataset, frame) if len(frame) else None
    if places is None:
        return np.zeros(0)
    early = places.time < dataset.first[places.series]
    if early.any():
        name = dataset.ids[places.series[int(early.argmax())]]
        raise SchemaError(
            f"series {name!r} has a label before its first observation, when nothing is known of it; "
            "leave that label out"
        )
    return places.time


def _refuse_twice(
    frame: pd.DataFrame, dataset: SeriesDataset, series: np.ndarray, when: np.ndarray | None
) -> None:
    places = pd.DataFrame({"series": series, "time": 0.0 if when is None else when})
    twice = places.duplicated().to_numpy()
    if twice.any():
        name = dataset.ids[series[int(twice.argmax())]]
        more = "" if when is None else " at one time"
        fix = "give one; of labels of times, name the time column" if when is None else "give one"
        raise SchemaError(f"series {name!r} has more than one label{more}; {fix}")


def _refuse_unlabelled(dataset: SeriesDataset, series: np.ndarray) -> None:
    counts = np.bincount(series, minlength=len(dataset))
    if (counts == 0).any():
        absent = dataset.ids[np.nonzero(counts == 0)[0]]
        raise SchemaError(
            f"series {absent[0]!r} has no label, nor have {len(absent) - 1} others; label them, or "
            "leave them out of the table"
        )


def _classes_of(labels: pd.Series) -> tuple[Any, ...]:
    """What labels there are, in order."""
    try:
        _ = [hash(label) for label in labels]
        return tuple(np.unique(labels.to_numpy()).tolist())
    except TypeError as error:
        kinds = {type(label).__name__: label for label in labels}
        some = ", ".join(f"{label!r} ({kind})" for kind, label in list(kinds.items())[:2])
        raise SchemaError(
            f"labels cannot be told apart and put in an order, such as {some}; write all of them as "
            "text, or all as numbers"
        ) from error
