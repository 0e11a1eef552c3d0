"""LightGBM on features of the irregular history, by the questions and metrics of our own experiments.

    python experiments/rivals/run.py [NAME ...] [--table] [--smoke] [--out FOLDER]

Names: storms, glucose, station_weather, pbc_visits, and p12_hourly, physionet2012, which lie under
$LATENTODE_DATA; all by default. LightGBM is in the extra `bench`. Settings and rounds are chosen on
validation data; then all that lies before the test is learnt from. Each data set's figures go into
results.json as soon as they are there; --table shows what it holds beside our own experiments' figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentode import SeriesDataset
from latentode.data import Scaling
from latentode.evaluation.backtest import observed_ahead

HERE = Path(__file__).parent
EXPERIMENTS = HERE.parent
sys.path[:0] = [str(HERE), str(EXPERIMENTS), str(EXPERIMENTS / "forecast_benchmark")]
from benchmark import BENCHMARK, benchmark  # noqa: E402
from boosting import GRID, Boosted, Loss, fit_loss, tune  # noqa: E402
from comparison import show  # noqa: E402
from features import Features, Rows  # noqa: E402
from questions import QUESTIONS, Question  # noqa: E402

SQUARED, ABSOLUTE = Loss("squared", "l2"), Loss("absolute", "l1")
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MOST_ROWS = 60_000  # of a model


def answer(question: Question, smoke: bool = False) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Forecasts of the test by LightGBM, a model per variable and loss, and what was chosen."""
    q = question
    both = pd.concat([q.train, q.validation.assign(**_apart(q))], ignore_index=True)
    datasets = [SeriesDataset.from_frame(f, q.schema) for f in (q.train, q.validation, both)]
    ahead = datasets[0].axis.duration(q.horizon)
    back = np.inf if q.context is None else datasets[0].axis.duration(q.context)
    features = Features(Scaling.fit(datasets[2]), ahead, back)
    train, held, every = (
        features.rows(d, observed_ahead(d, ahead, 3 if smoke else q.origins)) for d in datasets
    )
    dataset, pairs = q.test
    asked = features.rows(dataset, pairs)
    made = {name: np.empty(len(asked.y)) for name in ("mean", "median", *map(str, q.levels))}
    chosen: dict[str, Any] = {}
    for v, variable in enumerate(dataset.variables):
        at = np.flatnonzero(asked.variable == v)
        if not len(at) or variable not in (q.judged or dataset.variables):
            continue
        own, later, final = (
            _some(rows, v, 500 if smoke else MOST_ROWS) for rows in (train, held, every)
        )
        final_of = partial(_final, own, later, final)
        mean, found = final_of(SQUARED)
        made["mean"][at] = mean.predict(asked.take(at))
        median, found_too = final_of(ABSOLUTE)
        made["median"][at] = median.predict(asked.take(at))
        chosen[variable] = {"squared": found, "absolute": found_too}
        quantiles = _quantiles(own, later, final, asked.take(at), found_too, q.levels)
        for i, level in enumerate(q.levels):
            made[str(level)][at] = quantiles[:, i]
    names = {f"q{level:g}": made[str(level)] for level in q.levels}
    frame = pairs.keys.assign(actual=pairs.actual, mean=made["mean"], median=made["median"], **names)
    return frame, chosen


def _apart(q: Question) -> dict[str, Any]:
    """Identifiers of validation series that no training series has."""
    name = str(q.schema.id)
    if pd.api.types.is_numeric_dtype(q.validation[name]):
        return {}
    return {name: "held out " + q.validation[name].astype(str)}


def _some(rows: Rows, variable: int, most: int) -> Rows:
    """Rows of a variable, chosen at random where there are too many."""
    at = np.flatnonzero(rows.variable == variable)
    return rows.take(np.random.default_rng(0).permutation(at)[:most] if len(at) > most else at)


def _final(train: Rows, held: Rows, every: Rows, loss: Loss) -> tuple[Boosted, dict[str, Any]]:
    _, choice, value = tune(train, held, loss)
    return fit_loss(every, loss, choice), {**choice, "validation": value}


def _quantiles(
    train: Rows, held: Rows, every: Rows, asked: Rows, choice: dict[str, Any], levels: tuple[float, ...]
) -> np.ndarray:
    """Quantiles of sorted levels, each of a model with settings of the median and rounds of its own."""
    settings = {k: choice[k] for k in (*GRID[0], "ridge")}
    of_levels = tuple(level for level in LEVELS if len(levels) > len(LEVELS) or level in levels)
    found = []
    for level in of_levels:
        loss = Loss("quantile", "quantile", level)
        first = fit_loss(train, loss, settings, None, (held, np.ones(len(held.y))))
        rounds = {**settings, "n_estimators": max(1, first.trees.best_iteration_)}
        found.append(fit_loss(every, loss, rounds).predict(asked))
    known = np.sort(np.stack(found, axis=1), axis=1)
    return np.stack(
        [np.apply_along_axis(lambda q, p=p: np.interp(p, of_levels, q), 1, known) for p in levels], 1
    )


def run(name: str, smoke: bool) -> dict[str, Any]:
    """Figures of a data set."""
    begin = time.process_time()
    if name in BENCHMARK:
        found = benchmark(name, smoke)
    else:
        question = QUESTIONS[name]()
        frame, chosen = answer(question, smoke)
        rows = question.figures(frame).round(5)
        print(rows.to_string(index=False), flush=True)
        found = {"rows": rows.to_dict("records"), "chosen": chosen}
    return {"cpu_minutes": round((time.process_time() - begin) / 60, 2), **found}


def main() -> None:
    names = [*QUESTIONS, *BENCHMARK]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all if none")
    parser.add_argument("--table", action="store_true", help="run nothing, show what there is")
    parser.add_argument("--smoke", action="store_true", help="few rows of pbc_visits, into --out")
    parser.add_argument("--out", type=Path, help="folder; here unless --smoke: build/rivals")
    arguments = parser.parse_args()
    asked = arguments.names or (["pbc_visits"] if arguments.smoke else names)
    unknown = sorted(set(asked) - set(names))
    if unknown:
        parser.error(f"{unknown[0]} is no data set of this experiment; choose from {', '.join(names)}")
    folder = arguments.out or (Path("build/rivals") if arguments.smoke else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    if arguments.table:
        print(show(results))
        return
    absent = importlib.util.find_spec("lightgbm") is None
    for name in asked:
        if absent or (name in BENCHMARK and "LATENTODE_DATA" not in os.environ):
            why = "LightGBM is not installed" if absent else "LATENTODE_DATA is not set"
            print(f"{name}: left out, {why}", flush=True)
            results.setdefault(name, {"left out": why})
        else:
            results[name] = run(name, arguments.smoke)
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
