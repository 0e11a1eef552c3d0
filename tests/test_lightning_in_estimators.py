"""Estimators pass callbacks and settings on to their Trainer, and come back from its checkpoints."""

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from making import calendar, classifier, module_of, same, tiny, waves
from test_trainer_modes import in_two_processes

from latentode import (
    Interpolation,
    IrregularDataModule,
    LatentODEClassifier,
    LatentODEError,
    LatentODEForecaster,
)
from latentode.data import Schema
from latentode.evaluation.shrinkage import with_strength

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*treespec.*")


class Epochs(Callback):
    def __init__(self):
        self.seen = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen.append((trainer.current_epoch, trainer.precision))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A forecaster, what its callback saw, and the folder of its checkpoint and logger."""
    folder, epochs = tmp_path_factory.mktemp("kept"), Epochs()
    frame = calendar(pd.Timestamp("2024-03-30T22:00:00"), "Europe/Berlin")
    model = tiny(horizon="2h", context_length="6h", max_epochs=2, windows_per_epoch=32, batch_size=16)
    best = ModelCheckpoint(folder, filename="best", monitor="val_loss", save_weights_only=False)
    settings = {"logger": CSVLogger(folder / "logs"), "accelerator": "cpu", "precision": "64-true"}
    settings["num_sanity_val_steps"] = 0  # so that an epoch is kept, whatever comes before
    schema = Schema(cycles=("24h",), transforms={"y": "yeo-johnson"})
    # Validated on a table of its own, after a fit the model has what the checkpoint has.
    model.fit(frame, schema, frame, callbacks=[epochs, best], trainer=settings)
    return model, epochs.seen, folder, frame


def test_a_fit_passes_callbacks_and_settings_on(kept):
    _, seen, folder, _ = kept
    assert seen == [(0, "64-true"), (1, "64-true")]
    logged = pd.read_csv(next((folder / "logs").rglob("metrics.csv")))
    assert logged["val_loss"].notna().sum() == 2


def test_a_checkpoint_alone_forecasts_as_the_model_does(kept, tmp_path):
    model, _, folder, frame = kept
    model = deepcopy(model)
    model.fitted_ = with_strength(model.fitted_, 1.0)  # which held-out values have not yet lowered
    found = LatentODEForecaster.from_checkpoint(folder / "best.ckpt")
    torch.load(folder / "best.ckpt", weights_only=True)
    same(found.predict(frame, "3h", 4), model.predict(frame, "3h", 4))
    assert found.schema_ == model.schema_ and found.axis_ == model.axis_
    assert found.model == model.network_.config and found.training == model.training
    assert (found.horizon, found.context_length) == ("2.0h", "6.0h")
    assert found.fitted_.residuals is None and found.leaderboard_.empty
    found.save(tmp_path)
    same(LatentODEForecaster.load(tmp_path).predict(frame, "3h"), model.predict(frame, "3h"))
    judged = LatentODEForecaster.from_checkpoint(folder / "best.ckpt", held_out=frame)
    assert judged.fitted_.residuals is not None and not judged.leaderboard_.empty


def test_a_classifier_passes_on_and_comes_back_too(tmp_path):
    frame, epochs = waves(6, 8), Epochs()
    labels = pd.Series([0, 1] * 3, index=frame["id"].unique())
    model = classifier(latent_size=2, hidden_size=4, max_epochs=1, batch_size=256, verbose=False)
    last = ModelCheckpoint(tmp_path, filename="last")
    model.fit(frame, labels, callbacks=[epochs, last], trainer={"accelerator": "cpu"})
    assert len(epochs.seen) == 1
    found = LatentODEClassifier.from_checkpoint(tmp_path / "last.ckpt")
    same(found.predict_proba(frame), model.predict_proba(frame))
    with pytest.raises(LatentODEError, match=r"for a classifier, so it holds no forecaster"):
        LatentODEForecaster.from_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_epochs": 3}, r"TrainingConfig\(max_epochs=\)"),
        ({"callbacks": []}, r"fit\(callbacks=\)"),
        ({"acelerator": "cpu"}, "did you mean 'accelerator'"),
        ({"strategy": "ddp_spawn", "accelerator": "cpu", "devices": 2}, "strategy='ddp'"),
        ({"accelerator": "nope"}, "cannot take: .*nope"),
        ({"precision": "9"}, "cannot take: .*9"),
        ({"devices": "x"}, "cannot take: .*devices"),
        ({"limit_train_batches": -1}, "cannot take: .*limit_train_batches"),
        ({"logger": 3}, "logger is one of Lightning's"),
    ],
)
def test_what_a_fit_cannot_pass_on_is_refused(frame, settings, said):
    with pytest.raises(LatentODEError, match=said):
        tiny().fit(frame, trainer=settings)


@pytest.mark.parametrize("callbacks", [["x"], "x", 3, [None]])
def test_what_is_no_callback_is_refused(frame, callbacks):
    with pytest.raises(LatentODEError, match="callbacks are Lightning's"):
        tiny().fit(frame, callbacks=callbacks)


def test_what_is_no_checkpoint_of_a_forecaster_is_refused(frame, tmp_path):
    path = tmp_path / "other.ckpt"
    with pytest.raises(LatentODEError, match="cannot be read"):
        LatentODEForecaster.from_checkpoint(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(LatentODEError, match="read safely"):
        LatentODEForecaster.from_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(LatentODEError, match="lacks 'hyper_parameters'"):
        LatentODEForecaster.from_checkpoint(path)
    data = IrregularDataModule(frame, task=Interpolation(), windows_per_epoch=4)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing"), False)
    trainer = Trainer(accelerator="cpu", max_steps=1, **quiet)
    trainer.fit(module_of(data.sizes, latent_size=2, hidden_size=4), data)
    trainer.save_checkpoint(path)
    with pytest.raises(LatentODEError, match="another task"):
        LatentODEForecaster.from_checkpoint(path)


def fitted_by_two():
    frame = waves(4, 20)
    model = tiny(max_epochs=2, windows_per_epoch=32, batch_size=8)
    model.fit(frame, trainer={"accelerator": "cpu", "devices": 2, "strategy": "ddp"})
    return model.predict(frame, 1.0)["mean"].tolist(), model.history_["train_loss"].tolist()


def test_two_processes_that_fit_together_have_one_model(tmp_path):
    one, other = in_two_processes(fitted_by_two, tmp_path)
    assert one == other and np.isfinite(one[0]).all()


def test_a_fit_in_half_precision_is_judged(frame):
    model = tiny(max_epochs=1, windows_per_epoch=8).fit(frame, trainer={"precision": "bf16-true"})
    assert next(model.network_.parameters()).dtype == torch.bfloat16
    assert not model.leaderboard_.empty and np.isfinite(model.predict(frame, 1.0)["mean"]).all()
