"""The site's sources: pages that lead somewhere, code that can run. `make docs` executes all of it."""

import ast
import re
import tomllib
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = ("api", "experiments", "project")  # folders that a build writes
PAGES = sorted(p for p in DOCS.rglob("*.md") if p.parent.name not in GENERATED)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
SETTINGS = ("ModelConfig", "TrainingConfig", "SolverConfig", "Schema", "LatentODEForecaster")


@pytest.fixture
def site(monkeypatch):
    """The modules beside the site's configuration."""
    monkeypatch.syspath_prepend(DOCS)
    return {name: import_module(name) for name in ("generated", "links")}


def fenced(page, directive):
    """What stands in the blocks of a directive."""
    pattern = rf"^```\{{{directive}\}}[^\n]*\n(.*?)^```"
    return re.findall(pattern, page.read_text(), re.DOTALL | re.MULTILINE)


def cells(page):
    """The code of a page that is run: cells of a notebook, without their options and shell commands."""
    found = re.findall(
        r"^```\{code-cell\}[^\n]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    lines = (cell.splitlines() for cell in found)
    return ["\n".join(one for one in cell if not one.startswith((":", "!"))) for cell in lines]


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for page in PAGES:
        for block in re.findall(
            r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            for line in block.split():
                listed.add((page.parent / f"{line}.md").resolve())
    assert {p.resolve() for p in PAGES} - listed == {DOCS / "index.md"}


@every_page
def test_links_of_a_page_lead_to_files_or_to_pages_that_a_build_writes(page):
    for place in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
        target = (page.parent / place).resolve()
        made = target.is_relative_to(DOCS) and target.relative_to(DOCS).parts[0] in GENERATED
        if made and target.parent.name == "experiments":
            assert target.stem == "index" or (ROOT / "experiments" / target.stem / "run.py").exists(), (
                place
            )
        else:
            assert made or target.exists(), place


@every_page
def test_code_of_a_page_parses_and_asks_for_what_there_is(page):
    text = page.read_text()
    assert not cells(page) or text.startswith("---\nfile_format: mystnb\n"), "would not be executed"
    for cell in cells(page):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "latentode":
                home = import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(home, alias.name), alias.name
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in SETTINGS:
                kind = getattr(import_module("latentode"), node.func.id)
                assert {k.arg for k in node.keywords} <= {*signature(kind).parameters}, ast.unparse(
                    node
                )


def test_the_reference_lists_every_public_name_and_every_message(site):
    generated = site["generated"]
    for room in generated.ROOMS:
        home = import_module(room)
        assert all(generated._entry(home, name, room) for name in home.__all__)
    page = generated.messages()
    assert "- no file is named; give at least one" in page
    assert "there is no picture of kind {kind}; choose among {KINDS}" in page
    raised = sum(len(re.findall(r"^- ", line)) for line in page.splitlines())
    assert raised > 300


def test_links_beyond_the_site_lead_to_its_own_pages(site):
    relinked = site["generated"]._relinked
    page = DOCS / "judging.md"
    said = "[storms](../experiments/storms), [code](../latentode/cli/demo.py), [me](../README.md#a)"
    assert relinked(page, DOCS, said) == "[storms](experiments/storms.md), code, [me](index.md#a)"


def test_dead_links_are_found(site, tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">x</a><a href="https://x.org/y">y</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="a.html#gone">x</a><img src="no.png">')
    assert site["links"].dead_links(tmp_path) == ["b.html: a.html#gone", "b.html: no.png"]


def test_mathematics_of_docstrings_becomes_that_of_sphinx(site):
    lines = ["The line $a + b$ and", "", r"$$\dot z = f(z),", "  t > 0$$"]
    site["generated"]._with_math(None, "", "", None, None, lines)
    text = "\n".join(lines)
    assert ":math:`a + b`" in text and r".. math:: \dot z = f(z), t > 0" in text and "$" not in text


def test_all_brings_every_extra_that_a_user_may_want():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (every,) = extras["all"]
    named = set(re.findall(r"\[(.*)\]", every)[0].split(","))
    assert named == set(extras) - {"all", "dev", "docs", "data", "bench"}
