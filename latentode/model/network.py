r"""LatentODE: the four arrows put together, a plain `nn.Module`.

$$x_{\text{context}} \to q(z(t_0)) \to z(t_0) \to \{z(t)\} \to p(x_{t, v} \mid z(t))$$

Model time counts from each series' forecast origin in units of `time_scale`. The path covers
`[start of context, origin + reach]`, solved in pieces that do not depend on what is asked: from t0
to the other end of the context, and forwards by whole pieces of one time scale. So a longer question
adds pieces and changes no earlier answer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentode.data.batch import Batch, Observations, Queries
from latentode.data.labels import Labels
from latentode.errors import LatentODEError
from latentode.model.config import ModelConfig, Sizes
from latentode.model.emission import Emission
from latentode.model.layouts import Layout, Rows
from latentode.model.path_readings import EventTimes, Labelling, known_events, window_end
from latentode.model.structure import Outlook
from latentode.nn.latent_state import LatentState
from latentode.nn.likelihoods import Likelihood
from latentode.ode import Context, Dynamics, Solver, StepControl, Trajectory

__all__ = ["T0", "LatentODE"]

T0 = ("origin", "start")
MAX_REACH = 1000  # horizons ahead: far beyond sense, near enough to be solved


class LatentODE(nn.Module):
    """Encoder, dynamics, decoder and a solver, in one of the layouts of the latent state.

    Args:
        layout: a latent row per series, or one per (series, variable); holds encoder and decoder.
        dynamics: the vector field of a row.
        emission: the distribution of a value given what the decoder reads off the latent state.
        solver: how the ODE is solved, per piece.
        t0: "origin" places z(t0) at the forecast origin (and solves backwards into the context where
            asked), "start" at the first context observation (Chen et al., 2018).
        time_scale: length of one unit of model time, in time units of the data.
        event_times: how often series are observed; None where only values are modelled.
        labelling: what series are classified by; None where they are not.

    Attributes:
        config, sizes: what `ModelConfig.build` has built it from; None for a network put together by
            hand, which cannot be saved as a model.

    References:
        Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
        https://arxiv.org/abs/1907.03907
    """

    config: ModelConfig | None
    sizes: Sizes | None

    def __init__(
        self,
        layout: Layout,
        dynamics: Dynamics,
        emission: Emission,
        solver: Solver,
        t0: str = "origin",
        time_scale: float = 1.0,
        event_times: EventTimes | None = None,
        labelling: Labelling | None = None,
    ) -> None:
        super().__init__()
        if t0 not in T0:
            raise LatentODEError(f"t0 {t0!r} is unknown; choose from {', '.join(T0)}")
        self.layout, self.dynamics, self.emission, self.solver = layout, dynamics, emission, solver
        self.t0, self.time_scale = t0, time_scale
        self.event_times, self.labelling = event_times, labelling
        self.config = self.sizes = None

    @property
    def likelihood(self) -> Likelihood:
        """How values scatter."""
        return self.emission.likelihood

    @property
    def latent_size(self) -> int:
        """Size of a series' whole latent state, and of the noise that it takes."""
        return self.layout.latent_size

    @property
    def rows_per_series(self) -> int:
        """How many latent rows a series may take."""
        return self.layout.blocks

    @property
    def variational(self) -> bool:
        """Whether z(t0) is a distribution rather than a point."""
        return self.layout.head.variational

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters and of latent paths."""
        return next(p for m in self.modules() for p in m._parameters.values() if p is not None).dtype

    @property
    def value_dtype(self) -> torch.dtype:
        """Of times and values: that of the parameters, or float32, since half precision rounds them."""
        return torch.promote_types(self.dtype, torch.float32)

    def forward(
        self, batch: Batch, queries: Queries, noise: Tensor
    ) -> tuple[Distribution, LatentState]:
        """The distribution of each query's value.

        Args:
            batch: several series.
            queries: what is asked, no earlier than each context's start.
            noise: standard normal, shape `(samples, series or 1, latent)`; one row for all series
                makes a forecast independent of its companions.

        Returns:
            A distribution of shape `(samples, queries)` in scaled units, and q(z(t0)), a row per
            series. Where q is a point, one sample is all.

        Raises:
            SolveError: if the solution is not finite.
        """
        return self.answer(batch, queries, noise)[:2]

    def answer(
        self, batch: Batch, queries: Queries, noise: Tensor, through: Tensor | None = None
    ) -> tuple[Distribution, LatentState, Trajectory]:
        """As `forward`, with the path itself.

        Args:
            batch: several series.
            queries: what is asked.
            noise: as for `forward`.
            through: further times since the origin, in time units, that the path of every row is to
                reach; without, it has the rows that queries need.
        """
        z0, state = self.encode(batch).draw(noise.to(self.dtype))
        rows = self.layout.rows(len(batch), queries, every=through is not None)
        times = queries.time if through is None else torch.cat([queries.time, through])
        path = self.trajectory(batch, z0, times, rows)
        return self.decode(path, batch, queries, rows, len(z0)), state, path

    def reach(self, batch: Batch, past: bool) -> Tensor | None:
        """Times that paths must reach for what is modelled besides values; None if nothing is.

        Args:
            batch: several series.
            past: whether event times of the context are explained too.
        """
        if self.event_times is None and self.labelling is None:
            return None
        times = [batch.start[:0]]
        if self.event_times is not None:
            times += [window_end(batch), *([batch.start] if past else [])]
        if self.labelling is not None:
            times += [batch.start, *([] if batch.labels is None else [batch.labels.time])]
        return torch.cat(times)

    def label_logits(self, path: Trajectory, batch: Batch, labels: Labels) -> Tensor:
        """What the label head says where labels are asked for; their classes are not looked at.

        Args:
            path: of every row, as `answer(..., through=)` gives it.
            batch: several series.
            labels: places, times since the origin in time units.

        Returns:
            Shape `(samples, labels, classes)`.

        Raises:
            LatentODEError: if the model was built without a label head.
        """
        if self.labelling is None:
            raise LatentODEError(
                'this model has no label head; build and train it with labels="series" or "times"'
            )
        start, time = self._model_time(batch.start), self._model_time(labels.time)
        told = self.labelling.told(self._seen(batch), batch.static)
        return self.labelling.logits(path, self.layout, start, labels.series, time, told)

    def times_log_likelihood(self, path: Trajectory, batch: Batch, past: bool) -> Tensor:
        """Log-likelihood of when observations came, of one window of each series.

        Args:
            path: of every row, as `answer(..., through=)` gives it, over the window.
            batch: several series, with `events`.
            past: whether the window is that of the context, `(start, 0]`; else it is `(0, end]`.

        Returns:
            Shape `(samples, series)`; densities per time unit of the data.

        Raises:
            LatentODEError: if the model was built without `observation_times`, or the batch does not
                say when its series were observed.
        """
        process = self.times_process
        events = known_events(batch, past, process.per_variable)
        origin = torch.zeros_like(batch.start)
        ends = (batch.start, origin) if past else (origin, window_end(batch))
        start, end = (self._model_time(t) for t in ends)
        events = Queries(events.series, events.variable, self._model_time(events.time))
        return process.log_likelihood(path, self.layout, events, start, end)

    @property
    def times_process(self) -> EventTimes:
        """The model of observation times.

        Raises:
            LatentODEError: if there is none.
        """
        if self.event_times is None:
            raise LatentODEError(
                "this model knows values only, not when they are observed; build and train it with "
                'ModelConfig(observation_times="poisson")'
            )
        return self.event_times

    def estimate(self, batch: Batch, n_series: int) -> None:
        """Estimates what is no weight from windows of `n_series` training series."""
        self.layout.units.estimate(self._seen(batch))
        self.emission.estimate(batch, self.time_scale, n_series)

    def encode(self, batch: Batch) -> LatentState:
        """q(z(t0)) of each series."""
        known = StepControl(batch.control_time, batch.control_value)
        some = batch.control_value.shape[2] > 0
        given = known.of_rows(batch.context.series, batch.context.time) if some else None
        static, back = batch.static.to(self.dtype), self.t0 == "start"
        return self.layout.encode(self._seen(batch), static, self._t0(batch), back, given)

    def trajectory(
        self, batch: Batch, z0: Tensor, times: Tensor, rows: Rows | None = None
    ) -> Trajectory:
        """The path of each sample of each row, long enough for `times`.

        Args:
            batch: several series.
            z0: shape `(samples, series, latent)`.
            times: time since the origin of everything that will be asked, in time units.
            rows: which rows; all of the layout by default.

        Returns:
            A path with `samples * rows` rows, sample by sample: in the joint layout a row per series,
            in the per-variable layout one per (series, variable), variable by variable.

        Raises:
            SolveError: if a state is not finite.
            LatentODEError: if a time is more than 1,000 time scales ahead.
        """
        rows = self.layout.rows(len(batch)) if rows is None else rows
        past = bool((times < 0).any()) or len(times) == 0
        return self.path(batch, z0, rows, self._reach(times), past).check_finite()

    def path(self, batch: Batch, z0: Tensor, rows: Rows, ahead: int, past: bool) -> Trajectory:
        """As `trajectory`, `ahead` time scales on, of the past too or not; no number is looked at."""
        samples, flat = len(z0), rows.start(z0)
        start = self._model_time(batch.start)[rows.series].repeat(samples)
        origin = torch.zeros_like(start)
        context = self._context(batch, rows).repeat(samples)
        pieces: list[Trajectory] = []
        if self.t0 == "start":
            pieces.append(self.solver.solve(self.dynamics, flat, start, origin, context))
        elif past:
            back = self.solver.solve(self.dynamics, flat, origin, start, context)
            pieces.append(back.reverse())
        for piece in range(ahead):
            z, begin = pieces[-1].final if pieces else flat, origin + piece
            pieces.append(self.solver.solve(self.dynamics, z, begin, begin + 1, context))
        kinks = context.control is not None  # known-future columns may jump where two pieces meet
        return rows.unfold(pieces[0].join(*pieces[1:], kinks=kinks))

    def span_ahead(self, times: Tensor) -> float:
        """How far ahead of the origin a path that answers at `times` is solved, in time units."""
        return self._reach(times) * self.time_scale

    def _reach(self, times: Tensor) -> int:
        """How many time scales ahead of the origin the path has to go."""
        furthest = float(times.max()) if len(times) else 0.0
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

        By step doubling, from the middle of q(z(t0)), in units of the latent state; that of a series is
        that of its worst row.

        Returns:
            Shape `(series,)`.
        """
        with torch.no_grad():
            rows = self.layout.rows(len(batch))
            state = self.encode(batch)
            z0 = rows.start(state.sample(torch.zeros_like(state.loc[None, :1])))
            origin = z0.new_zeros(len(z0))
            error = self.solver.error(self.dynamics, z0, origin, origin + 1, self._context(batch, rows))
            return error.new_zeros(len(batch)).scatter_reduce(0, rows.series, error, "amax")

    def decode(
        self, path: Trajectory, batch: Batch, queries: Queries, rows: Rows, samples: int
    ) -> Distribution:
        """The distribution of shape `(samples, queries)` along a path through `rows`."""
        z = path.at(rows.answering(samples), self._model_time(queries.time).repeat(samples))
        return self.emit(z.unflatten(0, (samples, len(queries))), batch, queries)

    def emit(
        self, z: Tensor, batch: Batch, queries: Queries, outlook: Outlook | None = None
    ) -> Distribution:
        """The distribution of queries at latent states `z`; `outlook` by default from the contexts."""
        if self.emission.structure is not None:
            outlook = outlook or self.emission.outlook(batch, queries, self.time_scale)
            told = outlook.features(queries.time / self.time_scale).to(z)
            z = torch.cat([z, told.expand(*z.shape[:-1], -1)], dim=-1)
        raw = self.layout.read(z, queries.variable).to(self.value_dtype)
        return self.emission(raw, batch, queries, self.time_scale, outlook)

    def _seen(self, batch: Batch) -> Observations:
        """The contexts as an encoder reads them."""
        return self.emission.view(batch.context.rescale_time(self.time_scale, self.value_dtype))

    def _t0(self, batch: Batch) -> Tensor:
        away = batch.start if self.t0 == "start" else torch.zeros_like(batch.start)
        return self._model_time(away, self.value_dtype)

    def _model_time(self, time: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return (time / self.time_scale).to(dtype or self.dtype)

    def _context(self, batch: Batch, rows: Rows) -> Context:
        """The context of each row: its embedding, and static and known covariates of its series."""
        static = batch.static.to(self.dtype)[rows.series]
        fixed = static if rows.row_embedding is None else torch.cat([rows.row_embedding, static], dim=1)
        if not batch.control_value.shape[2]:
            return Context(fixed if fixed.shape[1] else None)
        times = self._model_time(batch.control_time)[rows.series]
        values = batch.control_value.to(self.dtype)[rows.series]
        return Context(fixed if fixed.shape[1] else None, StepControl(times, values))
