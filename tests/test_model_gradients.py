"""Gradients of the whole model: complete, right, and the same by every way of computing them."""

import itertools

import numpy as np
import pytest
import torch
from making import batch_of, network, noise_for, piece

from latentode.model.network import T0
from latentode.model.objective import elbo_terms, negative_elbo
from latentode.nn import ENCODERS, LIKELIHOODS

pytestmark = pytest.mark.usefixtures("float64")

SCALED = [name for name, kind in LIKELIHOODS.items() if not kind.of_data_units]
ORDER = list(ENCODERS)
KINDS = list(itertools.product(ORDER, SCALED, T0))
every_kind = pytest.mark.parametrize(("encoder", "likelihood", "t0"), KINDS)


def some_batch(n_known=1):
    rng = np.random.default_rng(0)
    return batch_of([piece(rng, 5, 5, n_known=n_known), piece(rng, 4, 6, n_known=n_known)])


def loss_of(model, batch):
    return negative_elbo(elbo_terms(model, batch, noise_for(2)), 0.7, 0.3)


def gradients(model, batch):
    model.zero_grad()
    loss_of(model, batch).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters()}


@torch.no_grad()
def derivative(function, parameter, way, step=2e-5):
    """By the fourth-order central difference along `way`."""
    start, values = parameter.clone(), {}
    for k in (-2, -1, 1, 2):
        parameter.copy_(start + k * step * way)
        values[k] = function()
    parameter.copy_(start)
    return (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)


@every_kind
@pytest.mark.parametrize("n_static", [0, 2])
@pytest.mark.parametrize("n_known", [0, 1])
def test_every_parameter_receives_a_gradient(encoder, likelihood, t0, n_static, n_known):
    model = network(n_static=n_static, n_known=n_known, encoder=encoder, likelihood=likelihood, t0=t0)
    batch = some_batch(n_known)
    batch = type(batch)(**{**vars(batch), "static": batch.static[:, :n_static]})
    loss_of(model, batch).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.abs().max() > 1e-9, f"{name} has a gradient of zero"


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("t0", T0)
def test_statics_and_known_columns_reach_the_weights_that_read_them(encoder, t0):
    model = network(encoder=encoder, t0=t0)
    found = gradients(model, some_batch())
    assert found["layout.head.layers.0.weight"][:, -2:].abs().min() > 0  # statics in the head
    assert found["dynamics.layers.0.weight"][:, -3:].abs().min() > 0  # statics, known in the dynamics


def _differenced():
    """Every two of encoder, likelihood and t0 together; all three are slow."""
    for kind in KINDS:
        place = sum(names.index(own) for names, own in zip((ORDER, SCALED, T0), kind, strict=True))
        yield pytest.param(*kind, True, marks=[pytest.mark.slow] * (place % 2))
    yield "gru", "normal", "start", False


@pytest.mark.parametrize(("encoder", "likelihood", "t0", "variational"), [*_differenced()])
def test_the_gradient_of_the_loss_agrees_with_finite_differences(encoder, likelihood, t0, variational):
    options = {"encoder": encoder, "likelihood": likelihood, "t0": t0, "variational": variational}
    model = network(**options, solver={"intervals": 2})
    batch = some_batch()
    found = gradients(model, batch)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        way = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        expected = derivative(lambda: loss_of(model, batch), parameter, way)
        torch.testing.assert_close(
            (found[name] * way).sum(),
            expected,
            rtol=1e-7,
            atol=1e-8,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("t0", T0)
def test_checkpointing_gives_the_gradient_of_direct(t0):
    batch = some_batch()
    direct, checkpoint = (
        gradients(network(t0=t0, solver={"intervals": 4, "adjoint": a}), batch)
        for a in ("direct", "checkpoint")
    )
    for name, expected in direct.items():
        torch.testing.assert_close(checkpoint[name], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t0", T0)
def test_the_continuous_adjoint_nears_the_direct_gradient_as_tolerances_tighten(t0):
    batch = some_batch(n_known=0)

    def by(adjoint, tolerance):
        solver = {"method": "dopri5", "rtol": tolerance, "atol": tolerance, "adjoint": adjoint}
        found = gradients(network(n_known=0, t0=t0, solver={"intervals": 4, **solver}), batch)
        return torch.cat([g.flatten() for g in found.values()])

    # The slopes at the knots are the model's own, so both differentiate the same interpolant.
    exact = by("direct", 1e-12)
    errors = [float((by("backsolve", t) - exact).norm() / exact.norm()) for t in (1e-3, 1e-6, 1e-9)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-7
