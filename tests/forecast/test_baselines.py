"""Baselines against values worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from latentode import SchemaError, SeriesDataset
from latentode.data.climatology import Climatology
from latentode.evaluation.baselines import (
    BASELINES,
    LastValue,
    LinearDrift,
    SeriesMean,
    TimeOfDayMean,
)
from latentode.evaluation.pairs import observed_ahead
from latentode.forecast import ForecastQueries

NAN = np.nan
TRAIN = pd.DataFrame(
    {
        "id": ["a", "a", "b", "b"],
        "time": [0.0, 1.0, 0.0, 2.0],
        "x": [10.0, 20.0, 30.0, NAN],
        "y": [1.0, NAN, NAN, 3.0],
    }
)
HISTORY = pd.DataFrame(
    {
        "id": ["p", "p", "p", "p", "q"],
        "time": [0.0, 1.0, 1.5, 4.0, 7.0],
        "x": [2.0, 4.0, NAN, 10.0, NAN],
        "y": [NAN, 5.0, NAN, NAN, NAN],
    }
)


def answers(baseline, at, history=HISTORY):
    frame = baseline.fit(TRAIN).predict(history, at)
    return frame.set_index(["id", "time", "variable"])["mean"]


def asked(series, variable, time, origin):
    return ForecastQueries(*(np.atleast_1d(np.asarray(v)) for v in (series, variable, time, origin)))


def test_climatology_is_the_mean_of_the_training_observations():
    found = Climatology.fit(SeriesDataset.from_frame(TRAIN))
    np.testing.assert_allclose(found.mean, [20.0, 2.0], rtol=1e-14)
    again = Climatology.from_dict(found.to_dict())
    np.testing.assert_array_equal(again.mean, found.mean)
    np.testing.assert_array_equal(again.by_hour, found.by_hour)


def test_last_value_goes_on_and_the_training_mean_stands_in_for_nothing():
    found = answers(LastValue(), [8.0])
    assert found["p", 8.0, "x"] == 10.0
    assert found["p", 8.0, "y"] == 5.0
    assert found["q", 8.0, "x"] == 20.0
    assert found["q", 8.0, "y"] == 2.0


def test_series_mean_is_over_the_values_shown_by_the_origin():
    found = answers(SeriesMean(), [8.0])
    assert found["p", 8.0, "x"] == pytest.approx(16 / 3, abs=1e-12)
    assert found["p", 8.0, "y"] == 5.0
    assert found["q", 8.0, "y"] == 2.0
    dataset = SeriesDataset.from_frame(HISTORY)
    mean = SeriesMean().fit(TRAIN)
    early = mean.answer(dataset, asked([0, 0, 0], [0, 0, 1], [3.0, 9.0, 3.0], [1.2, 4.0, 0.5]))
    np.testing.assert_allclose(early, [3.0, 16 / 3, 2.0], rtol=1e-14)


def test_linear_drift_goes_through_the_last_value_and_the_one_a_window_earlier():
    # x of p: (0, 2), (1, 4), (4, 10); y of p: (1, 5) alone.
    found = answers(LinearDrift(window=3.0), [5.0])
    assert found["p", 5.0, "x"] == pytest.approx(10 + 6 / 3, abs=1e-12)  # from (1, 4)
    assert found["p", 5.0, "y"] == 5.0
    # Between observations the one before counts; before the first, the first stands in.
    assert answers(LinearDrift(window=3.5), [5.0])["p", 5.0, "x"] == pytest.approx(12, abs=1e-12)
    assert answers(LinearDrift(window=99.0), [6.0])["p", 6.0, "x"] == pytest.approx(14, abs=1e-12)


def test_linear_drift_without_a_window_looks_back_as_far_as_it_is_asked_ahead():
    history = pd.DataFrame({"id": "p", "time": [0.0, 1.0, 2.0], "x": [5.0, 0.0, 1.0], "y": 0.0})
    found = answers(LinearDrift(), [3.0, 4.0], history)
    assert found["p", 3.0, "x"] == pytest.approx(1 + 1, abs=1e-12)  # slope over one unit
    assert found["p", 4.0, "x"] == pytest.approx(1 - 2 * 2, abs=1e-12)  # slope over two


def test_linear_drift_of_one_value_is_that_value():
    history = pd.DataFrame({"id": ["p"], "time": [3.0], "x": [7.0], "y": [NAN]})
    found = answers(LinearDrift(), [50.0], history)
    assert found["p", 50.0, "x"] == 7.0
    assert found["p", 50.0, "y"] == 2.0


@pytest.mark.parametrize("kind", BASELINES)
def test_nothing_after_the_origin_is_used(kind):
    later = HISTORY.copy()
    later.loc[later["time"] > 1.2, ["x", "y"]] *= 100
    question = asked([0, 0], [0, 1], [4.0, 4.0], [1.2, 1.2])
    one, other = (
        kind().fit(TRAIN).answer(SeriesDataset.from_frame(h), question) for h in (HISTORY, later)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", BASELINES)
def test_the_order_of_queries_and_of_rows_does_not_matter(kind):
    dataset = SeriesDataset.from_frame(HISTORY)
    question = observed_ahead(dataset, 10.0)[0]
    order = np.random.default_rng(0).permutation(len(question.series))
    shuffled = ForecastQueries(
        *(getattr(question, n)[order] for n in ("series", "variable", "time", "origin"))
    )
    model = kind().fit(TRAIN)
    np.testing.assert_array_equal(
        model.answer(dataset, shuffled), model.answer(dataset, question)[order]
    )
    rows = SeriesDataset.from_frame(HISTORY.iloc[[3, 1, 0, 2, 4]])
    np.testing.assert_array_equal(model.answer(rows, question), model.answer(dataset, question))


def berlin(*stamps):
    return pd.DatetimeIndex([pd.Timestamp(f"2024-{s}", tz="Europe/Berlin") for s in stamps])


BERLIN = pd.DataFrame(
    {
        "id": "a",
        # 12 h in winter and in summer time: 11 h and 10 h UTC.
        "time": berlin("01-10T12:10", "07-10T12:50", "07-10T23:59:59", "07-11T00:00"),
        "x": [1.0, 3.0, 10.0, 20.0],
    }
)


def test_the_hour_of_the_day_is_that_of_the_tables_own_zone():
    model = TimeOfDayMean().fit(BERLIN)
    at = berlin("08-01T12:00", "08-01T12:59:59", "08-01T23:00", "08-02T00:30", "08-02T05:00")
    found = model.predict(BERLIN, list(at))
    np.testing.assert_allclose(found["mean"], [2.0, 2.0, 10.0, 20.0, 34 / 4], rtol=1e-14)
    utc = model.predict(BERLIN, [pd.Timestamp("2024-08-01T10:30", tz="UTC")])
    assert utc["mean"].item() == 2.0


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_a_full_hour_belongs_to_itself_whatever_the_series_start(minute):
    start = pd.Timestamp("2024-05-01T03:00:00.123457") + pd.Timedelta(minutes=minute)
    hours = pd.date_range("2024-05-02", periods=24, freq="h")
    frame = pd.DataFrame({"id": "a", "time": [start, *hours], "x": [5.0, *np.arange(24.0)]})
    frame.loc[0, "x"] = NAN
    model = TimeOfDayMean().fit(frame)
    found = model.predict(frame, list(hours + pd.Timedelta(days=3)))
    np.testing.assert_array_equal(found["mean"], np.arange(24.0))


def test_without_a_calendar_the_time_of_day_is_the_mean():
    found = answers(TimeOfDayMean(), [8.0])
    assert found["p", 8.0, "x"] == 20.0


def test_a_baseline_answers_in_the_frame_of_the_question():
    at = pd.DataFrame({"id": ["q", "p"], "time": [9.0, 8.0]})
    found = LastValue().fit(TRAIN).predict(HISTORY, at)
    assert list(found.columns) == ["id", "time", "variable", "mean"]
    assert list(found["id"]) == ["q", "q", "p", "p"]
    with pytest.raises(SchemaError, match="nobody"):
        LastValue().fit(TRAIN).predict(HISTORY, at.assign(id="nobody"))
