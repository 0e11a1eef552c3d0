"""What goes wrong says what, where and what to do."""

import pytest
import torch
from fields import Decay

from latentode.errors import SolveError
from latentode.ode import Solver


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rk5000"}, "rk5000.*choose from"),
        ({"adjoint": "magic"}, "magic.*choose from"),
        ({"intervals": 0}, "at least 1"),
        ({"steps": 0}, "at least 1"),
        ({"method": 3}, "method 3 is unknown"),
        ({"adjoint": None}, "adjoint None is unknown"),
        ({"steps": "many"}, "steps must be a whole number, got 'many'"),
        ({"intervals": 2.5}, "intervals must be a whole number"),
        ({"jumps": True}, "jumps must be a whole number"),
        ({"rtol": "1e-3"}, "rtol must be a positive number"),
        ({"atol": -1e-3}, "atol must be a positive number"),
        ({"atol": float("nan")}, "atol must be a positive number"),
    ],
)
def test_a_solver_that_cannot_be_is_refused(options, message):
    with pytest.raises(SolveError, match=message):
        Solver(**options)


@pytest.mark.parametrize(
    ("z0", "t0", "t1"), [((3,), (3,), (3,)), ((3, 2), (2,), (3,)), ((3, 2), (3,), (3, 1))]
)
def test_shapes_that_disagree_are_refused(z0, t0, t1):
    with pytest.raises(SolveError, match="expected"):
        Solver().solve(Decay(), torch.zeros(z0), torch.zeros(t0), torch.ones(t1))


def test_a_state_that_blows_up_is_named_by_row_and_time():
    z0, t0, t1 = torch.tensor([[0.1], [50.0]]), torch.zeros(2), torch.full((2,), 8.0)
    solver = Solver("rk4", 8, 64)
    with pytest.raises(SolveError, match="row 1 is not finite from time"):
        solver.solve(lambda t, z, c: z.pow(3), z0, t0, t1).check_finite()


@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_an_adaptive_method_names_the_row_that_is_not_finite_from_the_start(method):
    z0 = torch.tensor([[1.0], [float("nan")]])
    with pytest.raises(SolveError, match="z0 of row 1 is not finite"):
        Solver(method).solve(lambda t, z, c: -z, z0, torch.zeros(2), torch.ones(2))


@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_an_adaptive_method_that_cannot_go_on_says_what_to_try(method):
    z0, t0, t1 = torch.ones(1, 1), torch.zeros(1), torch.full((1,), 2.0)
    with pytest.raises(SolveError, match=f"{method}|not finite"):
        Solver(method).solve(lambda t, z, c: z.square(), z0, t0, t1)
