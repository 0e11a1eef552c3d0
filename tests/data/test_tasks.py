"""Cuts are made in time, per series, and depend on nothing but that series and its own draws."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from frames import melted, numeric, wide
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from latentode.data import Forecasting, Interpolation, Schema, SeriesDataset, TimeAxis
from latentode.data.batch import Series
from latentode.data.dataset import Ragged
from latentode.data.scaling import Scaling, series_keys
from latentode.data.task import ContextDropout
from latentode.data.windows import Timeline, mix, uniform
from latentode.errors import LatentODEError, SchemaError

HOURLY = Schema(time_unit="h")  # of times that are numbers it says nothing
TASKS = [
    Forecasting(3.0),
    Forecasting(3.0, context_length=5.0),
    Forecasting(3.0, origin="last"),
    Forecasting(3.0, origin="end"),
    Forecasting(3.0, context_length=2.0, origin=4.0),
    Interpolation(),
    Interpolation(keep=0.8),
    Forecasting(3.0, between=(1.0, 4.0), count=2),
    ContextDropout(Forecasting(3.0), 0.7),
]


def cut(dataset, task):
    """Each series cut once; context and target as masks over all observations of the dataset."""
    every = Timeline.of(dataset).cuttable(np.arange(len(dataset)), series_keys(dataset))
    made = task.resolve(dataset.axis).cut(every)
    assert (dataset.series[made.positions] == made.series).all()
    masks = np.zeros((2, len(dataset.time)), dtype=bool)
    masks[:, made.positions] = made.context, made.target
    return replace(made, context=masks[0], target=masks[1])


def timeline(time, parts):
    """Of series of numbers alone."""
    offsets = np.array([0, *np.cumsum(parts)])
    last = time[offsets[1:] - 1]
    return Timeline(np.asarray(time, dtype=np.float64), Ragged(offsets), last, time[offsets[:-1]])


def single(times, task, **columns):
    """Origin, context times and target times of one series with numbers for times."""
    dataset = SeriesDataset.from_frame(numeric(times, **columns))
    made = cut(dataset, task)
    stamps = np.asarray(times)[np.argsort(times)]
    return made.origin[0], stamps[made.context].tolist(), stamps[made.target].tolist()


def by_series(frame, task):
    """identifier -> everything that was decided about it."""
    dataset = SeriesDataset.from_frame(frame, HOURLY)
    made = cut(dataset, task)
    return {
        name: (
            made.origin[i],
            made.start[i],
            made.context[dataset.series == i].tolist(),
            made.target[dataset.series == i].tolist(),
        )
        for i, name in enumerate(dataset.ids)
    }


@pytest.mark.parametrize("task", TASKS, ids=repr)
@pytest.mark.parametrize("layout", ["wide", "long"])
def test_order_of_rows_and_series_and_company_change_no_cut(task, layout):
    frame = wide(12, 9)
    frame = frame if layout == "wide" else melted(frame)
    alone = by_series(frame, task)
    random = np.random.default_rng(0)
    # Exact: the same arithmetic is done on the same numbers.
    assert by_series(frame.sample(frac=1, random_state=1), task) == alone
    for name in random.choice(list(alone), 4, replace=False):
        assert by_series(frame[frame["id"] == name], task)[name] == alone[name]
    more = pd.concat([frame.assign(id="other-" + frame["id"]), frame])
    assert {k: v for k, v in by_series(more, task).items() if k in alone} == alone


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_shifting_all_times_changes_no_cut(task):
    frame = wide(6, 9)
    shifted = frame.assign(time=frame["time"] + pd.Timedelta("1000D"))
    assert by_series(shifted, task) == by_series(frame, task)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_no_observation_is_both_seen_and_asked_for(task):
    dataset = SeriesDataset.from_frame(wide(20, 9), HOURLY)
    made = cut(dataset, task)
    ahead = dataset.time - made.origin[dataset.series]
    assert not (made.context & made.target).any()
    assert (made.start <= made.origin).all()
    assert (dataset.time >= made.start[dataset.series])[made.context].all()
    if isinstance(task, Forecasting):
        assert (ahead[made.context] <= 0).all() and (ahead[made.target] > 0).all()


def test_datetime_identifiers_are_cut_alike_alone_and_in_company():
    # pandas prints a midnight without its clock time, but not beside other times.
    days = pd.to_datetime(["2024-01-01T00:00", "2024-01-01T10:00"])
    frame = wide(2, 9)
    frame["id"] = np.repeat(days, 9)
    alone = by_series(frame[frame["id"] == days[0]], Forecasting(3.0))
    assert by_series(frame, Forecasting(3.0))[days[0]] == alone[days[0]]


def test_last_leaves_one_horizon_of_targets():
    origin, context, target = single([0, 1, 2, 5, 6, 9], Forecasting(4, origin="last"))
    assert (origin, context, target) == (5, [0, 1, 2, 5], [6, 9])


def test_last_goes_no_further_back_than_the_first_observation():
    origin, context, target = single([3, 4, 5], Forecasting(100, origin="last"))
    assert (origin, context, target) == (0, [3], [4, 5])


def test_end_makes_everything_context():
    origin, context, target = single([0, 2, 7], Forecasting(4, origin="end"))
    assert (origin, context, target) == (7, [0, 2, 7], [])


def test_a_duration_cuts_at_that_time_since_the_start():
    origin, context, target = single([10, 11, 13, 14, 16], Forecasting(2, origin=3))
    assert (origin, context, target) == (3, [10, 11, 13], [14])


def test_the_context_reaches_back_as_far_as_told_both_ends_included():
    _, context, target = single([0, 1, 2, 3, 4, 5], Forecasting(1, context_length=2, origin=3))
    assert (context, target) == ([1, 2, 3], [4])


@given(st.integers(1, 500), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.1, 0.3, 1 / 7]))
@settings(max_examples=200, deadline=None)
def test_both_ends_are_included_whatever_the_rounding(origin, back, ahead, step):
    # Differences of such times exceed the duration by rounding at about every third place.
    place = np.arange(origin - back - 1, origin + ahead + 2)
    time, origin_time = place * step, origin * step
    task = Forecasting(ahead * step, back * step, origin=origin_time)
    made = task.cut(timeline(time, [len(time)]).cuttable(np.zeros(1, int), np.zeros(1, np.uint64)))
    assert place[made.positions[made.context]].tolist() == list(range(origin - back, origin + 1))
    assert made.start[0] <= time[made.positions[made.context]][0]
    assert place[made.positions[made.target]].tolist() == list(range(origin + 1, origin + ahead + 1))


@given(st.integers(2, 400), st.integers(1, 9), st.sampled_from([0.1, 0.3, 1 / 7]))
@settings(max_examples=200, deadline=None)
def test_the_last_observation_is_always_a_target(last, horizon, step):
    made = single(np.arange(last + 1) * step, Forecasting(horizon * step, origin="last"))
    assert len(made[2]) == min(horizon, last)


def test_random_origins_are_observation_times_each_equally_likely():
    times, n = [0.0, 0.5, 3.0, 4.0, 9.0], 4000
    # At 3.0 more variables are observed; the time is no likelier for it.
    frame = numeric(times, y=[np.nan, np.nan, 1.0, np.nan, np.nan], z=[np.nan, np.nan, 1.0, 2.0, 2.0])
    dataset = SeriesDataset.from_frame(frame)
    keys = mix(np.arange(n).astype(np.uint64), 1)
    many = Timeline.of(dataset).cuttable(np.zeros(n, dtype=np.int64), keys)
    origins, counts = np.unique(Forecasting(1.0, moments=0.0).cut(many).origin, return_counts=True)
    assert origins.tolist() == times[:-1]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_random_moments_are_those_from_which_something_is_observed_within_a_horizon():
    times, n, horizon = np.array([2.0, 2.5, 3.0, 4.0, 9.0]), 4000, 1.5
    dataset = SeriesDataset.from_frame(numeric(times, y=np.nan))
    keys = mix(np.arange(n).astype(np.uint64), 1)
    many = Timeline.of(dataset).cuttable(np.zeros(n, dtype=np.int64), keys)
    task = Forecasting(horizon, moments=1.0)
    made, moment = task.cut(many), task.moment(many)
    assert (np.bincount(made.series[made.target], minlength=n) >= 1).all()
    # Of [0, 7] since the start all but (2, 5.5), from which nothing is seen, each time as likely.
    place = np.where(moment <= 2.0, moment, moment - 3.5)
    assert not ((moment > 2.0) & (moment < 5.5)).any()
    assert stats.kstest(place / 3.5, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_random_origins_are_moments_and_the_others_what_they_were_without(share):
    dataset = SeriesDataset.from_frame(wide(400, 9), HOURLY)
    made = cut(dataset, Forecasting(3.0, moments=share))
    plain = cut(dataset, Forecasting(3.0, moments=0.0))
    seen = {*zip(dataset.series, dataset.time, strict=True)}
    assert all(pair in seen for pair in enumerate(plain.origin))
    every = Timeline.of(dataset).cuttable(np.arange(400), series_keys(dataset))
    at = Forecasting(3.0, moments=share).moment(every)
    moment = np.array([pair not in seen for pair in enumerate(at)])
    assert (made.origin == plain.origin)[~moment].all()
    assert abs(moment.mean() - share) < 4 * np.sqrt(share * (1 - share) / 400) + 0.02
    assert (at >= dataset.first).all() and (at < dataset.last).all()
    # Whatever the moment, a forecast goes on from the last observation by then.
    latest, by_then = np.full(400, -np.inf), dataset.time <= at[dataset.series]
    np.maximum.at(latest, dataset.series[by_then], dataset.time[by_then])
    assert (made.origin == latest).all()
    expected = (dataset.time > at[dataset.series]) & (dataset.time <= at[dataset.series] + 3.0)
    assert (made.target == expected).all()


def test_a_share_of_moments_is_a_share():
    with pytest.raises(LatentODEError, match=r"moments must be a share between 0 and 1, got 1.5"):
        Forecasting(1.0, moments=1.5)


def test_a_series_of_one_event_is_all_context():
    for task in (Forecasting(4), Forecasting(4, origin="last")):
        origin, context, target = single([5], task)
        assert (origin, context, target) == (0, [5], [])


def test_a_series_without_observations_has_an_empty_cut():
    frame = pd.DataFrame({"id": list("abb"), "time": [1, 1, 2], "x": [np.nan, 1.0, 2.0]})
    for task in TASKS:
        alone = by_series(frame, task)["a"]
        assert alone[2:] == ([], []) and np.isfinite(alone[:2]).all()


def test_interpolation_parts_the_observations_by_event():
    frame = wide(40, 30).assign(c=1.0)
    dataset = SeriesDataset.from_frame(frame)
    made = cut(dataset, Interpolation(keep=0.3))
    assert (made.context ^ made.target).all()
    events = pd.Series(made.context).groupby([dataset.series, dataset.time])
    assert (events.transform("first") == made.context).all()
    n = events.ngroups
    # Four standard deviations around the probability.
    assert abs(events.first().mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / n)
    np.testing.assert_array_equal(made.origin, dataset.last)
    np.testing.assert_array_equal(made.start, dataset.first)


@pytest.mark.parametrize("keep", [0, 1, 1.5, -0.1, float("nan")])
def test_a_share_that_is_no_probability_is_refused(keep):
    with pytest.raises(LatentODEError, match=r"keep is a probability between 0 and 1, got"):
        Interpolation(keep=keep)


def test_durations_are_resolved_to_time_units_once():
    hours = TimeAxis("datetime")
    task = Forecasting("2D", "36h", "90min").resolve(hours)
    assert task == Forecasting(48.0, 36.0, 1.5) == task.resolve(hours)
    with pytest.raises(SchemaError, match=r"context_length '2 moons' is not a duration"):
        Forecasting("2D", "2 moons").resolve(hours)
    with pytest.raises(SchemaError, match=r"origin 'first' is not a duration"):
        Forecasting("2D", origin="first").resolve(hours)


def test_validation_draws_its_origins_as_training_does_unless_told_where():
    assert Forecasting(4.0, validate_at="last").fixed().origin == "last"
    drawn = Forecasting(4.0)
    assert drawn.fixed() == drawn
    assert Forecasting(4.0, origin=2.0).fixed() == Forecasting(4.0, origin=2.0)
    assert Interpolation(0.2).fixed() == Interpolation(0.2)


def test_uniform_numbers_look_uniform_and_independent():
    keys = mix(np.arange(4000).astype(np.uint64), 0)
    along = uniform(np.repeat(keys[:1], 4000), np.arange(4000))
    across = uniform(keys, 0)
    for numbers in (along, across):
        assert stats.kstest(numbers, "uniform").pvalue > 1e-3
        assert (numbers >= 0).all() and (numbers < 1).all()
    pairs = [(along[:-1], along[1:]), (across, uniform(keys, 1)), (across[:-1], across[1:])]
    for one, other in pairs:
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(4000)


def test_each_key_has_its_own_numbers_whatever_surrounds_it():
    keys = np.array([3, 2**64 - 1, 3], dtype=np.uint64)
    drawn = uniform(keys, 5)
    assert drawn[0] == drawn[2] == uniform(keys[:1], 5)[0] != drawn[1]


def test_keys_depend_on_the_identifier_only():
    some = SeriesDataset.from_frame(wide(3)), SeriesDataset.from_frame(wide(3).iloc[::-1])
    np.testing.assert_array_equal(series_keys(some[0]), series_keys(some[1])[::-1])
    numbers = numeric([0, 1, 2]).assign(id=[1, 2, 1])
    text = SeriesDataset.from_frame(numbers.assign(id=numbers["id"].astype(str)), Schema())
    np.testing.assert_array_equal(series_keys(SeriesDataset.from_frame(numbers)), series_keys(text))


def test_a_count_asks_for_the_first_times_ahead_only():
    task = Forecasting(10.0, origin=2.0, count=2)
    assert single([0, 1, 2, 3, 5, 6], task)[2] == [3, 5]
    assert single([0, 1, 2, 3], task)[2] == [3]
    assert single([0, 1, 2, 30], task)[2] == []
    with pytest.raises(LatentODEError, match="count must be at least 1"):
        Forecasting(1.0, count=0)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_random_origins_lie_between_where_they_can(share):
    dataset = SeriesDataset.from_frame(wide(60, 9), HOURLY)
    low, high = 4.0, 9.0
    every = Timeline.of(dataset).cuttable(np.arange(60), series_keys(dataset))
    made = Forecasting(3.0, between=(low, high), moments=share).moment(every)
    free = cut(dataset, Forecasting(3.0, moments=share))
    before = dataset.time < dataset.last[dataset.series]
    inside = before & (dataset.time >= low) & (dataset.time <= high)
    some = np.bincount(dataset.series[inside], minlength=60) > 0
    assert some.any()
    assert ((made >= low) & (made <= high))[some].all()
    if share == 0:
        assert (made == free.origin)[~some].all() and not some.all()
    beyond = cut(dataset, Forecasting(3.0, between=(50.0, 60.0), moments=share))
    assert (beyond.origin == free.origin).all()


def test_held_out_series_are_cut_where_the_task_says():
    task = Forecasting(3.0, validate_at=4.0)
    assert task.fixed().origin == 4.0
    assert Forecasting(3.0, origin=1.0, validate_at=4.0).fixed().origin == 1.0
    with pytest.raises(LatentODEError, match="leave it out for random ones"):
        Forecasting(3.0, validate_at="random")


def test_thinning_hides_a_part_between_none_and_the_bound_of_each_context():
    dataset = SeriesDataset.from_frame(wide(400, 40), HOURLY)
    plain, thinned = (cut(dataset, t) for t in (END, ContextDropout(END, 0.6)))
    assert (plain.target == thinned.target).all() and (plain.origin == thinned.origin).all()
    assert (plain.start == thinned.start).all()
    assert (plain.context | ~thinned.context).all()
    sizes = [np.bincount(dataset.series[c.context], minlength=400) for c in (plain, thinned)]
    hidden = 1 - sizes[1] / sizes[0]
    assert hidden.mean() == pytest.approx(0.3, abs=0.03)
    assert np.quantile(hidden, 0.05) < 0.1 and 0.5 < np.quantile(hidden, 0.95) < 0.75
    assert ContextDropout(END, 0.6).fixed() == END == ContextDropout(END, 0.6).undropped()


END = Forecasting(3.0, origin="end")


def test_a_context_begins_where_known_columns_begin_to_tell():
    early = pd.DataFrame({"id": "a", "time": [0.0, 1.0, 4.0, 6.0, 9.0], "dose": [1.0, 0, 0, 0, 0]})
    early["x"] = [np.nan, np.nan, 1.0, 2.0, 3.0]
    starts = {}
    for known in ((), ("dose",)):
        dataset = SeriesDataset.from_frame(early, Schema(targets=("x",), known_future=known))
        series = Series(dataset, Scaling.fit(dataset))
        for context in (None, 3.0):
            task = Forecasting(4.0, context, origin="last").resolve(dataset.axis)
            batch = series.batch(np.array([0]), task)
            starts[known, context] = float(batch.start[0])
            assert batch.context.time.tolist() == [0.0]
    known = ("dose",)
    assert starts == {((), None): 0.0, ((), 3.0): 0.0, (known, None): -4.0, (known, 3.0): -3.0}
