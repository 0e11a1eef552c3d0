"""Laboratory events, visits and glucose monitors: small tables in their real formats."""

import gzip
import io

import pandas as pd
import pytest

from latentode import SchemaError, SeriesDataset
from latentode.adapters.medical import MG_PER_MMOL, glucose, lab_events, visits

LABS = """LABEVENT_ID,SUBJECT_ID,CHARTTIME,ITEMID,VALUE,VALUENUM,VALUEUOM
1,007,2150-01-01 06:00:00,50931,90,90,mg/dL
2,007,2150-01-01 09:30:00,50809,5.0,5.0,mmol/L
3,007,2150-01-01 09:30:00,50912,1.1,1.1,mg/dL
4,007,2150-01-01 09:30:00,50912,1.3,1.3,MG/DL
5,12,2150-03-01 06:00:00,50912,HEMOLYZED,,mg/dL
6,12,2150-03-01 06:00:00,51237,1.2,1.2,
"""
ITEMS = {50931: "glucose", 50809: "glucose", "50912": "creatinine"}
UNITS = {"glucose": {"mg/dL": 1.0, "mmol/L": MG_PER_MMOL}}


def messages(told):
    return "; ".join(str(w.message) for w in told)


def test_items_become_variables_in_one_unit_and_identifiers_stay_text():
    with pytest.warns(UserWarning) as told:
        frame, schema = lab_events(io.StringIO(LABS), ITEMS, UNITS)
    assert frame[["SUBJECT_ID", "variable"]].to_numpy().tolist() == [
        ["007", "glucose"],
        ["007", "glucose"],
        ["007", "creatinine"],
    ]
    assert frame["value"].tolist() == pytest.approx([90, 5 * MG_PER_MMOL, 1.2])
    assert schema.id == "SUBJECT_ID" and schema.time == "CHARTTIME"
    assert "1 rows without a number in `VALUENUM`" in messages(told)
    assert "1 rows of 1 items that are not in items=" in messages(told)
    assert "1 rows of the same series and time merged" in messages(told)
    assert len(SeriesDataset.from_frame(frame, schema).ids) == 1


def test_unknown_items_can_be_kept_or_refused_and_items_can_be_a_table():
    table = io.StringIO("itemid,label\n50931,Glucose\n50809,Glucose\n50912,Creatinine\n")
    with pytest.warns(UserWarning):
        kept, _ = lab_events(
            io.StringIO(LABS), table, {"Glucose": UNITS["glucose"]}, unknown_items="keep"
        )
    assert kept["variable"].tolist()[-1] == "51237" and kept["SUBJECT_ID"].tolist()[-1] == "12"
    with pytest.warns(UserWarning):
        codes, _ = lab_events(io.StringIO(LABS))
    assert sorted(codes["variable"].unique()) == ["50809", "50912", "50931", "51237"]
    with pytest.raises(SchemaError, match=r"`ITEMID`: '51237' at line 7 is none of items"):
        lab_events(io.StringIO(LABS), ITEMS, UNITS, unknown_items="error")


def test_a_variable_in_two_units_is_refused_until_their_conversion_is_told():
    with pytest.raises(
        SchemaError, match=r"`glucose` comes in 2 units, 'mg/dL', 'mmol/L'.*line 3; say how"
    ):
        lab_events(io.StringIO(LABS), ITEMS)
    with pytest.raises(SchemaError, match=r"`VALUEUOM`: 'mmol/L' at line 3 is no unit that units="):
        lab_events(io.StringIO(LABS), ITEMS, {"glucose": {"mg/dL": 1.0}})
    with pytest.raises(SchemaError, match=r"units= speaks of `sodium`"):
        lab_events(io.StringIO(LABS), ITEMS, {"sodium": {"mmol/L": 1.0}})


