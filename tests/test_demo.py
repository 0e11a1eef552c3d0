"""The demo in miniature: every file it promises is written, every baseline is in the table."""

import numpy as np
import pandas as pd
import pytest

from latentode.cli.demo import run_demo, storms_path


@pytest.fixture
def few_storms(tmp_path, monkeypatch):
    """Six storms before the split and three after it: few enough to be quick."""
    storms = pd.read_csv(storms_path())
    first = storms.groupby("id")["time"].transform("min").str[:4].astype(int)
    before, after = (storms["id"][at].unique() for at in (first == 2017, first == 2018))
    few = storms[storms["id"].isin([*before[:6], *after[:3]])]
    path = tmp_path / "storms.csv"
    few.to_csv(path, index=False)
    monkeypatch.setattr("latentode.cli.demo.storms_path", lambda: path)
    return len(after[:3])


def test_demo_writes_forecasts_metrics_and_a_picture(tmp_path, few_storms):
    told = []
    run_demo(tmp_path, told.append, verbose=False, epochs=1)
    forecast = pd.read_csv(tmp_path / "forecast.csv")
    assert forecast["id"].nunique() == few_storms
    assert len(forecast) == few_storms * 13 * 6
    assert (forecast["q0.1"] < forecast["q0.9"]).all()
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert set(metrics["model"]) >= {"latent ODE", "latent ODE, joint", "last value", "linear drift"}
    assert set(metrics["lead"]) == {"24h", "48h"}
    assert np.isfinite(metrics["mae"]).all()
    assert (tmp_path / "tracks.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "model" / "forecaster.safetensors").exists()
    assert str(tmp_path / "tracks.png") in told[-1]
