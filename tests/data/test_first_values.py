"""Values and columns of a first table: codes, flags, places, labels of quality and names."""

import re

import numpy as np
import pandas as pd
import pytest
from first_tables import HOURS, ROWS, WAVE, in_this_process, read, written

from latentode.adapters.weather import global_hourly
from latentode.data import Schema, SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.tables.file_format import FileFormat
from latentode.errors import SchemaError


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
