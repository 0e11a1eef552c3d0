r"""The evidence lower bound, its terms separate and per series.

$$\log p(x) \ge E_{q(z_0)}\Big[\sum_i \log p(x_i \mid z(t_i))\Big] - \mathrm{KL}(q(z_0)\,\|\,N(0, 1))$$

Training for a point forecast puts another gain in the place of the log-likelihood: with $m_i$ the mean
over latent samples of the decoded means, $-(x_i - m_i)^2 / 2$ or $-|x_i - m_i|$, the log-densities of
a normal and of a Laplace distribution of scale 1 up to a constant, or their sum. The decoded scale is
then fitted by the likelihood about a location that takes no gradient, so that intervals keep their
meaning.

A decoded scale of its own for every value lets a likelihood neglect the mean where values scatter
widely: there the gradient by the mean is small. Each log-likelihood may therefore count by a power of
its predicted variance, $(\sigma_i^2 / \bar\sigma_{v(i)}^2)^\beta$, which takes no gradient, about the
mean variance of its variable in the batch; $\beta = 0$ is maximum likelihood, and $\beta = 1$ has the
means of least squares.

Where the model says when observations come, the log-likelihood of their times is a further term,
`latentode.model.path_readings`. Reduction happens in `negative_elbo` and nowhere else.

References:
    Neural Ordinary Differential Equations (Chen et al., 2018), section 5, https://arxiv.org/abs/1806.07366
    On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural networks
    (Seitzer et al., 2022), https://arxiv.org/abs/2203.09168
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentode.data.batch import Batch, Observations
from latentode.model.network import LatentODE
from latentode.nn.likelihoods import score, with_fixed_location

__all__ = [
    "GAINS",
    "Gain",
    "Terms",
    "absolute_error",
    "balancing_weights",
    "elbo_terms",
    "error_of_mean",
    "label_loss",
    "log_likelihood",
    "mean_label_loss",
    "negative_elbo",
    "squared_and_absolute_error",
    "squared_error",
    "variance_weights",
]

Gain = Callable[[Distribution, Tensor, Tensor | None], Tensor]
SCALE_WEIGHT = 0.1  # of the likelihood that fits the scale only: enough for Adam, little for the trunk
# Of the absolute error beside half the squared one: more, and outliers are given up.
ABSOLUTE_WEIGHT = 0.25
FURTHEST = 100.0  # factor by which variances of a variable differ at most where they weigh values


@dataclass(frozen=True)
class Terms:
    """What a series contributes, unweighted.

    Args:
        target: sum of the targets' gains (their log-likelihood, by default), shape `(series,)`.
        context: of the context's (reconstruction), likewise.
        kl: KL(q || prior), shape `(series,)`.
        n_target: number of targets, or the sum of their weights, shape `(series,)`.
        n_context: number of context observations, likewise.
        times: log-likelihood of when observations came after the origin, shape `(series,)`; None where
            the model knows values only.
        context_times: of when they came before it, likewise; 0 without reconstruction.
        labels: log-likelihood of the labels, likewise; None where there are none, or no label head.
        n_labels: number of labels, shape `(series,)`.
    """

    target: Tensor
    context: Tensor
    kl: Tensor
    n_target: Tensor
    n_context: Tensor
    times: Tensor | None = None
    context_times: Tensor | None = None
    labels: Tensor | None = None
    n_labels: Tensor | None = None


def log_likelihood(distribution: Distribution, value: Tensor, unit: Tensor | None = None) -> Tensor:
    """Log-density or, where training has something better, that score; mean over latent samples.

    Args:
        distribution: shape `(samples, queries)`.
        value: shape `(queries,)`.
        unit: what errors are multiplied by, shape `(queries,)`; a density knows no units, so it has no
            say here.

    Returns:
        Shape `(queries,)`; the higher, the better.
    """
    return score(distribution, value).mean(dim=0)


def squared_error(distribution: Distribution, value: Tensor, unit: Tensor | None = None) -> Tensor:
    """Minus half the squared error of the mean over latent samples, and the scale's likelihood."""
    error = error_of_mean(distribution, value, unit)
    return SCALE_WEIGHT * _scale_likelihood(distribution, value) - 0.5 * error.square()


def absolute_error(distribution: Distribution, value: Tensor, unit: Tensor | None = None) -> Tensor:
    """Minus the absolute error of the mean over latent samples, and the scale's likelihood."""
    error = error_of_mean(distribution, value, unit)
    return SCALE_WEIGHT * _scale_likelihood(distribution, value) - error.abs()


def squared_and_absolute_error(
    distribution: Distribution, value: Tensor, unit: Tensor | None = None
) -> Tensor:
    """Both errors at once: large ones count by their square, small ones still count."""
    error = error_of_mean(distribution, value, unit)
    both = 0.5 * error.square() + ABSOLUTE_WEIGHT * error.abs()
    return SCALE_WEIGHT * _scale_likelihood(distribution, value) - both


def error_of_mean(distribution: Distribution, value: Tensor, unit: Tensor | None = None) -> Tensor:
    """The predictive mean less the value, times the unit, shape `(queries,)`."""
    error = distribution.mean.mean(dim=0) - value
    return error if unit is None else unit * error


def _scale_likelihood(distribution: Distribution, value: Tensor) -> Tensor:
    """The log-likelihood, whose gradient reaches every parameter but the location."""
    return log_likelihood(with_fixed_location(distribution), value)


GAINS: dict[str, Gain] = {
    "likelihood": log_likelihood,
    "mse": squared_error,
    "mae": absolute_error,
    "mse+mae": squared_and_absolute_error,
}


