"""Tables as a user brings them in the first minute: read as they are meant, said, or refused."""

import contextlib
import io
import json
import os
import re
import threading
import time

import numpy as np
import pandas as pd
import pytest

from latentode.adapters.weather import global_hourly
from latentode.cli import main
from latentode.data import Schema, SeriesDataset
from latentode.data.files import sources
from latentode.data.files.table_files import read_table
from latentode.data.plain_tables import read_plain
from latentode.data.report import inspect
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.reading import read_columns
from latentode.errors import SchemaError

HOURS = pd.date_range("2024-03-01", periods=96, freq="h")
DAYS = pd.date_range("2024-01-01", periods=80, freq="D")
WAVE = np.round(20 + 3 * np.sin(np.arange(96) / 4), 1)


def read(table, **schema):
    found = read_columns(table, Schema(**schema))
    return found, " ".join(found.notes)


def with_code(values, code):
    values = np.asarray(values, dtype=float).copy()
    values[[5, 17, 18, 40]] = code
    return values


@pytest.mark.parametrize("code", [-1, -9, -99, -999])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_only_negative_number_among_readings_is_pointed_out(code, scale):
    table = pd.DataFrame({"time": HOURS, "ppb": with_code(scale * WAVE + 0.25, code)})
    assert f"column `ppb` holds {code} in 4 rows" in read(table)[1]
    assert f"holds {code} in 4 rows" in read(table, targets=("ppb",), time="time")[1]
    long = table.melt("time", var_name="variable").replace({"variable": {"ppb": "ozone"}})
    cold = pd.DataFrame({"time": HOURS, "variable": "cold", "value": -WAVE * 100})
    assert f"{code} in 4 rows" in (said := read(pd.concat([long, cold]))[1]) and "`ozone`" in said


def test_counts_with_a_code_are_pointed_out_and_temperatures_that_cross_zero_are_not():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"time": HOURS, "calls": with_code(rng.poisson(5, 96), -1)})
    assert "column `calls` holds -1 in 4 rows, its only negative value" in read(table)[1]
    degrees = np.clip(np.round(6 + 7 * np.sin(np.arange(96) / 8)), -1, None)
    assert (degrees == -1).sum() > 4
    assert "holds -1" not in read(table.assign(calls=degrees))[1]
    for plain in (-WAVE, WAVE - 20, np.sign(WAVE - 20), np.where(WAVE > 20, 1.0, -1.0)):
        assert "stands for a missing one" not in read(table.assign(calls=plain))[1]


def turned(day):
    return f"{day:%Y-%d-%m}" if day.day <= 12 else f"{day:%Y-%m-%d}"


@pytest.mark.parametrize("clock", ["", " 08:00:00"])
@pytest.mark.parametrize("step", [1, -1])
def test_days_and_months_that_a_spreadsheet_exchanged_are_pointed_out(clock, step):
    dates = [turned(day) + clock for day in DAYS][::step]
    _, notes = read(pd.DataFrame({"date": dates, "y": np.arange(80.0)}))
    assert "and does not if day and month change places" in notes and "to 2024-0" in notes
    assert "runs through the same times again" not in notes
    right = pd.DataFrame({"date": DAYS.strftime("%Y-%m-%d")[::step], "y": np.arange(80.0)})
    assert "change places" not in read(right)[1]
    shuffled = right.sample(frac=1, random_state=1)
    assert "change places" not in read(shuffled)[1]


@pytest.mark.parametrize("form", ["%Y-%m-%d %I:%M", "%d.%m.%Y %I:%M"])
@pytest.mark.parametrize("step", [1, -1])
def test_a_clock_of_twelve_hours_is_not_to_be_merged(form, step):
    table = pd.DataFrame({"time": HOURS.strftime(form)[::step], "y": WAVE})
    _, notes = read(table)
    assert "from 1 to 12 o'clock twice a day" in notes and "write AM and PM" in notes
    with pytest.raises(SchemaError, match=r"48 rows repeat .*write AM and PM into the times, or hours"):
        SeriesDataset.from_frame(table, Schema())
    assert "a note says what they may be; else remove" in inspect(table).to_text()
    told = table.assign(time=HOURS.strftime(f"{form} %p")[::step])
    assert read(told)[0].table["time"].tolist() == HOURS.tolist()[::step]


