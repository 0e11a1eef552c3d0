"""Observation times: the likelihood against closed forms, its windows, and what a forecaster says."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import batch_of, module_of, network, noise_for, piece, tiny, waves
from scipy.integrate import quad
from torch import nn

from latentode import Forecasting, IrregularDataModule, LatentODEError, SchemaError
from latentode.data import ContextDropout
from latentode.data.batch import Observations, Queries
from latentode.model.emission import Emission
from latentode.model.layouts import JointLayout
from latentode.model.network import LatentODE
from latentode.model.objective import elbo_terms, negative_elbo
from latentode.model.path_readings import EventTimes, known_events, window_end
from latentode.nn.decoders import MLPDecoder
from latentode.nn.latent_state import Encoder, LatentState
from latentode.nn.likelihoods import NormalLikelihood
from latentode.ode import Dynamics, Solver

NAMES = ("poisson", "poisson-per-variable")
KINDS = [
    pytest.param({"observation_times": n, **kind}, id=f"{n}-{what}")
    for n in NAMES
    for what, kind in {
        "joint": {},
        "start": {"t0": "start"},
        "per-variable": {"latent": "per-variable", "attention_heads": 2, "variational": True},
        "coupled": {"latent": "per-variable", "attention_heads": 2, "interaction": "dynamics"},
    }.items()
]
every_kind = pytest.mark.parametrize("options", KINDS)
exactly = {"rtol": 0.0, "atol": 1e-10}


def watched(pieces, end=2.5):
    """A batch that says of every observation when it was, up to `end`."""
    batch = batch_of(pieces)
    every = Observations.cat([batch.context, batch.target]).queries()
    ends = torch.full((len(batch),), end, dtype=torch.float64)
    return replace(batch, events=every.select(every.time <= end), end=ends)


def some_pieces(seed=0, sizes=((5, 4), (3, 6), (0, 2), (4, 0))):
    rng = np.random.default_rng(seed)
    return [piece(rng, *size) for size in sizes]


class Nothing(Encoder):
    def forward(self, events, t0, last):
        return t0[:, None]


class Point(nn.Module):
    """z(0) = 0.5, whatever was observed."""

    latent_size, variational = 1, False

    def forward(self, summary, static):
        return LatentState(torch.full_like(summary, 0.5), None)


class Decay(Dynamics):
    def forward(self, t, z, context=None):
        return -0.4 * z


class Exponential(nn.Module):
    """A rate of e^z for the first process, of e^{-z} for the second."""

    def forward(self, z, row_embedding):
        return torch.cat([z.exp(), (-z).exp()], dim=1)


@pytest.mark.usefixtures("float64")
def test_the_likelihood_of_times_is_that_of_its_closed_form():
    layout = JointLayout(Nothing(), Point(), MLPDecoder(1, 2, 2, 4))
    process = EventTimes(Exponential(), True, (2.0, 0.5), 2, time_scale=2.0)
    solver = Solver("rk4", 64)
    emission = Emission(NormalLikelihood(), 2)
    model = LatentODE(layout, Decay(), emission, solver, time_scale=2.0, event_times=process)
    rng = np.random.default_rng(0)
    batch = watched([piece(rng, 6, 6, n_variables=2, n_known=0) for _ in range(2)])
    terms = elbo_terms(model, batch, torch.zeros(1, 1, 1))
    for i in range(2):
        for low, high, found in (
            (float(batch.start[i]), 0.0, terms.context_times[i]),
            (0.0, 2.5, terms.times[i]),
        ):
            expected = 0.0
            for v, (typical, sign) in enumerate(((2.0, 1), (0.5, -1))):

                def rate(t, typical=typical, sign=sign):
                    return typical * math.exp(sign * 0.5 * math.exp(-0.4 * t / 2.0))

                own = (batch.events.series == i) & (batch.events.variable == v)
                times = [t for t in batch.events.time[own].tolist() if low < t <= high]
                expected += sum(math.log(rate(t)) for t in times)
                expected -= quad(rate, low, high, epsabs=1e-12)[0]
            assert float(found) == pytest.approx(expected, abs=1e-8)


@pytest.mark.usefixtures("float64")
@every_kind
def test_a_series_has_the_same_likelihood_of_times_alone_in_a_batch_and_in_any_order(options):
    model = network(**options)
    pieces = some_pieces()
    noise = noise_for(len(pieces), latent=model.latent_size)

    def both(pieces, noise):
        terms = elbo_terms(model, watched(pieces), noise)
        return torch.stack([terms.times, terms.context_times])

    together = both(pieces, noise)
    assert (together != 0).all()
    for i, each in enumerate(pieces):
        torch.testing.assert_close(both([each], noise[:, i : i + 1])[:, 0], together[:, i], **exactly)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(pieces))
    moved = both([pieces[i].permuted(rng) for i in order], noise[:, order])
    torch.testing.assert_close(moved, together[:, order], **exactly)


@pytest.mark.usefixtures("float64")
@every_kind
def test_values_and_their_terms_are_the_same_with_and_without_a_model_of_times(options):
    model = network(**options)
    batch = watched(some_pieces())
    noise = noise_for(len(batch), latent=model.latent_size)
    with_times = elbo_terms(model, batch, noise)
    model.event_times = None
    without = elbo_terms(model, batch, noise)
    assert without.times is None
    for name in ("target", "context", "kl"):
        torch.testing.assert_close(getattr(with_times, name), getattr(without, name), **exactly)


@pytest.mark.usefixtures("float64")
@every_kind
def test_every_parameter_of_the_intensity_has_the_gradient_of_finite_differences(options):
    model = network(**options, solver={"intervals": 2})
    batch = watched(some_pieces())
    noise = noise_for(len(batch), latent=model.latent_size)

    def loss():
        terms = elbo_terms(model, batch, noise)
        return -(terms.times + 0.5 * terms.context_times).sum()

    loss().backward()
    step = 1e-5
    for name, parameter in model.event_times.named_parameters():
        way = torch.randn_like(parameter)
        start = parameter.detach().clone()
        found = []
        with torch.no_grad():
            for side in (1, -1):
                parameter.copy_(start + side * step * way)
                found.append(loss())
            parameter.copy_(start)
        expected = (found[0] - found[1]) / (2 * step)
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        torch.testing.assert_close((parameter.grad * way).sum(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("float64")
@every_kind
def test_what_comes_after_the_origin_reaches_the_likelihood_but_not_the_encoder(options):
    model = network(**options)
    batch = watched(some_pieces())
    later = batch.events.time > 0
    moved = replace(
        batch,
        events=replace(
            batch.events, time=torch.where(later, 0.3 * batch.events.time, batch.events.time)
        ),
        target=replace(batch.target, time=0.3 * batch.target.time, value=-batch.target.value),
        end=batch.end + 0.4,
    )
    noise = noise_for(len(batch), latent=model.latent_size)
    assert torch.equal(model.encode(batch).loc, model.encode(moved).loc)
    one, two = (elbo_terms(model, b, noise) for b in (batch, moved))
    torch.testing.assert_close(one.context_times, two.context_times, **exactly)
    assert (one.times != two.times).all()


@pytest.mark.usefixtures("float64")
@every_kind
def test_all_processes_at_once_are_each_of_them(options):
    model = network(**options)
    batch = watched(some_pieces())
    process, layout, n = model.event_times, model.layout, len(batch)
    z0 = model.encode(batch).sample(noise_for(n, latent=model.latent_size))
    path = model.trajectory(batch, z0, torch.tensor([1.5]))
    series = torch.tensor([0, 1, 2, 3, 1])
    time = torch.tensor([0.1, 0.2, 0.5, 0.7, 0.6])
    for v in range(process.n_processes):
        where = Queries(series, torch.full_like(series, v), time)
        for each, every in (
            (process.rate(path, layout, n, where), process.rate(path, layout, n, where, every=True)),
            (
                process.expected(path, layout, n, 0 * time, where),
                process.expected(path, layout, n, 0 * time, where, every=True),
            ),
        ):
            assert every.shape[2] == process.n_processes
            torch.testing.assert_close(each, every[..., v], **exactly)
            assert (each > 0).all()


def table():
    """Two series, and a row without values at the end of the second."""
    return pd.DataFrame(
        {
            "id": ["a"] * 4 + ["b"] * 5,
            "time": [0.0, 1.0, 2.0, 3.0, 0.0, 0.5, 1.0, 2.0, 6.0],
            "x": [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0, None],
            "y": [1.0, None, 3.0, None, None, 2.0, 3.0, None, None],
        }
    )


def one_batch(**task):
    data = IrregularDataModule(table(), table(), task=Forecasting(**task), batch_size=8)
    (batch,) = data.val_dataloader()
    return batch


def test_a_watch_ends_with_the_horizon_or_with_the_last_row_with_or_without_values():
    batch = one_batch(horizon=3.0, validate_at=1.0)
    assert window_end(batch).tolist() == [2.0, 3.0]  # a's last row, and a horizon
    batch = one_batch(horizon=30.0, validate_at=1.0)
    assert window_end(batch).tolist() == [2.0, 5.0]  # b's row without values
    ahead = known_events(batch, past=False, per_variable=False)
    assert ahead.series.tolist() == [0, 0, 1]
    assert ahead.time.tolist() == [1.0, 2.0, 1.0]
    behind = known_events(batch, past=True, per_variable=False)
    assert behind.time.tolist() == [0.0, -0.5, 0.0]  # the first time of each opens the window
    assert len(known_events(batch, past=True, per_variable=True)) == 1 + 2 + 2


def test_events_are_complete_where_targets_or_contexts_are_thinned():
    plain = one_batch(horizon=3.0, validate_at=1.0)
    few = one_batch(horizon=3.0, validate_at=1.0, count=1)
    assert len(few.target) < len(plain.target)
    assert torch.equal(few.events.time, plain.events.time)
    thinned = IrregularDataModule(
        table(), task=ContextDropout(Forecasting(horizon=3.0, origin=1.0), 0.9), windows_per_epoch=2
    )
    batches = list(thinned.train_dataloader())
    assert sum(len(b.events) for b in batches) == len(plain.events)


def test_typical_rates_are_events_over_the_time_watched():
    data = IrregularDataModule(table(), task=Forecasting(horizon=3.0))
    assert data.event_rate == pytest.approx(6 / 9)
    assert data.variable_rates == pytest.approx((6 / 9, 3 / 9))


def constant(model):
    """Makes the intensity of a fitted forecaster that of training, constant."""
    with torch.no_grad():
        for parameter in model.network_.event_times.parameters():
            parameter.zero_()
    return model


@pytest.mark.parametrize("layout", ["joint", "per-variable"])
@pytest.mark.parametrize("name", NAMES)
def test_a_forecaster_reads_off_intensities_counts_and_likelihoods(name, layout, tmp_path):
    frame = waves(3, 16)
    model = tiny(latent=layout, network={"observation_times": name}).fit(frame)
    per_variable = name == "poisson-per-variable"
    named = ["variable"] if per_variable else []
    ahead = model.observation_times(frame).intensity(3.0, 60)
    assert list(ahead) == ["id", "time", *named, "intensity"]
    assert len(ahead) == 3 * 60 * (2 if per_variable else 1) and (ahead["intensity"] > 0).all()
    counts = model.observation_times(frame).expected_counts(3.0, 60)
    assert list(counts) == ["id", "since", "until", *named, "expected"]
    # The count in a short interval is the intensity times its length, and counts add up.
    width = counts["until"] - counts["since"]
    np.testing.assert_allclose(counts["expected"] / width, ahead["intensity"], rtol=2e-2)
    whole = model.observation_times(frame).expected_counts(3.0)
    summed = counts.groupby(["id", *named])["expected"].sum().to_numpy()
    np.testing.assert_allclose(whole["expected"], summed, rtol=1e-5)
    last = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"].max()
    assert whole.groupby("id")["since"].first().to_dict() == last.to_dict()

    likelihood = model.observation_times(frame).log_likelihood()
    expected = frame[["x", "y"]].notna()
    seen = frame[expected.any(axis=1)]
    first = seen["time"] == seen.groupby("id")["time"].transform("min")
    n = expected.sum(axis=1) if per_variable else expected.any(axis=1).astype(int)
    counted = n[seen.index][~first].groupby(seen["id"]).sum()
    assert likelihood.set_index("id")["events"].to_dict() == counted.to_dict()
    model.save(tmp_path)
    again = type(model).load(tmp_path)
    pd.testing.assert_frame_equal(
        again.observation_times(frame).log_likelihood(), likelihood, check_exact=True
    )
    alone = model.observation_times(frame[frame["id"] == "s1"]).log_likelihood()
    assert alone["log_likelihood"][0] == pytest.approx(likelihood["log_likelihood"][1], abs=1e-4)

    flat = constant(model).observation_times(frame).log_likelihood()
    np.testing.assert_allclose(flat["log_likelihood"], flat["constant"], rtol=1e-5)


def bursts(n_series, seed):
    """Half of the series are observed five times as often; what they show says which half."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n_series):
        fast = i % 2
        time = np.sort(rng.uniform(0, 10, rng.poisson(50 if fast else 10) + 2))
        x = (1.0 if fast else -1.0) + 0.3 * rng.normal(size=len(time))
        parts.append(pd.DataFrame({"id": f"{seed}-{i}", "time": time, "x": x}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.slow
def test_two_rates_are_learnt_and_told_apart_on_held_out_series():
    network = {"observation_times": "poisson", "attention_layers": 1}
    model = tiny(max_epochs=12, lr=0.01, windows_per_epoch=512, network=network).fit(bursts(40, 0))
    held_out = bursts(10, 1)
    found = model.observation_times(held_out).log_likelihood()
    events = found["events"].sum()
    # The best constant rates of the halves, 5 and 1, against their mean over time.
    best = (found["events"] * np.log(found["events"] / found["watched"]) - found["events"]).sum()
    gained = (found["log_likelihood"] - found["constant"]).sum() / events
    assert gained > 0.6 * (best - found["constant"].sum()) / events > 0
    counts = model.observation_times(held_out).expected_counts(2.0)["expected"].to_numpy()
    assert counts[1::2].min() > 2 * counts[::2].max()


def test_the_loss_of_validation_holds_the_times():
    data = IrregularDataModule(waves(4, 14), waves(3, 14, 1), task=Forecasting(2.0, 6.0), batch_size=2)
    found = {}
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        options = {"latent_size": 3, "hidden_size": 8, "observation_times": "poisson"}
        module = module_of(data.sizes, **options, time_weight=weight).eval()
        with torch.no_grad():
            for batch in data.val_dataloader():
                module._update(module.measures["val"], batch)
        found[weight] = {n: float(m.compute()) for n, m in module.measures["val"].named().items()}
    one, two = found[0.0], found[2.0]
    assert one["val_loss"] == pytest.approx(one["val_nll"])
    batches = list(data.val_dataloader())
    events = sum(len(known_events(b, False, False)) for b in batches)
    targets = sum(len(b.target) for b in batches)
    expected = two["val_nll"] + 2.0 * two["val_times"] * events / targets
    assert two["val_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("float64")
def test_the_weight_of_times_is_a_factor_of_their_terms():
    model = network(observation_times="poisson")
    terms = elbo_terms(model, watched(some_pieces()), noise_for(4))
    assert terms.times is not None and terms.context_times is not None
    count = (terms.n_target + 0.5 * terms.n_context).sum()
    more = negative_elbo(terms, 1.0, 0.5, 3.0) - negative_elbo(terms, 1.0, 0.5, 1.0)
    expected = -2 * (terms.times + 0.5 * terms.context_times).sum() / count
    torch.testing.assert_close(more, expected)


def test_what_cannot_be_done_is_refused_with_the_remedy(fitted, frame):
    with pytest.raises(LatentODEError, match=r"values only.*observation_times"):
        fitted.observation_times(frame).intensity(1.0)
    with pytest.raises(LatentODEError, match="observation_times 'cox' is unknown"):
        network(observation_times="cox")
    for rate, says in ((0.0, "must be positive"), ((1.0, 2.0), "must be float")):
        with pytest.raises(LatentODEError, match=f"event_rate {says}"):
            network(observation_times="poisson-per-variable", event_rate=rate)
    model = network(observation_times="poisson")
    with pytest.raises(LatentODEError, match="does not say when its series were observed"):
        elbo_terms(model, batch_of(some_pieces()), noise_for(4))
    timed = tiny(network={"observation_times": "poisson"}).fit(frame)
    with pytest.raises(SchemaError, match="before its last observation"):
        timed.observation_times(frame).expected_counts([1.0])
