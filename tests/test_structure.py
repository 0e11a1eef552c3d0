"""The package's shape: who may import whom, what may be imported at all, what is public."""

import ast
import functools
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from making import tiny, waves

import latentode

ROOT = Path(latentode.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# The rooms in the order in which data walks through them; a room imports from those before it alone.
ROOMS = (
    "errors",
    "data",
    "adapters",
    "ode",
    "nn",
    "model",
    "forecast",
    "evaluation",
    "plotting",
    "training",
    "estimators",
    "cli",
)
LEVEL = {name: level for level, name in enumerate(ROOMS)}
WITHIN_DATA = ("cells", "tables", "files")  # its folders in the same order, before what is beside them
MOST_ENTRIES, MOST_FILES, MOST_LINES = 14, 198, 350
MOST_ARGUMENTS, MOST_OF_ESTIMATORS = 8, 15


def room_of(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


FOLDERS = {room_of(file): [f for f in FILES if room_of(f) == room_of(file)] for file in FILES}
every_room = pytest.mark.parametrize("own", FOLDERS)  # of which a test looks at every file


def module_name(file):
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def imports(file, inside_functions=True):
    """(module, line) of everything imported; what only a type checker sees is left out."""

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{file.name}:{child.lineno} imports relatively"
                yield str(child.module), child.lineno
            elif inside_functions or not isinstance(child, ast.FunctionDef):
                yield from walk(child)

    return list(walk(ast.parse(file.read_text())))


@every_room
def test_a_module_imports_only_from_rooms_before_its_own(own):
    if own == "__init__":
        return
    assert own in LEVEL, f"{own} is no room of the house"
    for file in FOLDERS[own]:
        for name, line in imports(file):
            if name.split(".")[0] != "latentode":
                continue
            assert "." in name, f"{file.name}:{line} imports from the package's public names"
            other = name.split(".")[1]
            assert other == own or LEVEL[other] < LEVEL[own], f"{file.name}:{line} imports {name}"


@pytest.mark.parametrize("level", range(len(WITHIN_DATA)))
def test_a_folder_of_the_room_of_data_imports_only_from_those_before_it(level):
    files = sorted((ROOT / "data" / WITHIN_DATA[level]).glob("*.py"))
    assert len(files) > 1
    before = tuple(f"latentode.data.{own}." for own in WITHIN_DATA[: level + 1])
    for file in files:
        for name, line in imports(file):
            if name.startswith("latentode.data"):
                assert name.startswith(before), f"{file.name}:{line} imports {name}"


def test_the_map_in_contributing_is_that_of_the_rooms():
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    (drawn,) = re.findall(r"^```map\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [re.fullmatch(r"(\w+) {2,}(\S.*)", line) for line in drawn.splitlines()]
    assert all(lines), "each line is a room's name and what it is for"
    assert tuple(line[1] for line in lines if line) == ROOMS


def test_the_package_is_its_rooms_and_nothing_loose():
    entries = {p.name.removesuffix(".py") for p in ROOT.iterdir() if p.name != "__pycache__"}
    assert len(entries) <= MOST_ENTRIES
    assert entries == {*ROOMS, "__init__", "py.typed"}


def test_the_package_is_of_few_modules():
    assert len(FILES) <= MOST_FILES


@every_room
def test_a_module_is_short(own):
    for file in FOLDERS[own]:
        assert len(file.read_text().splitlines()) <= MOST_LINES, file.name


def constructors(file):
    """(class, arguments beside self) of every constructor that is written out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ClassDef):
            continue
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                given = method.args
                named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
                yield node.name, len(named) - 1


@every_room
def test_a_constructor_takes_few_arguments(own):
    most = MOST_OF_ESTIMATORS if own == "estimators" else MOST_ARGUMENTS
    for file in FOLDERS[own]:
        for name, arguments in constructors(file):
            assert arguments <= most, f"{file.name}: {name}"


@pytest.mark.parametrize("room", [r for r in ROOMS if (ROOT / r).is_dir()])
def test_a_room_says_what_comes_in_what_goes_out_and_what_it_may_import(room):
    said = import_module(f"latentode.{room}").__doc__ or ""
    for word in ("In:", "Out:", "May import:"):
        assert word in said, word


@every_room
def test_matplotlib_is_imported_in_functions_only(own):
    for file in FOLDERS[own]:
        for name, line in imports(file, inside_functions=False):
            assert name.split(".")[0] != "matplotlib", f"{file.name}:{line}"


@every_room
def test_libraries_stay_in_their_rooms(own):
    homes = {
        "lightning": {"training"},
        "matplotlib": {"plotting"},
        "narwhals": {"data"},
        "typer": {"cli"},
        "torchdiffeq": {"ode"},
        "torchmetrics": {"training"},
        "numba": {"ode", "nn"},
    }
    for file in FOLDERS[own]:
        for name, line in imports(file):
            library = name.split(".")[0]
            assert own in homes.get(library, {own}), f"{file.name}:{line} imports {name}"
            if name in ("sklearn.base", "sklearn.utils"):
                assert own == "estimators", f"{file.name}:{line} imports {name}"


@every_room
def test_every_module_lists_what_is_public_and_has_it(own):
    for file in FOLDERS[own]:
        module = import_module(module_name(file))
        assert module.__doc__, f"{file.name} has no docstring"
        assert len(set(module.__all__)) == len(module.__all__), file.name
        for name in module.__all__:
            assert hasattr(module, name), f"{file.name}: {name}"


def test_every_public_name_is_there_and_others_are_refused():
    for name in latentode.__all__:
        assert getattr(latentode, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        latentode.nothing_like_it  # noqa: B018


def undocumented(owner, name):
    """Names of a public object's own methods and properties without a docstring, or its own."""
    found = getattr(owner, name)
    if not inspect.isclass(found):
        return [] if not inspect.isroutine(found) or inspect.getdoc(found) else [name]
    members = [k for k, v in vars(found).items() if not k.startswith("_") and _has_docstring(v)]
    bare = [f"{name}.{k}" for k in members if not inspect.getdoc(getattr(found, k))]
    return bare if inspect.getdoc(found) else [name, *bare]


def _has_docstring(member):
    return inspect.isroutine(member) or isinstance(member, (property, functools.cached_property))


@pytest.mark.parametrize("room", [r for r in ROOMS if (ROOT / r).is_dir()])
def test_what_is_public_in_a_room_has_docstrings(room):
    home = import_module(f"latentode.{room}")
    assert [bare for name in home.__all__ for bare in undocumented(home, name)] == []


def test_there_are_no_cycles_of_imports():
    files = {module_name(f): f for f in FILES}
    edges = {n: {i for i, _ in imports(f, False)} & set(files) for n, f in files.items()}
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, " -> ".join([*open_[open_.index(name) :], name])
        if name in done:
            return
        open_.append(name)
        for other in sorted(edges[name]):
            visit(other)
        open_.pop()
        done.add(name)

    for name in edges:
        visit(name)


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("latentode", {"torch", "lightning", "pandas", "matplotlib", "sklearn"}),
        ("latentode.errors", {"torch", "lightning", "pandas", "matplotlib", "sklearn"}),
        ("latentode.ode", {"lightning", "pandas", "matplotlib", "sklearn", "typer"}),
        ("latentode.data", {"torch", "lightning", "pandas", "matplotlib", "sklearn"}),
        ("latentode.adapters", {"torch", "lightning", "matplotlib", "sklearn", "typer"}),
    ],
)
def test_importing_a_module_pulls_in_nothing_that_it_does_not_need(module, foreign):
    code = f"import sys, {module}; print(*{{m.split('.')[0] for m in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) & foreign == set()


INSPECT = """
import sys
from latentode.cli import main
sys.argv[1:] = [{command}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    print(*{{m.split(".")[0] for m in sys.modules}}, file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["--help", "inspect", "convert"])
def test_a_command_that_needs_no_network_imports_neither_torch_nor_lightning(command, tmp_path):
    table = tmp_path / "prices.csv"
    table.write_text("unique_id,ds,y\na,2024-01-01,1\na,2024-01-03,2\n")
    rest = {
        "--help": [],
        "inspect": [str(table)],
        "convert": ["nixtla", str(table), "--out", str(tmp_path / "out.csv")],
    }
    given = repr([command, *rest[command]])[1:-1]
    code = [sys.executable, "-c", INSPECT.format(command=given)]
    done = subprocess.run(code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert "pandas" in loaded
    assert loaded & {"torch", "lightning", "sklearn", "matplotlib"} == set()


SERVE = """
import sys
from latentode import ServedForecaster
import pandas as pd
table = pd.read_csv({history!r})
model = ServedForecaster.load({model!r})
answers = [model.predict(table, 1.0, 2), model.forecast(table, [9.0]).to_frame((0.5,))]
answers.append(model.sample_paths(table, draws=3).value(1.0))
assert all(len(answer) for answer in answers)
print(*sys.modules)
"""


@pytest.mark.parametrize("latent", ["per-variable", pytest.param("joint", marks=pytest.mark.slow)])
def test_a_served_model_answers_without_lightning_and_without_scikit_learn(latent, tmp_path):
    frame = waves(3, 12, seed=1)
    tiny(latent=latent).fit(frame).save(tmp_path)
    frame.to_csv(tmp_path / "table.csv", index=False)
    code = SERVE.format(history=str(tmp_path / "table.csv"), model=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    unneeded = {"lightning", "torchmetrics", "sklearn", "scipy.stats", "scipy.optimize", "matplotlib"}
    unneeded |= {"latentode.evaluation", "latentode.plotting", "torch._dynamo", "joblib"}
    assert loaded & unneeded == set()
