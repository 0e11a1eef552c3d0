"""Weather: small samples in the formats of the archives, flags and missing codes and all."""

import io

import numpy as np
import pandas as pd
import pytest

from latentode import SchemaError, SeriesDataset
from latentode.adapters.weather import ghcn_daily, global_hourly, hurdat2, station_table

BLANK = "-9999   "


def dly(station, month, element, days, length=31):
    """A line of a .dly file: `days` maps a day to its value and its flags m, q, s."""
    slots = [BLANK] * 31
    for day, (value, flags) in days.items():
        slots[day - 1] = f"{value:>5}{flags:<3}"
    return f"{station}{month}{element}" + "".join(slots[:length])


STATION = "USW00094728"
LINES = [
    dly(STATION, "202402", "TMAX", {1: (83, "  W"), 2: (999, " XW"), 29: (-17, "  W")}),
    dly(STATION, "202402", "PRCP", {1: (3, "T W"), 2: (0, "  W")}).rstrip(),
    dly(STATION, "202402", "SNOW", {1: (12, "  W")}),
    dly(STATION, "202402", "WT01", {1: (1, "  W")}),
    dly("USC00305801", "202402", "TMAX", {1: (11, "  7")}),
]


def messages(told):
    return "; ".join(str(w.message) for w in told)


def test_fixed_width_daily_records():
    with pytest.warns(UserWarning) as told:
        frame, schema = ghcn_daily(io.StringIO("\n".join(LINES) + "\n\n"))
    rows = frame.set_index(["station", "time"]).sort_index()
    assert schema.targets == ("PRCP", "SNOW", "TMAX") and schema.time_unit == "D"
    first = rows.loc[(STATION, pd.Timestamp("2024-02-01"))]
    assert first.to_dict() == {"PRCP": 0.3, "SNOW": 12.0, "TMAX": 8.3}
    assert np.isnan(rows.loc[(STATION, pd.Timestamp("2024-02-02")), "TMAX"])
    assert rows.loc[(STATION, pd.Timestamp("2024-02-29")), "TMAX"] == -1.7
    assert rows.loc[("USC00305801", pd.Timestamp("2024-02-01")), "TMAX"] == 1.1
    assert "1 values that failed a check of quality left out" in messages(told)
    assert "1 values of other elements left out: WT01 (elements=)" in messages(told)
    everything, _ = ghcn_daily(io.StringIO("\n".join(LINES)), elements=None, flagged=True)
    assert everything["TMAX"].max() == 99.9 and everything["WT01"].max() == 1
    assert len(SeriesDataset.from_frame(frame, schema).ids) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINES[0].replace("   83", "  8.3"), r"line 2: VALUE1 \(columns 22-26\) is '8.3', not a whole"),
        (
            dly(STATION, "202402", "TMAX", {30: (5, "")}),
            r"line 2: VALUE30 is 5, but 2024-02 has 29 days",
        ),
        ("some words", r"line 2: 'some words' is no station, year, month and element"),
        (LINES[0].replace("202402", "202413"), r"line 2: .* is no station, year, month"),
        (LINES[0], r"rows repeat another row's .*time=2024-02-01"),
    ],
)
def test_a_wrong_line_of_fixed_width_is_named(line, message):
    with pytest.raises(SchemaError, match=message):
        ghcn_daily(io.StringIO(LINES[0] + "\n" + line))


BY_YEAR = f"""{STATION},20240201,TMAX,83,,,W,2400
{STATION},20240201,PRCP,3,T,,W,2400
{STATION},20240202,TMAX,999,,X,W,
"""
ACCESS = f""""STATION","DATE","LATITUDE","NAME","TMAX","TMAX_ATTRIBUTES","PRCP","PRCP_ATTRIBUTES"
"{STATION}","2024-02-01","40.77898","NY CITY CENTRAL PARK, NY US","   83",",,W","    3","T,,W,2400"
"{STATION}","2024-02-02","40.77898","NY CITY CENTRAL PARK, NY US","  999",",X,W","",""
"""


@pytest.mark.parametrize("header", ["", "ID,DATE,ELEMENT,DATA_VALUE,M_FLAG,Q_FLAG,S_FLAG,OBS_TIME\n"])
def test_daily_records_by_year_and_by_station_agree_with_those_of_access(header):
    with pytest.warns(UserWarning, match="1 values that failed"):
        frame, _ = ghcn_daily(io.StringIO(header + BY_YEAR))
    assert frame[["PRCP", "TMAX"]].to_numpy().tolist() == [[0.3, 8.3]]
    with pytest.warns(UserWarning, match="1 values that failed"):
        other, schema = ghcn_daily(io.StringIO(ACCESS), static_covariates=["LATITUDE"])
    assert other[["station", "PRCP", "TMAX", "LATITUDE"]].to_numpy().tolist() == [
        [STATION, 0.3, 8.3, 40.77898]
    ]
    assert schema.static_covariates == ("LATITUDE",) and schema.targets == ("PRCP", "TMAX")
    with pytest.warns(UserWarning, match="1 values that failed"):
        whole, _ = ghcn_daily(io.StringIO(ACCESS), tenths=False)
    assert whole["TMAX"].tolist() == [83.0]


