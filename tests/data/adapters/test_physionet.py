"""PhysioNet 2012: the challenge's own text files, with what is ugly about them."""

import numpy as np
import pytest

from latentode import SchemaError, SeriesDataset
from latentode.adapters.medical import physionet2012, physionet2012_outcomes

HEADER = "Time,Parameter,Value\n"
FIRST = """00:00,RecordID,132539
00:00,Age,54
00:00,Gender,0
00:00,Height,-1
00:00,ICUType,4
00:00,Weight,-1
00:07,HR,73
00:07,Temp,35.1
00:37,HR,77
00:37,HR,79
02:30,,0
47:37,Urine,900

"""
SECOND = "00:00,RecordID,140501\n00:00,Age,68\n00:00,Gender,1\n00:00,Height,180.3\n00:00,ICUType,1\n"
THIRD = SECOND.replace("140501", "132540") + "01:00,Weight,84.6\r\n03:15,HR,90  \n"
OUTCOMES = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
OUTCOMES += "132539,6,1,5,-1,0\n132540,-1,8,8,6,1\n"


@pytest.fixture
def folder(tmp_path):
    for name, text in (("132539", FIRST), ("140501", SECOND), ("132540", THIRD)):
        (tmp_path / f"{name}.txt").write_bytes((HEADER + text).encode())
    (tmp_path / "Outcomes-a.txt").write_text(OUTCOMES)
    return tmp_path


@pytest.fixture
def read(folder):
    def read(**options):
        with pytest.warns(UserWarning) as told:
            frame, schema = physionet2012(folder, **options)
        return frame, schema, str(told[0].message)

    return read


def test_a_folder_of_records_becomes_a_long_table_ready_to_be_fitted(read):
    frame, schema, _ = read()
    rows = frame[["id", "time", "variable", "value"]].to_numpy().tolist()
    assert rows == [
        ["132539", 7 / 60, "HR", 73.0],
        ["132539", 7 / 60, "Temp", 35.1],
        ["132539", 37 / 60, "HR", 78.0],
        ["132539", 47 + 37 / 60, "Urine", 900.0],
        ["132540", 1.0, "Weight", 84.6],
        ["132540", 3.25, "HR", 90.0],
    ]
    assert schema.targets == ("HR", "Temp", "Urine", "Weight")
    dataset = SeriesDataset.from_frame(frame, schema)
    assert dataset.ids.tolist() == ["132539", "132540"] and len(dataset.value) == 6


def test_descriptors_are_static_and_unknown_ones_are_missing(read):
    frame, schema, _ = read()
    assert schema.static_covariates == ("Age", "Gender", "Height", "ICUType")
    first, other = frame.iloc[0], frame.iloc[-1]
    assert first["Age"] == 54 and np.isnan(first["Height"]) and first["ICUType"] == "surgical"
    assert other["Height"] == 180.3 and other["Gender"] == 1 and other["ICUType"] == "coronary"


def test_what_is_left_out_is_counted(read):
    _, _, told = read()
    assert "1 rows that name no parameter" in told
    assert "1 records without any measurement" in told
    assert "1 values of -1 (unknown)" in told
    assert "1 rows of the same series and time merged" in told
    assert "1 files of outcomes not read" in told


def test_duplicates_can_be_refused_and_parameters_chosen(folder, read):
    with pytest.raises(SchemaError, match=r"folder .*1 rows repeat.*id=132539.*variable=HR"):
        physionet2012(folder, duplicates="error")
    frame, schema, told = read(parameters=["HR"], duplicates="last")
    assert frame["value"].tolist() == [73, 79, 90] and schema.targets == ("HR",)
    assert "3 values of other parameters left out (parameters=)" in told


def test_outcomes_are_columns_without_a_role(folder, read):
    frame, schema, _ = read(outcomes=folder / "Outcomes-a.txt")
    assert frame.groupby("id")["In-hospital_death"].first().tolist() == [0, 1]
    assert not {"In-hospital_death", "Survival"} & set(schema.columns())
    table = physionet2012_outcomes(folder / "Outcomes-a.txt")
    assert table["id"].tolist() == ["132539", "132540"]
    assert table["Survival"].isna().tolist() == [True, False]
    assert table["SAPS-I"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7.5,HR,73", r"132539.txt: line 15: Time is '7.5', not hours and minutes like 07:37"),
        ("07:61,HR,73", r"line 15: Time is '07:61'"),
        ("07:00,HR,n/a", r"line 15: Value of HR is 'n/a', not a number"),
        ("07:00,HR", r"line 15 has 2 cells where Time, Parameter and Value belong"),
        ("00:00,RecordID,7", r"line 15: RecordID is 7, the file's name says 132539; rename"),
    ],
)
def test_a_wrong_line_is_named_with_its_file_and_field(folder, line, message):
    path = folder / "132539.txt"
    path.write_text(path.read_text() + line)
    with pytest.raises(SchemaError, match=message):
        physionet2012(folder)


def test_a_folder_that_holds_something_else_is_refused(folder, tmp_path):
    (folder / "notes.txt").write_text("to do\n")
    with pytest.raises(SchemaError, match=r"notes.txt: line 1 reads 'to do' where a record has"):
        physionet2012(folder)
    with pytest.raises(SchemaError, match=r"is not a folder"):
        physionet2012(folder / "132539.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SchemaError, match=r"holds no record"):
        physionet2012(empty)
