r"""VariableEncoder: a summary of each (series, variable), for one latent row per variable.

A GRU reads each variable's own observations at their own times, told which variable it reads by an
embedding $e_v$; then the variables of a series exchange what they have seen:

$$h_{s,v} = \mathrm{GRU}\big((x_i, t_i, e_v) : i \text{ of } (s, v)\big) + W e_v + U c_s, \qquad
  h_s \leftarrow \mathrm{Exchange}(h_s).$$

A variable never observed takes part with $W e_v + U c_s$, statics $c_s$ included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentode.data.observations import Observations
from latentode.nn.exchange import Exchange
from latentode.nn.histories import N_FEATURES, Histories
from latentode.nn.packed_gru import PackedGRU

__all__ = ["VariableEncoder"]


class VariableEncoder(nn.Module):
    """Reads variables one by one, then lets them exchange what they have seen.

    Args:
        embedding_size: size of a variable's embedding.
        n_static: number of encoded static features.
        size: size of a summary and of the GRU's state.
        layers: how many times variables exchange.
        heads: heads of attention.
    """

    def __init__(
        self, embedding_size: int, n_static: int, size: int, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.gru = PackedGRU(N_FEATURES + embedding_size, size)
        self.known = nn.Linear(embedding_size, size)
        self.static = nn.Linear(n_static, size, bias=False) if n_static else None
        # Normalised at the end: what pre-norm layers add up grows, and would saturate what reads it.
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
        read = torch.cat([histories.features, embeddings[histories.cell % n]], dim=1)
        seen = self.gru(read, histories.sizes)
        summary = seen.new_zeros(len(t0) * n, seen.shape[1]).index_copy(0, histories.observed, seen)
        summary = summary.view(len(t0), n, -1) + self.known(embeddings)
        if self.static is not None:
            summary = summary + self.static(static)[:, None]
        return self.exchange(summary)
