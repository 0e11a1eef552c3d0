"""What becomes of saved models where processes are killed, files are damaged and disks are full."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentode import LatentODEError, LatentODEForecaster
from latentode.estimators.sealed import seal, unseal

__all__ = ["damaged_files", "full_disks", "killed_fits", "killed_saves", "readers_beside_writers"]

FILE = "forecaster.safetensors"
Make = Callable[[], LatentODEForecaster]


def child(act: Callable[[], object]) -> int:
    """The process number of a copy of this process that does one thing and ends."""
    number = os.fork()
    if number == 0:
        status = 1
        try:
            act()
            status = 0
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        finally:
            os._exit(status)
    return number


def killed_saves(models: list[LatentODEForecaster], folder: Path, n: int, seed: int = 0) -> dict:
    """Kills processes at random moments of saving two models in turn, and loads what is there.

    Returns:
        How many kills; how many left the one or the other model whole; how many files of theirs lie
        beside it after one save more.
    """
    rng, whole = np.random.default_rng(seed), 0
    models[0].save(folder)
    known = {_weights(m.network_.state_dict()) for m in models}

    def save() -> None:
        while True:
            for model in models:
                model.save(folder)

    for _ in range(n):
        number = child(save)
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        whole += _loaded(folder) in known
    models[0].save(folder)
    return {"kills": n, "whole": whole, "left behind": len(list(folder.iterdir())) - 1}


def killed_fits(
    make: Make, table: pd.DataFrame, folder: Path, n: int, runs: int, seed: int = 0
) -> dict:
    """Kills fits at random moments and has them go on, until they end.

    Returns:
        How many kills; how many found a whole model or none yet; of how many runs that were killed at
        least once the model's file is, byte for byte, that of a run that was not.
    """
    rng, kills, whole, equal, resumed = np.random.default_rng(seed), 0, 0, 0, 0
    begin = time.monotonic()
    make().fit(table, save_to=folder / "straight")
    seconds = time.monotonic() - begin
    straight = (folder / "straight" / FILE).read_bytes()
    while resumed < runs or kills < n:
        place = folder / f"run{resumed}"
        killed = 0
        while True:
            number = child(lambda p=place: make().fit(table, save_to=p, resume=True))
            until = time.monotonic() + (rng.uniform(0.2, 1.0) * seconds if killed < 6 else 600)
            ended, status = 0, 0
            while not ended and time.monotonic() < until:
                ended, status = os.waitpid(number, os.WNOHANG)
                time.sleep(0.005)
            if ended:
                break
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            kills, killed = kills + 1, killed + 1
            whole += not (place / FILE).exists() or _loaded(place) is not None
        if killed and status == 0:
            resumed += 1
            equal += (place / FILE).read_bytes() == straight
        shutil.rmtree(place, ignore_errors=True)
    return {"kills": kills, "whole": whole, "resumed runs": resumed, "equal": equal}


def readers_beside_writers(models: list[LatentODEForecaster], folder: Path, loads: int) -> dict:
    """Two processes save two models in turn into one folder, and a reader loads beside them."""
    known = {_weights(m.network_.state_dict()) for m in models}
    models[0].save(folder)

    def save(model: LatentODEForecaster) -> None:
        while True:
            model.save(folder)

    writers = [child(lambda m=m: save(m)) for m in models]
    found: Counter[Any] = Counter(_loaded(folder) for _ in range(loads))
    for number in writers:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
    return {
        "loads": loads,
        "whole": sum(found[w] for w in known),
        "of each model": sorted(found[w] for w in known),
    }


def damaged_files(model: LatentODEForecaster, table: pd.DataFrame, folder: Path, n: int) -> dict:
    """Flips n bits, cuts n / 6 ends off, changes values of n / 3 headers, and of n / 6 sealed anew."""
    model.save(folder)
    path, rng = folder / FILE, np.random.default_rng(0)
    whole, before = path.read_bytes(), model.predict(table, 1.0)
    text, weights = unseal(path)
    found: dict[str, Counter[str]] = {}

    def outcome(kind: str, content: bytes) -> None:
        path.write_bytes(content)
        found.setdefault(kind, Counter())[_outcome(folder, table, before)] += 1

    for bit in rng.integers(0, 8 * len(whole), n):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        outcome("flipped bits", bytes(flipped))
    for size in rng.integers(0, len(whole), n // 6):
        outcome("cut ends", whole[:size])
    number = 0
    while number < n // 2:
        changed = json.dumps(_changed(json.loads(text), rng))
        if json.loads(changed) == json.loads(text):
            continue
        number, sealed = number + 1, seal(changed, weights)
        if number % 3 == 0:
            outcome("tampered headers, sealed anew", sealed)
            continue
        kept = whole[whole.index(b'"latentode":"') + 13 :][:64]
        place = sealed.index(b'"latentode":"') + 13
        outcome("tampered headers", sealed[:place] + kept + sealed[place + 64 :])
    return {kind: dict(counts) for kind, counts in found.items()}


def full_disks(make: Make, model: LatentODEForecaster, table: pd.DataFrame, folder: Path) -> dict:
    """A file may not grow beyond some size: a save at seven sizes, into a new folder, and two fits."""
    model.save(folder)
    whole = (folder / FILE).read_bytes()
    before = sorted(p.name for p in folder.iterdir())
    rooms = [0, 1, 100, len(whole) // 4, len(whole) // 2, len(whole) - 4096, len(whole) - 1]
    acts: list[tuple[int, Path, Callable[[], object]]] = [
        (room, folder, lambda: model.save(folder)) for room in rooms
    ]
    acts.append((len(whole) // 2, folder / "new", lambda: model.save(folder / "new")))
    for room in (8, len(whole) + 4096):
        acts.append((room, folder, lambda: make().fit(table, save_to=folder)))
    said = kept = older = 0
    for room, place, act in acts:
        number = child(lambda r=room, p=place, a=act: _with_room(r, p, a))
        said += os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 3
        kept += sorted(p.name for p in folder.iterdir()) == before and _loaded(folder) is not None
        older += (folder / FILE).read_bytes() == whole
    return {
        "places": len(acts),
        "a sentence names the place": said,
        "a whole model, and nothing beside it": kept,
        "the older one": older,
    }


def _with_room(room: int, place: Path, act: Callable[[], object]) -> None:
    """Ends with the status 3 if an error names the place."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        act()
    except LatentODEError as error:
        raise SystemExit(3 if str(place) in str(error) else 1) from None


