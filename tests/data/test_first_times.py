"""Times of a first table that are easily misread: read as they are meant, said, or refused."""

import re

import numpy as np
import pandas as pd
import pytest
from first_tables import HOURS, ROWS, WAVE, read, written

from latentode.data import Schema, SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.plain_tables import read_plain
from latentode.data.report import inspect
from latentode.errors import SchemaError

DAYS = pd.date_range("2024-01-01", periods=80, freq="D")


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


def test_years_of_the_persian_calendar_are_pointed_out():
    dates = [f"1403/01/{day:02}" for day in range(1, 29)]
    assert "such as the Persian" in read(pd.DataFrame({"date": dates, "y": np.arange(28.0)}))[1]
    old = [f"{year}-06-01" for year in range(1400, 1900)]
    assert "Persian" not in read(pd.DataFrame({"date": old, "y": np.arange(500.0)}))[1]


def visits(cells):
    n = len(cells)
    return pd.DataFrame(
        {"subject": np.repeat(list("abc"), n), "visit": cells * 3, "y": np.arange(3.0 * n)}
    )


@pytest.mark.parametrize(
    ("form", "days"),
    [
        ("Week {}", 7),
        ("WEEK{}", 7),
        ("Visit Week {}", 7),
        ("Day {}", 1),
        ("{} days", 1),
        ("{} weeks", 7),
        ("Woche {}", 7),
        ("Hour {}", 1 / 24),
        ("Semana {}", 7),
    ],
)
def test_visits_that_count_weeks_or_days_are_times(form, days):
    table = visits([form.format(number) for number in (0, 2, 4, 12)])
    found, notes = read(table)
    assert (found.schema.time, found.schema.id, found.axis.kind) == ("visit", "subject", "elapsed")
    assert "is taken for the times" in notes and "'elapsed'" in notes
    numbers = found.table["visit"].dt.total_seconds() / 86_400 / days
    assert numbers.tolist() == [0, 2, 4, 12] * 3
    later, _ = read(visits([form.format(16), "3 days"]), **{"time": "visit", "time_format": "elapsed"})
    assert later.table["visit"].iloc[1] == pd.Timedelta("3D")
    assert found.axis.parse(pd.Series([form.format(16)]), "at").iloc[0] == pd.Timedelta(days=16 * days)


def test_single_letters_count_where_the_column_is_named():
    table = visits(["W0", "W4", "W8"])
    with pytest.raises(SchemaError, match="no time column"):  # which may be codes
        read(table)
    assert read(table, time="visit")[0].table["visit"].iloc[2] == pd.Timedelta("56D")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["Month 1", "Month 2"],
            "'Month 1' at row 0, and months are not all of one length; write dates",
        ),
        (["Year 1", "Year 2"], "and years are not all of one length"),
        (
            ["Day 1", "Day 7", "Week 2"],
            "'Week 2' at row 2 beside 'Day 1'; write all of them in one unit",
        ),
        (
            ["Baseline", "Week 2", "Week 4"],
            "'Baseline' at row 0, where most cells are written as 'Week 2'",
        ),
    ],
)
def test_visits_that_are_no_times_are_refused_with_what_to_write(cells, said):
    with pytest.raises(SchemaError, match=said):
        read(visits(cells))


ARABIC, PERSIAN = "٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹"


@pytest.mark.parametrize("digits", [ARABIC, PERSIAN, "०१२३४५६७८९", "０１２３４５６７８９"])
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M"])
def test_digits_of_other_scripts_are_read_in_times_too(digits, form, tmp_path):
    other = str.maketrans("0123456789", digits)
    cells = [hour.strftime(form).translate(other) for hour in HOURS]
    values = [str(value).translate(other).replace(".", "٫") for value in WAVE]
    text = "time,x\n" + "".join(f"{t},{v}\n" for t, v in zip(cells, values, strict=True))
    found, _ = read(read_table(written(tmp_path / "a.csv", text)))
    assert found.table["time"].tolist() == HOURS.tolist() and found.table["x"].tolist() == WAVE.tolist()


