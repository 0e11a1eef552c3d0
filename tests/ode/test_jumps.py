"""Solves that begin anew where a control path jumps: exact to the method's order, row by row."""

import math
from itertools import pairwise

import pytest
import torch
from fields import Dose

from latentode.errors import SolveError
from latentode.ode import (
    NATIVE,
    Context,
    Dynamics,
    LinearControl,
    MLPDynamics,
    Solver,
    StepControl,
)

RATE = 1.7
DOUBLE = torch.float64
SPANS = torch.tensor([[0.0, 0.0, 1.0], [4.0, 4.0, 3.0]], dtype=DOUBLE).unbind()
TIMES = torch.tensor(
    [[0.0, 0.37, 1.9, 1.9], [0.5, 0.5, 0.5, 0.5], [-1.0, 0.2, 2.71, 2.9]], dtype=DOUBLE
)
VALUES = torch.tensor(
    [[1.0, 3.0, 0.0, -2.0], [2.0, 2.0, 2.0, 2.0], [0.5, 1.0, 4.0, 4.0]], dtype=DOUBLE
)[..., None]


class Compartment(Dynamics):
    """dz/dt = u(t) - RATE z: what a drug does in one compartment."""

    def forward(self, t, z, context=None):
        assert context is not None and context.control is not None
        return context.control.at(t) - RATE * z

    @staticmethod
    def exact(z0, t0, t, times, values):
        """One row's state: from one value's time to the next."""
        edges = [t0, *(s for s in times if t0 < s < t), t]
        z = z0
        for begin, end in pairwise(edges):
            held = [v for s, v in zip(times, values, strict=True) if s <= begin]
            u = held[-1] if held else values[0]
            fade = math.exp(-RATE * (end - begin))
            z = fade * z + (1 - fade) / RATE * u
        return z


def solved(intervals, jumps=4, rows=slice(None), **options):
    t0, t1 = (s[rows] for s in SPANS)
    control = StepControl(TIMES[rows], VALUES[rows])
    solver = Solver(intervals=intervals, jumps=jumps, **options)
    return solver.solve(Compartment(), torch.ones(len(t0), 1), t0, t1, Context(control=control))


def exactly(at):
    return torch.tensor(
        [
            [Compartment.exact(1.0, t0, t, times, values) for t in row]
            for t0, row, times, values in zip(
                SPANS[0].tolist(),
                at.tolist(),
                TIMES.tolist(),
                VALUES[..., 0].tolist(),
                strict=True,
            )
        ]
    )


def error(intervals, jumps):
    at = SPANS[0][:, None] + torch.linspace(0, 1, 97) * (SPANS[1] - SPANS[0])[:, None]
    return float((solved(intervals, jumps)(at)[..., 0] - exactly(at)).abs().max())


def test_with_its_jumps_the_error_is_of_the_order_of_the_method_everywhere():
    errors = [error(n, jumps=4) for n in (16, 32, 64)]
    assert all(math.log2(a / b) > 3.7 for a, b in pairwise(errors))
    assert errors[-1] < 1e-7


def test_across_jumps_the_error_is_a_thousand_times_as_large():
    assert error(64, jumps=0) > 1000 * error(64, jumps=4)


@pytest.mark.parametrize("method", ["rk38", "rk4", "dopri5"])
def test_every_method_begins_anew(method):
    path = solved(64, method=method, rtol=1e-9, atol=1e-10)
    assert (path.final - exactly(SPANS[1][:, None])).abs().max() < 1e-5


def test_a_row_is_solved_alike_alone_and_beside_rows_with_more_jumps():
    together = solved(6)
    at = SPANS[0][:, None] + torch.linspace(0, 1, 50) * (SPANS[1] - SPANS[0])[:, None]
    for row in range(3):
        alone = solved(6, rows=slice(row, row + 1))
        assert torch.equal(alone(at[row : row + 1])[0], together(at)[row])
        slopes = alone.derivative(at[row : row + 1])[0]
        assert torch.allclose(slopes, together.derivative(at)[row], rtol=1e-12)
        assert torch.equal(alone.final[0], together.final[row])


def test_a_row_with_more_jumps_than_allowed_is_left_whole():
    few, none = solved(8, jumps=1), solved(8, jumps=0)
    assert torch.equal(few.final[0], none.final[0])  # two jumps
    assert not torch.equal(few.final[2], none.final[2])  # one
    assert torch.equal(few.final[2], solved(8, jumps=4).final[2])


