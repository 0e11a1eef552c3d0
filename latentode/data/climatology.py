"""Climatology: what training series show on average, and how often they show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.dataset import SeriesDataset
from latentode.data.scaling import in_parts

__all__ = ["Climatology", "hour_of_day", "observation_rates", "rate_of"]


@dataclass(frozen=True)
class Climatology:
    """What training series show on average, in data units.

    Args:
        mean: of each variable, shape `(variables,)`; 0 for one never observed.
        by_hour: of each variable by hour of the day in the table's own time zone, shape
            `(variables, 24)`; the mean where an hour was never observed.
    """

    mean: np.ndarray
    by_hour: np.ndarray

    @classmethod
    def fit(cls, dataset: SeriesDataset) -> Climatology:
        """Averages every observation."""
        n = len(dataset.variables)
        whole, hours = np.zeros((2, n)), np.zeros((2, n * 24))
        for series, variable, time, value in in_parts(dataset):
            cell = variable * 24 + hour_of_day(dataset, series, time)
            whole += _sums_and_counts(variable, value, n)
            hours += _sums_and_counts(cell, value, n * 24)
        mean = _means(whole, np.zeros(n))
        return cls(mean, _means(hours, np.repeat(mean, 24)).reshape(n, 24))

    def to_dict(self) -> dict[str, Any]:
        """Primitives; `from_dict` is its inverse."""
        return {"mean": self.mean.tolist(), "by_hour": self.by_hour.tolist()}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Climatology:
        """Reads what `to_dict` wrote."""
        return cls(np.array(state["mean"]), np.array(state["by_hour"]))


def hour_of_day(dataset: SeriesDataset, series: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Hour of the day in the table's own time zone; 0 for times that are plain numbers."""
    if not dataset.axis.is_calendar:
        return np.zeros(len(time), dtype=np.int64)
    ticks = np.rint(dataset.axis.wall_clock(dataset.start[series], time)).astype(np.int64)
    return pd.to_datetime(ticks, unit=dataset.axis.tick).hour.to_numpy()  # type: ignore[arg-type]


def _sums_and_counts(group: np.ndarray, value: np.ndarray, n: int) -> np.ndarray:
    return np.stack([np.bincount(group, value, minlength=n), np.bincount(group, minlength=n)])


def _means(sums_and_counts: np.ndarray, default: np.ndarray) -> np.ndarray:
    sums, counts = sums_and_counts
    return np.where(counts > 0, sums / np.maximum(counts, 1), default)


def observation_rates(data: SeriesDataset) -> tuple[float, ...]:
    """Observations of each variable per time unit, after each series' first; shape `(variables,)`."""
    counts, first = np.zeros(len(data.variables), dtype=np.int64), data.first
    for series, variable, time, _ in in_parts(data):
        counts += np.bincount(variable[time > first[series]], minlength=len(counts))
    return tuple(rate_of(int(n), data) for n in counts)


def rate_of(events: int, data: SeriesDataset) -> float:
    """Events per time unit watched; half an event where there was none, since a rate is positive."""
    watched = float((data.watched_until - data.first)[np.diff(data.parts.offsets) > 0].sum())
    return max(events, 0.5) / watched if watched > 0 else 1.0
