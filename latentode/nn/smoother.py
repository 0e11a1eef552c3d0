"""What all rows of a cell say of each: the way back after the filter, compiled.

References:
    A fixed interval smoother for state space models (de Jong, 1989).
"""

from __future__ import annotations

import math

import numpy as np

from latentode.nn.compiled_filter import (
    DAMPING,
    DECAY,
    NOISE,
    RETURN,
    Array,
    Number,
    advance,
    begin,
    in_use,
    keep,
    look_at,
    tell,
    tell_first,
    times,
    turn,
)
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = ["smooth"]


@compiled_in_order
def smooth(
    begins: Array, variable: Array, time: Array, value: Array, observed: Array, basis: Array,
    theta: Array, omega: Array, prior_mean: Array, prior_variance: Array, parts: Array,
    variances: Array,
) -> None:  # fmt: skip
    """What all rows of a cell say of each; rows not `observed` are places that are asked for.

    Args: as for `run`, with the mask `observed`, `(rows,)`, true of each cell's first row; `parts`,
    `(rows, state)`, and `variances`, `(rows,)`, are filled as by `forecast`, of every row.
    """
    for c in range(len(variable)):
        first, count = begins[c], begins[c + 1] - begins[c]
        v, frequency = variable[c], omega[c]
        own, whole = theta[v], parts.shape[1]
        size = in_use(whole, frequency)
        look, gain, moved = np.zeros(size), np.zeros(size), np.zeros(size)
        r, n = np.zeros(size), np.zeros((size, size))
        means, covs = np.zeros((count, whole)), np.zeros((count, whole, whole))
        gains, errors, spreads = np.zeros((count, size)), np.zeros(count), np.ones(count)
        mean, cov = np.zeros(whole), np.zeros((whole, whole))
        begin(mean, cov, own, prior_mean[v], prior_variance[v])
        for i in range(count):
            look_at(basis[first + i], look)
            if i == 0:
                tell_first(mean, cov, look, gain, value[first], own)
            else:
                advance(mean, cov, time[first + i] - time[first + i - 1], own, frequency)
                if observed[first + i]:
                    errors[i], spreads[i] = tell(mean, cov, look, gain, value[first + i], own[NOISE])
                    for j in range(size):
                        gains[i, j] = gain[j] / spreads[i]
            keep(means[i], covs[i], mean, cov)
        for i in range(count - 1, -1, -1):
            # r and n belong to the state after row i was told, seen from later rows.
            look_at(basis[first + i], look)
            times(covs[i], r, moved)
            for j in range(size):
                parts[first + i, j] = look[j] * (means[i, j] + moved[j])
            known = times(covs[i], look, gain)
            variances[first + i] = own[NOISE] + known - times(n, gain, moved)
            if i == 0:
                break
            if observed[first + i]:  # back through telling: r becomes h v / F + (I - k h)' r
                both, dot = times(n, gains[i], moved), 0.0
                for j in range(size):
                    dot += gains[i, j] * r[j]
                for j in range(size):
                    r[j] += look[j] * (errors[i] / spreads[i] - dot)
                    for k in range(size):
                        n[j, k] += (
                            look[j] * look[k] * (both + 1.0 / spreads[i])
                            - look[j] * moved[k]
                            - moved[j] * look[k]
                        )
            _back(r, n, time[first + i] - time[first + i - 1], own, frequency)


@compiled_in_order
def _back(r: Array, n: Array, elapsed: Number, theta: Array, omega: Number) -> None:
    """Takes r and n back over a gap: the transposed transition."""
    if elapsed <= 0.0:
        return
    kept = math.exp(-theta[DAMPING] * elapsed)
    reach = -math.expm1(-theta[DAMPING] * elapsed) / theta[DAMPING]
    left = math.exp(-theta[RETURN] * elapsed)
    r[1] = reach * r[0] + kept * r[1]
    r[2] *= left
    for j in range(len(r)):
        n[1, j] = reach * n[0, j] + kept * n[1, j]
        n[2, j] *= left
    for j in range(len(r)):
        n[j, 1] = reach * n[j, 0] + kept * n[j, 1]
        n[j, 2] *= left
    if omega > 0.0:
        left, angle = math.exp(-theta[DECAY] * elapsed), omega * elapsed
        turn(r, n, left * math.cos(angle), -left * math.sin(angle))
