"""A series of which nothing was observed is answered by what its statics say, no surer than that."""

import numpy as np
import pandas as pd
import pytest
from making import forecaster, tiny, waves

from latentode import LatentODEError, Schema
from latentode.data.dataset import Ragged
from latentode.data.task import ContextDropout, Forecasting
from latentode.data.windows import Timeline

LEVELS = {"low": 10.0, "high": 20.0}


def patients(n, seed):
    rng, parts = np.random.default_rng(seed), []
    for i in range(n):
        time, kind = np.sort(rng.uniform(0, 6, 16)), rng.choice(list(LEVELS))
        level = LEVELS[kind] + 2 * rng.normal()
        x = level + np.sin(time) + 0.3 * rng.normal(size=16)
        parts.append(pd.DataFrame({"id": i, "time": time, "kind": kind, "x": x}))
    return pd.concat(parts, ignore_index=True)


def unobserved():
    return pd.DataFrame({"id": ["a", "b"], "time": 0.0, "kind": list(LEVELS), "x": np.nan})


@pytest.mark.slow
def test_the_answer_is_the_prior_given_the_statics_with_honest_width():
    table = patients(60, 0)
    sizes = {"latent": "joint", "latent_size": 4, "hidden_size": 16, "lr": 0.03, "max_epochs": 20}
    quick = {"ema_decay": None, "context_dropout": 0.5, "verbose": False}
    model = forecaster(2.0, context_length=5.0, **quick, **sizes)
    model.fit(table, Schema(static_covariates=("kind",)))
    found = model.predict(unobserved(), 1.0, quantiles=())
    spread = table.groupby("kind")["x"].std()
    for row, (kind, level) in zip(found.itertuples(), LEVELS.items(), strict=True):
        assert abs(row.mean - level) < 2.5
        assert 0.6 < row.std / spread[kind] < 2.0
    seen = model.predict(table, 1.0, quantiles=())
    assert seen["std"].mean() < 0.5 * found["std"].mean()


@pytest.mark.slow
def test_by_default_its_width_is_about_the_spread_of_the_training_data():
    table = waves(30, 20, seed=2)
    sizes = {"latent_size": 4, "hidden_size": 16, "lr": 0.02, "max_epochs": 8, "verbose": False}
    model = forecaster(2.0, context_length=6.0, **sizes).fit(table)
    new = pd.DataFrame({"id": ["n"], "time": [0.0], "x": [np.nan], "y": [np.nan]})
    found = model.predict(new, 1.0, quantiles=()).set_index("variable")
    for name in ("x", "y"):
        assert 0.6 < found.loc[name, "std"] / table[name].std() < 1.7
        assert abs(found.loc[name, "mean"] - table[name].mean()) < 1.2 * table[name].std()


def test_so_many_contexts_are_hidden_whole_whatever_the_batch():
    n, keys = 4000, np.random.default_rng(0).integers(0, 2**63, 4000).astype(np.uint64)
    offsets, end = np.arange(0, 3 * n + 1, 3), np.full(n, 2.0)
    line = Timeline(np.tile(np.arange(3.0), n), Ragged(offsets), end, np.zeros(n))
    task = ContextDropout(Forecasting(1.0, origin="last"), context_dropout=0.1)
    cut = task.cut(line.cuttable(np.arange(n), keys))
    kept = np.bincount(cut.series[cut.context], minlength=n)
    assert set(kept) == {0, 2}
    assert 0.08 < (kept == 0).mean() < 0.12
    assert (np.bincount(cut.series[cut.target], minlength=n) == 1).all()
    alone = task.cut(line.cuttable(np.zeros(1, dtype=np.int64), keys[:1]))
    assert alone.context.sum() == kept[0]


def test_shares_that_are_none_are_refused(frame):
    with pytest.raises(LatentODEError, match="context_dropout must be"):
        tiny(context_dropout=1.0).fit(frame)


