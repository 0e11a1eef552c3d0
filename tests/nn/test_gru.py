"""Every backend of the GRU gives the states and gradients of its equations, however it is wrapped."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize, prune

from latentode.nn import gru as gru_module
from latentode.nn.encoders import GRUEncoder, ODERNNEncoder
from latentode.nn.gru import GRU, Gaps
from latentode.nn.recurrence import Compiled, TensorLoop
from latentode.nn.sequences import Events
from latentode.ode import MLPDynamics, Solver

SOLVERS = [
    Solver("midpoint", intervals=1),
    Solver("euler", intervals=3),
    Solver("rk38", intervals=2),
    Solver("dopri5", intervals=1),
    Solver("rk4", intervals=1, adjoint="checkpoint"),
]
BACKENDS = ("compiled", "tensors", "plain")
SIZES = ([5, 5, 2, 1], [1], [3], [90, 40, 40, 7, 1, 1], [1, 1, 1])
CLOSE = {"rtol": 1e-9, "atol": 1e-10}


class Subclass(GRU):
    """Adds nothing, but might."""


@pytest.fixture
def only(monkeypatch):
    """Has the GRU read by one backend; the plain one is what everything else is held against."""

    def choose(backend):
        if backend == "tensors":
            monkeypatch.setattr(gru_module, "readable", lambda *tensors: False)
        if backend == "plain":
            monkeypatch.setattr(gru_module, "_fast_path", lambda *given: None)

    return choose


@pytest.fixture
def chosen(monkeypatch):
    """Which fast paths are taken, in order; None for the plain loop."""
    found, real = [], gru_module._fast_path

    def watched(*given):
        found.append(real(*given))
        return found[-1]

    monkeypatch.setattr(gru_module, "_fast_path", watched)
    return found


def by_torch(gru, x, sizes):
    """The final states by torch's own GRU with the same parameters."""
    size = gru.hidden_size
    weights = {
        "weight_ih_l0": gru.input_gates.weight,
        "bias_ih_l0": gru.input_gates.bias,
        "weight_hh_l0": gru.state_weight,
        "bias_hh_l0": torch.cat([gru.candidate_bias.new_zeros(2 * size), gru.candidate_bias]),
    }
    own = nn.GRU(gru.input_size, size, dtype=x.dtype)
    packed = nn.utils.rnn.PackedSequence(x, torch.tensor(sizes))
    return torch.func.functional_call(own, weights, (packed,))[1][0]


def gradients(state, sources):
    """Of a sum that weighs each number of the state differently."""
    weights = torch.linspace(-1, 1, state.numel(), dtype=state.dtype).view_as(state)
    return torch.autograd.grad((state * weights).sum(), sources)


def agree(ours, theirs, **close):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **(close or CLOSE))


# ------------------------------------------------------------------ the three backends


@pytest.mark.parametrize("backend", BACKENDS)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_states_and_gradients_are_those_of_torch(backend, lengths):
    sizes = [sum(n > step for n in lengths) for step in range(max(lengths))]
    gru = GRU(3, 4).double()
    x = torch.randn(sum(sizes), 3, dtype=torch.float64, requires_grad=True)
    sources = [x, *gru.parameters()]
    with pytest.MonkeyPatch.context() as patch:
        if backend == "tensors":
            patch.setattr(gru_module, "readable", lambda *tensors: False)
        if backend == "plain":
            patch.setattr(gru_module, "_fast_path", lambda *given: None)
        found = gru(x, sizes)
        of_found = gradients(found, sources)
    expected = by_torch(gru, x, sizes)
    torch.testing.assert_close(found, expected, **CLOSE)
    agree(of_found, gradients(expected, sources))


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_precision_agrees_to_its_rounding(backend, only):
    torch.manual_seed(0)
    gru, sizes = GRU(3, 8), [6] * 20 + [2] * 10
    x = torch.randn(sum(sizes), 3, requires_grad=True)
    only(backend)
    found = gru(x, sizes)
    assert found.dtype == torch.float32
    exact = copy.deepcopy(gru).double()
    own = x.detach().double().requires_grad_()
    expected = by_torch(exact, own, sizes)
    theirs = [expected, *gradients(expected, [own, *exact.parameters()])]
    for a, b in zip([found, *gradients(found, [x, *gru.parameters()])], theirs, strict=True):
        assert ((a - b).abs() / b.abs().max().clamp(min=1.0)).max() < 1e-5


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_each_backend_serves_what_it_is_for(sizes, chosen):
    x = torch.randn(sum(sizes), 3)
    GRU(3, 4)(x, sizes)
    GRU(3, 200)(x, sizes)
    GRU(3, 4).bfloat16()(x, sizes)
    Subclass(3, 4)(x, sizes)
    assert [type(c) for c in chosen] == [Compiled, TensorLoop, TensorLoop, type(None)]


def hooked(gru):
    gru.register_forward_hook(lambda module, given, state: 2 * state)
    return gru


def hooked_inside(gru):
    gru.input_gates.register_forward_hook(lambda module, given, gates: gates + 0.5)
    return gru


