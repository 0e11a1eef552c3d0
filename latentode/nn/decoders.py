r"""Decoders and heads: latent states -> what is read off them. Third of the four arrows.

- `MLPDecoder`, `VariableDecoder`: raw numbers for the likelihood, by a perceptron.
- `PoolDecoder`: raw numbers on a logarithmic scale, of pools that hold amounts. With pools a and traits
  p, the two halves of z, every raw number of variable v is

$$g_v \log\big(\epsilon + \textstyle\sum_i M_{vi} (a_i)_+\big) + h_v(a / \textstyle\sum_i a_i, p),
    \quad M \ge 0,$$

  with a perceptron h of the shares of the pools, which does not see how much there is: all amounts
  times x move a location by $g_v \log x$. Where values are logarithms ("log" in `Schema.transforms`)
  and $g_v$ is one over their standard deviation, with which it is initialised in a forecaster, what is
  measured is proportional to what is given.
- `LabelHead`: logits of the classes of a series. `Intensity`: positive rates relative to a typical one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentode.nn.latent_state import mlp
from latentode.nn.likelihoods import gather_variable

__all__ = ["Decoder", "Intensity", "LabelHead", "MLPDecoder", "PoolDecoder", "VariableDecoder"]


class Decoder(nn.Module, ABC):
    """Decodes raw numbers of queries, and of nothing else.

    Attributes:
        n_variables: number of variables.
    """

    n_variables: int

    @abstractmethod
    def forward(self, z: Tensor, variable: Tensor) -> Tensor:
        """Args: `(..., queries, latent)` and `(queries,)`. Returns `(..., queries, n_raw)`."""


class MLPDecoder(Decoder):
    """One hidden layer shared by all variables, an output layer of their own.

    Args:
        latent_size: size of z.
        n_variables: number of variables.
        n_raw: numbers per variable, as the likelihood wants.
        hidden_size: width of the hidden layer.
        gain: initial size of the output layer; a small one keeps an untrained forecast near what it is
            counted from, and 0 leaves it there.
    """

    INITIAL_GAIN = 0.1

    def __init__(
        self,
        latent_size: int,
        n_variables: int,
        n_raw: int,
        hidden_size: int,
        gain: float = INITIAL_GAIN,
    ) -> None:
        super().__init__()
        self.n_raw, self.n_variables = n_raw, n_variables
        self.layers = mlp(latent_size, hidden_size, n_variables * n_raw)
        _begin_small(self.layers[-1], gain)

    def forward(self, z: Tensor, variable: Tensor) -> Tensor:
        return gather_variable(self.layers(z), variable, self.n_raw)


class VariableDecoder(nn.Module):
    """One perceptron for all variables, conditioned on the embedding of the variable that is asked for.

    Args:
        latent_size: size of a variable's own z.
        embedding_size: size of its embedding.
        n_raw: numbers per query, as the likelihood wants.
        hidden_size: width of the hidden layer.
        gain: initial size of the output layer, as for `MLPDecoder`.
    """

    def __init__(
        self,
        latent_size: int,
        embedding_size: int,
        n_raw: int,
        hidden_size: int,
        gain: float = MLPDecoder.INITIAL_GAIN,
    ) -> None:
        super().__init__()
        self.layers = mlp(latent_size + embedding_size, hidden_size, n_raw)
        _begin_small(self.layers[-1], gain)

    def forward(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Args: `(samples, queries, latent)` and `(queries, embedding)`.

        Returns:
            Shape `(samples, queries, n_raw)`.
        """
        return self.layers(torch.cat([z, embedding.expand(*z.shape[:-1], -1)], dim=-1))


