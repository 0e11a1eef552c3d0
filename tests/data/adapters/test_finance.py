"""Finance: clocks of exchanges, times of publication, logarithms and back."""

import io

import numpy as np
import pandas as pd
import pytest

from latentode import Schema, SchemaError, SeriesDataset
from latentode.adapters.finance import (
    bars,
    from_log_prices,
    from_log_returns,
    log_prices,
    log_returns,
    macro,
    quotes,
)

SPX = "Date,Open,Close\n2024-03-08,5164.46,5123.69\n2024-03-11,5111.96,5117.94\n"
NKY = "Date,Open,Close\n2024-03-08,39809.51,39688.94\n2024-03-11,-,38820.49\n2024-03-20,null,-\n"
ZONES = {"SPX": "America/New_York", "NKY": "Asia/Tokyo"}


def utc(frame):
    return frame["time"].dt.strftime("%m-%d %H:%M").tolist()


def test_each_instrument_keeps_its_calendar_and_its_clock():
    files = {"SPX": io.StringIO(SPX), "NKY": io.StringIO(NKY)}
    with pytest.warns(UserWarning, match="1 rows without any of the fields left out"):
        frame, schema = bars(files, ["Close"], timezone=ZONES, closes={"SPX": "16:00", "NKY": "15:00"})
    # In New York the clocks were set forward between the two days.
    assert utc(frame) == ["03-08 21:00", "03-11 20:00", "03-08 06:00", "03-11 06:00"]
    assert frame["symbol"].tolist() == ["SPX", "SPX", "NKY", "NKY"]
    assert schema.id == "symbol" and schema.targets == ("Close",)
    assert len(SeriesDataset.from_frame(frame, schema).ids) == 2


def test_a_date_without_a_close_is_known_at_the_end_of_its_day_and_a_bar_at_its_end():
    frame, schema = bars(io.StringIO(SPX), timezone="America/New_York")
    assert utc(frame) == ["03-09 05:00", "03-12 04:00"] and schema.id is None
    text = "timestamp,close\n2024-11-03 01:55,1.0\n2024-11-03 01:00,1.1\n2024-11-03 09:30,1.2\n"
    with pytest.warns(UserWarning, match="2 times .* passed twice, 1 of them"):
        intraday, _ = bars(io.StringIO(text), timezone="America/New_York", length="5min")
    assert utc(intraday) == ["11-03 06:00", "11-03 06:05", "11-03 14:35"]
    naive, _ = bars(io.StringIO(SPX))
    assert naive["time"].dt.tz is None and utc(naive) == ["03-08 00:00", "03-11 00:00"]


def test_years_of_two_digits_and_separators_of_thousands():
    text = 'Date,Close\n"31-Dec-99","1,469.25"\n"3-Jan-00","1,455.22"\n'
    frame, _ = bars(io.StringIO(text), time_format="%d-%b-%y", thousands=",")
    assert frame["time"].dt.year.tolist() == [1999, 2000] and frame["close"].tolist()[0] == 1469.25
    with pytest.raises(
        SchemaError, match=r"'3-Jan-67' at line 3 has a year of two digits that would lie"
    ):
        bars(io.StringIO(text.replace("Jan-00", "Jan-67")), time_format="%d-%b-%y", thousands=",")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timezone": {"SPX": "America/New_York"}}, r"timezone= says nothing of NKY; add it"),
        ({"timezone": ZONES, "closes": {"NKY": "15:00"}}, r"closes= says nothing of SPX"),
        ({"timezone": ZONES, "closes": "four"}, r"closes 'four' is not understood; write '16:00'"),
        ({"fields": ["volume"]}, r"has no column `volume`; its columns are .*name it with fields="),
    ],
)
def test_what_bars_lack_is_said(options, message):
    files = {"SPX": io.StringIO(SPX), "NKY": io.StringIO(NKY[:60])}
    with pytest.raises(SchemaError, match=message):
        bars(files, **options)


def test_quotes_become_mids_and_spreads():
    text = (
        "symbol,timestamp,bid,ask\nA,1704465000000000001,9.9,10.1\nA,1704465000000000002,10.2,10.1\n"
        "A,1704465000000000003,0,10.1\nA,1704465000000000004,9.8,10.2\nA,1704465000000000004,9.9,10.3\n"
    )
    with pytest.warns(UserWarning) as told:
        frame, schema = quotes(io.StringIO(text), epoch="ns")
    assert frame["mid"].tolist() == pytest.approx([10.0, 10.1])
    assert frame["time"].dt.nanosecond.tolist() == [1, 4]
    assert schema.targets == ("mid", "spread") and schema.id == "symbol"
    words = str(told[0].message)
    assert "1 quotes without a price on both sides" in words
    assert "1 quotes whose bid is above the ask" in words
    assert "1 rows of the same series and time merged" in words
    with pytest.raises(SchemaError, match=r"'noon' at line 2 is no whole number of ns since 1970"):
        quotes(io.StringIO(text.replace("1704465000000000001", "noon")), epoch="ns")


