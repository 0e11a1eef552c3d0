"""What holds for every kind of path: slopes of its own values, integrals of its own values."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from latentode.errors import SolveError
from latentode.ode import (
    ClosedFormTrajectory,
    CompartmentDynamics,
    Context,
    HermiteTrajectory,
    LinearDynamics,
    MLPDynamics,
    Solver,
    StepControl,
    Trajectory,
    integrate,
)

ROWS, STATE = 3, 4
EXACT = Solver("exact", 1)
# One horizon between two knots holds many periods, and pools empty long before its end.
FIELDS = {
    "perceptron": lambda: MLPDynamics(STATE, (6,), context_size=1),
    "modes": lambda: LinearDynamics(STATE, context_size=1, slowest=0.3, fastest=0.1),
    "pools": lambda: CompartmentDynamics(STATE, controls=1, slowest=0.5, fastest=60.0),
}
DRIVEN = {"alone": False, "driven": True}
SHAPES = ("once", "reversed", "back and forth", "pieces", "unfolded")


def _context(driven, rows=ROWS):
    if not driven:
        return Context(None, StepControl(torch.zeros(rows, 1), torch.zeros(rows, 1, 1)))
    times = torch.tensor([[-0.6, 0.21, 0.7], [0.33, 0.33, 0.33], [0.0, 1.3, 5.0]])[:rows]
    return Context(None, StepControl(times, torch.randn(rows, 3, 1)))


def _path(name, driven, shape, rows=ROWS):
    """Rows over [-1, 2] or part of it; the network reads a history back and goes on ahead."""
    field, context = FIELDS[name](), _context(driven, rows)
    z0, origin = torch.randn(rows, STATE), torch.zeros(rows)
    solver = Solver("rk4", 6, jumps=3) if name == "perceptron" else EXACT
    ahead = solver.solve(field, z0, origin, origin + 1, context)
    if shape == "once":
        return ahead
    if shape == "unfolded":
        return ahead.unfold(2 if name == "perceptron" else 1)
    if shape == "reversed":
        return ahead.reverse()
    back = solver.solve(field, z0, origin, origin - 1, context)
    if shape == "back and forth":
        return back.reverse().join(ahead, kinks=True)
    further = solver.solve(field, ahead.final, origin + 1, origin + 2, context)
    return ahead.join(further, kinks=driven)


@pytest.fixture(params=[(n, d, s) for n in FIELDS for d in DRIVEN for s in SHAPES], ids="-".join)
def path(request):
    name, driven, shape = request.param
    with torch.no_grad():
        return _path(name, DRIVEN[driven], shape)


def _ends(path):
    return path.times.amin(dim=1), path.times.amax(dim=1)


def _away_from_knots(path, n=40):
    """Times of each row no nearer to a knot than a step of a finite difference."""
    low, high = _ends(path)
    times = low[:, None] + torch.linspace(0.003, 0.997, n) * (high - low)[:, None]
    gap = (times[:, :, None] - path.times[:, None]).abs().amin(dim=2)
    return torch.where(gap > 1e-4, times, times + 3e-4)


def test_slopes_are_the_derivative_of_the_values(path):
    times, step = _away_from_knots(path), 1e-6
    difference = (path(times + step) - path(times - step)) / (2 * step)
    scale = difference.abs().max().clamp(min=1)
    assert (path.derivative(times) - difference).abs().max() < 1e-5 * scale


def test_slopes_by_default_are_those_of_the_kind(path):
    times = _away_from_knots(path)
    rows = torch.arange(len(times)).repeat_interleave(times.shape[1])
    own = path.derivative_at(rows, times.reshape(-1))
    default = Trajectory.derivative_at(path, rows, times.reshape(-1))
    assert (own - default).abs().max() < 1e-9 * own.abs().max().clamp(min=1)


def test_integrals_are_sums_over_the_values(path):
    n = 40_000
    low, high = _ends(path)
    begin, end = low + 0.11 * (high - low), high - 0.07 * (high - low)
    place = (torch.arange(n) + 0.5) / n
    times = begin[:, None] + place * (end - begin)[:, None]
    z = path(times)
    rows = torch.arange(len(times))
    unit = z.abs().max()
    for g in (lambda z: z, lambda z: z.square(), lambda z: softplus(z / unit)):
        fine = g(z).mean(dim=1) * (end - begin)[:, None]
        found = integrate(path, lambda row, z, g=g: g(z), rows, begin, end)
        assert (found - fine).abs().max() < 2e-5 * g(z).abs().max()


def test_integrals_add_up(path):
    low, high = _ends(path)
    rows, middle = torch.arange(len(low)), low + 0.37 * (high - low)

    def over(start, end):
        return integrate(path, lambda row, z: z.square(), rows, start, end)

    whole, parts = over(low, high), over(low, middle) + over(middle, high)
    assert (whole - parts).abs().max() < 1e-5 * whole.abs().max()
    assert (over(middle, middle) == 0).all()


def test_a_reversed_path_is_the_same_function(path):
    times = _away_from_knots(path)
    back = path.reverse()
    assert torch.equal(back.times, path.times.flip(1))
    scale = path.states.abs().max()
    assert (back(times) - path(times)).abs().max() < 1e-12 * scale
    assert torch.equal(back.final, path.states[:, 0])
    assert torch.equal(back.reverse()(times), path(times))


def test_rows_answer_alike_alone_and_together(path):
    times = _away_from_knots(path)
    flat = torch.randperm(times.numel())
    rows = torch.arange(len(times)).repeat_interleave(times.shape[1])
    mixed = path.at(rows[flat], times.reshape(-1)[flat])
    assert torch.equal(mixed, path(times).flatten(0, 1)[flat])


def test_no_times_have_no_answers(path):
    rows = len(path.times)
    none = torch.zeros(rows, 0)
    assert path(none).shape == path.derivative(none).shape == (rows, 0, path.states.shape[2])
    index = torch.zeros(0, dtype=torch.long)
    assert path.at(index, torch.zeros(0)).shape == (0, path.states.shape[2])
    nothing = integrate(path, lambda row, z: z, index, torch.zeros(0), torch.zeros(0))
    assert nothing.shape == (0, path.states.shape[2])


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("driven", DRIVEN)
@pytest.mark.parametrize("name", FIELDS)
def test_no_rows_make_a_path_without_any(name, driven, shape, grad):
    with torch.set_grad_enabled(grad):
        path = _path(name, DRIVEN[driven], shape, rows=0)
        size = path.states.shape[2]
        assert path(torch.zeros(0, 4)).shape == path.derivative(torch.zeros(0, 4)).shape == (0, 4, size)
        assert path.check_finite().final.shape == (0, size)


@pytest.mark.parametrize("solver", [Solver("dopri5"), Solver("euler", adjoint="backsolve")], ids=str)
def test_no_rows_are_no_work_for_other_methods(solver):
    none, field = torch.zeros(0), MLPDynamics(STATE)
    assert solver.solve(field, torch.zeros(0, STATE), none, none).final.shape == (0, STATE)
    assert solver.advance(field, torch.zeros(0, STATE), none, none).shape == (0, STATE)


@pytest.mark.parametrize("name", ["modes", "pools"])
def test_a_closed_form_has_the_slope_of_its_field_and_gradients_of_its_own(name):
    field, context = FIELDS[name](), _context(True)
    z0, zero = torch.randn(ROWS, STATE, requires_grad=True), torch.zeros(ROWS)

    def answers(z0):
        path = EXACT.solve(field, z0, zero, zero + 1, context).reverse()
        at = torch.arange(ROWS), torch.full((ROWS,), 0.3)
        area = integrate(path, lambda row, z: z.square(), at[0], zero, zero + 0.2)
        return path.at(*at), path.derivative_at(*at), area

    assert torch.autograd.gradcheck(answers, (z0,))
    z, slope, _ = answers(z0)
    torch.testing.assert_close(slope, field(torch.full((ROWS,), 0.3), z, context))


def test_a_decayed_mode_is_not_carried_back():
    """Back over 50 e-foldings a rounding error would grow to 1e5 times the state."""
    field = CompartmentDynamics(2, controls=1, slowest=50.0, fastest=50.0)
    control = StepControl(torch.zeros(1, 1), torch.ones(1, 1, 1))
    with torch.no_grad():
        path = EXACT.solve(
            field, torch.tensor([[3.0, 0.0]]), torch.zeros(1), torch.ones(1), Context(None, control)
        )
        times = torch.linspace(0, 1, 50)[None]
        exact = 1 + 2 * torch.exp(-50 * times)
        assert (path.reverse()(times)[..., 0] - exact).abs().max() < 1e-12


def test_a_rate_that_has_run_away_costs_bounded_work():
    field, calls = LinearDynamics(2, slowest=1e-6, fastest=1e-6), []
    with torch.no_grad():
        path = EXACT.solve(field, torch.ones(1, 2), torch.zeros(1), torch.ones(1))
        integrate(path, lambda row, z: calls.append(len(z)) or z, torch.zeros(1).long(), *_ends(path))
    assert calls == [3 * 256]


def test_paths_of_unlike_kinds_or_dynamics_are_not_joined():
    zero, z0 = torch.zeros(1), torch.randn(1, STATE)
    cubic = Solver().solve(MLPDynamics(STATE), z0, zero, zero + 1)
    one, other = (EXACT.solve(LinearDynamics(STATE), z0, zero, zero + 1) for _ in range(2))
    assert isinstance(cubic, HermiteTrajectory) and isinstance(one, ClosedFormTrajectory)
    with pytest.raises(SolveError, match="joined to paths of its own kind, not to a HermiteTrajectory"):
        one.join(cubic)
    with pytest.raises(SolveError, match="not to a ClosedFormTrajectory"):
        cubic.join(one)
    with pytest.raises(SolveError, match="of different dynamics"):
        one.join(other)
    with pytest.raises(SolveError, match="has no parts"):
        one.unfold(2)


@dataclass(frozen=True)
class Sine(Trajectory):
    """A kind of path that says its values only, three periods between two knots."""

    times: Tensor
    states: Tensor

    def at(self, rows, times):
        return torch.sin(6 * torch.pi * times)[:, None]

    def panel(self, rows):
        return torch.full((len(rows), 1), 0.05)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_a_new_kind_needs_its_values_and_how_finely_to_look(mode):
    path, times = Sine(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2, 1)), torch.rand(1, 9)
    with mode():
        expected = 6 * torch.pi * torch.cos(6 * torch.pi * times)
        torch.testing.assert_close(path.derivative(times)[..., 0], expected)
        rows, end = torch.zeros(1).long(), torch.tensor([1 / 6])
        area = integrate(path, lambda row, z: z, rows, torch.zeros(1), end)
        torch.testing.assert_close(area, torch.tensor([[1 / (3 * torch.pi)]]), rtol=1e-6, atol=0)
