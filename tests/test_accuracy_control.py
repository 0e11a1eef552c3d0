"""The solver's accuracy is watched in training and raised where steps are automatic."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from making import forecaster, module_of

from latentode import Forecasting, IrregularDataModule, LatentODEForecaster


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    time = np.sort(generator.uniform(0, 10, (4, 30)), axis=1)
    return pd.DataFrame(
        {"id": np.repeat(range(4), 30), "time": time.ravel(), "x": np.sin(time).ravel()}
    )


def train(frame, steps=None, **options):
    data = IrregularDataModule(frame, task=Forecasting(2.0), batch_size=4, windows_per_epoch=8)
    module = module_of(data.sizes, latent_size=3, hidden_size=8, **options)
    if steps is not None:
        module.model.solver = replace(module.model.solver, steps=steps)
    trainer = Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return module, trainer


def test_the_estimated_error_is_logged(frame):
    _, trainer = train(frame)
    assert 0 <= float(trainer.callback_metrics["solver_error"]) < 1


def test_automatic_steps_double_while_the_error_exceeds_the_tolerance(frame):
    module, _ = train(frame, solver={"steps": "auto", "method": "euler", "tolerance": 1e-12})
    assert module.model.solver.steps == 2
    kept, _ = train(frame, solver={"steps": "auto", "method": "euler", "tolerance": 1e3})
    assert kept.model.solver.steps == 1


def test_the_bound_on_steps_is_warned_about(frame):
    with pytest.warns(UserWarning, match="at the bound of 16 steps"):
        train(frame, steps=16, solver={"steps": "auto", "tolerance": 1e-30})


def test_a_fixed_number_of_steps_stays(frame):
    module, _ = train(frame, solver={"steps": 3, "method": "euler", "tolerance": 1e-12})
    assert module.model.solver.steps == 3


def test_reached_steps_survive_saving(frame, tmp_path):
    model = forecaster(2.0, max_epochs=1, hidden_size=8, verbose=False, solver={"steps": "auto"})
    model.fit(frame)
    network = model.network_
    network.solver = replace(network.solver, steps=4)
    model.save(tmp_path)
    assert LatentODEForecaster.load(tmp_path).network_.solver.steps == 4


def test_the_estimate_is_near_the_true_error(frame):
    module, _ = train(frame)
    data = IrregularDataModule(frame, task=Forecasting(2.0), batch_size=4, windows_per_epoch=8)
    batch = next(iter(data.train_dataloader()))
    module.model.double()
    for parameter in module.model.dynamics.parameters():
        parameter.data.mul_(3.0)
    errors = []
    for intervals in (8, 16):
        module.model.solver = type(module.model.solver)(method="euler", intervals=intervals)
        errors.append(float(module.model.solver_error(batch).amax()))
    # Halving Euler's step halves its error.
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.2)


def test_fit_gives_back_the_number_of_threads(frame):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        forecaster(2.0, max_epochs=1, hidden_size=8, verbose=False).fit(frame)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
