"""An ensemble answers as the mixture of its members, by every door, and is one model."""

import sys
from copy import deepcopy
from dataclasses import replace
from threading import Lock

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback
from making import classifier, same, tiny, waves
from test_resuming import LONG, Crash, crash

from latentode import LatentODEError, LatentODEForecaster, LatentODEModule
from latentode.cli import main
from latentode.estimators.ensemble import seed_of
from latentode.evaluation.shrinkage import with_strength
from latentode.forecast import ExportedForecast
from latentode.forecast.fitted import Draws
from latentode.forecast.queries import ForecastQueries

KINDS = {
    "per-variable": {},
    "joint": {"latent": "joint"},
    "families": {"likelihood": {"x": "student-t", "y": "log-normal"}},
    "no block": {"structure": None, "observation_times": "poisson"},
}
OUTSIDE = 11.99  # later than any observation


@pytest.fixture(scope="module")
def table():
    frame = waves(3, 16)
    return frame[frame["time"] < 11.5].reset_index(drop=True)


@pytest.fixture(scope="module", params=KINDS)
def trained(request, table):
    options = {"max_epochs": 1, "windows_per_epoch": 8, **KINDS[request.param]}
    return tiny(members=3, **options).fit(table)


@pytest.fixture(scope="module")
def model(trained):
    """Of which each member says something of its own.

    So few steps may gain nothing on held-out values, and then the start is kept, where no decoder does.
    """
    model = deepcopy(trained)
    model.fitted_ = with_strength(model.fitted_, 1.0)
    for n, network in enumerate(model.fitted_.engine.networks):
        generator = torch.Generator().manual_seed(n)
        for name, own in network.named_parameters():
            if "decoder" in name:
                own.data += 0.1 * torch.randn(own.shape, generator=generator, dtype=own.dtype)
    return model


def alone(model):
    """Each member by itself."""
    for network in model.fitted_.engine.networks:
        engine = replace(model.fitted_.engine, network=network, others=())
        one = type(model)(**model.get_params(deep=False))
        one.fitted_ = replace(model.fitted_, engine=engine)
        yield one


def test_members_differ_but_for_what_is_estimated(trained):
    first, *others = trained.fitted_.engine.networks
    for other in others:
        changed = {
            name: not torch.equal(p, dict(other.named_parameters())[name])
            for name, p in first.named_parameters()
            if "encoder" in name
        }
        assert any(changed.values())
        for name, buffer in first.named_buffers():
            assert torch.equal(buffer, dict(other.named_buffers())[name]), name


def test_an_ensemble_is_the_equal_mixture_of_its_members(model, table):
    for asked in ([OUTSIDE], [5.0, 9.0]):
        mixed = model.forecast(table, asked, smooth=False)
        each = [one.forecast(table, asked, smooth=False) for one in alone(model)]
        value = mixed.quantile(0.7)
        np.testing.assert_allclose(
            mixed.cdf(value), np.mean([one.cdf(value) for one in each], axis=0), atol=1e-9
        )
        np.testing.assert_allclose(
            mixed.mean, np.mean([one.mean for one in each], axis=0), rtol=1e-9, atol=1e-12
        )
        assert np.std([one.mean for one in each], axis=0).max() > 0
        assert (mixed.std**2 >= np.mean([one.std**2 for one in each], axis=0) * (1 - 1e-9)).all()


def test_what_lies_inside_is_seen_from_both_sides_by_all(model, table):
    smooth, past = (model.forecast(table, [5.0], smooth=s) for s in (True, False))
    assert len(smooth.distribution.batch_shape) == 2
    assert smooth.n_samples == past.n_samples == model.fitted_.engine.n_samples
    assert (smooth.mean != past.mean).any()
    each = [one.forecast(table, [5.0]) for one in alone(model)]
    low, high = np.min([o.mean for o in each], axis=0), np.max([o.mean for o in each], axis=0)
    width = smooth.std
    assert ((smooth.mean > low - width) & (smooth.mean < high + width)).all()


