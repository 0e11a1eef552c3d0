"""Families that a fit finds for variables: by what their values allow, and what forecasts them best."""

import numpy as np
import pandas as pd
import pytest
from making import tiny, waves

from latentode import LatentODEForecaster, TrainingConfig
from latentode.data import Schema, SeriesDataset
from latentode.estimators.families import KINDS, NORMAL, best_families, looks_like


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "any value"),
        ([3.0, 3.0], "any value"),
        ([0.0, 1.0, 1.0], "0 or 1"),
        ([0.0, 7.0, 2.0], "count"),
        ([1000.0, 1500.0, 2500.0], "any value"),
        ([0.2, 0.9, 0.5], "share"),
        ([1.0, 5.0, 200.0, 400.5], "positive and skewed"),
        ([90.0, 100.0, 120.0], "any value"),
        ([-1.0, 0.0, 400.0], "any value"),
    ],
)
def test_what_values_look_like_does_not_depend_on_how_many_there_are(values, kind):
    assert looks_like(np.array(values)) == kind
    assert looks_like(np.array(values * 3)) == kind


def mixed(n=24, seed=0):
    random, rows = np.random.default_rng(seed), []
    for i in range(n):
        time = np.sort(random.uniform(0, 20, 30))
        walk = np.cumsum(random.normal(size=30)) * 0.25
        one = {"id": i, "time": time, "price": np.exp(2 + 2 * walk), "line": walk - 0.5}
        one |= {"sold": random.poisson(np.exp(0.3 * walk)), "on": (random.uniform(size=30) < 0.3) * 1.0}
        rows.append(pd.DataFrame(one))
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def fitted():
    return tiny(max_epochs=0, likelihood="auto").fit(mixed())


def test_each_variable_gets_what_its_values_are_and_others_stay_normal(fitted, tmp_path):
    assert dict(fitted.network_.config.likelihood) == {"on": "bernoulli", "sold": "poisson"}
    assert fitted.schema_.transforms == {"price": "log"}
    assert fitted.model.likelihood == "auto"  # as it was asked for
    found = fitted.predict(mixed(seed=1), 1.0)
    assert found.loc[found["variable"].isin(["price", "sold", "on"]), "q0.1"].min() >= 0
    fitted.save(tmp_path / "model")
    again = LatentODEForecaster.load(tmp_path / "model").predict(mixed(seed=1), 1.0)
    pd.testing.assert_frame_equal(again, found)


def test_what_the_user_names_stands():
    table = mixed()
    plain = tiny(max_epochs=0, likelihood="normal").fit(table)
    assert plain.network_.config.likelihood == "normal" and not plain.schema_.transforms
    schema = Schema(targets=("price",), transforms={"price": "yeo-johnson"})
    named = tiny(max_epochs=0, likelihood="auto").fit(table, schema)
    assert named.schema_.transforms == {"price": "yeo-johnson"}


def test_a_family_has_to_be_better_by_more_than_a_trifle():
    table = SeriesDataset.from_frame(mixed()[["id", "time", "price"]])
    for gain, expected in ((0.01, {}), (0.5, {"price": KINDS["positive and skewed"][0]})):

        def judge(families, gain=gain):
            return pd.Series({"price": 1.0 + gain * (families.get("price", NORMAL) is not NORMAL)})

        assert best_families([table], judge) == expected


def test_what_is_decided_is_said(capsys):
    tiny(max_epochs=0, verbose=True, likelihood="auto").fit(mixed())
    said = capsys.readouterr().err
    decided = "19 series", "horizon: 2", "`price`: positive and skewed", "held out: 5 whole series"
    for words in (*decided, "held-out error of all"):
        assert words in said


def test_wild_values_that_count_less_are_said(capsys):
    table = waves(2, 40)
    some = table.groupby("id")["y"].apply(lambda own: own.dropna().index[5])
    table.loc[some, "y"] += 1e4
    tiny(max_epochs=0, verbose=True, likelihood="normal").fit(table)
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "wild" in line]
    assert "`y`: " in said and "and 1 more" in said and "`x`" not in said


def test_what_never_changes_lies_within_its_intervals_and_counts_nothing():
    rng, t = np.random.default_rng(0), np.arange(40.0)
    level = np.array([5.0, 8.0, 11.0, 14.0, 17.0, 20.0])
    for noisy in (False, True):  # beside others that do change, values are rounded to their unit
        rows = pd.DataFrame({"id": np.repeat(np.arange(6), 40), "time": np.tile(t, 6)})
        change = 1e3 * rng.normal(size=40) if noisy else np.zeros(40)
        rows["y"] = np.repeat(level, 40) + np.where(rows["id"] == 0, np.tile(change, 6), 0.0)
        model = LatentODEForecaster(4.0, training=TrainingConfig(max_epochs=0), verbose=False)
        found = model.fit(rows, Schema(id="id")).predict(rows, 2.0).iloc[1:]
        assert (found["q0.1"] <= level[1:]).all() and (level[1:] <= found["q0.9"]).all()
        assert (found["std"] < 0.5).all()


@pytest.mark.parametrize(
    "rate", [0.05, pytest.param(0.2, marks=pytest.mark.slow), pytest.param(1.0, marks=pytest.mark.slow)]
)
def test_rare_events_are_counts_however_dense_a_normal_is_at_none(rate):
    random = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "id": np.repeat(np.arange(12), 60),
            "time": np.tile(np.arange(60.0), 12),
            "sold": random.poisson(rate, 12 * 60),
        }
    )
    fitted = LatentODEForecaster(
        horizon=10.0, training=TrainingConfig(max_epochs=0), verbose=False
    ).fit(table)
    found = dict(fitted.network_.config.likelihood)["sold"]
    assert found in ("poisson", "negative-binomial")
    asked = pd.DataFrame({"id": np.arange(12), "time": 65.0})
    assert (fitted.predict(table, asked)["q0.1"] >= 0).all()