def hooked_before(gru):
    gru.register_forward_pre_hook(lambda module, given: (given[0] + 0.25, *given[1:]))
    return gru


def with_another_cell(gru):
    class Slow(GRU):
        def update(self, gates, state):
            return 0.5 * (state + super().update(gates, state))

    gru.__class__ = Slow
    return gru


def parametrised(gru):
    class Doubled(nn.Module):
        def forward(self, weight):
            return 2 * weight

    parametrize.register_parametrization(gru, "state_weight", Doubled())
    return gru


def replaced_inside(gru):
    gru.input_gates = nn.Sequential(gru.input_gates, nn.Tanh())
    return gru


def overridden(gru):
    usual = gru.update
    gru.update = lambda gates, state: 0.5 * (state + usual(gates, state))
    return gru


def overridden_inside(gru):
    usual = gru.input_gates.forward
    gru.input_gates.forward = lambda x: usual(x) + 0.5
    return gru


def pruned(gru):
    prune.l1_unstructured(gru, "state_weight", 0.5)
    return gru


CHANGES = (
    hooked,
    hooked_inside,
    hooked_before,
    with_another_cell,
    parametrised,
    replaced_inside,
    overridden,
    overridden_inside,
    pruned,
)


@pytest.mark.parametrize("change", CHANGES)
def test_no_fast_path_answers_for_what_it_was_not_written_for(change, chosen):
    torch.manual_seed(0)
    gru, sizes = GRU(3, 4).double(), [3, 2, 2]
    x = torch.randn(7, 3, dtype=torch.float64)
    usual = gru(x, sizes)
    found = change(gru)(x, sizes)
    assert type(chosen[0]) is Compiled
    assert chosen[1] is None
    assert not torch.allclose(found, usual)
    expected = {"hooked": lambda: 2 * usual, "hooked_before": lambda: unhooked(gru)(x + 0.25, sizes)}
    if change.__name__ in expected:
        torch.testing.assert_close(found, expected[change.__name__](), **CLOSE)
    for _ in range(2):  # and learns on
        gru(x, sizes).sum().backward()


def unhooked(gru):
    """A GRU of the same parameters and nothing else."""
    plain = GRU(gru.input_size, gru.hidden_size).double()
    plain.load_state_dict(gru.state_dict())
    return plain


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_recurrence_in_the_precision_of_its_weights(backend, dtype, only):
    torch.manual_seed(0)
    gru, sizes = GRU(3, 4), [3, 2, 2]
    x = torch.randn(7, 3)
    expected = gru(x.to(dtype).float(), sizes)
    only(backend)
    with torch.autocast("cpu", dtype=dtype):
        found = gru(x.to(dtype), sizes)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_derivatives_are_those_of_the_equations(backend, only):
    torch.manual_seed(0)
    gru, sizes = GRU(2, 3).double(), [3, 2, 1]
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    sources = [x, *gru.parameters()]

    def second(state):
        first = torch.autograd.grad(state.square().sum(), sources, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), sources)

    expected = second(by_torch(gru, x, sizes))
    only(backend)
    agree(second(gru(x, sizes)), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_sequence_is_read_as_no_state(backend, only):
    only(backend)
    for sizes in ([], [0]):
        state = GRU(3, 4)(torch.zeros(0, 3), sizes)
        assert state.shape == (0, 4)
        state.sum().backward()


def test_sizes_that_do_not_descend_or_do_not_add_up_are_refused():
    for sizes in ([1, 3], [2, 1], [4, 0]):
        with pytest.raises(ValueError, match=r"sizes must descend to 1 or more and sum to 4"):
            GRU(3, 4)(torch.randn(4, 3), sizes)


# ------------------------------------------------------------------ within encoders


def events_of(lengths, n_variables=2, dtype=torch.float64, descending=False):
    width = max(*lengths, 1)
    time = torch.rand(len(lengths), width).cumsum(1).to(dtype)
    length = torch.tensor(lengths)
    final = (length - 1).clamp(min=0)[:, None]
    beyond = torch.arange(width) > final
    time = torch.where(beyond, time.gather(1, final), time) * (-1 if descending else 1)
    observed = (torch.rand(len(lengths), width, n_variables) < 0.6).to(dtype)
    observed[torch.arange(width) >= length[:, None]] = 0
    return Events(time, torch.randn(observed.shape).to(dtype) * observed, observed, length)


def read(encoder, events):
    """A summary and the gradients of a sum that weighs each of its numbers differently."""
    value = events.value.clone().requires_grad_()
    events = Events(events.time, value, events.observed, events.length)
    t0 = events.time[:, -1] + 0.3
    summary = encoder(events, t0, torch.zeros(len(t0), value.shape[2], dtype=value.dtype))
    return [summary, *gradients(summary, [value, *encoder.parameters()])] if any(events.length) else []


@pytest.mark.parametrize("lengths", [[3, 0, 7, 7, 1], [1], [0, 0], list(range(70))], ids=len)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("backend", ["compiled", "tensors"])
def test_a_gru_encoder_reads_the_same_by_every_backend(lengths, descending, backend, only):
    encoder, events = GRUEncoder(2, 5).double(), events_of(lengths, descending=descending)
    expected = by_steps(encoder, events)
    only(backend)
    agree(read(encoder, events), expected)


def by_steps(encoder, events):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gru_module, "_fast_path", lambda *given: None)
        return read(encoder, events)


