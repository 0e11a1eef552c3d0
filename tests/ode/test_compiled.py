"""The compiled solve of a perceptron equals the one in tensor operations, in values and gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from latentode.errors import SolveError
from latentode.ode import NATIVE, Context, LinearControl, MLPDynamics, Solver, kernels
from latentode.ode.kernels.compiled import tanh
from latentode.ode.kernels.compiled_perceptron import CompiledKernel
from latentode.ode.kernels.machine_code import compiled
from latentode.ode.kernels.perceptron import MLPKernel

FIELDS = {
    "plain": {},
    "one hidden layer": {"hidden": (7,)},
    "three hidden layers": {"hidden": (7, 4, 6)},
    "in time": {"time_dependent": True},
    "with context": {"context_size": 4},
    "with all": {"context_size": 4, "time_dependent": True},
}


def _field(**options):
    options = {"hidden": (6, 5)} | options
    field = MLPDynamics(3, **options)
    nn.init.normal_(field.layers[-1].weight)
    return field


def _problem(rows, dtype=torch.float64):
    tensors = [torch.randn(rows, 3), torch.randn(rows), torch.randn(rows)]
    tensors += [torch.randn(rows, 2), torch.randn(rows, 3, 2)]
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def _solved(field, solver, rows, dtype=torch.float64):
    """States, slopes and every gradient of a sum that weighs each of them differently."""
    torch.manual_seed(0)
    tensors = _problem(rows, dtype)
    z0, t0, t1, fixed, values = tensors
    times = torch.rand(rows, 3).cumsum(1).to(dtype)
    path = solver.solve(field, z0, t0, t1, Context(fixed, LinearControl(times, values)))
    weights = torch.linspace(-1, 1, path.states.numel(), dtype=dtype).view_as(path.states)
    loss = (path.states * weights).sum() + (path.slopes * weights.flip(0)).sum()
    sources = [*tensors, *field.parameters()]
    found = torch.autograd.grad(loss, sources, allow_unused=True)
    gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(found, sources, strict=True)]
    return [path.states, path.slopes, *gradients]


def _by_tensors(monkeypatch, *arguments):
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "small", lambda *weights: False)
        return _solved(*arguments)


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
@pytest.mark.parametrize("method", NATIVE)
@pytest.mark.parametrize("name", FIELDS)
def test_values_and_gradients_are_those_of_tensor_operations(name, method, adjoint, monkeypatch):
    field = _field(**FIELDS[name])
    solver = Solver(method, intervals=5, steps=2, adjoint=adjoint)
    expected = _by_tensors(monkeypatch, field, solver, 6)
    for ours, theirs in zip(_solved(field, solver, 6), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
@pytest.mark.parametrize("method", ["rk38", "midpoint"])
@pytest.mark.parametrize("rows", [1, 63, 64, 65, 700])
def test_blocks_runs_and_threads_change_nothing(rows, method, adjoint, monkeypatch):
    field = _field(**FIELDS["with all"])
    solver = Solver(method, 7, adjoint=adjoint)
    expected = _by_tensors(monkeypatch, field, solver, rows)
    before = torch.get_num_threads()
    for threads in (1, 2):
        try:
            torch.set_num_threads(threads)
            found = _solved(field, solver, rows)
        finally:
            torch.set_num_threads(before)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_single_precision_agrees_to_its_rounding(monkeypatch):
    field = _field(**FIELDS["with all"]).float()
    expected = _by_tensors(monkeypatch, field, Solver("rk4", 6), 20, torch.float32)
    for ours, theirs in zip(_solved(field, Solver("rk4", 6), 20, torch.float32), expected, strict=True):
        scale = theirs.abs().max().clamp(min=1.0)
        assert ((ours - theirs).abs() / scale).max() < 2e-5


def test_without_gradients_the_path_is_the_same():
    field, z0, start = _field(**FIELDS["with all"]), torch.randn(5, 3), torch.zeros(5)
    context = Context(torch.randn(5, 2), LinearControl(torch.zeros(5, 1), torch.randn(5, 1, 2)))
    path = Solver("rk38", 5).solve(field, z0, start, start + 2, context)
    with torch.no_grad():
        again = Solver("rk38", 5).solve(field, z0, start, start + 2, context)
    assert torch.equal(path.states, again.states)
    assert torch.equal(path.slopes, again.slopes)


def test_a_second_pass_over_the_graph_gives_the_same_gradient():
    field = _field()
    for adjoint in ("direct", "checkpoint"):
        z0 = torch.randn(4, 3, requires_grad=True)
        path = Solver("rk38", 3, adjoint=adjoint).solve(field, z0, torch.zeros(4), torch.ones(4))
        loss = path.final.square().sum()
        first = torch.autograd.grad(loss, [z0, *field.parameters()], retain_graph=True)
        second = torch.autograd.grad(loss, [z0, *field.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_row_that_is_not_finite_stays_so_and_stays_alone():
    for dtype in (torch.float32, torch.float64):
        field = _field().to(dtype)
        z0 = torch.randn(3, 3, dtype=dtype)
        ends = torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype)
        good = Solver().solve(field, z0, *ends).states
        for bad in (float("nan"), float("inf")):
            z0[1, 0] = bad
            states = Solver().solve(field, z0, *ends).states
            assert not torch.isfinite(states[1, -1]).all()
            torch.testing.assert_close(states[::2], good[::2])


def test_wide_layers_and_other_dtypes_are_left_to_tensor_operations():
    wide = MLPDynamics(4, hidden=(512, 512))
    kernel = kernels.kernel_of(wide, torch.zeros(1, 2), None, torch.zeros(2, 4))
    assert isinstance(kernel, MLPKernel)
    half = MLPDynamics(4).to(torch.bfloat16)
    kernel = kernels.kernel_of(half, torch.zeros(1, 2), None, torch.zeros(2, 4, dtype=torch.bfloat16))
    assert isinstance(kernel, MLPKernel)
    narrow = MLPDynamics(4)
    kernel = kernels.kernel_of(narrow, torch.zeros(1, 2), None, torch.zeros(2, 4))
    assert isinstance(kernel, CompiledKernel)


@compiled
def _tanh_of_all(x, out):
    for i in range(x.size):
        out[i] = tanh(x[i])


@pytest.mark.parametrize(("dtype", "within"), [(np.float32, 4e-7), (np.float64, 3e-16)])
def test_tanh_is_exact_to_some_units_in_the_last_place(dtype, within):
    x = np.concatenate([np.linspace(-12, 12, 200_001), np.logspace(-30, 1, 1000)]).astype(dtype)
    out = np.empty_like(x)
    _tanh_of_all(x, out)
    exact = np.tanh(x.astype(np.longdouble))
    assert np.abs(out - exact).max() < within
    assert (np.abs(out[x != 0] / exact[x != 0] - 1)).max() < within
    assert np.abs(out).max() <= 1
    wild = np.array([np.nan, np.inf, -np.inf], dtype)
    ends = np.empty_like(wild)
    _tanh_of_all(wild, ends)
    assert np.isnan(ends[0])
    np.testing.assert_allclose(ends[1:], [1, -1], rtol=within)


def _solve(field, solver, z0, context=None):
    return solver.solve(field, z0, torch.zeros(len(z0)), torch.ones(len(z0)), context)


def test_a_context_of_other_rows_than_the_states_is_refused():
    field = _field(context_size=2)
    for rows in (2, 9):
        with pytest.raises(SolveError, match=rf"shape \({rows}, 2\) for 5 rows of z0"):
            _solve(field, Solver(), torch.randn(5, 3), Context(torch.randn(rows, 2)))


def test_a_field_of_other_size_than_the_states_is_refused():
    with pytest.raises(SolveError, match="return 5"):
        _solve(MLPDynamics(3, (8,), out_size=5), Solver(), torch.randn(4, 3))
    with pytest.raises(SolveError, match="the dynamics read 3 numbers"):
        _solve(_field(), Solver(), torch.randn(4, 2))
    with pytest.raises(SolveError, match="are 4 numbers"):
        _solve(_field(context_size=2), Solver(), torch.randn(4, 3), Context(torch.randn(4, 1)))


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
def test_torchs_own_checkpointing_may_contain_a_solve(adjoint):
    field, z0 = _field(), torch.randn(4, 3, requires_grad=True)
    plain = _solve(field, Solver(adjoint=adjoint), z0).final
    again = checkpoint(
        lambda z: _solve(field, Solver(adjoint=adjoint), z).final, z0, use_reentrant=False
    )
    for a, b in zip(
        torch.autograd.grad(plain.sum(), [z0, *field.parameters()]),
        torch.autograd.grad(again.sum(), [z0, *field.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_checkpoint_keeps_the_knots_and_nothing_of_each_evaluation():
    field, z0, kept = _field(), torch.randn(8, 3), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        _solve(field, Solver("rk4", intervals=2, steps=50, adjoint="checkpoint"), z0)
    assert max(shape.numel() for shape in kept) == 102 * 8 * 3 - 8 * 3  # 101 states


def test_times_of_another_precision_are_as_good():
    field, z0 = _field().float(), torch.randn(4, 3, dtype=torch.float32)
    ends = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64, requires_grad=True)
    final = Solver().solve(field, z0, *ends).final
    expected = Solver().solve(field, z0, ends[0].float(), ends[1].float()).final
    torch.testing.assert_close(final, expected)
    (g,) = torch.autograd.grad(final.sum(), ends[1])
    assert g.dtype == torch.float64
    assert (g != 0).all()


def test_what_torch_records_or_casts_is_left_to_it():
    field = _field(context_size=2).float().requires_grad_(False)
    z0 = torch.randn(4, 3, dtype=torch.float32)
    told = Context(torch.randn(4, 2, dtype=torch.float32))
    ends = torch.zeros(4, dtype=torch.float32), torch.ones(4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        final = Solver().solve(field, z0, *ends, told).final
    torch.testing.assert_close(final, Solver().solve(field, z0, *ends, told).final, rtol=0.1, atol=0.1)
    with torch.no_grad():
        solved = torch.jit.trace(lambda z: Solver().solve(field, z, *ends, told).final, z0)
        torch.testing.assert_close(solved(2 * z0), Solver().solve(field, 2 * z0, *ends, told).final)


def test_second_derivatives_are_refused_and_not_wrong():
    field, z0 = _field(), torch.randn(4, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(_solve(field, Solver(), z0).final.sum(), z0, create_graph=True)
