r"""The divergence of a vector field, $\nabla \cdot f = \mathrm{tr}(\partial f/\partial z)$.

By forward-mode differentiation, which leaves one backward pass for whoever trains through it:

$$\nabla \cdot f = \sum_i e_i^T \frac{\partial f}{\partial z} e_i
  = E\Big[\epsilon^T \frac{\partial f}{\partial z} \epsilon\Big], \qquad E[\epsilon\epsilon^T] = 1.$$

The sum is exact and pushes a unit vector per dimension forwards; the mean, estimated from a single
$\epsilon$ (Hutchinson, 1990), pushes one whatever the dimension.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from latentode.ode.context import Context

__all__ = ["estimated_divergence", "exact_divergence"]

Field = Callable[[Tensor, Tensor, Context | None], Tensor]


def exact_divergence(
    field: Field, t: Tensor, z: Tensor, context: Context | None = None
) -> tuple[Tensor, Tensor]:
    """f and its divergence, by as many forward derivatives as there are dimensions.

    Args:
        field: a vector field whose rows are independent.
        t: shape `(rows,)`.
        z: shape `(rows, latent)`.
        context: what else each row is told.

    Returns:
        f, shape `(rows, latent)`, and its divergence, shape `(rows,)`.

    Example:
        >>> z = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> exact_divergence(lambda t, z, context: z**2, torch.zeros(2), z)[1]
        tensor([ 6., 14.])
    """
    rows, size = z.shape
    units = torch.eye(size, dtype=z.dtype, device=z.device).repeat_interleave(rows, dim=0)
    copies = None if context is None else context.repeat(size)
    value, pushed = _push(field, t.repeat(size), z.repeat(size, 1), units, copies)
    return value[:rows], (units * pushed).sum(dim=1).view(size, rows).sum(dim=0)


def estimated_divergence(
    field: Field, t: Tensor, z: Tensor, probe: Tensor, context: Context | None = None
) -> tuple[Tensor, Tensor]:
    r"""f and Hutchinson's estimate $\epsilon^T (\partial f/\partial z) \epsilon$ of its divergence.

    Args:
        field: a vector field whose rows are independent.
        t: shape `(rows,)`.
        z: shape `(rows, latent)`.
        probe: epsilon of each row, with mean 0 and covariance 1, shape `(rows, latent)`.
        context: what else each row is told.

    Returns:
        f, shape `(rows, latent)`, and the estimate, shape `(rows,)`.

    References:
        FFJORD (Grathwohl et al., 2018), https://arxiv.org/abs/1810.01367
    """
    value, pushed = _push(field, t, z, probe, context)
    return value, (probe * pushed).sum(dim=1)


def _push(
    field: Field, t: Tensor, z: Tensor, tangent: Tensor, context: Context | None
) -> tuple[Tensor, Tensor]:
    """f and its derivative by z in the direction of `tangent`."""
    value, pushed, *_ = torch.func.jvp(lambda z: field(t, z, context), (z,), (tangent,))
    return value, pushed
