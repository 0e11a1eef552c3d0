"""Frames of other libraries go in wherever one of pandas does, and say the same."""

import pandas as pd
import polars
import pyarrow
import pytest
from making import same, tiny

from latentode import SchemaError
from latentode.data.cells.columns import to_pandas
from latentode.data.report import inspect

KINDS = {
    "polars": polars.from_pandas,
    "lazy": lambda frame: polars.from_pandas(frame).lazy(),
    "arrow": pyarrow.Table.from_pandas,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecaster_answers_the_same_whatever_library_the_history_is_of(fitted, frame, kind):
    history = KINDS[kind](frame)
    asked = pd.DataFrame({"id": ["s0", "s1"], "time": [13.0, 14.5]})
    answers = {
        "predict": lambda table: fitted.predict(table, at=1.5),
        "draws": lambda table: fitted.predict(table, at=1.5, samples=3),
        "forecast": lambda table: fitted.forecast(table, at=1.5).to_frame(),
        "its draws": lambda table: fitted.forecast(table, at=1.5).samples_frame(2),
        "components": lambda table: fitted.forecast(table, at=1.5).components(),
        "asked": lambda table: fitted.predict(
            table, at=asked if table is frame else KINDS[kind](asked)
        ),
        "backtest": lambda table: fitted.backtest(table, origins=2),
        "compare": lambda table: fitted.compare(table, origins=2),
        "evaluate": lambda table: fitted.evaluate(table, origins=2),
    }
    for name, answer in answers.items():
        found, expected = answer(history), answer(frame)
        own = pyarrow.Table if kind == "arrow" else polars.DataFrame
        assert isinstance(found, own) and isinstance(expected, pd.DataFrame), name
        same(to_pandas(found), expected.reset_index() if name == "evaluate" else expected)


def test_a_forecaster_is_fitted_to_polars(frame):
    one = tiny(max_epochs=1).fit(polars.from_pandas(frame))
    other = tiny(max_epochs=1).fit(frame)
    same(one.predict(frame, at=1.0), other.predict(frame, at=1.0))


def test_a_report_of_polars_is_that_of_pandas(frame):
    assert inspect(polars.from_pandas(frame)).to_text() == inspect(frame).to_text()


def test_what_is_no_frame_is_refused():
    with pytest.raises(
        SchemaError, match=r"list is no table; give a frame of pandas, Polars or PyArrow"
    ):
        to_pandas([1, 2])
