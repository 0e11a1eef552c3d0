"""ParquetFolder: a table larger than memory, in Parquet files that each hold whole series.

It is read once, file by file, and what is observed is kept as flat arrays in unnamed files on disk, by
which epochs go on as if the arrays lay in memory: the system reads the pages that a window lies on, and
forgets them when memory is needed. Series are in the order of their keys, so that training is on the
same windows in the same order as of the same series in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentode.data.cells.columns import column_of, some_names
from latentode.data.cells.time_axis import TimeAxis
from latentode.data.dataset import SeriesDataset
from latentode.data.files.typed_files import PARQUET, without_index
from latentode.data.scaling import keys_of
from latentode.data.split import HELD_OUT, MANY_SERIES, HeldOut, by_key
from latentode.data.stored import Kept, StoredDataset
from latentode.data.tables.schema import Schema
from latentode.data.windows import uniform
from latentode.errors import LatentODEError, SchemaError, as_path

__all__ = ["ParquetFolder"]

MANY_ROWS = 2_000_000  # of a folder that is left on disk where nobody says
SAMPLE = 500_000  # observations that are looked at in memory, to decide what a fit decides
MOST_HELD_OUT = 1_000_000  # rows that are held out, in memory


@dataclass(frozen=True)
class ParquetFolder:
    """A folder of Parquet files, each series whole in one of them, or in one folder `id=.../`.

    Args:
        path: of the folder; files of its folders are of it too.
    """

    path: Path

    @classmethod
    def at(cls, path: Any) -> ParquetFolder | None:
        """The folder at a path if it is one of Parquet files with more rows than memory is to hold."""
        if not isinstance(path, str | Path) or not Path(path).is_dir():
            return None
        folder = cls(Path(path))
        return folder if folder.files and folder.n_rows > MANY_ROWS else None

    @cached_property
    def files(self) -> list[Path]:
        """Its Parquet files by name; none where there are tables of other kinds too."""
        found = [p for p in sorted(as_path("path", self.path).rglob("*")) if p.is_file()]
        seen = [p for p in found if not any(n[0] in "._" for n in p.relative_to(self.path).parts)]
        return seen if all(p.suffix.lower() in PARQUET for p in seen) else []

    @cached_property
    def n_rows(self) -> int:
        """The rows of all files, as these say themselves."""
        return self._dataset.count_rows()

    @cached_property
    def first(self) -> pd.DataFrame:
        """The table of the first shard."""
        return next(self._tables())[1]

    def stored(
        self,
        schema: Schema | None = None,
        duplicates: str = "error",
        hold_out: bool = False,
        seed: int = 0,
    ) -> tuple[StoredDataset, HeldOut | None]:
        """Reads all of it, in one pass over its values.

        Args:
            schema: roles of the columns; what it leaves open is detected in the first file.
            duplicates: what to do with several rows of one (series, time): "error", "mean", "last".
            hold_out: whether to hold out a fifth of the series, in memory, but at most a million rows.
            seed: of what is held out.

        Raises:
            SchemaError: for what cannot be read, naming the file, or is not read from disk.
        """
        told = None if schema is None else schema.file_format
        if told is not None and (told.na_values or told.flags):
            raise SchemaError(
                f"na_values and flags ({told.describe()}) are read in memory only; read the folder by "
                "read_table (--in-memory), or leave such cells empty in its files"
            )
        begun = SeriesDataset.from_frame(self.first, schema, duplicates)
        schema = begun.schema
        if schema.known_future:
            raise SchemaError(
                f"known beforehand: {some_names(schema.known_future)}, which is read in memory only; "
                "read the folder by read_table (--in-memory), or leave it out"
            )
        self._refuse_other_columns()
        series = self._series(schema)
        chosen = self._held_out(series, seed) if hold_out else set()
        kept, others, sample = Kept.empty(begun), [], []
        for name, table in self._tables():
            self._refuse_new_variables(name, table, schema)
            part = _read(name, table, begun, duplicates)
            held = np.array([i in chosen for i in part.ids.tolist()], dtype=bool)
            if held.any():
                others.append(part.select(held).to_frame())
            if not held.all():
                if len(kept) <= SAMPLE:
                    sample.append(part.select(~held).to_frame() if held.any() else part.to_frame())
                kept.add(part, ~held)
        held_out = _together(others, begun) if others else None
        train = kept.dataset(begun, by_key(_together(sample, begun)))
        if held_out is None:
            return train, None
        few = len(kept) <= SAMPLE
        return train, HeldOut(
            held_out, whole=by_key(_together(sample + others, begun)) if few else None
        )

    @cached_property
    def _dataset(self) -> Any:
        """As pyarrow sees it."""
        try:
            import pyarrow
            from pyarrow import dataset as arrow
            from pyarrow import parquet
        except ImportError as error:
            raise SchemaError(
                f"{self.path} is of Parquet files, which need pyarrow: pip install latentode[parquet]"
            ) from error
        if not self.files:
            raise SchemaError(f"{self.path} is not a folder of Parquet files alone; name one")
        folders = [f for p in self.files for f in p.relative_to(self.path).parts[:-1] if "=" in f]
        inside = set(parquet.read_schema(self.files[0]).names) if folders else set()
        names = sorted({folder.partition("=")[0] for folder in folders} - inside)
        text = pyarrow.schema([(name, pyarrow.string()) for name in names])  # 007 is no 7
        return arrow.dataset(
            [str(p) for p in self.files],
            format="parquet",
            partitioning=arrow.partitioning(text, flavor="hive"),
            partition_base_dir=str(self.path),
        )

    @cached_property
    def _shards(self) -> dict[str, list[Any]]:
        """Fragments by the file, or by the folder `id=.../`, that they are in."""
        found = defaultdict(list)
        for fragment in self._dataset.get_fragments():
            place = Path(fragment.path).relative_to(self.path)
            found[str(place.parent if "=" in str(place.parent) else place)].append(fragment)
        return dict(found)

    def _tables(self, columns: list[str] | None = None) -> Iterator[tuple[str, pd.DataFrame]]:
        """The name of each shard and its table."""
        from pyarrow import ArrowException
        from pyarrow import dataset as arrow

        whole = self._dataset
        for name, fragments in self._shards.items():
            one = arrow.FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)
            try:
                yield name, without_index(one.to_table(columns=columns).to_pandas())
            except (OSError, ArrowException) as error:
                reason = str(error).partition("\n")[0]
                raise SchemaError(f"{name} cannot be read: {reason}; write it again") from error

    def _refuse_other_columns(self) -> None:
        """Raises for a file that has other columns than the first."""
        every = [f for fragments in self._shards.values() for f in fragments]
        first = every[0]
        for other in every[1:]:
            odd = set(first.physical_schema.names) ^ set(other.physical_schema.names)
            if odd:
                name, both = min(odd), (first, other)
                has, lacks = both if name in first.physical_schema.names else both[::-1]
                raise SchemaError(
                    f"{lacks.path} has no column `{name}`, which {has.path} has; files that are one "
                    "table have the same columns"
                )

    def _series(self, schema: Schema) -> list[Any]:
        """The series of all shards, each of which is in one of them."""
        if schema.id is None:
            raise SchemaError(
                f"no column of {self.path} names the series, of which each file has whole ones; say "
                "which does, id="
            )
        home, id_ = dict[Any, str](), schema.id
        for name, table in self._tables([id_]):
            for series in pd.unique(column_of(table, id_)).tolist():
                if series in home:
                    raise SchemaError(
                        f"series {series!r} is in {home[series]} and in {name}; write each series "
                        f"whole into one file, or into a folder {id_}={series}/ of several"
                    )
                home[series] = name
        return list(home)

    def _held_out(self, series: list[Any], seed: int) -> set[Any]:
        """A fifth of them, as in memory, unless these would be too many rows to hold in it."""
        n = len(series)
        if n < MANY_SERIES:
            raise LatentODEError(
                f"of a folder on disk whole series are held out, and {n} are too few; give "
                "validation=, a table of held-out series"
            )
        most = max(1, MOST_HELD_OUT * n // self.n_rows)
        order = np.argsort(uniform(keys_of(pd.Index(series)), seed), kind="stable")
        return {series[i] for i in order[: min(round(HELD_OUT * n), most)].tolist()}

    def _refuse_new_variables(self, name: str, table: pd.DataFrame, schema: Schema) -> None:
        """Raises for variables of a long table that its first shard, by which they are known, lacks."""
        if schema.layout != "long":
            return
        column = str(schema.variable)
        known = {*(schema.targets or ()), *schema.leave_out, *column_of(self.first, column).astype(str)}
        new = [v for v in column_of(table, column).dropna().astype(str).unique() if v not in known]
        if new:
            raise SchemaError(
                f"{name} has the variable `{new[0]}`, which the first file has not; name those that "
                "are to be modelled, targets="
            )


def _read(name: str, table: pd.DataFrame, begun: SeriesDataset, duplicates: str) -> SeriesDataset:
    """A shard, read as the first one was."""
    try:
        part = SeriesDataset.from_frame(table, begun.schema, duplicates, begun.notes)
    except LatentODEError as error:
        raise SchemaError(f"{name}: {error}") from error
    if replace(part.axis, declared=begun.axis.declared) != begun.axis:
        raise SchemaError(
            f"{name} has times that are {_axis(part.axis)}, but the first file has "
            f"{_axis(begun.axis)}; write both alike"
        )
    return replace(part, axis=begun.axis)


def _axis(axis: TimeAxis) -> str:
    zone = f" of {axis.timezone}" if axis.timezone else ""
    return f"{axis.kind}s in {axis.unit}{zone}"


def _together(frames: list[pd.DataFrame], begun: SeriesDataset) -> SeriesDataset:
    """Tables of several shards as one, in memory."""
    frame = pd.concat(frames, ignore_index=True)
    return SeriesDataset.of_table(frame, begun.schema, begun.axis)
