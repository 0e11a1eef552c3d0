"""Adapters: the files that a field really has, each read into (DataFrame, Schema), ready for `fit`.

`CONVERTERS` holds those that one source is enough for by the names of `latentode convert`.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from latentode.data.adapters import medical
from latentode.data.schema import Schema

__all__ = ["CONVERTERS", "medical"]

CONVERTERS: dict[str, Callable[..., tuple[pd.DataFrame, Schema]]] = {
    "physionet2012": medical.physionet2012,
    "lab-events": medical.lab_events,
    "visits": medical.visits,
    "glucose": medical.glucose,
}
