"""Cycles: the periods that the values of a training table follow, found in the table itself.

A candidate is a period of the calendar or a peak of the pooled periodogram. It has to stand out by F
(`latentode.data.cycle_blocks`), and what all other blocks say of a block has to explain a worthwhile
share of its variance. The strongest is taken, its harmonics are subtracted, and so on.

A cycle is made of a few sines, and of more where it is so sharp that held-out blocks ask for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentode.data.cycle_blocks import Blocks
from latentode.data.dataset import SeriesDataset
from latentode.data.periodogram import (
    MOST_HARMONICS,
    Tracks,
    count_harmonics,
    harmonics,
    independent_series,
    named,
    peaks,
    polished,
    refined,
    solved,
    tracks_of,
)

__all__ = ["FoundCycle", "describe", "find_cycles", "harmonics_needed"]

CALENDAR = {"24h": 1.0, "7D": 7.0, "365.2425D": 365.2425}  # in days
MOST_CYCLES = 3
SHARE = 0.03  # of the variance about local trends, in held-out blocks
CALENDAR_LEVEL, PEAK_LEVEL = 2e-3, 1e-4  # of false alarms; of peaks, over all frequencies together
FAVOUR = 1.1  # a period of the calendar is likelier than one beside it that explains no more
MORE_HARMONICS = 8, 12  # of a cycle that is sharp
SHARPER = 0.1  # of the variance that fewer leave, which more have to explain
TRIED = 3  # peaks that are tested with all harmonics
LINE = 0.25  # half the width of a line, in units of what the span can tell apart


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


def harmonics_needed(dataset: SeriesDataset, periods: Sequence[float]) -> tuple[int, ...]:
    """Of how many sines each cycle is to be made, by the variable that asks for most.

    Args:
        dataset: as for `find_cycles`.
        periods: in time units.

    Returns:
        At least `MOST_HARMONICS` of each; more where held-out blocks of time ask for them, and rows
        can show them.

    Example:
        >>> import pandas as pd
        >>> time = np.arange(960.0)
        >>> frame = pd.DataFrame({"time": time, "x": 1.0 * (time % 24 < 3)})
        >>> harmonics_needed(SeriesDataset.from_frame(frame), [24.0])
        (12,)
    """
    tracks = tracks_of(dataset) if len(periods) else None
    if tracks is None:
        return (MOST_HARMONICS,) * len(periods)
    found = []
    for period in periods:
        others = tracks
        for other in periods:
            if other != period:
                count = count_harmonics(others, other)
                others = replace(others, value=_without(others, other, count))
        found.append(_sharpness(others, period))
    return tuple(found)


def _sharpness(tracks: Tracks, period: float) -> int:
    """How many harmonics a cycle needs."""
    best, shown = MOST_HARMONICS, round(period * tracks.highest)
    possible = [n for n in MORE_HARMONICS if n <= shown]
    if not possible or 2 * period > tracks.span:
        return best
    blocks = Blocks.of(tracks, period, possible[-1])
    left = 1.0 - _shares(tracks, blocks.of_harmonics(best))
    for count in possible:
        fewer = 1.0 - _shares(tracks, blocks.of_harmonics(count))
        if (fewer < (1 - SHARPER) * left).any():
            best, left = count, fewer
    return best


def _shares(tracks: Tracks, blocks: Blocks) -> np.ndarray:
    """Of each variable the held-out share, by waves of each series' own or by those of all."""
    share = np.zeros(tracks.variable.max() + 1)
    for v in np.unique(tracks.variable):
        own = blocks.of_variable(tracks.variable[blocks.track] == v)
        shared = own.merged(np.zeros_like(own.track))
        share[v] = max(own.judged()[1], shared.judged()[1])
    return share


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
        period = polished(tracks, period, count_harmonics(tracks, period))
        if (count := _sharpness(tracks, period)) > MOST_HARMONICS:  # which tell a period more closely
            period = polished(tracks, period, count)
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


def _evidence(
    tracks: Tracks, period: float, count: int, evened: bool = False, times: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The chance of as much by accident and the held-out share, of each variable.

    Phases and amplitudes are of each series' own, or shared by all; the better of the two counts.
    """
    blocks = Blocks.of(tracks, period, count, evened, times)
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
    blocks = Blocks.of(tracks, period, count)
    blocks = replace(blocks, block=np.zeros_like(blocks.block)).merged(blocks.track)
    found = np.zeros((len(tracks.variable), 2 * count))
    found[blocks.track] = solved(blocks.gram + np.eye(2 * count), blocks.cross)
    waves = harmonics(tracks.time, period, count)
    return tracks.value - (waves * found[tracks.track]).sum(axis=1)
