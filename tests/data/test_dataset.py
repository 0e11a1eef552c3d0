"""What a dataset refuses, merges, selects and cuts."""

import numpy as np
import pandas as pd
import pytest
from frames import melted, numeric, wide

from latentode.data import Schema, SeriesDataset
from latentode.errors import SchemaError

read = SeriesDataset.from_frame


def lines(frame):
    """The frame labelled as if it came from a file."""
    return frame.set_axis(pd.RangeIndex(2, len(frame) + 2, name="line"))


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_a_missing_identifier_names_its_row(layout):
    frame = wide() if layout == "wide" else melted(wide())
    for empty in (None, ""):
        frame.loc[frame.index[3], "id"] = empty
        with pytest.raises(SchemaError, match=r"`id` names no series at line 5; fill it in"):
            read(lines(frame))


def test_a_missing_numeric_identifier_names_its_row():
    frame = numeric([0, 1]).assign(id=[1.0, np.nan])
    with pytest.raises(SchemaError, match=r"`id` names no series at row 1"):
        read(frame)


@pytest.mark.parametrize("layout", ["wide", "long"])
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_an_infinity_names_column_row_and_fix(layout, infinity):
    frame = wide() if layout == "wide" else melted(wide())
    column = "b" if layout == "wide" else "value"
    frame.loc[4, column] = infinity
    with pytest.raises(SchemaError, match=f"`{column}` is infinite at line 6; correct it, or leave"):
        read(lines(frame))


@pytest.mark.parametrize("role", ["known_future", "static_covariates"])
def test_an_infinity_in_a_feature_is_refused_too(role):
    with pytest.raises(SchemaError, match=r"`dose` is infinite at row 0"):
        read(numeric([0, 1], dose=np.inf), Schema(**{role: "dose"}))


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_text_among_numbers_names_column_cell_row_and_fix(layout):
    frame = wide() if layout == "wide" else melted(wide())
    column = "b" if layout == "wide" else "value"
    frame[column] = frame[column].astype(object)
    frame.loc[4, column] = "warm"
    with pytest.raises(SchemaError, match=f"`{column}`.*'warm' at line 6 is not a number.*na_values"):
        read(lines(frame))


def test_text_among_numbers_is_refused_in_a_named_target_and_a_known_column():
    frame = numeric([0, 1], [1.0, 2.0], dose=["low", "low"])
    for schema in (Schema(targets=("x", "dose")), Schema(known_future="dose")):
        with pytest.raises(SchemaError, match=r"`dose`.*'low' at row 0"):
            read(frame, schema)


def test_times_named_as_target_are_refused_for_what_they_are():
    frame = numeric([0, 1], born=pd.Timestamp("1980-01-01"))
    with pytest.raises(SchemaError, match=r"`born`.*holds times, not numbers; leave `born` out"):
        read(frame, Schema(targets=("x", "born")))


def test_an_integer_that_a_float_cannot_hold_is_refused():
    with pytest.raises(SchemaError, match=f"`x` holds the integer {2**53 + 1} at row 1.*leave `x` out"):
        read(numeric([0, 1], [1, 2**53 + 1]))


def test_a_variable_never_observed_is_kept_by_reading_and_refused_before_training():
    dataset = read(wide().assign(c=np.nan, d=None), Schema(targets=("a", "c", "d")))
    assert dataset.variables == ("a", "c", "d")
    with pytest.raises(
        SchemaError, match=r"`c` has no observation in any of the 15 rows; leave it out"
    ):
        dataset.require_observed()
    read(wide()).require_observed()


def test_an_unknown_policy_is_refused():
    with pytest.raises(SchemaError, match=r"'first': choose from error, mean, last"):
        read(wide(), duplicates="first")


def repeated():
    frame = pd.DataFrame(
        {
            "id": ["s", "s", "s", "s", "r"],
            "time": [1, 0, 1, 1, 1],
            "x": [1.0, 5.0, 4.0, np.nan, 7.0],
            "n": [1, 2, 4, 6, 8],
            "ward": list("aaaab"),
        }
    )
    return lines(frame)


def test_repeated_rows_are_refused_with_their_number_row_and_fix():
    with pytest.raises(
        SchemaError, match=r"2 rows repeat.*`id` and `time`.*line 4.*time=1.*'mean' or 'last'"
    ):
        read(repeated())


def test_mean_takes_observed_values_and_counts_merged_rows():
    dataset = read(repeated(), Schema(static_covariates="ward"), "mean")
    back = dataset.to_frame()
    assert dataset.merged == 2
    assert back["x"].tolist() == [2.5, 5.0, 7.0]
    assert back["n"].tolist() == [11 / 3, 2.0, 8.0]
    assert back.index.tolist() == [2, 3, 6] and back.index.name == "line"


