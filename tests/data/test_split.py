"""What a fit takes of its data when the user does not say."""

import numpy as np
import pandas as pd
import pytest

from latentode.data import SeriesDataset
from latentode.data.split import usual_horizon

TIME = np.arange(2000.0)
BURSTS = np.ravel(TIME[::10, None] + 1e-3 * np.arange(10))  # nine gaps in ten are tiny
OUTAGE = np.where(TIME < 1000, TIME, TIME + 1e6)


@pytest.mark.parametrize(
    ("series", "horizon"),
    [
        ([TIME], 50.0),
        ([TIME[:101]], 25.0),
        ([BURSTS], 50.0),
        ([OUTAGE], 50.0),
        ([TIME, TIME[:41], TIME[:41]], 10.0),
        ([TIME[:1], TIME[:41]], 10.0),
    ],
)
def test_the_usual_horizon_is_a_quarter_of_a_short_series_and_fifty_gaps_of_a_long_one(series, horizon):
    frames = [pd.DataFrame({"id": i, "time": t, "x": 1.0}) for i, t in enumerate(series)]
    assert usual_horizon(SeriesDataset.from_frame(pd.concat(frames))) == pytest.approx(horizon)


def test_several_variables_at_one_time_are_one_time():
    frame = pd.DataFrame({"time": TIME, "x": 1.0, "y": 2.0})
    assert usual_horizon(SeriesDataset.from_frame(frame)) == pytest.approx(50.0)