def test_each_draw_is_of_one_member_along_its_whole_path(model, table):
    doubles = [deepcopy(network).double() for network in model.fitted_.engine.networks]
    engine = replace(model.fitted_.engine, network=doubles[0], others=tuple(doubles[1:]))
    fitted = replace(model.fitted_, engine=engine)
    dataset, ahead, step = model.read(table), np.array([0.4, 1.1]), 1e-5

    def draws(engine, shift):
        every = (x.reshape(-1) for x in np.meshgrid(np.arange(3), np.arange(2), ahead, indexing="ij"))
        series, variable, ahead_of = every
        origin = dataset.last[series]
        queries = ForecastQueries(series, variable, origin + ahead_of + shift, origin)
        own = replace(fitted, engine=engine)
        return Draws(own, own.series(dataset), queries, engine.n_samples * 2)

    together = draws(engine, 0.0)
    slope = (draws(engine, step).value - draws(engine, -step).value) / (2 * step)
    np.testing.assert_allclose(together.rate, slope, rtol=1e-5, atol=1e-6)
    took = together.forecast.joint.took(together.n, engine.n_samples)
    assert (took.reshape(together.n, 3, 4) == took.reshape(together.n, 3, 4)[:, :, :1]).all()
    assert len(np.unique(took)) == engine.n_samples


def test_intensities_are_those_of_the_members(table):
    model = tiny(members=2, max_epochs=0, observation_times="poisson").fit(table)
    expected = [one.observation_times(table).expected_counts([OUTSIDE]) for one in alone(model)]
    found = model.observation_times(table).expected_counts([OUTSIDE])
    numbers = found.select_dtypes("number").columns
    np.testing.assert_allclose(found[numbers], np.mean([e[numbers] for e in expected], axis=0))