def test_repeated_times_in_one_half_of_the_day_are_plain_duplicates():
    for clocks in (["08:00"] * 2, ["01:30", "02:30", "02:30", "03:30"], ["07:00", "13:00"] * 2):
        times = [f"2024-10-27 {clock}" for clock in clocks]
        _, notes = read(pd.DataFrame({"time": times, "y": np.arange(float(len(clocks)))}))
        assert "twice a day" not in notes


def test_what_is_out_of_order_is_left_to_the_long_way():
    dates = pd.to_datetime([turned(day) for day in DAYS])
    table = pd.DataFrame({"date": dates, "y": np.arange(80.0)})
    schema = SeriesDataset.from_frame(table.assign(date=DAYS), Schema()).schema
    assert read_plain(table, schema) is None
    assert read_plain(table.assign(date=DAYS[::-1]), schema) is not None


def test_few_places_in_turn_name_series():
    places = [(52.5, 13.4), (48.1, 11.6), (50.1, 8.7)]
    rows = [
        (hour + pd.Timedelta(minutes=7 * i), *place) for hour in HOURS for i, place in enumerate(places)
    ]
    table = pd.DataFrame(rows, columns=["time", "lat", "lon"]).assign(y=np.arange(288.0))
    assert "few places, to which rows come back in turn" in read(table)[1]
    found, notes = read(table, id="lat+lon")
    assert found.table["lat+lon"].nunique() == 3 and "few places" not in notes
    rng = np.random.default_rng(0)
    moving = table.assign(lat=rng.normal(50, 1, 288), lon=rng.normal(10, 1, 288))
    assert "few places" not in read(moving)[1]


def test_years_of_the_persian_calendar_are_pointed_out():
    dates = [f"1403/01/{day:02}" for day in range(1, 29)]
    assert "such as the Persian" in read(pd.DataFrame({"date": dates, "y": np.arange(28.0)}))[1]
    old = [f"{year}-06-01" for year in range(1400, 1900)]
    assert "Persian" not in read(pd.DataFrame({"date": old, "y": np.arange(500.0)}))[1]


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


ROWS = [(f"{hour:%Y-%m-%d %H:%M}", value) for hour, value in zip(HOURS, WAVE, strict=True)]
SUMMARY = "Mean,20.1\nMax value,23\nStd. dev.,1.2\n"


@pytest.mark.parametrize("kind", ["options", "format"])
def test_lines_of_several_beginnings_are_no_rows(kind, tmp_path):
    body = "time,x\n" + "".join(f"{t},{v}\n" for t, v in ROWS)
    path = written(tmp_path / "a.csv", f"{body}{SUMMARY}\nReport by me\n")
    with pytest.raises(SchemaError, match=r"'Mean' at line 98.*say with comment= how it begins"):
        read(read_table(path))
    begins = ("Mean", "Max", "Std", "Report")
    if kind == "options":
        options = [part for sign in begins for part in ("--comment", sign)]
        report = in_this_process("inspect", path, "--json", *options)
        assert json.loads(report)["n_rows"] == 96
        return
    told = FileFormat(comment=begins)
    assert FileFormat.of(json.loads(json.dumps(told.to_dict()))) == told
    table = read_table(path, Schema(file_format=told))
    assert len(table) == 96 and table["x"].dtype.kind == "f"


