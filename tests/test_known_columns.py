"""Static and known-future columns in the forecaster."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from making import START, forecaster, same, tiny, waves

from latentode import LatentODEForecaster, Schema, SchemaError, SeriesDataset, TrainingConfig
from latentode.data.queries import warn_of_held_values, with_known_values

ROLES = Schema(static_covariates=("kind", "age"), known_future=("dose",), targets=("x", "y"))


def with_features(seed=0, n_series=4):
    """Series whose drift follows a dose."""
    frame = waves(n_series, 20, seed)
    number = frame["id"].str[1:].astype(int)
    dose = ((frame["time"] // 3) % 2).where(number % 2 == 0, 1.0)
    kind = np.where(number % 2 == 0, "even", "odd")
    return frame.assign(kind=kind, age=40.0 + number, dose=dose)


@pytest.fixture(scope="module")
def informed():
    model = tiny(lr=0.01).fit(with_features(), ROLES)
    with torch.no_grad():  # so short a fit may have found nothing better than no correction
        model.network_.emission.strength.fill_(1.0)
        model.network_.layout.decoder.layers[-1].weight.normal_(std=0.1)
    return model


def dosed(late, early=0.0):
    """The dose changes at 1.9 after 12; the path's pieces between knots are 0.5 long."""
    return pd.DataFrame(
        {"id": "s0", "time": [12.1, 12.4, 13.9, 14.0, 15.0], "dose": [early, early, late, late, late]}
    )


def test_a_changed_future_value_changes_the_forecast_after_it_and_not_before(informed):
    history = with_features()
    one, other = (informed.predict(history, dosed(late)) for late in (0.0, 3.0))
    early = one["time"] < 13.0
    same(one[early], other[early])
    after = one["time"] >= 14.0
    assert (one.loc[after, "mean"] != other.loc[after, "mean"]).all()


def test_future_values_of_one_series_leave_the_others_alone(informed):
    history = with_features()
    rest = pd.DataFrame({"id": "s1", "time": [13.0, 14.0], "dose": 1.0})
    answers = [informed.predict(history, pd.concat([dosed(v), rest])) for v in (0.0, 3.0)]
    one, other = (a[a["id"] == "s1"].reset_index(drop=True) for a in answers)
    pd.testing.assert_frame_equal(one, other, rtol=1e-6)


def test_future_values_may_stand_in_the_history_as_rows_without_targets(informed):
    history, at = with_features(), dosed(2.0)
    extra = at.assign(kind="even", age=40.0, x=np.nan, y=np.nan)
    whole = pd.concat([history, extra], ignore_index=True)
    same(informed.predict(whole, at[["id", "time"]]), informed.predict(history, at))


LATER = {"another dose": 0.0, "an empty cell": np.nan}


@pytest.mark.parametrize("cell", LATER)
def test_what_a_question_says_of_a_known_column_wins_over_the_history(informed, cell):
    history, at = with_features(), dosed(3.0)
    rows = at.assign(kind="even", age=40.0, x=np.nan, y=np.nan, dose=LATER[cell])
    whole = pd.concat([history, rows], ignore_index=True)
    same(informed.predict(whole, at), informed.predict(history, at))


@pytest.mark.parametrize("cell", LATER)
def test_a_question_wins_in_every_row_of_a_long_table_at_that_time(cell):
    rows = {"id": "s0", "time": [0.0, 0.0, 1.0, 1.0], "dose": [1.0, 1.0, LATER[cell], LATER[cell]]}
    long = pd.DataFrame({**rows, "variable": ["x", "y"] * 2, "value": [1.0, 2.0, np.nan, np.nan]})
    dataset = SeriesDataset.from_frame(long, Schema(known_future=("dose",)))
    at = pd.DataFrame({"id": "s0", "time": [1.0, 2.0], "dose": [3.0, 4.0]})
    told = with_known_values(long, dataset, at)
    assert told[["time", "dose"]].to_numpy().tolist() == [[0, 1], [0, 1], [1, 3], [1, 3], [2, 4]]
    time, value, _ = SeriesDataset.from_frame(told, dataset.schema).known_paths()
    assert time.tolist() == [0, 0, 1, 1, 2] and value[:, 0].tolist() == [1, 1, 3, 3, 4]


def test_an_empty_cell_of_a_question_leaves_the_history_as_it_is(informed):
    history = with_features()
    time = history.loc[history["id"] == "s0", "time"].iloc[:2].tolist()
    at = pd.DataFrame({"id": "s0", "time": time, "dose": [np.nan, 7.0]})
    told = with_known_values(history, informed.read(history), at)
    changed = told["dose"].to_numpy() != history["dose"].to_numpy()
    assert len(told) == len(history) and changed.sum() == 1
    assert told.loc[changed, "time"].item() == time[1] and told.loc[changed, "dose"].item() == 7.0


def test_a_question_that_says_two_values_for_one_moment_is_refused(informed):
    at = pd.DataFrame({"id": "s1", "time": [20.0, 20.0, 20.0], "dose": [1.0, np.nan, 2.0]})
    with pytest.raises(
        SchemaError, match=r"`dose` two values for series 's1' at one time; give it one"
    ):
        informed.predict(with_features(), at)