def test_a_conversion_may_be_a_function():
    text = (
        "subject_id,charttime,itemid,valuenum,valueuom\n1,2150-01-01,T,98.6,F\n1,2150-01-02,T,37.5,C\n"
    )
    units = {"T": {"C": 1.0, "F": lambda f: (f - 32) / 1.8}}
    frame, _ = lab_events(io.StringIO(text), units=units)
    assert frame["value"].tolist() == pytest.approx([37.0, 37.5])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("90,90,", "90,9O,", r"column `VALUENUM`: '9O' at line 2 is not a number; correct it"),
        (
            "2150-01-01 06:00:00",
            "01.01.2150",
            r"`CHARTTIME` holds '01.01.2150' at line 2.*time_format=",
        ),
        ("1,007,", "1,,", r"column `SUBJECT_ID`: line 2 names no series"),
        (",mmol/L", "", r"line 3 has 6 cells where 7 belong"),
        ("VALUENUM", "NUMBER", r"has no column `valuenum`; its columns are .* name it with value="),
        ("2,007", '2,"007', r"cannot be read from line 3.*quotation mark left open"),
    ],
)
def test_a_wrong_table_is_named_by_line_and_field(old, new, message):
    with pytest.raises(SchemaError, match=message):
        lab_events(io.StringIO(LABS.replace(old, new, 1)), ITEMS, UNITS)


@pytest.mark.parametrize("how", ["path", "gzip", "bytes", "pandas", "parquet", "polars", "arrow"])
def test_every_kind_of_source_gives_the_same_table(tmp_path, how):
    text = (
        "subject_id,charttime,itemid,valuenum\n7,2150-01-01 06:00:00,K,4.5\n7,2150-01-02 06:00:00,K,\n"
    )
    path = tmp_path / "labs.csv"
    path.write_text("\ufeff" + text, encoding="utf-8")
    frame = pd.read_csv(io.StringIO(text), parse_dates=["charttime"])
    source = {"path": path, "bytes": io.BytesIO(text.encode()), "pandas": frame}.get(how)
    if how == "gzip":
        source = tmp_path / "labs.csv.gz"
        source.write_bytes(gzip.compress(text.encode()))
    elif how == "parquet":
        source = tmp_path / "labs.parquet"
        frame.to_parquet(source)
    elif how == "polars":
        import polars

        source = polars.from_pandas(frame).lazy()
    elif how == "arrow":
        import pyarrow

        source = pyarrow.Table.from_pandas(frame)
    with pytest.warns(UserWarning, match="1 rows without a number"):
        read, schema = lab_events(source)
    assert read["subject_id"].astype(str).tolist() == ["7"] and read["value"].tolist() == [4.5]
    assert read["charttime"].astype(str).tolist()[0].startswith("2150-01-01")
    assert schema.layout == "long"


VISITS = """rownames,id,futime,trt,sex,day,ascites,bili,stage
1,1,400,1,f,0,1,14.5,4
2,1,400,1,f,192,1,21.3,4
3,2,5169,1,f,0,0,1.1,3
4,2,5169,1,f,182,NA,0.8,3
5,2,5169,1,f,365,0,1.0,4
"""


def test_visits_stay_at_their_days_and_constants_are_no_variables():
    with pytest.warns(UserWarning) as told:
        frame, schema = visits(io.StringIO(VISITS), static_covariates=["trt", "sex"])
    assert schema.targets == ("bili", "stage") and schema.static_covariates == ("trt", "sex")
    assert frame["day"].tolist() == [0, 192, 0, 182, 365] and frame["id"].tolist()[0] == "1"
    assert "2 columns that are constant within patients left out: `futime`, `ascites`" in messages(told)
    chosen, schema = visits(io.StringIO(VISITS), targets=["ascites"])
    assert chosen["ascites"].isna().tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("192,1,21.3", "192,1,21;3", r"`bili`: '21;3' at line 3 is not a number"),
        ("2,1,400,1,f,192", "2,1,400,1,f,", r"`day`: line 3 gives no day"),
        (
            "2,1,400,1,f,192",
            "2,1,400,1,f,0",
            r"1 rows repeat another row's `id` and `day`, first line 3",
        ),
    ],
)
def test_a_wrong_visit_is_named(old, new, message):
    with pytest.raises(SchemaError, match=message):
        visits(io.StringIO(VISITS.replace(old, new)), targets=["bili"])


