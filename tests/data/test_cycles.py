"""Phases of the clock at the forecast origin."""

import numpy as np
import pandas as pd
import pytest
from making import same, tiny

from latentode import Forecasting, IrregularDataModule, Schema, SchemaError, SeriesDataset


def hourly(start, n=30, zone=None):
    time = pd.date_range(start, periods=n, freq="7h", tz=zone)
    return pd.DataFrame({"id": "s", "time": time, "x": np.sin(np.arange(n)), "y": 1.0})


def phases(frame, hours, *cycles, **options):
    dataset = SeriesDataset.from_frame(frame, Schema(cycles=cycles, **options))
    hours = np.asarray(hours, dtype=float)
    start = dataset.start[np.zeros(len(hours), dtype=int)]
    return dataset.axis.cycle_phases(cycles, start, hours)


def test_a_quarter_of_a_day_is_a_quarter_of_a_turn():
    found = phases(hourly("2024-03-01"), [0, 6, 12, 18, 24], "24h")
    assert found == pytest.approx(np.array([[0, 1], [1, 0], [0, -1], [-1, 0], [0, 1]]), abs=1e-9)


def test_phases_are_those_of_the_local_clock_also_after_a_change_to_summer_time():
    frame = hourly("2024-03-30", 10, "Europe/Berlin")  # clocks go forward on the 31st
    found = phases(frame, [0, 24, 47, 53], "24h")
    angle = np.arctan2(found[:, 0], found[:, 1])
    assert angle == pytest.approx([0, 0, 0, np.pi / 2], abs=1e-9)
    again = phases(frame.assign(time=frame["time"].dt.tz_convert("UTC")), [0, 1], "24h")
    assert np.arctan2(again[0, 0], again[0, 1]) == pytest.approx(-np.pi / 12)  # 23:00 in UTC


def test_the_clock_shows_what_pandas_says():
    frame = hourly("2024-10-26 13:17", 40, "America/New_York")
    dataset = SeriesDataset.from_frame(frame)
    shown = dataset.axis.wall_clock(dataset.start[np.zeros(40, dtype=int)], dataset.time[::2])
    wall = frame["time"].dt.tz_localize(None)
    assert (pd.to_datetime(shown, unit=dataset.axis.tick) == wall).all()


def test_several_cycles_stand_side_by_side_and_numbers_have_cycles_too():
    frame = pd.DataFrame({"time": [10.0, 11.0, 13.5], "x": [1.0, 2.0, 3.0]})
    found = phases(frame, [0, 1, 3.5], 4, 7.0)
    clock = np.array([10.0, 11.0, 13.5])
    angle = 2 * np.pi * clock[:, None] / np.array([4.0, 7.0])
    assert found == pytest.approx(np.hstack([np.sin(angle), np.cos(angle)]))


@pytest.mark.parametrize("cycles", ["24h", ("24h", "7D"), pd.Timedelta("1D"), (12, "7D"), ()])
def test_cycles_survive_json(cycles):
    schema = Schema(cycles=cycles)
    assert Schema.from_json(schema.to_json()) == schema
    assert isinstance(schema.cycles, tuple)


@pytest.mark.parametrize("cycles", ["often", "0h", "24", -3.0])
def test_a_cycle_that_is_no_duration_is_refused(cycles):
    with pytest.raises(SchemaError, match="cycles"):
        SeriesDataset.from_frame(hourly("2024-03-01"), Schema(cycles=(cycles,)))


def test_a_batch_knows_the_phase_of_each_origin():
    frame, schema = hourly("2024-03-01"), Schema(cycles=("24h",))
    data = IrregularDataModule(frame, schema=schema, task=Forecasting("24h"), windows_per_epoch=16)
    assert data.sizes.n_static == 2
    batch = next(iter(data.train_dataloader()))
    assert batch.static.shape == (16, 2)
    assert batch.static.square().sum(1).numpy() == pytest.approx(np.ones(16))
    assert len(np.unique(batch.static.numpy().round(6), axis=0)) > 4


@pytest.mark.parametrize("layout", ["joint", "per-variable"])
def test_a_shift_by_a_whole_cycle_changes_no_forecast_and_half_a_cycle_does(layout):
    frame = hourly("2024-03-01", 40)
    model = tiny(horizon="12h", context_length="3D", latent=layout).fit(frame, Schema(cycles=("24h",)))
    one, whole, half = (
        model.predict(frame.assign(time=frame["time"] + pd.Timedelta(shift)), "12h", count=3)
        for shift in ("0h", "24h", "12h")
    )
    numbers = ["variable", "mean", "std", "q0.1", "q0.9"]
    same(whole[numbers], one[numbers])
    assert (half["mean"] - one["mean"]).abs().max() > 1e-3


def test_a_saved_model_still_knows_the_clock(tmp_path):
    frame = hourly("2024-03-01", 40)
    model = tiny(horizon="12h", context_length="3D").fit(frame, Schema(cycles=("24h", "7D")))
    model.save(tmp_path)
    again = type(model).load(tmp_path)
    assert again.schema_.cycles == ("24h", "7D")
    same(again.predict(frame, "12h", count=2), model.predict(frame, "12h", count=2))
