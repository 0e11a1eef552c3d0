r"""Gains of sines: the periodogram of a cell's irregular rows, and the tops of it, compiled.

Of a cell's values $y$, with a line and what columns explain taken away, the periodogram is the gain of
least squares by a sine, with a small ridge since slow sines look like lines,

$$G(\omega) = -\tfrac{n}{2} \log\!\Big(1 -
    \frac{p_\omega^\top (A_\omega + \eta n I)^{-1} p_\omega}{y^\top y}\Big), \qquad
  p_\omega = \sum_i y_i \binom{\cos \omega t_i}{\sin \omega t_i},$$

with $A_\omega$ the matrix of products of cosine and sine without their lines.

References:
    The generalised Lomb-Scargle periodogram (Zechmeister and Kürster, 2009), here with a line.
"""

from __future__ import annotations

import math

import numpy as np

from latentode.ode.kernels.compiled import Array
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = ["peaks", "periodogram", "refined"]

RIDGE = 1e-3
PEAKS = 4  # that are compared by likelihood


@compiled_in_order
def periodogram(time: Array, value: Array, low: float, step: float, gain: Array) -> None:
    """Fills the gains of one cell at `low`, `low + step`, ..."""
    n = len(time)
    t, y, cosine, sine = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    turn_c, turn_s = np.zeros(n), np.zeros(n)
    middle, level, square, slope, power = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        middle += time[i]
        level += value[i]
    for i in range(n):
        t[i], y[i] = time[i] - middle / n, value[i] - level / n
        square += t[i] * t[i]
        slope += t[i] * y[i]
        cosine[i], sine[i] = math.cos(low * t[i]), math.sin(low * t[i])
        turn_c[i], turn_s[i] = math.cos(step * t[i]), math.sin(step * t[i])
    square = square if square > 0.0 else 1.0
    for i in range(n):
        y[i] -= slope / square * t[i]
        power += y[i] * y[i]
    for k in range(len(gain)):
        c1, s1, ct, st, cc, cs, yc, ys = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            c, s = cosine[i], sine[i]
            c1 += c
            s1 += s
            ct += c * t[i]
            st += s * t[i]
            cc += c * c
            cs += c * s
            yc += c * y[i]
            ys += s * y[i]
            cosine[i] = c * turn_c[i] - s * turn_s[i]
            sine[i] = c * turn_s[i] + s * turn_c[i]
        a = cc - c1 * c1 / n - ct * ct / square + RIDGE * n
        b = cs - c1 * s1 / n - ct * st / square
        d = n - cc - s1 * s1 / n - st * st / square + RIDGE * n
        told = (yc * yc * d - 2 * yc * ys * b + ys * ys * a) / (a * d - b * b)
        gain[k] = -0.5 * n * math.log(max(1.0 - told / power, 1e-12)) if power > 0.0 else 0.0


@compiled_in_order
def refined(gain: Array, k: int) -> float:
    """Where between its neighbours the top at k lies, by a parabola, in steps of the grid."""
    if k == 0 or k == len(gain) - 1:
        return 0.0
    bend = gain[k - 1] - 2 * gain[k] + gain[k + 1]
    return 0.5 * (gain[k - 1] - gain[k + 1]) / bend if bend < 0.0 else 0.0


@compiled_in_order
def peaks(gain: Array) -> Array:
    """The places of the highest tops, the highest first; at most `PEAKS`."""
    places = np.zeros(PEAKS, dtype=np.int64)
    found, last = 0, len(gain) - 1
    for k in range(len(gain)):
        if (k > 0 and gain[k] < gain[k - 1]) or (k < last and gain[k] <= gain[k + 1]):
            continue
        j = min(found, PEAKS - 1)
        if found == PEAKS and gain[k] <= gain[places[j]]:
            continue
        while j > 0 and gain[places[j - 1]] < gain[k]:
            places[j] = places[j - 1]
            j -= 1
        places[j] = k
        found = min(found + 1, PEAKS)
    return places[:found]
