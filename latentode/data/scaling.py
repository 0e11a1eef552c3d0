"""Units: what the scaled values of queries are in the table, each by its own variable's transform.

Scaling: what turns data units into model units, fitted on training observations only. A variable that
the schema says to transform is transformed first, then standardised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.util import hash_array

from latentode.data.cells.columns import cell_name, column_of
from latentode.data.cells.number_text import read_numbers
from latentode.data.dataset import SeriesDataset
from latentode.data.tables.transforms import Transform, fit_transform, restore
from latentode.data.windows import mix
from latentode.errors import SchemaError

__all__ = [
    "Scaling",
    "Units",
    "in_parts",
    "keys_of",
    "refuse_values",
    "series_keys",
]

FARTHEST = float(np.finfo(np.float32).max * np.finfo(np.float32).eps)  # whose digits float32 tells
SMALLEST = float(np.sqrt(np.finfo(np.float64).tiny))  # what float64 can square
SQUARED = float(np.sqrt(np.finfo(np.float32).max))  # what float32 can square
AT_ONCE = 1 << 20  # values of which sums are made, so that they may lie on disk


@dataclass(frozen=True)
class Units:
    r"""The map $u = (T(x) - l) / s$ of each query and back.

    Args:
        loc: what scaled 0 is, after the transform, shape `(queries,)`.
        scale: what one scaled unit is, likewise.
        transforms: each with the queries whose values it transforms; none for the others.
    """

    loc: np.ndarray
    scale: np.ndarray
    transforms: tuple[tuple[Transform, np.ndarray], ...] = ()

    def to_data(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled values of shape `(..., queries)` as the table has them."""
        value = self.loc + self.scale * scaled
        for transform, place in self.transforms:
            value[..., place] = transform.inverse(value[..., place])
        return value

    def to_scaled(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `to_data`; infinite beyond a transform's domain."""
        value = np.array(value, dtype=np.float64)
        for transform, place in self.transforms:
            value[..., place] = transform.forward(value[..., place])
        return (value - self.loc) / self.scale

    def log_slope(self, value: np.ndarray) -> np.ndarray:
        """log du/dx at values of data units, within each transform's domain."""
        slope = np.broadcast_to(-np.log(self.scale), np.shape(value)).copy()
        for transform, place in self.transforms:
            slope[..., place] += transform.log_slope(np.asarray(value)[..., place])
        return slope

    def outside(self, value: np.ndarray) -> np.ndarray:
        """Which values `(queries,)` lie beyond their transform's domain."""
        found = np.zeros(np.shape(value), dtype=bool)
        for transform, place in self.transforms:
            found[place] = transform.outside(np.asarray(value)[place])
        return found


@dataclass(frozen=True)
class Scaling:
    """Standardisation of variables, known-future columns and numeric statics; categories of the others.

    Args:
        loc: mean of each variable, transformed where it is, over its training observations.
        scale: standard deviation likewise; 1 for a constant.
        known_loc: mean of each known-future column.
        known_scale: standard deviation of each known-future column.
        static_loc: per numeric static column its mean.
        static_scale: per numeric static column its standard deviation.
        categories: per text static column its values in training, in sorted order.
        transforms: of each variable, None where there is none; empty if none has one.
    """

    loc: tuple[float, ...]
    scale: tuple[float, ...]
    known_loc: tuple[float, ...] = ()
    known_scale: tuple[float, ...] = ()
    static_loc: dict[str, float] = field(default_factory=dict)
    static_scale: dict[str, float] = field(default_factory=dict)
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    transforms: tuple[Transform | None, ...] = ()

    @classmethod
    def fit(cls, dataset: SeriesDataset) -> Scaling:
        """Fits on every observation of `dataset`, which must hold training series only.

        Raises:
            SchemaError: for a value beyond the domain of its variable's transform.
        """
        transforms = _fit_transforms(dataset)
        from sklearn.preprocessing import StandardScaler  # here, since a fitted model loads without

        scalers = [StandardScaler() for _ in dataset.variables]
        for _, variable, _, value in in_parts(dataset):
            for v in np.unique(variable).tolist():
                own = value[variable == v]
                transform = transforms[v] if transforms else None
                if transform is None:
                    _refuse_uneven(dataset, v, own)
                scalers[v].partial_fit((own if transform is None else transform.forward(own))[:, None])
        loc, scale = _ends_of(scalers)
        known = dataset.known_paths()[1].T if dataset.schema.known_future else []
        known_loc, known_scale = _standardise(list(known))
        static = dataset.static_frame()
        texts = {c: column_of(static, c).dropna().astype(str) for c in static.columns}
        numeric = [c for c in static.columns if pd.api.types.is_numeric_dtype(column_of(static, c))]
        columns = [column_of(static, c).dropna().to_numpy(dtype=np.float64) for c in numeric]
        static_loc, static_scale = _standardise(columns)
        return cls(
            loc,
            scale,
            known_loc,
            known_scale,
            dict(zip(numeric, static_loc, strict=True)),
            dict(zip(numeric, static_scale, strict=True)),
            {c: tuple(sorted(t.unique())) for c, t in texts.items() if c not in numeric},
            transforms,
        )

    @property
    def n_static(self) -> int:
        """Number of encoded static features."""
        return 2 * len(self.static_loc) + sum(len(c) for c in self.categories.values())

    def scale_values(self, value: np.ndarray, variable: np.ndarray) -> np.ndarray:
        """Values of the given variables in standard deviations from their mean."""
        return self.units_of(variable).to_scaled(value)

    def units_of(self, variable: np.ndarray) -> Units:
        """What the scaled values of queries of the given variables are in data units."""
        transforms = tuple(
            (t, np.nonzero(variable == v)[0]) for v, t in enumerate(self.transforms) if t is not None
        )
        return Units(np.asarray(self.loc)[variable], np.asarray(self.scale)[variable], transforms)

    def refuse_outside(self, dataset: SeriesDataset) -> None:
        """Raises for the first observation beyond the domain of its variable's transform.

        Raises:
            SchemaError: naming column, row, value and fix.
        """
        for v, transform in enumerate(self.transforms):
            if transform is not None:
                _refuse_outside(dataset, v, transform)
        for series, variable, _, value in in_parts(dataset):
            near = np.abs(self.scale_values(value, variable)) < FARTHEST
            for far in np.flatnonzero(~near)[:1]:
                raise SchemaError(
                    f"column `{dataset.variables[variable[far]]}` holds {value[far]:g} in series "
                    f"{dataset.name(int(series[far]))!r}, too far from values of training for 32 bits; "
                    "correct it, or write all values in one unit"
                )

    def scale_known(self, value: np.ndarray) -> np.ndarray:
        """Known columns, shape `(rows, known)`, likewise."""
        return (value - np.asarray(self.known_loc)) / np.asarray(self.known_scale)

    @property
    def static_parts(self) -> list[slice]:
        """Which static features are those of each column, in the order of `encode_static`."""
        widths = [2] * len(self.static_loc) + [len(c) for c in self.categories.values()]
        ends = np.cumsum(widths, dtype=int).tolist()
        return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]

    def unknown_categories(self, dataset: SeriesDataset) -> list[str]:
        """Values of static columns that training did not have, each in words with one of its series."""
        frame, found = dataset.static_frame(), []
        for name, categories in self.categories.items():
            column = column_of(frame, name)
            new = column.notna() & ~column.astype(str).isin(categories)
            for value in column[new].astype(str).unique():
                at = int((new & (column.astype(str) == value)).to_numpy().argmax())
                found.append(f"`{name}` {value!r} (series {dataset.name(at)!r})")
        return found

    def encode_static(self, dataset: SeriesDataset) -> np.ndarray:
        """Static features, shape `(series, n_static)`.

        A numeric column gives two: its standardised value (0 where it is missing) and whether it
        is there. A text column gives one per training category; of an unknown one all are 0, as
        training has them where it hides a column (`IrregularDataModule`).
        """
        frame = dataset.static_frame()
        parts = [np.zeros((len(dataset), 0))]
        for name in self.static_loc:
            value = _static_numbers(column_of(frame, name))
            there = ~np.isnan(value)
            scaled = (value - self.static_loc[name]) / self.static_scale[name]
            parts.append(np.stack([np.where(there, scaled, 0.0), there], axis=1))
        for name, categories in self.categories.items():
            column = column_of(frame, name)
            code = pd.Index(categories).get_indexer(pd.Index(column.astype(str)))
            code[column.isna()] = -1
            parts.append(code[:, None] == np.arange(len(categories)))
        return np.concatenate(parts, axis=1, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Primitives; `from_dict` is its inverse."""
        own = asdict(replace(self, transforms=()))
        lists = [None if t is None else t.to_list() for t in self.transforms]
        return {**own, "transforms": lists}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Scaling:
        """Reads what `to_dict` wrote, also after a round trip through JSON."""
        return cls(
            loc=tuple(state["loc"]),
            scale=tuple(state["scale"]),
            known_loc=tuple(state["known_loc"]),
            known_scale=tuple(state["known_scale"]),
            static_loc=dict(state["static_loc"]),
            static_scale=dict(state["static_scale"]),
            categories={k: tuple(v) for k, v in state["categories"].items()},
            transforms=tuple(restore(t) for t in state.get("transforms", ())),
        )


def series_keys(dataset: SeriesDataset) -> np.ndarray:
    """A random key per series that depends on its identifier only, uint64."""
    return keys_of(dataset.ids)


def keys_of(ids: pd.Index) -> np.ndarray:
    """The random keys of series of these identifiers, uint64."""
    # One by one: pandas formats an index of datetimes by all of its entries together.
    names = np.array([str(i) for i in ids], dtype=object)
    return mix(hash_array(names, categorize=False), 0)


def _fit_transforms(dataset: SeriesDataset) -> tuple[Transform | None, ...]:
    """Each variable's transform, fitted to its training values; empty if none has one."""
    asked = dataset.schema.transforms
    if not asked:
        return ()
    found: list[Transform | None] = []
    for v, name in enumerate(dataset.variables):
        if name not in asked:
            found.append(None)
            continue
        values = dataset.value[dataset.variable == v]
        # By domain before the power is fitted, which scikit-learn would refuse without naming a row.
        _refuse_outside(dataset, v, fit_transform(asked[name], np.zeros(0)))
        found.append(fit_transform(asked[name], values))
    return tuple(found)


def _refuse_uneven(dataset: SeriesDataset, variable: int, values: np.ndarray) -> None:
    """Raises where values are as good as equal, or all but one are beside that one."""
    name, off = dataset.variables[variable], np.abs(values - np.median(values))
    if 0 < off.max(initial=0.0) < SMALLEST:
        raise SchemaError(
            f"column `{name}` holds values so close together, {off.max():g} apart, that no square of "
            "it is left in 64 bits; write it in a smaller unit"
        )
    if (off > 0).any() and off.max() > SQUARED * np.median(off[off > 0]):
        raise SchemaError(
            f"column `{name}` holds {values[off.argmax()]:g}, beside which its other values are one "
            "and the same in 32 bits; correct it, or have the logarithm modelled by transforms="
        )


def _refuse_outside(dataset: SeriesDataset, variable: int, transform: Transform) -> None:
    bad = transform.outside(dataset.value[dataset.variable == variable])
    what = f"transform {transform.name!r}"
    refuse_values(dataset, variable, bad, what, transform.wants, transform.instead)


def _static_numbers(column: pd.Series) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(column) and column.notna().any():
        column = read_numbers(column, "static_covariates").column
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _standardise(columns: list[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from sklearn.preprocessing import StandardScaler

    filled = (values if len(values) else np.zeros(1) for values in columns)
    return _ends_of([StandardScaler().fit(values[:, None]) for values in filled])


def _ends_of(scalers: list[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and scales; 0 and 1 of what was given nothing."""
    given = [hasattr(scaler, "mean_") for scaler in scalers]
    pairs = list(zip(scalers, given, strict=True))
    return (
        tuple(float(one.mean_[0]) if some else 0.0 for one, some in pairs),  # type: ignore[index]
        tuple(float(one.scale_[0]) if some else 1.0 for one, some in pairs),  # type: ignore[index]
    )


def in_parts(dataset: SeriesDataset) -> Iterator[tuple[np.ndarray, ...]]:
    """Series, variable, time and value of some observations after others; they may lie on disk."""
    for begin in range(0, len(dataset.time), AT_ONCE):
        end = min(begin + AT_ONCE, len(dataset.time))
        series = np.searchsorted(dataset.parts.offsets, np.arange(begin, end), side="right") - 1
        arrays = (dataset.variable, dataset.time, dataset.value)
        yield series, *(np.asarray(x[begin:end]) for x in arrays)


def refuse_values(
    dataset: SeriesDataset, variable: int, bad: np.ndarray, what: str, wants: str, fix: str
) -> None:
    """Raises for the first observation that is bad, if any, naming its column, row and value.

    Args:
        dataset: what was read.
        variable: index of the variable.
        bad: of each of its observations, in the dataset's order.
        what: what was said of the variable, such as "likelihood 'poisson'".
        wants: what values that needs.
        fix: what to do.

    Raises:
        SchemaError: unless none is bad.
    """
    if not bad.any():
        return
    schema, name = dataset.schema, dataset.variables[variable]
    place = np.nonzero(dataset.variable == variable)[0][bad]
    first = place[dataset.row[place].argmin()]  # in the table, not in the series' order
    rows = dataset.keys.index[dataset.row[first : first + 1]]
    cell = pd.Series([float(dataset.value[first])], index=rows, dtype=object)
    where = cell_name(cell, np.ones(1, dtype=bool))
    column = f"column `{name}`"
    if schema.layout == "long":
        column = f"column `{schema.value}` (variable `{name}`)"
    raise SchemaError(f"{column}: {where}, but {what} wants {wants}; {fix}")
