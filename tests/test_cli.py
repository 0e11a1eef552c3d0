"""The command line end to end: files in, files out, one clear line on an error."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from runpy import run_module
from shutil import copytree

import numpy as np
import pandas as pd
import pytest

from latentode import LatentODEForecaster, Schema, SchemaError, TrainingConfig, __version__
from latentode.cli import main
from latentode.estimators.judging import as_given


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


@pytest.fixture(scope="module")
def table():
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
    return pd.DataFrame(rows, columns=["id", "time", "hr", "lactate", "place"])


@pytest.fixture
def patients(table, tmp_path):
    path = tmp_path / "patients.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    """A model that the command line has fitted, once for all tests, of which each has a copy."""
    folder = tmp_path_factory.mktemp("trained")
    table.to_csv(folder / "patients.csv", index=False)
    asked = ("--horizon", "6h", "--max-epochs", "2", "--hidden-size", "8", "--quiet")
    files = (str(folder / "patients.csv"), "--out", str(folder / "model"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["latentode", "fit", *files, *asked])
        with pytest.raises(SystemExit, match="0"):
            main()
    return folder / "model"


@pytest.fixture
def fitted(trained, tmp_path):
    return Path(copytree(trained, tmp_path / "model"))


def test_inspect_tries_families_and_fit_takes_those(latentode, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "sales.csv"
    keys = {"shop": np.repeat(list("abcd"), 15), "day": np.tile(np.arange(15.0), 4)}
    pd.DataFrame({**keys, "sold": rng.poisson(2.0, 60), "size": rng.normal(size=60)}).to_csv(
        path, index=False
    )
    told = latentode("inspect", path, "--id", "shop", "--time", "day", "--families")[1]
    assert "`size`: no family is better than normal" in told
    (said,) = re.findall("`sold`: count, so (?:poisson|negative-binomial)", told)
    options = ("--id", "shop", "--time", "day", "--max-epochs", "0", "--out", tmp_path / "model")
    assert said in latentode("fit", path, *options)[2]


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


def test_evaluate_writes_a_page_and_prints_the_same_table(latentode, patients, fitted, tmp_path):
    page = tmp_path / "report.html"
    plain = latentode("evaluate", fitted, patients)[1]
    status, printed, err = latentode("evaluate", fitted, patients, "--report", page)
    assert status == 0, err
    assert printed.startswith(plain.rstrip())
    text = page.read_text()
    assert "lactate" in text and "time-of-day mean" in text and text.count("<svg") == 2


def test_evaluate_prints_the_metrics_asked_for(latentode, patients, fitted, tmp_path):
    out, page = tmp_path / "metrics.csv", tmp_path / "report.html"
    options = ("--metrics", "crps, interval,coverages,nll", "--quantiles", "0.05,0.25,0.75,0.95")
    status, printed, err = latentode("evaluate", fitted, patients, *options, "--out", out)
    assert status == 0, err
    names = ["crps", "interval_50", "interval_90", "coverage_50", "coverage_90", "nll"]
    assert list(pd.read_csv(out).columns) == ["variable", "lead", "model", "n", *names]
    assert "; coverage: of" not in printed
    again = latentode("evaluate", fitted, patients, *options, "--report", page)[1]
    assert again.splitlines()[:20] == printed.splitlines()[:20]
    status, _, err = latentode("evaluate", fitted, patients, "--metrics", "crsp")
    assert status and "--metrics: 'crsp' is no metric; choose among mae" in err
    status, _, err = latentode(
        "evaluate", fitted, patients, "--metrics", "interval", "--quantiles", "0.5"
    )
    assert status and "interval needs forecasts with the quantiles at both ends" in err


def test_evaluate_takes_cutoffs_in_time(latentode, patients, fitted):
    when = "2024-04-04T12:00+00:00, 2024-04-05T00:00+00:00"
    status, printed, err = latentode("evaluate", fitted, patients, "--cutoffs", when)
    assert status == 0, err
    assert "forecast from 2 of 2 cutoffs" in printed and "time-of-day mean" in printed
    status, _, err = latentode("evaluate", fitted, patients, "--cutoffs", "2030-01-01T00:00+00:00")
    assert status and "no series has observations both by one of the cutoffs" in err
    status, _, err = latentode("evaluate", fitted, patients, "--cutoffs", "2024-04-05T00:00")
    assert status and "write it with its UTC offset, such as" in err


def test_plot_draws_a_picture(latentode, patients, fitted, tmp_path):
    out = tmp_path / "p.png"
    status, _, err = latentode("plot", fitted, patients, "--series", "002", "--out", out)
    assert status == 0, err
    assert out.read_bytes().startswith(b"\x89PNG")


def test_plot_draws_every_kind_that_is_named_and_refuses_others(latentode, patients, fitted, tmp_path):
    drawn = [
        "--kind calibration",
        "--kind errors --metric crps",
        "--kind leaderboard",
        "--kind first-passage --first-passage hr>90",
        "--kind paths --variable hr --ahead 3h --count 20",
    ]
    refused = {
        "--kind pie": "choose among forecast, components",
        "--kind latent --origin 2024-04-09": "--origin does not go with --kind latent",
        "--kind learning --series 002": "--series does not go with --kind learning",
        "--kind paths --first-passage hr>90": "--first-passage does not go with --kind paths",
        "--kind forecast --origin soon": "--origin holds 'soon'",
        "--kind forecast --origin 2020-01-01T00:00Z": "--origin='2020-01-01T00:00Z' lies before",
        "--kind errors --metric crsp": "--metric: 'crsp' is no metric",
        "--kind leaderboard --metric pinball": "--metric 'pinball' is not in the leaderboard",
        "--kind paths --variable bp": "--variable 'bp' was not among the targets",
        "--kind first-passage --first-passage bp>9": "--first-passage 'bp' was not among the targets",
        f"--kind what-if --other {patients}": "fit with --known-future of `latentode fit`",
        "--kind what-if": "give --other TABLE",
        "--kind first-passage": "give --first-passage 'glucose>180'",
    }
    for place, options in enumerate([*drawn, *refused]):
        out = tmp_path / f"{place}.svg"
        status, _, err = latentode("plot", fitted, patients, "--out", out, *options.split())
        if options in refused:
            assert status == 1 and refused[options] in err and not out.exists(), err
        else:
            assert status == 0 and "<svg" in out.read_text(), err


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """A folder with a model that knows a column ahead, and tables of it."""
    folder = tmp_path_factory.mktemp("driven")
    hours = np.arange(24.0)
    shop = pd.DataFrame({"hour": hours, "open": (hours % 4 < 2) * 1.0, "sold": np.sin(hours)})
    model = LatentODEForecaster(2.0, training=TrainingConfig(max_epochs=0), verbose=False)
    model.fit(shop, Schema(time="hour", known_future=("open",))).save(folder / "model")
    ahead = pd.DataFrame({"hour": [24.0, 25.0, 26.0], "open": 1.0})
    tables = {"shop": shop, "ahead": ahead, "closed": shop.drop(columns="open")}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_every_command_that_forecasts_prints_the_same_notes(latentode, driven, tmp_path):
    def notes(command, *options):
        out, far = tmp_path / "x.svg", ("--ahead", "10")
        out = ("--out", out) if command == "plot" else ()
        status, _, err = latentode(command, driven / "model", driven / "shop.csv", *far, *out, *options)
        assert status == 0, err
        return sorted(line for line in err.splitlines() if line.startswith("note: "))

    expected = notes("forecast")
    assert len(expected) == 2
    assert any("`open` has no values up to the times asked" in line for line in expected)
    assert any("5 times the horizon of 2" in line and "--horizon of" in line for line in expected)
    crossing = ("--first-passage", "sold>2")
    other = ("--kind", "what-if", "--other", driven / "ahead.csv")
    for command in (
        ("ask", *crossing),
        ("plot",),
        ("plot", *other),
    ):
        assert notes(*command) == expected, command


def test_other_futures_are_files_that_errors_name(latentode, driven, tmp_path):
    asked = ("plot", driven / "model", driven / "shop.csv", "--ahead", "2", "--kind", "what-if")
    status, _, err = latentode(*asked, "--other", driven / "closed.csv", "--out", tmp_path / "p.svg")
    assert status == 1 and f"error: --other {driven / 'closed.csv'}: column `open`" in err
    both = ("--other", driven / "ahead.csv", "--other", driven / "ahead.csv")
    assert "names a file twice" in latentode(*asked, *both, "--out", tmp_path / "p.svg")[2]
    elsewhere = Path(copytree(driven, tmp_path / "elsewhere"))
    both = ("--other", elsewhere / "ahead.csv", "--other", driven / "ahead.csv")
    status, _, err = latentode(*asked, *both, "--out", tmp_path / "p.svg")
    assert status == 0, err
    for kind in ("forecast", "calibration"):  # whose fault it is not
        bad = ("plot", driven / "model", driven / "closed.csv", "--kind", kind)
        status, _, err = latentode(*bad, "--out", tmp_path / "p.svg")
        assert status == 1 and "error: column `open`" in err


def test_components_are_another_file_and_further_panels(latentode, patients, fitted, tmp_path):
    out, parts = tmp_path / "f.csv", tmp_path / "parts.csv"
    asked = ("forecast", fitted, patients, "--ahead", "6h", "--count", 3)
    status, said, err = latentode(*asked, "--out", out, "--components", parts)
    assert status == 0, err
    assert "18 forecasts" in said and f"components in {parts}" in said
    keys = ["id", "time", "variable"]
    mean = pd.read_csv(out).set_index(keys)["mean"]
    total = pd.read_csv(parts).groupby(keys)["value"].sum()
    pd.testing.assert_series_equal(total.loc[mean.index], mean, check_names=False)
    status, said, err = latentode(*asked, "--components", parts)
    assert status == 0 and "components in" in err
    assert said.splitlines()[1:] == out.read_text().splitlines()[1:]
    heights = []
    for further in ((), ("--components",)):
        picture = tmp_path / "p.svg"
        assert latentode("plot", fitted, patients, "--out", picture, *further)[0] == 0
        heights.append(float(re.findall(r'height="([\d.]+)pt"', picture.read_text())[0]))
    assert heights[1] > 1.5 * heights[0]


def test_components_of_a_model_without_any_are_refused(latentode, patients, tmp_path):
    fit = ("fit", patients, "--out", tmp_path / "plain", "--structure", "none", "--max-epochs", 1)
    assert latentode(*fit, "--horizon", "6h", "--hidden-size", 8, "--quiet")[0] == 0
    asked = {"x.csv": "forecast --ahead 6h --components", "x.png": "plot --components --out"}
    for file, told in asked.items():
        command, *target = told.split()
        status, _, err = latentode(command, tmp_path / "plain", patients, *target, tmp_path / file)
        assert status and "--components" in err and "structure" in err
        assert not (tmp_path / file).exists()


def test_a_model_is_not_replaced_unless_asked(latentode, patients, fitted):
    before = (fitted / "forecaster.safetensors").read_bytes()
    status, _, err = latentode("fit", patients, "--out", fitted, "--max-epochs", 1, "--quiet")
    assert status == 1 and "--overwrite" in err
    assert (fitted / "forecaster.safetensors").read_bytes() == before


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


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--at", "tomorrow", "'tomorrow'.*write it as 2024-04-05T12:00:00"),
        ("--at", "2024-04-09T00:00:00", "zone"),
        ("--ahead", "-24h", "must be positive"),
        ("--ahead", "24", "'24' has no unit.*Write '24h'.*--time-unit"),
        ("--ahead", "soon", "is not a duration"),
        ("--horizon", "-6h", "must be positive"),
        ("--horizon", "6", "'6' has no unit.*Write '6h'"),
        ("--context-length", "long", "is not a duration"),
        ("--quantiles", "0.1,2", "between 0 and 1"),
        ("--quantiles", "0.1,x", "between 0 and 1"),
        ("--variables", "hrr", "'hrr' is none of hr, lactate"),
        ("--variables", "", "'' is none of"),
        ("--series", "9", "'9' is not in the history"),
        ("--out", "p.xyz", ".png"),
        ("--out", "p", ".png"),
        ("--queries", "{queries}", "has no column `time`"),
        ("--count", "0", "Invalid value"),
        ("--count", "3", "--ahead"),
        ("--bins", "0", "Invalid value"),
        ("--origins", "0", "Invalid value"),
        ("--num-threads", "0", "Invalid value"),
        ("--latent-size", "0", "at least 1"),
        ("--max-epochs", "-1", "must not be negative"),
        ("--seed", "-1", "Invalid value"),
        ("--lr", "0", "positive"),
        ("--encoder", "lstm", "gru"),
        ("--likelihood", "cauchy", "student-t"),
        ("--t0", "end", "start"),
        ("--dynamics", "quadratic", "second-order"),
        ("--loss", "hinge", "mse"),
        ("--balance", "series", "variables"),
        ("--schedule", "steps", "plateau"),
        ("--monitor", "train_loss", "val_mae"),
        ("--ema-decay", "1", "below 1"),
        ("--observation-dropout", "-0.1", "below 1"),
        ("--context-dropout", "1", "below 1"),
        ("--layout", "tall", "wide"),
        ("--time-unit", "year", "min"),
        ("--timezone", "Mars", "Europe/Berlin"),
        ("--duplicates", "first", "error, mean"),
        ("--cycles", "often", "'often' is not a duration"),
        ("--cycles", "24", "'24' has no unit.*Write '24h'"),
    ],
)
def test_a_bad_value_is_refused_in_the_name_of_its_option(
    latentode, patients, fitted, tmp_path, option, value, says
):
    pd.DataFrame({"id": ["002"], "when": ["2024-04-09"]}).to_csv(tmp_path / "q.csv", index=False)
    value = value.format(queries=tmp_path / "q.csv")
    forecasting = ("forecast", fitted, patients, "--ahead", "6h")
    start = {
        "--at": forecasting[:3],
        "--ahead": forecasting[:3],
        "--queries": forecasting[:3],
        "--quantiles": forecasting,
        "--variables": forecasting,
        "--count": forecasting if value == "0" else (*forecasting[:3], "--at", "2024-04-09T00:00:00Z"),
        "--series": ("plot", fitted, patients, "--out", "p.png"),
        "--out": ("plot", fitted, patients),
        "--bins": ("evaluate", fitted, patients),
        "--origins": ("evaluate", fitted, patients),
    }
    arguments = start.get(option, ("fit", patients, "--out", tmp_path / "new", "--quiet"))
    status, _, err = latentode(*arguments, option, value)
    assert status in (1, 2)
    text = " ".join(err.replace("│", " ").split())  # as a box of Typer's breaks it into lines
    assert option in text and re.search(says, text), err
    assert "Traceback" not in err and not (tmp_path / "new").exists()


def test_durations_mean_the_same_on_the_command_line_and_in_python(latentode, patients, tmp_path):
    options = ("--max-epochs", 1, "--hidden-size", 4, "--quiet", "--time-unit", "D")
    status, _, err = latentode("fit", patients, "--out", tmp_path / "m", "--horizon", "0.25", *options)
    assert status == 0, err
    model = LatentODEForecaster.load(tmp_path / "m")
    assert model.horizon_ == 0.25
    status, out, err = latentode("forecast", tmp_path / "m", patients, "--ahead", "0.5")
    assert status == 0, err
    table = pd.read_csv(patients, dtype={"id": str})
    assert model.axis_.duration("0.5") == 0.5
    for same in (0.5, "12h"):
        assert model.predict(table, same).to_csv(index=False) == out


def test_messages_name_options_that_there_are(latentode, tmp_path):
    path = tmp_path / "long.csv"
    pd.DataFrame({"id": [1], "time": [0], "what": ["x"], "value": [1.0]}).to_csv(path, index=False)
    err = latentode("inspect", path, "--layout", "long")[2]
    assert "with --variable and --value" in err
    assert "x" in latentode("inspect", path, "--variable", "what")[1]
    path.write_text("id,begin,x\n1,2,3\n")
    assert "name it with --time" in latentode("inspect", path)[2]
    path.write_text("id,time,x\n1,5/4/24,3\n")
    assert "give --time-format '%d/%m/%y' or" in latentode("inspect", path)[2]


def test_unknown_series_and_variables_are_named(latentode, patients, fitted):
    assert "'hrr'" in latentode("forecast", fitted, patients, "--ahead", "1h", "--variables", "hrr")[2]
    assert "'9'" in latentode("plot", fitted, patients, "--series", "9", "--out", "x.png")[2]


def test_every_command_has_help(latentode):
    for command in ("inspect", "fit", "forecast", "ask", "evaluate", "plot", "demo"):
        status, out, _ = latentode(command, "--help")
        assert status == 0 and "Usage" in out


def test_the_recipe_for_point_forecasts_is_within_reach(latentode, patients, tmp_path):
    sizes = ("--horizon", "6h", "--max-epochs", 1, "--hidden-size", 8, "--latent-size", 4, "--quiet")
    recipe = ("--dynamics", "linear", "--loss", "mse+mae", "--balance", "variables", "--schedule")
    more = (
        "plateau",
        "--monitor",
        "val_mae",
        "--ema-decay",
        0,
        "--observation-dropout",
        0.3,
        "--windows-per-epoch",
        20,
    )
    status, _, err = latentode("fit", patients, "--out", tmp_path / "m", *sizes, *recipe, *more)
    assert status == 0, err
    model = LatentODEForecaster.load(tmp_path / "m")
    training = model.training
    assert (training.loss, training.monitor, training.observation_dropout) == (
        "mse+mae",
        "val_mae",
        0.3,
    )
    assert (training.windows_per_epoch, training.ema_decay) == (20, 0.0)
    assert model.network_.solver.method == "exact"


def test_cycles_of_the_clock_are_named_on_the_command_line(latentode, patients, tmp_path):
    sizes = ("--horizon", "6h", "--max-epochs", 1, "--hidden-size", 8, "--quiet")
    sizes += ("--likelihood", "normal")
    status, _, err = latentode("fit", patients, "--out", tmp_path / "m", "--cycles", "24h, 7D", *sizes)
    assert status == 0, err
    assert LatentODEForecaster.load(tmp_path / "m").schema_.cycles == ("24h", "7D")
    assert latentode("forecast", tmp_path / "m", patients, "--ahead", "6h")[0] == 0


def test_a_latent_state_per_variable_is_fitted_by_the_command_line(latentode, patients, tmp_path):
    model, options = (
        tmp_path / "model",
        ("--horizon", "6h", "--max-epochs", 1, "--hidden-size", 8, "--quiet"),
    )
    status, _, err = latentode("fit", patients, "--out", model, "--latent", "per-variable", *options)
    assert status == 0, err
    assert latentode("forecast", model, patients, "--ahead", "6h")[0] == 0
    status, _, err = latentode("fit", patients, "--out", tmp_path, "--latent", "wide", *options)
    assert status == 1
    assert "--latent 'wide' is unknown; choose from joint, per-variable" in err


def test_levels_and_draws_are_asked_for_on_the_command_line(latentode, patients, fitted):
    status, out, err = latentode("forecast", fitted, patients, "--ahead", "6h", "--level", "50,80")
    assert status == 0, err
    assert out.splitlines()[0] == "id,time,variable,mean,std,q0.1,q0.25,q0.5,q0.75,q0.9"
    status, out, err = latentode("forecast", fitted, patients, "--ahead", "6h", "--samples", 4)
    assert status == 0, err
    assert out.splitlines()[0] == "id,time,variable,sample,value"
    assert len(out.strip().splitlines()) == 1 + 3 * 2 * 4


def test_questions_are_asked_on_the_command_line(latentode, patients, fitted, tmp_path):
    out = tmp_path / "answers.csv"
    status, printed, err = latentode(
        "ask", fitted, patients, "--first-passage", "hr > 80", "--ahead", "3h"
    )
    assert status == 0, err
    assert "in h after the last observation" in printed and "probability" in printed
    options = ("--rate", "hr,lactate", "--ahead", "2h", "--count", 2, "--out", out)
    status, _, err = latentode("ask", fitted, patients, *options)
    assert status == 0, err
    assert len(pd.read_csv(out)) == 3 * 2 * 2
    hours = ("--from", "2024-04-09T00:00:00Z", "--to", "2024-04-09T06:00:00Z")
    status, _, err = latentode("ask", fitted, patients, "--integral", "hr", *hours, "--out", out)
    assert status == 0, err
    frame = pd.read_csv(out, dtype={"id": str})
    model = LatentODEForecaster.load(fitted)
    table = pd.read_csv(patients, dtype={"id": str})
    stamps = [[pd.Timestamp(text)] for text in (hours[3], hours[1])]
    expected = model.sample_paths(table).integral(*stamps, variables="hr")
    np.testing.assert_allclose(frame["mean"], expected["mean"], rtol=1e-9)
    status, printed, err = latentode("ask", fitted, patients, "--integral", "hr", "--ahead", "6h")
    assert status == 0, err
    assert "times h" in printed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "exactly one of --first-passage, --rate, --integral"),
        (("--first-passage", "hr>1", "--rate", "hr"), "exactly one"),
        (("--first-passage", "hr"), "'hr' names no level; write 'glucose>180'"),
        (("--first-passage", "hr>high"), "names no level"),
        (("--first-passage", "pulse>100"), "'pulse' was not among the targets"),
        (
            ("--first-passage", "hr>100", "--at", "2024-04-09T00:00:00Z"),
            "--at does not go with --first-passage",
        ),
        (("--rate", "hr"), "either --at or --ahead"),
        (("--rate", "hr", "--to", "2024-04-09T00:00:00Z"), "--to does not go with --rate"),
        (("--integral", "hr"), "say until when"),
        (("--integral", "hr", "--to", "later"), "'later'"),
        (("--integral", "hr", "--ahead", "6h", "--from", "2024-04-09T00:00:00Z"), "--ahead alone"),
        (("--first-passage", "hr>100", "--readings", "often"), "--readings"),
    ],
)
def test_a_question_that_makes_no_sense_is_one_clear_line(latentode, patients, fitted, options, says):
    status, _, err = latentode("ask", fitted, patients, *options)
    assert status == 1 and says in err, err
    assert len(err.strip().splitlines()) == 1


def test_a_model_is_calibrated_by_held_out_data(latentode, patients, fitted, tmp_path):
    before = LatentODEForecaster.load(fitted)
    status, out, err = latentode("calibrate", fitted, patients, "--horizon", "6h", "--bins", 2)
    assert status == 0, err
    printed = re.search(r"lactate: [\d.]+% of 50 %, ([\d.]+)% of 80 %, [\d.]+% of 95 %", out)
    after = LatentODEForecaster.load(fitted)
    frame = pd.read_csv(patients, dtype={"id": str})
    pairs = before.backtest(frame, horizon="6h", quantiles=(0.1, 0.9)).query("variable == 'lactate'")
    covered = pairs["actual"].between(pairs["q0.1"], pairs["q0.9"]).mean()
    assert printed and float(printed[1]) == pytest.approx(100 * covered, abs=0.06)
    asked = {"history": frame, "at": "3h", "level": 80}
    wide, said = after.predict(**asked), before.predict(**asked)
    assert not np.allclose(wide["q0.9"] - wide["q0.1"], said["q0.9"] - said["q0.1"])
    expected = before.calibrate(frame, bins=2, horizon="6h").predict(**asked)
    pd.testing.assert_frame_equal(wide, expected)
    status, _, err = latentode("calibrate", fitted, patients, "--horizon", "6y")
    assert status != 0 and "--horizon" in err


@pytest.mark.parametrize("run", [main, partial(run_module, "latentode.cli", run_name="__main__")])
def test_the_version_is_said_by_the_script_and_by_the_module(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["latentode", "--version"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code in (0, None)
    assert capsys.readouterr().out == f"latentode {__version__}\n"


BEFORE_TORCH = """
import sys
from latentode.cli import main
for data in sys.argv[2:]:
    sys.argv = ["latentode", "fit", data, "--out", sys.argv[1]]
    try:
        main()
    except SystemExit as leaving:
        print(leaving.code, "torch" in sys.modules)
"""


def test_a_fit_refuses_a_file_and_its_rows_before_torch_is_loaded(tmp_path):
    twice = tmp_path / "twice.csv"
    twice.write_text("id,time,x\na,2024-01-01,1.5\na,2024-01-01,2.5\n")
    for data, message in ((tmp_path / "none.csv", "is not there"), (twice, "--duplicates 'mean'")):
        run = [sys.executable, "-c", BEFORE_TORCH, str(tmp_path / "model"), str(data)]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        assert done.stdout == "1 False\n" and message in done.stderr, done.stderr


@pytest.mark.parametrize(("given", "said"), [("90min", "90min"), ("2D", "2D"), (None, "1.5 h")])
def test_a_horizon_is_said_in_the_unit_that_it_was_given_in(given, said):
    assert as_given(given, 1.5, " h") == said


def test_several_columns_of_an_identifier_that_are_separated_by_a_comma_are_told_of_the_plus():
    table = pd.DataFrame({"Machine": [1], "Run": [2], "time": [0.0], "x": [1.0]})
    with pytest.raises(SchemaError, match=r"`Machine,Run` is not .* as 'Machine\+Run'"):
        Schema(id="Machine,Run").resolve(table)
