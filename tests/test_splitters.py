"""Cross-validation that keeps series whole, or the future after the past."""

import numpy as np
import pandas as pd
import pytest
from making import START, tiny, waves
from sklearn.model_selection import GridSearchCV

from latentode import RollingOrigin, Schema, SchemaError, SeriesKFold


@pytest.fixture
def table():
    return waves(7, 12, seed=2).sample(frac=1, random_state=0).reset_index(drop=True)


def test_every_series_is_tested_whole_and_once(table):
    folds = list(SeriesKFold(3).split(table))
    assert len(folds) == SeriesKFold(3).get_n_splits() == 3
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == list(range(len(table)))
    for train, test in folds:
        ids = [set(table["id"].iloc[part]) for part in (train, test)]
        assert not ids[0] & ids[1] and ids[0] | ids[1] == set(table["id"])
    other = [set(table["id"].iloc[t]) for _, t in SeriesKFold(3, random_state=1).split(table)]
    assert other != [set(table["id"].iloc[t]) for _, t in folds]


@pytest.mark.parametrize("kind", ["numbers", "datetimes", "text", "dates"])
def test_what_is_tested_comes_after_what_was_trained_on(table, kind):
    stamps = START + pd.to_timedelta(table["time"] * 24, unit="h").dt.round("s")
    time = {"numbers": table["time"], "datetimes": stamps, "text": stamps.astype(str)}
    time["dates"] = stamps.dt.date
    own = table.assign(time=time[kind])
    if kind == "dates":
        own = own.drop_duplicates(["id", "time"]).reset_index(drop=True)
    comparable = pd.to_datetime(own["time"]) if kind in ("text", "dates") else own["time"]
    folds = list(RollingOrigin(4, share=0.6).split(own))
    assert len(folds) == 4
    for train, test in folds:
        assert comparable.iloc[train].max() < comparable.iloc[test].min()
    sizes = [len(train) for train, _ in folds]
    assert sizes == sorted(sizes) and len(set(np.concatenate([t for _, t in folds]))) > 0.4 * len(own)


def test_a_search_takes_them(table):
    search = GridSearchCV(tiny(max_epochs=0), {"training__lr": [1e-3]}, cv=SeriesKFold(2))
    assert np.isfinite(search.fit(table).cv_results_["mean_test_score"]).all()
    rolling = GridSearchCV(tiny(max_epochs=0), {"training__lr": [1e-3]}, cv=RollingOrigin(2))
    assert np.isfinite(rolling.fit(table).cv_results_["mean_test_score"]).all()


def test_what_cannot_be_parted_is_refused(table):
    with pytest.raises(SchemaError, match="8 folds need as many series; this table has 7"):
        list(SeriesKFold(8).split(table))
    with pytest.raises(SchemaError, match="this table is one series"):
        list(SeriesKFold(2).split(table[table["id"] == "s1"].drop(columns="id")))
    with pytest.raises(SchemaError, match="take fewer folds than 50"):
        list(RollingOrigin(50).split(table[table["id"] == "s1"]))
    with pytest.raises(SchemaError, match="share lies between 0 and 1"):
        list(RollingOrigin(share=1.5).split(table))


def test_the_schema_says_which_column_tells_series_apart(table):
    own = table.rename(columns={"id": "who"}).assign(other="a")
    folds = list(SeriesKFold(2, Schema(id="who", targets=("x", "y"))).split(own))
    assert {*own["who"].iloc[folds[0][1]]} & {*own["who"].iloc[folds[1][1]]} == set()
