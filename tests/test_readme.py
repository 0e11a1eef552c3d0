"""README and docs: their code runs, their commands, options, links and names exist.

The blocks of a page run one after another in one namespace, as a reader types them, on small files in
the formats that they read. Networks are made small and trained for an epoch.
"""

import re
import shlex
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from typer.testing import CliRunner

from latentode import LatentODEClassifier, LatentODEForecaster, ModelConfig, Schema
from latentode.cli import app
from latentode.cli.options import configurations
from latentode.evaluation import METRICS
from latentode.nn import ENCODERS, LIKELIHOODS
from latentode.ode import ADJOINTS, FIELDS, METHODS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
WITH_CODE = [p for p in PAGES[1:] if p.name != "index.md"]
EVERY_TEXT = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
QUICK = {"model__hidden_size": 8, "model__attention_layers": 1, "verbose": False} | {
    f"training__{name}": value for name, value in {"max_epochs": 1, "windows_per_epoch": 16}.items()
}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
every_text = pytest.mark.parametrize("page", EVERY_TEXT, ids=lambda p: p.name)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text and the heading that it stands under."""

    page: Path
    language: str
    text: str
    heading: str


def blocks(page, language="python"):
    text = page.read_text()
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        if match[1] == language:
            heading = re.findall(r"^#+ (.+)$", text[: match.start()], flags=re.MULTILINE)[-1]
            found.append(Block(page, language, match[2], heading))
    return found


def prose(page):
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def run(block, names):
    exec(compile(block.text, f"{block.page.name}, {block.heading}", "exec"), names)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Whatever is fitted is small and trained for an epoch; the folder is empty."""
    for kind in (LatentODEForecaster, LatentODEClassifier):
        monkeypatch.setattr(kind, "fit", _quick(kind.fit))

    class Trainer(lightning.Trainer):
        def __init__(self, max_epochs, **given):
            limits = {"max_epochs": 1, "limit_train_batches": 2, "accelerator": "cpu", "logger": False}
            quiet = {"enable_progress_bar": False, "enable_model_summary": False}
            super().__init__(**given, **limits, **quiet)

    monkeypatch.setattr(lightning, "Trainer", Trainer)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _quick(fit):
    def fitted(self, *tables, **given):
        return fit(self.set_params(**QUICK), *tables, **given)

    return fitted


# ------------------------------------------------------------------ what the pages read


def patients(n=20, seed=0, start="2024-04-01"):
    """Four days of irregular readings of each patient, in the columns that the pages speak of."""
    rng = np.random.default_rng(seed)
    tables = []
    for i in range(n):
        hours = np.sort(rng.choice(96 * 4, 12, replace=False)) / 4
        table = pd.DataFrame({"patient": f"p{i}"}, index=range(12))
        stamps = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(hours, unit="h")
        table["charttime"] = stamps.round("s").astype(str)
        table["heart_rate"] = 80 + 20 * np.sin(hours / 8 + i) + rng.normal(size=12)
        table["lactate"] = np.where(rng.random(12) < 0.4, np.nan, np.exp(rng.normal(size=12) / 3))
        table["saturation"] = rng.uniform(90, 100, 12)
        table["falls"] = rng.poisson(0.5, 12)
        table["ventilated"] = rng.integers(0, 2, 12)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def infusions():
    """A drug given for ten minutes that fades by a fifth a minute."""
    rows = []
    for i, strength in enumerate(np.linspace(1, 3, 6)):
        time = np.array([0.0, 2.0, 4.0, 7.0, 10.0, 12.0, 18.0, 30.0])
        level = strength * 5 * (np.exp(-0.2 * np.maximum(time - 10, 0)) - np.exp(-0.2 * time))
        rate = np.where(time < 10, strength, 0.0)
        table = pd.DataFrame({"patient": f"p{i}", "time": time, "rate": rate, "level": level})
        rows.append(table.assign(level=table["level"].where(~table["time"].isin([0.0, 10.0]))))
    return pd.concat(rows, ignore_index=True)


def given():
    """The names that pages take as known."""
    early, later = patients(), patients(seed=1)
    died = pd.Series([i % 2 for i in range(20)], index=[f"p{i}" for i in range(20)])
    new = patients(2, seed=2, start="2024-04-06")
    return {
        "patients": early,
        "later_patients": later,
        "held_out_patients": patients(seed=3),
        "train": early,
        "validation": later,
        "new_rows": new,
        "died": died,
        "died_later": died,
        "named": early.rename(columns={"patient": "id", "charttime": "time"}),
        "infusions": infusions(),
        "schema": Schema(id="patient", time="charttime", targets=("heart_rate", "lactate")),
    }


