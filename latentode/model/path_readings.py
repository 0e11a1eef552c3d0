r"""Path readings: what is read off a latent path besides values, times of observation and classes.

EventTimes: a Poisson process of *when* observations come, its intensity decoded from z(t).

$$\log p(t_1, \dots, t_N \mid t_a, t_b)
  = \sum_{i=1}^{N} \log \lambda(z(t_i)) - \int_{t_a}^{t_b} \lambda(z(t))\, dt$$

An event is a time at which anything of the series is observed, or, per variable, an observation; in
the layout per variable the rows of a series then have an intensity each, otherwise their mean is that
of the series. The integral runs along the path that also answers the values: nothing is solved twice.

What is known of a series reaches from the start of its context to the end of the watch
(`Batch.end`), in two windows, both open at their beginning, which may be an event itself:
$(t_\text{start}, 0]$, whose events the encoder has seen (most of them), and $(0, t_\text{end}]$, whose
events it has not. That there was *no* event in a part of a window counts as much as that there was one.

Labelling: classes of a series, or of a series at a time, read off its latent path.

$$p(y) = \mathrm{softmax}\Big(h\big(z(0),\
  \tfrac{1}{|t_\text{start}|}\int_{t_\text{start}}^{0} z(t)\, dt\big) + W s\Big),
\qquad p(y_t) = \mathrm{softmax}\, h(z(t)),$$

of the whole series from its state at the origin, the mean of its path over the context, and linearly
from summaries s of what was observed (`latentode.nn.memory`) and static covariates, at a time from
the state there. Training adds the log-likelihood of the labels to that of the values.

References:
    Wide & deep learning for recommender systems (Cheng et al., 2016), https://arxiv.org/abs/1606.07792
    Neural Ordinary Differential Equations (Chen et al., 2018), section 5.1,
    https://arxiv.org/abs/1806.07366
    Latent ODEs for irregularly-sampled time series (Rubanova et al., 2019),
    https://arxiv.org/abs/1907.03907
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from latentode.data.batch import Batch, Observations, Queries
from latentode.errors import LatentODEError
from latentode.model.layouts import Layout
from latentode.nn.decoders import Intensity, LabelHead
from latentode.nn.memory import N_SUMMARIES, summaries
from latentode.ode import Trajectory, integrate

__all__ = ["LABELS", "OBSERVATION_TIMES", "EventTimes", "Labelling", "known_events", "window_end"]

OBSERVATION_TIMES = ("poisson", "poisson-per-variable")


class EventTimes(nn.Module):
    """Counting processes of a series: one, or one for each of its variables.

    Args:
        intensity: reads relative rates off rows; `n_rates` is that of processes per row.
        per_variable: whether each variable has a process of its own.
        typical: the rate that a relative rate of 1 stands for, in events per time unit of the data;
            one number, or one per variable.
        n_variables: number of variables.
        time_scale: length of one unit of model time, in time units of the data.

    Raises:
        LatentODEError: if a typical rate is not positive, or they are too many or too few.
    """

    typical: Tensor

    def __init__(
        self,
        intensity: Intensity,
        per_variable: bool,
        typical: float | Sequence[float],
        n_variables: int,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.intensity, self.per_variable, self.time_scale = intensity, per_variable, time_scale
        self.n_processes = n_variables if per_variable else 1
        own = np.atleast_1d(np.asarray(typical, dtype=np.float64))
        if len(own) not in (1, self.n_processes) or not (own > 0).all():
            raise LatentODEError(
                f"event_rate must be positive, one number{_or_each(self.n_processes)}; got {typical!r}"
            )
        rates = torch.tensor(own, dtype=torch.get_default_dtype())
        self.register_buffer("typical", rates.expand(self.n_processes).clone(), persistent=False)

    def rate(
        self, path: Trajectory, layout: Layout, n_series: int, where: Queries, every: bool = False
    ) -> Tensor:
        """The intensity at places along a path that holds every row.

        Args:
            path: `samples * n_series * layout.blocks` rows.
            layout: whose rows they are.
            n_series: number of series.
            where: series, variable (of no meaning to a process of the whole series) and model time.
            every: whether all processes of the series are asked for, instead of the variable's.

        Returns:
            Events per time unit of the data, shape `(samples, queries)`, or of every process
            `(samples, queries, processes)`.
        """
        rows = self._rows(path, layout, n_series, where, every)
        times = where.time.expand(len(rows), -1)[..., None].expand_as(rows)
        z = path.at(rows.reshape(-1), times.reshape(-1))
        rates = self.intensity(z, layout.row_embedding[rows.reshape(-1) % layout.blocks])
        return self._of_processes(rates.unflatten(0, rows.shape), where.variable, every)

    def expected(
        self,
        path: Trajectory,
        layout: Layout,
        n_series: int,
        since: Tensor,
        until: Queries,
        every: bool = False,
    ) -> Tensor:
        """The integral of `rate`: how many events are expected in `(since, until]`.

        Args:
            path: as for `rate`, as the next two.
            layout: whose rows they are.
            n_series: number of series.
            since: model time, shape `(queries,)`.
            until: series, variable and model time, no earlier than `since`.
            every: as for `rate`.
        """
        rows = self._rows(path, layout, n_series, until, every)
        embedding = layout.row_embedding

        def along(row: Tensor, z: Tensor) -> Tensor:
            return self.intensity(z, embedding[row % layout.blocks])

        start, end = (
            t.expand(len(rows), -1)[..., None].expand_as(rows).reshape(-1) for t in (since, until.time)
        )
        sums = integrate(path, along, rows.reshape(-1), start, end) * self.time_scale
        return self._of_processes(sums.unflatten(0, rows.shape), until.variable, every)

    def log_likelihood(
        self, path: Trajectory, layout: Layout, events: Queries, start: Tensor, end: Tensor
    ) -> Tensor:
        r"""$\sum_i \log \lambda(t_i) - \int \lambda$ of each series over its own window.

        Args:
            path: as for `rate`.
            layout: whose rows they are.
            events: those of the window, in model time; see `known_events`.
            start: of the window, model time, shape `(series,)`.
            end: likewise.

        Returns:
            Shape `(samples, series)`.
        """
        n = len(start)
        every = torch.arange(n, device=start.device)
        gains = self.rate(path, layout, n, events).log()
        count = self.expected(path, layout, n, start, Queries(every, every, end), every=True).sum(dim=2)
        return (-count).index_add(1, events.series, gains)

    def _rows(
        self, path: Trajectory, layout: Layout, n_series: int, where: Queries, every: bool
    ) -> Tensor:
        """The rows that say something of each query, shape `(samples, queries, rows of a query)`."""
        of_series = n_series * layout.blocks
        sample = torch.arange(len(path.times) // of_series, device=where.series.device)
        block = torch.arange(layout.blocks, device=where.series.device)[None]
        if self.per_variable and layout.blocks > 1 and not every:
            block = where.variable[:, None]
        return sample[:, None, None] * of_series + (where.series[:, None] * layout.blocks + block)

    def _of_processes(self, x: Tensor, variable: Tensor, every: bool) -> Tensor:
        """From `(samples, queries, rows, n_rates)` to the processes asked for, in their own units."""
        if not self.per_variable:
            x = x.mean(dim=(2, 3)) * self.typical
            return x[..., None] if every else x
        if every:
            return x.flatten(2) * self.typical
        own = x.flatten(2)
        if own.shape[2] > 1:
            own = own.gather(2, variable[None, :, None].expand(len(own), -1, 1))
        return own.squeeze(2) * self.typical[variable]


def known_events(batch: Batch, past: bool, per_variable: bool) -> Queries:
    """The events of one of the two windows of each series, times as in the batch.

    Args:
        batch: several series.
        past: whether the window is `(start, 0]`; else it is `(0, end]`.
        per_variable: whether each observation is an event; else each time with any.

    Raises:
        LatentODEError: if the batch does not say when its series were observed.
    """
    events, _ = _watched(batch)
    inside = events.time > 0
    if past:
        inside = ~inside & (events.time > batch.start[events.series])
    events = events.select(inside)
    return events if per_variable else _distinct(events)


def window_end(batch: Batch) -> Tensor:
    """Until when the events of a batch are complete, shape `(series,)`; raises as `known_events`."""
    return _watched(batch)[1]


def _watched(batch: Batch) -> tuple[Queries, Tensor]:
    if batch.events is None or batch.end is None:
        raise LatentODEError(
            "this batch does not say when its series were observed, which the likelihood of times "
            "needs; take batches of IrregularDataModule, or give events= and end="
        )
    return batch.events, batch.end


def _distinct(events: Queries) -> Queries:
    """One of the observations at each time of each series."""
    order = torch.argsort(events.time, stable=True)
    events = events.select(order[torch.argsort(events.series[order], stable=True)])
    new = torch.ones_like(events.series, dtype=torch.bool)
    new[1:] = (events.series.diff() != 0) | (events.time.diff() != 0)
    return events.select(new)


def _or_each(n: int) -> str:
    return "" if n == 1 else f" or {n}, one per variable"


LABELS = ("series", "times")


class Labelling(nn.Module):
    """Reads labels off paths that hold every row of each series.

    Args:
        head: from rows to logits.
        of: "series" or "times": what has a label.
        wide: from summaries of a context and static covariates to logits that are added; None for none.

    Raises:
        LatentODEError: if `of` is neither.
    """

    def __init__(self, head: LabelHead, of: str, wide: nn.Linear | None = None) -> None:
        super().__init__()
        if of not in LABELS:
            raise LatentODEError(f"labels of {of!r} are unknown; choose from {', '.join(LABELS)}")
        self.head, self.of, self.wide = head, of, wide

    @staticmethod
    def states_read(of: str) -> int:
        """How many states of a row a label is read from."""
        return 2 if of == "series" else 1

    def told(self, seen: Observations, static: Tensor) -> Tensor | None:
        """Summaries of contexts and static covariates, `(series, numbers)`; None if not read."""
        if self.wide is None:
            return None
        n_variables = (self.wide.in_features - static.shape[1]) // N_SUMMARIES
        level = summaries(seen, len(static), n_variables).flatten(1)
        return torch.cat([level, static.to(level)], dim=1).to(self.wide.weight.dtype)

    def logits(
        self,
        path: Trajectory,
        layout: Layout,
        start: Tensor,
        series: Tensor,
        time: Tensor,
        told: Tensor | None,
    ) -> Tensor:
        """Unnormalised log-probabilities of the classes.

        Args:
            path: `samples * series * layout.blocks` rows, from each start to each time asked for.
            layout: whose rows they are.
            start: of each series' context, model time (<= 0), shape `(series,)`.
            series: of each label, shape `(labels,)`.
            time: of each label, model time; of no meaning to a label of a whole series.
            told: what `told` says of each series.

        Returns:
            Shape `(samples, labels, classes)`.
        """
        n, blocks = len(start), layout.blocks
        sample = torch.arange(len(path.times) // (n * blocks), device=start.device)
        block = torch.arange(blocks, device=start.device)
        rows = sample[:, None, None] * (n * blocks) + series[:, None] * blocks + block
        flat = rows.reshape(-1)
        if self.of == "times":
            state = path.at(flat, time[:, None].expand_as(rows).reshape(-1))
        else:
            first = start[series][:, None].expand_as(rows).reshape(-1)
            now = path.at(flat, torch.zeros_like(first))
            state = torch.cat([now, _mean(path, flat, first, now)], dim=1)
        logits = self.head(state.unflatten(0, rows.shape), layout.row_embedding)
        return logits if self.wide is None or told is None else logits + self.wide(told)[series]


def _mean(path: Trajectory, rows: Tensor, start: Tensor, now: Tensor) -> Tensor:
    """Of the path from `start` to 0; the state itself where that is no time."""
    length = -start[:, None]
    some = length > 0
    total = integrate(path, lambda _, z: z, rows, start, torch.zeros_like(start))
    return torch.where(some, total / torch.where(some, length, 1.0), now)
