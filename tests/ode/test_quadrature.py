"""Integrals along trajectories against closed forms, cell by cell and across cells."""

import math
from itertools import pairwise

import pytest
import torch

from latentode.errors import SolveError
from latentode.ode import Dynamics, HermiteTrajectory, Solver, integrate

RATE = -0.7


class Exponential(Dynamics):
    def forward(self, t, z, context=None):
        return RATE * z


def line(times):
    """z(t) = t, which cubic pieces hold exactly."""
    times = torch.tensor(times, dtype=torch.float64)
    return HermiteTrajectory(times, times[..., None], torch.ones_like(times)[..., None])


def decay(intervals, rows=2):
    z0 = torch.arange(1, rows + 1, dtype=torch.float64)[:, None]
    zero = torch.zeros(rows, dtype=torch.float64)
    return Solver("rk4", intervals).solve(Exponential(), z0, zero, zero + 3)


@pytest.mark.parametrize("degree", range(6))
def test_polynomials_up_to_degree_five_are_exact_over_any_part_of_any_cells(degree):
    path = line([[0.0, 0.3, 1.0, 2.5], [-1.0, 0.0, 4.0, 5.0]])
    rows = torch.tensor([0, 1, 0, 0])
    start = torch.tensor([0.1, -0.5, 0.4, 0.0], dtype=torch.float64)
    end = torch.tensor([2.2, 4.5, 0.9, 2.5], dtype=torch.float64)
    found = integrate(path, lambda row, z: z**degree, rows, start, end).squeeze(1)
    expected = (end ** (degree + 1) - start ** (degree + 1)) / (degree + 1)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_a_path_whose_knots_descend_has_the_same_integrals():
    path = line([[0.0, 0.3, 1.0, 2.5]])
    ends = torch.tensor([0.2, 1.7], dtype=torch.float64)[:, None]
    one, other = (
        integrate(p, lambda row, z: z.cos(), torch.tensor([0]), *ends) for p in (path, path.reverse())
    )
    torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-14)


def test_the_integral_of_a_solution_converges_to_its_closed_form_in_fourth_order():
    ends = torch.tensor([0.25, 2.9], dtype=torch.float64)
    exact = 4 * (math.exp(2 * RATE * 2.9) - math.exp(2 * RATE * 0.25)) / (2 * RATE)
    errors = []
    for intervals in (6, 12, 24):
        args = (torch.tensor([1]), ends[:1], ends[1:])
        errors.append(abs(float(integrate(decay(intervals), lambda row, z: z**2, *args)) - exact))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(s > 3.7 for s in slopes), slopes
    assert errors[-1] < 1e-5


def test_an_interval_of_no_length_adds_nothing_and_rows_are_told_to_the_integrand():
    zero = torch.zeros(2, dtype=torch.float64)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    rows = torch.tensor([0, 1])
    found = integrate(decay(4), lambda row, z: row[:, None] + 0 * z, rows, zero, ends)
    torch.testing.assert_close(found.squeeze(1), ends)


def test_its_gradient_is_that_of_the_sum():
    knots = torch.tensor([[0.0, 0.5, 1.2]], dtype=torch.float64)
    states, slopes = torch.randn(2, 1, 3, 2, dtype=torch.float64)
    ends = torch.tensor([[0.1], [1.0]], dtype=torch.float64)

    def of(states, slopes):
        path = HermiteTrajectory(knots, states, slopes)
        return integrate(path, lambda row, z: z.exp(), torch.tensor([0]), *ends)

    assert torch.autograd.gradcheck(of, (states.requires_grad_(), slopes.requires_grad_()))


@pytest.mark.parametrize("turned", [False, True])
def test_an_integral_back_in_time_is_minus_that_forth(turned):
    path = line([[0.0, 0.3, 1.0, 2.5]])
    path, rows = (path.reverse() if turned else path), torch.tensor([0, 0])
    start = torch.tensor([0.2, 1.7], dtype=torch.float64)
    found = integrate(path, lambda row, z: z, rows, start, start.flip(0)).squeeze(1)
    half = (1.7**2 - 0.2**2) / 2
    torch.testing.assert_close(found, torch.tensor([half, -half], dtype=torch.float64))


def test_a_bound_outside_the_span_is_refused_but_for_rounding():
    path, rows = line([[0.0, 1.0], [-1.0, 3.0]]), torch.tensor([1, 0])
    inside = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for end in (1.1, -0.1, math.nan, math.inf):
        outside = torch.tensor([0.7, end], dtype=torch.float64)
        for ends in ((inside, outside), (outside, inside)):
            with pytest.raises(SolveError, match="integral 1 runs over"):
                integrate(path, lambda row, z: z, rows, *ends)
    near = torch.tensor([0.7, 1.0 + 1e-15], dtype=torch.float64)
    found = integrate(path, lambda row, z: z, rows, inside, near)[1]
    assert abs(float(found) - 0.375) < 1e-14


def test_integrals_along_rows_that_there_are_not_and_other_misfits_are_refused():
    times = torch.linspace(0, 1, 3).expand(2, 3)
    path = HermiteTrajectory(times, torch.zeros(2, 3, 1), torch.zeros(2, 3, 1))
    rows, start, end = torch.arange(2), torch.zeros(2), torch.ones(2)
    for along, message in ((rows + 1, "integral 1 runs along row 2 of 2"), (rows - 1, "row -1 of 2")):
        with pytest.raises(SolveError, match=message):
            integrate(path, lambda r, z: z, along, start, end)
    for misfit in ((rows[:1], start, end), (rows, start[:1], end), (rows, start, end[:, None])):
        with pytest.raises(SolveError, match=r"expected \(integrals,\)"):
            integrate(path, lambda r, z: z, *misfit)
    with pytest.raises(SolveError, match="end is a float"):
        integrate(path, lambda r, z: z, rows, start, 1.0)
    for wrong in (lambda r, z: z[:, 0], lambda r, z: z[:1], lambda r, z: None):
        with pytest.raises(SolveError, match=r"the integrand returned .* for 12 points"):
            integrate(path, wrong, rows, start, end)
