"""Tables as a user brings them in the first minute: read as they are meant, said, or refused."""

import contextlib
import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from latentode.cli import main
from latentode.data import Schema, SeriesDataset
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
