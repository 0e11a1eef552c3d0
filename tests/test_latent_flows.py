"""Flows of z(t0), posterior="cnf" and prior="cnf", from the network to the estimator."""

import numpy as np
import pytest
import torch
from making import batch_of, built, network, noise_for, piece, same, tiny, waves

from latentode import LatentODEForecaster
from latentode.errors import LatentODEError
from latentode.model.objective import elbo_terms, negative_elbo
from latentode.nn.latent_state import LatentFlows, LatentState
from latentode.ode import Solver

LAYOUTS = {
    "joint": {"latent": "joint"},
    "per-variable": {
        "latent": "per-variable",
        "attention_heads": 2,
        "embedding_size": 4,
        "variational": True,
    },
}
either_layout = pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
FLOWS = {"posterior": "cnf", "prior": "cnf"}


def some_batch(seed=0):
    rng = np.random.default_rng(seed)
    return batch_of([piece(rng, *size) for size in ((5, 5), (4, 6), (0, 3))])


def without_flow(model):
    """Makes the flows the identity."""
    with torch.no_grad():
        for flow in (model.layout.head.flows.posterior, model.layout.head.flows.prior):
            if flow is not None:
                flow.field.layers[-1].weight.zero_()
                flow.field.layers[-1].bias.zero_()


@either_layout
def test_under_the_identity_a_flow_is_the_normal_posterior(options, float64):
    model, plain = network(posterior="cnf", **options), network(**options)
    plain.load_state_dict(model.state_dict(), strict=False)
    without_flow(model)
    batch, noise = some_batch(), noise_for(3, 4000, model.latent_size)
    found = elbo_terms(model, batch, noise[:3], reconstruct=False)
    expected = elbo_terms(plain, batch, noise[:3], reconstruct=False)
    assert torch.allclose(found.target, expected.target, rtol=1e-12, atol=1e-12)
    z, state = model.encode(batch).draw(noise)
    assert torch.allclose(z, plain.encode(batch).sample(noise), rtol=1e-12, atol=1e-12)
    # Of the order of a few nats, to within the error of 4,000 samples.
    each = torch.stack([model.encode(batch).draw(part)[1].kl() for part in noise.split(100)])
    error = each.std(dim=0) / len(each) ** 0.5
    assert (plain.encode(batch).kl() > 0.5).all()
    assert ((state.kl() - plain.encode(batch).kl()).abs() < 4 * error).all()
    assert (error < 0.1).all()


@either_layout
def test_a_new_model_begins_with_the_normal_posterior(options):
    torch.manual_seed(0)
    model = built(3, **{**options, **FLOWS})
    state = model.encode(some_batch_float32())
    z = state.sample(torch.zeros(1, 1, model.latent_size))
    assert torch.allclose(z[0], state.loc, atol=1e-6)


def some_batch_float32():
    rng = np.random.default_rng(0)
    pieces = [piece(rng, *size, n_known=0) for size in ((5, 5), (4, 6))]
    return batch_of([type(p)(**{**vars(p), "static": np.zeros(0)}) for p in pieces])


@either_layout
def test_the_kl_is_the_mean_of_exact_log_densities(options, float64):
    model, batch = network(**FLOWS, **options), some_batch()
    noise = noise_for(3, 5, model.latent_size)
    state = model.encode(batch)
    flows, condition = state.flows, state.condition
    for flow in (flows.posterior, flows.prior):
        flow.solver = Solver("rk38", 32)
    z, drawn = state.draw(noise)
    blocks = z.unflatten(-1, (-1, flows.latent_size))
    base = torch.distributions.Normal(state.loc, state.scale)
    u, log_det = flows.posterior.inverse(blocks, condition)
    log_q = base.log_prob(u.flatten(-2)).sum(-1) + log_det.sum(-1)
    log_p = flows.prior().log_prob(blocks).sum(-1)
    assert torch.allclose(drawn.kl(), (log_q - log_p).mean(dim=0), rtol=1e-5, atol=1e-5)
    assert (z - (state.loc + state.scale * noise)).abs().max() > 0.1
    assert torch.allclose(state.sample(noise), z, rtol=1e-12, atol=1e-12)


