"""The claims of experiments/spirals, on fewer spirals and a short training."""

import numpy as np
import pytest
import torch
from running import experiment

run = experiment("spirals")


@pytest.fixture(scope="module")
def thirty():
    torch.set_num_threads(1)
    run.quiet()
    run.BATCH = 25  # more steps of fewer spirals
    return run.study(30, series=300, epochs=60)


@pytest.mark.slow
def test_the_linear_latent_ode_learns_faster_than_the_perceptrons_and_extrapolates_better(thirty):
    figures, _ = thirty
    assert figures["latent ODE, linear extrapolation"] < 0.8 * figures["RNN extrapolation"]
    assert figures["latent ODE, linear reconstruction"] < figures["latent ODE reconstruction"]


@pytest.mark.slow
def test_both_have_the_same_size(thirty):
    figures, _ = thirty
    assert abs(figures["latent ODE parameters"] / figures["RNN parameters"] - 1) < 0.03


@pytest.mark.slow
def test_the_picture_shows_what_the_figures_say(thirty):
    """What is decoded along the drawn paths errs as the answers at single times do."""
    figures, kept = thirty
    test = kept["test"]
    z, decoded = run.paths(kept["module"], kept["data"], test, 150)
    assert z.shape == (len(test.times), 150, 6)
    grid = np.linspace(0, 1.5, 150)
    off = decoded.numpy() - test.truth(grid[None].repeat(len(z), 0))
    for what, part in (("reconstruction", grid <= 1), ("extrapolation", grid > 1)):
        found = np.sqrt(np.mean(off[:, part] ** 2))
        assert found == pytest.approx(figures[f"latent ODE {what}"], rel=0.15)


def test_spirals_turn_both_ways_and_hide_nothing_but_noise():
    spirals = run.Spirals.drawn(200, 30, seed=3)
    assert spirals.direction.sum() == 0
    assert (np.diff(spirals.times, axis=1) >= 0).all()
    assert spirals.times[:, : spirals.n].max() <= 1 < spirals.times[:, spirals.n :].min()
    noise = spirals.points - spirals.truth(spirals.times)
    assert abs(noise.std() - run.NOISE) < 0.005
    x, y = np.moveaxis(spirals.truth(np.linspace(0, 1, 50)[None].repeat(200, 0)), 2, 0)
    turned = np.sign((x[:, :-1] * y[:, 1:] - y[:, :-1] * x[:, 1:]).mean(1))
    assert (turned == spirals.direction).all()
