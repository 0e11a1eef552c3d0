"""From a fit to a folder and back: held-out data, interruptions, saving, loading, Lightning."""

import datetime as dt
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback, Trainer
from making import START, calendar, module_of, same, tiny, watching, waves
from sklearn.base import clone

from latentode import (
    Forecasting,
    IrregularDataModule,
    LatentODEError,
    LatentODEForecaster,
    LatentODEModule,
    ModelConfig,
    SchemaError,
    TrainingConfig,
)
from latentode.estimators import judging
from latentode.nn import ENCODERS
from latentode.training.callbacks import Patience

# --------------------------------------------------------------------------- save and load


def test_saved_models_forecast_identically_in_a_new_process(frame, tmp_path):
    kinds = {"likelihood": "student-t", "t0": "start"}
    models = {e: tiny(latent="joint", encoder=e, **kinds).fit(frame) for e in ENCODERS}
    models["per-variable"] = tiny(**kinds).fit(frame)
    for name, model in models.items():
        model.save(tmp_path / name)
    frame.to_pickle(tmp_path / "history.pkl")
    code = (
        "import os, sys, pandas as pd\n"
        "from latentode import LatentODEForecaster\n"
        "os.chdir(sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    model = LatentODEForecaster.load(name)\n"
        "    answer = model.predict(pd.read_pickle('history.pkl'), 2.0, 3)\n"
        "    answer.to_pickle(name + '.pkl')\n"
    )
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    arguments = [sys.executable, "-c", code, str(tmp_path), *models]
    subprocess.run(arguments, check=True, env={**os.environ, **threads})
    for name, model in models.items():
        same(pd.read_pickle(tmp_path / f"{name}.pkl"), model.predict(frame, 2.0, 3))


def test_a_loaded_model_is_the_saved_one_in_every_respect(fitted, frame, tmp_path):
    fitted.save(tmp_path)
    loaded = LatentODEForecaster.load(tmp_path)
    assert loaded.get_params() == fitted.get_params()
    assert (loaded.schema_, loaded.axis_) == (fitted.schema_, fitted.axis_)
    assert loaded.horizon_ == fitted.horizon_
    assert loaded.fitted_.engine.context_length == fitted.fitted_.engine.context_length
    assert loaded.fitted_.reader.scaling == fitted.fitted_.reader.scaling
    same(loaded.history_, fitted.history_)
    assert loaded.score(frame) == fitted.score(frame)
    same(loaded.compare(frame), fitted.compare(frame))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["forecaster.safetensors"]
    loaded.save(tmp_path / "again")
    same(LatentODEForecaster.load(tmp_path / "again").predict(frame, 1.0), fitted.predict(frame, 1.0))


def test_a_model_with_parameters_from_numpy_can_be_saved_and_loaded(frame, tmp_path):
    options = {"hidden_size": np.int64(8), "latent_size": np.int64(3), "horizon": np.float64(2.0)}
    model = tiny(**options, lr=np.float32(0.003)).fit(frame)
    model.save(tmp_path)
    loaded = LatentODEForecaster.load(tmp_path)
    same(loaded.predict(frame, 1.0), model.predict(frame, 1.0))
    assert loaded.model.hidden_size == 8
    assert isinstance(loaded.training.lr, float)
    clone(loaded).fit(frame)


def test_a_calendar_horizon_given_as_a_timedelta_survives_saving(tmp_path):
    frame = calendar(START)
    model = tiny(horizon=pd.Timedelta("2h"), context_length=dt.timedelta(hours=6)).fit(frame)
    model.save(tmp_path)
    loaded = LatentODEForecaster.load(tmp_path)
    assert (loaded.horizon_, loaded.fitted_.engine.context_length) == (2.0, 6.0)
    refitted = clone(loaded).fit(frame)
    assert (refitted.horizon_, refitted.fitted_.engine.context_length) == (2.0, 6.0)


def test_a_parameter_that_could_not_be_read_again_is_not_saved(fitted, tmp_path):
    odd = clone(fitted).set_params(duplicates=object())
    odd.fitted_ = fitted.fitted_
    with pytest.raises(LatentODEError, match="could not be read again"):
        odd.save(tmp_path)


# ----------------------------------------------------------------- fitting: data and stops


def test_a_validation_table_is_what_early_stopping_watches(frame):
    held_out = waves(2, 20, seed=5)
    model = tiny(max_epochs=2).fit(frame, validation=held_out)
    assert list(model.history_["epoch"]) == [0, 1]
    assert np.isfinite(model.history_["val_loss"]).all()
    other = tiny(max_epochs=2).fit(frame, validation=waves(2, 20, seed=6))
    pd.testing.assert_series_equal(model.history_["train_loss"], other.history_["train_loss"])
    assert (model.history_["val_loss"] != other.history_["val_loss"]).all()


def test_the_best_epoch_is_kept_and_patience_ends_the_fit(frame, monkeypatch):
    monkeypatch.setattr(judging, "shrunk", lambda fitted, *asked: fitted)  # nor estimated again
    again = tiny(max_epochs=8, patience=100, lr=0.5).fit(frame)
    watched = watched_loss(again, frame)
    assert watched == pytest.approx(again.history_["val_loss"].min(), rel=1e-4)


