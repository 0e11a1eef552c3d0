"""Tuning finds settings on held-out data, and goes on where it was ended."""

import pytest
from making import tiny

from latentode import LatentODEError
from latentode.estimators import tune

optuna = pytest.importorskip("optuna")


def narrow(trial):
    return {"training__lr": trial.suggest_float("training__lr", 1e-4, 1e-2, log=True)}


@pytest.mark.parametrize("name", ["study.log", "study.db"])
def test_a_study_begins_with_the_settings_there_are_and_goes_on(name, frame, tmp_path):
    own, place = tiny(max_epochs=1), tmp_path / name
    found = tune(own, frame, trials=2, storage=place, space=narrow)
    assert found.error == found.trials["error"].min()
    assert found.trials["training__lr"].isna().tolist() == [True, False]
    assert found.model == own.model
    best = found.trials.loc[found.trials["error"].idxmin(), "training__lr"]
    assert found.training.lr == (own.training.lr if best != best else best)
    again = tune(own, frame, trials=2, storage=place, space=narrow)
    assert again.trials.equals(found.trials)
    assert len(tune(own, frame, trials=3, storage=place, space=narrow).trials) == 3


def test_what_cannot_be_tuned_is_refused(frame):
    with pytest.raises(LatentODEError, match="trials"):
        tune(tiny(max_epochs=1), frame, trials=0)
    with pytest.raises(LatentODEError, match="no trial could be fitted"):
        tune(tiny(max_epochs=1), frame.drop(columns=["x", "y"]), trials=1)
