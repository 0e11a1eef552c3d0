"""What users bring, however odd, is answered or refused; no answer is begun that is too large."""

import decimal
import re

import numpy as np
import pandas as pd
import pytest
from making import tiny

from latentode import (
    Forecasting,
    IrregularDataModule,
    LatentODEError,
    LatentODEForecaster,
    Schema,
    SchemaError,
    SeriesDataset,
    read_table,
)
from latentode.data.report import inspect
from latentode.errors import MOST_VALUES, understood

ODD = [
    *(np.inf, -np.inf, 1e300, 1e-300, 10**400, 2**63, 2**70, True, None, [1], {}, b"x", 1j, object()),
    *("9" * 400, "1" + "0" * 30, "٣", "\x00", "NaT", pd.NaT, decimal.Decimal("NaN"), np.nan),
]


@pytest.mark.parametrize("column", ["id", "time", "x"])
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_odd_cells_are_refused_or_read_as_finite_numbers(fitted, frame, column, every):
    for number, value in enumerate(ODD):
        cells = [value] * 20 if every else [*frame[column].head(19), value]
        odd = frame.head(20).assign(**{column: pd.Series(cells, dtype=object)})
        # A prediction takes longer, and reads a table in the same way.
        for act in (inspect, lambda f: fitted.predict(f, 1.0))[: 2 if number % 4 == 0 else 1]:
            try:
                found = act(odd)
            except LatentODEError as error:
                assert str(error)
            else:
                numbers = found.select_dtypes("number") if act is not inspect else pd.DataFrame()
                assert np.isfinite(numbers.to_numpy(dtype=float)).all(), value


@pytest.mark.parametrize("at", [*ODD, -1.0, 1e15, [1e300], [2**63], [10**400], "6h", {"a": 1}, [[1]]])
@pytest.mark.filterwarnings("ignore")
def test_odd_questions_are_refused_or_answered_in_finite_numbers(fitted, frame, at):
    try:
        found = fitted.predict(frame, at)
    except LatentODEError as error:
        assert str(error)
    else:
        assert np.isfinite(found.select_dtypes("number").to_numpy(dtype=float)).all()


def test_answers_too_large_are_refused_before_they_are_made(fitted, frame):
    refused = re.escape(f"may hold {MOST_VALUES:.0e}; ask for fewer")
    many, paths = 2**40, fitted.sample_paths(frame, draws=1000)
    for act in (
        lambda: fitted.predict(frame, 1.0, count=many),
        lambda: fitted.predict(frame, 1.0, samples=many),
        lambda: fitted.sample_paths(frame, draws=many).rate(1.0),
        lambda: paths.integral(1e12),
        lambda: paths.first_passage_time("x", above=9.0, readings=1e-12),
        lambda: fitted.sample_paths(frame, horizon=1e12).first_passage_time("x", above=9.0),
    ):
        with pytest.raises(LatentODEError, match=refused):
            act()
    for seed in (-1, 2**63, 0.5):
        with pytest.raises(LatentODEError, match="seed must be"):
            fitted.predict(frame, 1.0, samples=2, seed=seed)


def test_errors_of_others_become_ours_and_keep_their_cause():
    with (
        pytest.raises(SchemaError, match=r"the table holds something.*unhashable") as told,
        understood("the table"),
    ):
        hash([])
    assert isinstance(told.value.__cause__, TypeError)
    for ours in (SchemaError("as it is"), OSError("full")):
        with pytest.raises(type(ours), match=str(ours)), understood("the table"):
            raise ours


@pytest.mark.parametrize("door", [inspect, SeriesDataset.from_frame])
def test_an_argument_that_is_not_there_is_a_type_error_as_everywhere(door):
    table = pd.DataFrame({"time": [0, 1], "y": [1.0, 2.0]})
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        door(table, colour="red")


SCHEMA_DOORS = {
    "dataset": lambda table, schema: SeriesDataset.from_frame(table, schema),
    "report": lambda table, schema: inspect(table, schema),
    "module": lambda table, schema: IrregularDataModule(table, schema=schema, task=Forecasting(1.0)),
    "fit": lambda table, schema: tiny().fit(table, schema),
    "file": lambda _, schema: read_table("there is none.csv", schema),
}


@pytest.mark.parametrize("door", SCHEMA_DOORS)
@pytest.mark.parametrize("given", ["id", {"id": "id"}, ["id"], 5, Schema], ids=repr)
def test_what_is_no_schema_is_refused_at_every_door(door, given, frame):
    with pytest.raises(SchemaError, match=r"schema is a Schema, such as Schema\(id='patient'\); got "):
        SCHEMA_DOORS[door](frame, given)


@pytest.mark.parametrize("place", [None, 5, b"model", ["model"], pd.DataFrame({"x": [1]})], ids=repr)
def test_what_names_no_place_is_refused(place, fitted):
    for door in (
        LatentODEForecaster.load,
        LatentODEForecaster.from_checkpoint,
        fitted.save,
        fitted.export,
        lambda place: read_table([place]),
    ):
        with pytest.raises(LatentODEError, match=r"must be text or a pathlib\.Path that names it"):
            door(place)
