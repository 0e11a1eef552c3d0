"""Tables as other programs export them: what stands beside the values decides how these are meant."""

import json

import numpy as np
import pandas as pd
import pytest

from latentode.data import Schema
from latentode.data.files.table_files import read_table
from latentode.data.tables.reading import read_columns
from latentode.errors import SchemaError

DAYS = pd.date_range("2024-03-01", periods=6).strftime("%Y-%m-%d").tolist()
Y = [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]


def read(table, **schema):
    found = read_columns(table, Schema(**schema))
    return found, " ".join(found.notes)


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["t", "week", "Elapsed Time", "period", "year"])
def test_times_are_taken_rather_than_numbers_that_are_called_so(name):
    table = pd.DataFrame({"Messzeitpunkt": DAYS, name: [3, 1, 2, 5, 4, 6], "y": Y})
    assert read(table)[0].schema.time == "Messzeitpunkt"
    admitted = table.assign(Messzeitpunkt="2024-01-01")
    assert read(admitted)[0].schema.time == name  # one time of all rows is none of theirs
    with pytest.raises(SchemaError, match="`Messzeitpunkt`, `ended` all hold times"):
        read(table.assign(ended=DAYS[::-1]))


@pytest.mark.parametrize("weeks", [[51, 52, 1, 2], ["W51", "W52", "W01", "W02"]])
def test_years_and_weeks_are_put_together(weeks):
    table = pd.DataFrame({"year": [2023, 2023, 2024, 2024], "week": weeks, "cases": Y[:4]})
    found, notes = read(table)
    times = found.table[found.schema.time]
    assert times.tolist() == pd.date_range("2023-12-18", periods=4, freq="7D").tolist()
    assert "`year`, `week`, the first as 2023-12-18" in notes
    for year, monday in ((2020, "2020-12-28"), (2026, "2026-12-28")):
        long = read(pd.DataFrame({"year": [year] * 2, "week": [52, 53], "y": Y[:2]}))[0]
        assert long.table[long.schema.time].iloc[1] == pd.Timestamp(monday)
    with pytest.raises(SchemaError, match="hold 2023, 53 at row 1, which is no time"):
        read(pd.DataFrame({"year": [2023] * 2, "week": [52, 53], "y": Y[:2]}))


def test_a_day_beyond_thirty_one_is_one_of_the_year():
    found, _ = read(pd.DataFrame({"year": [2023, 2024], "day": [365, 60], "y": Y[:2]}))
    times = found.table[found.schema.time].dt.strftime("%Y-%m-%d")
    assert times.tolist() == ["2023-12-31", "2024-02-29"]


@pytest.mark.parametrize("minute", ["Min", "minute", "mm", "MM"])
def test_dates_hours_and_minutes_are_put_together(minute):
    table = pd.DataFrame({"Date": DAYS[0], "HH": [0, 0, 1, 1, 2, 2], minute: [0, 30] * 3, "y": Y})
    found, _ = read(table)
    assert found.schema.targets == ("y",)
    minutes = found.table[found.schema.time] - pd.Timestamp(DAYS[0])
    assert (minutes.dt.total_seconds() / 60).tolist() == [0, 30, 60, 90, 120, 150]
    again, _ = read(table, time=f"Date+HH+{minute}")
    assert again.table[again.schema.time].equals(found.table[found.schema.time])


def test_a_day_of_twenty_five_hours_is_refused_by_its_line():
    table = pd.DataFrame({"date": "2024-10-27", "hour": range(1, 26), "load": np.arange(25.0)})
    with pytest.raises(
        SchemaError, match="holds 25 at row 24, an hour of a day on which clocks are set"
    ):
        read(table)


def test_a_date_beside_numbers_of_a_time_of_day_is_not_dropped():
    table = pd.DataFrame({"Date": DAYS[0], "Time": np.arange(6) / 6, "y": Y})
    with pytest.raises(
        SchemaError, match="`Date` and `Time` both say when a row was; give date='Date'"
    ):
        read(table)
    assert read(table, date="Date")[0].table["Time"].dt.hour.tolist() == [0, 4, 8, 12, 16, 20]
    assert read(table, leave_out="Date")[0].table["Time"].tolist() == table["Time"].tolist()