def test_a_wrong_daily_table_is_named_by_line_and_field():
    with pytest.raises(SchemaError, match=r"`TMAX`: '  8,3' at line 2 is not a number"):
        ghcn_daily(io.StringIO(ACCESS.replace("   83", "  8,3")))
    with pytest.raises(SchemaError, match=r"has no column `ELEMENT`"):
        ghcn_daily(io.StringIO("STATION,DATE,X\na,2024-01-01,1\n"))


ISD = """"STATION","DATE","REPORT_TYPE","WND","TMP","DEW","SLP","OC1"
"72505394728","2024-01-01T00:51:00","FM-15","240,5,N,0031,5","+0067,5","-0011,5","10182,5","0093,5"
"72505394728","2024-01-01T01:00:00","FM-12","999,9,V,0020,1","+0064,1","+9999,9","99999,9",""
"72505394728","2024-01-01T01:51:00","FM-15","999,9,9,9999,9","+0231,3","-0022,5","10180,5",""
"72505394728","2024-01-01T01:51:00","FM-12","999,9,9,9999,9","+9999,9","-0020,5","10182,5",""
"72505394728","2024-01-01T02:51:00","FM-15","999,9,9,9999,9","+9999,9","+9999,9","99999,9",""
"72505394728","2024-01-01T23:59:00","SOD  ","999,9,9,9999,9","+9999,9","+9999,9","99999,9",""
"""


def test_hourly_reports_are_unpacked_and_flags_honoured():
    with pytest.warns(UserWarning) as told:
        frame, schema = global_hourly(io.StringIO(ISD))
    assert str(frame["time"].dt.tz) == "UTC" and len(frame) == 3
    values = frame[list(schema.targets)]
    expected = [[6.7, -1.1, 1018.2, 3.1], [6.4, np.nan, np.nan, 2.0], [np.nan, -2.1, 1018.1, np.nan]]
    np.testing.assert_allclose(values.to_numpy(), expected)
    assert frame["station"].tolist()[0] == "72505394728"
    assert "1 reports of other kinds, such as daily summaries" in messages(told)
    assert "1 values of temperature of other quality codes left out (quality=)" in messages(told)
    assert "1 reports without any of the variables left out" in messages(told)
    assert "1 rows of the same series and time merged" in messages(told)


def test_other_variables_codes_and_reports_can_be_chosen():
    with pytest.warns(UserWarning):
        frame, _ = global_hourly(io.StringIO(ISD), ["gust", "wind_direction"])
    assert frame["gust"].tolist() == [9.3] and frame["wind_direction"].tolist() == [240.0]
    with pytest.warns(UserWarning):
        frame, _ = global_hourly(io.StringIO(ISD), ["temperature"], quality=["1", "3", "5"])
    assert frame["temperature"].tolist() == [6.7, 6.4, 23.1]
    with pytest.raises(SchemaError, match=r"variable 'rain' is unknown; choose from temperature"):
        global_hourly(io.StringIO(ISD), ["rain"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("+0067,5", "+0067", r"`TMP`: '\+0067' at line 2 has fewer parts than ISD writes"),
        ("+0067,5", "warm,5", r"`TMP`: 'warm,5' at line 2 has no number of temperature in part 1"),
        ("T00:51:00", "T25:51:00", r"`DATE` holds '2024-01-01T25:51:00' at line 2"),
        ('"SLP"', '"PRESSURE"', r"has no column `SLP`"),
    ],
)
def test_a_wrong_hourly_file_is_named_by_line_and_field(old, new, message):
    with pytest.raises(SchemaError, match=message):
        global_hourly(io.StringIO(ISD.replace(old, new, 1)))


METAR = """#DEBUG: Format Typ    -> onlycomma
station,valid,tmpf,p01i,skyc1
JFK,2024-11-03 00:51,50.0,M,CLR
JFK,2024-11-03 01:51,49.0,T,CLR
JFK,2024-11-03 01:51,48.0,0.02,OVC
JFK,2024-11-03 02:51,M,0.00,OVC
"""


