"""From a field's own files to a forecast by the command line: convert, then fit."""

import re
import shlex
from dataclasses import replace
from inspect import signature

import pandas as pd
import pytest
from test_cli import latentode as latentode  # the fixture that runs the command line

from latentode import LatentODEError, Schema, SeriesDataset
from latentode.adapters import CONVERTERS
from latentode.cli.inputs import schema_options_of, settings_of, write_converted
from latentode.cli.options import schema_of
from latentode.data.files.table_files import read_table


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
    assert command[:4] == ["fit", str(out), "--static-covariates", "Age,Gender,Height,ICUType"]
    command[command.index("model")] = str(tmp_path / "model")
    few = ["--horizon", "12", "--max-epochs", "1", "--hidden-size", "8", "--quiet"]
    status, _, err = latentode(*command, *few)
    assert status == 0, err
    status, told, err = latentode("forecast", tmp_path / "model", out, "--ahead", "6")
    assert status == 0, err
    assert told.count("\n") == 1 + 6 * 2 and "132539,51.0,HR," in told


def test_two_commands_lead_from_a_folder_of_records_to_forecasts(latentode, records, tmp_path):
    few = ["--horizon", "12", "--max-epochs", "1", "--hidden-size", "8", "--quiet"]
    read = ["--adapter", "physionet2012"]
    status, _, err = latentode("fit", records, *read, "--out", tmp_path / "model", *few)
    assert status == 0, err
    status, told, err = latentode("forecast", tmp_path / "model", records, *read, "--ahead", "6")
    assert status == 0, err
    assert told.count("\n") == 1 + 6 * 2 and "132539,51.0,HR," in told
    status, told, err = latentode("inspect", records, *read)
    assert status == 0 and "static_covariates=Age, Gender, Height, ICUType" in told, err


def test_an_adapter_beside_the_roles_of_columns_is_refused(latentode, records, tmp_path):
    status, _, err = latentode("inspect", records, "--adapter", "physionet2012", "--id", "RecordID")
    assert status == 1 and "--adapter says itself" in err
    status, _, err = latentode("inspect", records, "--adapter", "nonsense")
    assert status == 1 and "no adapter is called 'nonsense'" in err


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
        ("physionet2012", "xlsx", {}, r"--out.*ends in .\.xlsx.; a table is written to"),
    ],
)
def test_what_cannot_be_converted_is_refused_before_anything_is_read(
    tmp_path, name, ending, settings, message
):
    with pytest.raises(LatentODEError, match=message):
        write_converted(name, tmp_path, tmp_path / f"out.{ending}", settings)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_replaced_only_if_told(records, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(LatentODEError, match=r"is there already; choose another --out"):
        write_converted("physionet2012", records, out, {})
    assert out.read_text() == "mine"
    write_converted("physionet2012", records, out, {}, overwrite=True)
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


FILES = {
    "lab-events": ("labs.csv", "subject_id,charttime,itemid,valuenum\n07,2150-01-01 06:00,K,4.5\n"),
    "visits": ("visits.csv", "id,day,age,bili\n1,0,50,1.5\n1,190,50,2.5\n"),
    "glucose": ("glucose.csv", "datetime,isig,glucose\n2010-03-24 09:51,22,258\n"),
    "ghcn-daily": ("year.csv", "USW00094728,20240201,TMAX,83,,,W,2400\n"),
    "global-hourly": (
        "isd.csv",
        "STATION,DATE,TMP,DEW,SLP,WND\n"
        '7,2024-01-01T00:51:00,"+0067,5","+0011,5","10182,5","240,5,N,0031,5"\n',
    ),
    "station-table": ("metar.csv", "station,valid,tmpf\nJFK,2024-01-01 00:51,50.0\n"),
    "hurdat2": ("tracks.txt", "AL092011, IRENE, 1,\n20110828, 0935, L, TS, 39.4N, 74.4W, 60, 959,\n"),
    "bars": ("bars.csv", "symbol,date,close\nSPX,2024-01-05,4697.24\n"),
    "quotes": ("quotes.csv", "symbol,time,bid,ask\nSPX,2024-01-05 10:00:00.5,9.9,10.1\n"),
    "macro": ("cpi.csv", "DATE,CPILFESL\n2024-01-01,314.4\n"),
    "nixtla": ("nixtla.csv", "unique_id,ds,y\n01,2024-01-01,1.5\n"),
    "gluonts": ("gluonts.csv", "item_id,timestamp,target\n01,2024-01-01,1.5\n"),
    "prophet": ("prophet.csv", "ds,y\n2024-01-01,1.5\n"),
}


@pytest.mark.parametrize("name", sorted(set(CONVERTERS) - {"physionet2012"}))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_adapter_writes_a_table_that_its_options_read_back(name, tmp_path):
    file, text = FILES[name]
    (tmp_path / file).write_text(text)
    out = tmp_path / "out.csv"
    frame, schema = write_converted(name, tmp_path / file, out, {})
    words = shlex.split(schema_options_of(schema, frame))
    options = {w[2:].replace("-", "_"): v for w, v in zip(words[::2], words[1::2], strict=True)}
    told = schema_of(**{**dict.fromkeys(signature(schema_of).parameters), **options})
    read = read_table(out, told)
    again = told.resolve(read)
    assert again == replace(schema, layout=again.layout)
    dataset = SeriesDataset.from_frame(read, told)
    assert dataset.ids.tolist() == SeriesDataset.from_frame(frame, schema).ids.tolist()
