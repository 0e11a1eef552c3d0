"""A table that becomes a dataset and a table again is the same table."""

import numpy as np
import pandas as pd
import pytest
from frames import melted, wide
from hypothesis import given, settings
from hypothesis import strategies as st

from latentode.data import Schema, SeriesDataset

IDS = {
    "int": np.arange(4) * 3 - 5,
    "str": np.array(["007", "7", "NA", "ü"], dtype=object),
    "datetime": np.array(["2024-01-01", "2024-01-02", "2024-01-02T10", "1999-01-01"], "M8[us]"),
    "category": pd.Categorical(["d", "b", "c", "a"], categories=list("zabcd")),
}
DTYPES = ("float64", "float32", "int64", "uint8", "Int64", "Float64", "bool", "boolean")
TIMES = {
    "aware": lambda n: pd.Timestamp("2024-03-31", tz="Europe/Berlin") + pd.to_timedelta(n, unit="min"),
    "naive": lambda n: pd.Timestamp("2024-03-31") + pd.to_timedelta(n, unit="ns"),
    "date": lambda n: np.array(
        [d.date() for d in pd.Timestamp("2024-02-28") + pd.to_timedelta(n, "D")]
    ),
    "integer": lambda n: np.asarray(n) - 50,
    "float": lambda n: np.asarray(n) / 7,
}


def assert_same(frame, schema=None):
    before = frame.copy(deep=True)
    dataset = SeriesDataset.from_frame(frame, schema)
    pd.testing.assert_frame_equal(frame, before, check_exact=True)
    back = dataset.to_frame()
    expected = frame[back.columns]
    assert set(back.columns) == set(frame.columns)
    pd.testing.assert_frame_equal(back, expected, check_exact=True)
    return dataset


@st.composite
def tables(draw):
    """Series of one to six rows, any identifier, time and value type, rows shuffled, odd labels."""
    ids = IDS[draw(st.sampled_from(list(IDS)))]
    make_time = TIMES[draw(st.sampled_from(list(TIMES)))]
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    series = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.concatenate(
        [draw(st.lists(st.integers(0, 99), min_size=n, max_size=n, unique=True)) for n in lengths]
    )
    frame = pd.DataFrame({"id": ids[series], "time": make_time(steps)})
    for name in ("a", "b"):
        frame[name] = draw(columns(len(frame)))
    order = draw(st.permutations(range(len(frame))))
    frame = frame.iloc[order]
    frame.index = pd.Index(
        draw(st.permutations(range(len(frame)))), name=draw(st.sampled_from([None, "line"]))
    )
    return frame


@st.composite
def columns(draw, n):
    dtype = draw(st.sampled_from(DTYPES))
    if dtype in ("bool", "boolean"):
        element = st.booleans()
    elif dtype in ("float64", "float32", "Float64"):
        element = st.floats(width=32, allow_nan=False, allow_infinity=False)
    else:
        element = st.integers(0, 255) if dtype == "uint8" else st.integers(-(2**53), 2**53)
    cells = draw(st.lists(element, min_size=n, max_size=n))
    missing = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    if dtype in ("bool", "int64", "uint8"):
        return pd.array(cells, dtype=dtype)
    lost = pd.NA if dtype[0] in "IFb" else np.nan
    return pd.array([lost if m else c for c, m in zip(cells, missing, strict=True)], dtype=dtype)


@given(tables())
@settings(max_examples=150, deadline=None)
def test_any_wide_table_comes_back_the_same(frame):
    assert_same(frame)


@given(tables())
@settings(max_examples=100, deadline=None)
def test_any_long_table_comes_back_the_same(frame):
    frame = frame.reset_index(drop=True)
    long = frame[["id", "time", "a"]].rename(columns={"a": "value"})
    long.insert(2, "variable", np.where(np.arange(len(long)) % 3 == 0, "y", "x"))
    assert_same(long)


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_changes_no_series(frame, random):
    dataset = SeriesDataset.from_frame(frame)
    order = list(range(len(frame)))
    random.shuffle(order)
    shuffled = SeriesDataset.from_frame(frame.iloc[order])
    for place, identifier in enumerate(shuffled.ids):
        here, there = shuffled.select([place]), dataset.select(dataset.index_of([identifier]))
        np.testing.assert_array_equal(here.time, there.time)
        np.testing.assert_array_equal(here.value, there.value)
        np.testing.assert_array_equal(here.variable, there.variable)


def test_columns_without_a_role_are_left_out_and_the_rest_keeps_its_order_of_rows():
    frame = wide().assign(note="well").sample(frac=1, random_state=0)
    back = SeriesDataset.from_frame(frame).to_frame()
    pd.testing.assert_frame_equal(back, frame.drop(columns="note"), check_exact=True)


def test_statics_and_known_columns_come_back_too():
    frame = wide().assign(age=50, ward="north", dose=1.0)
    frame["age"] = frame["age"].astype("Int64")
    assert_same(frame, Schema(static_covariates=("age", "ward"), known_future="dose"))


def test_a_table_without_identifier_comes_back():
    assert_same(wide(n_series=1).drop(columns="id"))


def test_a_long_table_with_numbers_for_variable_names_comes_back():
    long = melted(wide())
    long["variable"] = long["variable"].map({"a": 220045, "b": 220050}).astype("int64")
    assert assert_same(long).variables == ("220045", "220050")


def test_wide_and_long_hold_the_same_observations():
    frame = wide()
    one, other = SeriesDataset.from_frame(frame), SeriesDataset.from_frame(melted(frame))
    other = other.select(other.index_of(one.ids))
    np.testing.assert_array_equal(one.value, other.value)
    np.testing.assert_array_equal(one.variable, other.variable)


def test_other_variables_of_a_long_table_are_left_out_even_if_they_hold_text():
    long = melted(wide())
    text = pd.DataFrame({"id": "s0", "time": long["time"][:2], "variable": "sex", "value": ["F", "F"]})
    mixed = pd.concat([long.assign(value=long["value"].astype(str)), text], ignore_index=True)
    read = SeriesDataset.from_frame(mixed, Schema(targets=("a", "b")))
    pd.testing.assert_frame_equal(read.to_frame(), long, check_exact=True, check_dtype=False)


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_observations_are_sorted_by_series_time_and_variable(layout):
    frame = wide() if layout == "wide" else melted(wide())
    read = SeriesDataset.from_frame(frame.sample(frac=1, random_state=1))
    order = np.lexsort((read.variable, read.time, read.series))
    np.testing.assert_array_equal(order, np.arange(len(order)))
    assert (read.time >= 0).all()
    np.testing.assert_array_equal(read.first, [read.time[read.series == s].min() for s in range(3)])
    np.testing.assert_array_equal(read.last, [read.time[read.series == s].max() for s in range(3)])