def test_jumps_are_where_values_change_inside_the_span():
    control = StepControl(TIMES, VALUES)
    jumps, whole = control.jumps(*SPANS, most=2)
    assert jumps.tolist() == [[0.37, 1.9], [4.0, 4.0], [2.71, 3.0]]
    assert whole.tolist() == [False, False, False]
    back, _ = control.jumps(SPANS[1], SPANS[0], most=2)
    assert back.tolist() == [[1.9, 0.37], [0.0, 0.0], [2.71, 1.0]]
    assert control.jumps(*SPANS, most=1)[1].tolist() == [True, False, False]


def test_back_in_time_it_returns_to_where_it_began():
    forth = solved(64)
    context = Context(control=StepControl(TIMES, VALUES))
    back = Solver(intervals=64, jumps=4).solve(Compartment(), forth.final, SPANS[1], SPANS[0], context)
    assert (back.final - 1).abs().max() < 1e-4
    at = torch.full((3, 1), 2.8)
    assert (back(at) - forth(at)).abs().max() < 1e-4


def test_the_slope_jumps_with_the_control():
    context = Context(control=StepControl(torch.tensor([[0.0, 1.0]]), torch.tensor([[[2.0], [5.0]]])))
    t0, t1 = torch.zeros(1), torch.full((1,), 2.0)
    path = Solver(intervals=3, jumps=1).solve(Dose(), torch.zeros(1, 1), t0, t1, context)
    slopes = path.derivative(torch.tensor([[1 - 1e-9, 1.0, 2.0]]))[0, :, 0]
    assert torch.allclose(slopes, torch.tensor([2.0, 5.0, 5.0]))
    assert torch.allclose(path(torch.tensor([[0.5, 1.0, 1.5]]))[0, :, 0], torch.tensor([1.0, 2.0, 4.5]))


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
def test_gradients_through_jumps_agree_with_finite_differences(adjoint):
    field = MLPDynamics(2, (8, 8), context_size=1)
    solver = Solver(intervals=3, jumps=4, adjoint=adjoint)
    weight = field.layers[0].weight

    def outcome(values):
        context = Context(control=StepControl(TIMES, values))
        return solver.solve(field, torch.ones(3, 2), *SPANS, context).states.square().sum()

    values = VALUES.clone().requires_grad_()
    outcome(values).backward()
    way, step = torch.randn_like(VALUES), 1e-5
    way[1], way[2, 3] = way[1, 0], way[2, 2]  # what is equal stays so: a new jump moves the knots
    slope = (outcome(VALUES + step * way) - outcome(VALUES - step * way)) / (2 * step)
    assert values.grad is not None
    assert torch.allclose((values.grad * way).sum(), slope, rtol=1e-6)
    way, found = torch.randn_like(weight), weight.grad
    with torch.no_grad():
        weight.add_(step * way)
        above = outcome(VALUES)
        weight.sub_(2 * step * way)
        below = outcome(VALUES)
    assert found is not None
    assert torch.allclose((found * way).sum(), (above - below) / (2 * step), rtol=1e-6)


def test_advance_arrives_where_solve_does():
    context = Context(control=StepControl(TIMES, VALUES))
    solver = Solver(intervals=4, jumps=4)
    final = solver.advance(Compartment(), torch.ones(3, 1), *SPANS, context)
    assert torch.equal(final, solved(4).final)


def test_a_continuous_path_is_solved_as_ever():
    context = Context(control=LinearControl(TIMES, VALUES))
    one, other = (
        Solver(intervals=4, jumps=n).solve(Compartment(), torch.ones(3, 1), *SPANS, context)
        for n in (0, 4)
    )
    assert torch.equal(one.states, other.states)


def test_a_negative_number_of_jumps_is_refused():
    with pytest.raises(SolveError, match="jumps must be at least 0, got -1"):
        Solver(jumps=-1)


def short_doses(n, rows=1, width=0.01):
    """n doses of 1 within [0, 1] in the first row, none in the others."""
    begins = (torch.arange(n) + 0.37) / n
    times = torch.cat([torch.tensor([-1.0]), torch.stack([begins, begins + width], dim=1).flatten()])
    values = torch.tensor([0.0] + [1 / width, 0.0] * n)
    values = values * (torch.arange(rows) == 0)[:, None]
    return Context(None, StepControl(times.expand(rows, -1).contiguous(), values[..., None]))


def spans(rows, back):
    ends = torch.zeros(rows), torch.ones(rows)
    return ends[::-1] if back else ends