DEXCOM = """Index,Timestamp (YYYY-MM-DDThh:mm:ss),Event Type,Event Subtype,Glucose Value (mg/dL)
1,,FirstName,,
2,,Device,,
3,2024-11-03T00:55:00,EGV,,112
4,2024-11-03T01:00:00,EGV,,Low
5,2024-11-03T01:30:00,EGV,,118
6,2024-11-03T01:05:00,EGV,,High
7,2024-11-03T01:05:00,Calibration,,120
8,2024-11-03T02:00:00,EGV,,125
"""
LIBRE = """Glucose Data,Generated on,11-20-2024 10:00 AM UTC
Device,Serial Number,Device Timestamp,Record Type,Historic Glucose mmol/L,Scan Glucose mmol/L,Notes
FreeStyle,ABC,13-01-2024 08:00,0,5.0,,
FreeStyle,ABC,13-01-2024 08:07,1,,6.0,
FreeStyle,ABC,13-01-2024 08:15,0,5.5,,
FreeStyle,ABC,13-01-2024 08:20,6,,,lunch
"""


def test_dexcom_readings_pass_the_night_on_which_clocks_are_set_back():
    with pytest.warns(UserWarning) as told:
        frame, schema = glucose(io.StringIO(DEXCOM), timezone="America/New_York")
    assert frame["glucose"].tolist() == [112, 40, 118, 400, 125]
    utc = frame["time"].dt.tz_convert("UTC").dt.strftime("%H:%M").tolist()
    assert utc == ["04:55", "05:00", "05:30", "06:05", "07:00"]
    assert "3 rows of other events than EGV" in messages(told)
    assert "2 readings of Low or High taken as 40 and 400 mg/dL" in messages(told)
    assert "3 times that the clocks of America/New_York passed twice, 1 of them" in messages(told)
    assert schema.id is None and schema.cycles == ("24h",)
    with pytest.warns(UserWarning, match="2 rows without a reading left out"):
        bare, _ = glucose(io.StringIO(DEXCOM), limits=None)
    assert len(bare) == 3


def test_libre_readings_have_their_header_below_and_their_own_unit():
    with pytest.warns(UserWarning, match="2 rows of other record types"):
        frame, _ = glucose(io.StringIO(LIBRE))
    assert frame["glucose"].tolist() == pytest.approx([5 * MG_PER_MMOL, 5.5 * MG_PER_MMOL])
    assert frame["time"].dt.day.tolist() == [13, 13]
    with pytest.warns(UserWarning, match="1 rows of other record types"):
        both, _ = glucose(io.StringIO(LIBRE), unit="mmol/L", scans=True)
    assert both["glucose"].tolist() == pytest.approx([5.0, 6.0, 5.5])
    with pytest.raises(
        SchemaError, match=r"can be read as %m-%d-%Y %H:%M and as %d-%m-%Y.*time_format="
    ):
        glucose(io.StringIO(LIBRE.replace("13-01", "03-01")))


def test_several_patients_by_name_and_repeated_readings():
    one = pd.DataFrame({"datetime": ["2010-03-24 09:51"] * 2, "isig": [1, 2], "glucose": [250, 260]})
    with pytest.warns(UserWarning, match="1 rows of the same series and time merged"):
        frame, schema = glucose({"anna": one, "ben": one[:1]})
    assert frame[["id", "glucose"]].to_numpy().tolist() == [["anna", 255.0], ["ben", 250.0]]
    assert schema.id == "id"
    with pytest.raises(SchemaError, match=r"unit 'mg' of glucose is unknown; use mg/dL or mmol/L"):
        glucose(one, unit="mg")
    with pytest.raises(SchemaError, match=r"has no column `glucose`"):
        glucose(one[["datetime", "isig"]])
