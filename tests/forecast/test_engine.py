"""The engine leaves no trace: modes, parameters, generators and other threads stay as they are."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from making import same, tiny, waves

from latentode.forecast import Engine, ForecastQueries


@pytest.fixture(scope="module")
def fitted():
    return tiny(max_epochs=2).fit(waves(4, 20)).fitted_


@pytest.fixture(scope="module")
def dataset(fitted):
    return fitted.reader.read(waves(4, 20))


def queries(dataset, ahead=1.0):
    series = np.repeat(np.arange(len(dataset)), 2)
    origin = dataset.last[series]
    return ForecastQueries(series, np.tile([0, 1], len(dataset)), origin + ahead, origin)


def means(fitted, dataset, ahead=1.0):
    asked = queries(dataset, ahead)
    return fitted.engine.distributions(fitted.series(dataset), asked).mean.numpy()


@pytest.mark.parametrize("training", [False, True])
def test_the_mode_is_as_it_was_also_after_a_failure(fitted, dataset, training):
    network = fitted.engine.network.train(training)
    modes = [m.training for m in network.modules()]
    means(fitted, dataset)
    assert [m.training for m in network.modules()] == modes
    with pytest.raises(ValueError, match="more than 1000"):
        means(fitted, dataset, ahead=1e6)
    assert [m.training for m in network.modules()] == modes
    network.eval()


def test_a_network_in_training_is_answered_as_in_evaluation_and_never_seen_in_another_mode(
    fitted, dataset
):
    network = fitted.engine.network.eval()
    expected = means(fitted, dataset)
    network.train()
    seen = []
    handle = network.register_forward_pre_hook(lambda m, _: seen.append((m is network, m.training)))
    found = means(fitted, dataset)
    handle.remove()
    assert seen == [(False, False)]
    assert network.training
    np.testing.assert_array_equal(found, expected)
    network.eval()


def test_threads_answer_as_one_does(fitted, dataset):
    network = fitted.engine.network
    expected = means(fitted, dataset)
    series, keys = fitted.series(dataset), np.arange(8)
    asked = queries(dataset)
    frame = waves(4, 20).iloc[:8]

    def ask(i):
        drawn = fitted.forecast_series(series, asked, frame).sample(5, seed=i % 2)
        return means(fitted, dataset), drawn

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(ask, keys))
    network.train()
    with ThreadPoolExecutor(2) as pool:
        found += list(pool.map(ask, keys))
    assert network.training
    network.eval()
    for i, (mean, drawn) in enumerate(found):
        np.testing.assert_array_equal(mean, expected)
        np.testing.assert_array_equal(drawn, found[i % 2][1])


def test_no_global_generator_is_read_or_seeded(fitted, dataset):
    frame = waves(4, 20).iloc[:8]
    before, state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for residuals in (fitted.residuals, None):
        made = replace(fitted, residuals=residuals).forecast(dataset, queries(dataset), frame)
        made.sample(3)
        replace(made, joint=None).sample(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_precision_answers_in_double(dataset, dtype):
    model = tiny().fit(waves(4, 20))
    fitted = model.fitted_
    expected = means(fitted, dataset)
    fitted.engine.network.to(dtype)
    found = means(fitted, dataset)
    assert found.dtype == np.float64
    rtol = {torch.float64: 1e-4, torch.float32: 1e-12, torch.bfloat16: 0.3}[dtype]
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def test_answers_are_the_same_under_inference_mode(fitted, dataset):
    with torch.inference_mode():
        first = means(fitted, dataset)
    np.testing.assert_array_equal(first, means(fitted, dataset))


def test_batches_leave_no_mark(fitted, dataset, monkeypatch):
    asked = queries(dataset)
    order = np.random.default_rng(0).permutation(len(asked))
    whole = means(fitted, dataset)
    monkeypatch.setattr("latentode.forecast.engine.ROWS_AT_ONCE", 1)
    found = fitted.engine.distributions(fitted.series(dataset), asked.take(order)).mean.numpy()
    np.testing.assert_allclose(found, whole[:, order], rtol=1e-4, atol=1e-5)


def test_no_query_is_an_answer_of_no_query(fitted, dataset):
    none = queries(dataset).take(np.zeros(0, dtype=np.int64))
    series = fitted.series(dataset)
    assert fitted.engine.distributions(series, none).mean.shape == (1, 0)
    assert [d.mean.shape for d in fitted.engine.around(series, none, 1e-3)] == [(1, 0)] * 2
    assert len(fitted.forecast(dataset, none, waves(1, 1)[:0])) == 0


def test_an_engine_is_made_of_a_network_and_a_scaling(fitted, dataset):
    engine = Engine(fitted.engine.network, fitted.reader.scaling, fitted.engine.context_length)
    frame = waves(4, 20).iloc[:8][["id"]].reset_index(drop=True)
    made = engine.forecast(fitted.series(dataset), queries(dataset), frame)
    same(made.to_frame(), fitted.forecast(dataset, queries(dataset), frame).to_frame())
