"""Tables that are easily misread: hours, labels, codes and pivots, each read as meant or refused."""

import re

import numpy as np
import pandas as pd
import pytest

from latentode.data import Schema, SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.report import inspect
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.reading import read_columns
from latentode.errors import SchemaError

DAYS = ["2024-03-01", "2024-03-01", "2024-03-02", "2024-03-02"]


def columns_of(**columns):
    return pd.DataFrame({"date": DAYS, **columns, "y": [1.5, 2.5, 3.5, 4.5]})


def read(table, **schema):
    found = read_columns(table, Schema(**schema))
    return found, " ".join(found.notes)


@pytest.mark.parametrize("name", ["hour", "Hour Ending", "HE", "Stunde", "hora"])
@pytest.mark.parametrize("named", [False, True])
def test_hours_beside_a_date_are_hours(name, named):
    table = columns_of(**{name: [6, 24, 1, 7]})
    found, _ = read(table, **({"time": name, "date": "date"} if named else {}))
    times = found.table[found.schema.time]
    assert times.dt.hour.tolist() == [6, 0, 1, 7] and times.dt.day.tolist() == [1, 2, 2, 2]


def test_numbers_below_a_hundred_are_no_times_of_day_unless_they_are_called_hours():
    for numbers in ([0, 6, 12, 18], [1, 48, 1, 48]):
        with pytest.raises(SchemaError, match="which may be hours, minutes or numbers of intervals"):
            read(columns_of(time=numbers), time="time", date="date")
    found, _ = read(columns_of(time=[0, 600, 15, 1800]), time="time", date="date")
    assert found.table["time"].iloc[2] == pd.Timestamp("2024-03-02 00:15")


@pytest.mark.parametrize("label", ["NO", "On", "n", "si", "Ja"])
def test_a_label_that_means_yes_or_no_in_some_language_is_a_label_where_it_stands_alone(label):
    found, _ = read(pd.DataFrame({"time": [1, 2, 3], "country": label, "y": [1.5, 2.5, 3.5]}))
    assert found.schema.targets == ("y",)
    both = pd.DataFrame({"time": [1, 2, 3], "x": ["no", "yes", "no"], "y": [1.5, 2.5, 3.5]})
    again = read(both)[0]
    assert again.schema.targets == ("x", "y")
    later, _ = read(both.assign(x="no"), **{"targets": ("x", "y"), "time": "time"})
    assert later.table["x"].tolist() == [0, 0, 0]


def test_one_label_beside_empty_cells_is_pointed_out():
    table = pd.DataFrame({"time": range(4), "region": [None, "EU", None, "EU"], "y": [1.0, 2, 3, 5]})
    found, notes = read(table)
    assert found.schema.targets == ("y",) and "looks like data: `region`" in notes


@pytest.mark.parametrize(
    "cells", [[" -999", "15", "-999.0"], [" n/e", "15", "n/e "], ["-999", "1.5", "-999"]]
)
def test_what_stands_for_a_missing_cell_may_be_padded(cells, tmp_path):
    path, code = tmp_path / "table.csv", "n/e" if "n/e" in cells[0] else "-999"
    path.write_text("time,y\n" + "".join(f"2024-03-0{i + 1},{cell}\n" for i, cell in enumerate(cells)))
    table = read_table(path, file_format=FileFormat(na_values=(code,)))
    assert SeriesDataset.from_frame(table, Schema()).value.tolist() == [float(cells[1])]


PIVOTS = {
    "times of day": ["00:00", "00:30", "01:00"],
    "hours": [f"H{i:02}" for i in range(24)],
    "months": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    "months in Spanish": ["enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto",
                          "septiembre", "octubre", "noviembre", "diciembre"],
    "years": ["2000", "2001", "2002"],
    "days": ["1/22/20", "1/23/20", "1/24/20"],
    "months of years": ["2024-01", "2024-02", "2024-03"],
    "quarters": ["Q1", "Q2", "Q3", "Q4"],
}  # fmt: skip


@pytest.mark.parametrize("kind", PIVOTS)
def test_times_for_columns_are_refused_unless_they_are_named(kind):
    names = PIVOTS[kind]
    table = pd.DataFrame({"time": [1, 2, 3], **{name: [1.5, 2.5, 3.0] for name in names}})
    with pytest.raises(SchemaError, match=rf"called by times, such as `{names[0]}`.*pandas\.melt"):
        read(table)
    assert read(table, targets=tuple(names))[0].schema.targets == tuple(names)


def test_names_that_only_remind_of_times_are_variables():
    names = ["H1", "H2", "may", "mar", "Q1", "x:10", "2000"]
    found, _ = read(pd.DataFrame({"time": [1, 2], **{name: [1.5, 2.5] for name in names}}))
    assert found.schema.targets == tuple(names)


def test_numbers_that_never_change_are_said():
    table = pd.DataFrame({"time": [1, 2, 3], "station_no": 1234567, "y": [1.5, 2.5, 3.5]})
    assert "`station_no`" in read(table)[1]
    assert "never change" not in read(table[["time", "station_no"]], targets=("station_no",))[1]


