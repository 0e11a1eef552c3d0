"""Boosting on the public data sets of `forecast_benchmark`: one model of all variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from boosting import BASES, Loss, tune
from features import Features, Rows
from protocol import Part, Protocol, metrics, read_config

from latentode import SeriesDataset
from latentode.data import Scaling
from latentode.evaluation.backtest import BacktestPairs
from latentode.forecast import ForecastQueries

__all__ = ["BENCHMARK", "benchmark"]

BENCHMARK = ("p12_hourly", "physionet2012")
MOST_ROWS = 240_000  # to learn from
ORIGINS = 2  # the latest ones of each series, up to the protocol's own


def benchmark(name: str, smoke: bool = False) -> dict[str, Any]:
    """Validation errors of two losses, each by the metric that it lowers."""
    protocol = Protocol(**read_config(name)["protocol"])
    root = Path(os.environ["LATENTODE_DATA"])
    train, held = (
        protocol.read(root / protocol.folder / f, 200 if smoke else None)
        for f in (protocol.train, protocol.validation)
    )
    dataset = train.dataset()
    scaling = Scaling.fit(dataset)
    features = Features(scaling, protocol.horizon)
    own = features.rows(dataset, _pairs(dataset, protocol))
    later = held.dataset(dataset.schema, everything=False)
    asked = features.rows(later, _asked(held, later))
    units = protocol.units(root, dataset.variables)
    found: dict[str, Any] = {}
    for loss, metric in ((Loss("squared", "l2"), "mse"), (Loss("absolute", "l1"), "mae")):
        power = 2 if metric == "mse" else 1
        weights = tuple(_weights(rows, units, power, protocol.balanced) for rows in (own, asked))
        made, chosen, _ = tune(own, asked, loss, BASES[:2], weights)
        errors = metrics(made.predict(asked), asked.y, asked.variable, units, protocol.balanced)
        found[loss.name] = {**errors, "chosen": chosen}
        print(name, loss.name, errors, flush=True)
    return found


def _asked(part: Part, dataset: SeriesDataset) -> BacktestPairs:
    queries, actual = part.questions(dataset)
    return BacktestPairs(queries, actual, dataset.keys.iloc[:0])


def _pairs(dataset: SeriesDataset, protocol: Protocol) -> BacktestPairs:
    """Training questions like the protocol's, from the latest origins up to its own, some of each."""
    times = pd.DataFrame({"series": dataset.series, "time": dataset.time}).drop_duplicates()
    times = times[times["time"] <= protocol.origin].sort_values(["series", "time"])
    draw, found = np.random.default_rng(0), []
    for back in range(ORIGINS):
        origin = np.full(len(dataset), np.nan)
        earlier = times.groupby("series").nth(-1 - back)
        origin[earlier["series"]] = earlier["time"]
        own = origin[dataset.series]
        later = (dataset.time > own) & (dataset.time <= own + protocol.horizon)
        places = np.flatnonzero(later)
        if protocol.count is not None:
            rows = pd.DataFrame({"series": dataset.series[places], "time": dataset.time[places]})
            rank = rows.groupby("series")["time"].rank("dense").to_numpy()
            places = places[rank <= protocol.count]
        places = np.sort(draw.permutation(places)[: MOST_ROWS // ORIGINS])
        found.append((places, own[places]))
    at, origins = (np.concatenate(part) for part in zip(*found, strict=True))
    asked = ForecastQueries(dataset.series[at], dataset.variable[at], dataset.time[at], origins)
    return BacktestPairs(asked, dataset.value[at], dataset.keys.iloc[:0])


def _weights(rows: Rows, units: np.ndarray, power: int, balanced: bool) -> np.ndarray:
    """By which the loss of errors in data units is the protocol's metric."""
    own = 1 / units[rows.variable] ** power
    if balanced:
        own = own / np.bincount(rows.variable, minlength=len(units))[rows.variable]
    return own / own.mean()
