"""Rolling evaluation and metrics by cases small enough to count on fingers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scores import scoringrules

from latentode import LatentODEError, SchemaError, SeriesDataset
from latentode.evaluation.backtest import compare
from latentode.evaluation.baselines import LastValue
from latentode.evaluation.metrics import at_leads, bin_leads, quantile_levels, score_frame, summarise
from latentode.evaluation.pairs import observed_after, observed_ahead

FRAME = pd.DataFrame(
    {
        "id": ["b", "b", "b", "a", "a"],
        "time": [10.0, 11.0, 14.0, 0.0, 2.0],
        "x": [1.0, 2.0, np.nan, 5.0, 6.0],
        "y": [np.nan, 7.0, 8.0, np.nan, np.nan],
    }
)


def pairs(keys):
    return set(zip(keys["id"], keys["origin"], keys["time"], keys["variable"], strict=True))


def test_each_observation_is_asked_from_every_earlier_time_within_the_horizon():
    asked, actual, keys = observed_ahead(SeriesDataset.from_frame(FRAME), 3.0)
    assert pairs(keys) == {
        ("b", 10.0, 11.0, "x"),
        ("b", 10.0, 11.0, "y"),
        ("b", 11.0, 14.0, "y"),
        ("a", 0.0, 2.0, "x"),
    }
    assert list(keys.columns) == ["id", "origin", "time", "lead", "variable"]
    np.testing.assert_array_equal(keys["lead"], keys["time"] - keys["origin"])
    np.testing.assert_array_equal(asked.time - asked.origin, keys["lead"])
    assert sorted(actual) == [2.0, 6.0, 7.0, 8.0]


def test_a_short_horizon_asks_nothing_and_a_long_one_stays_within_its_series():
    dataset = SeriesDataset.from_frame(FRAME)
    asked, actual, keys = observed_ahead(dataset, 0.5)
    assert len(actual) == len(keys) == len(asked.series) == 0
    long = observed_ahead(dataset, 1e6)[2]
    assert pairs(long) == pairs(observed_ahead(dataset, 4.0)[2])
    assert len(long) == 5


@given(
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    n_series=st.integers(1, 4),
    reach=st.integers(1, 8),
    width=st.sampled_from([0.1, 1 / 3, 1e-6, 1.0, 7.3]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_observations_exactly_a_horizon_ahead_are_asked_in_every_series(steps, n_series, reach, width):
    grid = np.cumsum([0, *steps])
    frame = pd.concat(pd.DataFrame({"id": i, "time": grid * width, "x": 1.0}) for i in range(n_series))
    asked, _, _ = observed_ahead(SeriesDataset.from_frame(frame), reach * width)
    expected = sum(0 < b - a <= reach for a in grid for b in grid)
    counts = np.bincount(asked.series, minlength=n_series)
    assert list(counts) == [expected] * n_series


@pytest.mark.parametrize("most", [1, 2, 7, 40, None])
def test_origins_are_limited_per_series_and_spread_evenly(most):
    sizes = [60, 3, 1, 25]
    frame = pd.concat(
        pd.DataFrame({"id": i, "time": np.arange(float(n)), "x": 1.0}) for i, n in enumerate(sizes)
    )
    dataset = SeriesDataset.from_frame(frame)
    every = observed_ahead(dataset, 2.0)[2]
    keys = observed_ahead(dataset, 2.0, most)[2]
    for i, n in enumerate(sizes):
        own = keys[keys["id"] == i]
        chosen = np.sort(own["origin"].unique())
        usable = n - 1  # the last time has nothing ahead of it
        assert len(chosen) == (usable if most is None else min(usable, most))
        if len(chosen) > 1:
            gaps = np.diff(chosen)
            assert gaps.max() - gaps.min() <= 1 and gaps.max() <= np.ceil(usable / len(chosen))
        # An origin that is kept keeps all that is asked from it.
        assert len(own) == ((every["id"] == i) & every["origin"].isin(chosen)).sum()


def test_fewer_than_one_origin_is_refused():
    with pytest.raises(LatentODEError, match="origins must be at least 1"):
        observed_ahead(SeriesDataset.from_frame(FRAME), 3.0, 0)


@pytest.mark.parametrize("number", [2.5, "3", True])
def test_what_is_no_whole_number_of_origins_or_bins_is_refused(number):
    with pytest.raises(LatentODEError, match="origins must be a whole number"):
        observed_ahead(SeriesDataset.from_frame(FRAME), 3.0, number)
    with pytest.raises(LatentODEError, match="bins must be a whole number"):
        bin_leads(pd.DataFrame({"lead": [1.0, 2.0]}), number)


def test_calendar_origins_and_leads_come_in_the_tables_own_terms():
    time = pd.to_datetime(["2024-03-30T23:00", "2024-03-31T04:00"]).tz_localize("Europe/Berlin")
    frame = pd.DataFrame({"id": "a", "time": time, "x": [1.0, 2.0]})
    _, _, keys = observed_ahead(SeriesDataset.from_frame(frame), 24.0)
    assert keys["origin"].item() == time[0]
    assert keys["time"].item() == time[1]
    assert keys["lead"].item() == 4.0  # the clock was put forward
    assert keys["origin"].dtype == frame["time"].dtype


def test_every_series_is_asked_from_every_cutoff_by_which_it_has_shown_something():
    asked, actual, keys = observed_after(SeriesDataset.from_frame(FRAME), 3.0, [12.0, 1.0, 10.0])
    assert pairs(keys) == {
        ("a", 1.0, 2.0, "x"),
        ("b", 10.0, 11.0, "x"),
        ("b", 10.0, 11.0, "y"),
        ("b", 12.0, 14.0, "y"),
    }
    assert keys["lead"].tolist() == [1.0, 1.0, 2.0, 1.0]
    assert (asked.time - asked.origin).tolist() == [1.0, 1.0, 3.0, 2.0]  # from what was last seen
    assert sorted(actual) == [2.0, 6.0, 7.0, 8.0]
    one = observed_after(SeriesDataset.from_frame(FRAME), 3.0, 10.0)
    assert pairs(one.keys) == {("b", 10.0, 11.0, "x"), ("b", 10.0, 11.0, "y")}


@given(
    times=st.lists(st.integers(0, 40), min_size=1, max_size=15, unique=True),
    cutoffs=st.lists(st.integers(-5, 45), min_size=1, max_size=5),
    horizon=st.integers(1, 20),
    width=st.sampled_from([0.1, 1 / 3, 1e-6, 1.0, 7.3]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_cutoffs_ask_what_a_loop_over_all_rows_would(times, cutoffs, horizon, width):
    times = np.sort(times)
    frame = pd.DataFrame({"id": "a", "time": times * width, "x": 1.0})
    expected = {(c, t) for c in set(cutoffs) for t in times if times[0] <= c < t <= c + horizon}
    dataset = SeriesDataset.from_frame(frame)
    if not expected:
        with pytest.raises(SchemaError, match="no series has observations both by"):
            observed_after(dataset, horizon * width, np.array(cutoffs) * width)
        return
    keys = observed_after(dataset, horizon * width, np.array(cutoffs) * width).keys
    found = keys[["origin", "time"]].to_numpy() / width
    assert {(round(c), round(t)) for c, t in found} == expected


def test_cutoffs_are_read_as_times_of_the_table():
    time = pd.to_datetime(["2024-03-30T23:00", "2024-03-31T04:00"]).tz_localize("Europe/Berlin")
    dataset = SeriesDataset.from_frame(pd.DataFrame({"id": "a", "time": time, "x": [1.0, 2.0]}))
    keys = observed_after(dataset, 24.0, ["2024-03-31T00:00+01:00"]).keys
    assert keys["origin"].item() == pd.Timestamp("2024-03-31T00:00+01:00")
    assert keys["lead"].item() == 3.0
    with pytest.raises(SchemaError, match="cutoffs has none; write it with its UTC offset"):
        observed_after(dataset, 24.0, ["2024-03-31T00:00"])
    with pytest.raises(SchemaError, match="cutoffs is empty"):
        observed_after(dataset, 24.0, [])


def test_a_comparison_repeats_the_questions_for_each_baseline():
    dataset = SeriesDataset.from_frame(FRAME)
    asked, actual, keys = pairs = observed_ahead(dataset, 3.0)
    backtest = keys.assign(actual=actual, mean=0.0)
    compared = compare(dataset, backtest, [LastValue().fit(FRAME)], "mine", pairs)
    assert list(compared["model"]) == ["mine"] * 4 + ["last value"] * 4
    last = compared[compared["model"] == "last value"].set_index(["id", "origin", "variable"])["mean"]
    assert last["b", 10.0, "x"] == 1.0
    assert last["b", 10.0, "y"] == 7.5  # nothing shown yet: the training mean
    assert last["b", 11.0, "y"] == 7.0
    assert last["a", 0.0, "x"] == 5.0
    assert len(asked.series) == 4


def test_leads_fall_into_bins_named_by_their_upper_end():
    frame = pd.DataFrame({"lead": [0.1, 2.0, 2.1, 3.9, 4.0, 6.0]})
    assert list(bin_leads(frame, 3)["lead"]) == [2.0, 2.0, 4.0, 4.0, 4.0, 6.0]
    assert list(bin_leads(frame, 1)["lead"]) == [6.0] * 6


def test_rows_near_a_lead_are_kept_under_its_name():
    frame = pd.DataFrame({"lead": [5.0, 5.9, 6.0, 6.5, 7.1, 12.4], "n": range(6)})
    stamps = pd.to_datetime(["2024-01-01", "2024-01-02"])
    dataset = SeriesDataset.from_frame(pd.DataFrame({"id": "a", "time": stamps, "x": 1.0}))
    found = at_leads(frame, dataset, ["6h", "12h"], "30min")
    assert list(zip(found["lead"], found["n"], strict=True)) == [
        ("6h", 1),
        ("6h", 2),
        ("6h", 3),
        ("12h", 5),
    ]


# ---------------------------------------------------------------------------------- metrics


def scored(levels, mean=0.0, std=1.0, actual=(0.3, -1.2, 2.5)):
    actual = np.array(actual)
    quantiles = {f"q{q:g}": stats.norm.ppf(q, mean, std) for q in levels}
    return pd.DataFrame({"actual": actual, "mean": mean, **quantiles}).copy()


def test_errors_by_hand():
    frame = pd.DataFrame(
        {"actual": [1.0, 5.0], "mean": [2.0, 2.0], "q0.1": [0.0, 0.0], "q0.9": [3.0, 4.0]}
    )
    found = score_frame(frame)
    assert list(found["absolute"]) == [1.0, 3.0]
    assert list(found["squared"]) == [1.0, 9.0]
    assert list(found["inside"]) == [1.0, 0.0]
    # Row 0: 0.1 * 1 and 0.1 * 2; row 1: 0.1 * 5 and 0.9 * 1; twice their mean.
    np.testing.assert_allclose(found["crps"], [0.3, 1.4], rtol=1e-14)
    assert quantile_levels(frame) == [0.1, 0.9]


def test_a_point_forecast_has_its_absolute_error_for_crps_and_no_coverage():
    found = score_frame(pd.DataFrame({"actual": [1.0, 5.0], "mean": [2.0, 2.0]}))
    assert list(found["crps"]) == [1.0, 3.0]
    assert found["inside"].isna().all()
    mixed = pd.concat([scored([0.1, 0.9]), scored([])], ignore_index=True)
    found = score_frame(mixed)
    np.testing.assert_array_equal(found["crps"][3:], found["absolute"][3:])
    assert list(found["inside"].isna()) == [False] * 3 + [True] * 3


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (3.0, 0.2), (-1.0, 5.0)])
def test_the_score_tends_to_the_crps_as_levels_are_added(mean, std):
    errors = []
    for n in (9, 99, 999):
        frame = scored(np.arange(1, n + 1) / (n + 1), mean, std)
        exact = scoringrules.crps_normal(frame["actual"].to_numpy(), mean, std)
        errors.append(np.abs(score_frame(frame)["crps"] - exact).max() / std)
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 0.01


def test_the_pinball_loss_agrees_with_scoringrules():
    frame = scored([0.2])
    exact = scoringrules.quantile_score(frame["actual"].to_numpy(), frame["q0.2"].to_numpy(), 0.2)
    np.testing.assert_allclose(score_frame(frame)["crps"], 2 * exact, rtol=1e-12)


def test_a_summary_is_by_group_in_order_of_appearance():
    frame = pd.DataFrame(
        {
            "model": ["m", "m", "l", "l"],
            "variable": ["x", "x", "x", "x"],
            "actual": [1.0, 5.0, 1.0, 5.0],
            "mean": [2.0, 2.0, 1.0, 1.0],
            "q0.1": [0.0, 0.0, np.nan, np.nan],
            "q0.9": [3.0, 4.0, np.nan, np.nan],
        }
    )
    found = summarise(frame, ["model", "variable"])
    assert list(found.index) == [("m", "x"), ("l", "x")]
    assert list(found.columns) == ["n", "mae", "rmse", "crps", "coverage"]
    mine, last = found.loc[("m", "x")], found.loc[("l", "x")]
    np.testing.assert_allclose(mine, [2, 2.0, np.sqrt(5), 0.85, 0.5], rtol=1e-14)
    np.testing.assert_allclose(last[:4], [2, 2.0, np.sqrt(8), 2.0], rtol=1e-14)
    assert np.isnan(last["coverage"])


def test_scores_add_columns_and_leave_the_frame_as_it_was():
    frame = scored([0.1, 0.5, 0.9])
    before = frame.copy()
    score_frame(frame)
    summarise(frame.assign(model="m"), ["model"])
    pd.testing.assert_frame_equal(frame, before)
