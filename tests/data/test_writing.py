"""Writing tables: of the kind that the ending says, whole or not at all, refused before any work."""

import datetime as dt
import json
import os

import numpy as np
import pandas as pd
import pytest

from latentode.data import read_table
from latentode.data.files.writing import check_output, check_place, replacing, write_table
from latentode.errors import LatentODEError

TABLE = pd.DataFrame(
    {
        "id": ["007", "b,c"],
        "time": pd.to_datetime(["2024-03-01 08:00", "2024-03-01 09:30"]).tz_localize("Europe/Berlin"),
        "mean": [1.2345678901234567e-20, np.nan],
        "n": [1, 2**53],
    },
    index=pd.Index([5, 9], name="line"),
)


@pytest.mark.parametrize(
    "ending", ["csv", "csv.gz", "tsv", "tsv.xz", "CSV", "parquet", "pq", "feather", "jsonl", "ndjson"]
)
def test_what_is_written_is_what_the_ending_says_and_comes_back_the_same(tmp_path, ending):
    if ending.split(".")[-1] in ("parquet", "pq", "feather"):
        pytest.importorskip("pyarrow")
    path = tmp_path / f"out.{ending}"
    check_output(path)
    write_table(TABLE, path)
    start = path.read_bytes()[:4]
    magic = {
        "parquet": b"PAR1",
        "pq": b"PAR1",
        "feather": b"ARRO",
        "csv.gz": b"\x1f\x8b",
        "tsv.xz": b"\xfd7z",
    }
    assert start.startswith(magic.get(ending, b"{" if "j" in ending else b"id"))
    back = read_table(path)
    assert list(back.columns) == list(TABLE.columns)
    assert back["id"].tolist() == TABLE["id"].tolist() and back["n"].tolist() == TABLE["n"].tolist()
    np.testing.assert_array_equal(back["mean"].to_numpy(float), TABLE["mean"].to_numpy())
    assert (pd.to_datetime(back["time"]).array == TABLE["time"].array).all()
    assert os.listdir(tmp_path) == [path.name]


def test_lines_of_json_hold_null_and_text_for_times(tmp_path):
    write_table(TABLE.assign(day=dt.date(2024, 3, 1), yes=True), tmp_path / "out.jsonl")
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["time"] == "2024-03-01 08:00:00+01:00" and first["yes"] is True
    assert second["mean"] is None and second["day"] == "2024-03-01" and second["n"] == 2**53


def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    path.write_text("older")

    def full(table, new, **how):
        new.write_text("half a ta")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="No space"):
        write_table(TABLE, path)
    assert path.read_text() == "older" and os.listdir(tmp_path) == ["out.csv"]
    with pytest.raises(KeyboardInterrupt), replacing(path) as new:
        new.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "older" and os.listdir(tmp_path) == ["out.csv"]


def test_links_and_permissions_stay_and_devices_take_csv(tmp_path):
    (tmp_path / "real.csv").write_text("older")
    (tmp_path / "real.csv").chmod(0o640)
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write_table(TABLE, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("id,time")
    assert (tmp_path / "real.csv").stat().st_mode & 0o777 == 0o640
    check_output(type(tmp_path)("/dev/null"))
    write_table(TABLE, type(tmp_path)("/dev/null"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out", "--out: .*out ends in 'nothing'; a table is written to .csv"),
        ("out.xlsx", "ends in '.xlsx'"),
        ("out.parquet.gz", "ends in '.gz'"),
        ("none/out.csv", "there is no folder .*none; make it"),
        ("", "is a folder; name a file in it"),
    ],
)
def test_what_cannot_be_written_is_refused_before(tmp_path, name, message):
    with pytest.raises(LatentODEError, match=message):
        check_output(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_place_may_have_any_ending(tmp_path):
    check_place(tmp_path / "page.html", "--report")
    with pytest.raises(LatentODEError, match="--report: there is no folder"):
        check_place(tmp_path / "none" / "page.html", "--report")
