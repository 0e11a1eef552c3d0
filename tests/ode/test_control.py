"""Control paths: what is known in advance along a row's time."""

import math
from dataclasses import replace

import pytest
import torch
from fields import Dose

from latentode.errors import SolveError
from latentode.ode import (
    NATIVE,
    CompartmentDynamics,
    Context,
    LinearControl,
    MLPDynamics,
    Solver,
    StepControl,
)

TIMES = torch.tensor([[0.0, 1.0, 2.0], [5.0, 6.0, 6.0]], dtype=torch.float64)
VALUES = torch.tensor([[[1.0], [2.0], [4.0]], [[-1.0], [3.0], [3.0]]], dtype=torch.float64)


def test_a_step_control_holds_each_value_until_the_next():
    path = StepControl(TIMES, VALUES)
    for t, expected in (
        ([0.0, 5.0], [1.0, -1.0]),
        ([0.99, 5.99], [1.0, -1.0]),
        ([1.0, 6.0], [2.0, 3.0]),
        ([99.0, 99.0], [4.0, 3.0]),
    ):
        assert path.at(torch.tensor(t))[:, 0].tolist() == expected


def test_before_the_first_time_the_first_value_holds():
    assert StepControl(TIMES, VALUES).at(torch.tensor([-3.0, -3.0]))[:, 0].tolist() == [1.0, -1.0]


def test_repeated_padding_changes_nothing():
    padded = StepControl(torch.cat([TIMES, TIMES[:, -1:]], 1), torch.cat([VALUES, VALUES[:, -1:]], 1))
    for t in torch.linspace(-1, 8, 40):
        both = t.expand(2)
        assert torch.equal(padded.at(both), StepControl(TIMES, VALUES).at(both))


def test_rows_in_any_order_are_looked_up_as_each_row_would_be():
    random = torch.Generator().manual_seed(0)
    times = torch.rand(5, 7, generator=random).sort(dim=1).values
    times[2, 4:] = times[2, 4:5]  # padded, and one that jumps twice at once
    path = StepControl(times, torch.randn(5, 7, 2, generator=random))
    row = torch.randint(5, (200,), generator=random)
    t = torch.rand(200, generator=random) * 1.4 - 0.2
    t[:35] = times.flatten()  # at the very moments
    row[:35] = torch.arange(5).repeat_interleave(7)
    expected = torch.cat([path.select(r[None]).at(x[None]) for r, x in zip(row, t, strict=True)])
    assert torch.equal(path.of_rows(row, t), expected)


def test_a_step_control_adds_up_to_its_area():
    context = Context(control=StepControl(TIMES, VALUES))
    t0, t1 = torch.tensor([0.0, 5.0]), torch.tensor([3.0, 8.0])
    final = Solver("midpoint", 3).solve(Dose(), torch.zeros(2, 1), t0, t1, context).final
    assert torch.allclose(final[:, 0], torch.tensor([7.0, 5.0]))


@pytest.mark.parametrize("kind", [StepControl, LinearControl])
def test_a_control_path_may_have_times_more_precise_than_its_values(kind):
    t = torch.tensor([0.5, 5.5])
    path, precise = kind(TIMES.float(), VALUES.float()), kind(TIMES, VALUES.float())
    for found, expected in ((precise.at(t), path.at(t)), (precise.along(t[None]), path.along(t[None]))):
        torch.testing.assert_close(found, expected)


def test_context_repeats_copy_by_copy():
    context = Context(torch.tensor([[1.0], [2.0]]), StepControl(TIMES, VALUES)).repeat(2)
    known = context.at(torch.tensor([0.0, 5.0, 1.0, 6.0]))
    assert known is not None
    assert known.tolist() == [[1, 1], [2, -1], [1, 2], [2, 3]]
    assert Context().at(torch.zeros(2)) is None


HOWS = [
    *(Solver(method, 3, 2) for method in NATIVE),
    Solver("rk4", 3, 2, adjoint="checkpoint"),
    Solver("rk4", 3, 2, adjoint="backsolve"),
    Solver("dopri5", 1, rtol=1e-3, atol=1e-3),
]


def spikes(n):
    """Triangles of area 1 on a base of 0, as narrow as a hundredth, and their area within [0, 3]."""
    tops = 0.013 + 3 * (torch.arange(n) + 0.37) / n
    times = torch.stack([tops - 0.01, tops, tops + 0.01], dim=1).flatten()
    times = torch.cat([torch.tensor([-1.0]), times, torch.tensor([5.0])])[None]
    values = torch.cat([torch.zeros(1), torch.tensor([0.0, 100.0, 0.0]).repeat(n), torch.zeros(1)])
    return LinearControl(times, values[None, :, None]), float(n)


def areas(solver, control, t0, t1):
    rows = len(control.times)
    ends = torch.full((rows,), t0), torch.full((rows,), t1)
    z0, context = torch.zeros(rows, control.values.shape[2]), Context(None, control)
    yield solver.solve(Dose(), z0, *ends, context).final
    yield solver.advance(Dose(), z0, *ends, context)


# An adaptive method begins anew at every jump, whatever `jumps`, and takes its time over each.
JUMPING = [(h, j) for h in HOWS for j in (0, 2, 50) if h.method in NATIVE or j == 0]


