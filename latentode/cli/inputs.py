"""What commands take in: tables, models, questions; torch is imported where a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from latentode.cli.convert import read_source
from latentode.cli.options import split
from latentode.data.files import read_table
from latentode.data.schema import Schema
from latentode.errors import LatentODEError

# Torch and Lightning take seconds to import. Commands that need no network do without: what needs one
# is imported inside the functions that do.
if TYPE_CHECKING:
    from latentode.data.queries import At
    from latentode.estimators.forecaster import LatentODEForecaster

__all__ = ["chosen", "duration", "load", "question", "read", "table_of"]


def read(
    data: Path, schema: Schema, na_values: str | None, adapter: str | None
) -> tuple[pd.DataFrame, Schema]:
    """A table with the roles of its columns: as the options say, or as an adapter does."""
    if adapter is None:
        return read_table(data, schema, split(na_values) or ()), schema
    if schema != Schema() or na_values is not None:
        raise LatentODEError(
            "--adapter says itself what columns and texts mean; leave out the options that do, or "
            "`latentode convert` first and give them with the table"
        )
    return read_source(adapter, data)


def table_of(
    fitted: LatentODEForecaster, data: Path, na_values: str | None, adapter: str | None
) -> pd.DataFrame:
    """A table for a fitted model."""
    if adapter is not None:
        return read(data, Schema(), na_values, adapter)[0]
    return read_table(data, fitted.schema_, split(na_values) or ())


def load(folder: Path) -> LatentODEForecaster:
    """The model in a folder."""
    from latentode.estimators.forecaster import LatentODEForecaster

    return LatentODEForecaster.load(folder)


def question(
    fitted: LatentODEForecaster,
    at: list[str] | None,
    queries: Path | None,
    ahead: str | None,
    missing: tuple[str, ...],
) -> At:
    """What the one of the three that was given asks for."""
    if queries is not None:
        return read_table(queries, fitted.schema_, missing)
    if at:
        return list(fitted.axis_.parse(pd.Series(at), "--at"))
    return fitted.axis_.duration(str(ahead), "--ahead")


def duration(fitted: LatentODEForecaster, text: str | None, option: str) -> float | None:
    """A duration in the model's time units, if one was given."""
    return None if text is None else fitted.axis_.duration(text, option)


def chosen(fitted: LatentODEForecaster, variables: str | None) -> tuple[str, ...] | None:
    """Names of variables, if any were given, each of which the model knows."""
    names, known = split(variables), fitted.schema_.targets or ()
    for name in names or ():
        if name not in known:
            raise LatentODEError(f"--variables: {name!r} is none of {', '.join(known)}")
    return names
