"""DataUnits: what families share whose values are those of the table, not scaled ones."""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from latentode.nn.likelihoods.base import Likelihood

__all__ = ["DataUnits", "unit_softplus"]

LEAST_PART = 1e-6  # of the mean of training: what a value that is not positive is taken for


@dataclass(frozen=True)
class DataUnits(Likelihood, ABC):
    """A family that is told what its variables' scaled units are.

    Args:
        n_raw: numbers that it takes per query.
        loc: mean of each variable over its training observations.
        scale: standard deviation likewise.
    """

    n_raw: int = 1
    loc: tuple[float, ...] = (1.0,)
    scale: tuple[float, ...] = (1.0,)
    of_data_units = True

    def units(self, like: Tensor, variable: Tensor | None) -> tuple[Tensor, Tensor]:
        """`loc` and `scale` of each query; of the first variable where none is told."""
        loc, scale = like.new_tensor(self.loc), like.new_tensor(self.scale)
        return (loc[0], scale[0]) if variable is None else (loc[variable], scale[variable])

    def relative(self, like: Tensor, variable: Tensor | None, shift: float = 0.0) -> Tensor:
        """The spread of the logarithm that goes with mean and standard deviation of training."""
        loc, scale = self.units(like, variable)
        return torch.log1p((scale / (loc + shift).clamp(min=LEAST_PART)) ** 2).sqrt()

    def floored(self, value: Tensor, variable: Tensor | None) -> Tensor:
        """Values of data units, no less than a small part of the mean of training."""
        return torch.maximum(value, LEAST_PART * self.units(value, variable)[0].clamp(min=LEAST_PART))


def unit_softplus(raw: Tensor) -> Tensor:
    """Positive, and 1 where the raw number is 0."""
    return softplus(raw) / math.log(2)
