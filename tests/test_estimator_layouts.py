"""The estimator with a latent state per variable."""

import numpy as np
import pandas as pd
import pytest
from making import forecaster, same, tiny, traced, waves

from latentode.estimators.forecaster import LatentODEForecaster

TINY = {"horizon": 2.0, "context_length": 6.0, "latent_size": 3, "hidden_size": 8, "verbose": False}
TINY["windows_per_epoch"] = 128


@pytest.fixture(scope="module")
def frame():
    return waves(6, 20)


@pytest.fixture(scope="module")
def fitted(frame):
    return forecaster(latent="per-variable", max_epochs=3, **TINY).fit(frame)


def test_a_fit_per_variable_answers_at_any_time(fitted, frame):
    answer = fitted.predict(frame, at=[12.5, 13.0, 30.0])
    assert len(answer) == 6 * 3 * 2
    assert np.isfinite(answer[["mean", "std", "q0.1", "q0.9"]].to_numpy()).all()
    assert (answer["q0.1"] < answer["q0.9"]).all()
    assert len(traced(fitted, frame[frame["id"] == "s0"], count=10)) == 20
    assert np.isfinite(fitted.score(frame))


def test_a_variable_alone_is_answered_as_among_all(fitted, frame):
    every = fitted.predict(frame, at=[12.5])
    alone = fitted.predict(frame, at=[12.5], variables=["y"])
    both = every[every["variable"] == "y"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, both, rtol=1e-5)


def test_a_model_per_variable_is_saved_and_loaded(fitted, frame, tmp_path):
    fitted.save(tmp_path)
    loaded = LatentODEForecaster.load(tmp_path)
    assert loaded.network_.config.latent == "per-variable"
    pd.testing.assert_frame_equal(
        loaded.predict(frame, at=[12.5]), fitted.predict(frame, at=[12.5]), check_exact=True
    )


@pytest.mark.slow
def test_training_per_variable_improves_on_the_start(frame):
    model = forecaster(latent="per-variable", max_epochs=12, lr=0.01, **TINY).fit(frame)
    assert model.history_["val_loss"].min() < model.history_["val_loss"].iloc[0]


def test_further_arguments_of_the_network_are_taken_and_saved(frame, tmp_path):
    network = {"interaction": "dynamics", "embedding_size": 4, "attention_heads": 2}
    model = tiny(latent="per-variable", network=network, max_epochs=1).fit(frame)
    assert type(model.network_.dynamics).__name__ == "CoupledDynamics"
    model.save(tmp_path)
    loaded = LatentODEForecaster.load(tmp_path)
    assert loaded.model == model.model
    same(loaded.predict(frame, 1.0), model.predict(frame, 1.0))
