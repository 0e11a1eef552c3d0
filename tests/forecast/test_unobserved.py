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
