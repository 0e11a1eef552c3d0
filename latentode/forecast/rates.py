"""Rates: how often a series will be observed at places in time that are asked for, and up to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from latentode.data.batch import Series
from latentode.data.observations import Queries
from latentode.forecast.forecast import ForecastQueries, batches_of
from latentode.model.network import LatentODE
from latentode.nn.latent_state import shared_noise

__all__ = ["Rates", "rates_at"]


@dataclass(frozen=True)
class Rates:
    """What is said of each query, a row per latent sample; times in time units of the data.

    Args:
        intensity: events per time unit there, shape `(samples, queries)`.
        expected: events since the query's origin, same shape.
    """

    intensity: np.ndarray
    expected: np.ndarray


@torch.no_grad()
def rates_at(
    model: LatentODE, series: Series, asked: ForecastQueries, context: float, samples: int = 32
) -> Rates:
    """The intensity at queries, each from what its series had shown by its origin.

    Args:
        model: trained with `observation_times`; its mode and parameters are left as they are.
        series: histories.
        asked: the queries, no earlier than their origins; a process of the whole series answers
            whatever the variable.
        context: how far back of the origin the encoder sees, in time units.
        samples: latent samples; one where z(t0) is a point.

    Raises:
        LatentODEError: if the model was trained without `observation_times`.
    """
    process = model.times_process
    noise = shared_noise(samples if model.variational else 1, model.latent_size)
    n_samples, n = len(noise), len(asked.series)
    found = np.zeros((2, n_samples, n))
    training = model.training
    model.eval()
    for places, batch, queries in batches_of(model, series, asked, context, n_samples):
        device = next(model.parameters()).device
        batch, queries = batch.to(device), queries.to(device)
        z0 = model.encode(batch).sample(noise.to(device, model.dtype))
        path = model.trajectory(batch, z0, queries.time)
        time = (queries.time / model.time_scale).to(model.dtype)
        where = Queries(queries.series, queries.variable, time)
        size = len(batch)
        both = (
            process.rate(path, model.layout, size, where),
            process.expected(path, model.layout, size, torch.zeros_like(time), where),
        )
        found[:, :, places] = torch.stack(both).cpu().double().numpy()
    model.train(training)
    return Rates(*found)
