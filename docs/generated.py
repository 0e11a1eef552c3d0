"""Pages that say what the repository says already: the reference, the experiments, the changelog.

The reference has a page per room with all of its `__all__`, so that it is complete by construction.
Pages of the experiments are their READMEs, with links that lead to pages of the site where there are
any, and to plain text where there are none.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
ROOMS = {
    "latentode": "The public names of the package",
    "latentode.data": "Tables: schema, files, datasets, tasks",
    "latentode.adapters": "Adapters of a field's own files",
    "latentode.ode": "Neural differential equations",
    "latentode.nn": "Encoders, decoders, likelihoods",
    "latentode.model": "The network and its configuration",
    "latentode.forecast": "Forecasts, sample paths, first passages",
    "latentode.evaluation": "Backtests, metrics, baselines",
    "latentode.plotting": "Pictures",
    "latentode.training": "Lightning",
    "latentode.estimators": "Estimators",
    "latentode.errors": "Errors",
}
MATH = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"\$([^$\n]+(?:\n[^$\n]+)?)\$")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)\s#]+)(#[^)\s]+)?\)")
FAMILY = ("LatentODEError", "SchemaError", "SolveError")
TEXTS = {"README.md": "readme", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}


def reference() -> None:
    """Writes a page per room, and the one that lists them."""
    folder = DOCS / "api"
    folder.mkdir(exist_ok=True)
    for room, title in ROOMS.items():
        home = import_module(room)
        lines = [f"{title}", "=" * len(title), "", f".. currentmodule:: {room}", ""]
        lines += [*inspect.cleandoc(home.__doc__ or "").split("\n"), ""]
        for name in home.__all__:
            lines += [*_entry(home, name, room), ""]
        _write(folder / f"{room}.rst", "\n".join(lines))
    _write(folder / "messages.rst", messages())
    listed = "\n".join(f"   {room}" for room in [*ROOMS, "messages"])
    _write(folder / "index.rst", f"Reference\n=========\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n")


def _entry(home: Any, name: str, room: str) -> list[str]:
    found = getattr(home, name)
    # A class of several rooms has one entry with its members; others name it.
    first = next(r for r in [*list(ROOMS)[1:], "latentode"] if name in import_module(r).__all__)
    if room != first:
        return [f"- :py:obj:`{name} <{first}.{name}>`"]
    if inspect.isclass(found):
        return [f".. autoclass:: {name}", "   :members:", "   :show-inheritance:"]
    if inspect.isroutine(found):
        return [f".. autofunction:: {name}"]
    return [f".. py:data:: {name}", "", f"   {_shown(found)}"]


def _shown(value: Any) -> str:
    if hasattr(value, "keys"):
        return "One of " + ", ".join(f"``{key}``" for key in value) + "."
    if isinstance(value, tuple):
        return "One of " + ", ".join(f"``{getattr(v, '__name__', v)}``" for v in value) + "."
    return f"``{value!r}``"[:200]


def messages() -> str:
    """A page of every message that the package raises, as it stands in the code, room by room."""
    package = ROOT / "latentode"
    said: dict[str, list[str]] = {}
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            call = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(call, ast.Call) and ast.unparse(call.func) in FAMILY and call.args:
                room = file.relative_to(package).parts[0].removesuffix(".py")
                said.setdefault(room, []).append(_template(call.args[0]))
    title = "Error messages"
    lines = [title, "=" * len(title), "", "What stands in braces is filled in: names, values, places."]
    for room, found in said.items():
        lines += ["", room, "-" * len(room), ""]
        lines += [f"- {_literal(message)}" for message in sorted(set(found)) if message.strip("{} ")]
    return "\n".join(lines) + "\n"


def _template(node: ast.expr) -> str:
    """A message with what is filled in shown as the name of what fills it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        inner = node.value
        while isinstance(inner, (ast.Call, ast.Subscript)):
            inner = (
                inner.args[0]
                if isinstance(inner, ast.Call) and inner.args
                else getattr(inner, "value", getattr(inner, "func", None))
            )
        named = getattr(inner, "attr", getattr(inner, "id", "..."))
        return "{" + str(named).strip("_") + "}"
    return "{...}"


