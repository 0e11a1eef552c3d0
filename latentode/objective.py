r"""The evidence lower bound, its terms separate and per series.

$$\log p(x) \ge E_{q(z_0)}\Big[\sum_i \log p(x_i \mid z(t_i))\Big] - \mathrm{KL}(q(z_0)\,\|\,N(0, 1))$$

Weighting and reduction happen in `negative_elbo` and nowhere else.

References:
    Neural Ordinary Differential Equations (Chen et al., 2018), section 5, https://arxiv.org/abs/1806.07366
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentode.data.batch import Batch
from latentode.data.observations import Observations
from latentode.model import LatentODE

__all__ = ["Terms", "elbo_terms", "negative_elbo"]


@dataclass(frozen=True)
class Terms:
    """What a series contributes, unweighted.

    Args:
        target: log-likelihood of the targets, mean over latent samples, shape `(series,)`.
        context: log-likelihood of the context (reconstruction), likewise.
        kl: KL(q || prior), shape `(series,)`.
        n_target: number of targets, shape `(series,)`.
        n_context: number of context observations, shape `(series,)`.
    """

    target: Tensor
    context: Tensor
    kl: Tensor
    n_target: Tensor
    n_context: Tensor


def elbo_terms(model: LatentODE, batch: Batch, noise: Tensor, reconstruct: bool = True) -> Terms:
    """Evaluates the terms by Monte Carlo.

    Args:
        model: the network.
        batch: several series.
        noise: standard normal, shape `(samples, series or 1, latent)`.
        reconstruct: whether the context is to be explained too; without, its terms are 0.
    """
    n = len(batch)
    asked = Observations.cat([batch.target, batch.context]) if reconstruct else batch.target
    distribution, state = model(batch, asked.queries(), noise)
    log_prob = distribution.log_prob(asked.value.to(model.dtype)).mean(dim=0)
    split = len(batch.target)
    parts = []
    for part in (slice(0, split), slice(split, None)):
        series = asked.series[part]
        total = log_prob.new_zeros(n).index_add(0, series, log_prob[part])
        parts.append((total, torch.bincount(series, minlength=n)))
    (target, n_target), (context, n_context) = parts
    return Terms(target, context, state.kl(), n_target, n_context)


def negative_elbo(terms: Terms, kl_weight: float = 1.0, context_weight: float = 1.0) -> Tensor:
    """Nats per observation of the batch: series weigh by what was observed of them.

    Args:
        terms: of `elbo_terms`.
        kl_weight: 0 to 1; warmed up so that the latent state is used before it is priced.
        context_weight: weight of an observation that the encoder has seen against a target's.
    """
    gain = terms.target + context_weight * terms.context - kl_weight * terms.kl
    count = terms.n_target + context_weight * terms.n_context
    return -gain.sum() / count.sum().clamp(min=1.0)