@pytest.mark.parametrize("digits", ["0123456789", PERSIAN])
def test_a_day_that_only_another_calendar_has_is_said_to_be_of_one(digits):
    days = [f"1403/{1 + i // 31:02}/{1 + i % 31:02}" for i in range(62)]
    cells = [day.translate(str.maketrans("0123456789", digits)) for day in days]
    with pytest.raises(
        SchemaError, match="write it in the Gregorian calendar if its year is a Persian"
    ):
        read(pd.DataFrame({"date": cells, "y": np.arange(62.0)}))


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


WIDE = {
    "years": (["country"], ["2019", "2020", "2021"], "year"),
    "years and their codes": (["country"], [f"{y} [YR{y}]" for y in (2000, 2001, 2002)], "year"),
    "years of R": (["country"], ["X1990", "X1991", "X1992"], "year"),
    "years of the FAO": (["Area", "Unit"], ["Y1990", "Y1991", "Y1992"], "year"),
    "months": (["year"], MONTHS, "year+month"),
    "quarters": (["year"], ["Q1", "Q2", "Q3", "Q4"], "year+quarter"),
    "quarters of years": (["country"], ["Q1 2000", "Q2 2000", "Q3 2000", "Q4 2000"], "time"),
    "quarters behind years": (["country"], ["2000-Q1", "2000-Q2", "2000-Q3", "2000-Q4"], "time"),
    "days": (["country"], ["1/22/20", "1/23/20", "1/24/20"], "time"),
    "days of R": (["country"], ["X2020.01.22", "X2020.01.23", "X2020.01.24"], "time"),
    "months of years": (["country"], ["2024-01", "2024-02", "2024-03"], "time"),
    "times of day": (["date"], ["00:00", "00:30", "01:00"], "time"),
    "hours": (["meter", "date"], [f"H{i}" for i in range(1, 25)], "hour"),
}


KEYS = {
    "country": ["DE", "FR"], "Area": ["DE", "FR"], "Unit": ["t", "t"], "meter": ["a", "b"],
    "year": [2001, 2002], "date": ["2024-01-01", "2024-01-02"],
}  # fmt: skip


@pytest.mark.parametrize("kind", WIDE)
def test_what_is_advised_of_times_for_columns_reads_them(kind):
    keys, names, timed = WIDE[kind]
    columns = {name: [i + 0.5, i + 7] for i, name in enumerate(names)}
    frame = pd.DataFrame({**{k: KEYS[k] for k in keys}, **columns})
    with pytest.raises(SchemaError, match="called by times") as told:
        read(frame)
    advice = re.search(r"by (rows = .*?); or name those", str(told.value))
    assert advice is not None
    scope = {"pandas": pd, "frame": frame}
    exec(advice[1], scope)
    found, _ = read(scope["rows"])
    assert found.schema.time == timed and found.schema.targets == ("value",)
    assert not found.table.duplicated([c for c in (found.schema.id, found.schema.time) if c]).any()
    assert sorted(found.table["value"]) == sorted(frame[names].to_numpy().ravel())


def test_months_without_a_year_ask_for_it():
    table = pd.DataFrame({"country": ["DE", "FR"], **{month: [1.5, 2.5] for month in MONTHS}})
    with pytest.raises(SchemaError, match="and add a column `year`, since these names have none"):
        read(table)


@pytest.mark.parametrize("kind", ["am", "AM", "a.m."])
def test_halves_of_the_day_in_a_column_of_their_own_are_no_series(kind):
    halves = [kind if hour.hour < 12 else kind.replace("a", "p").replace("A", "P") for hour in HOURS]
    table = pd.DataFrame(
        {"Date": HOURS.strftime("%Y-%m-%d"), "Time": HOURS.strftime("%I:%M"), "half": halves, "x": WAVE}
    )
    with pytest.raises(
        SchemaError, match=r"`half` says which half of the day .*frame\['Time'\] \+ ' '"
    ):
        read(table)
    joined = table.assign(Time=table["Time"] + " " + table["half"]).drop(columns="half")
    found, _ = read(joined)  # as is advised
    assert found.table["Time"].tolist() == HOURS.tolist() and found.schema.id is None


