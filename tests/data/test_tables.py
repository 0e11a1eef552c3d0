"""Tables in files: labels as they are written, rows by the line they stand on, faults by the line."""

import gzip
import sys

import numpy as np
import pandas as pd
import pytest
from frames import wide

from latentode.data import FileFormat, Schema, SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.errors import SchemaError


@pytest.fixture
def write(tmp_path):
    def write(text, name="data.csv"):
        content = text if isinstance(text, bytes) else text.encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


SMALL = "id,time,x\n007,1,2.5\nNA,2,NA\n7,3,\n"


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.tsv", "DATA.TSV.GZ"])
def test_every_text_format_gives_the_same_table(write, name):
    text = SMALL.replace(",", "\t") if "tsv" in name.lower() else SMALL
    frame = read_table(write(text, name.lower()))
    assert frame["id"].tolist() == ["007", "NA", "7"]
    assert frame["time"].tolist() == [1, 2, 3] and frame["time"].dtype == "int64"
    assert frame["x"].tolist()[0] == 2.5 and frame["x"].isna().tolist() == [False, True, True]
    assert frame.index.name == "line" and frame.index.tolist() == [2, 3, 4]


def test_an_identifier_of_unusual_name_is_text_once_the_schema_says_so(write):
    path = write("proband,time,x\n007,1,2\n")
    assert read_table(path)["proband"].tolist() == [7]
    assert read_table(path, Schema(id="proband"))["proband"].tolist() == ["007"]


def test_names_of_variables_are_text_too(write):
    frame = read_table(write("id,time,itemid,value\n1,0,007,1\n1,1,NA,2\n"))
    assert frame["itemid"].tolist() == ["007", "NA"]


def test_an_empty_identifier_is_refused_by_the_dataset_with_its_line(write):
    frame = read_table(write("id,time,x\na,1,2\n,2,3\n"))
    with pytest.raises(SchemaError, match=r"`id` names no series at line 3"):
        SeriesDataset.from_frame(frame)


def test_other_marks_of_missing_cells_can_be_named_but_not_for_identifiers(write):
    path = write("id,time,x\n?,1,?\na,2,3\n")
    frame = read_table(path, file_format=FileFormat(na_values=("?",)))
    assert frame["id"].tolist() == ["?", "a"] and frame["x"].isna().tolist() == [True, False]
    with pytest.raises(SchemaError, match=r"'\?' at line 2 is not a number.*na_values"):
        SeriesDataset.from_frame(read_table(path))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("id,time,x\n\na,1,2\n   \nb,2,3\n\n", [3, 5]),
        ('id,time,x,note\na,1,2,"two\nlines"\nb,2,3,one\n', [2, 4]),
        ('id,time,x,"long\nheader"\na,1,2,z\n', [3]),
        ("id,time,x\r\na,1,2\r\nb,2,3", [2, 3]),
        ("\ufeffid,time,x\na,1,2\n", [2]),
    ],
)
def test_rows_are_named_by_the_line_they_begin_on(write, text, lines):
    frame = read_table(write(text))
    assert frame.index.tolist() == lines and frame.index.name == "line"
    assert frame.columns[0] == "id"


def test_messages_about_cells_name_the_line(write):
    rows = "".join(f"a,{i},{i}\n" for i in range(40))
    frame = read_table(write("id,time,x\n\n" + rows + "a,99,n.a.\n"))
    with pytest.raises(SchemaError, match=r"`x`.*'n\.a\.' at line 43"):
        SeriesDataset.from_frame(frame)


def test_numbers_are_read_to_the_last_digit(write):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    text = "id,time,x\n" + "".join(f"a,{i},{v!r}\n" for i, v in enumerate(values.tolist()))
    np.testing.assert_array_equal(read_table(write(text))["x"].to_numpy(), values)


def test_a_column_of_separators_too_many_loses_nothing(write):
    assert read_table(write("id,time,x,\na,1,2,\n")).columns.tolist()[:3] == ["id", "time", "x"]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "data.csv", "data.csv is empty; check the export"),
        ("\n\n", "data.csv", "is empty"),
        ("id,time,x\n", "data.csv", "has a header but no rows"),
        ("id,time,x\na,1,2\na,2,3,4\n", "data.csv", "line 3 has 4 cells, but the header has 3; put"),
        ("id,time,x\na,1,2,5\na,2,3\n", "data.csv", "line 2 has 4 cells"),
        ("id,time,x\na,1,2,5\na,2,3,5\n", "data.csv", "line 2 has 4 cells"),
        ('id,time,x\n"a\nb",1,2\na,2,3,4\n', "data.csv", "line 4 has 4 cells"),
        ('id,time,x\na,1,2\na,"2,3\n', "data.csv", "quotation mark on line 3 left open"),
        ("id,x,x\na,1,2\n", "data.csv", "`x` occurs twice in the header, line 1; rename one"),
        (b"no parquet", "data.parquet", "not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_where_and_what_to_do(write, text, name, message):
    with pytest.raises(SchemaError, match=message):
        read_table(write(text, name))


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(SMALL.encode())[:-9])
    with pytest.raises(SchemaError, match=r"cannot be unpacked.*write or copy it again"):
        read_table(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SchemaError, match=r"none.csv is not there.*; check the path"):
        read_table(tmp_path / "none.csv")


def test_parquet_comes_back_with_its_types_and_named_index(tmp_path):
    pytest.importorskip("pyarrow")
    frame = wide()
    frame.to_parquet(tmp_path / "plain.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "plain.parquet"), frame)
    frame.set_index(["id", "time"]).to_parquet(tmp_path / "indexed.pq")
    pd.testing.assert_frame_equal(read_table(str(tmp_path / "indexed.pq")), frame)
    frame[:0].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(SchemaError, match=r"has no rows; its columns are `id`"):
        read_table(tmp_path / "empty.parquet")


def test_parquet_without_pyarrow_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SchemaError, match=r"pip install latentode\[parquet\]"):
        read_table(write(b"", "data.parquet"))


def test_reading_prints_nothing(write, capsys):
    read_table(write(SMALL))
    assert capsys.readouterr() == ("", "")
