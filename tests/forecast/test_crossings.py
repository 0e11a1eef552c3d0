"""First crossings of hand-made paths, whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from latentode.data.cells.time_axis import TimeAxis
from latentode.errors import LatentODEError
from latentode.forecast.first_passage import FirstPassageTime, first_at_or_above, first_reading


def test_a_cubic_is_crossed_at_its_root_to_rounding():
    time = np.array([0.0, 0.7, 2.0, 3.1])

    def path(t):
        return (t - 1.3) * (t**2 + 1)

    def slope(t):
        return (t**2 + 1) + (t - 1.3) * 2 * t

    assert first_at_or_above(time, path(time), slope(time), 0.0) == pytest.approx(1.3, abs=1e-13)


def test_the_error_falls_with_the_fourth_power_of_the_distance_of_points():
    errors = []
    for n in (8, 16, 32, 64):
        time = np.linspace(0, 3, n + 1)
        found = first_at_or_above(time, np.sin(time), np.cos(time), 0.5)
        errors.append(abs(found - np.pi / 6))
    slopes = np.diff(np.log(errors)) / np.log(0.5)
    assert slopes.mean() > 3.5


def test_a_peak_between_two_points_is_not_overlooked():
    time = np.array([0.0, 2.0])
    value, rate = 1 - (time - 1) ** 2, -2 * (time - 1)
    assert first_at_or_above(time, value, rate, 0.75) == pytest.approx(0.5, abs=1e-12)
    assert first_at_or_above(time, value, rate, 1.0 + 1e-9) == np.inf
    # falls first, then peaks inside the same cell: -u^3 turned about
    value, rate = np.array([0.0, 0.0]), np.array([-6.0, -6.0])
    dense = np.linspace(0, 2, 200_001)
    u = dense / 2
    cubic = -24 * u**3 + 36 * u**2 - 12 * u
    expected = dense[(cubic >= 1.0).argmax()]
    assert first_at_or_above(time, value, rate, 1.0) == pytest.approx(expected, abs=2e-5)


def test_a_path_that_begins_at_the_level_is_there_at_once_and_one_below_never():
    time = np.linspace(0, 1, 5)
    value = np.stack([2 - time, -time, time])
    rate = np.stack([-np.ones(5), -np.ones(5), np.ones(5)])
    found = first_at_or_above(time, value, rate, 0.5)
    assert found[:2].tolist() == [0.0, np.inf]
    assert found[2] == pytest.approx(0.5)


def test_of_many_paths_each_is_answered_as_if_alone():
    rng = np.random.default_rng(0)
    time = np.sort(np.r_[0.0, rng.uniform(0, 4, 20)])
    value, rate = rng.normal(size=(2, 3, 50, 21))
    together = first_at_or_above(time, value, rate, 1.2)
    assert together.shape == (3, 50)
    for i, j in ((0, 0), (1, 17), (2, 49)):
        assert first_at_or_above(time, value[i, j], rate[i, j], 1.2) == together[i, j]


def test_crossings_agree_with_a_dense_search():
    rng = np.random.default_rng(1)
    time = np.linspace(0, 5, 200)
    amplitude, phase, speed = rng.uniform(0.5, 2, 80), rng.uniform(0, 6, 80), rng.uniform(0.5, 3, 80)

    def path(t):
        return amplitude[:, None] * np.sin(speed[:, None] * t + phase[:, None])

    def slope(t):
        return (amplitude * speed)[:, None] * np.cos(speed[:, None] * t + phase[:, None])

    dense = np.linspace(0, 5, 50_001)
    above = path(dense) >= 0.9
    expected = np.where(above.any(axis=1), dense[above.argmax(axis=1)], np.inf)
    found = first_at_or_above(time, path(time), slope(time), 0.9)
    assert (np.isinf(expected) == np.isinf(found)).all()
    assert 5 < np.isinf(found).sum() < 75
    some = np.isfinite(found)
    np.testing.assert_allclose(found[some], expected[some], atol=2e-4)


def test_readings_count_at_their_own_times_only():
    time = np.array([1.0, 2.0, 3.0])
    value = np.array([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]])
    assert first_reading(time, value, 4.0).tolist() == [2.0, np.inf]


def crossing(times, horizon=10.0):
    n = times.shape[1]
    keys = pd.DataFrame({"id": range(n), "since": 0.0, "variable": "x"})
    return FirstPassageTime(keys, times, horizon, TimeAxis("float", time_unit="1"))


def test_probabilities_and_quantiles_are_those_of_the_draws():
    times = np.array([[1.0, np.inf], [2.0, np.inf], [3.0, 4.0], [np.inf, np.inf]])
    made = crossing(times)
    assert made.cdf(2.0).tolist() == [0.5, 0.0]
    assert made.quantile(0.5).tolist() == [2.0, np.inf]
    assert made.quantile(0.25).tolist() == [1.0, 4.0]
    assert made.probability(by=3.5)["probability"].tolist() == [0.75, 0.0]
    frame = made.to_frame((0.5,))
    assert list(frame.columns) == ["id", "since", "variable", "probability", "none", "q0.5"]
    assert frame["none"].tolist() == [0.25, 0.75]


def test_a_time_beyond_the_horizon_is_refused():
    with pytest.raises(LatentODEError, match="longer horizon"):
        crossing(np.ones((1, 1)), horizon=2.0).probability(by=3.0)
