"""From a field's own files to a forecast by the command line: convert, then fit."""

import re
import shlex

import pandas as pd
import pytest
from test_cli import latentode as latentode  # the fixture that runs the command line

from latentode import LatentODEError, Schema
from latentode.convert import convert, schema_options_of, settings_of


@pytest.fixture
def records(tmp_path):
    """Six stays in the challenge's format."""
    folder = tmp_path / "set-a"
    folder.mkdir()
    for i in range(6):
        head = f"00:00,RecordID,{132539 + i}\n00:00,Age,{50 + i}\n00:00,Height,-1\n"
        head += f"00:00,ICUType,{1 + i % 4}\n"
        rows = [f"{h:02d}:{7 * i:02d},HR,{70 + (h + i) % 9}" for h in range(0, 48, 3)]
        rows += [f"{h:02d}:30,Temp,{36 + h / 48:.1f}" for h in range(1, 48, 8)]
        (folder / f"{132539 + i}.txt").write_text("Time,Parameter,Value\n" + head + "\n".join(rows))
    return folder


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_two_commands_lead_from_a_folder_of_records_to_a_model(latentode, records, tmp_path, ending):
    out = tmp_path / f"patients.{ending}"
    status, told, err = latentode("convert", "physionet2012", records, "--out", out)
    assert status == 0, err
    assert "132 rows" in told
    command = shlex.split(re.search(r"next: latentode (.*)", told).group(1))
    assert command[:4] == ["fit", str(out), "--static", "Age,Gender,Height,ICUType"]
    command[command.index("model")] = str(tmp_path / "model")
    few = ["--horizon", "12", "--epochs", "1", "--hidden-size", "8", "--quiet"]
    status, _, err = latentode(*command, *few)
    assert status == 0, err
    status, told, err = latentode("forecast", tmp_path / "model", out, "--ahead", "6")
    assert status == 0, err
    assert told.count("\n") == 1 + 6 * 2 and "132539,51.0,HR," in told


def test_arguments_of_the_adapter_are_given_by_set(latentode, records, tmp_path):
    out = tmp_path / "hr.csv"
    status, _, _ = latentode(
        "convert", "physionet2012", records, "--out", out, "--set", 'parameters=["HR"]'
    )
    assert status == 0
    assert pd.read_csv(out)["variable"].unique().tolist() == ["HR"]


@pytest.mark.parametrize(
    ("name", "ending", "settings", "message"),
    [
        ("physionet", "csv", {}, r"no adapter is called 'physionet'; choose from physionet2012"),
        ("physionet2012", "csv", {"unit": 1}, r"has no argument 'unit'; it has outcomes, parameters"),
        ("physionet2012", "xlsx", {}, r"ends in none of .csv, .csv.gz, .parquet"),
    ],
)
def test_what_cannot_be_converted_is_refused_before_anything_is_read(
    tmp_path, name, ending, settings, message
):
    with pytest.raises(LatentODEError, match=message):
        convert(name, tmp_path, tmp_path / f"out.{ending}", settings)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_replaced_only_if_told(records, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(LatentODEError, match=r"is there already; choose another --out"):
        convert("physionet2012", records, out, {})
    assert out.read_text() == "mine"
    convert("physionet2012", records, out, {}, overwrite=True)
    assert out.read_text().startswith("id,time,variable,value,Age")


def test_settings_are_json_where_they_are_that(latentode):
    assert settings_of(["a=1", 'b={"x": 2}', "c=d=e"]) == {"a": 1, "b": {"x": 2}, "c": "d=e"}
    with pytest.raises(LatentODEError, match=r"--set 'x' is not name=value"):
        settings_of(["x"])


def test_options_of_a_schema_say_what_would_not_be_detected():
    frame = pd.DataFrame({"subject": [1], "time": ["2024-01-01"], "a b": [1.0], "c": [2.0]})
    schema = Schema(id="subject", time="time", targets=("a b",), cycles=("24h",))
    options = schema_options_of(schema, frame)
    assert options == "--cycles 24h --id subject --targets 'a b'"
