"""One person's glucose monitor: what to learn from, and what to choose by, before September.

Shared by the experiments that forecast September and October (`glucose`, `crossing`).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from latentode import ModelConfig, Schema, TrainingConfig
from latentode.adapters import medical

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import rolling  # noqa: E402

__all__ = [
    "CONTEXT",
    "FIRST_TEST",
    "HORIZON",
    "LAST_KEPT_DAY",
    "LAST_TEST",
    "MODEL",
    "TRAINING",
    "divided",
    "read",
]

DATA = HERE.parents[1] / "datasets" / "glucose" / "glucose.csv.gz"
FIRST_TEST, LAST_TEST = "2010-09-01", "2010-10-10 22:57"
HORIZON, CONTEXT = "1h", "3h"
LAST_KEPT_DAY = 24  # of each month; the days after it choose
ENOUGH = 20  # readings, without which a held-out stretch says little
MODEL = ModelConfig(likelihood="student-t", structure="last-value")
TRAINING = TrainingConfig(max_epochs=60, patience=60, lr=3e-3)


def read() -> tuple[pd.DataFrame, Schema]:
    """The readings by the adapter, which warns of the three that it merges."""
    table, schema = medical.glucose(DATA)
    return table.assign(person="one"), replace(schema, id="person")


def divided(past: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What to learn from, six days a series, and what to choose by, hours of days never learnt from."""
    day, month = past["time"].dt.day, past["time"].dt.strftime("%m")
    train = past.assign(person=month + "/" + ((day - 1) // 6).astype(str))[day <= LAST_KEPT_DAY]
    later = past.assign(person=month)[day > LAST_KEPT_DAY]
    span = str(pd.Timedelta(CONTEXT) + pd.Timedelta(HORIZON))
    chosen = rolling.stretches(later, schema, span, "4h")
    size = chosen.groupby("person")["time"].transform("size")
    return train, chosen[size >= ENOUGH]
