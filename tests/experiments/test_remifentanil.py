"""Patients are held out as a whole, rates are told and later samples hidden, doses count."""

import numpy as np
import pandas as pd
import pytest
from running import experiment
from scipy.integrate import solve_ivp

run = experiment("remifentanil")
LEAST = 1e-6  # ng/ml, which the compartments add
QUICK = run.TRAINING.replace(max_epochs=24, windows_per_epoch=256, lr=0.01)


def simulated(n, seed):
    """One compartment, begun and stopped at its own times at its own rate; sampled at true times."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n):
        rate, stop = np.exp(rng.normal(1.0, 0.7)), rng.uniform(5, 30)
        time = np.sort(np.r_[0.0, stop, rng.uniform(1.0, 60.0, 14)])
        level = 10 * rate * (np.exp(-0.1 * np.maximum(time - stop, 0)) - np.exp(-0.1 * time))
        conc = level * np.exp(rng.normal(0, 0.05, len(time)))
        table = pd.DataFrame({"id": i, "time": time, "rate": np.where(time < stop, rate, 0.0)})
        table["conc"] = np.where((time > 0) & (time != stop), conc, np.nan)
        parts.append(table.assign(age=40.0 + i % 3, weight=70.0 + i % 5, lean=55.0, sex="Female"))
    return pd.concat(parts, ignore_index=True)


def test_every_patient_is_in_one_part_and_parts_are_even():
    frame = run.records()
    assert len(frame) == 2107 and frame["id"].nunique() == 65
    parts = run.part_of(frame).groupby(frame["id"]).unique()
    assert (parts.map(len) == 1).all()
    assert (parts.map(lambda p: p[0]).value_counts() == 13).all()


def test_later_samples_are_hidden_rates_are_not():
    frame = run.records()
    for until in (0.0, run.SEEN):
        table = run.seen_until(frame, until)
        assert table.loc[table["time"] > until, "conc"].isna().all()
        assert table["rate"].notna().all()
    seen = run.seen_until(frame, run.SEEN).dropna(subset="conc").groupby("id").size()
    assert len(seen) == 65 and seen.max() <= 5
    assert len(run.asked(frame)) + seen.sum() == frame["conc"].notna().sum()


def test_compartments_are_the_solution_of_their_equations():
    record = run.records().query("id == 9")
    record = pd.concat([record, record.iloc[[-1]].assign(time=300.0, conc=1.0)])
    expert = run.Compartments()
    share, decay = np.array([0.1, 0.02, 0.003]), np.array([0.7, 0.1, 0.02])
    expert.middle, expert.parameters = np.zeros(3), np.r_[np.log(share), np.log(decay), np.zeros(3)]
    time, rate = record["time"].to_numpy(), record["rate"].to_numpy()
    sampled = record["conc"].notna().to_numpy()
    z, found = np.zeros(3), [0.0]
    for begin, end, u in zip(time[:-1], time[1:], rate[:-1], strict=True):
        z = solve_ivp(
            lambda t, y, u=u: share * u - decay * y, (begin, end), z, rtol=1e-10, atol=1e-12
        ).y[:, -1]
        found.append(z.sum())
    exact = np.array(found)[sampled]
    np.testing.assert_allclose(expert.predict(record), exact, rtol=1e-6, atol=2 * LEAST)
    doubled = expert.predict(record.assign(rate=2 * record["rate"]))
    np.testing.assert_allclose(doubled, 2 * expert.predict(record), rtol=1e-3)


def test_compartments_are_found_again_from_their_own_samples():
    frame = simulated(12, seed=3)
    expert = run.Compartments().fit(frame)
    error = np.abs(np.log(expert.predict(frame)) - np.log(frame["conc"].dropna().to_numpy()))
    assert error.mean() < 0.06  # the noise


def test_the_spread_of_a_rival_is_that_of_its_own_errors_whatever_the_order_of_rows():
    train, test = simulated(12, seed=5), simulated(6, seed=6)
    sorted_, shuffled = (run.rivals(t, test) for t in (train, train.sample(frac=1, random_state=0)))
    for key, frame in sorted_.items():
        pd.testing.assert_frame_equal(frame, shuffled[key], rtol=1e-4)
    expert = sorted_["nothing", run.EXPERT]
    assert (expert["q0.9"] / expert["q0.1"]).max() < 1.4  # noise of 5 %


@pytest.mark.parametrize(
    ("change", "at", "times"),
    [
        ({}, [0.0, 9.9, 10.1], [1.0, 1.0, 0.0]),
        ({4.0: 0.5}, [3.9, 4.0, 9.9, 10.1], [1.0, 0.5, 0.5, 0.0]),
        ({6.0: 0.0}, [5.9, 6.0, 9.9, 12.0], [1.0, 0.0, 0.0, 0.0]),
        ({25.0: 10.0, 25.5: 0.0}, [9.9, 10.1, 25.1, 25.6], [1.0, 0.0, 10.0, 0.0]),
    ],
)
def test_a_schedule_is_what_was_asked_for(change, at, times):
    record = run.records().query("id == 20")  # 10 minutes
    table = run.rescheduled(record, change)
    begins, rates = table["time"].to_numpy(), table["rate"].to_numpy()
    held = rates[np.searchsorted(begins, at, side="right") - 1]
    np.testing.assert_allclose(held, np.array(times) * record["rate"].iloc[0])
    assert table["conc"].notna().sum() == record["conc"].notna().sum()


def test_copies_at_other_strengths_keep_their_answer_to_a_dose():
    frame = simulated(5, seed=4)
    table = run.at_other_strengths(frame, 2)
    assert table["id"].nunique() == 15 and not table.duplicated(["id", "time"]).any()
    own = table["id"] % 1000
    for name in ("rate", "conc"):
        original = pd.concat([frame[name]] * 3, ignore_index=True)
        factor = (table[name] / original).where(original > 0)
        assert (factor.groupby(table["id"]).nunique(dropna=True).ge(1)).all()
        assert (factor.groupby(table["id"]).std() < 1e-9).all()
        assert factor.dropna().between(1 / run.STRONGEST, run.STRONGEST).all()
    assert (own.to_numpy() == np.tile(frame["id"], 3)).all()
    per_dose = (table["conc"] / table.groupby("id")["rate"].transform("max")).to_numpy()
    np.testing.assert_allclose(per_dose, np.tile(per_dose[: len(frame)], 3))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_with_known_rates_the_error_is_at_most_half_and_twice_the_dose_twice_the_drug(monkeypatch):
    monkeypatch.setattr(run, "FITS", 1)
    train, stopping, test = (simulated(n, seed=n) for n in (40, 10, 16))
    models = {told: run.fitted(train, stopping, told, 0, QUICK, 60.0) for told in (True, False)}
    wanted = run.asked(test)["conc"].to_numpy()
    for until in (0.0, run.SEEN):
        errors = {
            told: run.scored(run.forecasts(model, test, until))["log MAE"].mean()
            for told, model in models.items()
        }
        assert errors[True] < 0.5 * errors[False]
    twice = run.ratios(models[True], test, 2.0)
    assert len(twice) == len(wanted)
    assert 1.8 < np.median(twice) < 2.2


def test_an_ensemble_is_the_mean_of_its_members_logarithms():
    class Says:
        def __init__(self, value):
            self.value = value

        def predict(self, history, at, quantiles):
            return at.assign(**{f"q{q:g}": self.value * (1 + q) for q in quantiles})

    at = pd.DataFrame({"id": [1, 1], "time": [1.0, 2.0]})
    made = run.Ensemble([Says(1.0), Says(4.0)]).predict(at, at, [0.25, 0.5])
    assert list(made) == ["id", "time", "q0.25", "q0.5"]
    np.testing.assert_allclose(made[["q0.25", "q0.5"]], [[2.5, 3.0]] * 2)
