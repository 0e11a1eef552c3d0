"""What training adds is believed as far as held-out values ask for it."""

import numpy as np
import pandas as pd
import pytest

from latentode import LatentODEForecaster, ModelConfig, Schema, TrainingConfig
from latentode.estimators import judging
from latentode.evaluation.pairs import observed_ahead
from latentode.evaluation.shrinkage import STRENGTHS, shrunk, with_strength
from latentode.forecast.queries import ForecastQueries
from latentode.model.emission import Emission

pytestmark = pytest.mark.filterwarnings("ignore")


def fitted(n_series: int, corrections: float, **options):
    """A model untrained but for a decoder whose corrections add a constant to every forecast."""
    rng = np.random.default_rng(0)
    time = np.tile(np.arange(40.0), n_series)
    rows = pd.DataFrame({"id": np.repeat(np.arange(n_series), 40), "time": time})
    rows["y"], rows["z"] = rng.normal(size=(2, len(rows)))
    model = LatentODEForecaster(
        5.0,
        model=ModelConfig(**{"latent_size": 4, "hidden_size": 8, "likelihood": "normal", **options}),
        training=TrainingConfig(max_epochs=0),
        verbose=False,
    ).fit(rows, Schema(id="id"))
    made = with_strength(model.fitted_, 1.0)
    last = made.engine.network.layout.decoder.layers[-1]
    last.weight.data.zero_()
    last.bias.data.zero_()
    last.bias.data[0] = corrections
    return model.read(rows), made


def strength(model):
    return model.engine.network.emission.strength.numpy()


@pytest.mark.parametrize("n_series", [2, 12])
def test_corrections_that_hurt_are_not_made(n_series):
    dataset, model = fitted(n_series, corrections=2.0)
    pairs = observed_ahead(dataset, 5.0, 6)
    found = shrunk(model, dataset, pairs)
    assert (strength(found) == 0).all()
    assert (strength(model) == 1).all(), "the model that was given is left as it is"
    plain = with_strength(model, 0.0).forecast(dataset, pairs.queries, pairs.keys)
    assert np.array_equal(found.forecast(dataset, pairs.queries, pairs.keys).mean, plain.mean)


def test_corrections_that_help_one_variable_are_made_there():
    dataset, model = fitted(12, corrections=4.0)
    pairs = observed_ahead(dataset, 5.0, 6)
    moved = np.where(np.asarray(pairs.queries.variable) == 0, 1.0, 0.0)
    answer = model.forecast(dataset, pairs.queries, pairs.keys)
    plain = with_strength(model, 0.0).forecast(dataset, pairs.queries, pairs.keys)
    asked = pairs._replace(actual=pairs.actual + moved * np.asarray(answer.mean - plain.mean))
    assert strength(shrunk(model, dataset, asked)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("n_series", "shift", "believed"), [(12, 4.0, True), (12, 0.0, False), (4, 4.0, False)]
)
def test_where_nothing_was_observed_the_first_values_of_series_say(n_series, shift, believed):
    dataset, model = fitted(n_series, corrections=4.0)
    pairs = observed_ahead(dataset, 5.0, 6)
    table = dataset.to_frame()
    new = dataset.of_table(table.assign(y=table["y"] + shift), dataset.schema, dataset.axis)
    found = shrunk(model, new, pairs)  # of what was observed the strength is 0, whatever the shift
    assert strength(found)[0] == 0
    unseen = float(found.engine.network.emission.strength_unseen[0])
    assert (unseen > 0) == believed
    begin = np.zeros(1)
    asked = ForecastQueries(np.zeros(1, dtype=int), np.zeros(1, dtype=int), begin + 3, begin - 1)
    none = pd.DataFrame(index=range(1))
    answer, alike = (m.forecast(new, asked, none).mean for m in (found, with_strength(model, unseen)))
    assert answer == alike
    assert answer > 2 if believed else abs(answer) < 1


