"""What holds for every vector field and every kind of path, whichever fast path serves it.

A new field of `FIELDS` is tested here without a further line.
"""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp, vmap
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from latentode.errors import SolveError
from latentode.ode import (
    CNF,
    FIELDS,
    NATIVE,
    AugmentedDynamics,
    Autonomous,
    CompartmentDynamics,
    Context,
    CoupledDynamics,
    Dynamics,
    FieldSizes,
    GatedDynamics,
    LinearControl,
    LinearDynamics,
    MLPDynamics,
    ODEBlock,
    Solver,
    StepControl,
    integrate,
    kernels,
)
from latentode.ode.kernels.compiled_perceptron import CompiledKernel

ROWS, STATE, FIXED = 5, 4, 2


def _fields(controls):
    """Makers of every field, told two fixed numbers and so many controls."""
    sizes = FieldSizes(STATE, hidden=6, fixed=FIXED, controls=controls)
    told = FIXED + controls
    others = {
        "augmented": lambda: AugmentedDynamics(MLPDynamics(STATE, (6,), told), extra=1),
        "coupled": lambda: CoupledDynamics(2, STATE // 2, FIXED // 2, controls, 6, 3),
        "autonomous": lambda: Autonomous(nn.Linear(STATE, STATE)),
    }
    return {name: partial(kind.make, sizes) for name, kind in FIELDS.items()} | others


FIELD_NAMES = list(_fields(1))


def _made(name, controls=1):
    field = _fields(controls)[name]()
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return field


def _linear_of(field):
    return [part for part in field.modules() if isinstance(part, nn.Linear)][-1]


def _subclassed(field):
    kind = type(field)

    def forward(self, t, z, context=None):
        return kind.forward(self, t, z, context) - z

    field.__class__ = type("Damped", (kind,), {"forward": forward})
    return field


def _replaced(field):
    plain = field.forward
    field.forward = lambda t, z, context=None: 2 * plain(t, z, context)
    return field


def _hooked(field):
    field.register_forward_hook(lambda module, given, out: out - given[1])
    return field


def _hooked_within(field):
    _linear_of(field).register_forward_hook(lambda module, given, out: 3 * torch.tanh(out))
    return field


def _hooked_before(field):
    _linear_of(field).register_forward_pre_hook(lambda module, given: (given[0].sin(),))
    return field


def _hooked_backward(field):
    def doubled(module, of_input, of_output):
        return tuple(None if g is None else 2 * g for g in of_input)

    _linear_of(field).register_full_backward_hook(doubled)
    return field


def _replaced_within(field):
    part = _linear_of(field)
    part.forward = lambda x: nn.functional.linear(x, 2 * part.weight, part.bias)
    return field


def _parametrised(field):
    part = parametrizations.weight_norm(_linear_of(field))
    with torch.no_grad():
        part.parametrizations.weight.original0.mul_(1.7)
    return field


def _pruned(field):
    prune.l1_unstructured(_linear_of(field), "weight", 0.5)
    return field


VARIANTS = {
    "plain": lambda field: field,
    "deep-copied": copy.deepcopy,
    "pickled": lambda field: pickle.loads(pickle.dumps(field)),
    "subclassed": _subclassed,
    "replaced": _replaced,
    "hooked": _hooked,
    "hooked within": _hooked_within,
    "hooked before": _hooked_before,
    "hooked backward": _hooked_backward,
    "replaced within": _replaced_within,
    "parametrised": _parametrised,
    "pruned": _pruned,
}
WITHIN = {*VARIANTS} - {"plain", "deep-copied", "pickled", "subclassed", "replaced", "hooked"}


def _variant(name, variant, controls=1):
    field = _made(name, controls)
    if variant in WITHIN and not any(isinstance(part, nn.Linear) for part in field.modules()):
        pytest.skip("nothing within")
    return VARIANTS[variant](field)


def _problem(dtype=torch.float64, rows=ROWS):
    changes = torch.rand(rows, 3).cumsum(1)
    tensors = torch.randn(rows, STATE), torch.randn(rows, FIXED), torch.randn(rows, 3, 1)
    z0, fixed, values = (x.to(dtype).requires_grad_() for x in tensors)
    ends = torch.rand(rows).to(dtype), 1 + torch.rand(rows).to(dtype)
    return z0, ends, (fixed, values), Context(fixed, StepControl(changes.to(dtype), values))


def _gradients(found, field, tensors):
    weights = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)
    sources = [*tensors, *field.parameters()]
    gradients = torch.autograd.grad((found * weights).sum(), sources, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, sources, strict=True)]


