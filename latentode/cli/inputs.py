"""Convert: a field's own files into one table that every other command reads.

    latentode convert physionet2012 set-a --out patients.parquet
    latentode fit patients.parquet --static-covariates Age,Gender,Height,ICUType --out model

What a table cannot say of itself, the roles of its columns, is told as the options of the next command.
Or without a table between, `latentode fit set-a --adapter physionet2012 --out model`.

What commands take in: tables, models, questions; torch is imported where a model is.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import typer

from latentode.adapters import CONVERTERS
from latentode.cli.options import split
from latentode.data.cells.columns import detect, some_names
from latentode.data.cells.usual_names import SURE_ID_NAMES, SURE_TIME_NAMES
from latentode.data.dataset import SeriesDataset
from latentode.data.files.table_files import read_table
from latentode.data.files.writing import check_output, check_place, write_table
from latentode.data.tables.file_format import FileFormat
from latentode.data.tables.left_out import left_out
from latentode.data.tables.schema import AUTO, NONE, Schema
from latentode.errors import LatentODEError

__all__ = [
    "check_outputs",
    "chosen",
    "duration",
    "folder_of",
    "load",
    "question",
    "read",
    "read_source",
    "refuse_unreadable",
    "schema_options_of",
    "served",
    "settings_of",
    "table_of",
    "tell_left_out",
    "write_converted",
]

SHOWN = 20  # names of columns in a line
SAY_NOTHING = ("constant text", "no name", "empty")


def write_converted(
    name: str, source: Path, out: Path, settings: Mapping[str, Any], overwrite: bool = False
) -> tuple[pd.DataFrame, Schema]:
    """Reads a source with an adapter and writes the table.

    Args:
        name: of an adapter, one of `CONVERTERS`.
        source: file or folder.
        out: with an ending that says its kind; nothing else is written.
        settings: further arguments of the adapter.
        overwrite: whether to replace a file that is there.

    Returns:
        What was written, and its schema.

    Raises:
        LatentODEError: for an unknown adapter, argument or ending, before anything is read.
        SchemaError: for a source that cannot be read.
    """
    adapter = _adapter(name, settings)
    check_output(out)
    if out.exists() and not overwrite:
        raise LatentODEError(f"{out} is there already; choose another --out, or pass --overwrite")
    frame, schema = adapter(source, **settings)
    write_table(frame, out)
    return frame, schema


def settings_of(texts: Sequence[str]) -> dict[str, Any]:
    """Arguments from `name=value`; a value is JSON where it is that, else text.

    Example:
        >>> settings_of(['elements=["TMAX", "TMIN"]', "duplicates=last"])
        {'elements': ['TMAX', 'TMIN'], 'duplicates': 'last'}
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise LatentODEError(f"--set {text!r} is not name=value, such as duplicates=last")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings


def read_source(name: str, source: Path) -> tuple[pd.DataFrame, Schema]:
    """What an adapter reads of a source, with nothing written.

    Raises:
        LatentODEError: for an unknown adapter.
        SchemaError: for a source that cannot be read.
    """
    return _adapter(name, {})(source)


def schema_options_of(schema: Schema, frame: pd.DataFrame) -> str:
    """The command line's options for what a table's schema has beyond what is detected in it.

    Example:
        >>> frame = pd.DataFrame({"id": ["a"], "time": [0.0], "hr": [1.0], "age": [60.0]})
        >>> schema = Schema(id="id", time="time", targets=("hr",), static_covariates=("age",))
        >>> schema_options_of(schema, frame)
        '--static-covariates age'
    """
    told = ("static_covariates", "known_future", "time_unit", "timezone")
    given = {n: getattr(schema, n) for n in told if getattr(schema, n)}
    if schema.cycles != AUTO:
        given["cycles"] = schema.periods or NONE
    for name, usual in (("id", SURE_ID_NAMES), ("time", SURE_TIME_NAMES)):
        if getattr(schema, name) not in (None, detect(frame.columns, usual)):
            given[name] = getattr(schema, name)
    for name in ("layout", "variable", "value", "targets"):
        wanted = getattr(schema, name)
        if wanted is not None and getattr(Schema(**given).resolve(frame), name) != wanted:
            given[name] = wanted
    options = []
    for option, value in given.items():
        text = value if isinstance(value, str) else ",".join(str(v) for v in value)
        options.append(f"--{option.replace('_', '-')} {shlex.quote(text)}")
    return " ".join(options)


def _adapter(name: str, settings: Mapping[str, Any]) -> Callable[..., tuple[pd.DataFrame, Schema]]:
    """The adapter of a name, which has these arguments."""
    if name not in CONVERTERS:
        raise LatentODEError(f"no adapter is called {name!r}; choose from {', '.join(CONVERTERS)}")
    known = [*signature(CONVERTERS[name]).parameters][1:]
    unknown = next((s for s in settings if s not in known), None)
    if unknown is not None:
        raise LatentODEError(f"{name} has no argument {unknown!r}; it has {', '.join(known)}")
    return CONVERTERS[name]


# Torch and Lightning take seconds to import. Commands that need no network do without: what needs one
# is imported inside the functions that do.
if TYPE_CHECKING:
    from latentode.data.on_disk import ParquetFolder
    from latentode.data.queries import At
    from latentode.estimators.forecaster import LatentODEForecaster
    from latentode.estimators.serving import AnyForecaster, ServedForecaster


