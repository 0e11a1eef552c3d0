"""Distributed scoring: forecasts and backtests of many series, by an engine of several workers.

A table is cut into partitions by a hash of the identifier, so that a series is always whole; each
partition is answered by the saved model, which a worker loads once and without Lightning. No series
depends on its companions, so the answer is that of the forecaster on one machine.

An engine is an executor of `concurrent.futures` or a pool with a `map` of its own: processes of one
machine, the workers of a Dask or Ray cluster, or of MPI by `mpi4py.futures`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.util import hash_array

from latentode.data.cells.columns import IntoFrame, column_of, to_pandas
from latentode.data.tables.joined_columns import with_joined_columns
from latentode.errors import LatentODEError, check_whole
from latentode.estimators.forecaster import LatentODEForecaster
from latentode.estimators.persistence import model_file

__all__ = ["backtest", "predict"]

KEPT = 4  # models that a worker holds
Model = LatentODEForecaster | str | Path
Engine = Any  # an Executor, a pool, a Dask client, "dask", "ray" or None
FRAMES = (type, pd.DataFrame, pd.Series, pd.Index)  # which have a `map`, but carry out nothing
Ask = Callable[[LatentODEForecaster, pd.DataFrame], pd.DataFrame]


def predict(
    model: Model,
    frame: IntoFrame,
    at: Any,
    engine: Engine = None,
    partitions: int = 8,
    **options: Any,
) -> pd.DataFrame:
    """The forecaster's `predict` over partitions of a table.

    Args:
        model: a fitted forecaster, or the folder of a saved one, which every worker must see.
        frame: histories of several series.
        at: as for `predict`; of a frame each partition takes the rows of its own series.
        engine: None for this process; an executor of `concurrent.futures`, or a pool such as those of
            `multiprocessing` and `ray.util.multiprocessing`; a Dask client; "dask" for a client of this
            machine, "ray" for a pool of the cluster at `RAY_ADDRESS`, or of this machine.
        partitions: into how many parts the series are cut; a few for each worker.
        **options: others of `predict`, such as `count`, `quantiles` and `variables`.

    Returns:
        What `predict` returns, series in the order of their first rows.

    Raises:
        LatentODEError: for a model without an identifier, or an engine that is none.
    """
    schema = _loaded(_source(model)).schema_
    name, at = schema.id, with_joined_columns(at, schema) if isinstance(at, pd.DataFrame) else at
    if isinstance(at, pd.DataFrame) and name in at.columns:  # of series that nothing is asked of
        table = with_joined_columns(to_pandas(frame), schema)
        frame = cast(pd.DataFrame, table[column_of(table, str(name)).isin(column_of(at, str(name)))])
    return _over_partitions(model, frame, partial(_predict, at=at, options=options), engine, partitions)


def backtest(
    model: Model, frame: IntoFrame, engine: Engine = None, partitions: int = 8, **options: Any
) -> pd.DataFrame:
    """The forecaster's `backtest` over partitions of a table; arguments as for `predict`."""
    return _over_partitions(model, frame, partial(_backtest, options=options), engine, partitions)


def _predict(
    forecaster: LatentODEForecaster, part: pd.DataFrame, at: Any, options: dict[str, Any]
) -> pd.DataFrame:
    name = forecaster.schema_.id
    if isinstance(at, pd.DataFrame):
        at = at[column_of(at, str(name)).isin(column_of(part, str(name)))]
    return forecaster.predict(part, at, **options)


def _backtest(
    forecaster: LatentODEForecaster, part: pd.DataFrame, options: dict[str, Any]
) -> pd.DataFrame:
    return forecaster.backtest(part, **options)


def _over_partitions(
    model: Model, frame: IntoFrame, ask: Ask, engine: Engine, partitions: int
) -> pd.DataFrame:
    """Answers of all partitions, as those of one table."""
    check_whole("partitions", partitions)
    source = _source(model)
    schema = _loaded(source).schema_
    name, table = schema.id, with_joined_columns(to_pandas(frame), schema)
    if name is None:
        raise LatentODEError("this model knows one series only, which is not cut; ask it itself")
    if name not in table.columns:
        raise LatentODEError(f"column `{name}`, which names the series, is not in the table")
    codes, ids = pd.factorize(column_of(table, name))
    if (codes < 0).any():
        raise LatentODEError(f"column `{name}` names no series in some row; fill it in")
    hashes = hash_array(np.array([str(i) for i in ids], dtype=object))
    part_of = (hashes % np.uint64(partitions)).astype(np.int64)[codes]
    parts = [cast(pd.DataFrame, table[part_of == n]) for n in np.unique(part_of)]
    with _executor(engine) as executor:
        found = list(executor.map(partial(_answered, source, ask), parts))
    answer = pd.concat(found, ignore_index=True)
    place = pd.Index(ids).get_indexer(pd.Index(column_of(answer, name)))
    return answer.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def _answered(source: str | bytes, ask: Ask, part: pd.DataFrame) -> pd.DataFrame:
    """Of one partition, on a worker."""
    return ask(_loaded(source), part)


class _Here:
    """An executor of this process."""

    def map(self, answer: Callable[..., Any], parts: list[pd.DataFrame]) -> Iterator[Any]:
        return map(answer, parts)


@contextmanager
def _executor(engine: Engine) -> Iterator[Any]:
    """What carries out the parts; one that was named is closed again."""
    named = engine if isinstance(engine, str) else ""  # frames have no truth to compare
    if engine is None:
        yield _Here()
    elif named == "dask":
        with _needed("dask.distributed", "dask").Client() as client:
            yield client.get_executor()
    elif named == "ray":
        with _needed("ray.util.multiprocessing", "ray").Pool() as pool:
            yield pool
    elif not isinstance(engine, str) and hasattr(engine, "get_executor"):
        yield engine.get_executor()
    elif callable(getattr(engine, "map", None)) and not isinstance(engine, FRAMES):
        yield engine
    else:
        raise LatentODEError(
            f"engine {str(engine)[:80]!r} is none: give None, 'dask', 'ray', a Dask client, a pool, or "
            "an executor such as concurrent.futures.ProcessPoolExecutor()"
        )


def _needed(module: str, engine: str) -> Any:
    """A module of an engine that is an extra of the package."""
    try:
        return import_module(module)
    except ImportError as error:
        extra = {"dask": "distributed"}.get(engine, engine)
        raise LatentODEError(
            f"engine={engine!r} needs a package that is not there: pip install latentode[{extra}]"
        ) from error


def _source(model: Model) -> str | bytes:
    """What a worker loads a model from: its folder, or the bytes of its file."""
    if not isinstance(model, LatentODEForecaster):
        return str(Path(model).resolve())
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        return model_file(folder).read_bytes()


@lru_cache(maxsize=KEPT)
def _loaded(source: str | bytes) -> LatentODEForecaster:
    """The model, once in each process."""
    if isinstance(source, str):
        return LatentODEForecaster.load(source)
    with tempfile.TemporaryDirectory() as folder:
        model_file(folder).write_bytes(source)
        return LatentODEForecaster.load(folder)