@pytest.mark.parametrize("form", ["%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"])
@pytest.mark.parametrize("sign", [" - ", " – ", "/"])
def test_of_intervals_in_one_column_the_begin_is_the_time(form, sign):
    ends = HOURS + pd.Timedelta("1h")
    cells = [f"{a:{form}}{sign}{b:{form}}" for a, b in zip(HOURS, ends, strict=True)]
    found, notes = read(pd.DataFrame({"MTU (CET/CEST)": cells, "load": WAVE}))
    assert found.table["MTU (CET/CEST)"].tolist() == HOURS.tolist() and "'interval'" in notes
    later, _ = read(pd.DataFrame({"t": cells[:3], "load": WAVE[:3]}), time="t", time_format="interval")
    assert later.table["t"].tolist() == HOURS[:3].tolist()


def test_a_comma_stands_before_fractions_in_every_form():
    cells = [f"{hour:%d.%m.%Y %H:%M:%S},250" for hour in HOURS]
    found, _ = read(pd.DataFrame({"time": cells, "x": WAVE}))
    assert (found.table["time"] - HOURS == pd.Timedelta("250ms")).all()


def test_names_of_rows_that_are_times_are_the_times(tmp_path):
    days = "".join(f'"{t[:10]}" {v} 7\n' for t, v in ROWS[::24])
    found, _ = read(read_table(written(tmp_path / "xts.txt", f'"x" "z"\n{days}')))
    assert found.table["x"].tolist() == WAVE[::24].tolist()
    head = "      " + "  ".join(MONTHS)
    text = (
        head
        + "\n"
        + "".join(f"{y} " + " ".join(str(y + m) for m in range(12)) + "\n" for y in (1949, 1950))
    )
    with pytest.raises(SchemaError, match=r"pandas\.melt\(frame, \['year'\], var_name='month'"):
        read(read_table(written(tmp_path / "ts.txt", text)))


@pytest.mark.parametrize(("unit", "size"), [("s", 1), ("ms", 1000)])
def test_what_is_counted_since_1960_is_said_to_be(unit, size):
    since = (HOURS - pd.Timestamp("1960-01-01")).total_seconds().to_numpy() * size
    table = pd.DataFrame({"time": since.astype(np.int64), "x": WAVE})
    advice = f"time_format='{unit} since 1960-01-01' if they are counted since 1960"
    assert advice in read(table)[1]
    found, _ = read(table, time_format=f"{unit} since 1960-01-01")
    assert found.table["time"].tolist() == HOURS.tolist()


def test_where_times_may_be_is_said():
    tables = {
        "column1": {"column1": (HOURS.asi8 // 10**9).astype(np.int64) // 10**3, "column2": WAVE},
        "hours_from_dose": {"hours_from_dose": np.arange(96.0), "conc": WAVE},
        "R.Time (min)": {"R.Time (min)": np.arange(96) / 7, "Intensity": WAVE},
        "datenum": {"datenum": 739_312 + np.arange(96) / 24, "x": WAVE},
    }
    tables["column1"]["column1"] = [int(hour.timestamp()) for hour in HOURS]
    for name, columns in tables.items():
        with pytest.raises(SchemaError, match=re.escape(f"name it, maybe `{name}`, with time=")):
            read(pd.DataFrame(columns))
        assert read(pd.DataFrame(columns), time=name)[0].schema.time == name


@pytest.mark.parametrize("hour", [True, False])
def test_a_temperature_called_t_is_no_time_beside_dates_that_are_numbers(hour):
    dates = [20240314 + n for n in range(4)]
    frame = pd.DataFrame({"YYYYMMDD": dates, "T": [100, 103, 99, 110], "FH": [30, 31, 32, 33]})
    if hour:
        frame.insert(1, "HH", [1, 2, 3, 4])
    read = SeriesDataset.from_frame(frame, Schema())
    assert {"T", "FH"} <= set(read.schema.targets) and "YYYYMMDD" not in read.schema.targets
    assert read.axis.is_calendar
    counted = frame.rename(columns={"YYYYMMDD": "n"}).assign(n=[5, 6, 7, 9])
    assert (
        SeriesDataset.from_frame(counted.drop(columns="HH", errors="ignore"), Schema()).schema.time
        == "T"
    )
