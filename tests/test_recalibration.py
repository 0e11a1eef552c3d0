"""Intervals are made as wide as past forecasts say, by variable and lead time."""

import numpy as np
import pandas as pd
import pytest

from latentode import LatentODEError
from latentode.recalibration import Recalibration


def forecasts(n, seed, claimed=1.0):
    """Normal forecasts of random walks, of a standard deviation `claimed` times the true one."""
    rng = np.random.default_rng(seed)
    lead = rng.uniform(0.1, 10, n)
    frame = pd.DataFrame({"variable": rng.choice(["x", "y"], n), "lead": lead})
    std = np.sqrt(lead) * np.where(frame["variable"] == "x", 1.0, 10.0)
    middle = rng.normal(size=n)
    for level, z in (("q0.1", -1.2816), ("q0.25", -0.6745), ("q0.5", 0.0), ("q0.9", 1.2816)):
        frame[level] = middle + z * claimed * std
    return frame.assign(actual=middle + std * rng.normal(size=n))


@pytest.mark.parametrize("claimed", [0.4, 1.0, 3.0])
def test_intervals_too_narrow_or_too_wide_cover_what_they_should(claimed):
    new = forecasts(80_000, 1, claimed)
    before = new["actual"].between(new["q0.1"], new["q0.9"]).mean()
    made = Recalibration.fit(forecasts(80_000, 0, claimed)).apply(new)
    inside = made["actual"].between(made["q0.1"], made["q0.9"])
    cells = inside.groupby([made["variable"], pd.cut(made["lead"], 4)], observed=True).mean()
    assert (cells - 0.8).abs().max() < 0.03
    assert (made["actual"] < made["q0.25"]).mean() == pytest.approx(0.25, abs=0.015)
    assert abs(before - 0.8) > 0.15 or claimed == 1.0


def test_medians_and_what_is_no_quantile_stay():
    new = forecasts(50, 1)
    made = Recalibration.fit(forecasts(500, 0, claimed=0.5)).apply(new)
    kept = ["variable", "lead", "q0.5", "actual"]
    pd.testing.assert_frame_equal(made[kept], new[kept])


def test_what_cannot_be_recalibrated_is_refused():
    found = Recalibration.fit(forecasts(100, 0))
    with pytest.raises(LatentODEError, match="'z'"):
        found.apply(forecasts(5, 1).assign(variable="z"))
    with pytest.raises(LatentODEError, match=r"0\.05"):
        Recalibration.fit(forecasts(100, 0), level=0.9)
    with pytest.raises(LatentODEError, match="no past forecasts"):
        Recalibration.fit(forecasts(0, 0))
