"""A series is answered from itself alone: DESIGN's invariants, end to end, at 1e-10."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import N_KNOWN, N_VARIABLES, TIME_SCALE, batch_of, network, noise_for, piece, waves

from latentode.data.batch import Observations, Queries, Series
from latentode.data.dataset import SeriesDataset
from latentode.data.scaling import Scaling
from latentode.data.task import Forecasting
from latentode.forecast import Engine, ForecastQueries
from latentode.model.objective import elbo_terms, negative_elbo
from latentode.nn import ENCODERS
from latentode.nn.changes import N_CHANGES
from latentode.nn.latent_state import shared_noise
from latentode.nn.likelihoods import mixture
from latentode.nn.sequences import Events

pytestmark = pytest.mark.usefixtures("float64")
EXACT = {"rtol": 0.0, "atol": 1e-10}

# Every two of encoder, t0 and structure together; all three are slow.
JOINT = [
    pytest.param(
        {"encoder": e, "t0": t, "structure": s},
        id=f"{e}-{t}-{s or 'free'}",
        marks=[pytest.mark.slow] * ((i + j + k) % 2),
    )
    for i, e in enumerate(ENCODERS)
    for j, t in enumerate(("origin", "start"))
    for k, s in enumerate(("last-value", None))
]
PER_VARIABLE = [
    pytest.param({"latent": "per-variable", "attention_heads": 2, **more}, id=f"per-variable-{name}")
    for name, more in {
        "origin": {"variational": True, "structure": "last-value"},
        "start": {"variational": True, "t0": "start", "structure": None},
        "coupled": {"variational": True, "interaction": "dynamics"},
    }.items()
]
STRUCTURE = [
    pytest.param(
        {"structure": "state-space", "periods": [1.5], **more}, id=f"structure-{more['latent']}"
    )
    for more in (
        {"latent": "joint"},
        {"latent": "per-variable", "variational": True, "attention_heads": 2},
    )
]
FLOWS = [
    pytest.param({"posterior": "cnf", "prior": "cnf"}, id="flows"),
    pytest.param(
        {"posterior": "cnf", "latent": "per-variable", "attention_heads": 2}, id="flows-per-variable"
    ),
]
every_network = pytest.mark.parametrize("options", JOINT + PER_VARIABLE + STRUCTURE + FLOWS)
randomly = settings(max_examples=4, deadline=None, derandomize=True)
lengths = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), min_size=2, max_size=5)
seeds = st.integers(0, 2**32 - 1)


def close(a, b):
    torch.testing.assert_close(a, b, equal_nan=False, **EXACT)


def pieces_of(sizes, seed):
    rng = np.random.default_rng(seed)
    return [piece(rng, *size) for size in sizes], rng


def answers(model, pieces, noise):
    """Everything that is said of each series, in a form that can be compared series by series."""
    batch = batch_of(pieces)
    state = model.encode(batch)
    z0 = state.sample(noise)
    ask = torch.tensor([0.5, 2.5])
    path = model.trajectory(batch, z0, ask)
    rows = torch.arange(len(path.times))
    along = torch.stack([path.at(rows, torch.full((len(rows),), t / TIME_SCALE)) for t in ask])
    along = along.reshape(len(ask), len(noise), len(pieces), -1)
    terms = elbo_terms(model, batch, noise)
    places = batch.target.queries()
    predicted = mixture(model(batch, places, noise)[0])
    result = []
    for i in range(len(pieces)):
        own = places.series == i
        result.append(
            {
                "loc": state.loc[i],
                "scale": state.scale[i],
                "trajectory": along[:, :, i],
                "target term": terms.target[i],
                "context term": terms.context[i],
                "kl": terms.kl[i],
                "n": torch.stack([terms.n_target[i], terms.n_context[i]]),
                "mean": predicted.mean[own],
                "variance": predicted.variance[own],
            }
        )
    return result


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda m, n=name: f"{n}: {m}", **EXACT)


@every_network
@given(lengths, seeds)
@randomly
def test_a_series_is_answered_the_same_alone_and_in_any_batch(options, sizes, seed):
    model = network(**options)
    pieces, _ = pieces_of(sizes, seed)
    noise = noise_for(len(pieces), latent=model.latent_size)
    together = answers(model, pieces, noise)
    for i, each in enumerate(pieces):
        same(answers(model, [each], noise[:, i : i + 1])[0], together[i])


@every_network
@given(lengths, seeds)
@randomly
def test_the_order_of_series_does_not_matter(options, sizes, seed):
    model = network(**options)
    pieces, rng = pieces_of(sizes, seed)
    noise = noise_for(len(pieces), latent=model.latent_size)
    order = rng.permutation(len(pieces))
    before = answers(model, pieces, noise)
    after = answers(model, [pieces[i] for i in order], noise[:, order])
    for place, i in enumerate(order):
        same(after[place], before[i])


@every_network
@given(lengths, seeds)
@randomly
def test_the_order_of_observations_does_not_matter(options, sizes, seed):
    model = network(**options)
    pieces, rng = pieces_of(sizes, seed)
    noise = noise_for(len(pieces), latent=model.latent_size)
    shuffled = batch_of(pieces)
    order = torch.from_numpy(rng.permutation(len(shuffled.context)))  # series are interleaved too
    shuffled = replace(shuffled, context=shuffled.context.select(order))
    plain, other = model.encode(batch_of(pieces)), model.encode(shuffled)
    close(other.loc, plain.loc)
    close(other.scale, plain.scale)
    terms, again = (elbo_terms(model, b, noise) for b in (batch_of(pieces), shuffled))
    for name in ("target", "context", "kl"):
        close(getattr(again, name), getattr(terms, name))


@every_network
@given(lengths, seeds)
@randomly
def test_the_order_of_queries_does_not_matter(options, sizes, seed):
    model = network(**options)
    pieces, rng = pieces_of(sizes, seed)
    batch = batch_of(pieces)
    asked = Observations.cat([batch.target, batch.context]).queries()
    if len(asked) == 0:
        return
    noise = noise_for(len(pieces), latent=model.latent_size)
    order = torch.from_numpy(rng.permutation(len(asked)))
    plain, other = model(batch, asked, noise)[0], model(batch, asked.select(order), noise)[0]
    close(other.mean, plain.mean[:, order])
    close(other.variance, plain.variance[:, order])


@every_network
def test_asking_for_more_times_changes_no_other_answer(options):
    model = network(**options)
    pieces, _ = pieces_of([(5, 4), (6, 3)], 3)
    pieces = [replace(p, start=min(p.start, -2.0)) for p in pieces]
    batch, noise = batch_of(pieces), noise_for(2, latent=model.latent_size)
    asked = batch.target.queries()
    plain = model(batch, asked, noise)[0]
    for extra in (-1.9, -0.3, 0.0, 1e-3, 7.7, 50.0):
        more = Queries(
            torch.cat([asked.series, torch.tensor([0, 1])]),
            torch.cat([asked.variable, torch.tensor([2, 0])]),
            torch.cat([asked.time, torch.tensor([extra, extra])]),
        )
        other = model(batch, more, noise)[0]
        close(other.mean[:, : len(asked)], plain.mean)
        close(other.variance[:, : len(asked)], plain.variance)


@every_network
def test_a_time_on_a_seam_of_the_path_is_answered_the_same_from_both_sides(options):
    model = network(**options)
    pieces, _ = pieces_of([(5, 0)], 4)
    batch, noise = batch_of(pieces), noise_for(1, latent=model.latent_size)

    def at(*times):
        n = len(times)
        asked = Queries(
            torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long), torch.tensor(times)
        )
        return model(batch, asked, noise)[0].mean[:, 0]

    for time in (TIME_SCALE, 2 * TIME_SCALE, 0.0):
        alone = at(time)
        close(alone, at(time, time + 1.0))
        torch.testing.assert_close(alone, at(time + 1e-9), rtol=0.0, atol=1e-7)


@every_network
def test_target_values_reach_neither_the_encoding_nor_the_forecast(options):
    model = network(**options)
    pieces, rng = pieces_of([(5, 4), (3, 5)], 7)
    other = [
        replace(p, target=np.c_[p.target[:, :2], 1e6 * rng.normal(size=len(p.target))]) for p in pieces
    ]
    noise = noise_for(2, latent=model.latent_size)
    one, two = batch_of(pieces), batch_of(other)
    assert torch.equal(model.encode(one).loc, model.encode(two).loc)
    a, b = (model(batch, batch.target.queries(), noise)[0] for batch in (one, two))
    assert torch.equal(a.mean, b.mean)
    assert torch.equal(a.variance, b.variance)
    assert not torch.equal(elbo_terms(model, one, noise).target, elbo_terms(model, two, noise).target)


@every_network
@pytest.mark.parametrize("likelihood", ["normal", "student-t"])
@pytest.mark.parametrize("n_context", [0, 1])
def test_series_with_nothing_or_one_thing_observed_have_finite_loss_and_gradients(
    options, likelihood, n_context
):
    model = network(**options, likelihood=likelihood)
    pieces, _ = pieces_of([(n_context, 4), (n_context, 0)], 1)
    batch = batch_of(pieces)
    loss = negative_elbo(elbo_terms(model, batch, noise_for(2, latent=model.latent_size)))
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@every_network
def test_a_batch_that_observes_and_asks_nothing_costs_only_its_kl(options):
    model = network(**options)
    pieces, _ = pieces_of([(0, 0), (0, 0)], 1)
    terms = elbo_terms(model, batch_of(pieces), noise_for(2, latent=model.latent_size))
    assert torch.equal(terms.target, torch.zeros(2))
    assert torch.equal(terms.context, torch.zeros(2))
    assert torch.isfinite(terms.kl).all()


@pytest.mark.parametrize("options", JOINT)
@pytest.mark.parametrize("likelihood", ["normal", "student-t"])
def test_a_variable_that_is_never_observed_nor_asked_changes_nothing(options, likelihood):
    small = network(**options, likelihood=likelihood)
    large = network(n_variables=N_VARIABLES + 1, seed=9, **options, likelihood=likelihood)
    copy_shared(small, large)
    pieces, _ = pieces_of([(5, 4), (0, 3), (6, 2)], 11)
    noise = noise_for(3)
    for a, b in zip(answers(small, pieces, noise), answers(large, pieces, noise), strict=True):
        same(a, b)


def copy_shared(small, large):
    """Weights of the first variables; what belongs to the additional one keeps its own."""
    n, m = N_VARIABLES, N_VARIABLES + 1
    observed, end = (1 + N_CHANGES) * m, (2 + N_CHANGES) * m
    columns = [*range(n), *range(m, m + n * N_CHANGES), *range(observed, observed + n)]
    columns += range(end, end + 2 + N_KNOWN)
    assert Events.n_features(m) == end + 2
    with torch.no_grad():
        for name, parameter in large.named_parameters():
            own = dict(small.named_parameters())[name]
            if own.shape == parameter.shape:
                parameter.copy_(own)
            elif name.startswith("layout.encoder."):
                parameter[:, columns] = own
            else:
                parameter[: len(own)] = own  # the decoder's last layer, variable by variable


def table(shift=0.0, n_series=3):
    """Times are multiples of 1/1024, so that shifting them is exact."""
    frame = waves(n_series, 14, seed=2)
    return frame.assign(time=(frame["time"] * 1024).round() / 1024 + shift)


def forecast_of(model, frame, scaling, context=6.0, every=0.75):
    dataset = SeriesDataset.from_frame(frame)
    n = len(dataset)
    ahead = np.arange(-2, 5) * every
    series = np.repeat(np.arange(n), 2 * len(ahead))
    variable = np.tile(np.repeat([0, 1], len(ahead)), n)
    origin = dataset.last[series]
    queries = ForecastQueries(series, variable, origin + np.tile(ahead, 2 * n), origin)
    keys = pd.DataFrame({"id": dataset.ids[series]})
    engine = Engine(model, scaling, context, samples=4)
    return engine.forecast(Series(dataset, scaling), queries, keys)


@every_network
def test_shifting_the_times_of_a_series_shifts_its_forecast(options):
    model = network(n_variables=2, n_static=0, n_known=0, **options)
    scaling = Scaling.fit(SeriesDataset.from_frame(table()))
    plain = forecast_of(model, table(), scaling)
    for shift in (-7.5, 1024.0, 2.0**30):
        frame = table()
        frame.loc[frame["id"] == "s1", "time"] += shift
        moved = forecast_of(model, frame, scaling)
        np.testing.assert_allclose(moved.mean, plain.mean, rtol=0, atol=1e-10)
        np.testing.assert_allclose(moved.std, plain.std, rtol=0, atol=1e-10)


@every_network
def test_a_forecast_from_tables_is_the_same_alone_and_among_others(options, monkeypatch):
    model = network(n_variables=2, n_static=0, n_known=0, **options)
    frame = table()
    scaling = Scaling.fit(SeriesDataset.from_frame(frame))
    together = forecast_of(model, frame, scaling)
    shuffled = forecast_of(model, frame.sample(frac=1.0, random_state=1), scaling)
    for name in frame["id"].unique():
        alone = forecast_of(model, frame[frame["id"] == name], scaling)
        for all_ in (together, shuffled):
            own = (all_.keys["id"] == name).to_numpy()
            np.testing.assert_allclose(all_.mean[own], alone.mean, rtol=0, atol=1e-10)
            np.testing.assert_allclose(all_.quantile(0.9)[own], alone.quantile(0.9), rtol=0, atol=1e-8)
    monkeypatch.setattr("latentode.forecast.engine.ROWS_AT_ONCE", 2)
    chunked = forecast_of(model, frame, scaling)
    np.testing.assert_allclose(chunked.mean, together.mean, rtol=0, atol=1e-10)


@pytest.mark.parametrize("t0", ["origin", "start"])
def test_what_is_observed_after_the_origin_changes_nothing(t0):
    frame = table()
    dataset = SeriesDataset.from_frame(frame)
    scaling = Scaling.fit(dataset)
    model = network(n_variables=2, n_static=0, n_known=0, t0=t0)
    later = frame.copy()
    later.loc[later["time"] > 6.0, ["x", "y"]] *= -30.0
    task = Forecasting(horizon=2.0, origin=5.0)
    locs, means = [], []
    for each in (frame, later):
        read = SeriesDataset.from_frame(each)
        series = Series(read, scaling)
        # Origins are counted from each series' start, at most about 1 here.
        batch = series.batch(np.arange(len(series)), task)
        asked = Queries(torch.arange(3), torch.tensor([0, 1, 0]), torch.tensor([0.5, 1.5, 4.0]))
        locs.append(model.encode(batch).loc)
        means.append(model(batch, asked, shared_noise(4, 3))[0].mean)
    assert torch.equal(locs[0], locs[1])
    assert torch.equal(means[0], means[1])
