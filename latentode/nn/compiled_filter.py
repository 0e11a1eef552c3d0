r"""The Kalman filter of a structural state-space model over irregular rows, compiled.

State $s = (\ell, b, r, c, u, w)$ of a cell, a (series, variable): level, slope, deviation, coefficients
of columns $\phi$, and the pair of a stochastic cycle that turns by $\omega$ and dies away by $\gamma$.
Between rows $\Delta$ apart, in closed form,

$$d\ell = b\,dt + \sqrt{q_\ell}\,dW, \quad db = -\kappa\,b\,dt + \sqrt{q_b}\,dW, \quad
  dr = -\rho\,r\,dt + \sqrt{2 \rho v_r}\,dW, \quad dc = \sqrt{q_c}\,dW, $$

$$d\binom{u}{w} = \begin{pmatrix} -\gamma & \omega \\ -\omega & -\gamma \end{pmatrix} \binom{u}{w} dt +
  \sqrt{2 \gamma v_u}\,dW, \qquad
  x_i = \ell + r + \phi_i^\top c + u + \epsilon_i,\ \mathrm{Var}\,\epsilon_i = q_\epsilon,$$

so that $u$ has the covariance $v_u\,e^{-\gamma \tau} \cos \omega \tau$. The frequency $\omega$ is the
cell's own; where it is 0 there is no cycle, and loops leave out the pair, which comes last.

All variances are relative to a variance of the cell's own, which is inferred from its innovations. The
level is known with precision $\lambda$ before anything was observed, which may be as good as none: the
first row is told in a form that does not cancel.

References:
    Forecasting, Structural Time Series Models and the Kalman Filter (Harvey, 1989); chapter 2: cycles.
    A fixed interval smoother for state space models (de Jong, 1989): the way back of `smooth`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from latentode.ode.kernels.compiled import Array
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = ["COLUMNS", "DYNAMIC", "NOISE", "PAIR", "PARAMETERS", "advance", "begin", "forecast"]
__all__ += ["in_use", "look_at", "run", "smooth", "tell", "tell_first"]

Number = Any  # one of an array's, which to type checkers is an array
COLUMNS, PAIR = 3, 2  # after level, slope and deviation come the coefficients, and at the end the pair
DYNAMIC = COLUMNS + PAIR  # what is no coefficient
# A variable's parameters. `scale` is the degrees of freedom of a cell's own variance, `memory` the
# half-life of what it is told by, `excess` a variance of forecasts that is not relative to it,
# `frequency_spread` that of logarithms of frequencies over cells. None of them moves the filter.
PARAMETERS = (
    "noise",
    "walk",
    "slope_walk",
    "damping",
    "deviation",
    "return_rate",
    "level_precision",
    "slope",
    "cycle",
    "cycle_decay",
    "coefficient_walk",
    "frequency",
    "frequency_spread",
    "scale",
    "memory",
    "excess",
)
NOISE, WALK, SLOPE_WALK, DAMPING, DEVIATION, RETURN, PRECISION, SLOPE, CYCLE, DECAY, DRIFT = range(11)
SMALL = 1e-3  # of damping times elapsed time, below which closed forms cancel and series do not


@compiled_in_order
def in_use(state: int, omega: Number) -> int:
    """How much of a state is in use."""
    return state if omega > 0.0 else state - PAIR


@compiled_in_order
def _turn(vector: Array, matrix: Array, cosine: float, sine: float) -> None:
    """Turns the pair of a vector, and of a symmetric matrix from both sides."""
    u, w = len(vector) - 2, len(vector) - 1
    vector[u], vector[w] = cosine * vector[u] + sine * vector[w], cosine * vector[w] - sine * vector[u]
    for j in range(len(vector)):
        a, b = matrix[u, j], matrix[w, j]
        matrix[u, j], matrix[w, j] = cosine * a + sine * b, cosine * b - sine * a
    for j in range(len(vector)):
        a, b = matrix[j, u], matrix[j, w]
        matrix[j, u], matrix[j, w] = cosine * a + sine * b, cosine * b - sine * a


@compiled_in_order
def advance(mean: Array, cov: Array, elapsed: Number, theta: Array, omega: Number) -> None:
    """Carries mean and covariance over a gap."""
    if elapsed <= 0.0:
        return
    kappa, size = theta[DAMPING], in_use(len(mean), omega)
    kept = math.exp(-kappa * elapsed)
    reach = -math.expm1(-kappa * elapsed) / kappa
    left = math.exp(-theta[RETURN] * elapsed)
    mean[0] += reach * mean[1]
    mean[1] *= kept
    mean[2] *= left
    for j in range(size):
        cov[0, j] += reach * cov[1, j]
        cov[1, j] *= kept
        cov[2, j] *= left
    for j in range(size):
        cov[j, 0] += reach * cov[j, 1]
        cov[j, 1] *= kept
        cov[j, 2] *= left
    rate = theta[SLOPE_WALK]
    if kappa * elapsed < SMALL:
        level, both, slope = rate * elapsed**3 / 3, rate * elapsed**2 / 2, rate * elapsed
    else:
        slope = rate * (1 - kept * kept) / (2 * kappa)
        both = rate * reach * reach / 2
        level = rate / (kappa * kappa) * (elapsed - 2 * reach + (1 - kept * kept) / (2 * kappa))
    cov[0, 0] += level + theta[WALK] * elapsed
    cov[0, 1] += both
    cov[1, 0] += both
    cov[1, 1] += slope
    cov[2, 2] += theta[DEVIATION] * (1 - left * left)
    for j in range(COLUMNS, size if omega <= 0.0 else size - PAIR):
        cov[j, j] += theta[DRIFT] * elapsed
    if omega > 0.0:
        left, angle = math.exp(-theta[DECAY] * elapsed), omega * elapsed
        _turn(mean, cov, left * math.cos(angle), left * math.sin(angle))
        for j in range(size - PAIR, size):
            cov[j, j] += theta[CYCLE] * (1 - left * left)


@compiled_in_order
def _times(matrix: Array, vector: Array, product: Array) -> float:
    """Fills the product of a matrix and a vector; the vector's product with it."""
    size, both = len(vector), 0.0
    for j in range(size):
        total = 0.0
        for k in range(size):
            total += matrix[j, k] * vector[k]
        product[j] = total
        both += vector[j] * total
    return both


