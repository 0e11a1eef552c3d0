r"""Periodogram: the rows in which cycles are looked for, and the periods that they suggest.

The power of Lomb and Scargle at frequency f is what a sine of that frequency explains; with $y$ the
detrended values of a variable of a series, and $\tau$ for which sine and cosine are orthogonal over its
times (Press and Rybicki, 1989, by Fourier transforms of rows counted into cells),

$$2 P(f) = \frac{(\sum y \cos 2\pi f(t - \tau))^2}{\sum \cos^2 2\pi f(t - \tau)} +
  \frac{(\sum y \sin 2\pi f(t - \tau))^2}{\sum \sin^2 2\pi f(t - \tau)}.$$

It is pooled over series, so that phases may differ, and only suggests: `cycles` tests.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import fft

from latentode.data.cells.time_axis import UNITS, TimeAxis
from latentode.data.dataset import SeriesDataset
from latentode.errors import SchemaError

__all__ = [
    "MOST_HARMONICS",
    "TINY",
    "Tracks",
    "count_harmonics",
    "harmonics",
    "independent_series",
    "named",
    "participants",
    "peaks",
    "periodogram",
    "polished",
    "refined",
    "solved",
    "tracks_of",
]

MOST_HARMONICS = 4
IN_SECONDS = {"D": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
# Rows that are looked at, also of one of many tracks, and stretches without a gap of a long track.
MOST_ROWS, MOST_OF_TRACK, FEWEST_TRACKS, WINDOWS = 2**15, 1024, 32, 8
FEWEST_ROWS = 8  # of a track
CLIP = 5.0  # deviations; an outlier is no cycle
ROUNDING = 1e-9  # of the largest value: what is left of a straight line
GRID, OVERSAMPLED, FINER = 2**21, 4, 8  # cells in all; frequencies per 1 / span; cells per period
PEAKS = 5  # of each periodogram
MOST_POLISHED = 2**13
CELLS, MOST_CELLS = 4, 512
TINY = 1e-30


@dataclass(frozen=True)
class Tracks:
    """Each variable of each series by itself, detrended and in its own deviations.

    Args:
        track: of each row, ascending; within it times ascend.
        time: what the clock shows in time units, from the first of all rows.
        value: of each row.
        variable: of each track.
        span: time that the longest track covers.
        gap: mean and small gap between rows of a track.
    """

    track: np.ndarray
    time: np.ndarray
    value: np.ndarray
    variable: np.ndarray
    span: float
    gap: tuple[float, float]

    @property
    def highest(self) -> float:
        """The highest frequency that the rows can tell from a lower one."""
        return 0.5 / self.gap[1]


def tracks_of(dataset: SeriesDataset) -> Tracks | None:
    """The tracks that can show anything, of long tables a part; None where there are none."""
    if not len(dataset.value):
        return None
    series = dataset.series
    code = dataset.variable * len(dataset) + series
    order = np.argsort(code, kind="stable") if len(dataset.variables) > 1 else np.arange(len(code))
    names, begin, counts = np.unique(code[order], return_index=True, return_counts=True)
    keep = counts >= FEWEST_ROWS
    if not keep.any():
        return None
    names, begin, counts = names[keep], begin[keep], counts[keep]
    end = begin + counts
    spans = dataset.time[order[end - 1]] - dataset.time[order[begin]]
    most = max(MOST_ROWS // int(np.clip(np.median(counts), 1, MOST_OF_TRACK)), FEWEST_TRACKS)
    chosen = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(np.int64))
    chosen = np.union1d(chosen, [spans.argmax()])
    rows = [_part(int(counts[i]), MOST_ROWS // len(chosen)) for i in chosen]
    track = np.repeat(np.arange(len(chosen)), [len(r) for r in rows])
    at = order[np.concatenate([begin[i] + r for i, r in zip(chosen, rows, strict=True)])]
    clock = dataset.axis.wall_clock(dataset.start[series[at]], dataset.time[at])
    time = (clock - clock.min()) / dataset.axis.ticks_per_unit
    sort = np.lexsort((time, track))  # the clock on the wall goes back once a year
    time, value, track = time[sort], _unexplained(dataset)[at][sort], track[sort]
    value, usable = _detrended(track, time, value)
    kept = usable[track]
    step = np.diff(time)[(np.diff(track) == 0) & kept[1:]]
    if not (step > 0).any():
        return None
    # Gaps of what was looked at closely, not of what was thinned out.
    small = float(np.quantile(step[step > 0], 0.2))
    usual = max(float(np.median(spans[chosen][usable] / counts[chosen][usable])), small)
    span = float((spans[chosen] * counts[chosen] / (counts[chosen] - 1))[usable].max())
    relabelled = np.cumsum(usable) - 1
    variable = names[chosen][usable] // len(dataset)
    return Tracks(relabelled[track[kept]], time[kept], value[kept], variable, span, (usual, small))


def _unexplained(dataset: SeriesDataset) -> np.ndarray:
    """Values without what known-future columns explain of each variable at once, by least squares.

    A cycle of such a column comes back with it, and is none of the values' own.
    """
    if not dataset.schema.known_future:
        return dataset.value
    try:
        time, known, parts = dataset.known_paths()
    except SchemaError:  # some series has none, as a fit will say
        return dataset.value
    series = dataset.series
    before = parts.bisect(series, lambda p: time[p] <= dataset.time) - 1
    given = known[np.maximum(before, parts.offsets[series])]
    value = dataset.value.copy()
    for variable in range(len(dataset.variables)):
        rows = np.flatnonzero(dataset.variable == variable)
        both = pd.DataFrame(np.c_[value[rows], given[rows]])
        about = (both - both.groupby(series[rows]).transform("mean")).to_numpy()
        effect = np.linalg.lstsq(about[:, 1:], about[:, 0], rcond=None)[0]
        value[rows] -= about[:, 1:] @ effect
    return value


def _part(n: int, most: int) -> np.ndarray:
    """Positions of at most so many of n rows: windows without a gap, and others at random between."""
    if n <= most:
        return np.arange(n)
    width = max(most // (2 * WINDOWS), 1)
    generator = np.random.default_rng(0)
    # Not evenly spaced, or the spacing would give each period an alias.
    begin = ((np.arange(WINDOWS) + generator.random(WINDOWS)) * (n - width) / WINDOWS).astype(np.int64)
    windows = (begin[:, None] + np.arange(width)).ravel()
    others = generator.integers(0, n, most // 2)
    return np.union1d(windows, others)


def _detrended(track: np.ndarray, time: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values without their track's mean and slope, in its deviations; and which tracks have any."""
    n = np.bincount(track)

    def centred(x: np.ndarray) -> np.ndarray:
        return x - (np.bincount(track, x) / n)[track]

    # Scaled before anything is squared, so that units do not matter.
    largest = np.maximum.reduceat(np.abs(value), np.r_[0, np.cumsum(n)[:-1]])
    y = centred(value / np.where(largest > 0, largest, 1.0)[track])
    t = centred(time)
    variance = np.bincount(track, t * t)
    slope = np.bincount(track, t * y) / np.where(variance > 0, variance, 1.0)
    y = y - slope[track] * t
    deviation = np.sqrt(np.bincount(track, y * y) / n)
    usable = (deviation > ROUNDING) & (variance > 0)
    y = y / np.where(usable, deviation, 1.0)[track]
    return np.clip(y, -CLIP, CLIP), usable


