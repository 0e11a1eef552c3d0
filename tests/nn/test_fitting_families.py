"""Each family, fitted by what training raises, finds the distribution that its values came from."""

import numpy as np
import pytest
import torch
from scipy import stats

from latentode.nn.likelihoods import LIKELIHOODS, likelihood_of, score

pytestmark = pytest.mark.usefixtures("float64")
TRUTHS = {  # an entry for each family
    "normal": stats.norm(2.0, 0.7),
    "student-t": stats.t(4.0, 2.0, 0.7),
    "laplace": stats.laplace(2.0, 0.7),
    "quantile": stats.gamma(3.0, scale=0.5),
    "log-normal": stats.lognorm(0.6, scale=2.0),
    "bernoulli": stats.bernoulli(0.8),
    "poisson": stats.poisson(3.5),
    "negative-binomial": stats.nbinom(2.0, 0.3),
    "beta": stats.beta(2.0, 5.0),
}


def fitted(name, values):
    """The likelihood's distribution with the raw numbers that suit values best."""
    loc, scale = float(values.mean()), float(values.std())
    likelihood = likelihood_of(name, 1, {"x": {"loc": loc, "scale": scale}})
    raw = torch.zeros(1, 1, likelihood.n_raw, requires_grad=True)
    in_data = bool(likelihood.families(1)[0].of_data_units)
    value = torch.from_numpy((values - loc) / scale if in_data else values)[:, None]
    optimiser = torch.optim.LBFGS([raw], max_iter=80, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        made = likelihood.distribution(raw, torch.zeros(1, 1), torch.tensor([0]))
        found = -score(made, value).mean()
        found.backward()
        return found

    optimiser.step(loss)
    made = likelihood.distribution(raw.detach(), torch.zeros(1, 1), torch.tensor([0]))
    at, one = (np.array([loc]), np.array([scale])) if in_data else (np.zeros(1), np.ones(1))
    return likelihood, *likelihood.in_data_units(made, at, one)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_family_finds_the_distribution_of_its_values(name):
    truth = TRUTHS[name]
    values = truth.rvs(size=4000, random_state=np.random.default_rng(1)).astype(np.float64)
    likelihood, made, _, _ = fitted(name, values)
    assert float(made.mean) == pytest.approx(truth.mean(), rel=0.05)
    assert float(made.variance) == pytest.approx(truth.var(), rel=0.2)
    for q in (0.1, 0.25, 0.5, 0.75, 0.9):
        at = truth.ppf(q)
        found = likelihood.cdf(made, np.array([at])).item()
        assert found == pytest.approx(truth.cdf(at), abs=0.03)


def test_quantiles_find_two_humps_that_no_location_and_scale_could():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(-2, 0.4, 2000), rng.normal(2, 0.4, 2000)])
    likelihood, made, _, _ = fitted("quantile", values)
    density = made.log_prob(torch.tensor([[-2.0], [0.0], [2.0]])[:, None]).exp().flatten()
    assert density[1] < 0.25 * density[0] and density[1] < 0.25 * density[2]
    assert likelihood.cdf(made, np.array([0.0])).item() == pytest.approx(0.5, abs=0.03)
