"""A category that training had not: met in training as a hidden one, and pointed out when it comes."""

import numpy as np
import pandas as pd
import pytest
from making import tiny, waves

from latentode import Forecasting, IrregularDataModule, Schema

SCHEMA = Schema(targets=("x", "y"), static_covariates=("ward", "age"))


@pytest.fixture(scope="module")
def table():
    frame = waves(12, 12, seed=1).drop_duplicates(["id", "time"])
    number = frame["id"].str[1:].astype(int)
    return frame.assign(ward=np.where(number % 2, "A", "B"), age=40.0 + number)


def test_training_hides_each_static_column_now_and_then_and_validation_none(table):
    data = IrregularDataModule(table, table, SCHEMA, Forecasting(2.0), windows_per_epoch=2000)
    parts = data.scaling.static_parts
    assert parts == [slice(0, 2), slice(2, 4)]
    shown = np.concatenate([b.static.numpy() for b in data.train_dataloader()])
    hidden = [(shown[:, part] == 0).all(axis=1) for part in parts]
    for share in (h.mean() for h in hidden):
        assert 0.015 < share < 0.05
    assert 0 < (hidden[0] & hidden[1]).mean() < 0.01  # each by itself
    held = np.concatenate([b.static.numpy() for b in data.val_dataloader()])
    assert not any((held[:, part] == 0).all(axis=1).any() for part in parts)


def test_an_unknown_category_is_answered_and_named(table):
    model = tiny(max_epochs=0).fit(table, SCHEMA)
    new = table[table["id"] == "s3"].assign(ward="C")
    with pytest.warns(UserWarning, match=r"training had no `ward` 'C' \(series 's3'\)"):
        found = model.predict(new, 1.0)
    assert np.isfinite(found["mean"]).all()
    missing = table[table["id"] == "s3"].assign(ward=None)
    with pd.option_context("mode.copy_on_write", True):
        again = model.predict(missing, 1.0)
    np.testing.assert_array_equal(again["mean"], found["mean"])  # what is missing is as unknown
