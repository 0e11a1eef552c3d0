"""A saved model is one whole thing: checked when read, replaced in one step, for later releases."""

import json
import os
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors
import torch
from making import same, tiny

from latentode import LatentODEClassifier, LatentODEError, LatentODEForecaster
from latentode.data.files.whole_files import require_writable, write_file
from latentode.estimators import persistence
from latentode.estimators.sealed import seal, unseal

SAVED = sorted(p for p in (Path(__file__).parent / "saved").iterdir() if p.is_dir())


@pytest.fixture
def path(fitted, tmp_path):
    """The file of a saved model."""
    fitted.save(tmp_path / "model")
    return tmp_path / "model" / "forecaster.safetensors"


def forge(path, change, weights=None):
    """Changes a description, or weights, and seals the file anew, as only malice would."""
    text, own = unseal(path)
    state = json.loads(text)
    change(state)
    path.write_bytes(seal(json.dumps(state), own if weights is None else weights(own)))


# ------------------------------------------------------------------------ for later releases


@pytest.mark.parametrize("folder", SAVED, ids=lambda p: p.name)
def test_what_a_release_saved_is_loaded_and_answers_the_same(folder):
    history = pd.read_csv(folder / "history.csv", parse_dates=["time"])
    expected = pd.read_csv(folder / "forecasts.csv", parse_dates=["time"])
    asked = sorted(expected["time"].unique())
    found = LatentODEForecaster.load(folder).predict(history, asked)
    pd.testing.assert_frame_equal(found[["id", "variable"]], expected[["id", "variable"]])
    numbers = ["mean", "std", "q0.1", "q0.5", "q0.9"]
    near = np.abs(found[numbers] - expected[numbers]).max(axis=1) / expected["std"]
    assert near.max() < 1e-3
    classes = pd.read_csv(folder / "classes.csv", index_col="id")
    found = LatentODEClassifier.load(folder).predict_proba(history)
    np.testing.assert_allclose(found.to_numpy(), classes.to_numpy(), atol=1e-4)


SERVE = """
import sys
import pandas as pd
from latentode import LatentODEForecaster
history = pd.read_csv({folder!r} + "/history.csv", parse_dates=["time"])
LatentODEForecaster.load({folder!r}).predict(history, "6h")
print(*sys.modules)
"""


def test_a_saved_model_forecasts_without_what_only_training_needs():
    code = SERVE.format(folder=str(SAVED[-1]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"lightning", "torchmetrics", "matplotlib", "torchdiffeq", "torch._dynamo", "sympy"}
    assert set(done.stdout.split()) & slow == set()


SERVE_COUNTS = """
import sys
import pandas as pd
from latentode import ServedForecaster
history = pd.read_csv({folder!r} + "/history.csv")
for family in {families!r}:
    ServedForecaster.load({folder!r} + "/" + family).predict(history, 3.0)
print(*sys.modules)
"""


def test_a_server_loads_no_statistics_package_whatever_the_family(tmp_path, frame):
    counts = frame.assign(x=frame["x"].abs().round(), y=frame["y"].abs().round())
    families = ["poisson", "negative-binomial", "student-t", "quantile"]
    for family in families:
        tiny(likelihood=family, max_epochs=0).fit(counts).save(tmp_path / family)
    counts.to_csv(tmp_path / "history.csv", index=False)
    code = SERVE_COUNTS.format(folder=str(tmp_path), families=families)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"scipy.stats", "sklearn", "lightning"} == set()


def test_the_saved_models_are_small():
    assert all(f.stat().st_size < 40_000 for folder in SAVED for f in folder.iterdir())


def test_a_loaded_network_is_the_saved_one_number_by_number(fitted, path):
    loaded = LatentODEForecaster.load(path.parent).network_.state_dict()
    for name, weight in fitted.network_.state_dict().items():
        assert loaded[name].dtype == weight.dtype and loaded[name].equal(weight), name


