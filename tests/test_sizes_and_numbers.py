"""Numbers beyond all reason and answers beyond all memory are refused at once, at every door."""

import contextlib
import os
import re

import numpy as np
import pandas as pd
import pytest

from latentode import (
    LatentODEClassifier,
    LatentODEError,
    LatentODEForecaster,
    ModelConfig,
    OnlineForecaster,
    RollingOrigin,
    Schema,
    SchemaError,
    SeriesKFold,
    TrainingConfig,
    read_table,
)
from latentode.cli import main
from latentode.errors import as_float, check_length, shown

HUGE = 10**400
SMALL = ModelConfig(latent_size=2, hidden_size=4)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    part = pd.DataFrame({"time": np.arange(30.0)})
    parts = [part.assign(id=f"p{i}", x=rng.normal(size=30), y=rng.normal(size=30)) for i in range(4)]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def model(table):
    training = TrainingConfig(max_epochs=0)
    return LatentODEForecaster(5.0, None, SMALL, training, verbose=False).fit(table, Schema(id="id"))


DOORS = {
    "quantiles": lambda m, d: m.predict(d, 1.0, quantiles=HUGE),
    "some quantiles": lambda m, d: m.predict(d, 1.0, quantiles=[0.5, HUGE]),
    "level": lambda m, d: m.predict(d, 1.0, level=HUGE),
    "samples": lambda m, d: m.predict(d, 1.0, samples=HUGE),
    "many samples": lambda m, d: m.predict(d, 1.0, samples=2**70),
    "seed": lambda m, d: m.predict(d, 1.0, samples=2, seed=HUGE),
    "at": lambda m, d: m.predict(d, HUGE),
    "count": lambda m, d: m.predict(d, 1.0, count=HUGE),
    "a count of columns too": lambda m, d: m.predict(d, 1.0, count=30_000_000),
    "count and levels": lambda m, d: m.predict(
        d, 1.0, 10_000, np.linspace(1e-5, 0.9999, 9999).tolist()
    ),
    "lazy quantiles": lambda m, d: m.predict(d, 1.0, quantiles=range(10**12)),
    "lazy levels": lambda m, d: m.predict(d, 1.0, level=range(10**30)),
    "lazy times": lambda m, d: m.predict(d, range(10**12)),
    "times": lambda m, d: m.predict(d, np.linspace(30, 40, 10**7)),
    "draws": lambda m, d: m.sample_paths(d, draws=HUGE),
    "horizon of paths": lambda m, d: m.sample_paths(d, HUGE),
    "above": lambda m, d: m.sample_paths(d, draws=2).first_passage_time("x", above=HUGE),
    "readings": lambda m, d: m.sample_paths(d, draws=2).first_passage_time(
        "x", above=1.0, readings=HUGE
    ),
    "cutoffs": lambda m, d: m.backtest(d, cutoffs=HUGE),
    "lazy cutoffs": lambda m, d: m.backtest(d, cutoffs=range(10**12)),
    "many cutoffs": lambda m, d: m.backtest(d, cutoffs=np.arange(10**7) / 1e6),
    "odd cutoffs": lambda m, d: m.backtest(d, cutoffs="\ud800"),
    "origins": lambda m, d: m.backtest(d, origins=2**63),
    "bins": lambda m, d: m.evaluate(d, bins=HUGE),
    "variables": lambda m, d: m.predict(d, 1.0, variables=5),
    "odd variables": lambda m, d: m.predict(d, 1.0, variables=[np.arange(2)]),
    "metrics": lambda m, d: m.evaluate(d, metrics=None),
    "odd metrics": lambda m, d: m.evaluate(d, metrics=[[]]),
    "parameter": lambda m, d: m.set_params(zz=1),
    "online": lambda m, d: OnlineForecaster("a path"),
    "long name": lambda m, d: m.save("x" * 300),
    "long name of a table": lambda m, d: read_table("x" * 300),
    "no name": lambda m, d: read_table(" "),
    "device": lambda m, d: read_table("/dev/zero"),
    "quantile of a forecast": lambda m, d: m.forecast(d, 1.0).to_frame(range(10**12)),
}


@pytest.mark.parametrize("door", DOORS)
def test_what_is_beyond_all_reason_is_refused_at_once(door, model, table):
    with pytest.raises(LatentODEError) as told:
        DOORS[door](model, table)
    assert len(str(told.value)) < 600
    understood = door not in ("odd cutoffs", "cutoffs", "at")  # which have a message of their own
    assert not understood or "cannot be understood" not in str(told.value)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"horizon": HUGE}, "horizon must be positive and finite"),
        ({"horizon": 1e-320}, "horizon must be positive and finite"),
        ({"horizon": 0.3}, "shortest gap between two times of a series is 1"),
        ({"horizon": 5.0, "context_length": HUGE}, "context_length must be positive and finite"),
        ({"horizon": 5.0, "random_state": 2**64}, r"random_state must be below 2 \*\* 63"),
    ],
)
def test_a_fit_of_such_numbers_is_refused(parameters, words, table):
    begun = LatentODEForecaster(model=SMALL, training=TrainingConfig(max_epochs=0), **parameters)
    with pytest.raises(LatentODEError, match=words):
        begun.set_params(verbose=False).fit(table, Schema(id="id"))