def weather(folder):
    stamps = pd.date_range("2024-11-02 00:51", periods=48, freq="h", tz="America/New_York")
    lines = [
        f"JFK,{t:%Y-%m-%d %H:%M},{50 + 5 * np.sin(i / 4):.1f},{'T' if i % 9 == 0 else 'M'}"
        for i, t in enumerate(stamps)
    ]
    (folder / "metars.csv").write_text("#DEBUG:\nstation,valid,tmpf,p01i\n" + "\n".join(lines) + "\n")
    track = "AL092011, IRENE, 1,\n20110828, 0935, L, TS, 39.4N, 74.4W, 60, 959,\n"
    (folder / "hurdat2.txt").write_text(track)
    heads = {"TMAX": "   83  W", "PRCP": "    3T W"}
    daily = [f"USW00094728202402{e}{s}" + "-9999   " * 30 for e, s in heads.items()]
    (folder / "USW00094728.dly").write_text("\n".join(daily) + "\n")


def finance(folder):
    days = pd.bdate_range("2024-01-01", periods=40)
    for name, level in (("spx", 4700), ("nky", 33000)):
        prices = level * np.exp(np.cumsum(np.random.default_rng(level).normal(0, 0.01, 40)))
        pd.DataFrame({"Date": days, "Close": prices}).to_csv(folder / f"{name}.csv", index=False)
    (folder / "wti.csv").write_text("DATE,DCOILWTICO\n2024-01-02,70.6\n2024-01-03,.\n")
    (folder / "cpi.csv").write_text("DATE,CPILFESL\n2023-12-01,313.2\n2024-01-01,314.4\n")


def medical(folder):
    rows = ["subject_id,charttime,itemid,valuenum,valueuom"]
    for patient in ("007", "12"):
        for i, t in enumerate(pd.date_range("2150-01-01", periods=24, freq="5h")):
            item, value, unit = [(50931, 90 + i, "mg/dL"), (50809, 5 + i / 10, "mmol/L")][i % 2]
            rows.append(f"{patient},{t},{item},{value},{unit}")
            rows.append(f"{patient},{t},50912,{1 + i % 3 / 10},mg/dL")
    (folder / "labevents.csv").write_text("\n".join(rows) + "\n")
    (folder / "anna.csv").write_text("timestamp,glucose\n2024-10-27 02:10,110\n2024-10-27 02:05,Low\n")


def write_files(folder):
    for domain in (weather, finance, medical):
        domain(folder)
    patients().to_csv(folder / "patients.csv", index=False)
    patients(seed=1).to_csv(folder / "later_patients.csv", index=False)


# ------------------------------------------------------------------ code and commands


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: p.name)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_code_of_a_page_runs_from_top_to_bottom(page, quick):
    write_files(quick)
    names = given()
    if page.name == "tables.md":
        names["patients"] = names["patients"].assign(age=60, dose=1.0)
    before = set(quick.iterdir())
    found = blocks(page)
    assert found
    for block in found:
        run(block, names)
    # Nothing is written that was not asked for: a saved model, a table, and what a Trainer keeps.
    asked = {quick / name for name in ("model", "checkpoints", "readings")}
    assert set(quick.iterdir()) - before <= asked