def test_any_safetensors_library_reads_the_file(fitted, path):
    with safetensors.safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["latentode"][64:])["format"] == persistence.FORMAT
        assert set(file.keys()) == set(fitted.network_.state_dict())


def test_another_format_is_refused_or_carried_over(path, frame, fitted, monkeypatch):
    with pytest.raises(LatentODEError, match="holds no fitted model"):
        LatentODEForecaster.load(path.parent / "nowhere")
    with pytest.raises(LatentODEError, match=r"no classifier\.safetensors"):
        LatentODEClassifier.load(path.parent)
    forge(path, lambda state: state.update(format=persistence.FORMAT + 1))
    with pytest.raises(LatentODEError, match="later release"):
        LatentODEForecaster.load(path.parent)

    def rename(state):
        state["forecast_horizon"] = state.pop("horizon")

    fitted.save(path.parent)
    forge(path, rename)
    monkeypatch.setattr(persistence, "FORMAT", persistence.FORMAT + 1)
    with pytest.raises(LatentODEError, match="there is no format"):
        LatentODEForecaster.load(path.parent)

    def restored(state):
        return {n: v for n, v in state.items() if n != "forecast_horizon"} | {
            "horizon": state["forecast_horizon"]
        }

    monkeypatch.setitem(persistence.MIGRATIONS, persistence.FORMAT - 1, restored)
    same(LatentODEForecaster.load(path.parent).predict(frame, 1.0), fitted.predict(frame, 1.0))


def test_the_layout_before_the_first_release_is_named(path):
    path.rename(path.with_name("forecaster.json"))
    with pytest.raises(LatentODEError, match=r"earlier, unreleased version.*fit the model again"):
        LatentODEForecaster.load(path.parent)


# ------------------------------------------------------------------------------- a checked file


def test_no_flipped_bit_and_no_missing_end_is_overlooked(path):
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    damages = [whole[:n] for n in (0, 7, 8, 9, len(whole) // 2, len(whole) - 1)]
    damages += [whole + b"\0", b"\xff" * 8 + whole[8:], struct.pack("<Q", 2) + b"{}"]
    for bit in rng.integers(0, 8 * len(whole), 300):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        damages.append(bytes(flipped))
    for damage in damages:
        path.write_bytes(damage)
        with pytest.raises(LatentODEError, match="damaged"):
            LatentODEForecaster.load(path.parent)


def put(value, *place):
    def change(state):
        for key in place[:-1]:
            state = state[key]
        state[place[-1]] = value

    return change


FORGED = [
    put(True, "format"),
    put("3", "format"),
    put(1, "extra"),
    put(0, "horizon"),
    put(float("inf"), "horizon"),
    put("6h", "horizon"),
    put(float("nan"), "context_length"),
    put(0, "scaling", "scale", 0),
    put(-1.0, "scaling", "scale", 0),
    put(float("inf"), "scaling", "loc", 0),
    put(10**400, "scaling", "loc", 0),
    put([1.0], "scaling", "loc"),
    put({}, "scaling"),
    put(["log", 1.0], "scaling", "transforms"),
    put([["box-cox", -1.0], None], "scaling", "transforms"),
    put([["exec", "import os"], None], "scaling", "transforms"),
    put([], "climatology", "by_hour"),
    put([-1.0, 1.0], "residuals", "noise"),
    put("os.system", "network", "config", "dynamics"),
    put(10**12, "network", "config", "hidden_size"),
    put(10**12, "network", "config", "attention_layers"),
    put(2**63, "network", "config", "latent_size"),
    put(7, "network", "config", "latent_size"),
    put(10**9, "network", "sizes", "n_variables"),
    put({"a": {}, "b": {}}, "network", "sizes", "variables"),
    put(0.0, "network", "sizes", "time_scale"),
    put(10**9, "solver_steps"),
    put("../x", "schema", "layout"),
    put(["x", "x"], "schema", "targets"),
    put(None, "schema", "time"),
    put("fortnight", "axis", "time_unit"),
    put("Mars/Phobos", "axis", "timezone"),
    put({"epoch": [0, 1], "loss": [1.0]}, "history"),
    put({"x": {}}, "calibration"),
    put(-1, "parameters", "random_state"),
    put({"lr": -1}, "parameters", "training"),
    lambda state: state.pop("scaling"),
    lambda state: state["network"].pop("sizes"),
]


@pytest.mark.parametrize("change", FORGED)
def test_a_forged_description_is_refused(path, change):
    forge(path, change)
    with pytest.raises(LatentODEError, match=r"damaged and cannot be read: \S"):
        LatentODEForecaster.load(path.parent)


def test_forged_weights_are_refused(path):
    whole = path.read_bytes()
    name, weight = max(unseal(path)[1].items(), key=lambda item: item[1].numel())
    for other in (weight * torch.nan, weight + torch.inf, weight[:1], weight.long(), None):
        path.write_bytes(whole)
        changed = {} if other is None else {name: other}

        def weights(own, changed=changed):
            return {n: w for n, w in own.items() if n != name} | changed

        forge(path, lambda state: None, weights)
        with pytest.raises(LatentODEError, match=f"damaged.*{name}"):
            LatentODEForecaster.load(path.parent)


def test_what_is_no_file_is_refused_without_waiting(path):
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LatentODEError, match="not an ordinary file"):
        LatentODEForecaster.load(path.parent)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(LatentODEError, match="not an ordinary file"):
        LatentODEForecaster.load(path.parent)
    path.unlink()
    path.mkdir()
    with pytest.raises(LatentODEError):
        LatentODEForecaster.load(path.parent)
    for folder in ("", "\0", "x" * 5000, "/dev/zero"):
        with pytest.raises(LatentODEError):
            LatentODEForecaster.load(folder)


# --------------------------------------------------------------------------- replaced in one step


def test_a_full_disk_leaves_the_older_model_and_nothing_else(fitted, path):
    whole, soft = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 100, len(whole) - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, soft[1]))
        try:
            with pytest.raises(
                LatentODEError, match=rf"cannot write {path}: File too large; make room"
            ):
                fitted.save(path.parent)
            with pytest.raises(LatentODEError, match="cannot write"):
                fitted.save(path.parent / "new")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, soft)
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        assert path.read_bytes() == whole


