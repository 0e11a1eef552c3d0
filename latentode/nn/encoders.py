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

VariableEncoder: a summary of each (series, variable), for one latent row per variable.

A GRU reads each variable's own observations at their own times, conditioned on the variable's embedding
$e_v$; means m over several spans, which it would have to learn, are read beside it (`Memory`); then the
variables of a series exchange what they have seen:

$$h_{s,v} = \mathrm{GRU}\big((x_i, t_i, e_v) : i \text{ of } (s, v)\big) + F(m_{s,v}, e_v) + W e_v
  + U c_s, \qquad h_s \leftarrow \mathrm{Exchange}(h_s).$$

A variable that was never observed takes part with $W e_v + U c_s$, $c_s$ being static covariates. Each
layer of `Exchange` is a pre-norm transformer layer over the variables of one series,

$$h \leftarrow h + \mathrm{Attention}(\mathrm{norm}(h)), \quad h \leftarrow h + F(\mathrm{norm}(h)).$$

Series never mix, and the order of variables does not matter: their embeddings say who they are.

References:
    Attention is all you need (Vaswani et al., 2017), https://arxiv.org/abs/1706.03762
    On layer normalization in the transformer architecture (Xiong et al., 2020),
    https://arxiv.org/abs/2002.04745
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention, softplus

from latentode.data.batch import Observations
from latentode.nn.changes import ChangeUnits
from latentode.nn.gru import GRU, Gaps
from latentode.nn.latent_state import Encoder, mlp
from latentode.nn.memory import Memory
from latentode.nn.recurrence import uncast
from latentode.nn.sequences import N_FEATURES, Events, Histories
from latentode.ode import MLPDynamics, Solver

__all__ = ["Exchange", "GRUEncoder", "LinearEncoder", "ODERNNEncoder", "VariableEncoder"]


class GRUEncoder(Encoder):
    """A GRU whose inputs are values, which variables were observed, and the gaps between events.

    Args:
        n_variables: number of variables.
        hidden_size: size of its state.
        n_known: number of known columns.
    """

    def __init__(self, n_variables: int, hidden_size: int, n_known: int = 0) -> None:
        super().__init__()
        self.gru = GRU(Events.n_features(n_variables, n_known), hidden_size)

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
        n_known: number of known columns.

    References:
        Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
        https://arxiv.org/abs/1907.03907
    """

    def __init__(
        self, n_variables: int, hidden_size: int, solver: Solver | None = None, n_known: int = 0
    ) -> None:
        super().__init__()
        self.gru = GRU(Events.n_features(n_variables, n_known), hidden_size)
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
        n_known: number of known columns.
    """

    SLOWEST, FASTEST = 0.05, 50.0  # decay rates per unit of model time at the start of training

    def __init__(self, n_variables: int, hidden_size: int, n_known: int = 0) -> None:
        super().__init__()
        self.drive = mlp(Events.n_features(n_variables, n_known), hidden_size, 2 * hidden_size)
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


class Exchange(nn.Module):
    """A pre-norm layer of attention over the variables of a series.

    Args:
        size: size of a summary.
        heads: number of attention heads; a head is as wide as `size / heads`, rounded up.

    Example:
        >>> import torch
        >>> Exchange(8, heads=2)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    WIDENING = 2  # ratio of the perceptron's width to that of a summary

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * -(-size // heads)
        self.norm, self.norm_after = nn.LayerNorm(size), nn.LayerNorm(size)
        self.queries_keys_values = nn.Linear(size, 3 * inner)
        self.attended = nn.Linear(inner, size)
        self.widen = nn.Linear(size, self.WIDENING * size)
        self.narrow = nn.Linear(self.WIDENING * size, size)

    def forward(self, h: Tensor) -> Tensor:
        """Args: `(series, variables, size)`. Returns the same shape."""
        parts = self.queries_keys_values(self.norm(h)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value)
        h = h + self.attended(attended.transpose(1, 2).flatten(2))
        return h + self.narrow(relu(self.widen(self.norm_after(h))))


class VariableEncoder(nn.Module):
    """Reads variables one by one, then lets them exchange what they have seen.

    Args:
        embedding_size: size of a variable's embedding.
        n_static: number of encoded static features.
        size: size of a summary and of the GRU's state.
        layers: number of layers of exchange.
        heads: number of attention heads of each.
        n_known: number of known columns.
    """

    def __init__(
        self,
        embedding_size: int,
        n_static: int,
        size: int,
        layers: int = 2,
        heads: int = 4,
        n_known: int = 0,
    ) -> None:
        super().__init__()
        self.gru = GRU(N_FEATURES + n_known + embedding_size, size)
        self.memory = Memory()
        self.of_memory = mlp(Memory.n_features() + embedding_size, size, size)
        self.of_embedding = nn.Linear(embedding_size, size)
        self.of_static = nn.Linear(n_static, size, bias=False) if n_static else None
        # A last normalisation, because what pre-norm layers add up grows and would saturate the head.
        exchange = (Exchange(size, heads) for _ in range(layers))
        self.exchange = nn.Sequential(*exchange, nn.LayerNorm(size))

    def forward(
        self,
        observations: Observations,
        embeddings: Tensor,
        static: Tensor,
        t0: Tensor,
        backward: bool = False,
        given: Tensor | None = None,
        units: ChangeUnits | None = None,
    ) -> Tensor:
        """Reads a context.

        Args:
            observations: times in units of the model.
            embeddings: of each variable, shape `(variables, embedding)`.
            static: shape `(series, static)`.
            t0: where reading ends, shape `(series,)`.
            backward: whether reading goes back in time.
            given: what known columns were at each observation, shape `(observations, known)`.
            units: in which changes are read; None for 1.

        Returns:
            Shape `(series, variables, size)`.
        """
        n = len(embeddings)
        histories = Histories.of(observations, t0, n, backward, given, units)
        inputs = torch.cat([histories.features, embeddings[histories.cell % n]], dim=1)
        seen = self.gru(inputs, histories.sizes, present=histories.present)
        summary = seen.new_zeros(len(t0) * n, seen.shape[1]).index_copy(0, histories.observed, seen)
        summary = summary.view(len(t0), n, seen.shape[1]) + self.of_embedding(embeddings)
        memory = self.memory(observations, t0, n, units).to(seen.dtype)
        known = torch.cat([memory, embeddings.expand(len(t0), -1, -1)], dim=2)
        summary = summary + self.of_memory(known)
        if self.of_static is not None:
            summary = summary + self.of_static(static)[:, None]
        return self.exchange(summary)