def _assert_alike(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        scale = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
        assert (a - b).abs().le(tolerance * scale).all(), float((a - b).detach().abs().max())


def _solved():
    """Every variant of every field, in both dtypes and by both adjoints, not in all pairs of them."""
    for i, name in enumerate(FIELD_NAMES):
        for j, variant in enumerate(VARIANTS):
            for k, dtype in enumerate((torch.float32, torch.float64)):
                for m, adjoint in enumerate(("direct", "checkpoint")):
                    quick = variant == "plain" or (i + j + k + m) % 3 == 0
                    marks = [] if quick else [pytest.mark.slow]
                    yield pytest.param(name, variant, dtype, adjoint, marks=marks)


@pytest.mark.parametrize(("name", "variant", "dtype", "adjoint"), [*_solved()])
def test_every_field_is_solved_as_the_same_field_in_a_plain_function(name, variant, dtype, adjoint):
    field = _variant(name, variant).to(dtype)
    z0, ends, given, context = _problem(dtype)
    solver = Solver("rk38", 3, 2, adjoint=adjoint)
    plain = Solver("rk38", 3, 2)

    def function(t, z, context):
        return field(t, z, context)

    ours, theirs = solver.solve(field, z0, *ends, context), plain.solve(function, z0, *ends, context)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    _assert_alike((ours.states, ours.slopes), (theirs.states, theirs.slopes), tolerance)
    arrived = solver.advance(field, z0, *ends, context)
    _assert_alike((arrived,), (theirs.final,), tolerance)
    if variant == "hooked backward" and adjoint == "checkpoint":
        return  # weights and states are then differentiated in passes of their own
    tensors = (z0, *given)
    expected = _gradients(theirs.final, field, tensors)
    _assert_alike(_gradients(ours.final, field, tensors), expected, tolerance)
    _assert_alike(_gradients(arrived, field, tensors), expected, tolerance)


def _by_jacobians(field, rows, context):
    """x, and log-density less that of the base, of one row after another."""

    def slope(t, state, known):
        def of(z):
            return field(t[:1], z[None], None if known is None else Context(known))[0]

        jacobian = torch.autograd.functional.jacobian(of, state[0, :STATE], create_graph=True)
        return torch.cat([of(state[0, :STATE]), jacobian.trace()[None]])[None]

    found = []
    for i in range(len(rows)):
        start = torch.cat([rows[i : i + 1], rows.new_zeros(1, 1)], dim=1)
        ends = rows.new_ones(1), rows.new_zeros(1)
        known = context[i : i + 1]
        function = partial(lambda known, t, z, _: slope(t, z, known), known)
        found.append(Solver("midpoint", 2).solve(function, start, *ends).final[0])
    return torch.stack(found)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "hooked backward"])
@pytest.mark.parametrize("name", FIELD_NAMES)
def test_a_flow_through_any_field_has_the_density_of_its_jacobian(name, variant):
    field = _variant(name, variant, controls=0)
    flow = CNF(STATE, FIXED, field=field, solver=Solver("midpoint", 2))
    x, known = torch.randn(3, STATE, requires_grad=True), torch.randn(3, FIXED, requires_grad=True)
    z, log_det = flow.inverse(x, known)
    expected = _by_jacobians(field, x, known)
    ours = torch.cat([z, log_det[:, None]], dim=1)
    _assert_alike((ours,), (expected,), 1e-10)
    tensors = (x, known)
    _assert_alike(_gradients(ours, field, tensors), _gradients(expected, field, tensors), 1e-9)


