r"""Layouts: how a series' latent state is laid out in rows that a solver carries.

A series' latent state is cut into blocks of equal size, $z_s = (z_{s,1}, \dots, z_{s,n})$:

- *joint*: one block, the classic latent ODE. What is observed of any variable moves all of it.
- *per variable*: a block for each variable, with dynamics and decoder that all variables share, told
  apart by a learned embedding. Only blocks of variables that are asked for are solved; with coupled
  dynamics, in which a series' variables act on each other along the way, all of them are.

A layout holds the learned parts whose shape depends on this: the encoder, the head, the decoder.
`Rows` says which blocks are solved and where a query finds its own.

References:
    Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366
    Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
    https://arxiv.org/abs/1907.03907
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentode.data.batch import Observations, Queries
from latentode.nn.changes import ChangeUnits
from latentode.nn.decoders import Decoder, VariableDecoder
from latentode.nn.encoders import VariableEncoder
from latentode.nn.latent_state import Encoder, LatentHead, LatentState
from latentode.nn.sequences import Events, last_values
from latentode.ode import Trajectory

__all__ = ["JointLayout", "Layout", "PerVariableLayout", "Rows"]


@dataclass(frozen=True)
class Rows:
    """The rows of one latent sample that are solved, and those that answer.

    Args:
        blocks: into how many blocks a series' latent state is cut for solving.
        place: which block each row is, `series * blocks + block`, shape `(rows,)`.
        of_query: the answering row of each query, shape `(queries,)`.
        row_embedding: what distinguishes a row from the others of its series, shape
            `(rows, embedding)`; None if nothing does.
        folded: how many rows that answer lie in one that is solved, one after another.
    """

    blocks: int
    place: Tensor
    of_query: Tensor
    row_embedding: Tensor | None = None
    folded: int = 1

    @property
    def series(self) -> Tensor:
        """The series that each row belongs to, shape `(rows,)`."""
        return self.place // self.blocks

    def start(self, z0: Tensor) -> Tensor:
        """The rows' first states, sample by sample.

        Args:
            z0: shape `(samples, series, latent)`.

        Returns:
            Shape `(samples * rows, latent / blocks)`.
        """
        blocks = z0.reshape(len(z0), z0.shape[1] * self.blocks, z0.shape[2] // self.blocks)
        return blocks[:, self.place].flatten(0, 1)

    def unfold(self, path: Trajectory) -> Trajectory:
        """A path with a row of its own for each that answers."""
        return path.unfold(self.folded)

    def answering(self, samples: int) -> Tensor:
        """Where each query is answered along a path, sample by sample, shape `(samples * queries,)`."""
        sample = torch.arange(samples, device=self.of_query.device)[:, None]
        return (sample * (len(self.place) * self.folded) + self.of_query).reshape(-1)


class Layout(nn.Module, ABC):
    """Between series and latent rows.

    Attributes:
        n_variables: number of variables.
        blocks: how many rows of latent state a series has.
        head: turns a summary into q(z(t0)) of a row.
        units: how much each variable usually changes.
    """

    n_variables: int
    blocks: int
    head: LatentHead
    units: ChangeUnits

    @property
    @abstractmethod
    def latent_size(self) -> int:
        """Size of a series' whole latent state."""

    @abstractmethod
    def encode(
        self,
        seen: Observations,
        static: Tensor,
        t0: Tensor,
        backward: bool,
        given: Tensor | None = None,
    ) -> LatentState:
        """q(z(t0)) of each series.

        Args:
            seen: the contexts, times in units of the model.
            static: shape `(series, static)`.
            t0: where reading ends, shape `(series,)`.
            backward: whether reading goes back in time.
            given: what known columns were at each observation, shape `(observations, known)`; None
                where there are none.
        """

    @abstractmethod
    def rows(self, n_series: int, queries: Queries | None = None, every: bool = False) -> Rows:
        """The rows that queries need; all without, or where `every` one is wanted."""

    @property
    @abstractmethod
    def row_embedding(self) -> Tensor:
        """What distinguishes the rows of a series, `(blocks, embedding)`; of no columns if nothing."""

    @abstractmethod
    def read(self, z: Tensor, variable: Tensor) -> Tensor:
        """Args: `(samples, queries, latent)` and `(queries,)`. Returns `(samples, queries, n_raw)`."""


