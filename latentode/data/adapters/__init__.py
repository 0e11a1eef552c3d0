"""Adapters: the files that a field really has, each read into (DataFrame, Schema), ready for `fit`.

`CONVERTERS` holds them by the names of `latentode convert`.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

import latentode.data.adapters.finance as finance
import latentode.data.adapters.medical as medical
import latentode.data.adapters.renames as renames
import latentode.data.adapters.weather as weather
from latentode.data.schema import Schema

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