def test_brackets_around_names_and_clocks_of_six_digits():
    table = pd.DataFrame({"<DATE>": 20240301, "<TIME>": [93000, 103000, 153000], "<CLOSE>": Y[:3]})
    found, _ = read(table)
    assert found.table["<TIME>"].dt.strftime("%H:%M").tolist() == ["09:30", "10:30", "15:30"]


def test_a_month_behind_a_point_is_no_fraction_of_a_year():
    months = [1871.01, 1871.02, 1871.1, 1871.11, 1871.12, 1872.01]
    table = pd.DataFrame({"Date": months, "P": Y})
    with pytest.raises(SchemaError, match=r"time_format='yyyy\.mm' or time_format='decimal-year'"):
        read(table)
    found, _ = read(table, time_format="yyyy.mm")
    assert found.table["Date"].dt.strftime("%Y-%m").tolist() == [
        *("1871-01", "1871-02", "1871-10", "1871-11", "1871-12", "1872-01")
    ]
    with pytest.raises(SchemaError, match=r"holds 1871\.13 at row 1, which is not a time"):
        read(
            table.assign(Date=[1871.01, 1871.13, 1871.1, 1872.01, 1872.1, 1873.1]),
            time_format="yyyy.mm",
        )
    assert read(table.assign(Date=np.arange(6) / 12 + 1871))[0].axis.form == "decimal-year"


def test_long_durations_of_iso_8601_are_read():
    table = pd.DataFrame({"elapsed": ["PT0S", "PT108H", "P1W", "PT120M", "P1DT1H30M"], "y": Y[:5]})
    hours = read(table)[0].table["elapsed"].dt.total_seconds() / 3600
    assert hours.tolist() == [0, 108, 168, 2, 25.5]
    with pytest.raises(
        SchemaError, match="holds '30' at row 0, which is not a time in the form elapsed"
    ):
        read(pd.DataFrame({"elapsed": [30, 60], "y": Y[:2]}), time_format="elapsed", time="elapsed")


def test_codes_that_look_like_months_are_no_times():
    table = pd.DataFrame(
        {
            "effective": DAYS,
            "code": ["8867-4", "8310-5"] * 3,
            "patient": ["a", "a", "a", "b", "b", "b"],
            "y": Y,
        }
    )
    assert read(table, id="patient", leave_out="code")[0].schema.time == "effective"


@pytest.mark.parametrize("name", ["unit", "value_units", "testunit", "ucum_code", "unit_concept_name"])
def test_one_variable_in_two_units_is_refused(name):
    units = ["mg/dL", "mmol/L"] * 3
    table = pd.DataFrame({"time": DAYS, name: units, "glucose": Y})
    with pytest.raises(SchemaError, match=r"'mmol/L' .*'mg/dL' elsewhere.*convert them"):
        read(table)
    long = pd.DataFrame({"patient": 1, "time": DAYS, "test": "glucose", "result": Y, name: units})
    with pytest.raises(SchemaError, match=r"'mmol/L' .*'mg/dL' elsewhere.*convert them"):
        read(long, variable="test", value="result")


def test_numbers_of_units_and_of_operators_are_those_of_omop():
    table = pd.DataFrame(
        {"person_id": 7, "measurement_concept_id": 3004501, "measurement_datetime": DAYS,
         "value_as_number": Y, "unit_concept_id": [8840] * 5 + [8753]}
    )  # fmt: skip
    with pytest.raises(SchemaError, match="is in '8753' at row 5 and in '8840' elsewhere"):
        read(table)
    limits = table.assign(unit_concept_id=8840, operator_concept_id=[4171756] + [4172703] * 5)
    with pytest.raises(
        SchemaError, match="1 rows that their value is only a limit, first '<' at row 0"
    ):
        read(limits)


@pytest.mark.parametrize("name", ["zone", "tz", "tz_cd", "time zone"])
def test_clocks_of_two_zones_are_refused(name):
    table = pd.DataFrame({"time": DAYS, name: ["CET"] * 3 + ["CEST"] * 3, "y": Y})
    with pytest.raises(SchemaError, match="by several clocks, 'CET' and 'CEST'"):
        read(table)
    zones = table.assign(**{name: ["north", "south"] * 3})  # of a building
    if name == "zone":
        assert read(zones)[0].schema.id == "zone"