def test_the_kernel_is_that_of_the_exact_type_and_copies_keep_it():
    field, z0, times = MLPDynamics(STATE), torch.randn(ROWS, STATE), torch.zeros(1, ROWS)
    for kept in (field, copy.deepcopy(field), pickle.loads(pickle.dumps(field))):
        assert isinstance(kernels.kernel_of(kept, times, None, z0), CompiledKernel)
    for name in sorted(set(VARIANTS) - {"plain", "deep-copied", "pickled"}):
        assert kernels.kernel_of(VARIANTS[name](MLPDynamics(STATE)), times, None, z0) is None, name
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, out: None)
    try:
        assert kernels.kernel_of(field, times, None, z0) is None
        assert kernels.divergence_of(field) is None
    finally:
        handle.remove()
    without = MLPDynamics(STATE)
    without.layers[0] = nn.Linear(STATE, 64, bias=False)
    assert kernels.kernel_of(without, times, None, z0) is None


class Sloped(LinearDynamics):
    """A slope that the closed form knows nothing of."""

    def slope(self, z, force):
        return super().slope(z, force) - z


class Alone(LinearDynamics):
    """A closed form of its own, force, slope and solution."""

    def force(self, known):
        return None

    def slope(self, z, force):
        return -z

    def carry(self, z0, elapsed, force):
        return z0[:, None] * torch.exp(-elapsed)[..., None]


def test_a_closed_form_is_followed_only_where_it_is_that_of_the_field():
    z0, t0, t1 = torch.randn(2, 4), torch.zeros(2), torch.ones(2)
    for variant in ("subclassed", "replaced", "hooked"):
        with pytest.raises(SolveError, match="its own forward or a hook may contradict"):
            Solver("exact").solve(VARIANTS[variant](LinearDynamics(4)), z0, t0, t1)
    with pytest.raises(SolveError, match="contradict"):
        Solver("exact").solve(Sloped(4), z0, t0, t1)
    final = Solver("exact").solve(Alone(4), z0, t0, t1).final
    torch.testing.assert_close(final, z0 * torch.exp(torch.tensor(-1.0)))
    assert kernels.closed_form(copy.deepcopy(LinearDynamics(4))) is not None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FIELD_NAMES)
def test_threads_change_no_field(name, threads):
    field, before = _made(name), torch.get_num_threads()
    z0, ends, given, context = _problem(rows=600)
    theirs = Solver("rk4", 2).solve(lambda t, z, c: field(t, z, c), z0, *ends, context).final
    try:
        torch.set_num_threads(threads)
        ours = Solver("rk4", 2).solve(field, z0, *ends, context).final
        found = _gradients(ours, field, (z0, *given))
    finally:
        torch.set_num_threads(before)
    _assert_alike((ours,), (theirs,), 1e-11)
    _assert_alike(found, _gradients(theirs, field, (z0, *given)), 1e-9)


