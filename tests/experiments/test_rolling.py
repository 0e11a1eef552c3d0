"""What the experiments of the three domains share: stretches, fair sizes, one table of all models."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentode import ModelConfig, Schema, TrainingConfig

FOLDER = Path(__file__).parents[2] / "experiments"
SCHEMA = Schema(id="id", time="time", targets=("x", "y"), cycles=("24h",))
MODEL = ModelConfig(latent_size=4, hidden_size=24, likelihood="normal")
TRAINING = TrainingConfig(max_epochs=1, windows_per_epoch=32)


@pytest.fixture(scope="module")
def rolling():
    sys.path.insert(0, str(FOLDER))
    try:
        yield __import__("rolling")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("rolling", None)


def waves(days=20):
    rng = np.random.default_rng(0)
    hours = np.sort(rng.uniform(0, 24 * days, 18 * days))
    time = pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h").floor("s")
    x = np.sin(2 * np.pi * hours / 24) + 0.1 * rng.normal(size=len(hours))
    return pd.DataFrame({"id": "a", "time": time, "x": x, "y": x.cumsum()})


@pytest.fixture(scope="module")
def found(rolling):
    rolling.quiet()
    table, cutoffs = waves(), pd.date_range("2024-01-15", periods=12, freq="9h")
    past = table[table["time"] <= cutoffs[0]]
    held_out = rolling.stretches(past, SCHEMA, "30h", "2D")
    models = rolling.latent_odes(past, SCHEMA, "6h", MODEL, TRAINING, held_out, "24h")
    process = rolling.GaussianProcess(window=20, cycle="24h")
    return models, rolling.backtests(models, past, table, cutoffs, "6h", process)


def test_stretches_hold_the_rows_of_their_time_and_are_told_apart(rolling):
    table = waves(10)
    made = rolling.stretches(table, SCHEMA, "3D", "1D")
    for number, (name, part) in enumerate(made.groupby("id")):
        begin = table["time"].min() + pd.Timedelta(days=number)
        inside = table["time"].between(begin, begin + pd.Timedelta(days=3))
        assert name == f"a/{number}"
        pd.testing.assert_frame_equal(
            part.drop(columns="id").reset_index(drop=True),
            table.loc[inside].drop(columns="id").reset_index(drop=True),
        )
    assert number == 6  # the last whole one


def test_the_network_without_an_ode_is_as_large_as_the_latent_ode(found):
    models, _ = found
    sizes = {n: sum(p.numel() for p in m.network_.parameters()) for n, m in models.items()}
    assert sizes["GRU, no ODE"] == pytest.approx(sizes["latent ODE, per variable"], rel=0.1)
    fields = {n: type(m.network_.dynamics).__name__ for n, m in models.items()}
    assert fields.pop("GRU, no ODE") == "ClockDynamics" and set(fields.values()) == {"MLPDynamics"}
    network = models["GRU, no ODE"].network_
    assert (network.solver.method, network.solver.intervals) == ("euler", 1)


def test_every_model_answers_the_same_questions_with_quantiles_in_order(rolling, found):
    _, made = found
    keys = ["id", "origin", "time", "variable", "actual"]
    names = list(dict.fromkeys(made["model"]))
    assert len(names) == 8 and names[-1] == "Gaussian process"
    groups = [g[keys].sort_values(keys, ignore_index=True) for _, g in made.groupby("model")]
    for other in groups[1:]:
        pd.testing.assert_frame_equal(groups[0], other)
    quantiles = made[[f"q{level:g}" for level in rolling.LEVELS]].to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert (made["time"] > made["origin"]).all()
    assert (made["lead"] <= 6).all()


def test_the_table_holds_the_means_of_the_errors_by_bin_of_lead_time(rolling, found):
    _, made = found
    table = rolling.table(made, [2.0, 6.0])
    assert len(table) == 2 * 2 * 8
    own = made[(made["model"] == "last value") & (made["variable"] == "x") & (made["lead"] <= 2)]
    row = table[(table["model"] == "last value") & (table["variable"] == "x")].iloc[0]
    assert (row["lead"], row["n"]) == (2.0, len(own))
    assert row["mae"] == pytest.approx((own["actual"] - own["mean"]).abs().mean())
    assert row["coverage"] == pytest.approx(own["actual"].between(own["q0.1"], own["q0.9"]).mean())


def test_a_table_is_saved_drawn_and_printed(rolling, found, tmp_path):
    table = rolling.table(found[1], [2.0, 6.0])
    rolling.save(tmp_path, table, cutoffs=12)
    rolling.draw(tmp_path / "crps.png", table, "h")
    assert (tmp_path / "crps.png").stat().st_size > 5000
    text = rolling.readable(table)
    assert text.count("| x | 2 |") == 3 and "| crps | up to | latent ODE, per variable |" in text
    assert pd.read_json(tmp_path / "results.json")["rows"].iloc[0]["model"] == table["model"].iloc[0]


def test_over_the_best_weighs_leads_by_how_often_they_were_asked(rolling):
    rows = [("latent ODE, per variable", 1.0, 30, 2.0), ("latent ODE, per variable", 2.0, 10, 4.0)]
    rows += [("last value", 1.0, 30, 3.0), ("last value", 2.0, 10, 3.0)]
    rows += [("linear drift", 1.0, 30, 9.0), ("linear drift", 2.0, 10, 9.0)]
    rows += [(name, 1.0, 40, 1.0) for name in ("latent ODE, joint", "GRU, no ODE")]
    found = pd.DataFrame(rows, columns=["model", "lead", "n", "crps"]).assign(variable="x")
    assert rolling.over_the_best(found) == {"x": pytest.approx(2.5 / 3.0)}