@compiled_in_order
def look_at(row: Array, look: Array) -> None:
    """What a row observes of the state."""
    look[:] = 0.0
    look[0], look[2] = 1.0, 1.0
    for j in range(len(row)):
        look[COLUMNS + j] = row[j]
    if len(look) > COLUMNS + len(row):
        look[COLUMNS + len(row)] = 1.0


@compiled_in_order
def begin(mean: Array, cov: Array, theta: Array, prior_mean: Array, prior_variance: Array) -> None:
    """The state before anything was observed, without its level."""
    mean[:] = 0.0
    cov[:, :] = 0.0
    cov[1, 1] = theta[SLOPE]
    cov[2, 2] = theta[DEVIATION]
    for j in range(len(prior_mean)):
        mean[COLUMNS + j] = prior_mean[j]
        cov[COLUMNS + j, COLUMNS + j] = prior_variance[j]
    for j in range(COLUMNS + len(prior_mean), len(mean)):
        cov[j, j] = theta[CYCLE]


@compiled_in_order
def tell_first(mean: Array, cov: Array, look: Array, gain: Array, value: Number, theta: Array) -> tuple:
    """Tells the first value; its innovation and that one's variance."""
    size, precision, innovation = len(look), theta[PRECISION], value
    spread = theta[NOISE] + _times(cov, look, gain)
    for j in range(1, size):
        innovation -= look[j] * mean[j]
    share = 1.0 / (1.0 + precision * spread)
    mean[0] = innovation * share
    for j in range(1, size):
        mean[j] += gain[j] * precision * share * innovation
        for k in range(1, size):
            cov[j, k] -= gain[j] * gain[k] * precision * share
        cov[0, j] = -gain[j] * share
        cov[j, 0] = -gain[j] * share
    cov[0, 0] = spread * share
    return innovation, 1.0 / (precision * share)


@compiled_in_order
def tell(mean: Array, cov: Array, look: Array, gain: Array, value: Number, noise: float) -> tuple:
    """Tells a value; its innovation and that one's variance."""
    size, expected, variance = len(look), 0.0, noise
    for j in range(size):  # not by `_times`, which takes longer
        total = 0.0
        for k in range(size):
            total += cov[j, k] * look[k]
        gain[j] = total
    for j in range(size):
        variance += gain[j] * look[j]
        expected += look[j] * mean[j]
    innovation = value - expected
    for j in range(size):
        part = gain[j] / variance
        mean[j] += part * innovation
        for k in range(size):
            cov[j, k] -= part * gain[k]
    return innovation, variance


