r"""Integrals of a function of the state along a trajectory.

$$\int_{a}^{b} g(z(t))\,dt \approx \sum_{\text{cells}} h \sum_{j=1}^{3} w_j\, g(z(t_a + u_j h))$$

by Gauss-Legendre quadrature with three points between any two knots: exact where $g \circ z$ is a
polynomial of degree five there, so its error is of order six in the width of a cell, below that of the
interpolant. It costs evaluations of g, none of the vector field, and differentiates like any sum.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from latentode.ode.trajectory import Trajectory

__all__ = ["integrate"]

# Gauss and Legendre's points on [0, 1] and their weights.
POINTS = (0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5)
WEIGHTS = (5 / 18, 8 / 18, 5 / 18)


def integrate(
    path: Trajectory,
    integrand: Callable[[Tensor, Tensor], Tensor],
    rows: Tensor,
    start: Tensor,
    end: Tensor,
) -> Tensor:
    """Integrates along rows of a path, each from its own start to its own end.

    Args:
        path: the trajectory.
        integrand: from rows `(points,)` and states `(points, latent)` to values `(points, k)`.
        rows: which row each integral runs along, shape `(integrals,)`.
        start: where it begins, inside the row's span, shape `(integrals,)`.
        end: where it ends, inside the span and no earlier; the integral from a time to itself is 0.

    Returns:
        Shape `(integrals, k)`.

    Example:
        >>> import torch
        >>> times = torch.tensor([[0.0, 1.0, 2.0]])
        >>> line = Trajectory(times, times[..., None], torch.ones(1, 3, 1))
        >>> ends = torch.tensor([1.5, 2.0])
        >>> integrate(line, lambda rows, z: z, torch.tensor([0, 0]), ends * 0, ends).squeeze(1)
        tensor([1.1250, 2.0000])
    """
    knots = path.times[rows]
    early, late = knots[:, :-1].minimum(knots[:, 1:]), knots[:, :-1].maximum(knots[:, 1:])
    begin = early.maximum(start[:, None])
    width = late.minimum(end[:, None]) - begin
    # Only cells that the integral runs through are looked at.
    owner, cell = (width > 0).nonzero(as_tuple=True)
    begin, width = begin[owner, cell], width[owner, cell]
    times = begin[:, None] + width[:, None] * width.new_tensor(POINTS)
    along = rows[owner].repeat_interleave(len(POINTS))
    values = integrand(along, path.at(along, times.reshape(-1)))
    each = values.unflatten(0, (len(owner), len(POINTS))) * width.new_tensor(WEIGHTS)[:, None]
    sums = each.sum(dim=1) * width[:, None]
    return sums.new_zeros(len(rows), sums.shape[1]).index_add(0, owner, sums)
