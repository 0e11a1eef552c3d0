"""Additive outliers and level shifts, found by a filter that leaves out of account what is wild.

A sensor's fault or a code for what is missing moves a level by its share of thousands of deviations,
and makes intervals as wide. Rows far off what those before let expect tell nothing, if soon after rows
are again as they were expected without them. Where all that follow are as far off the level has
shifted, and where such rows come often they are what the series is made of.

References:
    Joint estimation of model parameters and outlier effects in time series (Chen and Liu, 1993).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from latentode.nn.compiled_filter import (
    DYNAMIC,
    NOISE,
    advance,
    begin,
    in_use,
    keep,
    look_at,
    tell,
    tell_first,
)
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = ["LEARNT", "QUIET", "UNKNOWN", "explained", "outliers", "wild_at_first"]

WILD, AS_BEFORE = (
    6.0,
    3.0,
)  # usual innovations: a wild one is beyond the first, one after it within the other
LONGEST, BEFORE, AFTER = 8, 3, 2  # rows of a run of them, and rows as expected before and after it
LEARNT = 8  # rows that a state is learnt from, before which all are far off
FEWEST, PARTS = 12, 3  # rows of a cell, of which fewer do not tell; parts of as many at least
EVENTS, EVENT_SHARE, ROW_SHARE = (
    2,
    0.02,
    0.1,
)  # runs and shifts of a cell, as a share of rows, and rows in runs
ALIKE = 0.5  # share of what rows after a shift are off in the mean, that each may be off it
QUIET, MEDIAN = (0.25, 0.3186), (0.5, 0.6745)  # quantiles of sizes, also those of the standard normal
FAMILIAR = 3  # moves of a known column, after which one more is no news
ABRUPT = 0.5  # of a known column's range in a cell, by which it moves when it explains what happens
UNKNOWN = 1e6  # variance of a jump beforehand, in units of the training data: as good as unknown


@compiled_in_order
def _usual(innovations: Any) -> np.ndarray:
    """How large innovations of each row's part of a cell are, in deviations of normal ones, `(rows,)`.

    What follows a shift is off by more than is usual, but by as much from row to row; and one part at
    least is not spoilt.
    """
    n, least, usual = len(innovations), np.inf, np.zeros(len(innovations))
    parts = PARTS if n >= FEWEST * PARTS else 1
    for k in range(parts):
        first, end = k * n // parts, (k + 1) * n // parts
        changes = np.zeros(end - first - 1)
        for i in range(len(changes)):
            changes[i] = innovations[first + i + 1] - innovations[first + i]
        least = min(least, _scale(innovations[first:end]))
        changed = _scale(changes) / math.sqrt(2.0)
        for i in range(first, end):
            usual[i] = changed
    for i in range(n):
        usual[i] = max(usual[i], least)
    return usual


@compiled_in_order
def _scale(x: Any) -> float:
    """The deviation of normal numbers, also where a part of them is spoilt; 0 where many are 0."""
    sizes, n = np.zeros(len(x)), len(x)
    for i in range(n):
        sizes[i] = abs(x[i])
    sizes.sort()
    quiet, half = sizes[int(QUIET[0] * n)] / QUIET[1], sizes[int(MEDIAN[0] * n)] / MEDIAN[1]
    return max(quiet, half / 2) if quiet > 0.0 else 0.0


@compiled_in_order
def wild_at_first(begins: Any, innovations: Any) -> np.ndarray:
    """Cells with a row far off among the first, which a filter has too little before to judge by."""
    found = np.zeros(len(begins) - 1, dtype=np.bool_)
    for c in range(len(begins) - 1):
        own = innovations[begins[c] : begins[c + 1]]
        if len(own) >= FEWEST:
            usual = _usual(own)
            for i in range(LEARNT + 1):
                found[c] |= abs(own[i]) > AS_BEFORE * usual[i]
            for i in range(len(own)):
                found[c] &= usual[i] > 0.0
    return found


@compiled_in_order
def explained(basis: Any, row: int, known: tuple[int, int]) -> bool:
    """Whether a known column has just moved by much of its range in a cell, whose rows are given.

    What it does then is known of a column that moved so several times before.
    """
    for j in range(known[0], known[1]):
        low, high, before = np.inf, -np.inf, 0
        for i in range(len(basis)):
            low, high = min(low, basis[i, j]), max(high, basis[i, j])
        for i in range(min(row + 1, len(basis) - 1)):
            if abs(basis[i + 1, j] - basis[i, j]) > ABRUPT * (high - low):
                if i >= row - 2 and before < FAMILIAR:
                    return True
                before += 1
    return False


@compiled_in_order
def _alike(off: Any, usual: float) -> bool:
    """Whether rows are off what was expected by about as much each."""
    total = 0.0
    for x in off:
        total += x
    mean = total / len(off)
    most = 0.0
    for x in off:
        most = max(most, abs(x - mean))
    return most <= ALIKE * abs(mean) + AS_BEFORE * usual


@compiled_in_order
def outliers(
    begins: Any, variable: Any, time: Any, value: Any, basis: Any, theta: Any, omega: Any,
    prior_mean: Any, prior_variance: Any, innovations: Any, told: Any, known: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Which rows are wild, at which the level has shifted, and which last ones may be either.

    Arguments are as `run` has and fills them, and

    Args:
        told: cells that are told as they are, `(cells,)`: of few counts large ones are no outliers.
        known: the first column that is known and the one after the last, whose moves explain what then
            happens.

    Returns:
        Three masks of shape `(rows,)`.
    """
    wild, shifted = np.zeros(len(time), dtype=np.bool_), np.zeros(len(time), dtype=np.bool_)
    undecided = np.zeros(len(time), dtype=np.bool_)
    for c in range(len(variable)):
        first, end = begins[c], begins[c + 1]
        if end - first < FEWEST or told[c]:
            continue
        usual, square, beyond, least = _usual(innovations[first:end]), 0.0, False, np.inf
        for i in range(first + 1, end):
            square += innovations[i] ** 2
        limit = math.sqrt(square / (end - first - 1))  # also where few are noise
        for i in range(end - first):
            least = min(least, usual[i])
            beyond |= i >= LEARNT and abs(innovations[first + i]) > max(WILD * usual[i], limit)
        if least > 0.0 and beyond:
            v = variable[c]
            events, rows, last = _outliers_of_a_cell(
                time[first:end], value[first:end], basis[first:end], theta[v], omega[c], prior_mean[v],
                prior_variance[v], usual, limit, known, wild[first:end], shifted[first:end],
            )  # fmt: skip
            if events > max(EVENTS, EVENT_SHARE * (end - first)) or rows > ROW_SHARE * (end - first):
                wild[first:end] = False
                shifted[first:end] = False
            else:
                undecided[end - last : end] = True
    return wild, shifted, undecided


