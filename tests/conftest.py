"""Fixtures that any test may ask for."""

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from filelock import FileLock, Timeout
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector
from making import tiny, waves
from threadpoolctl import threadpool_limits

from latentode import LatentODEForecaster
from latentode.ode.kernels.machine_code import KeptCode

# The suite runs a worker per core: threads of torch and of BLAS beside them would only wait for each
# other.
torch.set_num_threads(1)
threadpool_limits(1)
# While thousands of tests are collected, which all stay, a quarter of the time would be looking for
# garbage among them.
gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A worker runs whole files, whose tests share models that each worker would have to fit."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if config.getvalue("dist") == "load" else None


def pytest_collection_finish() -> None:
    """Garbage is looked for again, among what comes from now on."""
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Of workers that begin without machine code, one compiles a kernel and the others wait for it."""
    load, save, held = KeptCode.load_overload, KeptCode.save_overload, {}

    def loaded(self: KeptCode, sig: Any, target_context: Any) -> Any:
        found = load(self, sig, target_context)
        if found is None:
            lock = FileLock(Path(self.cache_path) / f"{self._impl.filename_base}.lock")
            with suppress(Timeout, OSError):  # a worker that failed to compile it, a full disk
                lock.acquire(timeout=60)
            found = load(self, sig, target_context)
            if found is None:
                held[id(self), sig] = lock
            else:
                lock.release()
        return found

    def saved(self: KeptCode, sig: Any, data: Any) -> None:
        try:
            save(self, sig, data)
        finally:
            if (id(self), sig) in held:
                held.pop((id(self), sig)).release()

    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            patch.setattr(KeptCode, "load_overload", loaded)
            patch.setattr(KeptCode, "save_overload", saved)
        yield


@pytest.fixture(scope="session", autouse=True)
def on_the_cpu() -> Iterator[None]:
    """Where there is a card, only tests that name it use it: it adds up in an order of its own."""
    with pytest.MonkeyPatch.context() as patch:
        if torch.cuda.is_available():
            patch.setattr(_AcceleratorConnector, "_choose_auto_accelerator", lambda *_: "cpu")
        yield


@pytest.fixture
def float64() -> Iterator[None]:
    """So that a tolerance tests the mathematics and not the dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return waves(4, 20)


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> LatentODEForecaster:
    return tiny(max_epochs=2).fit(frame)