def test_an_ensemble_is_saved_as_one_model(model, table, tmp_path):
    model.save(tmp_path)
    again = LatentODEForecaster.load(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["forecaster.safetensors"]
    assert again.members == 3 and len(again.fitted_.engine.networks) == 3
    same(again.predict(table, [5.0, OUTSIDE]), model.predict(table, [5.0, OUTSIDE]))
    assert again.history_["member"].tolist() == model.history_["member"].tolist()


def test_a_fit_of_one_is_the_first_member(trained, table):
    (one, *_), single = alone(trained), {"max_epochs": 1, "windows_per_epoch": 8}
    kind = trained.get_params()
    alike = tiny(
        **single,
        network={
            k: kind[f"model__{k}"] for k in ("latent", "likelihood", "structure", "observation_times")
        },
    )
    alike.fit(table)
    for name, weight in alike.network_.named_parameters():
        assert torch.equal(weight, dict(one.network_.named_parameters())[name]), name


def test_a_fit_that_goes_on_has_the_members_of_one_that_was_never_ended(frame, tmp_path, monkeypatch):
    straight = tiny(members=2, **LONG).fit(frame, save_to=tmp_path / "straight")
    began = []
    original = LatentODEModule.on_fit_start

    def second(module):
        began.append(module)
        if len(began) == 2:
            monkeypatch.setattr(LatentODEModule, "on_train_epoch_start", at_last, raising=False)
        return original(module)

    def at_last(module):
        if module.current_epoch == 2:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(LatentODEModule, "on_fit_start", second)
        with pytest.raises(Crash):
            tiny(members=2, **LONG).fit(frame, save_to=tmp_path / "model")
    monkeypatch.undo()
    kept = LatentODEForecaster.load(tmp_path / "model")
    assert len(kept.fitted_.engine.networks) == 1
    resumed = tiny(members=2, **LONG).fit(frame, save_to=tmp_path / "model", resume=True)
    same(resumed.history_, straight.history_)
    files = [tmp_path / name / "forecaster.safetensors" for name in ("straight", "model")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["forecaster.safetensors"]


def test_a_fit_that_had_stopped_early_does_not_go_on(frame, tmp_path, monkeypatch):
    stopping = LONG | {"max_epochs": 40, "patience": 0, "lr": 1e-9}
    monkeypatch.setattr("latentode.training.callbacks.Patience.FEWEST_STEPS", 0)
    straight = tiny(**stopping).fit(frame, save_to=tmp_path / "straight")
    assert len(straight.history_) < 40
    with monkeypatch.context() as patch:
        patch.setattr("latentode.training.checkpoint.EpochCheckpoint.remove", lambda self: crash())
        with pytest.raises(Crash):
            tiny(**stopping).fit(frame, save_to=tmp_path / "model")
    resumed = tiny(**stopping).fit(frame, save_to=tmp_path / "model", resume=True)
    same(resumed.history_, straight.history_)


class Counting(Callback):
    """Counts the epochs that it has seen."""

    def __init__(self):
        self.seen = 0

    def on_train_epoch_end(self, trainer, module):
        self.seen += 1
        if self.seen == 2:
            trainer.should_stop = True


def test_each_member_has_callbacks_of_its_own(frame):
    given = Counting()
    model = tiny(members=3, max_epochs=5, windows_per_epoch=8).fit(frame, callbacks=[given])
    assert model.history_.groupby("member").size().tolist() == [2, 2, 2]
    assert given.seen == 2
    given.lock = Lock()
    with pytest.raises(LatentODEError, match=r"cannot be copied.*members=1"):
        tiny(members=2).fit(frame, callbacks=[given])


def test_members_share_the_minutes_that_a_fit_may_take(frame, monkeypatch):
    given = []

    def run(module, data, training, **more):
        given.append(training.max_minutes)
        more["on_end"](pd.DataFrame())

    monkeypatch.setattr("latentode.estimators.ensemble.run_fit", run)
    tiny(members=4, max_minutes=8.0).fit(frame)
    assert given == pytest.approx([2.0, 8 / 3, 4.0, 8.0], rel=0.05)  # what one leaves, the next have


def test_members_have_windows_and_weights_by_seeds_of_their_own():
    seeds = [seed_of(state, member) for state in (0, 1, 2**64 - 1) for member in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert [seed_of(7, 0), all(0 <= s < 2**64 for s in seeds)] == [7, True]


def test_a_fit_begun_anew_leaves_nothing_of_the_one_before(frame, tmp_path, monkeypatch):
    (tmp_path / "training.1.ckpt").write_bytes(b"of another fit")
    with monkeypatch.context() as patch:
        patch.setattr(LatentODEModule, "on_train_epoch_end", lambda module: crash(), raising=False)
        with pytest.raises(Crash):
            tiny(members=2, **LONG).fit(frame, save_to=tmp_path)
    assert not (tmp_path / "training.1.ckpt").exists()


def test_a_classifier_averages_the_probabilities_of_its_members():
    frame = waves(6, 8)
    labels = pd.Series(["a", "b"] * 3, index=[f"s{i}" for i in range(6)])
    model = classifier(members=2, max_epochs=1, latent_size=2, hidden_size=4, verbose=False)
    model.fit(frame, labels)
    each = []
    for network in model.fitted_.engine.networks:
        engine = replace(model.fitted_.engine, network=network, others=())
        found = engine.class_probabilities(
            model.fitted_.reader.series(model.fitted_.reader.read(frame)), np.arange(6)
        )
        each.append(found)
    np.testing.assert_allclose(model.predict_proba(frame), np.mean(each, axis=0), rtol=1e-6)
    assert np.std(each, axis=0).max() > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_exported_ensemble_answers_as_it_does(tmp_path):
    history = waves(2, 4)
    model = tiny(
        members=2,
        max_epochs=1,
        windows_per_epoch=8,
        latent="joint",
        structure="last-value",
        network={"solver": {"intervals": 2}},
    ).fit(history)
    model.export(tmp_path / "model.pt2", max_rows=10, max_queries=4)
    asked = [history["time"].max() + 0.4]
    found = ExportedForecast.load(model.fitted_, tmp_path / "model.pt2").predict(history, asked)
    pd.testing.assert_frame_equal(found, model.predict(history, asked), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("members", [0, -1, 1.5, 101, True])
def test_a_number_of_members_that_cannot_be_is_refused(members, table):
    with pytest.raises(LatentODEError, match="members"):
        tiny(members=members).fit(table)


def test_the_command_line_fits_an_ensemble(table, tmp_path, monkeypatch):
    table.to_csv(tmp_path / "t.csv", index=False)
    asked = [
        "--members",
        "2",
        "--max-epochs",
        "1",
        "--windows-per-epoch",
        "8",
        "--quiet",
        "--horizon",
        "2",
    ]
    small = ["--latent-size", "2", "--hidden-size", "4"]
    files = [str(tmp_path / "t.csv"), "--out", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", ["latentode", "fit", *files, *asked, *small])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert len(LatentODEForecaster.load(tmp_path / "model").fitted_.engine.networks) == 2