@pytest.mark.parametrize("solver", [Solver("rk4", 7), Solver("rk4", 7, adjoint="checkpoint")], ids=str)
@pytest.mark.parametrize("name", FIELD_NAMES)
def test_a_first_solve_in_inference_mode_spoils_no_later_gradient(name, solver):
    field = _made(name)
    z0, ends, _, context = _problem()
    kernels._kept.cache_clear()
    with torch.inference_mode():
        quiet = solver.solve(field, z0, *ends, context)
        quiet.at(torch.arange(ROWS), ends[0] + 0.1)
    t1 = ends[1].clone().requires_grad_()
    path = solver.solve(field, z0, ends[0], t1, context)
    torch.testing.assert_close(path.final, quiet.final)
    loss = path.at(torch.arange(ROWS), ends[0] + 0.1).sum() + path.final.sum()
    gradients = torch.autograd.grad(loss, [z0, t1], allow_unused=True)
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
def test_what_torch_transforms_counts_or_casts_takes_plain_operations(adjoint):
    field, solver = MLPDynamics(STATE, (6,)), Solver("rk4", 2, adjoint=adjoint)
    z0, way = torch.randn(ROWS, STATE), torch.randn(ROWS, STATE)
    ends = torch.zeros(ROWS), torch.ones(ROWS)

    def final(z, field=field):
        path = solver.solve(field, z, torch.zeros(len(z)), torch.ones(len(z)))
        return path.at(torch.arange(len(z)), torch.full((len(z),), 0.7)) + path.final

    plain = final(z0)
    step = 1e-6
    slope = (final(z0 + step * way) - final(z0 - step * way)) / (2 * step)
    pushed = jvp(final, (z0,), (way,))[1]
    assert (pushed - slope).abs().max() < 1e-7
    one_by_one = vmap(lambda z: final(z[None])[0])(z0)
    torch.testing.assert_close(one_by_one, plain)

    def loss(weights):
        return functional_call(Wrapped(final, field), weights, (z0,)).sum()

    weights = {f"field.{name}": p.detach() for name, p in field.named_parameters()}
    found = torch.func.grad(loss)(weights)
    expected = torch.autograd.grad(plain.sum(), list(field.parameters()))
    for a, b in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(a, b)
    with FlopCounterMode(display=False) as counter:
        solver.solve(field, z0, *ends)
    assert counter.get_total_flops() == (4 * 2 + 1) * 2 * ROWS * 2 * 6 * STATE


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint"])
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true", "32-true", "64-true"])
@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_solved_in_every_precision(name, precision, adjoint):
    exact, closed = _made(name), FIELDS[name].closed_form
    size, _, kind = precision.partition("-")
    dtypes = {"16": torch.float16, "32": torch.float32, "64": torch.float64}
    dtype = torch.float32 if kind == "mixed" else dtypes.get(size, torch.bfloat16)
    solver = Solver("exact", 1) if closed else Solver(adjoint=adjoint, jumps=2)
    z0, ends, (fixed, values), context = _problem()
    expected = solver.solve(exact, z0, *ends, context).final
    field, start = copy.deepcopy(exact).to(dtype), z0.detach().to(dtype).requires_grad_()
    assert context.control is not None
    control = StepControl(context.control.times.to(dtype), values.detach().to(dtype))
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "mixed"):
        t0, t1 = (t.to(dtype) for t in ends)
        path = solver.solve(field, start, t0, t1, Context(fixed.detach().to(dtype), control))
        rows = torch.arange(ROWS)
        area = integrate(path, lambda row, z: z, rows, t0, t1)
        loss = path.at(rows, t1).sum() + path.derivative_at(rows, t1).sum() + area.sum()
    loss.backward()
    assert path.final.dtype == dtype
    within = {"bf16": 0.1, "16": 0.02, "32": 1e-4, "64": 1e-12}[size]
    assert (path.final - expected).abs().max() < within * expected.abs().max()
    assert start.grad is not None and torch.isfinite(start.grad).all() and start.grad.abs().sum() > 0


class Wrapped(nn.Module):
    def __init__(self, call, field):
        super().__init__()
        self.call, self.field = call, field

    def forward(self, z):
        return self.call(z, self.field)


def test_a_cached_constant_is_not_one_that_is_being_transformed():
    kernels._kept.cache_clear()
    field = MLPDynamics(STATE, (6,))

    def final(z):
        return Solver("rk4", 3).solve(field, z, torch.zeros(len(z)), torch.ones(len(z))).final

    z0 = torch.randn(ROWS, STATE)
    torch.func.grad(lambda z: final(z).sum())(z0)
    final(z0.requires_grad_()).sum().backward()
    assert z0.grad is not None and torch.isfinite(z0.grad).all()


@pytest.mark.parametrize("variant", ["plain", "subclassed", "hooked", "parametrised"])
def test_a_block_calls_what_it_is_given(variant):
    field, z = VARIANTS[variant](MLPDynamics(STATE, (6,))), torch.randn(ROWS, STATE)
    block = ODEBlock(field, "rk4", 3)
    ends = torch.zeros(ROWS), torch.ones(ROWS)
    expected = Solver("rk4", 1, 3).solve(lambda t, z, c: field(t, z, c), z, *ends).final
    _assert_alike((block(z),), (expected,), 1e-12)