def test_a_prior_alone_leaves_the_posterior_normal(float64):
    model, plain = network(prior="cnf"), network()
    plain.load_state_dict(model.state_dict(), strict=False)
    batch, noise = some_batch(), noise_for(3, 6, model.latent_size)
    z, state = model.encode(batch).draw(noise)
    assert torch.allclose(z, plain.encode(batch).sample(noise), rtol=1e-12, atol=1e-12)
    log_q = torch.distributions.Normal(state.loc, state.scale).log_prob(z).sum(-1)
    log_p = model.layout.head.flows.prior().log_prob(z)
    assert torch.allclose(state.kl(), (log_q - log_p).mean(dim=0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t0", ["origin", "start"])
@either_layout
def test_gradients_reach_every_parameter(options, t0, float64):
    model, batch = network(t0=t0, **FLOWS, **options), some_batch()
    noise = noise_for(len(batch), latent=model.latent_size)
    negative_elbo(elbo_terms(model, batch, noise), 0.7, 0.3).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert parameter.grad.isfinite().all(), name


@either_layout
def test_a_gradient_is_its_finite_difference(options, float64):
    model, batch = network(**FLOWS, **options), some_batch()
    noise = noise_for(len(batch), latent=model.latent_size)

    def loss():
        return negative_elbo(elbo_terms(model, batch, noise), 0.7, 0.3)

    flows = model.layout.head.flows
    wanted = [
        flows.summarise.weight,
        flows.posterior.field.layers[0].weight,
        flows.prior.field.layers[1].weight,
    ]
    for parameter, gradient in zip(wanted, torch.autograd.grad(loss(), wanted), strict=True):
        direction, step = torch.randn_like(parameter), 1e-6
        with torch.no_grad():
            parameter += step * direction
            above = loss()
            parameter -= 2 * step * direction
            below = loss()
            parameter += step * direction
        expected = (above - below) / (2 * step)
        assert torch.allclose((gradient * direction).sum(), expected, rtol=1e-5, atol=1e-7)


def test_a_flow_learns_a_posterior_of_two_modes(float64):
    """Of z with two modes at +-2 a normal q can hold one only, or straddle both."""
    parts = torch.distributions.Normal(torch.tensor([-2.0, 2.0]), 0.5)
    weights = torch.distributions.Categorical(logits=torch.zeros(2))
    target = torch.distributions.MixtureSameFamily(weights, parts)
    gaps = {}
    for kind in ("normal", "cnf"):
        torch.manual_seed(0)
        flows = LatentFlows(1, 1, 16, posterior=kind == "cnf", prior=False)
        loc, spread = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
        optimizer = torch.optim.Adam([loc, spread, *flows.parameters()], lr=3e-2)

        def gap(samples, q=(loc, spread, flows)):
            """KL(q || target): what draw() says, its standard normal prior exchanged for the target."""
            state = LatentState(q[0], q[1].exp(), q[2], q[2].condition(torch.ones(1, 1)))
            z, drawn = state.draw(torch.randn(samples, 1, 1))
            return (drawn.kl() + (q[2].log_prior(z) - target.log_prob(z).sum(-1)).mean(dim=0)).sum()

        for _ in range(150):
            optimizer.zero_grad()
            gap(256).backward()
            optimizer.step()
        with torch.no_grad():
            gaps[kind] = float(gap(8000))
    assert gaps["normal"] > 0.5
    assert gaps["cnf"] < 0.15


def test_flows_are_reached_from_the_estimator_saved_and_loaded(tmp_path):
    frame = waves(3, 16)
    for layout in ("joint", "per-variable"):
        model = tiny(latent=layout, network=FLOWS).fit(frame)
        assert model.network_.variational
        assert model.network_.layout.head.flows.posterior is not None
        model.save(tmp_path / layout)
        loaded = LatentODEForecaster.load(tmp_path / layout)
        assert loaded.model == model.model and loaded.model.posterior == FLOWS["posterior"]
        same(loaded.predict(frame, 1.0), model.predict(frame, 1.0))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(LatentODEError, match=r"posterior='cnf' makes z.* variational=False a point"):
        built(2, posterior="cnf", variational=False)
    with pytest.raises(LatentODEError, match="prior='cnf' makes z"):
        built(2, latent="joint", prior="cnf", variational=False)
    with pytest.raises(LatentODEError, match="posterior 'flow' is unknown; choose from normal, cnf"):
        built(2, posterior="flow")
    with pytest.raises(LatentODEError, match="known from samples only"):
        network(posterior="cnf").encode(some_batch()).kl()


def test_a_point_stays_a_point_unless_a_flow_is_asked_for():
    assert not built(2).variational
    assert built(2, posterior="cnf").variational
    assert built(2).layout.head.flows is None
