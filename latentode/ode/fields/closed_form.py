r"""Vector fields whose solution is known: linear modes and compartments.

In $\dot z = f(z, g)$ the force g is all that the context enters by. Where the context holds a step
control, g is constant from one jump to the next, and so the solution is exact from jump to jump.

*Linear modes.* Pairs of real components are complex numbers with $\dot z = \lambda z + g$,
$g = B c$ and $\lambda = -\mathrm{softplus}(a) + i\omega$, so

$$z(t) = e^{\lambda (t - t_0)} z_0 + \frac{e^{\lambda (t - t_0)} - 1}{\lambda} g.$$

Every mode decays; a read-out by a perceptron makes up for what a linear field cannot do.

*Compartments.* Pools fill in proportion to what is given and empty in proportion to what is there. The
state is $z = (a, p)$, pools a and traits p, half of it each, and u(t) the control:

$$\dot a_i = -k_i(p)\, a_i + e^{(V p)_i} \textstyle\sum_j B_{ij} (u_j - r_j), \qquad \dot p = 0, \qquad
  k_i(p) = e^{\kappa_i + (W p)_i},$$

with $B \ge 0$ and r the control at rest. Traits are what z(t0) says of the one at hand, a patient's
clearance, say. Under a control that holds, $a_i(t) = e^{-k_i t} a_i(0) + (1 - e^{-k_i t})\, q_i / k_i$,
q being the inflow; from pools that are empty twice as much given is twice as much in them. Parallel
pools are compartments in the coordinates of their eigenvectors: what is measured is a sum of them.

References:
    Compartmental Analysis in Biology and Medicine (Jacquez, 1972)
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.fields.networks import Dynamics, FieldSizes

__all__ = ["ClosedForm", "CompartmentDynamics", "LinearDynamics"]


class ClosedForm(Dynamics):
    """Dynamics that `Solver(method="exact")` carries without steps."""

    @abstractmethod
    def force(self, known: Tensor | None) -> Tensor | None:
        """What drives each row.

        Args:
            known: what `Context.at` returns, shape `(rows, context)`, or None.

        Returns:
            Shape `(rows, latent)`; None for nothing.
        """

    @abstractmethod
    def slope(self, z: Tensor, force: Tensor | None) -> Tensor:
        """dz/dt of states of shape `(rows, latent)`."""

    @abstractmethod
    def carry(self, z0: Tensor, elapsed: Tensor, force: Tensor | None) -> Tensor:
        """The exact solution under a force that stays.

        Args:
            z0: states at the start, shape `(rows, latent)`.
            elapsed: times since, of either sign, shape `(rows, queries)`.
            force: of each row, shape `(rows, latent)`, or None.

        Returns:
            Shape `(rows, queries, latent)`.
        """

    @abstractmethod
    def fastest_rate(self, z: Tensor) -> Tensor:
        """The largest modulus of an eigenvalue of df/dz, per unit of time.

        Its inverse is how finely a path has to be looked at.

        Args:
            z: a state of each row, shape `(rows, latent)`.

        Returns:
            Shape `(rows,)`.
        """

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        return self.slope(z, self.force(None if context is None else context.at(t)))


class LinearDynamics(ClosedForm):
    """Decaying rotations, driven by the context.

    Args:
        state_size: latent size, even: components 2j and 2j + 1 are one complex number.
        context_size: size of what `context.at(t)` returns; 0 for none.
        slowest: the longest period that a mode starts with, in the dynamics' unit of time.
        fastest: the shortest; periods are spread evenly in logarithm between the two.

    References:
        Resurrecting Recurrent Neural Networks for Long Sequences (Orvieto et al., 2023),
        https://arxiv.org/abs/2303.06349

    Example:
        >>> f = LinearDynamics(4)
        >>> f.flow(torch.randn(5, 4), torch.rand(5, 7)).shape
        torch.Size([5, 7, 4])
    """

    def __init__(
        self,
        state_size: int,
        context_size: int = 0,
        slowest: float = 32.0,
        fastest: float = 0.5,
    ) -> None:
        super().__init__()
        if state_size % 2:
            raise SolveError(f"state_size is {state_size}; it must be even, for complex pairs")
        modes = state_size // 2
        periods = torch.logspace(math.log10(slowest), math.log10(fastest), modes)
        self.frequency = nn.Parameter(2 * math.pi / periods)
        # Each mode starts losing half its size in one period.
        self.raw_decay = nn.Parameter(torch.log(torch.expm1(math.log(2) / periods)))
        self.drive = nn.Linear(context_size, state_size, bias=False) if context_size else None

    @classmethod
    def of(cls, sizes: FieldSizes) -> LinearDynamics:
        """Modes that are driven by the whole context."""
        return cls(sizes.state, sizes.context)

    def slope(self, z: Tensor, force: Tensor | None) -> Tensor:
        x, y = z.unflatten(1, (z.shape[1] // 2, 2)).unbind(2)
        decay = softplus(self.raw_decay)
        slope = torch.stack(
            [-decay * x - self.frequency * y, self.frequency * x - decay * y], dim=2
        ).flatten(1)
        return slope if force is None else slope + force

    def flow(self, z0: Tensor, elapsed: Tensor, context: Context | None = None) -> Tensor:
        """The exact solution.

        Args:
            z0: states at the start, shape `(rows, latent)`.
            elapsed: times since, of either sign, shape `(rows, queries)`.
            context: of which the fixed part is looked at, no control path.

        Returns:
            Shape `(rows, queries, latent)`.
        """
        return self.carry(z0, elapsed, self.force(None if context is None else context.fixed))

    def carry(self, z0: Tensor, elapsed: Tensor, force: Tensor | None) -> Tensor:
        rate = self._eigenvalues()
        exponent = elapsed.to(rate.dtype)[..., None] * rate
        z = torch.exp(exponent) * _complex(z0)[:, None]
        if force is not None:
            z = z + torch.expm1(exponent) / rate * _complex(force)[:, None]
        return torch.view_as_real(z).flatten(2).to(z0.dtype)

    def force(self, known: Tensor | None) -> Tensor | None:
        return None if self.drive is None or known is None else self.drive(known)

    def fastest_rate(self, z: Tensor) -> Tensor:
        return self._eigenvalues().abs().amax().expand(len(z))

    def _eigenvalues(self) -> Tensor:
        return torch.complex(_wide(-softplus(self.raw_decay)), _wide(self.frequency))


def _wide(x: Tensor) -> Tensor:
    """In single precision at least: there are no complex numbers of half of it to speak of."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _complex(z: Tensor) -> Tensor:
    return torch.view_as_complex(_wide(z).unflatten(1, (z.shape[1] // 2, 2)).contiguous())


class CompartmentDynamics(ClosedForm):
    """Pools driven by a control, with rates that are the row's own.

    Args:
        state_size: latent size, even: the first half are pools, the others traits.
        controls: number of control columns, the last ones of the context; 0 for none.
        rest: the value of each control that drives nothing; 0 by default.
        slowest: the slowest rate that a pool starts with, per unit of time.
        fastest: the fastest; rates are spread evenly in logarithm between the two.

    Example:
        >>> f = CompartmentDynamics(4, controls=1)
        >>> f.carry(torch.randn(5, 4), torch.rand(5, 7), f.force(torch.ones(5, 1))).shape
        torch.Size([5, 7, 4])
    """

    INITIAL_SCALE = 0.1  # of what traits do: an untrained row is nearly like any other

    def __init__(
        self,
        state_size: int,
        controls: int = 0,
        rest: Sequence[float] | None = None,
        slowest: float = 1.0,
        fastest: float = 50.0,
    ) -> None:
        super().__init__()
        if state_size % 2:
            raise SolveError(f"state_size is {state_size}; it must be even, for pools and their traits")
        self.pools, self.controls = state_size // 2, controls
        rates = torch.logspace(math.log10(slowest), math.log10(fastest), self.pools)
        self.log_rate = nn.Parameter(rates.log())
        self.traits_to_rate = nn.Linear(self.pools, self.pools, bias=False)
        nn.init.normal_(self.traits_to_rate.weight, std=self.INITIAL_SCALE)
        if controls:
            # So a control that holds at 1 fills each pool to 1.
            self.log_inflow = nn.Parameter(rates.log()[:, None].repeat(1, controls))
            self.traits_to_inflow = nn.Linear(self.pools, self.pools, bias=False)
            nn.init.normal_(self.traits_to_inflow.weight, std=self.INITIAL_SCALE)
        at_rest = torch.zeros(controls) if rest is None else torch.tensor(rest)
        self.register_buffer("rest", at_rest)

    @classmethod
    def of(cls, sizes: FieldSizes) -> CompartmentDynamics:
        """Compartments that the control columns fill."""
        return cls(sizes.state, sizes.controls, sizes.rest)

    def force(self, known: Tensor | None) -> Tensor | None:
        if not self.controls or known is None:
            return None
        given = known[:, -self.controls :] - self.get_buffer("rest")
        inflow = given @ self.log_inflow.exp().T
        return torch.cat([inflow, torch.zeros_like(inflow)], dim=1)

    def slope(self, z: Tensor, force: Tensor | None) -> Tensor:
        a, p = z.chunk(2, dim=1)
        change = -self.rates(p) * a
        if force is not None:
            change = change + self._inflow(p, force)
        return torch.cat([change, torch.zeros_like(p)], dim=1)

    def carry(self, z0: Tensor, elapsed: Tensor, force: Tensor | None) -> Tensor:
        a, p = z0.chunk(2, dim=1)
        rates = self.rates(p)
        exponent = -elapsed[..., None] * rates[:, None]
        pools = exponent.exp() * a[:, None]
        if force is not None:
            pools = pools - torch.expm1(exponent) * (self._inflow(p, force) / rates)[:, None]
        return torch.cat([pools, p[:, None].expand_as(pools)], dim=2)

    def rates(self, traits: Tensor) -> Tensor:
        """How fast the pools of rows with such traits empty, `(rows, pools)`, per unit of time."""
        return (self.log_rate + self.traits_to_rate(traits)).exp()

    def fastest_rate(self, z: Tensor) -> Tensor:
        return self.rates(z.chunk(2, dim=1)[1]).amax(dim=1)

    def _inflow(self, traits: Tensor, force: Tensor) -> Tensor:
        return self.traits_to_inflow(traits).exp() * force[:, : self.pools]
