"""The table of experiments/README.md holds what the results.json files say, and nothing else."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    yield {name: __import__(name) for name in ("figures", "all")}
    for name in ("figures", "all"):
        sys.modules.pop(name, None)


def test_the_committed_table_is_the_one_that_the_results_make(scripts):
    text = (FOLDER / "README.md").read_text()
    assert scripts["figures"].table(FOLDER) in text


def test_every_experiment_has_a_figure_a_readme_and_results(scripts):
    with_figures = {f.experiment for f in scripts["figures"].FIGURES}
    assert with_figures == set(scripts["all"].NAMES)
    for name in with_figures:
        assert (FOLDER / name / "results.json").exists(), name
        assert f"({name})" in (FOLDER / "README.md").read_text(), name
        assert (FOLDER / name / "README.md").exists(), name


def test_a_table_is_rebuilt_between_its_marks(scripts, tmp_path):
    module = scripts["all"]
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{module.BEGIN}old{module.END}\nafter\n")
    module.rebuild(readme)
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert scripts["figures"].table(FOLDER) in text


def test_a_figure_that_is_not_in_the_results_is_an_error(scripts):
    with pytest.raises(KeyError):
        scripts["figures"].at("a", "b")({"a": {}})


def test_an_unknown_experiment_is_refused(scripts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["all.py", "nonsense"])
    with pytest.raises(SystemExit):
        scripts["all"].main()
    assert "storms" in capsys.readouterr().err