def test_a_horizon_that_the_span_holds_too_often_is_refused(table):
    one = table.query("id == 'p0'").drop(columns="id")
    bursts = pd.concat([one, one.assign(time=one["time"] + 1e-9)])
    begun = LatentODEForecaster(1e-9, None, SMALL, TrainingConfig(max_epochs=0), verbose=False)
    with pytest.raises(SchemaError, match="too short beside the span"):
        begun.fit(bursts.sort_values("time"))


@pytest.mark.parametrize(
    "setting",
    [
        {"max_epochs": HUGE},
        {"batch_size": 10**20},
        {"windows_per_epoch": 10**15},
        {"lr": 1e300},
        {"lr": float("nan")},
    ],
)
def test_settings_beyond_all_reason_are_refused(setting):
    (name,) = setting
    with pytest.raises(LatentODEError, match=f"{name} must"):
        TrainingConfig(**setting)


@pytest.mark.parametrize(
    "given",
    [
        {"targets": 5},
        {"static_covariates": None},
        {"known_future": [5]},
        {"leave_out": {1: 2}},
        {"transforms": "x"},
        {"transforms": None},
        {"transforms": {"x": None}},
        {"units": "x"},
        {"time_unit": []},
    ],
)
def test_a_schema_of_other_things_than_names_is_refused(given):
    with pytest.raises(SchemaError, match=f"{next(iter(given))[:9]}"):
        Schema(**given)


@pytest.mark.parametrize("splitter", [SeriesKFold, RollingOrigin])
@pytest.mark.parametrize(
    "cells", [[b"\xff"], [[1], {}, object()], [complex(1)]], ids=["bytes", "objects", "complex"]
)
def test_splitters_read_odd_tables_as_a_fit_does(splitter, cells, table):
    odd = table.assign(note=(cells * len(table))[: len(table)])
    with contextlib.suppress(LatentODEError):  # a refusal is as good
        assert list(splitter(2, schema=Schema(id="id", targets=("x", "y"))).split(odd))
    for schema in ("x", [], 0):
        with pytest.raises(SchemaError, match="schema is a Schema"):
            list(splitter(2, schema=schema).split(table))
    with pytest.raises(LatentODEError, match=r"as many|fewer folds"):
        list(splitter(10**9).split(table))


@pytest.mark.parametrize("share", [None, "x", [], HUGE, 1.5])
def test_a_share_is_a_number_between_0_and_1(share, table):
    with pytest.raises(LatentODEError, match="share"):
        list(RollingOrigin(2, share).split(table))


@pytest.mark.parametrize("labels", [[1, "1", 2, "2"], [[1], [2], [1], [2]], [{}, {}, {}, {}]])
def test_labels_that_have_no_order_are_refused(labels, table):
    names = pd.Series(labels, index=[f"p{i}" for i in range(4)], dtype=object)
    begun = LatentODEClassifier(model=SMALL, training=TrainingConfig(max_epochs=1), verbose=False)
    with pytest.raises(SchemaError, match=r"labels? .*(order|hold|not)"):
        begun.fit(table, names, Schema(id="id"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "a.ckpt")
    with pytest.raises(LatentODEError, match="not an ordinary file"):
        LatentODEForecaster.from_checkpoint(tmp_path / "a.ckpt")


NINES = "9" * 400


@pytest.mark.parametrize(
    "options",
    [
        ["--max-epochs", NINES],
        ["--batch-size", NINES],
        ["--windows-per-epoch", "1000000000000000"],
        ["--seed", NINES],
        ["--horizon", "5e-324"],
        ["--horizon", NINES],
        ["--lr", "1e300"],
        ["--skip-rows", "1000000000000"],
        ["--num-threads", NINES],
    ],
)
def test_on_the_command_line_such_numbers_end_in_one_line(
    options, table, tmp_path, capsys, monkeypatch
):
    table.to_csv(tmp_path / "t.csv", index=False)
    command = ["latentode", "fit", str(tmp_path / "t.csv"), "--out", str(tmp_path / "m"), *options]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code in (1, 2)
    assert "Traceback" not in said and re.search(r"(?im)^.*error", said)


def test_a_number_is_as_large_as_a_float_can_hold_and_shown_as_far_as_one_reads():
    assert as_float(HUGE) == np.inf and as_float(-HUGE) == -np.inf and as_float(3) == 3.0
    assert len(shown("x" * 10**6)) < 60
    assert "beyond all reason" in shown(10**5000)
    check_length("them", iter([1]))
    with pytest.raises(LatentODEError, match="so many them"):
        check_length("them", range(10**40))
