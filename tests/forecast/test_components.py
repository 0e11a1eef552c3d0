"""Components of forecasts: what adds up to the mean."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import calendar, same, tiny, waves
from torch.distributions import Normal

from latentode import LatentODEError, LatentODEForecaster, OnlineForecaster, Schema
from latentode.data.scaling import Units
from latentode.data.tables.transforms import Log
from latentode.evaluation.shrinkage import with_strength
from latentode.forecast import Forecast
from latentode.forecast.components import StructuralParts
from latentode.forecast.residuals import Residuals
from latentode.nn.likelihoods import LIKELIHOODS, likelihood_of

LAYOUTS = ("joint", "per-variable")
LASTING = Residuals((0.3, 0.5), (1.5, 1.1))
DAYS = {"horizon": "24h", "context_length": "10D"}
STATE = ["level", "trend", "deviation", "oscillation"]
KEYS = ["id", "time", "variable"]
SCHEMA = Schema(known_future=("price",), cycles=("24h", "7D"))


def shop(n_series=3, rows=90, seed=0, noise=0.05):
    """A level of each series' own, a daily wave of 5 and a price that adds 3."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n_series):
        hours = np.sort(rng.choice(24 * 20, rows, replace=False))
        price = rng.integers(0, 2, rows).astype(float)
        wave = 5 * np.sin(2 * np.pi * hours / 24)
        x = 50 + 4 * i + wave + 3 * price + noise * rng.normal(size=rows)
        time = pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h")
        parts.append(pd.DataFrame({"id": f"s{i}", "time": time, "price": price, "x": x}))
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(y=np.exp(frame["x"] / 20), n=rng.poisson(frame["x"]))


def ahead(frame, hours=(1, 7, 30)):
    """Times after the end of each series, with prices."""
    last = frame.groupby("id", as_index=False)["time"].max()
    asked = pd.concat([last.assign(time=last["time"] + pd.Timedelta(hours=h)) for h in hours])
    return asked.assign(price=np.tile([1.0, 0.0, 1.0], len(asked))[: len(asked)])


def sums(components):
    return components.groupby(KEYS, sort=False)["value"].sum().to_numpy()


def adds_up(forecast):
    """Asserts that components add up to the mean of variables that are not transformed."""
    found = forecast.components()
    assert list(found.columns) == [*forecast.keys.columns, "component", "value", "unit"]
    np.testing.assert_allclose(sums(found), forecast.mean, rtol=1e-10)
    assert (found["unit"] == "data").all()
    return found


def wide(components):
    return components.pivot_table(index=KEYS, columns="component", values="value")


@pytest.fixture(scope="module")
def table():
    return shop()


@pytest.fixture(scope="module")
def model(table):
    return tiny(**DAYS, max_epochs=0, likelihood="normal").fit(table.drop(columns=["y", "n"]), SCHEMA)


@pytest.fixture(scope="module", params=LAYOUTS)
def trained(request):
    return tiny(latent=request.param, max_epochs=3).fit(waves(4, 20))


# Every likelihood in one of the layouts; in the other it is a slow test.
EVERY = [
    pytest.param(name, layout, marks=[pytest.mark.slow] * ((i + j) % 2))
    for i, name in enumerate(sorted(LIKELIHOODS))
    for j, layout in enumerate(LAYOUTS)
]


@pytest.mark.parametrize(("name", "layout"), EVERY)
def test_components_of_every_likelihood_add_up_to_its_mean(layout, name):
    frame = waves(4, 20)
    for column in ("x", "y"):
        value = np.exp(frame[column] / 3)
        if name == "bernoulli":
            value = (value > 1).astype(float).where(value.notna())
        elif LIKELIHOODS[name].discrete:
            value = value.round()
        frame[column] = value / (1 + value) if name == "beta" else value
    model = tiny(latent=layout, likelihood=name, max_epochs=2).fit(frame)
    model.fitted_ = with_strength(model.fitted_, 1.0)  # held-out values may have believed nothing,
    for module in model.network_.layout.modules():  # and the best epoch been none
        if hasattr(module, "layers"):
            module.layers[-1].bias.data += 0.3
    found = adds_up(model.forecast(frame, at=2.0, count=3))
    assert list(found["component"][:5]) == [*STATE, "neural"]
    assert wide(found)["neural"].abs().min() > 0
    assert len(found) == 4 * 2 * 3 * (len(STATE) + 1)


