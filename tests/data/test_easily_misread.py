"""Tables that are easily misread: hours, labels, codes and pivots, each read as meant or refused."""

import pandas as pd
import pytest

from latentode.data import Schema, SeriesDataset
from latentode.data.file_format import FileFormat
from latentode.data.files import read_table
from latentode.data.reading import read_columns
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
