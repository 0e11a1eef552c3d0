"""Compiled recurrences equal the same arithmetic in tensor operations, in values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from latentode.nn import packed_gru, recurrent_encoders
from latentode.nn.packed_gru import PackedGRU
from latentode.nn.sequences import Events
from latentode.nn.series_encoders import GRUEncoder, ODERNNEncoder
from latentode.ode import Solver

SOLVERS = [
    Solver("midpoint", intervals=1),
    Solver("euler", intervals=3),
    Solver("rk38", intervals=2),
    Solver("rk4", intervals=2),
    Solver("dopri5", intervals=1),
    Solver("rk4", intervals=1, adjoint="checkpoint"),
]


def _events(lengths, n_variables=2, dtype=torch.float64, descending=False):
    width = max(*lengths, 1)
    time = torch.rand(len(lengths), width).cumsum(1).to(dtype)
    length = torch.tensor(lengths)
    final = (length - 1).clamp(min=0)[:, None]
    beyond = torch.arange(width) > final
    time = torch.where(beyond, time.gather(1, final), time) * (-1 if descending else 1)
    observed = (torch.rand(len(lengths), width, n_variables) < 0.6).to(dtype)
    observed[torch.arange(width) >= length[:, None]] = 0
    return Events(time, torch.randn(observed.shape).to(dtype) * observed, observed, length)


def _read(encoder, events):
    """A summary and the gradients of a sum that weighs each of its numbers differently."""
    value = events.value.clone().requires_grad_()
    events = Events(events.time, value, events.observed, events.length)
    t0 = events.time[:, -1] + 0.3
    summary = encoder(events, t0, torch.zeros(len(t0), value.shape[2], dtype=value.dtype))
    if not any(events.length):
        return [summary]
    weights = torch.linspace(-1, 1, summary.numel(), dtype=value.dtype).view_as(summary)
    sources = [value, *encoder.parameters()]
    found = torch.autograd.grad((summary * weights).sum(), sources, allow_unused=True)
    return [
        summary,
        *(torch.zeros_like(x) if g is None else g for g, x in zip(found, sources, strict=True)),
    ]


def _by_tensors(monkeypatch, encoder, events):
    with monkeypatch.context() as patch:
        patch.setattr(recurrent_encoders, "readable", lambda *tensors: False)
        return _read(encoder, events)


@pytest.mark.parametrize("lengths", [[3, 0, 7, 7, 1], [1], [0, 0], list(range(90))])
@pytest.mark.parametrize("descending", [False, True])
def test_a_gru_reads_as_torch_does(lengths, descending, monkeypatch):
    encoder, events = GRUEncoder(2, 5).double(), _events(lengths, descending=descending)
    for ours, theirs in zip(
        _read(encoder, events), _by_tensors(monkeypatch, encoder, events), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lengths", [[3, 0, 7, 7, 1], [0, 0], list(range(70))])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: f"{s.method}-{s.adjoint}")
def test_an_ode_rnn_reads_as_step_by_step(lengths, solver, monkeypatch):
    if solver.method == "dopri5" and len(lengths) > 5:
        lengths = lengths[:5]
    encoder, events = ODERNNEncoder(2, 5, solver).double(), _events(lengths, descending=True)
    nn.init.normal_(encoder.dynamics.layers[-1].weight)
    for ours, theirs in zip(
        _read(encoder, events), _by_tensors(monkeypatch, encoder, events), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_threads_change_nothing(monkeypatch):
    events = _events([1 + i % 5 for i in range(600)])
    for encoder in (GRUEncoder(2, 5).double(), ODERNNEncoder(2, 5).double()):
        expected, before = _read(encoder, events), torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            found = _read(encoder, events)
        finally:
            torch.set_num_threads(before)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_single_precision_agrees_to_its_rounding(monkeypatch):
    events = _events([9, 4, 30, 1], dtype=torch.float32)
    for encoder in (GRUEncoder(2, 8).float(), ODERNNEncoder(2, 8).float()):
        expected = _by_tensors(monkeypatch, encoder, events)
        for ours, theirs in zip(_read(encoder, events), expected, strict=True):
            scale = theirs.abs().max().clamp(min=1.0)
            assert ((ours - theirs).abs() / scale).max() < 1e-5


def test_a_packed_gru_reads_the_same_where_nothing_is_compiled(monkeypatch):
    gru, sizes = PackedGRU(3, 4), [5, 5, 2, 1]
    x = torch.randn(sum(sizes), 3, requires_grad=True)
    sources = [x, *gru.parameters()]
    compiled = gru(x, sizes)
    of_compiled = torch.autograd.grad(compiled.square().sum(), sources)
    monkeypatch.setattr(packed_gru, "readable", lambda *tensors: False)
    by_tensors = gru(x, sizes)
    torch.testing.assert_close(compiled, by_tensors)
    of_tensors = torch.autograd.grad(by_tensors.square().sum(), sources)
    for ours, theirs in zip(of_compiled, of_tensors, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_by_times_go_step_by_step():
    encoder, events = ODERNNEncoder(2, 4).double(), _events([4, 2])
    nn.init.normal_(encoder.dynamics.layers[-1].weight)
    time = events.time.clone().requires_grad_()
    moved = Events(time, events.value, events.observed, events.length)
    summary = encoder(moved, events.time[:, -1], torch.zeros(2, 2).double())
    (g,) = torch.autograd.grad(summary.sum(), time)
    assert (g != 0).any()


def test_sizes_that_do_not_descend_or_do_not_add_up_are_refused():
    gru = PackedGRU(3, 4)
    for sizes in ([1, 3], [2, 1], [4, 0]):
        with pytest.raises(ValueError, match=r"sizes must descend to 1 or more and sum to 4"):
            gru(torch.randn(4, 3), sizes)
    assert gru(torch.zeros(0, 3), [0]).shape == (0, 4)


def test_a_pruned_gru_learns_on():
    encoder, events = GRUEncoder(2, 5).double(), _events([3, 2])
    prune.l1_unstructured(encoder.gru, "weight_hh_l0", 0.5)
    for _ in range(2):
        encoder(events, events.time[:, -1], torch.zeros(2, 2).double()).sum().backward()


@pytest.mark.parametrize("kind", [GRUEncoder, ODERNNEncoder])
def test_series_without_events_still_have_a_gradient(kind):
    encoder, events = kind(2, 5).double(), _events([0, 0])
    encoder(events, events.time[:, -1], torch.zeros(2, 2).double()).sum().backward()


@pytest.mark.parametrize("kind", [GRUEncoder, ODERNNEncoder])
def test_an_encoder_can_be_exported(kind):
    encoder, events = kind(2, 5).double(), _events([3, 1, 2])

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, time, value, observed, length):
            read = Events(time, value, observed, length)
            return self.encoder(read, time[:, -1], torch.zeros_like(value[:, 0]))

    arguments = (events.time, events.value, events.observed, events.length)
    exported = torch.export.export(Reader(), arguments)
    torch.testing.assert_close(exported.module()(*arguments), Reader()(*arguments))


@pytest.mark.parametrize("kind", [GRUEncoder, ODERNNEncoder])
def test_second_derivatives_are_refused_and_not_wrong(kind):
    encoder, events = kind(2, 5).double(), _events([3, 2])
    summary = encoder(events, events.time[:, -1], torch.zeros(2, 2).double())
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(summary.sum(), list(encoder.parameters()), create_graph=True)
