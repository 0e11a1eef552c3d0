r"""Exchange: the variables of a series tell each other what they have seen.

Each layer adds to the summaries $h_v$ of a series' variables what attention over all of them and a
perceptron make of them, normalised beforehand:

$$h \leftarrow h + \mathrm{Attention}(\mathrm{norm}(h)), \quad h \leftarrow h + F(\mathrm{norm}(h)).$$

Series never mix, and the order of variables does not matter: who they are is in their embeddings.

References:
    Attention is all you need (Vaswani et al., 2017), https://arxiv.org/abs/1706.03762
    On layer normalization in the transformer architecture (Xiong et al., 2020),
    https://arxiv.org/abs/2002.04745
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

__all__ = ["Exchange"]


class Exchange(nn.Module):
    """A pre-norm layer of attention over the variables of a series.

    Args:
        size: size of a summary.
        heads: how many kinds of attention; a head is as wide as `size / heads`, rounded up.

    Example:
        >>> import torch
        >>> Exchange(8, heads=2)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    WIDENING = 2  # width of the perceptron over that of a summary

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * -(-size // heads)
        self.norm, self.norm_after = nn.LayerNorm(size), nn.LayerNorm(size)
        self.ask = nn.Linear(size, 3 * inner)
        self.tell = nn.Linear(inner, size)
        self.widen = nn.Linear(size, self.WIDENING * size)
        self.narrow = nn.Linear(self.WIDENING * size, size)

    def forward(self, h: Tensor) -> Tensor:
        """Args: `(series, variables, size)`. Returns the same shape."""
        parts = self.ask(self.norm(h)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        heard = scaled_dot_product_attention(query, key, value)
        h = h + self.tell(heard.transpose(1, 2).flatten(2))
        return h + self.narrow(relu(self.widen(self.norm_after(h))))
