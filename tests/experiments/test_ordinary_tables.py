"""Tables of simple truths: the simple models are what they say, the structural one is near them."""

import numpy as np
import pytest
from running import experiment

run = experiment("ordinary_tables")


@pytest.mark.parametrize("name", run.TABLES)
def test_nothing_of_the_future_is_known_and_everything_is_asked(name):
    table = run.TABLES[name](0, smoke=True)
    end = table.history.groupby("id")["time"].max()
    assert set(table.future["id"]) <= set(end.index)
    assert (table.future["time"] > table.future["id"].map(end)).all()
    assert all(len(m) == len(table.future) for m in run.classical(table).values())


@pytest.mark.parametrize("name", run.TABLES)
def test_the_regression_is_told_the_form_of_the_truth(name):
    table = run.TABLES[name](0, smoke=False)
    y = table.future["y"].to_numpy()
    errors = {n: np.abs(y - m).mean() for n, m in run.classical(table).items()}
    assert errors["regression"] < 0.9 * min(e for n, e in errors.items() if n != "regression")


def test_the_seasonal_naive_forecast_repeats_the_last_season():
    table = run.sine(0, smoke=True)
    whole = table.history.iloc[:0].copy()
    whole["time"] = np.arange(0.0, 40.0)
    whole = whole.assign(id=0, y=np.arange(40.0))
    ahead = whole.assign(time=whole["time"] + 40)
    wanted = np.tile(np.arange(20.0, 40.0), 2)
    np.testing.assert_array_equal(run.seasonal_naive(whole, ahead, 20.0), wanted)


@pytest.mark.parametrize("name", ["one_line", "sine"])
def test_after_one_epoch_the_structural_model_is_near_the_classical_one(name):
    table = run.TABLES[name](1, smoke=False)
    found = run.measure(table, epochs=1, seed=1)
    best = found["regression"]["MAE"]
    assert found["latent ODE, structural"]["MAE"] < 1.15 * best
    assert found["latent ODE"]["MAE"] > 2 * best
