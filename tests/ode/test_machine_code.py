"""Machine code is that of the sources as they are, also of functions that it calls."""

import importlib.util
import sys
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

import latentode
from latentode.ode.kernels import compiled_sweeps, machine_code
from latentode.ode.kernels.machine_code import compiled

CALLED = """
from latentode.ode.kernels.machine_code import compiled
@compiled
def inner(x):
    return x + {added}
"""
BETWEEN = """
from latentode.ode.kernels.machine_code import compiled
from called import inner
@compiled
def middle(x):
    return inner(x)
"""
CALLING = """
from latentode.ode.kernels.machine_code import compiled
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


def test_a_truncated_file_is_compiled_anew_and_kept(tmp_path, monkeypatch):
    (tmp_path / "called.py").write_text(CALLED.format(added=1))
    (tmp_path / "between.py").write_text(BETWEEN)
    (tmp_path / "calling.py").write_text(CALLING)
    assert _outcome(tmp_path, monkeypatch) == (20, 0)
    for ending in ("*.nbc", "*.nbi"):
        for path in (tmp_path / "__pycache__").glob(ending):
            path.write_bytes(path.read_bytes()[:-9])
        assert _outcome(tmp_path, monkeypatch) == (20, 0)
        assert _outcome(tmp_path, monkeypatch) == (20, 1)
    for name in ("called", "between", "calling"):
        sys.modules.pop(name, None)


def test_a_process_that_can_keep_nothing_is_told_where_it_could(monkeypatch):
    machine_code._warn_unkept.cache_clear()

    def nowhere(self, function):
        raise RuntimeError("no locator available")

    monkeypatch.setattr(machine_code.KeptCode, "__init__", nowhere)
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR") as told:
        made = [compiled(lambda x, n=n: x + n) for n in (1, 2)]
    assert len(told) == 1
    assert [f(1) for f in made] == [2, 3]


def test_a_full_disk_costs_time_only(tmp_path, monkeypatch):
    machine_code._warn_unkept.cache_clear()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    (tmp_path / "called.py").write_text(CALLED.format(added=3))
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        assert _loaded(tmp_path, "called").inner(1) == 4
    sys.modules.pop("called", None)


def test_what_the_sweeps_are_made_of_is_all_of_their_sources():
    made_of = {f"latentode.ode.kernels.{m}" for m in ("compiled", "compiled_sweeps", "machine_code")}
    assert made_of <= set(compiled_sweeps.forward.modules)


def test_every_compiled_loop_is_made_by_the_one_decorator():
    """A bare `njit(cache=True)` would look at its own source file alone."""
    root = Path(latentode.__file__).parent
    users = {f.name for f in root.rglob("*.py") if "njit" in f.read_text()}
    assert users == {Path(sys.modules[compiled.__module__].__file__).name}
