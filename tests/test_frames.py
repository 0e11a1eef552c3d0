"""Frames of other libraries go in wherever one of pandas does, and say the same."""

import pandas as pd
import polars
import pyarrow
import pytest
from making import same, tiny

from latentode import SchemaError
from latentode.data.columns import to_pandas
from latentode.data.report import inspect

KINDS = {
    "polars": polars.from_pandas,
    "lazy": lambda frame: polars.from_pandas(frame).lazy(),
    "arrow": pyarrow.Table.from_pandas,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecaster_answers_the_same_whatever_library_the_history_is_of(fitted, frame, kind):
    history = KINDS[kind](frame)
    same(fitted.predict(history, at=1.5), fitted.predict(frame, at=1.5))
    asked = pd.DataFrame({"id": ["s0", "s1"], "time": [13.0, 14.5]})
    same(fitted.predict(history, at=KINDS[kind](asked)), fitted.predict(frame, at=asked))


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