def levels_by_kind(seed=0, telling=True):
    """Series about 0, 5 and 20 by their kind, or by nothing that is known of them."""
    rng, n = np.random.default_rng(seed), 24
    kind, level = np.arange(n) % 3, np.array([0.0, 5.0, 20.0])
    told = kind if telling else rng.permutation(kind)
    rows = [
        pd.DataFrame({"id": f"s{i}", "time": np.arange(20.0), "kind": "abc"[told[i]],
                      "x": level[kind[i]] + rng.normal(size=20)})
        for i in range(n)
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def of_nothing(table, **options):
    """What is said of new series of each kind, by kind."""
    schema = Schema(id="id", targets=("x",), static_covariates=("kind",))
    model = forecaster(4.0, **{"max_epochs": 0, "verbose": False, **options}).fit(table, schema)
    new = pd.DataFrame({"id": list("abc"), "time": 0.0, "x": np.nan, "kind": list("abc")})
    return model, model.predict(new, 2.0).set_index("id")


@pytest.mark.parametrize("options", [{}, {"latent": "joint"}, {"likelihood": "student-t"}])
def test_a_series_without_observations_is_as_those_of_its_static_covariates(options):
    table = levels_by_kind()
    model, found = of_nothing(table, **options)
    of_kind = table.groupby("kind")["x"].mean()
    assert np.abs(found["mean"] - of_kind).max() < 2.5  # ridge regression draws them together
    nothing = of_nothing(levels_by_kind(telling=False), **options)[1]
    assert (found["std"] < 0.7 * nothing["std"]).all()
    assert (found["q0.1"] < of_kind).all() and (of_kind < found["q0.9"]).all()
    # What was observed needs no word of what it is.
    other = table.assign(kind="a")
    asked = pd.DataFrame({"id": table["id"].unique(), "time": 21.0})
    one, two = (model.predict(rows, asked)["mean"].to_numpy() for rows in (table, other))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_static_covariates_that_tell_nothing_of_levels_are_not_believed():
    table = levels_by_kind(telling=False)
    model, found = of_nothing(table)
    assert not model.network_.emission.static_share.any()
    assert (found["mean"] == found["mean"].iloc[0]).all()
    assert (found["std"] > 0.6 * table["x"].std()).all()


def test_static_covariates_are_regressed_as_is_said():
    table = levels_by_kind()
    model, _ = of_nothing(table)
    emission, data = model.network_.emission, model.read(table)
    static = model.fitted_.reader.scaling.encode_static(data)
    mean = np.bincount(data.series, data.value) / np.bincount(data.series)
    mean = (mean - model.fitted_.reader.scaling.loc[0]) / model.fitted_.reader.scaling.scale[0]
    weight = emission.static_weight[0].numpy()
    about = static @ weight[:-1] + weight[-1]
    x, y = static - static.mean(axis=0), mean - mean.mean()
    ridge = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
    assert np.corrcoef(about, x @ ridge)[0, 1] > 0.999
    assert 1 - np.var(mean - about) / np.var(mean) > 0.95


def test_static_covariates_say_what_known_columns_do_not():
    rng, n = np.random.default_rng(0), 24
    kind = np.arange(n) % 2
    table = pd.DataFrame({"id": np.repeat(np.arange(n), 40), "time": np.tile(np.arange(40.0), n)})
    table["kind"] = np.where(np.repeat(kind, 40) == 1, "b", "a")
    table["price"] = 5.0 * np.repeat(kind, 40) + rng.integers(0, 3, size=len(table))
    table["x"] = 10 + 3 * table["price"] + 0.3 * rng.normal(size=len(table))
    schema = Schema(targets=("x",), static_covariates=("kind",), known_future=("price",))
    model = forecaster(4.0, max_epochs=0, verbose=False).fit(table, schema)
    new = pd.DataFrame({"id": ["new", "other"], "time": 0.0, "x": np.nan, "kind": ["a", "b"]})
    new["price"] = [1.0, 6.0]
    found = model.predict(new, new[["id", "price"]].assign(time=3.0))
    np.testing.assert_allclose(found["mean"], [13, 28], atol=1)


def test_what_statics_say_is_the_same_in_every_precision():
    model, found = of_nothing(levels_by_kind())
    new = pd.DataFrame({"id": list("abc"), "time": 0.0, "x": np.nan, "kind": list("abc")})
    for change in ("float", "bfloat16", "half"):
        getattr(model.network_, change)()
        again = model.predict(new, 2.0).set_index("id")
        np.testing.assert_allclose(again["mean"], found["mean"], rtol=0.02, atol=0.1)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_counts_of_what_was_never_observed_are_as_wide_as_levels_differ(size):
    rng = np.random.default_rng(0)
    level = size * np.array([1.0, 4.0, 12.0])[np.arange(24) % 3]
    rows = pd.DataFrame({"id": np.repeat(np.arange(24), 30), "time": np.tile(np.arange(30.0), 24)})
    rows["x"] = rng.poisson(np.repeat(level, 30)).astype(float)
    options = {"likelihood": "poisson", "max_epochs": 0, "verbose": False}
    model = forecaster(4.0, **options).fit(rows, Schema(targets=("x",)))
    new = pd.DataFrame({"id": [99], "time": 0.0, "x": np.nan})
    none, seen = model.predict(new, 2.0).iloc[0], model.predict(rows, 2.0)
    assert 0.6 < none["std"] / level.std() < 1.6
    assert none["q0.1"] < level.min() * 1.5 and none["q0.9"] > 0.7 * level.max()
    # Of what was observed they are Poisson's.
    ratio = seen["std"] / np.sqrt(seen["mean"])
    assert ratio.median() < 1.05
