"""Files of a first table: comments, headers within, boxes, missing cells and pipes."""

import json
import os
import threading
import time

import pandas as pd
import pytest
from first_tables import ROWS, WAVE, in_this_process, read, written

from latentode.data import Schema
from latentode.data.files import sources
from latentode.data.files.table_files import read_table
from latentode.data.tables.file_format import FileFormat
from latentode.errors import SchemaError

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


def test_subtotals_between_rows_are_refused_with_the_option_that_leaves_them_out(tmp_path):
    body = "".join(f"{t},{v}\n" + "Subtotal,300.1\n" * (i % 12 == 11) for i, (t, v) in enumerate(ROWS))
    path = written(tmp_path / "a.csv", f"date,amount\n{body}")
    with pytest.raises(SchemaError, match=r"'Subtotal' at line 14.*say with comment= how lines begin"):
        read(read_table(path))
    assert len(read(read_table(path, file_format=FileFormat(comment="Subtotal")))[0].table) == 96
