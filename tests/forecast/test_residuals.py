"""The residual process: its kernel, its draws, and that it is found again in data made from it."""

import numpy as np
import pytest
from making import tiny, waves
from scipy import special, stats

from latentode.evaluation.residual_fit import ScorePairs, most_likely
from latentode.forecast.residuals import Residuals, matern
from latentode.forecast.sampler import Joint, draw_noise, draw_waves, nodes_between, shared_draws


def keys(n, key=7):
    return np.full(n, key, dtype=np.uint64)


def test_the_kernel_is_that_of_the_textbook():
    x = np.linspace(0.01, 6, 40)
    far = np.sqrt(5) * x
    expected = 2**-1.5 / special.gamma(2.5) * far**2.5 * special.kv(2.5, far)
    np.testing.assert_allclose(matern(x), expected, rtol=1e-12)


def test_draws_have_the_kernel_for_their_covariance():
    time = np.linspace(0, 4, 9)
    value, slope = draw_waves(keys(9), time, np.full(9, 1.5), 3000)
    expected = matern(np.abs(time[:, None] - time) / 1.5)
    np.testing.assert_allclose(value.T @ value / 3000, expected, atol=5 / np.sqrt(3000))
    np.testing.assert_allclose((slope**2).mean(axis=0), 5 / 3 / 1.5**2, rtol=0.15)
    assert stats.kstest(value[:, 4], "norm").pvalue > 1e-3


def test_a_draw_is_a_function_and_its_slope_the_derivative():
    time, step = np.array([0.3, 2.0, -1.0]), 1e-5
    length = np.array([0.7, 0.7, 0.7])
    value, slope = draw_waves(keys(3), time, length, 10)
    later, _ = draw_waves(keys(3), time + step, length, 10)
    before, _ = draw_waves(keys(3), time - step, length, 10)
    np.testing.assert_allclose((later - before) / (2 * step), slope, rtol=1e-6, atol=1e-7)
    alone, _ = draw_waves(keys(1), time[1:2], length[:1], 10)
    np.testing.assert_array_equal(alone[:, 0], value[:, 1])


def test_what_a_key_draws_depends_on_nothing_else():
    both = np.array([3, 9, 3], dtype=np.uint64)
    value, _ = draw_waves(both, np.array([1.0, 1.0, 2.0]), np.ones(3), 4000)
    own, _ = draw_waves(both[1:2], np.ones(1), np.ones(1), 4000)
    np.testing.assert_array_equal(own[:, 0], value[:, 1])
    assert abs(np.corrcoef(value[:, 0], value[:, 1])[0, 1]) < 0.06
    other, _ = draw_waves(both, np.array([1.0, 1.0, 2.0]), np.ones(3), 4000, seed=1)
    assert (other != value).all()


def test_noise_is_independent_between_times_and_the_same_at_the_same():
    time = np.array([0.5, 1.0, 0.5])
    noise = draw_noise(keys(3), time, 3000)
    np.testing.assert_array_equal(noise[:, 0], noise[:, 2])
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.06
    assert stats.kstest(noise[:, 1], "norm").pvalue > 1e-3


def test_every_latent_sample_is_taken_equally_often_and_by_all_of_a_key():
    took = shared_draws(np.array([1, 1, 2], dtype=np.uint64), 64, 8)
    np.testing.assert_array_equal(took[:, 0], took[:, 1])
    assert (np.bincount(took[:, 2]) == 8).all()


def test_joint_scores_are_standard_normal_and_lasting_as_said():
    n = 4000
    lead = np.array([0.0, 0.5, 3.0])
    joint = Joint(keys(3), np.zeros(3, dtype=int), lead, np.ones(3), np.full(3, 2.0))
    scores = joint.scores(np.broadcast_to(np.array([1.0, 3.0, 3.0]), (n, 3)), 0)
    found = np.cov(scores.T)
    np.testing.assert_allclose(np.diag(found), 1.0, atol=0.09)
    expected = np.sqrt(0.75 * 0.75) * matern(np.array([2.5 / 2]))[0]
    assert found[1, 2] == pytest.approx(expected, abs=0.07)


def test_noise_and_length_are_found_again():
    """Scores made from the process itself, at the pairs that an estimate looks at."""
    rng = np.random.default_rng(0)
    n, horizon = 20_000, 2.0
    variable = rng.integers(0, 2, n)
    sigma, length = np.array([0.4, 1.5])[variable], np.array([0.8, 3.0])[variable]
    gap = rng.uniform(0.01, 2.0, n)
    decoded = np.ones((2, n))
    rho = matern(gap / length) / (1 + sigma**2)
    x = rng.normal(size=n)
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)
    found = most_likely(ScorePairs(variable, x, y, gap, np.zeros(n), decoded, decoded), 2, horizon)
    assert found.noise == pytest.approx((0.4, 1.5), abs=0.11)
    assert found.length == pytest.approx((0.8, 3.0), rel=0.35)


def test_scores_without_any_memory_are_called_noise():
    rng = np.random.default_rng(1)
    n = 20_000
    x, y, gap = rng.normal(size=n), rng.normal(size=n), rng.uniform(0.01, 2, n)
    one = np.ones((2, n))
    found = most_likely(ScorePairs(np.zeros(n, dtype=int), x, y, gap, np.zeros(n), one, one), 1, 2.0)
    lasting = found.lasting(np.ones(1), np.zeros(1, dtype=int))[0] * matern(
        0.5 / np.array(found.length)
    )
    assert lasting[0] < 0.05


def test_residuals_go_through_primitives():
    one = Residuals((0.1, 2.0), (1.0, 3.0))
    assert Residuals.from_dict(one.to_dict()) == one


def test_quadrature_is_exact_for_quintics_over_each_integral_of_its_own():
    start, end = np.array([0.0, -1.0, 2.0]), np.array([3.0, 0.5, 2.0])
    nodes = nodes_between(start, end, np.array([0.4, 5.0, 1.0]))
    sums = nodes.sums(np.stack([nodes.time**5, np.ones_like(nodes.time)]))
    np.testing.assert_allclose(sums[0], (end**6 - start**6) / 6, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(sums[1], end - start, atol=1e-13)


@pytest.mark.parametrize("n", [30, 300])
def test_residuals_are_found_whatever_the_number_of_held_out_series(n):
    # From the last origin of a series alone, a single time lies ahead, and nothing can be paired.
    held_out = waves(n, 12, seed=1).drop_duplicates(["id", "time"])
    model = tiny().fit(waves(24, 12, seed=0), validation=held_out)
    assert model.fitted_.residuals is not None
