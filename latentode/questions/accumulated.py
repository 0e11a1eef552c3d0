r"""Accumulated values: integrals of sample paths between two times.

$$\int_a^b x_i(t)\,dt \approx \sum_{\text{cells}} h \sum_{j=1}^{3} v_j\, x_i(t_\text{cell} + u_j h)$$

by Gauss and Legendre's three points per cell, the cells of equal width and no wider than what the path
changes over. The noise of single readings does not accumulate: it is the sensor's, not the quantity's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentode.ode.quadrature import POINTS, WEIGHTS

__all__ = ["Nodes", "nodes_between"]


@dataclass(frozen=True)
class Nodes:
    """Places to evaluate, and what each adds to its integral.

    Args:
        owner: which integral, ascending, shape `(nodes,)`.
        time: shape `(nodes,)`.
        weight: in units of time; those of an integral sum to its length.
        n: number of integrals.
    """

    owner: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    n: int

    def sums(self, value: np.ndarray) -> np.ndarray:
        """The integrals of values at the nodes: from `(draws, nodes)` to `(draws, integrals)`."""
        begin = np.searchsorted(self.owner, np.arange(self.n))
        return np.add.reduceat(value * self.weight, begin, axis=1)


def nodes_between(start: np.ndarray, end: np.ndarray, width: np.ndarray) -> Nodes:
    """Nodes of integrals from `start` to `end`, in cells at most `width` wide.

    Args:
        start: shape `(integrals,)`.
        end: no earlier, likewise; of a time to itself the integral is 0.
        width: likewise.

    Example:
        >>> nodes = nodes_between(np.zeros(1), np.full(1, 2.0), np.full(1, 0.8))
        >>> nodes.sums(nodes.time[None] ** 5).round(9).tolist()  # 2 ** 6 / 6
        [[10.666666667]]
    """
    cells = np.maximum(1, np.ceil((end - start) / width - 1e-9)).astype(np.int64)
    owner = np.repeat(np.arange(len(start)), cells)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(cells) - cells, cells)
    step = ((end - start) / cells)[owner]
    time = (start[owner] + place * step)[:, None] + step[:, None] * np.asarray(POINTS)
    weight = step[:, None] * np.asarray(WEIGHTS)
    return Nodes(np.repeat(owner, len(POINTS)), time.reshape(-1), weight.reshape(-1), len(start))