def _weights(state: dict[str, Any]) -> tuple[float, ...]:
    """What tells the weights of one model from those of another, and from a mixture."""
    return tuple(float(w.double().sum()) for w in state.values())


def _loaded(folder: Path) -> tuple[float, ...] | None:
    """The weights of the model in a folder; None where it cannot be loaded."""
    try:
        return _weights(LatentODEForecaster.load(folder).network_.state_dict())
    except Exception:
        return None


def _outcome(folder: Path, table: pd.DataFrame, before: pd.DataFrame) -> str:
    try:
        found = LatentODEForecaster.load(folder).predict(table, 1.0)
    except LatentODEError:
        return "LatentODEError"
    except Exception as error:
        return f"other: {type(error).__name__}: {error}"[:120]
    if found.equals(before):
        return "same forecasts"
    finite = np.isfinite(found.select_dtypes("number").to_numpy()).all()
    return "other forecasts" if finite else "not finite"


def _changed(state: Any, rng: np.random.Generator) -> Any:
    """A description with one value in it replaced or removed."""
    odd = [None, -1, 0, 10**12, 2**63, 1e300, float("nan"), float("inf"), "x", "", [], {}, [1], True]
    place, found = state, state
    while isinstance(found, dict | list) and len(found):
        keys = list(found) if isinstance(found, dict) else range(len(found))
        place, key = found, keys[int(rng.integers(len(keys)))]
        found = place[key]
        if rng.random() < 0.1:
            break
    if rng.random() < 0.1 and isinstance(place, dict):
        del place[key]
    else:
        place[key] = odd[int(rng.integers(len(odd)))]
    return state
