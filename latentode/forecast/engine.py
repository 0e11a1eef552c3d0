r"""Engine: one loop that answers queries in batches, and the four kinds of answers that are made of it.

A row of a batch is a (series, forecast origin); each query is answered along the trajectory of its row,
for every latent sample. What is asked of the trajectory is a function of network, batch, queries and
noise: a predictive distribution, that distribution a short step before and after, the intensity of a
point process, or the classes of a series.

The derivative of the parameters $\theta$ of a distribution along a latent trajectory z(t),

$$\frac{d}{dt} \theta(z(t)) = \frac{\partial \theta}{\partial z}\, \frac{dz}{dt},$$

is a Jacobian-vector product through the decoder, with dz/dt that of the trajectory itself: it is the
exact derivative of what is forecast, whatever the solver's own error.

Several networks of one kind, each trained by itself, answer as an ensemble: their latent samples are
those of one mixture, in equal parts (Lakshminarayanan et al., 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Distribution

from latentode.data.batch import Batch, Queries, Series
from latentode.data.labels import Labels
from latentode.data.scaling import Scaling
from latentode.forecast.forecast import Forecast
from latentode.forecast.queries import ForecastQueries, batches_of
from latentode.model.emission import Emission
from latentode.model.network import LatentODE
from latentode.model.structure import Outlook
from latentode.nn.latent_state import shared_noise
from latentode.nn.likelihoods import join, parameters_of, take, with_parameters
from latentode.ode.kernels import every_module, untouched

__all__ = ["Engine", "EventRates"]

ROWS_AT_ONCE = 256  # (series, origin) pairs in a batch
LATENT_ROWS_AT_ONCE = 65536  # samples of latent rows that are solved at once, for the memory they take

Ask = Callable[..., Any]  # of network, batch, queries and noise, and of the queries' `place` among all


@dataclass(frozen=True)
class EventRates:
    """The intensity of a point process at each query, a row per latent sample of each network.

    Args:
        intensity: events per time unit of the data, shape `(samples, queries)`.
        expected: the expected number of events since the query's origin, same shape.
    """

    intensity: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class Engine:
    """A trained network and what it takes to ask it; safe to use from several threads at once.

    The parameters and the training mode of the network are never touched: a network in training mode is
    answered by a copy in evaluation mode.

    Args:
        network: trained.
        scaling: the one that it was trained with.
        context_length: how far back of a forecast origin the encoder sees, in time units.
        samples: latent samples of each network; one whose z(t0) is a point takes one.
        others: further members of an ensemble, of the same configuration and with the same estimates
            of their structural block.
    """

    network: LatentODE
    scaling: Scaling
    context_length: float
    samples: int = 32
    others: tuple[LatentODE, ...] = ()

    @property
    def networks(self) -> tuple[LatentODE, ...]:
        """Every member of the ensemble."""
        return (self.network, *self.others)

    @property
    def n_samples(self) -> int:
        """How many components each query is answered with."""
        return len(self.networks) * self.samples_each

    @property
    def samples_each(self) -> int:
        """How many latent samples each network answers with."""
        return self.samples if self.network.variational else 1

    def forecast(self, series: Series, queries: ForecastQueries, keys: pd.DataFrame) -> Forecast:
        """The forecast of queries in data units, each from what its series had shown by its origin.

        Args:
            series: histories, scaled.
            queries: none earlier than `context_length` before its origin.
            keys: what to call them, a row per query.
        """
        distribution = self.distributions(series, queries)
        units = self.scaling.units_of(queries.variable)
        return Forecast.of(keys, distribution, self.network.likelihood, units)

    def distributions(
        self, series: Series, queries: ForecastQueries, outlook: Outlook | None = None
    ) -> Distribution:
        """The components of each query's distribution, scaled, `(samples, queries)`, float64.

        Args:
            series: histories, scaled.
            queries: what is asked.
            outlook: what the structural block says of them; by default, from what had been seen by each
                one's origin.
        """
        parts = list(self._answers(series, queries, partial(_distribution, outlook=outlook)))
        if not parts:
            return self._nothing()
        return _restored([_mixed(found) for _, found in parts], [place for place, _ in parts])

    def around(
        self, series: Series, queries: ForecastQueries, step: float
    ) -> tuple[Distribution, Distribution]:
        """As `distributions`, but `step` before and after each query, to first order in `step`.

        Args:
            series: histories, scaled.
            queries: as for `distributions`.
            step: a time far below that over which a trajectory bends, in time units.
        """
        parts = list(self._answers(series, queries, partial(_around, step=step)))
        if not parts:
            return self._nothing(), self._nothing()
        places = [place for place, _ in parts]
        before, after = ([_mixed([f[side] for f in found]) for _, found in parts] for side in (0, 1))
        return _restored(before, places), _restored(after, places)

    def outlook(self, series: Series, queries: ForecastQueries) -> Outlook:
        """What the structural block says of queries, at least one, on the CPU.

        Args:
            series: histories, scaled.
            queries: as for `distributions`; what lies before its origin is seen from both sides.

        Raises:
            LatentODEError: if the network has no structural block.
        """
        found = list(replace(self, others=())._answers(series, queries, _outlook))
        order = torch.from_numpy(np.argsort(np.concatenate([place for place, _ in found])))
        return Outlook.join([part for _, (part,) in found]).each(lambda x: x[order])

    def event_rates(self, series: Series, queries: ForecastQueries) -> EventRates:
        """The intensity at queries, and how many events are expected between each origin and query.

        Args:
            series: histories, scaled.
            queries: no earlier than their origins; a process of the whole series answers whatever the
                variable.

        Raises:
            LatentODEError: if the network was trained without `observation_times`.
        """
        _ = self.network.times_process  # which raises, also where nothing is asked
        found = np.zeros((2, self.n_samples, len(queries)))
        for place, rates in self._answers(series, queries, _event_rates):
            found[:, :, place] = torch.cat(rates, dim=1).cpu().double().numpy()
        return EventRates(*found)

    def class_probabilities(
        self, series: Series, owner: np.ndarray, time: np.ndarray | None = None
    ) -> np.ndarray:
        """Probabilities of classes from all that was observed of each series, mean over components.

        Args:
            series: histories, scaled.
            owner: the series of each label asked for.
            time: since the series' start, in time units; None where labels are of whole series.

        Returns:
            Shape `(labels, classes)`.
        """
        end = series.last[owner]
        variable = np.zeros(len(owner), dtype=np.int64)
        queries = ForecastQueries(owner, variable, end if time is None else time, end)
        parts = list(self._answers(series, queries, _class_probabilities))
        if not parts:
            return np.zeros((0, 0))
        order = np.argsort(np.concatenate([place for place, _ in parts]))
        means = [torch.stack(found).mean(dim=0).cpu().numpy() for _, found in parts]
        return np.concatenate(means)[order]

    def _answers(
        self, series: Series, queries: ForecastQueries, ask: Ask
    ) -> Iterator[tuple[np.ndarray, list[Any]]]:
        """What `ask` says of queries, of each network, in parts that fit in memory, and of which."""
        networks = [_evaluating(network) for network in self.networks]
        network = networks[0]
        noise = shared_noise(self.samples_each, network.latent_size)
        device = next(network.parameters()).device
        at_once = LATENT_ROWS_AT_ONCE // (self.samples_each * network.rows_per_series)
        ahead = network.span_ahead(torch.from_numpy(queries.time - queries.origin))
        for place, rows, origin in batches_of(queries, min(ROWS_AT_ONCE, max(1, at_once))):
            batch = series.batch_at(rows[0], rows[1], self.context_length, ahead)
            local = Queries(
                torch.from_numpy(origin),
                torch.from_numpy(queries.variable[place]),
                torch.from_numpy(queries.time[place] - rows[1][origin]),
            )
            with torch.no_grad():
                told = batch.to(device), local.to(device), noise.to(device, network.dtype)
                found = [ask(own, *told, place=place) for own in networks]
            yield place, found

    def _nothing(self) -> Distribution:
        """The distribution of no query."""
        likelihood, n = self.network.likelihood, self.n_samples
        raw = torch.zeros(n, 0, likelihood.n_raw, dtype=torch.float64)
        return likelihood.distribution(raw, raw[..., 0], torch.zeros(0, dtype=torch.long))


def _evaluating(network: LatentODE) -> LatentODE:
    """The network in evaluation mode, without changing a mode that another thread may rely on."""
    if not any(module.training for module in every_module(network)):
        return network
    return deepcopy(network).eval()


def _distribution(
    network: LatentODE,
    batch: Batch,
    queries: Queries,
    noise: Tensor,
    place: np.ndarray,
    outlook: Outlook | None,
) -> Distribution:
    """Of each query; `outlook` is of all, of which these are at `place`."""
    if outlook is not None:
        chosen = torch.from_numpy(place)
        outlook = outlook.each(lambda x: x[chosen].to(queries.time.device))
    with torch.inference_mode():  # in which torch does less beside each operation
        plain = type(network) is LatentODE and type(network.emission) is Emission and untouched(network)
        if plain and network.emission.silent(queries.variable):  # no path whose decoder is not believed
            like = noise.to(network.value_dtype)
            distribution = network.emission.alone(like, batch, queries, network.time_scale, outlook)
        elif outlook is None:
            distribution, _ = network(batch, queries, noise)
        else:
            (z,) = _states(network, batch, queries, noise)
            distribution = network.emit(z, batch, queries, outlook)
    return with_parameters(distribution, _plain)


def _states(
    network: LatentODE, batch: Batch, queries: Queries, noise: Tensor, moving: bool = False
) -> tuple[Tensor, ...]:
    """Latent states of queries, `(samples, queries, latent)`, and their derivatives where `moving`."""
    z0 = network.encode(batch).sample(noise)
    rows = network.layout.rows(len(batch), queries)
    path = network.trajectory(batch, z0, queries.time, rows)
    answering = rows.answering(len(z0))
    time = (queries.time / network.time_scale).to(network.dtype).repeat(len(z0))
    shape = (len(z0), len(queries))
    z = path.at(answering, time).unflatten(0, shape)
    if not moving:
        return (z,)
    return z, path.derivative_at(answering, time).unflatten(0, shape) / network.time_scale


def _around(
    network: LatentODE, batch: Batch, queries: Queries, noise: Tensor, place: np.ndarray, step: float
) -> tuple[Distribution, Distribution]:
    """The distribution of each query, moved along its trajectory by a step back and by a step on."""
    z, slope = _states(network, batch, queries, noise, moving=True)

    def parameters(z: Tensor, time: Tensor) -> tuple[Tensor, ...]:
        return parameters_of(network.emit(z, batch, replace(queries, time=time)))

    ones = torch.ones_like(queries.time)
    moving: Any = torch.func.jvp(parameters, (z, queries.time), (slope, ones))
    found = with_parameters(network.emit(z, batch, queries), _plain)
    moves = [(_plain(value), step * _plain(slope)) for value, slope in zip(*moving, strict=True)]
    before, after = ([value + sign * move for value, move in moves] for sign in (-1.0, 1.0))
    return _with(found, before), _with(found, after)


def _outlook(network: LatentODE, batch: Batch, queries: Queries, noise: Tensor, place: Any) -> Outlook:
    """What the structural block says; no path is solved for it."""
    return network.emission.outlook(batch, queries, network.time_scale).each(Tensor.cpu)


def _event_rates(
    network: LatentODE, batch: Batch, queries: Queries, noise: Tensor, place: np.ndarray
) -> Tensor:
    """Intensity and expected number of events, shape `(2, samples, queries)`."""
    process, layout, size = network.times_process, network.layout, len(batch)
    path = network.trajectory(batch, network.encode(batch).sample(noise), queries.time)
    time = (queries.time / network.time_scale).to(network.dtype)
    where = Queries(queries.series, queries.variable, time)
    expected = process.expected(path, layout, size, torch.zeros_like(time), where)
    return torch.stack([process.rate(path, layout, size, where), expected])


def _class_probabilities(
    network: LatentODE, batch: Batch, queries: Queries, noise: Tensor, place: np.ndarray
) -> Tensor:
    """Shape `(labels, classes)`."""
    z0 = network.encode(batch).sample(noise)
    path = network.trajectory(batch, z0, torch.cat([batch.start, queries.time]))
    labels = Labels(queries.series, queries.time, torch.zeros_like(queries.series))
    return network.label_logits(path, batch, labels).double().softmax(dim=2).mean(dim=0)


def _plain(parameter: Tensor) -> Tensor:
    found = parameter.detach().cpu().double()
    return found.clone() if found.is_inference() else found  # which no later gradient may meet


def _with(distribution: Distribution, parameters: Sequence[Tensor]) -> Distribution:
    """The same kind of distribution with other parameters."""
    given = iter(parameters)
    return with_parameters(distribution, lambda _: next(given))


def _mixed(members: Sequence[Distribution]) -> Distribution:
    """The components of several distributions of the same queries as those of one."""
    if len(members) == 1:
        return members[0]
    parameters = zip(*(parameters_of(member) for member in members), strict=True)
    # What is of queries alone, the units of each one's family, is the same of all.
    return _with(members[0], [torch.cat(own) if own[0].dim() > 1 else own[0] for own in parameters])


def _restored(parts: list[Distribution], places: list[np.ndarray]) -> Distribution:
    """Parts joined, their queries in the order in which they were asked, as those of each part are."""
    if len(parts) == 1:
        return parts[0]
    return take(join(parts), torch.from_numpy(np.argsort(np.concatenate(places))))