def _begin_small(layer: nn.Module, gain: float) -> None:
    """Sets the size of an output layer; one of 0 has no bias to begin with either."""
    nn.init.xavier_uniform_(layer.weight, gain=gain)  # type: ignore[arg-type]
    if gain == 0:
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class PoolDecoder(Decoder):
    """Logarithms of sums of pools, and what shares and traits add to them.

    Args:
        latent_size: size of z, even: the first half are pools, the others traits.
        n_variables: number of variables.
        n_raw: numbers per variable, the location first.
        hidden_size: width of the perceptron.
        gains: initial $g_v$ of each variable's location; None for 1.
    """

    LEAST = 1e-4  # epsilon, the amount below which amounts are no longer distinguished

    def __init__(
        self,
        latent_size: int,
        n_variables: int,
        n_raw: int,
        hidden_size: int,
        gains: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.n_raw, self.n_variables = n_raw, n_variables
        pools = latent_size // 2
        self.mix = nn.Parameter(torch.zeros(n_variables, pools))
        location = torch.ones(n_variables, 1) if gains is None else torch.tensor(gains)[:, None]
        self.gain = nn.Parameter(torch.cat([location, torch.zeros(n_variables, n_raw - 1)], dim=1))
        self.layers = mlp(latent_size, hidden_size, n_variables * n_raw)
        nn.init.xavier_uniform_(self.layers[-1].weight, gain=MLPDecoder.INITIAL_GAIN)  # type: ignore[arg-type]

    def forward(self, z: Tensor, variable: Tensor) -> Tensor:
        pools, traits = z.chunk(2, dim=-1)
        pools = pools.relu()
        shares = pools / (pools.sum(dim=-1, keepdim=True) + self.LEAST)
        total = torch.log(pools @ softplus(self.mix).T + self.LEAST)
        added = self.layers(torch.cat([shares, traits], dim=-1))
        raw = (total[..., None] * self.gain).flatten(-2) + added
        return gather_variable(raw, variable, self.n_raw)


class LabelHead(nn.Module):
    r"""Logits $W_2\, \frac1n \sum_r \tanh(W_1 [s_r, e_r])$ of the classes, a sum over a series' rows.

    In the joint layout a series has one row, so that this is a perceptron. In the per-variable layout a
    row is known by its variable's embedding e, and the order of the variables does not matter.

    Args:
        state_size: size of the state s of a row.
        embedding_size: size of the embedding e of a row; 0 for none.
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
        embedding_size: int,
        hidden_size: int,
        n_classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.hidden = nn.Linear(state_size + embedding_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_size, n_classes)

    def forward(self, state: Tensor, row_embedding: Tensor) -> Tensor:
        """Args: `(..., rows, state)` and `(rows, embedding)`. Returns `(..., n_classes)`."""
        each = torch.cat([state, row_embedding.expand(*state.shape[:-1], -1)], dim=-1)
        return self.out(self.dropout(torch.tanh(self.hidden(each)).mean(dim=-2)))


UNIT = 0.5413248546129181  # the number whose softplus is 1
LOWEST = -30.0  # the logarithm of the least rate, 1e13 times below the typical one


class Intensity(nn.Module):
    r"""Relative rates $\mathrm{softplus}(\mathrm{MLP}(z, e) + c) > 0$, near 1 before any training.

    Args:
        latent_size: size of z.
        embedding_size: size of the embedding e of a row; 0 for none.
        n_rates: how many rates are read off a row.
        hidden_size: width of the hidden layer.

    Example:
        >>> rates = Intensity(4, 0, 2, 8)(torch.zeros(5, 4), torch.zeros(5, 0))
        >>> rates.shape, bool((rates > 0).all())
        (torch.Size([5, 2]), True)
    """

    def __init__(self, latent_size: int, embedding_size: int, n_rates: int, hidden_size: int) -> None:
        super().__init__()
        self.layers = mlp(latent_size + embedding_size, hidden_size, n_rates)
        # A small output layer gives every series nearly the typical rate before any training.
        nn.init.xavier_uniform_(self.layers[-1].weight, gain=MLPDecoder.INITIAL_GAIN)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, row_embedding: Tensor) -> Tensor:
        """Args: `(points, latent)` and `(points, embedding)`. Returns `(points, n_rates)`."""
        raw = self.layers(torch.cat([z, row_embedding], dim=1)) + UNIT
        return softplus(raw.clamp(min=LOWEST))