class Watched(Callback):
    """The learning rate of each epoch."""

    def __init__(self):
        self.rates = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_a_fit_that_gets_no_better_goes_on_at_a_lower_rate_and_then_ends(schedule, frame, monkeypatch):
    monkeypatch.setattr(Patience, "FEWEST_STEPS", 8)
    data = IrregularDataModule(frame, frame, task=Forecasting(2.0), windows_per_epoch=8, batch_size=4)
    module = module_of(data.sizes, latent_size=3, hidden_size=8, lr=1e-2, schedule=schedule)
    patience, watched = Patience("val_loss", 3), Watched()
    patience.best = -1e9  # nothing will be better
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=100, callbacks=[patience, watched], num_sanity_val_steps=0, **quiet)
    trainer.fit(module, data)
    assert len(watched.rates) == 8  # four epochs are eight steps, twice
    assert patience.lowered and watched.rates[5] < 0.7 * watched.rates[2]
    again = Patience("val_loss", 3)
    again.load_state_dict(patience.state_dict())
    assert again.state_dict() == patience.state_dict()


def watched_loss(model, frame):
    """The loss of the kept weights on the cuts that early stopping watched."""
    data, module = watching(model, frame)
    with torch.no_grad():
        (batch,) = data.val_dataloader()
        module.validation_step(batch, 0)
    return float(module.measures["val"].named()["val_loss"].compute())


@pytest.mark.parametrize("n_series", [1, 3, 24])
def test_few_series_are_held_out_in_time_and_many_by_series(n_series):
    model = tiny().fit(waves(n_series, 20))
    assert np.isfinite(model.history_["val_loss"]).all()
    assert np.isfinite(model.predict(waves(n_series, 20), 1.0)["mean"]).all()


def test_too_little_data_to_hold_any_out_is_said_and_trained_on_whole():
    frame = pd.DataFrame({"time": [0.0, 1.0], "x": [1.0, 2.0]})
    with pytest.warns(UserWarning, match="without early stopping"):
        model = tiny(horizon=2.0).fit(frame)
    assert "val_loss" not in model.history_
    assert np.isfinite(model.predict(frame, 1.0)["mean"]).all()


def test_a_table_of_one_time_only_is_refused():
    frame = pd.DataFrame({"id": ["a", "b"], "time": [0.0, 1.0], "x": [1.0, 2.0]})
    with pytest.raises(SchemaError, match="two different times"):
        tiny().fit(frame)


class Stop(Exception):
    pass


@pytest.mark.parametrize("failure", [Stop, KeyboardInterrupt])
def test_an_interrupted_fit_keeps_and_saves_the_best_weights_so_far(
    frame, tmp_path, monkeypatch, failure
):
    def interrupt(module):
        if module.current_epoch == 2:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.fill_(7.0)  # what the interrupted epoch was about to leave behind
            raise failure

    two = tiny(max_epochs=4)
    monkeypatch.setattr(LatentODEModule, "on_train_epoch_end", interrupt, raising=False)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(failure):
        two.fit(frame, save_to=tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    saved = LatentODEForecaster.load(tmp_path)
    same(saved.predict(frame, 1.0), two.predict(frame, 1.0))
    assert not any((p == 7.0).all() for p in two.network_.parameters())
    assert len(two.history_) == 3
    same(saved.history_, two.history_)
    assert watched_loss(two, frame) <= two.history_["val_loss"].min() * (1 + 1e-4)


def test_saving_during_a_fit_leaves_the_weights_that_the_fit_ends_with(frame, tmp_path):
    model = tiny(max_epochs=3).fit(frame, save_to=tmp_path)
    same(LatentODEForecaster.load(tmp_path).predict(frame, 1.0), model.predict(frame, 1.0))


def test_a_module_from_the_users_own_trainer_forecasts_as_a_forecaster(frame, tmp_path):
    data = IrregularDataModule(frame, task=Forecasting(horizon=2.0, context_length=6.0))
    torch.manual_seed(0)
    module = module_of(data.sizes, latent_size=3, hidden_size=8)
    model = LatentODEForecaster.from_lightning(module, data)
    answer = model.predict(frame, 2.0, 2)
    assert np.isfinite(answer["mean"]).all()
    model.save(tmp_path)
    same(LatentODEForecaster.load(tmp_path).predict(frame, 2.0, 2), answer)
    assert LatentODEForecaster.load(tmp_path).history_.empty


def test_a_forecaster_from_lightning_has_the_parameters_that_were_trained_with(frame):
    data = IrregularDataModule(
        frame, task=Forecasting(2.0, context_length=6.0), batch_size=7, seed=3, windows_per_epoch=30
    )
    network = {
        "latent": "joint",
        "latent_size": 3,
        "hidden_size": 8,
        "encoder": "linear",
        "solver": {"intervals": 4},
    }
    module = module_of(data.sizes, **network, lr=0.02)
    found = LatentODEForecaster.from_lightning(module, data)
    assert (found.horizon, found.context_length, found.random_state) == (2.0, 6.0, 3)
    assert found.model == ModelConfig.of(network)
    assert found.training == TrainingConfig(batch_size=7, windows_per_epoch=30, lr=0.02)
    again = clone(found).set_params(training__max_epochs=1, verbose=False).fit(frame)
    assert again.network_.latent_size == 3
    assert (again.horizon_, again.fitted_.engine.context_length) == (2.0, 6.0)
    small = module_of(data.sizes)  # what is left open has the network's defaults
    assert LatentODEForecaster.from_lightning(small, data).model == ModelConfig()
