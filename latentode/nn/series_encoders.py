r"""Encoders that read a series' events one after the other: a GRU and an ODE-RNN.

The state of a GRU stands still between events, $h_i = \mathrm{GRU}(h_{i-1}, x_i)$; that of an ODE-RNN
first follows an ODE over the gap, $h_i = \mathrm{GRU}(h(t_i), x_i)$ with $\dot h = f(h)$. On CPUs both
read all series by one compiled sweep.

LinearEncoder: a recurrent encoder without a sequential loop.

Complex diagonal linear dynamics driven by an impulse $u_i$ at each event,

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
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, softplus

from latentode.nn.latent_state import Encoder, mlp
from latentode.nn.packed_recurrence import Gaps, recur
from latentode.nn.sequences import Events, Packed
from latentode.ode import MLPDynamics, Solver
from latentode.ode.kernels.registry import readable, small

__all__ = ["GRUEncoder", "LinearEncoder", "ODERNNEncoder"]


class GRUEncoder(Encoder):
    """A GRU that is told the gaps and which variables were observed.

    Args:
        n_variables: number of variables.
        hidden_size: size of its state.
    """

    def __init__(self, n_variables: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(Events.n_features(n_variables), hidden_size, batch_first=True)

    def forward(self, events: Events, t0: Tensor, last: Tensor) -> Tensor:
        features, gru = events.features(t0, last), self.gru
        weights: Sequence[Tensor] = gru.all_weights[0]
        hooked = gru._forward_hooks or gru._forward_pre_hooks  # as pruning has them
        if readable(features, *weights) and small(weights[1]) and not hooked:
            packed = events.packed()
            if packed.sizes:
                return _read(features, packed, weights, None)
        # Padded, not packed: the state is read off at each series' own last event.
        states, _ = gru(features)
        final = (events.length - 1).clamp(min=0)
        state = states[torch.arange(len(final), device=final.device), final]
        return torch.where(events.length[:, None] > 0, state, torch.zeros_like(state))


class ODERNNEncoder(Encoder):
    """A GRU cell whose state follows an ODE between events, and from the last event to t0.

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
        self.cell = nn.GRUCell(Events.n_features(n_variables), hidden_size)
        self.dynamics = MLPDynamics(hidden_size, hidden=(hidden_size,))
        self.solver = solver or Solver(method="midpoint", intervals=1)

    def forward(self, events: Events, t0: Tensor, last: Tensor) -> Tensor:
        features, time = events.features(t0, last), events.time
        state = self._compiled(events, features)
        if state is None:
            state = self._step_by_step(events, features)
        end, some = time[:, -1], events.length > 0
        return self.solver.advance(self.dynamics, state, end, torch.where(some, t0, end))

    def _compiled(self, events: Events, features: Tensor) -> Tensor | None:
        """States after each series' last event by compiled sweeps, where they serve; None elsewhere."""
        cell = self.cell
        weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
        if not readable(features, *weights) or not small(cell.weight_hh):
            return None
        packed = events.packed()
        gap = pad(events.time.diff(dim=1), (1, 0))[packed.series, packed.step]
        like = features.new_zeros(1, cell.hidden_size)
        gaps = Gaps.of(self.solver, self.dynamics, gap, like) if packed.sizes else None
        return None if gaps is None else _read(features, packed, weights, gaps)

    def _step_by_step(self, events: Events, features: Tensor) -> Tensor:
        """States after each series' last event, by plain backpropagation."""
        cell = self.cell
        # What events bring does not depend on the state: one product for all of them.
        inputs = linear(features, cell.weight_ih, cell.bias_ih).unbind(1)
        state = features.new_zeros(len(features), cell.hidden_size)
        times, before = events.time.unbind(1), events.time[:, 0]
        steps = torch.arange(len(times), device=events.time.device)
        present = events.length[:, None] > steps
        for x, time, here in zip(inputs, times, present.unbind(1), strict=True):
            carried = self.solver.advance(self.dynamics, state, before, time)
            state = torch.where(here[:, None], _gru_update(cell, x, carried), state)
            before = time
        return state


def _read(features: Tensor, packed: Packed, weights: Sequence[Tensor], gaps: Gaps | None) -> Tensor:
    """States after each series' last event, `(series, hidden)`; weights as torch's GRU has them."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    of_gates, of_candidate = bias_hh.split([2 * weight_hh.shape[1], weight_hh.shape[1]])
    bias = bias_ih + pad(of_gates, (0, len(of_candidate)))
    inputs = linear(features[packed.series, packed.step], weight_ih, bias)
    return packed.final(recur(inputs, weight_hh, of_candidate, packed.sizes, gaps), len(features))


def _gru_update(cell: nn.GRUCell, x: Tensor, h: Tensor) -> Tensor:
    """The cell's next state, given its input's product with the input weights."""
    size = cell.hidden_size
    gates = linear(h, cell.weight_hh, cell.bias_hh)
    reset, update = (x[:, : 2 * size] + gates[:, : 2 * size]).sigmoid().chunk(2, dim=1)
    new = torch.tanh(torch.addcmul(x[:, 2 * size :], reset, gates[:, 2 * size :]))
    return torch.lerp(new, h, update)


class LinearEncoder(Encoder):
    """Linear in time, nonlinear in what drives it and in how it is read.

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
        turn, swing = decay * torch.cos(angle), decay * torch.sin(angle)
        real, imaginary = self.drive(events.features(t0, last)).chunk(2, dim=2)
        # How much has been heard is itself a linear state, driven by ones; dividing by it bounds h.
        heard = decay.sum(dim=1)
        state_real = (turn * real + swing * imaginary).sum(dim=1) / (1 + heard)
        state_imaginary = (turn * imaginary - swing * real).sum(dim=1) / (1 + heard)
        return self.read(torch.cat([state_real, state_imaginary, torch.log1p(heard)], dim=1))
