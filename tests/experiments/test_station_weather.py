"""The claims of experiments/station_weather: on fewer days here, in full by what was committed."""

import json

import numpy as np
import pandas as pd
import pytest
from running import EXPERIMENTS, experiment

from latentode import LatentODEForecaster, Schema

run = experiment("station_weather")


@pytest.fixture(scope="module")
def table():
    return run.read()


def test_the_wind_s_components_and_the_tendency_are_made_of_what_was_reported(table):
    source = pd.read_csv(run.DATA, parse_dates=["time"])
    both = table["eastward"].notna()
    np.testing.assert_allclose(
        np.hypot(table["eastward"], table["northward"])[both], source["wind_speed"][both], atol=1e-9
    )
    west = source.index[(source["wind_dir"] == 270) & (source["wind_speed"] > 0)]
    assert (table.loc[west, "eastward"] > 0).all()  # a wind from the west blows to the east
    one = table[table["station"] == "JFK"].set_index("time")
    hours = one.index[one["tendency"].notna()][::97]
    earlier = one["pressure"].reindex(hours - pd.Timedelta("3h")).to_numpy()
    np.testing.assert_allclose(one["tendency"][hours], one["pressure"][hours] - earlier)


def test_what_chooses_is_judged_on_days_that_training_does_not_see(table):
    past = table[table["time"] < run.FIRST_TEST]
    train, held_out = run.divided(past)
    ends = held_out.groupby("station")["time"].transform("max")
    asked = held_out[held_out["time"] > ends - pd.Timedelta(run.HORIZON)]
    days = {"train": set(train["time"].dt.date), "asked": set(asked["time"].dt.date)}
    assert len(days["asked"]) > 40 and not days["train"] & days["asked"]
    assert train["time"].max() < pd.Timestamp(run.FIRST_TEST)
    assert held_out["station"].nunique() > 250


@pytest.mark.slow
def test_in_a_short_training_already_it_knows_day_from_night(table):
    run.rolling.quiet()
    schema = Schema(id="station", time="time", targets=("temp", "dewp"), cycles=("24h",))
    begin, end = pd.Timestamp("2013-07-01", tz="UTC"), pd.Timestamp("2013-09-20", tz="UTC")
    some = table[(table["station"] == "JFK") & table["time"].between(begin, end)]
    some = some[["station", "time", "temp", "dewp"]]
    cutoffs = pd.date_range("2013-09-10", periods=18, freq="9h", tz="UTC")
    past = some[some["time"] < cutoffs[0]]
    held_out = run.rolling.stretches(past, schema, "48h", "4D")
    model = LatentODEForecaster(
        run.HORIZON,
        run.CONTEXT,
        model=run.MODEL.replace(hidden_size=32),
        training=run.TRAINING.replace(max_epochs=10, windows_per_epoch=256),
        verbose=False,
    )
    model.fit(past, schema, held_out)
    compared = model.compare(some, cutoffs=list(cutoffs))
    half_a_day = compared[(compared["variable"] == "temp") & compared["lead"].between(6, 18)]
    error = (half_a_day["actual"] - half_a_day["mean"]).abs().groupby(half_a_day["model"]).mean()
    assert error["latent ODE"] < 0.85 * error["last value"]


def test_the_committed_figures_say_what_the_readme_says():
    rows = json.loads((EXPERIMENTS / "station_weather" / "results.json").read_text())["rows"]
    crps = pd.DataFrame(rows).pivot_table("crps", ["variable", "lead"], "model")
    own = crps.loc[list(run.VARIABLES), "latent ODE, per variable"]
    baselines = crps.loc[list(run.VARIABLES)].drop(columns=list(run.rolling.MODELS))
    won = own < baselines.min(axis=1)
    assert won[["temp", "dewp", "wind_speed"]].all() and won["pressure"][[12.0, 24.0]].all()
    text = " ".join((EXPERIMENTS / "station_weather" / "README.md").read_text().split())
    assert f"below every baseline in {won.sum()} of the {len(won)} cells" in text
