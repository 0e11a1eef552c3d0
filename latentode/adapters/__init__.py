"""Adapters: the files that a field really has, ready for `fit`.

In: a field's own files or another package's tables. Out: a pair (DataFrame, `Schema`).
May import: `data`, `errors`. Of libraries pandas and numpy, neither torch nor Lightning.

`CONVERTERS` holds them by the names of `latentode convert`.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

import latentode.adapters.finance as finance
import latentode.adapters.medical as medical
import latentode.adapters.renames as renames
import latentode.adapters.weather as weather
from latentode.data.tables.schema import Schema

__all__ = ["CONVERTERS", "finance", "medical", "renames", "weather"]

CONVERTERS: dict[str, Callable[..., tuple[pd.DataFrame, Schema]]] = {
    "physionet2012": medical.physionet2012,
    "lab-events": medical.lab_events,
    "visits": medical.visits,
    "glucose": medical.glucose,
    "ghcn-daily": weather.ghcn_daily,
    "global-hourly": weather.global_hourly,
    "station-table": weather.station_table,
    "hurdat2": weather.hurdat2,
    "bars": finance.bars,
    "quotes": finance.quotes,
    "macro": finance.macro,
    "nixtla": renames.from_nixtla,
    "gluonts": renames.from_gluonts,
    "prophet": renames.from_prophet,
}