def in_this_process(*arguments):
    """What the command line prints."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr("sys.argv", ["latentode", *map(str, arguments)])
        with contextlib.suppress(SystemExit):
            main()
    return out.getvalue()


@pytest.mark.parametrize(
    ("flags", "marks"),
    [("e", ["e"]), ("*", ["*"]), ("A,P", [" A", " P"]), ("R,s", ["s", "R", ""]), ("(e)", ["(e)", ""])],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "xlsx"])
def test_flags_behind_numbers_are_refused_with_the_option_that_reads_them(
    flags, marks, ending, tmp_path
):
    if ending == "xlsx":
        pytest.importorskip("openpyxl")
    marked = [f"{v}{marks[i % len(marks)] if len(marks) > 1 or i % 7 == 3 else ''}"
              for i, (_, v) in enumerate(ROWS)]  # fmt: skip
    table, path = pd.DataFrame({"time": [t for t, _ in ROWS], "x": marked}), tmp_path / f"a.{ending}"
    if ending == "csv":
        table.to_csv(path, index=False)
    elif ending == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_excel(path, index=False)
    with pytest.raises(SchemaError, match=rf"say flags='{re.escape(flags)}' when reading the file"):
        read(read_table(path))
    with pytest.warns(UserWarning, match=r"behind \d+ numbers, first .* left aside"):
        found = read_table(path, file_format=FileFormat(flags=flags))
    np.testing.assert_array_equal(read(found)[0].table["x"], WAVE)


@pytest.mark.parametrize(
    "cells", [["98.6 F", "37 C"], ["5 mg", "7 ml"], ["5 mg", "7"], ["30 min", "1 h"], ["n/e", "12"]]
)
def test_units_and_words_are_no_flags(cells):
    table = pd.DataFrame({"time": range(20), "x": [cells[i % 4 == 3] for i in range(20)]})
    with pytest.raises(SchemaError) as told:
        read(table, targets=("x",))
    assert "flags=" not in str(told.value)


def test_a_flag_is_no_digit():
    with pytest.raises(SchemaError, match="flags='e1' holds a digit"):
        FileFormat(flags="e1")


@pytest.mark.parametrize("ending", ["jsonl", "xlsx", "parquet"])
def test_what_stands_for_missing_cells_is_missing_in_files_with_types_too(ending, tmp_path):
    pytest.importorskip({"xlsx": "openpyxl", "parquet": "pyarrow"}.get(ending, "json"))
    path = tmp_path / f"a.{ending}"
    table = pd.DataFrame({"id": ["n/e", *"abcde"], "time": range(6), "x": [1.5, "n/e", 2, -999, 3, 4]})
    if ending == "jsonl":
        table.to_json(path, orient="records", lines=True)
    elif ending == "xlsx":
        table.to_excel(path, index=False)
    else:
        table.astype({"x": str}).to_parquet(path)
    with pytest.raises(SchemaError, match=r"'n/e' at .* name it in na_values"):
        read(read_table(path))
    found = read_table(path, file_format=FileFormat(na_values=("n/e", "-999")))
    assert found["id"].tolist() == ["n/e", *"abcde"]
    assert read(found)[0].table["x"].dropna().tolist() == [1.5, 2, 3, 4]


HEADERS = ["time,x,z", '"time","x","z"', "time, x, z", "TIME,X,Z", "Time,X,Z", " time , x , z "]


@pytest.mark.parametrize("again", HEADERS)
@pytest.mark.parametrize("rows", [10, 600])
def test_a_header_within_a_file_is_left_out_however_it_is_written(again, rows, tmp_path):
    blocks = ["".join(f"{1.7e9 + 60 * (i + k):.0f},{i}.5,{k}\n" for i in range(rows)) for k in (0, 600)]
    path = written(tmp_path / "a.csv", f"time,x,z\n{blocks[0]}{again}\n{blocks[1]}")
    with pytest.warns(UserWarning, match="1 repeated header line left out"):
        table = read_table(path)
    assert table["x"].dtype.kind == "f" and len(table) == 2 * rows
    assert table.index[[rows - 1, rows]].tolist() == [rows + 1, rows + 3]


@pytest.mark.parametrize("rows", [10, 600])
def test_a_header_in_another_order_is_refused_by_its_line(rows, tmp_path):
    days = pd.date_range("2024-03-01", periods=rows, freq="h").strftime("%Y-%m-%d %H:%M")
    body = "time,x,z\n" + "".join(f"{day},{i}.5,7\n" for i, day in enumerate(days))
    other = "time,z,x\n" + "".join(f"{day},7,{i}.5\n" for i, day in enumerate(days))
    with pytest.raises(SchemaError, match=rf"line {rows + 2} holds 'time', 'z', 'x' where the header"):
        read_table(written(tmp_path / "a.csv", body + other))
    later = other.replace("2024", "2025")
    parts = [written(tmp_path / f"{i}.csv", text) for i, text in enumerate((body, later))]
    table = read_table(parts)  # as is advised
    assert len(table) == 2 * rows and (table["z"] == 7).all()
    with pytest.raises(SchemaError, match=r"put each .*into a file of its own"):
        read_table(
            written(tmp_path / "b.csv", body + other.replace("x\n", "x,w\n", 1) + f"{days[0]},1,2,3\n")
        )


def test_a_header_within_a_frame_is_named():
    table = pd.DataFrame({"time": ["2024-03-01", "time", "2024-03-02"], "x": ["1.5", "x", "2.5"]})
    with pytest.raises(SchemaError, match="; row 1 repeats the names of the columns: remove such rows"):
        read(table)
    assert len(read(table.drop(index=1))[0].table) == 2
    labels = pd.DataFrame({"id": ["id", "x", "id"], "time": [1, 2, 3], "x": [1.5, 2.5, 3.5]})
    assert len(read(labels)[0].table) == 3


def visits(cells):
    n = len(cells)
    return pd.DataFrame(
        {"subject": np.repeat(list("abc"), n), "visit": cells * 3, "y": np.arange(3.0 * n)}
    )


@pytest.mark.parametrize(
    ("form", "days"),
    [
        ("Week {}", 7),
        ("WEEK{}", 7),
        ("Visit Week {}", 7),
        ("Day {}", 1),
        ("{} days", 1),
        ("{} weeks", 7),
        ("Woche {}", 7),
        ("Hour {}", 1 / 24),
        ("Semana {}", 7),
    ],
)
def test_visits_that_count_weeks_or_days_are_times(form, days):
    table = visits([form.format(number) for number in (0, 2, 4, 12)])
    found, notes = read(table)
    assert (found.schema.time, found.schema.id, found.axis.kind) == ("visit", "subject", "elapsed")
    assert "is taken for the times" in notes and "'elapsed'" in notes
    numbers = found.table["visit"].dt.total_seconds() / 86_400 / days
    assert numbers.tolist() == [0, 2, 4, 12] * 3
    later, _ = read(visits([form.format(16), "3 days"]), **{"time": "visit", "time_format": "elapsed"})
    assert later.table["visit"].iloc[1] == pd.Timedelta("3D")
    assert found.axis.parse(pd.Series([form.format(16)]), "at").iloc[0] == pd.Timedelta(days=16 * days)


def test_single_letters_count_where_the_column_is_named():
    table = visits(["W0", "W4", "W8"])
    with pytest.raises(SchemaError, match="no time column"):  # which may be codes
        read(table)
    assert read(table, time="visit")[0].table["visit"].iloc[2] == pd.Timedelta("56D")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["Month 1", "Month 2"],
            "'Month 1' at row 0, and months are not all of one length; write dates",
        ),
        (["Year 1", "Year 2"], "and years are not all of one length"),
        (
            ["Day 1", "Day 7", "Week 2"],
            "'Week 2' at row 2 beside 'Day 1'; write all of them in one unit",
        ),
        (
            ["Baseline", "Week 2", "Week 4"],
            "'Baseline' at row 0, where most cells are written as 'Week 2'",
        ),
    ],
)
def test_visits_that_are_no_times_are_refused_with_what_to_write(cells, said):
    with pytest.raises(SchemaError, match=said):
        read(visits(cells))


ARABIC, PERSIAN = "٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹"


@pytest.mark.parametrize("digits", [ARABIC, PERSIAN, "०१२३४५६७८९", "０１２３４５６７８９"])
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M"])
def test_digits_of_other_scripts_are_read_in_times_too(digits, form, tmp_path):
    other = str.maketrans("0123456789", digits)
    cells = [hour.strftime(form).translate(other) for hour in HOURS]
    values = [str(value).translate(other).replace(".", "٫") for value in WAVE]
    text = "time,x\n" + "".join(f"{t},{v}\n" for t, v in zip(cells, values, strict=True))
    found, _ = read(read_table(written(tmp_path / "a.csv", text)))
    assert found.table["time"].tolist() == HOURS.tolist() and found.table["x"].tolist() == WAVE.tolist()


@pytest.mark.parametrize("digits", ["0123456789", PERSIAN])
def test_a_day_that_only_another_calendar_has_is_said_to_be_of_one(digits):
    days = [f"1403/{1 + i // 31:02}/{1 + i % 31:02}" for i in range(62)]
    cells = [day.translate(str.maketrans("0123456789", digits)) for day in days]
    with pytest.raises(
        SchemaError, match="write it in the Gregorian calendar if its year is a Persian"
    ):
        read(pd.DataFrame({"date": cells, "y": np.arange(62.0)}))


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
WIDE = {
    "years": (["country"], ["2019", "2020", "2021"], "year"),
    "years and their codes": (["country"], [f"{y} [YR{y}]" for y in (2000, 2001, 2002)], "year"),
    "years of R": (["country"], ["X1990", "X1991", "X1992"], "year"),
    "years of the FAO": (["Area", "Unit"], ["Y1990", "Y1991", "Y1992"], "year"),
    "months": (["year"], MONTHS, "year+month"),
    "quarters": (["year"], ["Q1", "Q2", "Q3", "Q4"], "year+quarter"),
    "quarters of years": (["country"], ["Q1 2000", "Q2 2000", "Q3 2000", "Q4 2000"], "time"),
    "quarters behind years": (["country"], ["2000-Q1", "2000-Q2", "2000-Q3", "2000-Q4"], "time"),
    "days": (["country"], ["1/22/20", "1/23/20", "1/24/20"], "time"),
    "days of R": (["country"], ["X2020.01.22", "X2020.01.23", "X2020.01.24"], "time"),
    "months of years": (["country"], ["2024-01", "2024-02", "2024-03"], "time"),
    "times of day": (["date"], ["00:00", "00:30", "01:00"], "time"),
    "hours": (["meter", "date"], [f"H{i}" for i in range(1, 25)], "hour"),
}
KEYS = {
    "country": ["DE", "FR"], "Area": ["DE", "FR"], "Unit": ["t", "t"], "meter": ["a", "b"],
    "year": [2001, 2002], "date": ["2024-01-01", "2024-01-02"],
}  # fmt: skip


@pytest.mark.parametrize("kind", WIDE)
def test_what_is_advised_of_times_for_columns_reads_them(kind):
    keys, names, timed = WIDE[kind]
    columns = {name: [i + 0.5, i + 7] for i, name in enumerate(names)}
    frame = pd.DataFrame({**{k: KEYS[k] for k in keys}, **columns})
    with pytest.raises(SchemaError, match="called by times") as told:
        read(frame)
    advice = re.search(r"by (rows = .*?); or name those", str(told.value))
    assert advice is not None
    scope = {"pandas": pd, "frame": frame}
    exec(advice[1], scope)
    found, _ = read(scope["rows"])
    assert found.schema.time == timed and found.schema.targets == ("value",)
    assert not found.table.duplicated([c for c in (found.schema.id, found.schema.time) if c]).any()
    assert sorted(found.table["value"]) == sorted(frame[names].to_numpy().ravel())


def test_months_without_a_year_ask_for_it():
    table = pd.DataFrame({"country": ["DE", "FR"], **{month: [1.5, 2.5] for month in MONTHS}})
    with pytest.raises(SchemaError, match="and add a column `year`, since these names have none"):
        read(table)


@pytest.mark.parametrize("name", ["status", "Quality Flag", "qc_flag", "Messwertstatus"])
@pytest.mark.parametrize("meters", [1, 2])
def test_labels_of_how_good_rows_are_are_left_out_and_said(name, meters):
    table = pd.concat([
        pd.DataFrame({"meter_id": meter, "time": HOURS, "kwh": WAVE, name: ["OK", "OK", "ERR"] * 32})
        for meter in range(meters)
    ])  # fmt: skip
    found, notes = read(table)
    assert found.schema.targets == ("kwh",) and found.schema.layout == "wide"
    assert f"rows are read whatever `{name}` says, so remove those that should not be" in notes
    assert "looks like" not in read(table, leave_out=name)[1]
    with pytest.raises(
        SchemaError, match=f"`{name}`"
    ):  # of which each names the variable, or the series
        read(table.assign(time=np.repeat(HOURS[:48], 2).tolist() * meters).drop(columns="meter_id"))


def test_a_value_with_its_quality_is_refused_with_the_adapter_that_reads_it(tmp_path):
    rows = "".join(f'"01001",{t:%Y-%m-%dT%H:%M:%S},"+{200 + i:04},1"\n' for i, t in enumerate(HOURS))
    path = written(tmp_path / "isd.csv", f"STATION,DATE,TMP\n{rows}")
    with pytest.raises(
        SchemaError, match=r"'\+0200,1' at line 2 is not a number.*--adapter global-hourly"
    ):
        read(read_table(path))
    with pytest.raises(SchemaError, match=r"no column `DEW`.*name those that it has in variables="):
        global_hourly(path)
    out = tmp_path / "table.csv"  # as is advised
    told = ("--set", 'variables=["temperature"]', "--out", out)
    in_this_process("convert", "global-hourly", path, *told)
    assert read(read_table(out))[0].table["temperature"].iloc[1] == 20.1


def test_one_variable_of_a_long_table_does_not_swallow_those_beside_it():
    table = pd.DataFrame(
        {"time": HOURS, "parameter": "x", "value": WAVE, "temp": WAVE + np.arange(96) / 7}
    )
    with pytest.raises(
        SchemaError, match=r"long table of 'x' alone, in which `temp` would have no part"
    ):
        read(table)
    assert read(table, layout="wide")[0].schema.targets == ("value", "temp")
    assert read(table, layout="long")[0].schema.targets == ("x",)
    places = table.drop(columns="temp").assign(lat=[52.5, 48.1, 50.1, 49.9] * 24)
    assert read(places)[0].schema.targets == ("x",)


def test_words_beyond_a_limit_say_which_number_they_become():
    cells = ["LO", "70", "140", "HI", "250", "Low"] * 4
    table = pd.DataFrame({"time": range(24), "glucose": cells})
    with pytest.raises(SchemaError, match=r"their limit \(words as the least or the largest number of"):
        read(table)
    found, notes = read(table, censored="limit")
    assert "'LO' as 70, 'HI' as 250, 'Low' as 70, the least or the largest number" in notes
    assert found.table["glucose"].iloc[[0, 3, 5]].tolist() == [70, 250, 70]
    signs = table.assign(glucose=["<40", "70"] * 12)
    with pytest.raises(SchemaError, match="to take them as their limit, or censored='drop'"):
        read(signs)
    assert "the least or the largest" not in read(signs, censored="limit")[1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_read_as_standard_input_is(tmp_path, monkeypatch):
    path, text = tmp_path / "pipe", b"time,x\n2024-03-01,1.5\n2024-03-02,2.5\n"
    os.mkfifo(path)
    monkeypatch.setattr(sources, "PATIENCE", 0.05)
    with pytest.raises(SchemaError, match="is a named pipe into which nobody writes; begin to write"):
        read_table(path)
    for wait in (0.0, 0.2):  # somebody may hold its other end before anything comes
        handle = os.open(path, os.O_RDWR)

        def write(handle=handle, wait=wait):
            time.sleep(wait)
            os.write(handle, text)
            time.sleep(0.1)
            os.close(handle)

        writer = threading.Thread(target=write)
        writer.start()
        assert read_table(path)["x"].tolist() == [1.5, 2.5]
        writer.join()


@pytest.mark.parametrize("kind", ["am", "AM", "a.m."])
def test_halves_of_the_day_in_a_column_of_their_own_are_no_series(kind):
    halves = [kind if hour.hour < 12 else kind.replace("a", "p").replace("A", "P") for hour in HOURS]
    table = pd.DataFrame(
        {"Date": HOURS.strftime("%Y-%m-%d"), "Time": HOURS.strftime("%I:%M"), "half": halves, "x": WAVE}
    )
    with pytest.raises(
        SchemaError, match=r"`half` says which half of the day .*frame\['Time'\] \+ ' '"
    ):
        read(table)
    joined = table.assign(Time=table["Time"] + " " + table["half"]).drop(columns="half")
    found, _ = read(joined)  # as is advised
    assert found.table["Time"].tolist() == HOURS.tolist() and found.schema.id is None


@pytest.mark.parametrize("form", ["%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"])
@pytest.mark.parametrize("sign", [" - ", " – ", "/"])
def test_of_intervals_in_one_column_the_begin_is_the_time(form, sign):
    ends = HOURS + pd.Timedelta("1h")
    cells = [f"{a:{form}}{sign}{b:{form}}" for a, b in zip(HOURS, ends, strict=True)]
    found, notes = read(pd.DataFrame({"MTU (CET/CEST)": cells, "load": WAVE}))
    assert found.table["MTU (CET/CEST)"].tolist() == HOURS.tolist() and "'interval'" in notes
    later, _ = read(pd.DataFrame({"t": cells[:3], "load": WAVE[:3]}), time="t", time_format="interval")
    assert later.table["t"].tolist() == HOURS[:3].tolist()


def test_a_comma_stands_before_fractions_in_every_form():
    cells = [f"{hour:%d.%m.%Y %H:%M:%S},250" for hour in HOURS]
    found, _ = read(pd.DataFrame({"time": cells, "x": WAVE}))
    assert (found.table["time"] - HOURS == pd.Timedelta("250ms")).all()


BOX = "┌────┬─────────────────────┬───────┐\n│ id │         ts          │ value │\n"
BOX += "├────┼─────────────────────┼───────┤\n"


@pytest.mark.parametrize("drawn", ["box", "mysql"])
def test_a_table_in_a_box_is_read(drawn, tmp_path):
    rows = "".join(f"│ 7  │ {t}:00 │ {v}  │\n" for t, v in ROWS)
    text = BOX + rows + "└────┴─────────────────────┴───────┘\n"
    if drawn == "mysql":
        text = text.translate(
            {ord("│"): "|", ord("─"): "-", **dict.fromkeys(map(ord, "┌┬┐├┼┤└┴┘"), "+")}
        )
    found, _ = read(read_table(written(tmp_path / "a.txt", text)))
    assert (found.schema.id, found.schema.time, found.schema.targets) == ("id", "ts", ("value",))
    assert found.table["value"].tolist() == WAVE.tolist()


def test_names_of_rows_that_are_times_are_the_times(tmp_path):
    days = "".join(f'"{t[:10]}" {v} 7\n' for t, v in ROWS[::24])
    found, _ = read(read_table(written(tmp_path / "xts.txt", f'"x" "z"\n{days}')))
    assert found.table["x"].tolist() == WAVE[::24].tolist()
    head = "      " + "  ".join(MONTHS)
    text = (
        head
        + "\n"
        + "".join(f"{y} " + " ".join(str(y + m) for m in range(12)) + "\n" for y in (1949, 1950))
    )
    with pytest.raises(SchemaError, match=r"pandas\.melt\(frame, \['year'\], var_name='month'"):
        read(read_table(written(tmp_path / "ts.txt", text)))


@pytest.mark.parametrize(("unit", "size"), [("s", 1), ("ms", 1000)])
def test_what_is_counted_since_1960_is_said_to_be(unit, size):
    since = (HOURS - pd.Timestamp("1960-01-01")).total_seconds().to_numpy() * size
    table = pd.DataFrame({"time": since.astype(np.int64), "x": WAVE})
    advice = f"time_format='{unit} since 1960-01-01' if they are counted since 1960"
    assert advice in read(table)[1]
    found, _ = read(table, time_format=f"{unit} since 1960-01-01")
    assert found.table["time"].tolist() == HOURS.tolist()


def test_where_times_may_be_is_said():
    tables = {
        "column1": {"column1": (HOURS.asi8 // 10**9).astype(np.int64) // 10**3, "column2": WAVE},
        "hours_from_dose": {"hours_from_dose": np.arange(96.0), "conc": WAVE},
        "R.Time (min)": {"R.Time (min)": np.arange(96) / 7, "Intensity": WAVE},
        "datenum": {"datenum": 739_312 + np.arange(96) / 24, "x": WAVE},
    }
    tables["column1"]["column1"] = [int(hour.timestamp()) for hour in HOURS]
    for name, columns in tables.items():
        with pytest.raises(SchemaError, match=re.escape(f"name it, maybe `{name}`, with time=")):
            read(pd.DataFrame(columns))
        assert read(pd.DataFrame(columns), time=name)[0].schema.time == name


def test_subtotals_between_rows_are_refused_with_the_option_that_leaves_them_out(tmp_path):
    body = "".join(f"{t},{v}\n" + "Subtotal,300.1\n" * (i % 12 == 11) for i, (t, v) in enumerate(ROWS))
    path = written(tmp_path / "a.csv", f"date,amount\n{body}")
    with pytest.raises(SchemaError, match=r"'Subtotal' at line 14.*say with comment= how lines begin"):
        read(read_table(path))
    assert len(read(read_table(path, file_format=FileFormat(comment="Subtotal")))[0].table) == 96


def test_a_flowsheet_is_offered_to_be_long(tmp_path):
    names = ["PULSE", "TEMPERATURE", "RESP"]
    table = pd.DataFrame(
        {
            "PAT_ENC_CSN_ID": np.repeat([101, 102], 48),
            "RECORDED_TIME": [f"{t}" for t, _ in ROWS[:16] for _ in names] * 2,
            "FLO_MEAS_NAME": names * 32,
            "MEAS_VALUE": WAVE,
        }
    )
    found, notes = read(table)
    assert found.schema.id == "PAT_ENC_CSN_ID" and found.schema.variable == "FLO_MEAS_NAME"
    assert "a long table" in notes


def test_codes_of_letters_and_a_digit_are_names_and_no_money():
    rows = [
        (region, f"2024-03-14 {h:02d}:00", 40.0 + h)
        for h in range(6)
        for region in ("NSW1", "VIC1", "QLD1")
    ]
    frame = pd.DataFrame(rows, columns=["REGIONID", "SETTLEMENTDATE", "RRP"])
    read = SeriesDataset.from_frame(frame, Schema())
    assert read.schema.id == "REGIONID" and read.schema.targets == ("RRP",)
    paid = frame.assign(RRP=[f"AUD{x:g}" for x in frame["RRP"]])
    assert SeriesDataset.from_frame(paid, Schema()).value.max() == 45.0


@pytest.mark.parametrize("hour", [True, False])
def test_a_temperature_called_t_is_no_time_beside_dates_that_are_numbers(hour):
    dates = [20240314 + n for n in range(4)]
    frame = pd.DataFrame({"YYYYMMDD": dates, "T": [100, 103, 99, 110], "FH": [30, 31, 32, 33]})
    if hour:
        frame.insert(1, "HH", [1, 2, 3, 4])
    read = SeriesDataset.from_frame(frame, Schema())
    assert {"T", "FH"} <= set(read.schema.targets) and "YYYYMMDD" not in read.schema.targets
    assert read.axis.is_calendar
    counted = frame.rename(columns={"YYYYMMDD": "n"}).assign(n=[5, 6, 7, 9])
    assert (
        SeriesDataset.from_frame(counted.drop(columns="HH", errors="ignore"), Schema()).schema.time
        == "T"
    )
