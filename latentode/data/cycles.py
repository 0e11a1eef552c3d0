r"""Cycles: the periods that the values of a training table follow, found in the table itself.

A candidate is a period of the calendar or a peak of the pooled Lomb-Scargle periodogram. Each series is cut
into stretches of about one period, and in each a level and a slope are taken out, so that the
coefficients of the harmonics in two stretches of a random walk, or of its integral, are independent. With
$A_b, r_b$ the normal equations of the stretches of block $b$, $c_b = A_b^{-1} r_b$ and $c = (\sum_b A_b)^{-1}
\sum_b r_b$,

$$F = \frac{c^\top A\, c \,/\, \nu}{\big(\sum_b c_b^\top A_b c_b - c^\top A\, c\big) / (\nu (B - 1))}$$

compares what is common to all blocks with how blocks differ, whatever the spectrum of the noise is, white
or red. A cycle has to stand out by F, and what all other blocks say of a block has to explain a worthwhile
share of its variance. The strongest is taken, its harmonics are subtracted, and the search goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import fft, special

from latentode.data.dataset import SeriesDataset
from latentode.data.schema import AUTO
from latentode.data.time_axis import UNITS, TimeAxis

__all__ = ["FoundCycle", "find_cycles", "with_cycles"]

CALENDAR = {"24h": 1.0, "7D": 7.0, "365.2425D": 365.2425}  # in days
MOST_CYCLES, MOST_HARMONICS = 3, 4
SHARE = 0.03  # of the variance about local levels and slopes, in held-out blocks
CALENDAR_LEVEL, PEAK_LEVEL = 2e-3, 1e-4  # of false alarms; that of peaks over all frequencies together
RED = 0.47  # effective part of the dimensions of four harmonics of a red spectrum, 1 / k^2
MOST_ROWS, MOST_OF_TRACK, FEWEST_TRACKS, WINDOWS = 2**15, 1024, 32, 8
TREND, PART = 3, 0.382  # level, slope and curvature; golden section, whose multiples never line up
FEWEST_ROWS, BLOCKS, FOLD = 8, 8, 64
GRID, OVERSAMPLED, FINER = 2**21, 4, 8
PEAKS, TRIED = 5, 3
FAVOUR = 1.1  # a period of the calendar is likelier than one beside it that explains no more
FAINT = 0.05  # of half of the rows: a wave whose cells all look alike cannot be seen
MAJORITY = 0.5  # of series have to forecast better
IN_SECONDS = {"D": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
CLIP = 5.0  # deviations; an outlier is no cycle
ROUNDING = 1e-9  # of the largest value: what is left of a straight line


@dataclass(frozen=True)
class FoundCycle:
    """A period that values follow.

    Args:
        period: as `Schema(cycles=...)` takes it.
        share: of the variance about local levels and slopes, given the cycles found before, that the
            cycle explains in held-out blocks of time.
        variable: the one that follows it most closely.
    """

    period: str | float
    share: float
    variable: str


@dataclass(frozen=True)
class _Tracks:
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


@dataclass(frozen=True)
class _Evidence:
    """What speaks for a period: by variable the chance of as much by accident, and the held-out share."""

    chance: np.ndarray
    share: np.ndarray


def with_cycles(dataset: SeriesDataset) -> SeriesDataset:
    """The dataset with concrete periods in its schema where it says "auto"."""
    if dataset.schema.cycles != AUTO:
        return dataset
    cycles = tuple(c.period for c in find_cycles(dataset))
    return replace(dataset, schema=replace(dataset.schema, cycles=cycles))


def find_cycles(dataset: SeriesDataset) -> tuple[FoundCycle, ...]:
    """The periods that values of a training table follow, the strongest first; at most three.

    A period is taken only where the longest series spans two of it. Of long tables a part of the rows
    is looked at, always the same.

    Args:
        dataset: training series only.

    References:
        Lomb (1976), Least-squares frequency analysis of unequally spaced data; Press and Rybicki (1989),
        Fast algorithm for spectral analysis of unevenly sampled data.

    Example:
        >>> import pandas as pd
        >>> time = np.arange(200.0)
        >>> frame = pd.DataFrame({"time": time, "x": np.sin(2 * np.pi * time / 12.5)})
        >>> find_cycles(SeriesDataset.from_frame(frame))[0].period
        12.5
    """
    tracks = _tracks(dataset)
    if tracks is None:
        return ()
    calendar = {}
    if dataset.axis.is_calendar:
        days = dataset.axis.duration("1D")
        calendar = {name: n * days for name, n in CALENDAR.items()}
    taken: dict[float, FoundCycle] = {}
    for _ in range(MOST_CYCLES + 1):
        found = _strongest(tracks, calendar, taken, dataset)
        if found is None:
            break
        period, cycle = found
        if len(taken) == MOST_CYCLES:
            break
        for shorter in [p for p in taken if _is_harmonic(period, p, tracks.span)]:
            del taken[shorter]
        taken[period] = cycle
        tracks = replace(tracks, value=_without(tracks, period))
    return tuple(taken.values())


def _strongest(
    tracks: _Tracks,
    calendar: dict[str, float],
    taken: dict[float, FoundCycle],
    dataset: SeriesDataset,
) -> tuple[float, FoundCycle] | None:
    """The candidate that explains most among those that stand the test, given what is taken."""
    accepted = []
    for name, period in calendar.items():
        if 2 * period > tracks.span or any(_is_harmonic(p, period, tracks.span, 1) for p in taken):
            continue
        accepted.append((*_stands(tracks, period, CALENDAR_LEVEL), period, name))
    level = PEAK_LEVEL / max(10.0, tracks.span * tracks.highest)
    frequencies = [f for f in _peaks(tracks) if _is_new(f, calendar, taken, tracks)]
    chances = [_evidence(tracks, 1 / f, 1).chance.min() for f in frequencies]
    for i in np.argsort(chances, kind="stable")[:TRIED]:
        period = 1 / _refined(tracks, frequencies[i])
        if 2 * period <= tracks.span:
            name = _text(period, tracks.span, dataset.axis)
            accepted.append((*_stands(tracks, period, level), period, name))
    share, variable, period, name = max(
        accepted, key=lambda a: a[0] * (FAVOUR if a[3] in calendar else 1.0), default=(0.0, 0, 0.0, "")
    )
    if share < SHARE:
        return None
    return period, FoundCycle(name, float(share), dataset.variables[variable])


def _is_harmonic(period: float, other: float, span: float, fewest: int = 2) -> bool:
    """Whether `other` is among the harmonics of a period, as closely as the span can tell."""
    k = np.arange(fewest, MOST_HARMONICS + 1)
    return bool((np.abs(1 / other - k / period) < 1 / span).any())


def _is_new(
    f: float, calendar: dict[str, float], taken: dict[float, FoundCycle], tracks: _Tracks
) -> bool:
    """Whether a frequency is none of those that the calendar and taken cycles answer for."""
    k = np.arange(1, 2 * MOST_HARMONICS + 1)
    of_taken = any((np.abs(f - k / p) < 1.5 / tracks.span).any() for p in taken)
    near = [p for p in calendar.values() if 2 * p <= tracks.span]
    return not of_taken and not any(_is_harmonic(p, 1 / f, tracks.span, 1) for p in near)


def _stands(tracks: _Tracks, period: float, level: float) -> tuple[float, int]:
    """The largest held-out share among variables in which it is beyond chance, and the variable."""
    most = int(period * tracks.highest)
    if most < 1:
        return 0.0, 0
    share = np.zeros(tracks.variable.max() + 1)
    for harmonics in {1, min(most, MOST_HARMONICS)}:
        found = _evidence(tracks, period, harmonics)
        beyond = found.chance < level / len(np.unique(tracks.variable))
        share = np.maximum(share, np.where(beyond, found.share, 0.0))
    return float(share.max()), int(share.argmax())


# Rows.


def _tracks(dataset: SeriesDataset) -> _Tracks | None:
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
    rows = [_part(counts[i], MOST_ROWS // len(chosen)) for i in chosen]
    track = np.repeat(np.arange(len(chosen)), [len(r) for r in rows])
    at = order[np.concatenate([begin[i] + r for i, r in zip(chosen, rows, strict=True)])]
    clock = dataset.axis.wall_clock(dataset.start[series[at]], dataset.time[at])
    time = (clock - clock.min()) / dataset.axis.ticks_per_unit
    sort = np.lexsort((time, track))  # the clock on the wall goes back once a year
    time, value, track = time[sort], dataset.value[at][sort], track[sort]
    value, usable = _detrended(track, time, value)
    kept = usable[track]
    step = np.diff(time)[(np.diff(track) == 0) & kept[1:]]
    if not (step > 0).any():
        return None
    # Gaps of what was looked at closely, not of what was thinned out.
    small = float(np.quantile(step[step > 0], 0.2))
    usual = max(float(np.median(spans[chosen][usable] / counts[chosen][usable])), small)
    span = float((spans[chosen] * (1 + 1 / counts[chosen]))[usable].max())
    relabelled = np.cumsum(usable) - 1
    variable = names[chosen][usable] // len(dataset)
    return _Tracks(relabelled[track[kept]], time[kept], value[kept], variable, span, (usual, small))


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


def _detrended(
    track: np.ndarray, time: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
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


# Candidates.


def _peaks(tracks: _Tracks) -> list[float]:
    """Frequencies of peaks of the periodogram, pooled over all tracks and over those of a variable."""
    power, step = _periodogram(tracks)
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
    middles = [np.sqrt(a * b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    medians = [np.median(power[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    tiny = np.finfo(np.float64).tiny
    return np.interp(np.arange(len(power)), middles, medians) + tiny if middles else power + tiny


def _periodogram(tracks: _Tracks) -> tuple[np.ndarray, float]:
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

    def transform(x: np.ndarray | None) -> np.ndarray:
        cells = np.bincount(cell, x, minlength=n_tracks * size).reshape(n_tracks, size)
        return fft.rfft(cells.astype(np.float32))

    y, n = transform(value)[:, :highest], transform(None)
    # Sines and cosines are turned by a phase in which they are orthogonal over the rows.
    twice = n[:, : 2 * highest : 2]
    length = np.maximum(np.abs(twice), np.finfo(np.float32).tiny)
    turned = y * np.exp(-0.5j * np.angle(twice))
    rows = n[:, :1].real
    cosine = turned.real**2 / np.maximum(rows + length, 1)
    sine = turned.imag**2 / np.maximum(rows - length, 1)
    return (cosine + sine).astype(np.float64), step


def _refined(tracks: _Tracks, f: float) -> float:
    """The frequency near f at which the pooled power is largest."""
    start = np.searchsorted(tracks.track, np.arange(len(tracks.variable)))
    rows = np.diff(np.r_[start, len(tracks.track)])
    for width in (1.0, 0.1):
        steps = np.linspace(-1, 1, 21) * width / tracks.span / 2
        base = tracks.value * np.exp(-2j * np.pi * f * tracks.time)
        turned = np.exp(-2j * np.pi * tracks.time[:, None] * steps)
        sums = np.add.reduceat(base[:, None] * turned, start, axis=0)
        power = (np.abs(sums) ** 2 / rows[:, None]).sum(axis=0)
        f += steps[power.argmax()]
    return f


# Tests.


def _harmonics(time: np.ndarray, period: float, count: int) -> np.ndarray:
    angle = 2 * np.pi * np.remainder(time / period, 1.0)[:, None] * np.arange(1, count + 1)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


@dataclass(frozen=True)
class _Blocks:
    """Normal equations of the harmonics in each block of each track, local levels and slopes taken out."""

    track: np.ndarray
    block: np.ndarray
    gram: np.ndarray
    cross: np.ndarray
    square: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, tracks: _Tracks, period: float, count: int) -> _Blocks:
        """Stretches of a period or a few, so that each has rows enough, and a part of one.

        The part makes them begin at another phase each, so that what is left in all of them of a smooth
        curve does not look like a cycle.
        """
        fewest = 2 * count + 5
        whole = max(1.0, np.ceil((fewest + 2) * tracks.gap[0] / period))
        length = min(period * (whole + PART), max(period * whole, tracks.span / 2))
        place = np.floor(tracks.time / length).astype(np.int64)
        begin = np.flatnonzero(np.r_[True, (np.diff(place) != 0) | (np.diff(tracks.track) != 0)])
        size = np.diff(np.r_[begin, len(place)])
        enough = np.repeat(size >= fewest, size)
        time, value = tracks.time[enough], tracks.value[enough]
        track, place = tracks.track[begin][size >= fewest], place[begin][size >= fewest]
        size = size[size >= fewest]
        begin = np.cumsum(size) - size
        waves = _harmonics(time, period, count)
        local = (time / length) % 1.0 - 0.5
        trend = local[:, None] ** np.arange(TREND)
        columns = np.concatenate([trend, waves, value[:, None]], axis=1)
        outer = columns[:, :, None] * columns[:, None, :]
        sums = np.add.reduceat(outer, begin) if len(begin) else outer[:0]
        local, mixed, rest = sums[:, :TREND, :TREND], sums[:, :TREND, TREND:], sums[:, TREND:, TREND:]
        left = rest - np.swapaxes(mixed, 1, 2) @ np.linalg.pinv(local, hermitian=True) @ mixed
        per_block = max(1, int(np.ceil(tracks.span / length / BLOCKS)))
        parts = (left[:, :-1, :-1], left[:, :-1, -1], left[:, -1, -1], size)
        return cls(track, place // per_block, *parts).merged(track)

    def merged(self, group: np.ndarray) -> _Blocks:
        """Sums over what is of the same group and block."""
        order = np.lexsort((self.block, group))
        group, block = group[order], self.block[order]
        begin = np.flatnonzero(np.r_[len(group) > 0, (np.diff(group) != 0) | (np.diff(block) != 0)])
        parts = (self.gram, self.cross, self.square, self.rows)
        sums = [np.add.reduceat(x[order], begin) if len(begin) else x for x in parts]
        return _Blocks(group[begin], block[begin], *sums)

    def of_variable(self, mask: np.ndarray) -> _Blocks:
        """Some of the blocks."""
        parts = (self.track, self.block, self.gram, self.cross, self.square, self.rows)
        return _Blocks(*(x[mask] for x in parts))

    def judged(self) -> tuple[float, float]:
        """The chance of so much in common by accident, and the held-out share of variance."""
        _, track, n_blocks = np.unique(self.track, return_inverse=True, return_counts=True)
        several = n_blocks[track] > 1
        if not several.any():
            return 1.0, 0.0
        if not several.all():
            return self.of_variable(several).judged()
        n_tracks, n_waves = len(n_blocks), self.cross.shape[1]
        begin = np.cumsum(n_blocks) - n_blocks
        gram, cross = (np.add.reduceat(x, begin) for x in (self.gram, self.cross))
        size = np.trace(gram, axis1=1, axis2=2) / n_waves
        seen = size > FAINT * np.add.reduceat(self.rows, begin)
        if not seen.all():
            return self.of_variable(seen[track]).judged() if seen.any() else (1.0, 0.0)
        eye = np.eye(n_waves)
        small = 1e-6 * size[track][:, None, None] * eye
        common = _solved(gram + 1e-6 * size[:, None, None] * eye, cross)
        own = _solved(self.gram + small, self.cross)
        free = (n_blocks - 1).sum()
        explained = (common * cross).sum()
        differing = max((own * self.cross).sum() - explained, 0.0)
        degrees = self._degrees(own - common[track], track, n_tracks, free / n_tracks)
        ratio = explained * free / (differing * n_tracks) if differing > 0 else np.inf
        # The F distribution's upper tail by the incomplete beta function.
        rest = degrees * free / n_tracks
        chance = special.betainc(rest / 2, degrees / 2, 1 / (1 + ratio * degrees / rest))
        others = _solved(gram[track] - self.gram + eye, cross[track] - self.cross)
        gain = 2 * (others * self.cross).sum(axis=1)
        gain -= np.einsum("ui,uij,uj->u", others, self.gram, others)
        if (np.add.reduceat(gain, begin) > 0).mean() < MAJORITY:
            return 1.0, 0.0
        return float(chance), float(gain.sum() / self.square.sum())

    def _degrees(self, left: np.ndarray, track: np.ndarray, n_tracks: int, free: float) -> float:
        """How many dimensions the coefficients effectively vary in, by Satterthwaite's approximation.

        Series that go together count as one, and so do harmonics of which the first has most power.
        """
        n_waves = left.shape[1]
        root = np.sqrt(np.maximum(np.diagonal(self.gram, axis1=1, axis2=2), 0.0))
        table = np.zeros((FOLD, n_tracks, n_waves))
        np.add.at(table, (self.block % FOLD, track), left * root)
        table = table.reshape(FOLD, -1)
        inner = table @ table.T
        total = np.trace(inner)
        usual = n_waves * (1.0 if n_waves == 2 else RED)
        if free < 2 or total <= 0:
            return usual
        spread = (np.square(inner).sum() - total**2 / free) * free / (free + 1)
        most = usual * n_tracks
        return min(most, max(total**2 / np.square(inner).sum(), 1.0))


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.linalg.solve(matrix, right[..., None])[..., 0]


def _evidence(tracks: _Tracks, period: float, harmonics: int) -> _Evidence:
    """What speaks for a period, of each variable: with phases of each series' own, or shared by all."""
    blocks = _Blocks.of(tracks, period, harmonics)
    n_variables = tracks.variable.max() + 1
    chance, share = np.ones(n_variables), np.zeros(n_variables)
    for v in np.unique(tracks.variable):
        own = blocks.of_variable(tracks.variable[blocks.track] == v)
        kinds = [own.judged()]
        if len(np.unique(own.track)) > 1:
            kinds.append(own.merged(np.zeros_like(own.track)).judged())
        chance[v], share[v] = min(kinds, key=lambda found: (found[0], -found[1]))
    return _Evidence(chance, share)


def _without(tracks: _Tracks, period: float) -> np.ndarray:
    """The values without what the harmonics of a period explain in each track."""
    count = int(np.clip(period * tracks.highest, 1, MOST_HARMONICS))
    blocks = _Blocks.of(tracks, period, count)
    blocks = replace(blocks, block=np.zeros_like(blocks.block)).merged(blocks.track)
    found = np.zeros((len(tracks.variable), 2 * count))
    found[blocks.track] = _solved(blocks.gram + np.eye(2 * count), blocks.cross)
    waves = _harmonics(tracks.time, period, count)
    return tracks.value - (waves * found[tracks.track]).sum(axis=1)


def _text(period: float, span: float, axis: TimeAxis) -> str | float:
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