@pytest.mark.parametrize("domain", ["Weather", "Prices", "Medicine"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_code_of_a_domain_prints_forecasts_of_its_files(domain, quick, capsys):
    write_files(quick)
    (block,) = (b for b in blocks(ROOT / "docs" / "tables.md") if b.heading == domain)
    run(block, {})
    assert "q0.9" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_code_on_known_futures_answers_two_of_them(quick, capsys):
    page = ROOT / "docs" / "forecasting.md"
    (block,) = (b for b in blocks(page) if b.heading == "What if: known futures")
    names = {"infusions": infusions()}
    run(block, names)
    assert capsys.readouterr().out.count("q0.9") == 2
    model, early, half = (names[name] for name in ("driven", "early", "half"))
    one, other = (model.predict(table, at=20.0, count=4) for table in (early, half))
    assert (one["time"] == other["time"]).all()
    given = one["time"] < 10  # while the drug is; an epoch has hardly learnt what is left of it then
    assert given.any() and (one["mean"] != other["mean"])[given].all()


def commands(page):
    """The lines of a page's plain blocks that are commands of the package."""
    lines = "\n".join(block.text for block in blocks(page, "")).splitlines()
    return [line for line in lines if line.startswith("latentode ")]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_the_readme_says_runs_as_written_from_top_to_bottom(quick):
    """Commands and code in the order of the page, on nothing but the files that it names."""
    write_files(quick)
    names, ran = {}, []
    for block in sorted([*blocks(README, ""), *blocks(README)], key=position):
        if block.language == "python":
            run(block, names)
            ran.append("python")
            continue
        for line in (one for one in block.text.splitlines() if one.startswith("latentode ")):
            done = CliRunner().invoke(app, shlex.split(line)[1:])
            assert done.exit_code == 0, f"{line}: {done.output} {done.exception!r}"
            ran.append(line.split()[1])
    assert ran == ["inspect", "fit", "forecast", "ask", "evaluate", "plot", "python", "python"]
    assert (quick / "forecast.csv").exists() and (quick / "p1.png").exists()


def position(block):
    return block.page.read_text().index(f"```{block.language}\n{block.text}")


@every_page
def test_commands_have_the_options_that_a_page_gives_them(page):
    known = typer.main.get_command(app).commands
    for line in commands(page):
        command, *rest = shlex.split(line)[1:]
        options = {o for p in known[command].params for o in (*p.opts, *p.secondary_opts)}
        for word in rest:
            assert not word.startswith("--") or word in options, line
    for option in re.findall(r"`(--[a-z0-9-]+)", prose(page)):
        everywhere = {o for c in known.values() for p in c.params for o in p.opts}
        assert option in {*everywhere, "--help"}, option


def test_settings_in_yaml_are_those_of_the_configurations(tmp_path):
    (block,) = blocks(ROOT / "docs" / "training.md", "yaml")
    file = tmp_path / "settings.yaml"
    file.write_text(block.text)
    model, training = configurations({"model": {"latent_size": 6}, "training": {}}, file)
    assert (model.latent_size, model.solver.method, training.max_epochs) == (6, "rk4", 20)
    assert ModelConfig.of(yaml.safe_load(block.text)["model"]) == model.replace(latent_size=4)


# ------------------------------------------------------------------ what the text speaks of


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 200


@every_text
def test_links_lead_somewhere(page):
    for place, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)", page.read_text()):
        if place == "experiments/index.md":  # made when the site is built
            continue
        target = (page.parent / place) if place else page
        assert target.exists(), place
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles]
            assert anchor[1:] in slugs, anchor


@every_page
def test_names_of_the_package_exist(page):
    for dotted in set(re.findall(r"`(latentode(?:\.\w+)+)", prose(page))):
        parts, found = dotted.split("."), import_module("latentode")
        for part in parts[1:]:
            if not hasattr(found, part):
                found = import_module(f"{found.__name__}.{part}")
            else:
                found = getattr(found, part)


@every_page
def test_scripts_that_a_page_names_exist(page):
    for script in re.findall(r"`python (experiments/[\w/.]+)", page.read_text()):
        assert (ROOT / script).exists(), script


def test_files_that_contributing_names_exist_but_for_new_ones():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:latentode|tests|docs|experiments)/[\w/.]*)`(, new)?", text)
    assert named
    for path, new in named:
        assert (ROOT / path).exists() != bool(new), path


@every_page
def test_settings_that_a_page_names_exist(page):
    text = page.read_text()
    for name, inner in re.findall(r"\b(ModelConfig|TrainingConfig|SolverConfig)\(([^()]*)\)", text):
        kind = getattr(import_module("latentode"), name)
        for setting in re.findall(r"(\w+)=", inner):
            assert setting in kind().get_params(), f"{name}({setting}=)"


REGISTRIES = {
    "encoders": ("latent-state.md", ENCODERS),
    "dynamics": ("latent-state.md", [n for n, k in FIELDS.items() if "latentode" in k.make.__module__]),
    "methods": ("latent-state.md", METHODS),
    "adjoints": ("latent-state.md", ADJOINTS),
    "likelihoods": ("likelihoods.md", LIKELIHOODS),
    "metrics": ("judging.md", METRICS),
}


@pytest.mark.parametrize("registry", REGISTRIES)
def test_every_choice_has_its_place_in_a_table(registry):
    page, names = REGISTRIES[registry]
    rows = re.findall(r"^\|([^|]*)\|", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE)
    listed = set(re.findall(r"`([\w-]+)`", " ".join(rows)))
    assert {*names} <= listed, {*names} - listed


@pytest.mark.parametrize("module", ["weather", "finance", "medical", "renames"])
def test_every_reader_of_an_adapter_is_in_the_table_of_adapters(module):
    home = import_module(f"latentode.adapters.{module}")
    readers = [n for n in home.__all__ if callable(getattr(home, n)) and n.islower()]
    (row,) = re.findall(rf"^\| `{module}` \|.*$", (ROOT / "docs/tables.md").read_text(), re.MULTILINE)
    for name in readers:
        if not name.startswith(("from_log", "physionet2012_")):  # `and back`, `outcomes`
            assert f"`{name}`" in row, name
