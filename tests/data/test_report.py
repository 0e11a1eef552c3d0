"""The report counts what a fit would stumble over, and raises what nobody could read."""

import datetime as dt
import json
import time

import numpy as np
import pandas as pd
import pytest
from frames import melted, numeric, wide

from latentode.data import Schema, SeriesDataset
from latentode.data.report import describe_gap, inspect
from latentode.errors import SchemaError


def table():
    """Three series: one in disorder with a repeated row, one of one row, one without a value."""
    frame = pd.DataFrame(
        {
            "id": list("aaaabcc"),
            "time": pd.Timestamp("2024-01-01", tz="Europe/Berlin")
            + pd.to_timedelta([0, 7200, 20, 20, 5, 0, 3], unit="s"),
            "x": [1.0, 2.0, 3.0, np.inf, 4.0, np.nan, np.nan],
            "flat": [7.0, 7.0, np.nan, np.nan, 7.0, np.nan, np.nan],
            "empty": np.nan,
            "note": "well",
        }
    )
    return frame


def test_it_counts_rows_series_and_what_is_odd_about_them():
    report = inspect(table())
    assert (report.n_rows, report.n_series, report.rows_per_series) == (7, 3, (1, 2.0, 4))
    assert (report.duplicates, report.merged, report.out_of_order) == (1, 0, 1)
    assert (report.single_row, report.unobserved) == (1, 1)
    assert report.constant == ("flat",)
    assert report.non_finite == {"x": 1}
    assert report.left_out == ("note",)
    assert report.schema == SeriesDataset.from_frame(table()[:3]).schema


def test_it_describes_each_variable_by_its_finite_observations():
    x, flat, empty = inspect(table()).variables
    assert (x.name, x.count, x.infinite) == ("x", 4, 1)
    assert (x.minimum, x.mean, x.maximum) == (1.0, 2.5, 4.0)
    assert (x.share, flat.share, empty.share) == (4 / 7, 3 / 7, 0.0)
    assert np.isnan([empty.minimum, empty.mean, empty.maximum]).all() and not empty.constant


def test_in_the_long_layout_shares_are_of_all_observations():
    frame = melted(wide().drop(columns="b").assign(c=1.0))
    report = inspect(frame)
    counts = frame["variable"].value_counts()
    assert [v.name for v in report.variables] == ["a", "c"]
    assert [v.share for v in report.variables] == [counts["a"] / len(frame), counts["c"] / len(frame)]
    assert report.duplicates == 0
    twice = pd.concat([frame, frame[:3]], ignore_index=True)
    assert inspect(twice).duplicates == 3


def test_variables_that_are_no_targets_are_left_out_by_name():
    frame = melted(wide())
    other = frame[:2].assign(variable="sex", value=0.0)
    report = inspect(pd.concat([frame, other, other], ignore_index=True), Schema(targets=("a",)))
    assert report.left_out == ("b", "sex")
    assert [v.name for v in report.variables] == ["a"] and report.duplicates == 0


def test_it_says_what_a_policy_would_merge():
    frame = table().replace(np.inf, 9.0)
    for policy in ("mean", "last"):
        report = inspect(frame, duplicates=policy)
        assert report.merged == SeriesDataset.from_frame(frame, duplicates=policy).merged == 1
    with pytest.raises(SchemaError, match=r"'first': choose from"):
        inspect(frame, duplicates="first")


def test_gaps_are_between_distinct_times_within_a_series():
    gaps = inspect(table()).gaps
    assert [gaps[q] for q in (0.0, 0.5, 1.0)] == [
        pd.Timedelta("3s"),
        pd.Timedelta("20s"),
        pd.Timedelta("7180s"),
    ]
    assert list(gaps) == [0.0, 0.1, 0.5, 0.9, 1.0]
    assert inspect(numeric([0.5, 3.0, 3.5])).gaps[0.5] == 1.5
    assert inspect(numeric([4])).gaps == {}


@pytest.mark.parametrize(
    ("times", "span", "zone"),
    [
        ([4, 2, 9], (2, 9), None),
        ([0.5, 0.25], (0.25, 0.5), None),
        ([dt.date(2024, 1, 2), dt.date(2024, 1, 1)], (dt.date(2024, 1, 1), dt.date(2024, 1, 2)), None),
        (["2024-01-01T00:00Z", "2024-01-02T00:00Z"], ("2024-01-01T00Z", "2024-01-02T00Z"), "UTC"),
        (["2024-01-01T00:00", "2024-01-02T00:00"], ("2024-01-01T00", "2024-01-02T00"), None),
    ],
)
def test_the_span_has_the_type_of_the_table(times, span, zone):
    report = inspect(numeric(times))
    span = tuple(pd.Timestamp(t) if isinstance(t, str) else t for t in span)
    assert report.span == span and report.timezone == zone


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        ("20s", "20 s"),
        ("3h", "3 h"),
        ("90min", "1.5 h"),
        ("59min", "59 min"),
        ("3D", "3 d"),
        ("250ms", "250 ms"),
        ("7us", "7 us"),
    ],
)
def test_gaps_read_like_a_person_would_write_them(gap, text):
    assert describe_gap(pd.Timedelta(gap)) == text
    assert describe_gap(2.5) == "2.5"