def test_last_takes_the_last_observed_value_of_each_column():
    dataset = read(repeated(), Schema(static_covariates="ward"), "last")
    back = dataset.to_frame()
    assert dataset.merged == 2
    assert back["x"].tolist() == [4.0, 5.0, 7.0]
    assert back["n"].tolist() == [6, 2, 8] and back["n"].dtype == "int64"


def test_in_the_long_layout_only_the_same_variable_repeats():
    frame = melted(wide())
    assert read(frame, duplicates="mean").merged == 0
    twice = pd.concat([frame, frame.iloc[[2, 3]].assign(value=100.0)], ignore_index=True)
    with pytest.raises(
        SchemaError, match=r"2 rows repeat another row's `id` and `time` and `variable`"
    ):
        read(twice)
    assert read(twice, duplicates="last").to_frame()["value"].tolist()[2:4] == [100.0, 100.0]


def test_a_column_without_any_value_survives_merging():
    frame = repeated().assign(y=None)
    merged = read(frame, Schema(targets=("x", "y")), "mean")
    assert merged.to_frame()["y"].isna().all()


def test_rows_without_a_value_and_series_of_one_row_are_kept():
    frame = pd.DataFrame({"id": ["a", "b", "b"], "time": [3, 5, 6], "x": [np.nan, 1.0, 2.0]})
    dataset = read(frame)
    assert len(dataset) == 2 and len(dataset.to_frame()) == 3
    assert (dataset.first.tolist(), dataset.last.tolist()) == ([0.0, 0.0], [0.0, 1.0])
    assert dataset.last_ticks.tolist() == [3, 6]


def test_select_takes_series_in_the_order_given():
    frame = wide()
    dataset = read(frame).select([2, 0])
    assert dataset.ids.tolist() == ["s2", "s0"]
    whole = read(frame)
    for place, origin in ((0, 2), (1, 0)):
        chosen = dataset.series == place
        np.testing.assert_array_equal(dataset.value[chosen], whole.value[whole.series == origin])
        np.testing.assert_array_equal(dataset.time[chosen], whole.time[whole.series == origin])
    assert dataset.start.tolist() == whole.start[[2, 0]].tolist()
    pd.testing.assert_frame_equal(dataset.to_frame(), frame[frame["id"] != "s1"], check_exact=True)


def test_select_by_a_mask_or_from_the_end_means_what_it_says():
    dataset = read(wide())
    assert dataset.select(np.array([False, True, False])).ids.tolist() == ["s1"]
    assert dataset.select([-1]).ids.tolist() == ["s2"]
    assert len(dataset.select([])) == 0
    with pytest.raises(IndexError):
        dataset.select([3])
    with pytest.raises(SchemaError, match=r"selected twice"):
        dataset.select([1, 1])


def test_until_keeps_rows_up_to_and_including_a_time():
    frame = numeric([0.1, 0.2, 0.3, 0.7])
    dataset = read(frame)
    for place in range(4):
        cut = dataset.until(dataset.time[[place]])
        assert cut.to_frame()["time"].tolist() == frame["time"].tolist()[: place + 1]


def test_until_leaves_out_a_series_that_had_not_begun():
    dataset = read(wide())
    assert dataset.until(np.array([1e9, -1.0, 1e9])).ids.tolist() == ["s0", "s2"]
    assert len(dataset.until(np.full(3, -1.0))) == 0


def test_index_of_finds_identifiers_of_every_type():
    assert read(wide()).index_of(["s2", "s0", "s2"]).tolist() == [2, 0, 2]
    numbers = numeric([0, 1]).assign(id=[7, 3])
    assert read(numbers).index_of(pd.Series([3, 7])).tolist() == [1, 0]
    days = pd.to_datetime(["2024-01-02", "2024-01-01"])
    assert read(numeric([0, 1]).assign(id=days)).index_of(days[::-1]).tolist() == [1, 0]


def test_an_unknown_series_is_named_with_those_that_there_are():
    with pytest.raises(
        SchemaError, match=r"series 'x' is not in.*3 series are 's0', 's1', 's2'; name one"
    ):
        read(wide()).index_of(["s1", "x"])
    with pytest.raises(SchemaError, match=r"20 series are .*'s4', \.\.\.;"):
        read(wide(20)).index_of(["x"])


def test_an_identifier_of_the_other_type_is_explained():
    with pytest.raises(SchemaError, match=r"series '7' is not.*it has 7, of type int: convert one"):
        read(numeric([0]).assign(id=7)).index_of(["7"])
    with pytest.raises(SchemaError, match=r"series 7 is not.*it has '7', of type str: convert one"):
        read(numeric([0]).assign(id="7")).index_of([7])
