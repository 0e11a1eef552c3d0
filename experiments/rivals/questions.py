"""What is asked: tables, questions and figures of our own experiments, by whose code they are made."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from latentode import Schema, SeriesDataset
from latentode.data.cells.columns import quantile_name
from latentode.evaluation.backtest import BacktestPairs, observed_after, observed_ahead
from latentode.evaluation.metrics import at_leads, score_frame

EXPERIMENTS = Path(__file__).parents[1]

__all__ = ["QUESTIONS", "Question"]

MANY = tuple(round(0.05 * i, 2) for i in range(1, 20))  # levels, as `rolling` has them
FEW = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Question:
    """What is asked of a table, as the experiment of its name does.

    Args:
        train, validation: tables; both are learnt from in the end.
        schema: of them.
        horizon: how far ahead.
        test: the pairs to be judged by, with the dataset that they are of.
        leads: by which figures are told apart: moments, or upper ends of bins in time units.
        levels: of the quantiles by which it judges.
        context: how far back is looked.
        judged: the variables that are in the tables; None for all.
        origins: how many of each series are learnt from.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    schema: Schema
    horizon: str | float
    test: tuple[SeriesDataset, BacktestPairs]
    leads: tuple[str, ...] | tuple[float, ...]
    levels: tuple[float, ...] = MANY
    context: str | float | None = None
    judged: tuple[str, ...] | None = None
    origins: int = 60

    def figures(self, frame: pd.DataFrame) -> pd.DataFrame:
        """MAE of the median, RMSE of the mean, CRPS and coverage, by variable and lead time.

        Args:
            frame: keys, `actual`, `median`, `mean` and quantiles.
        """
        if self.judged is not None:
            frame = frame[frame["variable"].isin(self.judged)]
        if isinstance(self.leads[0], str):
            kept = at_leads(frame, self.test[0], self.leads, "30min")
        else:
            ends = np.asarray(self.leads)
            kept = frame.assign(lead=ends[np.searchsorted(ends, frame["lead"] * (1 - 1e-9))])
        scored = score_frame(kept)
        low, high = (kept[quantile_name(level)] for level in (0.1, 0.9))
        scored["inside"] = scored["actual"].between(low, high)
        scored["absolute"] = (scored["actual"] - scored["median"]).abs()
        found = scored.groupby(["variable", "lead"], sort=False).agg(
            n=("crps", "size"), mae=("absolute", "mean"), squared=("squared", "mean"),
            crps=("crps", "mean"), coverage=("inside", "mean"),
        )  # fmt: skip
        found["rmse"] = np.sqrt(found.pop("squared"))
        return found.reset_index().sort_values(["variable", "lead"], ignore_index=True)


def _module(name: str) -> ModuleType:
    """`run.py` of another experiment."""
    sys.path.insert(0, str(EXPERIMENTS / name))
    spec = importlib.util.spec_from_file_location(f"{name}_run", EXPERIMENTS / name / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def storms() -> Question:
    """Every fix of later storms from every earlier one, at 24 and 48 hours."""
    from latentode.cli.demo import FIRST_TEST_YEAR, LEADS, SCHEMA, SHOWN, storms_path
    from latentode.data.files.table_files import read_table

    table = read_table(storms_path(), SCHEMA)
    year = pd.to_datetime(table.groupby("id")["time"].transform("min")).dt.year
    late, after = year >= FIRST_TEST_YEAR - 4, year >= FIRST_TEST_YEAR
    test = SeriesDataset.from_frame(table[after], SCHEMA)
    pairs = observed_ahead(test, test.axis.duration("72h"))
    train, validation = table[~late], table[late & ~after]
    return Question(train, validation, SCHEMA, "72h", (test, pairs), LEADS, FEW, judged=SHOWN)


def glucose() -> Question:
    """An hour of readings, every 97 minutes of September and October."""
    own = _module("glucose")
    table, schema = own.read()
    cutoffs = pd.date_range(own.FIRST_TEST, own.LAST_TEST, freq=own.EVERY)
    train, validation = own.divided(table[table["time"] < cutoffs[0]], schema)
    test = _after(table, schema, cutoffs, own.HORIZON)
    return Question(
        train, validation, schema, own.HORIZON, test, own.LEADS, context=own.CONTEXT, origins=1000
    )


def station_weather() -> Question:
    """A day of reports, every nine hours of October to December."""
    own = _module("station_weather")
    table = own.read()
    cutoffs = pd.date_range(own.FIRST_TEST, "2013-12-29T23:00Z", freq=own.EVERY)
    train, validation = own.divided(table[table["time"] < cutoffs[0]])
    test = _after(table, own.SCHEMA, cutoffs, own.HORIZON)
    return Question(
        train, validation, own.SCHEMA, own.HORIZON, test, own.LEADS,
        context=own.CONTEXT, judged=own.VARIABLES, origins=100,
    )  # fmt: skip


def pbc_visits() -> Question:
    """Later visits of held-out patients, from each of their visits."""
    own = _module("pbc_visits")
    table, schema = own.visits()
    train, validation, held_out = own.split(table)
    test = SeriesDataset.from_frame(held_out, schema)
    pairs = observed_ahead(test, own.HORIZON)
    return Question(train, validation, schema, own.HORIZON, (test, pairs), own.LEADS)


def _after(
    table: pd.DataFrame, schema: Schema, cutoffs: Any, horizon: str
) -> tuple[SeriesDataset, BacktestPairs]:
    dataset = SeriesDataset.from_frame(table, schema)
    return dataset, observed_after(dataset, dataset.axis.duration(horizon), cutoffs)


QUESTIONS: dict[str, Callable[[], Question]] = {
    f.__name__: f for f in (storms, glucose, station_weather, pbc_visits)
}
