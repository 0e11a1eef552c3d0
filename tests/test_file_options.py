"""The command line on files as they come: options, what a model remembers, and what it writes."""

import io
import os
import re
import sys

import numpy as np
import pandas as pd
import pytest
import typer
from making import waves

from latentode import LatentODEForecaster, read_table
from latentode.cli import app, main
from latentode.data import FileFormat


@pytest.fixture(scope="module")
def latentode():
    """Runs the command line in this process; returns (exit status, stdout, stderr)."""

    def run(*arguments, stdin=b""):
        status, streams = 0, (sys.argv, sys.stdin, sys.stdout, sys.stderr)
        sys.argv = ["latentode", *(str(a) for a in arguments)]
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        finally:
            told, said = sys.stdout.getvalue(), sys.stderr.getvalue()
            sys.argv, sys.stdin, sys.stdout, sys.stderr = streams
        return status, told, said

    return run


@pytest.fixture(scope="module")
def model(latentode, tmp_path_factory):
    """A model of a file with carets between cells, decimal commas and question marks."""
    folder = tmp_path_factory.mktemp("carets")
    frame = waves(3, 12).round(3)
    frame.to_csv(folder / "train.txt", index=False, sep="^", decimal=",", na_rep="?")
    frame.to_csv(folder / "plain.csv", index=False)
    told = ("--separator", "^", "--decimal", ",", "--na-values", "?")
    small = ("--max-epochs", 1, "--hidden-size", 4, "--latent-size", 2, "--windows-per-epoch", 8)
    status, _, err = latentode(
        "fit", folder / "train.txt", *told, *small, "--horizon", 2, "--out", folder / "model", "--quiet"
    )
    assert status == 0 and "is read with" not in err, err
    return folder / "model"


def test_a_model_reads_the_next_table_as_its_own_was_read(latentode, model):
    remembered = LatentODEForecaster.load(model).schema_.file_format
    assert remembered == FileFormat(separator="^", decimal=",", na_values=("?",))
    table = model.parent / "train.txt"
    asked = ("forecast", model, table, "--ahead", 1)
    status, out, err = latentode(*asked)
    assert status == 0 and out.startswith("id,time,variable,mean"), err
    plain = model.parent / "plain.csv"
    status, again, err = latentode("forecast", model, plain, "--ahead", 1)
    assert status == 1 and "with --separator ',' there are more" in err
    options = ("--separator", ",", "--decimal", ".")
    status, again, err = latentode("forecast", model, plain, "--ahead", 1, *options)
    assert (status, again) == (0, out), err
    assert latentode("forecast", model, "-", "--ahead", 1, stdin=table.read_bytes())[1] == out
    python = LatentODEForecaster.load(model)
    answer = python.predict(read_table(table, python.schema_), at=1.0)
    np.testing.assert_allclose(answer["mean"], pd.read_csv(io.StringIO(out))["mean"], rtol=1e-6)


def test_answers_are_written_as_their_ending_says(latentode, model, tmp_path):
    table = model.parent / "train.txt"
    asked = ("forecast", model, table, "--ahead", 1)
    status, out, _ = latentode(*asked)
    expected = pd.read_csv(io.StringIO(out))
    for ending in ("csv", "tsv", "parquet", "jsonl", "feather"):
        status, said, err = latentode(*asked, "--out", tmp_path / f"f.{ending}")
        assert status == 0 and f"{len(expected)} forecasts in" in said, err
        back = read_table(tmp_path / f"f.{ending}")
        np.testing.assert_allclose(back["mean"], expected["mean"], rtol=1e-6)
    others = {
        "evaluate": ("--out", "e.parquet"),
        "ask": ("--out", "a.jsonl", "--rate", "x", "--ahead", 1),
        "forecast": ("--components", "c.parquet", "--ahead", 1),
    }
    for command, (option, file, *rest) in others.items():
        status, _, err = latentode(command, model, table, option, tmp_path / file, *rest)
        assert status == 0, err
        assert len(read_table(tmp_path / file))
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_places_of_outputs_are_checked_before_any_work(latentode, tmp_path):
    nothing = ("no-model", "no-table.csv")
    for command, *options in (
        ("forecast", "--ahead", "1h", "--out", "none/f.csv"),
        ("forecast", "--ahead", "1h", "--components", "none/f.csv"),
        ("forecast", "--ahead", "1h", "--out", "f.xlsx"),
        ("ask", "--rate", "x", "--out", "none/f.csv"),
        ("evaluate", "--out", "none/f.csv"),
        ("evaluate", "--report", "none/f.html"),
        ("plot", "--out", "none/f.png"),
    ):
        status, _, err = latentode(command, *nothing, *options)
        assert status == 1 and options[-2] in err and "model" not in err.replace("no-model", ""), err
    same = ("--out", tmp_path / "f.csv", "--components", tmp_path / "f.csv")
    err = latentode("forecast", *nothing, "--ahead", "1h", *same)[2]
    assert "--out and --components name the same file" in err


