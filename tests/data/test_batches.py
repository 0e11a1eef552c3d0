"""A batch is several cut series, each told in time since its own origin."""

import numpy as np
import pandas as pd
import pytest
import torch
from frames import numeric, wide

from latentode.data import Forecasting, Interpolation, Scaling, Schema, Series, SeriesDataset


def series_of(frame, schema=None):
    dataset = SeriesDataset.from_frame(frame, schema)
    return Series(dataset, Scaling.fit(dataset))


def batch_of(frame, task, schema=None, indices=None):
    series = series_of(frame, schema)
    indices = np.arange(len(series)) if indices is None else np.array(indices)
    return series.batch(indices, task.resolve(series.dataset.axis))


def test_times_count_from_the_origin_in_each_series():
    frame = pd.DataFrame({"id": list("aaabbb"), "time": [100, 101, 104, 5, 6, 8], "x": np.arange(6.0)})
    batch = batch_of(frame, Forecasting(3, origin="last"))
    assert len(batch) == 2
    assert batch.context.series.tolist() == [0, 0, 1]
    assert batch.context.time.tolist() == [-1, 0, 0]
    assert batch.target.series.tolist() == [0, 1, 1]
    assert batch.target.time.tolist() == [3, 1, 3]
    assert batch.start.tolist() == [-1, 0]


def test_nanosecond_epochs_are_subtracted_exactly():
    elapsed = np.array([0, 1, 7, 1_000_000_007])
    times = pd.to_datetime(1_712_318_399_123_456_789 + elapsed)
    batch = batch_of(numeric(times), Forecasting("1s", origin="end"), Schema(time_unit="s"))
    # As float64 the epoch itself resolves 256 ns only.
    np.testing.assert_array_equal(batch.context.time.numpy(), elapsed / 1e9 - elapsed[-1] / 1e9)
    assert batch.context.time.dtype == torch.float64


def test_values_are_scaled_and_all_are_there():
    frame = wide(4, 6)
    series = series_of(frame)
    batch = series.batch(np.arange(4), Interpolation())
    seen = torch.cat([batch.context.value, batch.target.value]).numpy()
    scaled = series.scaling.scale_values(series.dataset.value, series.dataset.variable)
    np.testing.assert_array_equal(np.sort(seen), np.sort(scaled))


def test_the_context_does_not_change_with_the_targets():
    frame = numeric([0, 1, 2, 3, 4, 5], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    series = series_of(frame)
    later = frame.assign(x=[1.0, 2.0, 3.0, 4.0, 99.0, -99.0])
    changed = Series(SeriesDataset.from_frame(later), Scaling.fit(series.dataset))
    task = Forecasting(2.0, origin="last")
    one, other = series.batch(np.zeros(1, int), task), changed.batch(np.zeros(1, int), task)
    assert torch.equal(one.context.value, other.context.value)
    assert not torch.equal(one.target.value, other.target.value)


def test_a_series_may_occur_more_than_once_with_draws_of_its_own():
    series = series_of(wide(1, 30))
    keys = np.arange(20).astype(np.uint64)
    batch = series.batch(np.zeros(20, dtype=np.int64), Forecasting(2.0), keys)
    assert len(batch) == 20 and len(torch.unique(batch.start)) > 5
    again = series.batch(np.zeros(1, dtype=np.int64), Forecasting(2.0), keys[7:8])
    assert torch.equal(again.context.time, batch.context.time[batch.context.series == 7])


@pytest.mark.parametrize("task", [Forecasting(4.0), Forecasting(4.0, 3.0), Interpolation()], ids=repr)
def test_company_changes_nothing_about_a_series(task):
    series = series_of(wide(6, 8))
    together = series.batch(np.array([4, 2, 0]), task)
    alone = series.batch(np.array([2]), task)
    for whole, part in ((together.context, alone.context), (together.target, alone.target)):
        chosen = whole.series == 1
        assert torch.equal(whole.time[chosen], part.time)
        assert torch.equal(whole.value[chosen], part.value)
        assert torch.equal(whole.variable[chosen], part.variable)
    assert torch.equal(together.start[1:2], alone.start)


def test_the_context_begins_at_its_limit_or_at_the_first_observation():
    batch = batch_of(numeric([0, 1, 2, 8, 10]), Forecasting(1, 3, "end"))
    assert batch.start.tolist() == [-3]
    assert batch.context.time.tolist() == [-2, 0]
    assert batch_of(numeric([0, 1, 2]), Forecasting(1, 30, "end")).start.tolist() == [-2]


def test_a_batch_at_given_origins_has_no_targets():
    series = series_of(numeric([0.0, 1.0, np.nextafter(1.0, 2), 2.0]))
    batch = series.batch_at(np.array([0]), np.array([1.0]), 5.0)
    assert batch.context.time.tolist() == [-1, 0] and len(batch.target) == 0


def controlled():
    frame = pd.DataFrame({"id": list("aaab"), "time": [0, 1, 3, 0], "x": 1.0, "dose": [2.0, 2, 8, 4]})
    return series_of(frame, Schema(known_future="dose"))


def test_control_paths_are_padded_by_their_own_last_value():
    batch = controlled().batch(np.array([0, 1]), Forecasting(1.0, origin="end"))
    # The row that leaves the dose as it was is no change.
    assert batch.control_time.tolist() == [[-3, 0], [0, 0]]
    np.testing.assert_allclose(batch.control_value[:, :, 0] * np.sqrt(6) + 4, [[2, 8], [4, 4]])


def test_without_known_columns_control_paths_are_empty():
    batch = batch_of(wide(), Forecasting("1h"))
    assert batch.control_time.shape == (3, 0) and batch.control_value.shape == (3, 0, 0)


def test_static_features_follow_their_series():
    frame = wide(3).assign(age=lambda f: f["id"].str[1].astype(float))
    series = series_of(frame, Schema(static_covariates="age"))
    batch = series.batch(np.array([2, 0]), Forecasting(1.0))
    assert torch.equal(batch.static, torch.from_numpy(series.static[[2, 0]]))
    assert batch.static[0, 0] > batch.static[1, 0]


def test_a_batch_moves_to_a_device_whole():
    batch = controlled().batch(np.array([0, 1]), Forecasting(1.0)).to("meta")
    assert {t.device.type for t in (*vars(batch.context).values(), *vars(batch.target).values())} == {
        "meta"
    }
    assert batch.control_time.is_meta and batch.control_value.is_meta and batch.start.is_meta


def test_draws_of_strata_are_the_middles_of_equal_parts_of_the_observation_times():
    series = series_of(numeric(range(9)))
    task, draws = Forecasting(2.0, strata=4), np.arange(4)
    same, keys = np.zeros(4, dtype=np.int64), np.arange(4, dtype=np.uint64)
    batch = series.batch(same, task, keys, draws=draws)
    # Eight times have one after them; a window ends at its origin, which is its time 0.
    assert np.bincount(batch.context.series).tolist() == [2, 4, 6, 8]
    assert np.bincount(batch.target.series).tolist() == [2, 2, 2, 1]
