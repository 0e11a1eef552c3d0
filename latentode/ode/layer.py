r"""An ODE as a layer of any network: $z(t_0) \mapsto z(t_1)$ with $\dot z = f(t, z)$.

A residual block adds a step to its state, $z_{n+1} = z_n + h f_n(z_n)$: Euler's method. `ODEBlock` is
the limit, by any method of the package's solver, of states of any shape:

$$\mathrm{block}(z) = z + \int_{t_0}^{t_1} f(t, z(t))\, dt.$$

Such a map is a homeomorphism: it keeps neighbourhoods, paths never cross, and it cannot take a disc
out of the ring around it. `Augment` gives it room, $z \mapsto [z, 0]$, in which paths pass each other.

References:
    Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366
    Augmented Neural ODEs (Dupont et al., 2019), https://arxiv.org/abs/1904.01681
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor, nn

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.fields.networks import Dynamics
from latentode.ode.kernels import perceptron_of
from latentode.ode.solver import ADAPTIVE, NATIVE, Solver

__all__ = ["Augment", "Autonomous", "ODEBlock"]

# Knots of a path by an adaptive method; Hermite's error between them goes with their fourth power.
PATH_INTERVALS = 32


class Autonomous(nn.Module):
    r"""A vector field that knows neither time nor context: $\dot z = g(z)$ of any module g.

    Args:
        module: maps states to a tensor of the same shape, such as a `nn.Sequential`.

    Example:
        >>> field = Autonomous(nn.Conv2d(3, 3, kernel_size=3, padding=1))
        >>> field(torch.zeros(5), torch.randn(5, 3, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        """dz/dt of the shape of z."""
        return self.module(z)


class Augment(nn.Module):
    r"""Room for paths to pass each other: $z \mapsto [z, 0]$ along the first axis after the batch.

    That axis is the features of a vector and the channels of an image. `AugmentedDynamics` is the same
    idea for a latent state of which only a part is asked for.

    Args:
        extra: how many zeros, or channels of zeros.

    References:
        Augmented Neural ODEs (Dupont et al., 2019), https://arxiv.org/abs/1904.01681

    Example:
        >>> Augment(2)(torch.ones(1, 3))
        tensor([[1., 1., 1., 0., 0.]])
        >>> Augment(2)(torch.ones(5, 3, 8, 8)).shape
        torch.Size([5, 5, 8, 8])
    """

    def __init__(self, extra: int) -> None:
        super().__init__()
        if extra < 0:
            raise SolveError(f"extra must not be negative, got {extra}")
        self.extra = extra

    def forward(self, z: Tensor) -> Tensor:
        """`(batch, features, ...)` to `(batch, features + extra, ...)`."""
        return torch.cat([z, z.new_zeros(len(z), self.extra, *z.shape[2:])], dim=1)

    def extra_repr(self) -> str:
        return f"extra={self.extra}"


@dataclass
class _Calls:
    """How often a vector field was called in the last forward pass, and since."""

    forward: int = 0
    backward: int = 0


class ODEBlock(nn.Module):
    r"""A layer that solves $\dot z = f(t, z)$ from $t_0$ to $t_1$.

    Args:
        dynamics: a `Dynamics`, or any module of (t, z, context) that returns dz/dt of the shape of z;
            t has shape `(batch,)`, context is what the block is given, None by default. A module of
            z alone goes into `Autonomous`. Samples must not mix, or a sample's result depends on its
            companions: no batch normalisation inside; group normalisation does.
        method: one of `latentode.ode.METHODS`: fixed steps such as "euler", "midpoint", "rk4" or
            "rk38", or adaptive ones such as "dopri5", which take the steps that the tolerances need.
        steps: steps of a fixed-step method over the span.
        span: t0 and t1, finite; t1 may be the earlier.
        adjoint: "direct", "checkpoint" or "backsolve", as `Solver` describes.
        rtol: relative tolerance of adaptive methods.
        atol: absolute tolerance of adaptive methods.

    Attributes:
        solver: the `Solver` of its method.

    References:
        Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366

    Example:
        A residual network of 8 blocks that share their weights:

        >>> from latentode.ode import MLPDynamics
        >>> block = ODEBlock(MLPDynamics(3), method="euler", steps=8)
        >>> block(torch.randn(5, 3)).shape
        torch.Size([5, 3])

        Images through a convolutional field, the steps chosen by the solver:

        >>> field = Autonomous(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()))
        >>> net = nn.Sequential(Augment(3), ODEBlock(field, method="dopri5", rtol=1e-3))
        >>> net(torch.randn(5, 1, 8, 8)).shape, net[1].evaluations > 6
        (torch.Size([5, 4, 8, 8]), True)
    """

    def __init__(
        self,
        dynamics: nn.Module,
        method: str = "rk38",
        steps: int = 6,
        span: tuple[float, float] = (0.0, 1.0),
        adjoint: str = "direct",
        rtol: float = 1e-5,
        atol: float = 1e-6,
    ) -> None:
        super().__init__()
        _check_callable(dynamics)
        _check_span(span)
        self.dynamics, self.span = dynamics, span
        self.solver = Solver(method, 1, steps, rtol, atol, adjoint)
        self._calls = _Calls()

    @property
    def evaluations(self) -> int:
        """Calls of the vector field in the last forward pass, each for the whole batch.

        Of a perceptron or with "checkpoint", native methods evaluate the slope at the end too.
        """
        return self._calls.forward

    @property
    def backward_evaluations(self) -> int:
        """Calls of the vector field since: 0 after "direct", which keeps what it needs.

        With "backsolve" those of the adjoint's solve, with "checkpoint" those redone; a hand-written
        pullback (`MLPDynamics`, "checkpoint") redoes its matrix products without calling the field.
        """
        return self._calls.backward

    def forward(self, z: Tensor, context: Context | None = None) -> Tensor:
        """Carries each sample from t0 to t1.

        Args:
            z: shape `(batch, ...)`, a floating dtype.
            context: what else each sample's field is told, with `batch` rows.

        Returns:
            The shape of z.

        Raises:
            SolveError: if z has no axis after the batch, the field's result is of another shape, or
                an adaptive method cannot go on.
        """
        self._calls = calls = _Calls()
        solver, field, ends = self.solver, self._field(z, calls), self._ends(z)
        native = solver.method in NATIVE and solver.adjoint != "backsolve"
        if native and z.ndim == 2 and perceptron_of(self.dynamics, z) is not None:
            # `advance` would leave out the pullback by hand.
            path = solver.solve(self.dynamics, z, *ends, context)
            end, calls.forward = path.final, path.stats.evaluations
        else:
            end = solver.advance(field, z.flatten(1), *ends, context)
        field.returning = True
        return end.reshape(z.shape)

    def path(self, z: Tensor, times: Tensor, context: Context | None = None) -> Tensor:
        """The states on the way, to look at or to supervise.

        Args:
            z: as for `forward`, shape `(batch, ...)`.
            times: within the span, shape `(queries,)`.
            context: as for `forward`.

        Returns:
            Shape `(queries, batch, ...)`.

        Raises:
            SolveError: as `forward`, and for a time outside the span.
        """
        intervals = PATH_INTERVALS if self.solver.method in ADAPTIVE else self.solver.steps
        solver = replace(self.solver, intervals=intervals, steps=1)
        path = solver.solve(self._field(z, _Calls()), z.flatten(1), *self._ends(z), context)
        at = times.to(z).expand(len(z), -1)
        return path(at).transpose(0, 1).reshape(len(times), *z.shape)

    def extra_repr(self) -> str:
        s = self.solver
        how = f"rtol={s.rtol:g}, atol={s.atol:g}" if s.method in ADAPTIVE else f"steps={s.steps}"
        return f"method={s.method!r}, {how}, span={self.span}, adjoint={s.adjoint!r}"

    def _field(self, z: Tensor, calls: _Calls) -> _Field:
        if z.ndim < 2:
            raise SolveError(f"z has shape {tuple(z.shape)}; expected (batch, features, ...)")
        return _Field(self.dynamics, z.shape[1:], calls)

    def _ends(self, z: Tensor) -> tuple[Tensor, Tensor]:
        t0, t1 = self.span
        return z.new_full((len(z),), t0), z.new_full((len(z),), t1)


class _Field(Dynamics):
    """A field of states of any shape as one of rows, with a count of its calls."""

    def __init__(self, dynamics: nn.Module, shape: torch.Size, calls: _Calls) -> None:
        super().__init__()
        self.dynamics, self.shape, self.calls = dynamics, shape, calls
        self.returning = False

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        self.calls.forward += not self.returning
        self.calls.backward += self.returning
        state = z.unflatten(1, self.shape)
        slope = self.dynamics(t, state, context)
        if slope.shape != state.shape:
            raise SolveError(
                f"{type(self.dynamics).__name__} returned shape {tuple(slope.shape)} for states of "
                f"shape {tuple(state.shape)}; dz/dt must have the shape of z"
            )
        return slope.flatten(1)


def _check_callable(dynamics: nn.Module) -> None:
    try:
        inspect.signature(dynamics.forward).bind("t", "z", None)
    except TypeError as failure:
        raise SolveError(
            f"{type(dynamics).__name__} cannot be called with (t, z, context): {failure}; wrap a "
            "module of z alone as Autonomous(module)"
        ) from failure


def _check_span(span: object) -> None:
    ends = span if isinstance(span, (tuple, list)) else ()
    numbers = [end for end in ends if isinstance(end, Real) and math.isfinite(float(end))]
    if len(ends) != 2 or len(numbers) != 2:
        raise SolveError(f"span must be two finite numbers, t0 and t1, got {span!r}")
