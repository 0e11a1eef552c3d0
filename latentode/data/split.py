"""What a fit takes of its data when the user does not say: a horizon, and what to hold out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from latentode.data.cells.time_axis import Duration, TimeUnits
from latentode.data.dataset import SeriesDataset
from latentode.data.scaling import series_keys
from latentode.data.windows import uniform
from latentode.errors import SchemaError, warn

__all__ = [
    "HeldOut",
    "by_key",
    "durations",
    "split_validation",
    "tamed",
    "usual_context",
    "usual_horizon",
]

MANY_SERIES = 20
HELD_OUT = 0.2
HELD_OUT_VALUES = 200
MOST_HORIZONS = 10**6  # of a series that are held out
ROUNDING = 1e-9
SPAN_SHARE = 0.25
MANY_TIMES = 50
CONTEXT_HORIZONS, CONTEXT_TIMES = 8, 64
FEWEST_VALUES, NEIGHBOURS = 8, 3
WILD = 5.0  # usual differences from its neighbours that a value may be off
STILL = 2.0  # likewise, that it is off once it is drawn in
RECENT, GROWN = 5, 1.25  # at an end also so many times what the last few were off
FEW, RARE = 2, 0.02  # runs of wild values, and for how many values; more are what the series is made of


@dataclass(frozen=True)
class HeldOut:
    """What a fit does not train on, to judge it by.

    Args:
        dataset: the held-out series, with all that they have shown.
        begin: where only a last part of each series in time is held out, the time that it begins
            after, since the series' start in time units, shape `(series,)`. What was observed by then
            may have been trained on: it is context, and never a target. None where whole series are
            held out.
        whole: what is held out together with what is not; None where that is too large.
    """

    dataset: SeriesDataset
    begin: np.ndarray | None = None
    whole: SeriesDataset | None = None


def split_validation(
    dataset: SeriesDataset, horizon: float, seed: int
) -> tuple[SeriesDataset, HeldOut | None]:
    """Holds out a fifth of the series where there are at least 20, else the last part of each.

    That part is as many horizons long as hold 200 values, but no longer than a fifth of what the
    series spans, and at least one horizon.

    Args:
        dataset: all that may be trained on.
        horizon: in time units.
        seed: with a series' identifier it decides on which side it falls.

    Returns:
        Training and held-out data; None where too little would be left to train on. No value is in
        training and a target of validation.
    """
    if len(dataset) >= MANY_SERIES:
        order = np.argsort(uniform(series_keys(dataset), seed), kind="stable")
        n = round(HELD_OUT * len(dataset))
        train = dataset.select(np.sort(order[n:]))
        if _all_observed(train):
            return train, HeldOut(dataset.select(np.sort(order[:n])), whole=dataset)
    else:
        part = horizon * _horizons_held_out(dataset, horizon)
        begin = np.maximum(dataset.last - part, dataset.first)
        train = dataset.until(begin)
        if _all_observed(train) and (train.last > train.first).any():
            return train, HeldOut(dataset, begin, dataset)
    warn(
        "too little data to hold any out: training goes on for all epochs without early stopping; "
        "shorten the horizon, or pass validation=",
    )
    return dataset, None


def _horizons_held_out(dataset: SeriesDataset, horizon: float) -> np.ndarray:
    """How many of the last horizons of each series are held out, shape `(series,)`."""
    most = np.maximum(HELD_OUT * (dataset.last - dataset.first) / horizon, 1)
    if most.max() > MOST_HORIZONS:
        raise SchemaError(
            f"the horizon is too short beside the span of a series, which is "
            f"{most.max() / HELD_OUT:.3g} times as long; give a longer horizon=, or pass validation="
        )
    most = most.astype(np.int64)
    before_end = dataset.last[dataset.series] - dataset.time
    number = np.floor(before_end / horizon).astype(np.int64) + 1  # of its horizon, from the end
    reachable = np.sort(number[number <= most[dataset.series]])
    wanted = reachable[min(HELD_OUT_VALUES, len(reachable)) - 1]
    return np.minimum(most, wanted)


def by_key(dataset: SeriesDataset) -> SeriesDataset:
    """Series in the order of their keys: sums, and so a fit, depend on no order in the table."""
    return dataset.select(np.argsort(series_keys(dataset), kind="stable"))


def durations(
    dataset: SeriesDataset, horizon: Duration | None, context: Duration | None
) -> tuple[TimeUnits, TimeUnits]:
    """Horizon and context in time units; None takes the usual ones.

    Raises:
        SchemaError: for what is no duration, and for data without any.
    """
    if not (dataset.last > dataset.first).any():
        raise SchemaError(
            "no series has observations at two different times, so there is nothing to learn "
            "from; check the id and time columns"
        )
    if horizon is None:
        horizon = TimeUnits(usual_horizon(dataset))
    ahead = dataset.axis.duration(horizon)
    gaps = np.diff(dataset.time)[(np.diff(dataset.series) == 0) & (np.diff(dataset.time) > 0)]
    if ahead < gaps.min() * (1 - ROUNDING):
        unit = dataset.axis.unit_name
        raise SchemaError(
            f"nothing is observed within a horizon of {ahead:g}{unit}: the shortest gap between two "
            f"times of a series is {gaps.min():g}{unit}; give a longer horizon="
        )
    if context is None:
        return ahead, TimeUnits(usual_context(dataset, ahead))
    return ahead, dataset.axis.duration(context, "context_length")


def usual_horizon(dataset: SeriesDataset) -> float:
    """A quarter of a series' span or the median time that 50 successive gaps of it take, if less.

    The median over the series that span any time. Of short series that is a share of what there is;
    of a long one, a horizon with a context of eight such before it and many others in the same series.
    Fifty gaps in a row rather than fifty median gaps, so that neither bursts nor outages decide.

    Args:
        dataset: at least one series with observations at two different times.

    Returns:
        In time units.
    """
    return _usual_time(dataset, MANY_TIMES, SPAN_SHARE)


def usual_context(dataset: SeriesDataset, horizon: float) -> float:
    """Eight horizons, or the median time that 64 successive gaps take if that is more.

    A horizon of one step is no reason to look at eight values only.

    Args:
        dataset: at least one series with observations at two different times.
        horizon: in time units.

    Returns:
        In time units.
    """
    return max(CONTEXT_HORIZONS * horizon, _usual_time(dataset, CONTEXT_TIMES, 1.0))


def _usual_time(dataset: SeriesDataset, gaps: int, share: float) -> float:
    """The median time that so many gaps of a series take, or a share of its span if that is less."""
    span = dataset.last - dataset.first
    events = pd.DataFrame({"series": dataset.series, "time": dataset.time}).drop_duplicates()
    took = events.groupby("series")["time"].diff(gaps).groupby(events["series"]).median()
    found = np.fmin(share * span, took.reindex(range(len(dataset))).to_numpy())
    return float(np.median(found[span > 0])) if (span > 0).any() else 0.0


def tamed(dataset: SeriesDataset) -> SeriesDataset:
    """The series with single wild values drawn in, where they would decide about all others.

    A value is wild if it lies off the medians of the values before and after it, to the same side, by
    many times what is usual. Next to known columns none is, which may say when to expect such, nor on
    the scale of logarithms or the like, and of many series none decides.

    Args:
        dataset: values in units of the data.

    Returns:
        The same where nothing is to be looked for; else a copy in which a wild value lies between what
        it was and its neighbours.
    """
    if dataset.schema.known_future or len(dataset) >= MANY_SERIES:
        return dataset
    value = dataset.value.copy()
    cell = dataset.series * len(dataset.variables) + dataset.variable
    order = np.lexsort((dataset.time, cell))
    for rows in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
        name = dataset.variables[dataset.variable[rows[0]]] if len(rows) >= FEWEST_VALUES else None
        if name is not None and name not in dataset.schema.transforms:
            value[rows] -= _wildness(value[rows])
    return replace(dataset, value=value)


def _wildness(x: np.ndarray) -> np.ndarray:
    """How far to draw in each value of one series; 0 for all but a few wild ones."""
    off = np.stack([x - _medians_before(x), x - _medians_before(x[::-1])[::-1]])
    sizes = np.abs(off)
    usual = np.nanmedian(sizes)
    limit = np.full(len(x), WILD * usual)
    for end, near, side in ((0, slice(1, 1 + RECENT), 1), (-1, slice(-1 - RECENT, -1), 0)):
        off[1 - side, end] = off[side, end]  # the ends have one side alone, where what grows is larger
        limit[end] = max(limit[end], GROWN * np.nanmax(sizes[side, near]))
    alike = (off > 0).all(axis=0) | (off < 0).all(axis=0)
    least = np.abs(off).min(axis=0)
    wild = alike & (least > limit)
    runs = np.count_nonzero(np.diff(np.r_[False, wild].astype(int)) > 0)
    few = runs <= max(FEW, RARE * len(x))
    drawn = np.where(wild, np.sign(off[0]) * (least - STILL * usual), 0.0)
    return drawn if usual > 0 and few else np.zeros(len(x))


def _medians_before(x: np.ndarray) -> np.ndarray:
    """The median of the few values before each; NaN where there is none."""
    begun = [np.nan, *(np.median(x[:k]) for k in range(1, NEIGHBOURS))]
    some = np.lib.stride_tricks.sliding_window_view(x[:-1], NEIGHBOURS)
    return np.r_[begun, np.median(some, axis=1)]


def _all_observed(dataset: SeriesDataset) -> bool:
    return len(np.unique(dataset.variable)) == len(dataset.variables)
