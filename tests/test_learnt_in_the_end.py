"""What a fit has held out is learnt from, too, once it has judged; what the user names is not."""

import numpy as np
import pandas as pd
import pytest
from making import tiny

N, AT = 24, 22.0


@pytest.fixture
def walks():
    rng = np.random.default_rng(0)
    y = 3 * rng.normal(size=(N, 1)) + np.cumsum(rng.normal(size=(N, 20)), axis=1)
    names = {"id": np.repeat(np.arange(N), 20), "time": np.tile(np.arange(20.0), N)}
    return pd.DataFrame({**names, "y": y.ravel()})


def ahead(model, walks):
    return model.predict(walks, pd.DataFrame({"id": range(N), "time": AT}))["mean"]


KINDS = {
    "joint": {"latent": "joint"},
    "per variable": {"latent": "per-variable"},
    "student-t": {"likelihood": "student-t"},
    "quantile": {"likelihood": "quantile"},
    "of two members": {"members": 2},
    "tiny": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_which_of_few_series_were_held_out_does_not_decide_what_all_are_forecast(kind, walks):
    unit = 1e-9 if kind == "tiny" else 1.0
    walks = walks.assign(y=unit * walks["y"])
    models = [tiny(**KINDS[kind], max_epochs=0, random_state=s).fit(walks) for s in (0, 1)]
    first, other = (ahead(model, walks) for model in models)
    assert (first - other).abs().max() < 0.01 * unit  # but for units, which are those of training
    judged = [model.leaderboard_.set_index("model")["crps"]["last value"] for model in models]
    assert judged[0] != judged[1]  # by series of their own


def test_what_the_user_names_to_judge_by_is_never_learnt_from(walks):
    rest, judge = walks[walks["id"] < 16], walks[walks["id"] >= 16]
    made = [
        ahead(tiny(max_epochs=0).fit(rest, validation=own), walks)
        for own in (judge, judge[judge["id"] > 18])
    ]
    pd.testing.assert_series_equal(*made)
    assert (made[0] - ahead(tiny(max_epochs=0).fit(walks), walks)).abs().max() > 0.001
