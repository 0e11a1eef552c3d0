"""The forecaster on tables of every layout and every type of time."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from making import START, calendar, same, tiny, waves

from latentode import LatentODEForecaster, SchemaError

# --------------------------------------------------------------------------------- layouts


def as_long(frame):
    long = frame.melt(id_vars=["id", "time"], var_name="variable", value_name="value")
    return long.dropna(subset="value", ignore_index=True)


def test_wide_and_long_tables_of_the_same_data_give_the_same_forecast(frame):
    # A row without any value has no counterpart in a long table.
    frame = frame.dropna(subset=["x", "y"], how="all")
    wide, long = tiny().fit(frame), tiny().fit(as_long(frame))
    same(long.predict(as_long(frame), 2.0, 3), wide.predict(frame, 2.0, 3))
    shuffled = as_long(frame).sample(frac=1.0, random_state=0)
    at = pd.DataFrame({"id": ["s1", "s0"], "time": [12.4, 13.0]})
    same(long.predict(shuffled, at), wide.predict(frame, at))


def test_rows_that_hold_no_value_do_not_change_a_forecast(fitted, frame):
    observed = frame.dropna(subset=["x", "y"], how="all")
    assert len(observed) < len(frame)
    at = pd.DataFrame({"id": ["s1", "s0"], "time": [12.4, 13.0]})
    pd.testing.assert_frame_equal(
        fitted.predict(observed, at), fitted.predict(frame, at), rtol=1e-5, atol=1e-5
    )


def test_row_order_and_foreign_columns_do_not_matter(frame, fitted):
    shuffled = frame.sample(frac=1.0, random_state=3).assign(note="text", other=1)
    at = pd.DataFrame({"id": ["s2", "s0"], "time": [13.0, 12.5]})
    same(fitted.predict(shuffled, at), fitted.predict(frame, at))


def test_a_table_without_an_identifier_is_one_series(frame):
    one = frame[frame["id"] == "s0"].drop(columns="id")
    model = tiny().fit(one)
    answer = model.predict(one, [12.0, 12.5])
    assert list(answer.columns[:2]) == ["time", "variable"]
    assert len(answer) == 4


# ------------------------------------------------------------------------------ time types


@pytest.mark.parametrize("tz", [None, "UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_calendar_times_come_out_as_they_went_in(tz):
    frame = calendar(START, tz)
    model = tiny(horizon="2h", context_length="6h").fit(frame)
    answer = model.predict(frame, "3h", 3)
    assert answer["time"].dtype == frame["time"].dtype
    last = frame.dropna(subset=["x", "y"], how="all").groupby("id")["time"].max()
    expected = [last[i] + pd.Timedelta(hours=h) for i in ("s0", "s1") for h in (1, 2, 3)]
    assert list(answer["time"][::2]) == expected
    assert np.isfinite(answer["mean"]).all()


def test_the_same_instants_in_another_zone_are_forecast_the_same():
    utc = calendar(START, "UTC")
    berlin = utc.assign(time=utc["time"].dt.tz_convert("Europe/Berlin"))
    model = tiny(horizon="2h", context_length="6h").fit(utc)
    one, other = model.predict(utc, "3h", 3), model.predict(berlin, "3h", 3)
    assert str(other["time"].dt.tz) == "Europe/Berlin"
    np.testing.assert_allclose(one["mean"], other["mean"], rtol=1e-6)


def test_dates_integers_and_floats_come_out_as_they_went_in():
    plain = waves(2, 16)
    days = (plain["time"] * 8).round().astype(int)
    plain = plain.assign(time=days).drop_duplicates(["id", "time"])
    cases = {
        "date": plain.assign(time=[dt.date(2024, 1, 1) + dt.timedelta(days=d) for d in plain["time"]]),
        "integer": plain,
        "float": plain.assign(time=plain["time"].astype(float)),
    }
    means = {}
    for kind, frame in cases.items():
        horizon = "16D" if kind == "date" else 16
        model = tiny(horizon=horizon, context_length="48D" if kind == "date" else 48).fit(frame)
        answer = model.predict(frame, "4D" if kind == "date" else 4, 2)
        assert type(answer["time"].iloc[0]) is type(frame["time"].iloc[0])
        means[kind] = answer["mean"].to_numpy()
    np.testing.assert_allclose(means["date"], means["float"], rtol=1e-5)
    np.testing.assert_allclose(means["integer"], means["float"], rtol=1e-5)


def test_durations_come_out_as_they_went_in_also_of_a_saved_model(tmp_path):
    hours = waves(2, 16)
    frame = hours.assign(time=pd.to_timedelta(hours["time"], unit="h").dt.round("s"))
    model = tiny(horizon="2h", context_length="6h").fit(frame)
    model.save(tmp_path / "model")
    loaded = LatentODEForecaster.load(tmp_path / "model")
    answer = loaded.predict(frame, "3h", 2)
    assert answer["time"].dtype.kind == "m"
    same(answer, model.predict(frame, "3h", 2))
    asked = loaded.predict(frame, at=["30:15:00"])["time"]
    assert set(asked) == {pd.Timedelta("30h 15min")}


def test_a_table_with_another_kind_of_time_is_refused(fitted):
    with pytest.raises(SchemaError, match="trained on float"):
        fitted.predict(calendar(START), "1h")
