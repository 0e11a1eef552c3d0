r"""Vector fields that are learned: networks $f$ of $\dot z = f(t, z, c(t))$, each row by itself.

Second of the four arrows: a solver turns `(Dynamics, z0, span)` into a trajectory. The field that is
taken where nothing else is known is a perceptron, $f(t, z, c) = W_n \tanh(\dots \tanh(W_1 [z, c, t]))$.

A perceptron may run away over long spans; the *gated* field, the difference of a GRU's two states over
a step that goes to nothing, is bounded by construction:

$$r = \sigma(W_r [z, c, t]), \quad u = \sigma(W_u [z, c, t]), \quad
  g = \tanh(W_g [r \odot z, c, t]), \qquad \dot z = (1 - u) \odot (g - z).$$

Each component is drawn towards $g \in (-1, 1)$, so a state in $[-1, 1]$ stays there.

Three fields give the state a structure. *Second order*: $z = [x, v]$ with $\dot x = v$,
$\dot v = a(t, x, v, c)$; paths of x may cross. *Augmented*: z is carried together with dimensions that
start at zero, $[z, 0] \mapsto f([z, a])$, so that paths of z may cross and the field can stay simple.
*Coupled*: a row's state is that of several parts, $z = (z_1, \dots, z_n)$, each with what tells it
from the others, $e_p$. Parts share one field and hear what attention over all of them says,

$$m_p = \sum_q \mathrm{softmax}_q(Q[z_p, e_p] \cdot K[z_q, e_q]) \, V[z_q, e_q], \qquad
  \dot z_p = f(z_p, m_p, e_p, c(t)).$$
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from latentode.errors import SolveError
from latentode.ode.context import Context

__all__ = [
    "AugmentedDynamics",
    "CoupledDynamics",
    "Dynamics",
    "FieldSizes",
    "GatedDynamics",
    "MLPDynamics",
    "SecondOrderDynamics",
]


@dataclass(frozen=True)
class FieldSizes:
    """What a vector field has to know of the model that it serves.

    Args:
        state: size of the state.
        hidden: width of hidden layers.
        fixed: size of what stays fixed along a row's solve, the first part of the context.
        controls: number of control columns, the last part of the context.
        rest: the value of each control column at which nothing is given; None for 0.
    """

    state: int
    hidden: int = 64
    fixed: int = 0
    controls: int = 0
    rest: Sequence[float] | None = None

    @property
    def context(self) -> int:
        """Size of what `Context.at` returns."""
        return self.fixed + self.controls


class Dynamics(nn.Module, ABC):
    """A vector field. Rows never mix: row i of the result depends on row i of the arguments only."""

    @abstractmethod
    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        """Evaluates dz/dt.

        Args:
            t: the time of each row, shape `(rows,)`.
            z: the states, shape `(rows, latent)`.
            context: what else a row is given, or None.

        Returns:
            dz/dt, shape `(rows, latent)`.
        """


class MLPDynamics(Dynamics):
    r"""A multi-layer perceptron with tanh: $f(t, z, c) = W_n \tanh(\dots \tanh(W_1 [z, c, t]))$.

    Smooth, hence kind to solvers. The last layer starts small, so that an untrained trajectory is
    nearly constant instead of running away over long spans.

    Args:
        state_size: latent size.
        hidden: widths of the hidden layers.
        context_size: size of what `context.at(t)` returns; 0 for none.
        time_dependent: whether t is an input too (then shifting time changes the solution).
        out_size: size of what it returns; that of the state, unless it is a part of a field, such as
            an acceleration.

    References:
        Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366

    Example:
        >>> f = MLPDynamics(3, hidden=(8,))
        >>> f(torch.zeros(5), torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """

    INITIAL_GAIN = 0.1

    def __init__(
        self,
        state_size: int,
        hidden: tuple[int, ...] = (64, 64),
        context_size: int = 0,
        time_dependent: bool = False,
        out_size: int | None = None,
    ) -> None:
        super().__init__()
        self.context_size = context_size
        self.time_dependent = time_dependent
        sizes = (state_size + context_size + time_dependent, *hidden, out_size or state_size)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        last = self.layers[-1]
        nn.init.xavier_uniform_(last.weight, gain=self.INITIAL_GAIN)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    @classmethod
    def of(cls, sizes: FieldSizes) -> MLPDynamics:
        """Two hidden layers that are told the whole context."""
        return cls(sizes.state, (sizes.hidden,) * 2, sizes.context)

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        x = self.inputs(t, z, context)
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)

    def inputs(self, t: Tensor, z: Tensor, context: Context | None) -> Tensor:
        """What the first layer reads: state, context and time, side by side."""
        return torch.cat([z, *_besides(self, t, z, context)], dim=1)


def _besides(
    field: MLPDynamics | GatedDynamics, t: Tensor, z: Tensor, context: Context | None
) -> list[Tensor]:
    """What a field reads besides z, in the dtype of z: what is known, and the time."""
    known = None if context is None or not field.context_size else context.at(t)
    parts = [] if known is None else [known]
    if field.time_dependent:
        parts.append(t[:, None])
    return [part.to(z.dtype) for part in parts]


class GatedDynamics(Dynamics):
    """A GRU in continuous time.

    Args:
        state_size: latent size.
        context_size: size of what `context.at(t)` returns; 0 for none.
        time_dependent: whether t is an input too.

    References:
        GRU-ODE-Bayes (De Brouwer et al., 2019), https://arxiv.org/abs/1905.12374

    Example:
        >>> f = GatedDynamics(3)
        >>> f(torch.zeros(5), torch.full((5, 3), 9.0)).max().item() < 0
        True
    """

    def __init__(self, state_size: int, context_size: int = 0, time_dependent: bool = False) -> None:
        super().__init__()
        self.context_size = context_size
        self.time_dependent = time_dependent
        inputs = state_size + context_size + time_dependent
        self.gates = nn.Linear(inputs, 2 * state_size)
        self.candidate = nn.Linear(inputs, state_size)

    @classmethod
    def of(cls, sizes: FieldSizes) -> GatedDynamics:
        """Gates that are told the whole context."""
        return cls(sizes.state, sizes.context)

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        others = _besides(self, t, z, context)
        reset, update = self.gates(torch.cat([z, *others], dim=1)).sigmoid().chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([reset * z, *others], dim=1)))
        return (1 - update) * (candidate - z)


class SecondOrderDynamics(Dynamics):
    """Position and velocity, with a learned acceleration.

    Args:
        acceleration: any module of (t, z, context) that returns shape `(rows, latent / 2)`; z is
            positions followed by velocities.

    References:
        On Second Order Behaviour in Augmented Neural ODEs (Norcliffe et al., 2020),
        https://arxiv.org/abs/2006.07220
    """

    def __init__(self, acceleration: nn.Module) -> None:
        super().__init__()
        self.acceleration = acceleration

    @classmethod
    def of(cls, sizes: FieldSizes) -> SecondOrderDynamics:
        """An acceleration by a perceptron that is told the whole context.

        Raises:
            SolveError: if the state is not as many velocities as positions.
        """
        if sizes.state % 2:
            raise SolveError(f"state is {sizes.state}; it must be even, for positions and velocities")
        half, width = sizes.state // 2, (sizes.hidden,) * 2
        return cls(MLPDynamics(sizes.state, width, sizes.context, out_size=half))

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        velocity = z.chunk(2, dim=1)[1]
        return torch.cat([velocity, self.acceleration(t, z, context)], dim=1)


class AugmentedDynamics(Dynamics):
    """A field over more dimensions than the state that one asks about.

    Args:
        inner: dynamics of `state_size + extra` dimensions.
        extra: how many of them start at zero.

    References:
        Augmented Neural ODEs (Dupont et al., 2019), https://arxiv.org/abs/1904.01681

    Example:
        >>> from latentode.ode import MLPDynamics, Solver
        >>> f = AugmentedDynamics(MLPDynamics(5), extra=2)
        >>> path = Solver().solve(f, f.augment(torch.randn(4, 3)), torch.zeros(4), torch.ones(4))
        >>> f.project(path.final).shape
        torch.Size([4, 3])
    """

    def __init__(self, inner: Dynamics, extra: int) -> None:
        super().__init__()
        self.inner = inner
        self.extra = extra

    def augment(self, z: Tensor) -> Tensor:
        """States with zeros after them: `(..., state)` to `(..., state + extra)`."""
        return pad(z, (0, self.extra))

    def project(self, z: Tensor) -> Tensor:
        """What was augmented: `(..., state + extra)` to `(..., state)`."""
        return z[..., : z.shape[-1] - self.extra]

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        return self.inner(t, z, context)


class CoupledDynamics(Dynamics):
    """A perceptron shared by the parts of a state, and attention between them.

    What `context.at(t)` returns begins with the parts' embeddings, part after part; the rest is
    told to every part.

    Args:
        parts: number of parts.
        state_size: size of one part.
        embedding_size: size of a part's embedding.
        context_size: size of what else `context.at(t)` returns.
        hidden_size: width of the hidden layer.
        message_size: size of what a part hears.

    References:
        Neural Relational Inference for Interacting Systems (Kipf et al., 2018),
        https://arxiv.org/abs/1802.04687

    Example:
        >>> from latentode.ode import Context
        >>> f = CoupledDynamics(parts=5, state_size=2, embedding_size=1)
        >>> f(torch.zeros(3), torch.randn(3, 10), Context(torch.randn(3, 5))).shape
        torch.Size([3, 10])
    """

    INITIAL_GAIN = 0.1

    def __init__(
        self,
        parts: int,
        state_size: int,
        embedding_size: int,
        context_size: int = 0,
        hidden_size: int = 64,
        message_size: int = 16,
    ) -> None:
        super().__init__()
        self.parts, self.embedding_size = parts, embedding_size
        own = state_size + embedding_size
        self.attend = nn.Linear(own, 3 * message_size)
        self.first = nn.Linear(own + message_size + context_size, hidden_size)
        self.last = nn.Linear(hidden_size, state_size)
        nn.init.xavier_uniform_(self.last.weight, gain=self.INITIAL_GAIN)
        nn.init.zeros_(self.last.bias)

    def forward(self, t: Tensor, z: Tensor, context: Context | None = None) -> Tensor:
        known = None if context is None else context.at(t)
        known = z.new_zeros(len(z), 0) if known is None else known
        split = self.parts * self.embedding_size
        embedded = known[:, :split].unflatten(1, (self.parts, self.embedding_size))
        own = torch.cat([z.unflatten(1, (self.parts, -1)), embedded], dim=2)
        query, key, value = self.attend(own).chunk(3, dim=2)
        heard = scaled_dot_product_attention(query, key, value)
        others = known[:, None, split:].expand(-1, self.parts, -1)
        hidden = torch.tanh(self.first(torch.cat([own, heard, others], dim=2)))
        return self.last(hidden).flatten(1)
