"""Ordinary tables: nothing of the future is told, the peers are what they say, figures add up."""

import importlib
import sys

import numpy as np
import pandas as pd
import pytest
from running import EXPERIMENTS
from scipy.stats import linregress

from latentode import LatentODEError, LatentODEForecaster, Schema

NAMES = ("tables", "simulated", "real", "peers", "packages", "run")


def modules():
    """The experiment's modules, which import each other as scripts do, under common names."""
    before = {n: sys.modules.pop(n, None) for n in NAMES}
    sys.path.insert(0, str(EXPERIMENTS / "ordinary_tables"))
    try:
        return [importlib.import_module(n) for n in NAMES]
    finally:
        sys.path.pop(0)
        for name in NAMES:
            sys.modules.pop(name, None)
            if before[name] is not None:
                sys.modules[name] = before[name]


tables, simulated, real, peers, packages, run = modules()


def made(name, seed=0, smoke=True):
    if name.removesuffix("_struck") in {"co2", "sunspots", "elnino", "nile"}:
        pytest.importorskip("statsmodels")
    return run.TABLES[name](seed, smoke)


def errors(name):
    """The judged figure of every peer of a few lines, on the whole table."""
    table = made(name, smoke=False)
    chosen = {n: lambda t, n=n: (peers.PEERS[n](t), {}) for n in peers.PEERS}
    rows, absent = run.measure(table, chosen)
    assert set(rows) | set(absent) == set(peers.PEERS)
    return {n: row[table.judged] for n, row in rows.items()}


@pytest.mark.parametrize("name", run.TABLES)
def test_nothing_of_the_future_is_known_and_everything_is_asked(name):
    table = made(name)
    end = table.history.groupby("id")["time"].max()
    assert set(table.future["id"]) <= set(end.index)
    assert (table.future["time"] > table.future["id"].map(end)).all()
    assert (table.future["ahead"] > 0).all() and (table.future["ahead"] <= 1).any()
    assert not {"ahead", "truth", "scale"} & {*table.fit.columns, *table.history.columns}
    assert not table.fit.isna().any(axis=None) and not table.future.isna().any(axis=None)
    if name in simulated.SIMULATED:
        assert table.future["ahead"].max() > 2.9


@pytest.mark.parametrize("name", ["lines", "counts", "nottem", "nottem_struck"])
def test_a_seed_makes_a_table_and_another_seed_another_one(name):
    one, again, other = made(name), made(name), made(name, seed=1)
    pd.testing.assert_frame_equal(one.fit, again.fit)
    assert one.fit.equals(other.fit) is not real.of_a_seed(name)


def test_of_a_struck_table_only_the_history_lacks_rows():
    whole, struck = made("nottem"), made("nottem_struck")
    pd.testing.assert_frame_equal(whole.future, struck.future)
    assert struck.history.index.isin(whole.history.index).all()
    assert len(struck.history) == pytest.approx(0.6 * len(whole.history), rel=0.2)


@pytest.mark.parametrize("name", run.SMOKE)
def test_a_peer_answers_everything_or_says_why_not(name):
    table = made(name)
    for peer in peers.PEERS.values():
        try:
            found = peer(table)
        except peers.Absent as reason:
            assert str(reason)
            continue
        assert found.index.equals(table.future.index)
        quantiles = found.drop(columns="mean").to_numpy()
        assert np.isfinite(found.to_numpy()).all()
        assert (np.diff(quantiles, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("lines", "least squares"),
        ("one_line", "least squares"),
        ("sine", "harmonic regression"),
        ("daily_and_weekly", "harmonic regression"),
        ("known_columns", "least squares"),
        ("known_columns_of_many", "least squares"),
        ("counts", "mean and weekday"),
        ("own_periods", "harmonic regression"),
        ("random_walks", "last value"),
    ],
)
def test_the_peer_that_is_told_the_form_of_the_truth_is_best(name, peer):
    found = errors(name)
    assert found[peer] <= 1.02 * min(found.values())  # a drift may be ahead of a walk by chance