def test_every_named_field_says_whether_its_solution_is_known():
    for name, kind in FIELDS.items():
        field = kind.make(FieldSizes(4))
        assert isinstance(field, Dynamics)
        assert (kernels.closed_form(field) is not None) == kind.closed_form, name
        if kind.even:
            with pytest.raises(SolveError, match="must be even"):
                kind.make(FieldSizes(3))
        else:
            kind.make(FieldSizes(3))


HOWS = {
    **{method: Solver(method, 2) for method in NATIVE},
    "checkpoint": Solver("rk4", 2, adjoint="checkpoint"),
    "backsolve": Solver("rk4", 2, adjoint="backsolve"),
    "dopri5": Solver("dopri5"),
    "bosh3": Solver("bosh3"),
}
WRONG = {
    "a column": (lambda z: z[:, :1], r"\(4, 1\) for states of shape \(4, 4\)"),
    "a row": (lambda z: z[:1], r"\(1, 4\) for states of shape \(4, 4\)"),
    "a number each": (lambda z: z.sum(1), r"\(4,\) for states of shape \(4, 4\)"),
    "too many": (lambda z: z[None], r"\(1, 4, 4\) for states of shape \(4, 4\)"),
    "less precise": (lambda z: z.float(), "float32 for states of torch.float64"),
    "whole": (lambda z: z.long(), "int64 for states of torch.float64"),
    "nothing": (lambda z: None, "returned a NoneType"),
}


class Called(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, t, z, context=None):
        return self.call(z)


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("how", HOWS)
def test_a_slope_that_is_not_like_the_state_is_refused_by_every_method(how, what):
    call, message = WRONG[what]
    problem = torch.randn(4, 4), torch.zeros(4), torch.ones(4)
    for field in (Called(call), lambda t, z, context: call(z)):
        for solved in (HOWS[how].solve, HOWS[how].advance):
            with pytest.raises(SolveError, match=message):
                solved(field, *problem)


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
@pytest.mark.parametrize("what", ["a column", "a number each", "less precise"])
def test_a_flow_refuses_a_slope_that_is_not_like_its_points(what, trace):
    call, _ = WRONG[what]
    flow = CNF(4, field=Called(call), trace=trace)
    for carried in (flow.inverse, flow.transport, flow.points):
        with pytest.raises(SolveError, match=r"must have the (shape|dtype) of z"):
            carried(torch.randn(4, 4))


class Spread(Alone):
    """A closed form of which every component is the same."""

    def carry(self, z0, elapsed, force):
        return super().carry(z0, elapsed, force)[..., :1]


class Forced(Alone):
    def force(self, known):
        return torch.ones(1, 1)


@pytest.mark.parametrize("kind", [Spread, Forced])
def test_a_closed_form_that_is_not_like_the_state_is_refused(kind):
    for part in ("force", "slope", "carry"):  # as if all were of one class
        setattr(kind, part, getattr(kind, part))
    with pytest.raises(SolveError, match="returned shape"):
        Solver("exact").solve(kind(4), torch.randn(2, 4), torch.zeros(2), torch.ones(2))


@pytest.mark.parametrize("how", [*HOWS, "exact"])
def test_every_method_refuses_times_and_states_that_it_cannot_work_with(how):
    solver, field = HOWS.get(how, Solver("exact")), LinearDynamics(2)
    z0, t0, t1 = torch.randn(3, 2), torch.zeros(3), torch.ones(3)
    for bad in (float("nan"), float("inf"), -float("inf")):
        wrong = torch.tensor([0.5, 1.0, bad])
        for solved in (solver.solve, solver.advance):
            with pytest.raises(SolveError, match="t0 of row 2 is"):
                solved(field, z0, wrong, t1)
            with pytest.raises(SolveError, match="t1 of row 2 is"):
                solved(field, z0, t0, wrong)
    for solved in (solver.solve, solver.advance):
        for name, problem in (("z0", (z0.long(), t0, t1)), ("t1", (z0, t0, t1.int()))):
            with pytest.raises(SolveError, match=f"{name} is of torch.int.*floating dtype"):
                solved(field, *problem)


