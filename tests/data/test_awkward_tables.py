"""Kinds of awkward tables as systems write them, each with what must become of it."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from latentode import LatentODEForecaster, OnlineForecaster, TrainingConfig
from latentode.data import Schema, SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.labels import as_frame
from latentode.data.queries import query_times
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.joined_columns import with_joined_columns
from latentode.data.tables.reading import read_columns
from latentode.errors import SchemaError

TIMES = pd.date_range("2024-03-14 06:00", periods=12, freq="47min")
DAYS = pd.date_range("2024-01-03", periods=12, freq="9D")
VALUES = [36.6, 36.9, 37.2, 37.0, 38.1, 38.4, 38.0, 37.7, 37.5, 37.1, 36.9, 36.8]


def frame(times=TIMES, **columns):
    """Two series of twelve rows."""
    one = pd.DataFrame({"time": list(times), **(columns or {"x": VALUES})})
    return pd.concat([one.assign(patient="a"), one.assign(patient="b")], ignore_index=True)


def read(table, **schema):
    found = read_columns(table, Schema(**schema))
    return found, " ".join(found.notes)


# ------------------------------------------------------------------------------- how cells are written

CELLS = {
    "a minus behind it": (["5.2-", "3.1"], [-5.2, 3.1], "5.2-"),
    "wide digits": (["７０", "８１．５"], [70.0, 81.5], "they were text"),
    "digits of another script": (["٧٠", "٨١٫٥"], [70.0, 81.5], "they were text"),
    "a thin blank between thousands": (["1\u202f270,5", "1\u202f271,5"], [1270.5, 1271.5], "thousands"),
    "two groups of thousands": (["1.270.567", "1.280"], [1270567.0, 1280.0], "between thousands"),
    "an exponent of Fortran": (["3.660D+01", "3.690D+01"], [36.6, 36.9], "3.660D"),
    "exponents that differ": (["3.660D+01", "3.690D+02"], [36.6, 369.0], "3.660D"),
    "words of a German spreadsheet": (["WAHR", "FALSCH"], [1.0, 0.0], "wahr as 1"),
    "words in French": (["oui", "non"], [1.0, 0.0], "oui as 1"),
    "letters of a database": (["t", "f"], [1.0, 0.0], "t as 1"),
}


@pytest.mark.parametrize("kind", CELLS)
def test_cells_are_read_as_they_are_written(kind):
    cells, numbers, how = CELLS[kind]
    found, notes = read(pd.DataFrame({"time": [1, 2], "x": cells, "y": [1.5, 2.5]}))
    assert found.table["x"].tolist() == pytest.approx(numbers) and how in notes


@pytest.mark.parametrize(
    "cells", [["08:00", "09:00"], ["+01:00", "+02:00"], ["f", "f"], ["3:15", "4:15"]]
)
def test_what_only_begins_as_a_number_is_none(cells):
    found, _ = read(pd.DataFrame({"time": [1, 2], "x": cells, "y": [1.5, 2.5]}))
    assert found.schema.targets == ("y",)


# ------------------------------------------------------------- columns that qualify the cells of others

LAB = pd.DataFrame(
    {
        "patient": "a",
        "collected": np.repeat(TIMES, 2),
        "test": ["glucose", "sodium"] * 12,
        "result": np.tile([95.0, 138.0], 12) + np.arange(24) / 10,
    }
)
SIGNS = ["<" if i % 6 == 0 else None for i in range(24)]
QUALIFIED = {
    "two units": (
        LAB.assign(unit=["mmol/L"] * 13 + ["mg/dL", "mmol/L"] * 5 + ["mg/dL"]),
        "`sodium` is in 'mg/dL' at row 13, .* and 3 more and in 'mmol/L' elsewhere.*leave_out='unit'",
    ),
    "limits beside values": (
        LAB.assign(qualifier=SIGNS),
        "`qualifier` says of 4 rows.*first '<' at row 0.*censored='limit'.*censored='drop'",
    ),
    "clocks of several zones": (
        frame().assign(zone=["Europe/Berlin"] * 12 + ["Asia/Tokyo"] * 12),
        "several clocks, 'Europe/Berlin' and 'Asia/Tokyo'.*leave_out='zone'",
    ),
    "offsets beside local times": (
        frame().assign(tz=["+01:00"] * 20 + ["-05:00"] * 4),
        r"several clocks, '\+01:00' and '-05:00'",
    ),
    "offsets as numbers": (
        frame().assign(utc_offset=[1] * 20 + [-5] * 4),
        "several clocks, '1' and '-5'",
    ),
    "objects": (frame().assign(v=[{"hr": 70}] * 24), r"`v` holds \{'hr': 70\} at row 0.*leave_out='v'"),
    "lists": (frame().assign(v=[[70, 71]] * 24), r"`v` holds \[70, 71\] at row 0"),
}


@pytest.mark.parametrize("kind", QUALIFIED)
def test_what_qualifies_other_cells_is_never_left_out_in_silence(kind):
    table, message = QUALIFIED[kind]
    with pytest.raises(SchemaError, match=message):
        read_columns(table, Schema())
    name = table.columns[-1]
    assert name not in (read_columns(table, Schema(leave_out=name)).schema.targets or ())


@pytest.mark.parametrize(("policy", "count"), [("limit", 24), ("drop", 20)])
def test_limits_beside_values_are_taken_as_the_schema_says(policy, count):
    found, notes = read(LAB.assign(qualifier=SIGNS), censored=policy)
    assert found.table["result"].notna().sum() == count and "4 limits" in notes


def test_one_clock_is_said_and_one_unit_is_kept():
    found, notes = read(frame().assign(tz="Europe/Berlin"))
    assert "`tz` says 'Europe/Berlin' of all of them; give timezone=" in notes
    assert read(frame(TIMES.tz_localize("UTC")).assign(tz="Europe/Berlin"))[1].count("tz") == 0
    found, _ = read(LAB.assign(unit=["mg/dL", "mmol/L"] * 12))
    assert found.schema.units == {"glucose": "mg/dL", "sodium": "mmol/L"}
    assert (
        read(LAB.assign(unit=["mg/dl", "mmol/L"] * 12), units=found.schema.units)[0].schema
        == found.schema
    )
    with pytest.raises(
        SchemaError, match=r"`glucose` is in 'mmol/L' at row 0, .* and in 'mg/dL' before"
    ):
        read(LAB.assign(unit="mmol/L"), units=found.schema.units)


UNITS = {
    "another unit": ("{} F", "{} C", "in 'C', such as .* in 'F' before"),
    "another currency": ("€{}", "${}", "in '\\$'.*in '€'"),
    "thousands beside millions": ("{}K", None, "in 'K, M, B'.*in 'K' before"),
}


@pytest.mark.parametrize("kind", UNITS)
def test_a_later_table_in_another_unit_is_refused(kind):
    before, after, message = UNITS[kind]
    first = read_columns(frame(x=[before.format(v) for v in VALUES]), Schema())
    later = [f"{v}{'KM'[i % 2]}" if after is None else after.format(v) for i, v in enumerate(VALUES)]
    with pytest.raises(SchemaError, match=message):
        read_columns(frame(x=later), first.schema)
    again = read_columns(frame(x=[before.format(v) for v in VALUES]), first.schema)
    np.testing.assert_array_equal(again.table["x"], VALUES * 2)
    np.testing.assert_array_equal(read_columns(frame(), first.schema).table["x"], VALUES * 2)


def test_thousands_alone_are_read_as_thousands_where_they_were_before():
    first = read_columns(frame(x=[f"{v}{'KM'[i % 2]}" for i, v in enumerate(VALUES)]), Schema())
    later = read_columns(frame(x=[f"{v}K" for v in VALUES]), first.schema)
    np.testing.assert_allclose(later.table["x"], 1000 * np.array(VALUES * 2))


# --------------------------------------------------------------------------------------------- times

FORMS = {
    "HL7": (TIMES.strftime("%Y%m%d%H%M%S.000") + "+0100", "2024-03-14T06:00+01:00"),
    "HL7 without fractions": (TIMES.strftime("%Y%m%d%H%M%S") + "+0100", "2024-03-14T06:00+01:00"),
    "Oracle": (TIMES.strftime("%d-%b-%y %I.%M.%S.000000 %p"), "2024-03-14 06:00"),
    "SAS": (TIMES.strftime("%d%b%Y:%H:%M:%S"), "2024-03-14 06:00"),
    "C": (TIMES.strftime("%a %b %d %H:%M:%S %Y"), "2024-03-14 06:00"),
    "a weekday before it": (TIMES.strftime("%A %d.%m.%Y %H:%M"), "2024-03-14 06:00"),
    "a colon before fractions": (TIMES.strftime("%Y-%m-%d %H:%M:%S:250"), "2024-03-14 06:00:00.25"),
    "Japanese": (TIMES.strftime("%Y年%m月%d日 %H:%M"), "2024-03-14 06:00"),
    "Spanish halves of a day": (TIMES.strftime("%d/%m/%Y %I:%M a. m."), "2024-03-14 06:00"),
    "o'clock in German": (TIMES.strftime("%d.%m.%Y %H:%M Uhr"), "2024-03-14 06:00"),
    "a short year first": (DAYS.strftime("%y-%m-%d"), "2024-01-03"),
    "a short year last": (DAYS.strftime("%d.%m.%y"), "2024-01-03"),
    "a narrow blank before half a day": (
        TIMES.strftime("%m/%d/%Y %I:%M:%S\u202f%p"),
        "2024-03-14 06:00",
    ),
    "a short year": (DAYS.strftime("%d-%b-%y"), "2024-01-03"),
}


@pytest.mark.parametrize("kind", FORMS)
def test_times_are_read_as_systems_write_them(kind):
    times, first = FORMS[kind]
    found, _ = read(frame(times.where(TIMES.hour < 12, times.str.replace("a. m.", "p. m."))))
    assert found.table["time"].iloc[0] == pd.Timestamp(first)
    gaps = found.table["time"].iloc[:12].diff().iloc[1:]
    assert len(set(gaps)) == 1 and gaps.iloc[0] in (pd.Timedelta("47min"), pd.Timedelta("9D"))


CODES = {
    "months": ("month", [202311, 202312, 202401], "2023-11-01", "yyyymm"),
    "months of a period": ("period", [202311, 202312, 202401], "2023-11-01", "yyyymm"),
    "months of a date": ("date", [202313 - 1, 202401, 202402], "2023-12-01", "yyyymm"),
    "weeks": ("week", [202351, 202352, 202401], "2023-12-18", "yyyyww"),
}


@pytest.mark.parametrize("kind", CODES)
def test_months_and_weeks_as_digits_are_times(kind):
    name, codes, first, form = CODES[kind]
    found, notes = read(pd.DataFrame({name: codes, "x": VALUES[:3]}))
    assert found.table[name].iloc[0] == pd.Timestamp(first) and found.schema.time_format == form
    assert "time_format='number'" in notes


NO_TIMES = {
    "an abbreviated zone": (TIMES.strftime("%Y-%m-%d %H:%M EST"), "UTC offset, such as .*'EST'"),
    "no time in text": (["2024-03-01", "NaT", "2024-03-03"], "'NaT' at row 1, which is no time"),
    "nothing in text": (["2024-03-01", "", "2024-03-03"], "'' at row 1, which is no time"),
    "another time each time": (["2024-03-01", "now", "2024-03-03"], "'now' at row 1, which is no time"),
    "beyond all squares": ([0.0, 1e300, 2e300], "from 0 to 2e\\+300, which cannot be computed"),
    "too close together": ([0.0, 1e-300, 2e-300], "which cannot be computed"),
}


@pytest.mark.parametrize("kind", NO_TIMES)
def test_what_is_no_time_is_refused(kind):
    times, message = NO_TIMES[kind]
    with pytest.raises(SchemaError, match=message):
        read_columns(frame(times, x=VALUES[: len(times)]), Schema())


@pytest.mark.parametrize(
    ("first", "last", "unit"),
    [("1677-09-22", "2262-04-11", "ns"), ("-200000-01-01", "200000-01-01", "ms")],
)
def test_times_further_apart_than_64_bits_are_refused(first, last, unit):
    ends = pd.Series(np.array([first, last], dtype=f"M8[{unit}]"))
    with pytest.raises(SchemaError, match="too far apart for 64 bits"):
        SeriesDataset.from_frame(pd.DataFrame({"time": ends, "x": [1.0, 2.0]}))
    early = SeriesDataset.from_frame(pd.DataFrame({"time": ends[:1], "x": [1.0]}))
    with pytest.raises(SchemaError, match="too far apart for 64 bits"):
        query_times(early, ends[1:])


@pytest.mark.parametrize("at", ["NaT", "", "now", None])
def test_no_time_can_be_asked_for(at):
    history = SeriesDataset.from_frame(frame(), Schema())
    with pytest.raises(SchemaError, match="no time"):
        query_times(history, [at])


def test_numbers_far_from_zero_are_pointed_out():
    stamps = 133_548_696_000_000_000 + np.arange(12) * 10**9
    assert "far from zero for how little" in read(frame(stamps))[1]
    assert read(frame(stamps), time_format="number", id="patient")[1] == ""


@pytest.mark.parametrize("later", [1_709_280_000 + np.arange(12), 20240301 + np.arange(12)])
def test_numbers_stay_plain_numbers_in_later_tables(later):
    first = SeriesDataset.from_frame(frame(np.arange(12)), Schema())
    again = SeriesDataset.from_frame(frame(later), first.schema)
    assert again.axis.kind == "integer" and again.time.max() == 11.0
    with pytest.raises(SchemaError, match="no number, as times are here"):
        SeriesDataset.from_frame(frame(TIMES.astype(str)), first.schema)


@pytest.mark.parametrize(
    "days", [DAYS.astype(str), DAYS.strftime("%d.%m.%Y"), DAYS.strftime("%Y%m%d").astype(int)]
)
def test_dates_are_counted_in_days_however_they_are_written(days):
    written = SeriesDataset.from_frame(frame(days), Schema())
    assert written.axis.time_unit == "D" and written.time.max() == 99.0
    assert SeriesDataset.from_frame(frame(DAYS), Schema()).axis.time_unit == "h"


# ------------------------------------------------------------------------- roles of several columns

PARTS = {
    "dates": ({"year": DAYS.year, "month": DAYS.month, "day": DAYS.day}, "2024-01-03", "9D"),
    "hours and minutes": (
        {"YEAR": TIMES.year, "MO": TIMES.month, "DY": TIMES.day, "HR": TIMES.hour, "MN": TIMES.minute},
        "2024-03-14 06:00",
        "47min",
    ),
    "days of the year": (
        {"year": TIMES.year, "jday": TIMES.day_of_year, "hhmm": TIMES.hour * 100 + TIMES.minute},
        "2024-03-14 06:00",
        "47min",
    ),
    "names of months": (
        {"Year": DAYS.year, "Month": DAYS.strftime("%b"), "Day": DAYS.day},
        "2024-01-03",
        "9D",
    ),
}


@pytest.mark.parametrize("kind", PARTS)
def test_times_in_several_columns_are_put_together_and_said(kind):
    parts, first, gap = PARTS[kind]
    table = frame(**parts, x=VALUES).drop(columns="time")
    found, notes = read(table)
    time = "+".join(parts)
    assert found.schema.time == time and found.schema.targets == ("x",) and "put together" in notes
    assert found.table[time].iloc[0] == pd.Timestamp(first)
    assert found.table[time].iloc[:12].diff().iloc[1:].unique().tolist() == [pd.Timedelta(gap)]
    dataset = SeriesDataset.from_frame(table, found.schema)
    asked = query_times(dataset, table[["patient", *parts]])
    np.testing.assert_allclose(asked.time, dataset.time)
    pd.testing.assert_frame_equal(with_joined_columns(found.table, found.schema), found.table)


NO_PARTS = {
    "no such day": ({"year": 2023, "month": 2, "day": 30}, "2023, 2, 30 at row 0, which is no time"),
    "no such day of a year": ({"year": 2023, "doy": 366}, "2023, 366 at row 0, which is no time"),
    "no year": ({"month": 2, "day": 3}, "has no year"),
    "no part": ({"year": 2023, "bed": 3}, "`bed`, which is no part of a time"),
}


@pytest.mark.parametrize("kind", NO_PARTS)
def test_parts_that_make_no_time_are_refused(kind):
    parts, message = NO_PARTS[kind]
    with pytest.raises(SchemaError, match=message):
        read_columns(pd.DataFrame({**parts, "x": [1.0, 2.0]}), Schema(time="+".join(parts)))


def test_a_whole_time_goes_before_its_parts():
    table = (
        frame().assign(year=2024, month=3, when=TIMES.append(TIMES).astype(str)).drop(columns="time")
    )
    assert read(table)[0].schema.time == "when"


BEDS = pd.concat([frame().assign(bed=bed, x=lambda f, bed=bed: f["x"] + bed) for bed in (1, 2)])


def test_an_identifier_of_several_columns_is_offered_and_read():
    with pytest.raises(SchemaError, match=r"say id='patient\+bed', if `bed`, which tells them apart"):
        SeriesDataset.from_frame(BEDS, Schema())
    dataset = SeriesDataset.from_frame(BEDS, Schema(id="patient+bed"))
    assert dataset.ids.tolist() == ["a+1", "b+1", "a+2", "b+2"]
    gaps = BEDS.astype({"bed": float})
    assert SeriesDataset.from_frame(gaps, dataset.schema).ids.tolist() == dataset.ids.tolist()
    asked = query_times(dataset, pd.DataFrame({"patient": ["b"], "bed": [2], "time": TIMES[:1]}))
    assert dataset.ids[asked.series].tolist() == ["b+2"]
    labels = as_frame(BEDS[["patient", "bed"]].drop_duplicates().assign(ill=True), dataset)
    assert labels["patient+bed"].tolist() == dataset.ids.tolist()


def test_days_are_identifiers_where_times_need_them():
    assert (
        Schema().resolve(frame().replace({"patient": {"a": "2024-01-01", "b": "2024-01-02"}})).id
        == "patient"
    )
    assert Schema().resolve(frame().iloc[:12].assign(patient=["2024-01-01"] * 12)).id is None


def test_joined_identifiers_that_run_into_each_other_are_refused():
    table = pd.DataFrame({"p": ["a+b", "a"], "q": ["c", "b+c"], "time": [1, 2], "x": 1.0})
    with pytest.raises(SchemaError, match=r"run into each other at 'a\+b\+c'"):
        read_columns(table, Schema(id="p+q"))


def test_parts_of_an_identifier_stay_as_they_are_written_in_a_file(tmp_path):
    path = tmp_path / "beds.csv"
    path.write_text("ward,bed,time,x\nN,007,1,2.5\nN,007,2,2.5\nN,7,1,2.5\nN,7,2,2.5\n")
    schema = Schema(id="ward+bed")
    assert SeriesDataset.from_frame(read_table(path, schema), schema).ids.tolist() == ["N+007", "N+7"]


# ----------------------------------------------------------------------------- what is pointed out

SAID = {
    "constant within each series": (
        frame().assign(age=[60] * 12 + [71] * 12),
        "constant within each series: `age`.*static_covariates=",
    ),
    "series one after the other": (
        pd.concat([frame().query("patient == 'a'"), frame(TIMES + pd.Timedelta("1min")).iloc[:12]])
        .drop(columns="patient")
        .reset_index(drop=True),
        "goes back at row 12 and runs through the same times again.*id=",
    ),
    "what is known beforehand": (
        frame(x=VALUES, **{"Is Holiday": [0, 0, 1] * 4}),
        "forecast as all others are: `Is Holiday`; .*beforehand in known_future=",
    ),
    "labels that change": (
        frame(x=VALUES, y=VALUES).assign(status=["ok", "bad", "ok"] * 8),
        "looks like data: `status`",
    ),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_may_be_meant_otherwise_is_said(kind):
    table, message = SAID[kind]
    _, notes = read(table)
    assert pd.Series([notes]).str.contains(message, regex=True)[0], notes


@pytest.mark.parametrize("order", ["late rows", "newest first", "shuffled", "by series"])
def test_rows_in_another_order_are_no_series_one_after_the_other(order):
    table = pd.DataFrame({"time": np.arange(60.0), "x": np.sin(np.arange(60.0))})
    rows = {
        "late rows": [*range(1, 40), 0, *range(40, 60)],
        "newest first": range(59, -1, -1),
        "shuffled": np.random.default_rng(0).permutation(60),
        "by series": range(60),
    }[order]
    assert read(table.iloc[list(rows)].reset_index(drop=True))[1] == ""


# ----------------------------------------------------------------- values beyond arithmetic

HUGE = {
    "all": ([v * 1e299 for v in VALUES * 6], r"holds 3.66e\+300 at row 0, too large to be squared"),
    "close together": ([v * 1e-170 for v in VALUES * 6], "so close together, .*-17. apart"),
    "one": ([1e40, *(VALUES * 6)[1:]], r"holds 1e\+40, beside which its other values are one"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_values_that_no_arithmetic_holds_are_refused_by_name(kind):
    values, message = HUGE[kind]
    table = pd.DataFrame({"id": np.repeat(list("abcdef"), 12), "time": list(TIMES) * 6, "x": values})
    with pytest.raises(SchemaError, match=message):
        LatentODEForecaster(training=TrainingConfig(max_epochs=0), verbose=False).fit(table)


# --------------------------------------------------------------------------------- models and answers


@pytest.fixture(scope="module")
def model():
    return LatentODEForecaster("3h", training=TrainingConfig(max_epochs=0), verbose=False).fit(frame())


def test_a_value_too_far_from_training_is_refused(model):
    with pytest.raises(
        SchemaError, match=r"holds 1e.40 in series 'a', too far from values of training"
    ):
        model.predict(frame(x=[*VALUES[:11], 1e40]), "1h")


def test_a_model_of_numbers_from_before_reads_numbers_as_such(model):
    numbers = SeriesDataset.from_frame(frame(np.arange(12)), Schema())
    old = replace(numbers.schema, time_format=None)
    reader = replace(model.fitted_.reader, schema=old, axis=numbers.axis)
    assert reader.read(frame(1_709_280_000 + np.arange(12))).axis.kind == "integer"


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_paths_and_online_forecasts_answer_in_the_library_of_the_question(model, library):
    nw = pytest.importorskip("narwhals")
    pytest.importorskip(library)
    table = frame().iloc[:12]
    native = {"polars": "to_polars", "pyarrow": "to_arrow", "pandas": "to_pandas"}[library]
    history = getattr(nw.from_native(table, eager_only=True), native)()
    paths = model.sample_paths(history, draws=4)
    online = OnlineForecaster(model, history)
    answers = [
        paths.value("1h"),
        paths.to_frame("1h"),
        paths.integral("1h"),
        paths.first_passage_time("x", above=99.0).to_frame(),
        online.predict("1h"),
        online.update(history[:0]).predict("1h"),
        online.sample_paths(draws=4).rate("1h"),
    ]
    assert {type(answer) for answer in answers} == {type(history)}


def test_an_empty_update_changes_nothing_and_a_revised_row_says_what_it_needs(model):
    online = OnlineForecaster(model, frame())
    before = online.predict("1h")
    pd.testing.assert_frame_equal(online.update(frame().iloc[:0]).predict("1h"), before)
    with pytest.raises(SchemaError, match=r"row 0 of the new rows is known already.*duplicates='last'"):
        online.update(frame().iloc[:1])


FILES = {
    "drawn by psql": """ id | time | x