def test_the_seasonal_naive_forecast_repeats_the_last_season():
    t = np.arange(40.0)
    one = peers.Series(t, t, np.zeros((40, 0)), t + 40, np.zeros((40, 0)), tables.Facts((20.0,), (1,)))
    np.testing.assert_array_equal(peers.seasonal_naive(one)[0], np.tile(np.arange(20.0, 40.0), 2))


def test_the_interval_of_a_line_is_that_of_the_textbook():
    rng = np.random.default_rng(0)
    t, asked = np.sort(rng.uniform(0, 10, 30)), np.array([10.0, 40.0])
    y = 3 + 2 * t + rng.normal(size=30)
    rows = pd.DataFrame({"id": 0, "time": t, "y": y})
    future = pd.DataFrame({"id": 0, "time": asked, "y": 0.0, "ahead": 1.0})
    table = tables.Table(rows, rows, future, Schema(id="id", targets=("y",)), 30.0)
    found, line = peers.least_squares(table), linregress(t, y)
    mean = line.intercept + line.slope * asked
    spread = np.sqrt(np.square(y - line.intercept - line.slope * t).sum() / 28)
    off = asked - t.mean()
    std = spread * np.sqrt(1 + 1 / 30 + off**2 / np.square(t - t.mean()).sum())
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-3)
    np.testing.assert_allclose(found["q0.9"] - found["mean"], 1.2815516 * std, rtol=1e-3)


def test_the_period_of_a_series_is_found():
    t = np.sort(np.random.default_rng(0).uniform(0, 60, 90))
    for period in (5.3, 9.0, 14.7):
        assert peers.own_period(t, np.sin(2 * np.pi * t / period + 1)) == pytest.approx(
            period, rel=1e-5
        )


def test_figures_are_of_one_horizon_and_in_own_scales():
    future = pd.DataFrame({"id": 0, "time": [1.0, 2.0, 6.0], "y": [10.0, 30.0, 0.0]})
    future = future.assign(ahead=[0.5, 1.0, 3.0], scale=10.0, truth=[2.0, 1.0, 0.0])
    table = tables.Table(future, future, future, Schema(id="id"), 2.0, judged=tables.OWN_SCALE)
    mean = np.array([10.0, 10.0, 100.0])
    answer = peers.normal(table, mean, np.full(3, 10.0))
    found = run.scores(table, answer)
    assert found["MAE"] == pytest.approx(1.0) and found["median error"] == pytest.approx(1.0)
    assert found["inside 80 %"] == 0.5 and found["inside 80 %, 1 to 3 horizons"] == 0.0
    table = tables.Table(future, future, future, Schema(id="id"), 2.0, judged=tables.RATE)
    assert run.scores(table, answer)["RMSE to the rate"] == pytest.approx(np.sqrt((64 + 81) / 2))


def test_the_summary_is_of_geometric_means_over_the_tables_that_both_answer():
    def table(**mae):
        return {"judged": "MAE", "models": {n.replace("_", " "): {"MAE": v} for n, v in mae.items()}}

    over = run.ratios({"a": table(mean=1.0, last_value=4.0, latent_ODE=2.0), "b": table(
        last_value=1.0, latent_ODE=0.5)})  # fmt: skip
    found = run.summary(over)
    assert found.loc["latent ODE", "over the best"] == pytest.approx(1.0)
    assert found.loc["last value", "over the best"] == pytest.approx(2.0)
    assert found.loc["last value", "latent ODE over it"] == pytest.approx(0.5)
    assert found.loc["mean", "latent ODE over it"] == pytest.approx(2.0)


def test_a_forecaster_that_refuses_is_absent_with_its_word(monkeypatch):
    def refuse(*_):
        raise LatentODEError("not today\nnor tomorrow")

    monkeypatch.setattr(LatentODEForecaster, "fit", refuse)
    rows, absent = run.measure(
        made("lines"), {run.OURS: lambda t: run.latent_ode(t, 0, run.OURS, True)}
    )
    assert not rows and absent == {run.OURS: "not today"}
