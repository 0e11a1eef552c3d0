"""latentode.ode is useful alone: it needs torch, torchdiffeq, numpy and numba."""

import ast
import sys
from pathlib import Path

import latentode.ode

ALLOWED = {"torch", "torchdiffeq", "numpy", "numba", *sys.stdlib_module_names}


def _imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_ode_package_imports_what_it_solves_with_and_errors_only():
    for file in sorted(Path(latentode.ode.__file__).parent.rglob("*.py")):
        for name in _imports(ast.parse(file.read_text())):
            own = name == "latentode.errors" or name.startswith("latentode.ode")
            assert own or name.split(".")[0] in ALLOWED, f"{file.name} imports {name}"