def peaks(tracks: Tracks) -> list[float]:
    """Frequencies of peaks of the periodogram, pooled over all tracks and over those of a variable."""
    power, step = periodogram(tracks)
    low = 2 * OVERSAMPLED
    pooled = [power.mean(axis=0)]
    variables = np.unique(tracks.variable)
    if 1 < len(variables) <= PEAKS:
        own = tracks.variable[: len(power)]
        pooled += [power[own == v].mean(axis=0) for v in variables if (own == v).any()]
    found: set[int] = set()
    for p in pooled:
        inner = np.arange(max(low, 1), len(p) - 1)
        top = inner[(p[inner] >= p[inner - 1]) & (p[inner] > p[inner + 1])]
        above = p[top] / _background(p, low)[top]
        found |= set(top[np.argsort(-above)[:PEAKS]]) | set(top[np.argsort(-p[top])[:2]])
    return [float(k * step) for k in sorted(found)]


def _background(power: np.ndarray, low: int) -> np.ndarray:
    """The median of a periodogram in bands of like frequency, interpolated between them."""
    bands = max(int(np.log(len(power) / low) / np.log(1.5)), 1)
    edges = np.unique(np.geomspace(low, len(power), bands + 1).astype(np.int64))
    middles = [np.sqrt(a * b) for a, b in itertools.pairwise(edges)]
    medians = [np.median(power[a:b]) for a, b in itertools.pairwise(edges)]
    return np.interp(np.arange(len(power)), middles, medians) + TINY if middles else power + TINY


