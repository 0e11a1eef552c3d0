"""What a fit takes of its data when the user does not say."""

import numpy as np
import pandas as pd
import pytest

from latentode import Forecasting, IrregularDataModule, Schema
from latentode.data import SeriesDataset
from latentode.data.split import split_validation, tamed, usual_context, usual_horizon

TIME = np.arange(2000.0)
BURSTS = np.ravel(TIME[::10, None] + 1e-3 * np.arange(10))  # nine gaps in ten are tiny
OUTAGE = np.where(TIME < 1000, TIME, TIME + 1e6)


@pytest.mark.parametrize(
    ("series", "horizon"),
    [
        ([TIME], 50.0),
        ([TIME[:101]], 25.0),
        ([BURSTS], 50.0),
        ([OUTAGE], 50.0),
        ([TIME, TIME[:41], TIME[:41]], 10.0),
        ([TIME[:1], TIME[:41]], 10.0),
    ],
)
def test_the_usual_horizon_is_a_quarter_of_a_short_series_and_fifty_gaps_of_a_long_one(series, horizon):
    frames = [pd.DataFrame({"id": i, "time": t, "x": 1.0}) for i, t in enumerate(series)]
    assert usual_horizon(SeriesDataset.from_frame(pd.concat(frames))) == pytest.approx(horizon)


@pytest.mark.parametrize(
    ("series", "horizon", "context"),
    [
        ([TIME], 1.0, 64.0),
        ([TIME], 50.0, 400.0),
        ([TIME[:41]], 1.0, 40.0),
        ([BURSTS], 1.0, 60.0),
        ([TIME[:1]], 1.0, 8.0),
    ],
)
def test_the_usual_context_is_eight_horizons_and_of_short_ones_64_gaps(series, horizon, context):
    frames = [pd.DataFrame({"id": i, "time": t, "x": 1.0}) for i, t in enumerate(series)]
    read = SeriesDataset.from_frame(pd.concat(frames))
    assert usual_context(read, horizon) == pytest.approx(context, abs=0.01)


NOISE = np.random.default_rng(0).normal(size=60)


def spiked(values, *places):
    values = np.array(values)
    values[list(places)] += 30.0
    return values


@pytest.mark.parametrize("place", [0, 1, 30, 58, 59])
def test_a_single_wild_value_is_drawn_in_and_no_other(place):
    own = tame_values(spiked(NOISE, place))
    rest = np.arange(60) != place
    for unit in (1e-9, -1e9):
        np.testing.assert_allclose(tame_values(unit * spiked(NOISE, place)), unit * own, rtol=1e-9)
    assert np.array_equal(own[rest], NOISE[rest])
    assert 0 < own[place] < 4


@pytest.mark.parametrize(
    "values",
    [
        NOISE,
        np.cumsum(NOISE),
        np.where(TIME[:60] < 30, 0.0, 30.0) + NOISE,
        30 * np.sin(TIME[:60] / 5),
        np.exp(TIME[:60] / 5),
        np.full(60, 2.0),
        np.where(TIME[:60] % 10 == 0, 5.0, 0.0),
        spiked(NOISE, *range(5, 60, 9)),
        spiked(NOISE, 30)[26:33],
    ],
    ids=["noise", "walk", "step", "wave", "growth", "constant", "pulses", "many spikes", "few values"],
)
def test_what_a_series_is_made_of_is_not_wild(values):
    assert np.array_equal(tame_values(values), values)


def test_on_a_scale_of_its_own_nothing_is_wild():
    values = np.exp(spiked(NOISE, 30) / 10)
    assert not np.array_equal(tame_values(values), values)
    assert np.array_equal(tame_values(values, transforms={"x": "log"}), values)


def tame_values(values, **schema):
    frame = pd.DataFrame({"time": np.arange(len(values)), "x": values.astype(float)})
    return tamed(SeriesDataset.from_frame(frame, Schema(**schema))).value