KINDS = {
    "per-variable": {},
    "joint, samples": {"latent": "joint", "variational": True},
    "families": {"likelihood": {"y": "student-t", "z": "normal"}},
    "back to the start": {"t0": "start"},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("strengths", [(0.0, 0.0), (0.5, 0.0)])
@pytest.mark.parametrize("unseen", [0.0, 1.0])
def test_what_is_not_believed_is_not_computed_and_the_answer_is_the_same(
    options, strengths, unseen, monkeypatch
):
    dataset, model = fitted(4, corrections=1.0, **options)
    model = with_strength(model, np.array(strengths), unseen)
    pairs, encoded = observed_ahead(dataset, 5.0, 2), []
    forward = type(model.engine.network).encode
    monkeypatch.setattr(
        type(model.engine.network), "encode", lambda *given: encoded.append(1) or forward(*given)
    )
    short = model.forecast(dataset, pairs.queries, pairs.keys)
    assert bool(encoded) == (any(strengths) or bool(unseen))
    monkeypatch.setattr(Emission, "silent", lambda *given: False)
    whole = model.forecast(dataset, pairs.queries, pairs.keys)
    assert encoded
    assert short.n_samples == whole.n_samples
    for level in (0.1, 0.5, 0.9):
        assert np.array_equal(short.quantile(level), whole.quantile(level))
    assert np.array_equal(short.mean, whole.mean)
    assert np.array_equal(short.std, whole.std)


def test_a_hook_or_another_forward_is_called_whatever_is_believed():
    dataset, model = fitted(4, corrections=1.0)
    model, pairs, called = with_strength(model, 0.0), observed_ahead(dataset, 5.0, 2), []
    network = model.engine.network
    for part in (network, network.layout.decoder, network.emission):
        handle = part.register_forward_hook(lambda *given: called.append(1))
        model.forecast(dataset, pairs.queries, pairs.keys)
        handle.remove()
        assert called, part
        called.clear()
    network.__class__ = type("Own", (type(network),), {"forward": lambda *given: 1 / 0})
    with pytest.raises(ZeroDivisionError):
        model.forecast(dataset, pairs.queries, pairs.keys)


@pytest.mark.parametrize("n_series", [3, 12])
def test_the_choice_is_that_of_the_rule_written_plainly(n_series):
    dataset, model = fitted(n_series, corrections=0.3)
    pairs = observed_ahead(dataset, 5.0, 6)
    pairs = pairs._replace(actual=pairs.actual + 0.15)
    found = strength(shrunk(model, dataset, pairs))
    every = [
        -np.asarray(
            with_strength(model, s).forecast(dataset, pairs.queries, pairs.keys).log_prob(pairs.actual)
        )
        for s in STRENGTHS
    ]
    series, time = np.asarray(pairs.queries.series), np.asarray(pairs.queries.time)
    eighth = np.zeros(len(series), dtype=int)
    for s in np.unique(series):
        edges = np.linspace(time[series == s].min(), time[series == s].max(), 9)[1:-1]
        eighth[series == s] = 8 * s + np.searchsorted(edges, time[series == s], side="right")
    for v in (0, 1):
        own = np.asarray(pairs.queries.variable) == v
        losses = np.array(every)[:, own]
        best = chosen = losses.mean(1).argmin()
        for k in reversed(range(best if n_series < 8 else 0)):
            gain = losses[k] - losses[best]
            of = [(gain - gain.mean())[eighth[own] == e].sum() for e in np.unique(eighth[own])]
            error = np.sqrt(len(of) / (len(of) - 1) * np.square(of).sum()) / len(gain)
            chosen = k if gain.mean() <= error else chosen
        assert found[v] == STRENGTHS[chosen]


@pytest.mark.parametrize("latent", ["per-variable", "joint"])
def test_only_a_forecast_that_nothing_learnt_stands_on_is_estimated_again(latent, monkeypatch):
    def block(*strength):
        found = np.array(strength)
        monkeypatch.setattr(judging, "with_strength", lambda made, _: with_strength(made, found))
        _, made = fitted(2, corrections=0.0, latent=latent)
        return made.engine.network.emission.structure.theta()

    kept, again, mixed = block(1.0, 1.0), block(0.0, 0.0), block(1.0, 0.0)
    assert (kept != again).any(axis=1).all()
    assert np.array_equal(mixed, kept)  # which encoders read too: what is learnt of one is about all


def test_of_very_few_values_nothing_is_believed():
    dataset, model = fitted(2, corrections=4.0)
    every = observed_ahead(dataset, 5.0, 6)
    answer = model.forecast(dataset, every.queries, every.keys)
    right = every._replace(actual=np.asarray(answer.mean).copy())
    assert (strength(shrunk(model, dataset, right)) > 0).all()
    latest = np.sort(np.unique(right.queries.time))[-9:]  # of two series
    some = np.flatnonzero(np.isin(right.queries.time, latest))
    keys = right.keys.iloc[some].reset_index(drop=True)
    few = right._replace(queries=right.queries.take(some), keys=keys, actual=right.actual[some])
    assert (strength(shrunk(model, dataset, few)) == 0).all()


def test_without_training_there_is_nothing_to_believe():
    time = np.arange(60.0)
    frame = pd.DataFrame({"time": time, "y": np.sin(time), "early": np.where(time < 40, time, np.nan)})
    training = TrainingConfig(max_epochs=0)
    model = LatentODEForecaster(5.0, training=training, verbose=False).fit(frame, Schema())
    assert (strength(model.fitted_) == 0).all(), "also of what nothing was held out of"
