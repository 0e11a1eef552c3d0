"""A residual network is Euler's method, methods have their orders, complex fields take finer steps."""

import pytest
import torch
from running import experiment

run = experiment("euler_resnet")


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_residual_blocks_and_euler_steps_agree_to_rounding(shared, dtype, rounding):
    assert run.agreement(12, dtype, shared) < rounding


def test_another_step_size_would_not_agree():
    net = run.layers(8, torch.float64)
    z0 = torch.randn(4, 8, dtype=torch.float64)
    network = run.ResidualNetwork([net] * 12, 1 / 12)
    block = run.ODEBlock(run.Autonomous(net), method="euler", steps=11)
    assert (network(z0) - block(z0)).abs().max() > 1e-4


def test_each_method_converges_with_its_order():
    counts = [8, 16, 32, 64]
    for method, errors in run.convergence(counts).items():
        assert abs(run.slope(counts, errors) - run.ORDERS[method]) < 0.15, method


def test_steps_are_finer_where_and_as_the_field_is_more_complex():
    calm, burst = run.evaluation_times(0.0), run.evaluation_times(100.0)
    assert run.crowding(calm) < 1 and run.crowding(burst) > 5
    counts = [run.evaluations_of_gain(gain) for gain in (0.5, 2.0, 8.0)]
    assert counts[0] * 2 < counts[1] and counts[1] * 4 < counts[2]
