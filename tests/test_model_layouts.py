"""The layouts of the latent state: what each promises, from rows to the estimator."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from making import batch_of, built, network, noise_for, piece

from latentode.data.batch import Queries
from latentode.errors import LatentODEError
from latentode.model.building import LAYOUTS
from latentode.model.config import AUTO, FAMILIES
from latentode.model.objective import elbo_terms, negative_elbo
from latentode.nn import ENCODERS, LIKELIHOODS
from latentode.ode import FIELDS, Context, CoupledDynamics, Solver

pytestmark = pytest.mark.usefixtures("float64")
INTERACTIONS = ("encoder", "dynamics")
every_interaction = pytest.mark.parametrize("interaction", INTERACTIONS)


def per_variable(**options):
    return network(**{"latent": "per-variable", "attention_heads": 2, "embedding_size": 4, **options})


def some_batch(seed=0, n_known=1, sizes=((5, 5), (4, 6), (0, 3))):
    rng = np.random.default_rng(seed)
    return batch_of([piece(rng, *size, n_known=n_known) for size in sizes])


def loss_of(model, batch):
    noise = noise_for(len(batch), latent=model.latent_size)
    return negative_elbo(elbo_terms(model, batch, noise), 0.7, 0.3)


# ------------------------------------------------------------------ gradients


@every_interaction
@pytest.mark.parametrize("likelihood", [n for n, k in LIKELIHOODS.items() if not k.of_data_units])
@pytest.mark.parametrize("n_static", [0, 2])
@pytest.mark.parametrize("variational", [True, False])
def test_every_parameter_receives_a_gradient(interaction, likelihood, n_static, variational):
    options = {"likelihood": likelihood, "n_static": n_static, "variational": variational}
    model = per_variable(interaction=interaction, **options)
    batch = some_batch()
    loss_of(model, replace(batch, static=batch.static[:, :n_static])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.abs().max() > 1e-9, f"{name} has a gradient of zero"


@pytest.mark.parametrize(
    ("interaction", "t0"),
    [
        ("encoder", "origin"),
        ("dynamics", "start"),
        pytest.param("encoder", "start", marks=pytest.mark.slow),
        pytest.param("dynamics", "origin", marks=pytest.mark.slow),
    ],
)
def test_the_gradient_of_the_loss_agrees_with_finite_differences(interaction, t0):
    model = per_variable(interaction=interaction, t0=t0, variational=True, solver={"intervals": 2})
    batch, step = some_batch(), 1e-5
    loss_of(model, batch).backward()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        way = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        assert parameter.grad is not None
        found = (parameter.grad * way).sum()
        with torch.no_grad():
            parameter.add_(step * way)
            above = loss_of(model, batch)
            parameter.sub_(2 * step * way)
            below = loss_of(model, batch)
            parameter.add_(step * way)
        expected = (above - below) / (2 * step)
        # relu in the exchange has kinks, which a step may cross
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: n + m)


@every_interaction
def test_checkpointing_gives_the_gradient_of_direct(interaction):
    found = []
    for adjoint in ("direct", "checkpoint"):
        model = per_variable(interaction=interaction, solver={"intervals": 4, "adjoint": adjoint})
        loss_of(model, some_batch()).backward()
        found.append({n: p.grad for n, p in model.named_parameters()})
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-11, atol=1e-12)


# ------------------------------------------------------------------ rows


def test_only_rows_that_are_asked_are_solved():
    model, batch = per_variable(), some_batch()
    asked = Queries(torch.tensor([0, 2, 0]), torch.tensor([1, 0, 1]), torch.tensor([0.5, 0.1, 1.0]))
    rows = model.layout.rows(3, asked)
    assert rows.series.tolist() == [0, 2]
    assert rows.of_query.tolist() == [0, 1, 0]
    z0 = model.encode(batch).sample(noise_for(3, latent=model.latent_size))
    path = model.trajectory(batch, z0, asked.time, rows)
    assert len(path.times) == len(z0) * 2


@every_interaction
def test_which_queries_are_asked_changes_no_answer(interaction):
    model, batch = per_variable(interaction=interaction, variational=True), some_batch()
    every = batch.target.queries()
    noise = noise_for(3, latent=model.latent_size)
    together = model(batch, every, noise)[0]
    for i in range(len(every)):
        alone = model(batch, every.select(torch.tensor([i])), noise)[0]
        torch.testing.assert_close(alone.mean[:, 0], together.mean[:, i], rtol=0, atol=1e-10)


@every_interaction
def test_a_path_without_rows_has_one_per_variable_of_each_series(interaction):
    model, batch = per_variable(interaction=interaction), some_batch()
    z0 = model.encode(batch).sample(noise_for(3, latent=model.latent_size))
    path = model.trajectory(batch, z0, torch.tensor([1.0]))
    assert path.states.shape[::2] == (3 * 3, 3)
    origin = path.at(torch.arange(9), torch.zeros(9))
    torch.testing.assert_close(origin.reshape(z0.shape), z0, rtol=0, atol=1e-12)


@every_interaction
def test_asking_nothing_is_answered_with_nothing(interaction):
    model, batch = per_variable(interaction=interaction), some_batch()
    nothing = batch.target.queries().select(torch.zeros(0, dtype=torch.long))
    distribution, _ = model(batch, nothing, noise_for(3, latent=model.latent_size))
    assert distribution.mean.shape == (1, 0)


@every_interaction
def test_the_solver_error_is_that_of_the_worst_row_of_each_series(interaction):
    model, batch = per_variable(interaction=interaction), some_batch()
    error = model.solver_error(batch)
    assert error.shape == (3,)
    assert (error > 0).all()
    alone = model.solver_error(some_batch(sizes=((5, 5),)))
    torch.testing.assert_close(alone[0], error[0], rtol=1e-8, atol=1e-12)


def test_the_kl_of_a_series_is_that_of_all_its_variables():
    model, batch = per_variable(variational=True), some_batch()
    state = model.encode(batch)
    assert state.loc.shape == (3, 9)
    assert state.kl().shape == (3,)
    assert (state.kl() > 0).all()


@pytest.mark.parametrize("options", [{"encoder": e} for e in ENCODERS] + [{"latent": "per-variable"}])
def test_what_was_known_when_a_value_was_observed_is_read_with_it(options):
    """The value in force at an observation counts; one that was never in force at any does not."""
    own = {"attention_heads": 2} if "latent" in options else {}
    model = network(**options, **own, variational=True)
    batch = some_batch()
    first, last = batch.control_time.clone(), batch.control_time.clone()
    first[:], last[:] = -100.0, 100.0
    at = batch.control_value
    known = [
        replace(batch, control_time=torch.cat([first, last], 1), control_value=torch.cat(v, 1))
        for v in ([at, at], [at + 1, at], [at, at + 1])
    ]
    plain, seen, later = (model.encode(b).loc for b in known)
    some = torch.bincount(batch.context.series, minlength=len(batch)) > 0
    assert (seen - plain).abs().amax(dim=1)[some].min() > 1e-6
    assert torch.equal(later, plain)


def test_a_point_takes_one_sample_and_pays_no_kl():
    model, batch = per_variable(), some_batch()
    distribution, state = model(batch, batch.target.queries(), noise_for(3, latent=9))
    assert distribution.mean.shape == (1, len(batch.target))
    assert torch.equal(state.kl(), torch.zeros(3))


@every_interaction
def test_variables_act_on_each_other_along_the_way_only_if_asked_to(interaction):
    model, batch = per_variable(interaction=interaction), some_batch()
    z0 = model.encode(batch).sample(noise_for(3, latent=9))
    moved = z0.clone()
    moved[:, 0, :3] += 1.0  # of the first variable
    ends = [model.trajectory(batch, z, torch.tensor([1.0])).final[1] for z in (z0, moved)]
    assert torch.equal(*ends) == (interaction == "encoder")


@pytest.mark.parametrize("adjoint", ["direct", "checkpoint", "backsolve"])
def test_every_parameter_of_coupled_dynamics_receives_a_gradient(adjoint):
    field = CoupledDynamics(parts=3, state_size=2, embedding_size=1, context_size=1, hidden_size=5)
    context = Context(torch.randn(4, 4))
    path = Solver(adjoint=adjoint).solve(
        field, torch.randn(4, 6), torch.zeros(4), torch.ones(4), context
    )
    path.final.square().sum().backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


# ------------------------------------------------------------------ as it comes


def test_an_untrained_model_nearly_repeats_the_last_value():
    model, batch = built(3, 2, 1, 2.0, latent="per-variable"), some_batch()
    asked = batch.target.queries()
    answer = model(batch, asked, noise_for(3, latent=model.latent_size))[0].mean[0]
    for i in range(len(asked)):
        own = (batch.context.series == asked.series[i]) & (batch.context.variable == asked.variable[i])
        seen = batch.context.select(own)
        last = seen.value[seen.time.argmax()] if len(seen) else torch.zeros(())
        assert abs(float(answer[i].detach() - last)) < 0.5


def test_the_defaults_are_those_of_the_layout():
    model = built(36, latent="per-variable")
    assert model.solver == Solver(intervals=5, jumps=4)
    assert model.latent_size == 36 * 16
    assert model.encode(some_batch(n_known=0)).scale is None
    assert built(3).solver == Solver(intervals=5, jumps=4)
    assert built(3, latent="joint").solver == Solver(jumps=4)
    assert built(3, latent="per-variable", solver={"steps": 2}).solver.intervals == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "gauss"}, "likelihood 'gauss' is unknown; choose from auto, normal"),
        ({"likelihood": {"x": "auto"}}, "likelihood 'auto' is unknown; choose from normal"),
        ({"latent": "stacked"}, "latent 'stacked' is unknown; choose from joint, per-variable"),
        ({"latent": "per-variable", "encoder": "linear"}, "goes with latent='joint'"),
        ({"latent": "per-variable", "interaction": "all"}, "choose from encoder, dynamics"),
        ({"latent": "joint", "interaction": "dynamics"}, "latent='per-variable' only"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(LatentODEError, match=message):
        built(3, **options)


def test_a_configuration_knows_every_likelihood_without_loading_one():
    assert list(FAMILIES) == [AUTO, *LIKELIHOODS]


# ------------------------------------------------------------------ dynamics


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dynamics", FIELDS)
def test_dynamics_by_name_learn_in_every_layout_and_converge(layout, dynamics):
    extra = {"attention_heads": 2, "embedding_size": 4} if layout == "per-variable" else {}
    if layout == "joint" and dynamics == "compartments":
        extra = {"structure": None}
    model = network(latent=layout, dynamics=dynamics, latent_size=4, n_known=0, **extra)
    batch = some_batch(n_known=0)
    loss = loss_of(model, batch)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
    if dynamics in ("linear", "compartments"):
        assert model.solver.method == "exact"
    else:
        model.solver = replace(model.solver, intervals=32)
        loss = loss_of(model, batch)
    model.solver = Solver("rk4", 64)
    assert (loss_of(model, batch) - loss).abs() < 1e-5


@pytest.mark.parametrize("dynamics", ["linear", "compartments"])
@pytest.mark.parametrize("t0", ["origin", "start"])
def test_closed_forms_are_driven_by_known_columns_from_jump_to_jump(dynamics, t0):
    shape = {"latent_size": 4, "n_known": 1, "structure": None}
    model = network(latent="joint", dynamics=dynamics, t0=t0, **shape)
    batch = some_batch(n_known=1)
    loss = loss_of(model, batch)
    model.solver = Solver("rk4", 64, jumps=1000)  # fine steps from each jump to the next
    assert (loss_of(model, batch) - loss).abs() < 1e-5
    other = replace(batch, control_value=batch.control_value + 1)
    assert (loss_of(model, other) - loss).abs() > 1e-4


def test_amounts_are_read_in_proportion_where_values_are_logarithms():
    said = {"x": {"loc": 0.0, "scale": 4.0, "transform": "log"}, "y": {"loc": 1.0, "scale": 3.0}}
    shape = {"n_known": 1, "variables": said, "structure": None}
    with pytest.raises(LatentODEError, match="structure=None"):
        built(2, latent="joint", dynamics="compartments", n_known=1)
    model = built(2, latent="joint", dynamics="compartments", **shape)
    assert model.layout.decoder.gain[:, 0].tolist() == [0.25, 1.0]
    assert (model.layout.decoder.gain[:, 1:] == 0).all()


def test_dynamics_in_pairs_refuse_odd_sizes():
    with pytest.raises(LatentODEError, match="even latent_size; it is 5"):
        built(2, latent_size=5, dynamics="second-order")
    with pytest.raises(LatentODEError, match="dynamics 'quadratic' is unknown"):
        built(2, dynamics="quadratic")
