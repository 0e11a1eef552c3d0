"""Effects of cycles and known columns are a series' own only where this pays for its parameter."""

import numpy as np
import pandas as pd
import pytest

from latentode import LatentODEForecaster, Schema, TrainingConfig
from latentode.model.candidate import LEAST_VARIANCE

pytestmark = pytest.mark.filterwarnings("ignore")
TINY = 10 * LEAST_VARIANCE


def fitted(table, horizon="7D", **schema):
    training = TrainingConfig(max_epochs=0)
    model = LatentODEForecaster(horizon, training=training, verbose=False, random_state=0)
    return model.fit(table, Schema(id="id", targets=("y",), **schema))


def variances(model):
    block = model.network_.emission.structure
    return np.exp(block.log_prior_variance.numpy()[0])


def panel(n, effect, seed=0, days=70, noise=0.5):
    """Days of n series; `effect` says of a generator the weekend's."""
    rng = np.random.default_rng(seed)
    day = pd.date_range("2024-01-01", periods=days)
    parts = []
    for i in range(n):
        weekend = np.where(day.dayofweek >= 5, effect(rng), 0.0)
        y = rng.normal(0, 2) + weekend + noise * rng.normal(size=days)
        parts.append(pd.DataFrame({"id": i, "time": day, "y": y})[rng.random(days) < 0.8])
    return pd.concat(parts, ignore_index=True)


def weekend_effects(model, table):
    """Of each series, by how much the forecast of weekends is above that of other days."""
    days = table["time"].max() + pd.to_timedelta(range(1, 8), "D")
    made = model.predict(table, list(days))
    made = made.assign(weekend=made["time"].dt.dayofweek >= 5)
    means = made.pivot_table("mean", "id", "weekend")
    return means[True] - means[False]


@pytest.mark.parametrize("scale", [1e-9, pytest.param(1.0, marks=pytest.mark.slow)])
def test_what_all_series_share_is_that_of_all(scale):
    table = panel(24, lambda rng: 1.5)
    table["y"] *= scale
    model = fitted(table, cycles=("7D",))
    assert (variances(model) <= TINY).all()
    effects = weekend_effects(model, table) / scale
    assert effects.std() < 0.1
    assert effects.mean() == pytest.approx(1.5, abs=0.15)


def test_what_is_a_series_own_stays_so():
    table = panel(24, lambda rng: rng.normal(0, 2))
    model = fitted(table, cycles=("7D",))
    assert (variances(model) > TINY).any()
    assert weekend_effects(model, table).std() > 1.0


def test_of_two_known_columns_one_may_be_of_all_and_one_each_ones_own():
    rng, parts = np.random.default_rng(1), []
    for i in range(24):
        time = np.sort(rng.uniform(0, 40, 60))
        promo, heat = rng.integers(0, 2, 60), rng.normal(size=60)
        own = rng.normal(1, 1.5)
        y = rng.normal(0, 2) + 2 * promo + own * heat + 0.3 * rng.normal(size=60)
        parts.append(pd.DataFrame({"id": i, "time": time, "y": y, "promo": promo, "heat": heat}))
    model = fitted(pd.concat(parts), horizon=8.0, known_future=("promo", "heat"), cycles=())
    promo, heat = variances(model)[:2]
    assert promo <= TINY < 0.1 < heat


@pytest.mark.parametrize("n", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_few_series_do_not_say_what_all_have(n):
    model = fitted(panel(n, lambda rng: 1.5, days=140), cycles=("7D",))
    assert (variances(model) > TINY).all()
