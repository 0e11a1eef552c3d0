"""Tables of other packages keep their names; the schema says what they mean."""

import io

import pandas as pd
import pytest

from latentode import SchemaError
from latentode.adapters.renames import from_gluonts, from_nixtla, from_prophet

NIXTLA = "unique_id,ds,y,price\n01,2024-01-01,1.5,9\n01,2024-01-03,,9\n02,2024-01-01,2,8\n"


def test_nixtla_with_static_and_known_columns():
    static = io.StringIO("unique_id,region,area\n01,north,5\n02,south,6\n")
    frame, schema = from_nixtla(io.StringIO(NIXTLA), static, known_future=["price"])
    assert schema.static_covariates == ("region", "area") and schema.known_future == ("price",)
    assert frame["unique_id"].tolist() == ["01", "01", "02"] and frame["area"].tolist() == [5, 5, 6]
    assert frame["y"].isna().tolist() == [False, True, False]
    with pytest.warns(UserWarning, match="1 columns without a role left out: price"):
        from_nixtla(io.StringIO(NIXTLA))


def test_nixtla_with_its_identifier_as_index_and_whole_numbers_for_times():
    table = pd.DataFrame({"unique_id": ["a", "a"], "ds": [1, 2], "y": [0.1, 0.2]}).set_index(
        "unique_id"
    )
    frame, schema = from_nixtla(table)
    assert schema.id == "unique_id" and frame["ds"].tolist() == [1, 2]


def test_gluonts_and_prophet():
    text = "item_id,timestamp,target,promo\nA,2024-01-01 00:00,1,0\nA,2024-01-01 06:30,2,1\n"
    frame, schema = from_gluonts(io.StringIO(text), known_future=["promo"])
    assert schema.targets == ("target",) and schema.known_future == ("promo",) and len(frame) == 2
    frame, schema = from_prophet(io.StringIO("ds,y,cap\n2024-01-01,1,9\n2024-01-02,2,9\n"), ["cap"])
    assert schema.id is None and schema.known_future == ("cap",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",y,", ",Y,", r"has no column `y`; its columns are `unique_id`, `ds`, `Y`"),
        ("1.5", "1,5", r"line 2 has 5 cells where 4 belong"),
        ("1.5", "none", r"`y`: 'none' at line 2 is not a number"),
        ("2024-01-03", "2024-01-01", r"1 rows repeat another row's `unique_id` and `ds`, first line 3"),
        ("01,2024-01-03", ",2024-01-03", r"`unique_id`: line 3 names no series"),
    ],
)
def test_a_wrong_table_is_named(old, new, message):
    with pytest.raises(SchemaError, match=message):
        from_nixtla(io.StringIO(NIXTLA.replace(old, new, 1)), known_future=["price"])
