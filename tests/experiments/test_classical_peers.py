"""Intervals of baselines: from past errors, and from a Gaussian process."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor

from latentode import LatentODEError, SeriesDataset
from latentode.evaluation.pairs import observed_after

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
from classical.gaussian_process import GaussianProcess
from classical.spread import Spread


def errors(n, seed):
    rng = np.random.default_rng(seed)
    lead = rng.uniform(0, 10, n)
    frame = pd.DataFrame({"variable": rng.choice(["x", "y"], n), "lead": lead, "mean": 5.0})
    scale = np.where(frame["variable"] == "x", 1.0, 10.0) * np.sqrt(lead)
    return frame.assign(actual=5.0 + scale * rng.normal(size=n))


def test_quantiles_of_past_errors_cover_new_ones_by_variable_and_lead():
    spread = Spread.fit(errors(20_000, 0), bins=10)
    new = spread.apply(errors(20_000, 1), [0.1, 0.9])
    new["inside"] = new["actual"].between(new["q0.1"], new["q0.9"])
    cells = new.groupby(["variable", pd.cut(new["lead"], [1, 2, 4, 7, 10])], observed=True)["inside"]
    assert (cells.mean() - 0.8).abs().max() < 0.03
    width = (new["q0.9"] - new["q0.1"]).groupby(new["variable"]).mean()
    assert width["y"] / width["x"] == pytest.approx(10, rel=0.05)


def test_a_variable_without_past_errors_is_refused():
    spread = Spread.fit(errors(100, 0))
    other = pd.DataFrame({"variable": ["z"], "lead": [1.0], "mean": [0.0]})
    with pytest.raises(LatentODEError, match="'z'"):
        spread.apply(other, [0.5])
    with pytest.raises(LatentODEError, match="no past forecasts"):
        Spread.fit(errors(0, 0))


def noisy(n=120, gap=0.5):
    rng = np.random.default_rng(3)
    frames = []
    for name in "ab":
        time = np.sort(rng.uniform(0, n * gap, n))
        x = 3 + np.sin(time / 3) + 0.1 * rng.normal(size=n)
        frames.append(pd.DataFrame({"id": name, "time": time, "x": x, "y": 100 * rng.normal(size=n)}))
    return pd.concat(frames, ignore_index=True)


def test_a_gaussian_process_is_scikit_learns_on_what_was_seen():
    frame = noisy()
    dataset = SeriesDataset.from_frame(frame)
    process = GaussianProcess(window=20).fit(frame)
    asked, _, keys = observed_after(dataset, 3.0, [30.0])
    found = process.answer(dataset, asked)
    one = ((keys["id"] == "b") & (keys["variable"] == "x")).to_numpy()
    seen = frame[(frame["id"] == "b") & (frame["time"] <= 30.0)].tail(20)
    center, scale = frame["x"].mean(), frame["x"].std(ddof=0)
    model = GaussianProcessRegressor(process.kernels_[0], optimizer=None)
    model.fit(seen[["time"]].to_numpy(), (seen["x"] - center) / scale)
    expected = center + scale * model.predict(keys.loc[one, ["time"]].to_numpy())
    np.testing.assert_allclose(found[one], expected, atol=1e-6)


def test_a_gaussian_process_learns_signal_and_noise_and_never_sees_ahead():
    frame = noisy()
    dataset = SeriesDataset.from_frame(frame)
    process = GaussianProcess(window=40).fit(frame)
    pairs = observed_after(dataset, 1.0, np.arange(20.0, 58.0, 2.0))
    quantiles = process.quantiles(dataset, pairs.queries, [0.1, 0.5, 0.9])
    x = (pairs.keys["variable"] == "x").to_numpy()
    off = np.abs(quantiles[x, 1] - pairs.actual[x]).mean()
    assert off < 0.25  # the noise alone makes 0.08, the mean of x would be off by 0.6
    inside = (pairs.actual >= quantiles[:, 0]) & (pairs.actual <= quantiles[:, 2])
    assert inside.mean() == pytest.approx(0.8, abs=0.1)
    later = frame.assign(x=frame["x"].where(frame["time"] <= 58.0, -1e6))
    again = process.answer(SeriesDataset.from_frame(later), pairs.queries)
    np.testing.assert_allclose(again[x], quantiles[x, 1])


def test_a_cycle_is_carried_over_a_gap():
    hours = np.arange(0, 24 * 14, 2.0)
    time = pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h")
    frame = pd.DataFrame({"id": 1, "time": time, "x": np.sin(2 * np.pi * hours / 24)})
    dataset = SeriesDataset.from_frame(frame)
    pairs = observed_after(dataset, 24.0, ["2024-01-12"])
    plain, cyclic = (GaussianProcess(48, cycle=c).fit(frame) for c in (None, "24h"))
    off = [np.abs(p.answer(dataset, pairs.queries) - pairs.actual).mean() for p in (plain, cyclic)]
    assert off[1] < 0.1
    assert off[1] < 0.5 * off[0]
