r"""Compartments: pools that fill in proportion to what is given and empty to what is there.

The state is $z = (a, p)$, pools a and traits p, half of it each, and u(t) the control:

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
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentode.ode.fields.closed_form import ClosedForm

__all__ = ["CompartmentDynamics"]


class CompartmentDynamics(ClosedForm):
    """Pools driven by a control, with rates that are the row's own.

    Args:
        state_size: latent size, even: the first half are pools, the others traits.
        controls: number of control columns, the last ones of the context; 0 for none.
        rest: the value of each control that drives nothing; 0 unless told.
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
            raise ValueError(f"state_size is {state_size}; it must be even, for pools and their traits")
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

    def _inflow(self, traits: Tensor, force: Tensor) -> Tensor:
        return self.traits_to_inflow(traits).exp() * force[:, : self.pools]
