"""Questions to variables that are counted or transformed: what holds of plain ones holds of them."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from making import forecaster

from latentode import Schema
from latentode.evaluation.shrinkage import with_strength
from latentode.forecast import ForecastQueries
from latentode.forecast.residuals import Residuals, ScoreTransform

LASTING = Residuals(noise=(0.3, 0.3, 0.3), length=(2.0, 2.0, 2.0))


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    tables = []
    for name in "abcd":
        time = np.sort(rng.uniform(0, 20, 40))
        level = np.exp(1 + 0.5 * np.sin(time / 3))
        table = {"id": name, "time": time, "n": rng.poisson(level), "x": level, "y": np.sin(time / 3)}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True).astype({"n": float})


@pytest.fixture(scope="module")
def model(frame):
    options = {"latent_size": 4, "hidden_size": 16, "max_epochs": 2, "windows_per_epoch": 32}
    options["verbose"] = False
    likelihood = {"n": "poisson", "y": "laplace"}
    made = forecaster(4.0, 12.0, likelihood=likelihood, **options)
    made.fit(frame, Schema(id="id", time="time", transforms={"x": "log"}))
    made.fitted_ = replace(made.fitted_, residuals=LASTING)
    return made


def test_draws_scatter_as_the_forecast_says(model, frame):
    made = model.forecast(frame, 2.0)
    drawn = made.sample(4000)
    kinds = made.keys["variable"]
    for q in (0.1, 0.5, 0.9):
        below = (drawn <= made.quantile(q)).mean(axis=0)
        assert np.abs(below - q)[kinds != "n"].max() < 0.03
        assert (below[kinds == "n"] > q - 0.03).all()  # a whole number holds a lump
    assert (drawn[:, kinds == "n"] == np.round(drawn[:, kinds == "n"])).all()
    assert (drawn[:, kinds == "x"] > 0).all()


def test_rates_are_slopes_of_the_same_futures(model, frame):
    paths, step = model.sample_paths(frame, draws=40), 2e-2  # of float32 states
    at, later = (paths.value(2.0 + s, quantiles=()) for s in (0.0, step))
    told = paths.rate(2.0 + step / 2, quantiles=())
    slope = (later["mean"] - at["mean"]) / step
    smooth = told["variable"] != "n"
    np.testing.assert_allclose(told["mean"][smooth], slope[smooth], rtol=5e-3, atol=2e-3)


def test_the_rate_of_a_count_is_that_of_its_mean(model, frame):
    step = 2e-2
    at, later = (model.forecast(frame, 2.0 + s, variables="n").mean for s in (0.0, step))
    told = model.sample_paths(frame, draws=40).rate(2.0 + step / 2, quantiles=(), variables="n")
    np.testing.assert_allclose(told["mean"], (later - at) / step, rtol=5e-3, atol=2e-3)
    values = model.sample_paths(frame, draws=40).value(2.0, variables="n", quantiles=(0.1, 0.6))
    assert (values[["q0.1", "q0.6"]] >= 0).all(axis=None)


def test_the_quantity_itself_stays_where_it_can_be(model, frame):
    found = model.sample_paths(frame, draws=200).value(3.0, quantiles=[0.01])
    assert (found.loc[found["variable"] == "x", "q0.01"] > 0).all()


def test_a_revised_density_is_the_slope_of_the_revised_cdf(model, frame):
    plain = model.forecast(frame, 2.0)
    n = len(plain)
    made = replace(plain, score_transform=ScoreTransform(np.full(n, 0.7), np.full(n, 0.5)))
    kinds = made.keys["variable"].to_numpy()
    value, step = made.quantile(0.3), 1e-5
    slope = (made.cdf(value + step) - made.cdf(value - step)) / (2 * step)
    smooth = kinds != "n"
    np.testing.assert_allclose(np.exp(made.log_prob(value))[smooth], slope[smooth], rtol=1e-3)
    counts = np.stack([np.exp(made.log_prob(np.full(n, float(k))))[~smooth] for k in range(60)])
    np.testing.assert_allclose(counts.sum(axis=0), 1.0, atol=1e-6)


def test_times_inside_a_history_are_sharper_than_from_the_past_alone(model, frame):
    asked = pd.DataFrame({"id": ["a", "b"], "time": [10.0, 10.0]})
    both, past = (model.predict(frame, asked, smooth=s) for s in (True, False))
    of_both, of_past = (told.groupby("variable")["std"].mean() for told in (both, past))
    assert (of_both < of_past).all()
    assert not np.allclose(both["mean"], past["mean"])
    assert np.isfinite(both[["mean", "std", "q0.1", "q0.9"]].to_numpy()).all()


# ------------------------------------------------------------------ paths of every likelihood

EVERY = ("normal", "student-t", "laplace", "quantile", "log-normal", "beta", "poisson", "bernoulli")


@pytest.fixture(scope="module", params=["plain", "calibrated", "variational"])
def every(request):
    """A model of a variable of each likelihood in float64, and a table."""
    rng = np.random.default_rng(1)
    tables = []
    for name in range(12):
        time = np.sort(rng.uniform(0, 20, 30))
        wave = np.sin(time / 3 + name)
        table = {v: wave + 0.2 * rng.normal(size=30) for v in EVERY[:4]}
        table["log-normal"] = np.exp(wave + 0.3 * rng.normal(size=30))
        table["beta"] = 1 / (1 + np.exp(-wave - 0.3 * rng.normal(size=30)))
        table["poisson"] = rng.poisson(np.exp(1 + wave)).astype(float)
        table["bernoulli"] = (rng.uniform(size=30) < table["beta"]).astype(float)
        tables.append(pd.DataFrame({"id": name, "time": time, **table}))
    frame = pd.concat(tables, ignore_index=True)
    likelihood = {v: v for v in EVERY}
    options = {"latent_size": 4, "hidden_size": 16, "max_epochs": 1, "windows_per_epoch": 32}
    options["verbose"] = False
    if request.param == "variational":
        options["network"] = {"variational": True}
    model = forecaster(4.0, 12.0, likelihood=likelihood, **options).fit(frame)
    model.network_.double()
    lasting = Residuals((0.3,) * len(EVERY), (2.0,) * len(EVERY))
    model.fitted_ = replace(model.fitted_, residuals=lasting)
    if request.param == "calibrated":
        model.calibrate(frame)
    return model, frame[frame["id"] < 3]


def test_readings_of_paths_have_the_quantiles_of_the_forecast(every):
    model, frame = every
    paths = model.sample_paths(frame, draws=1500)
    made = model.forecast(frame, 3.0)
    drawn = paths._draw(paths_queries(paths, 3.0)).reading
    for q in (0.1, 0.5, 0.9):
        at = made.quantile(q)
        share = (drawn <= at + 1e-9 * np.abs(at)).mean(axis=0)
        assert np.abs(share - made.cdf(at)).max() < 0.065


def paths_queries(paths, ahead):
    n, v = len(paths.dataset), len(EVERY)
    series = np.repeat(np.arange(n), v)
    origin = paths.dataset.last[series]
    return ForecastQueries(series, np.tile(np.arange(v), n), origin + ahead, origin)


def test_the_rate_of_every_continuous_path_is_its_derivative(every):
    model, frame = every
    paths, step = model.sample_paths(frame, draws=16), 1e-4
    smooth = np.tile([v not in ("poisson", "bernoulli") for v in EVERY], 3)
    for ahead in (0.7, 4.5):
        before, after = (paths._draw(paths_queries(paths, ahead + s)).value for s in (-step, step))
        slope = ((after - before) / (2 * step))[:, smooth]
        rate = paths._draw(paths_queries(paths, ahead)).rate[:, smooth]
        close = np.abs(rate - slope) < 1e-4 * (np.abs(slope) + np.abs(slope).mean(axis=0))
        assert close.mean() > 0.995  # but where a kink of a quantile function lies in between


def test_no_path_leaves_what_its_likelihood_allows(every):
    model, frame = every
    paths = model.sample_paths(frame, draws=64)
    assert (paths.first_passage_time("log-normal", below=0.0).cdf(4.0) == 0).all()
    assert (paths.first_passage_time("beta", above=1.0).cdf(4.0) == 0).all()
    assert (paths.first_passage_time("poisson", below=-1.0).cdf(4.0) == 0).all()
    assert (paths.first_passage_time("bernoulli", above=0.5).cdf(4.0) > 0).any()
    drawn = paths._draw(paths_queries(paths, 2.0)).value
    drawn = {v: drawn[:, i :: len(EVERY)] for i, v in enumerate(EVERY)}
    assert (drawn["log-normal"] > 0).all()
    assert ((drawn["beta"] > 0) & (drawn["beta"] < 1)).all()
    assert (drawn["poisson"] == np.round(drawn["poisson"])).all() and (drawn["poisson"] >= 0).all()
    assert np.isin(drawn["bernoulli"], (0.0, 1.0)).all()


def test_what_accumulates_has_the_integral_of_the_means_for_its_mean(every):
    model, frame = every
    if model.fitted_.calibration is not None:
        return  # what is moved by its scores is not moved by its mean
    paths = model.sample_paths(frame, draws=1000)
    chosen = ["normal", "log-normal", "poisson"]
    total = paths.integral(2.0, quantiles=(), variables=chosen)
    fine = model.forecast(frame, 2.0, 40, variables=chosen)
    means = fine.mean.reshape(3, 40, 3)
    now = model.forecast(frame, 1e-6, variables=chosen).mean.reshape(3, 1, 3)
    expected = np.trapezoid(np.concatenate([now, means], axis=1), dx=0.05, axis=1).reshape(-1)
    error = total["std"].to_numpy() / np.sqrt(1000)
    assert (np.abs(total["mean"].to_numpy() - expected) < 5 * error + 2e-2 * np.abs(expected)).all()


def test_of_no_strength_an_answer_of_every_family_is_that_of_the_structural_block_alone(every):
    model, frame = every
    fitted = with_strength(model.fitted_, np.linspace(0, 1, len(EVERY)))  # of the first family none
    silent, generator = deepcopy(fitted.engine.network), torch.Generator().manual_seed(0)
    pairs = zip(silent.layout.modules(), fitted.engine.network.layout.modules(), strict=True)
    for quiet, loud in pairs:
        if hasattr(quiet, "layers"):
            for parameter in quiet.layers[-1].parameters():
                parameter.data.zero_()
            for parameter in loud.layers[-1].parameters():
                parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    queries = paths_queries(model.sample_paths(frame, draws=1), 3.0)
    keys = pd.DataFrame(index=range(len(queries)))
    dataset = model.read(frame)

    def means(own, strength=None):
        own = own if strength is None else with_strength(own, strength)
        return own.forecast(dataset, queries, keys).mean.reshape(-1, len(EVERY))

    alone = means(replace(fitted, engine=replace(fitted.engine, network=silent)))
    np.testing.assert_allclose(means(fitted, 0.0), alone, rtol=1e-9, atol=1e-12)
    moved = np.abs(means(fitted, 1.0) - alone).max(axis=0)
    assert (moved > 1e-6).all(), dict(zip(EVERY, moved, strict=True))
    mixed = means(fitted)
    np.testing.assert_allclose(mixed[:, 0], alone[:, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mixed[:, -1], means(fitted, 1.0)[:, -1], rtol=1e-9)
