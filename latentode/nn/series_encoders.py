r"""Encoders of whole series: `GRUEncoder`, `ODERNNEncoder` and `LinearEncoder`.

The state of a GRU stands still between events, $h_i = \mathrm{GRU}(h_{i-1}, x_i)$; that of an ODE-RNN
first follows an ODE over the gap, $h_i = \mathrm{GRU}(h(t_i), x_i)$ with $\dot h = f(h)$. Both read all
series by one sweep of `GRU`.

`LinearEncoder` is recurrent without a sequential loop. Complex diagonal linear dynamics driven by an
impulse $u_i$ at each event,

$$\dot h_k = -\lambda_k h_k, \quad h_k(t_i^+) = h_k(t_i^-) + u_{i,k}, \quad
\lambda_k = a_k + i\omega_k,\ a_k > 0,$$

have at $t_0$ the closed form $h_k(t_0) = \sum_i e^{-\lambda_k |t_0 - t_i|} u_{i,k}$: one sum over
events, exact at any times, all of them at once. An MLP reads it out.

References:
    Resurrecting Recurrent Neural Networks for Long Sequences (Orvieto et al., 2023),
    https://arxiv.org/abs/2303.06349
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentode.nn.gru import GRU, Gaps
from latentode.nn.latent_state import Encoder, mlp
from latentode.nn.recurrence import uncast
from latentode.nn.sequences import Events
from latentode.ode import MLPDynamics, Solver

__all__ = ["GRUEncoder", "LinearEncoder", "ODERNNEncoder"]


class GRUEncoder(Encoder):
    """A GRU whose inputs are values, which variables were observed, and the gaps between events.

    Args:
        n_variables: number of variables.
        hidden_size: size of its state.
    """

    def __init__(self, n_variables: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = GRU(Events.n_features(n_variables), hidden_size)

    def forward(self, events: Events, t0: Tensor, last: Tensor) -> Tensor:
        packed = events.packed()
        features = events.features(t0, last)[packed.series, packed.step]
        state = self.gru(features, packed.sizes, present=packed.present)
        return packed.final(state, len(t0))


class ODERNNEncoder(Encoder):
    """A GRU whose state follows an ODE between events, and from the last event to t0.

    Each series advances over its own gaps, never over a union of the batch's times.

    Args:
        n_variables: number of variables.
        hidden_size: size of its state.
        solver: how the state is carried over a gap.

    References:
        Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
        https://arxiv.org/abs/1907.03907
    """

    def __init__(self, n_variables: int, hidden_size: int, solver: Solver | None = None) -> None:
        super().__init__()
        self.gru = GRU(Events.n_features(n_variables), hidden_size)
        self.dynamics = MLPDynamics(hidden_size, hidden=(hidden_size,))
        self.solver = solver or Solver(method="midpoint", intervals=1)

    def forward(self, events: Events, t0: Tensor, last: Tensor) -> Tensor:
        packed = events.packed()
        rows = packed.series, packed.step
        before = torch.cat([events.time[:, :1], events.time[:, :-1]], dim=1)
        gaps = Gaps(self.solver, self.dynamics, before[rows], events.time[rows])
        features = events.features(t0, last)[rows]
        state = packed.final(self.gru(features, packed.sizes, gaps, packed.present), len(t0))
        end = events.time[:, -1]
        t0 = torch.where(events.length > 0, t0, end)
        with uncast(state.device.type):
            end, t0 = end.to(state.dtype), t0.to(state.dtype)
            return self.solver.advance(self.dynamics, state, end, t0)


class LinearEncoder(Encoder):
    """Linear dynamics in time; the drive of an event and the readout are perceptrons.

    Args:
        n_variables: number of variables.
        hidden_size: number of complex modes, and size of what is returned.
    """

    SLOWEST, FASTEST = 0.05, 50.0  # decay rates per unit of model time at the start of training

    def __init__(self, n_variables: int, hidden_size: int) -> None:
        super().__init__()
        self.drive = mlp(Events.n_features(n_variables), hidden_size, 2 * hidden_size)
        rates = torch.logspace(
            math.log10(self.SLOWEST), math.log10(self.FASTEST), hidden_size, dtype=torch.float64
        )
        # The inverse of softplus, so that the decay starts where it should and stays positive.
        self.raw_decay = nn.Parameter(torch.expm1(rates).log().to(torch.get_default_dtype()))
        self.frequency = nn.Parameter(math.pi * torch.rand(hidden_size) * rates.clamp(max=4.0).float())
        self.read = mlp(3 * hidden_size, hidden_size, hidden_size)

    def forward(self, events: Events, t0: Tensor, last: Tensor) -> Tensor:
        elapsed = (t0[:, None] - events.time).abs()[..., None]
        width = events.time.shape[1]
        present = torch.arange(width, device=t0.device) < events.length[:, None]
        decay = torch.exp(-softplus(self.raw_decay) * elapsed) * present[..., None]
        angle = self.frequency * elapsed
        cosine, sine = decay * torch.cos(angle), decay * torch.sin(angle)
        features = events.features(t0, last).to(self.raw_decay.dtype)
        real, imaginary = self.drive(features).chunk(2, dim=2)
        # The weight of all events is itself a linear state, driven by ones; dividing by it bounds h.
        weight = decay.sum(dim=1)
        state_real = (cosine * real + sine * imaginary).sum(dim=1) / (1 + weight)
        state_imaginary = (cosine * imaginary - sine * real).sum(dim=1) / (1 + weight)
        state = torch.cat([state_real, state_imaginary, torch.log1p(weight)], dim=1)
        return self.read(state.to(self.raw_decay.dtype))