def test_a_place_that_cannot_be_written_to_is_refused_before_any_training(frame, path):
    untrained = tiny(max_epochs=100)
    for folder in (path, path / "below", Path("/proc/model"), "\0"):
        with pytest.raises(LatentODEError, match="another"):
            untrained.fit(frame, save_to=folder)
    require_writable(path.parent / "to" / "be" / "made")
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_link_is_replaced_and_what_it_points_to_is_left(fitted, path):
    precious = path.with_name("precious")
    precious.write_text("mine")
    path.unlink()
    path.symlink_to(precious)
    fitted.save(path.parent)
    assert precious.read_text() == "mine" and not path.is_symlink()


WRITER = """
import sys, pathlib
from latentode.data.files.whole_files import write_file
while True:
    write_file(sys.argv[1], sys.argv[2].encode() * 200_000)
"""


def test_writers_that_are_killed_and_readers_beside_them_see_whole_files(tmp_path):
    path = tmp_path / "file"
    write_file(path, b"x" * 200_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), c]) for c in "ab"]
    try:
        seen, contents = set(), {c * 200_000 for c in (b"a", b"b", b"x")}
        until = time.monotonic() + 60
        while len(seen) < 2 and time.monotonic() < until:
            content = path.read_bytes()
            assert content in contents
            seen |= {content[:1]} - {b"x"}
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert len(seen) == 2
    write_file(path, b"after")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"after"


def test_a_model_that_could_not_be_read_again_is_not_saved(fitted, path):
    whole = path.read_bytes()
    odd = LatentODEForecaster(duplicates="error", random_state=-1)
    odd.fitted_ = fitted.fitted_
    with pytest.raises(LatentODEError, match=r"could not be read again: parameters\.random_state"):
        odd.save(path.parent)
    assert path.read_bytes() == whole
