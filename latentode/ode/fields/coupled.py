r"""Coupled dynamics: parts of a state that act on each other along the way.

A row's state is that of several parts, $z = (z_1, \dots, z_n)$, each with what tells it from the
others, $e_p$. Parts share one vector field and hear what attention over all of them says,

$$m_p = \sum_q \mathrm{softmax}_q(Q[z_p, e_p] \cdot K[z_q, e_q]) \, V[z_q, e_q], \qquad
  \dot z_p = f(z_p, m_p, e_p, c(t)).$$

Rows stay independent of one another, as every solver expects.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from latentode.ode.context import Context
from latentode.ode.fields.mlp import Dynamics

__all__ = ["CoupledDynamics"]


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
        told = None if context is None else context.at(t)
        known = z.new_zeros(len(z), 0) if told is None else told
        split = self.parts * self.embedding_size
        embedded = known[:, :split].unflatten(1, (self.parts, self.embedding_size))
        own = torch.cat([z.unflatten(1, (self.parts, -1)), embedded], dim=2)
        query, key, value = self.attend(own).chunk(3, dim=2)
        heard = scaled_dot_product_attention(query, key, value)
        others = known[:, None, split:].expand(-1, self.parts, -1)
        hidden = torch.tanh(self.first(torch.cat([own, heard, others], dim=2)))
        return self.last(hidden).flatten(1)
