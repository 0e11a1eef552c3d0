"""Module and data module in every mode of a plain Trainer, in one process and in two."""

import json
import os
import socket
import time
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from making import module_of, waves
from torch.multiprocessing import start_processes

from latentode import Forecasting, IrregularDataModule, LatentODEError, SolveError
from latentode.model.network import LatentODE
from latentode.training.cuts import Share
from latentode.training.skipped import SkippedBatches

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*treespec.*")
LAYOUTS = {"joint": {"latent": "joint"}, "per-variable": {}}
MODES = {
    "overfit": {"overfit_batches": 2},
    "deterministic": {"deterministic": True, "accumulate_grad_batches": 2},
    "short": {"limit_train_batches": 1, "limit_val_batches": 1, "max_steps": 1},
    "anomalies": {"detect_anomaly": True, "gradient_clip_val": 0.1},
}
PRECISIONS = ("32-true", "64-true", "bf16-true", "bf16-mixed", "16-mixed")
LIKELIHOODS = ("normal", "student-t", "quantile", {"y": "log-normal"}, "laplace")


def some_data(**options):
    train, held_out = waves(4, 14), waves(3, 14, seed=1)
    task = Forecasting(2.0, 6.0, validate_at="last")
    given = {"task": task, "batch_size": 8, "windows_per_epoch": 24, **options}
    return IrregularDataModule(train, held_out, **given)


def some_module(data, seed=0, **options):
    torch.manual_seed(seed)
    return module_of(data.sizes, latent_size=2, hidden_size=8, solver={"intervals": 2}, **options)


def trainer_of(**options):
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return Trainer(**{"accelerator": "cpu", "max_epochs": 1, **dict.fromkeys(quiet, False), **options})


# Each layout in every precision and mode, each precision in two modes.
TRIED = [
    (layout, precision, list(MODES)[(2 * i + j) % len(MODES)])
    for i, layout in enumerate(LAYOUTS)
    for j, precision in enumerate(PRECISIONS)
]


@pytest.mark.parametrize(("layout", "precision", "mode"), TRIED)
def test_every_layout_trains_in_every_mode_and_precision(layout, precision, mode):
    data = some_data()
    likelihood = LIKELIHOODS[TRIED.index((layout, precision, mode)) % len(LIKELIHOODS)]
    module = some_module(data, **LAYOUTS[layout], likelihood=likelihood)
    trainer = trainer_of(precision=precision, num_sanity_val_steps=1, **MODES[mode])
    try:
        trainer.fit(module, data)
    finally:
        torch.use_deterministic_algorithms(False)
    for name in ("train_loss", "val_loss", "val_nll"):
        assert np.isfinite(float(trainer.callback_metrics[name])), name
    assert trainer.global_step > 0 and module.skipped_batches == 0
    assert all(p.isfinite().all() for p in module.parameters())


