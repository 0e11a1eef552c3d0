"""Features of boosting: what they are of a history, and that nothing later is in them."""

import importlib
import sys

import numpy as np
import pandas as pd
import pytest
from running import EXPERIMENTS

from latentode import Schema, SeriesDataset
from latentode.data import Scaling
from latentode.evaluation.backtest import observed_ahead

SCHEMA = Schema(id="id", time="time", targets=("a", "b"), cycles=())
HORIZON = 2.0


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS / "rivals"))
    yield importlib.import_module("features")
    sys.modules.pop("features", None)


def series(n=30):
    rng = np.random.default_rng(0)
    ids, time = np.repeat(["x", "y"], n), np.concatenate([np.sort(rng.uniform(0, 9, n)) for _ in "xy"])
    values = rng.normal(size=(2 * n, 2)).cumsum(axis=0)
    values[rng.random(values.shape) < 0.3] = np.nan
    return pd.DataFrame({"id": ids, "time": time, "a": values[:, 0], "b": values[:, 1]})


def rows(module, frame, scaling=None):
    dataset = SeriesDataset.from_frame(frame, SCHEMA)
    features = module.Features(scaling or Scaling.fit(dataset), HORIZON)
    pairs = observed_ahead(dataset, HORIZON)
    return features.rows(dataset, pairs), pairs, dataset


def test_rows_hold_the_last_value_its_age_and_means_over_the_past(module):
    made, pairs, dataset = rows(module, series())
    asked, of = pairs.queries, Scaling.fit(dataset)
    for i in range(0, len(made.y), 17):
        v, loc, scale = asked.variable[i], of.loc[asked.variable[i]], of.scale[asked.variable[i]]
        own = (dataset.series == asked.series[i]) & (dataset.variable == v)
        own &= dataset.time <= asked.origin[i]
        if not own.any():
            assert np.isnan(made.x[i, 4])
            continue
        time, value = dataset.time[own], (dataset.value[own] - loc) / scale
        assert made.base[i] == pytest.approx(dataset.value[own][-1])
        lead = (asked.time[i] - asked.origin[i]) / HORIZON
        assert made.x[i, 0] == pytest.approx(lead, rel=1e-5)
        assert made.x[i, 4:6] == pytest.approx(
            [value[-1], (asked.origin[i] - time[-1]) / HORIZON], abs=1e-5
        )
        weights = 2.0 ** (-(time[-1] - time) / HORIZON / module.HALF_LIVES[0])
        assert made.x[i, 7] == pytest.approx(weights @ value / weights.sum() - value[-1], abs=1e-4)


def test_nothing_later_than_the_origin_is_in_a_row(module):
    frame = series()
    cut, later = 5.0, frame["time"] > 5.0
    changed = frame.assign(a=frame["a"].where(~later, -7.0), b=frame["b"].where(~later, 3.0))
    scaling = Scaling.fit(SeriesDataset.from_frame(frame, SCHEMA))
    found = []
    for given in (frame, changed):
        made, pairs, _ = rows(module, given, scaling)
        origin = pairs.keys["origin"] <= cut
        names = pairs.keys.loc[origin, ["id", "origin", "time", "variable"]].reset_index(drop=True)
        table = pd.DataFrame(made.x[origin]).add_prefix("feature ")
        found.append(pd.concat([names, table], axis=1))
    both = found[0].merge(found[1], on=["id", "origin", "time", "variable"], suffixes=("", ", changed"))
    assert len(both) > 50
    for column in [c for c in both if c.endswith(", changed")]:
        before = both[column.removesuffix(", changed")]
        np.testing.assert_allclose(before, both[column], rtol=0, atol=1e-6)  # sums are of all rows
