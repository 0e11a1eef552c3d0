"""Fixtures that any test may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from making import tiny, waves
from threadpoolctl import threadpool_limits

import latentode
from latentode import LatentODEForecaster

# The suite runs a worker per core: threads of torch and of BLAS beside them would only wait for each
# other.
torch.set_num_threads(1)
threadpool_limits(1)


def pytest_configure(config: pytest.Config) -> None:
    """Discards machine code older than any source of it: numba looks at one source file alone."""
    if hasattr(config, "workerinput"):  # the process that starts the workers has done so
        return
    sources = Path(latentode.__file__).parent
    changed = max(file.stat().st_mtime for file in sources.rglob("compiled_*.py"))
    for folder in (sources, Path(__file__).parent):
        for kept in folder.rglob("__pycache__/*.nb[ic]"):
            if kept.stat().st_mtime < changed:
                kept.unlink()


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
