"""Fixtures that any test may ask for."""

from collections.abc import Iterator

import pandas as pd
import pytest
import torch
from making import tiny, waves
from threadpoolctl import threadpool_limits

from latentode import LatentODEForecaster

# The suite runs a worker per core: threads of torch and of BLAS beside them would only wait for each
# other.
torch.set_num_threads(1)
threadpool_limits(1)


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