def _literal(message: str) -> str:
    """Text for reStructuredText, in which nothing is markup."""
    return re.sub(r"([*`|\\_<>])", r"\\\1", " ".join(message.split()))


def texts() -> None:
    """Writes pages of the experiments' READMEs and of the texts at the root."""
    folder = DOCS / "experiments"
    folder.mkdir(exist_ok=True)
    pages = sorted((ROOT / "experiments").glob("*/README.md"))
    for page in pages:
        _write(folder / f"{page.parent.name}.md", _relinked(page, folder))
    listed = "\n".join(page.parent.name for page in pages)
    toctree = f"\n\n```{{toctree}}\n:maxdepth: 1\n:hidden:\n\n{listed}\n```\n"
    _write(folder / "index.md", _relinked(ROOT / "experiments" / "README.md", folder) + toctree)
    project = DOCS / "project"
    project.mkdir(exist_ok=True)
    for file, name in TEXTS.items():
        if name != "readme":
            _write(project / f"{name}.md", _relinked(ROOT / file, project))


def _relinked(page: Path, folder: Path, text: str | None = None) -> str:
    """The text of a page, its links led to where their targets are on the site."""

    def lead(match: re.Match[str]) -> str:
        image, words, place, anchor = match[1], match[2], match[3], match[4] or ""
        target = (page.parent / place).resolve()
        found = _on_site(target)
        if image:
            return f"![{words}]({_relative(target, folder)})"
        if found is None:
            return words if target.is_relative_to(ROOT) else match[0]
        return f"[{words}]({_relative(found, folder)}{anchor})"

    text = page.read_text() if text is None else text
    return LINK.sub(lead, text.replace("```map\n", "```text\n"))


def _on_site(target: Path) -> Path | None:
    """The page of the site for a file of the repository; None where there is none."""
    experiments = ROOT / "experiments"
    if target in (experiments, experiments / "README.md"):
        return DOCS / "experiments" / "index.md"
    for folder in (target, target.parent):
        if folder.parent == experiments and (folder / "README.md").exists():
            named = target == folder or target.name == "README.md"
            return DOCS / "experiments" / f"{folder.name}.md" if named else None
    if target.parent == ROOT and target.name in TEXTS:
        name = TEXTS[target.name]
        return DOCS / "index.md" if name == "readme" else DOCS / "project" / f"{name}.md"
    return target if target.is_relative_to(DOCS) and target.suffix in (".md", ".rst") else None


def _relative(target: Path, folder: Path) -> str:
    import os

    return os.path.relpath(target, folder)


def _write(path: Path, text: str) -> None:
    """Writes a file if it says something else than before, so that it is not built anew."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _read(app: Any, name: str, source: list[str]) -> None:
    """Leads the links of a page of the repository that go beyond the site to its pages."""
    page = Path(app.env.doc2path(name))
    if page.suffix == ".md" and page.parent.name not in ("experiments", "project", "api"):
        source[0] = _relinked(page, page.parent, source[0])


def _with_math(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings write mathematics as Markdown does; Sphinx reads roles."""
    text = "\n".join(lines)

    def block(match: re.Match[str]) -> str:
        body = " ".join(line.strip() for line in match[1].splitlines())
        return f"\n\n.. math:: {body.strip()}\n\n"

    text = MATH.sub(block, text)
    text = INLINE.sub(lambda m: ":math:`" + " ".join(m[1].split()) + "`", text)
    lines[:] = text.split("\n")


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out what scikit-learn adds to every estimator for the routing of metadata."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app: Any) -> None:
    """Generates the pages, and hooks in."""
    reference()
    texts()
    app.connect("source-read", _read)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _with_math, priority=400)
