"""A schema names the columns it was not told about, and refuses what it cannot settle."""

import json

import pandas as pd
import pytest
from frames import melted, wide

from latentode.data import Schema, SeriesDataset
from latentode.data.cells.usual_names import SURE_ID_NAMES, SURE_LONG_NAMES, TIME_NAMES
from latentode.errors import SchemaError


def row(**columns):
    return pd.DataFrame({name: [value] for name, value in columns.items()})


@pytest.mark.parametrize("name", [*SURE_ID_NAMES, "ID", "Unique_Id"])
def test_every_usual_identifier_name_is_detected(name):
    assert Schema().resolve(row(**{name: "s", "time": 0, "x": 1.0})).id == name


@pytest.mark.parametrize("name", [*TIME_NAMES, "Timestamp"])
def test_every_usual_time_name_is_detected(name):
    assert Schema().resolve(row(**{"id": "s", name: 0, "x": 1.0})).time == name


@pytest.mark.parametrize("variable", SURE_LONG_NAMES[0])
@pytest.mark.parametrize("value", SURE_LONG_NAMES[1])
def test_every_usual_pair_of_long_names_is_detected(variable, value):
    schema = Schema().resolve(row(**{"id": "s", "time": 0, variable: "hr", value: 1.0}))
    assert (schema.layout, schema.variable, schema.value) == ("long", variable, value)
    assert schema.targets == ("hr",)


def test_a_table_without_identifier_is_one_series():
    assert Schema().resolve(row(time=0, x=1.0)).id is None


def test_targets_are_the_numeric_columns_without_another_role():
    frame = row(id=1, time=0, x=1.0, age=50, dose=2.0, note="well")
    assert Schema(static_covariates="age", known_future=["dose"]).resolve(frame).targets == ("x",)


def test_a_column_with_a_role_is_not_detected_for_another():
    frame = row(patient=1, id=7.0, ds=0, time=3.0, value=1.0)
    schema = Schema(id="patient", time="ds", static_covariates=("id",)).resolve(frame)
    assert (schema.id, schema.time, schema.targets) == ("patient", "ds", ("time", "value"))
    assert Schema(time="ds", static_covariates="id", targets=("time",)).resolve(frame).id is None


def test_a_second_column_of_times_is_left_out():
    frame = row(id=1, time=0, born=pd.Timestamp("1980-01-01"), x=1.0)
    assert Schema().resolve(frame).targets == ("x",)


def test_a_column_without_a_header_is_left_out():
    frame = row(**{"Unnamed: 0": 0, "id": 1, "time": 0, "x": 1.0})
    assert Schema().resolve(frame).targets == ("x",)


def test_targets_that_are_columns_make_a_table_wide():
    frame = row(id=1, time=0, parameter=3.0, value=1.0)
    schema = Schema(targets=("parameter", "value")).resolve(frame)
    assert (schema.layout, schema.targets) == ("wide", ("parameter", "value"))


def test_a_long_table_may_have_a_variable_named_like_a_column():
    frame = row(id=1, time=0, variable="value", value=1.0)
    assert Schema(layout="long", targets=("value",)).resolve(frame).targets == ("value",)
    assert Schema().resolve(frame).targets == ("value",)


def test_describe_says_what_was_chosen():
    wide_text = Schema(static_covariates="a").resolve(wide()).describe()
    assert wide_text == "wide layout; id=id; time=time; targets=b; static_covariates=a"
    long_text = Schema().resolve(melted(wide())).describe()
    assert "long layout" in long_text and "variable=variable, value=value" in long_text
    assert "id=none (one series)" in Schema().resolve(row(time=0, x=1.0)).describe()


def test_json_brings_back_the_same_schema():
    schema = Schema("i", "t", ("x", "y"), "age", ("dose",), "wide", time_unit="s", timezone="UTC")
    assert Schema.from_json(schema.to_json()) == schema
    assert json.loads(schema.to_json())["targets"] == ["x", "y"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "tall"}, "layout 'tall'.*'wide' or 'long'"),
        ({"time_unit": "year"}, "time_unit 'year'.*use s, min, h, D, W"),
        ({"id": "x", "targets": "x"}, "`x` has two roles.*give it one"),
        ({"static_covariates": "x", "known_future": "x"}, "`x` has two roles"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(options, message):
    with pytest.raises(SchemaError, match=message):
        Schema(**options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"identifier": "x"}', "'identifier', which is unknown; use `id`, `time`"),
        ("[]", "unknown"),
    ],
)
def test_json_that_is_no_schema_is_refused(text, message):
    with pytest.raises(SchemaError, match=message):
        Schema.from_json(text)


@pytest.mark.parametrize(
    ("schema", "frame", "message"),
    [
        ({}, pd.DataFrame({"id": [], "time": []}), "no rows.*`id`, `time`.*check the file"),
        ({}, pd.DataFrame(), "no rows"),
        ({}, pd.DataFrame([[0, 1, 2]], columns=["time", "x", "x"]), "`x` occurs twice; rename"),
        ({}, pd.DataFrame([[0, 1]], columns=["time", 3]), r"column 3 .*frame\.columns\.astype"),
        ({"id": "patient"}, row(id=1, time=0, x=1.0), "`patient` is not in the table.*`id`, `time`"),
        ({"targets": "hr"}, row(id=1, time=0, x=1.0), "`hr` is not in the table"),
        ({"static_covariates": "age"}, row(id=1, time=0, x=1.0), "`age` is not in the table"),
        ({"known_future": "dose"}, row(id=1, time=0, x=1.0), "`dose` is not in the table"),
        ({}, row(id=1, when=0, x=1.0), "no time column.*`timestamp`.*`when`.*time="),
        ({}, row(id=1, time=0, note="well"), "no numeric column.*`note` holds 'well' at row 0"),
        ({"layout": "long"}, row(id=1, time=0, x=1.0), "variable= and value=.*`x`"),
        ({"variable": "id"}, row(id=1, time=0, x=1.0), "variable= and value="),
        (
            {},
            pd.DataFrame({"time": [0, 1], "variable": ["hr", None], "value": 1.0}, index=[4, 9]),
            "`variable` names no variable at row 9; name it",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused(schema, frame, message):
    with pytest.raises(SchemaError, match=message):
        Schema(**schema).resolve(frame)


def test_a_numeric_column_with_some_text_names_cell_row_and_fix():
    frame = pd.DataFrame({"id": 1, "time": range(4), "hr": ["60", "n.a.", "70", "80"]})
    frame.index = pd.RangeIndex(2, 6, name="line")
    with pytest.raises(SchemaError, match=r"`hr`.*'n\.a\.' at line 3 is not a number.*na_values"):
        SeriesDataset.from_frame(frame)


def test_numbers_written_as_text_are_not_left_out_in_silence():
    frame = pd.DataFrame({"id": 1, "time": range(2), "hr": ["60", "70"]})
    with pytest.warns(UserWarning, match=r"`hr` was read as numbers: they were text"):
        assert SeriesDataset.from_frame(frame).value.tolist() == [60.0, 70.0]


def test_a_cycle_that_is_named_twice_is_refused():
    with pytest.raises(SchemaError, match="twice"):
        Schema(cycles=("24h", "7D", "24h"))