def test_several_variables_at_one_time_are_one_time():
    frame = pd.DataFrame({"time": TIME, "x": 1.0, "y": 2.0})
    assert usual_horizon(SeriesDataset.from_frame(frame)) == pytest.approx(50.0)


def judged(frame, horizon, context=None):
    """Training data, and (series, time, variable) of all targets of validation, as they are asked."""
    dataset = SeriesDataset.from_frame(frame)
    train, held_out = split_validation(dataset, horizon, 0)
    task = Forecasting(horizon, context, validate_at=None)
    data = IrregularDataModule(train, held_out, task=task, batch_size=7)
    keys = pd.concat([batch.names.keys for batch in data.val_dataloader()], ignore_index=True)
    return train, keys, data


REGULAR = np.arange(3000.0)
RANDOM = np.cumsum(np.random.default_rng(0).exponential(size=3000))


@pytest.mark.parametrize("time", [REGULAR, 0.1 * REGULAR, RANDOM, BURSTS, OUTAGE], ids=str)
def test_one_long_series_is_judged_by_its_last_part_each_value_once(time):
    frame = pd.DataFrame({"id": "s", "time": time, "x": np.sin(time), "y": 1.0})
    horizon = 24 * float(np.median(np.diff(time))) if time is not BURSTS else 24.0
    train, keys, data = judged(frame, horizon, 4 * horizon)
    asked = keys.melt(["id", "time"])[["time", "value"]]
    assert not asked.duplicated().any()
    latest = train.to_frame()["time"].max()
    later = frame[frame["time"] > latest]
    assert len(asked) == 2 * len(later) and set(asked["time"]) == set(later["time"])
    assert len(asked) >= 200
    # No more than needed, by a horizon, and a fifth of the span at most.
    assert len(asked) < 200 + 2 * len(later[later["time"] > time[-1] - 2 * horizon]) + 60
    assert time[-1] - latest <= 0.2 * (time[-1] - time[0]) + horizon
    # What comes before a held-out part is seen, as far back as a context.
    first = next(iter(data.val_dataloader()))
    assert len(first.context) > 0 and float(first.context.time.min()) < -2 * horizon


def test_of_a_few_short_series_one_horizon_each_is_held_out():
    frame = pd.concat(
        [pd.DataFrame({"id": i, "time": np.arange(n), "x": 1.0}) for i, n in enumerate((20, 40, 9))]
    )
    train, keys, _ = judged(frame, 5.0)
    counts = keys["id"].value_counts().to_dict()
    assert counts == {0: 5, 1: 5, 2: 5} and len(train.time) == 69 - 15


def test_series_of_unequal_length_are_held_out_by_no_more_than_a_fifth_of_each():
    lengths = (60, 4000)
    frame = pd.concat(
        [pd.DataFrame({"id": i, "time": np.arange(n), "x": 1.0}) for i, n in enumerate(lengths)]
    )
    _, keys, _ = judged(frame, 5.0)
    counts = keys["id"].value_counts()
    assert counts[0] == 10 and counts[1] >= 190 and counts.sum() < 210
    assert not keys.duplicated().any()


def test_of_many_series_whole_ones_are_held_out_and_asked_from_several_origins():
    frame = pd.concat(
        [pd.DataFrame({"id": i, "time": np.arange(50.0), "x": float(i)}) for i in range(40)]
    )
    train, keys, data = judged(frame, 5.0)
    held_out = set(keys["id"])
    assert len(held_out) == 8 and not held_out & set(train.ids)
    counts = data.validation_task.held_out_cuts(data.validation.timeline)
    assert counts.tolist() == [9] * 8 and len(keys) > 200


def test_too_little_to_hold_any_out_is_said():
    with pytest.warns(UserWarning, match="too little data to hold any out"):
        train, held_out = split_validation(
            SeriesDataset.from_frame(pd.DataFrame({"id": "s", "time": [0.0, 1.0], "x": 1.0})), 5.0, 0
        )
    assert held_out is None and len(train.time) == 2
