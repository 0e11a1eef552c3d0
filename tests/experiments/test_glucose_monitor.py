"""The claims of experiments/glucose: on fewer weeks here, in full by what was committed."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from running import EXPERIMENTS, experiment

from latentode import LatentODEForecaster

run = experiment("glucose")
pytestmark = pytest.mark.filterwarnings("ignore:.*merged into others")


@pytest.fixture(scope="module")
def readings():
    return run.read()


def test_what_chooses_comes_of_days_that_training_does_not_see(readings):
    table, schema = readings
    past = table[table["time"] < run.FIRST_TEST]
    train, held_out = run.divided(past, schema)
    days = {"train": set(train["time"].dt.date), "held out": set(held_out["time"].dt.date)}
    assert len(days["held out"]) > 30 and not days["train"] & days["held out"]
    assert train["time"].max() < pd.Timestamp(run.FIRST_TEST)
    assert train["person"].nunique() > 20
    kept = past["time"].dt.day <= sys.modules["readings"].LAST_KEPT_DAY
    assert len(train) == kept.sum()


@pytest.mark.slow
def test_in_a_short_training_already_it_is_ahead_of_the_last_value(readings):
    run.rolling.quiet()
    table, schema = readings
    some = table[table["time"].between("2010-07-15", "2010-08-31")].reset_index(drop=True)
    cutoffs = pd.date_range("2010-08-22", "2010-08-30", freq=run.EVERY)
    train, held_out = run.divided(some[some["time"] <= cutoffs[0]], schema)
    model = LatentODEForecaster(
        run.HORIZON,
        run.CONTEXT,
        model=run.MODEL.replace(hidden_size=32),
        training=run.TRAINING.replace(max_epochs=12, windows_per_epoch=256),
        verbose=False,
    )
    model.fit(train, schema, held_out)
    compared = model.compare(some, cutoffs=cutoffs)
    later = compared[compared["lead"].between(0.4, 0.6)]
    error = (later["actual"] - later["mean"]).abs().groupby(later["model"]).mean()
    assert error["latent ODE"] < 0.95 * error["last value"]
    inside = later["actual"].between(later["q0.1"], later["q0.9"])[later["model"] == "latent ODE"]
    assert 0.6 < inside.mean() < 0.95


def test_the_committed_crps_is_below_that_of_every_baseline():
    rows = pd.DataFrame(json.loads((EXPERIMENTS / "glucose" / "results.json").read_text())["rows"])
    crps = rows.pivot_table("crps", "model", "lead")
    models = list(run.rolling.MODELS)
    assert crps.drop(models).shape == (5, 4) and not np.isnan(crps.to_numpy()).any()
    best = crps.drop(models).min()
    assert (crps.loc["latent ODE, per variable"] < best).all()
