"""Convert: a field's own files into one table that every other command reads.

    latentode convert physionet2012 set-a --out patients.parquet
    latentode fit patients.parquet --static-covariates Age,Gender,Height,ICUType --out model

What a table cannot say of itself, the roles of its columns, is told as the options of the next command.
Or without a table between, `latentode fit set-a --adapter physionet2012 --out model`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd

from latentode.adapters import CONVERTERS
from latentode.data.columns import detect
from latentode.data.files import PARQUET
from latentode.data.schema import ID_NAMES, TIME_NAMES, Schema
from latentode.errors import LatentODEError

__all__ = ["write_converted", "read_source", "schema_options_of", "settings_of"]

ENDINGS = (".csv", ".csv.gz", *PARQUET)


def write_converted(
    name: str, source: Path, out: Path, settings: Mapping[str, Any], overwrite: bool = False
) -> tuple[pd.DataFrame, Schema]:
    """Reads a source with an adapter and writes the table.

    Args:
        name: of an adapter, one of `CONVERTERS`.
        source: file or folder.
        out: `.csv`, `.csv.gz` or `.parquet`; nothing else is written.
        settings: further arguments of the adapter.
        overwrite: whether to replace a file that is there.

    Returns:
        What was written, and its schema.

    Raises:
        LatentODEError: for an unknown adapter, argument or ending, before anything is read.
        SchemaError: for a source that cannot be read.
    """
    adapter = _adapter(name, settings)
    if not out.name.lower().endswith(ENDINGS):
        raise LatentODEError(f"{out} ends in none of {', '.join(ENDINGS)}; give it one of them")
    if out.exists() and not overwrite:
        raise LatentODEError(f"{out} is there already; choose another --out, or pass --overwrite")
    frame, schema = adapter(source, **settings)
    _write(frame, out)
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
    told = ("static_covariates", "known_future", "time_unit", "timezone", "cycles")
    given = {n: getattr(schema, n) for n in told if getattr(schema, n)}
    for name, usual in (("id", ID_NAMES), ("time", TIME_NAMES)):
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


def _write(frame: pd.DataFrame, out: Path) -> None:
    if out.suffix.lower() not in PARQUET:
        frame.to_csv(out, index=False)
        return
    try:
        frame.to_parquet(out, index=False)
    except ImportError as error:
        raise LatentODEError(
            f"{out} is Parquet, which needs pyarrow: pip install latentode[parquet], or write a .csv"
        ) from error