def test_an_untrained_forecast_has_the_known_components_and_no_neural_one(model, table):
    found = adds_up(model.forecast(table, ahead(table)))
    names = [*STATE, "cycle 24h", "cycle 7D", "price", "neural"]
    assert list(found["component"]) == names * 9
    found, asked = wide(found), ahead(table).sort_values(["id", "time"])
    hour = pd.DatetimeIndex(asked["time"]).hour.to_numpy()
    np.testing.assert_allclose(found["cycle 24h"], 5 * np.sin(2 * np.pi * hour / 24), atol=0.3)
    usual = table["price"].mean()
    np.testing.assert_allclose(found["price"], 3 * (asked["price"] - usual), atol=0.15)
    own = 50 + 4 * np.repeat(np.arange(3), 3) + 3 * usual
    np.testing.assert_allclose(found["level"], own, atol=0.3)
    np.testing.assert_allclose(found["neural"], 0, atol=1e-9)


def test_components_are_the_parts_of_the_structural_block(model, table):
    forecast = model.forecast(table, ahead(table))
    fitted = model.fitted_
    mean = forecast.structure.value.sum(axis=1)
    untrained = torch.as_tensor(forecast.distribution.mean).numpy().mean(axis=0)
    np.testing.assert_allclose(mean, forecast.loc + forecast.scale * untrained, rtol=1e-12)
    block = fitted.engine.network.emission.structure
    names = block.part_names(["cycle 24h", "cycle 7D"], fitted.reader.schema.known_future)
    assert forecast.structure.names == tuple(names)
    assert len(names) == forecast.structure.value.shape[1]


def test_what_is_trained_is_neural(trained):
    frame = waves(4, 20)
    with torch.no_grad():  # an epoch may have found nothing better than no correction
        trained.network_.layout.decoder.layers[-1].weight.normal_()
        trained.network_.emission.strength.fill_(1.0)
    forecast = trained.forecast(frame, at=2.0, count=2)
    found = wide(adds_up(forecast))
    assert found["neural"].abs().max() > 1e-3
    structural = found.drop(columns="neural").sum(axis=1)
    before = pd.DataFrame(forecast.keys).assign(mean=forecast.structure.value.sum(axis=1))
    np.testing.assert_allclose(structural, before.set_index(KEYS)["mean"].loc[structural.index])