def test_fields_of_influxdb_are_the_variables(tmp_path):
    head = "#group,false,false,false,true\n#datatype,string,long,dateTime:RFC3339,double\n"
    head += "#default,_result,,,,,,\n,result,table,_time,_value,_field,_measurement,host\n"
    rows = "".join(
        f",,{k},2024-01-01T0{h}:00:00Z,{k}.{h},{field},sys,{host}\n"
        for k, (field, host) in enumerate([("load", "h1"), ("load", "h2")])
        for h in range(4)
    )
    more = "".join(f",,2,2024-01-01T0{h}:00:00Z,7.{h},free,sys,h1\n" for h in range(4))
    found, _ = read(read_table(written(tmp_path / "flux.csv", f"{head}{rows}\n{head}{more}")))
    assert (found.schema.variable, found.schema.id) == ("_field", "host")
    assert found.schema.targets == ("free", "load") and len(found.table) == 12


def test_ranges_of_reference_do_not_hide_that_a_table_is_long():
    table = pd.DataFrame(
        {"PatientID": 1, "SampleDateTime": np.repeat(DAYS[:3], 2), "TestName": ["Na", "K"] * 3,
         "Result": Y, "RefLow": [135, 3.5] * 3, "RefHigh": [145, 5.5] * 3}
    )  # fmt: skip
    found, notes = read(table)
    assert (found.schema.variable, found.schema.value) == ("TestName", "Result")
    assert "`RefLow`" in notes


@pytest.mark.parametrize("words", [["Low", "High"] * 3, ["low", "mid", "high"] * 2])
def test_low_and_high_alone_are_labels(words):
    table = pd.DataFrame({"time": DAYS, "height": Y, "type": words})
    with pytest.raises(SchemaError, match=r"`type` holds labels that repeat.*leave_out='type'"):
        read(table)
    assert read(table, leave_out="type")[0].schema.targets == ("height",)
    with pytest.raises(SchemaError, match="2 censored cells"):
        read(table.assign(type=["1.5", "low", "2.5", "3.5", "HI", "4.5"]))


def test_the_odd_cell_among_units_is_the_one_that_is_named():
    for cells in (["+0.1%"] * 5 + ["unch"], ["1 mmHg"] * 5 + ["none taken"]):
        with pytest.raises(SchemaError, match=r"'(unch|none taken)' at row 5 is not a number"):
            read(pd.DataFrame({"time": DAYS, "chg": cells}))


def test_a_value_and_its_code_of_quality_are_no_number_with_a_decimal_comma():
    table = pd.DataFrame({"DATE": DAYS, "TMP": [f"+006{i},1" for i in range(6)], "y": Y})
    with pytest.raises(SchemaError, match=r"'\+0060,1' at row 0 is not a number"):
        read(table)
    assert read(table.assign(TMP=[f"{i},5" for i in range(6)]))[0].table["TMP"].iloc[1] == 1.5


def test_what_nobody_named_and_looks_like_data_is_said():
    table = pd.DataFrame({"time": DAYS, "latency": pd.to_timedelta(Y, unit="s"), "y": Y})
    assert "looks like data: `latency`" in read(table)[1]
    assert "`Unnamed: 2`" in read(table.assign(**{"Unnamed: 2": Y})[["time", "y", "Unnamed: 2"]])[1]
    for plain in (range(6), np.nan, None):
        counted = table[["time", "y"]].assign(**{"Unnamed: 0": plain})
        assert "looks like" not in read(counted)[1]


def test_identifiers_that_differ_in_type_are_told_so():
    table = pd.DataFrame({"id": [1, 1, 1, "1", "1", "1"], "time": [1, 2, 3] * 2, "y": Y})
    assert "'1' and '1', which differ in type alone" in read(table)[1]