----+------+-----
 a  | 1    | 2.5
 a  | 2    | 3.5
(2 rows)
""",
    "drawn by mysql": """+----+------+-----+
| id | time | x   |
+----+------+-----+
| a  |    1 | 2.5 |
| a  |    2 | 3.5 |
+----+------+-----+
2 rows in set (0.00 sec)
""",
    "points between thousands": "id;time;x\na;1;1.270.567\na;2;1.280\n",
}


@pytest.mark.parametrize("kind", FILES)
def test_files_are_read_as_programs_write_them(kind, tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(FILES[kind])
    dataset = SeriesDataset.from_frame(read_table(path), Schema())
    assert dataset.ids.tolist() == ["a"] and dataset.time.tolist() == [0.0, 1.0]
    assert dataset.value.tolist() in ([2.5, 3.5], [1270567.0, 1280.0])


def test_points_that_may_stand_between_thousands_are_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("id;time;x\na;1;1.270\na;2;1.280\n")
    with pytest.raises(SchemaError, match=r"'1.270' in line 2 may be .*decimal=','.*decimal='.'"):
        read_table(path)
    for decimal, values in ((".", [1.27, 1.28]), (",", [1270.0, 1280.0])):
        told = FileFormat(decimal=decimal)
        frame = read_table(path, file_format=told)
        read = SeriesDataset.from_frame(frame, Schema(file_format=told))
        assert read.value.tolist() == values
    path.write_text("id;time;x\na;1;1.270\na;2;0.280\n")
    assert read_table(path)["x"].tolist() == [1.27, 0.28]


def test_a_short_year_on_either_side_is_refused_where_both_are_as_likely():
    with pytest.raises(
        SchemaError, match="24 March 2014 or 14 March 2024; give time_format='%d-%m-%y %H"
    ):
        read_columns(frame(TIMES.strftime("%y-%m-%d %H:%M")), Schema())


def test_a_table_of_json_lines_with_objects_is_refused(tmp_path):
    path = tmp_path / "gateway.jsonl"
    path.write_text(frame().assign(v=[{"hr": 70}] * 24).to_json(orient="records", lines=True))
    with pytest.raises(SchemaError, match="no single value; spread it over columns"):
        Schema().resolve(read_table(path))


def test_text_is_read_from_a_stream_as_from_a_frame():
    text = frame(TIMES.strftime("%a %b %d %H:%M:%S %Y")).to_csv(index=False)
    streamed = pd.read_csv(io.StringIO(text))
    assert read(streamed)[0].table["time"].iloc[0] == TIMES[0]
