"""Static features, known paths and scaling."""

import json

import numpy as np
import pandas as pd
import pytest
from frames import numeric, wide

from latentode.data import Scaling, Schema, SeriesDataset
from latentode.errors import SchemaError

read = SeriesDataset.from_frame


def patients(**columns):
    """Three series of two rows; each feature is given per series."""
    frame = pd.DataFrame({"id": list("aabbcc"), "time": [0, 1] * 3, "x": np.arange(6.0)})
    for name, values in columns.items():
        frame[name] = [v for v in values for _ in range(2)]
    return frame


def test_a_numeric_static_gives_its_standardised_value_and_whether_it_is_there():
    dataset = read(patients(age=[40.0, np.nan, 60.0]), Schema(static_covariates="age"))
    scaling = Scaling.fit(dataset)
    assert scaling.n_static == 2
    assert scaling.encode_static(dataset).tolist() == [[-1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]


def test_a_text_static_gives_one_feature_per_category_of_training():
    dataset = read(patients(ward=["south", None, "north"]), Schema(static_covariates="ward"))
    scaling = Scaling.fit(dataset)
    assert scaling.categories == {"ward": ("north", "south")}
    assert scaling.encode_static(dataset).tolist() == [[0, 1], [0, 0], [1, 0]]


def test_a_category_unknown_to_training_is_all_zeros():
    scaling = Scaling.fit(read(patients(ward=["s", "n", "n"]), Schema(static_covariates="ward")))
    other = read(patients(ward=["west", "n", "nan"]), Schema(static_covariates="ward"))
    assert scaling.encode_static(other).tolist() == [[0, 0], [1, 0], [0, 0]]


def test_a_static_that_nobody_filled_in_is_encoded_as_missing():
    schema = Schema(static_covariates=("age", "ward"))
    scaling = Scaling.fit(read(patients(age=[1, 2, 3], ward=["n", "n", "s"]), schema))
    empty = read(patients(age=[None] * 3, ward=[None] * 3), schema)
    assert scaling.encode_static(empty).tolist() == [[0.0] * 4] * 3
    assert Scaling.fit(empty).n_static == 0


def test_text_in_a_static_that_was_numeric_in_training_is_refused():
    scaling = Scaling.fit(read(patients(age=[1, 2, 3]), Schema(static_covariates="age")))
    other = read(patients(age=["1", "old", "3"]), Schema(static_covariates="age"))
    with pytest.raises(SchemaError, match=r"`age`.*'old'.*not a number"):
        scaling.encode_static(other)


def test_a_static_that_changes_within_a_series_names_the_row():
    frame = patients(ward=list("nsn"))
    frame.loc[3, "ward"] = "w"
    with pytest.raises(
        SchemaError, match=r"`ward` changes within its series at row 3; make it constant"
    ):
        read(frame, Schema(static_covariates="ward"))


def test_a_static_needs_to_be_written_in_one_row_only():
    frame = patients(age=[40.0, 50.0, 60.0])
    frame.loc[[0, 3, 4], "age"] = np.nan
    dataset = read(frame, Schema(static_covariates="age"))
    assert dataset.static_frame()["age"].tolist() == [40.0, 50.0, 60.0]
    assert dataset.select([2, 0]).static_frame()["age"].tolist() == [60.0, 40.0]


def test_a_known_value_holds_until_the_next_and_the_first_one_before_it():
    frame = numeric([0, 1, 2, 3, 4], dose=[np.nan, 2.0, np.nan, 5.0, np.nan])
    time, value, parts = read(
        frame.sample(frac=1, random_state=0), Schema(known_future="dose")
    ).known_paths()
    assert time.tolist() == [0, 1, 2, 3, 4]
    assert value[:, 0].tolist() == [2, 2, 2, 5, 5]
    assert parts.offsets.tolist() == [0, 5]


def test_known_values_may_lie_beyond_the_last_observation():
    frame = numeric([0, 1, 9], [1.0, 2.0, np.nan], dose=pd.array([1, pd.NA, 3], dtype="Int64"))
    dataset = read(frame, Schema(known_future="dose"))
    assert dataset.last.tolist() == [1.0]
    assert dataset.known_paths()[0].tolist() == [0, 1, 9]
    assert dataset.known_paths()[1][:, 0].tolist() == [1, 1, 3]


def test_one_series_known_values_do_not_reach_the_next():
    frame = patients(dose=[1.0, 2.0, 3.0])
    frame.loc[[0, 3, 4], "dose"] = np.nan
    dataset = read(frame, Schema(known_future="dose"))
    assert dataset.known_paths()[1][:, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_known_paths_and_statics_follow_their_series_into_any_order():
    dataset = read(
        patients(dose=[1.0, 2.0, 3.0], age=[10, 20, 30]),
        Schema(static_covariates="age", known_future="dose"),
    )
    for order in ([2, 1], [1, 2, 0], [2, 0, 1]):
        chosen = dataset.select(order)
        time, value, parts = chosen.known_paths()
        assert value[:, 0].tolist() == [i + 1.0 for i in order for _ in range(2)]
        assert parts.offsets.tolist() == list(range(0, 2 * len(order) + 1, 2))
        assert time.tolist() == [0, 1] * len(order)
        assert chosen.static_frame()["age"].tolist() == [10 * (i + 1) for i in order]


def test_a_known_column_without_any_value_names_the_series_row_and_fix():
    with pytest.raises(
        SchemaError, match=r"`dose` has no value.*begins at row 2; give it at least once"
    ):
        read(patients(dose=[1.0, np.nan, 2.0]), Schema(known_future="dose"))
    late = read(numeric([0, 1], dose=[np.nan, 1.0]), Schema(known_future="dose"))
    with pytest.raises(SchemaError, match=r"series 's' has no value of known-future column `dose`"):
        late.until(np.array([0.0])).known_paths()


def test_scaling_standardises_each_variable_over_its_own_observations():
    dataset = read(wide(8, 12))
    scaling = Scaling.fit(dataset)
    scaled = scaling.scale_values(dataset.value, dataset.variable)
    for variable in range(2):
        chosen = scaled[dataset.variable == variable]
        assert chosen.mean() == pytest.approx(0, abs=1e-14) and chosen.std() == pytest.approx(1)


def test_a_constant_variable_is_centred_and_not_blown_up():
    scaling = Scaling.fit(read(numeric([0, 1, 2], [0.1, 0.1, 0.1])))
    assert scaling.loc[0] == pytest.approx(0.1) and scaling.scale == (1.0,)


def test_known_columns_are_standardised_likewise():
    dataset = read(numeric([0, 1], dose=[1.0, 3.0]), Schema(known_future="dose"))
    scaling = Scaling.fit(dataset)
    assert scaling.scale_known(dataset.known_paths()[1])[:, 0].tolist() == [-1.0, 1.0]


def test_scaling_comes_back_from_json():
    frame = patients(age=[1.0, 2.0, 4.0], ward=list("nsn"), dose=[1.0, 0.3, 0.1])
    scaling = Scaling.fit(read(frame, Schema(static_covariates=("age", "ward"), known_future="dose")))
    assert Scaling.from_dict(json.loads(json.dumps(scaling.to_dict()))) == scaling