def test_known_columns_are_looked_at_too():
    frame = numeric([0, 1, 2], dose=[1.0, 1.0, 1.0], rate=[1.0, np.inf, 2.0])
    report = inspect(frame, Schema(known_future=("dose", "rate")))
    assert report.constant == ("dose",) and report.non_finite == {"rate": 1}


def test_it_describes_static_and_known_columns():
    frame = numeric([0, 1, 2, 3], id=list("aabb"), dose=[1.0, np.nan, 2.0, 2.0], on=True)
    frame = frame.assign(ward=["n", None, "s", "s"], age=[40.0, np.nan, np.nan, np.nan])
    report = inspect(frame, Schema(static_covariates=("ward", "age"), known_future=("dose", "on")))
    found = [(f.name, f.role, f.kind, f.distinct, f.missing_text) for f in report.features]
    assert found == [
        ("ward", "static", "text", 2, "none"),
        ("age", "static", "number", 1, "1 series"),
        ("dose", "known", "number", 2, "1 rows"),
        ("on", "known", "boolean", 1, "none"),
    ]
    lines = report.to_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("feature"))
    assert lines[begin].split() == ["feature", "role", "kind", "distinct", "missing"]
    assert lines[begin + 2].split() == ["age", "static", "number", "1", "1", "series"]
    assert report.constant == ("on",)
    assert "feature" not in inspect(table()).to_text()


def test_the_text_says_everything():
    text = inspect(table()).to_text()
    for part in (
        "targets=x, flat, empty",
        "left out       `note`",
        "rows           7",
        "series         3 (rows each: 1 to 4, median 2)",
        "2024-01-01 00:00:00+01:00 to 2024-01-01 02:00:00+01:00 (datetime)",
        "Europe/Berlin",
        "0 % 3 s",
        "100 % 1.99 h",
        "1 rows repeat another row's (series, time); remove them, or say how a fit merges",
        "out of order   1 rows",
        "one-row series 1 (kept)",
        "empty series   1 (kept)",
        "constant       `flat`",
        "`x` 1 cells; correct or empty them",
        "warning        variable `empty` has no value in any row: a fit refuses it; leave it out of",
    ):
        assert part in text
    row = next(line for line in text.splitlines() if line.startswith("x "))
    assert row.split() == ["x", "4", "57.1", "1", "2.5", "4", "4", "1", "h", "count"]
    assert "% of all" in inspect(melted(wide())).to_text()
    assert "1 merged into others" in inspect(table(), duplicates="last").to_text()


@pytest.mark.parametrize(
    ("values", "looks_like"),
    [
        ([3.0, 3.0, 3.0], "constant"),
        ([0.0, 1.0, 1.0], "0/1"),
        ([0.0, 4.0, 2.0], "count"),
        ([-1.0, 4.0, 2.0], "whole"),
        ([0.25, 0.5, 1.0], "share"),
        ([-0.5, 3.5, 1.0], "real"),
        ([5.5, 7.0, 6.0], "positive"),
        ([1.5, 1.5, 1.6, 1.4, 1.5, 1.5, 99.5], "positive and skewed"),
        ([np.nan, np.nan], "empty"),
    ],
)
def test_it_says_what_a_variable_looks_like(values, looks_like):
    (found,) = inspect(numeric(range(len(values)), values)).variables
    assert found.looks_like == looks_like
    assert found.distinct == len(set(values)) * (looks_like != "empty")


def test_the_json_holds_what_the_text_says_and_the_first_rows():
    said = json.loads(inspect(table()).to_json())
    assert (said["n_rows"], said["n_series"], said["left_out"]) == (7, 3, {"note": "constant text"})
    assert [v["name"] for v in said["variables"]] == ["x", "flat", "empty"]
    assert said["variables"][2]["minimum"] is None and said["variables"][0]["gap"] == "0 days 01:00:00"
    assert said["first_rows"][1]["x"] == 2.0 and len(said["first_rows"]) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": "noon"}, "'noon' at row 0"),
        ({"x": "high"}, "no numeric|`x`"),
        ({"id": None}, "`id` names no series at row 0"),
    ],
)
def test_what_cannot_be_read_is_raised(change, message):
    with pytest.raises(SchemaError, match=message):
        inspect(numeric([0, 1]).assign(**change), Schema(targets="x"))
    with pytest.raises(SchemaError, match=r"`y` is not in the table"):
        inspect(numeric([0, 1]), Schema(targets="y"))


def test_the_table_is_left_as_it_was():
    frame = table()
    before = frame.copy(deep=True)
    inspect(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_a_large_table_takes_seconds_at_most():
    n, random = 400_000, np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": random.integers(0, 2000, n).astype(str),
            "time": random.integers(0, 10**9, n),
            "variable": random.integers(0, 40, n).astype(str),
            "value": random.normal(size=n),
        }
    )
    begin = time.perf_counter()
    inspect(frame)
    # About 0.3 s; a loop over series or rows would take minutes.
    assert time.perf_counter() - begin < 5
