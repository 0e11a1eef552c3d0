"""Answers: frames of the kind that was asked with, pandas, Polars or PyArrow."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import narwhals.stable.v2 as nw
import pandas as pd

from latentode.data.columns import IntoFrame

__all__ = ["FrameT", "in_kind_of", "kind_of"]

FrameT = TypeVar("FrameT", bound=IntoFrame)


def kind_of(given: IntoFrame) -> IntoFrame:
    """An empty frame of the library of another, to be kept in its place for later answers.

    Example:
        >>> len(kind_of(pd.DataFrame({"x": [1.0]})))
        0
    """
    return in_kind_of(given, pd.DataFrame())


def in_kind_of(given: FrameT, answer: pd.DataFrame) -> FrameT:
    """An answer as a frame of the library that the question came from.

    Args:
        given: the frame that was asked with; a lazy one of Polars is answered by an eager one, and
            what is neither of pandas, Polars nor PyArrow by one of pandas.
        answer: of pandas; named levels of its index become columns in other libraries.

    Example:
        >>> answer = pd.DataFrame({"mean": [1.0]})
        >>> in_kind_of(pd.DataFrame(), answer) is answer
        True
    """
    if isinstance(given, pd.DataFrame):
        return cast(Any, answer)
    known = nw.from_native(cast(Any, given), pass_through=True)
    if not isinstance(known, nw.DataFrame | nw.LazyFrame):
        return cast(Any, answer)
    named = any(name is not None for name in answer.index.names)
    table = nw.from_native(answer.reset_index() if named else answer)
    if known.implementation.is_polars():
        return cast(Any, table.to_polars())
    return cast(Any, table.to_arrow() if known.implementation.is_pyarrow() else answer)