@compiled_in_order
def _outliers_of_a_cell(
    time: Any, value: Any, basis: Any, theta: Any, omega: float, prior_mean: Any, prior_variance: Any,
    usual: Any, limit: float, known: tuple[int, int], wild: Any, shifted: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Fills the masks of a cell; how many runs and shifts there are, rows in runs, and undecided."""
    whole, n, off = DYNAMIC + basis.shape[1], len(time), np.zeros(len(time))
    size = in_use(whole, omega)
    look, gain = np.zeros(size), np.zeros(size)
    mean, cov = np.zeros(whole), np.zeros((whole, whole))
    kept_mean, kept_cov = np.zeros(whole), np.zeros((whole, whole))  # before the first suspected row
    ahead_mean, ahead_cov = np.zeros(whole), np.zeros((whole, whole))
    begin(mean, cov, theta, prior_mean, prior_variance)
    look_at(basis[0], look)
    tell_first(mean, cov, look, gain, value[0], theta)
    keep(kept_mean, kept_cov, mean, cov)
    i, suspect, told_until, calm, after, events, rows, last = 1, -1, 0, 1, 0, 0, 0, 0
    while i < n:
        if suspect < 0:
            keep(kept_mean, kept_cov, mean, cov)
        look_at(basis[i], look)
        advance(mean, cov, time[i] - time[i - 1], theta, omega)
        if shifted[i]:
            cov[0, 0] += UNKNOWN
        keep(ahead_mean, ahead_cov, mean, cov)
        innovation, variance = tell(mean, cov, look, gain, value[i], theta[NOISE])
        off[i] = innovation / math.sqrt(variance)
        beyond = abs(off[i]) > max(limit, WILD * usual[i]) and i >= LEARNT
        if suspect < 0 and beyond and i > told_until and calm >= BEFORE:
            suspect, after = (-1 if explained(basis, i, known) else i), 0
        if suspect < 0:
            calm = 0 if abs(off[i]) > WILD * usual[i] else calm + 1
            i += 1
            continue
        wild[i] = abs(off[i]) > AS_BEFORE * usual[i]
        after = 0 if wild[i] else after + 1
        if wild[i]:
            keep(mean, cov, ahead_mean, ahead_cov)
        i += 1
        # At the end of a series one row as before is all that there may be.
        if after >= AFTER or (i == n and after > 0):
            for j in range(suspect, i):
                rows += wild[j]
            events, suspect, calm = events + 1, -1, after
        elif i == n or i - suspect > LONGEST + AFTER:
            wild[suspect:i] = False
            keep(mean, cov, kept_mean, kept_cov)
            away = suspect
            while away < i and abs(off[away]) > AS_BEFORE * usual[away]:
                away += 1
            stays = away - suspect > LONGEST
            shifted[suspect] = stays and _alike(off[suspect:away], usual[suspect])
            events += shifted[suspect]
            told_until = suspect if shifted[suspect] else i - 1
            last = n - suspect if i == n and not shifted[suspect] else 0
            i, suspect, calm = suspect, -1, 0
    return events, rows, last
