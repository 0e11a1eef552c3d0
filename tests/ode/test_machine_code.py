"""Machine code is that of the sources as they are, also of functions that it calls."""

import importlib.util
import sys
from pathlib import Path

import latentode
from latentode.ode.kernels import compiled_sweeps
from latentode.ode.kernels.compiled import compiled

CALLED = """
from latentode.ode.kernels.compiled import compiled
@compiled
def inner(x):
    return x + {added}
"""
BETWEEN = """
from latentode.ode.kernels.compiled import compiled
from called import inner
@compiled
def middle(x):
    return inner(x)
"""
CALLING = """
from latentode.ode.kernels.compiled import compiled
from between import middle
@compiled
def outer(x):
    return 10 * middle(x)
"""


def _loaded(folder, name):
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _outcome(folder, monkeypatch):
    with monkeypatch.context() as patch:
        for name in ("called", "between", "calling"):
            patch.delitem(sys.modules, name, raising=False)
            module = _loaded(folder, name)
        outer = module.outer
        return outer(1), sum(outer.stats.cache_hits.values())


def test_a_change_of_what_is_called_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "called.py").write_text(CALLED.format(added=1))
    (tmp_path / "between.py").write_text(BETWEEN)
    (tmp_path / "calling.py").write_text(CALLING)
    assert _outcome(tmp_path, monkeypatch) == (20, 0)
    assert _outcome(tmp_path, monkeypatch) == (20, 1)  # kept
    (tmp_path / "called.py").write_text(CALLED.format(added=200))
    assert _outcome(tmp_path, monkeypatch) == (2010, 0)
    for name in ("called", "between", "calling"):
        sys.modules.pop(name, None)


def test_what_the_sweeps_are_made_of_is_all_of_their_sources():
    assert {"latentode.ode.kernels.compiled", "latentode.ode.kernels.compiled_sweeps"} <= set(
        compiled_sweeps.forward.modules
    )


def test_every_compiled_loop_is_made_by_the_one_decorator():
    """A bare `njit(cache=True)` would look at its own source file alone."""
    root = Path(latentode.__file__).parent
    users = {f.name for f in root.rglob("*.py") if "njit" in f.read_text()}
    assert users == {Path(sys.modules[compiled.__module__].__file__).name}
