"""Everything here runs in float64, so that a tolerance tests the mathematics and not the dtype."""

import pytest


@pytest.fixture(autouse=True)
def exact(float64: None) -> None:
    """The fixture `float64`, asked for by all."""
