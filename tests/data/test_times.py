"""What a time column holds comes out as it went in, and what cannot be read is refused."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from latentode.data import Schema, SeriesDataset, TimeAxis
from latentode.data.cells.time_reading import parse_times
from latentode.errors import SchemaError

BERLIN = pd.date_range("2024-03-31 00:30", periods=5, freq="47min", tz="Europe/Berlin")


def dataset(times, **schema):
    frame = pd.DataFrame({"id": "s", "time": times, "x": np.arange(float(len(times)))})
    return SeriesDataset.from_frame(frame, Schema(**schema))


def naive(unit):
    return pd.Series(
        pd.to_datetime(["2024-01-01", "2024-01-01 00:00:07", "2031-05-05"], format="ISO8601")
    ).dt.as_unit(unit)


KINDS = {
    "utc": pd.Series(
        pd.to_datetime(["2024-01-01T00:00:00Z", "2024-01-02T03:04:05.000006Z"], format="ISO8601")
    ),
    "clock change": pd.Series(BERLIN),
    "fixed offset": pd.Series(
        pd.to_datetime(["2024-01-01T00:00:00+05:30", "2024-01-09T00:00:00+05:30"])
    ),
    **{unit: naive(unit) for unit in ("s", "ms", "us", "ns")},
    "nanoseconds": pd.Series(pd.to_datetime([1712318399123456789, 1712318399123456790])),
    "long ago": pd.Series(np.array(["1066-10-14", "2999-01-01"], dtype="M8[s]")),
    "dates": pd.Series([dt.date(2024, 2, 28), dt.date(2024, 3, 1)], dtype=object),
    "integers": pd.Series([-3, 0, 2**60 + 1]),
    "small integers": pd.Series([1, 5], dtype="int16"),
    "nullable integers": pd.Series([1, 5], dtype="Int64"),
    "floats": pd.Series([0.1, 0.30000000000000004, 1e9]),
    "short floats": pd.Series([0.1, 0.5], dtype="float32"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_times_come_out_as_they_went_in(kind):
    times = KINDS[kind].rename("time")
    pd.testing.assert_series_equal(dataset(times).to_frame()["time"], times, check_exact=True)


@pytest.mark.parametrize("kind", [k for k in KINDS if "small" not in k and "null" not in k])
def test_restoring_ticks_gives_the_times_back(kind):
    times = KINDS[kind]
    axis = dataset(times).axis
    restored = axis.restore(axis.ticks_of(times))
    expected = times.astype("float64") if kind == "short floats" else times
    pd.testing.assert_series_equal(restored, expected, check_exact=True, check_names=False)


def test_elapsed_time_crosses_a_clock_change_without_a_jump():
    np.testing.assert_array_equal(dataset(BERLIN).time, np.arange(5) * 47 / 60)


def test_two_stamps_a_nanosecond_apart_stay_apart():
    times = KINDS["nanoseconds"]
    np.testing.assert_array_equal(dataset(times, time_unit="s").time, [0.0, 1e-9])


def test_large_integers_are_subtracted_exactly():
    np.testing.assert_array_equal(dataset(pd.Series([2**55, 2**55 + 1])).time, [0.0, 1.0])


@pytest.mark.parametrize(
    ("unit", "hours"), [("s", 1 / 3600), ("min", 1 / 60), ("h", 1), ("D", 24), ("W", 168)]
)
def test_every_time_unit_measures_the_same_time(unit, hours):
    times = pd.to_datetime(["2024-01-01", "2024-01-15"])
    assert dataset(times, time_unit=unit).time[1] == pytest.approx(14 * 24 / hours, rel=1e-15)


def test_dates_count_in_days_unless_told():
    assert dataset(KINDS["dates"]).time.tolist() == [0.0, 2.0]
    assert dataset(KINDS["dates"], time_unit="h").time.tolist() == [0.0, 48.0]


def test_the_resolved_schema_reads_another_table_in_the_same_units():
    resolved = dataset(KINDS["dates"]).schema
    frame = pd.DataFrame({"id": "s", "time": ["2024-01-01T00:00", "2024-01-01T12:00"], "x": 1.0})
    assert SeriesDataset.from_frame(frame, resolved).time.tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        (["2024-01-01", "2024-01-02 03:00"], None),
        (["2024-01-01T00:00:00Z", "2024-01-01T01:00:00+00:00"], "UTC"),
        (["2024-01-01T00:00:00+02:00", "2024-01-02T00:00:00+0200"], "UTC+02:00"),
        (["2024-01-01T00:00:00+02", "2024-01-02T00:00:00+02:00"], "UTC+02:00"),
    ],
)
def test_iso_text_is_read_with_the_zone_that_it_names(text, zone):
    read = dataset(text)
    assert read.axis.timezone == zone
    assert (
        read.to_frame()["time"].tolist() == pd.to_datetime(pd.Series(text), format="ISO8601").tolist()
    )


def test_mixed_offsets_need_a_zone_to_convert_to():
    text = ["2024-03-31T01:30:00+01:00", "2024-03-31T03:30:00+02:00"]
    with pytest.raises(SchemaError, match=r"`time` mixes.*'\+02:00' at row 1.*timezone="):
        dataset(text)
    read = dataset(text, timezone="Europe/Berlin")
    assert read.time.tolist() == [0.0, 1.0]
    assert str(read.to_frame()["time"].dt.tz) == "Europe/Berlin"


def test_datetime_objects_of_one_zone_are_one_zone_across_a_clock_change():
    assert dataset(pd.Series(list(BERLIN), dtype=object)).axis.timezone == "Europe/Berlin"


def test_naive_times_are_placed_in_the_zone_and_aware_ones_converted():
    read = dataset(["2024-07-01T12:00"], timezone="Europe/Berlin").to_frame()["time"][0]
    assert read == pd.Timestamp("2024-07-01T10:00Z")
    aware = dataset(["2024-07-01T12:00Z"], timezone="Europe/Berlin").to_frame()["time"][0]
    assert aware.isoformat() == "2024-07-01T14:00:00+02:00"


def test_a_time_format_is_used_for_text_and_for_integers():
    text = dataset(["31/12/2023 23:00", "01/01/2024 01:30"], time_format="%d/%m/%Y %H:%M")
    assert text.time.tolist() == [0.0, 2.5]
    digits = dataset(pd.Series([20231231, 20240101]), time_format="%Y%m%d")
    assert digits.time.tolist() == [0.0, 1.0] and digits.axis.time_unit == "D"


def test_the_resolved_schema_still_knows_the_time_format():
    times = ["31/12/2023", "01/01/2024"]
    assert dataset(times, **vars(dataset(times, time_format="%d/%m/%Y").schema)).time[1] == 1.0


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        (["2024-01-01", "soon"], {}, "`time` holds 'soon' at row 1.*ISO8601; correct it.*time_format="),
        (["2024-01-01", "2024-13-01"], {}, "'2024-13-01' at row 1"),
        (["01/02/2024"], {"time_format": "%d.%m.%Y"}, r"'01/02/2024' at row 0.*format %d\.%m\.%Y"),
        (["1.5", "2.5", "x"], {}, "holds numbers, but 'x' at row 2; correct it"),
        (["2024-01-01T00:00", None], {}, "no time at row 1; give each row"),
        ([0.0, np.nan], {}, "no time at row 1"),
        ([0.0, np.inf], {}, "infinite at row 1; correct it"),
        ([True, False], {}, "booleans; give it datetimes or numbers"),
        (["2024-01-01T00:00Z", "2024-01-02T00:00"], {}, "with and without a zone, first at row 1"),
        (["2024-01-01", "2024-01-02T00:00Z"], {"timezone": "UTC"}, "with and without a zone"),
        ([1, 2], {"timezone": "UTC"}, "numbers, which have no timezone; leave it out"),
        ([dt.date(2024, 1, 1)], {"timezone": "UTC"}, "dates, which have no timezone; leave it out"),
        (["2024-01-01T00:00"], {"timezone": "Mars/Base"}, "'Mars/Base' is unknown.*IANA"),
        (
            ["2024-03-31T01:00", "2024-03-31T02:30"],
            {"timezone": "Europe/Berlin"},
            "02:30.*row 1.*offset",
        ),
        (["2024-10-27T02:30"], {"timezone": "Europe/Berlin"}, "twice when its clocks changed"),
    ],
)
def test_times_that_cannot_be_read_name_row_and_fix(times, options, message):
    with pytest.raises(SchemaError, match=message):
        dataset(times, **options)


def test_a_format_with_several_offsets_needs_a_zone_too():
    text, form = ["2024/01/01 00:00 +0100", "2024/07/01 00:00 +0200"], "%Y/%m/%d %H:%M %z"
    with pytest.raises(SchemaError, match=r"mixes time zones.*timezone="):
        dataset(text, time_format=form)
    assert len(dataset(text, time_format=form, timezone="UTC")) == 1


HOURS, STEPS = TimeAxis("datetime"), TimeAxis("integer", unit="1", time_unit="1")
DECLARED, DATES = TimeAxis("datetime", declared=True), TimeAxis("date", time_unit="D")


@pytest.mark.parametrize(
    ("axis", "duration", "units"),
    [
        (HOURS, "24h", 24.0),
        (HOURS, "1D 12h", 36.0),
        (HOURS, "1d12H", 36.0),
        (HOURS, "2w", 336.0),
        (HOURS, "30MIN", 0.5),
        (HOURS, "30m", 0.5),
        (HOURS, "36S", 0.01),
        (HOURS, "3600ms", 0.001),
        (HOURS, "PT90M", 1.5),
        (HOURS, "P1DT30M", 24.5),
        (HOURS, dt.timedelta(minutes=30), 0.5),
        (HOURS, pd.Timedelta("7D"), 168.0),
        (HOURS, np.timedelta64(90, "m"), 1.5),
        (DECLARED, 3, 3.0),
        (DECLARED, np.int64(3), 3.0),
        (DECLARED, "3", 3.0),
        (DATES, 3, 3.0),
        (DATES, "3", 3.0),
        (DATES, "48h", 2.0),
        (STEPS, 2.5, 2.5),
        (STEPS, np.float32(2.5), 2.5),
        (STEPS, "2.5", 2.5),
    ],
)
def test_durations_are_counted_in_the_axis_own_unit(axis, duration, units):
    assert axis.duration(duration) == units


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["1h", "1H", "1d", "1D", "1S", "1w", "1US", "1 Min"])
def test_a_unit_may_be_written_large_or_small_where_it_means_one_thing(text):
    assert HOURS.duration(text) > 0


@pytest.mark.parametrize(
    "text",
    [
        *("1M", "1MS", "2.5Ms", "1mS", "1ME", "1D 2M", "1Q", "1QS", "1Y", "1y", "1mo", "3 months"),
        *("1year", "P1M", "P1Y", "P1Y2M10D", "P1MT5H"),
    ],
)
def test_a_duration_in_months_or_years_is_refused(text):
    with pytest.raises(SchemaError, match=r"may be in months or years.*'30D'.*'5min' and '5ms'"):
        HOURS.duration(text)


def test_a_plain_number_is_a_duration_of_datetimes_where_a_unit_was_declared():
    days = dataset(KINDS["utc"], time_unit="D").axis
    assert days.duration("2") == days.duration(2) == days.duration("2D") == 2.0
    undeclared = dataset(KINDS["utc"]).axis
    for given in (7, 7.0, "7", np.int64(7), np.float32(7)):
        with pytest.raises(
            SchemaError, match=r"horizon .*7.* has no unit.*: 7(\.0)?h or 7(\.0)?D\? Write"
        ):
            undeclared.duration(given)
    # What has been resolved is not asked for its unit again.
    assert undeclared.duration(undeclared.duration("7D")) == 168.0


@pytest.mark.parametrize(
    ("axis", "duration", "message"),
    [
        (HOURS, "24", "horizon '24' has no unit.*Write '24h', '24D' or '24s', or say.*time_unit="),
        (HOURS, "soon", "'soon' is not a duration"),
        (HOURS, True, "True is not a duration"),
        (HOURS, None, "positive and finite|not a duration"),
        (HOURS, "-2h", "must be positive and finite, got '-2h'"),
        (HOURS, 0, "must be positive"),
        (HOURS, float("nan"), "must be positive"),
        (STEPS, "24h", "calendar duration, but the time column holds numbers; give a number"),
        (STEPS, pd.Timedelta("1h"), "calendar duration"),
        (STEPS, np.timedelta64(1, "h"), "calendar duration"),
    ],
)
def test_what_is_no_duration_is_refused(axis, duration, message):
    with pytest.raises(SchemaError, match=message):
        axis.duration(duration)


@pytest.mark.parametrize(
    ("kind", "tick", "message"),
    [
        ("integers", 0.5, "between integers.*convert it to float"),
        ("dates", 3_600_000_000, "within a day.*pandas.to_datetime"),
    ],
)
def test_a_time_that_the_column_cannot_hold_is_refused(kind, tick, message):
    axis = dataset(KINDS[kind]).axis
    with pytest.raises(SchemaError, match=message):
        axis.restore(np.array([tick]))


def test_reading_times_leaves_the_column_as_it_was():
    column = pd.Series(["2024-01-01T00:00Z", "2024-01-02T00:00Z"])
    before = column.copy(deep=True)
    parse_times(column, "time", None, "Europe/Berlin")
    pd.testing.assert_series_equal(column, before)