@pytest.mark.parametrize("how", [*HOWS, "exact"])
def test_every_method_refuses_what_is_no_tensor_or_no_context(how):
    solver, field = HOWS.get(how, Solver("exact")), LinearDynamics(2)
    z0, t0, t1 = torch.randn(3, 2), torch.zeros(3), torch.ones(3)
    for solved in (solver.solve, solver.advance):
        with pytest.raises(SolveError, match="z0 is a ndarray; a solve needs tensors"):
            solved(field, z0.numpy(), t0, t1)
        with pytest.raises(SolveError, match="t1 is a float; a solve needs tensors"):
            solved(field, z0, t0, 1.0)
        with pytest.raises(SolveError, match=r"the context is a Tensor; .* Context"):
            solved(field, z0, t0, t1, torch.zeros(3, 1))
        for shape in ((2, 1), (1, 1), (3,), (3, 1, 1)):
            with pytest.raises(SolveError, match=r"fixed part has shape .* for 3 rows of z0"):
                solved(field, z0, t0, t1, Context(torch.zeros(shape)))


@pytest.mark.parametrize("how", [*HOWS, "exact"])
@pytest.mark.parametrize("kind", [StepControl, LinearControl])
def test_every_method_refuses_a_control_path_that_is_none(kind, how):
    """Times that do not ascend would be looked up wrongly, whole ones would round starts of values."""
    solver, field = HOWS.get(how, Solver("exact")), CompartmentDynamics(2, 1)
    problem = torch.randn(3, 2), torch.zeros(3), torch.ones(3)
    times, values = torch.linspace(0, 1, 4).expand(3, 4), torch.randn(3, 4, 1)
    unknown = times.clone()
    unknown[1, 2] = float("nan")
    unfit = {
        "one row": (times[:1], values[:1], "expected"),
        "more rows": (times.repeat(2, 1), values.repeat(2, 1, 1), "expected"),
        "no rows": (times[0], values[0], "expected"),
        "no columns": (times, values[..., 0], "expected"),
        "fewer times": (times[:, :2], values, "expected"),
        "fewer values": (times, values[:, :2], "expected"),
        "no times": (times[:, :0], values[:, :0], "at least one"),
        "whole times": (times.long(), values, "times of the .* of torch.int64"),
        "whole values": (times, values.long(), "values of the .* of torch.int64"),
        "descending": (times.flip(1), values, "do not ascend in row 0"),
        "unknown": (unknown, values, "do not ascend in row 1"),
    }
    for own_times, own_values, message in unfit.values():
        for solved in (solver.solve, solver.advance):
            with pytest.raises(SolveError, match=message):
                solved(field, *problem, Context(control=kind(own_times, own_values)))


# Adaptive methods are one code; a solve of theirs takes fifty times as long as one of fixed steps.
TIMED = [
    pytest.param(
        name, how, marks=[pytest.mark.slow] * (how == "bosh3" and name not in ("timed", "compartments"))
    )
    for name in (*FIELD_NAMES, "timed", "gated and timed")
    for how in HOWS
]


@pytest.mark.parametrize(("name", "how"), TIMED)
def test_times_of_another_precision_change_neither_a_solution_nor_its_dtype(name, how):
    timed = {
        "timed": lambda: MLPDynamics(STATE, (6,), FIXED + 1, time_dependent=True),
        "gated and timed": lambda: GatedDynamics(STATE, FIXED + 1, time_dependent=True),
    }
    field = (timed[name]() if name in timed else _made(name)).float()
    z0, ends, _, context = _problem(torch.float32)
    # Adaptive methods know no field from a function, and take long.
    plain = [] if how in ("dopri5", "bosh3") else [lambda t, z, known: field(t, z, known)]
    for each in (field, *plain):
        for solved in (HOWS[how].advance, lambda *problem: HOWS[how].solve(*problem).final):
            found = solved(each, z0, *(t.double() for t in ends), context)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, solved(each, z0, *ends, context), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("span", [(0,), (0, 1, 2), 1.0, (0.0, float("nan")), (0.0, "1"), None])
def test_a_block_refuses_what_is_no_span(span):
    with pytest.raises(SolveError, match="span must be two finite numbers"):
        ODEBlock(MLPDynamics(2), span=span)
