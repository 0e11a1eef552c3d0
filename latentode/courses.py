r"""Courses: the decoded mean and standard deviation along each latent path, and how fast they change.

Where the likelihood has mean $m(z)$ and standard deviation $s(z)$, along a path z(t)

$$\frac{d}{dt} m(z(t)) = \frac{\partial m}{\partial z}\, \frac{dz}{dt},$$

a Jacobian-vector product through the decoder, with dz/dt that of the path itself: the rate is the
exact derivative of what is forecast, whatever the solver's own error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentode.data.batch import Batch, Series
from latentode.data.observations import Queries
from latentode.data.scaling import Scaling
from latentode.forecast import Asked, batches_of
from latentode.model import LatentODE
from latentode.nn.encoders import shared_noise
from latentode.nn.events import last_values

__all__ = ["Courses", "courses_at"]


@dataclass(frozen=True)
class Courses:
    """What each latent sample says of each query, in data units and time units of the data.

    Args:
        mean: shape `(samples, queries)`, as are the others.
        std: decoded standard deviation.
        mean_rate: derivative of `mean` by time.
        std_rate: derivative of `std` by time.
        unit: what one scaled unit is in data units, shape `(queries,)`.
    """

    mean: np.ndarray
    std: np.ndarray
    mean_rate: np.ndarray
    std_rate: np.ndarray
    unit: np.ndarray


@torch.no_grad()
def courses_at(
    model: LatentODE,
    series: Series,
    scaling: Scaling,
    asked: Asked,
    context: float,
    samples: int = 32,
) -> Courses:
    """Follows every latent sample through queries, each from what its series had shown by its origin.

    Args:
        model: trained; its mode and parameters are left as they are.
        series: histories.
        scaling: the one the model was trained with.
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
    loc, scale = np.asarray(scaling.loc)[asked.variable], np.asarray(scaling.scale)[asked.variable]
    mean, std, mean_rate, std_rate = found * scale
    return Courses(loc + mean, std, mean_rate, std_rate, scale)


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
    anchor = z.new_zeros(len(queries))
    if model.anchor:
        seen = batch.context.rescale_time(model.time_scale, model.dtype)
        last = last_values(seen, len(batch), model.layout.n_variables)
        anchor = last[queries.series, queries.variable]

    def moments(z: Tensor) -> tuple[Tensor, Tensor]:
        raw = model.layout.read(z, queries.variable)
        found = model.likelihood.distribution(raw, anchor.expand(samples, -1))
        return found.mean, found.stddev

    found = torch.func.jvp(moments, (z,), (slope,))
    return (*found[0], *found[1])