class JointLayout(Layout):
    """A row per series.

    Args:
        encoder: reads a series' events.
        head: turns its summary into q(z(t0)).
        decoder: reads values off z(t).
    """

    blocks = 1

    def __init__(self, encoder: Encoder, head: LatentHead, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.head, self.decoder = encoder, head, decoder
        self.n_variables = decoder.n_variables
        self.units = ChangeUnits(self.n_variables)

    @property
    def latent_size(self) -> int:
        return self.head.latent_size

    def encode(
        self,
        seen: Observations,
        static: Tensor,
        t0: Tensor,
        backward: bool,
        given: Tensor | None = None,
    ) -> LatentState:
        events = Events.of(seen, len(t0), self.n_variables, backward, given, self.units)
        last = last_values(seen, len(t0), self.n_variables)
        return self.head(self.encoder(events, t0, last), static)

    def rows(self, n_series: int, queries: Queries | None = None, every: bool = False) -> Rows:
        row = torch.arange(n_series, device=next(self.parameters()).device)
        return Rows(1, row, row[:0] if queries is None else queries.series)

    @property
    def row_embedding(self) -> Tensor:
        return next(self.parameters()).new_zeros(1, 0)

    def read(self, z: Tensor, variable: Tensor) -> Tensor:
        return self.decoder(z, variable)


class PerVariableLayout(Layout):
    """A row per (series, variable).

    Args:
        n_variables: number of variables.
        embedding_size: size of a variable's embedding.
        encoder: reads each variable's own observations.
        head: turns a variable's summary into q of its own z(t0).
        decoder: reads a variable's values off its own z(t).
        coupled: whether the dynamics see all variables of a series at once.
    """

    def __init__(
        self,
        n_variables: int,
        embedding_size: int,
        encoder: VariableEncoder,
        head: LatentHead,
        decoder: VariableDecoder,
        coupled: bool = False,
    ) -> None:
        super().__init__()
        self.n_variables = self.blocks = n_variables
        self.units = ChangeUnits(n_variables)
        self.embeddings = nn.Parameter(torch.randn(n_variables, embedding_size))
        self.encoder, self.head, self.decoder = encoder, head, decoder
        self.coupled = coupled

    @property
    def latent_size(self) -> int:
        return self.blocks * self.head.latent_size

    def encode(
        self,
        seen: Observations,
        static: Tensor,
        t0: Tensor,
        backward: bool,
        given: Tensor | None = None,
    ) -> LatentState:
        read = self.encoder(seen, self.embeddings, static, t0, backward, given, self.units)
        summary = read.flatten(0, 1)
        return self.head(summary, summary[:, :0]).merge(len(t0))

    @property
    def row_embedding(self) -> Tensor:
        return self.embeddings

    def rows(self, n_series: int, queries: Queries | None = None, every: bool = False) -> Rows:
        n, device = self.n_variables, self.embeddings.device
        cell = torch.zeros(0, dtype=torch.long, device=device)
        if queries is not None:
            cell = queries.series * n + queries.variable
        if self.coupled:
            row = torch.arange(n_series, device=device)
            return Rows(1, row, cell, self.embeddings.flatten().expand(n_series, -1), n)
        if every or queries is None:
            place = torch.arange(n_series * n, device=device)
            return Rows(n, place, cell, self.embeddings[place % n])
        asked = torch.zeros(n_series * n, dtype=torch.bool, device=device)
        asked[cell] = True
        place = asked.nonzero().squeeze(1)
        row = asked.cumsum(0) - 1
        return Rows(n, place, row[cell], self.embeddings[place % n])

    def read(self, z: Tensor, variable: Tensor) -> Tensor:
        return self.decoder(z, self.embeddings[variable])