@pytest.mark.parametrize(("solver", "jumps"), JUMPING, ids=str)
def test_the_integral_of_a_linear_control_is_exact_however_short_its_spikes(solver, jumps):
    solver = replace(solver, jumps=jumps)
    for n in (1, 4, 11) if solver.method in NATIVE else (1, 4):
        control, area = spikes(n)
        for final in (*areas(solver, control, 0.0, 3.1), *areas(solver, control, -4.0, 9.0)):
            assert abs(float(final) - area) < 1e-8
        for final in areas(solver, control, 3.1, 0.0):
            assert abs(float(final) + area) < 1e-8
    control = LinearControl(torch.rand(20, 9).cumsum(1), torch.randn(20, 9, 2))
    first, second = areas(solver, control, 0.4, 3.3)
    knots = torch.cat([torch.full((20, 1), 0.4), control.times, torch.full((20, 1), 3.3)], dim=1)
    knots = knots.clamp(0.4, 3.3).T
    exact = torch.trapezoid(control.along(knots), knots[..., None], dim=0)
    assert (first - exact).abs().max() < 1e-9 and (second - exact).abs().max() < 1e-9


class Watched(Dose):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, t, z, context=None):
        self.seen.append(super().forward(t, z, context))
        return self.seen[-1]


@pytest.mark.parametrize("method", NATIVE)
def test_what_a_field_is_given_of_a_linear_control_lies_within_its_values(method):
    field, rows = Watched(), 300
    tops = 3 * torch.rand(rows, 1)  # some on a node
    tops[:7, 0] = torch.arange(7) / 2
    times = tops + torch.tensor([-0.01, 0.0, 0.01])
    control = LinearControl(times, torch.tensor([0.0, 1.0, 0.0])[None, :, None].expand(rows, -1, 1))
    ends = torch.zeros(rows), torch.full((rows,), 3.0)
    Solver(method, 2, 2).solve(field, torch.zeros(rows, 1), *ends, Context(None, control))
    seen = torch.stack(field.seen)
    assert seen.min() > -1e-12 and seen.max() < 1 + 1e-12


@pytest.mark.parametrize(("method", "order"), [("midpoint", 2), ("rk4", 4), ("rk38", 4)])
def test_a_smooth_linear_control_loses_no_order(method, order):
    """dz/dt = u(t) - z under u = sin(t) + 2 by so many values that it is smooth to rounding's root."""
    times = torch.linspace(-1, 5, 30_001)[None]
    context = Context(None, LinearControl(times, times.sin()[..., None] + 2))
    z0, ends = torch.ones(1, 1), (torch.zeros(1), torch.full((1,), 4.0))
    t = ends[1]
    exact = 2 + (t.sin() - t.cos()) / 2 + (1 - 1.5) * torch.exp(-t)

    def error(n):
        def field(t, z, context):
            return context.at(t) - z

        return float((Solver(method, n).solve(field, z0, *ends, context).final - exact).abs())

    def looked(n):
        def field(t, z, context):
            return t.sin()[:, None] + 2 - z

        return float((Solver(method, n).solve(field, z0, *ends).final - exact).abs())

    assert math.log2(error(8) / error(16)) > order - 0.5
    assert error(8) < 2 * looked(8)


def test_gradients_through_a_linear_control_agree_with_finite_differences():
    times, values = torch.rand(3, 5).cumsum(1), torch.randn(3, 5, 1)
    ends = torch.rand(3), 2 + torch.rand(3)

    def outcome(times, values, t0, t1):
        context = Context(None, LinearControl(times, values))
        field = lambda t, z, context: context.at(t) * z  # noqa: E731
        return Solver(intervals=3).solve(field, torch.ones(3, 1), t0, t1, context).final

    given = (x.clone().requires_grad_() for x in (times, values, *ends))
    assert torch.autograd.gradcheck(outcome, tuple(given))


class Doubled(StepControl):
    def at(self, t):
        return 2 * super().at(t)


class DoubledLinear(LinearControl):
    def at(self, t):
        return 2 * super().at(t)


class Own:
    """A path that says its values and nothing else."""

    def at(self, t):
        return torch.where(t < 0.5, 3.0, 3.0)[:, None]


OWN = {
    "step": lambda: Doubled(torch.tensor([[0.0, 0.5]]), torch.full((1, 2, 1), 1.5)),
    "linear": lambda: DoubledLinear(torch.tensor([[0.0, 0.5]]), torch.full((1, 2, 1), 1.5)),
    "own": Own,
}


@pytest.mark.parametrize("jumps", [0, 4])
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("solver", HOWS, ids=str)
def test_a_path_of_another_kind_is_asked_by_its_at(solver, name, jumps):
    solver, context = replace(solver, jumps=jumps), Context(torch.ones(1, 1), OWN[name]())
    field, perceptron = MLPDynamics(1, (5,), 2), MLPDynamics(1, (5,), 2)
    perceptron.load_state_dict(field.state_dict())
    ends = torch.zeros(1), torch.ones(1)
    plain = Context(torch.tensor([[1.0, 3.0]]))
    expected = solver.solve(field, torch.ones(1, 1), *ends, plain)
    found = solver.solve(perceptron, torch.ones(1, 1), *ends, context)
    torch.testing.assert_close(found.states, expected.states)
    torch.testing.assert_close(found.slopes, expected.slopes)
    own = Solver(solver.method, 3, jumps=jumps).advance(
        lambda t, z, context: context.control.at(t), torch.zeros(1, 1), *ends, context
    )
    torch.testing.assert_close(own, torch.full((1, 1), 3.0))


@pytest.mark.parametrize("name", ["step", "linear"])
def test_a_subclass_stays_one_and_is_repeated_copy_by_copy(name):
    control = OWN[name]()
    for kept in (
        control.repeat(2),
        control.select(torch.tensor([0])),
        control.replace(control.tensors()),
        Context(None, control).repeat(2).control,
    ):
        assert type(kept) is type(control)


def test_a_closed_form_follows_no_path_of_another_kind():
    context = Context(None, OWN["step"]())
    with pytest.raises(SolveError, match="any other control path choose rk38"):
        Solver("exact").solve(
            CompartmentDynamics(2, controls=1), torch.ones(1, 2), torch.zeros(1), torch.ones(1), context
        )
