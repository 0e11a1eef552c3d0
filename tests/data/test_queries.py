"""Whatever a user asks at, answers are placed at that time, written as the user's table writes it."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from frames import numeric, wide

from latentode.data import Schema, SeriesDataset
from latentode.data.queries import query_times, times_along
from latentode.errors import SchemaError


def history(times, **columns):
    return SeriesDataset.from_frame(numeric(times, **columns))


def two(zone="UTC", unit="us"):
    """Series a observed until 12:00, b until 18:00."""
    times = pd.to_datetime(
        ["2024-04-05T00:00", "2024-04-05T12:00", "2024-04-05T06:00", "2024-04-05T18:00"]
    )
    times = times.as_unit(unit)
    times = times if zone is None else times.tz_localize("UTC").tz_convert(zone)
    frame = pd.DataFrame({"id": list("aabb"), "time": times, "x": 1.0})
    return SeriesDataset.from_frame(frame)


@pytest.mark.parametrize("ahead", ["24h", "1D", " +1 days ", dt.timedelta(days=1), pd.Timedelta("1D")])
def test_a_duration_counts_from_each_series_last_observation(ahead):
    asked = query_times(two(), ahead)
    assert asked.series.tolist() == [0, 1]
    assert asked.time.tolist() == [36.0, 36.0]
    assert asked.keys["id"].tolist() == ["a", "b"]
    assert asked.keys["time"].tolist() == [
        pd.Timestamp("2024-04-06T12:00Z"),
        pd.Timestamp("2024-04-06T18:00Z"),
    ]


def test_a_count_spaces_the_times_up_to_the_duration():
    asked = query_times(two(), "1h", 4)
    assert asked.time.tolist() == [12.25, 12.5, 12.75, 13.0] * 2
    assert asked.series.tolist() == [0] * 4 + [1] * 4


def test_the_last_observation_counts_and_not_the_last_row():
    assert query_times(history([0, 3, 9], values=[1.0, 2.0, np.nan]), 2).time.tolist() == [5.0]


def test_a_duration_lands_on_the_nanosecond():
    stamp = 1_712_318_399_123_456_789
    dataset = history(pd.to_datetime([0, stamp]))
    assert query_times(dataset, "24h").keys["time"][0].value == stamp + 86_400 * 10**9


def test_a_duration_crosses_a_clock_change_in_elapsed_time():
    dataset = history(pd.to_datetime(["2024-03-30T12:00"]).tz_localize("Europe/Berlin"))
    asked = query_times(dataset, "24h").keys["time"][0]
    assert asked.isoformat() == "2024-03-31T13:00:00+02:00"


@pytest.mark.parametrize(
    "at",
    [
        "2024-04-05T11:59:59+00:00",
        "2024-04-05T13:59:59+02:00",
        pd.Timestamp("2024-04-05T11:59:59Z"),
        dt.datetime(2024, 4, 5, 11, 59, 59, tzinfo=dt.UTC),
        ["2024-04-05T11:59:59Z"],
        pd.DatetimeIndex(["2024-04-05T11:59:59Z"]),
        pd.Series(pd.to_datetime(["2024-04-05T11:59:59Z"]), index=[7]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_timestamp_is_asked_of_every_series_in_its_own_zone(at, zone):
    asked = query_times(two(zone), at)
    np.testing.assert_allclose(asked.time, [12 - 1 / 3600, 6 - 1 / 3600], rtol=1e-15)
    assert asked.keys["time"].tolist() == [pd.Timestamp("2024-04-05T11:59:59Z")] * 2
    assert str(asked.keys["time"].dt.tz) == zone
    assert asked.keys.index.tolist() == [0, 1]


@pytest.mark.parametrize("at", [dt.datetime(2024, 4, 5, 12), np.datetime64("2024-04-05T12", "h")])
def test_naive_stamps_are_asked_of_naive_histories(at):
    asked = query_times(two(None), at)
    assert asked.time.tolist() == [12.0, 6.0]
    assert asked.keys["time"].dt.tz is None


def test_several_timestamps_are_asked_of_each_series_in_turn():
    asked = query_times(two(), ["2024-04-05T12:00Z", "2024-04-05T06:00Z"])
    assert asked.series.tolist() == [0, 0, 1, 1]
    assert asked.time.tolist() == [12.0, 6.0, 6.0, 0.0]


def test_several_offsets_are_converted_to_the_history_zone():
    asked = query_times(two("Europe/Berlin"), ["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00"])
    assert (asked.time[1] - asked.time[0], str(asked.keys["time"].dt.tz)) == (1.0, "Europe/Berlin")


def test_stamps_between_seconds_are_kept_though_the_history_counts_seconds():
    asked = query_times(two(unit="s"), "2024-04-05T12:00:00.25Z")
    assert asked.keys["time"][0] == pd.Timestamp("2024-04-05T12:00:00.25Z")
    assert asked.time[0] == 12 + 0.25 / 3600


def test_a_frame_asks_each_series_at_its_own_times():
    at = pd.DataFrame({"time": ["2024-04-06T00:00Z", "2024-04-05T18:00Z"], "note": 1, "id": ["b", "a"]})
    asked = query_times(two(), at.set_axis([5, 3]))
    assert (asked.series.tolist(), asked.time.tolist()) == ([1, 0], [18.0, 18.0])
    assert asked.keys.columns.tolist() == ["id", "time"]
    assert asked.keys.index.tolist() == [0, 1]


def test_a_table_of_one_series_needs_no_identifier():
    dataset = SeriesDataset.from_frame(numeric([0, 2]).drop(columns="id"))
    assert query_times(dataset, pd.DataFrame({"time": [5, 7]})).time.tolist() == [5.0, 7.0]
    assert query_times(dataset, 1.0).keys.columns.tolist() == ["time"]


@pytest.mark.parametrize(("times", "kind"), [([3, 5], "int64"), ([3.0, 5.5], "float64")])
def test_number_times_take_a_number_as_duration_and_a_list_as_times(times, kind):
    dataset = history(times)
    ahead = query_times(dataset, 2)
    assert ahead.keys["time"].tolist() == [times[1] + 2] and ahead.keys["time"].dtype == kind
    assert query_times(dataset, np.int64(2)).time.tolist() == ahead.time.tolist()
    assert query_times(dataset, [4]).time.tolist() == [1.0]
    assert query_times(dataset, ["4", "4.5"]).time.tolist() == [1.0, 1.5]


def test_a_float_history_is_added_to_exactly():
    assert query_times(history([0.1, 0.3]), 1.0).keys["time"].tolist() == [1.3]


def test_times_between_integers_may_be_listed():
    asked = query_times(history([3, 5]), [4.5, 6.0])
    assert asked.time.tolist() == [1.5, 3.0]
    assert asked.keys["time"].tolist() == [4.5, 6.0]


def test_large_integer_times_are_subtracted_exactly():
    asked = query_times(history([2**55, 2**55 + 4]), [2**55 + 1])
    assert (asked.time.tolist(), asked.keys["time"].tolist()) == ([1.0], [2**55 + 1])
    assert query_times(history([2**55]), 1).keys["time"].tolist() == [2**55 + 1]


DAYS = pd.Series([dt.date(2024, 2, 27), dt.date(2024, 2, 28)], dtype=object)


@pytest.mark.parametrize(
    ("at", "count", "days"),
    [
        ("2D", 2, [29, 1]),
        (dt.date(2024, 3, 1), None, [1]),
        (["2024-02-29", "2024-03-01"], None, [29, 1]),
        ([pd.Timestamp("2024-02-29")], None, [29]),
    ],
)
def test_dates_are_answered_with_dates(at, count, days):
    answered = query_times(history(DAYS), at, count).keys["time"]
    assert [d.day for d in answered] == days and {type(d) for d in answered} == {dt.date}


def test_dates_may_be_asked_of_a_history_of_naive_datetimes():
    assert query_times(two(None), dt.date(2024, 4, 6)).time.tolist() == [24.0, 18.0]


NAIVE = "2024-04-05T12:00:00"


@pytest.mark.parametrize(
    ("dataset", "at", "message"),
    [
        (
            two(),
            NAIVE,
            "history has a time zone, .*, and at has none; write .* its UTC offset, such as",
        ),
        (two(), dt.date(2024, 4, 5), "the history has a time zone, .*, and at has none"),
        (two(None), NAIVE + "Z", "at has a time zone and the history has none"),
        (history(DAYS), NAIVE + "Z", "at has a time zone and the history has none"),
        (
            two(),
            pd.DataFrame({"id": ["a"], "time": [NAIVE]}),
            "the history has.* and column `time` of at",
        ),
        (two(), [NAIVE, NAIVE + "Z"], "at mixes times with and without a zone, first at row 1"),
        (two(), [5.0], "at holds float times, but the history's times are datetimes; write 2024-"),
        (history([1, 2]), [NAIVE], "at holds datetime times, but the history's times are integers"),
        (history([1, 2]), "24h", "calendar duration, but the time column holds numbers"),
        (history([1.0, 2.0]), dt.timedelta(hours=1), "calendar duration"),
        (two(), "tomorrow-ish", "at holds 'tomorrow-ish' at row 0, which is not a time"),
        (two(), "5 moons", "at '5 moons' is not a duration; write '24h'"),
        (two(), "-5h", "at must be positive and finite"),
        (two(), [], "at is empty: give timestamps"),
        (two(), None, "at None is no time: give timestamps"),
        (two(), True, "at True is no time"),
        (two(), [None], "at has no time at row 0"),
        (
            two(),
            pd.DataFrame({"id": ["a"]}),
            "at has no column `time`; give a frame with.* id and time",
        ),
        (two(), pd.DataFrame({"time": [NAIVE]}), "at has no column `id`"),
        (two(), pd.DataFrame({"id": [], "time": []}), "at has no rows"),
        (
            two(),
            pd.DataFrame({"id": ["c"], "time": [NAIVE]}),
            "series 'c' is not in the history.*'a', 'b'",
        ),
        (history(DAYS), "36h", "within a day.*pandas.to_datetime"),
        (history(DAYS), NAIVE, "within a day"),
    ],
)
def test_a_question_that_cannot_be_read_says_why(dataset, at, message):
    with pytest.raises(SchemaError, match=message):
        query_times(dataset, at)


@pytest.mark.parametrize(
    ("at", "count", "message"),
    [
        ("24h", 0, "count must be at least 1, got 0"),
        ("24h", "3", "count must be a whole number, got '3'"),
        ("24h", True, "count must be a whole number, got True"),
        ("24h", 2.5, "whole number"),
        ([NAIVE + "Z"], 3, "count goes with a duration"),
        (pd.DataFrame({"id": ["a"], "time": [NAIVE + "Z"]}), 3, "count goes with a duration"),
    ],
)
def test_a_count_that_makes_no_sense_is_refused(at, count, message):
    with pytest.raises(SchemaError, match=message):
        query_times(two(), at, count)


def test_steps_between_integers_are_refused_with_the_way_out():
    with pytest.raises(SchemaError, match=r"between integers.*convert it to float, or ask for whole"):
        query_times(history([1, 2]), 1, 2)


def test_identifiers_of_the_other_type_are_explained():
    frame = numeric([0, 1]).assign(id=[7, 12])
    with pytest.raises(SchemaError, match=r"series '12' is not.*it has 12, of type int: convert"):
        query_times(SeriesDataset.from_frame(frame), pd.DataFrame({"id": ["12"], "time": [3]}))
    text = SeriesDataset.from_frame(frame.assign(id=["7", "12"]))
    with pytest.raises(SchemaError, match=r"series 7 is not.*it has '7', of type str: convert"):
        query_times(text, pd.DataFrame({"id": [7], "time": [3]}))


def test_asking_leaves_frame_and_history_as_they_were():
    dataset, at = two(), pd.DataFrame({"id": ["b"], "time": ["2024-04-06T00:00Z"]})
    before, table = at.copy(deep=True), dataset.to_frame()
    query_times(dataset, at)
    pd.testing.assert_frame_equal(at, before)
    pd.testing.assert_frame_equal(dataset.to_frame(), table)


def test_times_along_a_series_run_from_its_first_observation_to_beyond_its_last():
    asked = times_along(two(), 6.0, 4)
    assert asked.time.tolist() == [0, 6, 12, 18] * 2
    days = times_along(history(DAYS), 2.0, 20)
    assert [d.day for d in days.keys["time"]] == [27, 28, 29, 1]
    assert times_along(SeriesDataset.from_frame(wide(), Schema()), 1.0, 3).time.shape == (9,)
