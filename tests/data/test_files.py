"""Files as they come: each kind is read as the plain file of the same table is, and said to be so."""

import bz2
import gzip
import io
import json
import lzma
import os
import sys
import threading
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

from latentode.data import FileFormat, Schema, SeriesDataset, read_table
from latentode.errors import SchemaError

ROWS = [
    ("a", "2024-03-01 08:00:00", 71.5, 36.6),
    ("a", "2024-03-01 09:30:00", 72.25, None),
    ("a", "2024-03-01 11:00:00", None, 36.8),
    ("b", "2024-03-01 08:10:00", 80.0, 37.125),
    ("b", "2024-03-02 08:10:00", 81.5, 37.0),
]
NAMES = ("id", "time", "hr", "temp")
PLAIN = pd.DataFrame(ROWS, columns=list(NAMES))


def text(separator=",", decimal=".", header=NAMES, end="\n", rows=ROWS):
    lines = [separator.join(header)] if header else []
    for row in rows:
        cells = ["" if c is None else c if isinstance(c, str) else f"{c:g}" for c in row]
        cells[2:] = [c.replace(".", decimal) for c in cells[2:]]
        lines.append(separator.join(cells))
    return end.join(lines) + end


def zipped(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, inside in members.items():
            # Of no date: every worker that collects the tests names them alike.
            archive.writestr(zipfile.ZipInfo(name.replace("__", ".")), inside)
    return content.getvalue()


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, schema=None, file_format=None):
    """The table and what was said of it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        frame = read_table(path, schema, file_format)
    return frame, " ".join(str(w.message) for w in said)


def same(frame, other=PLAIN):
    assert list(frame.columns) == list(other.columns)
    for name in other.columns:
        one, two = frame[name], other[name]
        if pd.api.types.is_numeric_dtype(two):
            np.testing.assert_array_equal(one.to_numpy(float), two.to_numpy(float), err_msg=name)
        else:
            assert one.astype(str).tolist() == two.astype(str).tolist()


DEGREES = text().replace("temp", "temp °C")
KINDS = {
    # name of the file: its bytes, what is said of it, the line of the first row
    "plain.csv": (text(), "", 2),
    "upper.CSV": (text(), "", 2),
    "no_ending": (text(), "", 2),
    "other.dat": (text(), "", 2),
    "tabs.tsv": (text("\t"), "", 2),
    "tabs.txt": (text("\t"), "separator='tab'", 2),
    "semicolons.csv": (text(";"), "separator=';'", 2),
    "commas.csv": (text(";", ","), "separator=';', decimal=','", 2),
    "tabs_commas.csv": (text("\t", ","), "separator='tab', decimal=','", 2),
    "pipes.csv": (text("|"), "separator='|'", 2),
    "told_by_excel.csv": ("sep=;\n" + text(";"), "", 3),
    "padded.csv": (text(", "), "", 2),
    "marked.csv": (b"\xef\xbb\xbf" + text().encode(), "", 2),
    "windows.csv": (text(end="\r\n"), "", 2),
    "old_mac.csv": (text(end="\r"), "", 2),
    "no_last_line_end.csv": (text().rstrip("\n"), "", 2),
    "utf16.csv": (text().encode("utf-16"), "encoding='utf-16'", 2),
    "utf16_unmarked.csv": (text().encode("utf-16-be"), "encoding='utf-16-be'", 2),
    "utf16_tabs.txt": (
        text("\t", end="\r\n").encode("utf-16"),
        "encoding='utf-16', separator='tab'",
        2,
    ),
    "utf32.csv": (text().encode("utf-32"), "encoding='utf-32'", 2),
    "comments_above.csv": ("# logger 3\n# station, north\n" + text(), "comment='#'", 4),
    "comments_within.csv": (text().replace("b,", "# cleaned\nb,", 1), "comment='#'", 2),
    "comment_is_header.csv": ("# by hand\n#" + text(), "comment='#', the header in line 2", 3),
    "metadata.csv": ("Logger 3\nStation,north\nInterval,90\n\n" + text(), "skip_rows=4", 6),
    "metadata_as_wide.csv": ("Site,Oslo,1,2\nBy,x,y,z\n" + text(), "skip_rows=2", 4),
    "title.csv": ("Vital signs; ward 7\n" + text(";"), "separator=';', skip_rows=1", 3),
    "units.csv": (
        text().replace("temp\n", "temp\n,UTC,1/min,degC\n"),
        "header_rows=2 (names in line 1, line 2 left out: 'UTC 1/min degC')",
        3,
    ),
    "units_and_kinds.csv": (
        '"TOA5","CR1000"\n' + text().replace("temp\n", 'temp\n"","TS","bpm","C"\n"","","Avg","Smp"\n'),
        "skip_rows=1, header_rows=3",
        5,
    ),
    "two_levels.csv": (
        text(header=("id", "time", "heart", "")).replace("heart,\n", "heart,\n,,rate,beat\n"),
        "header_rows=2 (names in lines 1 and 2)",
        3,
    ),
    "index_below.csv": (
        text(header=("vital", "", "hr", "temp")).replace("temp\n", "temp\nid,time,,\n"),
        "header_rows=2 (names in lines 1 and 2)",
        3,
    ),
    "headless.csv": (
        text(header=()),
        "header_rows=0 (no names: the columns are column1 to column4)",
        1,
    ),
    "repeated_header.csv": (
        text().replace("b,2024-03-01", "id,time,hr,temp\nb,2024-03-01"),
        "1 repeated header line left out",
        2,
    ),
    "separators_too_many.csv": (text().replace("\n", ",,\n"), "", 2),
    "separators_in_rows.csv": (text().replace("\n", ",\n").replace("temp,", "temp"), "", 2),
    "separators_in_some_rows.csv": (text().replace("36.6\n", "36.6,,\n"), "", 2),
    "row_numbers.csv": (
        "\n".join(
            line if i == 0 else f'"{i}",{line}' for i, line in enumerate(text().strip().split("\n"))
        ),
        "",
        2,
    ),
    "blank_rows.csv": (text().replace("b,", ",,,\nb,", 1), "1 row without a single cell left out", 2),
    "packed.csv.gz": (gzip.compress(text().encode()), "", 2),
    "packed_as.csv": (gzip.compress(text().encode()), "", 2),
    "not_packed.csv.gz": (text(), "", 2),
    "packed.csv.bz2": (bz2.compress(text().encode()), "", 2),
    "packed.csv.xz": (lzma.compress(text().encode()), "", 2),
    "packed.zip": (zipped(data__csv=text()), "", 2),
    "packed_tabs.tsv.gz": (gzip.compress(text("\t").encode()), "", 2),
    "mac.zip": (zipped(**{"data__csv": text(), "__MACOSX/._data__csv": b"\0\1"}), "", 2),
    "lines.jsonl": (PLAIN.to_json(orient="records", lines=True), "", 1),
    "records.json": (PLAIN.to_json(orient="records"), "", 0),
    "columns.json": (PLAIN.to_json(), "", 0),
    "lists.json": (json.dumps(PLAIN.replace({np.nan: None}).to_dict("list")), "", 0),
    "schema.json": (PLAIN.to_json(orient="table", index=False), "", 0),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_read_as_the_plain_file_of_its_table_is(write, name):
    content, says, first = KINDS[name]
    frame, said = read(write(content, name))
    if name == "two_levels.csv":
        frame = frame.rename(columns={"heart rate": "hr", "heart beat": "temp"})
    if name == "headless.csv":
        frame.columns = list(NAMES)
    same(frame.drop(columns="Unnamed: 0", errors="ignore"))
    assert says in said and (says != "") == (said != ""), said
    assert frame.index[0] == first
    if name == "blank_rows.csv":
        assert frame.index.tolist() == [2, 3, 4, 6, 7]
    if name in ("comments_within.csv", "repeated_header.csv"):
        assert frame.index.tolist() == [2, 3, 4, 6, 7]


@pytest.mark.parametrize("kind", ["parquet", "feather", "arrow", "zst"])
def test_files_of_arrow_are_read_too(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / f"data.{kind}"
    if kind == "zst":
        with pa.output_stream(path, compression="zstd") as out:
            out.write(text().encode())
    elif kind == "parquet":
        PLAIN.to_parquet(path)
    else:
        PLAIN.to_feather(path)
    for name in (path, path.rename(tmp_path / "renamed.csv")):
        same(read(tmp_path / "renamed.csv" if not path.exists() else name)[0])


def test_windows_text_is_read_and_another_script_is_asked_for(write):
    frame, said = read(write(DEGREES.encode("cp1252")))
    assert list(frame.columns)[-1] == "temp °C" and "encoding='cp1252'" in said
    path = write(text().replace("temp", "температура").encode("cp1251"))
    with pytest.raises(SchemaError, match=r"not UTF-8.*line 1 holds.*encoding='cp1251' \(Cyrillic\)"):
        read_table(path)
    frame, said = read(path, file_format=FileFormat(encoding="cp1251"))
    assert list(frame.columns)[-1] == "температура" and not said
    with pytest.raises(SchemaError, match=r"is not text of encoding='ascii': line 1 holds the byte"):
        read_table(path, file_format=FileFormat(encoding="ascii"))


def test_what_is_told_of_a_file_is_not_said_again(write):
    for content, told in (
        (text(";", ","), FileFormat(separator=";", decimal=",")),
        (text("^"), FileFormat(separator="^")),
        (text("\t"), FileFormat(separator="tab")),
        ("% no\n" + text(), FileFormat(comment="%")),
        ("x\ny,z\n" + text(), FileFormat(skip_rows=2)),
        (text().replace("temp\n", "temp\n,UTC,bpm,C\n"), FileFormat(header_rows=2)),
        (text().encode("utf-16"), FileFormat(encoding="utf-16")),
    ):
        frame, said = read(write(content), file_format=told)
        same(frame)
        assert said == ""


def test_a_header_of_numbers_and_a_table_without_one_are_told_apart_by_an_option(write):
    numbers = "10,101,102\n11,0.5,0.25\n12,0.5,0.125\n"
    frame, said = read(write(numbers))
    assert len(frame) == 3 and "header_rows=0" in said
    frame, said = read(write(numbers), file_format=FileFormat(header_rows=1))
    assert list(frame.columns) == ["10", "101", "102"] and not said
    frame, said = read(write("time,101,102\n11,0.5,0.25\n"))
    assert list(frame.columns) == ["time", "101", "102"] and not said


def test_a_lone_bad_cell_in_the_first_row_makes_no_header_of_it(write):
    frame, said = read(write("id,time,hr\na,0,bad\na,1,71\na,2,72\n"))
    assert len(frame) == 3 and not said
    with pytest.raises(SchemaError, match=r"`hr`.*'bad' at line 2 is not a number"):
        SeriesDataset.from_frame(frame)


def test_columns_lined_up_with_blanks_are_read(write):
    lined = "time     hr    temp\n0        71.5  36.6\n1.5      72.25 36.75\n30       80    37\n"
    frame, said = read(write(lined, "lined.txt"))
    assert frame["temp"].tolist() == [36.6, 36.75, 37.0] and "separator='whitespace'" in said
    assert read(write(lined), file_format=FileFormat(separator="whitespace"))[1] == ""


def test_names_of_several_tickers_are_those_of_both_levels(write):
    prices = "Price,Close,Close,High\nTicker,A,B,A\nDate,,,\n2024-01-02,1,2,3\n2024-01-03,4,5,6\n"
    frame, said = read(write(prices))
    assert list(frame.columns) == ["Date", "Close A", "Close B", "High A"]
    assert "names in lines 1 and 2 and 3" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("t;x\n1;1,234\n2;5,678\n", r"'1,234' in line 2 may be.*decimal=','.*decimal='\.'"),
        (text().replace("71.5", "71,5").replace("72.25", "72,25"), r"line 2 has 5 cells.*header has 4"),
        (
            "id,time,hr\na,0,71,5\na,1,72,5\n",
            "decimal comma, export the table with semicolons or points",
        ),
        ("time\n0\n1\n", "a single cell in each line by separator=','.*give the character"),
        ("t:x\n1:2\n", "a single cell in each line.*separator=':'"),
        (text().replace("37.0\n", "")[:-7], "ends within line 6, which has [23] cells.*cut off"),
        (text().replace("71.5", "71.5\0"), "line 2 holds a NUL byte"),
        (b"%PDF-1.7\n", "no table but a PDF"),
        (b"\x89HDF\r\n", "HDF5.*pandas.read_hdf"),
        (b"SQLite format 3\0", "SQLite"),
        ("<!DOCTYPE html>\n<html></html>\n", "web page.*download that failed"),
        ('{"id": "a"}\n{"id": "a"\n', "is not JSON, line 2: .*write the file again"),
        ('[{"id": 1}, 2]', "holds '2' where a record belongs"),
        (zipped(readme="nothing", notes="more"), "archive without a table"),
        (b"PK\x03\x04 broken", "cannot be unpacked"),
        (b"\xfd7zXZ\x00broken", "cannot be unpacked"),
        (text()[:10] + "\n", "has a header but no rows"),
        ("# nothing\n", "is empty"),
        (text() + "\nid,age\n" + "a,60\n" * 20, "several tables: from line 2 on .* from line 7 on"),
    ],
)
def test_what_cannot_be_read_says_why_and_what_to_do(write, content, message):
    with pytest.raises(SchemaError, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_table(write(content))


def test_a_separator_that_gives_one_column_is_refused_with_the_one_that_gives_more(write):
    with pytest.raises(SchemaError, match=r"by separator=','.*with separator=';' there are more"):
        read_table(write(text(";")), file_format=FileFormat(separator=","))


def test_short_rows_are_counted(write):
    frame, said = read(write("time,x,y\n0,1,2\n1,2\n2,3,4\n3,4\n"))
    assert frame["y"].isna().tolist() == [False, True, False, True]
    assert "2 rows with fewer cells than the header, first line 3" in said
    assert read(write("time,x,y\n0,1,2\n1,2,\n"))[1] == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"separator": "::"}, "separator='::' is not one character; give one, or comma, semicolon"),
        ({"decimal": "'"}, 'decimal="\'" is unknown'),
        ({"encoding": "klingon"}, "encoding='klingon' is unknown"),
        ({"skip_rows": -1}, "skip_rows=-1 is no number of lines"),
        ({"header_rows": 1.5}, "header_rows=1.5 is no number of lines"),
    ],
)
def test_a_format_that_cannot_be_is_refused(given, message):
    with pytest.raises(SchemaError, match=message):
        FileFormat(**given)


# ------------------------------------------------------------------ several files


def halves(write, names=("a.csv", "b.csv"), **how):
    return [write(text(rows=[r for r in ROWS if r[0] == n[0]], **how), f"wards/{n}") for n in names]


@pytest.mark.parametrize("way", ["folder", "pattern", "list", "zip", "mixed"])
def test_several_files_are_one_table_whose_rows_name_their_file(write, tmp_path, way):
    one, two = halves(write)
    source = {
        "folder": tmp_path / "wards",
        "pattern": str(tmp_path / "wards" / "?.csv"),
        "list": [one, two],
        "zip": write(zipped(a__csv=one.read_bytes(), b__csv=two.read_bytes()), "both.zip"),
        "mixed": [one, write(two.read_text().replace(",", ";"), "other/b.csv")],
    }[way]
    frame, said = read(source)
    same(frame)
    assert "2 files are one table" in said
    assert frame.index.names == ["file", "line"] and frame.index[-1][1] == 3
    assert str(frame.index[-1][0]).endswith("b.csv")
    frame.loc[frame.index[-1], "hr"] = np.inf
    with pytest.raises(SchemaError, match=r"`hr` is infinite at line 3 of .*b\.csv"):
        SeriesDataset.from_frame(frame)


def test_the_name_of_a_file_is_a_column_on_request(write, tmp_path):
    halves(write, ("a.csv", "b.csv.gz"))
    for path in (tmp_path / "wards").iterdir():
        path.write_text("\n".join(",".join(x.split(",")[1:]) for x in path.read_text().split("\n")))
    with pytest.raises(
        SchemaError, match=r"same times and no column names the series.*file_column='id'"
    ):
        read_table(tmp_path / "wards")
    frame, _ = read(tmp_path / "wards", file_format=FileFormat(file_column="id"))
    same(frame)
    with pytest.raises(SchemaError, match=r"file_column='hr' is a column of"):
        read_table(tmp_path / "wards", file_format=FileFormat(file_column="hr"))


def test_files_of_one_series_follow_one_another(write, tmp_path):
    write("time,x\n2024-01-01,1\n2024-01-09,2\n", "months/1.csv")
    write("time,x\n2024-02-01,3\n", "months/2.csv")
    assert read(tmp_path / "months")[0]["x"].tolist() == [1, 2, 3]


def test_files_with_other_columns_are_refused(write, tmp_path):
    write(text(), "wards/a.csv")
    write(text().replace("temp", "spo2"), "wards/b.csv")
    with pytest.raises(SchemaError, match=r"b\.csv has no column `temp`, which .*a\.csv has"):
        read_table(tmp_path / "wards")


def test_places_without_a_table_are_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(SchemaError, match="is a folder without a table"):
        read_table(tmp_path / "notes")
    with pytest.raises(SchemaError, match=r"no file matches .*\*\.csv; check the pattern"):
        read_table(tmp_path / "*.csv")
    with pytest.raises(SchemaError, match="no file is named"):
        read_table([])


def test_standard_input_and_pipes_are_read(write, tmp_path, monkeypatch):
    class Input:
        buffer = io.BytesIO(gzip.compress(text(";").encode()))

    monkeypatch.setattr(sys, "stdin", Input)
    frame, said = read("-")
    same(frame)
    assert said == "standard input is read with separator=';'"
    with pytest.raises(SchemaError, match="can be read once"):
        read_table(["-", "-"])
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(text()))
    writer.start()
    same(read(tmp_path / "pipe")[0])
    writer.join()


def test_a_workbook_is_read_by_its_sheet(tmp_path):
    pytest.importorskip("openpyxl")
    path = tmp_path / "data.xlsx"
    with pd.ExcelWriter(path) as book:
        PLAIN.to_excel(book, sheet_name="vitals", index=False, startrow=2)
        PLAIN.head(2).to_excel(book, sheet_name="few", index=False)
    with pytest.raises(SchemaError, match=r"has the sheets `vitals`, `few`; say which, sheet='vitals'"):
        read_table(path)
    frame, _ = read(path, file_format=FileFormat(sheet="vitals"))
    same(frame)
    assert frame.index.tolist() == [4, 5, 6, 7, 8]


def test_a_workbook_without_openpyxl_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(SchemaError, match=r"pip install latentode\[excel\]"):
        read_table(write(zipped(**{"xl/workbook__xml": "<x/>"}), "data.xlsx"))


# ------------------------------------------------------------------ what is remembered


def test_a_schema_keeps_the_format_and_reads_by_it():
    schema = Schema(file_format=FileFormat(separator=";", na_values=("?",)))
    assert Schema.from_json(schema.to_json()) == schema
    with pytest.raises(SchemaError, match="a file's format has no 'colour'"):
        Schema.from_json('{"file_format": {"colour": "red"}}')


def test_an_option_wins_over_what_is_remembered(write):
    path = write(text(";").replace("71.5", "?"))
    remembered = Schema(file_format=FileFormat(separator=",", na_values=("?",)))
    frame, said = read(path, remembered, FileFormat(separator=";"))
    assert frame["hr"].isna().tolist()[0] and not said
