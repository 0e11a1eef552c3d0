"""The forecast benchmark on small tables in the format of its data sets, against sums done by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from latentode import IrregularDataModule, TrainingConfig
from latentode.model import JointLayout, PerVariableLayout, Sizes

FOLDER = Path(__file__).parents[2] / "experiments" / "forecast_benchmark"
NAMES = ("physionet2012", "p12_hourly", "LEN01")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*treespec.*")


@pytest.fixture
def benchmark(monkeypatch):
    """The experiment's modules, which import each other as scripts do."""
    monkeypatch.syspath_prepend(FOLDER)
    names = ("protocol", "models", "results", "run")
    before = {n: sys.modules.pop(n, None) for n in names}
    yield {n: __import__(n) for n in names}
    for name in names:
        sys.modules.pop(name, None)
        if before[name] is not None:
            sys.modules[name] = before[name]


def series_of(name, number, random):
    """One series: times, variables, values, parts."""
    if name == "physionet2012":
        time = np.unique(random.integers(0, 48 * 60, 30) / 60)
        part = np.where(time < 24, "history", "target")
    elif name == "p12_hourly":
        time = np.unique(random.integers(0, 48, 30))
        after = np.cumsum(time > 34)
        part = np.where(after == 0, "history", np.where(after <= 3, "target", "later"))
    else:
        time = np.unique(random.integers(0, 99, 30)) / 99
        part = np.where(time < 0.5, "history", "target")
    rows = [
        (number, t, v, random.normal(), p) for t, p in zip(time, part, strict=True) for v in range(3)
    ]
    keep = random.uniform(size=len(rows)) < 0.6
    return [r for r, kept in zip(rows, keep, strict=True) if kept]


def table(name, n, seed, first):
    """Series by identifier, all variables observed somewhere; unobserved before the origin for one."""
    random = np.random.default_rng(seed)
    rows = [row for i in range(n) for row in series_of(name, first + i, random)]
    time = {"physionet2012": "hours", "p12_hourly": "hour"}.get(name, "time")
    frame = pd.DataFrame(rows, columns=["series", time, "variable", "value", "part"])
    frame = frame[
        ~((frame["series"] == first) & (frame["variable"] == 2) & (frame["part"] == "history"))
    ]
    return frame.astype({"value": "float32", time: "int16" if name == "p12_hourly" else "float32"})


def stored(frame, name):
    """As the files have it: named variables, parts only where they are there."""
    if name == "LEN01":
        return frame.astype({"variable": "int16", "part": "category"})
    named = frame.assign(variable=pd.Categorical.from_codes(frame["variable"], ["HR", "pH", "K"]))
    return named.drop(columns="part") if name == "physionet2012" else named


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder; and its tables with parts and numbered variables."""
    tables = {}
    for name in NAMES:
        folder = tmp_path / ("physiome_ode" if name == "LEN01" else name)
        folder.mkdir()
        train, held_out = table(name, 6, 0, 100), table(name, 4, 1, 200)
        prefix, valid = ("LEN01-fold0-", "valid") if name == "LEN01" else ("", "validation")
        stored(train, name).to_parquet(folder / f"{prefix}train.parquet")
        stored(held_out, name).to_parquet(folder / f"{prefix}{valid}.parquet")
        tables[name] = train, held_out
    scaling = pd.DataFrame({"variable": ["HR", "pH", "K"], "min": [-2, 0, 1], "max": [2.0, 10, 1]})
    scaling.to_csv(tmp_path / "physionet2012" / "scaling.csv")
    monkeypatch.setenv("LATENTODE_DATA", str(tmp_path))
    return tables


def last_value_by_hand(name, train, held_out):
    """(mse, mae) of repeating each series' last value, row by row."""
    time = next(c for c in held_out if c in ("hours", "hour", "time"))
    width = {0: 4.0, 1: 10.0, 2: 1.0} if name == "physionet2012" else {0: 1.0, 1: 1.0, 2: 1.0}
    errors = {0: [], 1: [], 2: []}
    for _, row in held_out[held_out["part"] == "target"].iterrows():
        own = held_out[(held_out["series"] == row["series"]) & (held_out["part"] == "history")]
        own = own[own["variable"] == row["variable"]].sort_values(time)["value"]
        mean = train.loc[train["variable"] == row["variable"], "value"].astype(float).mean()
        guess = mean if own.empty else float(own.iloc[-1])
        errors[row["variable"]].append((guess - row["value"]) / width[row["variable"]])
    if name != "physionet2012":
        errors = {0: [e for own in errors.values() for e in own]}
    each = [np.array(e) for e in errors.values() if e]
    return np.mean([(e**2).mean() for e in each]), np.mean([np.abs(e).mean() for e in each])


