"""The command line end to end: files in, files out, one clear line on an error."""

import sys

import numpy as np
import pandas as pd
import pytest

from latentode.cli import main


@pytest.fixture
def latentode(monkeypatch, capsys):
    """Runs the command line in this process; returns (exit status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["latentode", *(str(a) for a in arguments)])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def patients(tmp_path):
    """Three patients, gaps from seconds to hours, two variables that are never seen together."""
    generator = np.random.default_rng(0)
    rows = []
    for patient in ("001", "002", "003"):
        hours = np.cumsum(np.exp(generator.uniform(np.log(0.01), np.log(3), 40)))
        for i, h in enumerate(hours):
            stamp = pd.Timestamp("2024-04-03T22:00:00+00:00") + pd.Timedelta(hours=h).round("s")
            hr = 80 + 8 * np.sin(h / 4) if i % 2 else np.nan
            lactate = np.nan if i % 2 else 2 + np.cos(h / 6)
            rows.append((patient, stamp.isoformat(), hr, lactate, "ward A"))
    path = tmp_path / "patients.csv"
    frame = pd.DataFrame(rows, columns=["id", "time", "hr", "lactate", "place"])
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def fitted(latentode, patients, tmp_path):
    model = tmp_path / "model"
    status, _, err = latentode(
        "fit", patients, "--out", model, "--horizon", "6h", "--epochs", 2, "--hidden-size", 8, "--quiet"
    )
    assert status == 0, err
    return model


def test_inspect_reports_before_any_training(latentode, patients):
    status, out, _ = latentode("inspect", patients)
    assert status == 0
    for fact in ("3", "hr", "lactate", "UTC", "place"):
        assert fact in out


def test_three_commands_lead_from_a_csv_to_forecasts(latentode, patients, fitted, tmp_path):
    inside = "2024-04-04T03:00:00+00:00"
    ahead = "2024-04-09T11:59:59+00:00"
    out = tmp_path / "forecast.csv"
    status, _, err = latentode(
        "forecast", fitted, patients, "--at", ahead, "--at", inside, "--out", out
    )
    assert status == 0, err
    frame = pd.read_csv(out, dtype={"id": str})
    assert list(frame.columns) == ["id", "time", "variable", "mean", "std", "q0.1", "q0.5", "q0.9"]
    assert set(frame["id"]) == {"001", "002", "003"}
    assert len(frame) == 3 * 2 * 2
    assert set(pd.to_datetime(frame["time"])) == {pd.Timestamp(ahead), pd.Timestamp(inside)}
    assert np.isfinite(frame[["mean", "std"]].to_numpy()).all()


def test_forecasts_go_to_standard_output_without_out(latentode, patients, fitted):
    status, out, _ = latentode("forecast", fitted, patients, "--ahead", "6h", "--count", 2)
    assert status == 0
    assert len(out.strip().splitlines()) == 1 + 3 * 2 * 2


def test_queries_come_from_a_file(latentode, patients, fitted, tmp_path):
    queries = tmp_path / "queries.csv"
    pd.DataFrame({"id": ["002"], "time": ["2024-04-09T00:00:07+00:00"]}).to_csv(queries, index=False)
    status, out, err = latentode(
        "forecast", fitted, patients, "--queries", queries, "--variables", "hr"
    )
    assert status == 0, err
    assert out.strip().splitlines()[1].startswith("002,2024-04-09 00:00:07+00:00,hr,")


def test_evaluate_prints_every_baseline_beside_the_model(latentode, patients, fitted, tmp_path):
    out = tmp_path / "metrics.csv"
    status, printed, err = latentode("evaluate", fitted, patients, "--out", out)
    assert status == 0, err
    for name in ("latent ODE", "last value", "linear drift", "series mean", "time-of-day mean"):
        assert name in printed
    assert "up to 200 times of each series" in printed
    few = latentode("evaluate", fitted, patients, "--origins", 2)[1]
    assert "up to 2 times of each series" in few and few != printed
    assert {"mae", "crps", "coverage"} <= set(pd.read_csv(out).columns)


def test_plot_draws_a_picture(latentode, patients, fitted, tmp_path):
    out = tmp_path / "p.png"
    status, _, err = latentode("plot", fitted, patients, "--series", "002", "--out", out)
    assert status == 0, err
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_model_is_not_replaced_unless_asked(latentode, patients, fitted):
    before = (fitted / "weights.pt").read_bytes()
    status, _, err = latentode("fit", patients, "--out", fitted, "--epochs", 1, "--quiet")
    assert status == 1 and "--overwrite" in err
    assert (fitted / "weights.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("hr,", "hr,", 1).replace("80", "n/e", 1), "is not a number"),
        (lambda text: "", "empty"),
        (lambda text: text.replace("2024-04-03", "03.04.2024", 1), "not a time"),
        (lambda text: text + text.splitlines()[1] + "\n", "repeat"),
    ],
)
def test_bad_input_is_one_clear_line_and_a_non_zero_status(
    latentode, patients, tmp_path, change, message
):
    spoilt = tmp_path / "spoilt.csv"
    spoilt.write_text(change(patients.read_text()))
    status, _, err = latentode("fit", spoilt, "--out", tmp_path / "none", "--quiet")
    assert status == 1
    assert err.startswith("error: ") and message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_an_error_names_the_line_of_the_file(latentode, patients, tmp_path):
    lines = patients.read_text().splitlines()
    fields = lines[6].split(",")
    lines[6] = ",".join([*fields[:2], "high", *fields[3:]])
    spoilt = tmp_path / "spoilt.csv"
    spoilt.write_text("\n".join(lines))
    _, _, err = latentode("inspect", spoilt)
    assert "`hr`" in err and "'high'" in err and "line 7" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("forecast", "no-model", "x.csv", "--ahead", "1h"),
        ("inspect", "no-such-file.csv"),
        ("fit", "no-such-file.csv", "--out", "m"),
    ],
)
def test_a_missing_file_is_named(latentode, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = latentode(*arguments)
    assert status == 1
    assert "no-" in err
    assert not list(tmp_path.iterdir())


def test_when_must_be_said_exactly_once(latentode, patients, fitted):
    status, _, err = latentode("forecast", fitted, patients)
    assert status == 1 and "--ahead" in err


def test_unknown_series_and_variables_are_named(latentode, patients, fitted):
    assert "'hrr'" in latentode("forecast", fitted, patients, "--ahead", "1h", "--variables", "hrr")[2]
    assert "'9'" in latentode("plot", fitted, patients, "--series", "9", "--out", "x.png")[2]


def test_every_command_has_help(latentode):
    for command in ("inspect", "fit", "forecast", "evaluate", "plot", "demo"):
        status, out, _ = latentode(command, "--help")
        assert status == 0 and "Usage" in out
