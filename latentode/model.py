r"""LatentODE: the four arrows put together, a plain `nn.Module`.

$$x_{\text{context}} \to q(z(t_0)) \to z(t_0) \to \{z(t)\} \to p(x_{t, v} \mid z(t))$$

Model time counts from each series' forecast origin in units of `time_scale`. The path covers
`[start of context, origin + reach]`, solved in pieces that do not depend on what is asked: from t0
to the other end of the context, and forwards by whole pieces of one time scale. So a longer question
adds pieces and changes no earlier answer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode.data.batch import Batch
from latentode.data.observations import Observations, Queries
from latentode.errors import LatentODEError
from latentode.nn import ENCODERS
from latentode.nn.decoders import Decoder, MLPDecoder
from latentode.nn.encoders import Encoder, LatentHead, LatentState
from latentode.nn.events import Events, last_values
from latentode.nn.likelihoods import LIKELIHOODS, Likelihood
from latentode.ode import Context, Dynamics, MLPDynamics, Solver, StepControl, Trajectory

__all__ = ["LatentODE", "build_latent_ode"]

T0 = ("origin", "start")
MAX_REACH = 1000  # horizons ahead: far beyond sense, near enough to be solved


class LatentODE(nn.Module):
    """Encoder, dynamics, decoder and a solver, in the joint layout: one state per series.

    Args:
        encoder: reads a series' events.
        head: turns its summary into q(z(t0)).
        dynamics: the vector field of z.
        decoder: reads values off z(t).
        likelihood: how values scatter.
        solver: how the ODE is solved, per piece.
        t0: "origin" places z(t0) at the forecast origin (and solves backwards into the context where
            asked), "start" at the first context observation (Chen et al., 2018).
        time_scale: length of one unit of model time, in time units of the data.

    References:
        Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366
        Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
        https://arxiv.org/abs/1907.03907
    """

    anchor: bool = True

    def __init__(
        self,
        encoder: Encoder,
        head: LatentHead,
        dynamics: Dynamics,
        decoder: Decoder,
        likelihood: Likelihood,
        solver: Solver,
        t0: str = "origin",
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if t0 not in T0:
            raise LatentODEError(f"t0 {t0!r} is unknown; choose from {', '.join(T0)}")
        self.encoder, self.head = encoder, head
        self.dynamics, self.decoder = dynamics, decoder
        self.likelihood, self.solver = likelihood, solver
        self.t0, self.time_scale = t0, time_scale

    @property
    def latent_size(self) -> int:
        return self.head.latent_size

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def forward(
        self, batch: Batch, queries: Queries, noise: Tensor
    ) -> tuple[Distribution, LatentState]:
        """The distribution of each query's value given the context.

        Args:
            batch: several series.
            queries: what is asked, no earlier than each context's start.
            noise: standard normal, shape `(samples, series or 1, latent)`; one row for all series
                makes a forecast independent of its companions.

        Returns:
            A distribution of shape `(samples, queries)` in scaled units, and q(z(t0)).

        Raises:
            SolveError: if the solution is not finite.
        """
        state = self.encode(batch)
        z0 = state.sample(noise.to(self.dtype))
        path = self.trajectory(batch, z0, queries.time)
        return self.decode(path, batch, queries, len(z0)), state

    def encode(self, batch: Batch) -> LatentState:
        """q(z(t0)) of each series."""
        events = Events.of(
            self._scaled(batch.context), len(batch), self._n_variables(), self.t0 == "start"
        )
        summary = self.encoder(events, self._t0(batch), self._last(batch))
        return self.head(summary, batch.static.to(self.dtype))

    def trajectory(self, batch: Batch, z0: Tensor, times: Tensor) -> Trajectory:
        """The path of each sample of each series, long enough for `times`.

        Args:
            batch: several series.
            z0: shape `(samples, series, latent)`.
            times: time since the origin of everything that will be asked, in time units.

        Returns:
            A path with `samples * series` rows, sample by sample.

        Raises:
            SolveError: if a state is not finite.
            LatentODEError: if a time is more than 1,000 time scales ahead.
        """
        samples, series, _ = z0.shape
        flat = z0.reshape(samples * series, -1)
        start = self._model_time(batch.start).repeat(samples)
        origin = torch.zeros_like(start)
        context = self._context(batch).repeat(samples)
        asked_past = bool((times < 0).any()) or len(times) == 0
        pieces: list[Trajectory] = []
        if self.t0 == "start":
            pieces.append(self.solver.solve(self.dynamics, flat, start, origin, context))
        elif asked_past:
            past = self.solver.solve(self.dynamics, flat, origin, start, context)
            pieces.append(past.reverse())
        for piece in range(self._reach(times)):
            z = pieces[-1].final if pieces else flat
            begin = origin + piece
            pieces.append(self.solver.solve(self.dynamics, z, begin, begin + 1, context))
        return pieces[0].join(*pieces[1:]).check_finite()

    def _reach(self, times: Tensor) -> int:
        """How many time scales ahead of the origin the path has to go."""
        if len(times) == 0:
            return 1
        furthest = float(times.max())
        # 1e-9 forgives the rounding of a horizon that was asked for exactly.
        reach = max(1, math.ceil(furthest / self.time_scale - 1e-9))
        if reach > MAX_REACH:
            raise LatentODEError(
                f"a time {furthest:g} time units ahead is {reach} times as far as the model has learnt "
                f"to look ({self.time_scale:g}), more than {MAX_REACH} times; ask for nearer times, or "
                "fit with a longer horizon"
            )
        return reach

    def solver_error(self, batch: Batch) -> Tensor:
        """Estimated error of the first piece ahead of each series' origin, without gradients.

        By step doubling, from the mean of q(z(t0)), in units of the latent state.

        Returns:
            Shape `(series,)`.
        """
        with torch.no_grad():
            z0, origin = self.encode(batch).loc, torch.zeros_like(self._t0(batch))
            return self.solver.error(self.dynamics, z0, origin, origin + 1, self._context(batch))

    def decode(self, path: Trajectory, batch: Batch, queries: Queries, samples: int) -> Distribution:
        """The distribution of shape `(samples, queries)` along a path."""
        n = len(batch)
        sample = torch.arange(samples, device=queries.series.device)[:, None]
        rows = (sample * n + queries.series).reshape(-1)
        z = path.at(rows, self._model_time(queries.time).repeat(samples))
        raw = self.decoder(z.unflatten(0, (samples, len(queries))), queries.variable)
        anchor = raw.new_zeros(len(queries))
        if self.anchor:
            anchor = self._last(batch)[queries.series, queries.variable]
        return self.likelihood.distribution(raw, anchor.expand(samples, -1))

    def _last(self, batch: Batch) -> Tensor:
        return last_values(self._scaled(batch.context), len(batch), self._n_variables())

    def _n_variables(self) -> int:
        return self.decoder.n_variables

    def _t0(self, batch: Batch) -> Tensor:
        start = self._model_time(batch.start)
        return start if self.t0 == "start" else torch.zeros_like(start)

    def _model_time(self, time: Tensor) -> Tensor:
        return (time / self.time_scale).to(self.dtype)

    def _scaled(self, observations: Observations) -> Observations:
        return observations.rescale_time(self.time_scale, self.dtype)

    def _context(self, batch: Batch) -> Context:
        fixed = batch.static.to(self.dtype) if batch.static.shape[1] else None
        if not batch.control_value.shape[2]:
            return Context(fixed)
        times = self._model_time(batch.control_time)
        return Context(fixed, StepControl(times, batch.control_value.to(self.dtype)))


def build_latent_ode(
    n_variables: int,
    n_static: int = 0,
    n_known: int = 0,
    time_scale: float = 1.0,
    *,
    latent_size: int = 16,
    hidden_size: int = 64,
    encoder: str = "gru",
    likelihood: str = "normal",
    t0: str = "origin",
    anchor: bool = True,
    variational: bool = True,
    solver: dict[str, Any] | None = None,
) -> LatentODE:
    """Assembles a `LatentODE` from primitives, which a checkpoint can hold.

    Args:
        n_variables: number of variables.
        n_static: number of encoded static features.
        n_known: number of known-future columns.
        time_scale: length of one unit of model time, best the usual horizon.
        latent_size: size of z.
        hidden_size: width of encoder, dynamics and decoder.
        encoder: "gru", "ode-rnn" or "linear".
        likelihood: "normal" or "student-t".
        t0: "origin" or "start".
        anchor: whether locations are counted from each variable's last observed value, so that an
            untrained model is already the last-value forecast.
        variational: False makes z(t0) a point.
        solver: arguments of `Solver`.

    Raises:
        LatentODEError: if a name is unknown.
    """
    for name, choices, what in (
        (encoder, ENCODERS, "encoder"),
        (likelihood, LIKELIHOODS, "likelihood"),
    ):
        if name not in choices:
            raise LatentODEError(f"{what} {name!r} is unknown; choose from {', '.join(choices)}")
    chosen = LIKELIHOODS[likelihood]()
    width = (hidden_size, hidden_size)
    model = LatentODE(
        ENCODERS[encoder](n_variables, hidden_size),  # type: ignore[call-arg]
        LatentHead(hidden_size, n_static, latent_size, variational),
        MLPDynamics(latent_size, width, context_size=n_static + n_known),
        MLPDecoder(latent_size, n_variables, chosen.n_raw, hidden_size),
        chosen,
        Solver(**(solver or {})),
        t0,
        time_scale,
    )
    model.anchor = anchor
    return model