@pytest.mark.filterwarnings("ignore:known-future column")
def test_known_columns_may_be_left_out_of_the_question(informed):
    history = with_features()
    at = dosed(9.0)[["id", "time"]]
    held = history[history["id"] == "s0"].sort_values("time")["dose"].iloc[-1]
    pd.testing.assert_frame_equal(
        informed.predict(history, at),
        informed.predict(history, at.assign(dose=held)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_known_column_that_is_not_told_for_the_horizon_is_held_with_a_warning(informed):
    history = with_features()
    with pytest.warns(
        UserWarning, match=r"`dose` .* 's0', 's1', 's2' and 1 more; .* column of the quer"
    ):
        informed.predict(history, 1.0)
    at = pd.DataFrame({"id": ["s1", "s1"], "time": [12.5, 13.0], "dose": [1.0, np.nan]})
    with pytest.warns(UserWarning, match=r"`dose` has no values up to the times asked of series 's1';"):
        informed.predict(history, at)


def test_a_known_column_that_is_told_is_no_cause_for_a_warning(informed):
    history = with_features()
    last = history.dropna(subset=["x", "y"], how="all").groupby("id")["time"].max()
    later = pd.DataFrame({"id": last.index, "time": last.to_numpy() + 0.7, "dose": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        informed.predict(history, later)
        informed.predict(pd.concat([history, later.assign(kind=None, age=np.nan)]), 0.7, 3)
        informed.predict(history, dosed(1.0)[["id", "time"]].assign(time=[2.0, 3.0, 4.0, 5.0, 6.0]))
        informed.compare(history)


@pytest.mark.filterwarnings("ignore:known-future column")
def test_statics_change_the_forecast(informed):
    history = with_features()
    other = history.assign(age=history["age"].mask(history["id"] == "s0", 90.0))
    one, two = informed.predict(history, 1.0), informed.predict(other, 1.0)
    changed = one["id"] == "s0"
    assert (one.loc[changed, "mean"] != two.loc[changed, "mean"]).all()
    np.testing.assert_allclose(one.loc[~changed, "mean"], two.loc[~changed, "mean"], rtol=1e-5)


def test_a_static_that_only_some_rows_tell_is_the_same_static(informed):
    history = with_features()
    gaps = history.copy()
    gaps.loc[gaps.index % 3 == 1, ["kind", "age"]] = None
    same(informed.predict(gaps, dosed(1.0)), informed.predict(history, dosed(1.0)))


def test_future_values_go_with_a_long_table_too():
    long = with_features().melt(
        id_vars=["id", "time", "kind", "age", "dose"], var_name="variable", value_name="value"
    )
    long = long.dropna(subset="value")
    roles = Schema(static_covariates=("kind", "age"), known_future=("dose",))
    model = tiny(lr=0.01).fit(long, roles)
    one, other = (model.predict(long, dosed(late)) for late in (0.0, 3.0))
    after = one["time"] >= 14.0
    assert (one.loc[after, "mean"] != other.loc[after, "mean"]).all()
    same(one[~after & (one["time"] < 13.0)], other[~after & (one["time"] < 13.0)])


def test_future_values_may_be_asked_with_timestamps_where_the_history_has_text():
    frame = with_features()
    stamps = START + pd.to_timedelta((frame["time"] * 3600).round(), unit="s")
    stamped, text = frame.assign(time=stamps), frame.assign(time=stamps.astype(str))
    model = tiny(horizon="2h", context_length="6h").fit(text, ROLES)
    at = dosed(2.0)
    at["time"] = START + pd.to_timedelta((at["time"] * 3600).round(), unit="s")
    repeated = stamped.loc[stamped["id"] == "s0", ["id", "time", "dose"]].iloc[-2:]
    at = pd.concat([repeated, at], ignore_index=True)
    np.testing.assert_allclose(
        model.predict(text, at)["mean"], model.predict(stamped, at)["mean"], rtol=1e-6
    )


def test_future_values_do_not_make_an_unknown_series_known(informed):
    at = dosed(1.0).assign(id="nobody")
    with pytest.raises(SchemaError, match="'nobody' is not in the history"):
        informed.predict(with_features(), at)


def test_a_known_column_that_is_missing_everywhere_is_refused(informed):
    history = with_features().assign(dose=np.nan)
    with pytest.raises(SchemaError, match="dose"):
        informed.predict(history, 1.0)


def test_a_dose_before_the_first_observation_moves_the_state():
    """With t0="start" z(t0) lies where the doses begin, so a series is driven by all of them."""
    only = {"structure": None}  # untrained, a block would answer without the latent state
    model = tiny(t0="start", context_length=20.0, network=only).fit(with_features(), ROLES)
    history = with_features()
    shifted = history.assign(time=history["time"] + 4.0)
    first = shifted.groupby("id")[["kind", "age"]].first().reset_index()
    early = [
        pd.concat([first.assign(time=0.0, dose=dose), first.assign(time=2.0, dose=0.0), shifted])
        for dose in (0.0, 3.0)
    ]
    at = pd.DataFrame({"id": "s1", "time": [16.5], "dose": 1.0})
    one, other = (model.predict(table, at)["mean"] for table in early)
    assert (one != other).all()


GAPS = {  # cells at the times 2, 3, 4 and 5, after what is observed, and what is said of them
    "told": ([1.0, 0.0, 1.0, 0.0], None),
    "a gap": ([1.0, np.nan, np.nan, 0.0], "empty from 3.0 to 4.0 of series 's0'; the value before is"),
    "one cell": ([1.0, np.nan, 1.0, 0.0], "empty at 3.0 of series 's0'; the value before is held"),
    "two gaps": ([np.nan, 1.0, np.nan, 0.0], "empty at 2.0 of series 's0', the first of 2 such gaps;"),
    "an end": ([1.0, 0.0, np.nan, np.nan], "has no values up to the times asked of series 's0';"),
}


@pytest.mark.parametrize("layout", ["question", "wide", "long"])
@pytest.mark.parametrize("gap", GAPS)
def test_empty_known_cells_between_given_ones_are_said_to_be_held(gap, layout):
    cells, message = GAPS[gap]
    history = pd.DataFrame({"id": "s0", "time": [0.0, 1.0], "x": [1.0, 2.0], "dose": [0.0, np.nan]})
    at = pd.DataFrame({"id": "s0", "time": [2.0, 3.0, 4.0, 5.0], "dose": cells})
    table = pd.concat([history, at], ignore_index=True)
    schema = Schema(id="id", time="time", known_future=("dose",))
    if layout == "question":
        dataset = SeriesDataset.from_frame(history, schema)
        table = with_known_values(history, dataset, at)
    elif layout == "long":  # of two rows at a time one need not say what the other does
        told = table.assign(variable="x", value=table["x"])
        silent = table.assign(variable="y", value=table["x"], dose=np.nan)
        table = pd.concat([silent, told], ignore_index=True)
        table = table[["id", "time", "dose", "variable", "value"]]
    told = SeriesDataset.from_frame(table, schema)
    for until, expected in ((5.0, message is not None), (1.5, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_of_held_values(told, np.array([0]), np.array([until]))
        assert len(caught) == expected
        assert all("column `dose`" in str(w.message) and message in str(w.message) for w in caught)


@pytest.mark.slow
def test_pools_that_a_dose_fills_survive_saving_and_answer_twice_the_dose_with_twice_as_much(tmp_path):
    random, rows = np.random.default_rng(0), []
    for i in range(24):
        time, stop = np.arange(0.0, 8.0, 0.5), random.choice([2.0, 3.0, 4.0])
        rate = random.uniform(1, 3)
        level = rate * (np.exp(-np.maximum(time - stop, 0)) - np.exp(-time))
        rows.append(pd.DataFrame({"id": i, "time": time, "level": np.where(time > 0, level, np.nan)}))
        rows[-1]["rate"] = np.where(time < stop, rate, 0.0)
    frame = pd.concat(rows)
    schema = Schema(targets=("level",), known_future=("rate",), transforms={"level": "log"})
    model = forecaster(
        horizon=8.0,
        context_length=8.0,
        latent="joint",
        dynamics="compartments",
        t0="start",
        latent_size=4,
        network={"structure": None, "variational": False},
        context_dropout=0.5,
        lr=0.01,
        max_epochs=15,
        verbose=False,
    ).fit(frame, schema)
    blank = frame.assign(level=np.nan)
    at = frame.loc[frame["time"] > 0, ["id", "time"]]
    once, twice = (
        model.predict(blank.assign(rate=factor * frame["rate"]), at, quantiles=0.5)["q0.5"]
        for factor in (1.0, 2.0)
    )
    assert (twice / once).median() == pytest.approx(2.0, abs=0.3)
    true = frame.loc[frame["time"] > 0, "level"].to_numpy()
    assert np.abs(np.log(once) - np.log(true)).mean() < 0.25
    model.save(tmp_path)
    again = LatentODEForecaster.load(tmp_path)
    same(again.predict(blank, at), model.predict(blank, at))


def test_an_effect_of_uneven_size_is_that_of_all_that_was_seen():
    rng = np.random.default_rng(0)
    for i in range(10):  # the last of some tables, whose days with a promotion scatter more
        promo = (rng.random(154) < 0.2).astype(float)
        mean = 5 + 10 * (i % 2) * promo
        y = rng.normal(mean, np.sqrt(mean))
    promo, y = promo[:140], y[:140]
    table = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=140), "promo": promo, "y": y})
    asked = pd.DataFrame({"day": pd.date_range("2024-05-20", periods=5)})
    schema = Schema(time="day", targets=("y",), known_future=("promo",), cycles=())
    model = LatentODEForecaster("14D", training=TrainingConfig(max_epochs=0), verbose=False)
    model.fit(table, schema)
    with_, without = (model.predict(table, at=asked.assign(promo=p))["mean"] for p in (1.0, 0.0))
    seen = y[promo == 1].mean() - y[promo == 0].mean()
    assert (with_ - without).to_numpy() == pytest.approx(seen, rel=0.15)