def periodogram(tracks: Tracks) -> tuple[np.ndarray, float]:
    """Lomb-Scargle power of each track at multiples of a frequency, and that frequency.

    Rows are counted into cells much finer than the shortest period, and the sums over rows are Fourier
    transforms of the cells. At most as many tracks as fit.
    """
    step = 1 / (OVERSAMPLED * tracks.span)
    highest = min(int(tracks.highest / step) + 1, GRID // FINER)
    size = fft.next_fast_len(FINER * highest, real=True)
    n_tracks = max(min(len(tracks.variable), GRID // size), 1)
    row = tracks.track < n_tracks
    track, time, value = tracks.track[row], tracks.time[row], tracks.value[row]
    start = np.minimum.reduceat(time, np.searchsorted(track, np.arange(n_tracks)))
    cell = ((time - start[track]) * step * size).astype(np.int64) % size + track * size

    def transform(x: np.ndarray | None) -> Any:
        cells = np.bincount(cell, x, minlength=n_tracks * size).reshape(n_tracks, size)
        return fft.rfft(cells.astype(np.float32))

    y, n = transform(value)[:, :highest], transform(None)
    # Sines and cosines are turned by a phase in which they are orthogonal over the rows.
    twice = n[:, : 2 * highest : 2]
    length = np.maximum(np.abs(twice), TINY)
    turned = y * np.exp(-0.5j * np.angle(twice))
    rows = n[:, :1].real
    cosine = turned.real**2 / np.maximum(rows + length, 1)
    sine = turned.imag**2 / np.maximum(rows - length, 1)
    return (cosine + sine).astype(np.float64), step


def refined(tracks: Tracks, f: float) -> float:
    """The frequency near f at which the pooled power is largest."""
    start = np.searchsorted(tracks.track, np.arange(len(tracks.variable)))
    rows = np.diff(np.r_[start, len(tracks.track)])
    for width in (1.0, 0.1):
        steps = np.linspace(-1, 1, 21) * width / tracks.span / 2
        base = tracks.value * np.exp(-2j * np.pi * f * tracks.time)
        turned = np.exp(-2j * np.pi * tracks.time[:, None] * steps)
        sums = np.add.reduceat(base[:, None] * turned, start, axis=0)
        power = (np.abs(sums) ** 2 / rows[:, None]).sum(axis=0)
        f += float(steps[power.argmax()])
    return f


def polished(tracks: Tracks, period: float, count: int) -> float:
    """The period at which its harmonics, a level and a slope of each track fit best together."""
    rows = np.arange(len(tracks.track))
    if len(rows) > MOST_POLISHED:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_POLISHED])
    track, time, value = tracks.track[rows], tracks.time[rows], tracks.value[rows]
    begin = np.flatnonzero(np.r_[True, np.diff(track) != 0])
    trend = np.stack([np.ones_like(time), time / tracks.span], axis=1)

    def explained(f: float) -> float:
        columns = np.concatenate([trend, harmonics(time, 1 / f, count)], axis=1)
        gram = np.add.reduceat(columns[:, :, None] * columns[:, None, :], begin)
        cross = np.add.reduceat(columns * value[:, None], begin)
        return float((solved(gram + 1e-6 * np.eye(columns.shape[1]), cross) * cross).sum())

    f = 1 / period
    for width in (0.3, 0.1, 0.03, 0.01):  # of what the span can tell apart
        step = width / tracks.span
        left, middle, right = (explained(f + k * step) for k in (-1, 0, 1))
        bend = left - 2 * middle + right
        f += step * (np.clip(0.5 * (left - right) / bend, -2, 2) if bend < 0 else np.sign(right - left))
    return 1 / f


def count_harmonics(tracks: Tracks, period: float) -> int:
    """How many harmonics of a period the rows can show."""
    return int(np.clip(period * tracks.highest, 1, MOST_HARMONICS))


def harmonics(time: np.ndarray, period: float, count: int) -> np.ndarray:
    angle = 2 * np.pi * np.remainder(time / period, 1.0)[:, None] * np.arange(1, count + 1)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


def participants(table: np.ndarray) -> float:
    """Effective number of columns, from their products over rows; no more than there are rows."""
    inner = table @ table.T
    total, square = np.trace(inner), np.square(inner).sum()
    return float(total**2 / square) if square > 0 else 1.0


def solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.linalg.solve(matrix, right[..., None])[..., 0]


def independent_series(tracks: Tracks, rest: np.ndarray, period: float, variable: int) -> float:
    """How many independent series those of a variable are as good as, near a frequency.

    What the period leaves is averaged over cells of a fraction of it; seen are the changes from cell
    to cell.
    """
    row = (tracks.variable == variable)[tracks.track]
    track = np.unique(tracks.track[row], return_inverse=True)[1]
    width = max(period / CELLS, tracks.gap[0])
    cell = np.floor(tracks.time[row] / width).astype(np.int64) % MOST_CELLS
    n_tracks = track.max() + 1
    place, size = cell * n_tracks + track, MOST_CELLS * n_tracks
    count = np.bincount(place, minlength=size)
    mean = np.bincount(place, rest[row], minlength=size) / np.maximum(count, 1)
    mean, there = mean.reshape(MOST_CELLS, -1), (count > 0).reshape(MOST_CELLS, -1)
    return participants(np.diff(mean, axis=0) * (there[1:] & there[:-1]))


def named(period: float, span: float, axis: TimeAxis) -> str | float:
    """A period as a schema names it, with as many digits as the span can tell."""
    digits = int(np.clip(np.ceil(np.log10(span / period)) + 4, 5, 9))
    if not axis.is_calendar:
        return float(f"{period:.{digits}g}")
    seconds = period * pd.Timedelta(UNITS[axis.time_unit]).total_seconds()
    unit = next((u for u in ("D", "h", "min") if seconds >= 2 * IN_SECONDS[u]), "s")
    number = np.format_float_positional(
        seconds / IN_SECONDS[unit], precision=digits, unique=False, fractional=False, trim="-"
    )
    return f"{number}{unit}"
