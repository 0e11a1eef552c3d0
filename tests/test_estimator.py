"""LatentODEForecaster as scikit-learn knows it: parameters, clones, no traces; and that it learns."""

from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from making import forecaster, same, tiny, waves
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import ParameterGrid

from latentode import LatentODEError, LatentODEForecaster, ModelConfig, SeriesDataset, SolverConfig
from latentode.data.climatology import Climatology
from latentode.data.split import by_key, split_validation

# ------------------------------------------------------------------ the estimator contract


def test_the_constructor_stores_what_it_is_given_and_nothing_else():
    assert clone(tiny()).get_params() == tiny().get_params()
    own = LatentODEForecaster()
    assert vars(own).keys() == own.get_params(deep=False).keys()
    assert own.get_params()["model__solver__adjoint"] == "direct"


def test_a_clone_of_a_fitted_forecaster_is_unfitted(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(waves(), 1.0)


def test_parameters_can_be_set_by_name():
    model = tiny().set_params(
        horizon=3.0, training__lr=0.01, model__encoder="linear", model__solver__steps=2
    )
    assert (model.horizon, model.training.lr, model.model.encoder) == (3.0, 0.01, "linear")
    assert model.model.solver == SolverConfig(intervals=4, steps=2)
    assert model.model.latent_size == 3
    with pytest.raises(ValueError, match="learning"):
        model.set_params(learning=0.1)
    with pytest.raises(LatentODEError, match="no setting `latent_sise`; did you mean `latent_size`"):
        model.set_params(model__latent_sise=3)
    with pytest.raises(LatentODEError, match="training is a TrainingConfig"):
        LatentODEForecaster(training={"max_epochs": 1}).fit(waves())


def test_settings_are_searched_by_scikit_learn_and_never_shared():
    first, second = ParameterGrid({"model__latent_size": np.array([2, 4])})
    assert clone(tiny()).set_params(**first).model.latent_size == 2
    assert clone(tiny()).set_params(**second).model.latent_size == 4
    assert LatentODEForecaster().model == ModelConfig()
    assert hash(ModelConfig()) == hash(ModelConfig(latent_size=16))


def test_the_repr_names_what_differs_from_the_defaults():
    model = LatentODEForecaster("24h", model=ModelConfig(latent_size=8))
    assert repr(model) == "LatentODEForecaster(horizon='24h', model=ModelConfig(latent_size=8))"


@pytest.mark.parametrize(
    "method", ["predict", "forecast", "score", "save", "backtest", "compare", "sample_paths"]
)
def test_everything_but_fit_needs_a_fit_first(method, frame, tmp_path):
    arguments = {"predict": (frame, 1.0), "forecast": (frame, 1.0), "save": (tmp_path / "x",)}
    with pytest.raises(NotFittedError, match="call fit first"):
        getattr(tiny(), method)(*arguments.get(method, (frame,)))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"encoder": "lstm"}, "gru"), ({"likelihood": "cauchy"}, "student-t"), ({"t0": "end"}, "start")],
)
def test_an_unknown_name_is_refused_with_the_choices(wrong, says, frame):
    with pytest.raises(LatentODEError, match=says):
        tiny(**wrong).fit(frame)


def test_fitting_twice_is_fitting_once(frame, fitted):
    again = tiny(max_epochs=2).fit(frame)
    same(again.predict(frame, 2.0, 3), fitted.predict(frame, 2.0, 3))
    refitted = tiny(max_epochs=2).fit(waves(3, 15, seed=8)).fit(frame)
    same(refitted.predict(frame, 2.0, 3), fitted.predict(frame, 2.0, 3))
    other = tiny(max_epochs=2, random_state=1).fit(frame)
    weights = zip(other.network_.parameters(), fitted.network_.parameters(), strict=True)
    assert any(not torch.equal(one, its) for one, its in weights)  # however little of them is believed


