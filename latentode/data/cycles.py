r"""Cycles: where the clock stands in its day, week or any period, for forecasts that depend on it.

A model counts time from the forecast origin, so a forecast does not know whether it is noon. With
cycles declared in the schema it is told the phase of each at its origin, of a clock that shows s and a
period p

$$\sin(2\pi s / p), \quad \cos(2\pi s / p),$$

like a static feature; the phase at any other time follows, since times are counted from the origin.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from latentode.data.dataset import SeriesDataset
from latentode.data.timeaxis import TimeAxis

__all__ = ["cycle_phases", "wall_clock"]


def wall_clock(axis: TimeAxis, start: np.ndarray, time: np.ndarray) -> np.ndarray:
    """What the clock on the wall shows, in ticks: in the table's own zone, summer time included.

    Args:
        axis: what the time column means.
        start: tick of each series' start.
        time: time units since it, of the same shape.

    Returns:
        Ticks of the axis since 1970-01-01 00:00 local time; of numeric times the numbers themselves.
    """
    ticks = start + time * axis.ticks_per_unit
    if axis.timezone is None:
        return ticks
    stamps = pd.to_datetime(np.rint(ticks).astype(np.int64), unit=axis.tick)  # type: ignore[arg-type]
    local = stamps.tz_localize("UTC").tz_convert(axis.timezone).tz_localize(None)
    return local.as_unit(axis.tick).asi8


def cycle_phases(dataset: SeriesDataset, series: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Sine and cosine of the phase of each cycle of the schema.

    Args:
        dataset: whose schema names the cycles.
        series: which series, shape `(moments,)`.
        time: time units since its start, likewise.

    Returns:
        Shape `(moments, 2 * cycles)`.
    """
    axis, cycles = dataset.axis, dataset.schema.cycles
    clock = wall_clock(axis, dataset.start[series], time)
    periods = np.array([axis.duration(c, "cycles") for c in cycles]) * axis.ticks_per_unit
    # Remainders in ticks are exact; an angle made of ticks since 1970 would not be.
    angle = 2 * math.pi * np.remainder(clock[:, None], periods) / periods
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
