"""LatentODEForecaster as its user meets it: frames in, frames out."""

import datetime as dt
import os
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from making import waves
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from latentode import (
    Forecasting,
    IrregularDataModule,
    LatentODEError,
    LatentODEForecaster,
    LitLatentODE,
    Schema,
    SchemaError,
)
from latentode.metrics import quantile_levels
from latentode.nn import ENCODERS

TINY = {
    "horizon": 2.0,
    "context": 6.0,
    "latent_size": 3,
    "hidden_size": 8,
    "solver": {"intervals": 4},
    "max_epochs": 1,
    "verbose": False,
}
KEYS = ["id", "time", "variable"]
START = pd.Timestamp("2024-03-30T22:00:00")


def tiny(**options):
    return LatentODEForecaster(**{**TINY, **options})


@pytest.fixture(scope="module")
def frame():
    return waves(4, 20)


@pytest.fixture(scope="module")
def fitted(frame):
    return tiny(max_epochs=2).fit(frame)


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


# ------------------------------------------------------------------ the estimator contract


def test_the_constructor_stores_what_it_is_given_and_nothing_else():
    assert clone(tiny()).get_params() == tiny().get_params()
    assert vars(LatentODEForecaster()).keys() == LatentODEForecaster().get_params().keys()


def test_a_clone_of_a_fitted_forecaster_is_unfitted(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(waves(), 1.0)


def test_parameters_can_be_set_by_name():
    model = tiny().set_params(lr=0.01, encoder="linear")
    assert (model.lr, model.encoder) == (0.01, "linear")
    with pytest.raises(ValueError, match="learning"):
        model.set_params(learning=0.1)


def test_the_repr_names_what_differs_from_the_defaults():
    assert repr(LatentODEForecaster(horizon="24h")) == "LatentODEForecaster(horizon='24h')"


@pytest.mark.parametrize(
    "method", ["predict", "forecast", "score", "save", "backtest", "compare", "trace"]
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
    assert (other.predict(frame, 2.0)["mean"] != fitted.predict(frame, 2.0)["mean"]).any()


def test_the_order_of_rows_and_of_series_does_not_change_a_fit(frame):
    for table, held_out in ((frame, None), (waves(24, 12), None), (frame, waves(3, 12, 9))):
        one = tiny().fit(table, validation=held_out)
        moved = None if held_out is None else held_out[::-1]
        other = tiny().fit(table.sample(frac=1, random_state=4), validation=moved)
        same(other.predict(table, 2.0, 3), one.predict(table, 2.0, 3))
        same(other.history_, one.history_)
        assert other.scaling_ == one.scaling_


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
    monkeypatch.setattr("latentode.estimator.run_fit", lambda *_, **__: None)
    model.fit(frame)
    assert forked == [0, 1]


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


# ------------------------------------------------------------------------- save and load


def test_saved_models_forecast_identically_in_a_new_process(frame, tmp_path):
    kinds = {"likelihood": "student-t", "t0": "start"}
    models = {e: tiny(encoder=e, **kinds).fit(frame) for e in ENCODERS}
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
    assert (loaded.horizon_, loaded.context_) == (fitted.horizon_, fitted.context_)
    assert loaded.scaling_ == fitted.scaling_
    same(loaded.history_, fitted.history_)
    assert loaded.score(frame) == fitted.score(frame)
    same(loaded.compare(frame), fitted.compare(frame))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["forecaster.json", "weights.pt"]
    loaded.save(tmp_path / "again")
    same(LatentODEForecaster.load(tmp_path / "again").predict(frame, 1.0), fitted.predict(frame, 1.0))


def test_a_model_with_parameters_from_numpy_can_be_saved_and_loaded(frame, tmp_path):
    options = {"hidden_size": np.int64(8), "latent_size": np.int64(3), "horizon": np.float64(2.0)}
    model = tiny(**options, lr=np.float32(0.003)).fit(frame)
    model.save(tmp_path)
    loaded = LatentODEForecaster.load(tmp_path)
    same(loaded.predict(frame, 1.0), model.predict(frame, 1.0))
    assert loaded.hidden_size == 8
    assert isinstance(loaded.lr, float)
    clone(loaded).fit(frame)


def test_a_calendar_horizon_given_as_a_timedelta_survives_saving(tmp_path):
    frame = calendar(START)
    model = tiny(horizon=pd.Timedelta("2h"), context=dt.timedelta(hours=6)).fit(frame)
    model.save(tmp_path)
    loaded = LatentODEForecaster.load(tmp_path)
    assert (loaded.horizon_, loaded.context_) == (2.0, 6.0)
    refitted = clone(loaded).fit(frame)
    assert (refitted.horizon_, refitted.context_) == (2.0, 6.0)


def test_loading_what_is_not_there_or_too_new_says_so(fitted, tmp_path):
    with pytest.raises(LatentODEError, match="holds no fitted model"):
        LatentODEForecaster.load(tmp_path)
    fitted.save(tmp_path)
    path = tmp_path / "forecaster.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(LatentODEError, match="later release"):
        LatentODEForecaster.load(tmp_path)


# ------------------------------------------------------------------- fitting: data and stops


def test_a_validation_table_is_what_early_stopping_watches(frame):
    held_out = waves(2, 20, seed=5)
    model = tiny(max_epochs=2).fit(frame, validation=held_out)
    assert list(model.history_["epoch"]) == [0, 1]
    assert np.isfinite(model.history_["val_loss"]).all()
    other = tiny(max_epochs=2).fit(frame, validation=waves(2, 20, seed=6))
    pd.testing.assert_series_equal(model.history_["train_loss"], other.history_["train_loss"])
    assert (model.history_["val_loss"] != other.history_["val_loss"]).all()


def test_the_best_epoch_is_kept_and_patience_ends_the_fit(frame):
    model = tiny(max_epochs=8, patience=2, lr=0.5).fit(frame)
    losses = model.history_["val_loss"].to_numpy()
    if len(losses) < 8:
        assert len(losses) == losses.argmin() + 1 + 2
    again = tiny(max_epochs=8, patience=100, lr=0.5).fit(frame)
    watched = watched_loss(again, frame)
    assert watched == pytest.approx(again.history_["val_loss"].min(), rel=1e-4)


def watched_loss(model, frame):
    """The loss of the kept weights on the cuts that early stopping watched."""
    data = model._data(model.read(frame), None)
    logged = {}
    model.module_.log_dict = lambda metrics, **_: logged.update(metrics)
    with torch.no_grad():
        (batch,) = data.val_dataloader()
        model.module_.validation_step(batch, 0)
    del model.module_.log_dict
    return float(logged["val_loss"])


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
    monkeypatch.setattr(LitLatentODE, "on_train_epoch_end", interrupt, raising=False)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(failure):
        two.fit(frame, save_to=tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    saved = LatentODEForecaster.load(tmp_path)
    same(saved.predict(frame, 1.0), two.predict(frame, 1.0))
    assert not any((p == 7.0).all() for p in two.module_.parameters())
    assert len(two.history_) == 3
    same(saved.history_, two.history_)
    assert watched_loss(two, frame) <= two.history_["val_loss"].min() * (1 + 1e-4)


def test_saving_during_a_fit_leaves_the_weights_that_the_fit_ends_with(frame, tmp_path):
    model = tiny(max_epochs=3).fit(frame, save_to=tmp_path)
    same(LatentODEForecaster.load(tmp_path).predict(frame, 1.0), model.predict(frame, 1.0))


# ------------------------------------------------------------------------------ layouts


def as_long(frame):
    long = frame.melt(id_vars=["id", "time"], var_name="variable", value_name="value")
    return long.dropna(subset="value", ignore_index=True)


def test_wide_and_long_tables_of_the_same_data_give_the_same_forecast(frame):
    # A row without any value has no counterpart in a long table.
    frame = frame.dropna(subset=["x", "y"], how="all")
    wide, long = tiny().fit(frame), tiny().fit(as_long(frame))
    same(long.predict(as_long(frame), 2.0, 3), wide.predict(frame, 2.0, 3))
    shuffled = as_long(frame).sample(frac=1.0, random_state=0)
    at = pd.DataFrame({"id": ["s1", "s0"], "time": [12.4, 13.0]})
    same(long.predict(shuffled, at), wide.predict(frame, at))


def test_rows_that_hold_no_value_do_not_change_a_forecast(fitted, frame):
    observed = frame.dropna(subset=["x", "y"], how="all")
    assert len(observed) < len(frame)
    at = pd.DataFrame({"id": ["s1", "s0"], "time": [12.4, 13.0]})
    pd.testing.assert_frame_equal(
        fitted.predict(observed, at), fitted.predict(frame, at), rtol=1e-5, atol=1e-5
    )


def test_row_order_and_foreign_columns_do_not_matter(frame, fitted):
    shuffled = frame.sample(frac=1.0, random_state=3).assign(note="text", other=1)
    at = pd.DataFrame({"id": ["s2", "s0"], "time": [13.0, 12.5]})
    same(fitted.predict(shuffled, at), fitted.predict(frame, at))


def test_a_table_without_an_identifier_is_one_series(frame):
    one = frame[frame["id"] == "s0"].drop(columns="id")
    model = tiny().fit(one)
    answer = model.predict(one, [12.0, 12.5])
    assert list(answer.columns[:2]) == ["time", "variable"]
    assert len(answer) == 4


# ---------------------------------------------------------------------------- time types


def calendar(start, tz=None, n=18):
    frame = waves(2, n)
    stamps = start + pd.to_timedelta((frame["time"] * 3600).round(), unit="s")
    return frame.assign(time=stamps if tz is None else stamps.dt.tz_localize(tz))


@pytest.mark.parametrize("tz", [None, "UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_calendar_times_come_out_as_they_went_in(tz):
    frame = calendar(START, tz)
    model = tiny(horizon="2h", context="6h").fit(frame)
    answer = model.predict(frame, "3h", 3)
    assert answer["time"].dtype == frame["time"].dtype
    last = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"].max()
    expected = [last[i] + pd.Timedelta(hours=h) for i in ("s0", "s1") for h in (1, 2, 3)]
    assert list(answer["time"][::2]) == expected
    assert np.isfinite(answer["mean"]).all()


def test_the_same_instants_in_another_zone_are_forecast_the_same():
    utc = calendar(START, "UTC")
    berlin = utc.assign(time=utc["time"].dt.tz_convert("Europe/Berlin"))
    model = tiny(horizon="2h", context="6h").fit(utc)
    one, other = model.predict(utc, "3h", 3), model.predict(berlin, "3h", 3)
    assert str(other["time"].dt.tz) == "Europe/Berlin"
    np.testing.assert_allclose(one["mean"], other["mean"], rtol=1e-6)


def test_dates_integers_and_floats_come_out_as_they_went_in():
    plain = waves(2, 16)
    days = (plain["time"] * 8).round().astype(int)
    plain = plain.assign(time=days).drop_duplicates(["id", "time"])
    cases = {
        "date": plain.assign(time=[dt.date(2024, 1, 1) + dt.timedelta(days=d) for d in plain["time"]]),
        "integer": plain,
        "float": plain.assign(time=plain["time"].astype(float)),
    }
    means = {}
    for kind, frame in cases.items():
        horizon = "16D" if kind == "date" else 16
        model = tiny(horizon=horizon, context="48D" if kind == "date" else 48).fit(frame)
        answer = model.predict(frame, "4D" if kind == "date" else 4, 2)
        assert type(answer["time"].iloc[0]) is type(frame["time"].iloc[0])
        means[kind] = answer["mean"].to_numpy()
    np.testing.assert_allclose(means["date"], means["float"], rtol=1e-5)
    np.testing.assert_allclose(means["integer"], means["float"], rtol=1e-5)


def test_a_table_with_another_kind_of_time_is_refused(fitted):
    with pytest.raises(SchemaError, match="trained on float"):
        fitted.predict(calendar(START), "1h")


# ---------------------------------------------------------------------------- forms of `at`


def test_timestamps_are_asked_of_every_series_in_the_order_given(fitted, frame):
    answer = fitted.predict(frame, [13.0, 12.5])
    assert list(answer["id"]) == [i for i in ("s0", "s1", "s2", "s3") for _ in range(4)]
    assert list(answer["time"][:4]) == [13.0, 13.0, 12.5, 12.5]
    assert list(answer["variable"][:4]) == ["x", "y", "x", "y"]
    for form in (np.array([13.0, 12.5]), pd.Series([13.0, 12.5]), pd.Index([13.0, 12.5]), (13.0, 12.5)):
        same(fitted.predict(frame, form), answer)


def test_a_frame_asks_each_series_its_own_times_in_its_own_order(fitted, frame):
    at = pd.DataFrame({"id": ["s3", "s0", "s3"], "time": [12.7, 13.1, 12.2]}, index=[7, 7, 9])
    answer = fitted.predict(frame, at, variables=["y"])
    assert list(answer["id"]) == ["s3", "s0", "s3"]
    assert list(answer["time"]) == [12.7, 13.1, 12.2]
    assert set(answer["variable"]) == {"y"}
    for i in range(3):
        one = fitted.predict(frame, at.iloc[[i]], variables=["y"])
        np.testing.assert_allclose(one["mean"].iloc[0], answer["mean"].iloc[i], rtol=1e-5)


def test_a_duration_counts_from_each_series_last_observation(fitted, frame):
    answer = fitted.predict(frame, 3.0, 2, variables=["x"])
    last = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"].max()
    ahead = answer["time"].to_numpy() - last[answer["id"]].to_numpy()
    np.testing.assert_allclose(ahead, [1.5, 3.0] * 4, rtol=1e-12)


@pytest.mark.parametrize(
    "at", ["2024-04-01T12:00:00", pd.Timestamp("2024-04-01T12:00:00"), dt.datetime(2024, 4, 1, 12)]
)
def test_one_timestamp_may_be_given_bare(at):
    frame = calendar(START)
    model = tiny(horizon="2h", context="6h").fit(frame)
    answer = model.predict(frame, at)
    assert (answer["time"] == pd.Timestamp("2024-04-01T12:00:00")).all()
    assert len(answer) == 4


@pytest.mark.parametrize(
    ("at", "count", "says"),
    [
        ([], None, "empty"),
        ([13.0], 3, "count"),
        (-1.0, None, "positive"),
        (1.0, 0, "count"),
        ("24h", None, "calendar|number"),
        (pd.DataFrame({"id": ["s0"]}), None, "time"),
        (pd.DataFrame({"time": [13.0]}), None, "id"),
        (pd.DataFrame({"id": ["nobody"], "time": [13.0]}), None, "nobody"),
        (pd.DataFrame({"id": ["s0"], "time": [None]}), None, "time"),
        ([-3.0], None, "before its first observation"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(fitted, frame, at, count, says):
    with pytest.raises(SchemaError, match=says):
        fitted.predict(frame, at, count)


def test_an_unknown_variable_is_refused_by_name(fitted, frame):
    with pytest.raises(SchemaError, match="'z' was not among the targets of training: x, y"):
        fitted.predict(frame, 1.0, variables=["z"])


def test_quantiles_rise_and_the_mean_lies_among_them(fitted, frame):
    levels = (0.01, 0.1, 0.5, 0.9, 0.99)
    answer = fitted.predict(frame, 2.0, 4, quantiles=levels)
    columns = [f"q{q:g}" for q in levels]
    assert list(answer.columns) == [*KEYS, "mean", "std", *columns]
    assert (np.diff(answer[columns].to_numpy(), axis=1) > 0).all()
    assert (answer["mean"] > answer["q0.01"]).all()
    assert (answer["mean"] < answer["q0.99"]).all()


def test_one_level_may_be_given_bare(fitted, frame):
    for level in (0.5, np.float64(0.5)):
        same(fitted.predict(frame, 2.0, quantiles=level), fitted.predict(frame, 2.0, quantiles=[0.5]))
    assert "q0.25" in fitted.backtest(frame, quantiles=0.25)


def test_every_level_has_a_column_of_its_own(fitted, frame):
    levels = [1e-6, 1e-5, 0.1, 0.1234567, 0.12345671, 0.1 + 0.2]
    answer = fitted.predict(frame, 2.0, quantiles=levels)
    names = ["q0.000001", "q0.00001", "q0.1", "q0.1234567", "q0.12345671", "q0.3"]
    assert list(answer.columns[5:]) == names
    assert (np.diff(answer[names].to_numpy(), axis=1) > 0).all()
    assert quantile_levels(answer) == pytest.approx(levels)


@pytest.mark.parametrize("wrong", [1.5, [0.1, 0.0], [float("nan")], "half", None, [None]])
def test_levels_that_are_none_are_refused_before_anything_is_solved(fitted, wrong, monkeypatch):
    monkeypatch.setattr(fitted, "forecast", lambda *_: pytest.fail("solved"))
    with pytest.raises(LatentODEError, match="between 0 and 1"):
        fitted.predict(waves(1, 5), 1.0, quantiles=wrong)


def test_no_variable_at_all_is_refused(fitted, frame):
    for none in ([], (), np.array([])):
        with pytest.raises(SchemaError, match="variables is empty: name some of x, y"):
            fitted.predict(frame, 1.0, variables=none)


def test_a_target_may_be_empty_but_its_column_must_be_there(fitted, frame):
    found = fitted.predict(frame.assign(y=np.nan), 1.0)
    assert np.isfinite(found["mean"]).all()
    same(fitted.predict(frame.assign(y=None), 1.0), found)
    with pytest.raises(SchemaError, match=r"`y`, which the model was trained on.*add it empty"):
        fitted.predict(frame.rename(columns={"y": "Y"}), 1.0)


def test_predict_is_the_frame_of_forecast(fitted, frame):
    made = fitted.forecast(frame, 2.0, 2)
    same(made.to_frame((0.1, 0.5, 0.9)), fitted.predict(frame, 2.0, 2))
    np.testing.assert_allclose(made.cdf(made.quantile(0.3)), 0.3, atol=1e-6)


# ------------------------------------------------------------------- inside the history


@pytest.mark.parametrize("t0", ["origin", "start"])
def test_times_inside_the_history_are_answered_however_far_back(t0, frame):
    model = tiny(context=3.0, t0=t0).fit(frame)  # histories are about 12 long
    first = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"].min()
    asked = (
        pd.DataFrame({"id": i, "time": np.linspace(first[i], 12.0, 40)} for i in first.index)
        .explode("time")
        .astype({"time": float})
    )
    answer = model.predict(frame, asked.reset_index(drop=True))
    assert np.isfinite(answer[["mean", "std", "q0.1", "q0.9"]].to_numpy()).all()


def test_a_time_inside_the_history_is_answered_from_what_had_been_seen_by_then(frame):
    model = tiny(context=3.0).fit(frame)
    at = pd.DataFrame({"id": ["s0"], "time": [2.0]})
    later = frame.copy()
    later.loc[later["time"] > 2.0, ["x", "y"]] += 5.0
    same(model.predict(frame, at), model.predict(later, at))
    near = frame.copy()
    near.loc[near["time"].between(0.0, 2.0), ["x", "y"]] += 5.0
    assert (model.predict(frame, at)["mean"] != model.predict(near, at)["mean"]).all()


def test_answers_do_not_depend_on_what_else_is_asked(fitted, frame):
    alone = fitted.predict(frame, [6.0, 13.0])
    among = fitted.predict(frame, [3.0, 6.0, 13.0, 60.0])
    among = among[among["time"].isin([6.0, 13.0])].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, among, rtol=1e-4, atol=1e-5)


def test_a_trace_runs_from_the_first_observation_to_a_horizon_ahead(fitted, frame):
    trace = fitted.trace(frame, count=9).to_frame()
    times = trace.groupby("id")["time"]
    observed = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"]
    np.testing.assert_allclose(times.min(), observed.min(), rtol=1e-9)
    np.testing.assert_allclose(times.max(), observed.max() + 2.0, rtol=1e-9)
    assert len(trace) == 4 * 9 * 2


def test_histories_of_one_row_or_of_no_value_are_still_forecast(fitted):
    one = pd.DataFrame({"id": ["a", "b"], "time": [5.0, 6.0], "x": [0.3, np.nan], "y": [np.nan] * 2})
    answer = fitted.predict(one, 1.0)
    assert list(answer["id"]) == ["a", "a", "b", "b"]
    assert np.isfinite(answer[["mean", "std"]].to_numpy()).all()


# ---------------------------------------------------------------- statics and known columns

ROLES = Schema(static=("kind", "age"), known=("dose",), targets=("x", "y"))


def with_features(seed=0, n_series=4):
    """Series whose drift follows a dose."""
    frame = waves(n_series, 20, seed)
    number = frame["id"].str[1:].astype(int)
    dose = ((frame["time"] // 3) % 2).where(number % 2 == 0, 1.0)
    kind = np.where(number % 2 == 0, "even", "odd")
    return frame.assign(kind=kind, age=40.0 + number, dose=dose)


@pytest.fixture(scope="module")
def informed():
    return tiny(lr=0.01).fit(with_features(), ROLES)


def dosed(late, early=0.0):
    """The dose changes at 1.9 after 12; the path's pieces between knots are 0.5 long."""
    return pd.DataFrame(
        {"id": "s0", "time": [12.1, 12.4, 13.9, 14.0, 15.0], "dose": [early, early, late, late, late]}
    )


def test_a_changed_future_value_changes_the_forecast_after_it_and_not_before(informed):
    history = with_features()
    one, other = (informed.predict(history, dosed(late)) for late in (0.0, 3.0))
    early = one["time"] < 13.0
    same(one[early], other[early])
    after = one["time"] >= 14.0
    assert (one.loc[after, "mean"] != other.loc[after, "mean"]).all()


def test_future_values_of_one_series_leave_the_others_alone(informed):
    history = with_features()
    rest = pd.DataFrame({"id": "s1", "time": [13.0, 14.0], "dose": 1.0})
    answers = [informed.predict(history, pd.concat([dosed(v), rest])) for v in (0.0, 3.0)]
    one, other = (a[a["id"] == "s1"].reset_index(drop=True) for a in answers)
    pd.testing.assert_frame_equal(one, other, rtol=1e-6)


def test_future_values_may_stand_in_the_history_as_rows_without_targets(informed):
    history, at = with_features(), dosed(2.0)
    extra = at.assign(kind="even", age=40.0, x=np.nan, y=np.nan)
    whole = pd.concat([history, extra], ignore_index=True)
    same(informed.predict(whole, at[["id", "time"]]), informed.predict(history, at))


@pytest.mark.filterwarnings("ignore:known column")
def test_known_columns_may_be_left_out_of_the_question(informed):
    history = with_features()
    at = dosed(9.0)[["id", "time"]]
    held = history[history["id"] == "s0"].sort_values("time")["dose"].iloc[-1]
    pd.testing.assert_frame_equal(
        informed.predict(history, at),
        informed.predict(history, at.assign(dose=held)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_known_column_that_is_not_told_for_the_horizon_is_held_with_a_warning(informed):
    history = with_features()
    with pytest.warns(
        UserWarning, match=r"`dose` .* 's0', 's1', 's2' and 1 more; .* column of the quer"
    ):
        informed.predict(history, 1.0)
    at = pd.DataFrame({"id": ["s1", "s1"], "time": [12.5, 13.0], "dose": [1.0, np.nan]})
    with pytest.warns(UserWarning, match=r"`dose` has no values up to the times asked of series 's1';"):
        informed.predict(history, at)
    with pytest.warns(UserWarning, match="`dose`"):
        informed.trace(history)


def test_a_known_column_that_is_told_is_no_cause_for_a_warning(informed):
    history = with_features()
    last = history.dropna(subset=["x", "y"], how="all").groupby("id")["time"].max()
    later = pd.DataFrame({"id": last.index, "time": last.to_numpy() + 0.7, "dose": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        informed.predict(history, later)
        informed.predict(pd.concat([history, later.assign(kind=None, age=np.nan)]), 0.7, 3)
        informed.predict(history, dosed(1.0)[["id", "time"]].assign(time=[2.0, 3.0, 4.0, 5.0, 6.0]))
        informed.compare(history)


@pytest.mark.filterwarnings("ignore:known column")
def test_statics_change_the_forecast(informed):
    history = with_features()
    other = history.assign(age=history["age"].mask(history["id"] == "s0", 90.0))
    one, two = informed.predict(history, 1.0), informed.predict(other, 1.0)
    changed = one["id"] == "s0"
    assert (one.loc[changed, "mean"] != two.loc[changed, "mean"]).all()
    np.testing.assert_allclose(one.loc[~changed, "mean"], two.loc[~changed, "mean"], rtol=1e-5)


def test_a_static_that_only_some_rows_tell_is_the_same_static(informed):
    history = with_features()
    gaps = history.copy()
    gaps.loc[gaps.index % 3 == 1, ["kind", "age"]] = None
    same(informed.predict(gaps, dosed(1.0)), informed.predict(history, dosed(1.0)))


def test_future_values_go_with_a_long_table_too():
    long = with_features().melt(
        id_vars=["id", "time", "kind", "age", "dose"], var_name="variable", value_name="value"
    )
    long = long.dropna(subset="value")
    roles = Schema(static=("kind", "age"), known=("dose",))
    model = tiny(lr=0.01).fit(long, roles)
    one, other = (model.predict(long, dosed(late)) for late in (0.0, 3.0))
    after = one["time"] >= 14.0
    assert (one.loc[after, "mean"] != other.loc[after, "mean"]).all()
    same(one[~after & (one["time"] < 13.0)], other[~after & (one["time"] < 13.0)])


def test_future_values_may_be_asked_with_timestamps_where_the_history_has_text():
    frame = with_features()
    stamps = START + pd.to_timedelta((frame["time"] * 3600).round(), unit="s")
    stamped, text = frame.assign(time=stamps), frame.assign(time=stamps.astype(str))
    model = tiny(horizon="2h", context="6h").fit(text, ROLES)
    at = dosed(2.0)
    at["time"] = START + pd.to_timedelta((at["time"] * 3600).round(), unit="s")
    repeated = stamped.loc[stamped["id"] == "s0", ["id", "time", "dose"]].iloc[-2:]
    at = pd.concat([repeated, at], ignore_index=True)
    np.testing.assert_allclose(
        model.predict(text, at)["mean"], model.predict(stamped, at)["mean"], rtol=1e-6
    )


def test_future_values_do_not_make_an_unknown_series_known(informed):
    at = dosed(1.0).assign(id="nobody")
    with pytest.raises(SchemaError, match="'nobody' is not in the history"):
        informed.predict(with_features(), at)


def test_a_known_column_that_is_missing_everywhere_is_refused(informed):
    history = with_features().assign(dose=np.nan)
    with pytest.raises(SchemaError, match="dose"):
        informed.predict(history, 1.0)


# ------------------------------------------------------------------ scores and comparisons


def test_a_model_that_repeats_the_last_value_scores_zero(frame):
    frame = frame.copy()
    first = frame.groupby("id").head(1).index
    frame.loc[first, ["x", "y"]] = 1.0  # so that every variable has a last value
    model = tiny(context=100.0).fit(frame)
    with torch.no_grad():
        for parameter in model.module_.model.decoder.layers[-1].parameters():
            parameter.zero_()
    assert model.score(frame) == pytest.approx(0.0, abs=1e-5)
    compared = model.compare(frame)
    ours, last = (
        compared[compared["model"] == m].reset_index(drop=True) for m in ("latent ODE", "last value")
    )
    np.testing.assert_allclose(ours["mean"], last["mean"], rtol=1e-5, atol=1e-5)


def test_a_comparison_asks_every_model_the_same(fitted, frame):
    compared = fitted.compare(frame, 1.3)
    assert list(compared["model"].unique()) == [
        "latent ODE",
        "last value",
        "linear drift",
        "series mean",
    ]
    columns = ["id", "origin", "time", "lead", "variable", "actual"]
    ours = compared.loc[compared["model"] == "latent ODE", columns].reset_index(drop=True)
    for _, part in compared.groupby("model"):
        same(part[columns].reset_index(drop=True), ours)
    assert (ours["lead"] > 0).all()
    assert (ours["lead"] <= 1.3 + 1e-12).all()


def test_the_time_of_day_is_a_baseline_only_where_times_have_one():
    frame = calendar(START)
    dates = frame.assign(time=[dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(len(frame))])
    models = {}
    for kind, table in (("datetime", frame), ("date", dates)):
        models[kind] = set(
            tiny(context=None, horizon="4h" if kind == "datetime" else "4D")
            .fit(table)
            .compare(table)["model"]
        )
    assert models["datetime"] - models["date"] == {"time-of-day mean"}


def test_every_score_asks_from_at_most_so_many_times_of_a_series(fitted):
    frame = waves(2, 600, seed=2).drop_duplicates(["id", "time"])
    every = fitted.backtest(frame, 0.3, origins=None)
    assert every.groupby("id")["origin"].nunique().max() > 200
    usual = fitted.backtest(frame, 0.3)
    assert (usual.groupby("id")["origin"].nunique() == 200).all()
    few = fitted.compare(frame, 0.3, origins=7)
    assert (few.groupby(["id", "model"])["origin"].nunique() == 7).all()
    assert few["actual"].notna().all() and few["mean"].notna().all()
    assert fitted.score(frame, origins=7) != fitted.score(frame, origins=9)


def test_a_horizon_left_out_is_the_usual_one():
    frame = pd.DataFrame({"time": np.arange(300.0), "x": np.sin(np.arange(300.0))})
    model = tiny(horizon=None, context=None).fit(frame)
    assert (model.horizon_, model.context_) == (50.0, 400.0)


def test_nothing_to_score_is_said(fitted):
    one = pd.DataFrame({"id": ["a"], "time": [0.0], "x": [1.0], "y": [1.0]})
    with pytest.raises(SchemaError, match="nothing can be scored"):
        fitted.score(one)


def test_a_module_from_the_users_own_trainer_forecasts_as_a_forecaster(frame, tmp_path):
    data = IrregularDataModule(frame, task=Forecasting(horizon=2.0, context=6.0))
    torch.manual_seed(0)
    module = LitLatentODE(**data.sizes, latent_size=3, hidden_size=8)
    model = LatentODEForecaster.from_lightning(module, data)
    answer = model.predict(frame, 2.0, 2)
    assert np.isfinite(answer["mean"]).all()
    model.save(tmp_path)
    same(LatentODEForecaster.load(tmp_path).predict(frame, 2.0, 2), answer)
    assert not hasattr(LatentODEForecaster.load(tmp_path), "history_")


def test_a_forecaster_from_lightning_has_the_parameters_that_were_trained_with(frame):
    data = IrregularDataModule(frame, task=Forecasting(2.0, context=6.0), batch_size=7, seed=3)
    network = {"latent_size": 3, "hidden_size": 8, "encoder": "linear", "solver": {"intervals": 4}}
    module = LitLatentODE(**data.sizes, **network, lr=0.02)
    found = LatentODEForecaster.from_lightning(module, data)
    params = found.get_params()
    said = {"horizon": 2.0, "context": 6.0, "batch_size": 7, "random_state": 3, "lr": 0.02, **network}
    assert {name: params[name] for name in said} == said
    again = clone(found).set_params(max_epochs=1, verbose=False).fit(frame)
    assert again.module_.model.latent_size == 3
    assert (again.horizon_, again.context_) == (2.0, 6.0)
    small = LitLatentODE(**data.sizes)  # what is left open has the network's defaults
    assert LatentODEForecaster.from_lightning(small, data).latent_size == small.model.latent_size


# ------------------------------------------------------------------------------- learning


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
def test_a_damped_oscillator_is_learnt():
    options = {"latent_size": 4, "hidden_size": 32, "max_epochs": 25, "lr": 0.02, "verbose": False}
    model = LatentODEForecaster(horizon=2.0, context=5.0, **options).fit(oscillators(60, 0))
    test = oscillators(20, 1)
    answer = model.backtest(test)
    ripe = answer[(answer["origin"] > 3.0) & (answer["lead"] > 1.6)]
    rmse = np.sqrt(((ripe["mean"] - ripe["actual"]) ** 2).mean())
    assert rmse < 0.3 * ripe["actual"].std()
    inside = ripe["actual"].between(ripe["q0.1"], ripe["q0.9"]).mean()
    assert 0.65 < inside < 0.95
    assert model.score(test) > 0.5


def test_a_time_absurdly_far_ahead_is_refused_before_any_solving(fitted, frame):
    model = fitted
    with pytest.raises(LatentODEError, match="more than 1000 times"):
        model.predict(frame, at=2000 * model.horizon_)


def test_one_variable_may_be_named_bare(fitted, frame):
    name = fitted.schema_.targets[0]
    assert set(fitted.predict(frame, at=1.0, variables=name)["variable"]) == {name}
