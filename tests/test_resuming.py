"""Fits that are ended go on as if they had not been; threads at once do what each does alone."""

import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from making import classifier, module_of, same, tiny

from latentode import (
    Forecasting,
    IrregularDataModule,
    LatentODEClassifier,
    LatentODEError,
    LatentODEForecaster,
    LatentODEModule,
    OnlineForecaster,
)
from latentode.cli import main
from latentode.training.callbacks import average_weights

LONG = {"max_epochs": 3, "windows_per_epoch": 32, "batch_size": 8}


class Crash(Exception):
    pass


def ended(monkeypatch, model, frame, folder, how, epoch=1, **options):
    """A fit that something ends after an epoch, when that is kept already."""

    def end(module):
        if module.current_epoch == epoch + 1:
            how()

    with monkeypatch.context() as patch:
        patch.setattr(LatentODEModule, "on_train_epoch_start", end, raising=False)
        model.fit(frame, save_to=folder, **options)


def crash():
    raise Crash


def test_a_fit_that_goes_on_equals_one_that_was_never_ended(frame, tmp_path, monkeypatch):
    straight = tiny(**LONG).fit(frame, save_to=tmp_path / "straight")
    with pytest.raises(Crash):
        ended(monkeypatch, tiny(**LONG), frame, tmp_path / "model", crash, epoch=0)
    assert (tmp_path / "model" / "training.ckpt").exists()
    with pytest.raises(Crash):
        ended(monkeypatch, tiny(**LONG), frame, tmp_path / "model", crash, epoch=1, resume=True)
    resumed = tiny(**LONG).fit(frame, save_to=tmp_path / "model", resume=True)
    same(resumed.history_, straight.history_)
    files = [tmp_path / name / "forecaster.safetensors" for name in ("straight", "model")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["forecaster.safetensors"]


def test_a_classifier_that_goes_on_equals_one_that_was_never_ended(frame, tmp_path, monkeypatch):
    labels = pd.Series(["a", "b"] * 2, index=sorted(frame["id"].unique()))
    options = {"max_epochs": 3, "latent_size": 2, "hidden_size": 4, "batch_size": 64, "verbose": False}

    def made():
        return classifier(members=2, random_state=3, **options)

    def fit(model, folder, **more):
        return model.fit(frame, labels, save_to=folder, **more)

    straight = fit(made(), tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(LatentODEModule, "on_train_epoch_start", ends_at(2), raising=False)
        with pytest.raises(Crash):
            fit(made(), tmp_path / "model")
    resumed = fit(made(), tmp_path / "model", resume=True)
    same(resumed.history_, straight.history_)
    same(resumed.predict_proba(frame), straight.predict_proba(frame))
    kept = LatentODEClassifier.load(tmp_path / "model")
    same(kept.predict_proba(frame), straight.predict_proba(frame))
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["classifier.safetensors"]
    with pytest.raises(LatentODEError, match="save_to="):
        made().fit(frame, labels, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(LatentODEModule, "on_train_epoch_start", ends_at(1), raising=False)
        with pytest.raises(Crash):
            fit(made(), tmp_path / "model")
    with pytest.raises(LatentODEError, match="other data or settings"):
        made().fit(frame, labels[::-1].set_axis(labels.index), save_to=tmp_path / "model", resume=True)


def ends_at(epoch):
    def end(module):
        if module.current_epoch == epoch:
            raise Crash

    return end


def test_what_cannot_be_gone_on_from_is_refused(frame, tmp_path, monkeypatch):
    with pytest.raises(LatentODEError, match="save_to="):
        tiny().fit(frame, resume=True)
    with pytest.raises(Crash):
        ended(monkeypatch, tiny(**LONG), frame, tmp_path, crash, epoch=0)
    for model, table in (
        (tiny(**LONG | {"lr": 0.1}), frame),
        (tiny(**LONG, hidden_size=4), frame),
        (tiny(**LONG, random_state=1), frame),
        (tiny(**LONG), frame.assign(x=frame["x"] + 1)),
        (tiny(**LONG), frame.iloc[1:]),
    ):
        with pytest.raises(LatentODEError, match="other data or settings"):
            model.fit(table, save_to=tmp_path, resume=True)
    path = tmp_path / "training.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LatentODEError, match=r"damaged.*begin anew"):
        tiny(**LONG).fit(frame, save_to=tmp_path, resume=True)
    tiny(max_epochs=1).fit(frame, save_to=tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("named", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_command_with_its_status_once_all_is_saved(
    named, frame, tmp_path, monkeypatch, capsys, request
):
    table, model = tmp_path / "table.csv", tmp_path / "model"
    frame.to_csv(table, index=False)
    options = "--horizon 2 --hidden-size 8 --max-epochs 3 --windows-per-epoch 32 --quiet"
    command = ["latentode", "fit", str(table), "--out", str(model), *options.split()]

    def end(module):
        if module.current_epoch == 2:
            os.kill(os.getpid(), getattr(signal, named))

    # A shell starts what runs in its background with interrupts ignored.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, ours))
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr("sys.argv", command)
        patch.setattr(LatentODEModule, "on_train_epoch_start", end, raising=False)
        with pytest.raises(SystemExit) as left:
            main()
    assert left.value.code == {"SIGTERM": 143, "SIGINT": 130}[named]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert "--resume" in capsys.readouterr().err
    assert sorted(p.name for p in model.iterdir()) == ["forecaster.safetensors", "training.ckpt"]
    LatentODEForecaster.load(model)
    monkeypatch.setattr("sys.argv", [*command, "--resume"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert len(LatentODEForecaster.load(model).history_) == 3
    assert [p.name for p in model.iterdir()] == ["forecaster.safetensors"]


class CrashWithin(Callback):
    """After so many optimiser steps."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 6:
            raise Crash


def test_lightning_goes_on_from_the_middle_of_an_epoch(frame, tmp_path):
    def fitted(folder=None, **how):
        torch.manual_seed(0 if folder is not None else 7)
        data = IrregularDataModule(
            frame, frame, task=Forecasting(2.0, 6.0), batch_size=8, windows_per_epoch=28, bucketed=True
        )
        module = module_of(data.sizes, latent_size=3, hidden_size=8)
        module.estimate(data)  # before callbacks copy the module
        callbacks = [average_weights(0.9)]
        if folder is not None:
            kept = ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=1)
            callbacks += [kept, *how.pop("more", ())]
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        trainer = Trainer(
            max_epochs=3, callbacks=callbacks, enable_checkpointing=folder is not None, **quiet
        )
        trainer.fit(module, data, **how)
        return module.state_dict()

    straight = fitted(tmp_path / "straight")
    with pytest.raises(Crash):
        fitted(tmp_path / "crashed", more=[CrashWithin()])
    path = tmp_path / "crashed" / "epoch=1-step=6.ckpt"
    resumed = fitted(ckpt_path=path, weights_only=True)
    for name, weight in straight.items():
        assert torch.equal(weight, resumed[name]), name


def test_rows_that_threads_add_at_once_are_all_kept(fitted, frame):
    online = OnlineForecaster(fitted, frame.iloc[:40])
    rows = [frame.iloc[[i]] for i in range(40, len(frame))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(online.update, rows))
    assert len(online.history) == len(frame)
    same(online.predict(1.0), fitted.predict(frame, 1.0))
    same(pickle.loads(pickle.dumps(online)).predict(1.0), fitted.predict(frame, 1.0))


def test_fits_in_threads_equal_fits_one_after_the_other(frame):
    def fit(seed):
        return tiny(max_epochs=2, random_state=seed).fit(frame).predict(frame, 1.0)

    alone = [fit(0), fit(1)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(fit, [0, 1]))
    for one, other in zip(alone, together, strict=True):
        same(one, other)