@compiled_in_order
def run(
    begins: Array, variable: Array, time: Array, value: Array, basis: Array, theta: Array,
    omega: Array, prior_mean: Array, prior_variance: Array, means: Array, covs: Array, sums: Array,
    innovations: Array,
) -> None:  # fmt: skip
    """Filters every cell's rows.

    Args:
        begins: where each cell's rows begin, and where the last one's end, `(cells + 1,)`.
        variable: of each cell, `(cells,)`.
        time, value: of rows, cell by cell and in time, `(rows,)`.
        basis: columns of rows, `(rows, columns)`.
        theta: `PARAMETERS` of each variable, `(variables, parameters)`.
        omega: of each cell's cycle, in radians, `(cells,)`; 0 for none.
        prior_mean, prior_variance: of coefficients of each variable, `(variables, columns)`.
        means, covs: filled with the state after the last row, `(cells, state)` and
            `(cells, state, state)`.
        sums: filled with the sum of logarithms of the innovations' variances, and that of squared
            innovations over them, `(cells, 2)`.
        innovations: filled with innovations in units of their deviations, `(rows,)`.
    """
    for c in range(len(variable)):
        v, size = variable[c], in_use(means.shape[1], omega[c])
        look, gain = np.zeros(size), np.zeros(size)
        own, mean, cov = theta[v], means[c], covs[c]
        begin(mean, cov, own, prior_mean[v], prior_variance[v])
        sums[c, :] = 0.0
        for i in range(begins[c], begins[c + 1]):
            look_at(basis[i], look)
            if i == begins[c]:
                innovation, variance = tell_first(mean, cov, look, gain, value[i], own)
            else:
                advance(mean, cov, time[i] - time[i - 1], own, omega[c])
                innovation, variance = tell(mean, cov, look, gain, value[i], own[NOISE])
            sums[c, 0] += math.log(variance)
            sums[c, 1] += innovation * innovation / variance
            innovations[i] = innovation / math.sqrt(variance)


@compiled_in_order
def forecast(
    cell: Array, elapsed: Array, basis: Array, theta: Array, omega: Array, means: Array, covs: Array,
    parts: Array, variance: Array,
) -> None:  # fmt: skip
    """Carries each query's cell to its time.

    Args:
        cell: of each query, `(queries,)`.
        elapsed: since the cell's last row, not negative, likewise.
        basis: columns at the query's time, `(queries, columns)`.
        theta, omega: parameters of each cell, `(cells, parameters)`, and frequencies, `(cells,)`.
        means, covs: states of cells.
        parts: filled with the parts of the expected value: level, what the slope adds to it, deviation,
            each column, the cycle and 0; `(queries, state)`.
        variance: filled with the relative variance of a value, `(queries,)`.
    """
    for q in range(len(cell)):
        c = cell[q]
        size = in_use(means.shape[1], omega[c])
        mean, cov, look, room = means[c].copy(), covs[c].copy(), np.zeros(size), np.zeros(size)
        look_at(basis[q], look)
        level = mean[0]
        advance(mean, cov, elapsed[q], theta[c], omega[c])
        variance[q] = theta[c][NOISE] + _times(cov, look, room)
        for j in range(size):
            parts[q, j] = look[j] * mean[j]
        parts[q, 0], parts[q, 1] = level, mean[0] - level


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
        v, turn = variable[c], omega[c]
        own, whole = theta[v], parts.shape[1]
        size = in_use(whole, turn)
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
                advance(mean, cov, time[first + i] - time[first + i - 1], own, turn)
                if observed[first + i]:
                    errors[i], spreads[i] = tell(mean, cov, look, gain, value[first + i], own[NOISE])
                    gains[i] = gain / spreads[i]
            means[i], covs[i] = mean, cov
        for i in range(count - 1, -1, -1):
            # r and n belong to the state after row i was told, seen from later rows.
            look_at(basis[first + i], look)
            _times(covs[i], r, moved)
            for j in range(size):
                parts[first + i, j] = look[j] * (means[i, j] + moved[j])
            known = _times(covs[i], look, gain)
            variances[first + i] = own[NOISE] + known - _times(n, gain, moved)
            if i == 0:
                break
            if observed[first + i]:  # back through telling: r becomes h v / F + (I - k h)' r
                both, dot = _times(n, gains[i], moved), 0.0
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
            _back(r, n, time[first + i] - time[first + i - 1], own, turn)


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
        _turn(r, n, left * math.cos(angle), -left * math.sin(angle))
