"""Tables as a user brings them in the first minute: read as they are meant, said, or refused."""

import numpy as np
import pandas as pd
import pytest

from latentode.data import Schema, SeriesDataset
from latentode.data.plain_tables import read_plain
from latentode.data.report import inspect
from latentode.data.tables.reading import read_columns
from latentode.errors import SchemaError

HOURS = pd.date_range("2024-03-01", periods=96, freq="h")
DAYS = pd.date_range("2024-01-01", periods=80, freq="D")
WAVE = np.round(20 + 3 * np.sin(np.arange(96) / 4), 1)


def read(table, **schema):
    found = read_columns(table, Schema(**schema))
    return found, " ".join(found.notes)


def with_code(values, code):
    values = np.asarray(values, dtype=float).copy()
    values[[5, 17, 18, 40]] = code
    return values


@pytest.mark.parametrize("code", [-1, -9, -99, -999])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_only_negative_number_among_readings_is_pointed_out(code, scale):
    table = pd.DataFrame({"time": HOURS, "ppb": with_code(scale * WAVE + 0.25, code)})
    assert f"column `ppb` holds {code} in 4 rows" in read(table)[1]
    assert f"holds {code} in 4 rows" in read(table, targets=("ppb",), time="time")[1]
    long = table.melt("time", var_name="variable").replace({"variable": {"ppb": "ozone"}})
    cold = pd.DataFrame({"time": HOURS, "variable": "cold", "value": -WAVE * 100})
    assert f"{code} in 4 rows" in (said := read(pd.concat([long, cold]))[1]) and "`ozone`" in said


def test_counts_with_a_code_are_pointed_out_and_temperatures_that_cross_zero_are_not():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"time": HOURS, "calls": with_code(rng.poisson(5, 96), -1)})
    assert "column `calls` holds -1 in 4 rows, its only negative value" in read(table)[1]
    degrees = np.clip(np.round(6 + 7 * np.sin(np.arange(96) / 8)), -1, None)
    assert (degrees == -1).sum() > 4
    assert "holds -1" not in read(table.assign(calls=degrees))[1]
    for plain in (-WAVE, WAVE - 20, np.sign(WAVE - 20), np.where(WAVE > 20, 1.0, -1.0)):
        assert "stands for a missing one" not in read(table.assign(calls=plain))[1]


def turned(day):
    return f"{day:%Y-%d-%m}" if day.day <= 12 else f"{day:%Y-%m-%d}"


@pytest.mark.parametrize("clock", ["", " 08:00:00"])
@pytest.mark.parametrize("step", [1, -1])
def test_days_and_months_that_a_spreadsheet_exchanged_are_pointed_out(clock, step):
    dates = [turned(day) + clock for day in DAYS][::step]
    _, notes = read(pd.DataFrame({"date": dates, "y": np.arange(80.0)}))
    assert "and does not if day and month change places" in notes and "to 2024-0" in notes
    assert "runs through the same times again" not in notes
    right = pd.DataFrame({"date": DAYS.strftime("%Y-%m-%d")[::step], "y": np.arange(80.0)})
    assert "change places" not in read(right)[1]
    shuffled = right.sample(frac=1, random_state=1)
    assert "change places" not in read(shuffled)[1]


@pytest.mark.parametrize("form", ["%Y-%m-%d %I:%M", "%d.%m.%Y %I:%M"])
@pytest.mark.parametrize("step", [1, -1])
def test_a_clock_of_twelve_hours_is_not_to_be_merged(form, step):
    table = pd.DataFrame({"time": HOURS.strftime(form)[::step], "y": WAVE})
    _, notes = read(table)
    assert "from 1 to 12 o'clock twice a day" in notes and "write AM and PM" in notes
    with pytest.raises(SchemaError, match=r"48 rows repeat .*write AM and PM into the times, or hours"):
        SeriesDataset.from_frame(table, Schema())
    assert "a note says what they may be; else remove" in inspect(table).to_text()
    told = table.assign(time=HOURS.strftime(f"{form} %p")[::step])
    assert read(told)[0].table["time"].tolist() == HOURS.tolist()[::step]


def test_repeated_times_in_one_half_of_the_day_are_plain_duplicates():
    for clocks in (["08:00"] * 2, ["01:30", "02:30", "02:30", "03:30"], ["07:00", "13:00"] * 2):
        times = [f"2024-10-27 {clock}" for clock in clocks]
        _, notes = read(pd.DataFrame({"time": times, "y": np.arange(float(len(clocks)))}))
        assert "twice a day" not in notes


def test_what_is_out_of_order_is_left_to_the_long_way():
    dates = pd.to_datetime([turned(day) for day in DAYS])
    table = pd.DataFrame({"date": dates, "y": np.arange(80.0)})
    schema = SeriesDataset.from_frame(table.assign(date=DAYS), Schema()).schema
    assert read_plain(table, schema) is None
    assert read_plain(table.assign(date=DAYS[::-1]), schema) is not None


def test_few_places_in_turn_name_series():
    places = [(52.5, 13.4), (48.1, 11.6), (50.1, 8.7)]
    rows = [
        (hour + pd.Timedelta(minutes=7 * i), *place) for hour in HOURS for i, place in enumerate(places)
    ]
    table = pd.DataFrame(rows, columns=["time", "lat", "lon"]).assign(y=np.arange(288.0))
    assert "few places, to which rows come back in turn" in read(table)[1]
    found, notes = read(table, id="lat+lon")
    assert found.table["lat+lon"].nunique() == 3 and "few places" not in notes
    rng = np.random.default_rng(0)
    moving = table.assign(lat=rng.normal(50, 1, 288), lon=rng.normal(10, 1, 288))
    assert "few places" not in read(moving)[1]


def test_years_of_the_persian_calendar_are_pointed_out():
    dates = [f"1403/01/{day:02}" for day in range(1, 29)]
    assert "such as the Persian" in read(pd.DataFrame({"date": dates, "y": np.arange(28.0)}))[1]
    old = [f"{year}-06-01" for year in range(1400, 1900)]
    assert "Persian" not in read(pd.DataFrame({"date": old, "y": np.arange(500.0)}))[1]
