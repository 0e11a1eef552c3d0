"""LatentODEModule and IrregularDataModule in a Trainer that the user built."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from making import module_of, waves

from latentode import (
    Forecasting,
    IrregularDataModule,
    LatentODEError,
    LatentODEModule,
    SchemaError,
    SeriesDataset,
)
from latentode.data.batch import Batch, Observations
from latentode.errors import SolveError
from latentode.nn import ENCODERS
from latentode.nn.likelihoods import mixture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*treespec.*")
TINY = {"latent_size": 3, "hidden_size": 8, "solver": {"intervals": 2}}


def some_data(validation=True, **options):
    held_out = waves(3, 14, seed=1) if validation else None
    task = Forecasting(horizon=2.0, context_length=6.0, validate_at="last")
    given = {"task": task, "batch_size": 8, "windows_per_epoch": 24, **options}
    return IrregularDataModule(waves(4, 14), held_out, **given)


def some_module(data, seed=0, **options):
    torch.manual_seed(seed)
    return module_of(data.sizes, **{"latent": "joint", **TINY, "kl_warmup": 5, **options})


def trainer_in(folder, **options):
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "default_root_dir": folder,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{**defaults, **options})


def all_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory, to see whether anything is written into it."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_users_trainer_runs_with_callbacks_logger_and_checkpoints(tmp_path, elsewhere):
    seen = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append(trainer.current_epoch)

    data = some_data()
    keep = ModelCheckpoint(tmp_path / "kept", monitor="val_loss", save_last=True)
    logger = CSVLogger(tmp_path / "logs")
    watching = [Watch(), keep, EarlyStopping("val_loss", patience=5)]
    trainer = trainer_in(tmp_path, callbacks=watching, logger=logger, enable_checkpointing=True)
    trainer.fit(some_module(data), data)
    assert seen == [0, 1]
    logged = pd.read_csv(tmp_path / "logs" / "lightning_logs" / "version_0" / "metrics.csv")
    for name in ("train_loss", "val_loss", "val_mse", "val_mae"):
        assert logged[name].notna().sum() == 2
        assert np.isfinite(logged[name].dropna()).all()
    assert (tmp_path / "kept" / "last.ckpt").exists()
    assert list(elsewhere.iterdir()) == []


def test_fast_dev_run_passes_and_writes_nothing(tmp_path, elsewhere):
    data = some_data()
    trainer_in(tmp_path / "root", fast_dev_run=True).fit(some_module(data), data)
    assert list(elsewhere.iterdir()) == []
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("options", [{}, {"solver": {"intervals": 2, "steps": "auto"}}])
def test_a_fit_resumed_from_a_checkpoint_equals_one_that_was_never_interrupted(
    tmp_path, options, monkeypatch
):
    monkeypatch.setattr(LatentODEModule, "CHECK_SOLVER_EVERY", 4)
    options = {**TINY, **options}
    options["solver"] = {**options["solver"], "tolerance": 1e-12}
    data = some_data()
    each = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    straight = some_module(data, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the solver's error")
        first = trainer_in(tmp_path, max_epochs=4, callbacks=[each], enable_checkpointing=True)
        first.fit(straight, data)
        torch.manual_seed(99)  # neither weights nor noise may come from here
        resumed = some_module(some_data(), seed=7, **options)
        path = tmp_path / "epoch=1.ckpt"
        trainer_in(tmp_path, max_epochs=4).fit(resumed, some_data(), ckpt_path=path, weights_only=True)
    all_equal(resumed.state_dict(), straight.state_dict())
    assert resumed.model.solver == straight.model.solver
    assert resumed.model.solver.steps == (8 if options["solver"].get("steps") else 1)
    begun = torch.load(path, weights_only=True)["state_dict"]
    assert all(not torch.equal(begun[n], v) for n, v in straight.named_parameters())


def test_two_fits_of_one_seed_are_equal_and_of_two_seeds_are_not(tmp_path):
    data, results = some_data(), []
    for seed in (3, 3, 4):
        module = some_module(data, seed)
        trainer_in(tmp_path, max_epochs=1).fit(module, some_data())
        results.append(module.state_dict())
    all_equal(results[0], results[1])
    assert any(not torch.equal(results[0][n], results[2][n]) for n in results[0])


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("likelihood", ["normal", "student-t"])
def test_a_checkpoint_loads_under_weights_only_and_predicts_the_same(tmp_path, encoder, likelihood):
    data = some_data(windows_per_epoch=16)
    module = some_module(data, encoder=encoder, likelihood=likelihood, t0="start", structure=None)
    trainer = trainer_in(tmp_path, max_epochs=1)
    trainer.fit(module, data)
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    torch.load(path, weights_only=True)
    loaded = LatentODEModule.load_from_checkpoint(path, weights_only=True)
    assert loaded.model.t0 == "start"
    assert not loaded.model.emission.last_value
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        one, other = module.predict_step(batch, 0), loaded.eval().predict_step(batch, 0)
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_hyper_parameters_are_primitives_only(tmp_path):
    data = some_data()
    hparams = dict(some_module(data).hparams)
    assert set(hparams) == {"sizes", "model", "training"}
    assert hparams["sizes"] == data.sizes.to_dict()

    def primitive(value):
        if isinstance(value, dict):
            return all(primitive(v) for v in value.values())
        if isinstance(value, (list, tuple)):
            return all(primitive(v) for v in value)
        return type(value) in (int, float, str, bool, type(None))

    assert {k: v for k, v in hparams.items() if not primitive(v)} == {}


def test_a_fit_needs_no_validation_data(tmp_path, elsewhere):
    data = some_data(validation=False)
    module = some_module(data)
    before = {n: v.clone() for n, v in module.state_dict().items()}
    trainer = trainer_in(tmp_path)
    trainer.fit(module, data)
    assert "val_loss" not in trainer.callback_metrics
    assert any(not torch.equal(before[n], v) for n, v in module.state_dict().items())
    assert list(elsewhere.iterdir()) == []


def test_a_trainer_tests_with_the_metrics_of_validation(tmp_path):
    held_out = waves(3, 14, seed=1)
    data = some_data()
    module = some_module(data)
    found = trainer_in(tmp_path).test(module, data.loader(held_out), verbose=False)[0]
    same = trainer_in(tmp_path).validate(module, data, verbose=False)[0]
    assert found == {name.replace("val", "test"): value for name, value in same.items()}
    with pytest.raises(SchemaError, match="the table has the variables x, but training has x, y"):
        data.loader(SeriesDataset.from_frame(held_out.drop(columns="y")))


def test_a_trainer_predicts_named_forecasts_in_data_units(tmp_path):
    held_out = waves(3, 14, seed=1)
    data = some_data(seed=0)
    module, loader = some_module(data), data.loader(held_out.iloc[::-1])
    answers = trainer_in(tmp_path).predict(module, loader)
    assert len(answers) == len(loader)
    found = pd.concat(answers, ignore_index=True)
    assert list(found.columns) == ["id", "time", "variable", "mean", "std", "q0.1", "q0.5", "q0.9"]
    # The targets: every observation of each series' last horizon.
    seen = held_out.melt(["id", "time"]).dropna()
    last = seen.groupby("id")["time"].transform("max")
    first = seen.groupby("id")["time"].transform("min")
    asked = seen[seen["time"] > np.maximum(last - 2.0, first)]
    merged = asked.merge(found, on=["id", "time", "variable"], how="outer", validate="1:1")
    assert len(merged) == len(found) and merged.notna().all(axis=None)
    metrics = trainer_in(tmp_path).test(module, loader, verbose=False)[0]
    scale = pd.Series(data.scaling.scale, index=data.schema.targets)
    error = (merged["mean"] - merged["value"]) / merged["variable"].map(scale)
    assert metrics["test_mae"] == pytest.approx(error.abs().mean(), rel=1e-5)


def test_a_data_module_predicts_its_validation_series(tmp_path):
    data = some_data()
    module = some_module(data)
    found = pd.concat(trainer_in(tmp_path).predict(module, data))
    alike = pd.concat(trainer_in(tmp_path).predict(module, data.val_dataloader()))
    pd.testing.assert_frame_equal(found, alike)
    assert set(found["id"]) == set(waves(3, 14, seed=1)["id"])


def test_batches_without_names_are_refused_by_predict(tmp_path):
    data = some_data()
    with pytest.raises(LatentODEError, match="do not name their targets"):
        trainer_in(tmp_path).predict(some_module(data), data.train_dataloader())


def test_validation_metrics_are_of_the_mixture_in_scaled_units(tmp_path):
    data = some_data()
    module = some_module(data)
    found = trainer_in(tmp_path).validate(module, data, verbose=False)[0]
    (batch,) = data.val_dataloader()
    with torch.no_grad():
        predicted = mixture(module.predictive(batch))
    value = batch.target.value.float()
    error = (predicted.mean - value).numpy()
    assert found["val_loss"] == pytest.approx(float(-predicted.log_prob(value).mean()), rel=1e-5)
    assert found["val_mse"] == pytest.approx(float((error**2).mean()), rel=1e-5)
    assert found["val_mae"] == pytest.approx(float(np.abs(error).mean()), rel=1e-5)


def test_validation_does_not_depend_on_the_batch_size(tmp_path):
    losses = []
    for size in (1, 2, 64):
        data = some_data()
        data.batch_size = size
        losses.append(trainer_in(tmp_path).validate(some_module(data), data, verbose=False)[0])
    for name in losses[0]:
        for other in losses[1:]:
            assert other[name] == pytest.approx(losses[0][name], rel=1e-5)


def test_validation_leaves_training_untouched(tmp_path):
    results = []
    for validation in (True, False):
        module = some_module(some_data())
        trainer_in(tmp_path, max_epochs=1).fit(module, some_data(validation))
        results.append(module.state_dict())
    all_equal(*results)


def test_training_draws_nothing_from_the_global_generator():
    data = some_data()
    module = some_module(data)
    batch = next(iter(data.train_dataloader()))
    state = torch.get_rng_state()
    noise = [module._noise(len(batch), i) for i in (0, 1, 0)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[1])
    assert noise[0].shape == (3, len(batch), 3)


def test_the_learning_rate_warms_up_and_decays_to_zero_at_the_last_step(tmp_path):
    rates = []

    class Watch(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

    data = some_data(windows_per_epoch=20, batch_size=1)
    module = some_module(data, lr=0.01, structure=None)
    trainer_in(tmp_path, max_epochs=6, callbacks=[Watch()]).fit(module, data)
    assert len(rates) == 120
    assert rates[0] == pytest.approx(0.01 / 50)
    assert np.argmax(rates) < 60
    assert (np.diff(rates[60:]) < 0).all()
    assert rates[-1] < 1e-5


def test_the_loss_falls(tmp_path):
    losses = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            losses.append(float(trainer.callback_metrics["train_loss"]))

    data = some_data(windows_per_epoch=160)
    trainer_in(tmp_path, max_epochs=3, callbacks=[Watch()]).fit(some_module(data, lr=0.01), data)
    assert losses[2] < losses[0]


def test_a_batch_without_targets_is_predicted_empty_and_validated_in_silence():
    data = some_data()
    module = some_module(data).eval()
    batch = next(iter(data.val_dataloader()))
    none = torch.zeros(0, dtype=torch.long)
    empty = Observations(none, none, torch.zeros(0).double(), torch.zeros(0).double())
    batch = Batch(**{**vars(batch), "target": empty})
    assert module.predictive(batch).mean.shape[1:] == (0,)
    module.validation_step(batch, 0)


def poisoned(module, value):
    with torch.no_grad():
        module.model.layout.decoder.layers[-1].bias.fill_(value)


def test_batches_that_cannot_be_trained_on_never_reach_a_weight(tmp_path):
    data = some_data()
    module = some_module(data)

    class Poison(Callback):
        """Makes one gradient infinite."""

        def on_after_backward(self, trainer, pl_module):
            if trainer.global_step == 0 and pl_module.skipped_batches == 0:
                next(pl_module.parameters()).grad[0] = torch.inf

    with pytest.warns(UserWarning, match="batch skipped"):
        trainer_in(tmp_path, max_epochs=1, callbacks=[Poison()]).fit(module, data)
    assert module.skipped_batches == 1
    for name, value in module.state_dict().items():
        assert torch.isfinite(value).all(), name


def test_three_bad_batches_in_a_row_end_the_fit_with_advice(tmp_path):
    data = some_data()
    module = some_module(data)
    poisoned(module, torch.nan)
    with (
        warnings.catch_warnings(),
        pytest.raises(SolveError, match=r"3 steps in a row.*Lower lr"),
    ):
        warnings.simplefilter("ignore")
        trainer_in(tmp_path, num_sanity_val_steps=0).fit(module, data)