@pytest.mark.parametrize("likelihood", ["normal", {"n": "poisson"}])
def test_transformed_variables_add_up_in_units_of_the_transform(likelihood):
    table = shop(rows=40)
    schema = replace(SCHEMA, transforms={"y": "log"})
    model = tiny(**DAYS, max_epochs=1, likelihood=likelihood).fit(table, schema)
    forecast = model.forecast(table, ahead(table))
    found = forecast.components()
    unit = forecast.keys["variable"].map({"x": "data", "y": "log", "n": "data"})
    assert list(found["unit"]) == list(unit.repeat(len(found) // len(unit)))
    logs = (unit == "log").to_numpy()
    np.testing.assert_allclose(sums(found)[~logs], forecast.mean[~logs], rtol=1e-10)
    inner = forecast.take(np.flatnonzero(logs)).distribution.mean.numpy().mean(axis=0)
    np.testing.assert_allclose(
        sums(found)[logs], forecast.loc[logs] + forecast.scale[logs] * inner, rtol=1e-10
    )
    draws = np.log(forecast.sample(4000)[:, logs])
    np.testing.assert_allclose(sums(found)[logs], draws.mean(axis=0), atol=0.1 * draws.std())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inside_a_history_components_are_those_of_both_sides(layout):
    frame = waves(4, 20)
    model = tiny(latent=layout).fit(frame)
    first, last = (frame.groupby("id")["time"].agg(side) for side in ("min", "max"))
    middle = ((first + last) / 2).round(3)
    asked = pd.concat([side.rename("time").reset_index() for side in (middle, last + 1.0)])
    found = wide(adds_up(model.forecast(frame, asked))).reset_index()
    past = found["time"] <= found["id"].map(last)
    before = wide(adds_up(model.forecast(frame, asked, smooth=False))).reset_index()
    assert (found["level"] != before["level"])[past].all() and past.sum() == 8
    columns = [*STATE, "neural"]
    same(before.loc[~past, columns], found.loc[~past, columns])


def test_what_calibration_moves_is_an_adjustment():
    frame, other = (waves(30, 20, seed).drop_duplicates(["id", "time"]) for seed in (0, 1))
    model = tiny().fit(frame)
    before = wide(adds_up(model.forecast(frame, at=1.5))).drop(columns="neural")
    model.calibrate(other)
    found = wide(adds_up(model.forecast(frame, at=1.5)))
    assert found["adjustment"].abs().max() > 0
    same(found[before.columns], before)


def test_counts_add_up_in_counts():
    table = shop()[["id", "time", "price", "n"]]
    model = tiny(**DAYS, max_epochs=0, likelihood="poisson").fit(table, SCHEMA)
    found = wide(adds_up(model.forecast(table, ahead(table))))
    assert (found["neural"] > 0).all()  # what a small count is bent by, to stay positive
    assert (found["neural"] < 0.5).all()


def test_a_saved_model_an_online_one_and_a_pickled_forecast_say_the_same(model, table, tmp_path):
    forecast = model.forecast(table, ahead(table))
    said = forecast.components()
    model.save(tmp_path / "model")
    loaded = LatentODEForecaster.load(tmp_path / "model")
    same(loaded.forecast(table, ahead(table)).components(), said)
    same(OnlineForecaster(model, table).forecast(ahead(table)).components(), said)
    same(pickle.loads(pickle.dumps(forecast)).components(), said)


@pytest.mark.parametrize("method", ["predict", "forecast"])
def test_a_warning_of_missing_known_values_names_the_line_that_asked(model, table, method):
    with pytest.warns(UserWarning, match="price") as warned:
        getattr(model, method)(table, "24h")
    assert warned[0].filename == __file__


def test_some_queries_have_their_own_components(model, table):
    forecast = model.forecast(table, ahead(table))
    places = np.array([7, 2, 2])
    found = forecast.take(places).components()
    rows = [r for p in places for r in range(8 * p, 8 * p + 8)]
    same(found, forecast.components().iloc[rows].reset_index(drop=True))
    none = forecast.take(np.zeros(0, dtype=np.int64)).components()
    assert len(none) == 0 and list(none.columns) == [*KEYS, "component", "value", "unit"]


def test_a_series_has_the_same_components_alone(model, table):
    asked = ahead(table)
    every = model.forecast(table, asked).components()
    alone = model.forecast(table[table["id"] == "s1"], asked[asked["id"] == "s1"]).components()
    mine = every[every["id"] == "s1"].reset_index(drop=True)
    np.testing.assert_allclose(alone["value"], mine["value"], rtol=1e-6, atol=1e-6)


def test_cycles_are_named_as_the_schema_names_them():
    frame = calendar(pd.Timestamp("2024-01-01"))
    found = (
        tiny(horizon="2h", context_length="8h")
        .fit(frame, Schema(cycles=("12h",)))
        .forecast(frame, "1h")
        .components()
    )
    assert "cycle 12h" in set(found["component"])
    numbers = waves(4, 20)
    found = tiny().fit(numbers, Schema(cycles=(6.5,))).forecast(numbers, 1.0).components()
    assert "cycle 6.5" in set(found["component"])


@pytest.mark.parametrize("name", ["level", "neural", "adjustment"])
def test_a_known_column_with_the_name_of_a_component_is_told_apart(table, name):
    table = table[["id", "time", "price", "x"]].rename(columns={"price": name})
    model = tiny(**DAYS, max_epochs=0).fit(table, Schema(known_future=(name,), cycles=()))
    asked = ahead(table).rename(columns={"price": name})
    found = adds_up(model.forecast(table, asked))
    assert list(found["component"][:6]) == [*STATE, f"known {name}", "neural"]


def test_a_forecast_without_structural_block_says_how_to_get_one():
    frame = waves(4, 20)
    for structure in ("last-value", None):
        model = tiny(structure=structure).fit(frame)
        with pytest.raises(LatentODEError, match=r'ModelConfig\(structure="state-space"\)'):
            model.forecast(frame, at=1.0).components()
    keys, one = pd.DataFrame({"id": ["a"]}), torch.ones(1, 1, dtype=torch.float64)
    units = Units(np.zeros(1), np.ones(1))
    with pytest.raises(LatentODEError, match="components"):
        Forecast.of(keys, Normal(one, one), likelihood_of("normal", 1), units).components()


def test_parts_in_scaled_units_become_those_of_the_table():
    units = Units(np.array([10.0, 1.0]), np.array([2.0, 0.5]), ((Log(), np.array([1])),))
    scaled = np.array([[1.0, 0.5], [2.0, -1.0]])
    parts = StructuralParts.of(["level", "price"], scaled, units)
    np.testing.assert_array_equal(parts.value, [[12.0, 1.0], [2.0, -0.5]])
    keys = pd.DataFrame({"id": ["a", "b"]}, index=[5, 5])
    frame = parts.frame(keys, units, np.array([14.0, 1.0]), None)
    assert frame["value"].tolist() == [12.0, 1.0, 1.0, 2.0, -0.5, -0.5]
    assert frame["unit"].tolist() == ["data"] * 3 + ["log"] * 3
    assert scaled.tolist() == [[1.0, 0.5], [2.0, -1.0]]
