r"""Cycles: the periods that the values of a training table follow, found in the table itself.

A candidate is a period of the calendar or a peak of the pooled periodogram. Each series is cut into
stretches of about one period, and of each a level, a slope and a curvature are taken out, so that the
coefficients of the harmonics in two stretches of a random walk, or of its integral, are independent.
With the normal equations $A_b, r_b$ of block $b$ of stretches, $c_b = A_b^{-1} r_b$ and
$c = (\sum_b A_b)^{-1} \sum_b r_b$,

$$F = \frac{c^\top A\, c}{\big(\sum_b c_b^\top A_b c_b - c^\top A\, c\big) / (B - 1)}$$

compares what all blocks have in common with how they differ, whatever the spectrum of the noise, white
or red. A cycle has to stand out by F, and what all other blocks say of a block has to explain a
worthwhile share of its variance. The strongest is taken, its harmonics are subtracted, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from latentode.data.dataset import SeriesDataset
from latentode.data.periodogram import (
    MOST_HARMONICS,
    TINY,
    Tracks,
    count_harmonics,
    harmonics,
    independent_series,
    named,
    participants,
    peaks,
    polished,
    refined,
    solved,
    tracks_of,
)

__all__ = ["FoundCycle", "describe", "find_cycles"]

CALENDAR = {"24h": 1.0, "7D": 7.0, "365.2425D": 365.2425}  # in days
MOST_CYCLES = 3
SHARE = 0.03  # of the variance about local trends, in held-out blocks
CALENDAR_LEVEL, PEAK_LEVEL = 2e-3, 1e-4  # of false alarms; of peaks, over all frequencies together
FAVOUR = 1.1  # a period of the calendar is likelier than one beside it that explains no more
TRIED = 3  # peaks that are tested with all harmonics
LINE = 0.25  # half the width of a line, in units of what the span can tell apart
TREND = 3  # level, slope and curvature
PART, FEW_PARTS = 0.382, 5  # the golden section, whose multiples never line up
BLOCKS, FOLD = 8, 64
RED = 0.47  # effective part of the dimensions of four harmonics of a red spectrum, 1 / k^2
FAINT = 0.05  # of half of the rows: a wave whose cells all look alike cannot be seen
MAJORITY = 0.5  # of series have to forecast better


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


def describe(cycles: Sequence[FoundCycle]) -> str:
    """Cycles and their shares as a line for people.

    Example:
        >>> describe([FoundCycle("24h", 0.8123, "load")])
        '24h (81 % of variance)'
    """
    shares = ", ".join(f"{c.period} ({100 * c.share:.0f} % of variance)" for c in cycles)
    return shares or "none"


def find_cycles(dataset: SeriesDataset) -> tuple[FoundCycle, ...]:
    """The periods that values of a training table follow, the strongest first; at most three.

    A period is taken only where the longest series spans two of it. Of long tables a part of the rows
    is looked at, always the same.

    Args:
        dataset: series that may be learnt from; of few ones over all of their time.

    Example:
        >>> import pandas as pd
        >>> time = np.arange(200.0)
        >>> frame = pd.DataFrame({"time": time, "x": np.sin(2 * np.pi * time / 12.5)})
        >>> find_cycles(SeriesDataset.from_frame(frame))[0].period
        12.5
    """
    tracks = tracks_of(dataset)
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
        for shorter, of in list(taken.items()):
            if _is_harmonic(period, shorter, tracks.span, of.period not in CALENDAR):
                del taken[shorter]
        taken[period] = cycle
        tracks = replace(tracks, value=_without(tracks, period, count_harmonics(tracks, period)))
    return tuple(taken.values())


def _strongest(
    tracks: Tracks,
    calendar: dict[str, float],
    taken: Iterable[float],
    dataset: SeriesDataset,
) -> tuple[float, FoundCycle] | None:
    """The candidate that explains most among those that stand the test, given what is taken."""
    accepted = []
    for name, period in calendar.items():
        if 2 * period > tracks.span or any(_is_harmonic(p, period, tracks.span, False) for p in taken):
            continue
        each = (_stands(tracks, period, CALENDAR_LEVEL, evened) for evened in (False, True))
        accepted.append((*max(each), period, name))
    level = PEAK_LEVEL / max(10.0, tracks.span * tracks.highest)
    frequencies = [f for f in peaks(tracks) if _is_new(1 / f, calendar, taken, tracks.span)]
    chances = [_evidence(tracks, 1 / f, 1)[0].min() for f in frequencies]
    suggested = [
        1 / refined(tracks, frequencies[i]) for i in np.argsort(chances, kind="stable")[:TRIED]
    ]
    for period in suggested:
        if 2 * period <= tracks.span:
            accepted.append((*_stands(tracks, period, level), period, ""))
    best = max(accepted, key=lambda a: a[0], default=(0.0, 0, 0.0, ""))
    if best[0] >= SHARE and not best[3]:
        # Of a sharp pulse a harmonic may be the highest peak.
        for times in range(2, MOST_HARMONICS + 1):
            period = best[2] * times
            if 2 * period <= tracks.span and _is_new(period, calendar, taken, tracks.span):
                share, variable = _stands(tracks, period, level)
                if share - SHARE > _stands(tracks, best[2], level, times=times)[0]:
                    accepted.append((share - SHARE, variable, period, ""))
    accepted.sort(key=lambda a: a[0] * (FAVOUR if a[3] in calendar else 1.0))
    share, variable, period, name = accepted[-1] if accepted else (0.0, 0, 0.0, "")
    if share < SHARE:
        return None
    if not name:
        period = polished(tracks, period)
        name = named(period, tracks.span, dataset.axis)
    return period, FoundCycle(name, float(share), dataset.variables[variable])


def _is_harmonic(period: float, other: float, span: float, every: bool = True) -> bool:
    """Whether `other` is a period or a harmonic of it, as closely as the span can tell.

    Those that are fitted leave nothing; of others, if `every` is asked for, sharp pulses leave lines.
    """
    k = max(round(period / other), 1)
    width = 1.0 if k <= MOST_HARMONICS else LINE if every else 0.0
    return abs(1 / other - k / period) * span < width


def _is_new(period: float, calendar: dict[str, float], taken: Iterable[float], span: float) -> bool:
    """Whether a period is none that the calendar and taken cycles answer for."""
    if any(2 * p <= span and _is_harmonic(p, period, span, False) for p in calendar.values()):
        return False
    return not any(_is_harmonic(p, period, span) for p in taken)


def _stands(
    tracks: Tracks, period: float, level: float, evened: bool = False, times: int = 1
) -> tuple[float, int]:
    """The largest held-out share among variables in which it is beyond chance, and the variable."""
    if period * tracks.highest < 1:
        return 0.0, 0
    share = np.zeros(tracks.variable.max() + 1)
    for count in {1, count_harmonics(tracks, period)}:
        chance, explained = _evidence(tracks, period, count, evened, times)
        beyond = chance < level / len(np.unique(tracks.variable))
        share = np.maximum(share, np.where(beyond, explained, 0.0))
    return float(share.max()), int(share.argmax())


@dataclass(frozen=True)
class _Blocks:
    """Normal equations of the harmonics in each block of each track, without local trends."""

    track: np.ndarray
    block: np.ndarray
    gram: np.ndarray
    cross: np.ndarray
    square: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(
        cls, tracks: Tracks, period: float, count: int, evened: bool = False, times: int = 1
    ) -> _Blocks:
        """Stretches of a period or a few, so that each has rows enough, and a part; or `times` that.

        The part makes them begin at another phase each, so that what is left in all of them of a smooth
        curve does not look like a cycle. `evened`, each is in units of its own deviation: of a cycle
        that grows with its level the last ones would be all.
        """
        fewest = 3 * count + 4
        whole = max(1.0, np.ceil((fewest + 2) * tracks.gap[0] / period))
        length = times * period * (whole + PART)
        if tracks.span < FEW_PARTS * length:  # then of equal length, so that none is a mere rest
            length = tracks.span / max(2, int(tracks.span / length))
        place = np.floor(tracks.time / length).astype(np.int64)
        begin = np.flatnonzero(np.r_[True, (np.diff(place) != 0) | (np.diff(tracks.track) != 0)])
        size = np.diff(np.r_[begin, len(place)])
        enough = np.repeat(size >= fewest, size)
        time, value = tracks.time[enough], tracks.value[enough]
        track, place = tracks.track[begin][size >= fewest], place[begin][size >= fewest]
        size = size[size >= fewest]
        begin = np.cumsum(size) - size
        waves = harmonics(time, period, count)
        local = (time / length) % 1.0 - 0.5
        trend = local[:, None] ** np.arange(TREND)
        columns = np.concatenate([trend, waves, value[:, None]], axis=1)
        outer = columns[:, :, None] * columns[:, None, :]
        sums = np.add.reduceat(outer, begin) if len(begin) else outer[:0]
        local, mixed, rest = sums[:, :TREND, :TREND], sums[:, :TREND, TREND:], sums[:, TREND:, TREND:]
        left = rest - np.swapaxes(mixed, 1, 2) @ np.linalg.pinv(local, hermitian=True) @ mixed
        if evened:
            own = np.sqrt(np.maximum(left[:, -1, -1] / size, TINY))
            left[:, :, -1] /= own[:, None]
            left[:, -1, :] /= own[:, None]
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

    def judged(self, independent: float = np.inf) -> tuple[float, float]:
        """The chance of so much in common by accident, and the held-out share of variance.

        Args:
            independent: how many independent tracks there are as good as.
        """
        _, track, n_blocks = np.unique(self.track, return_inverse=True, return_counts=True)
        several = n_blocks[track] > 1
        if not several.any():
            return 1.0, 0.0
        if not several.all():
            return self.of_variable(several).judged(independent)
        n_tracks, n_waves = len(n_blocks), self.cross.shape[1]
        begin = np.cumsum(n_blocks) - n_blocks
        gram, cross = (np.add.reduceat(x, begin) for x in (self.gram, self.cross))
        size = np.trace(gram, axis1=1, axis2=2) / n_waves
        seen = size > FAINT * np.add.reduceat(self.rows, begin)
        if not seen.all():
            return self.of_variable(seen[track]).judged(independent) if seen.any() else (1.0, 0.0)
        eye = np.eye(n_waves)
        small = 1e-6 * size[track][:, None, None] * eye
        common = solved(gram + 1e-6 * size[:, None, None] * eye, cross)
        own = solved(self.gram + small, self.cross)
        # Of blocks of unlike length those count that the coefficients can be seen in.
        weight = np.trace(self.gram, axis1=1, axis2=2) / n_waves
        alike = (np.add.reduceat(weight**2, begin) / size).sum()
        free = size.sum() / alike - 1
        explained = (common * cross).sum()
        differing = max((own * self.cross).sum() - explained, 0.0)
        degrees = self._degrees(own - common[track], track, n_tracks, independent)
        ratio = explained * free / differing if differing > 0 else np.inf
        # The F distribution's upper tail by the incomplete beta function.
        rest = degrees * free
        chance = special.betainc(rest / 2, degrees / 2, 1 / (1 + ratio * degrees / rest))
        others = solved(gram[track] - self.gram + eye, cross[track] - self.cross)
        gain = 2 * (others * self.cross).sum(axis=1)
        gain -= np.einsum("ui,uij,uj->u", others, self.gram, others)
        if (np.add.reduceat(gain, begin) > 0).mean() < MAJORITY:
            return 1.0, 0.0
        return float(chance), float(gain.sum() / self.square.sum())

    def _degrees(self, left: np.ndarray, track: np.ndarray, n_tracks: int, independent: float) -> float:
        """How many dimensions the coefficients effectively vary in, by Satterthwaite's approximation.

        Series that go together count as one, and so do harmonics of which the first has most power.
        """
        n_waves = left.shape[1]
        root = np.sqrt(np.maximum(np.diagonal(self.gram, axis1=1, axis2=2), 0.0))
        table = np.zeros((FOLD, n_tracks, n_waves))
        np.add.at(table, (self.block % FOLD, track), left * root)
        power = np.square(table).sum(axis=(0, 1)).reshape(2, -1).sum(axis=0)  # of each harmonic
        most = n_waves * (1.0 if n_waves == 2 else RED)
        usual = min(most, 2 * power.sum() ** 2 / max(np.square(power).sum(), TINY))
        seen = participants(table.reshape(FOLD, -1))
        return min(usual * n_tracks, max(seen, usual * min(independent, n_tracks)))


def _evidence(
    tracks: Tracks, period: float, count: int, evened: bool = False, times: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The chance of as much by accident and the held-out share, of each variable.

    Phases and amplitudes are of each series' own, or shared by all; the better of the two counts.
    """
    blocks = _Blocks.of(tracks, period, count, evened, times)
    n_variables = tracks.variable.max() + 1
    chance, share = np.ones(n_variables), np.zeros(n_variables)
    rest = None
    for v in np.unique(tracks.variable):
        own = blocks.of_variable(tracks.variable[blocks.track] == v)
        found = own.judged()
        if len(np.unique(own.track)) > 1:
            if found[0] < CALENDAR_LEVEL:
                rest = _without(tracks, period, count) if rest is None else rest
                found = own.judged(independent_series(tracks, rest, period, v))
            shared = own.merged(np.zeros_like(own.track)).judged()
            found = min(found, shared, key=lambda f: (f[0], -f[1]))
        chance[v], share[v] = found
    return chance, share


def _without(tracks: Tracks, period: float, count: int) -> np.ndarray:
    """The values without what the harmonics of a period explain in each track."""
    blocks = _Blocks.of(tracks, period, count)
    blocks = replace(blocks, block=np.zeros_like(blocks.block)).merged(blocks.track)
    found = np.zeros((len(tracks.variable), 2 * count))
    found[blocks.track] = solved(blocks.gram + np.eye(2 * count), blocks.cross)
    waves = harmonics(tracks.time, period, count)
    return tracks.value - (waves * found[tracks.track]).sum(axis=1)
