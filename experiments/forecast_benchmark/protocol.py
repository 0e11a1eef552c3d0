"""What each data set asks, and by which metric: its folder's README, in code.

Every protocol is one forecast per series: history up to an origin, targets after it. Errors are taken
in the protocol's units, whatever units a model was trained in.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from latentode import Forecasting, Schema, SeriesDataset
from latentode.forecast import ForecastQueries

__all__ = ["CONFIGS", "Part", "Protocol", "metrics", "read_config"]

CONFIGS = Path(__file__).parent / "configs"


def read_config(name: str, changes: list[str] | None = None) -> dict[str, Any]:
    """The settings of a data set, by section.

    Args:
        name: of a file in `configs`.
        changes: such as `training.lr=1e-3`.
    """
    config = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
    for change in changes or []:
        key, _, value = change.partition("=")
        section, _, name = key.partition(".")
        config.setdefault(section, {})[name] = tomllib.loads(f"value = {value}")["value"]
    return config


@dataclass(frozen=True)
class Protocol:
    """Where the files of a data set are and what is asked of each series.

    Args:
        folder: under the data folder.
        train: file name; `{fold}` stands for the fold.
        validation: likewise.
        time: the column of times; time 0 is where every series starts.
        origin: the last time that may belong to the history.
        horizon: how far ahead a target may be.
        count: how many times ahead are asked for, if not all.
        scaling: file of each variable's minimum and maximum, if errors are taken in units of the range.
        balanced: whether errors are averaged for each variable first.
        folds: numbers of the folds.
    """

    folder: str
    train: str
    validation: str
    time: str
    origin: float
    horizon: float
    count: int | None = None
    scaling: str | None = None
    balanced: bool = False
    folds: tuple[int, ...] = ()

    def task(self, between: tuple[float, float] | None = None) -> Forecasting:
        """Random origins to train from, the protocol's own to validate at.

        They are observation times, as the protocols' own nearly are: moments between observations
        cost `p12_hourly` a five-hundredth of its validation error.
        """
        return Forecasting(
            self.horizon,
            between=between,
            count=self.count,
            validate_at=float(self.origin),
            moments=0.0,
        )

    def read(self, path: Path, first: int | None = None) -> Part:
        """A file of the data set; only the first so many series, if told."""
        frame = pd.read_parquet(path)
        if first is not None:
            frame = frame[frame["series"].isin(frame["series"].unique()[:first])]
        return Part(self, cast(pd.DataFrame, frame.reset_index(drop=True)))

    def units(self, root: Path, variables: tuple[str, ...]) -> np.ndarray:
        """What one unit of error is of each variable, in data units."""
        if self.scaling is None:
            return np.ones(len(variables))
        table = pd.read_csv(root / self.folder / self.scaling).set_index("variable")
        width = (table["max"] - table["min"]).reindex(list(variables)).to_numpy(dtype=np.float64)
        return np.where(width > 0, width, 1.0)


@dataclass(frozen=True)
class Part:
    """One file of a data set.

    Args:
        protocol: what is asked of it.
        frame: long: `series`, time, `variable`, `value`, and `part` where the data set has it.
    """

    protocol: Protocol
    frame: pd.DataFrame

    def dataset(self, schema: Schema | None = None, everything: bool = True) -> SeriesDataset:
        """The series, each counted from time 0.

        Args:
            schema: of the training part; None for the training part itself.
            everything: also what is neither history nor target, which is free to be trained on.
        """
        frame = self.frame
        if not everything and "part" in frame:
            frame = frame[frame["part"] != "later"]
        time = self.protocol.time
        frame = frame[["series", time, "variable", "value"]].astype({"variable": str, time: float})
        schema = schema or Schema(
            id="series", time=time, layout="long", variable="variable", value="value", cycles=()
        )
        return SeriesDataset.from_frame(_begun(frame, time), schema)

    def targets(self, dataset: SeriesDataset) -> np.ndarray:
        """Positions of the targets among the observations of `dataset(everything=False)`."""
        if "part" not in self.frame:
            return np.nonzero(dataset.time > self.protocol.origin)[0]
        chosen = self.frame.loc[self.frame["part"] == "target", ["series", self.protocol.time]]
        names = np.asarray(dataset.ids)[dataset.series]
        time = dataset.row_ticks[dataset.row].astype(np.float64)
        there = pd.MultiIndex.from_arrays([names, time])
        asked = pd.MultiIndex.from_arrays(
            [chosen["series"], chosen[self.protocol.time].astype(np.float64)]
        )
        return np.nonzero(there.isin(asked.unique()))[0]

    def questions(self, dataset: SeriesDataset) -> tuple[ForecastQueries, np.ndarray]:
        """All targets as queries from what was last seen by the protocol's origin, and their values."""
        at = self.targets(dataset)
        seen = np.full(len(dataset), float(self.protocol.origin))
        by_then = np.nonzero(dataset.time <= self.protocol.origin)[0]  # ascending within a series
        seen[dataset.series[by_then]] = dataset.time[by_then]
        origin = seen[dataset.series[at]]
        asked = ForecastQueries(dataset.series[at], dataset.variable[at], dataset.time[at], origin)
        return asked, dataset.value[at]


def metrics(
    predicted: np.ndarray,
    actual: np.ndarray,
    variable: np.ndarray,
    units: np.ndarray,
    balanced: bool,
) -> dict[str, float]:
    """Mean squared and mean absolute error.

    Args:
        predicted: in data units, shape `(targets,)`.
        actual: likewise.
        variable: index of each target's variable.
        units: what one unit of error is of each variable.
        balanced: whether to average over each variable's targets first, then over the variables that
            occur.
    """
    error = (predicted - actual) / units[variable]
    both = pd.DataFrame({"mse": error**2, "mae": np.abs(error)})
    if balanced:
        both = both.groupby(variable).mean()
    return {name: float(value) for name, value in both.mean().items()}


def _begun(frame: pd.DataFrame, time: str) -> pd.DataFrame:
    """The table with an empty cell at time 0 of every series that has nothing there."""
    begun = frame.loc[frame[time] == 0, "series"].unique()
    late = np.setdiff1d(frame["series"].unique(), begun)
    first = {"series": late, time: 0.0, "variable": frame["variable"].iloc[0], "value": np.nan}
    return pd.concat([frame, pd.DataFrame(first)], ignore_index=True)
