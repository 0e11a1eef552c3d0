"""Tables as people bring them: what is read as what, and what is refused with which fix."""

import datetime as dt
import io
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow
import pytest

from latentode.data import Schema, SeriesDataset
from latentode.data.cells.columns import to_pandas
from latentode.data.cells.usual_names import ID_NAMES, TIME_NAMES, VALUE_NAMES, VARIABLE_NAMES
from latentode.data.files.table_files import read_table
from latentode.data.queries import query_times
from latentode.data.report import inspect
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.reading import read_columns
from latentode.errors import SchemaError

MORNING = pd.Timestamp("2024-03-01 08:00")


def table(text):
    """A table of cells separated by blanks; "_" stands for a blank within a cell, "." for none."""
    lines = [re.split(r"\s+", line.strip()) for line in text.strip().splitlines()]
    cells = [[cell.replace("_", " ") for cell in line] for line in lines]
    frame = pd.DataFrame(cells[1:], columns=cells[0]).replace("~", None)
    stream = io.StringIO()
    frame.to_csv(stream, index=False)
    stream.seek(0)
    return pd.read_csv(stream)


def said(frame, **schema):
    """What is read and said of a table."""
    read = read_columns(frame, Schema(**schema))
    return read, " ".join(read.notes)


# ------------------------------------------------------------- which rows are of one series

TWO = "time x\n1 1\n3 2\n7 3\n2 4\n4 5\n8 6"


def labelled(name, labels="a a a b b b", frame=TWO):
    made = table(frame)
    return made.assign(**{name: labels.split()})


def test_every_usual_name_of_an_identifier_is_found_and_said():
    for name in ID_NAMES:
        frame = labelled(name)
        if name in TIME_NAMES:
            continue
        read, notes = said(frame)
        assert read.schema.id == name, name
        assert f"`{name}` names the series, of which there are 2" in notes or name in ID_NAMES[:4]


@pytest.mark.parametrize("name", ["Patient ID", "patient-id", "PatientId", "STATION", "Sensor (name)"])
def test_names_are_compared_without_case_blanks_and_brackets(name):
    assert Schema().resolve(labelled(name)).id == name


