r"""VariableEncoder: a summary of each (series, variable), for one latent row per variable.

A GRU reads each variable's own observations at their own times, conditioned on the variable's embedding
$e_v$; then the variables of a series exchange what they have seen:

$$h_{s,v} = \mathrm{GRU}\big((x_i, t_i, e_v) : i \text{ of } (s, v)\big) + W e_v + U c_s, \qquad
  h_s \leftarrow \mathrm{Exchange}(h_s).$$

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

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from latentode.data.observations import Observations
from latentode.nn.gru import GRU
from latentode.nn.sequences import N_FEATURES, Histories

__all__ = ["Exchange", "VariableEncoder"]


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
    """

    def __init__(
        self, embedding_size: int, n_static: int, size: int, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.gru = GRU(N_FEATURES + embedding_size, size)
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
    ) -> Tensor:
        """Reads a context.

        Args:
            observations: times in units of the model.
            embeddings: of each variable, shape `(variables, embedding)`.
            static: shape `(series, static)`.
            t0: where reading ends, shape `(series,)`.
            backward: whether reading goes back in time.

        Returns:
            Shape `(series, variables, size)`.
        """
        n = len(embeddings)
        histories = Histories.of(observations, t0, n, backward)
        inputs = torch.cat([histories.features, embeddings[histories.cell % n]], dim=1)
        seen = self.gru(inputs, histories.sizes)
        summary = seen.new_zeros(len(t0) * n, seen.shape[1]).index_copy(0, histories.observed, seen)
        summary = summary.view(len(t0), n, seen.shape[1]) + self.of_embedding(embeddings)
        if self.of_static is not None:
            summary = summary + self.of_static(static)[:, None]
        return self.exchange(summary)
