r"""Summaries: what each variable of a context was like, in numbers that a linear map can read.

An outcome often follows what was measured at all, how often, and how high it was at last or at worst; a
recurrence would have to learn to say so. Of n observations $x_1, \dots, x_n$ of a variable are told

$$x_n,\quad \bar x,\quad \min x,\quad \max x,\quad s_x,\quad 1_{n > 0},\quad \log(1 + n),$$

the first five through asinh, so that a wild reading does not decide, and 0 where there is none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentode.data.batch import Observations
from latentode.nn.sequences import last_values

__all__ = ["N_SUMMARIES", "summaries"]

N_SUMMARIES = 7


def summaries(seen: Observations, n_series: int, n_variables: int) -> Tensor:
    """Summaries of every variable of each series.

    Args:
        seen: contexts, values in scaled units.
        n_series: number of series.
        n_variables: number of variables.

    Returns:
        Shape `(series, variables, N_SUMMARIES)`, in the precision of the values.

    Example:
        >>> one = torch.zeros(2, dtype=torch.long)
        >>> seen = Observations(one, one, torch.tensor([-2.0, -1.0]), torch.tensor([1.0, 3.0]))
        >>> summaries(seen, 1, 2)[0].sinh().round(decimals=1)[:, :5].tolist()
        [[3.0, 2.0, 1.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    cell = seen.series * n_variables + seen.variable
    value = seen.value.double()  # of which a square may be beyond single precision
    none = value.new_zeros(n_series * n_variables)
    count = none.index_add(0, cell, torch.ones_like(value))
    most = count.clamp(min=1)
    mean = none.index_add(0, cell, value) / most
    square = none.index_add(0, cell, (value - mean[cell]).square()) / most
    low, high = (
        none.scatter_reduce(0, cell, value, how, include_self=False) for how in ("amin", "amax")
    )
    last = last_values(seen, n_series, n_variables).reshape(-1).double()
    level = torch.stack([last, mean, low, high, square.sqrt()], dim=-1).asinh()
    amount = torch.stack([(count > 0).to(value), count.log1p()], dim=-1)
    found = torch.cat([level, amount], dim=-1).to(seen.value.dtype)
    return found.unflatten(0, (n_series, n_variables))