def ode_rnn(solver=None, dtype=torch.float64):
    encoder = ODERNNEncoder(2, 5, solver).to(dtype)
    nn.init.normal_(encoder.dynamics.layers[-1].weight)
    return encoder


@pytest.mark.parametrize("lengths", [[3, 0, 7, 7, 1], [0, 0], list(range(70))], ids=len)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: f"{s.method}-{s.adjoint}")
def test_an_ode_rnn_reads_the_same_by_every_backend(lengths, solver):
    if solver.method == "dopri5" and len(lengths) > 5:
        lengths = lengths[:5]
    encoder, events = ode_rnn(solver), events_of(lengths, descending=True)
    agree(read(encoder, events), by_steps(encoder, events))


def test_gaps_that_start_and_end_anywhere_are_followed_from_there_to_there():
    gru, field = GRU(1, 3).double(), MLPDynamics(3, (4,), time_dependent=True).double()
    nn.init.normal_(field.layers[-1].weight)
    start, end = torch.tensor([0.5, 2.0]).double(), torch.tensor([1.0, 5.0]).double()
    solver, x = Solver("rk4", intervals=2), torch.randn(2, 1).double()
    found = gru(x, [1, 1], Gaps(solver, field, start, end))
    state = torch.zeros(1, 3).double()
    for i in range(2):
        state = solver.advance(field, state, start[i : i + 1], end[i : i + 1])
        state = gru.update(gru.input_gates(x[i : i + 1]), state)
    torch.testing.assert_close(found, state, **CLOSE)


class Faster(MLPDynamics):
    """Its own field, twice as fast."""

    def forward(self, t, z, context=None):
        return 2 * super().forward(t, z, context)


def test_an_ode_rnn_follows_dynamics_that_are_subclassed_or_hooked(chosen):
    events = events_of([4, 2])
    encoder = ode_rnn()
    doubled = copy.deepcopy(encoder)
    with torch.no_grad():
        for p in doubled.dynamics.layers[-1].parameters():
            p.mul_(2)
    expected = read(doubled, events)[0]
    inside = copy.deepcopy(encoder)
    inside.dynamics.layers[-1].register_forward_hook(lambda module, given, made: 2 * made)
    subclass = copy.deepcopy(encoder)
    subclass.dynamics.__class__ = Faster
    assert type(chosen[0]) is Compiled
    del chosen[:]
    for changed in (inside, subclass):
        assert not torch.allclose(read(encoder, events)[0], expected)
        del chosen[:]
        summary = changed(events, events.time[:, -1], torch.zeros(2, 2).double())
        assert chosen == [None]
        torch.testing.assert_close(
            summary,
            doubled(events, events.time[:, -1], torch.zeros(2, 2).double()),
            **CLOSE,
        )


def test_threads_change_nothing():
    events = events_of([1 + i % 5 for i in range(600)])
    for encoder in (GRUEncoder(2, 5).double(), ode_rnn()):
        expected, before = read(encoder, events), torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            found = read(encoder, events)
        finally:
            torch.set_num_threads(before)
        agree(found, expected)


def test_gradients_by_times_go_step_by_step(chosen):
    encoder, events = ode_rnn(), events_of([4, 2])
    time = events.time.clone().requires_grad_()
    moved = Events(time, events.value, events.observed, events.length)
    summary = encoder(moved, events.time[:, -1], torch.zeros(2, 2).double())
    (g,) = torch.autograd.grad(summary.sum(), time)
    assert chosen == [None]
    assert (g != 0).any()


@pytest.mark.parametrize("kind", [GRUEncoder, ODERNNEncoder])
def test_series_without_events_still_have_a_gradient(kind):
    encoder, events = kind(2, 5).double(), events_of([0, 0])
    encoder(events, events.time[:, -1], torch.zeros(2, 2).double()).sum().backward()


@pytest.mark.parametrize("kind", [GRUEncoder, ODERNNEncoder])
def test_an_encoder_can_be_exported(kind):
    encoder, events = kind(2, 5).double(), events_of([3, 1, 2])

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, time, value, observed, length):
            given = Events(time, value, observed, length)
            return self.encoder(given, time[:, -1], torch.zeros_like(value[:, 0]))

    arguments = (events.time, events.value, events.observed, events.length)
    exported = torch.export.export(Reader(), arguments)
    torch.testing.assert_close(exported.module()(*arguments), Reader()(*arguments), **CLOSE)


def test_second_derivatives_through_a_compiled_ode_are_refused_and_not_wrong():
    encoder, events = ode_rnn(), events_of([3, 2])
    summary = encoder(events, events.time[:, -1], torch.zeros(2, 2).double())
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(summary.sum(), list(encoder.parameters()), create_graph=True)