HOWS = [
    *({"method": method} for method in NATIVE),
    {"method": "rk4", "adjoint": "checkpoint"},
    {"method": "rk4", "adjoint": "backsolve"},
    {"method": "euler", "adjoint": "backsolve"},
    {"method": "dopri5"},
]
# An adaptive method begins anew at every jump, whatever `jumps`.
JUMPING = [
    (how, jumps) for how in HOWS for jumps in (0, 4, 100) if how["method"] in NATIVE or not jumps
]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize(("how", "jumps"), JUMPING, ids=str)
def test_no_dose_is_stepped_over(how, jumps, back):
    solver = Solver(intervals=5, jumps=jumps, **how)
    for n in (1, 3, 10):
        context, ends = short_doses(n, rows=2), spans(2, back)
        for end in (
            solver.solve(Dose(), torch.zeros(2, 1), *ends, context).final,
            solver.advance(Dose(), torch.zeros(2, 1), *ends, context),
        ):
            given = torch.tensor([[-float(n) if back else float(n)], [0.0]])
            assert (end - given).abs().max() < 1e-9


def test_what_is_given_is_exact_in_single_precision_and_at_every_scale_of_time():
    for scale in (1e-6, 1.0, 1e6):
        control = short_doses(7).control
        control = StepControl(scale * control.times.float(), control.values.float() / scale)
        z0, end = torch.zeros(1, 1, dtype=torch.float32), torch.tensor([scale], dtype=torch.float32)
        final = Solver().solve(Dose(), z0, 0 * end, end, Context(None, control)).final
        assert abs(float(final) - 7) < 1e-4


def test_means_lie_within_the_values_and_a_control_that_stays_is_left_as_it_is():
    found = {}
    for name, values in (("varied", VALUES), ("held", VALUES[:, :1].expand_as(VALUES))):
        seen = []

        def field(t, z, context, seen=seen):
            seen.append(context.at(t))
            return seen[-1]

        Solver("rk38", 7).solve(
            field, torch.zeros(3, 1), *SPANS, Context(None, StepControl(TIMES, values))
        )
        found[name] = torch.stack(seen, dim=1)
    assert torch.equal(found["held"], VALUES[:, :1].expand_as(found["held"]))
    low, high = VALUES.amin(dim=1, keepdim=True), VALUES.amax(dim=1, keepdim=True)
    assert ((found["varied"] >= low) & (found["varied"] <= high)).all()
    assert len(found["varied"][0].unique()) > 3


class Sampled(StepControl):
    """The same control, looked at where the field is evaluated and nowhere else."""

    def averaged(self, t0, t1, windows):
        return self


@pytest.mark.parametrize("changes", [12, 24, 96])
def test_means_serve_a_control_that_changes_often_better_than_looks(changes):
    """A random walk such as the weather's, of about as many changes as evaluations or far more."""
    field, rows = MLPDynamics(4, (16,), context_size=1), 64
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    times = torch.linspace(0, 1, changes + 1)[:-1] + (torch.rand(rows, 1) - 1) / changes
    values = torch.randn(rows, changes, 1).cumsum(1) / changes**0.5
    z0, ends = torch.randn(rows, 4), spans(rows, False)
    with torch.no_grad():
        exact, means, looks = (
            solver.solve(field, z0, *ends, Context(None, kind(times, values))).final
            for solver, kind in (
                (Solver(intervals=2, jumps=changes), StepControl),
                (Solver(intervals=6), StepControl),
                (Solver(intervals=6), Sampled),
            )
        )
    assert (means - exact).square().mean() < (looks - exact).square().mean() / 4


def test_the_error_of_means_is_of_second_order_in_the_step():
    rows = 200
    jump, ends = torch.rand(rows, 1), spans(rows, False)
    control = StepControl(torch.cat([-torch.ones(rows, 1), jump], dim=1), torch.rand(rows, 2, 1))
    before, after = control.values[..., 0].unbind(dim=1)
    fade, rest = math.exp(-RATE), torch.exp(-RATE * (1 - jump[:, 0]))
    exact = fade + ((rest - fade) * before + (1 - rest) * after) / RATE
    errors = []
    for n in (4, 16, 64):
        path = Solver(intervals=n).solve(
            Compartment(), torch.ones(rows, 1), *ends, Context(None, control)
        )
        errors.append(float((path.final[:, 0] - exact).square().mean().sqrt()))
    assert all(math.log2(a / b) > 3.5 for a, b in pairwise(errors)), errors  # of steps a fourth as long


def test_gradients_through_means_agree_with_finite_differences():
    field = MLPDynamics(2, (8,), context_size=1)
    ends = [end.clone().requires_grad_() for end in SPANS]

    def outcome(values, t0, t1):
        context = Context(control=StepControl(TIMES, values))
        return Solver(intervals=3).solve(field, torch.ones(3, 2), t0, t1, context).states

    assert torch.autograd.gradcheck(outcome, (VALUES.clone().requires_grad_(), *ends))
