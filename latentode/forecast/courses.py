r"""DecodedMoments: mean and standard deviation along each latent path, and how fast they change.

Where the likelihood has mean $m(z)$ and standard deviation $s(z)$, along a path z(t)

$$\frac{d}{dt} m(z(t)) = \frac{\partial m}{\partial z}\, \frac{dz}{dt},$$

a Jacobian-vector product through the decoder, with dz/dt that of the path itself: the rate is the
exact derivative of what is forecast, whatever the solver's own error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latentode.data.batch import Batch, Series
from latentode.data.observations import Queries
from latentode.forecast.forecast import ForecastQueries, batches_of
from latentode.model.network import LatentODE
from latentode.nn.latent_state import shared_noise

__all__ = ["DecodedMoments", "decoded_moments"]


@dataclass(frozen=True)
class DecodedMoments:
    """What each latent sample says of each query, in scaled units and time units of the data.

    Args:
        mean: shape `(samples, queries)`, as are the others.
        std: decoded standard deviation.
        mean_rate: derivative of `mean` by time.
        std_rate: derivative of `std` by time.
    """

    mean: np.ndarray
    std: np.ndarray
    mean_rate: np.ndarray
    std_rate: np.ndarray


@torch.no_grad()
def decoded_moments(
    model: LatentODE,
    series: Series,
    asked: ForecastQueries,
    context: float,
    samples: int = 32,
) -> DecodedMoments:
    """Follows every latent sample through queries, each from what its series had shown by its origin.

    Args:
        model: trained; its mode and parameters are left as they are.
        series: histories.
        asked: the queries, none earlier than `context` before its origin.
        context: how far back of the origin the encoder sees, in time units.
        samples: latent samples; one where z(t0) is a point.
    """
    noise = shared_noise(samples if model.variational else 1, model.latent_size)
    found = np.zeros((4, len(noise), len(asked.series)))
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    for places, batch, queries in batches_of(model, series, asked, context, len(noise)):
        parts = _follow(model, batch.to(device), queries.to(device), noise.to(device, model.dtype))
        found[:, :, places] = torch.stack(parts).cpu().double().numpy()
    model.train(training)
    return DecodedMoments(*found)


def _follow(model: LatentODE, batch: Batch, queries: Queries, noise: Tensor) -> tuple[Tensor, ...]:
    """Mean, standard deviation and their rates in scaled units, each `(samples, queries)`."""
    samples = len(noise)
    z0 = model.encode(batch).sample(noise)
    rows = model.layout.rows(len(batch), queries)
    path = model.trajectory(batch, z0, queries.time, rows)
    answering = rows.answering(samples)
    time = (queries.time / model.time_scale).to(model.dtype).repeat(samples)
    shape = (samples, len(queries))
    z = path.at(answering, time).unflatten(0, shape)
    slope = path.derivative_at(answering, time).unflatten(0, shape) / model.time_scale

    def moments(z: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        found = model.emit(z, batch, replace(queries, time=time))
        return found.mean, found.variance.sqrt()

    found = torch.func.jvp(moments, (z, queries.time), (slope, torch.ones_like(queries.time)))
    return (*found[0], *found[1])
