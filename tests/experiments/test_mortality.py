"""The claims of experiments/mortality in smoke size, and its summaries against values by hand."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "mortality" / "run.py"


@pytest.fixture(scope="module")
def experiment():
    spec = importlib.util.spec_from_file_location("mortality_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_latent_ode_and_the_regression_both_foretell_simulated_outcomes(experiment):
    train, held_out = experiment.simulated(150, 0), experiment.simulated(100, 1)
    found, probabilities = experiment.compared(train, held_out, experiment.classifier(12, smoke=True))
    assert found["latent ODE"]["AUC"] > 0.85
    assert found["logistic regression"]["AUC"] > 0.85
    rate = held_out[1].mean()
    chance = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert found["latent ODE"]["cross-entropy"] < 0.8 * chance
    assert all(len(p) == 100 for p in probabilities.values())


def test_an_outcome_that_nothing_foretells_is_not_foretold(experiment):
    """So that no label leaks into what predicts it."""
    train, held_out = experiment.simulated(120, 0), experiment.simulated(100, 1)
    random = np.random.default_rng(0)
    coin = [pd.Series(random.permutation(part[1])) for part in (train, held_out)]
    model = experiment.classifier(4, smoke=True)
    found, _ = experiment.compared((train[0], coin[0]), (held_out[0], coin[1]), model)
    assert 0.3 < found["latent ODE"]["AUC"] < 0.7


def test_summaries_are_last_values_means_and_whether_there_were_any(experiment):
    table = pd.DataFrame(
        {
            "series": [1, 1, 1, 2],
            "variable": ["a", "a", "b", "b"],
            "hours": [5.0, 2.0, 1.0, 0.0],
            "value": [4.0, 2.0, 7.0, 9.0],
        }
    )
    found = experiment.summaries(table, pd.Index([2, 1]))
    assert found.index.tolist() == [2, 1]
    assert found.loc[1, "a last"] == 4.0 and found.loc[1, "a mean"] == 3.0
    assert found["a measured"].tolist() == [0.0, 1.0] and np.isnan(found.loc[2, "a last"])