WTI = "DATE,DCOILWTICO\n2024-01-02,70.62\n2024-01-03,.\n2024-01-04,72.44\n"
CPI = "DATE,CPILFESL\n2023-12-01,313.216\n2024-01-01,314.438\n"


def test_series_of_several_rates_stand_at_their_publication():
    files = {"oil": io.StringIO(WTI), "prices": io.StringIO(CPI)}
    with pytest.warns(UserWarning, match="1 periods without a value of DCOILWTICO"):
        frame, schema = macro(files, available_at={"DCOILWTICO": "1D", "CPILFESL": "43D"})
    assert frame["time"].dt.strftime("%m-%d").tolist() == ["01-03", "01-05", "01-13", "02-13"]
    assert frame["variable"].tolist() == ["DCOILWTICO"] * 2 + ["CPILFESL"] * 2
    assert (frame["time"] > frame["period"]).all()
    assert schema.layout == "long" and schema.targets == ("CPILFESL", "DCOILWTICO")


def test_without_publication_times_a_value_stands_at_the_end_of_its_period_and_that_is_said():
    with pytest.warns(UserWarning, match="2 values of CPILFESL stand at the end of their period"):
        frame, _ = macro(io.StringIO(CPI))
    assert frame["time"].dt.strftime("%Y-%m-%d").tolist() == ["2024-01-01", "2024-02-01"]


def test_publications_can_be_a_column_or_a_function():
    text = "date,realtime_start,CPI\n2023-11-01,2024-01-11,1.0\n2023-12-01,2024-01-11,2.0\n"
    text += "2024-01-01,2024-02-13,3.0\n"
    with pytest.warns(UserWarning, match="1 values left out that were published together"):
        frame, _ = macro(io.StringIO(text), available_at="realtime_start")
    assert frame["value"].tolist() == [2.0, 3.0] and frame["variable"].unique().tolist() == ["CPI"]
    late, _ = macro(io.StringIO(CPI), available_at=lambda date: date + pd.DateOffset(months=1, days=12))
    assert late["time"].dt.strftime("%m-%d").tolist() == ["01-13", "02-13"]
    with pytest.raises(
        SchemaError, match=r"CPILFESL of line 2 would be known before its period begins"
    ):
        macro(io.StringIO(CPI), available_at="-1D")
    with pytest.raises(SchemaError, match=r"'soon' is neither a column of .* nor a duration"):
        macro(io.StringIO(CPI), available_at="soon")
    with pytest.raises(SchemaError, match=r"`CPILFESL`: '31x' at line 2 is not a number"):
        macro(io.StringIO(CPI.replace("313.216", "31x")), available_at="1D")


def test_returns_add_up_to_the_prices_that_they_came_from():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"id": ["a", "b"] * 20, "time": random.permutation(40)})
    frame["close"] = np.exp(random.normal(size=40))
    frame.loc[random.choice(40, 6, replace=False), "close"] = np.nan
    schema = Schema(id="id", time="time", targets=("close",), layout="wide")
    returns, _ = log_returns(frame, schema)
    ordered = frame.sort_values("time").dropna()
    start = ordered.groupby("id")["close"].first().to_dict()
    prices = from_log_returns(returns, schema, start)
    first = ordered.groupby("id").head(1).index
    expected = frame["close"].where(~frame.index.isin(first))
    assert (prices["close"].isna() == expected.isna()).all()
    np.testing.assert_allclose(prices["close"].dropna(), expected.dropna(), rtol=1e-12)


def test_a_long_table_is_transformed_variable_by_variable():
    frame = pd.DataFrame(
        {"time": [0, 0, 1, 1], "variable": ["p", "x"] * 2, "value": [1.0, -5.0, np.e, -6.0]}
    )
    schema = Schema(time="time", variable="variable", value="value", layout="long")
    logs, _ = log_prices(frame, schema, ["p"])
    assert logs["value"].tolist() == [0.0, -5.0, 1.0, -6.0]
    returns, _ = log_returns(frame, schema, ["p"])
    assert returns["value"].tolist()[1:] == [-5.0, 1.0, -6.0]
    with pytest.raises(
        SchemaError, match=r"`value`: -5.0 at row 1 is not above 0 and has no logarithm"
    ):
        log_prices(frame, schema)
    with pytest.raises(SchemaError, match=r"variable `q` is no target"):
        log_prices(frame, schema, ["q"])


def test_forecasts_of_logs_become_those_of_a_log_normal_price():
    random = np.random.default_rng(1)
    logs = random.normal(1.0, 0.3, 400_000)
    answer = pd.DataFrame(
        {"variable": ["p", "x"], "mean": [1.0, 1.0], "std": [0.3, 0.3], "q0.9": np.quantile(logs, 0.9)}
    )
    price = from_log_prices(answer, ["p"])
    sample = np.exp(logs)
    assert price["mean"][0] == pytest.approx(sample.mean(), rel=2e-3)
    assert price["std"][0] == pytest.approx(sample.std(), rel=1e-2)
    assert price["q0.9"][0] == pytest.approx(np.quantile(sample, 0.9), rel=1e-9)
    pd.testing.assert_series_equal(price.loc[1], answer.loc[1])