@pytest.mark.parametrize("form", ["%d %b", "%d.%m.", "%m/%d %H:%M"])
def test_a_format_without_a_year_is_refused(form):
    times = pd.Series(pd.date_range("2024-03-01", periods=3)).dt.strftime(form)
    with pytest.raises(SchemaError, match="has no year; write the year into the cells"):
        read(pd.DataFrame({"time": times, "y": [1.5, 2.5, 3.5]}), time_format=form)


def test_one_amount_in_every_cell_is_a_number_in_its_unit():
    table = pd.DataFrame({"time": [1, 2, 3], "dose": "5 mg", "y": [1.5, 2.5, 3.5]})
    found, notes = read(table)
    assert found.table["dose"].tolist() == [5, 5, 5] and "all are in 'mg'" in notes


def test_commas_in_numbers_alone_are_no_separators(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("time;valore\n3-nov-23;7.761,81 €\n9-dic-23;5.255,86 €\n")
    found, _ = read(read_table(path))
    assert found.table["valore"].tolist() == [7761.81, 5255.86]


@pytest.mark.parametrize(
    ("name", "cell"), [("temp (°C)", "68.1 °F"), ("T [K]", "20 °C"), ("temp (C)", "20 F")]
)
def test_other_degrees_than_a_column_is_named_for_are_refused(name, cell):
    table = pd.DataFrame({"time": [1, 2], name: [cell, cell.replace("0", "1").replace("68", "69")]})
    with pytest.raises(SchemaError, match=r"holds degrees .*convert them"):
        read(table)
    assert read(table.rename(columns={name: f"x (°{cell[-1]})"}))[0].table.shape == (2, 2)


def test_the_longest_duration_is_said():
    _, notes = read(pd.DataFrame({"time": ["0:00", "1:11", "49:42"], "y": [1.5, 2.5, 3.5]}))
    assert "the longest as 2 days 01:42:00" in notes


@pytest.mark.parametrize("odd", ["4,81", "1.2,3"])
def test_the_cell_that_differs_from_the_others_is_named(odd):
    cells = [f"{4 + i / 100:.2f}" for i in range(20)]
    table = pd.DataFrame({"time": range(21), "y": [*cells, odd]})
    with pytest.raises(SchemaError, match=rf"'{odd}' at row 20 is not a number"):
        read(table, targets=("y",))


@pytest.mark.parametrize("odd", ["Ø", "Total", "2024-01-30"])
def test_the_time_that_differs_from_the_others_is_named(odd):
    times = [f"{day:02}.01.2024" for day in range(10, 30)]
    with pytest.raises(SchemaError, match=rf"'{odd}' at row 20, which is not a time in the format %d"):
        read(pd.DataFrame({"time": [*times, odd], "y": range(21)}))


def test_a_date_is_joined_with_when_an_interval_begins():
    days = pd.date_range("2024-03-01", periods=8, freq="6h")
    ends = days + pd.Timedelta("6h")
    table = pd.DataFrame({"Datum": days.strftime("%Y-%m-%d"), "Von": days.strftime("%H:%M"),
                          "Bis": ends.strftime("%H:%M"), "kWh": range(8)})  # fmt: skip
    found, notes = read(table)
    assert found.schema.id is None and found.schema.targets == ("kWh",)
    assert found.table[found.schema.time].tolist() == days.tolist() and "`Bis`" in notes
    # Of several people there is no telling whose day begins when.
    people = pd.DataFrame(
        {"date": DAYS, "bed": ["23:10", "22:40", "21:15", "23:30"], "y": [1.0, 2, 3, 4]}
    )
    assert read(people.assign(patient=list("abab")))[0].schema.time == "date"


@pytest.mark.parametrize("quarters", [[1, 2, 3, 4], ["Q1", "Q2", "Q3", "Q4"]])
def test_years_and_quarters_are_put_together(quarters):
    table = pd.DataFrame({"year": [2000] * 4 + [2001] * 4, "quarter": quarters * 2, "gdp": range(8)})
    found, _ = read(table)
    times = found.table[found.schema.time]
    assert found.schema.id is None and times.dt.month.tolist() == [1, 4, 7, 10] * 2


def test_a_temperature_called_t_is_no_time_beside_parts_of_one():
    table = pd.DataFrame(
        {"Year": 2001, "DOY": [1, 1, 2, 2], "Hr": [1, 2, 1, 2], "T": [5.5, 6.5, 7.5, 8.5]}
    )
    assert read(table)[0].schema.targets == ("T",)
    assert read(table[["T"]].assign(y=1.5))[0].schema.time == "T"


def test_remarks_beside_limits_do_not_make_the_limits_values():
    signs = ["<", "E", "", "<", None, "A"]
    table = pd.DataFrame({"time": range(6), "remark_cd": signs, "y": [0.5, 1.5, 2.5, 0.5, 3.5, 4.5]})
    with pytest.raises(SchemaError, match=r"2 rows that their value is only a limit.*censored="):
        read(table)
    found, notes = read(table, censored="limit")
    assert found.table["y"].iloc[0] == 0.5 and "2 limits" in notes


@pytest.mark.parametrize("cells", [["7h", "9h"] * 2, ["7 h", "9 h"] * 2, ["7h00", "9h00"] * 2])
def test_hours_with_their_letter_are_times_of_day(cells):
    found, _ = read(columns_of(heure=cells))
    times = found.table[found.schema.time]
    assert found.schema.targets == ("y",) and times.dt.hour.tolist() == [7, 9, 7, 9]


@pytest.mark.parametrize("word", ["Sample", "Source:", "Total", "Model"])
def test_a_word_that_only_begins_like_a_day_of_the_week_is_not_dropped(word):
    times = [f"{word} {day} mars 2024" for day in (3, 4, 5)]
    with pytest.raises(SchemaError, match="which is not a time in the format"):
        read(pd.DataFrame({"time": times, "y": [1.5, 2.5, 3.5]}))


HOURS = [0, 6, 12, 18]


@pytest.mark.parametrize(
    "cells",
    [
        [60 * h for h in HOURS],
        [3600 * h for h in HOURS],
        [h / 24 for h in HOURS],
        [round(h / 24, 5) for h in HOURS],
        [100 * h for h in HOURS],
    ],
)
def test_numbers_that_are_no_hours_and_minutes_count_from_midnight(cells):
    table = pd.DataFrame({"date": "2024-03-01", "time": cells, "y": [1.5, 2.5, 3.5, 4.5]})
    found, _ = read(table, time="time", date="date")
    assert found.table["time"].dt.hour.tolist() == HOURS
    for bad in (-1, 86_401):
        with pytest.raises(SchemaError, match=rf"`time` holds {bad} at row 3, which is no time of day"):
            read(table.assign(time=[0, 600, 1200, bad]), time="time", date="date")


@pytest.mark.parametrize(
    ("name", "number", "moment"),
    [
        ("time [s since 2000-01-01]", 86_400, "2000-01-02"),
        ("days since 1850-01-01 00:00:00", 1, "1850-01-02"),
        ("time (hours since 1900-01-01 00:00:0.0)", 25, "1900-01-02 01:00"),
        ("Minutes since 2020-02-28T12:00", 1440, "2020-02-29 12:00"),
        ("ms since 1970-01-01", 1500, "1970-01-01 00:00:01.5"),
        ("days since 1850-01-01", 0.5, "1850-01-01 12:00"),
        ("time [s since 2000-01-01 00:00:00 UTC]", 1, "2000-01-01 00:00:01Z"),
    ],
)
def test_a_column_that_says_since_when_it_counts_holds_times(name, number, moment):
    table = pd.DataFrame({name: [0, number], "y": [1.5, 2.5]})
    found, notes = read(table)
    assert found.table[name].iloc[1] == pd.Timestamp(moment) and "since" in notes
    later, _ = read(table, time=name, time_format=found.axis.form)  # as a fitted model has it
    assert later.table[name].tolist() == found.table[name].tolist()
    plain, _ = read(table, time_format="number", time=name)
    assert plain.table[name].tolist() == [0, number]


def test_what_is_counted_since_no_date_is_a_number():
    found, notes = read(pd.DataFrame({"time [days since admission]": [0, 1], "y": [1.5, 2.5]}))
    assert found.axis.kind == "integer" and not notes
    with pytest.raises(SchemaError, match=r"holds 1e\+300 at row 1, which is not a time in the form"):
        read(pd.DataFrame({"days since 1850-01-01": [0, 1e300], "y": [1.5, 2.5]}))


def test_dates_and_times_of_day_of_several_series_are_joined():
    table = pd.DataFrame(
        {
            "METER": ["71"] * 4 + ["72"] * 4,
            "DATE": DAYS * 2,
            "START TIME": ["00:00", "12:00"] * 4,
            "END TIME": ["11:59", "23:59"] * 4,
            "kWh": range(8),
        }
    )
    found, notes = read(table)
    assert found.schema.id == "METER" and found.schema.date == "DATE" and "`END TIME`" in notes
    assert found.table["START TIME"].dt.hour.tolist() == [0, 12] * 4


@pytest.mark.parametrize("name", ["unit", "units", "uom"])
def test_a_variable_in_two_units_is_no_two_series(name):
    table = pd.DataFrame({"time": range(6), name: list("CCCFFF"), "y": [1.5, 2, 2.5, 50, 51, 52]})
    with pytest.raises(SchemaError, match=r"in 'F' at row 3.*in 'C' elsewhere.*convert them to one"):
        read(table)
    machines = table.assign(**{name: ["U1", "U2"] * 3, "time": [0, 0, 1, 1, 2, 2]})
    assert read(machines.rename(columns={name: "unit"}))[0].schema.id == "unit"


def test_names_may_stand_in_comments_above_their_units(tmp_path):
    rows = "".join(f"2024 03 01 {h:02d} 50 1{h:02d} 5.{h} 7.1\n" for h in HOURS)
    head = "#YY MM DD hh mm WDIR WSPD GST\n"
    for units in ("#yr mo dy hr mn degT m/s m/s\n", ""):
        path = tmp_path / "buoy.txt"
        path.write_text("# Station 41001, East of Hatteras\n" + head + units + rows)
        found, _ = read(read_table(path))
        assert found.schema.targets == ("WDIR", "WSPD", "GST")
        assert found.table[found.schema.time].tolist() == [
            pd.Timestamp(f"2024-03-01 {h:02d}:50") for h in HOURS
        ]


def test_a_line_of_widths_below_the_names_is_no_row(tmp_path):
    path = tmp_path / "flow.txt"
    rows = "".join(f"USGS\t2024-03-0{d} 00:00\t1{d}0\n" for d in (1, 2, 3))
    path.write_text("# U.S. Geological Survey\nagency_cd\tdatetime\tflow\n5s\t20d\t14n\n" + rows)
    assert read(read_table(path))[0].table["flow"].tolist() == [110, 120, 130]


def test_years_for_columns_are_refused_from_a_file_too(tmp_path):
    path = tmp_path / "bank.csv"
    path.write_text("Country,Code,1960,1961,1962\nAruba,ABW,54608,55811,56682\nChad,TCD,30,31,32\n")
    with pytest.raises(SchemaError, match="called by times, such as `1960` and `1961`"):
        read(read_table(path))
    path.write_text("site,1,5,1990\na,2,6,1991\nb,3,7,1993\n")  # no years that are alike far apart
    assert [*read_table(path).columns] == ["column1", "column2", "column3", "column4"]


@pytest.mark.parametrize("cells", [["5:51", "5:48"], ["0xC3", "0xC4"]])
def test_a_table_without_numbers_is_refused_by_its_first_cell(cells):
    with pytest.raises(SchemaError, match=r"`y` holds '.*' at row \d, which is no number; write what"):
        read(pd.DataFrame({"time": [1, 2], "y": cells}))


def test_one_cell_with_two_points_is_the_one_that_is_named():
    with pytest.raises(SchemaError, match=r"'1\.2\.5' at row 2 is not a number"):
        read(pd.DataFrame({"time": range(4), "y": ["1.5", "1.0", "1.2.5", "1.3"]}))


def test_years_of_another_calendar_are_pointed_out():
    days = pd.Series(pd.date_range("2024-03-01", periods=4))
    table = pd.DataFrame({"date": days.dt.strftime("%d/%m/2567"), "y": [1.5, 2.5, 3.5, 4.5]})
    assert "in the future, from 2567-03-01" in read(table, time_format="%d/%m/%Y")[1]
    assert "future" not in read(table.assign(date=days))[1]
    today = pd.Timestamp.now().normalize()
    around = table.assign(date=today + pd.to_timedelta([-1, 0, 1, 2], unit="D"))
    assert "future" not in read(around)[1]


@pytest.mark.parametrize(
    ("columns", "advice"),
    [
        ({"time": DAYS, "shift": [2, 1, 1, 2]}, "say id='shift'"),
        (
            {"time": [f"2024-10-27 {clock}" for clock in ("01:30", "02:30", "02:30", "03:30")]},
            "give timezone=",
        ),
        ({"time": [100, 200] * 2, "when": DAYS}, "say date='when'"),
        ({"time": [1, 1, 2, 2]}, None),
    ],
)
def test_a_report_says_what_repeated_rows_may_be(columns, advice):
    table = pd.DataFrame({**columns, "y": [1.5, 2.5, 3.5, 4.5]})
    report = inspect(table, Schema(time="time"))
    assert report.duplicates
    said = [note for note in report.notes if "repeat another row's time" in note]
    assert (advice is None and not said) or advice in said[0]


MONTHS = pd.date_range("2019-07-01", periods=30, freq="MS")


@pytest.mark.parametrize("form", ["%b-%y", "%y-%b", "%b %y"])
@pytest.mark.parametrize("step", [1, 3, -1])
def test_months_with_years_of_two_digits_are_months(form, step):
    stamps = MONTHS[::step]
    found, _ = read(pd.DataFrame({"month": stamps.strftime(form), "y": range(len(stamps))}))
    assert found.table["month"].tolist() == stamps.tolist()


@pytest.mark.parametrize(
    "stamps",
    [
        pd.date_range("2024-01-01", periods=366),  # Jan-01, Jan-02, ...: of a year that is not written
        pd.date_range("2024-01-01", periods=12, freq="MS") + pd.Timedelta("14D"),
        pd.date_range("2010-12-01", periods=12, freq="YS"),
    ],
)
def test_days_without_a_year_are_no_months(stamps):
    form = "%b-%y" if stamps[1].year > stamps[0].year else "%b-%d"
    table = pd.DataFrame({"date": stamps.strftime(form), "y": range(len(stamps))})
    with pytest.raises(SchemaError, match=r"without its year; give time_format='%b-%y'"):
        read(table, time="date")


@pytest.mark.parametrize("form", ["%m/%d/%y", "%d-%b-%y", "%b-%y"])
def test_years_of_two_digits_on_both_sides_of_69_are_refused(form):
    stamps = pd.date_range("1960-01-31", periods=100, freq="61D")
    with pytest.raises(SchemaError, match=r"two digits, of which '.*68' is read as 2068"):
        read(pd.DataFrame({"date": stamps.strftime(form).str.strip(), "y": range(100)}), time="date")
    later = stamps + pd.Timedelta(days=366 * 12)
    found, _ = read(pd.DataFrame({"date": later.strftime(form), "y": range(100)}), time="date")
    assert found.table["date"].dt.year.tolist() == later.year.tolist()


def test_an_ambiguous_date_is_named_by_a_cell_that_shows_it():
    table = pd.DataFrame({"date": ["01/01/2024", "02/02/2024", "03/04/2024"], "y": [1.0, 2.0, 3.0]})
    with pytest.raises(SchemaError, match="holds '03/04/2024', which may be 03 April 2024 or 04 March"):
        read(table, time="date")


@pytest.mark.parametrize(
    "below", [["Total"], ["", "Source: the office"], ["End of report", "(c) 2024"]]
)
def test_what_stands_below_a_table_is_refused_with_a_way_out(below, tmp_path):
    days = pd.date_range("2024-01-01", periods=60)
    lines = ["time,y", *(f"{d:%Y-%m-%d},{d.day + 0.5}" for d in days), *below]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    schema = Schema(time="time")
    with (
        pytest.warns(UserWarning),
        pytest.raises(SchemaError, match="below the table, or in a text file say"),
    ):
        SeriesDataset.from_frame(read_table(tmp_path / "a.csv", schema), schema)
    first = next(line for line in below if line)
    if len([line for line in below if line]) == 1:
        table = read_table(tmp_path / "a.csv", schema, FileFormat(comment=first.split()[0]))
        assert len(table) == 60


def test_labels_that_may_name_what_is_measured_are_asked_about():
    days = pd.date_range("2024-01-01", periods=12).repeat(2)
    table = pd.DataFrame({"when": days, "what": ["temp", "rain"] * 12, "howmuch": range(24)})
    found, notes = read(table)
    assert found.schema.id == "what"
    assert "if it names what is measured, say variable='what' and value='howmuch'" in notes
    long, _ = read(table, variable="what", value="howmuch")
    assert long.schema.id is None and long.schema.layout == "long"
    codes = table.assign(what=["007", "012"] * 12)
    for other in (table.assign(other=1.5), codes, table.rename(columns={"what": "site"})):
        assert "what is measured" not in read(other)[1]


@pytest.mark.parametrize("places", [{"lat": [52.5, 48.1], "lon": [13.4, 11.6]}, {"depth": [0.5, 2.5]}])
def test_series_one_after_the_other_are_told_apart_by_what_never_changes_within_one(places):
    days = pd.date_range("2024-01-01", periods=12)
    parts = [pd.DataFrame({"time": days, "y": range(12)}).assign(**{k: v[i] for k, v in places.items()})
             for i in (0, 1)]  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    id_, notes = "+".join(places), inspect(table).to_text()
    assert f"say id='{id_}', which never changes within one" in notes
    assert len(SeriesDataset.from_frame(table, Schema(id=id_))) == 2
    mixed = table.assign(**{name: range(len(table)) for name in places})
    assert "name the column that tells them apart with id=" in inspect(mixed).to_text()


MIDDLES = pd.date_range("2019-01-15", periods=40, freq="31D")
WRITTEN = {
    **{form: (MIDDLES.strftime(form), form) for form in ("%b-%y", "%m/%d/%Y", "%B %d, %Y")},
    "months in words": (pd.period_range("2019-01", periods=40, freq="M").strftime("%b %Y"), "%b %Y"),
    "months": (pd.period_range("2019-01", periods=40, freq="M").strftime("%Y-%m"), "ISO8601"),
    "days": (MIDDLES.strftime("%Y-%m-%d"), "ISO8601"),
    "offsets": ([f"{day:%Y-%m-%d}T08:00+0{i % 2 + 1}:00" for i, day in enumerate(MIDDLES)], "ISO8601"),
    "quarters": ([f"{1990 + i // 4}Q{i % 4 + 1}" for i in range(40)], "quarter"),
    "durations": ([f"{i}:00:00" for i in range(20, 60)], "elapsed"),
    "years": ([str(1980 + i) for i in range(40)], "numbers, but"),
    "parts of years": ([f"{1990 + i / 12:.3f}" for i in range(40)], "numbers, but"),
    "days of eight digits": (MIDDLES.strftime("%Y%m%d"), "numbers, but"),
}
BELOW = ("Total", "Source: agency", "* preliminary", "Average 2019 to 2022, without May")


@pytest.mark.parametrize("line", BELOW)
@pytest.mark.parametrize("case", WRITTEN)
def test_a_line_below_a_table_is_named_whatever_the_form_of_its_times(case, line):
    cells, form = WRITTEN[case]
    with pytest.raises(SchemaError) as raised:
        read(pd.DataFrame({"date": [*cells, line], "y": range(41)}), time="date")
    if form == "mixes":  # which is wrong of the rows above it
        assert "mixes time zones" in str(raised.value)
        return
    assert re.search(f"{re.escape(form)}|such as", str(raised.value))
    assert form in str(raised.value)
    assert re.search(
        rf"{re.escape(repr(line))} at .*; or remove what stands below the", str(raised.value)
    )


@pytest.mark.parametrize("line", BELOW)
def test_below_days_that_may_be_months_it_is_these_that_have_to_be_told_first(line):
    cells = [*pd.date_range("2019-01-01", periods=40, freq="MS").strftime("%d/%m/%Y"), line]
    table = pd.DataFrame({"date": cells, "y": range(41)})
    with pytest.raises(SchemaError, match=r"'01/02/2019', which may be .*time_format='%d/%m/%Y' or"):
        read(table, time="date")
    with pytest.raises(SchemaError, match=r"at row 40, which is not .* %d/%m/%Y.*what stands below"):
        read(table, time="date", time_format="%d/%m/%Y")


@pytest.mark.parametrize("case", WRITTEN)
def test_what_stands_between_rows_is_named_and_is_not_below_them(case):
    cells, form = WRITTEN[case]
    table = pd.DataFrame({"date": [*cells[:20], "Total", *cells[20:]], "y": range(41)})
    with pytest.raises(SchemaError) as raised:
        read(table, time="date")
    assert form in str(raised.value)
    assert "what stands below" not in str(raised.value)


JANUARY = [f"2024-01-{day:02d}" for day in range(1, 29)]
TOTALS = {
    "no time": ("time,y", [f"{d},3" for d in JANUARY], ",84", "`time` has no time at line 30"),
    "a series": (
        "id,time,y",
        [f"a,{d},3" for d in JANUARY],
        "Total,,84",
        "`time` has no time at line 30",
    ),
    "numbers": ("id,t,y", [f"a,{i},3" for i in range(28)], "Total,,84", "`t` has no time at line 30"),
    "days and clocks": (
        "date,time,y",
        [f"{d},08:00,3" for d in JANUARY],
        ",,84",
        "`date` has no time at line 30",
    ),
    "parts": ("year,month,y", [f"{2000 + i},1,3" for i in range(28)], ",,84", "nan, nan at line 30"),
    "parts and a word": (
        "year,month,y",
        [f"{2000 + i},1,3" for i in range(28)],
        "Total,,84",
        "`year` holds 'Total' at line 30 among numbers",
    ),
    "weeks and a word": (
        "year,week,y",
        [f"2024,{i},3" for i in range(1, 29)],
        "Total,,84",
        "`year` holds 'Total' at line 30 among numbers",
    ),
    "no variable": (
        "time,variable,value",
        [f"{d},hr,3" for d in JANUARY],
        "2024-02-01,,84",
        "`variable` names no variable at line 30",
    ),
    "no series": (
        "time,patient,y",
        [f"{d},a,3" for d in JANUARY[:14]] + [f"{d},b,3" for d in JANUARY[:14]],
        "2024-01-01,,84",
        "`patient` names no series at line 30",
    ),
}


@pytest.mark.parametrize("case", TOTALS)
def test_a_row_that_sums_up_those_above_it_is_refused(case, tmp_path):
    head, rows, last, expected = TOTALS[case]
    (file := tmp_path / "a.csv").write_text("\n".join([head, *rows, last, ""]))
    with pytest.raises(SchemaError, match=f"{expected}.*; or remove what stands below the table"):
        SeriesDataset.from_frame(read_table(file))
    sign = last.partition(",")[0] or ","
    if sign in ("Total", ","):  # what is advised is of use
        read_columns(read_table(file, file_format=FileFormat(comment=sign)), None)


@pytest.mark.parametrize(
    ("name", "rows", "noted"),
    [
        ("Total", 1, True),
        ("Grand total:", 1, True),
        ("Gesamt", 1, True),
        ("Mean", 1, True),
        ("Total", 3, False),
        ("Totalwerk", 1, False),
        ("c", 1, False),
    ],
)
def test_a_series_of_one_row_that_is_called_a_sum_is_pointed_out(name, rows, noted):
    days = pd.to_datetime(JANUARY)
    parts = {"a": days, "b": days, name: days[-rows:]}
    table = pd.concat([pd.DataFrame({"id": i, "time": t, "y": 1.5}) for i, t in parts.items()])
    schema = Schema(id="id", time="time", targets=("y",), layout="wide")
    notes = " ".join(inspect(table, schema).notes)
    assert ("of one row, which may sum up the others" in notes) == noted
    alone = table.drop_duplicates("id")
    assert "may sum up" not in " ".join(inspect(alone, schema).notes)


MERGED = {
    "series": ({"id": ["a", "", "", "b", "", ""], "time": [0, 1, 2] * 2}, "`id` names no series"),
    "missing": ({"id": ["a", None, None, "b", None, None], "time": [0, 1, 2] * 2}, "names no series"),
    "times": ({"id": ["a", "b"] * 3, "time": ["2024-01-01", None] * 3}, "`time` has no time"),
    "variables": (
        {"time": [0, 1, 2] * 2, "variable": ["hr", "", "", "bp", "", ""]},
        "`variable` names no variable",
    ),
}


@pytest.mark.parametrize("case", MERGED)
def test_cells_that_are_meant_for_those_below_them_are_refused_with_what_fills_these_in(case):
    columns, expected = MERGED[case]
    value = "value" if case == "variables" else "y"
    frame = pd.DataFrame({**columns, value: [1.5, 2.0, 2.5, 3.0, 3.5, 4.0]})
    name = expected.partition("` ")[0].strip("`") if "`" in expected else "id"
    told = re.escape(
        f"with pandas frame['{name}'] = frame['{name}'].mask(frame['{name}'] == '').ffill()"
    )
    with pytest.raises(SchemaError, match=rf"{expected} at row 1; .*, {told}"):
        SeriesDataset.from_frame(frame)
    frame[name] = frame[name].mask(frame[name] == "").ffill()
    assert len(SeriesDataset.from_frame(frame, duplicates="last").ids) == 2 - (case == "variables")


def test_a_cell_that_somebody_forgot_is_not_taken_for_a_merged_one():
    frame = pd.DataFrame({"id": ["a", "a", "", "b", "b", "b"], "time": [0, 1, 2] * 2, "y": 1.5})
    with pytest.raises(SchemaError, match=r"names no series at row 2; fill it in or remove that row$"):
        SeriesDataset.from_frame(frame)


def test_years_of_two_digits_that_lie_far_ahead_are_refused():
    stamps = pd.date_range("1960-01-31", periods=40, freq="61D").strftime("%m/%d/%y")
    with pytest.raises(SchemaError, match="read as 2060 and may be 1960; write all of them with four"):
        read(pd.DataFrame({"date": stamps, "y": range(40)}), time="date")


def keys_of(names):
    return dict.fromkeys(names).keys()


@pytest.mark.parametrize("kind", [np.array, set, pd.Index, pd.Series, keys_of])
def test_cycles_may_be_given_by_any_collection(kind):
    assert Schema(cycles=kind(["7D"])).cycles == ("7D",)
    assert Schema(cycles=pd.to_timedelta(["7D"])).cycles == ("7 days 00:00:00",)
    for odd in (b"x", [["y"]], [{}]):
        with pytest.raises(SchemaError, match="cycles are durations"):
            Schema(cycles=odd)


NIGHTS = pd.date_range("2024-01-01", periods=24)


def series_of(places, at_once=True, days=NIGHTS, minutes=(0, 0, 0, 0), **columns):
    """Rows of several places, all of one night together or one place after the other."""
    parts = []
    for place, late in zip(places, minutes, strict=False):
        times = days + pd.Timedelta(minutes=late)
        parts.append(pd.DataFrame({**columns, "time": times, **place, "y": np.arange(len(days))}))
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values("time", kind="stable", ignore_index=True) if at_once else table


TWO = [{"lat": 52.5, "lon": 13.4}, {"lat": 48.1, "lon": 11.6}]
GRID = [{"lat": lat, "lon": lon} for lat in (52.5, 48.1) for lon in (13.4, 11.6)]
TOGETHER = {
    "two places": (TWO, "lat+lon"),
    "a grid": (GRID, "lat+lon"),
    "part of a grid": ([{"row": r, "col": c} for r, c in ((1, 5), (2, 6), (1, 6))], "row+col"),
    "a depth": ([{"depth": 0.5}, {"depth": 2.5}], "depth"),
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("case", TOGETHER)
def test_columns_that_together_name_series_of_the_same_times_are_proposed(case, at_once):
    places, id_ = TOGETHER[case]
    table = series_of(places, at_once)
    assert f"say id='{id_}', if " in inspect(table).to_text()
    with pytest.raises(SchemaError, match=rf"; say id='{re.escape(id_)}', if .*; or remove them, or"):
        SeriesDataset.from_frame(table)
    assert len(SeriesDataset.from_frame(table, Schema(id=id_))) == len(places)
    named = table.assign(patient="p")
    with pytest.raises(SchemaError, match=rf"say id='{re.escape('patient+' + id_)}', if "):
        SeriesDataset.from_frame(named, Schema(id="patient"))


def test_labels_that_only_together_name_the_series_are_proposed_together():
    places = [{"region": r, "kind": k} for r in "ns" for k in "xz"]
    for at_once in (True, False):
        with pytest.raises(SchemaError) as raised:
            read(series_of(places, at_once))
        long = r"give id='region', variable='kind' and value='y' if `kind` names what is measured"
        assert re.search(rf"{long}.*; id='region\+kind' if `region` and", str(raised.value))
    with pytest.raises(SchemaError, match=r"give id='region\+kind' if `region` and `kind` together"):
        read(series_of(places, other=1.5))
    whole = [{"row": 1, "col": 5}, {"row": 2, "col": 6}]
    assert "say id='row+col', if `row` and `col`, which tell" in inspect(series_of(whole)).to_text()
    with pytest.raises(SchemaError, match=r"give id='region\+depth' if `region` and `depth` together"):
        read(series_of([{"region": r, "depth": d} for r in "ns" for d in (5, 10)]))
    with pytest.raises(SchemaError, match=r"give id='region' if it names the series; variable="):
        read(series_of([{"region": r} for r in "ns"], minutes=(0, 420)))


def test_what_repeats_now_and_then_is_not_told_apart_by_what_is_measured():
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=200, freq="h")
    days = days.append(days[[5, 40, 90]]).sort_values()
    for values in (rng.choice([0.5, 1.5], (203, 2)), rng.normal(size=(203, 2)).round(1)):
        table = pd.DataFrame({"time": days, "u": values[:, 0], "v": values[:, 1], "y": days.hour + 0.5})
        assert "which tell" not in inspect(table).to_text()
        with pytest.raises(SchemaError, match=r"3 rows repeat another row's `time`, .*\); remove them"):
            SeriesDataset.from_frame(table)


@pytest.mark.parametrize("places", [TWO, GRID, [{"depth": 0.5}, {"depth": 2.5}, {"depth": 4.5}]])
@pytest.mark.parametrize("named", [{}, {"patient": "p"}])
def test_short_series_are_told_apart_by_what_never_changes_within_one(places, named):
    table = series_of(places, at_once=False, days=NIGHTS[:4], minutes=(0, 7, 20, 200), **named)
    id_ = "+".join([*named, *places[0]])
    said = f"goes back at row 4 and runs through the same times again.*say id='{re.escape(id_)}'"
    found, notes = read(table, **({"id": "patient"} if named else {}))
    assert re.search(said, notes) and len(found.schema.targets) == len(places[0]) + 1
    mixed = table.assign(**{name: np.arange(len(table)) + 0.5 for name in places[0]})
    assert "runs through" not in read(mixed, **({"id": "patient"} if named else {}))[1]


def test_places_that_are_recorded_in_turn_are_told_apart_by_both_numbers():
    for places in (TWO, GRID):
        table = series_of(
            places, days=NIGHTS[0] + 6 * (NIGHTS - NIGHTS[0]), minutes=(0, 700, 2000, 4000)
        )
        assert "as where they name the series; if so, say id='lat+lon'" in read(table)[1]
    rng = np.random.default_rng(0)
    hours = pd.to_timedelta(np.sort(rng.uniform(0, 900, 200)), unit="h") + NIGHTS[0]
    values = rng.choice([0.5, 1.5], (200, 2))
    table = pd.DataFrame({"time": hours, "u": values[:, 0], "v": values[:, 1], "y": hours.minute + 0.5})
    assert "if so" not in read(table)[1]
    doses = [{"dose": 0.5, "rate": 1.5}, {"dose": 1.5, "rate": 2.5}]  # in the morning and the evening
    assert "if so" not in read(series_of(doses, minutes=(0, 720)))[1]


def measured(label, names=("hr", "temp"), patients=("p", "q")):
    days = NIGHTS[:10]
    index = pd.MultiIndex.from_product([patients, days, names], names=["patient", "time", label])
    return index.to_frame(index=False).assign(val=np.arange(10 * len(names) * len(patients)) + 0.5)


@pytest.mark.parametrize("names", [("hr", "temp"), (101, 102)])
def test_items_beside_a_series_may_be_what_is_measured(names):
    table = measured("item", names)
    told = (
        "only together name the series; if `item` names what is measured, say variable='item' and value"
    )
    with pytest.raises(SchemaError, match=rf"{told}='val'; else say id='patient\+item'"):
        read(table)
    long = read(table, id="patient", variable="item", value="val")[0].schema
    assert (long.layout, long.id) == ("long", "patient")
    stores = table.rename(columns={"patient": "store", "item": "product"})
    with pytest.raises(SchemaError, match=r"only together name the series; say id='store\+product'"):
        read(stores)
    alone = measured("item", names, ("p",)).drop(columns="patient")
    assert "if it names what is measured, say variable='item' and value='val'" in read(alone)[1]


def test_labels_that_tell_nearly_all_repeated_rows_apart_are_named_before_merging_is():
    table = measured("thing")
    twice = pd.concat([table, table.iloc[[3]]], ignore_index=True)
    advice = (
        r"; say variable='thing' and value='val', if `thing`, which tells 20 of them apart, names what "
        r"is measured; or id='patient\+thing', if it names the series too; or remove them, or choose"
    )
    with pytest.raises(SchemaError, match=f"21 rows repeat .*{advice}"):
        SeriesDataset.from_frame(twice)
    sensors = twice.rename(columns={"thing": "sensor"})
    with pytest.raises(SchemaError, match=r"; say id='patient\+sensor', if .*; or variable='sensor'"):
        SeriesDataset.from_frame(sensors, Schema(id="patient"))
    quality = table.drop_duplicates(["patient", "time"]).assign(thing="good")
    again = pd.concat([quality, quality.iloc[[3]]], ignore_index=True)
    again.loc[5, "thing"] = "poor"
    with pytest.raises(SchemaError, match=r"\(patient=p, time=2024-01-04 00:00:00\); remove them, or"):
        SeriesDataset.from_frame(again, Schema(id="patient", targets=("val",)))


@pytest.mark.parametrize("name", ["serial", "serial_number", "mpan", "Serial No"])
def test_a_number_of_a_meter_names_its_series(name):
    table = pd.DataFrame(
        {
            name: [7, 8] * 6,
            "time": np.repeat(pd.date_range("2024-03-11", periods=6, freq="h"), 2),
            "kwh": [900.0, 51.0] * 6,
        }
    )
    assert SeriesDataset.from_frame(table, Schema()).schema.id == name


def test_a_cell_that_is_infinite_is_said_without_words_of_a_library(tmp_path, recwarn):
    table = pd.DataFrame({"time": np.arange(40.0), "x": np.r_[np.inf, np.arange(39.0)]})
    table.to_csv(tmp_path / "t.csv", index=False)
    inspect(read_table(tmp_path / "t.csv"))
    assert not [w for w in recwarn if "encountered" in str(w.message)]
