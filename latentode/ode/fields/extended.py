r"""Dynamics with a structured state: second order in time, augmented, and coupled.

*Second order*: $z = [x, v]$ with $\dot x = v$, $\dot v = a(t, x, v, c)$; paths of x may cross.
*Augmented*: z is carried together with dimensions that start at zero, $[z, 0] \mapsto f([z, a])$, so
that paths of z may cross and the field can stay simple.
*Coupled*: a row's state is that of several parts, $z = (z_1, \dots, z_n)$, each with what tells it
from the others, $e_p$. Parts share one field and hear what attention over all of them says,

$$m_p = \sum_q \mathrm{softmax}_q(Q[z_p, e_p] \cdot K[z_q, e_q]) \, V[z_q, e_q], \qquad
  \dot z_p = f(z_p, m_p, e_p, c(t)).$$
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from latentode.errors import SolveError
from latentode.ode.context import Context
from latentode.ode.fields.mlp import Dynamics, FieldSizes, MLPDynamics

__all__ = ["AugmentedDynamics", "CoupledDynamics", "SecondOrderDynamics"]


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
