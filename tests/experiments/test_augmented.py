"""Crossing paths and nested annuli: beyond a plain neural ODE, cheap for an augmented one."""

import pytest
import torch
from running import experiment

run = experiment("augmented")


def test_paths_on_a_line_cannot_cross_but_with_one_more_dimension_they_pass():
    plain, augmented = (run.learn_crossing(extra, steps=60) for extra in (0, 1))
    data = run.crossing(201)
    found = run.evaluate(plain, data), run.evaluate(augmented, data)
    # A flow of the line keeps order, and the best map that does sends everything to zero: E x^2.
    least = data[0].square().mean().item()
    assert least * 0.999 < found[0]["loss"] < 1.1 * least
    assert found[1]["loss"] < 0.01
    assert found[1]["evaluations"] < found[0]["evaluations"]


@pytest.mark.slow
def test_a_disc_leaves_its_ring_through_one_more_dimension_only():
    plain, augmented = (run.learn_annuli(extra, steps=200) for extra in (0, 1))
    data = run.annuli(2000, torch.Generator().manual_seed(99))
    found = run.evaluate(plain, data), run.evaluate(augmented, data)
    assert found[1]["accuracy"] > 0.999
    assert found[1]["loss"] < found[0]["loss"] / 2
    assert max(augmented.evaluations) < max(plain.evaluations)
    assert run.worst_on_circle(plain) > 1 > run.worst_on_circle(augmented)


def test_the_annuli_are_what_they_are_called():
    x, y = run.annuli(3000, torch.Generator().manual_seed(0))
    radius = x.norm(dim=1)
    disc = y[:, 0] < 0
    assert radius[disc].max() <= 0.5 and 1 <= radius[~disc].min() <= radius[~disc].max() <= 1.5
    assert abs(disc.float().mean() - 1 / 3) < 0.03
