r"""Histories: each variable's own observations as packed sequences, made from flat observations.

A *cell* is a (series, variable). Only cells with an observation have a sequence; what a sequence says
is taken from its own cell and from nothing else. There is no mask, no padding and no imputation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentode.data.observations import Observations
from latentode.nn.events import CHANGE_GAIN

__all__ = ["N_FEATURES", "Histories"]

CYCLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # per unit of model time
N_FEATURES = 5 + 2 * len(CYCLES)
RESOLUTION = 100.0  # gaps from a hundredth of a unit of model time on are told apart


@dataclass(frozen=True)
class Histories:
    """Sequences laid out step after step, the longest first, as `PackedGRU` reads them.

    Args:
        cell: whose observation it is, `series * variables + variable`, shape `(observations,)`.
        features: see `of`, shape `(observations, N_FEATURES)`.
        sizes: how many sequences have each step, descending; the first are the cells observed.
    """

    cell: Tensor
    features: Tensor
    sizes: list[int]

    @property
    def observed(self) -> Tensor:
        """The cells with a sequence, in its order."""
        return self.cell[: self.sizes[0]] if self.sizes else self.cell

    @classmethod
    def of(cls, observations: Observations, t0: Tensor, n_variables: int, backward: bool) -> Histories:
        """Gathers observations in any order; `backward` reads from the last to the first.

        Features are the value, its difference from the cell's latest one, and in time the gap since
        the observation read before and what is left to `t0`, both as logarithms, the latter also
        as it is and by the sines and cosines of `CYCLES`, from which a phase can be read.

        Args:
            observations: times in units of the model.
            t0: where reading ends, shape `(series,)`.
            n_variables: number of variables.
            backward: order of reading.
        """
        cell = observations.series * n_variables + observations.variable
        order = torch.argsort(observations.time, stable=True)
        order = order[torch.argsort(cell[order], stable=True)]
        cell = cell[order]
        time, value = observations.time[order], observations.value[order]
        length = torch.bincount(cell, minlength=len(t0) * n_variables)
        end = length.cumsum(0)
        step = torch.arange(len(cell), device=cell.device) - (end - length)[cell]
        gap = torch.zeros_like(time)
        if backward:
            step = length[cell] - 1 - step
            gap[:-1] = time.diff()
        else:
            gap[1:] = time.diff()
        gap = torch.where(step == 0, 0.0, gap)
        change = (value - value[end[cell] - 1]) * CHANGE_GAIN
        left = (time - t0[cell // n_variables]).abs()
        features = torch.stack([value, change, _log(gap), _log(left), left], dim=1)
        features = torch.cat([features, _phases(left)], dim=1)
        place, sizes = _packed(length, cell, step)
        return cls(cell[place], features[place], sizes)


def _packed(length: Tensor, cell: Tensor, step: Tensor) -> tuple[Tensor, list[int]]:
    """Which observation comes where, and the number of sequences with each step."""
    rank = torch.empty_like(length)
    longest_first = torch.argsort(length, descending=True, stable=True)
    rank[longest_first] = torch.arange(len(length), device=length.device)
    sizes = torch.bincount(step)
    where = (sizes.cumsum(0) - sizes)[step] + rank[cell]
    place = torch.empty_like(where)
    place[where] = torch.arange(len(where), device=where.device)
    return place, sizes.tolist()


def _phases(duration: Tensor) -> Tensor:
    """Sines and cosines, shape `(durations, 2 * len(CYCLES))`."""
    angle = duration[:, None] * duration.new_tensor(CYCLES) * (2 * math.pi)
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)


def _log(duration: Tensor) -> Tensor:
    """0 for none, 1 for one unit of model time."""
    return torch.log1p(RESOLUTION * duration) / math.log1p(RESOLUTION)