def test_baselines_know_what_is_trained_on_and_nothing_that_is_held_out():
    table = waves(24, 12)
    model = tiny().fit(table)
    dataset = SeriesDataset.from_frame(table, model.fitted_.reader.schema)
    train, _ = split_validation(by_key(dataset), model.horizon_, 0)
    known = Climatology.fit(train)
    np.testing.assert_allclose(model.fitted_.climatology.mean, known.mean, rtol=1e-12)
    assert (known.mean != Climatology.fit(dataset).mean).any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_fit_takes_gradients_wherever_it_is_called(frame, fitted, mode):
    with mode():
        again = tiny(max_epochs=2).fit(frame)
    same(again.predict(frame, 2.0, 3), fitted.predict(frame, 2.0, 3))


def test_the_order_of_rows_and_of_series_does_not_change_a_fit(frame):
    for table, held_out in ((frame, None), (waves(24, 12), None), (frame, waves(3, 12, 9))):
        one = tiny().fit(table, validation=held_out)
        moved = None if held_out is None else held_out[::-1]
        other = tiny().fit(table.sample(frac=1, random_state=4), validation=moved)
        same(other.predict(table, 2.0, 3), one.predict(table, 2.0, 3))
        same(other.history_, one.history_)
        assert other.fitted_.reader.scaling == one.fitted_.reader.scaling


def test_every_device_has_its_random_state_back_after_a_fit(frame, monkeypatch):
    forked = []

    @contextmanager
    def fork(devices):
        forked.extend(devices)
        with real(devices=[]):
            yield

    real = torch.random.fork_rng
    model = tiny()
    monkeypatch.setattr(torch.random, "fork_rng", fork)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("latentode.estimators.ensemble.run_fit", lambda *_, **__: None)
    model.fit(frame)
    assert forked and forked == [0, 1] * (len(forked) // 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_fit_on_a_gpu_leaves_its_random_state_alone(frame):
    torch.cuda.manual_seed(5)
    before = torch.cuda.get_rng_state()
    model = tiny().fit(frame)
    model.forecast(frame, 1.0).sample(3)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_fit_and_predict_touch_no_global_state(frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(11)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    model = tiny().fit(frame)
    model.predict(frame, 1.0)
    model.score(frame)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
    assert torch.is_grad_enabled()
    assert list(tmp_path.iterdir()) == []


def test_a_quiet_fit_prints_nothing(frame, capfd):
    tiny().fit(frame).predict(frame, 1.0)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_frames_are_never_modified(frame):
    train, held_out, asked = frame.copy(), waves(2, 12, seed=3), frame.copy()
    at = pd.DataFrame({"id": ["s0"], "time": [13.0]})
    copies = [f.copy(deep=True) for f in (train, held_out, asked, at)]
    model = tiny().fit(train, validation=held_out)
    model.predict(asked, at)
    model.compare(asked)
    for before, after in zip(copies, (train, held_out, asked, at), strict=True):
        pd.testing.assert_frame_equal(before, after, check_exact=True)


# -------------------------------------------------------------------------------- learning


def oscillators(n_series, seed, rows=80, noise=0.1):
    """Damped oscillations of random amplitude and phase, seen irregularly and with noise."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n_series):
        time = np.sort(rng.uniform(0, 8, rows))
        amplitude, phase = rng.uniform(0.5, 2), rng.uniform(0, 2 * np.pi)
        x = amplitude * np.exp(-0.1 * time) * np.cos(2 * time + phase)
        parts.append(pd.DataFrame({"id": i, "time": time, "x": x + noise * rng.normal(size=rows)}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "options"),
    [
        (0.3, {"latent": "joint", "latent_size": 4, "hidden_size": 32, "max_epochs": 8, "lr": 0.02}),
        (0.35, {"latent": "per-variable", "max_epochs": 12}),
    ],
    ids=["joint", "per-variable"],
)
def test_a_damped_oscillator_is_learnt(limit, options):
    model = forecaster(horizon=2.0, context_length=5.0, verbose=False, **options)
    model.fit(oscillators(60, 0))
    test = oscillators(20, 1)
    answer = model.backtest(test)
    ripe = answer[(answer["origin"] > 3.0) & (answer["lead"] > 1.6)]
    rmse = np.sqrt(((ripe["mean"] - ripe["actual"]) ** 2).mean())
    assert rmse < limit * ripe["actual"].std()
    inside = ripe["actual"].between(ripe["q0.1"], ripe["q0.9"]).mean()
    assert 0.65 < inside < 0.95
    assert model.score(test) > 0.5
