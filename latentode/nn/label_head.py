"""LabelHead: from the latent rows of a series to the class that it belongs to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LabelHead"]


class LabelHead(nn.Module):
    r"""Logits $W_2\, \frac1n \sum_r \tanh(W_1 [s_r, e_r])$ of the classes, a sum over a series' rows.

    Jointly a series has one row, so this is a perceptron; per variable what it says depends on no order
    of the variables, each told by its embedding e.

    Args:
        state_size: size of what is read of a row.
        told_size: size of what tells rows apart.
        hidden_size: width of the hidden layer.
        n_classes: number of classes, at least two.
        dropout: probability that a hidden unit is left out of a training step.

    Example:
        >>> LabelHead(4, 2, 8, 3)(torch.zeros(5, 6, 4), torch.zeros(6, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        state_size: int,
        told_size: int,
        hidden_size: int,
        n_classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.hidden = nn.Linear(state_size + told_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_size, n_classes)

    def forward(self, state: Tensor, told: Tensor) -> Tensor:
        """Args: `(..., rows, state)` and `(rows, told)`. Returns `(..., n_classes)`."""
        each = torch.cat([state, told.expand(*state.shape[:-1], -1)], dim=-1)
        return self.out(self.dropout(torch.tanh(self.hidden(each)).mean(dim=-2)))
