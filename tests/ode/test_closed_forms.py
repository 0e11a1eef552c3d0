"""Solutions against closed forms, in float64 and solved far tighter than asserted."""

import math
from itertools import pairwise

import pytest
import torch
from fields import Decay, Product, Rotation, Wave
from scipy.integrate import solve_ivp

from latentode.ode import ADAPTIVE, METHODS, Context, MLPDynamics, Solver

FINE = {"intervals": 64, "steps": 4, "rtol": 1e-9, "atol": 1e-11}


def fine(method):
    """Solved far tighter than asserted."""
    return Solver(method, **FINE)


ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4, "rk38": 4}
# Leading error term of the rotation below: |z| T h^p w^(p+1) / (p+1)! with |z| < 1.8, h = 1/128.
TOLERANCE = {"euler": 6e-2, "midpoint": 5e-4}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_matches_the_closed_form_of_a_rotation(method):
    w = torch.tensor([[0.5], [1.0], [-2.0]])
    z0, t0, t1 = torch.randn(3, 2), torch.tensor([0.0, 5.0, -1.0]), torch.tensor([2.0, 6.0, 1.0])
    with torch.no_grad():
        path = fine(method).solve(Rotation(), z0, t0, t1, Context(w))
    exact = Rotation.exact(w, z0, t0, path.times)
    assert (path.states - exact).abs().max() < TOLERANCE.get(method, 1e-6)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_decay_and_wave_match_their_closed_forms_at_any_time(method):
    z0, t0, t1 = torch.randn(2, 3), torch.tensor([0.0, -3.0]), torch.tensor([2.0, 1.0])
    times = t0[:, None] + torch.rand(2, 50) * (t1 - t0)[:, None]
    decay = Decay(0.8)
    got = fine(method).solve(decay, z0, t0, t1)(times)
    assert (got - decay.exact(z0, t0, times)).abs().max() < 1e-7
    got = fine(method).solve(Wave(), z0, t0, t1)(times)
    exact = z0[:, None] + (torch.sin(times) - torch.sin(t0)[:, None])[..., None]
    assert (got - exact).abs().max() < 1e-7


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=[pytest.mark.slow] * (m == "bosh3")) for m in METHODS]
)
def test_backwards_in_time_inverts_forwards(method):
    z0, t0, t1 = torch.randn(4, 2), torch.zeros(4), torch.linspace(0.5, 3, 4)
    solver = fine(method)
    with torch.no_grad():
        there = solver.solve(Product(), z0, t0, t1)
        back = solver.solve(Product(), there.final, t1, t0)
    tolerance = {
        "euler": 0.2,
        "midpoint": 1e-3,
    }.get(method, 1e-5)
    assert (back.final - z0).abs().max() < tolerance
    assert torch.equal(back.times[:, -1], t0)


@pytest.mark.parametrize("method", METHODS)
def test_a_span_of_no_length_is_a_point(method):
    z0, t = torch.randn(3, 2), torch.tensor([0.0, 1.0, -2.0])
    with torch.no_grad():
        path = Solver(method).solve(Product(), z0, t, t)
    assert torch.equal(path.final, z0)
    assert torch.equal(path(t[:, None])[:, 0], z0)
    torch.testing.assert_close(path.derivative(t[:, None])[:, 0], Product()(t, z0))


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ADAPTIVE])
def test_the_error_of_every_fixed_step_method_falls_with_its_order(method):
    z0, t0, t1 = torch.randn(8, 2), torch.linspace(-1, 1, 8), torch.linspace(0.5, 3.5, 8)
    field = Product()
    reference = Solver("dopri8", 1, rtol=1e-13, atol=1e-13)
    tight = {"rtol": 1e-13, "atol": 1e-13}
    with torch.no_grad():
        exact = reference.solve(field, z0, t0, t1).final
        counts = [256, 512, 1024] if ORDERS[method] < 3 else [64, 128, 256]
        errors = [
            (Solver(method, n, **tight).solve(field, z0, t0, t1).final - exact).norm().item()
            for n in counts
        ]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert abs(slopes[-1] - ORDERS[method]) < 0.2, slopes


@pytest.mark.parametrize(
    "method", ["dopri5", pytest.param("bosh3", marks=pytest.mark.slow), "dopri8", "rk4"]
)
def test_an_mlp_is_solved_as_scipy_solves_it(method):
    field = MLPDynamics(3, (16,), time_dependent=True)
    torch.nn.init.normal_(field.layers[-1].weight)  # type: ignore[arg-type]
    z0, t0, t1 = torch.randn(1, 3), torch.tensor([0.5]), torch.tensor([3.0])

    def slope(t, z):
        with torch.no_grad():
            return field(torch.tensor([t]), torch.from_numpy(z)[None])[0].numpy()

    oracle = solve_ivp(slope, (0.5, 3.0), z0[0].numpy(), method="DOP853", rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        final = Solver(method, 64, 8, rtol=1e-9, atol=1e-10).solve(field, z0, t0, t1).final
    assert (final[0] - torch.from_numpy(oracle.y[:, -1])).abs().max() < 1e-6


def test_an_autonomous_solution_shifts_with_time():
    field, z0 = MLPDynamics(3, (8,)), torch.randn(4, 3)
    t0, t1 = torch.rand(4), 2 + torch.rand(4)
    a = Solver().solve(field, z0, t0, t1).final
    b = Solver().solve(field, z0, t0 + 64, t1 + 64).final
    assert (a - b).abs().max() < 1e-12
