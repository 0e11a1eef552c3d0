r"""The evidence lower bound against a linear-Gaussian model whose likelihood has a closed form.

With $z(t) = z_0 e^{at}$, $z_0 \sim N(0, 1)$ and $x_i = c\,z(t_i) + \varepsilon_i$, the data are jointly
normal with covariance $c^2 e^{a(t_i + t_j)} + s^2 \delta_{ij}$ and the posterior of $z_0$ is normal.
The expected log-likelihood is quadratic in $z_0$, so noise of +1 and -1 integrates it exactly.
"""

import numpy as np
import pytest
import torch
from making import batch_of, network, noise_for, piece
from scipy import stats
from torch import nn

from latentode.model.emission import Emission
from latentode.model.layouts import JointLayout
from latentode.model.network import LatentODE
from latentode.model.objective import Terms, elbo_terms, negative_elbo
from latentode.nn.decoders import Decoder
from latentode.nn.latent_state import Encoder, LatentState
from latentode.nn.likelihoods import MIN_SCALE, NormalLikelihood
from latentode.ode import Dynamics, Solver

pytestmark = pytest.mark.usefixtures("float64")
RATE, GAIN, SIGMA = -0.4, 1.3, 0.5
PLUS_MINUS = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(2, 1, 1)


class Nothing(Encoder):
    def forward(self, events, t0, last):
        return t0[:, None]


class Fixed(nn.Module):
    """q(z0) as given, whatever was observed."""

    latent_size = 1

    def __init__(self, loc, scale):
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.tensor([[loc]])), torch.tensor([[scale]])

    def forward(self, summary, static):
        return LatentState(self.loc.expand(len(summary), 1), self.scale.expand(len(summary), 1))


class Exponential(Dynamics):
    def forward(self, t, z, context=None):
        return RATE * z


class Linear(Decoder):
    n_variables = 1

    def forward(self, z, variable):
        raw_scale = np.log(np.expm1(SIGMA - MIN_SCALE))
        return torch.cat([GAIN * z, torch.full_like(z, raw_scale)], dim=-1)


def linear_gaussian(loc, scale):
    solver = Solver(intervals=64)
    layout = JointLayout(Nothing(), Fixed(loc, scale), Linear())
    emission = Emission(NormalLikelihood(), 1, last_value=False)
    return LatentODE(layout, Exponential(), emission, solver, time_scale=2.0)


@pytest.fixture
def data():
    batch = batch_of([piece(np.random.default_rng(3), 4, 5, n_variables=1, n_known=0)])
    time = torch.cat([batch.target.time, batch.context.time]).numpy() / 2.0
    value = torch.cat([batch.target.value, batch.context.value]).numpy()
    return batch, time, value


def exact(time, value):
    """log p(x), and mean and standard deviation of p(z0 | x)."""
    loading = GAIN * np.exp(RATE * time)
    covariance = np.outer(loading, loading) + SIGMA**2 * np.eye(len(time))
    evidence = stats.multivariate_normal(np.zeros(len(time)), covariance).logpdf(value)
    precision = 1 + (loading**2).sum() / SIGMA**2
    return evidence, (loading * value).sum() / SIGMA**2 / precision, precision**-0.5


def elbo(batch, loc, scale):
    terms = elbo_terms(linear_gaussian(loc, scale), batch, PLUS_MINUS)
    return float((terms.target + terms.context - terms.kl).detach())


def test_with_the_exact_posterior_the_bound_is_the_log_likelihood(data):
    batch, time, value = data
    evidence, mean, std = exact(time, value)
    assert elbo(batch, mean, std) == pytest.approx(evidence, abs=1e-7)


@pytest.mark.parametrize(("shift", "stretch"), [(0.3, 1.0), (0.0, 2.0), (-1.0, 0.3)])
def test_the_bound_falls_short_by_the_divergence_from_the_posterior(data, shift, stretch):
    batch, time, value = data
    evidence, mean, std = exact(time, value)
    loc, scale = mean + shift * std, stretch * std
    gap = np.log(std / scale) + (scale**2 + (loc - mean) ** 2) / (2 * std**2) - 0.5
    assert gap > 0
    assert elbo(batch, loc, scale) == pytest.approx(evidence - gap, abs=1e-7)


def test_random_noise_estimates_the_same_bound(data):
    batch, time, value = data
    _, mean, std = exact(time, value)
    noise = torch.randn(20000, 1, 1, generator=torch.Generator().manual_seed(0))
    model = linear_gaussian(mean, std)
    asked = batch.target
    distribution, _ = model(batch, asked.queries(), noise)
    each = distribution.log_prob(asked.value).sum(dim=1).detach()
    error = float(each.std() / len(each) ** 0.5)
    expected = float(elbo_terms(model, batch, PLUS_MINUS).target.detach())
    assert float(each.mean()) == pytest.approx(expected, abs=4 * error)


def test_terms_are_sums_over_each_series_own_observations():
    rng = np.random.default_rng(0)
    batch, noise = batch_of([piece(rng, 4, 3), piece(rng, 2, 5), piece(rng, 5, 0)]), noise_for(3)
    model = network(likelihood="student-t")
    terms = elbo_terms(model, batch, noise)
    for part, total, count in (
        (batch.target, terms.target, terms.n_target),
        (batch.context, terms.context, terms.n_context),
    ):
        each = model(batch, part.queries(), noise)[0].log_prob(part.value).mean(dim=0)
        for i in range(3):
            own = part.series == i
            torch.testing.assert_close(total[i], each[own].sum(), rtol=1e-12, atol=1e-12)
            assert count[i] == own.sum()


def test_without_reconstruction_the_context_costs_nothing_and_targets_the_same():
    rng = np.random.default_rng(0)
    batch, noise = batch_of([piece(rng, 4, 3), piece(rng, 2, 5)]), noise_for(2)
    model = network()
    with_, without = (elbo_terms(model, batch, noise, reconstruct=r) for r in (True, False))
    assert torch.equal(without.context, torch.zeros(2))
    assert torch.equal(without.n_context, torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(without.target, with_.target, rtol=1e-12, atol=1e-12)


def test_the_loss_is_nats_per_observation_with_both_weights():
    one = torch.tensor
    terms = Terms(one([-3.0, -5.0]), one([-2.0, -8.0]), one([1.0, 3.0]), one([2, 3]), one([4, 6]))
    # 8 + 0.5 * 10 + 0.25 * 4 over 5 + 0.5 * 10
    assert negative_elbo(terms, 0.25, 0.5).item() == pytest.approx(14 / 10, abs=1e-14)
    assert negative_elbo(terms, 0.0, 0.0).item() == pytest.approx(8 / 5, abs=1e-14)