def read(
    data: Sequence[Path], schema: Schema, file_format: FileFormat, adapter: str | None
) -> tuple[pd.DataFrame, Schema]:
    """A table with the roles of its columns: as the options say, or as an adapter does."""
    if adapter is None:
        schema = replace(schema, file_format=file_format)
        return read_table(data, schema), schema
    if schema != Schema() or file_format != FileFormat():
        raise LatentODEError(
            "--adapter says itself what columns and texts mean; leave out the options that do, or "
            "`latentode convert` first and give them with the table"
        )
    if len(data) != 1:
        raise LatentODEError("--adapter reads one file or folder; name one")
    return read_source(adapter, data[0])


def refuse_unreadable(frame: pd.DataFrame, schema: Schema, duplicates: str) -> None:
    """Refuses a table that a fit would refuse, before all is imported that a fit needs.

    Args:
        frame: the table.
        schema: of it.
        duplicates: what to do with several rows of one (series, time).

    Raises:
        SchemaError: naming column, row and fix.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the fit itself will say
        SeriesDataset.from_frame(frame, schema, duplicates).require_observed()


def folder_of(data: Sequence[Path], adapter: str | None, on_disk: bool | None) -> ParquetFolder | None:
    """The folder that is left on disk: where that is chosen or, if nothing is, where it is large."""
    from latentode.data.on_disk import ParquetFolder

    if on_disk and (adapter is not None or len(data) != 1):
        raise LatentODEError("--on-disk is of one folder of Parquet files; name it, and no adapter")
    if on_disk:
        return ParquetFolder(data[0])
    return ParquetFolder.at(data[0]) if on_disk is None and len(data) == 1 and not adapter else None


def table_of(
    fitted: AnyForecaster, data: Sequence[Path], file_format: FileFormat, adapter: str | None
) -> pd.DataFrame:
    """A table for a fitted model, read as its own was where the options do not say otherwise."""
    if adapter is not None:
        return read(data, Schema(), file_format, adapter)[0]
    frame = read_table(data, fitted.schema_, file_format)
    tell_left_out(frame, fitted.schema_)
    return frame


def tell_left_out(frame: pd.DataFrame, schema: Schema, err: bool = True) -> None:
    """Says which columns that say something have no part in a model, and why."""
    if schema.layout == "long" and schema.variable not in frame.columns:
        return  # which is refused
    found = [one for one in left_out(frame, schema) if one.why not in SAY_NOTHING]
    if found:
        named = some_names((one.name for one in found), SHOWN)
        reasons = ", ".join(sorted({one.why for one in found}))
        typer.echo(f"left out: {named} ({reasons})", err=err)


def check_outputs(
    tables: Mapping[str, Path | None], others: Mapping[str, Path | None] | None = None
) -> None:
    """Raises what would keep files from being written, before any work is done for them.

    Args:
        tables: by the option that names them.
        others: files that are no tables, likewise.
    """
    for option, path in tables.items():
        if path is not None:
            check_output(path, option)
    for option, path in (others or {}).items():
        if path is not None:
            check_place(path, option)
    named = [(o, p.resolve()) for o, p in {**tables, **(others or {})}.items() if p is not None]
    for (one, path), (other, same) in combinations(named, 2):
        if path == same:
            raise LatentODEError(f"{one} and {other} name the same file; give each its own")


def load(folder: Path) -> LatentODEForecaster:
    """The model in a folder, for what scikit-learn has a part in."""
    from latentode.estimators.forecaster import LatentODEForecaster

    return LatentODEForecaster.load(folder)


def served(folder: Path) -> ServedForecaster:
    """The model in a folder, to be asked."""
    from latentode.estimators.serving import ServedForecaster

    return ServedForecaster.load(folder)


def question(
    fitted: ServedForecaster,
    at: list[str] | None,
    queries: Path | None,
    ahead: str | None,
    file_format: FileFormat,
) -> At:
    """What the one of the three that was given asks for."""
    if queries is not None:
        return read_table(queries, fitted.schema_, file_format)
    if at:
        return list(fitted.axis_.parse(pd.Series(at), "--at"))
    return fitted.axis_.duration(str(ahead), "--ahead")


def duration(fitted: LatentODEForecaster, text: str | None, option: str) -> float | None:
    """A duration in the model's time units, if one was given."""
    return None if text is None else fitted.axis_.duration(text, option)


def chosen(fitted: ServedForecaster, variables: str | None) -> tuple[str, ...] | None:
    """Names of variables, if any were given, each of which the model knows."""
    names, known = split(variables), fitted.schema_.targets or ()
    for name in names or ():
        if name not in known:
            raise LatentODEError(f"--variables: {name!r} is none of {', '.join(known)}")
    return names


def families_told(frame: pd.DataFrame, schema: Schema) -> list[str]:
    """A sentence for each variable: which family `fit` would take with its usual horizon, and why."""
    from latentode.estimators.fitting import families_of
    from latentode.estimators.forecaster import LatentODEForecaster
    from latentode.estimators.judging import told_family

    try:
        found, names = families_of(LatentODEForecaster(verbose=False), frame, schema)
    except LatentODEError as error:
        return [f"families cannot be tried: {error}"]
    return [told_family(name, found.get(name)) for name in names]