def run(benchmark, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
    threads = torch.get_num_threads()
    benchmark["run"].main()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", NAMES)
def test_last_value_has_the_errors_that_are_found_by_hand(name, benchmark, data, tmp_path, monkeypatch):
    run(benchmark, monkeypatch, name, "--smoke", "--models", "last-value", "--out", tmp_path)
    (row,) = json.loads((tmp_path / "results.json").read_text())
    mse, mae = last_value_by_hand(name, *data[name])
    assert row["metrics"]["validation"]["mse"] == pytest.approx(mse, rel=1e-6)
    assert row["metrics"]["validation"]["mae"] == pytest.approx(mae, rel=1e-6)
    assert row["fold"] == (0 if name == "LEN01" else None)


@pytest.mark.parametrize("name", NAMES)
def test_validation_is_cut_as_the_protocol_says(name, benchmark, data, tmp_path):
    protocol = benchmark["protocol"].Protocol(**benchmark["protocol"].read_config(name)["protocol"])
    train, valid = (
        protocol.read(tmp_path / protocol.folder / f.format(fold=0))
        for f in (protocol.train, protocol.validation)
    )
    read = train.dataset()
    held_out = valid.dataset(read.schema, everything=False)
    module = IrregularDataModule(read, held_out, task=protocol.task())
    (batch,) = module.val_dataloader()
    asked, actual = valid.questions(held_out)
    truth = data[name][1]
    assert len(actual) == (truth["part"] == "target").sum() == len(batch.target)
    assert len(batch.context) == (truth["part"] == "history").sum()
    own = (batch.target.series.numpy(), batch.target.variable.numpy(), batch.target.time.numpy())
    both = [
        pd.DataFrame({"s": s, "v": v, "t": t})
        for s, v, t in (own, (asked.series, asked.variable, asked.time - asked.origin))
    ]
    one, other = (b.round(9).sort_values(["s", "t", "v"], ignore_index=True) for b in both)
    pd.testing.assert_frame_equal(one, other)
    later = (data[name][0]["part"] == "later").sum()
    assert len(read.value) == len(data[name][0]) and (later > 0) == (name == "p12_hourly")


def test_a_balanced_metric_averages_over_each_variable_first(benchmark):
    metrics = benchmark["protocol"].metrics
    predicted, actual = np.array([1.0, 2.0, 3.0, 8.0]), np.array([0.0, 0.0, 0.0, 0.0])
    variable, units = np.array([0, 0, 0, 2]), np.array([1.0, 1.0, 4.0])
    assert metrics(predicted, actual, variable, units, True) == pytest.approx(
        {"mse": (14 / 3 + 4) / 2, "mae": (2 + 2) / 2}
    )
    assert metrics(predicted, actual, variable, units, False) == pytest.approx(
        {"mse": (14 + 4) / 4, "mae": 8 / 4}
    )


def test_models_are_fitted_stored_and_evaluated_on_a_further_file(
    benchmark, data, tmp_path, monkeypatch, capsys
):
    further = tmp_path / "held-back.parquet"
    stored(data["p12_hourly"][1], "p12_hourly").to_parquet(further)
    common = ("p12_hourly", "--smoke", "--out", tmp_path, "--test", further)
    models = ("--models", "gru", "joint", "--set", "joint.hidden_size=8", "joint.latent_size=4")
    run(benchmark, monkeypatch, *common, *models, "--seeds", 0, 1)
    run(benchmark, monkeypatch, *common, "--models", "last-value")
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [(r["model"], r["seed"]) for r in rows] == [
        ("gru", 0),
        ("gru", 1),
        ("joint", 0),
        ("joint", 1),
        ("last-value", None),
    ]
    sizes = {r["model"]: r["parameters"] for r in rows}
    assert sizes["gru"] == pytest.approx(sizes["joint"], rel=0.1)
    for row in rows:
        assert row["metrics"]["held-back"] == row["metrics"]["validation"]
        assert np.isfinite(list(row["metrics"]["validation"].values())).all()
    # The same weights once more, without training.
    run(benchmark, monkeypatch, *common, *models, "--seeds", 0, "--stored")
    again = json.loads((tmp_path / "results.json").read_text())
    assert len(again) == 5
    assert again[2]["metrics"] == rows[2]["metrics"]
    cost = ("epochs", "cpu_minutes", "wall_minutes")  # of a training that was not done again
    assert [again[2][name] for name in cost] == [rows[2][name] for name in cost]
    assert "| joint | 2 |" in capsys.readouterr().out


def test_an_epoch_is_run_alone_and_nothing_is_scored(benchmark, data, tmp_path, monkeypatch):
    kinds = ("per-variable", "per-variable-clock")
    options = ("--smoke", "--epoch", "--models", *kinds, "--out", tmp_path)
    run(benchmark, monkeypatch, "p12_hourly", *options)
    found = json.loads((tmp_path / "epoch-p12_hourly.json").read_text())
    observations = len(data["p12_hourly"][0])
    assert {n: (f["series"], f["observations"]) for n, f in found.items()} == dict.fromkeys(
        kinds, (6, observations)
    )
    assert found["per-variable"]["parameters"] > found["per-variable-clock"]["parameters"]
    assert not (tmp_path / "results.json").exists()


def test_a_setting_can_be_changed_from_the_command_line(benchmark):
    read = benchmark["protocol"].read_config
    changed = read("LEN01", ["training.lr=1e-2", "training.loss='mae'", "extra.name=[1, 2]"])
    assert changed["training"]["lr"] == 0.01 and changed["training"]["loss"] == "mae"
    assert changed["extra"] == {"name": [1, 2]}
    assert changed["protocol"] == read("LEN01")["protocol"]


@pytest.mark.parametrize("name", ["physionet2012", "p12_hourly", "LEN01", "LI01", "DUP03"])
def test_every_config_names_options_that_exist(name, benchmark):
    config = benchmark["protocol"].read_config(name)
    benchmark["protocol"].Protocol(**config["protocol"])
    training, sizes = TrainingConfig.of(config["training"]), Sizes(n_variables=3)
    assert {"between", "bucketed"} >= set(config["windows"])
    for kind in benchmark["models"].MODELS:
        module = benchmark["models"].build(kind, sizes, config, training)
        assert module.hparams["training"]["loss"] == config["training"]["loss"]
        assert not module.model.variational


@pytest.mark.parametrize("kind", ["gru", "joint", "per-variable", "per-variable-clock"])
def test_a_row_is_the_layout_that_it_is_named_after(kind, benchmark):
    config = benchmark["protocol"].read_config("p12_hourly")
    training = TrainingConfig.of(config["training"])
    model = benchmark["models"].build(kind, Sizes(n_variables=3), config, training).model
    if kind == "gru":
        assert isinstance(model, benchmark["models"].DirectForecaster)
    else:
        assert isinstance(model.layout, JointLayout if kind == "joint" else PerVariableLayout)
    dynamics = type(getattr(model, "dynamics", None)).__name__
    assert (dynamics == "ClockDynamics") == (kind == "per-variable-clock")


def test_the_gru_knows_only_its_history_and_the_lead_time(benchmark, data, tmp_path):
    config = benchmark["protocol"].read_config("LEN01")
    protocol = benchmark["protocol"].Protocol(**config["protocol"])
    train = protocol.read(tmp_path / "physiome_ode" / "LEN01-fold0-train.parquet").dataset()
    module = IrregularDataModule(train, train, task=protocol.task())
    training = TrainingConfig.of(config["training"])
    model = benchmark["models"].build("gru", module.sizes, config, training).model.eval()
    (batch,) = module.val_dataloader()
    queries, noise = batch.target.queries(), torch.zeros(2, 1, 1)
    together = model(batch, queries, noise)[0].mean
    assert together.shape == (2, len(queries))
    half = torch.arange(len(queries)) % 2 == 0
    torch.testing.assert_close(model(batch, queries.select(half), noise)[0].mean, together[:, half])
