r"""Normal equations of a cycle's harmonics, in blocks of stretches of time.

Each series is cut into stretches of about one period, and of each a level, a slope and a curvature are
taken out, so that the coefficients of the harmonics in two stretches of a random walk, or of its
integral, are independent. With the normal equations $A_b, r_b$ of block $b$ of stretches,
$c_b = A_b^{-1} r_b$ and $c = (\sum_b A_b)^{-1} \sum_b r_b$,

$$F = \frac{c^\top A\, c}{\big(\sum_b c_b^\top A_b c_b - c^\top A\, c\big) / (B - 1)}$$

compares what all blocks have in common with how they differ, whatever the spectrum of the noise, white
or red.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from latentode.data.periodogram import TINY, Tracks, harmonics, participants, solved

__all__ = ["Blocks"]

TREND = 3  # level, slope and curvature
PART, FEW_PARTS = 0.382, 5  # the golden section, whose multiples never line up
BLOCKS, FOLD = 8, 64
RED = 0.47  # effective part of the dimensions of four harmonics of a red spectrum, 1 / k^2
FAINT = 0.05  # of half of the rows: a wave whose cells all look alike cannot be seen
MAJORITY = 0.5  # of series have to forecast better


@dataclass(frozen=True)
class Blocks:
    """Normal equations of the harmonics in each block of each track, without local trends.

    Args:
        track, block: whose they are, shape `(equations,)`.
        gram, cross: $A$ and $r$, `(equations, waves, waves)` and `(equations, waves)`.
        square: sum of squares about local trends, and `rows` how many there are, `(equations,)`.
    """

    track: np.ndarray
    block: np.ndarray
    gram: np.ndarray
    cross: np.ndarray
    square: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(
        cls, tracks: Tracks, period: float, count: int, evened: bool = False, times: int = 1
    ) -> Blocks:
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

    def merged(self, group: np.ndarray) -> Blocks:
        """Sums over what is of the same group and block."""
        order = np.lexsort((self.block, group))
        group, block = group[order], self.block[order]
        begin = np.flatnonzero(np.r_[len(group) > 0, (np.diff(group) != 0) | (np.diff(block) != 0)])
        parts = (self.gram, self.cross, self.square, self.rows)
        sums = [np.add.reduceat(x[order], begin) if len(begin) else x for x in parts]
        return Blocks(group[begin], block[begin], *sums)

    def of_variable(self, mask: np.ndarray) -> Blocks:
        """Some of the blocks."""
        parts = (self.track, self.block, self.gram, self.cross, self.square, self.rows)
        return Blocks(*(x[mask] for x in parts))

    def of_harmonics(self, count: int) -> Blocks:
        """Only the first harmonics, on the same stretches."""
        half = self.cross.shape[1] // 2  # cosines, then sines
        some = np.r_[:count, half : half + count]
        return replace(self, gram=self.gram[:, some][:, :, some], cross=self.cross[:, some])

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
