"""The demo in miniature: every file it promises is written, every baseline is in the table."""

import numpy as np
import pandas as pd
import pytest

from latentode.demo import run_demo


@pytest.mark.slow
def test_demo_writes_forecasts_metrics_and_a_picture(tmp_path):
    told = []
    run_demo(tmp_path, told.append, verbose=False, epochs=1)
    forecast = pd.read_csv(tmp_path / "forecast.csv")
    assert forecast["id"].nunique() == 100
    assert len(forecast) == 100 * 13 * 6
    assert (forecast["q0.1"] < forecast["q0.9"]).all()
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert set(metrics["model"]) >= {"latent ODE", "last value", "linear drift"}
    assert set(metrics["lead"]) == {"24h", "48h"}
    assert np.isfinite(metrics["mae"]).all()
    assert (tmp_path / "tracks.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "model" / "weights.pt").exists()
    assert str(tmp_path / "tracks.png") in told[-1]
