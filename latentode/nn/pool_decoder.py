r"""PoolDecoder: a value on a logarithmic scale, read off pools that hold amounts.

Of pools a and traits p, the two halves of z, every raw number of variable v is

$$g_v \log\big(\epsilon + \textstyle\sum_i M_{vi} (a_i)_+\big) + h_v(a / \textstyle\sum_i a_i, p),
    \quad M \ge 0,$$

h a perceptron that sees the shares of the pools and not how much there is: all amounts times x move a
location by $g_v \log x$, whatever x. Where values are logarithms ("log" in `Schema.transforms`) and
$g_v$ is one over their deviation, with which it begins in a forecaster, what is measured is in
proportion to what is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentode.nn.decoders import Decoder, MLPDecoder
from latentode.nn.likelihoods import gather_variable
from latentode.nn.mlp import mlp

__all__ = ["PoolDecoder"]


class PoolDecoder(Decoder):
    """Logarithms of sums of pools, and what shares and traits add to them.

    Args:
        latent_size: size of z, even: the first half are pools, the others traits.
        n_variables: number of variables.
        n_raw: numbers per variable, the location first.
        hidden_size: width of the perceptron.
        gains: with how many of its units each location begins to follow a logarithm; None for 1.
    """

    LEAST = 1e-4  # amount: smaller ones are no longer told apart

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
