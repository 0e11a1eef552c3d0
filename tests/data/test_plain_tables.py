"""The short way from a plain table to a dataset is the long way's, or is not taken."""

import warnings
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from latentode import LatentODEError, Schema, SeriesDataset
from latentode.data.plain_tables import read_plain

STAMPS = pd.date_range("2024-03-01 05:30", periods=8, freq="7h")


def table(**columns):
    """Two series of two variables, one cell empty, rows in no order."""
    own = {
        "id": ["b"] * 4 + ["a"] * 4,
        "time": STAMPS,
        "x": [1.5, 2.0, np.nan, 0.5, 9.0, 8.0, 7.5, 7.0],
        "y": [3, 1, 4, 1, 5, 9, 2, 6],
    }
    return pd.DataFrame(own | columns).sample(frac=1, random_state=0)


def numbered(frame):
    return frame.assign(time=np.arange(8.0) * 1.5)


PLAIN = {
    "as it is": table(),
    "one variable in float32": table().astype({"x": np.float32}),
    "labels of rows": table().set_axis(np.arange(8) + 100),
    "numbers for times": numbered(table()),
    "whole numbers for times": table(time=np.arange(8) * 3),
    "identifiers that are numbers": table(id=[7] * 3 + [2] * 5),
    "a column of notes": table(note=["calm", "calm", "storm", "storm"] * 2),
    "a column of other numbers": table(height=np.arange(8) * 1.1),
    "a variable never observed": table(x=np.nan),
    "nanoseconds": table(time=STAMPS.as_unit("ns")),
    "seconds": table(time=STAMPS.floor("s").as_unit("s")),
    "a zone": table(time=STAMPS.tz_localize("Europe/Paris")),
    "times written out": table(time=STAMPS.strftime("%Y-%m-%dT%H:%M:%S")),
    "columns in another order": table()[["y", "time", "x", "id"]],
}
ODD = {
    "a time twice": table(id="a", time=STAMPS[[0, 1, 2, 2, 3, 4, 5, 6]]),
    "an infinite value": table(x=[np.inf] + [0.0] * 7),
    "a value that is a code": table(x=[-9999.0] + [0.1 * i for i in range(7)]),
    "a large integer": table(y=[2**60] + [1] * 7),
    "text for numbers": table(x=["1.5"] * 8),
    "no rows": table().iloc[:0],
    "no time somewhere": table(time=[pd.NaT, *STAMPS[1:]]),
    "a time far from the others": table(time=[pd.Timestamp("1990-01-01"), *STAMPS[1:]]),
    "no identifier somewhere": table(id=[None] + ["a"] * 7),
    "an empty identifier": table(id=[""] + ["a"] * 7),
    "identifiers that differ in blanks": table(id=["a "] + ["a"] * 7),
    "no such column": table().drop(columns="x"),
    "a column twice": pd.concat([table(), table()[["x"]]], axis=1),
    "a column without a name of text": table().rename(columns={"x": 3}),
    "times in the index": table().set_index("time"),
    "a column of dates": table(date="2024-03-01"),
    "a column of times of day": table(clock="08:30"),
    "categories": table().astype({"id": "category"}),
    "arrow": table().convert_dtypes(dtype_backend="pyarrow"),
    "missing integers": table().astype({"y": "Int64"}),
    "truth values": table(y=[True, False] * 4),
    "dates": table(time=STAMPS.date),
    "a series of one row that may be a sum": table(id=[*"aaabbb", "c", "Total"]),
    "no table": {"id": ["a"]},
}


def outcome(read):
    """A dataset, or what was said instead, with every warning."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = read()
        except LatentODEError as error:
            found = str(error)
    return found, [str(w.message) for w in said]


def assert_same(one, other):
    for name in (f.name for f in fields(SeriesDataset)):
        a, b = getattr(one, name), getattr(other, name)
        if name == "keys":
            pd.testing.assert_frame_equal(a, b)
        elif name == "ids":
            pd.testing.assert_index_equal(a, b)
        elif name == "parts":
            np.testing.assert_array_equal(a.offsets, b.offsets)
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b


def schema_of(frame, **more):
    """As a fitted model has it: every column named."""
    named = Schema(id="id", time="time", targets=("x", "y"), layout="wide", **more)
    try:
        return SeriesDataset.from_frame(frame, named).schema
    except LatentODEError:
        return replace(named, time_unit="h")


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.filterwarnings("ignore")
def test_a_plain_table_is_read_as_the_long_way_reads_it(name):
    frame, schema = PLAIN[name], schema_of(PLAIN[name])
    before = frame.copy()
    slow, said = outcome(lambda: SeriesDataset.from_frame(frame, schema))
    fast, also = outcome(lambda: read_plain(frame, schema))
    assert said == also == []
    assert isinstance(fast, SeriesDataset)
    assert_same(fast, slow)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_plain_is_left_to_the_long_way(name):
    assert outcome(lambda: read_plain(ODD[name], schema_of(table()))) == (None, [])


@pytest.mark.parametrize(
    "change",
    [
        {"layout": "long", "variable": "id", "value": "x", "id": None},
        {"targets": None},
        {"static_covariates": ("y",), "targets": ("x",)},
        {"known_future": ("y",), "targets": ("x",)},
        {"date": "id", "id": None},
    ],
    ids=str,
)
def test_a_schema_that_asks_for_more_is_left_to_the_long_way(change):
    assert read_plain(table(), replace(schema_of(table()), **change)) is None


def test_without_an_identifier_another_column_may_be_one():
    schema = Schema(time="time", targets=("x", "y"), layout="wide")
    alone = table()[["time", "x", "y"]]
    schema = SeriesDataset.from_frame(alone, schema).schema
    fast = read_plain(alone, schema)
    assert fast is not None
    assert_same(fast, SeriesDataset.from_frame(alone, schema))
    assert read_plain(table(), schema) is None