def test_a_cell_too_few_between_blanks_is_refused_by_its_line(tmp_path):
    rows = "date temp wind\n20240301 1.5 3.1\n20240302 3.3\n20240303 1.7 3.2\n20240304 1.8 3.4\n"
    with pytest.raises(
        SchemaError, match=r"line 3 has 2 cells where the header has 3, and with blanks"
    ):
        read_table(written(tmp_path / "fixed.txt", rows))
    found = read_table(written(tmp_path / "fixed.txt", rows.replace("02 3.3", "02 NA 3.3")))
    assert found["wind"].tolist() == [3.1, 3.3, 3.2, 3.4] and found["temp"].isna().sum() == 1


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_folders_of_hive_are_columns(tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    part = pd.DataFrame({"time": DAYS, "y": Y})
    for patient in ("007", "7", "a b"):
        folder = tmp_path / f"patient={patient.replace(' ', '%20')}"
        folder.mkdir()
        part.to_csv(folder / "part.csv", index=False) if ending == "csv" else part.to_parquet(
            folder / "part.parquet", index=False
        )
    for source in (tmp_path, f"{tmp_path}/*/*.{ending}"):
        table = read_table(source)
        assert sorted(table["patient"].unique()) == ["007", "7", "a b"]
        assert read(table)[0].schema.id == "patient"
    folder = tmp_path / "patient=b"
    folder.mkdir()
    part.assign(patient="c").to_csv(folder / "part.csv", index=False)
    with pytest.raises(SchemaError, match="lies in a folder patient=b, and its column `patient` says"):
        read_table(folder.parent)


@pytest.mark.parametrize("name", ["messstelle", "kanal", "site_no", "plz"])
def test_zeros_before_identifiers_are_kept(tmp_path, name):
    rows = "".join(f"{d},{code},{i}.5\n" for code in ("07", "7", "12") for i, d in enumerate(DAYS))
    table = read_table(written(tmp_path / "a.csv", f"datetime,{name},x\n{rows}"))
    found, _ = read(table)
    assert found.schema.id == name and found.table[name].unique().tolist() == ["07", "7", "12"]
    # Numbers that are none of a series may be written so as well.
    plain = "".join(f"{d},0{i}\n" for i, d in enumerate(DAYS))
    values = read_table(written(tmp_path / "b.csv", f"datetime,x\n{plain}"))
    assert values["x"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_formula_that_was_never_computed_is_refused_by_its_cell(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["time", "x"], ["2024-03-01", 1.5], ["2024-03-02", "=B2*2"], ["2024-03-03", 2.5]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(SchemaError, match="cell B3 holds a formula without its result"):
        read_table(tmp_path / "a.xlsx")
    book.active["B3"] = None
    book.save(tmp_path / "b.xlsx")
    assert read_table(tmp_path / "b.xlsx")["x"].isna().sum() == 1


def test_a_name_twice_in_a_record_is_refused_by_its_line(tmp_path):
    lines = [json.dumps({"time": day, "x": 1.5}) for day in DAYS[:2]] + ['{"time": 3, "x": 1, "x": 2}']
    with pytest.raises(SchemaError, match="line 3: 'x' occurs twice in one object"):
        read_table(written(tmp_path / "a.jsonl", "\n".join(lines)))
    assert len(read_table(written(tmp_path / "b.jsonl", "\n".join(lines[:2])))) == 2


@pytest.mark.parametrize(
    "cells",
    [
        ["01.03.2024 00:00", "02.03.2024 00:00", "13.03.2024 00:00"],
        [2024030100, 2024030101, 2024030102],
        ["1 Mar 2024", "2 Mar 2024", "3 Mar 2024"],
    ],
)
def test_a_column_of_dates_is_found_whatever_it_is_called(cells):
    table = pd.DataFrame({"Ablesung": cells, "kWh": Y[:3], "note": ["a", "b", "c"]})
    found, notes = read(table)
    assert found.schema.time == "Ablesung" and "is taken for the times" in notes
    with pytest.raises(SchemaError, match="`Ablesung`, `bis` all hold times"):
        read(table.assign(bis=cells))
    with pytest.raises(SchemaError, match="no time column"):
        read(pd.DataFrame({"count": [20240, 3, 7], "kWh": Y[:3]}))


def test_semicolons_do_not_hide_behind_decimal_commas(tmp_path):
    rows = "".join(f"01.03.2024 0{h}:00;01.03.2024 0{h}:59;4{h},5\n" for h in range(4))
    found = read_table(written(tmp_path / "a.csv", "Datum von;Datum bis;Netzlast [MWh]\n" + rows))
    assert found["Netzlast [MWh]"].tolist() == [40.5, 41.5, 42.5, 43.5]


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("Datum von", "Datum bis"),
        ("interval_start", "interval_end"),
        ("from", "to"),
        ("Beginn", "Ende"),
    ],
)
def test_of_intervals_the_begin_is_the_time_and_the_end_is_said_to_be_left_out(begin, end):
    ends = pd.Series(pd.to_datetime(DAYS)) + pd.Timedelta("59min")
    for order in ([begin, end, "y"], ["y", end, begin]):
        found, notes = read(pd.DataFrame({begin: DAYS, end: ends, "y": Y})[order])
        assert found.schema.time == begin and f"`{end}`, when intervals end, is left out" in notes
    with pytest.raises(SchemaError, match="all hold times"):
        read(pd.DataFrame({begin: DAYS, f"other {end}": ends, "y": Y}))


def test_points_stand_between_thousands_where_commas_stand_before_decimals(tmp_path):
    # 23,712 alone may be a number of thousands.
    for separator, third in ((";", "23,7"), ("\t", "23,7"), (";", "23,712")):
        rows = [
            "time;temp;sales",
            "2024-03-01;21,7;31.680",
            "2024-03-02;22,7;680",
            f"2024-03-03;{third};1.234,5",
        ]
        path = written(tmp_path / "a.csv", "\n".join(rows).replace(";", separator) + "\n")
        table = read_table(path)
        assert table["sales"].tolist() == [31680, 680, 1234.5]
        assert table["temp"].tolist() == [21.7, 22.7, float(third.replace(",", "."))]
    path = written(tmp_path / "b.csv", "time;temp;code\n2024-03-01;21,7;1.68\n2024-03-02;22,7;31.680\n")
    assert read_table(path)["code"].tolist() == [1.68, 31.68]


def test_hours_and_minutes_are_of_the_day_also_where_no_day_comes_twice():
    table = pd.DataFrame(
        {"date": DAYS, "hour": [7, 14, 21, 4, 11, 18], "minute": [13, 26, 39, 5, 18, 31], "y": Y}
    )
    found, _ = read(table)
    assert found.table[found.schema.time].iloc[1] == pd.Timestamp("2024-03-02 14:26")
    packed = pd.DataFrame({"date": DAYS, "hhmm": [713, 1426, 2139, 405, 1118, 1831], "y": Y})
    found, _ = read(packed)
    assert found.table[found.schema.time].iloc[1] == pd.Timestamp("2024-03-02 14:26")
    found, notes = read(table.drop(columns="minute"))  # of sunshine, maybe
    assert found.schema.targets == ("hour", "y") and "`hour` is a variable, since no day" in notes


@pytest.mark.parametrize(
    ("hour", "minute", "second"), [("hora", "minuto", "segundo"), ("Stunde", "Minuten", "Sekunde")]
)
def test_minutes_and_seconds_of_other_languages(hour, minute, second):
    table = pd.DataFrame(
        {"year": 2024, "month": 3, "day": 1, hour: 1, minute: [7, 8], second: [9, 10], "y": Y[:2]}
    )
    day = {"hora": "día", "Stunde": "Tag"}[hour]
    table = table.rename(columns={"day": day})
    told = {"time": f"year+month+{day}+{hour}+{minute}+{second}"}
    for found, _ in (read(table), read(table, **told)):
        assert found.table[found.schema.time].iloc[1] == pd.Timestamp("2024-03-01 01:08:10")


def test_hours_with_their_half_of_the_day_and_nothing_else():
    table = pd.DataFrame({"date": DAYS[0], "time": ["11 AM", "1 PM", "12 PM"], "y": Y[:3]})
    found, _ = read(table, time="time", date="date")
    assert found.table["time"].dt.hour.tolist() == [11, 13, 12]
    spoken = read(table.assign(time=["11:05 Uhr", "13:05 Uhr", "14:05 Uhr"]), time="time", date="date")[
        0
    ]
    assert spoken.table["time"].dt.hour.tolist() == [11, 13, 14]


def test_quotation_marks_behind_blanks_are_no_part_of_names(tmp_path):
    text = '"id", "time", "temp, °C"\n"Bed, 1", "2024-03-01", "1.5"\n"Bed, 1", "2024-03-02", "2.5"\n'
    table = read_table(written(tmp_path / "a.csv", text))
    assert [*table.columns] == ["id", "time", "temp, °C"]
    assert table["id"].tolist() == ["Bed, 1"] * 2 and table["temp, °C"].tolist() == [1.5, 2.5]


def test_when_a_row_was_kept_is_not_when_it_was_seen():
    table = pd.DataFrame(
        {"year": 2024, "month": 3, "day": range(1, 7), "y": Y, "created_at": "2024-04-01"}
    )
    assert read(table)[0].schema.time == "year+month+day"
    assert read(table.drop(columns="day").assign(created_at=DAYS))[0].schema.time == "created_at"


def test_measured_columns_do_not_make_a_table_long():
    table = pd.DataFrame(
        {"time": DAYS, "level": ["1,5", "0,5"] * 3, "signal": ["0,5", "1,5"] * 3, "y": Y}
    )
    assert read(table[["time", "level", "signal"]])[0].schema.layout == "wide"


def test_values_in_other_languages_make_a_table_long():
    table = pd.DataFrame(
        {"Zeit": np.repeat(DAYS[:3], 2), "Parameter": ["hr", "temp"] * 3, "Messwert": Y}
    )
    found, _ = read(table)
    assert (found.schema.variable, found.schema.value) == ("Parameter", "Messwert")


@pytest.mark.parametrize("scale", [1, 10**3, 10**6])
def test_epochs_from_before_2001_are_pointed_out(scale):
    seconds = (pd.date_range("1995-03-01", periods=6) - pd.Timestamp(0)) // pd.Timedelta("1s")
    name = {1: "epoch-s", 10**3: "epoch-ms", 10**6: "epoch-us"}[scale]
    later = (seconds + 50 * 365 * 86_400) * scale  # 2045
    assert scale == 1 or f"time_format='{name}'" in read(pd.DataFrame({"time": later, "y": Y}))[1]
    assert f"time_format='{name}'" in read(pd.DataFrame({"time": seconds * scale, "y": Y}))[1]


def test_rows_without_a_month_and_names_that_are_no_text_are_refused():
    table = pd.DataFrame({"year": [2024, 2024, None], "month": ["January", "March", None], "y": Y[:3]})
    with pytest.raises(SchemaError):
        read(table)
    with pytest.raises(SchemaError, match="time 2024 is no column's name"):
        Schema(time=2024)


def test_times_of_http_and_years_before_words_are_read():
    for cells in (
        ["Thu, 21 Mar 2024 20:05:07 GMT", "Fri, 22 Mar 2024 20:05:07 GMT"],
        ["2024-Mar-21", "2024-Mar-22"],
    ):
        found, _ = read(pd.DataFrame({"time": cells, "y": Y[:2]}))
        assert found.table["time"].dt.day.tolist() == [21, 22]


def test_days_and_clocks_in_german_are_joined_beside_a_value():
    table = pd.DataFrame({"Tag": np.repeat(DAYS[:3], 2), "Uhrzeit": ["06:00", "18:00"] * 3, "Wert": Y})
    found, _ = read(table)
    assert found.schema.layout == "wide" and found.schema.targets == ("Wert",)
    assert found.table[found.schema.time].dt.hour.tolist() == [6, 18] * 3


def test_an_interval_that_begins_at_one_time_each_day_has_that_time():
    table = pd.DataFrame({"date": DAYS, "begin": "20:00", "end": "20:10", "y": Y})
    found, notes = read(table)
    assert (found.table[found.schema.time].dt.hour == 20).all() and "`end` are left out" in notes


def test_an_hour_that_is_missing_is_refused_by_its_row_and_a_second_year_left_out():
    table = pd.DataFrame(
        {"yr": 2024, "year": 2024, "month": 3, "day": 1, "hour": [1, 2, None, 4, 5, 6], "y": Y}
    )
    with pytest.raises(SchemaError, match="at row 2, which is no time"):
        read(table)
    found, notes = read(table.assign(hour=range(6)))
    assert found.schema.targets == ("y",) and "left out, since the times say the same: `yr`" in notes


def test_a_heart_rate_called_hr_is_no_hour():
    table = pd.DataFrame(
        {
            "year": 2024,
            "month": 3,
            "day": range(1, 7),
            "hour": 14,
            "minute": 59,
            "hr": [2, 3, 2, None, 0, 7],
            "y": Y,
        }
    )
    found, _ = read(table)
    assert (found.table[found.schema.time].dt.hour == 14).all() and found.schema.targets == ("hr", "y")
    spans = pd.DataFrame(
        {
            "date": DAYS,
            "begin": "08:00",
            "end": "08:10",
            "hr": ["23,1", "26", "21,8", "15,7", "26", "14"],
            "y": Y,
        }
    )
    found, _ = read(spans)
    assert (found.table[found.schema.time].dt.hour == 8).all()
