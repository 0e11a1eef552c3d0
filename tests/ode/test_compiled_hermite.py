"""Compiled interpolation equals that in tensor operations, in whatever order queries come."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentode.ode import HermiteTrajectory
from latentode.ode.kernels.hermite import cubic, cubic_in_bags, interpolate


@settings(deadline=None)  # the first call compiles
@given(
    rows=st.integers(1, 5),
    intervals=st.integers(1, 9),
    latent=st.integers(1, 20),
    queries=st.integers(0, 40),
    order=st.sampled_from(["by row and time", "by row", "any"]),
    seed=st.integers(0, 10_000),
)
def test_values_and_gradients_are_those_of_tensor_operations(
    rows, intervals, latent, queries, order, seed
):
    torch.manual_seed(seed)
    start, width = torch.randn(rows), torch.randn(rows)  # half of the rows go backwards in time
    width[torch.rand(rows) < 0.2] = 0.0
    knots = start[:, None] + width[:, None] * torch.linspace(0, 1, intervals + 1)
    made = [torch.randn(rows, intervals + 1, latent) for _ in range(2)]
    if seed % 2:  # laid out as a solve makes them, knot after knot
        made = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in made]
    states, slopes = (x.requires_grad_() for x in made)
    asked = torch.randint(rows, (queries,))
    times = start[asked] + width[asked] * (1.4 * torch.rand(queries) - 0.2)  # some beyond the span
    if queries:
        on_a_knot = torch.rand(queries) < 0.2
        times = torch.where(on_a_knot, knots[asked, torch.randint(intervals + 1, (queries,))], times)
    if order != "any":
        asked, index = asked.sort(stable=True)
        times = times[index]
    if order == "by row and time":
        index = (asked * 1000 + times).argsort()
        times = times[index]
    path = HermiteTrajectory(knots, states, slopes)
    ours, theirs = path.at(asked, times), cubic(knots, states, slopes, asked, times)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    weights = torch.randn_like(ours)
    expected = torch.autograd.grad(theirs, [states, slopes], weights)
    others = [ours, *([cubic_in_bags(knots, states, slopes, asked, times)] if queries else [])]
    for found in others:
        torch.testing.assert_close(found, theirs, rtol=1e-9, atol=1e-9)
        for a, b in zip(torch.autograd.grad(found, [states, slopes], weights), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_gradient_by_the_times_is_still_to_be_had():
    knots = torch.linspace(0, 1, 4).expand(2, 4)
    path = HermiteTrajectory(knots, torch.randn(2, 4, 3), torch.randn(2, 4, 3))
    times = torch.tensor([0.2, 0.7], requires_grad=True)
    rows = torch.arange(2)
    (g,) = torch.autograd.grad(path.at(rows, times).sum(), times)
    torch.testing.assert_close(g, path.derivative_at(rows, times.detach()).sum(1))


def test_a_row_that_does_not_exist_is_refused():
    path = torch.linspace(0, 1, 4).expand(2, 4), torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    for query in (0, 1):
        for row in (2, -1):
            rows = torch.zeros(2, dtype=torch.int64)
            rows[query] = row
            with pytest.raises(IndexError, match=f"query {query} asks for row {row} of 2 rows"):
                interpolate(*path, rows, torch.zeros(2))
    with pytest.raises(ValueError, match="as many"):
        interpolate(*path, torch.zeros(1, dtype=torch.int64), torch.zeros(2))


def test_a_time_that_is_none_spoils_its_own_answer_only():
    knots = torch.linspace(0, 1, 9).expand(1, 9)
    path = HermiteTrajectory(knots, torch.randn(1, 9, 3), torch.randn(1, 9, 3))
    times = torch.tensor([0.9, float("nan"), 0.1])
    z = path.at(torch.zeros(3, dtype=torch.int64), times)
    assert torch.isnan(z[1]).all()
    torch.testing.assert_close(z[2], path(times[2:, None].T)[0, 0])


def test_states_of_other_knots_are_refused():
    knots, rows, times = torch.linspace(0, 1, 4).expand(5, 4), torch.zeros(1).long(), torch.zeros(1)
    for shape in ((2, 4, 3), (5, 2, 3)):
        with pytest.raises(ValueError, match="a state and a slope each"):
            HermiteTrajectory(knots, torch.randn(shape), torch.randn(shape)).at(rows, times)
    with pytest.raises(ValueError, match="a state and a slope each"):
        HermiteTrajectory(knots, torch.randn(5, 4, 3), torch.randn(4, 4, 3)).at(rows, times)
