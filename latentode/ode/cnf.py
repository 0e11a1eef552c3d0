r"""CNF: a density carried by an ODE, a continuous normalising flow.

A point $z(0)$ of a simple base follows $\dot z = f(t, z, c)$ to $x = z(1)$. Along its path

$$\frac{d \log p_t(z(t))}{dt} = -\mathrm{tr}\,\frac{\partial f}{\partial z}, \qquad\text{so}\qquad
  \log p(x) = \log p_0(z(0)) - \int_0^1 \mathrm{tr}\,\frac{\partial f}{\partial z}\,dt,$$

where $z(0)$ is x carried back. One solve of $[z, \int \mathrm{tr}]$ gives both, one way round for a
density, the other way round for a sample. No structure is asked of f for it to be invertible.

The divergence is pushed forwards, which leaves one backward pass for whoever trains through it:

$$\mathrm{tr}\,\frac{\partial f}{\partial z} = \sum_i e_i^T \frac{\partial f}{\partial z} e_i
  = E\Big[\epsilon^T \frac{\partial f}{\partial z} \epsilon\Big], \qquad E[\epsilon\epsilon^T] = 1.$$

The sum is exact and pushes a unit vector per dimension; the mean, estimated from a single $\epsilon$
(Hutchinson, 1990), pushes one whatever the dimension.

References:
    Neural Ordinary Differential Equations (Chen et al., 2018), section 4, https://arxiv.org/abs/1806.07366
    FFJORD (Grathwohl et al., 2018), https://arxiv.org/abs/1810.01367
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent, Normal, constraints

from latentode.errors import LatentODEError
from latentode.ode.context import Context
from latentode.ode.fields.networks import Dynamics, MLPDynamics
from latentode.ode.kernels import divergence_of
from latentode.ode.solver import Solver
from latentode.ode.tableau import VectorField, slope_of

__all__ = ["CNF", "TRACES", "FlowDistribution", "estimated_divergence", "exact_divergence"]

TRACES = ("exact", "hutchinson")


class CNF(nn.Module):
    r"""A continuous normalising flow: a module whose call returns a distribution.

    Args:
        features: size of a point.
        context_size: size of what the density is conditional on; 0 for nothing.
        hidden: widths of the hidden layers of f, a perceptron that is told the time.
        field: f itself, if it is to be another; called with the context as its fixed part.
        solver: how the ODE is solved, both ways. A fixed-step solution is a flow's inverse only up to
            its error: give more steps, or an adaptive method, where that matters. May be replaced on a
            trained flow.
        trace: "exact", or "hutchinson": unbiased, from one random direction per point and solve, for
            fields of many dimensions whose divergence has no short form. That of a perceptron with one
            or two hidden layers has: there "exact" is both the cheaper and the better. May be replaced
            on a trained flow.

    Raises:
        LatentODEError: if `trace` is unknown.

    Example:
        >>> flow = CNF(2, context_size=3)
        >>> p = flow(torch.randn(5, 3))  # five conditional densities
        >>> x, log_prob = p.rsample_and_log_prob((7,))
        >>> x.shape, log_prob.shape
        (torch.Size([7, 5, 2]), torch.Size([7, 5]))
        >>> torch.allclose(p.log_prob(x), log_prob, atol=1e-4)
        True
    """

    base_loc: Tensor

    def __init__(
        self,
        features: int,
        context_size: int = 0,
        hidden: tuple[int, ...] = (64, 64),
        *,
        field: Dynamics | None = None,
        solver: Solver | None = None,
        trace: str = "exact",
    ) -> None:
        super().__init__()
        if trace not in TRACES:
            raise LatentODEError(f"trace {trace!r} is unknown; choose from {', '.join(TRACES)}")
        self.features, self.context_size, self.trace = features, context_size, trace
        self.field = field or MLPDynamics(features, hidden, context_size, time_dependent=True)
        self.solver = solver or Solver("rk38", intervals=8)
        self.register_buffer("base_loc", torch.zeros(features), persistent=False)

    def forward(
        self, context: Tensor | None = None, base: Distribution | None = None, until: float = 1.0
    ) -> FlowDistribution:
        """The density that the base becomes.

        Args:
            context: what it is conditional on, shape `(..., context_size)`.
            base: of points of shape `(features,)`; a standard normal by default.
            until: the time at which to look; at 0 it is the base.

        Returns:
            A distribution whose batch shape is that of the context and the base together.

        Raises:
            LatentODEError: if the context is missing or of another size.
        """
        self._check_context(context)
        if base is None:
            base = Independent(Normal(self.base_loc, torch.ones_like(self.base_loc)), 1)
        given = Size() if context is None else context.shape[:-1]
        shape = torch.broadcast_shapes(given, base.batch_shape)
        if context is not None:
            context = context.expand(*shape, -1)
        return FlowDistribution(self, base.expand(shape), context, until)

    def transport(
        self, z: Tensor, context: Tensor | None = None, until: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        r"""Carries points of the base to the data.

        Args:
            z: shape `(..., features)`.
            context: shape `(..., context_size)`, its leading dimensions those of z or broadcast.
            until: the time at which to arrive.

        Returns:
            x, of the shape of z, and $\log|\det dx/dz|$, shape `(...)`.
        """
        return self._carry(z, context, 0.0, until)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, until: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        r"""Carries points of the data back to the base.

        Args:
            x: shape `(..., features)`, and the others as for `transport`.

        Returns:
            z, of the shape of x, and $\log|\det dz/dx|$, shape `(...)`.
        """
        return self._carry(x, context, until, 0.0)

    def points(self, z: Tensor, context: Tensor | None = None, until: float = 1.0) -> Tensor:
        """`transport` without the determinant: what sampling alone needs."""
        shape, rows, known = self._rows(z, context)
        start, end = _span(rows, 0.0, until)
        return self.solver.advance(self.field, rows, start, end, Context(known)).reshape(shape)

    def _carry(
        self, z: Tensor, context: Tensor | None, start: float, end: float
    ) -> tuple[Tensor, Tensor]:
        shape, rows, known = self._rows(z, context)
        density = _Density(self.field, self.features, estimated=self.trace == "hutchinson")
        if density.estimated:
            # Signs have the least variance of all probes; in the context, so that a row keeps its own.
            probe = torch.randint_like(rows, 2) * 2 - 1
            known = probe if known is None else torch.cat([known, probe], dim=1)
        state = torch.cat([rows, rows.new_zeros(len(rows), 1)], dim=1)
        final = self.solver.advance(density, state, *_span(rows, start, end), Context(known))
        points, log_det = final[:, : self.features], final[:, self.features]
        return points.reshape(shape), log_det.reshape(shape[:-1])

    def _rows(self, z: Tensor, context: Tensor | None) -> tuple[Size, Tensor, Tensor | None]:
        """The shape of points broadcast against the context, then both row by row."""
        self._check_context(context)
        if z.shape[-1:] != (self.features,):
            raise LatentODEError(
                f"points have shape {tuple(z.shape)}; this flow is over (..., {self.features})"
            )
        if context is None:
            return z.shape, z.reshape(-1, self.features), None
        shape = torch.broadcast_shapes(z.shape[:-1], context.shape[:-1])
        rows = z.expand(*shape, -1).reshape(-1, self.features)
        known = context.expand(*shape, -1).reshape(-1, self.context_size)
        return Size((*shape, self.features)), rows, known

    def _check_context(self, context: Tensor | None) -> None:
        size = 0 if context is None else context.shape[-1]
        if size != self.context_size:
            raise LatentODEError(
                f"the flow is conditional on {self.context_size} numbers (context_size); it was given "
                f"{size or 'none'}"
            )


def _span(rows: Tensor, start: float, end: float) -> tuple[Tensor, Tensor]:
    return rows.new_full((len(rows),), start), rows.new_full((len(rows),), end)


class FlowDistribution(Distribution):
    """What a base becomes under a flow; made by calling a `CNF`.

    Args:
        flow: the flow.
        base: the distribution at time 0, its event a point.
        context: what the density is conditional on, shape `(*batch, context_size)`.
        until: the time at which to look.
    """

    arg_constraints = {}  # type: ignore[assignment]  # noqa: RUF012
    support = constraints.real_vector  # type: ignore[assignment]
    has_rsample = True

    def __init__(
        self, flow: CNF, base: Distribution, context: Tensor | None = None, until: float = 1.0
    ) -> None:
        self.flow, self.base, self.context, self.until = flow, base, context, until
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of points of shape `(..., *batch, features)`: shape `(..., *batch)`."""
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        value = value.expand(*shape, -1)
        z, log_det = self.flow.inverse(value, self.context, self.until)
        return self.base.log_prob(z) + log_det

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Points that gradients pass through, shape `(*sample_shape, *batch, features)`."""
        return self.flow.points(self.base.rsample(Size(sample_shape)), self.context, self.until)

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Points and their log-densities by a single solve."""
        z = self.base.rsample(Size(sample_shape))
        x, log_det = self.flow.transport(z, self.context, self.until)
        return x, self.base.log_prob(z) - log_det

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """The same distribution with a larger batch shape."""
        shape = Size(batch_shape)
        context = None if self.context is None else self.context.expand(*shape, -1)
        return FlowDistribution(self.flow, self.base.expand(shape), context, self.until)

    def __repr__(self) -> str:
        return f"FlowDistribution(batch_shape={tuple(self.batch_shape)}, base={self.base})"