def test_what_was_found_of_a_file_is_said_in_the_options_that_say_it(latentode, tmp_path):
    path = tmp_path / "vitals.txt"
    path.write_bytes("Ward 7\nid\ttime\thr °\na\t0\t71,5\na\t1\t72,5\nb\t0\t73\n".encode("cp1252"))
    status, _, err = latentode("inspect", path)
    assert status == 0
    found = "--encoding 'cp1252', --separator 'tab', --decimal ',', --skip-rows 1"
    assert f"note: {path} is read with {found}" in err.replace("=", " ")
    options = ("--encoding", "cp1252", "--separator", "tab", "--decimal", ",", "--skip-rows", 1)
    status, _, err = latentode("inspect", path, *options)
    assert status == 0 and err == ""
    err = latentode("inspect", path, "--encoding", "klingon")[2]
    assert "--encoding 'klingon' is unknown" in err


def test_files_that_a_shell_has_listed_are_one_table(latentode, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("time,x\n0,1\n1,2\n2,3\n")
    files = sorted(tmp_path.iterdir())
    status, _, err = latentode("inspect", *files)
    assert status == 1 and "--file-column 'id'" in err
    for source in (files, [tmp_path], [tmp_path / "*.csv"]):
        status, out, err = latentode("inspect", *source, "--file-column", "id")
        assert status == 0 and "series         2" in out, err


def test_every_command_that_reads_a_table_has_the_options_of_its_file():
    known = typer.main.get_command(app).commands
    wanted = {"--separator", "--decimal", "--encoding", "--skip-rows", "--comment", "--header-rows"}
    wanted |= {"--na-values", "--flags", "--file-column", "--sheet"}
    for name in ("inspect", "fit", "forecast", "ask", "evaluate", "calibrate", "plot"):
        options = {o for p in known[name].params for o in p.opts}
        assert wanted <= options, name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("--sheet", "#", "--sheet", "Total"),
            "--sheet is given twice, '#' and 'Total'",
        ),
        (("--sheet=#", "--id", "id", "--sheet", "#"), "--sheet is given twice"),
        (("--sheet", "--id", "--sheet", "#"), "--sheet is given twice, '--id' and '#'"),
        (("--comment", "#", "--comment", "Total", "--comment", "Mean"), None),
        (
            ("--targets", "x", "--targets=y"),
            "--targets is given twice.*, with a comma between",
        ),
        (("--transform", "x=log", "--transform", "y=log"), None),
        (("--json", "--json"), None),
        (("--comment", "--id", "--id", "id"), None),
    ],
    ids=str,
)
def test_an_option_that_may_be_given_once_is_not_given_again(latentode, tmp_path, given, said):
    waves(2, 12).assign(x=1.5, y=2.5).to_csv(tmp_path / "a.csv", index=False)
    status, _, err = latentode("inspect", tmp_path / "a.csv", *given)
    if said is None:
        assert status == 0, err
    else:
        assert status == 1 and re.search(f"^error: {said}", err)
