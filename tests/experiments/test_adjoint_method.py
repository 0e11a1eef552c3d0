"""The adjoint's gradients are right to tolerance, its memory does not grow with depth."""

import pytest
import torch
from running import experiment

run = experiment("adjoint")


@pytest.fixture(scope="module")
def problem():
    return run.Problem()


@pytest.fixture(scope="module")
def exact(problem):
    gradient, off = run.checked_gradient(problem, 3)
    assert off < 1e-6, "finite differences disagree with the gradient that all are measured by"
    return gradient


def test_finite_differences_leave_the_problem_as_it_was(problem):
    before = [leaf.detach().clone() for leaf in problem.leaves]
    problem.finite_differences(1)
    for leaf, was in zip(problem.leaves, before, strict=True):
        assert torch.allclose(leaf, was, rtol=0, atol=1e-14)


def test_tolerance_buys_accuracy_and_costs_evaluations(problem, exact):
    rows = run.tolerances(problem, exact, [1e-2, 1e-5, 1e-8])
    for adjoint in ("direct", "backsolve"):
        errors = rows[f"gradient error, {adjoint}"]
        assert errors[1] < errors[0] / 50 and errors[2] < errors[1] / 50, adjoint
        counts = rows[f"evaluations forward, {adjoint}"]
        assert counts[0] < counts[1] < counts[2]
    assert rows["evaluations backward, direct"] == [0, 0, 0]
    back = rows["evaluations backward, backsolve"]
    assert 0 < back[0] < back[1] < back[2]


def test_checkpoint_is_direct_to_rounding_and_backsolve_is_not(problem, exact):
    rows = run.fixed_steps(problem, exact, [8, 16])
    assert max(rows["rk4 checkpoint beside direct"]) < 1e-13
    for adjoint in run.ADJOINTS:
        coarse, fine = rows[f"rk4 gradient error, {adjoint}"]
        assert 8 < coarse / fine < 40, adjoint  # of fourth order: 16
    gap = [abs(rows["rk4 gradient error, backsolve"][i] - rows["rk4 gradient error, direct"][i])
           for i in range(2)]  # fmt: skip
    assert min(gap) > 1e-9


def test_memory_grows_with_depth_but_not_that_of_the_adjoint():
    found = {a: [run.memory(a, depth) for depth in (4, 8, 16)] for a in run.ADJOINTS}
    shallow, middle, deep = found["direct"]
    assert deep > 1.8 * middle > 1.8 * shallow
    shallow, middle, deep = found["backsolve"]
    assert deep < 1.05 * middle < 1.1 * shallow
    grown = {a: megabytes[2] - megabytes[0] for a, megabytes in found.items()}
    assert grown["checkpoint"] < grown["direct"] / 2