class _Density(Dynamics):
    """A point together with the integral of the divergence along its path.

    Args:
        field: the vector field.
        features: size of a point.
        estimated: whether the divergence is estimated; a row's probe then ends its context.
    """

    def __init__(self, field: Dynamics, features: int, estimated: bool) -> None:
        super().__init__()
        self.field, self.features, self.estimated = field, features, estimated
        self.exactly = divergence_of(field) or partial(exact_divergence, field)

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        z = z[:, : self.features]
        if not self.estimated:
            value, trace = self.exactly(t, z, context)
        else:
            assert context is not None and context.fixed is not None
            known, probe = context.fixed[:, : -self.features], context.fixed[:, -self.features :]
            own = Context(known if known.shape[1] else None)
            value, trace = estimated_divergence(self.field, t, z, probe, own)
        return torch.cat([value, trace[:, None]], dim=1)


def exact_divergence(
    field: VectorField, t: Tensor, z: Tensor, context: Context | None = None
) -> tuple[Tensor, Tensor]:
    """f and its divergence, by as many forward derivatives as there are dimensions.

    Args:
        field: a vector field whose rows are independent.
        t: shape `(rows,)`.
        z: shape `(rows, latent)`.
        context: what else each row is given.

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
    field: VectorField, t: Tensor, z: Tensor, probe: Tensor, context: Context | None = None
) -> tuple[Tensor, Tensor]:
    r"""f and Hutchinson's estimate $\epsilon^T (\partial f/\partial z) \epsilon$ of its divergence.

    Args:
        field: a vector field whose rows are independent.
        t: shape `(rows,)`.
        z: shape `(rows, latent)`.
        probe: epsilon of each row, with mean 0 and covariance 1, shape `(rows, latent)`.
        context: what else each row is given.

    Returns:
        f, shape `(rows, latent)`, and the estimate, shape `(rows,)`.

    References:
        FFJORD (Grathwohl et al., 2018), https://arxiv.org/abs/1810.01367
    """
    value, pushed = _push(field, t, z, probe, context)
    return value, (probe * pushed).sum(dim=1)


def _push(
    field: VectorField, t: Tensor, z: Tensor, tangent: Tensor, context: Context | None
) -> tuple[Tensor, Tensor]:
    """f and its derivative by z in the direction of `tangent`."""
    value, pushed, *_ = torch.func.jvp(lambda z: slope_of(field, t, z, context), (z,), (tangent,))
    return value, pushed