def test_a_table_of_reports_keeps_both_passes_of_the_hour_that_comes_twice():
    with pytest.warns(UserWarning) as told:
        frame, schema = station_table(io.StringIO(METAR), timezone="America/New_York")
    assert frame["time"].dt.tz_convert("UTC").dt.hour.tolist() == [4, 5, 6, 7]
    assert frame["tmpf"].tolist()[:3] == [50, 49, 48] and np.isnan(frame["tmpf"].tolist()[3])
    assert np.isnan(frame["p01i"].tolist()[0]) and frame["p01i"].tolist()[1:] == [0, 0.02, 0]
    assert schema.targets == ("tmpf", "p01i") and schema.id == "station"
    assert "1 traces (T) of `p01i` taken as 0 (trace=)" in messages(told)
    with pytest.warns(UserWarning, match="1 rows of the same series and time merged"):
        utc, _ = station_table(io.StringIO(METAR), trace=None)
    assert utc["p01i"].tolist()[1] == 0.02


def test_times_in_parts_and_missing_gusts():
    text = "origin,year,month,day,hour,temp,wind_gust\n"
    text += "EWR,2013,1,1,1,39.02,NA\nEWR,2013,1,1,2,39.02,20.7\n"
    frame, schema = station_table(
        io.StringIO(text), time=["year", "month", "day", "hour"], timezone="America/New_York"
    )
    assert schema.targets == ("temp", "wind_gust") and frame["time"].dt.hour.tolist() == [1, 2]
    parts = ["year", "month", "day", "hour"]
    with pytest.raises(SchemaError, match=r"`hour`: '25' at line 3 is no whole hour"):
        station_table(io.StringIO(text.replace("1,2,39", "1,25,39")), time=parts)
    with pytest.raises(SchemaError, match=r"`hour`: line 3 makes no date with the columns before it"):
        station_table(io.StringIO(text.replace("1,1,2,39", "2,30,2,39")), time=parts)
    with pytest.raises(SchemaError, match=r"`temp`: 'warm' at line 3 is not a number"):
        station_table(
            io.StringIO(text.replace("2,39.02", "2,warm") + "EWR,2013,1,1,3,38,1\n"),
            time=["year", "month", "day", "hour"],
        )


TRACKS = """AL092011,              IRENE,     2,
20110828, 0935, L, TS, 39.4N,  74.4W,  60,  959,  230,  280,  160,  110,  150,  150,   80,   30,    0,    0,    0,    0,
20110828, 1200,  , TS, 40.3N,  74.1W,  55, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999, -999,
CP012006,               IOKE,     3,
20060901, 0000,  , HU, 19.5N, 179.8W, 115,  935,
20060901, 0600,  , HU, 19.9N, 179.9E, 115,  935,
20060901, 1200,  , HU, 20.1N, 179.1E, -99,  935,
"""  # noqa: E501


def test_best_tracks_have_signs_missing_codes_and_no_jump_at_the_date_line():
    frame, schema = hurdat2(io.StringIO(TRACKS))
    assert frame["id"].unique().tolist() == ["AL092011", "CP012006"]
    assert frame["name"].tolist()[0] == "IRENE" and frame["record"].tolist()[0] == "L"
    assert str(frame["time"].tolist()[0]) == "2011-08-28 09:35:00+00:00"
    assert frame["longitude"].tolist() == pytest.approx([-74.4, -74.1, -179.8, -180.1, -180.9])
    assert frame["pressure"].isna().tolist() == [False, True, False, False, False]
    assert frame["wind"].isna().tolist() == [False, False, False, False, True]
    assert schema.targets == ("latitude", "longitude", "wind", "pressure")
    plain, wide = hurdat2(io.StringIO(TRACKS), unwrap=False, radii=True)
    assert plain["longitude"].tolist()[3] == 179.9
    assert len(wide.targets) == 16 and plain["r34_se"].tolist()[0] == 280


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("39.4N", "39.4", r"line 2: latitude is '39.4', not degrees and N or S"),
        ("IRENE,     2", "IRENE,     3", r"line 1 counts 3 fixes of AL092011, but 2 follow"),
        ("IOKE,     3", "IOKE,     2", r"line 4 counts 2 fixes of CP012006, but more than 2 follow"),
        ("20110828, 0935", "20110828, 2535", r"line 2: date and time are '20110828' and '2535'"),
        (" 60,  959", " 6O,  959", r"line 2: wind is '6O', not a whole number"),
        ("AL092011,", "IRENE,", r"line 1 reads .* where the header of a storm belongs"),
        ("179.1E, -99,  935,", "179.1E", r"line 7 has 6 fields where a fix has at least 8"),
    ],
)
def test_a_wrong_track_is_named_by_line_and_field(old, new, message):
    with pytest.raises(SchemaError, match=message):
        hurdat2(io.StringIO(TRACKS.replace(old, new, 1)))
