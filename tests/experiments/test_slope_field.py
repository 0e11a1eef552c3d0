"""The field behind noisy trajectories is learned, where they went."""

import torch
from running import experiment

run = experiment("slope_field")


def test_a_field_is_learned_from_its_trajectories():
    times, states = run.trajectories(30, torch.Generator().manual_seed(0))
    field = run.learn(times, states, steps=250)
    seen = states.flatten(0, 1)
    untrained = run.MLPDynamics(2, (48, 48))
    assert run.field_error(field, seen) < 0.15 < 0.8 < run.field_error(untrained, seen)
    start = run.starts(20, torch.Generator().manual_seed(1))
    assert run.path_error(field, start) < 0.4 * run.path_error(untrained, start)


def test_the_known_paths_are_closed():
    start = run.starts(5, torch.Generator().manual_seed(2))

    def kept(z):
        return (z[..., 0] - z[..., 0].log()) * 0.75 + z[..., 1] - z[..., 1].log()

    path = run.FINE.solve(run.LotkaVolterra(), start, torch.zeros(5), torch.full((5,), run.DURATION))
    assert (kept(path.states) - kept(start)[:, None]).abs().max() < 1e-4
