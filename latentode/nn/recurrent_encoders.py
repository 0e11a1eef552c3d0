r"""Encoders that read a series' events one after the other: a GRU and an ODE-RNN.

The state of a GRU stands still between events, $h_i = \mathrm{GRU}(h_{i-1}, x_i)$; that of an ODE-RNN
first follows an ODE over the gap, $h_i = \mathrm{GRU}(h(t_i), x_i)$ with $\dot h = f(h)$. On CPUs both
read all series by one compiled sweep.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from latentode.nn.encoders import Encoder
from latentode.nn.events import Events, Packed
from latentode.nn.packed_recurrence import Gaps, recur
from latentode.ode import MLPDynamics, Solver
from latentode.ode.compiled_arrays import readable, small

__all__ = ["GRUEncoder", "ODERNNEncoder"]


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