EVERY_PAIR = [(v, w) for v in VARIABLE_NAMES for w in VALUE_NAMES if v != w and w != "y"]
# Each name several times, in other company each time.
COVERING = EVERY_PAIR[:: len(VALUE_NAMES) // 2 - 1]


@pytest.mark.parametrize("pairs", [COVERING, pytest.param(EVERY_PAIR, marks=pytest.mark.slow)], ids=len)
def test_every_usual_pair_of_names_makes_a_table_long(pairs):
    for names, usual in zip(zip(*pairs, strict=True), (VARIABLE_NAMES, VALUE_NAMES), strict=True):
        assert {*usual} - {*names} <= {"y"}
    for variable, value in pairs:
        frame = table("time k v\n1 hr 60\n1 temp 37.1\n2 hr 61\n3 temp 37.2")
        frame = frame.rename(columns={"k": variable, "v": value}).assign(id="p")
        schema = Schema().resolve(frame)
        assert (schema.layout, schema.variable, schema.value) == ("long", variable, value)
        assert schema.targets == ("hr", "temp")


def test_labels_of_an_unusual_name_are_found_by_the_times_that_go_back():
    for labels in ("a a a b b b", "1 1 1 2 2 2"):
        frame = labelled("proband", labels)
        if labels[0] == "1":
            frame["proband"] = frame["proband"].astype(int)
        read, notes = said(frame)
        assert read.schema.id == "proband" and read.schema.targets == ("x",)
        assert "times go back or repeat" in notes


def test_labels_are_found_by_the_times_that_repeat():
    frame = table("time who x y\n1 a 1 5\n1 b 2 6\n2 a 3 7\n2 b 4 8\n3 a 5 9\n3 b 6 9")
    assert Schema().resolve(frame).id == "who"
    newest_first = frame.iloc[::-1].reset_index(drop=True)
    assert Schema().resolve(newest_first).id == "who"


def test_an_unnamed_variable_is_found_where_times_of_a_series_repeat():
    frame = table(
        "id time what x\np 1 hr 60\np 1 temp 37\np 2 hr 61\np 2 temp 37\nq 1 hr 60\nq 1 temp 38"
    )
    schema = Schema().resolve(frame)
    assert (schema.layout, schema.variable, schema.value) == ("long", "what", "x")


REFUSED = {
    "interleaved series": (
        "time who x\n1 a 1\n2 b 2\n3 a 3\n4 b 4",
        "labels that repeat.*'a', 'b'.*id='who'.*variable='who' and value='x'.*leave_out='who'",
    ),
    "interleaved variables": (
        "id time what x\np 1 hr 60\np 2 temp 37\np 3 hr 61\np 4 temp 37",
        "`what` holds labels.*variable='what' and value='x'.*leave_out='what'",
    ),
    "series in disorder": (
        "time who x y\n4 a 1 1\n2 b 2 2\n3 a 3 3\n1 b 4 4\n9 a 1 1\n7 b 1 1",
        "`who` holds labels.*id='who'",
    ),
    "two columns together": (
        "store item time x\n1 1 1 5\n1 2 1 5\n2 1 1 5\n2 2 1 5\n1 1 2 5\n1 2 2 5\n2 1 2 5\n2 2 2 5",
        "`store` and `item` only together name the series",
    ),
    "a count or a name": (
        "time unit x\n1 5 1\n2 7 2\n3 5 3\n4 7 4\n5 5 2",
        "`unit` may name the series or be a variable; say id='unit'.*targets=",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_labels_of_several_readings_are_refused_with_the_options_that_name_them(kind):
    text, message = REFUSED[kind]
    with pytest.raises(SchemaError, match=message):
        Schema().resolve(table(text))


def test_each_option_of_such_a_refusal_is_a_way_out():
    frame = table(REFUSED["interleaved series"][0])
    assert Schema(id="who").resolve(frame).id == "who"
    assert Schema(variable="who", value="x").resolve(frame).targets == ("a", "b")
    left = Schema(leave_out="who").resolve(frame)
    assert (left.id, left.targets) == (None, ("x",))
    assert left.resolve(frame) == left


@pytest.mark.parametrize(
    "column",
    [
        ["note", "note", "note", "note"],
        ["a", "b", "c", "d"],
        ["yes", "no", "yes", "no"],
        [1.5, 2, 1.5, 2],
    ],
)
def test_text_that_says_the_same_or_never_the_same_splits_nothing(column):
    frame = table("time x\n1 1\n2 2\n3 3\n4 4").assign(c=column)
    assert Schema().resolve(frame).id is None


def test_labels_within_series_that_have_several_variables_are_left_out_and_that_is_reported():
    frame = table("id time sky x y\np 1 sun 1 1\np 2 rain 2 2\np 3 sun 3 1\np 4 rain 1 2")
    report = inspect(frame)
    assert (report.schema.targets, report.left_out, report.reasons) == (
        ("x", "y"),
        ("sky",),
        ("labels that change within a series",),
    )


def test_row_numbers_and_other_identifiers_are_no_variables():
    frame = table("index id hadm_id time x\n1 p 77 1 1\n2 p 77 2 2\n3 q 78 1 3\n4 q 78 2 4")
    assert Schema().resolve(frame).targets == ("x",)


def test_an_identifier_of_the_rows_gives_way_to_one_of_series():
    frame = table("id patient time x\n1 a 1 1\n2 a 2 2\n3 b 1 3\n4 b 2 4")
    assert Schema().resolve(frame).id == "patient"


def test_numbers_that_a_long_table_leaves_out_are_said():
    frame = table("id time variable value temp\np 1 hr 60 37.1\np 2 hr 61 37.2\np 3 hr 62 37.5")
    assert "looks like data: `temp`" in said(frame)[1]
    assert said(frame, leave_out="temp")[1] == ""


@pytest.mark.parametrize("name", ["mean", "variable", "std", "sample", "value", "q0.5", "q.05"])
@pytest.mark.parametrize("role", ["id", "time"])
def test_an_identifier_or_time_called_like_a_column_of_answers_is_refused(name, role):
    frame = table("id time x\na 1 1\na 2 2").rename(columns={role: name})
    with pytest.raises(SchemaError, match=f"`{re.escape(name)}` names the .*; rename it"):
        Schema(**{role: name}, layout="wide").resolve(frame)


# ------------------------------------------------------------------------------------ times

DAY = pd.Timestamp("2024-03-01")
TIMES = {
    "yyyymmdd": ([20240301, 20240302], DAY, {}),
    "yyyymmdd text": (["20240301", "20240302"], DAY, {}),
    "yyyymmddhh": ([2024030108, 2024030109], MORNING, {}),
    "yyyymmddhhmm": ([202403010800, 202403010805], MORNING, {}),
    "yyyymmddhhmmss": ([20240301080000, 20240301080500], MORNING, {}),
    "epoch-s": ([1709280000, 1709283600], MORNING.tz_localize("UTC"), {}),
    "epoch-s as floats": ([1709280000.0, 1709283600.5], MORNING.tz_localize("UTC"), {}),
    "epoch-ms": ([1709280000000, 1709283600000], MORNING.tz_localize("UTC"), {}),
    "epoch-us": ([1709280000000000, 1709283600000000], MORNING.tz_localize("UTC"), {}),
    "epoch-ns": ([1709280000000000000, 1709283600000000000], MORNING.tz_localize("UTC"), {}),
    "epoch in a zone": (
        [1709280000, 1709283600],
        pd.Timestamp("2024-03-01 09:00", tz="Europe/Berlin"),
        {"timezone": "Europe/Berlin"},
    ),
    "small epoch": ([0, 3600], pd.Timestamp("1970-01-01", tz="UTC"), {"time_format": "epoch-s"}),
    "excel": ([45352 + 1 / 3 + i * 61 / 86400 for i in range(12)], MORNING, {}),
    "excel told": ([45352.333333, 45353.5], MORNING, {"time_format": "excel"}),
    "short dates": ([240301, 240302], DAY, {"time_format": "20yymmdd"}),
    "short dates before": ([40301, 40302], pd.Timestamp("1904-03-01"), {"time_format": "19yymmdd"}),
    "decimal years": ([2024.5, 2025.5], pd.Timestamp("2024-07-02"), {"time_format": "decimal-year"}),
    "end of a day": (["2024-02-29T24:00:00", "2024-03-01T12:00"], DAY, {}),
    "comma fraction": (
        ["2024-03-01 08:00:00,500", "2024-03-01 08:00:01,500"],
        MORNING + pd.Timedelta("500ms"),
        {},
    ),
    "UTC after it": (["2024-03-01 08:00 UTC", "2024-03-01 09:00 UTC"], MORNING.tz_localize("UTC"), {}),
    "zone after it": (
        ["2024-03-01 08:00 Europe/Berlin", "2024-03-01 09:00 Europe/Berlin"],
        MORNING.tz_localize("Europe/Berlin"),
        {},
    ),
    "zone in brackets": (
        ["2024-03-01T08:00+01:00[Europe/Berlin]", "2024-03-01T09:00+01:00[Europe/Berlin]"],
        MORNING.tz_localize("Europe/Berlin"),
        {},
    ),
    "week": (["2024-W09", "2024-W10"], pd.Timestamp("2024-02-26"), {}),
    "day of a week": (["2024-W09-5", "2024-W10-5"], DAY, {}),
    "quarter": (["2024Q1", "2024Q2"], pd.Timestamp("2024-01-01"), {}),
    "quarter first": (["Q1 2024", "Q2 2024"], pd.Timestamp("2024-01-01"), {}),
    "month": (["2024M03", "2024M04"], DAY, {}),
    "points": (["01.03.2024 08:00", "02.03.2024 08:00"], MORNING, {}),
    "day first": (["01/03/2024 08:00", "13/03/2024 08:00"], MORNING, {}),
    "month first": (["03/01/2024 08:00 AM", "03/13/2024 08:00 PM"], MORNING, {}),
    "month in words": (["01-Mar-2024 08:00", "02-Mar-2024 09:00"], MORNING, {}),
    "in German": (
        ["Freitag, 1. März 2024 08:00 Uhr", "Donnerstag, 2. Mai 2024 09:00 Uhr"],
        MORNING,
        {},
    ),
    "in French": (["ven. 1er mars 2024", "mar. 2 juil. 2024"], DAY, {}),
    "in French at an hour": (
        ["vendredi 1 mars 2024 à 08h00", "mardi 2 juil. 2024 à 9h30"],
        MORNING,
        {},
    ),
    "in Spanish": (["1 de marzo de 2024 8:00", "2 de diciembre de 2024 9:00"], MORNING, {}),
    "in Italian": (["01-mar-2024", "02-giu-2024"], DAY, {}),
    "in Portuguese": (["1/mar/2024 08:00", "2/fev/2025 09:00"], MORNING, {}),
    "in Dutch": (["1 mrt 2024", "2 mei 2024"], DAY, {}),
    "in Swedish": (["fre 1 mars 2024 kl. 08:00", "tors 2 maj 2024 kl. 09:00"], MORNING, {}),
    "months in German": (["Mär 2024", "Dez 2024"], DAY, {}),
    "as a browser writes": (
        ["Fri Mar 01 2024 08:00:00 GMT+0200 (CEST)", "Sat Mar 02 2024 08:00:00 GMT+0200 (CEST)"],
        pd.Timestamp("2024-03-01T08:00+02:00"),
        {},
    ),
    "as mail writes": (
        ["Fri, 01 Mar 2024 08:00:00 +0000", "Sat, 02 Mar 2024 08:00:00 +0000"],
        MORNING.tz_localize("UTC"),
        {},
    ),
    "day of the year": (["2024-061", "2024-062"], DAY, {}),
    "periods": (pd.period_range("2024-03", periods=2, freq="M"), DAY, {}),
    "categories": (pd.Categorical(["2024-03-01", "2024-03-02"]), DAY, {}),
    "arrow": (
        pd.array([MORNING, MORNING + pd.Timedelta("1h")], dtype="timestamp[us][pyarrow]"),
        MORNING,
        {},
    ),
    "arrow in a zone": (
        pd.array(
            [MORNING.tz_localize("UTC"), MORNING.tz_localize("UTC") + pd.Timedelta("1h")],
            dtype="timestamp[ns, tz=UTC][pyarrow]",
        ),
        MORNING.tz_localize("UTC"),
        {},
    ),
    "arrow dates": (
        pd.array([dt.date(2024, 3, 1), dt.date(2024, 3, 2)], dtype="date32[pyarrow]"),
        dt.date(2024, 3, 1),
        {},
    ),
    "durations": (pd.to_timedelta([90, 150], unit="min"), pd.Timedelta("90min"), {}),
    "durations in words": (["1 days 02:00:00", "2 days 00:00:00"], pd.Timedelta("26h"), {}),
    "hours beyond a day": (["23:00:00", "25:30:00"], pd.Timedelta("23h"), {}),
    "durations of ISO 8601": (["PT2H", "P1DT3H"], pd.Timedelta("2h"), {}),
    "hours and minutes told": (["02:30", "03:00"], pd.Timedelta("150min"), {"time_format": "elapsed"}),
    "plain numbers": ([3, 4], 3, {}),
    "numbers as objects": (np.array([3, 4], dtype=object), 3, {}),
    "coded dates as objects": (np.array([20240301, 20240302], dtype=object), DAY, {}),
    "plain numbers as text": (["1000", "1500"], 1000, {}),
    "plain numbers told": ([20240301, 20240302], 20240301, {"time_format": "number"}),
}


@pytest.mark.parametrize("kind", TIMES)
def test_a_column_of_times_is_read_as_people_write_it(kind):
    times, first, schema = TIMES[kind]
    frame = pd.DataFrame({"id": "s", "time": times, "x": np.arange(float(len(times)))})
    read = SeriesDataset.from_frame(frame, Schema(**schema))
    column = read.to_frame()["time"]
    assert column.iloc[0] == first
    assert str(getattr(column.iloc[0], "tzinfo", None)) == str(getattr(first, "tzinfo", None))
    # What was found is kept, so that later tables, and times that are asked for, are read so too.
    again = SeriesDataset.from_frame(frame, read.schema)
    np.testing.assert_array_equal(again.time, read.time)
    asked = pd.Series(times).iloc[:1].reset_index(drop=True)
    if schema.get("timezone") is None:
        assert read.axis.parse(asked, "at").iloc[0] == first


NAMED_TIMES = {
    "days of a spreadsheet": ("Date", [45352, 45353], "2024-03-01"),
    "decimal years": ("date", [1958.2083, 1958.2917], "1958-03-18"),
}


@pytest.mark.parametrize("kind", NAMED_TIMES)
def test_numbers_under_the_name_of_a_date_are_dates(kind):
    name, times, day = NAMED_TIMES[kind]
    read, notes = said(pd.DataFrame({name: times, "x": 1.0}))
    assert str(read.table[name].iloc[0].date()) == day and "time_format='number'" in notes


BAD_TIMES = {
    "either way round": (
        ["03/04/2024 10:00"],
        {},
        r"03 April 2024 or 04 March 2024; give time_format='%d/%m",
    ),
    "times of day": (["08:00", "09:00"], {}, "without a date.*date=.*time_format='elapsed'"),
    "a change of unit": (
        [1709280000, 1709283600000],
        {},
        "changes its unit at row 1: .*epoch-ms after epoch-s",
    ),
    "no such digits": ([20241301], {"time_format": "yyyymmdd"}, "20241301 at row 0.*form yyyymmdd"),
    "no such week": (["2024-W54"], {"time_format": "week"}, "2024-W54.*form week"),
    "no format": (["2024-03-01"], {"time_format": "%Q"}, "format"),
    "no zone": (["2024-03-01"], {"timezone": ""}, "timezone '' is unknown"),
    "a duration in a zone": (["PT1H"], {"timezone": "UTC"}, "durations, which have no timezone"),
    "beyond 64 bits": (np.array([2**63 + 1, 2**63 + 2], dtype="uint64"), {}, "too large to be counted"),
    "as far apart as 64 bits": ([-(2**62), 2**62 + 5], {}, "too large to be counted"),
    "seconds beyond 64 bits": ([1e15], {"time_format": "epoch-s"}, "not a time in the form epoch-s"),
    "an unknown century": ([240301, 240302], {}, "without its century; give time_format='20yymmdd'"),
}


@pytest.mark.parametrize("kind", BAD_TIMES)
def test_times_of_several_readings_or_none_are_refused(kind):
    times, schema, message = BAD_TIMES[kind]
    with pytest.raises(SchemaError, match=message):
        read_columns(pd.DataFrame({"date": times, "x": 1.0}), Schema(**schema))


@pytest.mark.parametrize(
    ("times", "form"), [([45000.2, 45001.7], "excel"), ([315532800, 315536400], "epoch-s")]
)
def test_numbers_that_may_be_dates_are_pointed_out(times, form):
    read, notes = said(pd.DataFrame({"time": times, "x": 1.0}))
    assert not read.axis.is_calendar and f"time_format='{form}'" in notes


CLOCKS = {
    "text": ["08:00", "20:30"],
    "numbers": [800, 2030],
    "packed": ["0800", "2030"],
    "halves of a day": ["8:00 AM", "8:30 PM"],
    "objects": [dt.time(8), dt.time(20, 30)],
}


@pytest.mark.parametrize("kind", CLOCKS)
def test_days_and_times_of_day_in_two_columns_are_joined(kind):
    for days in (["2024-03-01", "2024-03-01"], [20240301, 20240301], ["01.03.2024", "01.03.2024"]):
        frame = pd.DataFrame({"date": days, "time": CLOCKS[kind], "x": [1.0, 2.0]})
        read, notes = said(frame)
        assert read.table["time"].tolist() == [MORNING, MORNING + pd.Timedelta("12.5h")]
        assert "those of `time` on the days of `date`" in notes
        assert read.schema.targets == ("x",)
        # A table whose times are whole already is read as it is.
        assert (
            read_columns(read.table, read.schema).table["time"].tolist() == read.table["time"].tolist()
        )
    assert Schema(date="date").resolve(frame).date == "date"


def test_the_hour_that_comes_twice_is_told_apart_by_the_order_of_rows():
    times = [
        "2023-10-29 01:30",
        "2023-10-29 02:00",
        "2023-10-29 02:30",
        "2023-10-29 02:00",
        "2023-10-29 03:00",
    ]
    frame = pd.DataFrame({"time": times, "x": 1.0})
    read = SeriesDataset.from_frame(frame, Schema(timezone="Europe/Berlin"))
    np.testing.assert_array_equal(read.time, [0.0, 0.5, 1.0, 1.5, 2.5])
    reverse = SeriesDataset.from_frame(frame[::-1], Schema(timezone="Europe/Berlin"))
    np.testing.assert_array_equal(reverse.time, read.time)


def test_times_that_repeat_in_a_night_may_be_those_of_a_clock_that_was_set_back():
    times = ["2023-10-29 02:00", "2023-10-29 02:30", "2023-10-29 02:00", "2023-10-29 02:30"]
    frame = pd.DataFrame({"time": times, "x": 1.0})
    with pytest.raises(SchemaError, match=r"give timezone= if clocks .*; or remove them, or cho"):
        SeriesDataset.from_frame(frame)
    by_day = frame.assign(time=[t.replace(" 02", " 12") for t in times])
    with pytest.raises(SchemaError, match=r"12:00:00\); remove .*Forecaster\(duplicates='mean'\)$"):
        SeriesDataset.from_frame(by_day)


def test_where_the_order_does_not_say_which_hour_is_meant_an_option_does():
    frame = pd.DataFrame({"time": ["2023-10-29 01:30", "2023-10-29 02:30"], "x": 1.0})
    with pytest.raises(SchemaError, match=r"passed twice.*repeated_hour='first' or 'second'"):
        read_columns(frame, Schema(timezone="Europe/Berlin"))
    for which, hours in (("first", 1.0), ("second", 2.0)):
        schema = Schema(timezone="Europe/Berlin", repeated_hour=which)
        assert SeriesDataset.from_frame(frame, schema).time[1] == hours


def test_a_time_years_away_from_all_others_is_pointed_out_with_its_row():
    days = [*pd.date_range("2024-03-01", periods=9).astype(str), "2034-03-02"]
    assert "2034-03-02 00:00:00 at row 9, years away" in said(pd.DataFrame({"time": days, "x": 1.0}))[1]
    yearly = pd.DataFrame({"time": pd.date_range("1950", periods=30, freq="YS"), "x": 1.0})
    assert said(yearly)[1] == ""


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_times_ahead_that_64_bits_cannot_hold_are_refused(unit):
    times = pd.Series(pd.date_range("2024-03-01", periods=3, freq="h")).astype(f"datetime64[{unit}]")
    history = SeriesDataset.from_frame(pd.DataFrame({"time": times, "x": 1.0}))
    for ahead in ("213750D", f"{10**8}D"):
        if unit == "us" and ahead == "213750D":
            continue
        with pytest.raises(SchemaError, match="too far ahead"):
            query_times(history, ahead)
    if unit == "ns":
        with pytest.raises(SchemaError, match="cannot be held in ns"):
            query_times(history, ["2300-01-01"])


# ----------------------------------------------------------------------------------- numbers

NUMBERS = {
    "thousands": (["9,051", "13,666.5"], [9051, 13666.5], "stands between thousands"),
    "thousands twice": (["1,234,567", "12"], [1234567, 12], "stands between thousands"),
    "thousands in India": (["1,23,456", "2,000"], [123456, 2000], "stands between thousands"),
    "decimal comma": (["73,6", "76,25"], [73.6, 76.25], "decimal sign"),
    "both": (["1.234,56", "7,1"], [1234.56, 7.1], "decimal sign"),
    "blank between thousands": (["1 234", "12 000,5"], [1234, 12000.5], "thousands"),
    "narrow blank": (["1\u202f234", "12\u202f000"], [1234, 12000], "thousands"),
    "apostrophe": (["1'234", "12"], [1234, 12], "thousands"),
    "unit": (["98.6 F", "99 F"], [98.6, 99], "all are in 'F'"),
    "unit at once": (["12mg", "13.5mg"], [12, 13.5], "all are in 'mg'"),
    "per cent": (["45%", "3.5 %"], [45, 3.5], "per cent"),
    "currency": (["$5", "-$1,200.5"], [5, -1200.5], r"all are in '\$'"),
    "currency after it": (["12 €", "13,5 €"], [12, 13.5], "all are in '€'"),
    "currency in letters": (["USD 12.30", "USD 4"], [12.3, 4], "all are in 'USD'"),
    "brackets of accountants": (["76.1", "(77.2)"], [76.1, -77.2], "brackets are negative"),
    "blank after the sign": (["- 0.5", "+ 0.7"], [-0.5, 0.7], "read as numbers"),
    "sign at the end": (["7.6-", "3"], [-7.6, 3], "read as numbers"),
    "a typographer's minus": (["\u22127.6", "7.4"], [-7.6, 7.4], "read as numbers"),
    "sizes": (["1.2K", "900", "2M"], [1200, 900, 2e6], "K, M and B are thousands"),
    "text": (["60", "7e1"], [60, 70], "they were text"),
    "yes and no": (["yes", "no"], [1, 0], "yes as 1"),
    "TRUE with gaps": (["TRUE", None, "FALSE"], [1, np.nan, 0], "true as 1"),
    "objects": (np.array([1.5, 2, None], dtype=object), [1.5, 2, np.nan], ""),
    "Decimal": ([Decimal("1.5"), Decimal("2.25")], [1.5, 2.25], ""),
    "booleans with gaps": (np.array([True, None, False], dtype=object), [1, np.nan, 0], ""),
    "nullable booleans": (pd.array([True, None, False], dtype="boolean"), [1, np.nan, 0], ""),
    "arrow": (pd.array([1.5, None, 2], dtype="double[pyarrow]"), [1.5, np.nan, 2], ""),
    "arrow whole": (pd.array([1, None, 2], dtype="int64[pyarrow]"), [1, np.nan, 2], ""),
    "arrow decimal": (
        pd.array([Decimal("1.5"), None], dtype=pd.ArrowDtype(pyarrow.decimal128(5, 2))),
        [1.5, np.nan],
        "",
    ),
    "categories of numbers": (pd.Categorical(["1", "2", "1"]), [1, 2, 1], "read as numbers"),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_are_read_as_people_write_them_and_that_is_said(kind):
    cells, numbers, note = NUMBERS[kind]
    frame = pd.DataFrame({"id": "s", "time": range(len(cells)), "x": cells})
    read, notes = said(frame)
    assert read.schema.targets == ("x",)
    np.testing.assert_array_equal(read.table["x"].to_numpy(np.float64, na_value=np.nan), numbers)
    assert re.search(note, notes) and bool(notes) == bool(note)


BAD_NUMBERS = {
    "a comma of two meanings": (["9,051", "8,100"], "may be 9051 or 9.051.*decimal="),
    "two units": (["98.6 F", "37 C", "99 F", "97 F"], "'37 C' at row 1, where most are in 'F'"),
    "a unit once": (["1.2x", "900", "950"], "'1.2x' at row 0 is not a number"),
    "a word among yes and no": (["yes", "no", "unknown"], "'unknown' at row 2 is not a number"),
    "a word": (["60", "n.a.", "70"], "'n.a.' at row 1 is not a number"),
    "a point": ([".", "60", "70"], "'.' at row 0 is not a number"),
    "a limit": (["<0.5", "1.2", "3"], "1 censored cells.*'<0.5' at row 0.*censored='limit'.*'drop'"),
    "mostly limits": (["<0.5", "<0.5", "3"], "2 censored cells"),
    "above": ([">600", "120", "HI"], "2 censored cells"),
}


@pytest.mark.parametrize("kind", BAD_NUMBERS)
@pytest.mark.parametrize("layout", ["wide", "long"])
def test_numbers_of_several_readings_or_none_are_refused_and_never_left_out(kind, layout):
    cells, message = BAD_NUMBERS[kind]
    frame = pd.DataFrame({"id": "s", "time": range(len(cells)), "value": cells})
    if layout == "long":
        frame = frame.assign(variable="x")
    with pytest.raises(SchemaError, match=message):
        read_columns(frame, None)


def test_a_comma_between_thousands_is_told_by_the_points_of_other_columns():
    frame = pd.DataFrame({"time": [0, 1], "steps": ["9,051", "8,100"], "temp": [37.1, 36.9]})
    assert said(frame)[0].table["steps"].tolist() == [9051.0, 8100.0]
    assert said(frame.drop(columns="temp"), file_format=FileFormat(decimal=","))[0].table[
        "steps"
    ].tolist() == [9.051, 8.1]


@pytest.mark.parametrize(
    ("cells", "limit"),
    [
        (["<0.5", "1.2", "> 3"], [0.5, 1.2, 3]),
        (["HI", "120", "LO", "60"], [120, 120, 60, 60]),
        (["≤1,000.5", "2,000", "3"], [1000.5, 2000, 3]),
    ],
)
def test_censored_cells_are_taken_as_their_limit_or_dropped_and_counted(cells, limit):
    frame = pd.DataFrame({"time": range(len(cells)), "x": cells})
    read, notes = said(frame, censored="limit")
    assert read.table["x"].tolist() == limit
    n = sum(not cell[0].isdigit() for cell in cells)
    assert f"{n} censored cells, first '{cells[0]}' at row 0, taken as their limit" in notes
    dropped, notes = said(frame, censored="drop")
    assert dropped.table["x"].isna().sum() == n and "taken as missing" in notes


def test_codes_of_wards_are_no_numbers_with_units():
    frame = pd.DataFrame({"id": "s", "time": range(4), "x": 1.0, "ward": ["3A", "3B", "3A", "4B"]})
    assert Schema().resolve(frame.assign(y=2.0)).targets == ("x", "y")


def test_numbers_that_may_stand_for_missing_ones_and_labels_that_differ_in_blanks_are_pointed_out():
    frame = pd.DataFrame({"id": ["p", "p ", "p", "p "], "time": range(4), "x": [60.5, -9999, 61, 62]})
    notes = said(frame)[1]
    assert "`x` holds -9999 in 1 rows" in notes and "'p' and 'p '" in notes
    assert said(frame.assign(x=[1, 99, 50, 70], id="p"))[1] == ""


def test_parts_of_a_date_are_not_taken_for_times():
    frame = pd.DataFrame({"month": 1, "day": [1, 2, 3], "x": 1.0})
    with pytest.raises(SchemaError, match=r"`month`, `day` hold parts of it; add a column `year`"):
        Schema().resolve(frame)
    assert Schema().resolve(frame.assign(year=2024)).time == "year+month+day"  # as is advised


# ------------------------------------------------------------------------------------ frames


def test_what_stands_in_the_index_is_a_column():
    frame = table("id time x\na 2024-03-01 1\na 2024-03-02 2").assign(
        time=lambda f: pd.to_datetime(f["time"])
    )
    for indexed in (frame.set_index(["id", "time"]), frame.set_index("id")):
        pd.testing.assert_frame_equal(to_pandas(indexed)[["id", "time", "x"]], frame, check_dtype=False)
    one = frame.drop(columns="id").set_index("time")
    assert Schema().resolve(to_pandas(one)).time == "time"
    assert to_pandas(one.rename_axis(None)).columns.tolist() == ["time", "x"]
    lines = frame.set_axis(pd.Index([2, 3], name="line"))
    assert to_pandas(lines) is lines


def test_rows_of_column_names_are_joined_and_that_is_said():
    columns = pd.MultiIndex.from_tuples([("Close", "ABC"), ("High", "ABC")])
    frame = pd.DataFrame(
        [[1.0, 2.0], [3.0, 4.0]], columns=columns, index=pd.date_range("2024", periods=2)
    )
    with pytest.warns(UserWarning, match="2 rows of column names were joined: `Date`, `Close_ABC`"):
        flat = to_pandas(frame.rename_axis("Date").reset_index())
    assert flat.columns.tolist() == ["Date", "Close_ABC", "High_ABC"]


def test_nullable_numbers_and_arrow_text_have_roles_as_others_have():
    frame = table("index id time x\n1 a 1 1\n2 a 2 2\n3 b 1 3\n4 b 2 4").convert_dtypes()
    frame.loc[1, "index"] = pd.NA
    arrow = frame.convert_dtypes(dtype_backend="pyarrow")
    for one in (frame, arrow):
        schema = Schema().resolve(one)
        assert (schema.id, schema.time) == ("id", "time") and "x" in schema.targets
    assert SeriesDataset.from_frame(arrow, Schema(targets="x")).value.tolist() == [1, 2, 3, 4]


def test_a_thousand_columns_are_read_without_a_warning(recwarn):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 1000))).rename(columns=str)
    report = inspect(frame.assign(time=range(20)), Schema(cycles=()))
    assert len(report.variables) == 1000 and len(recwarn) == 0


def in_turn(name, values=(1, 2), apart=7.0, n=60, shuffled=False):
    """Rows of several series by turns: minutes after each hour, and a value of each."""
    hour, place = np.divmod(np.arange(n * len(values)), len(values))
    time = pd.Timestamp("2024-01-01") + pd.to_timedelta(60 * hour + apart * place, unit="min")
    number = np.asarray(values)[place]
    if shuffled:
        number = np.random.default_rng(0).permutation(number)
    return pd.DataFrame({name: number, "time": time, "temp": 20 + 10 * place + np.sin(hour)})


ASKED, POINTED_OUT, SILENT = (
    "may name the series or be a variable",
    "as where it names the series",
    None,
)
NUMBERED = {
    "a channel": (in_turn("channel"), ASKED),
    "a channel in German": (in_turn("Kanal", (3, 4, 5)), ASKED),
    "an ending": (in_turn("sensor_no"), ASKED),
    "an ending within a word": (in_turn("Kanal-Nummer"), ASKED),
    "a number that may count, by turns": (in_turn("pump_number"), ASKED),
    "a number that may count": (in_turn("passenger_number", apart=30.0, shuffled=True), SILENT),
    "an identifier that may be a code": (in_turn("weather_id", (800, 801), shuffled=True), SILENT),
    "nitric oxide": (in_turn("NO", (3, 4, 9), apart=13.0, shuffled=True), SILENT),
    "a level in a tank": (in_turn("tank", (3, 4, 9), apart=13.0, shuffled=True), SILENT),
    "yes or no": (in_turn("yes_no", (0, 1), apart=30.0, shuffled=True), SILENT),
    "another name, by turns": (in_turn("node_at_home"), POINTED_OUT),
    "counts at regular times": (in_turn("sold", (0, 1, 2), apart=20.0, shuffled=True), SILENT),
    "counts at irregular times": (in_turn("sold", (0, 1, 2), shuffled=True), SILENT),
    "a flag by turns at regular times": (in_turn("night", (0, 1), apart=30.0), SILENT),
    "hours": (in_turn("hour_of_day", (6, 14)).rename(columns={"hour_of_day": "shift"}), SILENT),
    "numbers of rows": (in_turn("temp2", apart=30.0).assign(nr=np.arange(1, 121)), SILENT),
    "nothing else to model": (in_turn("channel").drop(columns="temp"), SILENT),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_whole_numbers_that_name_the_series_are_asked_about_and_counts_are_not(case):
    table, expected = NUMBERED[case]
    if expected == ASKED:
        name = table.columns[0]
        with pytest.raises(SchemaError, match=f"`{name}` {ASKED}"):
            inspect(table)
        assert inspect(table, Schema(id=name)).n_series == table[name].nunique()
        assert inspect(table, Schema(targets=(name, "temp"))).n_series == 1
        return
    notes = [n for n in inspect(table).notes if "series" in n]
    assert len(notes) == (expected is not None)
    assert all(POINTED_OUT in note for note in notes)


def test_numbers_of_channels_that_share_their_times_name_the_series():
    table = in_turn("channel", apart=0.0)
    report = inspect(table)
    assert (report.schema.id, report.n_series, report.duplicates) == ("channel", 2, 0)


def in_units(*units):
    """Lines of a laboratory's file, of one variable in several units."""
    rows = pd.RangeIndex(2, 2 + len(units), name="line")
    days = pd.date_range("2024-01-01", periods=len(units))
    return pd.DataFrame({"time": days, "test": "CRP", "result": 1.5, "unit": units}, index=rows)


MIXED_UNITS = {
    "two": (["mg/dL", *["mg/L"] * 7, "mg/dL"], "'mg/dL' at line 2 and line 10 and in 'mg/L' elsewhere"),
    "one": (["mg/L", "mg/L", "mg/dL"], "'mg/dL' at line 4 and in 'mg/L' elsewhere"),
    "many": (["g"] * 5 + ["kg"] * 6, "'g' at line 2, line 3, line 4 and 2 more and in 'kg' elsewhere"),
}


@pytest.mark.parametrize("case", MIXED_UNITS)
def test_of_several_units_the_rarer_one_is_named_with_its_lines(case):
    units, expected = MIXED_UNITS[case]
    with pytest.raises(SchemaError, match=f"variable `CRP` is in {expected}"):
        inspect(in_units(*units))


def test_a_column_of_units_is_called_what_it_is():
    report = inspect(in_units("mg/L", "mg/L"))
    assert dict(zip(report.left_out, report.reasons, strict=True)) == {"unit": "the unit of the values"}
    with pytest.raises(SchemaError, match="'mg/dL' at line 2 and line 3 and in 'mg/L' before"):
        inspect(in_units("mg/dL", "mg/dL"), report.schema)


DAYS = [f"2024-01-{day:02d} 00:00" for day in range(1, 9)]
READ_BY_PANDAS = {
    "another separator": ("Meter;Datum;Wert", [f"7;{d};3.5" for d in DAYS], "holds ';'.*sep=';'"),
    "a decimal comma too": ("Meter;Datum;Wert", [f"7;{d};3,5" for d in DAYS], "holds ';'.*sep=';'"),
    "tabs": ("time\tx", [f"{d}\t3" for d in DAYS], r"holds '\\t'.*sep='\\t'"),
    "units": ("TIMESTAMP,x", ["TS,degC", *(f"{d},3.5" for d in DAYS)], "above row 1: read the"),
    "more rows": ("time,x,y", ["a,b,c", ",Avg,", *(f"{d},3,4" for d in DAYS)], "above row 2: read"),
    "one wrong cell": ("time,x", ["a,1", *(f"{d},3.5" for d in DAYS)], None),
    "no time": ("when,x", [f"{d[:4]}y,3.5" for d in DAYS], None),
}


@pytest.mark.parametrize("case", READ_BY_PANDAS)
def test_a_file_that_pandas_read_without_its_separator_or_header_rows_is_told_of(case, tmp_path):
    head, rows, expected = READ_BY_PANDAS[case]
    (file := tmp_path / "a.csv").write_text("\n".join([head, *rows]))
    with pytest.raises(SchemaError) as raised:
        read_columns(pd.read_csv(file), None)
    assert ("latentode.read_table" in str(raised.value)) == (expected is not None)
    if expected is not None:
        assert re.search(expected, str(raised.value))
        read_columns(read_table(file), None)
