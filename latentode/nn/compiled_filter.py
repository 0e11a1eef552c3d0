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
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from latentode.ode.kernels.compiled import Array
from latentode.ode.kernels.machine_code import compiled_in_order

__all__ = ["COLUMNS", "DYNAMIC", "NOISE", "PAIR", "PARAMETERS", "advance", "begin", "forecast"]
__all__ += ["in_use", "keep", "look_at", "run", "tell", "tell_first", "times", "turn"]

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
def turn(vector: Array, matrix: Array, cosine: float, sine: float) -> None:
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
        turn(mean, cov, left * math.cos(angle), left * math.sin(angle))
        for j in range(size - PAIR, size):
            cov[j, j] += theta[CYCLE] * (1 - left * left)


@compiled_in_order
def keep(mean: Array, cov: Array, new_mean: Array, new_cov: Array) -> None:
    """Fills a state with another: a loop, since assignments of arrays take long to compile."""
    for j in range(len(mean)):
        mean[j] = new_mean[j]
        for k in range(len(mean)):
            cov[j, k] = new_cov[j, k]


@compiled_in_order
def times(matrix: Array, vector: Array, product: Array) -> float:
    """Fills the product of a symmetric matrix and a vector; the vector's product with it.

    Row after row, so that a processor takes several numbers at once and sums keep their order.
    """
    size, both = len(vector), 0.0
    product[:] = 0.0
    for k in range(size):
        if vector[k] != 0.0:
            for j in range(size):
                product[j] += matrix[k, j] * vector[k]
    for j in range(size):
        both += vector[j] * product[j]
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
    spread = theta[NOISE] + times(cov, look, gain)
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
    size, expected, variance = len(look), 0.0, noise + times(cov, look, gain)
    for j in range(size):
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
        variance[q] = theta[c][NOISE] + times(cov, look, room)
        for j in range(size):
            parts[q, j] = look[j] * mean[j]
        parts[q, 0], parts[q, 1] = level, mean[0] - level