def balancing_weights(variable: Tensor) -> Tensor:
    """How much each observation counts if every variable does the same; the sum is their number.

    $w_i \\propto 1 / N_{v(i)}$ for $N_v$ observations of v.

    Args:
        variable: of each observation, shape `(observations,)`.

    Example:
        >>> balancing_weights(torch.tensor([0, 0, 0, 2]))
        tensor([0.6667, 0.6667, 0.6667, 2.0000], dtype=torch.float64)
    """
    weight = (1 / torch.bincount(variable).double())[variable]
    return weight * (len(variable) / weight.sum()) if len(variable) else weight


def variance_weights(distribution: Distribution, variable: Tensor, power: float) -> Tensor:
    """How much each value's log-likelihood counts, by a power of its variance in that of its variable.

    Args:
        distribution: shape `(samples, queries)`.
        variable: of each query, shape `(queries,)`.
        power: 0 for 1 everywhere.

    Returns:
        Shape `(queries,)`, in the precision of the distribution, without a gradient.

    Example:
        >>> wide = torch.distributions.Normal(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]))
        >>> variance_weights(wide, torch.tensor([0, 0]), 0.5).square()
        tensor([0.2000, 1.8000])
    """
    deviation = distribution.stddev.detach()  # whose square half a precision cannot hold
    variance = deviation.double().square().mean(dim=0)
    variance = variance.clamp(max=torch.finfo(variance.dtype).max / max(1, len(variable)))
    n = int(variable.max()) + 1 if len(variable) else 0
    total = variance.new_zeros(n).index_add(0, variable, variance)
    mean = total / torch.bincount(variable, minlength=n).clamp(min=1)
    relative = variance / mean[variable].clamp(min=torch.finfo(variance.dtype).tiny)
    return relative.clamp(1 / FURTHEST, FURTHEST).pow(power).to(deviation.dtype)


def elbo_terms(
    model: LatentODE,
    batch: Batch,
    noise: Tensor,
    reconstruct: bool = True,
    gain: Gain = log_likelihood,
    balanced: bool = False,
    units: Tensor | None = None,
    variance_power: float = 0.0,
) -> Terms:
    """Evaluates the terms by Monte Carlo.

    Args:
        model: the network.
        batch: several series.
        noise: standard normal, shape `(samples, series or 1, latent)`.
        reconstruct: whether the context is to be explained too; without, its terms are 0.
        gain: what is summed; of `GAINS`.
        balanced: whether each variable that occurs in the batch weighs the same, among the targets
            and in the context; else each observation does.
        units: what the errors of each variable are multiplied by, shape `(variables,)`.
        variance_power: by which gains count more where values scatter more; see `variance_weights`.
    """
    n = len(batch)
    asked = Observations.cat([batch.target, batch.context]) if reconstruct else batch.target
    through = model.reach(batch, reconstruct)
    distribution, state, path = model.answer(batch, asked.queries(), noise, through)
    unit = None if units is None else units.to(model.value_dtype)[asked.variable]
    gains = gain(distribution, asked.value.double(), unit)
    if variance_power:
        gains = gains * variance_weights(distribution, asked.variable, variance_power).to(gains.dtype)
    split = len(batch.target)
    parts = []
    for part in (slice(0, split), slice(split, None)):
        series, own = asked.series[part], gains[part]
        weight = None
        if balanced:
            weight = balancing_weights(asked.variable[part]).to(own.dtype)
            own = weight * own
        total = own.new_zeros(n).index_add(0, series, own)
        parts.append((total, torch.bincount(series, weight, minlength=n)))
    (target, n_target), (context, n_context) = parts
    terms = Terms(target, context, state.kl(), n_target, n_context)
    if model.event_times is not None:
        times = model.times_log_likelihood(path, batch, past=False).mean(dim=0)
        before = torch.zeros_like(times)
        if reconstruct:
            before = model.times_log_likelihood(path, batch, past=True).mean(dim=0)
        terms = replace(terms, times=times, context_times=before)
    if model.labelling is not None and batch.labels is not None:
        series = batch.labels.series
        logits = model.label_logits(path, batch, batch.labels)
        own = -label_loss(logits, batch.labels.klass).mean(dim=0)
        of_series = own.new_zeros(n).index_add(0, series, own)
        terms = replace(terms, labels=of_series, n_labels=torch.bincount(series, minlength=n))
    return terms


def label_loss(logits: Tensor, klass: Tensor) -> Tensor:
    """The cross-entropy of each label, shape `(samples, labels)`.

    Args:
        logits: shape `(samples, labels, classes)`.
        klass: shape `(labels,)`.
    """
    found = logits.log_softmax(dim=2)
    return -found.gather(2, klass[None, :, None].expand(len(found), -1, 1)).squeeze(2)


def mean_label_loss(terms: Terms) -> Tensor:
    """Minus the log-likelihood per label of the batch; 0 where there are no labels."""
    if terms.labels is None or terms.n_labels is None:
        return terms.kl.new_zeros(())
    return -terms.labels.sum() / terms.n_labels.sum().clamp(min=1)


def negative_elbo(
    terms: Terms, kl_weight: float = 1.0, context_weight: float = 1.0, time_weight: float = 1.0
) -> Tensor:
    """Minus the gain per observation of the batch: series weigh by what was observed of them.

    Args:
        terms: of `elbo_terms`.
        kl_weight: 0 to 1; warmed up so that the latent state is used before it is priced.
        context_weight: weight of an observation that the encoder has seen against a target's.
        time_weight: weight of the log-likelihood of times against that of values.
    """
    gain = terms.target + context_weight * terms.context - kl_weight * terms.kl
    if terms.times is not None and terms.context_times is not None:
        gain = gain + time_weight * (terms.times + context_weight * terms.context_times)
    count = terms.n_target + context_weight * terms.n_context
    return -gain.sum() / count.sum().clamp(min=1.0)
