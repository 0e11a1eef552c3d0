"""The claims of experiments/calibration, on simulated series and a short training."""

import numpy as np
import pandas as pd
import pytest
from running import experiment
from scipy.special import ndtri

from latentode import LatentODEForecaster, Schema
from latentode.forecast import FittedForecaster

run = experiment("calibration")
pytestmark = pytest.mark.slow
SCHEMA = Schema(id="id", time="time", targets=("x",), cycles=())


def noisy(n, seed, noise=0.3):
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n):
        t = np.sort(rng.uniform(0, 10, 30))
        x = np.sin(t + rng.uniform(0, 6)) + noise * rng.standard_t(2.5, size=30)
        parts.append(pd.DataFrame({"id": i, "time": t, "x": x}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def made():
    run.rolling.quiet()
    small = run.MODEL.replace(latent_size=4, hidden_size=16)
    short = run.TRAINING.replace(max_epochs=4)
    forecaster = LatentODEForecaster(2.0, model=small, training=short, verbose=False)
    # What it learns from is calmer than what comes later, so that its intervals are too narrow.
    parts = noisy(40, 0, noise=0.2), None, noisy(60, 1), noisy(60, 2)
    task = run.Task(SCHEMA, *parts, (None, None), forecaster)
    return run.before_and_after(task, run.fitted(task))


def test_calibrated_intervals_cover_within_three_points_and_cost_no_sharpness(made):
    found = run.figures(made)
    for percent in run.PERCENTS:
        assert abs(found["after"][f"{percent} %"] - percent / 100) < 0.03
    off = {name: max(abs(own[f"{p} %"] - p / 100) for p in run.PERCENTS) for name, own in found.items()}
    assert off["before"] > 0.04 > off["after"]
    assert found["after"]["CRPS, worst"] < 1.01


def test_the_parts_of_a_data_set_do_not_overlap():
    for task in (run.storms(smoke=False),):
        ids = [set(part["id"]) for part in (task.fit, task.calibrate, task.test)]
        assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
    with pytest.warns(UserWarning, match="merged"):
        task = run.glucose(smoke=False)
    begin, ask = task.cutoffs
    hour = pd.Timedelta("1h")
    assert task.fit["time"].max() < begin[0] and task.validation["time"].max() < begin[0]
    assert task.calibrate["time"].max() < ask[0] and begin[-1] + hour <= ask[0]


def test_week_by_week_nothing_is_known_before_it_has_come_true():
    with pytest.warns(UserWarning, match="merged"):
        task = run.glucose(smoke=True)
    begin = pd.date_range("2010-08-20", periods=30, freq="8h")
    ask = pd.date_range("2010-09-01", periods=45, freq="8h")
    rng = np.random.default_rng(0)

    class Foreseen:
        """Answers for a forecaster: quantiles of a standard normal, of values that scatter more."""

        fitted_ = FittedForecaster(*[None] * 4)
        scatter = 3.0

        def backtest(self, table, quantiles, cutoffs):
            origin = pd.DatetimeIndex(np.repeat(cutoffs, 10))
            lead = np.tile(np.arange(1, 11) / 12, len(cutoffs))
            frame = pd.DataFrame({"origin": origin, "time": origin + pd.to_timedelta(lead, unit="h")})
            said = {run.quantile_name(q): ndtri(q) for q in quantiles}
            actual = self.scatter * rng.normal(size=len(frame))
            late = frame["time"] > "2010-09-10"
            actual = np.where(late, 100 * actual, actual)
            return frame.assign(lead=lead, variable="glucose", actual=actual, **said)

    options = {**vars(task), "cutoffs": (list(begin), list(ask))}
    found = run.as_it_comes_true(run.Task(**options), Foreseen())
    width = (found["q0.9"] - found["q0.1"]).groupby(found["origin"]).mean()
    early = width[width.index < "2010-09-08"]
    assert early.between(4, 12).all()  # 2.56 times three, by what was known in August
    second = width[(width.index >= "2010-09-08") & (width.index < "2010-09-15")]
    assert second.max() < 12 < width[width.index >= "2010-09-15"].min()
