"""An exported forecast is the forecaster's own."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from making import tiny, waves

from latentode import LatentODEError
from latentode.forecast import ExportedForecast
from latentode.nn import LIKELIHOODS

NUMBERS = ["mean", "std", "q0.1", "q0.5", "q0.9"]


@pytest.fixture(scope="module")
def history():
    return waves(2, 4)


def model(history, **network):
    """Untrained, every weight moved, so that none is without a say."""
    small = {"solver": {"intervals": 2}, "attention_layers": 1}
    fitted = tiny(max_epochs=0, network=small | network).fit(history)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in fitted.network_.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return fitted


def check(fitted, history, path: Path, near: float) -> ExportedForecast:
    fitted.export(path, max_rows=10, max_queries=4)
    asked = [history["time"].max() + ahead for ahead in (0.1, 0.4, 0.7)]
    exported = ExportedForecast.load(fitted.fitted_, path)
    found, expected = exported.predict(history, asked), fitted.predict(history, asked)
    pd.testing.assert_frame_equal(found.drop(columns=NUMBERS), expected.drop(columns=NUMBERS))
    away = np.abs(found[NUMBERS] - expected[NUMBERS]) / expected["std"].to_numpy()[:, None]
    assert away.to_numpy().max() < near
    return exported


@pytest.mark.parametrize(
    ("latent", "structure"),
    [
        pytest.param("per-variable", "state-space", marks=pytest.mark.slow),
        ("joint", "last-value"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_graph_of_torch_answers_as_the_forecaster(latent, structure, history, tmp_path):
    fitted = model(history, latent=latent, structure=structure)
    fitted.network_.double()
    exported = check(fitted, history, tmp_path / "model.pt2", near=1e-9)
    with pytest.raises(LatentODEError, match="one horizon"):
        exported.predict(history, 2.5)
    with pytest.raises(LatentODEError, match="max_rows"):
        exported.predict(waves(2, 20), 0.5)


@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_answers_as_the_forecaster(history, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    fitted = model(history, structure="last-value")
    check(fitted, history, tmp_path / "model.onnx", near=5e-5)  # of a deviation, in float32


COUNTS = ("poisson", "negative-binomial")
FAMILIES = {
    **{name: name for name in LIKELIHOODS},
    "mixed": {"x": "poisson", "y": "student-t"},
    "mixed in data units": {"x": "log-normal", "y": "beta"},
}
DAILY = ("normal", "mixed")  # an export takes seconds


@pytest.mark.parametrize(
    "name", [n if n in DAILY else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES]
)
@pytest.mark.filterwarnings("ignore")
def test_every_family_answers_from_a_graph_as_the_forecaster(name, history, tmp_path):
    likelihood, table = FAMILIES[name], history.copy()
    for column in "xy":
        family = likelihood if isinstance(likelihood, str) else likelihood[column]
        size = table[column].abs()
        table[column] = {
            **dict.fromkeys(COUNTS, size.round()),
            "bernoulli": (size > 1).where(size.notna()).astype(float),
            "beta": 0.1 + 0.8 * np.tanh(size),
            "log-normal": 0.1 + size,
        }.get(family, table[column])
    fitted = model(table, likelihood=likelihood, solver={"intervals": 2})
    fitted.network_.double()
    check(fitted, table, tmp_path / "model.pt2", near=1e-6)


def test_what_no_graph_holds_is_refused_with_the_reason(history, tmp_path):
    adaptive = model(history, solver={"method": "dopri5"})
    with pytest.raises(LatentODEError, match=r"dopri5.*rk38"):
        adaptive.export(tmp_path / "model.pt2")
    fitted = model(history)
    with pytest.raises(LatentODEError, match=r"\.pt2 or \.onnx"):
        fitted.export(tmp_path / "model.h5")
    with pytest.raises(LatentODEError, match="max_rows"):
        fitted.export(tmp_path / "model.pt2", max_rows=0)
