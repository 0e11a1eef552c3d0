"""Control paths: what is known in advance along a row's time."""

import torch
from fields import Dose

from latentode.ode import Context, Solver, StepControl

TIMES = torch.tensor([[0.0, 1.0, 2.0], [5.0, 6.0, 6.0]])
VALUES = torch.tensor([[[1.0], [2.0], [4.0]], [[-1.0], [3.0], [3.0]]])


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


def test_a_step_control_adds_up_to_its_area():
    context = Context(control=StepControl(TIMES, VALUES))
    t0, t1 = torch.tensor([0.0, 5.0]), torch.tensor([3.0, 8.0])
    final = Solver("midpoint", 3).solve(Dose(), torch.zeros(2, 1), t0, t1, context).final
    assert torch.allclose(final[:, 0], torch.tensor([7.0, 5.0]))


def test_context_repeats_copy_by_copy():
    context = Context(torch.tensor([[1.0], [2.0]]), StepControl(TIMES, VALUES)).repeat(2)
    known = context.at(torch.tensor([0.0, 5.0, 1.0, 6.0]))
    assert known is not None
    assert known.tolist() == [[1, 1], [2, -1], [1, 2], [2, 3]]
    assert Context().at(torch.zeros(2)) is None