class Seen(Callback):
    """The batches of training, as arrays."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append([x.tolist() for x in (batch.context.time, batch.target.value, batch.start)])


def test_overfitting_is_to_the_same_windows_every_epoch(tmp_path):
    seen, data = Seen(), some_data()
    kept = ModelCheckpoint(tmp_path, save_last=True)
    trainer = trainer_of(
        overfit_batches=2, max_epochs=2, callbacks=[seen, kept], enable_checkpointing=True
    )
    trainer.fit(some_module(data), data)
    assert len(seen.batches) == 4
    assert seen.batches[:2] == seen.batches[2:] and seen.batches[0] != seen.batches[1]


@pytest.mark.parametrize("persistent", [False, True])
def test_batches_do_not_depend_on_who_makes_them(persistent):
    found = []
    for loading in ({}, {"num_workers": 1, "persistent_workers": persistent, "prefetch_factor": 1}):
        loader = some_data(bucketed=True, **loading).train_dataloader()
        own = []
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)
            own += [[b.context.value.tolist(), b.target.time.tolist(), loader.place] for b in loader]
        found.append(own)
    assert found[0] == found[1] and len(found[0]) == 6


def test_what_loaders_do_not_know_is_refused():
    with pytest.raises(LatentODEError, match=r"no argument `workers`.*num_workers, pin_memory"):
        some_data(workers=2)
    with pytest.raises(LatentODEError, match="persistent_workers is of workers"):
        some_data(persistent_workers=True)


def test_the_largest_batch_size_is_found_over_windows(tmp_path):
    data = some_data(windows_per_epoch=64)
    module = some_module(data)
    before = {n: p.clone() for n, p in module.named_parameters()}
    trainer = trainer_of(default_root_dir=tmp_path)
    found = Tuner(trainer).scale_batch_size(module, datamodule=data, init_val=2, max_trials=3)
    assert found == data.batch_size == 8
    assert all(torch.equal(p, before[n]) for n, p in module.named_parameters())
    seen = Seen()
    trainer_of(callbacks=[seen]).fit(module, data)
    assert [len(start) for _, _, start in seen.batches] == [8] * 8


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_processes_share_out_every_window_and_train_on_as_many_each(n, monkeypatch):
    data = some_data(bucketed=True)
    held_out, rank = [], [0]
    for module in ("cuts", "resumable"):
        monkeypatch.setattr(f"latentode.training.{module}.processes", lambda: (rank[0], n))
    loader, shares = data.train_dataloader(), []
    for rank[0] in range(n):
        shares.append(list(loader.sampler))
        assert len(shares[-1]) == len(loader.sampler) == -(-24 // n)
        order = Share(np.array([(0, i, 0) for i in range(4)]))
        held_out.append(list(order))
        assert len(held_out[-1]) == len(order) >= 1
    assert len({key for own in shares for key in own}) == -(-24 // n) * n
    asked = [key for own in held_out for key in own if key[2] >= 0]
    assert sorted(asked) == [(0, i, 0) for i in range(4)]
    silent = data.val_dataloader().dataset.__getitems__([(0, 0, -1)])
    assert len(silent) == 1 and len(silent.target) == 0 and len(silent.names.keys) == 0
    assert len(silent.events.select(silent.events.time > 0)) == 0


def test_a_step_that_no_process_can_learn_from_is_not_taken():
    skipped = SkippedBatches()
    skipped.learn()
    with pytest.warns(UserWarning, match=r"skipped \(1 so far\): it is odd"):
        skipped.skip("it is odd")
    assert skipped.step(lambda counts: 2 * counts)  # another process like this one
    assert (skipped.total, skipped.in_a_row) == (2, 0)
    assert not skipped.step(lambda counts: counts + torch.tensor([1, 0]))
    assert (skipped.total, skipped.in_a_row) == (3, 1)


class Losses(Callback):
    def __init__(self):
        self.own = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.own.append([float(outputs["loss"]), len(batch)])


def figures(n):
    """Those of a process, one of n that train together, of which the last is told to skip batches."""
    data = some_data(batch_size=4 // n)
    module, losses, answer = some_module(data), Losses(), LatentODE.answer

    def failing(self, *given):
        if self.training and module.global_rank == n - 1 and module.global_step in (1, 3):
            raise SolveError("told to")
        return answer(self, *given)

    # No logger, no checkpoints: what a step of the others waits for is a gradient, not a disk.
    trainer = trainer_of(strategy="ddp" if n > 1 else "auto", devices=n, callbacks=[losses])
    found = {"before": trainer.validate(module, data, verbose=False)[0]}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(LatentODE, "answer", failing)
        trainer.fit(module, data)
    found |= {"fitted": {k: float(v) for k, v in trainer.callback_metrics.items()}, "own": losses.own}
    found["skipped"] = module.skipped_batches
    few = data.loader(data.validation.dataset.select([0]))  # one window
    found["few"] = trainer.test(module, few, verbose=False)[0]
    found["predicted"] = sum(len(f) for f in trainer.predict(module, few))
    found["weights"] = float(sum(p.detach().double().abs().sum() for p in module.parameters()))
    return found


def _one_of_two(rank, port, folder, found):
    where = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {**where, "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    (folder / str(rank)).write_text(json.dumps(found()))


def in_two_processes(found, folder):
    """What a function returns in each of two processes that train together."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        given = (free.getsockname()[1], folder, found)
    method = "spawn" if torch.cuda.is_available() else "fork"  # which leaves a card unusable
    both = start_processes(_one_of_two, given, nprocs=2, join=False, start_method=method)
    try:
        end = time.monotonic() + 90
        while not both.join(timeout=1.0):
            assert time.monotonic() < end, "one waits for the other"
    finally:
        for process in both.processes:
            process.kill()
    return [json.loads((folder / rank).read_text()) for rank in "01"]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What one process finds, and what each of two finds that train together."""
    return figures(1), *in_two_processes(partial(figures, 2), tmp_path_factory.mktemp("together"))


def test_two_processes_say_of_held_out_windows_what_one_does(together):
    alone, first, second = together
    for name, value in alone["before"].items():
        assert first["before"][name] == pytest.approx(value, rel=1e-5), name
    assert first["few"] == second["few"] and first["fitted"] == second["fitted"]
    assert np.isfinite(list(first["few"].values())).all()
    assert first["predicted"] == alone["predicted"] > second["predicted"] == 0


def test_batches_skipped_by_one_process_hold_up_no_other_and_are_counted_by_all(together):
    alone, first, second = together
    assert alone["skipped"] == first["skipped"] == second["skipped"] == 2
    assert first["fitted"]["skipped_batches"] == 2
    assert first["weights"] == second["weights"]
    own = np.array(first["own"] + second["own"])
    learnt = own[own[:, 0] != 0]
    assert len(learnt) == len(own) - 2 == 10
    mean = np.average(learnt[:, 0], weights=learnt[:, 1])
    assert first["fitted"]["train_loss"] == pytest.approx(mean, rel=1e-5)
