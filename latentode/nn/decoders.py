"""Decoder: latent states at queries -> raw numbers for the likelihood. Third of the four arrows."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from latentode.nn.likelihoods import gather_variable
from latentode.nn.mlp import mlp

__all__ = ["Decoder", "MLPDecoder", "VariableDecoder"]


class Decoder(nn.Module, ABC):
    """Decodes only what is asked.

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
    """

    INITIAL_GAIN = 0.1

    def __init__(self, latent_size: int, n_variables: int, n_raw: int, hidden_size: int) -> None:
        super().__init__()
        self.n_raw, self.n_variables = n_raw, n_variables
        self.layers = mlp(latent_size, hidden_size, n_variables * n_raw)
        # Untrained, a forecast stays near its anchor.
        nn.init.xavier_uniform_(self.layers[-1].weight, gain=self.INITIAL_GAIN)  # type: ignore[arg-type]

    def forward(self, z: Tensor, variable: Tensor) -> Tensor:
        return gather_variable(self.layers(z), variable, self.n_raw)


class VariableDecoder(nn.Module):
    """One perceptron for all variables, told by an embedding which of them it reads off z.

    Args:
        latent_size: size of a variable's own z.
        embedding_size: size of its embedding.
        n_raw: numbers per query, as the likelihood wants.
        hidden_size: width of the hidden layer.
    """

    def __init__(self, latent_size: int, embedding_size: int, n_raw: int, hidden_size: int) -> None:
        super().__init__()
        self.layers = mlp(latent_size + embedding_size, hidden_size, n_raw)
        # Untrained, a forecast stays near its anchor.
        nn.init.xavier_uniform_(self.layers[-1].weight, gain=MLPDecoder.INITIAL_GAIN)  # type: ignore[arg-type]

    def forward(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Args: `(samples, queries, latent)` and `(queries, embedding)`.

        Returns:
            Shape `(samples, queries, n_raw)`.
        """
        return self.layers(torch.cat([z, embedding.expand(*z.shape[:-1], -1)], dim=-1))
